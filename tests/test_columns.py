"""What the columns of DataFrames and arrays are read as."""

import datetime
import decimal
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from sklearn_bcl._data.columns import MOST_ONE_HOT, Columns
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl.encoders import TableInput

NAN = np.nan
TEXT = ["b", "a", None, "b", "a", "b"]  # codes 0 1 - 0 1 0
NUMBERS = [3.0, 1.0, None, 3.0, 1.0, 3.0]
FLAGS = [True, False, None, True, False, True]
FULL_FLAGS = [True, False, False, True, False, True]
CODES = [0, 1, NAN, 0, 1, 0]
OTHER = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]


def read(frame, **parameters):
    return RowFormat.of(frame, min_rows=2, **parameters)


def arrow(values, kind):
    return pd.array(values, dtype=pd.ArrowDtype(kind))


# Each kind of column, with what it holds and what is read from it.
CATEGORIES = {
    "object": pd.Series(TEXT, dtype=object),
    "object with NA": pd.Series(
        [pd.NA if v is None else v for v in TEXT], dtype=object
    ),
    "str": pd.Series(TEXT, dtype="str"),
    "string": pd.Series(TEXT, dtype="string"),
    "category": pd.Series(TEXT, dtype="category"),
    "category, other order": pd.Series(
        pd.Categorical(TEXT, categories=["unused", "a", "b"])
    ),
    "category of numbers": pd.Series(NUMBERS, dtype="category"),
    "intervals": pd.Series(pd.cut([9, 1, NAN, 9, 1, 9], [0, 5, 10])),
    "boolean": pd.Series(FLAGS, dtype="boolean"),
    "object of booleans": pd.Series(FLAGS, dtype=object),
    "Arrow string": pd.Series(arrow(TEXT, pa.string())),
    "Arrow boolean": pd.Series(arrow(FLAGS, pa.bool_())),
    "Arrow dictionary": pd.Series(arrow(TEXT, pa.dictionary(pa.int8(), pa.string()))),
    "polars String": pl.Series(TEXT),
    "polars Categorical": pl.Series(TEXT, dtype=pl.Categorical),
    "polars Enum": pl.Series(TEXT, dtype=pl.Enum(["unused", "a", "b"])),
    "polars Boolean": pl.Series(FLAGS),
}
NUMERIC = {
    "float": pd.Series(NUMBERS, dtype=float),
    "object": pd.Series(NUMBERS, dtype=object),
    "object of decimals": pd.Series(
        [v if v is None else decimal.Decimal(v) for v in NUMBERS], dtype=object
    ),
    "Int64": pd.Series(NUMBERS, dtype="Int64"),
    "Float32": pd.Series(NUMBERS, dtype="Float32"),
    "Arrow double": pd.Series(arrow(NUMBERS, pa.float64())),
    "Arrow int": pd.Series(arrow([3, 1, None, 3, 1, 3], pa.int32())),
    "Arrow decimal": pd.Series(
        arrow(
            [v if v is None else decimal.Decimal(v) for v in NUMBERS],
            pa.decimal128(5, 2),
        )
    ),
    "polars Float64": pl.Series(NUMBERS),
    "polars Int8": pl.Series([3, 1, None, 3, 1, 3], dtype=pl.Int8),
    "polars Decimal": pl.Series(NUMBERS).cast(pl.Decimal(5, 2)),
}


def frame_of(series):
    library = pl if isinstance(series, pl.Series) else pd
    return library.DataFrame({"other": OTHER, "c": series})


@pytest.mark.parametrize("kind", CATEGORIES)
def test_categories_become_codes(kind):
    row_format, array = read(frame_of(CATEGORIES[kind]))
    assert_array_equal(array, np.column_stack([OTHER, CODES]))
    assert array.dtype == np.float32
    columns = row_format.columns
    assert (columns.categorical, columns.gaps) == ((1,), (1,))
    assert_array_equal(row_format.read(frame_of(CATEGORIES[kind])), array)


