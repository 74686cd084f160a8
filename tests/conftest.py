import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import normalize

if "PYTEST_XDIST_WORKER" in os.environ:  # there is one for each core
    torch.set_num_threads(1)

USABLE = {
    "cpu": True,
    "cuda": torch.cuda.is_available(),
    "mps": torch.backends.mps.is_available(),
}


@pytest.fixture(params=USABLE)
def device(request):
    """Each device in turn; those that this machine lacks are skipped."""
    if not USABLE[request.param]:
        pytest.skip(f"needs {request.param}")
    return torch.device(request.param)


@pytest.fixture(scope="session")
def golden():
    """Independent float64 values of losses, weights and posteriors."""
    return json.loads(Path(__file__).with_name("bcl_golden.json").read_text())


@pytest.fixture(scope="session")
def digits():
    return load_digits(return_X_y=True)


@pytest.fixture(scope="session")
def X():
    """Rows of a table without structure; tests must not change them."""
    return np.random.RandomState(0).normal(size=(100, 5)).astype(np.float32)


@pytest.fixture
def views():
    """Return a factory of two correlated, normalized views of some rows."""

    def make(n_rows, size, dtype=torch.float64, seed=0):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(n_rows, size, generator=generator, dtype=torch.float64)
        noise = torch.randn(n_rows, size, generator=generator, dtype=torch.float64)
        z1, z2 = normalize(z, dim=1), normalize(z + 0.5 * noise, dim=1)
        return z1.to(dtype), z2.to(dtype)

    return make
