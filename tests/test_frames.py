"""Single columns of DataFrames and arrays, and what is said of them."""

import datetime
import re
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from sklearn_bcl._data.format import RowFormat

NAN = np.nan


def read(frame, **parameters):
    return RowFormat.of(frame, **parameters)


def column(values, dtype=object, **parameters):
    """Read one column beside another of numbers."""
    other = np.arange(float(len(values)))
    frame = pd.DataFrame({"other": other, "c": pd.Series(values, dtype=dtype)})
    row_format, array = read(frame, **parameters)
    return row_format.columns, array[:, 1]


# Numbers


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([Fraction(1, 2), 3, np.float32(0.25)], [0.5, 3, 0.25]),
        ([True, 2, None, np.False_], [1, 2, NAN, 0]),  # numbers, as Python has it
        ([NAN, float("nan"), None, pd.NA, 2.0], [NAN, NAN, NAN, NAN, 2]),
        ([1, 2.0, np.int8(3), 2**30], [1, 2, 3, 2.0**30]),
    ],
)
def test_objects_that_are_numbers(values, expected):
    columns, array = column(values)
    assert columns.categorical == ()
    assert_array_equal(array, np.float32(expected))
    X = np.array([[value, i] for i, value in enumerate(values)], dtype=object)
    _, array = read(X, categorical_features=[1])
    assert_array_equal(array[:, 0], np.float32(expected))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint64])
def test_frames_of_numbers_have_a_dtype_each(dtype):
    X = np.arange(12).reshape(4, 3).astype(dtype)
    _, array = read(pd.DataFrame(X))
    assert array.dtype == np.float32
    assert_array_equal(array, X)
    X = np.column_stack([X, [0, 1, 0, 1]]).astype(dtype)
    row_format, array = read(X, categorical_features=[3])
    assert_array_equal(array, X)
    assert row_format.columns.categorical == (3,)


def test_booleans_of_an_array_are_numbers_unless_they_are_chosen():
    X = np.array([[True, False], [False, True], [True, True]])
    for chosen in ("from_dtype", None, [0]):
        row_format, array = read(X, categorical_features=chosen)
        assert row_format.columns.categorical == ((0,) if chosen == [0] else ())
        assert_array_equal(array[:, 1], [0, 1, 1])
        assert_array_equal(array[:, 0], [0, 1, 0] if chosen == [0] else [1, 0, 1])


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("text", [False, True])  # with one, columns are read singly
def test_infinity_is_named(value, text):
    frame = pd.DataFrame({"a": [0.5, 1.5, 2.5], "b": [1.0, value, NAN]})
    frame = frame.assign(text=["x", "y", "x"]) if text else frame
    with pytest.raises(ValueError, match=rf"^Column 'b' contains infinity.*{value}"):
        read(frame)
    with pytest.raises(ValueError, match=rf"Column 1 contains infinity.*{value}"):
        read(frame[["a", "b"]].to_numpy(), categorical_features=[0])


def test_columns_whose_sum_is_too_large():
    most = float(np.finfo(np.float32).max)
    X = np.float32([[most, 1, -most], [most, NAN, most], [most, 2, most]])
    for same in (X, pd.DataFrame(X), sparse.csr_array(X)):
        row_format, array = read(same)
        array = array.toarray() if sparse.issparse(array) else array
        assert row_format.columns.gaps == (1,)
        assert_array_equal(np.isnan(array), np.isnan(X))
        assert_array_equal(array[:, 1], X[:, 1])


# Dates