@pytest.mark.parametrize("kind", NUMERIC)
def test_numbers_stay_numbers(kind):
    row_format, array = read(frame_of(NUMERIC[kind]))
    assert_array_equal(array[:, 1], np.array(NUMBERS, dtype=float))
    assert row_format.columns.categorical == ()
    assert row_format.columns.gaps == (1,)
    # Unless they are said to be categories.
    row_format, array = read(frame_of(NUMERIC[kind]), categorical_features=["c"])
    assert_array_equal(array[:, 1], CODES)


@pytest.mark.parametrize("library", [pd, pl])
def test_booleans_without_gaps(library):
    row_format, array = read(frame_of(library.Series(FULL_FLAGS)))
    assert_array_equal(array[:, 1], [0, 1, 1, 0, 1, 0])
    assert row_format.columns.categorical == (1,)


@pytest.mark.parametrize(
    "chosen",
    [[1], np.array([1]), ["c"], np.array(["c"], dtype=object), [False, True]],
    ids=repr,
)
def test_categories_are_named_by_index_name_or_mask(chosen):
    frame = frame_of(NUMERIC["float"])
    arrays = [frame]
    if np.asarray(chosen).dtype.kind in "ib":  # columns of arrays have no names
        arrays += [frame.to_numpy(), torch.tensor(frame.to_numpy())]
        arrays += [frame_of(CATEGORIES["object"]).to_numpy()]
        arrays += [frame_of(CATEGORIES["object"]).to_numpy().tolist()]
    for X in arrays:
        row_format, array = read(X, categorical_features=chosen)
        assert_array_equal(array, np.column_stack([OTHER, CODES]))
        assert_array_equal(row_format.read(X), array)


def test_no_categories():
    frame = frame_of(pd.Series(NUMBERS, dtype="category"))
    for chosen in (None, [], [False, False]):
        row_format, array = read(frame, categorical_features=chosen)
        assert row_format.columns.categorical == ()
        assert_array_equal(array[:, 1], np.array(NUMBERS, dtype=float))


@pytest.mark.parametrize(
    ("chosen", "match"),
    [
        ([2], r"index 2, but 'X' has 2 columns, from 0 to 1"),
        ([-1], "index -1"),
        (["d"], r"column 'd', but 'X' has the columns 'other', 'c'\."),
        ([True], r"one boolean for each of the 2 columns. Got \[True\]"),
        ([1.5], "'categorical_features' must be"),
        ([[1]], "'categorical_features' must be"),
    ],
)
def test_wrong_choices(chosen, match):
    with pytest.raises(ValueError, match=match):
        read(frame_of(CATEGORIES["object"]), categorical_features=chosen)


def test_names_need_a_frame(X):
    with pytest.raises(ValueError, match=r"'a'.*no names. Give their indices"):
        read(X, categorical_features=["a"])


def test_sparse_rows_have_no_categories(X):
    with pytest.raises(ValueError, match="sparse 'X'"):
        read(sparse.csr_matrix(X), categorical_features=[0])


