"""Constants that scale the features of tables, robust to heavy tails and outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

MOST_ROWS = 10_000
MOST_VALUES = 2**27  # of wide rows, fewer
LEAST_ROWS = 1_000
BLOCK_VALUES = 2**22  # measured at once
NORMAL_QUARTILES = 1.349  # distance of the quartiles of a standard normal distribution


class ReadableRows(Protocol):
    """Rows that can be indexed: `Rows` or a tensor."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Any, /) -> Tensor: ...


@dataclass(frozen=True)
class FeatureScales:
    """Median and spread of each feature, over the rows of one or several calls.

    The spread is the standard deviation of a normal distribution with the same
    interquartile range. If more than half of the values are equal, as in one-hot
    columns or rare counts, it is the standard deviation of the values. If all are
    equal, it is 1. Missing values are ignored. Several calls are averaged with the
    number of rows as weight, so that no rows need be kept.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
    n_rows : int
        Number of rows.
    n_varied : ndarray of shape (n_features,)
        Number of rows in the calls in which the feature was not constant.
    """

    center: NDArray[np.float64]
    scale: NDArray[np.float64]
    n_rows: int
    n_varied: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        rows: ReadableRows,
        random_state: np.random.RandomState,
        n_numbers: int | None = None,
        before: FeatureScales | None = None,
    ) -> FeatureScales:
        """Measure the features on the rows, or on a random 10,000 of them.

        After the first `n_numbers` features, the spread is the standard deviation, as
        quartiles say little about features of 0 and 1. The statistics of an earlier
        call, `before`, are included.
        """
        n_rows, values = len(rows), sample_rows(rows, random_state)
        if sparse.issparse(values):
            center, scale, varies = _measure_sparse(values)
        else:
            center, scale, varies = _measure(values)
        for j in np.flatnonzero(np.isnan(center)):
            present = values[:, [j]]
            if sparse.issparse(present):
                present = present.toarray()
            present = present[~np.isnan(present)]
            if not len(present):  # in these rows
                present = np.zeros(1, dtype=values.dtype)
            center[j], scale[j], varies[j] = _measure(present)
        if n_numbers is not None:
            scale[n_numbers:] = values[:, n_numbers:].std(axis=0, dtype=np.float64)
        scale = np.where(varies, scale, 1.0)
        measured = cls(center, scale, n_rows, varies * n_rows)
        return measured if before is None else before + measured

    def __add__(self, other: FeatureScales) -> FeatureScales:
        n_rows = self.n_rows + other.n_rows
        n_varied = self.n_varied + other.n_varied
        center = (self.n_rows * self.center + other.n_rows * other.center) / n_rows
        total = self.n_varied * self.scale + other.n_varied * other.scale
        scale = np.where(n_varied > 0, total / np.maximum(n_varied, 1), 1.0)
        return FeatureScales(center, scale, n_rows, n_varied)


def sample_rows(rows: ReadableRows, random_state: np.random.RandomState) -> Any:
    """Return the rows as an array, or a random 10,000 of them, fewer if rows are wide.

    Sparse rows become a CSR matrix.
    """
    n_rows, n_features = len(rows), rows[:1].numel()
    most = min(MOST_ROWS, max(LEAST_ROWS, MOST_VALUES // n_features))
    chosen: Any = slice(None)
    if n_rows > most:
        chosen = random_state.choice(n_rows, most, replace=False)
    if hasattr(rows, "sample"):
        return rows.sample(chosen)
    return rows[chosen].flatten(1).detach().cpu().numpy()


def _measure(values: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Return median, spread and whether values differ, along the first axis."""
    if values.size > BLOCK_VALUES and values.ndim == 2 and values.shape[1] > 1:
        size = max(1, BLOCK_VALUES // len(values))
        cuts = range(size, values.shape[1], size)
        parts = [_measure(some) for some in np.split(values, cuts, axis=1)]
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    low, center, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    scale = (high.astype(np.float64) - low) / NORMAL_QUARTILES
    scale = np.where(scale > 0, scale, values.std(axis=0, dtype=np.float64))
    varies = values.min(axis=0) < values.max(axis=0)
    return center.astype(np.float64), scale, varies


def _measure_sparse(X: Any) -> tuple[NDArray[Any], ...]:
    """Return the result of `_measure` for a CSR matrix, in bounded memory.

    If less than a quarter of the values of a column are below zero, and less than a
    quarter above, the quartiles are zero.
    """
    n_rows, n_columns = X.shape

    def by_column(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(X.indices, values, minlength=n_columns)
        return sums.astype(np.float64)

    is_rare = by_column(X.data < 0) <= np.floor((n_rows - 1) * 0.25)
    is_rare &= by_column(X.data > 0) <= np.floor((n_rows - 1) * 0.25)
    is_rare &= by_column(np.isnan(X.data)) == 0
    data = X.data.astype(np.float64)
    mean = by_column(data) / n_rows
    squares = by_column((data - mean[X.indices]) ** 2)
    n_zero = n_rows - by_column(np.ones(len(data)))
    center = np.zeros(n_columns)
    scale = np.sqrt((squares + n_zero * mean**2) / n_rows)
    varies = by_column(data != 0) > 0
    others = np.flatnonzero(~is_rare)
    by_columns = X.tocsc() if len(others) else X
    size = max(1, BLOCK_VALUES // n_rows)
    for some in np.split(others, range(size, len(others), size)):
        parts = _measure(by_columns[:, some].toarray())
        center[some], scale[some], varies[some] = parts
    return center, scale, varies
