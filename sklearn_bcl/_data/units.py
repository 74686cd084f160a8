"""Units of columns in which float32 can distinguish their values."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

MOST_SAMPLED = 1024  # rows to measure on
# Spreads whose squares float32 holds with room to spare.
LEAST_SPREAD, MOST_SPREAD = 2.0**-40, 2.0**40
# A spread of fewer steps of float32, at the size of the values, asks for an offset.
LEAST_STEPS = 2.0**12
STEPS = 2.0**23  # of float32, between a power of two and the next


@dataclass(frozen=True)
class Units:
    """Offset and unit of the columns that float32 cannot hold unchanged.

    A column of tiny or huge values is divided by a power of two, which is exact. If the
    values are large relative to their differences, such as time stamps, the median is
    subtracted first. All this is computed in float64. Other columns are unchanged.

    Parameters
    ----------
    columns : tuple of int
    offset, unit : tuple of float or int
        One for each of these columns.
    """

    columns: tuple[int, ...] = ()
    offset: tuple[float, ...] = ()
    unit: tuple[float, ...] = ()

    @classmethod
    def of(cls, X: Any, labels: Sequence[str]) -> Units:
        """Return the units of the columns of an array, or of a CSR matrix.

        `labels` name columns in the warning about columns that float32 cannot hold.
        """
        if sparse.issparse(X):
            return cls._of_sparse(X, labels)
        step = -(-len(X) // MOST_SAMPLED)
        rows = np.sort(X[::step], axis=0)  # missing values last
        is_long = X.dtype.kind in "iu" and X.dtype.itemsize == 8
        # Differences of long integers are exact, where float64 would round them.
        base = rows[0] if is_long else np.zeros(1)
        values = (rows - base).astype(np.float64)
        n_present = (~np.isnan(values)).sum(axis=0)
        last = np.maximum(n_present - 1, 0)
        every = np.arange(values.shape[1])
        low, median, high, least, most = (
            values[(share * last).astype(int), every]
            for share in (0.25, 0.5, 0.75, 0, 1)
        )
        with np.errstate(all="ignore"):
            spread = np.where(high > low, high / 2 - low / 2, most / 2 - least / 2)
            center = np.abs(base.astype(np.float64) + median)
            is_offset = center * LEAST_STEPS > spread * STEPS
            is_offset &= spread > 0
            exponent = np.floor(np.log2(np.where(spread > 0, spread, center)))
            is_scaled = (spread > 0) & (spread < LEAST_SPREAD) | (spread > MOST_SPREAD)
            is_scaled |= center > MOST_SPREAD**2
            (columns,) = np.nonzero(is_offset | is_scaled)
            offset = base + (median.astype(base.dtype) if is_long else median)
            units = cls(
                tuple(columns.tolist()),
                tuple(np.where(is_offset, offset, 0)[columns].tolist()),
                tuple(np.where(is_scaled, np.exp2(exponent), 1.0)[columns].tolist()),
            )
            units._warn_of_lost_values(rows, labels)
        return units

    @classmethod
    def joined(cls, parts: Mapping[int, Units]) -> Units:
        """Return the units of a table from the units of single columns."""
        found = [(j, *u.offset, *u.unit) for j, u in parts.items() if u.columns]
        columns, offset, unit = zip(*found, strict=True) if found else ((), (), ())
        return cls(tuple(columns), tuple(offset), tuple(unit))

    @property
    def by_column(self) -> dict[int, Units]:
        """Units of each column that has units."""
        each = zip(self.columns, self.offset, self.unit, strict=True)
        return {j: Units((0,), (offset,), (unit,)) for j, offset, unit in each}

    @classmethod
    def _of_sparse(cls, X: Any, labels: Sequence[str]) -> Units:
        """Return units without offsets, which would leave no zeros."""
        sizes = np.abs(X.data, dtype=np.float64)
        is_extreme = (sizes < LEAST_SPREAD) & (sizes > 0) | (sizes > MOST_SPREAD)
        extreme = np.unique(X.indices[is_extreme])
        by_column, found = X[:, extreme].tocsc(), []
        for i, j in enumerate(extreme.tolist()):
            start, end = by_column.indptr[i : i + 2]
            size = np.abs(by_column.data[start:end], dtype=np.float64)
            median = np.nanmedian(size[size != 0])
            if not LEAST_SPREAD < median < MOST_SPREAD:
                found.append((j, float(np.exp2(np.floor(np.log2(median))))))
        columns, unit = zip(*found, strict=True) if found else ((), ())
        units = cls(tuple(columns), (0.0,) * len(columns), tuple(unit))
        units._warn_of_equal_values(X, labels)
        return units

    def _warn_of_equal_values(self, X: Any, labels: Sequence[str]) -> None:
        """Name sparse columns whose stored values are one in float32."""
        if X.data.dtype == np.float32:
            return
        varies = []
        with np.errstate(all="ignore"):
            in_units = self._in_units(X).data
        for data in (X.data, in_units):
            low, high = np.full(X.shape[1], np.inf), np.full(X.shape[1], -np.inf)
            np.fmin.at(low, X.indices, data.astype(np.float64))
            np.fmax.at(high, X.indices, data.astype(np.float64))
            varies.append(high > low)
        (lost,) = np.nonzero(varies[0] & ~varies[1])
        if lost.size:
            warnings.warn(
                f"{labels[lost[0]]} has stored values that float32 cannot tell apart. "
                f"{lost.size} columns are like this. Subtract a constant from them, "
                "and give a dense array, or leave them out.",
                UserWarning,
                stacklevel=2,
            )

    def to_float32(self, X: Any, labels: Sequence[str]) -> Any:
        """Return numbers, or a CSR matrix, as float32, in these units.

        Raises ``ValueError`` where a value is still too large. `labels` are names.
        """
        with np.errstate(all="ignore"):
            result = self._in_units(X)
            values = result.data if sparse.issparse(result) else result
            if not np.isfinite(values.sum(dtype=np.float64)) and np.isinf(values).any():
                place = np.nonzero(np.isinf(values))
                is_sparse = sparse.issparse(X)
                j = int(X.indices[place[0][0]] if is_sparse else place[1][0])
                value = (X.data if is_sparse else X)[place][0]
                raise ValueError(
                    f"{labels[j]} contains infinity or a value too large for float32, "
                    f"{float(value)!r}. Replace it, for example by NaN, a missing "
                    "value, or clip the column."
                )
        return result

    def _in_units(self, X: Any) -> Any:
        if sparse.issparse(X):
            data = X.data
            if self.columns:
                unit = np.ones(X.shape[1])
                unit[list(self.columns)] = self.unit
                data = data / unit[X.indices]
            if data.dtype == np.float32:
                return X
            parts = data.astype(np.float32), X.indices, X.indptr
            return type(X)(parts, shape=X.shape)
        result = X.astype(np.float32, order="C", copy=False)
        if self.columns:
            columns = list(self.columns)
            result = result.copy() if result is X else result
            is_integer = X.dtype.kind in "iu" and X.dtype != np.uint64
            offset = np.array(self.offset, np.int64 if is_integer else np.float64)
            result[:, columns] = (X[:, columns] - offset) / self.unit
        return result

    def _warn_of_lost_values(self, values: NDArray[Any], labels: Sequence[str]) -> None:
        """Name columns of which float32 holds less than half of the values."""
        n_before, n_after = (
            (some[1:] > some[:-1]).sum(axis=0) + 1
            for some in (values, self._in_units(values))
        )
        (lost,) = np.nonzero(2 * n_after < n_before + (n_after == 1))
        if lost.size:
            j = int(lost[0])
            warnings.warn(
                f"{labels[j]} has values that float32 cannot tell apart"
                f": of {n_before[j]} values in {len(values)} rows, {n_after[j]} are "
                f"left. {len(lost)} columns are like this. Rows are computed in "
                "float32: transform the columns so that their differences are of one "
                "size, for example by ranks or logarithms.",
                UserWarning,
                stacklevel=2,
            )


NO_UNITS = Units()
