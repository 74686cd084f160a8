"""A model in service while another fit of the same estimator runs."""

import gc
import os
import threading

import numpy as np
import pytest
from helpers import LONG, small
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from sklearn_bcl import BCLEmbedder

rng = np.random.RandomState(0)
WIDE, NARROW = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
BYTES = rng.randint(0, 256, (20, 6, 6)).astype(np.uint8)
CASES = {
    "other columns": (small(max_epochs=1), WIDE, NARROW),
    "other pixels": (BCLEmbedder(32, max_epochs=1), BYTES, BYTES / 255),
}


@pytest.mark.parametrize("case", CASES)
def test_calls_during_refits_are_of_one_model(case):
    embedder, *tables = CASES[case]
    embedder.set_params(random_state=0)
    expected = [embedder.fit(X).transform(X) for X in tables]
    stop, wrong, n_calls = threading.Event(), [], []

    def serve():
        while not stop.is_set():
            for X, embedding in zip(tables, expected, strict=True):
                try:
                    found = embedder.transform(X)
                    embedder.similarity(X[:3])
                except ValueError as error:
                    clear = ("is expecting", "on images of", "largest pixel")
                    if not any(words in str(error) for words in clear):
                        wrong.append(repr(error))
                    continue
                if not np.array_equal(found, embedding):
                    wrong.append("neither of the two")
                n_calls.append(1)

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        for X in tables:
            embedder.fit(X)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert n_calls


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not LONG, reason="takes minutes: SKLEARN_BCL_LONG=1")
def test_memory_does_not_grow(tmp_path):
    X, sizes = rng.normal(size=(500, 20)), []
    for _ in range(10):
        for _ in range(20):
            embedder = small().fit(X)
        for _ in range(200):
            embedder.transform(X)
        embedder.score(X)
        embedder.save(tmp_path / "model")
        BCLEmbedder.load(tmp_path / "model")
        gc.collect()
        sizes.append(resident_bytes())
    growth = np.median(sizes[-3:]) - np.median(sizes[1:4])
    assert growth < 5 * 2**20, sizes


def test_a_fit_that_fails_leaves_the_model_in_service():
    embedder = small(max_epochs=1).fit(WIDE)
    expected, model = embedder.transform(WIDE), embedder._model
    with pytest.raises(ValueError):
        embedder.fit(NARROW * np.inf)
    embedder.set_params(learning_rate=1e38, optimizer="sgd")
    with pytest.raises(ValueError, match="diverged"):
        embedder.fit(NARROW)
    with pytest.raises(ValueError, match="diverged"):
        embedder.partial_fit(WIDE)  # whose last step breaks the weights
    assert embedder._model is model
    assert_array_equal(embedder.transform(WIDE), expected)
    embedder.set_params(learning_rate="auto", optimizer="adam").partial_fit(WIDE)
    assert np.isfinite(embedder.transform(WIDE)).all()


def test_a_fit_that_fails_undoes_nothing_of_others():
    class Meanwhile(Callback):
        def on_epoch_begin(self, net, **kwargs):
            params = {"callbacks": None, "learning_rate": "auto", "optimizer": "adam"}
            embedder.set_params(**params)
            embedder.fit(WIDE)

        def __deepcopy__(self, memo):
            return self

    embedder = small(max_epochs=1, callbacks=[Meanwhile()])
    embedder.set_params(learning_rate=1e38, optimizer="sgd")
    with pytest.raises(ValueError, match="diverged"):
        embedder.fit(NARROW)
    assert embedder.n_features_in_ == 5
    assert embedder.optimizer == "adam"
