"""Columns of DataFrames and arrays, each as numbers or as categories."""

from __future__ import annotations

import datetime
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_bcl._sklearn_compat import get_feature_names, is_missing

MOST_EXACT = 2.0**53  # above, float64 skips integers
DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64)
DATES_ERROR = (
    "{label} holds dates or times. Turn them into numbers first, such as the month, "
    "the day of the week and the days since a first date."
)
NESTED_ERROR = (
    "{label} holds values of type {kind}. Make columns of numbers or of strings of it, "
    "or leave it out."
)


@dataclass(frozen=True)
class Column:
    """A column as numbers, or as codes of categories.

    Parameters
    ----------
    label : str
        Label of the column in messages.
    values : ndarray of shape (n_rows,)
        Numbers with NaN for missing values, or integer codes of categories with -1 for
        missing values.
    categories : list or None
        Category of each code. None if the values are numbers.
    """

    label: str
    values: NDArray[Any]
    categories: list[Any] | None = None

    def as_categories(self) -> Column:
        """Return numbers as categories."""
        if self.categories is not None:
            return self
        known = ~np.isnan(self.values)
        categories, codes = np.unique(self.values[known], return_inverse=True)
        if categories.dtype.kind == "f" and (np.abs(categories) > MOST_EXACT).any():
            largest = float(categories[np.abs(categories).argmax()])
            raise ValueError(
                f"{self.label} holds categories that are too large for exact numbers, "
                f"such as {largest!r}. Turn them into strings."
            )
        values = np.full(len(self.values), -1)
        values[known] = codes
        return Column(self.label, values, categories.tolist())

    def kind(self) -> str:
        """Return the kind of the categories that occur, or "" if there are none."""
        return _common_kind(self.label, self.used())

    def used(self) -> list[Any]:
        """Return the categories that occur."""
        assert self.categories is not None
        return [self.categories[code] for code in np.unique(self.values) if code >= 0]

    def as_numbers(self) -> NDArray[Any]:
        """Return numbers of any dtype, or raise ``ValueError`` for other values."""
        numbers = self.values
        if self.categories is not None:
            if self.kind() not in ("", "number", "boolean"):
                raise ValueError(
                    f"{self.label} holds {self.used()[0]!r}, which is no number. Turn "
                    "it into numbers, or make it a category in fit: by its dtype with "
                    "categorical_features='from_dtype', or by its name in "
                    "'categorical_features'."
                )
            lookup = np.full(len(self.categories) + 1, np.nan)
            for code in np.unique(self.values[self.values >= 0]):
                lookup[code] = _as_float(self.categories[code])
            numbers = lookup[self.values]
        if numbers.dtype.kind == "f" and np.isinf(numbers).any():
            value = numbers[np.isinf(numbers)][0]
            raise ValueError(
                f"{self.label} contains infinity or a value too large for float64, "
                f"{value!r}. Replace it, for example by NaN, a missing value."
            )
        return numbers


def is_frame(X: Any) -> bool:
    """Return whether `X` is a DataFrame of pandas or polars with dense columns."""
    if _is_a("polars", "LazyFrame", X):
        raise TypeError("'X' is a LazyFrame. Give X.collect().")
    if _is_a("polars", "DataFrame", X):
        return True
    return _is_a("pandas", "DataFrame", X) and not is_sparse_frame(X)


def is_sparse_frame(X: Any) -> bool:
    """Return whether `X` is a pandas DataFrame with sparse columns only."""
    if not _is_a("pandas", "DataFrame", X) or not X.shape[1]:
        return False
    kind = sys.modules["pandas"].SparseDtype
    return all(isinstance(dtype, kind) for dtype in X.dtypes)


def _is_a(library: str, name: str, value: Any) -> bool:
    """Return whether a value is of a class of a library that may not be imported."""
    module = sys.modules.get(library)
    return hasattr(module, name) and isinstance(value, getattr(module, name))


