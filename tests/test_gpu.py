"""Training on a CUDA GPU: no step waits for it, and its results work anywhere."""

import gc
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from skorch.callbacks import Callback

from sklearn_bcl import BCLEmbedder

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs cuda"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
]

RANDOM = np.random.RandomState(0)
NUMBERS = RANDOM.normal(size=(100, 5)).astype(np.float32)
WIDE = RANDOM.normal(size=(100, 40))
FRAME = pd.DataFrame(NUMBERS, columns=list("abcde"))
FRAME = FRAME.mask(RANDOM.random_sample((100, 5)) < 0.1)
FRAME = FRAME.assign(
    few=pd.Categorical(RANDOM.choice(list("abc"), 100)),
    many=pd.Categorical(RANDOM.randint(40, size=100)),
)
IMAGES = RANDOM.random_sample((100, 3, 12, 12)).astype(np.float32)
LABELS = np.where(np.arange(100) < 20, np.arange(100) % 3, -1)

CASES = {
    "numbers": (NUMBERS, {}),
    "many columns": (WIDE, {}),
    "columns of a frame": (FRAME, {}),
    "sparse rows": (sparse.csr_matrix(NUMBERS * (NUMBERS > 0)), {}),
    "images": (IMAGES, {"encoder": "convnet"}),
    "resnet18": (IMAGES, {"encoder": "resnet18"}),
    "simclr": (NUMBERS, {"loss": "simclr"}),
    "dcl": (NUMBERS, {"loss": "dcl"}),
    "hcl": (NUMBERS, {"loss": "hcl"}),
    "validation": (NUMBERS, {"early_stopping": True}),
    "noise": (NUMBERS, {"augmentation": "noise"}),
}


class NoWaiting(Callback):
    """Let every call within a step that waits for the GPU raise an error.

    The first epoch may wait: what it computes is cached.
    """

    def on_batch_begin(self, net, **kwargs):
        if len(net.history) > 1:
            torch.cuda.set_sync_debug_mode("error")

    def on_batch_end(self, net, **kwargs):
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture
def waiting_raises():
    yield NoWaiting()
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("case", CASES)
def test_no_step_waits_for_the_gpu(case, waiting_raises):
    X, settings = CASES[case]
    small(**settings, device="cuda", callbacks=[waiting_raises]).fit(X)


def test_labels_do_not_make_a_step_wait(waiting_raises):
    embedder = small(alpha="labels", device="cuda", callbacks=[waiting_raises])
    embedder.fit(NUMBERS, LABELS)


# The order of the sums in convolutions on a GPU differs between runs.
@pytest.mark.parametrize("case", [c for c in CASES if c not in ("images", "resnet18")])
def test_the_same_fit_gives_the_same_bits(case):
    X, settings = CASES[case]
    one, other = (small(**settings, device="cuda").fit_transform(X) for _ in range(2))
    assert_array_equal(one, other)


@pytest.mark.parametrize("case", CASES)
def test_a_model_of_a_gpu_works_on_the_cpu(case):
    X, settings = CASES[case]
    embedder = small(**settings, device="cuda").fit(X)
    on_cpu = pickle.loads(pickle.dumps(embedder.set_params(device="cpu")))
    assert next(on_cpu.encoder_.parameters()).device.type == "cpu"
    assert_allclose(on_cpu.transform(X), embedder.transform(X), rtol=1e-3, atol=1e-4)


def test_a_tensor_of_the_gpu_is_the_array():
    of_array = small(device="cuda").fit_transform(NUMBERS)
    of_tensor = small(device="cuda").fit_transform(torch.from_numpy(NUMBERS).cuda())
    assert_array_equal(of_tensor, of_array)


def test_fits_keep_no_memory_of_the_gpu():
    def fit_some():
        for _ in range(5):
            small(hidden_layer_sizes=(512, 512), device="cuda").fit(NUMBERS)
        gc.collect()
        return torch.cuda.memory_allocated()

    before, weights_of_one = fit_some(), 4 * 512 * 512
    assert fit_some() < before + weights_of_one


def test_a_fit_on_a_gpu_goes_on_everywhere(tmp_path):
    embedder = small(device="cuda").fit(NUMBERS)
    expected = embedder.transform(NUMBERS)
    for device in ("cuda", "cpu"):
        embedder.set_params(device=device).save(tmp_path / "of_gpu", optimizer=True)
        loaded = BCLEmbedder.load(tmp_path / "of_gpu")
        assert next(loaded.encoder_.parameters()).device.type == device
        assert_allclose(loaded.transform(NUMBERS), expected, rtol=1e-3, atol=1e-4)
        assert np.isfinite(loaded.partial_fit(NUMBERS).score(NUMBERS))
        assert loaded.true_negative_proba(NUMBERS).shape == (100, 100)
