"""Batches of sparse rows, which keep only the non-zero values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SparseBatch:
    """The non-zero values of some rows, row by row, in the order of the columns.

    It is on the CPU and replaces a dense tensor that would be too large: 256 rows of
    20,000 features with a density of 0.5 % have 26,000 values instead of five million.

    Parameters
    ----------
    values : Tensor of shape (n_values,)
        float32.
    columns : Tensor of shape (n_values,)
        Column of each value, ascending in each row.
    starts : Tensor of shape (n_rows + 1,)
        Index of the first value of each row, and the number of values.
    n_features : int
    background : Tensor of shape (n_features,), default=None
        Vector to add to each row. None means zeros.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor
    n_features: int
    background: Tensor | None = None

    @classmethod
    def of(cls, X: Any) -> SparseBatch:
        """Return the rows of a CSR matrix in canonical format."""
        return cls(
            torch.from_numpy(X.data).to(torch.float32),
            torch.from_numpy(X.indices).long(),
            torch.from_numpy(X.indptr).long(),
            X.shape[1],
        )

    @classmethod
    def joined(cls, batches: Sequence[SparseBatch]) -> SparseBatch:
        """Return the rows of all batches as one batch."""
        sizes = torch.cat([batch.starts.diff() for batch in batches])
        return cls(
            torch.cat([batch.values for batch in batches]),
            torch.cat([batch.columns for batch in batches]),
            _starts(sizes),
            batches[0].n_features,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of features."""
        return len(self), self.n_features

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return self.values.device

    @property
    def rows(self) -> Tensor:
        """Row of each value."""
        return torch.arange(len(self)).repeat_interleave(self.starts.diff())

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> SparseBatch:
        """Return some successive rows."""
        first, stop, _ = rows.indices(len(self))
        if stop - first == len(self):
            return self
        starts = self.starts[first : stop + 1]
        values = slice(int(starts[0]), int(starts[-1]))
        return SparseBatch(
            self.values[values],
            self.columns[values],
            starts - starts[0],
            self.n_features,
            self.background,
        )

    @property
    def ndim(self) -> int:
        """Number of dimensions, 2."""
        return 2

    def numel(self) -> int:
        """Return the number of values, including zeros."""
        return math.prod(self.shape)

    def to_dense(self) -> Tensor:
        """Return the rows as a dense tensor ``(n_rows, n_features)``."""
        return self.select(torch.arange(self.n_features))

    def padded(self, n_rows: int) -> SparseBatch:
        """Return the rows and `n_rows` rows of zeros."""
        starts = torch.cat([self.starts, self.starts[-1:].expand(n_rows)])
        return SparseBatch(self.values, self.columns, starts, self.n_features)

    def select(self, columns: Tensor) -> Tensor:
        """Return some columns as a dense tensor ``(n_rows, n_columns)``."""
        places = torch.full((self.n_features,), -1)
        places[columns] = torch.arange(len(columns))
        place = places[self.columns]
        is_chosen = place >= 0
        dense = self.values.new_zeros(len(self), len(columns))
        dense[self.rows[is_chosen], place[is_chosen]] = self.values[is_chosen]
        return dense if self.background is None else dense + self.background[columns]

    def product(self, weight: Tensor) -> Tensor:
        """Return the product with ``weight.T``, of shape ``(n_rows, len(weight))``.

        The product is fast if `weight`, of shape ``(size, n_features)``, is stored
        column by column. The result of a row does not depend on the other rows.
        """
        product = F.embedding_bag(
            self.columns,
            weight.T.contiguous(),
            self.starts,
            mode="sum",
            per_sample_weights=self.values,
            include_last_offset=True,
        )
        if self.background is None or not self.background.any():
            return product
        return product + weight @ self.background

    def redrawn(self, rate: float, generator: Generator) -> SparseBatch:
        """Return a view in which values of each column come from other rows.

        Each value, including zeros, is replaced with probability `rate` by a value of
        the same column in another row. In each column, the other row is a random number
        of rows further on, the same number for all rows. So only non-zero values move.
        """
        n_rows, n_features = self.shape
        rows, columns = self.rows, self.columns
        shifts = torch.randint(n_rows, (n_features,), generator=generator)
        is_redrawn, is_redrawn_zero = (
            torch.rand(2, len(self.values), generator=generator, dtype=torch.float32)
            < rate
        )
        keys = rows * n_features + columns
        to = (rows - shifts[columns]) % n_rows * n_features + columns
        place = torch.searchsorted(keys, to).clamp(max=len(keys) - 1)
        is_redrawn_there = torch.where(
            keys[place] == to, is_redrawn[place], is_redrawn_zero
        )
        keys = torch.cat([keys[~is_redrawn], to[is_redrawn_there]])
        values = torch.cat([self.values[~is_redrawn], self.values[is_redrawn_there]])
        keys, order = keys.sort()
        sizes = torch.bincount(keys // n_features, minlength=n_rows)
        return SparseBatch(values[order], keys % n_features, _starts(sizes), n_features)


def _starts(sizes: Tensor) -> Tensor:
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