def names_of(X: Any) -> Any:
    """Return the names of the columns of `X`, or None, as scikit-learn reads them."""
    if is_frame(X) or is_sparse_frame(X):
        ((name, count),) = Counter(map(str, X.columns)).most_common(1) or [("", 0)]
        if count > 1:
            raise ValueError(
                f"'X' has {count} columns of the name {name!r}. Give each column a "
                "name of its own."
            )
    return get_feature_names(X)


def labels_of(names: Sequence[str] | None, n_columns: int) -> list[str]:
    """Return the labels of the columns in messages."""
    if names is None:
        return [f"Column {j}" for j in range(n_columns)]
    return [f"Column {name!r}" for name in names]


def read_numbers(X: Any, names: Sequence[str] | None) -> NDArray[Any] | None:
    """Return a pandas DataFrame as one array, if it holds numbers of NumPy only.

    Return None for other DataFrames, or if no single dtype would hold all values.
    """
    if not _is_a("pandas", "DataFrame", X) or not all(
        isinstance(dtype, np.dtype) and dtype.kind in "fiu" for dtype in X.dtypes
    ):
        return None
    values: NDArray[Any] = X.to_numpy()
    if values.dtype.kind == "f":
        is_long = [dtype.kind in "iu" and dtype.itemsize == 8 for dtype in X.dtypes]
        if any(is_long) and (np.abs(values[:, is_long]) >= MOST_EXACT).any():
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            is_suspect = not np.isfinite(values.sum(dtype=np.float64))
        for j in np.flatnonzero(np.isinf(values).any(axis=0)) if is_suspect else ():
            Column(labels_of(names, X.shape[1])[j], values[:, j]).as_numbers()
    return values


def read_columns(X: Any, names: Sequence[str] | None) -> Iterator[Column]:
    """Yield the columns of a DataFrame, or of an array with two axes."""
    labels = labels_of(names, X.shape[1])
    if _is_a("polars", "DataFrame", X):
        for label, series in zip(labels, X.iter_columns(), strict=True):
            yield _read_polars(label, series)
    elif _is_a("pandas", "DataFrame", X):
        for label, (_, series) in zip(labels, X.items(), strict=True):
            yield _read_pandas(label, series)
    elif X.dtype.kind in "fiub":
        for label, values in zip(labels, X.T, strict=True):
            is_integer = X.dtype.kind in "iu"  # float64 may not hold it
            yield Column(label, values if is_integer else values.astype(np.float64))
    else:
        for label, values in zip(labels, X.T, strict=True):
            yield read_objects(label, values.tolist())


def _read_pandas(label: str, series: Any) -> Column:
    pandas = sys.modules["pandas"]
    types, dtype = pandas.api.types, series.dtype
    if str(dtype).startswith("dictionary"):  # categories of Arrow
        return read_objects(label, series.tolist()).as_categories()
    if isinstance(dtype, pandas.CategoricalDtype):
        codes = series.cat.codes.to_numpy().astype(np.intp)
        return Column(label, codes, series.cat.categories.tolist())
    if dtype.kind in "mM":
        raise ValueError(DATES_ERROR.format(label=label))
    is_boolean = types.is_bool_dtype(dtype)
    if is_boolean or types.is_numeric_dtype(dtype):
        if dtype.kind == "c":
            raise ValueError(NESTED_ERROR.format(label=label, kind=dtype))
        if isinstance(dtype, np.dtype) and dtype.kind in "iu":
            return Column(label, series.to_numpy())
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if dtype.kind in "iu" and (np.abs(numbers) >= MOST_EXACT).any():
            return read_objects(label, series.tolist())
        is_sparse = isinstance(dtype, pandas.SparseDtype)  # which holds numbers
        return _of_numbers(label, numbers, is_boolean and not is_sparse)
    return read_objects(label, series.tolist())


