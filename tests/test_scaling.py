import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse

from sklearn_bcl import _scaling
from sklearn_bcl._rows import Rows
from sklearn_bcl._scaling import FeatureScales


def measure(X, seed=0):
    X = X.astype(np.float32) if sparse.issparse(X) else np.asarray(X, dtype=np.float32)
    return FeatureScales.of(Rows(X, torch.device("cpu")), np.random.RandomState(seed))


def test_normal_features_get_their_mean_and_standard_deviation():
    X = np.random.default_rng(0).normal([0, 100], [1, 0.01], size=(5000, 2))
    scales = measure(X)
    assert_allclose(scales.center, [0, 100], atol=0.05)
    assert_allclose(scales.scale, [1, 0.01], rtol=0.05)


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


def test_a_constant_call_does_not_count_for_the_scale():
    X = np.random.default_rng(0).normal(scale=1e-3, size=(50, 2))
    constant = measure(np.zeros((150, 2)))
    both = constant + measure(X)
    assert_allclose(both.scale, measure(X).scale)
    assert_allclose(both.center, measure(X).center / 4)
    assert_allclose((constant + constant).scale, 1)


@pytest.mark.parametrize(("most_values", "n_measured"), [(2**27, 400), (0, 30)])
def test_many_or_wide_rows_are_sampled(monkeypatch, most_values, n_measured):
    monkeypatch.setattr(_scaling, "MOST_ROWS", 400)
    monkeypatch.setattr(_scaling, "LEAST_ROWS", 30)
    monkeypatch.setattr(_scaling, "MOST_VALUES", most_values)
    subset, sizes = Rows.subset, []
    monkeypatch.setattr(
        Rows, "subset", lambda rows, i: sizes.append(len(i)) or subset(rows, i)
    )
    scales = measure(np.random.default_rng(0).normal(size=(1000, 3)))
    assert sizes == [n_measured]
    assert scales.n_rows == 1000
