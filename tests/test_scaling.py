import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse

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
