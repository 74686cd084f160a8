"""Floating point at its ends, divergence and collapse."""

import numpy as np
import pytest
import torch
from helpers import noise, small
from torch import nn

from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import BCLLoss, DebiasedLoss, HardNegativeLoss, NTXentLoss


@pytest.fixture
def flushed():
    if not torch.set_flush_denormal(True):
        pytest.skip("not supported by this CPU")
    yield
    torch.set_flush_denormal(False)


@pytest.mark.parametrize("concentration", [0, 1e-320, 1e-46, 1e-40, 1e-30, 1e-20])
def test_a_concentration_that_vanishes(concentration):
    z = torch.eye(6).repeat(2, 1) + 0.1
    limit = DebiasedLoss()(z, z).item()
    assert HardNegativeLoss(concentration=concentration)(z, z).item() == pytest.approx(
        limit, rel=1e-6
    )


@pytest.mark.parametrize("value", [1e-40, 1e-7, 0.0, np.nan, -1.0])
@pytest.mark.parametrize("loss", [NTXentLoss, BCLLoss, DebiasedLoss, HardNegativeLoss])
def test_temperatures_that_only_rounding_would_decide(X, loss, value):
    with pytest.raises(ValueError, match="'temperature' must be"):
        loss(temperature=value)
    with pytest.raises(ValueError, match="'temperature'"):
        small(temperature=value).fit(X)


@pytest.mark.parametrize("value", [-1.0, 1e7, np.inf, np.nan])
def test_concentrations_out_of_range(value):
    with pytest.raises(ValueError, match="'concentration' must be"):
        HardNegativeLoss(concentration=value)


def test_zero_similarities_when_denormals_are_flushed(flushed):
    z = torch.eye(8).repeat(2, 1)
    torch.set_flush_denormal(False)
    expected = [loss(beta=0.9)(z, z).item() for loss in (BCLLoss,)]
    torch.set_flush_denormal(True)
    for _ in range(3):
        assert [BCLLoss(beta=0.9)(z, z).item()] == expected
    assert BCLLoss(beta=0.9)(z.double(), z.double()).item() == pytest.approx(
        expected[0], rel=1e-6
    )


def test_a_posterior_is_a_probability():
    random = np.random.RandomState(0)
    for _ in range(300):
        alpha, tau_plus = random.uniform(0.5, 1), random.choice([0, 1e-300, 0.1, 0.99])
        p = random.rand(50)
        posterior = true_negative_posterior(p, alpha=alpha, tau_plus=tau_plus)
        assert (posterior >= 0).all() and (posterior <= 1).all()
        weights = importance_weights(p, alpha=alpha, beta=0.5, tau_plus=tau_plus)
        assert np.isfinite(weights).all()


def test_divergence_names_the_batch_and_the_remedy(X):
    calls = []

    class Breaks(nn.Module):
        def forward(self, z1, z2):
            if z1.requires_grad and len(z1) > 2:
                calls.append(1)
            loss = (z1 - z2).square().mean()
            return loss * torch.nan if len(calls) == 7 else loss

    match = r"loss is nan in batch 3 of epoch 2: training diverged\. Lower 'learning"
    with pytest.raises(ValueError, match=match):
        small(loss=Breaks()).fit(X)  # four batches an epoch


def test_what_the_last_step_breaks_is_an_error(X):
    embedder = small(max_epochs=1, batch_size=100)
    embedder.set_params(learning_rate=1e38, optimizer="sgd")
    with pytest.raises(ValueError, match=r"After the last step.*not finite"):
        embedder.fit(X)
    assert not embedder.__sklearn_is_fitted__()


def test_a_collapse_warns(X):
    def collapses():
        encoder = nn.Linear(5, 4)
        nn.init.zeros_(encoder.weight)
        return encoder.requires_grad_(False)

    with pytest.warns(UserWarning, match=r"has collapsed.*Lower 'learning_rate'"):
        small(encoder=collapses, augmentation=noise).fit(X)
    small().fit(np.ones((20, 3)))  # where the rows are equal, too


def test_tiny_embeddings_are_no_collapse(X):
    class Tiny(nn.Linear):
        def forward(self, x):
            return 1e-8 * super().forward(x)

    small(encoder=Tiny(5, 4), augmentation=noise, max_epochs=1).fit(X)
