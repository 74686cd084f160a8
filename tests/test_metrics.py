import pickle

import numpy as np
import pytest
from helpers import small
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_validate

from sklearn_bcl.metrics import (
    alignment,
    alignment_scorer,
    embedding_auc,
    embedding_auc_scorer,
    uniformity,
    uniformity_scorer,
)


@pytest.fixture
def data():
    """More rows than are compared at a time, with similarities that tie exactly."""
    rng = np.random.RandomState(0)
    X = rng.choice([-1.0, 1.0], size=(530, 16))
    return X, rng.choice(list("abbcd"), size=530)


@pytest.mark.parametrize(("n_rows", "ties"), [(60, True), (60, False), (530, True)])
def test_against_one_roc_curve_for_each_anchor(data, n_rows, ties):
    X, y = (values[:n_rows].copy() for values in data)
    if not ties:
        X += np.random.RandomState(1).normal(size=X.shape)
    y[0] = "z"  # no other row of its class: no anchor
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = unit @ unit.T
    expected = [
        roc_auc_score(np.delete(y == y[i], i), np.delete(similarity[i], i))
        for i in range(1, len(X))
    ]
    assert_allclose(embedding_auc(X, y), np.mean(expected))


def test_extremes():
    X = np.repeat(np.eye(3), 4, axis=0)
    y = np.repeat([0, 1, 2], 4)
    assert embedding_auc(X, y) == 1
    assert embedding_auc(np.ones((12, 2)), y) == 0.5


@pytest.mark.parametrize("y", [[0, 0, 0], [0, 1, 2]])
def test_undefined(y):
    with pytest.raises(ValueError, match="The AUC needs a row"):
        embedding_auc(np.eye(3), y)


@pytest.mark.parametrize("exponent", [1, 2, 2.5])
@pytest.mark.parametrize("n_rows", [60, 530])
def test_alignment_and_uniformity_against_all_pairs(data, exponent, n_rows):
    X, y = (values[:n_rows] for values in data)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    distance, others = cdist(unit, unit), ~np.eye(n_rows, dtype=bool)
    positive = distance[(y[:, None] == y) & others] ** exponent
    assert_allclose(alignment(X, y, exponent=exponent), positive.mean())
    potential = np.exp(-exponent * distance[others] ** 2)
    assert_allclose(uniformity(X, t=exponent), np.log(potential.mean()))


def test_two_views_are_positive_pairs():
    first, second = np.random.RandomState(0).normal(size=(2, 20, 4))
    unit = [
        view / np.linalg.norm(view, axis=1, keepdims=True) for view in (first, second)
    ]
    expected = np.square(unit[0] - unit[1]).sum(axis=1).mean()
    views = np.vstack([first, second])
    assert_allclose(alignment(views, np.tile(np.arange(20), 2)), expected)


def test_equal_rows():
    assert alignment(np.ones((4, 3)), [0, 0, 1, 1]) == 0
    assert_allclose(uniformity(np.ones((4, 3))), 0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: alignment(np.eye(3), [0, 1, 2]), "needs two rows with the same 'y'"),
        (lambda: alignment(np.eye(3), [0, 0, 0], exponent=0), "'exponent' must be"),
        (lambda: uniformity(np.eye(3), t=-1), "'t' must be"),
        (lambda: uniformity(np.eye(1)), "minimum of 2"),
    ],
)
def test_invalid(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_scorers(digits):
    X, y = digits[0][:200], digits[1][:200]
    scoring = {
        "auc": embedding_auc_scorer,
        "alignment": alignment_scorer,
        "uniformity": uniformity_scorer,
    }
    results = cross_validate(small(), X, y, cv=2, scoring=scoring)
    assert (results["test_auc"] > 0.5).all()
    assert (results["test_alignment"] < 0).all()
    assert (results["test_uniformity"] > 0).all()
    for scorer in scoring.values():  # searches in processes pickle them
        assert pickle.loads(pickle.dumps(scorer)) is scorer
    pca = PCA(5).fit(X)
    assert embedding_auc_scorer(pca, X, y) == embedding_auc(pca.transform(X), y)
    assert alignment_scorer(pca, X, y) == -alignment(pca.transform(X), y)
    partly = np.where(np.arange(200) < 150, y, -1.0)
    expected = embedding_auc(pca.transform(X)[:150], y[:150])
    assert embedding_auc_scorer(pca, X, partly) == pytest.approx(expected)
    assert uniformity_scorer(pca, X) == -uniformity(pca.transform(X))
