"""Columns that float32 would not hold as they are."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.units import Units

rng = np.random.RandomState(0)
X = rng.normal(size=(80, 4))
LABELS = [f"Column {j}" for j in range(4)]


@pytest.mark.parametrize("size", [1e-300, 1e-46, 1e-40, 1e-28, 1e13, 1e30, 1e300])
@pytest.mark.parametrize("kind", ["array", "frame", "sparse", "mixed"])
def test_units_of_the_data_do_not_count(size, kind):
    made = {
        "array": lambda X: X,
        "frame": pd.DataFrame,
        "sparse": lambda X: scipy.sparse.csr_matrix(np.where(X > 0, X, 0)),
        "mixed": lambda X: pd.DataFrame(X).assign(name=["a", "b"] * 40),
    }[kind]
    plain, scaled = made(X), made(X * size)
    if kind in ("frame", "mixed"):
        plain.columns = scaled.columns = [str(name) for name in plain.columns]
    expected = small(max_epochs=1).fit(plain).transform(plain)
    embedder = small(max_epochs=1).fit(scaled)
    assert_allclose(embedder.transform(scaled), expected, atol=1e-4)
    assert_allclose(embedder.transform(scaled[:3]), expected[:3], atol=1e-4)


@pytest.mark.parametrize("offset", [1e6, 1.7e9, -1e12])
def test_large_offsets_do_not_count(offset):
    # Time stamps: float32 would know no differences below 128.
    spread = abs(offset) * 1e-8
    X_far = X * spread + offset
    expected = small(max_epochs=1).fit(X * spread).transform(X * spread)
    embedder = small(max_epochs=1).fit(X_far)
    assert_allclose(embedder.transform(X_far), expected, atol=0.02)
    assert len(np.unique(embedder.transform(X_far), axis=0)) == 80
    embedder.partial_fit(X_far)  # in the units of the first call


def test_ordinary_columns_stay_as_they_are():
    for rows in (X, X.astype(np.float32), (100 * X).astype(int), X > 0):
        row_format, read = RowFormat.of(rows)
        assert row_format.columns.units == Units()
        assert_array_equal(read, rows.astype(np.float32))
    frame = pd.DataFrame({"year": 2000 + np.arange(80) % 24, "constant": 7e12})
    assert RowFormat.of(frame)[0].columns.units.columns == ()


def test_only_the_columns_that_need_it():
    mixed = X * [1, 1e-40, 1, 1] + [0, 0, 1e9, 0]
    row_format, read = RowFormat.of(mixed)
    units = row_format.columns.units
    assert units.columns == (1, 2)
    assert units.unit[0] == 2.0 ** round(np.log2(units.unit[0]))  # which is exact
    assert units.offset == (0.0, np.sort(mixed[:, 2])[39])
    assert units.unit[1] == 1.0
    assert_array_equal(read[:, [0, 3]], mixed[:, [0, 3]].astype(np.float32))
    assert_allclose(read[:, 2], mixed[:, 2] - units.offset[1], rtol=1e-6)
    assert_array_equal(row_format.read(mixed), read)
    with_gaps = np.where(rng.rand(*mixed.shape) < 0.3, np.nan, mixed)
    units = RowFormat.of(with_gaps)[0].columns.units
    assert units.columns == (1, 2)


def both_ways(spread):
    return [-spread, -spread, spread, spread]


def around(center, spread):
    return [center + spread * k for k in (-1, -1, 0, 1, 1)]


LEAST, MOST = 2.0**-40, 2.0**40


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # Of columns that vary, the spread counts, half the distance of the quartiles.
        (both_ways(LEAST), None),
        (both_ways(LEAST / 2), (0, LEAST / 2)),
        (both_ways(LEAST * 0.75), (0, LEAST / 2)),
        (both_ways(MOST), None),
        (both_ways(MOST * 2), (0, MOST * 2)),
        (both_ways(MOST * 1.5), (0, MOST)),
        (both_ways(1e308), (0, 2.0**1023)),
        # Or half the range, where the quartiles are the same.
        ([0] * 9 + [2 * LEAST], None),
        ([0] * 9 + [LEAST], (0, LEAST / 2)),
        ([0] * 9 + [-LEAST], (0, LEAST / 2)),
        # A median of more than 2,048 spreads is subtracted.
        (around(2048, 1), None),
        (around(2049, 1), (2049, 1)),
        (around(-2049, 1), (-2049, 1)),
        (around(2048 * LEAST, LEAST / 2), (2048 * LEAST, LEAST / 2)),
        # Constants stay, unless they are beyond float32's square root.
        ([1e-60] * 4, None),
        ([0.0] * 4, None),
        ([MOST**2] * 4, None),
        ([-(MOST**2) * 2] * 4, (0, MOST**2 * 2)),
        # Missing values do not count.
        ([np.nan] * 30 + around(2049, 1) + [np.nan] * 9, (2049, 1)),
        ([np.nan] * 30 + around(2048, 1) + [np.nan] * 9, None),
        ([np.nan] * 4, None),
    ],
)
def test_offset_and_unit_of_a_column(values, expected):
    columns = np.column_stack([np.arange(float(len(values))), values])
    units = Units.of(columns, LABELS)
    found = units.offset + units.unit
    assert found == (expected or ())
    assert units.columns == ((1,) if expected else ())
    read = units.to_float32(columns, LABELS)
    assert read.dtype == np.float32
    offset, unit = expected or (0, 1)
    assert_array_equal(read[:, 1], np.float32((columns[:, 1] - offset) / unit))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_offsets_of_integers(dtype):
    start = np.iinfo(dtype).max - 90
    ids = np.arange(start, start + 61, dtype=dtype)[:, None]
    units = Units.of(ids, LABELS)
    assert units == Units((0,), (start + 30,), (1.0,))
    assert_array_equal(units.to_float32(ids, LABELS)[:, 0], np.arange(-30, 31))


def test_integers_beyond_int64_lose_their_differences():
    ids = np.arange(2**63, 2**63 + 61, dtype=np.uint64)[:, None]
    with pytest.warns(UserWarning, match="of 61 values in 61 rows, 1 are left"):
        Units.of(ids, LABELS)


def test_integers_of_both_signs_keep_their_differences():
    ids = np.array([[-3, -2, -1, 0, 1, 2, 3]]).T + np.array([-(2**61), 2**61, 0])
    units = Units.of(ids, LABELS)
    assert units.columns == (0, 1)
    read = units.to_float32(ids, LABELS)
    assert_array_equal(read, np.tile(np.arange(-3, 4), (3, 1)).T)


@pytest.mark.parametrize(("n_rows", "columns"), [(1024, (0,)), (1026, ()), (3000, ())])
def test_units_are_those_of_some_rows(n_rows, columns):
    rows = np.ones((n_rows, 1))
    rows[1::2] = 1e20  # every other row is measured, or every third
    rows[3::6] = 1
    assert Units.of(rows, LABELS).columns == columns


def test_units_of_a_table_are_those_of_its_columns():
    parts = {
        3: Units((0,), (5.0,), (1.0,)),
        4: Units(),
        7: Units((0,), (0.0,), (4.0,)),
    }
    units = Units.joined(parts)
    assert units == Units((3, 7), (5.0, 0.0), (1.0, 4.0))
    assert units.by_column == {3: parts[3], 7: parts[7]}
    assert Units.joined({4: Units()}) == Units()


@pytest.mark.parametrize(
    ("stored", "unit"),
    [
        # The median of the sizes of stored values that are not zero.
        ([LEAST] * 3, None),
        ([LEAST / 2] * 3, LEAST / 2),
        ([-LEAST / 2] * 3, LEAST / 2),
        ([LEAST * 0.75] * 3, LEAST / 2),
        ([LEAST / 2, LEAST, LEAST * 2], LEAST),
        ([LEAST / 2, LEAST * 2, LEAST * 2], None),
        ([MOST] * 3, None),
        ([MOST * 2] * 3, MOST * 2),
        ([MOST * 3] * 3, MOST * 2),
        ([1, MOST, MOST * 2], MOST),
        ([1, 1, MOST * 2], None),
        ([0, 0, LEAST / 2], LEAST / 2),
        ([np.nan, np.nan, LEAST / 2], LEAST / 2),
        ([0, 0, 0], None),
    ],
)
@pytest.mark.parametrize("make", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_unit_of_a_sparse_column(stored, unit, make):
    # In the second of three columns, in rows 0 to 2 of 9.
    data, columns = [1.0, *stored, 3.0], [0, 1, 1, 1, 2]
    rows = make((data, columns, [0, 2, 3, 4, 5, 5, 5, 5, 5, 5]), shape=(9, 3))
    units = Units.of(rows, LABELS)
    assert units == (Units((1,), (0.0,), (unit,)) if unit else Units())
    read = units.to_float32(rows, LABELS)
    assert type(read) is make
    assert read.dtype == np.float32
    assert_array_equal(read.data[1:4], np.float32(np.array(stored) / (unit or 1)))
    assert_array_equal(read.data[[0, 4]], [1, 3])


def test_integers_of_sparse_columns_have_units():
    rows = scipy.sparse.csr_array(np.array([[1, 2**41, 0], [9, -(2**41), -(2**63)]]))
    units = Units.of(rows, LABELS)
    assert units == Units((1, 2), (0.0, 0.0), (2.0**41, 2.0**63))
    assert_array_equal(units.to_float32(rows, LABELS).data, [1, 1, 9, -1, -1])


@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_array])
def test_rows_of_the_user_are_not_changed(make):
    values = np.float32([[1, 1e-30], [2, 3e-30], [4, -1e-30]])
    rows = make(values)
    units = Units.of(rows, LABELS)
    assert units.columns == (1,)
    read = units.to_float32(rows, LABELS)
    kept, read = (x if isinstance(x, np.ndarray) else x.toarray() for x in (rows, read))
    assert_array_equal(kept, values)
    assert_array_equal(read, np.float32(values / [1, units.unit[0]]))
    # And not copied either where they stay as they are.
    assert Units().to_float32(rows, LABELS) is rows


@pytest.mark.parametrize(
    ("values", "n_left"),
    [
        ([-1e6, -1e6 + 1e-9, 1e6, 1e6 + 1e-9], None),  # half of them
        ([-1e6, -1e6 + 1e-9, -1e6 + 2e-9, 1e6, 1e6 + 1e-9], 2),
        ([0, 5e-324], 1),
        ([5e-324, 5e-324], None),
    ],
)
def test_fewer_than_half_of_the_values_are_left(values, n_left):
    columns = np.column_stack([np.arange(float(len(values))), values, values])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Units.of(columns, LABELS)
    messages = [str(one.message) for one in seen]
    n = len(values)
    said = f"of {n} values in {n} rows, {n_left} are left. 2 columns are like this"
    assert len(messages) == (n_left is not None)
    assert all(said in one and one.startswith("Column 1 ") for one in messages)


def test_values_that_float32_cannot_tell_apart_are_named():
    # Two groups: their distance is far above the differences within them.
    column = np.repeat([-1e6, 1e6], 40) + np.tile(np.arange(40), 2) * 1e-9
    frame = pd.DataFrame({"a": X[:, 0], "far": column})
    for same in (frame, frame.assign(name=["x", "y"] * 40)):
        with pytest.warns(UserWarning, match=r"Column .far..*cannot tell apart"):
            RowFormat.of(same)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RowFormat.of(X)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_values_beyond_the_units_are_named(value):
    rows = X.copy()
    rows[7, 2] = value
    match = "Column 2 contains infinity or a value too large for float32, 1e"
    for wrong in (rows, scipy.sparse.csr_matrix(rows)):
        with pytest.raises(ValueError, match="infinity"):
            small().fit(wrong)
    embedder = small(max_epochs=1).fit(X)
    if np.isfinite(value):
        with pytest.raises(ValueError, match=match):
            embedder.transform(rows)
        with pytest.raises(ValueError, match=match):
            embedder.transform(scipy.sparse.csr_matrix(rows))


def test_dates_are_no_numbers():
    dates = np.array(["2020-01-01", "2021-05-05"] * 10, dtype="datetime64[D]")
    for wrong in (dates[:, None], dates[:, None] - dates[0]):
        with pytest.raises(ValueError, match=r"dates or times\. Turn them"):
            small().fit(wrong)


@pytest.mark.parametrize("start", [2**62, 2**60, -(2**61), 2**53])
@pytest.mark.parametrize("kind", ["array", "frame"])
def test_long_integers_keep_their_differences(start, kind):
    numbers = (start + np.arange(60))[:, None]
    X = pd.DataFrame(numbers, columns=["id"]) if kind == "frame" else numbers
    embedding = small(max_epochs=1).fit_transform(X)
    assert len(np.unique(embedding, axis=0)) == 60


def test_sparse_time_stamps_are_named():
    stamps = scipy.sparse.csr_matrix(1.7e9 + rng.rand(60, 2))
    with pytest.warns(UserWarning, match="Column 0 has stored values that float32"):
        small(max_epochs=1).fit(stamps)
    rows = scipy.sparse.csr_array([[1, 1.7e9, 1.7e9], [2, 1.7e9 + 1, 1.7e9]])
    with pytest.warns(UserWarning, match=r"^Column 1 .* apart\. 1 columns are like"):
        Units.of(rows, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Units.of(rows[:, [0, 2]], LABELS)
        Units.of(rows.astype(np.float32), LABELS)


def test_errors_of_floating_point_asked_for_by_the_user():
    for size in (1e-310, 1e-40, 1.0, 1e300):
        scaled = X * size
        with np.errstate(all="raise"):
            embedding = small(max_epochs=1).fit(scaled).transform(scaled)
        assert np.isfinite(embedding).all()


def test_sums_beyond_float32_are_no_warning():
    with_gap = X.copy()
    with_gap[0, 0] = np.nan
    row_format, _ = RowFormat.of(with_gap)
    large = np.ones((10_000, 4))
    large[:2500], large[2500:5000], large[-1, 0] = 3e38, -3e38, np.nan
    assert np.isfinite(row_format.read(large)[:-1]).all()
