import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score

from sklearn_bcl import metrics
from sklearn_bcl.metrics import embedding_auc


@pytest.fixture
def data():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(60, 4)).round(1)  # with ties
    return X, rng.choice(list("abbcd"), size=60)


def test_against_one_roc_curve_for_each_anchor(data, monkeypatch):
    X, y = data
    y[0] = "z"  # no other row of its class: no anchor
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    similarity = unit @ unit.T
    expected = [
        roc_auc_score(np.delete(y == y[i], i), np.delete(similarity[i], i))
        for i in range(1, len(X))
    ]
    assert_allclose(embedding_auc(X, y), np.mean(expected))
    monkeypatch.setattr(metrics, "CHUNK_ANCHORS", 7)
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