DATES = [datetime.date(2020, 1, day) for day in range(1, 7)]
REFUSED = {
    "dates": pd.Series(DATES),
    "datetimes": pd.Series(pd.to_datetime(DATES)),
    "with time zone": pd.Series(pd.to_datetime(DATES, utc=True)),
    "durations": pd.Series(pd.to_timedelta(range(6), unit="D")),
    "periods": pd.Series(pd.period_range("2020", periods=6)),
    "Arrow dates": pd.Series(arrow(DATES, pa.date32())),
    "Arrow dictionary of dates": pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array(DATES).dictionary_encode())
    ),
    "Arrow timestamps": pd.Series(arrow(DATES, pa.timestamp("s"))),
    "polars dates": pl.Series(DATES),
    "polars times": pl.Series([datetime.time(1)] * 6),
    "polars durations": pl.Series([datetime.timedelta(1)] * 6),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_dates_are_refused(kind):
    with pytest.raises(ValueError, match=r"Column 'c' holds dates.*Turn them into num"):
        read(frame_of(REFUSED[kind]))


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (pd.Series([[1]] * 6), "Column 'c' holds values of type list"),
        (pd.Series([{"a": 1}] * 6), "values of type dict"),
        (pd.Series([(1, 2)] * 6), "values of type tuple"),
        (pd.Series([b"a"] * 6), "values of type bytes"),
        (pd.Series([1j] * 6), "values of type complex128"),
        (pd.Series([1j, None] * 3, dtype=object), "values of type complex"),
        (
            pd.Series(arrow([[1]] * 6, pa.list_(pa.int8()))),
            "Column 'c' holds values of",
        ),
        (pl.Series([[1]] * 6), "values of type list"),
        (pl.Series([{"a": 1}] * 6), "values of type dict"),
        (pd.Series(["a", 1] * 3), "Column 'c' mixes values of type number and string"),
        (pd.Series([True, "a"] * 3), "mixes values of type boolean and string"),
        (pd.Series([1.0, np.inf] * 3), r"Column 'c' contains infinity.*inf.*Replace"),
        (
            pd.Series([1.0, 2.0, 3.0, 4.0, 5.0, 1e300]),
            r"Column 'c' contains infinity.*1e\+300",
        ),
        (pd.Series([1, 10**400] * 3, dtype=object), "Column 'c' contains infinity"),
    ],
)
def test_columns_that_are_refused(values, match):
    with pytest.raises(ValueError, match=match):
        read(frame_of(values))


def test_frames_that_are_refused():
    with pytest.raises(TypeError, match=r"LazyFrame. Give X.collect\(\)"):
        read(pl.DataFrame({"a": [1, 2]}).lazy())
    with pytest.raises(ValueError, match="0 feature"):
        read(pd.DataFrame(index=range(3)))
    with pytest.raises(ValueError, match="1 sample"):
        read(pd.DataFrame({"a": ["b"], "c": [1]}))


@pytest.mark.parametrize("values", [[2**60, 2**60 + 1], ["a", "b"]])
def test_categories_that_are_large_numbers(values):
    frame = pd.DataFrame({"c": values * 10})
    for X in (frame, frame.to_numpy()):
        row_format, _ = read(X, categorical_features=[0])
        assert row_format.columns.categories[0].frequent == tuple(values)


def test_categories_that_floats_do_not_tell_apart():
    frame = pd.DataFrame({"c": [2.0**60, 1.0]})
    with pytest.raises(ValueError, match=r"too large for exact numbers.*strings"):
        read(frame, categorical_features=[0])


def test_sparse_columns_are_numbers(X):
    dummies = pd.get_dummies(pd.Series(list("abca")), sparse=True)
    for frame in (dummies, dummies.assign(more=[1.0, 2.0, 3.0, 4.0])):
        row_format, _ = read(frame)
        assert row_format.columns.categorical == ()


def test_wide_frames_are_read_at_once(X):
    frame = pd.DataFrame(X, columns=list("abcde")).astype({"b": int})
    _, array = read(frame)
    assert_array_equal(array, frame.to_numpy(dtype=np.float32))
    frame["d"] = frame["d"].astype(float)
    frame.loc[3, "d"] = 1e300
    with pytest.raises(ValueError, match=r"Column 'd' contains infinity.*1e\+300"):
        read(frame)


@pytest.mark.parametrize(
    "names", [pd.MultiIndex.from_product([["a"], range(5)]), list("abcde"), range(5)]
)
def test_names_of_columns(X, names):
    frame = pd.DataFrame(X, columns=names)
    row_format, array = read(frame)
    assert_array_equal(array, X)
    assert_array_equal(row_format.read(frame), X)


def test_missing_dates_among_strings_are_missing():
    frame = frame_of(
        pd.Series([pd.NaT if v is None else v for v in TEXT], dtype=object)
    )
    assert_array_equal(read(frame)[1][:, 1], CODES)


