import numpy as np
import pytest
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import rankdata
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn.functional import normalize

from sklearn_bcl import BCLEmbedder
from sklearn_bcl._posterior import pairwise
from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import BCLLoss, NTXentLoss

PRIORS = {"alpha": 0.8, "tau_plus": 0.3, "beta": 0.7}
METHODS = ["similarity", "true_negative_proba", "importance_weights"]


def posterior(p):
    return true_negative_posterior(p, alpha=0.8, tau_plus=0.3)


def weights(p):
    return importance_weights(p, **PRIORS)


# Pairs of projections


@pytest.fixture
def z(views):
    return views(101, 8, torch.float32)[0]


def ranks_of(values):
    """Return ranks / number, tied ones at the highest; of nothing, 0."""
    return rankdata(values, "max", axis=-1) / max(1, values.shape[-1])


def test_similarities_of_all_pairs(z, device):
    for candidates in (None, z[:30]):
        others = z if candidates is None else candidates
        on_device = None if candidates is None else candidates.to(device)
        values = pairwise(z.to(device), on_device)
        assert isinstance(values, np.ndarray)
        assert values.dtype == np.float32
        assert_allclose(values, z @ others.T, rtol=1e-5, atol=1e-6)


def test_a_function_of_ranks(z, device):
    similarity = pairwise(z.to(device), z[:30].to(device))
    for of_ranks in (posterior, weights, np.square):
        values = pairwise(z.to(device), z[:30].to(device), of_ranks)
        assert values.dtype == np.float32
        assert_allclose(values, of_ranks(ranks_of(similarity)), rtol=1e-5)


def test_tied_candidates_share_the_highest_rank(device):
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]], device=device)
    candidates = anchors[[0, 1, 0, 1, 1]]  # similarities of 0 and 1
    ranks = pairwise(anchors, candidates, lambda p: p)
    assert_allclose(ranks, [[1, 0.6, 1, 0.6, 0.6], [0.4, 1, 0.4, 1, 1]])
    ranks = pairwise(candidates, None, lambda p: p)
    assert_allclose(ranks[0], [0, 0.75, 1, 0.75, 0.75])
    assert_allclose(ranks[1], [0.5, 0, 0.5, 1, 1])


def test_an_anchor_has_no_rank_in_its_own_place(z, device):
    similarity = pairwise(z.to(device), None)
    values = pairwise(z.to(device), None, lambda p: 1 + p)
    assert_array_equal(np.diag(values), 0)
    for i in (0, 50, 100):
        expected = 1 + ranks_of(np.delete(similarity[i], i))
        assert_allclose(np.delete(values[i], i), expected, rtol=1e-6)


@pytest.mark.parametrize("of_ranks", [None, posterior])
@pytest.mark.parametrize("among_themselves", [False, True])
def test_chunks_change_nothing(views, of_ranks, among_themselves):
    z, candidates = views(97, 128, torch.float32)  # a last chunk of one row
    candidates = None if among_themselves else candidates[:37]
    expected = pairwise(z, candidates, of_ranks)
    for chunk_pairs in (1, 250, 4000, 7000):
        values = pairwise(z, candidates, of_ranks, chunk_pairs)
        assert_array_equal(values, expected)


def test_a_single_candidate(z):
    assert pairwise(z[:1], None).shape == (1, 1)
    assert_allclose(pairwise(z[:2], z[:1], posterior), posterior(1.0), rtol=1e-6)
    with pytest.raises(ValueError, match="'X' has a single row"):
        pairwise(z[:1], None, posterior)


# The estimator's methods


@pytest.fixture(scope="module")
def embedder(X):
    return small(**PRIORS).fit(X)


def test_similarity_is_that_of_the_projections(embedder, X):
    with torch.no_grad():
        z = normalize(embedder._model.net.module_(torch.from_numpy(X))).numpy()
    assert_allclose(embedder.similarity(X), z @ z.T, atol=1e-6)
    similarity = embedder.similarity(X[:7], X)
    assert_allclose(similarity, z[:7] @ z.T, atol=1e-6)
    assert similarity.dtype == np.float32
    assert_allclose(np.diag(embedder.similarity(X)), 1, atol=1e-6)


def expected_by_rank(embedder, X, Y, of_ranks):
    return of_ranks(ranks_of(embedder.similarity(X, Y)))


each_of_ranks = pytest.mark.parametrize(
    ("method", "of_ranks"),
    [("true_negative_proba", posterior), ("importance_weights", weights)],
)


@each_of_ranks
def test_ranks_of_candidates(embedder, X, method, of_ranks):
    Y = np.vstack([X[:30], X[:2]])  # with ties
    values = getattr(embedder, method)(X, Y)
    assert_allclose(values, expected_by_rank(embedder, X, Y, of_ranks), rtol=1e-5)
    assert_array_equal(values[:, :2], values[:, 30:])
    assert values.dtype == np.float32


@each_of_ranks
def test_an_anchor_is_not_its_own_candidate(embedder, X, method, of_ranks):
    values = getattr(embedder, method)(X)
    assert_array_equal(np.diag(values), 0)
    for i in (0, 50, 99):
        others = np.delete(X, i, axis=0)
        expected = expected_by_rank(embedder, X[i : i + 1], others, of_ranks)[0]
        assert_allclose(np.delete(values[i], i), expected, rtol=1e-5)


def test_means(embedder, X):
    off_diagonal = ~np.eye(len(X), dtype=bool)
    proba = embedder.true_negative_proba(X)[off_diagonal]
    assert proba.min() >= 0 and proba.max() <= 1
    assert_allclose(proba.mean(), 1 - 0.3, atol=0.01)
    assert_allclose(embedder.importance_weights(X)[off_diagonal].mean(), 1, atol=0.02)


def test_weights_are_those_of_the_loss_that_the_user_brings(X):
    embedder, named = small(loss=BCLLoss(**PRIORS)).fit(X), small(**PRIORS).fit(X)
    for method in METHODS:
        assert_array_equal(getattr(embedder, method)(X), getattr(named, method)(X))


class OwnLoss(nn.Module):
    def forward(self, z1, z2):
        return -(z1 * z2).mean()


@pytest.mark.parametrize(
    "loss", ["simclr", "dcl", "hcl", NTXentLoss(), OwnLoss()], ids=str
)
def test_a_loss_without_bayesian_priors_has_similarities_only(X, loss):
    embedder = small(loss=loss, max_epochs=1).fit(X)
    assert embedder.similarity(X, X[:9]).shape == (100, 9)
    for method in ("true_negative_proba", "importance_weights"):
        assert not hasattr(embedder, method)
        with pytest.raises(AttributeError) as info:
            getattr(embedder, method)
        assert "'loss' is" in str(info.value.__cause__)


def test_methods_follow_the_fit_and_not_a_later_change(X):
    embedder = small(loss="simclr").fit(X).set_params(loss="bcl")
    assert not hasattr(embedder, "true_negative_proba")
    embedder.fit(X).set_params(loss="simclr")
    assert embedder.true_negative_proba(X).shape == (100, 100)


@pytest.mark.parametrize("method", METHODS)
def test_input(embedder, X, method):
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