@pytest.mark.parametrize(
    "value",
    [
        datetime.date(2020, 1, 1),
        datetime.datetime(2020, 1, 1),
        datetime.time(1),
        datetime.timedelta(1),
        np.datetime64("2020"),
        pd.Timestamp("2020"),
        pd.Timedelta(1),
        pd.Period("2020"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_that_are_dates(value):
    with pytest.raises(ValueError, match=r"^Column 'c' holds dates or times\. Turn"):
        column([value, None] * 3)
    X = np.array([[value, 1.0], [None, 2.0]], dtype=object)
    with pytest.raises(ValueError, match=r"^Column 0 holds dates or times\. Turn"):
        read(X, categorical_features=[0])


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([2, "a"], "mixes values of type number and string"),
        ([datetime.date(2020, 1, 1), "a"], "mixes values of type date and string"),
        ([(1,), "a", None], "mixes values of type string and tuple"),
        ([["a"], "a"], "holds values of type list"),
        (["a", {"b": 1}], "holds values of type dict"),
        ([1j, None], "holds values of type complex"),
        ([b"a"], "holds values of type bytes"),
    ],
)
def test_objects_that_are_refused(values, match):
    with pytest.raises(ValueError, match=f"^Column 'c' {match}"):
        column(values)


# Categories


@pytest.mark.parametrize(
    ("n_rows", "n_missing", "least"),
    [(100, 0, 1), (200, 0, 2), (300, 60, 3), (400, 0, 4), (500, 0, 5), (5000, 0, 5)],
)
def test_how_many_rows_a_category_needs(n_rows, n_missing, least):
    values = ["enough"] * least + ["few"] * (least - 1) + [None] * n_missing
    columns, array = column(["most"] * (n_rows - len(values)) + values)
    (categories,) = columns.categories
    assert categories.frequent == ("most", "enough")
    assert categories.has_rare == (least > 1)
    assert categories.n_codes == 2 + (least > 1)
    assert_array_equal(array[-n_missing - 1], 2 if least > 1 else 1)


@pytest.mark.parametrize(("n_rows", "warns"), [(19, False), (20, True)])
def test_enough_rows_to_wonder_about_their_categories(n_rows, warns):
    row_format, _ = read(pd.DataFrame({"c": ["a", "b"] * 3}))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        array = row_format.read(pd.DataFrame({"c": ["A"] * n_rows}))
        row_format.read(pd.DataFrame({"c": ["A"] * n_rows + ["a"]}))
    assert (array == 2).all()
    assert [one.category for one in seen] == [UserWarning] * warns


@pytest.mark.parametrize(
    ("before", "later"),
    [
        ([True, False] * 3, [5, 6, 7]),
        ([5, 6, 5], [True, False]),
        ([5, 6, 5], [7.5, NAN]),
        (["a", "b"], [None, None]),
    ],
)
def test_booleans_and_numbers_may_be_unknown_categories(before, later):
    frame = pd.DataFrame({"c": [*before, None]})
    row_format, _ = read(frame, categorical_features=["c"])
    array = row_format.read(pd.DataFrame({"c": later}))
    assert_array_equal(array[:, 0], np.where(pd.isna(pd.Series(later)), NAN, 2))


@pytest.mark.parametrize(
    ("before", "later", "kind"),
    [
        ([True, False] * 3, ["a"], "boolean"),
        ([5, 6, 5], ["a"], "number"),
        (["a", "b"], [5], "string"),
    ],
)
def test_categories_of_another_type_are_refused(before, later, kind):
    frame = pd.DataFrame({"c": [*before, None]})
    row_format, _ = read(frame, categorical_features=["c"])
    match = f"^Column 'c' held values of type {kind} in fit. Got {later[0]!r}: turn"
    with pytest.raises(ValueError, match=match):
        row_format.read(pd.DataFrame({"c": later}))
    # Only where none is known.
    array = row_format.read(pd.DataFrame({"c": [before[0], None]}))
    assert_array_equal(array[:, 0], [0, NAN])


@pytest.mark.parametrize(
    ("value", "is_exact"), [(2**53, True), (2**53 + 2, False), (-(2**53) - 2, False)]
)
def test_floats_as_categories(value, is_exact):
    if is_exact:
        columns, _ = column([value, 1.0], float, categorical_features=["c"])
        assert columns.categories[0].frequent == (value, 1.0)
    else:
        with pytest.raises(ValueError, match="'c' holds categories that are too large"):
            column([value, 1.0], float, categorical_features=["c"])
    columns, _ = column([value, 1], int, categorical_features=["c"])
    assert columns.categories[0].frequent == (value, 1)


def test_categories_that_do_not_occur_are_ignored():
    values = pd.Categorical([1, 2, None, 1], categories=["x", 2, 1])
    columns, array = column(values, None, categorical_features=None)
    assert columns.categorical == ()
    assert_array_equal(array, [1, 2, NAN, 1])
    columns, array = column(values, None)
    assert columns.categories[0].frequent == (1, 2)
    assert columns.categories[0].kind == "number"


def test_numbers_in_a_dictionary_of_arrow_are_categories():
    dtype = pd.ArrowDtype(pa.dictionary(pa.int8(), pa.int64()))
    columns, array = column(pd.array([7, 5, None, 7], dtype=dtype), None)
    assert columns.categories[0].frequent == (7, 5)
    assert_array_equal(array, [0, 1, NAN, 0])


@pytest.mark.parametrize("n_levels", [31, 32, 33])
@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("rare", [False, True])
def test_how_many_categories_are_one_hot(n_levels, gap, rare):
    values = np.array([f"level {i % n_levels}" for i in range(330)], dtype=object)
    values = np.append(values, ["rare"] if rare else []).tolist()
    columns, _ = column(values + [None] * gap)
    n_places = n_levels + rare + gap
    assert columns.n_encoded == 1 + (n_places if n_places <= 32 else 16)
    assert len(columns.spread) == columns.n_encoded
    assert columns.spread[0] == 1
    np.testing.assert_allclose(np.square(columns.spread[1:]).sum(), 0.25)


@pytest.mark.parametrize(
    ("values", "n_features"),
    [
        (["x"] * 4, 0),
        (["x", None] * 2, 2),
        (["x"] * 300 + ["rare"], 2),
        (["x", "y"], 2),
        ([None] * 4, 0),
    ],
)
@pytest.mark.filterwarnings("ignore:.*all values are missing")
def test_features_of_few_categories(values, n_features):
    columns, _ = column(values, categorical_features=["c"])
    assert columns.n_encoded == 1 + n_features
    assert columns.numbers == [0]
    frame = pd.DataFrame({"c": values})
    if not n_features:
        with pytest.raises(ValueError, match="No column of 'X' tells rows apart"):
            read(frame, categorical_features=["c"])


def test_only_rare_categories_are_warned_of():
    ids = [f"row {i}" for i in range(300)]
    match = "^Column 'c': each category is rare, in fewer than 5 rows"
    with pytest.warns(UserWarning, match=match):
        columns, array = column(ids)
    assert columns.categories[0].frequent == ()
    assert_array_equal(array, 0)
    assert columns.n_encoded == 1
    column(["x"] * 4 + ids)  # at 1 % of the rows, one is frequent


# Columns that were empty in fit


@pytest.mark.parametrize("chosen", [["c"], "from_dtype"])
@pytest.mark.parametrize("later", [["a", None, "b"], [1.5, NAN, 2.5]])
@pytest.mark.parametrize("library", [pd, pl])
def test_values_of_columns_that_were_empty(chosen, later, library):
    def frame(values):
        values = [None if value != value else value for value in values]
        return library.DataFrame({"other": [1.0, 2.0, 3.0], "c": values})

    with pytest.warns(UserWarning, match="^Column 'c': all values are missing"):
        row_format, array = read(frame([None] * 3), categorical_features=chosen)
    assert row_format.columns.empty == (1,)
    assert np.isnan(array[:, 1]).all()
    match = "^Column 'c': all values were missing in fit. They are still ignored"
    with pytest.warns(UserWarning, match=match):
        array = row_format.read(frame(later))
    assert_array_equal(array[:, 0], [1, 2, 3])
    assert_array_equal(np.isnan(array[:, 1]), [False, True, False])
    # Without values, there is nothing to say, nor of gaps in it.
    assert np.isnan(row_format.read(frame([None] * 3))[:, 1]).all()


def test_gaps_of_sparse_rows_are_counted_by_column():
    X = np.float32([[0, NAN, NAN, 1], [0, 2, NAN, 0], [0, 0, NAN, 3]])
    with pytest.warns(UserWarning, match="^Column 2: all values are missing"):
        row_format, _ = read(sparse.csr_array(X))
    assert row_format.columns.gaps == (1,)
    later = np.nan_to_num(X, nan=0)
    later[1, 0] = later[1, 1] = later[:, 2] = NAN
    with pytest.warns(UserWarning, match="^Column 0: values are missing, but none"):
        row_format.read(sparse.csr_array(later))


# What is said


@pytest.mark.parametrize(
    ("n_columns", "named"),
    [
        (1, "Column 0: "),
        (5, "Column 0, Column 1, Column 2, Column 3, Column 4: "),
        (6, "Column 0, Column 1, Column 2, Column 3, Column 4 and 1 more: "),
    ],
)
def test_five_columns_are_named(n_columns, named):
    row_format, _ = read(np.ones((3, n_columns)))
    with pytest.raises(ValueError, match=f"^{re.escape(named)}values are missing"):
        row_format.read(np.full((3, n_columns), NAN))


@pytest.mark.parametrize(
    ("chosen", "match"),
    [
        ([0, 3], r"has the index 3, but 'X' has 3 columns, from 0 to 2\."),
        ([0, -1], "has the index -1"),
        (np.array([3, 7], dtype=np.uint8), "has the index 3"),
        (["z", "a", "y"], "the column 'y', but 'X' has the columns 'a', 'b', 'c'"),
        ([True, False], "one boolean for each of the 3 columns. Got .True, False."),
        ([[True, False, True]], "one boolean for each of the 3 columns"),
        ([["a"]], "names or indices of columns"),
        ([0.0, 1.0], "names or indices of columns"),
    ],
)
def test_columns_that_are_not_there(chosen, match):
    frame = pd.DataFrame({name: [1, 2] for name in "abc"})
    with pytest.raises(ValueError, match=f"'categorical_features'.*{match}"):
        read(frame, categorical_features=chosen)


@pytest.mark.parametrize(
    "chosen",
    [[2, 0], np.array([0, 2], dtype=np.uint8), ("c", "a"), np.array(["a", "c"])],
    ids=repr,
)
def test_first_and_last_column_may_be_chosen(chosen):
    frame = pd.DataFrame({name: [1, 2] for name in "abc"})
    row_format, array = read(frame, categorical_features=chosen)
    assert row_format.columns.categorical == (0, 2)
    assert row_format.columns.is_categorical.tolist() == [True, False, True]
    assert_array_equal(array, [[0, 1, 0], [1, 2, 1]])
    row_format.check_columns(chosen)


# Frames


def test_frames_of_sparse_columns_become_sparse():
    frame = pd.DataFrame(
        {
            "a": pd.arrays.SparseArray([0.0, 1.5, 0.0], fill_value=0),
            "b": pd.arrays.SparseArray([0, 0, 2], fill_value=0),
        }
    )
    row_format, array = read(frame)
    assert sparse.issparse(array)
    assert_array_equal(array.toarray(), frame)
    assert row_format.columns.categorical == ()
    assert row_format.feature_names == ("a", "b")
    with pytest.raises(ValueError, match="Column 'b' is where column 'a' was"):
        row_format.read(frame[["b", "a"]])
    missing = pd.DataFrame({"a": pd.arrays.SparseArray([np.nan, 1.5, np.nan])})
    _, array = read(missing)  # what is not stored is missing there, not 0
    assert_array_equal(array, missing)


def test_sparse_columns_beside_others_are_dense():
    frame = pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.5, 0.0])})
    mixed = frame.assign(b=["x", "y", "x"])
    _, array = read(mixed)
    assert_array_equal(array, [[0, 0], [1.5, 1], [0, 0]])


