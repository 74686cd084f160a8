import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import alpha_from_auc
from sklearn_bcl.losses import BCLLoss, DebiasedLoss
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


def measured(**params):
    return small(use_labels=True, **params)


@pytest.mark.parametrize("reading", ["calibrated", "paper"])
def test_alpha_from_labels(data, reading):
    X, y = data
    y[:150] = -1
    embedder = measured(alpha_reading=reading, alpha_update_epochs=2).fit(X, y)
    alphas = used_alphas(embedder)
    assert alphas[0] == alphas[1] != alphas[2] == alphas[3] != alphas[4]
    assert all(0.5 <= alpha < 1 for alpha in alphas)

    def expected(embedder):
        rows = embedder._rows(X[150:].astype(np.float32))
        auc = embedding_auc(embedder.net_.embed(rows, project=True), y[150:])
        return auc if reading == "paper" else alpha_from_auc(auc)

    # The last measurement is that of the fitted net.
    assert_allclose(embedder.alpha_, expected(embedder), rtol=1e-4)
    # The first one is that of the untrained net: train so little that it stays so.
    embedder = measured(alpha_reading=reading, max_epochs=1, learning_rate=1e-12)
    embedder.fit(X, y)
    assert_allclose(used_alphas(embedder), [expected(embedder)], rtol=1e-4)


def test_tau_plus_from_labels(data):
    X, _ = data
    y = np.repeat([-1, 0, 1, 2], [150, 75, 50, 25])
    embedder = measured(alpha=0.8).fit(X, y)
    assert_allclose(embedder.tau_plus_, (75**2 + 50**2 + 25**2) / 150**2)
    assert embedder.net_.criterion_.tau_plus == embedder.tau_plus_
    assert used_alphas(embedder) == [0.8] * 5
    for loss in ("dcl", "hcl"):
        embedder = measured(loss=loss).fit(X, y)
        assert embedder.net_.criterion_.tau_plus == embedder.tau_plus_
        assert 0.5 <= embedder.alpha_ < 1


def test_priors_that_are_set_or_brought_along(data):
    X, y = data
    embedder = small().fit(X, y)
    assert (embedder.tau_plus_, embedder.alpha_) == (0.1, 0.9)
    embedder = measured(tau_plus=0.3, alpha=0.7).fit(X, y)
    assert (embedder.tau_plus_, embedder.alpha_) == (0.3, 0.7)
    embedder = small(loss=BCLLoss(tau_plus=0.4, alpha=0.6)).fit(X)
    assert (embedder.tau_plus_, embedder.alpha_) == (0.4, 0.6)
    embedder = small(alpha_schedule="linear", alpha=0.8).fit(X)
    assert_allclose(embedder.alpha_, 0.8)


def test_constant_is_recorded_too(data):
    X, _ = data
    assert used_alphas(small(alpha=0.8).fit(X)) == [0.8] * 5


def test_string_labels(data):
    X, y = data
    y[:150] = -1
    names = np.array([f"digit {label}" if label >= 0 else "-1" for label in y])
    embedding = measured().fit_transform(X, y)
    assert_array_equal(measured().fit_transform(X, names), embedding)


@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_labels_never_matter_unless_asked_for(data, schedule):
    X, y = data
    embedding = small(alpha_schedule=schedule).fit_transform(X, y)
    other = small(alpha_schedule=schedule).fit_transform(X, np.roll(y, 1))
    assert_array_equal(other, embedding)


def test_labels_matter_when_asked_for(data):
    X, y = data
    embedding = measured().fit_transform(X, y)
    assert not np.array_equal(measured().fit_transform(X, np.roll(y, 1)), embedding)


def test_labels_change_nothing_but_the_priors(data):
    X, y = data
    priors = {"alpha": 0.7, "tau_plus": 0.3}
    expected = small(**priors).fit_transform(X)
    assert_array_equal(measured(**priors).fit_transform(X, y), expected)
    assert_array_equal(measured(**priors).fit_transform(X), expected)
    y[:50] = -1
    embedder = measured(alpha=0.7).fit(X, y)
    again = small(alpha=0.7, tau_plus=embedder.tau_plus_).fit_transform(X)
    assert_array_equal(embedder.transform(X), again)


def test_rare_classes_are_measured(data, monkeypatch):
    monkeypatch.setattr("sklearn_bcl._priors.MOST_MEASURED_ROWS", 8)
    X, _ = data
    y = np.zeros(300, dtype=int)
    y[[5, 250]] = 1
    for seed in range(5):
        embedder = measured(random_state=seed, max_epochs=1).fit(X, y)
        assert 0.5 <= embedder.alpha_ < 1


def test_losses_of_the_user_keep_their_priors(data):
    X, y = data
    embedder = measured(loss=BCLLoss(tau_plus=0.4, alpha=0.6, beta=0.7)).fit(X, y)
    fitted = (embedder.tau_plus_, embedder.alpha_, embedder.beta_)
    assert fitted == (0.4, 0.6, 0.7)
    assert used_alphas(embedder) == [0.6] * 5
    assert small(loss=DebiasedLoss(tau_plus=0.4)).fit(X).tau_plus_ == 0.4


def test_partial_fit_measures_at_each_call(data):
    X, y = data
    embedder = measured().partial_fit(X, y)
    first = embedder.alpha_
    assert_allclose(used_alphas(embedder.partial_fit(X, y)), [first])


def test_a_pickle_holds_no_labels(data):
    X, y = data
    size = len(pickle.dumps(measured().fit(X, y)))
    half = measured().fit(X[:150], y[:150])
    assert size - len(pickle.dumps(half)) < 500  # neither rows nor labels


@pytest.mark.parametrize(
    ("params", "y", "match"),
    [
        ({"use_labels": True}, None, "'use_labels' True needs labels: give y"),
        ({"use_labels": True}, -np.ones(300), "labels of two classes"),
        ({"use_labels": True}, np.arange(300), "two rows of one of them"),
        ({"use_labels": True}, np.arange(9), "inconsistent numbers of samples"),
        ({"use_labels": True}, np.linspace(0, 1, 300), "continuous"),
        ({"use_labels": True}, np.where(np.arange(300) < 9, np.nan, 1), "missing"),
        ({"use_labels": True}, pd.array([None, 1, 2] * 100, dtype="Int64"), "missing"),
        ({"use_labels": True}, np.array([None, "a", "b"] * 100), "missing values"),
        ({"alpha_schedule": "linear", "early_stopping": True}, None, "cannot be comp"),
        (
            {"use_labels": True, "early_stopping": True},
            np.arange(300) % 3,
            "cannot be comp",
        ),
        (
            {"alpha_schedule": "linear", "use_labels": True},
            np.arange(300) % 3,
            "is measured. Set 'alpha'",
        ),
        ({"alpha_schedule": "linear", "loss": "simclr"}, None, "needs loss='bcl'"),
    ],
)
def test_invalid(data, params, y, match):
    X, _ = data
    with pytest.raises(ValueError, match=match):
        small(**params).fit(X, y)
