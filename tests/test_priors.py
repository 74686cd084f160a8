import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import alpha_from_auc
from sklearn_bcl.losses import BCLLoss
from sklearn_bcl.metrics import embedding_auc


def small(**params):
    defaults = {"n_components": 8, "hidden_layer_sizes": (16,), "random_state": 0}
    return BCLEmbedder(**{**defaults, "max_epochs": 5, **params})


@pytest.fixture
def data(digits):
    X, y = digits
    return X[:300], y[:300].copy()


def used_alphas(embedder):
    return embedder.net_.history[:, "alpha"]


def test_linear(data):
    X, _ = data
    embedder = small(alpha_schedule="linear", alpha=0.9).fit(X)
    assert_allclose(used_alphas(embedder), [0.5, 0.6, 0.7, 0.8, 0.9])
    embedder = small(alpha_schedule="linear", loss=BCLLoss(alpha=0.7)).fit(X)
    assert_allclose(used_alphas(embedder)[-1], 0.7)
    assert used_alphas(small(alpha_schedule="linear").partial_fit(X)) == [0.9]


def test_schedules_change_the_embedding(data):
    X, _ = data
    constant = small().fit_transform(X)
    linear = small(alpha_schedule="linear").fit_transform(X)
    assert not np.array_equal(constant, linear)


@pytest.mark.parametrize("reading", ["calibrated", "paper"])
def test_auc(data, reading):
    X, y = data
    y[:150] = -1
    embedder = small(
        alpha_schedule="auc", alpha_reading=reading, alpha_update_epochs=2
    ).fit(X, y)
    alphas = used_alphas(embedder)
    assert alphas[0] == alphas[1] != alphas[2] == alphas[3] != alphas[4]
    assert all(0.5 <= alpha < 1 for alpha in alphas)
    # The first one is that of the untrained net: train so little that it stays so.
    embedder = small(
        alpha_schedule="auc", alpha_reading=reading, max_epochs=1, learning_rate=1e-12
    ).fit(X, y)
    rows = embedder._rows(X[150:].astype(np.float32))
    auc = embedding_auc(embedder.net_.embed(rows, project=True), y[150:])
    expected = auc if reading == "paper" else alpha_from_auc(auc)
    assert_allclose(used_alphas(embedder), [expected], rtol=1e-4)


def test_constant_is_recorded_too(data):
    X, _ = data
    assert used_alphas(small(alpha=0.8).fit(X)) == [0.8] * 5


def test_string_labels(data):
    X, y = data
    y[:150] = -1
    names = np.array([f"digit {label}" if label >= 0 else "-1" for label in y])
    embedding = small(alpha_schedule="auc").fit_transform(X, y)
    assert_array_equal(small(alpha_schedule="auc").fit_transform(X, names), embedding)


def test_labels_matter_only_with_auc(data):
    X, y = data
    other = np.roll(y, 1)
    for schedule in ("constant", "linear"):
        embedding = small(alpha_schedule=schedule).fit_transform(X, y)
        assert_array_equal(
            small(alpha_schedule=schedule).fit_transform(X, other), embedding
        )
    embedding = small(alpha_schedule="auc").fit_transform(X, y)
    assert not np.array_equal(
        small(alpha_schedule="auc").fit_transform(X, other), embedding
    )


def test_a_pickle_holds_no_labels(data):
    X, y = data
    size = len(pickle.dumps(small(alpha_schedule="auc").fit(X, y)))
    half = small(alpha_schedule="auc").fit(X[:150], y[:150])
    assert size - len(pickle.dumps(half)) < 3000  # neither rows nor labels


@pytest.mark.parametrize(
    ("params", "y", "match"),
    [
        ({"alpha_schedule": "auc"}, None, "'alpha_schedule' 'auc' needs labels: give"),
        ({"alpha_schedule": "auc"}, -np.ones(300), "labels of two classes"),
        ({"alpha_schedule": "auc"}, np.arange(300), "two rows of one of them"),
        ({"alpha_schedule": "auc"}, np.arange(9), "inconsistent numbers of samples"),
        ({"alpha_schedule": "linear", "early_stopping": True}, None, "cannot be comp"),
        ({"alpha_schedule": "linear", "loss": "simclr"}, None, "needs loss='bcl'"),
    ],
)
def test_invalid(data, params, y, match):
    X, _ = data
    with pytest.raises(ValueError, match=match):
        small(**params).fit(X, y)
