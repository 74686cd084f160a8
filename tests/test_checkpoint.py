"""A fit that goes on from a checkpoint is the one that was not interrupted."""

import os
import signal
import time

import numpy as np
import pytest
import scipy.sparse
import torch
from helpers import LONG, noise, small
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import nn

from sklearn_bcl import _files
from sklearn_bcl.callbacks import Checkpoint, LinearAlpha

N_EPOCHS = 4
NUMBERS = np.random.RandomState(0).normal(size=(90, 5))
LABELS = np.arange(90) % 3


class Kill(Exception):
    pass


class Counting(Callback):
    """A callback with a state of its own."""

    def on_train_begin(self, net, **kwargs):
        self.count_, self.weights_ = 0, np.zeros(2)

    def on_epoch_end(self, net, **kwargs):
        self.count_ += 1
        self.weights_[0] += self.count_
        net.history.record("count", self.count_)


def with_dropout():
    return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 4))


class Momentum(torch.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=lr, momentum=0.9)


CASES = {
    "default": {},
    "early stopping": {"early_stopping": True},
    "schedule": {"callbacks": [LRScheduler("StepLR", step_size=2)]},
    "plateau": {"callbacks": [LRScheduler("ReduceLROnPlateau", patience=1)]},
    "alpha ramp": {"callbacks": [LinearAlpha()]},
    "measured alpha": {"alpha": "labels"},
    "own callback": {"callbacks": [("mine", Counting())]},
    "stopping": {"callbacks": [EarlyStopping(monitor="train_loss", load_best=True)]},
    "own optimizer": {"optimizer": Momentum},
    "dropout": {"encoder": with_dropout},
    "own view": {"augmentation": lambda x, generator: x + torch.randn_like(x)},
    "sparse": {"X": scipy.sparse.random(90, 40, 0.05, "csr", random_state=0)},
    "images": {
        "X": np.random.RandomState(0).randint(0, 256, (40, 6, 6)).astype(np.uint8),
        "encoder": "convnet",
        "n_components": 32,
    },
}


def fit(case, path=None, **changes):
    params = {"max_epochs": N_EPOCHS, **CASES[case], **changes}
    X = params.pop("X", NUMBERS)
    if path is not None:
        params["callbacks"] = [Checkpoint(path), *params.get("callbacks", [])]
    return small(**params).fit(X, LABELS[: X.shape[0]]), X


def kill_after(monkeypatch, n_epochs):
    """Let a fit end right after a number of writes."""
    write, n_written = _files.write, []

    def writes(*arguments):
        write(*arguments)
        n_written.append(1)
        if len(n_written) == n_epochs:
            raise Kill

    monkeypatch.setattr(_files, "write", writes)


def assert_same(one, other, X):
    assert_array_equal(one.transform(X), other.transform(X))
    assert one.loss_curve_ == other.loss_curve_
    assert one.score(X) == other.score(X)
    assert one.history_.to_list() == other.history_.to_list()
    states = [e._model.net.optimizer_.state_dict()["state"] for e in (one, other)]
    for index, state in states[0].items():
        for name, value in state.items():
            assert_array_equal(value, states[1][index][name])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n_epochs", [1, 3] if LONG else [2])
def test_a_resumed_fit_is_bit_equal(case, n_epochs, tmp_path, monkeypatch):
    whole, X = fit(case)
    kill_after(monkeypatch, n_epochs)
    with pytest.raises(Kill):
        fit(case, tmp_path / "run")
    monkeypatch.undo()
    torch.rand(3)  # another state of the global generator
    resumed, _ = fit(case, tmp_path / "run")
    assert_same(whole, resumed, X)
    again, _ = fit(case, tmp_path / "run")  # nothing is left to do
    assert_same(whole, again, X)


def test_writing_changes_nothing_and_some_epochs_are_enough(tmp_path):
    whole, X = fit("default")
    rare, _ = fit("default", callbacks=[Checkpoint(tmp_path / "run", every=3)])
    assert_same(whole, rare, X)
    _, document = _files.read(tmp_path / "run", "checkpoint")
    assert len(_files.joined_state({}, _part(document, "history"))) == N_EPOCHS


def _part(document, name):
    return dict(document["state"]["dict"])[name]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"X": NUMBERS + 1}, "other rows"),
        ({"X": NUMBERS[::-1]}, "other rows"),
        ({"max_epochs": 5}, "other parameters"),
        ({"temperature": 0.4}, "other parameters"),
        ({"augmentation": "noise"}, "other parameters"),
        ({"random_state": 1}, "other parameters and initial weights"),
        ({"hidden_layer_sizes": (17,)}, "other parameters and initial weights"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused(changes, match, tmp_path):
    fit("default", tmp_path / "run")
    content = (tmp_path / "run").read_bytes()
    with pytest.raises(ValueError, match=match):
        fit("default", tmp_path / "run", **changes)
    assert (tmp_path / "run").read_bytes() == content  # never overwritten


@pytest.mark.parametrize("content", [b"", b"notes", None])
def test_other_files_are_refused_and_stay(content, tmp_path):
    path = tmp_path / "run"
    if content is None:  # cut off
        fit("default", path)
        content = path.read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"no file of sklearn_bcl"):
        fit("default", path)
    assert path.read_bytes() == content


