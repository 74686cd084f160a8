import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bcl._data import scaling
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.rows import Rows
from sklearn_bcl._data.scaling import FeatureScales


def measure(X, device="cpu"):
    row_format, X = RowFormat.of(X)
    rows = Rows(X, row_format, torch.device(device))
    return FeatureScales.of(rows, np.random.RandomState(0))


def test_normal_features_get_their_mean_and_standard_deviation(device):
    X = np.random.default_rng(0).normal([0, 100], [1, 0.1], size=(5000, 2))
    scales = measure(X, device)
    assert_allclose(scales.center, [0, 100], atol=0.05)
    assert_allclose(scales.scale, [1, 0.1], rtol=0.05)


def test_a_tensor_is_read_like_rows():
    X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    scales = FeatureScales.of(torch.from_numpy(X), np.random.RandomState(0))
    assert_allclose(scales.center, np.median(X, axis=0), rtol=1e-6)
    low, high = np.quantile(X.astype(np.float64), [0.25, 0.75], axis=0)
    assert_allclose(scales.scale, (high - low) / 1.349, rtol=1e-5)
    assert scales.n_rows == 50


def test_outliers_change_little():
    X = np.random.default_rng(0).normal(size=(1000, 2))
    before = measure(X)
    X[:10] = 1e9
    assert_allclose(measure(X).scale, before.scale, rtol=0.05)


def test_rare_and_constant_features():
    X = np.zeros((1000, 3))
    X[:100, 0] = 1
    X[:, 2] = 0.1
    scales = measure(X)
    assert_allclose(scales.center, [0, 0, 0.1], rtol=1e-6)
    assert_allclose(scales.scale, [0.3, 1, 1], rtol=1e-6)


def test_sparse_rows_are_measured_as_dense_ones():
    X = sparse.random(300, 5, density=0.6, random_state=0, format="csr")
    assert_allclose(measure(X).scale, measure(X.toarray()).scale)


@pytest.mark.parametrize("n_rows", [8, 9, 10, 11])
def test_sparse_columns_of_any_signs(n_rows):
    # Columns of k negative and m positive values, zero else.
    signs = [(k, m) for k in range(n_rows + 1) for m in range(n_rows + 1 - k)]
    X = np.zeros((n_rows, len(signs)))
    for j, (k, m) in enumerate(signs):
        X[:k, j] = -1 - np.arange(k)
        X[k : k + m, j] = 3 + np.arange(m)
    expected, scales = measure(X), measure(sparse.csr_array(X))
    for name in ("center", "scale", "n_varied"):
        assert_allclose(getattr(scales, name), getattr(expected, name), rtol=1e-6)


def test_zeros_that_are_stored_are_zeros():
    X = sparse.csr_array(([0.0, 0.0, 2.0, 0.0], [0, 1, 1, 0], [0, 2, 4, 4, 4]))
    scales, expected = measure(X), measure(X.toarray())
    assert_allclose(scales.scale, expected.scale)
    assert scales.n_varied.tolist() == expected.n_varied.tolist() == [0, 4]


def test_sparse_columns_are_measured_in_blocks(monkeypatch):
    X = sparse.random(40, 7, density=0.9, random_state=0, format="csr")
    expected = measure(X.toarray())
    for values in (1, 80, 120, 280):
        monkeypatch.setattr(scaling, "BLOCK_VALUES", values)
        scales = measure(X)
        assert_allclose(scales.center, expected.center)
        assert_allclose(scales.scale, expected.scale)


@pytest.mark.filterwarnings("ignore:.*all values are missing")
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_gaps_do_not_count(container):
    X = np.random.default_rng(0).normal([0, 3, 0, 0], size=(80, 4))
    X[:, 2] = np.nan
    X[::3, 1] = np.nan
    X[::5, 3] = np.nan
    X[:, 3] *= 0
    scales, present = measure(container(X)), ~np.isnan(X[:, 1])
    expected = measure(X[present, 1:2])
    assert_allclose(scales.center, [np.median(X[:, 0]), expected.center[0], 0, 0])
    assert_allclose(scales.scale[1:], [expected.scale[0], 1, 1])
    assert scales.n_varied.tolist() == [80, 80, 0, 0]


