"""Rows that are not in memory: memory maps, stores such as HDF5, and datasets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

LEAST_STORED_BYTES = 2**28  # smaller stores are read at once
BLOCK_VALUES = 2**22  # read at once, where all rows are read in their order


class Stored:
    """Rows of a store that are read in parts.

    Parameters
    ----------
    data : object
        A memory map, an array of h5py or Zarr, or an object with a length and either
        ``__getitems__(indices)``, which returns rows, or ``__getitem__(index)``.

    Attributes
    ----------
    shape : tuple of int
        Number of rows, and the shape of one row.
    dtype : numpy.dtype
    chunk_rows : int or None
        Number of rows that the store keeps and reads together: its ``chunk_rows``, or
        the first of its ``chunks``.
    """

    def __init__(self, data: Any) -> None:
        self.data = data
        self.is_array = isinstance(data, np.memmap) or _is_array_of_a_store(data)
        if not self.is_array and not hasattr(data, "__len__"):
            raise TypeError(
                f"'X' is a {type(data).__name__} without a length. Define __len__, or "
                "call partial_fit for large blocks of its rows."
            )
        n_rows = data.shape[0] if self.is_array else len(data)
        if n_rows == 0:
            raise ValueError("'X' has no rows.")
        self.shape: tuple[int, ...] = (n_rows,)
        first = self._get([0])
        self.shape = (n_rows, *first.shape[1:])
        self.dtype = first.dtype
        chunks = getattr(data, "chunks", None)
        of_store = chunks[0] if isinstance(chunks, tuple) and chunks else None
        chunk_rows = getattr(data, "chunk_rows", of_store)
        self.chunk_rows: int | None = None
        if isinstance(chunk_rows, Integral) and int(chunk_rows) > 0:
            self.chunk_rows = int(chunk_rows)

    @property
    def is_small(self) -> bool:
        """Whether the store is small enough to read all rows at once."""
        n_bytes = math.prod(self.shape) * self.dtype.itemsize
        return n_bytes < LEAST_STORED_BYTES

    def all_rows(self) -> NDArray[Any]:
        """Read all rows."""
        return np.concatenate(list(self.blocks()))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def block_rows(self) -> int:
        """Number of rows to read at once."""
        return max(1, BLOCK_VALUES // max(1, int(np.prod(self.shape[1:]))))

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Read rows by their indices, which the store receives in ascending order."""
        in_order, places = np.unique(indices, return_inverse=True)
        found: NDArray[Any] = self._get(in_order.tolist())[places.reshape(-1)]
        return found

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Read all rows in their order, one block at a time."""
        for start in range(0, len(self), self.block_rows):
            stop = min(start + self.block_rows, len(self))
            if self.is_array:
                yield np.array(self.data[start:stop])
            else:
                yield self._get(list(range(start, stop)))

    def _get(self, indices: list[int]) -> NDArray[Any]:
        if self.is_array:
            rows = np.asarray(self.data[indices])
        elif hasattr(self.data, "__getitems__"):
            rows = _as_array(self.data.__getitems__(indices))
        else:
            rows = _as_array([self.data[i] for i in indices])
        if rows.ndim < 2 or rows.dtype.kind not in "fiub":
            raise TypeError(
                "'X' must return rows of numbers, an array of shape (n, n_features) or "
                f"of images. Got shape {rows.shape} and {rows.dtype}."
            )
        expected = (len(indices), *self.shape[1:])
        if rows.shape != expected and (len(self.shape) > 1 or len(rows) != 1):
            raise ValueError(
                f"'X' returns rows of shape {rows.shape} for {len(indices)} indices. "
                f"By its first row, it should be {expected}."
            )
        return rows


def is_stored(X: Any) -> bool:
    """Return whether X is a store, and not an array, a DataFrame or a list."""
    if isinstance(X, np.memmap):
        return X.nbytes >= LEAST_STORED_BYTES and X.dtype.kind in "fiub" and X.ndim > 1
    if isinstance(X, Dataset):
        return not isinstance(X, IterableDataset)
    if _is_array_of_a_store(X):
        return True
    if isinstance(X, Sequence | Mapping | DataLoader):
        return False
    # Such as arrays of other libraries, images of PIL and sparse matrices.
    is_array = any(hasattr(X, name) for name in ("__array__", "getbands", "shape"))
    has_rows = hasattr(X, "__getitems__") or hasattr(X, "__getitem__")
    return has_rows and hasattr(X, "__len__") and not is_array


def _is_array_of_a_store(X: Any) -> bool:
    """Return whether X is an array of h5py, Zarr or TensorStore."""
    is_store = hasattr(X, "read_direct") or hasattr(X, "oindex")
    return is_store and hasattr(X, "shape") and hasattr(X, "dtype")


def _as_array(rows: Any) -> NDArray[Any]:
    """Return rows that a dataset has returned as an array."""
    if isinstance(rows, list | tuple) and len(rows):
        first = rows[0]
        if isinstance(first, tuple | list) and len(first) == 1 and np.ndim(first[0]):
            rows = [row[0] for row in rows]  # of a TensorDataset
        elif isinstance(first, tuple | list) and any(np.ndim(part) for part in first):
            raise TypeError(
                f"'X' returns rows of {len(first)} parts each, such as (row, label). "
                "Give a dataset that returns rows alone, and labels as 'y'."
            )
        elif isinstance(first, Mapping):
            raise TypeError(
                "'X' returns rows that are dicts. Give an object whose "
                "__getitems__(indices) returns an array of numbers."
            )
        rows = [_of_tensor(row) for row in rows]
        if len({np.shape(row) for row in rows}) > 1:
            raise ValueError(
                "'X' returns rows of different shapes, such as "
                f"{np.shape(rows[0])}. __getitems__(indices) must return rows only, as "
                "one array; labels are given as 'y'."
            )
    return np.asarray(_of_tensor(rows))


def _of_tensor(rows: Any) -> Any:
    if not isinstance(rows, Tensor):
        return rows
    rows = rows.detach().cpu()
    is_narrow = rows.dtype.is_floating_point and rows.dtype.itemsize < 4
    return rows.float().numpy() if is_narrow else rows.numpy()
