"""How arrays of images become batches of shape (n, channels, height, width)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CHANNEL_COUNTS = (1, 3, 4)  # grey, RGB, RGBA: told from heights and widths


@dataclass(frozen=True)
class ImageLayout:
    """The shape of one image as it is stored, and where its channels are.

    Parameters
    ----------
    shape : tuple of int
        ``(h, w)``, ``(c, h, w)`` or ``(h, w, c)``.
    channels_last : bool
        Whether a shape of three means ``(h, w, c)``.
    """

    shape: tuple[int, ...]
    channels_last: bool

    @classmethod
    def infer(cls, shape: Sequence[int], channel_order: str) -> ImageLayout:
        """Return the layout of images of a shape, or raise ``ValueError``."""
        shape = tuple(int(size) for size in shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise ValueError(
                "An image must have the shape (h, w), (c, h, w) or (h, w, c). Got "
                f"{shape}."
            )
        if len(shape) == 2 or channel_order != "auto":
            return cls(shape, channel_order == "last")
        first, last = shape[0] in CHANNEL_COUNTS, shape[-1] in CHANNEL_COUNTS
        if first == last:
            raise ValueError(
                f"It is not clear which axis of images of shape {shape} is that of the "
                "channels. Set 'channel_order' to 'first' or 'last'."
            )
        return cls(shape, last)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return float32 images of shape (n, c, h, w); uint8 becomes [0, 1]."""
        images = batch.reshape(-1, *self.shape)
        if len(self.shape) == 2:
            images = images.unsqueeze(1)
        elif self.channels_last:
            images = images.movedim(-1, 1)
        images = images.to(torch.float32)
        return images / 255 if batch.dtype == torch.uint8 else images


def find_layout(
    row_shape: tuple[int, ...], image_shape: Sequence[int] | None, channel_order: str
) -> ImageLayout | None:
    """Return how rows of a shape become images; None if they are rows of a table."""
    if image_shape is None:
        return ImageLayout.infer(row_shape, channel_order) if row_shape[1:] else None
    layout = ImageLayout.infer(image_shape, channel_order)
    if math.prod(layout.shape) != math.prod(row_shape):
        raise ValueError(
            f"'image_shape' {image_shape!r} has {math.prod(layout.shape)} values, and "
            f"rows of X have {math.prod(row_shape)}, in the shape {row_shape}."
        )
    return layout