def test_features_that_are_0_or_1_have_a_standard_deviation():
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    x[:, 1:] = x[:, 1:] > 0.5
    x[:, 2] = 1
    rows = torch.from_numpy(x)
    scales = FeatureScales.of(rows, np.random.RandomState(0), n_numbers=1)
    quartiles = FeatureScales.of(rows, np.random.RandomState(0)).scale
    assert_allclose(scales.scale, [quartiles[0], x[:, 1].std(), 1], rtol=1e-6)
    of_all = FeatureScales.of(rows, np.random.RandomState(0), n_numbers=0).scale
    assert_allclose(of_all[0], x[:, 0].std(), rtol=1e-6)


def test_rows_of_an_earlier_call_count_as_well():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    first = FeatureScales.of(x[:30], np.random.RandomState(0))
    both = FeatureScales.of(x[30:], np.random.RandomState(0), before=first)
    expected = first + FeatureScales.of(x[30:], np.random.RandomState(0))
    assert both.n_rows == 50 and both.n_varied.tolist() == [50, 50]
    assert_allclose(both.center, expected.center)
    assert_allclose(both.scale, expected.scale)


def test_calls_are_averaged_by_their_rows():
    X = np.random.default_rng(0).normal(size=(200, 2))
    parts = [measure(X[:150]), measure(X[150:] * 5 + 1)]
    both = parts[0] + parts[1]
    assert both.n_rows == 200
    for name in ("center", "scale"):
        first, second = (getattr(part, name) for part in parts)
        assert_allclose(getattr(both, name), 0.75 * first + 0.25 * second)


def test_a_constant_call_does_not_count_for_the_scale():
    X = np.random.default_rng(0).normal(scale=1e-3, size=(50, 2))
    constant = measure(np.zeros((150, 2)))
    both = constant + measure(X)
    assert_allclose(both.scale, measure(X).scale)
    assert_allclose(both.center, measure(X).center / 4)
    assert_allclose((constant + constant).scale, 1)


class WideRows:
    """As many features as one asks for, of which two are there."""

    def __init__(self, n_rows, n_features):
        self.n_rows, self.n_features = n_rows, n_features
        self.values = torch.randn(n_rows, 2, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return self.n_rows

    def __getitem__(self, positions):
        if isinstance(positions, slice) and positions.stop == 1:
            return torch.empty(1, self.n_features, device="meta")
        self.asked = np.arange(self.n_rows)[positions]
        return self.values[self.asked]


@pytest.mark.parametrize(
    ("n_rows", "n_features", "n_measured"),
    [
        (10_000, 3, 10_000),
        (12_000, 3, 10_000),
        (12_000, 2**16, 2048),  # 2^27 values
        (1_500, 2**16, 1_500),
        (12_000, 2**20, 1_000),  # at least
    ],
)
def test_many_or_wide_rows_are_sampled(n_rows, n_features, n_measured):
    rows = WideRows(n_rows, n_features)
    scales = FeatureScales.of(rows, np.random.RandomState(0))
    assert len(np.unique(rows.asked)) == len(rows.asked) == n_measured
    assert scales.n_rows == n_rows
    assert_allclose(scales.center, 0, atol=0.1)
    chosen = rows.asked
    FeatureScales.of(rows, np.random.RandomState(0))
    assert (rows.asked == chosen).all()
    if n_measured < n_rows:
        assert chosen.mean() == pytest.approx(n_rows / 2, rel=0.1)
        FeatureScales.of(rows, np.random.RandomState(1))
        assert (rows.asked != chosen).any()


@pytest.mark.parametrize("block_values", [1, 250, 10_000])
def test_features_are_measured_some_at_a_time(block_values, monkeypatch):
    values = np.random.RandomState(0).normal(size=(100, 7)).astype(np.float32)
    values[:, 2], values[:60, 3] = 4, 0
    values[::3, 5] = np.nan
    rows = torch.from_numpy(values)
    expected = FeatureScales.of(rows, np.random.RandomState(0))
    monkeypatch.setattr(scaling, "BLOCK_VALUES", block_values)
    measured = FeatureScales.of(rows, np.random.RandomState(0))
    for name in ("center", "scale", "n_varied"):
        assert_array_equal(getattr(measured, name), getattr(expected, name))
