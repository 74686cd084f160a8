"""Priors in a ramp or from labels, and callbacks of skorch beside them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, EarlyStopping

from sklearn_bcl.bayes import alpha_from_auc
from sklearn_bcl.callbacks import LinearAlpha, MeasuredAlpha
from sklearn_bcl.losses import BCLLoss, DebiasedLoss
from sklearn_bcl.metrics import embedding_auc


def five_epochs(**params):
    return small(**{"max_epochs": 5, "batch_size": 256, **params})


def from_labels(**params):
    return five_epochs(**{"tau_plus": "labels", "alpha": "labels", **params})


@pytest.fixture
def data(digits):
    X, y = digits
    return X[:300], y[:300].copy()


def used_alphas(embedder):
    return embedder.history_[:, "alpha"]


# LinearAlpha


def test_linear(data):
    X, _ = data
    embedder = five_epochs(callbacks=[LinearAlpha()], alpha=0.9).fit(X)
    assert_allclose(used_alphas(embedder), [0.5, 0.6, 0.7, 0.8, 0.9])
    assert embedder.alpha_ == 0.9
    embedder = five_epochs(callbacks=[("ramp", LinearAlpha())], loss=BCLLoss(alpha=0.7))
    assert_allclose(used_alphas(embedder.fit(X))[-1], 0.7)
    assert used_alphas(five_epochs(callbacks=[LinearAlpha()]).partial_fit(X)) == [0.9]


def test_a_ramp_changes_the_embedding(data):
    X, _ = data
    constant = five_epochs().fit_transform(X)
    assert not np.array_equal(
        constant, five_epochs(callbacks=[LinearAlpha()]).fit_transform(X)
    )


# Priors from labels


@pytest.mark.parametrize("reading", ["calibrated", "paper"])
def test_alpha_from_labels(data, reading):
    X, y = data
    y[:150] = -1
    callbacks = [MeasuredAlpha(every=2, reading=reading)]
    embedder = from_labels(callbacks=callbacks).fit(X, y)
    alphas = used_alphas(embedder)
    assert alphas[0] == alphas[1] != alphas[2] == alphas[3] != alphas[4]
    assert all(0.5 <= alpha < 1 for alpha in alphas)

    def expected(embedder):
        with torch.no_grad():
            z = embedder._model.net.module_(torch.from_numpy(X[150:]).float())
        auc = embedding_auc(z.numpy(), y[150:])
        return auc if reading == "paper" else alpha_from_auc(auc)

    # The last measurement is that of the fitted net.
    assert_allclose(embedder.alpha_, expected(embedder), rtol=1e-4)
    # The first one is that of the untrained net: train so little that it stays so.
    embedder = from_labels(callbacks=callbacks, max_epochs=1, learning_rate=1e-12)
    embedder.fit(X, y)
    assert_allclose(used_alphas(embedder), [expected(embedder)], rtol=1e-4)


def test_labels_is_the_callback_with_its_defaults(data):
    X, y = data
    embedding = five_epochs(alpha="labels").fit_transform(X, y)
    for alpha in ("labels", 0.9):
        for callback in (MeasuredAlpha(20, "calibrated"), MeasuredAlpha):
            embedder = five_epochs(alpha=alpha, callbacks=[callback])
            assert_array_equal(embedder.fit_transform(X, y), embedding)


def test_tau_plus_from_labels(data):
    X, _ = data
    y = np.repeat([-1, 0, 1, 2], [150, 75, 50, 25])
    for loss in ("bcl", "dcl", "hcl"):
        embedder = five_epochs(tau_plus="labels", loss=loss).fit(X, y)
        assert_allclose(embedder.tau_plus_, (75**2 + 50**2 + 25**2) / 150**2)
        again = five_epochs(tau_plus=embedder.tau_plus_, loss=loss)
        assert_array_equal(again.fit_transform(X), embedder.transform(X))


def test_only_the_rows_to_train_on_set_the_prior(data):
    X, y = data
    embedder = five_epochs(tau_plus="labels", early_stopping=True).fit(X, y)
    whole = five_epochs(tau_plus="labels").fit(X, y)
    assert embedder.tau_plus_ != whole.tau_plus_


def test_priors_that_are_set_or_brought_along(data):
    X, y = data
    embedder = five_epochs().fit(X, y)
    assert (embedder.tau_plus_, embedder.alpha_, embedder.beta_) == (0.1, 0.9, 0.5)
    embedder = five_epochs(loss=BCLLoss(tau_plus=0.4, alpha=0.6, beta=0.7)).fit(X)
    assert (embedder.tau_plus_, embedder.alpha_, embedder.beta_) == (0.4, 0.6, 0.7)
    assert five_epochs(loss=DebiasedLoss(tau_plus=0.4)).fit(X).tau_plus_ == 0.4
    measured = five_epochs(loss=BCLLoss(tau_plus=0.4), callbacks=[MeasuredAlpha()])
    assert measured.fit(X, y).tau_plus_ == 0.4
    assert measured.alpha_ != 0.9


def test_string_labels(data):
    X, y = data
    y[:150] = -1
    names = np.array([f"digit {label}" if label >= 0 else "-1" for label in y])
    embedding = from_labels().fit_transform(X, y)
    for labels in (names, pd.Series(names, dtype="category"), y.astype(float)):
        assert_array_equal(from_labels().fit_transform(X, labels), embedding)


def test_labels_matter_when_asked_for(data):
    X, y = data
    embedding = from_labels().fit_transform(X, y)
    assert not np.array_equal(from_labels().fit_transform(X, np.roll(y, 1)), embedding)


def test_labels_never_matter_unless_asked_for(data):
    X, y = data
    for callbacks in (None, [LinearAlpha()]):
        embedding = five_epochs(callbacks=callbacks).fit_transform(X, y)
        other = five_epochs(callbacks=callbacks).fit_transform(X, np.roll(y, 1))
        assert_array_equal(other, embedding)


def test_rare_classes_are_measured(digits):
    # More labeled rows than are measured, two of which are of another class.
    X, _ = digits
    X = np.concatenate([X, X[:600]])
    y = np.zeros(len(X), dtype=int)
    y[[5, 1250]] = 1
    for seed in range(2):
        embedder = five_epochs(alpha="labels", random_state=seed, max_epochs=1).fit(
            X, y
        )
        assert 0.5 <= embedder.alpha_ < 1


def test_partial_fit_measures_at_each_call(data):
    X, y = data
    embedder = from_labels().partial_fit(X, y)
    first = embedder.alpha_
    # The same rows in another order: their AUC differs by rounding.
    assert_allclose(used_alphas(embedder.partial_fit(X, y)), [first], rtol=1e-4)


def test_alpha_is_measured_after_the_best_weights_are_back(data):
    class Restore(Callback):
        """Like callbacks of skorch that load the weights of the best epoch."""

        def on_train_end(self, net, **kwargs):
            with torch.no_grad():
                net.module_.head[0].weight.zero_()  # all projections are the same

    X, y = data
    for callbacks in ([Restore()], [MeasuredAlpha(), Restore()]):
        embedder = five_epochs(alpha="labels", callbacks=callbacks).fit(X, y)
        assert used_alphas(embedder)[0] > 0.6
        assert embedder.alpha_ == pytest.approx(0.5, abs=0.01)  # up to rounding


def test_a_ramp_that_is_stopped_has_its_last_value(data):
    X, _ = data
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1.0)
    embedder = five_epochs(callbacks=[LinearAlpha(), stop], max_epochs=50).fit(X)
    assert embedder.n_iter_ < 50
    assert embedder.alpha_ == 0.9


def test_a_pickle_holds_no_labels(data):
    X, y = data
    size = len(pickle.dumps(from_labels().fit(X, y)))
    half = from_labels().fit(X[:150], y[:150])
    assert size - len(pickle.dumps(half)) < 500  # neither rows nor labels


def test_the_user_s_callback_stays_as_it_was(data):
    X, y = data
    callback = MeasuredAlpha(every=2)
    five_epochs(alpha="labels", callbacks=[callback]).fit(X, y)
    assert vars(callback) == {"every": 2, "reading": "calibrated"}


THREE = np.arange(300) % 3


@pytest.mark.parametrize(
    ("params", "y", "match"),
    [
        ({"alpha": "labels"}, None, "alpha='labels' needs labels: give y"),
        ({"tau_plus": "labels"}, None, "tau_plus='labels' needs labels: give y"),
        ({"callbacks": [MeasuredAlpha()]}, None, "'callbacks' MeasuredAlpha needs lab"),
        ({"alpha": "labels"}, -np.ones(300), "labels of two classes"),
        ({"tau_plus": "labels"}, np.arange(300), "two rows of one of them"),
        ({"alpha": "labels"}, np.arange(9), "inconsistent numbers of samples"),
        ({"tau_plus": "labels"}, np.linspace(0, 1, 300), "continuous"),
        ({"alpha": "labels"}, np.where(np.arange(300) < 9, np.nan, 1), "missing"),
        ({"alpha": "labels"}, pd.array([None, 1, 2] * 100, dtype="Int64"), "missing"),
        ({"alpha": "labels"}, np.array([None, "a", "b"] * 100), "missing values"),
        (
            {"callbacks": [LinearAlpha()], "early_stopping": True},
            None,
            "LinearAlpha.*cannot be compared",
        ),
        ({"alpha": "labels", "early_stopping": True}, THREE, "cannot be compared"),
        ({"alpha": "labels", "callbacks": [LinearAlpha()]}, THREE, "Only one of the"),
        ({"callbacks": [LinearAlpha()], "loss": "simclr"}, None, "the loss is NTXent"),
        (
            {"callbacks": [MeasuredAlpha()], "loss": "dcl"},
            THREE,
            "the loss is Debiased",
        ),
        ({"callbacks": [LinearAlpha, MeasuredAlpha]}, THREE, "Only one of the"),
        ({"callbacks": [MeasuredAlpha(every=0)]}, THREE, "'every' must be"),
        ({"callbacks": [MeasuredAlpha(reading="auc")]}, THREE, "'reading' must be"),
    ],
)
def test_invalid(data, params, y, match):
    X, _ = data
    with pytest.raises(ValueError, match=match):
        five_epochs(**params).fit(X, y)


def test_callbacks_see_each_batch(X):
    class Note(Callback):
        def on_batch_begin(self, net, batch, training, **kwargs):
            seen.append(("begins", len(batch[0]), training))

        def on_batch_end(self, net, batch, training, **kwargs):
            seen.append(("ends", len(batch[0]), training))

    seen = []
    small(max_epochs=1, batch_size=64, callbacks=[Note()]).fit(X)
    sizes = [64, len(X) - 64]
    assert seen == [(what, n, True) for n in sizes for what in ("begins", "ends")]
