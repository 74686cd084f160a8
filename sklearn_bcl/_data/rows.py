"""Rows with their labels, in their dtype, read one batch at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.model_selection import train_test_split
from torch import Generator, Tensor
from torch.utils.data import Dataset

from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.sources import Stored
from sklearn_bcl._sparse import SparseBatch

MIXED_CHUNKS, MIXED_BATCHES = 50, 16  # at least, where a store keeps rows in chunks
MIN_BATCH_ROWS = 2  # an anchor needs one other row

Batch = tuple[Any, Tensor | None]


class Rows(Dataset[Tensor]):
    """Rows to train on or to embed, with their labels if there are any.

    Dense rows are one tensor of their own dtype. The tensor is on `device` if it takes
    at most half of the free memory there, else on the host, where it shares the memory
    of the array. ``rows[positions]`` is a dense float32 tensor on `device`, or a
    `SparseBatch` for sparse rows after :meth:`kept_sparse`.

    Parameters
    ----------
    X : ndarray of shape (n_samples, ...) or CSR matrix of shape (n_samples, n_features)
        Result of :meth:`RowFormat.read`.
    row_format : RowFormat
    device : torch.device
    y : ndarray of shape (n_samples,), default=None
        Result of :func:`~sklearn_bcl._data.labels.read_labels`.
    """

    def __init__(
        self,
        X: Any,
        row_format: RowFormat,
        device: torch.device,
        y: NDArray[Any] | None = None,
    ) -> None:
        self.device = device
        self.format = row_format
        if isinstance(X, Stored):
            self.data: Any = X
        else:
            self.data = _canonical(X) if sparse.issparse(X) else _as_tensor(X, device)
        self.stays_sparse = False
        where = self.data.device if isinstance(self.data, Tensor) else None
        self.indices = torch.arange(X.shape[0], device=where)
        self.y = None if y is None else torch.from_numpy(y).to(where)

    def subset(self, indices: NDArray[np.intp]) -> Rows:
        """Return some of the rows and labels, without a copy of the data."""
        rows = copy.copy(self)
        rows.indices = self.indices[torch.from_numpy(indices).to(self.indices.device)]
        return rows

    @property
    def density(self) -> float:
        """Share of the values that are stored; 1 for dense rows."""
        if not sparse.issparse(self.data):
            return 1.0
        return float(self.data.nnz / max(1, math.prod(self.data.shape)))

    def kept_sparse(self) -> Rows:
        """Return the rows such that batches of sparse rows on the CPU stay sparse."""
        if not sparse.issparse(self.data) or self.device.type != "cpu":
            return self
        rows = copy.copy(self)
        rows.stays_sparse = True
        return rows

    def split(
        self, fraction: float, random_state: np.random.RandomState
    ) -> tuple[Rows, Rows]:
        """Split into rows to train on and a fraction of the rows to hold out."""
        n_held_out = int(np.ceil(fraction * len(self)))
        n_left = len(self) - n_held_out
        if min(n_held_out, n_left) < MIN_BATCH_ROWS:
            raise ValueError(
                f"'validation_fraction' {fraction!r} splits {len(self)} samples into "
                f"{n_left} to train on and {n_held_out} to hold out, and both need "
                f"{MIN_BATCH_ROWS} at least. Change it, give more rows or set "
                "early_stopping=False."
            )
        left, held_out = train_test_split(
            np.arange(len(self)), test_size=n_held_out, random_state=random_state
        )
        return self.subset(left), self.subset(held_out)

    @property
    def labels(self) -> NDArray[Any]:
        """Labels of the rows, -1 where there is none."""
        if self.y is None:
            return np.full(len(self), -1)
        labels: NDArray[Any] = self.y[self.indices].cpu().numpy()
        return labels

    @property
    def has_gaps(self) -> bool:
        """Whether numbers of a table are missing."""
        columns = self.format.columns
        if columns is None:
            return False
        if isinstance(self.data, Stored):
            return bool(columns.gaps or columns.empty)
        if not isinstance(self.data, Tensor):
            return bool(np.isnan(self.data.data).any())
        if not columns.categorical:
            return bool(self.data.isnan().any())
        return bool(self.data[:, columns.numbers].isnan().any())

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, positions: Any) -> Any:
        index = self.indices[positions]
        if isinstance(self.data, Tensor):
            batch = self.data[index]
        elif isinstance(self.data, Stored):
            batch = torch.from_numpy(self.read(index))
        else:
            chosen = self.data[index.numpy()]
            if self.stays_sparse:
                return SparseBatch.of(chosen)
            batch = torch.from_numpy(chosen.toarray())
        return self.format.decode(batch.to(self.device, non_blocking=True))

    def read(self, index: Tensor) -> NDArray[Any]:
        """Read rows of a store by their numbers in it."""
        rows: NDArray[Any] = self.format.convert(self.data.read(index.numpy()))
        return rows

    def sample(self, positions: Any) -> Any:
        """Return rows as an array to be measured; sparse rows as a CSR matrix."""
        index = self.indices[positions]
        if isinstance(self.data, Stored):
            parts = index.split(self.data.block_rows)  # so that little is held twice
            values = torch.empty(len(index), *self[:1].shape[1:], dtype=torch.float32)
            for part, out in zip(
                parts, values.split(self.data.block_rows), strict=True
            ):
                out.copy_(self.format.decode(torch.from_numpy(self.read(part))))
            return values.flatten(1).numpy()
        if isinstance(self.data, Tensor):
            return self[positions].flatten(1).cpu().numpy()
        return self.data[index.numpy()]

    def batch(self, positions: Any, rows: Tensor | None = None) -> Batch:
        """Return rows and their labels, or None, as one batch on `device`.

        `rows` are the rows of a store, if they were read before.
        """
        if rows is None:
            x = self[positions]
        else:
            x = self.format.decode(rows.to(self.device, non_blocking=True))
        if self.y is None:
            return x, None
        labels = self.y[self.indices[positions]]
        return x, labels.to(self.device, non_blocking=True)


def _canonical(X: Any) -> Any:
    """Return a CSR matrix with sorted columns in each row and without duplicates.

    Another matrix is copied first, as it belongs to the user.
    """
    if X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


class _Writeable:
    """A read-only array or memory map as a writeable array, for torch.

    Nothing writes to it: batches are copies. Silencing torch's warning instead would
    change the filters of other threads.
    """

    def __init__(self, X: NDArray[Any]) -> None:
        self.array = X  # keeps the memory
        interface = X.__array_interface__
        address, _ = interface["data"]
        self.__array_interface__ = {**interface, "data": (address, False)}


def _as_tensor(X: NDArray[Any], device: torch.device) -> Tensor:
    X = np.asarray(X)
    if not X.flags.writeable:
        X = np.asarray(_Writeable(X))
    data = torch.from_numpy(X)
    return data.to(device) if _fits(data, device) else data


def _fits(data: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return device.type == "cpu"
    free, _ = torch.cuda.mem_get_info(device)
    return data.nbytes <= free / 2


class RowBatches:
    """Iterate over batches ``(x, y)`` of `Rows`, in random order with a generator.

    A last batch that is too short for a loss, or shorter than `least_rows`, is dropped.
    For rows in a store, another thread reads the next batch. If the store keeps rows in
    chunks, the order of chunks is random, and rows are mixed among at least 50 chunks
    and 16 batches, if there are so many.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        generator: Generator | None = None,
        least_rows: int = 0,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.generator = generator
        self.least_rows = max(MIN_BATCH_ROWS, least_rows)

    def __len__(self) -> int:
        n_whole, tail = divmod(len(self.rows), self.batch_size)
        return n_whole + (tail >= self.least_rows)

    def __iter__(self) -> Iterator[Batch]:
        # To the data once an epoch, so that no step waits for a copy.
        order = self._order().to(self.rows.indices.device)
        batches = [
            positions
            for positions in order.split(self.batch_size)
            if len(positions) >= self.least_rows
        ]
        if not isinstance(self.rows.data, Stored):
            yield from map(self.rows.batch, batches)
            return
        with ThreadPoolExecutor(1) as reader:
            indices = [self.rows.indices[positions] for positions in batches]
            ahead = reader.submit(self.rows.read, indices[0])
            for positions, following in zip(batches, [*indices[1:], None], strict=True):
                rows = torch.from_numpy(ahead.result())
                if following is not None:
                    ahead = reader.submit(self.rows.read, following)
                yield self.rows.batch(positions, rows)

    def _order(self) -> Tensor:
        n_rows, chunk_rows = len(self.rows), None
        if self.generator is None:
            return torch.arange(n_rows)
        order = torch.randperm(n_rows, generator=self.generator)
        if isinstance(self.rows.data, Stored):
            chunk_rows = self.rows.data.chunk_rows
        if chunk_rows is None:
            return order
        chunk_of = self.rows.indices[order] // chunk_rows
        n_chunks = -(-len(self.rows.data) // chunk_rows)
        n_mixed = max(MIXED_CHUNKS, -(-MIXED_BATCHES * self.batch_size // chunk_rows))
        n_groups = max(1, n_chunks // n_mixed)
        place = torch.randperm(n_chunks, generator=self.generator)
        group = place[chunk_of] * n_groups // n_chunks
        return order[group.argsort(stable=True)]
