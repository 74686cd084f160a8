"""What the caller has set in torch changes no result, and is as before afterwards."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from helpers import noise, small
from numpy.testing import assert_array_equal
from torch import nn

from sklearn_bcl import BCLEmbedder


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def flag(function, value, before):
    function(value)
    try:
        yield
    finally:
        function(before)


@contextmanager
def subclass_mode():
    class Counting(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    with Counting():
        yield


AMBIENT = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "deterministic": lambda: flag(torch.use_deterministic_algorithms, True, False),
    "anomalies": torch.autograd.detect_anomaly,
    "saved on the CPU": torch.autograd.graph.save_on_cpu,
    "single-threaded gradients": lambda: torch.autograd.set_multithreading_enabled(
        False
    ),
    "function mode": subclass_mode,
    "flushed denormals": lambda: flag(torch.set_flush_denormal, True, False),
}


def ambient_state():
    return (
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.get_rng_state().sum().item(),
    )


class OwnEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)
        self.shift = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return self.linear(x) + self.shift + torch.zeros(4)


def by_table():
    return small(beta=0.7), np.random.RandomState(0).normal(size=(70, 5))


def by_wide_table():
    X = np.random.RandomState(0).normal(size=(60, 20)).round(1)
    X[::7, 3] = np.nan
    return small(categorical_features=[1], early_stopping=True), X


def by_images():
    X = np.random.RandomState(0).randint(0, 256, (12, 6, 6, 3)).astype(np.uint8)
    return BCLEmbedder(64, max_epochs=1, random_state=0), X


def by_own_parts():
    X = np.random.RandomState(0).normal(size=(70, 5))
    return small(encoder=OwnEncoder, augmentation=noise), X


def by_sparse_rows():
    import scipy.sparse

    return small(), scipy.sparse.random(80, 40, 0.05, format="csr", random_state=0)


CASES = [by_table, by_wide_table, by_images, by_own_parts, by_sparse_rows]


def results(make):
    embedder, X = make()
    values = [embedder.fit_transform(X)]
    values += [embedder.transform(X[:3]), embedder.similarity(X)]
    values += [np.float64(embedder.score(X)), np.float64(embedder.loss_curve_)]
    if embedder.loss == "bcl":
        values += [embedder.true_negative_proba(X), embedder.importance_weights(X)]
    if not embedder.early_stopping:
        values += [embedder.partial_fit(X).transform(X)]
    return values


@pytest.fixture(scope="module")
def expected():
    return {make: results(make) for make in CASES}


@pytest.mark.parametrize("ambient", AMBIENT)
@pytest.mark.parametrize("make", CASES)
@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_ambient_state_changes_nothing(expected, make, ambient):
    if ambient == "flushed denormals" and not torch.set_flush_denormal(True):
        pytest.skip("not supported by this CPU")
    with AMBIENT[ambient]():
        before = ambient_state()
        found = results(make)
        assert ambient_state() == before
    for value, wanted in zip(found, expected[make], strict=True):
        assert value.dtype == wanted.dtype
        assert_array_equal(value, wanted)


def test_tensors_of_inference_mode_are_rows_and_parts(X):
    with torch.inference_mode():
        rows = torch.from_numpy(X).clone()
        encoder = nn.Linear(5, 4)
    found = small(encoder=encoder).fit(rows)
    assert (found.encoder_.weight != encoder.weight).any()
    assert np.isfinite(found.transform(rows)).all()


def test_the_state_is_as_before_after_an_error(X):
    with torch.inference_mode():
        before = ambient_state()
        with pytest.raises(ValueError, match="diverged"):
            small(learning_rate=1e38, optimizer="sgd").fit(X)
        assert ambient_state() == before


def test_other_threads_keep_their_state(X):
    # The default dtype belongs to the process, and must not be changed even for a time.
    stop, seen = threading.Event(), set()

    def watch():
        while not stop.is_set():
            seen.add((torch.empty(1).dtype, torch.is_grad_enabled()))

    with default_dtype(torch.float64):
        thread = threading.Thread(target=watch)
        thread.start()
        small().fit(X).transform(X)
        stop.set()
        thread.join()
    assert seen == {(torch.float64, True)}
