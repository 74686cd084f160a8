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


def test_values_that_float32_cannot_tell_apart_are_named():
    # Two groups: their distance is far above the differences within them.
    column = np.repeat([-1e6, 1e6], 40) + np.tile(np.arange(40), 2) * 1e-9
    frame = pd.DataFrame({"a": X[:, 0], "far": column})
    with pytest.warns(UserWarning, match=r"Column .far..*cannot tell apart"):
        RowFormat.of(frame)
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


def test_errors_of_floating_point_asked_for_by_the_user():
    for size in (1e-310, 1e-40, 1.0, 1e300):
        scaled = X * size
        with np.errstate(all="raise"):
            embedding = small(max_epochs=1).fit(scaled).transform(scaled)
        assert np.isfinite(embedding).all()
