"""What the columns of a table are: categories, numbers, and where values are missing.

A table is kept as float32: numbers as they are, categories as codes, NaN where a value
is missing. So a view can redraw a feature as one, and no one-hot matrix is ever stored.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sklearn_bcl._data.frames import Column, is_frame, labels_of, read_columns

RARE_ROWS = 5  # a category of fewer rows is rare,
RARE_SHARE = 0.01  # but not if it has this share of them
MOST_ONE_HOT = 32  # places of a column; with more, it is embedded
EMBEDDING_SIZE = 16
MOST_NAMED = 5  # columns in a message


@dataclass(frozen=True)
class Categories:
    """Categories of one column and their codes, in the order in which they appeared.

    So the codes do not depend on what the categories are called. Categories without a
    code, unknown or rare, share the next code, `len(codes)`.

    Parameters
    ----------
    codes : mapping from category to int
    has_rare : bool
        Whether there were rare ones in fit.
    is_text : bool
        Whether the categories are strings.
    """

    codes: Mapping[Any, int]
    has_rare: bool
    is_text: bool

    @classmethod
    def of(cls, column: Column) -> Categories:
        """Return the categories of a column that are not rare."""
        assert column.categories is not None
        known = column.values[column.values >= 0]
        used, first, counts = np.unique(known, return_index=True, return_counts=True)
        least = min(RARE_ROWS, RARE_SHARE * len(column.values))
        in_order = np.argsort(first)
        frequent = used[in_order][counts[in_order] >= least]
        codes = {column.categories[k]: code for code, k in enumerate(frequent)}
        return cls(codes, len(frequent) < len(used), column.is_text)

    @property
    def n_codes(self) -> int:
        """Number of codes that occur in fit."""
        return len(self.codes) + self.has_rare

    def read(self, column: Column) -> NDArray[np.float32]:
        """Return the codes of a column, NaN where a value is missing."""
        column = column.as_categories()
        assert column.categories is not None
        other = len(self.codes)
        codes = [self.codes.get(category, other) for category in column.categories]
        codes_or_nan = np.array([*codes, np.nan], dtype=np.float32)
        result: NDArray[np.float32] = codes_or_nan[column.values]
        is_known = result < other
        if not is_known.any() and not np.isnan(result).all():
            self._refuse_or_warn(column)
        return result

    def _refuse_or_warn(self, column: Column) -> None:
        """Say that a column holds nothing that was frequent in fit."""
        assert column.categories is not None
        value = column.categories[column.values.max()]
        if column.is_text != self.is_text:
            kind = "strings" if self.is_text else "numbers"
            raise ValueError(
                f"{column.label} held {kind} in fit. Got {value!r}: turn it into what "
                "it was."
            )
        if self.codes and len(column.values) > 1:
            warnings.warn(
                f"{column.label} has none of the categories that it had in fit, such "
                f"as {next(iter(self.codes))!r}. Got {value!r}: all count as unknown.",
                UserWarning,
                stacklevel=2,
            )


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a table, described once in fit.

    Parameters
    ----------
    labels : list of str
        What the columns are called in messages.
    categories : mapping from int to Categories
        Of those columns that hold categories.
    has_gaps : ndarray of bool, shape (n_columns,)
        Where some values were missing in fit.
    is_empty : ndarray of bool, shape (n_columns,)
        Where all were. These columns are ignored.
    """

    labels: list[str]
    categories: Mapping[int, Categories]
    has_gaps: NDArray[np.bool_]
    is_empty: NDArray[np.bool_]

    @classmethod
    def of(
        cls, X: Any, categorical_features: Any, names: Sequence[str] | None
    ) -> tuple[Columns, Any]:
        """Return the description of a table, and the table as :meth:`read` returns it.

        `X` is a DataFrame, an array with two axes or a CSR matrix.
        """
        labels = labels_of(names, X.shape[1])
        chosen = choose_columns(categorical_features, labels, names)
        categories: dict[int, Categories] = {}
        if sparse.issparse(X) and chosen is not None and chosen.any():
            raise ValueError(
                "'categorical_features' names columns of a sparse 'X', which holds "
                "numbers only. Give a dense array or a DataFrame, or leave it out."
            )
        if is_frame(X) or (chosen is not None and chosen.any()):
            values = np.empty(X.shape, dtype=np.float32)
            for j, column in enumerate(read_columns(X, names)):
                by_type = column.categories is not None
                if not (by_type if chosen is None else chosen[j]):
                    values[:, j] = column.as_numbers()
                    continue
                column = column.as_categories()
                categories[j] = Categories.of(column)
                values[:, j] = categories[j].read(column)
            X = values
        is_missing = _count_missing(X)
        is_empty = is_missing == max(X.shape[0], 1)
        columns = cls(labels, categories, (is_missing > 0) & ~is_empty, is_empty)
        columns._warn_of_idle_columns()
        return columns, X

    def read(self, X: Any, names: Sequence[str] | None) -> Any:
        """Return a table as numbers, codes of categories, and NaN where one is missing.

        Arrays without categories stay as they are.
        """
        if not is_frame(X) and not self.categories:
            return X
        values = np.empty(X.shape, dtype=np.float32)
        for j, column in enumerate(read_columns(X, names)):
            if self.is_empty[j]:
                values[:, j] = np.nan
            elif j in self.categories:
                values[:, j] = self.categories[j].read(column)
            else:
                values[:, j] = column.as_numbers()
        return values

    def new_gaps(self, X: Any) -> list[str]:
        """Return the columns in which values are missing, but were not in fit."""
        is_new = (_count_missing(X) > 0) & ~self.has_gaps & ~self.is_empty
        return [self.labels[j] for j in np.flatnonzero(is_new)]

    @property
    def is_plain(self) -> bool:
        """Whether all columns hold numbers, none of which was missing."""
        return not (self.categories or self.has_gaps.any() or self.is_empty.any())

    @property
    def is_categorical(self) -> NDArray[np.bool_]:
        """Which columns hold categories."""
        return np.isin(np.arange(len(self.labels)), list(self.categories))

    def places(self, column: int) -> int:
        """Return how many values of a column of categories differ, a gap included."""
        return self.categories[column].n_codes + int(self.has_gaps[column])

    @property
    def numbers(self) -> NDArray[np.intp]:
        """Columns of numbers."""
        return np.flatnonzero(~self.is_categorical & ~self.is_empty)

    @property
    def one_hot(self) -> list[tuple[int, int]]:
        """Column and code of each one-hot feature."""
        return [
            (column, code)
            for column, categories in self.categories.items()
            if 1 < self.places(column) <= MOST_ONE_HOT
            for code in range(categories.n_codes)
        ]

    @property
    def embedded(self) -> list[int]:
        """Columns of more categories than are made one-hot."""
        return [j for j in self.categories if self.places(j) > MOST_ONE_HOT]

    @property
    def indicated(self) -> NDArray[np.intp]:
        """Columns that have an indicator of missing values."""
        return np.setdiff1d(np.flatnonzero(self.has_gaps), self.embedded)

    @property
    def n_encoded(self) -> int:
        """Number of features that encoders see."""
        n_embedded = EMBEDDING_SIZE * len(self.embedded)
        return len(self.numbers) + len(self.one_hot) + len(self.indicated) + n_embedded

    def _warn_of_idle_columns(self) -> None:
        """Warn of columns in which there is nothing, though there seems to be."""
        empty = [self.labels[j] for j in np.flatnonzero(self.is_empty)]
        if empty:
            warnings.warn(
                f"{name_some(empty)}: all values are missing. They are ignored.",
                UserWarning,
                stacklevel=2,
            )
        rare = [
            self.labels[j]
            for j, categories in self.categories.items()
            if categories.has_rare and not categories.codes
        ]
        if rare:
            warnings.warn(
                f"{name_some(rare)}: each category is rare, in fewer than {RARE_ROWS} "
                "rows. They share one code, which says nothing. Leave the column out, "
                "or turn it into numbers or into fewer categories.",
                UserWarning,
                stacklevel=2,
            )
        if len(self.labels) and not self.n_encoded:
            raise ValueError(
                "No column of 'X' tells rows apart: each holds one value only, or "
                "categories of which all are rare."
            )


def choose_columns(
    categorical_features: Any, labels: Sequence[str], names: Sequence[str] | None
) -> NDArray[np.bool_] | None:
    """Return which columns are categories; None means by their dtype.

    `categorical_features` is "from_dtype", None, a mask, or a list of names or indices.
    """
    if isinstance(categorical_features, str):
        return None
    n_columns = len(labels)
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
        for name in wanted.tolist():
            found = [j for j, known in enumerate(names) if known == name]
            if len(found) != 1:
                raise ValueError(
                    f"'categorical_features' names the column {name!r}, which "
                    f"{len(found) or 'none'} of the columns of 'X' are called."
                )
            chosen[found] = True
        return chosen
    raise ValueError(
        "'categorical_features' must be 'from_dtype', None, names or indices of "
        f"columns, or a mask with one boolean for each of the {n_columns} columns. Got "
        f"{categorical_features!r}."
    )


def name_some(labels: Sequence[str]) -> str:
    """Return some labels, and how many others there are."""
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
