"""Columns of DataFrames and arrays, each as numbers or as categories."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklearn_bcl._sklearn_compat import get_feature_names, is_missing

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
        The column in messages.
    values : ndarray of shape (n_rows,)
        Numbers, float64 with NaN where one is missing, or integer codes of categories,
        -1 where one is missing.
    categories : list or None
        What the codes mean; None if the values are numbers.
    """

    label: str
    values: NDArray[Any]
    categories: list[Any] | None = None

    @property
    def is_text(self) -> bool:
        """Whether the categories are strings: they are never equal to numbers."""
        categories = self.categories
        return categories is not None and all(isinstance(v, str) for v in categories)

    def as_categories(self) -> Column:
        """Return numbers as categories."""
        if self.categories is not None:
            return self
        known = ~np.isnan(self.values)
        categories, codes = np.unique(self.values[known], return_inverse=True)
        values = np.full(len(self.values), -1)
        values[known] = codes
        return Column(self.label, values, categories.tolist())

    def as_numbers(self) -> NDArray[np.float32]:
        """Return the numbers, or raise ``ValueError`` if they are none."""
        numbers = self.values
        if self.categories is not None:
            known = self.values >= 0
            used = [self.categories[code] for code in np.unique(self.values[known])]
            if not all(isinstance(value, Real) for value in used):
                raise ValueError(
                    f"{self.label} holds {used[0]!r}, which is no number. Turn it into "
                    "numbers, or make it a category in fit: by its dtype with "
                    "categorical_features='from_dtype', or by its name in "
                    "'categorical_features'."
                )
            lookup = np.full(len(self.categories) + 1, np.nan)
            for code in np.unique(self.values[known]):
                lookup[code] = self.categories[code]
            numbers = lookup[self.values]
        with np.errstate(over="ignore"):
            result = numbers.astype(np.float32)
        too_large = np.isinf(result)
        if too_large.any():
            raise ValueError(
                f"{self.label} contains infinity or a value too large for float32, "
                f"{numbers[too_large][0]!r}. Replace it, or rescale the column."
            )
        return result


def is_frame(X: Any) -> bool:
    """Return whether `X` is a DataFrame of pandas or polars with dense columns."""
    if _is_a("polars", "LazyFrame", X):
        raise TypeError("'X' is a LazyFrame. Give X.collect().")
    if _is_a("polars", "DataFrame", X):
        return True
    if not _is_a("pandas", "DataFrame", X):
        return False
    sparse = sys.modules["pandas"].SparseDtype
    return not (X.shape[1] and all(isinstance(dtype, sparse) for dtype in X.dtypes))


def _is_a(library: str, name: str, value: Any) -> bool:
    """Return whether a value is of a class of a library that may not be imported."""
    module = sys.modules.get(library)
    return hasattr(module, name) and isinstance(value, getattr(module, name))


def names_of(X: Any) -> Any:
    """Return the names of the columns of `X`, or None, as scikit-learn reads them."""
    if is_frame(X):
        names, counts = np.unique(np.asarray(X.columns, dtype=str), return_counts=True)
        if (counts > 1).any():
            raise ValueError(
                f"'X' has {counts.max()} columns of the name "
                f"{str(names[counts.argmax()])!r}. Give each column a name of its own."
            )
    return get_feature_names(X)


def labels_of(names: Sequence[str] | None, n_columns: int) -> list[str]:
    """Return what the columns are called in messages."""
    if names is None:
        return [f"Column {j}" for j in range(n_columns)]
    return [f"Column {name!r}" for name in names]


def read_columns(X: Any, names: Sequence[str] | None) -> Iterator[Column]:
    """Yield the columns of a DataFrame, or of an array with two axes."""
    labels = labels_of(names, X.shape[1])
    if _is_a("polars", "DataFrame", X):
        for label, series in zip(labels, X.iter_columns(), strict=True):
            yield _read_polars(label, series)
    elif _is_a("pandas", "DataFrame", X):
        for j, label in enumerate(labels):
            yield _read_pandas(label, X.iloc[:, j])
    elif X.dtype.kind in "fiub":
        for label, values in zip(labels, X.T, strict=True):
            yield Column(label, values.astype(np.float64))
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
    if types.is_bool_dtype(dtype) or types.is_numeric_dtype(dtype):
        if dtype.kind == "c":
            raise ValueError(NESTED_ERROR.format(label=label, kind=dtype))
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return _of_numbers(label, numbers, types.is_bool_dtype(dtype))
    return read_objects(label, series.tolist())


def _read_polars(label: str, series: Any) -> Column:
    polars = sys.modules["polars"]
    dtype = series.dtype
    if dtype.is_temporal():
        raise ValueError(DATES_ERROR.format(label=label))
    is_boolean = dtype == polars.Boolean
    if dtype.is_numeric() or is_boolean or dtype == polars.Null:
        numbers = series.cast(polars.Float64).to_numpy()
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
    known = [value for value in places if not is_missing(value)]
    kinds = {_kind(value) for value in known}
    if "date" in kinds:
        raise ValueError(DATES_ERROR.format(label=label))
    if kinds <= {"number", "boolean"} and kinds != {"boolean"}:
        lookup = np.array([_as_float(value) for value in places])
        return Column(label, lookup[codes] if codes else np.empty(0))
    if len(kinds) > 1:
        first, second = sorted(kinds)[:2]
        raise ValueError(
            f"{label} mixes values of type {first} and {second}. Turn them into one, "
            "for example all into strings."
        )
    if not kinds <= {"string", "boolean"}:
        raise ValueError(NESTED_ERROR.format(label=label, kind=kinds.pop()))
    numbers = {value: number for number, value in enumerate(known)}
    lookup = np.array([numbers.get(value, -1) for value in places], dtype=np.intp)
    if kinds == {"boolean"}:
        known = [bool(value) for value in known]
    return Column(label, lookup[codes], known)


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
    if is_missing(value):
        return np.nan
    try:
        return float(value)
    except OverflowError:  # of an integer
        return np.inf