def test_polars_columns_without_a_type_are_empty():
    frame = pl.DataFrame({"a": [1, 2], "c": [None, None]})
    with pytest.warns(UserWarning, match="^Column 'c': all values are missing"):
        row_format, array = read(frame)
    assert_array_equal(array, [[1, NAN], [2, NAN]])
    assert row_format.columns.categorical == ()


def test_names_of_columns_in_messages():
    X = np.array([[1.0, 2.0]])
    for frame, name in (
        (X, "1"),
        (pd.DataFrame(X), "1"),
        (pd.DataFrame(X, columns=["a", "b"]), "'b'"),
    ):
        row_format, _ = read(frame)
        assert row_format.columns.labels([1]) == [f"Column {name}"]


LONG = 2**60 + np.arange(60)  # float64 holds every 256th of them


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.DataFrame({"a": LONG, "b": np.linspace(0, 1, 60)}),
        lambda: pd.DataFrame({"a": pd.array(LONG, dtype="Int64")}),
        lambda: pd.DataFrame({"a": LONG.astype(object), "b": 0.5}),
        lambda: pl.DataFrame({"a": LONG, "b": np.linspace(0, 1, 60)}),
        lambda: LONG[:, None].astype(object),
    ],
)
def test_long_integers_keep_their_differences(make):
    _, values = RowFormat.of(make())
    assert len(np.unique(values[:, 0])) == 60


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.DataFrame({"a": pd.array([None, *LONG.tolist()], dtype="Int64")}),
        lambda: pl.DataFrame({"a": [None, *LONG.tolist()]}),
        lambda: np.array([[i, 0.5] for i in LONG.tolist()], dtype=object),
        lambda: np.array([[i, np.nan] for i in LONG.tolist()], dtype=object),
    ],
)
def test_long_integers_that_would_be_rounded_are_an_error(make):
    with pytest.raises(ValueError, match="too large for exact numbers beside"):
        RowFormat.of(make())


def test_booleans_of_numpy_are_categories_of_python():
    columns, _ = RowFormat.of(pd.DataFrame({"a": [np.True_, np.False_, None] * 10}))
    frequent = columns.columns.categories[0].frequent
    assert [type(category) for category in frequent] == [bool, bool]
