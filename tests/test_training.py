"""How long fits train, and how they go on, stop early or are interrupted."""

import pickle

import numpy as np
import pytest
import torch
from helpers import noise, small, weights
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping
from torch import nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl._parts import auto_epochs


def test_epochs_follow_the_number_of_rows(X):
    n_rows = [2, 2_400, 2_401, 3_750, 4_000, 9_600, 60_000, 10**7]
    for is_quick, expected in (
        (True, [80, 80, 80, 80, 78, 50, 20, 10]),
        (False, [200, 200, 200, 160, 155, 100, 40, 10]),
    ):
        assert [auto_epochs(n, is_quick, False) for n in n_rows] == expected
        # As many as it takes to stop early.
        assert auto_epochs(10**7, is_quick, early_stopping=True) == 200
    assert BCLEmbedder().max_epochs == "auto"
    assert small(max_epochs="auto").fit(X[:10]).n_iter_ == 80
    assert small(max_epochs="auto").partial_fit(X).n_iter_ == 1
    # Counted anew with a warm start.
    assert (
        small(max_epochs="auto", warm_start=True).fit(X[:10]).fit(X[:10]).n_iter_ == 160
    )
    with pytest.raises(ValueError, match="'max_epochs' parameter"):
        small(max_epochs="many").fit(X)


def test_partial_fit(X):
    embedder = small()
    for start in (0, 50):
        embedder.partial_fit(X[start : start + 50])
    assert embedder.n_iter_ == len(embedder.loss_curve_) == 2
    # The average over the calls of what each shows.
    parts = [
        np.percentile(X[part], [25, 50, 75], axis=0)
        for part in (np.s_[:50], np.s_[50:])
    ]
    low, center, high = np.mean(parts, axis=0)
    assert_allclose(embedder.encoder_.scale.center, center, rtol=1e-5)
    assert_allclose(embedder.encoder_.scale.scale, (high - low) / 1.349, rtol=1e-5)
    again = small()
    for start in (0, 50):
        again.partial_fit(X[start : start + 50])
    assert_array_equal(again.transform(X), embedder.transform(X))
    # Pickled in between, it goes on as if nothing had happened.
    again = pickle.loads(pickle.dumps(small().partial_fit(X[:50])))
    assert_array_equal(again.partial_fit(X[50:]).transform(X), embedder.transform(X))


