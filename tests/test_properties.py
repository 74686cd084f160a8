"""Properties that hold for whatever values: losses, weights, fits.

A short run of each; SKLEARN_BCL_LONG=1 tries many more.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from helpers import LONG, small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import BCLLoss, DebiasedLoss, HardNegativeLoss, NTXentLoss


def cases(short, long):
    return settings(
        max_examples=long if LONG else short,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


UNIT = st.floats(0, 1)
SIZES = st.sampled_from(
    [1e-300, 1e-46, 1e-38, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e38, 1e300]
)
TEMPERATURES = st.floats(1e-6, 1e30)
PRIORS = st.fixed_dictionaries(
    {
        "alpha": st.floats(0.5, 1, exclude_max=True),
        "beta": st.floats(0, 1, exclude_min=True),
        "tau_plus": st.floats(0, 1, exclude_max=True),
    }
)
LOSSES = st.one_of(
    st.builds(NTXentLoss, TEMPERATURES, UNIT),
    st.builds(DebiasedLoss, TEMPERATURES, st.floats(0, 1, exclude_max=True), UNIT),
    st.builds(
        HardNegativeLoss,
        TEMPERATURES,
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.floats(0, 1e6), st.sampled_from([1e-320, 1e-46, 1e-38])),
        UNIT,
    ),
    st.builds(
        lambda t, r, p: BCLLoss(t, robustness=r, **p), TEMPERATURES, UNIT, PRIORS
    ),
)


def projections(seed, n_rows, size, kind, dtype):
    generator = torch.Generator().manual_seed(seed)
    z1, z2 = torch.randn(2, n_rows, size, generator=generator, dtype=torch.float64)
    if kind == "equal":
        z2 = z1
    elif kind == "all equal":
        z1, z2 = torch.ones_like(z1), torch.ones_like(z1)
    elif kind == "opposite":
        z2 = -z1
    elif kind == "some zero":
        z1[0] = 0
    elif kind == "orthogonal":
        z1 = z2 = torch.eye(n_rows, dtype=torch.float64)
    elif kind == "tiny":
        z1, z2 = z1 * 1e-30, z2 * 1e-30
    elif kind == "huge":
        z1, z2 = z1 * 1e30, z2 * 1e30
    return z1.to(dtype), z2.to(dtype)


KINDS = ["random", "equal", "all equal", "opposite", "some zero", "orthogonal"]
KINDS += ["tiny", "huge"]


@cases(150, 1500)
@given(
    LOSSES,
    st.integers(0, 10**6),
    st.integers(2, 40),
    st.integers(1, 20),
    st.sampled_from(KINDS),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_losses_and_gradients_are_finite(loss, seed, n_rows, size, kind, dtype):
    z1, z2 = projections(seed, n_rows, size, kind, dtype)
    z1.requires_grad_()
    value = loss(z1, z2)
    value.backward()
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert value.isfinite() and value >= 0
    assert z1.grad.isfinite().all()
    if dtype == torch.float32 and 0.05 < loss.temperature < 10 and kind == "random":
        exact = loss(z1.detach().double(), z2.double())
        assert value.item() == pytest.approx(exact.item(), rel=1e-3, abs=1e-5)


@cases(100, 1000)
@given(PRIORS, st.lists(UNIT, min_size=1, max_size=50))
def test_weights_and_posteriors(priors, p):
    posterior = true_negative_posterior(
        p, alpha=priors["alpha"], tau_plus=priors["tau_plus"]
    )
    assert ((posterior >= 0) & (posterior <= 1)).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(posterior[order]) <= 1e-12).all()
    weights = importance_weights(p, **priors)
    assert np.isfinite(weights).all() and (weights >= 0).all()
    grid = (np.arange(2000) + 0.5) / 2000
    if max(priors["alpha"], priors["tau_plus"]) < 0.99 and priors["beta"] < 0.99:
        assert importance_weights(grid, **priors).mean() == pytest.approx(1, abs=0.02)


FAULTS = ["none", "constant", "duplicate", "missing", "rows equal", "few values"]
FAULTS += ["offset", "mixed units"]


def table(seed, n_rows, n_columns, size, fault):
    X = np.random.RandomState(seed).normal(size=(n_rows, n_columns)) * size
    if fault == "constant":
        X[:, 0] = size
    elif fault == "duplicate":
        X[:, -1] = X[:, 0]
    elif fault == "missing":
        X[::3, 0] = np.nan
    elif fault == "rows equal":
        X[:] = X[0]
    elif fault == "few values":
        X = np.sign(X) * size
    elif fault == "offset":
        X = X + 1e6 * size
    elif fault == "mixed units" and n_columns > 1:
        X[:, 1] = X[:, 1] / size
    return X


CONTAINERS = {
    "float64": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "list": lambda X: X.tolist(),
    "objects": lambda X: X.astype(object),
    "tensor": torch.from_numpy,
    "frame": lambda X: pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])]),
    "sparse": scipy.sparse.csr_matrix,
    "Fortran": np.asfortranarray,
}


@cases(25, 600)
@given(
    st.integers(0, 10**6),
    st.sampled_from([2, 3, 9, 33, 70]),
    st.sampled_from([1, 2, 5, 40]),
    SIZES,
    st.sampled_from(FAULTS),
    st.sampled_from(sorted(CONTAINERS)),
)
def test_fits_of_whatever_rows(seed, n_rows, n_columns, size, fault, container):
    rows = table(seed, n_rows, n_columns, size, fault)
    with np.errstate(over="ignore", under="ignore"):
        X = CONTAINERS[container](rows)
    embedder = small(max_epochs=2, batch_size=16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            embedding = embedder.fit_transform(X)
        except ValueError as error:  # one that says what is wrong
            assert container == "float32" and np.nanmax(np.abs(rows)) > 3.4e38
            assert "infinity" in str(error)
            return
        again = small(max_epochs=2, batch_size=16).fit(X).transform(X)
        single = embedder.transform(X[:1])
    assert embedding.shape == (n_rows, 8) and embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    assert_array_equal(embedding, again)
    assert_array_equal(single, embedding[:1])
    differ = len(np.unique(rows[:, ~np.isnan(rows).any(axis=0)], axis=0)) > 1
    vanishes = container == "float32" and size < 1e-38
    if differ and not vanishes and fault != "few values":
        assert len(np.unique(embedding, axis=0)) > 1  # no silent collapse


@cases(10, 100)
@given(
    st.integers(0, 10**6),
    st.sampled_from([np.uint8, np.int64, np.float32, np.float64]),
    st.sampled_from([(6, 6), (5, 7), (3, 6, 6), (6, 6, 3), (1, 8, 8), (1, 1)]),
)
def test_fits_of_whatever_images(seed, dtype, shape):
    X = np.random.RandomState(seed).randint(0, 256, (12, *shape)).astype(dtype)
    embedder = small(
        encoder="convnet", n_components=16, max_epochs=1, augmentation="noise"
    )
    embedding = embedder.fit_transform(X)
    assert np.isfinite(embedding).all()
    assert_array_equal(
        embedder.transform(X[:1]), embedder.transform(torch.from_numpy(X[:1]))
    )
