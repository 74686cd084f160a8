"""Ctrl-C in `fit`: raised whatever runs, and what was trained is kept."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from helpers import LONG, small
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, EarlyStopping

from sklearn_bcl._interrupts import Interrupts


@pytest.fixture(autouse=True)
def usual_handler():
    """As in a shell's foreground; in the background, Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    signal.raise_signal(signal.SIGINT)


class Press(Callback):
    """Press Ctrl-C in a method of a callback, in an epoch."""

    def __init__(self, method, epoch=3, times=1):
        self.method, self.epoch, self.times = method, epoch, times

    def initialize(self):
        def method(net, **kwargs):
            if len(net.history) == self.epoch and not getattr(self, "pressed_", False):
                self.pressed_ = True
                for _ in range(self.times):
                    press()

        setattr(self, self.method, method)
        return self


EVENTS = ["on_epoch_begin", "on_batch_begin", "on_batch_end", "on_grad_computed"]


@pytest.mark.parametrize("event", [*EVENTS, "on_epoch_end"])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}])
def test_whole_epochs_are_kept(X, event, params):
    embedder = small(max_epochs=8, callbacks=[Press(event)], **params)
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(X)
    n_epochs = 3 if event == "on_epoch_end" else 2
    assert embedder.n_iter_ == len(embedder.loss_curve_) == n_epochs
    if not params:  # the weights are those after the last of them
        whole = small(max_epochs=n_epochs).fit(X)
        assert_array_equal(embedder.transform(X), whole.transform(X))
        assert_array_equal(embedder.loss_curve_, whole.loss_curve_)


@pytest.mark.parametrize("event", ["on_train_begin", *EVENTS])
def test_without_a_whole_epoch_nothing_is_fitted(X, event):
    epoch = 0 if event == "on_train_begin" else 1
    embedder = small(callbacks=[Press(event, epoch)])
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(X)
    assert not embedder.__sklearn_is_fitted__()


def test_what_was_fitted_before_stays(X):
    embedder = small().fit(X)
    expected = embedder.transform(X)
    embedder.set_params(callbacks=[Press("on_batch_begin", 1)])
    with pytest.raises(KeyboardInterrupt):
        embedder.fit(X[:, :3])
    assert_array_equal(embedder.transform(X), expected)


def test_a_second_press_ends_it_at_once(X):
    class Slow(Callback):
        def on_epoch_end(self, net, **kwargs):
            press()
            press()
            raise AssertionError  # not reached

    with pytest.raises(KeyboardInterrupt):
        small(callbacks=[Slow()]).fit(X)


def test_callbacks_may_end_training_by_an_interrupt_of_their_own(X):
    class Stop(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                raise KeyboardInterrupt

    assert small(callbacks=[Stop()], max_epochs=9).fit(X).n_iter_ == 2
    stopping = EarlyStopping(monitor="train_loss", patience=1, threshold=10.0)
    assert small(callbacks=[stopping], max_epochs=9).fit(X).n_iter_ < 9


def test_a_callback_that_ends_the_first_epoch(X):
    class Stop(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises(ValueError, match=r"'callbacks' ended.*on_epoch_end"):
        small(callbacks=[Stop()]).fit(X)


def test_an_interrupt_of_a_user_s_part(X):
    calls = []

    def raises(x, generator):
        calls.append(len(x))
        if calls.count(32) == 15:
            raise KeyboardInterrupt
        return x.flip(0)

    with pytest.raises(KeyboardInterrupt):
        small(augmentation=raises, max_epochs=9).fit(X)


def test_the_handler_is_as_before(X):
    before = signal.getsignal(signal.SIGINT)
    small().fit(X)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(ValueError):
        small(tau_plus=2).fit(X)
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_of_the_process_s_own(X):
    seen = []
    before = signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
    try:
        embedder = small(callbacks=[Press("on_batch_end")]).fit(X)
        assert embedder.n_iter_ == 3 and len(seen) == 1  # it does not want to raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert small(callbacks=[Press("on_batch_end")]).fit(X).n_iter_ == 3
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_catch_nothing(X):
    found = []

    def fit():
        with Interrupts() as interrupts:
            found.append(interrupts.came)
        found.append(small().fit(X).n_iter_)

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert found == [False, 3]


class Slow(Callback):
    def on_epoch_end(self, net, **kwargs):
        time.sleep(0.002)


def interrupted_fits(X, n_fits, params):
    """Return what ends fits that are interrupted at random moments."""
    start = time.monotonic()
    small(max_epochs=20, **params).fit(X)
    seconds = time.monotonic() - start
    random, ends = np.random.RandomState(0), []
    for _ in range(n_fits):
        embedder = small(max_epochs=60, **params)
        timer = threading.Timer(
            random.uniform(0, 2 * seconds), os.kill, (os.getpid(), signal.SIGINT)
        )
        try:
            timer.start()
            embedder.fit(X)
            timer.join()  # it came too late
            time.sleep(1)
            ends.append("no interrupt")
        except KeyboardInterrupt:
            timer.join()
            if embedder.__sklearn_is_fitted__():
                assert embedder.n_iter_ >= 1
                assert np.isfinite(embedder.transform(X)).all()
            ends.append("raised")
    return ends


@pytest.mark.parametrize(
    "params",
    [{"callbacks": [Slow()]}, {"early_stopping": True, "n_iter_no_change": 60}],
    ids=["slow callback", "early stopping"],
)
def test_interrupts_at_random_moments(X, params):
    n_fits = 50 if LONG else 4
    assert interrupted_fits(X, n_fits, params) == ["raised"] * n_fits


def test_an_error_after_a_press_is_no_way_out(X):
    class Fails(Callback):
        def on_batch_begin(self, net, **kwargs):
            press()
            raise RuntimeError("afterwards")

    with pytest.raises(KeyboardInterrupt) as caught:
        small(callbacks=[Fails()]).fit(X)
    assert "afterwards" in str(caught.value.__cause__)