def _read_polars(label: str, series: Any) -> Column:
    polars = sys.modules["polars"]
    dtype = series.dtype
    if dtype.is_temporal():
        raise ValueError(DATES_ERROR.format(label=label))
    is_boolean = dtype == polars.Boolean
    if dtype.is_numeric() or is_boolean or dtype == polars.Null:
        numbers = series.cast(polars.Float64).to_numpy()
        if dtype.is_integer() and (np.abs(numbers) >= MOST_EXACT).any():
            return read_objects(label, series.to_list())
        return _of_numbers(label, numbers, is_boolean)
    if dtype in (polars.Categorical, polars.Enum):
        series = series.cast(polars.String)
    return read_objects(label, series.to_list())


def _of_numbers(label: str, numbers: NDArray[Any], is_boolean: bool) -> Column:
    if not is_boolean:
        return Column(label, numbers)
    codes = np.where(np.isnan(numbers), -1, numbers).astype(np.intp)
    return Column(label, codes, [False, True])


def read_objects(label: str, values: list[Any]) -> Column:
    """Return a list of numbers, booleans or strings, some missing, as a column."""
    places: dict[Any, int] = {}
    try:
        codes = [places.setdefault(value, len(places)) for value in values]
    except TypeError as error:  # not hashable
        nested = (type(v).__name__ for v in values if not isinstance(v, Hashable))
        kind = next(nested, "object")
        raise ValueError(NESTED_ERROR.format(label=label, kind=kind)) from error
    known = [value for value in places if not _is_missing(value)]
    kind = _common_kind(label, known)
    if kind in ("", "number"):
        lookup = np.array([_as_float(value) for value in places])
        if (np.abs(lookup) >= MOST_EXACT).any():
            lookup = _exact(label, list(places), lookup)
        return Column(label, lookup[codes] if codes else np.empty(0))
    if kind == "date":
        raise ValueError(DATES_ERROR.format(label=label))
    if kind not in ("string", "boolean"):
        raise ValueError(NESTED_ERROR.format(label=label, kind=kind))
    numbers = {value: number for number, value in enumerate(known)}
    lookup = np.array([numbers.get(value, -1) for value in places], dtype=np.intp)
    if kind == "boolean":
        known = [bool(value) for value in known]
    return Column(label, lookup[codes], known)


def _exact(
    label: str, values: list[Any], as_floats: NDArray[np.float64]
) -> NDArray[Any]:
    """Return large numbers in the dtype that holds them, or raise ``ValueError``."""
    lost = [value for value in values if is_rounded(value)]
    if not lost:
        return as_floats
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        if all(
            isinstance(value, Integral) and limits.min <= int(value) <= limits.max
            for value in values
        ):
            return np.array(values, dtype=dtype)
    raise ValueError(
        f"{label} holds integers that are too large for exact numbers beside what else "
        f"it holds, such as {lost[0]!r}. Subtract a constant from the column."
    )


def is_rounded(value: Any) -> bool:
    """Return whether float64 does not hold an integer."""
    if not isinstance(value, Integral):
        return False
    number = _as_float(value)
    return not np.isinf(number) and value != int(number)


def _common_kind(label: str, values: list[Any]) -> str:
    """Return the kind of all values, or raise ``ValueError`` if they differ."""
    kinds = {_kind(value) for value in values}
    if kinds == {"number", "boolean"}:
        return "number"
    if len(kinds) > 1:
        first, second = sorted(kinds)[:2]
        raise ValueError(
            f"{label} mixes values of type {first} and {second}. Turn them into one, "
            "for example all into strings."
        )
    return kinds.pop() if kinds else ""


def _is_missing(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return is_missing(value) or (pandas is not None and value is pandas.NaT)


def _kind(value: Any) -> str:
    """Return "string", "boolean", "number", "date" or the type of another value."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, Real | Decimal):
        return "number"
    is_date = isinstance(value, DATES) or _is_a("pandas", "Period", value)
    return "date" if is_date else type(value).__name__


def _as_float(value: Any) -> float:
    if _is_missing(value):
        return np.nan
    try:
        return float(value)
    except OverflowError:  # of an integer
        return np.inf