def test_failed_partial_fit_loses_nothing(X):
    embedder = small(verbose=1).partial_fit(X)
    expected = embedder.transform(X)
    embedder.set_params(augmentation=RaiseAt(4, RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        embedder.partial_fit(X + 1)
    assert_array_equal(embedder.transform(X), expected)
    pickle.dumps(embedder)
    embedder.set_params(augmentation="corruption").partial_fit(X)
    assert embedder.n_iter_ == 2


@pytest.mark.parametrize("goes_on", ["partial_fit", "fit"])
def test_a_failed_call_leaves_the_random_state(X, goes_on):
    def train(embedder):
        return getattr(embedder, goes_on)(X)

    expected = train(small(warm_start=True).fit(X))
    embedder = small(warm_start=True).fit(X)
    for broken in (
        {"augmentation": RaiseAt(4, RuntimeError("out of memory"))},
        {"augmentation": RaiseAt(4, KeyboardInterrupt)},
        {"n_components": 9},
        {"augmentation": lambda x, generator: x * float("nan")},
    ):
        embedder.set_params(**broken)
        with pytest.raises((RuntimeError, KeyboardInterrupt, ValueError)):
            train(embedder)
        embedder.set_params(augmentation="auto", n_components=8)
    assert_array_equal(train(embedder).transform(X), expected.transform(X))


def test_a_failed_fit_leaves_the_random_state_of_the_user(X):
    random_state = np.random.RandomState(0)
    before = random_state.get_state()
    broken = RaiseAt(4, RuntimeError("out of memory"))
    with pytest.raises(RuntimeError):
        small(random_state=random_state, augmentation=broken).fit(X)
    assert_array_equal(random_state.get_state()[1], before[1])
    assert random_state.get_state()[2:] == before[2:]


def test_partial_fit_keeps_the_state_of_the_optimizer(X):
    # Adam's first step has the size of the learning rate; a restart would repeat it.
    embedder = small().partial_fit(X)
    (state, *_) = embedder._model.net.optimizer_.state.values()
    steps = state["step"].item()
    embedder.set_params(learning_rate=0.01).partial_fit(X)
    (state, *_) = embedder._model.net.optimizer_.state.values()
    assert state["step"].item() == 2 * steps
    assert embedder._model.net.optimizer_.param_groups[0]["lr"] == 0.01


def test_partial_fit_on_dense_then_sparse_rows(X):
    embedder = small()
    embedder.partial_fit(X).partial_fit(sparse.csr_array(X)).partial_fit(X)
    once = small().partial_fit(X)
    assert_allclose(embedder.encoder_.scale.scale, once.encoder_.scale.scale, rtol=1e-5)


def test_partial_fit_cannot_stop_early(X):
    assert not hasattr(small(early_stopping=True), "partial_fit")
    with pytest.raises(AttributeError) as info:
        small(early_stopping=True).partial_fit(X)
    assert "early_stopping=False" in str(info.value.__cause__)


def test_warm_start(X):
    embedder = small(warm_start=True).fit(X)
    before = weights(embedder.encoder_)
    embedder.set_params(learning_rate=1e-9).fit(X)
    assert embedder.n_iter_ == len(embedder.loss_curve_) == 6
    for key, value in embedder.encoder_.state_dict().items():
        assert_allclose(value, before[key], atol=1e-6)
    cold = small().fit(X).fit(X)
    assert cold.n_iter_ == 3
    assert_array_equal(cold.transform(X), small().fit_transform(X))


def test_warm_start_keeps_a_trained_loss(X):
    class LearnedScale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(()))

        def forward(self, z1, z2):
            return ((z1 * z2).sum(1) * self.scale).mean()

    embedder = small(loss=LearnedScale(), warm_start=True).fit(X)
    scale = embedder._model.net.criterion_.scale.item()
    embedder.set_params(learning_rate=1e-9).fit(X)
    assert_allclose(embedder._model.net.criterion_.scale.item(), scale, rtol=1e-3)


def test_warm_start_with_another_network_is_an_error(X):
    embedder = small(warm_start=True).fit(X)
    embedder.set_params(n_components=9)
    with pytest.raises(ValueError, match=r"A warm start.*need.*'n_components'"):
        embedder.fit(X)
    assert embedder.transform(X).shape == (100, 8)


def test_early_stopping(X):
    embedder = small(
        early_stopping=True, max_epochs=500, n_iter_no_change=3, learning_rate=0.01
    ).fit(X)
    curve = embedder.validation_loss_curve_
    assert embedder.n_iter_ == len(curve) == len(embedder.loss_curve_) < 500
    assert min(curve) not in curve[-3:]
    # The best epoch's encoder is kept: as if training had ended there.
    best = int(np.argmin(curve)) + 1
    until_best = clone(embedder).set_params(max_epochs=best, n_iter_no_change=500)
    assert_array_equal(until_best.fit_transform(X), embedder.transform(X))


def test_user_s_early_stopping_is_a_normal_end(X):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=1.0)
    embedder = small(callbacks=[stop], max_epochs=50).fit(X)
    assert embedder.n_iter_ < 50


def test_early_stopping_may_change_between_fits(X):
    embedder = small(warm_start=True).fit(X)
    embedder.set_params(early_stopping=True).fit(X)
    assert embedder.n_iter_ == len(embedder.loss_curve_) == 6
    assert len(embedder.validation_loss_curve_) == 3
    embedder.set_params(early_stopping=False).partial_fit(X)
    assert embedder.n_iter_ == 7
    embedder.set_params(warm_start=False).fit(X)
    assert embedder.n_iter_ == 3
    assert not hasattr(embedder, "validation_loss_curve_")


class RaiseAt:
    """An augmentation in which something happens at a call."""

    def __init__(self, at_call, error):
        self.calls = 0
        self.at_call = at_call
        self.error = error

    def __call__(self, x, generator):
        self.calls += 1
        if self.calls == self.at_call:
            raise self.error
        return noise(x, generator)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interrupt_is_raised_and_keeps_whole_epochs(X, early_stopping):
    embedder = small(
        augmentation=RaiseAt(22, KeyboardInterrupt), early_stopping=early_stopping
    )
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(X)
    assert embedder.n_iter_ == len(embedder.loss_curve_) == 2
    assert embedder.transform(X).shape == (100, 8)
    pickle.dumps(embedder)


def test_an_interrupt_between_epochs_keeps_them(X):
    class Interrupt(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt  # as callbacks do to end training

    embedder = small(callbacks=[Interrupt()]).fit(X)
    assert embedder.n_iter_ == len(embedder.history_) == 2


def test_interrupt_in_the_first_epoch_loses_nothing(X):
    embedder = small().fit(X)
    expected = embedder.transform(X)
    embedder.set_params(augmentation=RaiseAt(4, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(X)
    assert_array_equal(embedder.transform(X), expected)
    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(embedder, {"tau_plus": [0.1, 0.2]}, cv=2).fit(X)