def test_strings_in_an_array():
    with pytest.raises(ValueError, match=r"'a'.*Arrays hold numbers.*DataFrame"):
        read(np.array([["a", "1"], ["b", "2"]]))
    frame = frame_of(CATEGORIES["object"])
    with pytest.raises(ValueError, match="Column 'c' holds 'b', which is no number"):
        read(frame, categorical_features=None)


def test_na_in_an_array():
    frame = pd.DataFrame({"a": [1, None, 2], "b": [1.0, 2.0, 3.0]}).convert_dtypes()
    with pytest.raises(
        TypeError, match=r"'NAType'\. Give the DataFrame itself, or NaN"
    ):
        read(frame.to_numpy())


# Which categories have a code of their own


def test_rare_and_unknown_categories_share_a_code():
    values = ["x"] * 600 + ["y"] * 5 + ["z"] * 4 + ["w"]
    row_format, array = read(pd.DataFrame({"c": values}))
    (categories,) = row_format.columns.categories
    assert categories.frequent == ("x", "y")
    assert_array_equal(array[[0, 600, 605, 609], 0], [0, 1, 2, 2])
    later = row_format.read(pd.DataFrame({"c": ["y", "new"]}))
    assert_array_equal(later[:, 0], [1, 2])
    # In a small table a single row is 1 %.
    row_format, _ = read(pd.DataFrame({"c": values[-100:]}))
    assert row_format.columns.categories[0].frequent == ("x", "y", "z", "w")


def test_other_names_of_categories_change_nothing():
    values = np.random.RandomState(0).randint(0, 12, 200)
    _, expected = read(pd.DataFrame({"c": values.astype(str)}))
    for same in (values, values * 0.5 - 3, np.char.add("level ", values.astype(str))):
        array = read(pd.DataFrame({"c": same}), categorical_features=[0])[1]
        assert_array_equal(array, expected)


def test_no_category_of_the_fit_is_left():
    row_format, _ = read(frame_of(CATEGORIES["object"]))
    later = frame_of(pd.Series(["A", "B", None] * 2))
    later = pd.concat([later] * 4)
    with pytest.warns(UserWarning, match=r"Column 'c' has none of.*'b'.*Got 'A'"):
        array = row_format.read(later)
    assert_array_equal(array[:, 1], [2, 2, NAN] * 8)
    for values in ([1, 2] * 3, [True, False] * 3):
        with pytest.raises(ValueError, match=r"held values of type string in fit. Got"):
            row_format.read(frame_of(pd.Series(values)))
    # A few rows of a new category are no reason to worry, and a gap is none either.
    assert row_format.read(pd.DataFrame({"other": [1], "c": ["A"]}))[0, 1] == 2
    assert np.isnan(row_format.read(frame_of(pd.Series([None] * 6)))[:, 1]).all()


def test_numbers_in_fit_and_strings_later():
    row_format, _ = read(frame_of(NUMERIC["float"]))
    with pytest.raises(ValueError, match="Column 'c' holds 'b', which is no number"):
        row_format.read(frame_of(CATEGORIES["object"]))


def test_columns_that_say_nothing():
    frame = pd.DataFrame(
        {
            "number": OTHER,
            "constant": 7.0,
            "one category": "x",
            "empty": None,
            "not a number": NAN,
        }
    )
    with pytest.warns(UserWarning, match="Column 'empty', Column 'not a number': all"):
        row_format, array = read(frame)
    assert row_format.columns.numbers == [0, 1]
    assert row_format.encoder_shape == (2,)
    frame["empty"] = "late"
    with pytest.warns(UserWarning, match="'empty': all values were missing in fit. Th"):
        later = row_format.read(frame)
    assert_array_equal(later[:, :3], array[:, :3])


