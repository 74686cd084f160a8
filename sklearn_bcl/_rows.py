"""Rows: validated, kept as they are, and read a batch at a time, also as images."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_array, validate_data
from torch import Generator, Tensor
from torch.utils.data import Dataset

MIN_BATCH_ROWS = 2  # an anchor needs one other row
IMAGE_DTYPES = (np.float32, np.uint8)  # kept; others become float32
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
    divisor : int, default=1
        What pixels are divided by: 255 if the encoder was fitted on uint8.
    """

    shape: tuple[int, ...]
    channels_last: bool
    divisor: int = 1

    @classmethod
    def infer(
        cls, shape: Sequence[int], channel_order: str, divisor: int = 1
    ) -> ImageLayout:
        """Return the layout of images of a shape, or raise ``ValueError``."""
        shape = tuple(shape)
        if len(shape) not in (2, 3) or not all(
            isinstance(size, Integral) and size > 0 for size in shape
        ):
            raise ValueError(
                "An image must have the shape (h, w), (c, h, w) or (h, w, c). Got "
                f"{shape}."
            )
        if len(shape) == 2 or channel_order != "auto":
            return cls(shape, channel_order == "last", divisor)
        first, last = shape[0] in CHANNEL_COUNTS, shape[-1] in CHANNEL_COUNTS
        if first == last:
            raise ValueError(
                f"It is not clear which axis of images of shape {shape} is that of the "
                "channels. Set 'channel_order' to 'first' or 'last'."
            )
        return cls(shape, last, divisor)

    def __call__(self, batch: Tensor) -> Tensor:
        """Return float32 images of shape (n, c, h, w)."""
        images = batch.reshape(-1, *self.shape)
        if len(self.shape) == 2:
            images = images.unsqueeze(1)
        elif self.channels_last:
            images = images.movedim(-1, 1)
        images = images.to(torch.float32)
        return images if self.divisor == 1 else images / self.divisor


def find_layout(
    X: NDArray[Any], image_shape: Sequence[int] | None, channel_order: str
) -> ImageLayout | None:
    """Return how rows become images; None if they are rows of a table."""
    row_shape = X.shape[1:]
    if image_shape is None and len(row_shape) == 1:
        return None
    layout = ImageLayout.infer(
        row_shape if image_shape is None else image_shape,
        channel_order,
        divisor=255 if X.dtype == np.uint8 else 1,
    )
    fits = math.prod(layout.shape) == math.prod(row_shape)
    if not fits or (len(row_shape) > 1 and layout.shape != row_shape):
        raise ValueError(
            f"'image_shape' {image_shape!r} does not fit rows of shape {row_shape}: "
            "it must have as many values as flat rows, and be the shape of images."
        )
    return layout


def validate_rows(estimator: Any, X: Any, *, reset: bool, min_rows: int = 1) -> Any:
    """Return valid rows: float32, or images that stay uint8.

    As `sklearn.utils.validation.validate_data`, it also sets or compares what the
    estimator knows of the rows: their number of features, its `_row_shape`, and the
    `_layout` that makes them images.
    """
    if isinstance(X, Tensor):
        X = X.detach().cpu()
        X = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    checks: dict[str, Any] = {"order": "C", "ensure_min_samples": min_rows}
    n_dimensions = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
    flat_images = (
        estimator.image_shape is not None if reset else estimator._layout is not None
    )
    with np.errstate(over="ignore"):  # what float32 cannot hold is an error below
        if n_dimensions > 2:
            checks |= {"dtype": IMAGE_DTYPES, "allow_nd": True}
            X = check_array(X, **checks)
        elif flat_images:
            X = validate_data(estimator, X, reset=reset, dtype=IMAGE_DTYPES, **checks)
        else:
            checks |= {"dtype": np.float32, "accept_sparse": "csr"}
            X = validate_data(estimator, X, reset=reset, **checks)
    row_shape = X.shape[1:]
    if reset:
        estimator._layout = find_layout(
            X, estimator.image_shape, estimator.channel_order
        )
        estimator._row_shape = row_shape
        if n_dimensions > 2:
            estimator.n_features_in_ = math.prod(row_shape)
            estimator.__dict__.pop("feature_names_in_", None)
    elif row_shape != estimator._row_shape:
        raise ValueError(
            f"X has rows of shape {row_shape}, but {type(estimator).__name__} was "
            f"fitted on rows of shape {estimator._row_shape}."
        )
    return X


class Rows(Dataset[Tensor]):
    """Rows to train on or to embed, read a whole batch at a time.

    Dense rows live in one tensor of their own dtype, on `device` if they take at most
    half of its free memory, else on the host (where the tensor shares the array's
    memory). Sparse rows stay sparse. Either way a batch is a dense float32 tensor on
    `device`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...) or CSR matrix of shape (n_samples, n_features)
    device : torch.device
    layout : ImageLayout, optional
        How rows become images, if they do.
    """

    def __init__(
        self, X: Any, device: torch.device, layout: ImageLayout | None = None
    ) -> None:
        self.device = device
        self.layout = layout
        self.data = X if sparse.issparse(X) else _as_tensor(X, device)
        where = self.data.device if isinstance(self.data, Tensor) else None
        self.indices = torch.arange(X.shape[0], device=where)

    def subset(self, indices: NDArray[np.intp]) -> Rows:
        """Return some of the rows, without a copy of the data."""
        rows = copy.copy(self)
        rows.indices = self.indices[torch.from_numpy(indices).to(self.indices.device)]
        return rows

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: Any) -> Tensor:
        index = self.indices[positions]
        if isinstance(self.data, Tensor):
            batch = self.data[index]
        else:
            batch = torch.from_numpy(self.data[index.numpy()].toarray())
        batch = batch.to(self.device, non_blocking=True)
        return batch.to(torch.float32) if self.layout is None else self.layout(batch)


def _as_tensor(X: NDArray[Any], device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        # Batches are copies: nothing ever writes to a read-only array or memory map.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        data = torch.from_numpy(np.asarray(X))
    return data.to(device) if _fits(data, device) else data


def _fits(data: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return data.nbytes <= free / 2


class RowBatches:
    """Iterate over batches of `Rows`; a tail too short for a loss is dropped."""

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        generator: Generator | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.arange(len(self.rows))
        if self.generator is not None:
            order = torch.randperm(len(self.rows), generator=self.generator)
        # To the data once an epoch, so that no step waits for a copy.
        order = order.to(self.rows.indices.device)
        for positions in order.split(self.batch_size):
            if len(positions) >= MIN_BATCH_ROWS:
                yield self.rows[positions]
