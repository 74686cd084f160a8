"""The columns of a table: categories, numbers, and columns with missing values.

A table is kept as float32, with codes for categories and NaN for missing values. So a
view can replace a category as one value, and no one-hot matrix is stored.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sklearn_bcl._data.frames import (
    Column,
    is_frame,
    labels_of,
    read_columns,
    read_numbers,
)
from sklearn_bcl._data.sources import Stored
from sklearn_bcl._data.units import MOST_SAMPLED, NO_UNITS, Units

RARE_ROWS = 5  # a category of fewer rows is rare,
RARE_SHARE = 0.01  # but not if it has this share of them
MOST_ONE_HOT = 32  # places of a column; with more, it is embedded
EMBEDDING_SIZE = 16
CATEGORY_SPREAD = 0.5  # of a column of categories; it is 1 for numbers
ENOUGH_ROWS = 20  # to wonder that no category is a frequent one
MOST_NAMED = 5  # columns in a message


@dataclass(frozen=True)
class Categories:
    """Categories of one column, in the order of their codes.

    The codes follow the order of appearance, so they do not depend on the names of the
    categories. Unknown and rare categories share the next code.

    Parameters
    ----------
    frequent : tuple
        Categories that are not rare.
    has_rare : bool
        Whether there were rare categories in fit.
    kind : str
        Type of the categories: "string", "number", "boolean" or another type.
    """

    frequent: tuple[Any, ...]
    has_rare: bool
    kind: str

    @classmethod
    def of(cls, column: Column) -> Categories:
        """Return the categories of a column that are not rare."""
        assert column.categories is not None
        known = column.values[column.values >= 0]
        used, first, counts = np.unique(known, return_index=True, return_counts=True)
        least = min(RARE_ROWS, RARE_SHARE * len(column.values))
        in_order = np.argsort(first)
        frequent = used[in_order][counts[in_order] >= least]
        names = tuple(column.categories[code] for code in frequent)
        return cls(names, len(frequent) < len(used), column.kind())

    @property
    def n_codes(self) -> int:
        """Number of codes that occur in fit."""
        return len(self.frequent) + self.has_rare

    def read(self, column: Column) -> NDArray[np.float32]:
        """Return the codes of a column, NaN where a value is missing."""
        column = column.as_categories()
        assert column.categories is not None
        known = {category: code for code, category in enumerate(self.frequent)}
        other = len(known)
        codes = [known.get(category, other) for category in column.categories]
        codes_or_nan = np.array([*codes, np.nan], dtype=np.float32)
        result: NDArray[np.float32] = codes_or_nan[column.values]
        if not (result < other).any() and not np.isnan(result).all():
            self._refuse_or_warn(column)
        return result

    def _refuse_or_warn(self, column: Column) -> None:
        """Raise or warn if a column holds no category that was frequent in fit."""
        kinds, value = {column.kind(), self.kind}, column.used()[0]
        if self.kind and len(kinds) > 1 and kinds != {"number", "boolean"}:
            raise ValueError(
                f"{column.label} held values of type {self.kind} in fit. Got "
                f"{value!r}: turn it into what it was."
            )
        if self.frequent and len(column.values) >= ENOUGH_ROWS:
            warnings.warn(
                f"{column.label} has none of the frequent categories of the fit, such "
                f"as {self.frequent[0]!r}. Got {value!r}: all values count as rare or "
                "unknown.",
                UserWarning,
                stacklevel=2,
            )


@dataclass(frozen=True)
class Columns:
    """The columns of a table, described once in fit.

    Parameters
    ----------
    n_columns : int
    names : tuple of str or None
    categorical : tuple of int
        Columns of categories.
    categories : tuple of Categories
        Categories of each of these columns.
    gaps : tuple of int
        Columns in which some values were missing in fit.
    empty : tuple of int
        Columns in which all values were missing in fit. They are ignored.
    by_dtype : bool
        Whether the dtypes determined the columns of categories.
    units : Units
        Scaling of numbers before they become float32.
    """

    n_columns: int
    names: tuple[str, ...] | None = None
    categorical: tuple[int, ...] = ()
    categories: tuple[Categories, ...] = ()
    gaps: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()
    by_dtype: bool = True
    units: Units = NO_UNITS

    @classmethod
    def of(
        cls, X: Any, categorical_features: Any, names: Sequence[str] | None
    ) -> tuple[Columns, Any]:
        """Return the description of a table, and the table as :meth:`read` returns it.

        `X` is a DataFrame, an array with two axes or a CSR matrix.
        """
        n_columns = X.shape[1]
        chosen = choose_columns(categorical_features, n_columns, names)
        is_chosen = chosen is not None and chosen.any()
        if sparse.issparse(X) and is_chosen:
            raise ValueError(
                "'categorical_features' names columns of a sparse 'X', which holds "
                "numbers only. Give a dense array or a DataFrame, or leave it out."
            )
        categories: dict[int, Categories] = {}
        parts: dict[int, Units] = {}
        numbers_only = None if is_chosen else read_numbers(X, names)
        if numbers_only is None and (is_frame(X) or is_chosen):
            values = np.empty(X.shape, dtype=np.float32)
            for j, column in enumerate(read_columns(X, names)):
                by_type = column.categories is not None
                if not (by_type if chosen is None else chosen[j]):
                    numbers = column.as_numbers()[:, None]
                    parts[j] = Units.of(numbers, [column.label])
                    values[:, [j]] = parts[j].to_float32(numbers, [column.label])
                    continue
                column = column.as_categories()
                categories[j] = Categories.of(column)
                values[:, j] = categories[j].read(column)
            units, X = Units.joined(parts), values
        else:
            X = X if numbers_only is None else numbers_only
            units = Units.of(X, labels_of(names, n_columns))
            X = units.to_float32(X, labels_of(names, n_columns))
        n_missing = _count_missing(X)
        is_empty = n_missing == max(X.shape[0], 1)
        columns = cls(
            n_columns,
            None if names is None else tuple(names),
            tuple(categories),
            tuple(categories.values()),
            tuple(np.flatnonzero((n_missing > 0) & ~is_empty).tolist()),
            tuple(np.flatnonzero(is_empty).tolist()),
            chosen is None,
            units,
        )
        columns._check_that_columns_act()
        return columns, X

    @classmethod
    def of_stored(
        cls, X: Stored, categorical_features: Any, blocks: Iterable[NDArray[Any]]
    ) -> Columns:
        """Return the description of a table of numbers in a store, from its blocks."""
        n_rows, n_columns = X.shape
        chosen = choose_columns(categorical_features, n_columns, None)
        if chosen is not None and chosen.any():
            raise ValueError(
                "'categorical_features' names columns of an 'X' that is not in memory, "
                "which holds numbers only. Give an array or a DataFrame, or leave it "
                "out."
            )
        labels = labels_of(None, n_columns)
        some = np.arange(0, n_rows, -(-n_rows // MOST_SAMPLED))
        units = Units.of(X.read(some), labels)
        n_missing = np.zeros(n_columns, dtype=np.intp)
        for block in blocks:
            n_missing += _count_missing(units.to_float32(block, labels))
        columns = cls(
            n_columns,
            gaps=tuple(np.flatnonzero((n_missing > 0) & (n_missing < n_rows)).tolist()),
            empty=tuple(np.flatnonzero(n_missing == n_rows).tolist()),
            by_dtype=chosen is None,
            units=units,
        )
        columns._check_that_columns_act()
        return columns

    def read(self, X: Any) -> Any:
        """Return a table as numbers, codes of categories, and NaN where one is missing.

        A sparse one becomes a CSR matrix.
        """
        numbers = X
        if is_frame(X) or self.categorical:
            numbers = None if self.categorical else read_numbers(X, self.names)
        if numbers is not None:
            return self.units.to_float32(numbers, self.all_labels)
        categories = self.by_number
        parts = self.units.by_column
        values = np.empty(X.shape, dtype=np.float32)
        for j, column in enumerate(read_columns(X, self.names)):
            if j in categories and j not in self.empty:
                values[:, j] = categories[j].read(column)
            elif column.categories is None or j not in self.empty:
                numbers = column.as_numbers()[:, None]
                units = parts.get(j, NO_UNITS)
                values[:, [j]] = units.to_float32(numbers, [column.label])
            else:  # it is ignored, whatever it is
                values[:, j] = np.where(column.values < 0, np.nan, 0.0)
        return values

    def new_gaps(self, X: Any) -> list[int]:
        """Return the columns with missing values that had none in fit."""
        missing = np.flatnonzero(_count_missing(X)).tolist()
        return sorted({*missing} - {*self.gaps, *self.empty}) if missing else []

    def new_values(self, X: Any) -> list[int]:
        """Return the columns with values that had none in fit."""
        if not self.empty:
            return []
        n_missing = _count_missing(X)
        return [j for j in self.empty if n_missing[j] < X.shape[0]]

    def close_gaps(self, X: Any, columns: Sequence[int]) -> Any:
        """Turn missing values of some columns of categories into unknown categories."""
        for j, categories in self.by_number.items():
            if j in columns:
                X[np.isnan(X[:, j]), j] = len(categories.frequent)
        return X

    @cached_property
    def all_labels(self) -> list[str]:
        """Labels of the columns in messages."""
        return labels_of(self.names, self.n_columns)

    def labels(self, columns: Sequence[int]) -> list[str]:
        """Return the labels of some columns in messages."""
        return [self.all_labels[j] for j in columns]

    @property
    def is_plain(self) -> bool:
        """Whether all columns hold numbers, none of which was missing in fit."""
        return not (self.categorical or self.gaps or self.empty)

    @property
    def is_categorical(self) -> NDArray[np.bool_]:
        """Which columns hold categories."""
        return np.isin(np.arange(self.n_columns), self.categorical)

    @property
    def by_number(self) -> dict[int, Categories]:
        """Categories of each column that holds some."""
        return dict(zip(self.categorical, self.categories, strict=True))

    @property
    def numbers(self) -> list[int]:
        """Columns of numbers that are not empty."""
        others = {*self.categorical, *self.empty}
        return [j for j in range(self.n_columns) if j not in others]

    @property
    def one_hot(self) -> list[tuple[int, int]]:
        """Column and code of each one-hot feature.

        A column of one category has none.
        """
        return [
            (j, code)
            for j, categories in self.by_number.items()
            if 1 < categories.n_codes + (j in self.gaps) <= MOST_ONE_HOT
            for code in range(categories.n_codes)
        ]

    @property
    def embedded(self) -> list[tuple[int, int]]:
        """Index and number of categories of each column with too many for one-hot."""
        return [
            (j, len(categories.frequent))
            for j, categories in self.by_number.items()
            if categories.n_codes + (j in self.gaps) > MOST_ONE_HOT
        ]

    @property
    def indicated(self) -> list[int]:
        """Columns that have an indicator of missing values."""
        embedded = {j for j, _ in self.embedded}
        return [j for j in self.gaps if j not in embedded]

    @property
    def n_encoded(self) -> int:
        """Number of features that encoders see."""
        n_embedded = EMBEDDING_SIZE * len(self.embedded)
        return len(self.numbers) + len(self.one_hot) + len(self.indicated) + n_embedded

    @property
    def spread(self) -> NDArray[np.float64]:
        """Spread of each feature; it is 1 for a column of numbers.

        All features of a column of categories together have CATEGORY_SPREAD.
        """
        sources = [j for j, _ in self.one_hot] + self.indicated
        counts = Counter(sources)
        spread = [
            CATEGORY_SPREAD / np.sqrt(counts[j]) if j in self.categorical else 1.0
            for j in sources
        ]
        of_embedding = CATEGORY_SPREAD / np.sqrt(EMBEDDING_SIZE)
        n_embedded = EMBEDDING_SIZE * len(self.embedded)
        return np.array(
            [1.0] * len(self.numbers) + spread + [of_embedding] * n_embedded
        )

    def _check_that_columns_act(self) -> None:
        """Warn of columns without information; raise if no column has any."""
        if self.empty:
            warnings.warn(
                f"{name_some(self.labels(self.empty))}: all values are missing. They "
                "are ignored.",
                UserWarning,
                stacklevel=2,
            )
        rare = [
            j
            for j, categories in self.by_number.items()
            if categories.has_rare and not categories.frequent
        ]
        if rare:
            warnings.warn(
                f"{name_some(self.labels(rare))}: each category is rare, in fewer than "
                f"{RARE_ROWS} rows. They share one code, which says nothing. Leave the "
                "column out, or turn it into numbers or into fewer categories.",
                UserWarning,
                stacklevel=2,
            )
        if self.n_columns and not self.n_encoded:
            raise ValueError(
                "No column of 'X' tells rows apart: each is missing, or holds one "
                "category only, or categories of which all are rare."
            )


def choose_columns(
    categorical_features: Any, n_columns: int, names: Sequence[str] | None
) -> NDArray[np.bool_] | None:
    """Return which columns are categories; None means by their dtype.

    `categorical_features` is "from_dtype", None, a mask, or a list of names or indices.
    """
    if isinstance(categorical_features, str):
        return None
    chosen = np.zeros(n_columns, dtype=bool)
    wanted = np.asarray([] if categorical_features is None else categorical_features)
    if wanted.size == 0:
        return chosen
    if wanted.dtype.kind == "O":  # names, as pandas and feature_names_in_ hold them
        wanted = np.asarray(wanted.tolist())
    if wanted.ndim == 1 and wanted.dtype.kind == "b" and len(wanted) == n_columns:
        return wanted
    if wanted.ndim == 1 and wanted.dtype.kind in "iu":
        outside = wanted[(wanted < 0) | (wanted >= n_columns)]
        if outside.size:
            raise ValueError(
                f"'categorical_features' has the index {outside[0]}, but 'X' has "
                f"{n_columns} columns, from 0 to {n_columns - 1}."
            )
        chosen[wanted] = True
        return chosen
    if wanted.ndim == 1 and wanted.dtype.kind == "U":
        if names is None:
            raise ValueError(
                f"'categorical_features' names the column {str(wanted[0])!r}, but the "
                "columns of 'X' have no names. Give their indices, or a DataFrame."
            )
        unknown = sorted(set(wanted.tolist()) - set(names))
        if unknown:
            raise ValueError(
                f"'categorical_features' names the column {unknown[0]!r}, but 'X' has "
                f"the columns {', '.join(map(repr, names[:10]))}."
            )
        return np.isin(names, wanted)
    raise ValueError(
        "'categorical_features' must be 'from_dtype', None, names or indices of "
        f"columns, or a mask with one boolean for each of the {n_columns} columns. Got "
        f"{categorical_features!r}."
    )


def name_some(labels: Sequence[str]) -> str:
    """Return some labels, and the number of the others."""
    more = len(labels) - MOST_NAMED
    return ", ".join(labels[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _count_missing(X: Any) -> NDArray[np.intp]:
    """Return how many values of each column are NaN."""
    if sparse.issparse(X):
        missing = X.indices[np.isnan(X.data)]
        return np.bincount(missing, minlength=X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isnan(X.sum()):  # in most tables
            return np.zeros(X.shape[1], dtype=np.intp)
    return np.isnan(X).sum(axis=0)
