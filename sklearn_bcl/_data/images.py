"""Images: their shape, the position of their channels, and their pixels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor, float32

CHANNEL_COUNTS = (1, 3, 4)  # gray, RGB, RGBA: told from heights and widths
COLORS = (3, 4)
MOST_TIMES_LARGER = 10  # than the pixels of the fit, without a warning
MOST_TIMES_SMALLER = 50
LEAST_PIXEL, MOST_PIXEL = 1e-12, 1e12  # of the largest one


@dataclass(frozen=True)
class ImageLayout:
    """Shape of one image as it is stored, and type of its pixels.

    Parameters
    ----------
    shape : tuple of int
        ``(h, w)``, ``(c, h, w)`` or ``(h, w, c)``.
    channels_last : bool
        Whether a shape of three means ``(h, w, c)``.
    are_bytes : bool, default=False
        Whether pixels are uint8, which are divided by 255. Other pixels are unchanged.
    largest : float, default=1.0
        Largest absolute pixel in fit.
    """

    shape: tuple[int, ...]
    channels_last: bool
    are_bytes: bool = False
    largest: float = 1.0

    @classmethod
    def of(
        cls, X: Any, image_shape: Sequence[int] | None, channel_order: str
    ) -> ImageLayout:
        """Return the layout of some images, or raise ``ValueError``."""
        row_shape = X.shape[1:]
        if image_shape is None and len(row_shape) == 2 and row_shape[1] in COLORS:
            raise ValueError(
                f"'X' of shape {X.shape} looks like a single image with "
                f"{row_shape[1]} channels. Give X[None]. If it holds {len(X)} images "
                f"of that width, set image_shape={row_shape}."
            )
        shape = row_shape if image_shape is None else image_shape
        shape, channels_last = _read_shape(shape, channel_order)
        fits = math.prod(shape) == math.prod(row_shape)
        if not fits or (len(row_shape) > 1 and shape != row_shape):
            raise ValueError(
                f"'image_shape' {image_shape!r} does not fit rows of shape {row_shape}"
                ": it must have as many values as flat rows, and be the shape of "
                "images."
            )
        return cls(shape, channels_last, X.dtype == np.uint8, _largest(X))

    def check_first(self) -> None:
        """Raise ``ValueError`` for pixels whose differences float32 would lose."""
        if self.largest and not LEAST_PIXEL < self.largest < MOST_PIXEL:
            raise ValueError(
                f"The largest pixel of 'X' is {self.largest:.3g}. Scale the images, "
                "for example to [0, 1]: X / abs(X).max()."
            )

    def read(self, X: Any) -> Any:
        """Return pixels as uint8 if the fit had uint8, else as float32.

        Pixels of another type or range than in fit raise an error or a warning.
        """
        is_byte, largest = X.dtype == np.uint8, _largest(X)
        is_larger = largest > MOST_TIMES_LARGER * self.largest
        if self.are_bytes and not is_byte:
            if _are_bytes(X):
                return X.astype(np.uint8)
            raise ValueError(
                "The fit was on images of uint8, whose pixels are divided by 255. 'X' "
                f"has pixels of {X.dtype}, up to {largest:.3g}. Give (X * 255)."
                "round().astype('uint8') if they are in [0, 1], or X.astype('uint8') "
                "if they are in [0, 255]."
            )
        if is_byte and not self.are_bytes and is_larger:
            raise ValueError(
                f"The fit was on images of numbers up to {self.largest:.3g}. 'X' has "
                "pixels of uint8. Give X / 255 if those of the fit were in [0, 1], or "
                "X.astype('float32') if they were in the same units."
            )
        if self.are_bytes:
            return X
        if is_larger or 0 < largest < self.largest / MOST_TIMES_SMALLER:
            warnings.warn(
                f"The largest pixel of 'X' is {largest:.3g}, that of the fit was "
                f"{self.largest:.3g}. Give images in the same units.",
                UserWarning,
                stacklevel=2,
            )
        if largest > float(np.finfo(np.float32).max):
            raise ValueError(
                "'X' contains infinity or a pixel too large for float32, "
                f"{largest:.3g}. Give images in the units of the fit."
            )
        return X.astype(np.float32, copy=False)

    @property
    def channels_first_shape(self) -> tuple[int, int, int]:
        """Shape of an image for the encoder, ``(c, h, w)``."""
        first, *others = (1, *self.shape) if len(self.shape) == 2 else self.shape
        if len(self.shape) == 3 and self.channels_last:
            return others[1], first, others[0]
        return first, others[0], others[1]

    def __call__(self, batch: Tensor) -> Tensor:
        """Return float32 images of shape (n, c, h, w)."""
        images = batch.reshape(-1, *self.shape)
        if len(self.shape) == 2:
            images = images.unsqueeze(1)
        elif self.channels_last:
            images = images.movedim(-1, 1)
        images = images.to(float32)
        return images / 255 if self.are_bytes else images


def pixels_of_lists(X: Any) -> Any:
    """Return integers of nested lists as uint8, if they are in the range of uint8.

    Integers of Python have no dtype that would tell.
    """
    is_integer = X.dtype == np.int64 and X.size > 0
    if is_integer and X.min() >= 0 and X.max() <= 255:
        return X.astype(np.uint8)
    return X


def _read_shape(
    shape: Sequence[int], channel_order: str
) -> tuple[tuple[int, ...], bool]:
    """Return the shape of an image, and whether its channels are last."""
    shape = tuple(shape)
    if len(shape) not in (2, 3) or not all(
        isinstance(size, Integral) and size > 0 for size in shape
    ):
        raise ValueError(
            f"An image must have the shape (h, w), (c, h, w) or (h, w, c). Got {shape}."
        )
    if len(shape) == 2 or channel_order != "auto":
        return shape, channel_order == "last"
    first, last = shape[0] in CHANNEL_COUNTS, shape[-1] in CHANNEL_COUNTS
    if first == last:
        raise ValueError(
            f"It is not clear which axis of images of shape {shape} is that of the "
            "channels. Set 'channel_order' to 'first' or 'last'."
        )
    return shape, last


def _are_bytes(X: Any) -> bool:
    """Return whether pixels of another dtype certainly have the values of uint8."""
    low, high = X.min(), X.max()
    is_range = 0 <= low and high <= 255 and X.dtype.kind in "iuf"
    if X.dtype.kind == "f":  # 0 and 1 may be the ends of the unit interval
        is_range = is_range and high > 1
    return bool(is_range and (X == np.floor(X)).all())


def _largest(X: Any) -> float:
    if X.dtype.kind == "b":
        return float(X.max())
    return float(max(abs(float(X.max())), abs(float(X.min()))))
