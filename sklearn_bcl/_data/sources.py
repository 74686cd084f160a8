"""Rows that are not in memory: memory maps, stores such as HDF5, and datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

LEAST_MAP_BYTES = 2**28  # smaller memory maps are read at once
BLOCK_VALUES = 2**22  # read at once, where all rows are read in their order


class Stored:
    """Rows of a store, of which some are read at a time.

    Parameters
    ----------
    data : object
        A memory map, an array of h5py or Zarr, or anything that has a length and either
        ``__getitems__(indices)``, which returns rows, or ``__getitem__(index)``.

    Attributes
    ----------
    shape : tuple of int
        Number of rows, and the shape of one.
    dtype : numpy.dtype
    chunk_rows : int or None
        Rows that the store keeps, and so reads, together: its ``chunk_rows``, or the
        first of its ``chunks``.
    """

    def __init__(self, data: Any) -> None:
        self.data = data
        self.is_array = isinstance(data, np.memmap) or _is_array_of_a_store(data)
        n_rows = data.shape[0] if self.is_array else len(data)
        if n_rows == 0:
            raise ValueError("'X' has no rows.")
        first = self._get(np.zeros(1, dtype=np.intp))
        self.shape = (n_rows, *first.shape[1:])
        self.dtype = first.dtype
        chunks = getattr(data, "chunks", None) or (None,)
        self.chunk_rows: int | None = getattr(data, "chunk_rows", chunks[0])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def block_rows(self) -> int:
        """Number of rows to read at once."""
        return max(1, BLOCK_VALUES // max(1, int(np.prod(self.shape[1:]))))

    def read(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        """Return rows by their numbers, which the store gets in ascending order."""
        in_order, places = np.unique(indices, return_inverse=True)
        rows = self._get(in_order)
        if rows.shape != (len(in_order), *self.shape[1:]):
            raise ValueError(
                f"'X' returns rows of shape {rows.shape[1:]}, {len(rows)} for "
                f"{len(in_order)} indices, but its first row is of shape "
                f"{self.shape[1:]}."
            )
        found: NDArray[Any] = rows[places.reshape(-1)]
        return found

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Read all rows, in their order, some at a time."""
        for start in range(0, len(self), self.block_rows):
            stop = min(start + self.block_rows, len(self))
            if self.is_array:
                yield np.array(self.data[start:stop])
            else:
                yield self._get(np.arange(start, stop))

    def _get(self, indices: NDArray[np.intp]) -> NDArray[Any]:
        if self.is_array:
            return np.asarray(self.data[indices])
        if hasattr(self.data, "__getitems__"):
            return _as_rows(self.data.__getitems__(indices.tolist()))
        return _as_rows([self.data[i] for i in indices.tolist()])


def is_stored(X: Any) -> bool:
    """Return whether rows are to be read some at a time."""
    if isinstance(X, np.memmap):
        return X.nbytes >= LEAST_MAP_BYTES and X.dtype.kind in "fiub"
    if isinstance(X, Dataset):
        return not isinstance(X, IterableDataset)
    is_map = hasattr(X, "__getitems__") and hasattr(X, "__len__")
    return _is_array_of_a_store(X) or (is_map and not hasattr(X, "__array__"))


def _is_array_of_a_store(X: Any) -> bool:
    """Return whether X is an array of h5py, Zarr or TensorStore."""
    is_store = hasattr(X, "read_direct") or hasattr(X, "oindex")
    return is_store and hasattr(X, "shape") and hasattr(X, "dtype")


def _as_rows(rows: Any) -> NDArray[Any]:
    """Return what a dataset returns as an array."""
    if isinstance(rows, list | tuple) and len(rows):
        first = rows[0]
        if isinstance(first, tuple | list) and len(first) == 1 and np.ndim(first[0]):
            rows = [row[0] for row in rows]  # of a TensorDataset
        elif isinstance(first, tuple | list) and any(np.ndim(part) for part in first):
            raise TypeError(
                f"'X' returns rows of {len(first)} parts each, such as (row, label). "
                "Give a dataset that returns rows alone, and labels as 'y'."
            )
        elif isinstance(first, dict):
            raise TypeError(
                "'X' returns rows that are dicts. Give an object whose "
                "__getitems__(indices) returns an array of numbers."
            )
        if isinstance(rows[0], Tensor):
            rows = [row.detach().cpu() for row in rows]
        rows = np.stack([np.asarray(row) for row in rows])
    if isinstance(rows, Tensor):
        rows = rows.detach().cpu()
    array = np.asarray(rows)
    if array.ndim < 2 or array.dtype.kind not in "fiub":
        raise TypeError(
            "'X' must return rows of numbers, an array of shape (n, n_features) or of "
            f"images. Got shape {array.shape} and {array.dtype}."
        )
    return array
