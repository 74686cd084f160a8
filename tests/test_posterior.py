import numpy as np
import pytest
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import rankdata
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from sklearn_bcl import BCLEmbedder, _posterior
from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import BCLLoss

PRIORS = {"alpha": 0.8, "tau_plus": 0.3, "beta": 0.7}
METHODS = ["similarity", "true_negative_proba", "importance_weights"]


@pytest.fixture(scope="module")
def embedder(X):
    return small(**PRIORS).fit(X)


def projections(embedder, X):
    with torch.no_grad():
        return embedder.net_.module_(torch.from_numpy(X)).numpy()


def test_similarity_is_that_of_the_projections(embedder, X):
    z = projections(embedder, X)
    assert_allclose(embedder.similarity(X), z @ z.T, atol=1e-6)
    similarity = embedder.similarity(X[:7], X)
    assert_allclose(similarity, z[:7] @ z.T, atol=1e-6)
    assert similarity.dtype == np.float32


def expected_by_rank(embedder, X, Y, of_ranks):
    similarity = embedder.similarity(X, Y)
    return of_ranks(rankdata(similarity, "max", axis=1) / similarity.shape[1])


def posterior(p):
    return true_negative_posterior(p, alpha=0.8, tau_plus=0.3)


def weights(p):
    return importance_weights(p, **PRIORS)


@pytest.mark.parametrize(
    ("method", "of_ranks"),
    [("true_negative_proba", posterior), ("importance_weights", weights)],
)
def test_ranks_of_candidates(embedder, X, method, of_ranks):
    Y = np.vstack([X[:30], X[:2]])  # with ties
    values = getattr(embedder, method)(X, Y)
    assert_allclose(values, expected_by_rank(embedder, X, Y, of_ranks), rtol=1e-5)
    assert_array_equal(values[:, :2], values[:, 30:])
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("method", "of_ranks"),
    [("true_negative_proba", posterior), ("importance_weights", weights)],
)
def test_an_anchor_is_not_its_own_candidate(embedder, X, method, of_ranks):
    values = getattr(embedder, method)(X)
    assert_array_equal(np.diag(values), 0)
    for i in (0, 50, 99):
        others = np.delete(X, i, axis=0)
        expected = expected_by_rank(embedder, X[i : i + 1], others, of_ranks)[0]
        assert_allclose(np.delete(values[i], i), expected, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_chunks_change_nothing(embedder, X, method, monkeypatch):
    expected = getattr(embedder, method)(X)
    monkeypatch.setattr(_posterior, "CHUNK_PAIRS", 250)
    assert_array_equal(getattr(embedder, method)(X), expected)


def test_means(embedder, X):
    off_diagonal = ~np.eye(len(X), dtype=bool)
    proba = embedder.true_negative_proba(X)[off_diagonal]
    assert proba.min() >= 0 and proba.max() <= 1
    assert_allclose(proba.mean(), 1 - 0.3, atol=0.01)
    assert_allclose(embedder.importance_weights(X)[off_diagonal].mean(), 1, atol=0.02)


def test_weights_are_those_of_the_loss_that_the_user_brings(X):
    loss = BCLLoss(tau_plus=0.3, alpha=0.8, beta=0.7)
    embedder, named = small(loss=loss).fit(X), small(**PRIORS).fit(X)
    for method in METHODS:
        assert_array_equal(getattr(embedder, method)(X), getattr(named, method)(X))


@pytest.mark.parametrize("method", METHODS)
def test_input(X, method):
    embedder = small(loss="simclr").fit(X)
    expected = getattr(embedder, method)(X, X[:9])
    for Y in (sparse.csr_matrix(X[:9]), torch.from_numpy(X[:9]), X[:9].tolist()):
        assert_allclose(getattr(embedder, method)(X, Y), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"'Y' cannot be candidates.*3 features"):
        getattr(embedder, method)(X, X[:, :3])
    with pytest.raises(NotFittedError):
        getattr(small(), method)(X)


def test_single_rows(embedder, X):
    assert embedder.similarity(X[:1]).shape == (1, 1)
    assert_allclose(embedder.true_negative_proba(X[:2], X[:1]), posterior(1.0))
    with pytest.raises(ValueError, match="'X' has a single row"):
        embedder.true_negative_proba(X[:1])


def test_posterior_finds_true_negatives_of_digits(digits):
    X, y = digits
    embedder = BCLEmbedder(max_epochs=10, random_state=0).fit(X)
    proba = embedder.true_negative_proba(X[:100], X[100:])
    is_true_negative = y[:100, None] != y[100:]
    auc = [roc_auc_score(*pair) for pair in zip(is_true_negative, proba, strict=True)]
    assert np.mean(auc) > 0.85