def test_names_of_rows_are_no_categories():
    frame = pd.DataFrame({"a": range(1000), "id": [f"row {i}" for i in range(1000)]})
    with pytest.warns(UserWarning, match="Column 'id': each category is rare"):
        row_format, _ = read(frame)
    assert row_format.encoder_shape == (1,)
    with pytest.raises(ValueError, match="No column of 'X' tells rows apart"):
        read(pd.DataFrame({"a": ["x"] * 9}))


# Gaps


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix, pd.DataFrame])
def test_gaps_of_numbers(X, container):
    X = X.copy()
    X[3, 2] = X[5, 2] = X[7, 4] = NAN
    row_format, array = read(container(X))
    assert row_format.columns == Columns(5, gaps=(2, 4))
    assert_array_equal(array.toarray() if sparse.issparse(array) else array, X)


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_gaps_that_were_not_there_in_fit(X):
    gaps = X.copy()
    gaps[0, [1, 3]] = NAN
    frame = pd.DataFrame(X, columns=list("abcde"))
    row_format, _ = read(frame, fills_gaps=True)
    match = "^Column 'b', Column 'd': values are missing, but none were in fit. They"
    for later in (gaps, pd.DataFrame(gaps, columns=frame.columns)):
        with pytest.warns(UserWarning, match=match):
            assert_array_equal(row_format.read(later), gaps)
    row_format, _ = read(frame)
    with pytest.raises(ValueError, match=r"Column 'b', Column 'd'.*Fill them"):
        row_format.read(gaps)


def test_a_new_gap_of_a_category_is_an_unknown_one():
    values = ["x"] * 600 + ["y"] * 400 + ["rare"]
    row_format, _ = read(pd.DataFrame({"c": values}), fills_gaps=True)
    with pytest.warns(UserWarning, match="as an unknown category"):
        array = row_format.read(pd.DataFrame({"c": ["x", None, "new"]}))
    assert_array_equal(array[:, 0], [0, 2, 2])


def test_many_columns_are_not_all_named(X):
    row_format, _ = read(np.ones((3, 9)))
    with pytest.raises(ValueError, match="Column 4 and 4 more: values"):
        row_format.read(np.full((3, 9), NAN))


# Names


@pytest.mark.parametrize("library", [pd, pl])
@pytest.mark.parametrize(
    ("order", "match"),
    [
        (["c", "other"], r"Column 'c' is where column 'other' was. Order them: X\["),
        (["other"], "now missing:\n- c"),
        (["other", "c", "more"], "unseen at fit time:\n- more"),
    ],
)
def test_columns_reordered_missing_or_extra(library, order, match):
    values = {"other": OTHER, "c": TEXT, "more": OTHER}
    frame = library.DataFrame(values)
    row_format, _ = read(frame[["other", "c"]])
    with pytest.raises(ValueError, match=match):
        row_format.read(frame[order])


@pytest.mark.parametrize("names", [["a", "b", "a"], [1, 2, 1]])
def test_duplicated_columns(X, names):
    frame = pd.DataFrame(X[:, :3], columns=names)
    match = f"2 columns of the name '{names[0]}'. Give each"
    with pytest.raises(ValueError, match=match):
        read(frame)
    frame.columns = list("abc") if names[0] == "a" else [1, 2, 3]
    row_format, _ = read(frame)
    frame.columns = names
    with pytest.raises(ValueError, match=match):
        row_format.read(frame)


def test_a_description_can_be_compared_and_pickled():
    frames = [frame_of(CATEGORIES[kind]) for kind in ("object", "category", "boolean")]
    first, second, third = (read(frame)[0] for frame in frames)
    assert first == second != third
    assert len({first, second, third}) == 2
    assert pickle.loads(pickle.dumps(first)) == first


# Features of the encoder