def test_each_changed_bit_is_refused(tmp_path):
    path = tmp_path / "run"
    fit("default", path)
    content, random = path.read_bytes(), np.random.RandomState(0)
    for place in random.randint(len(content), size=20):
        changed = bytearray(content)
        changed[place] ^= 1 << random.randint(8)
        path.write_bytes(changed)
        with pytest.raises(ValueError):
            fit("default", path)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"random_state": None}, "needs an int as 'random_state'"),
        ({"callbacks": [Checkpoint("missing/folder/run")]}, "Make the folder first"),
        ({"callbacks": [Checkpoint("run", every=0)]}, "'every' must be"),
    ],
)
def test_invalid(params, match, tmp_path):
    params = {"callbacks": [Checkpoint(tmp_path / "run")], **params}
    with pytest.raises(ValueError, match=match):
        small(**params).fit(NUMBERS)
    with pytest.raises(ValueError, match="Checkpoint is for fit"):
        small(callbacks=[Checkpoint(tmp_path / "run")]).partial_fit(NUMBERS)


def test_other_versions_are_told(tmp_path, monkeypatch):
    fit("default", tmp_path / "run")
    monkeypatch.setattr("sklearn_bcl._version.VERSION", "9.9")
    with pytest.warns(UserWarning, match="written with other versions"):
        fit("default", tmp_path / "run")


def test_an_interrupted_fit_goes_on(tmp_path):
    signal.signal(signal.SIGINT, signal.default_int_handler)

    class Press(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit("own view", tmp_path / "run", augmentation=noise, callbacks=[Press()])
    # Without the callback it is another fit.
    with pytest.raises(ValueError, match="other parameters"):
        fit("own view", tmp_path / "run", augmentation=noise)


def fit_in_a_fork(path, stop):
    """Fit in a process of its own, which writes the embedding when it is done."""
    child = os.fork()
    if child:
        return child
    try:
        X = np.random.RandomState(0).normal(size=(300, 6))
        params = {"max_epochs": 30}
        if stop:
            params |= {"early_stopping": True, "n_iter_no_change": 30}
        embedder = small(callbacks=[Checkpoint(path)], **params).fit(X)
        np.save(path.with_suffix(".npy"), embedder.transform(X))
        os._exit(0)
    finally:
        os._exit(1)


def killed_fits(folder, n_kills, stop):
    """Kill a fit at random moments until it is complete; return its embedding."""
    folder.mkdir()
    path, random = folder / "run", np.random.RandomState(n_kills)
    for n_killed in range(n_kills + 1):
        child = fit_in_a_fork(path, stop)
        if n_killed < n_kills:
            time.sleep(random.uniform(0, 0.5))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    assert status == 0
    return np.load(path.with_suffix(".npy"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("stop", [True, False])
def test_kill_at_random_moments(stop, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # those of torch do not live in a fork
    expected = killed_fits(tmp_path / "whole", 0, stop)
    n_kills = 30 if LONG else 3
    found = killed_fits(tmp_path / "killed", n_kills, stop)
    torch.set_num_threads(threads)
    assert_array_equal(found, expected)


class Margin(nn.Module):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, z1, z2):
        return (z1 - z2).square().mean() + self.margin


class Noise:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x, generator):
        return x + self.scale * torch.randn(x.shape, generator=generator)


def shifted(by):
    return lambda x, generator: noise(x, generator) + by


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("loss", Margin(1.0), Margin(2.0)),
        ("augmentation", Noise(0.1), Noise(0.2)),
        ("augmentation", shifted(1), shifted(2)),
        ("augmentation", lambda x, g: noise(x, g), lambda x, g: noise(x, g) * 2),
    ],
)
def test_parts_of_one_s_own_tell_a_fit(name, one, other, tmp_path):
    fit("default", tmp_path / "run", **{name: one})
    fit("default", tmp_path / "run", **{name: one})
    with pytest.raises(ValueError, match="other parameters"):
        fit("default", tmp_path / "run", **{name: other})


class Counter(nn.Module):
    """An encoder whose output depends on how often it was called."""

    def __init__(self):
        super().__init__()
        self.linear, self.n_calls = nn.Linear(5, 4), 0

    def forward(self, x):
        self.n_calls += self.training
        return self.linear(x) * (1 + 0.1 * (self.n_calls % 7))


def test_attributes_of_parts_go_on(tmp_path, monkeypatch):
    whole, X = fit("default", encoder=Counter)
    kill_after(monkeypatch, 2)
    with pytest.raises(Kill):
        fit("default", tmp_path / "run", encoder=Counter)
    monkeypatch.undo()
    resumed, _ = fit("default", tmp_path / "run", encoder=Counter)
    assert_same(whole, resumed, X)


def test_a_file_that_was_moved_goes_on_where_it_is(tmp_path, monkeypatch):
    kill_after(monkeypatch, 2)
    with pytest.raises(Kill):
        fit("default", tmp_path / "old")
    monkeypatch.undo()
    (tmp_path / "old").rename(tmp_path / "new")
    fit("default", tmp_path / "new")
    assert os.listdir(tmp_path) == ["new"]
    _, document = _files.read(tmp_path / "new", "checkpoint")
    history = _files.joined_state({}, _part(document, "history"))
    assert len(history) == N_EPOCHS


def test_fits_do_not_share_a_file(tmp_path):
    class Other(Callback):
        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 2:
                fit("default", tmp_path / "other", random_state=1)
                os.replace(tmp_path / "other", tmp_path / "run")

    with pytest.raises(ValueError, match="Another fit has written the file"):
        fit(
            "default",
            tmp_path / "run",
            callbacks=[Other()],
        )


def test_checkpoints_that_are_none(tmp_path):
    two = [Checkpoint(tmp_path / "a"), Checkpoint(tmp_path / "b")]
    for callbacks, match in (
        (two, "has two of Checkpoint"),
        ([Checkpoint], r"needs a path: Checkpoint\(path\)"),
        ([Checkpoint(None)], "'path' of Checkpoint must be a path"),
    ):
        with pytest.raises(ValueError, match=match):
            small(callbacks=callbacks).fit(NUMBERS)