def test_features_of_a_table():
    frame = pd.DataFrame(
        {
            "number": [1.0, NAN, 3.0, 4.0],
            "color": ["red", "blue", None, "red"],
            "constant": "x",
            "count": [7, 8, 9, 10],
        }
    )
    row_format, array = read(frame)
    layer = TableInput(row_format.columns)
    expected = [  # number, count, red, blue, no number, no color
        [1, 7, 1, 0, 0, 0],
        [NAN, 8, 0, 1, 1, 0],
        [3, 9, 0, 0, 0, 1],
        [4, 10, 1, 0, 0, 0],
    ]
    assert_array_equal(layer.encode(torch.from_numpy(array)), expected)
    assert row_format.encoder_shape == (6,)
    unknown = pd.DataFrame(
        {"number": [2.0], "color": ["green"], "constant": ["y"], "count": [1]}
    )
    x = torch.from_numpy(row_format.read(unknown))
    assert_array_equal(layer.encode(x), [[2, 1, 0, 0, 0, 0]])


def test_features_are_scaled():
    # The features of a column of categories share half the spread of a number.
    n_rows = 4000
    random = np.random.RandomState(0)
    number = random.normal(50, 7, n_rows)
    number[::2] = NAN
    frame = pd.DataFrame(
        {
            "number": number,
            "few": random.choice(list("abcd"), n_rows),
            "many": random.choice([str(i) for i in range(40)], n_rows),
        }
    )
    frame.loc[::4, "few"] = None
    row_format, array = read(frame)
    torch.manual_seed(0)
    layer = TableInput(row_format.columns, allow_nan=True)
    rows = torch.from_numpy(array)
    layer.fit_statistics(rows, random)
    features = layer(rows).detach()
    assert features.shape == (n_rows, 1 + 4 + 2 + 16)
    present = ~np.isnan(number)
    assert_array_equal(features[~present, 0], 0)
    assert 0.7 < features[present, 0].var() < 0.85  # 1, but for the smooth clip
    few = [1, 2, 3, 4, 6]
    assert features[:, few].var(dim=0).sum() == pytest.approx(0.25, rel=0.05)
    assert features[:, 5].var() == pytest.approx(0.9, rel=0.1)  # of the number, clipped
    assert features[:, 7:].var(dim=0).sum() == pytest.approx(0.25, rel=0.2)
    # Calls are averaged, each with as much weight as it has rows.
    again = TableInput(row_format.columns)
    again.fit_statistics(rows, random, before=layer)
    torch.testing.assert_close(again.scale.scale[:7], layer.scale.scale[:7])


def test_rare_categories_have_a_feature():
    frame = pd.DataFrame({"c": ["x"] * 300 + ["y"] * 200 + ["z", None]})
    row_format, array = read(frame)
    layer = TableInput(row_format.columns)
    x = torch.from_numpy(array[[0, 300, 500, 501]])
    assert_array_equal(layer.encode(x), np.eye(4))
    x = torch.from_numpy(row_format.read(pd.DataFrame({"c": ["new"]})))
    assert_array_equal(layer.encode(x), [[0, 0, 1, 0]])


def test_long_categories_are_embedded():
    values = [f"level {i % (MOST_ONE_HOT + 1)}" for i in range(400)]
    frame = pd.DataFrame({"c": values, "d": values, "a": range(400)})
    frame.loc[0, "c"] = None
    row_format, array = read(frame)
    layer = TableInput(row_format.columns)
    assert row_format.encoder_shape == (33,)
    features = layer.encode(torch.from_numpy(array))
    assert features.shape == (400, 33)
    assert_array_equal(features[:, 0].detach(), frame["a"])
    assert len(features[:, 1:17].unique(dim=0)) == MOST_ONE_HOT + 2
    assert len(features[:, 17:].unique(dim=0)) == MOST_ONE_HOT + 1
    # The same level of two columns is not the same; gaps and unknown ones start at 0.
    assert not torch.equal(features[1, 1:17], features[1, 17:])
    assert not features[0, 1:17].any()
    unknown = row_format.read(pd.DataFrame({"c": ["new"], "d": ["new"], "a": [0]}))
    assert not layer.encode(torch.from_numpy(unknown)).any()
    features.sum().backward()
    assert layer.embedding.weight.grad.any()
