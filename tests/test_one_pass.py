"""Loss and gradient in one pass, beside autograd."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from numpy.testing import assert_allclose
from test_losses import each_robustness, gradients, make

import sklearn_bcl.losses
from sklearn_bcl._one_pass import ONE_BLOCK, can_take_one_pass, one_pass
from sklearn_bcl.losses import IN_ONE_PASS, BCLLoss, ContrastiveLoss


@pytest.mark.parametrize("name", ["simclr", "bcl"])
@pytest.mark.parametrize("temperature", [0.03, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("n_rows", [2, 3, 24, 300])
@each_robustness
def test_one_pass_agrees_with_autograd(name, temperature, n_rows, robustness, views):
    loss = make(name, temperature=temperature, robustness=robustness)
    check_one_pass(loss, views(n_rows, 16))


@pytest.mark.parametrize("n_rows", [700, 1100])  # keys of 32 bits, and of 64
def test_one_pass_in_blocks(n_rows, views):
    assert 2 * n_rows > ONE_BLOCK
    check_one_pass(make("bcl", robustness=0.5), views(n_rows, 16))


def check_one_pass(loss, views):
    """Compare with autograd in float64, which is allowed a third of the error."""
    z = loss.unit_rows(*(view.float() for view in views)).requires_grad_()
    assert can_take_one_pass(z, loss.temperature)
    values, slopes = [], []
    for exact in (z.detach().double().requires_grad_(), z):
        values.append(loss.of_unit_rows(exact))
        slopes += torch.autograd.grad(values[-1], exact)
    values.append(loss(*(view.float() for view in views)))
    _, slope, total_weight = one_pass(
        z.detach(), loss.temperature, IN_ONE_PASS[type(loss)](loss, z), loss.robustness
    )
    slope /= total_weight
    assert_allclose(values[2].item(), values[0].item(), rtol=2e-6, atol=1e-7)
    scale = slopes[0].abs().max().item()
    # Nearly equal similarities may change their ranks.
    rounding = 3 * (slopes[1] - slopes[0]).abs().max().item() / scale
    atol = (rounding + 1e-5 / min(loss.temperature, 1)) * scale
    assert_allclose(slope, slopes[0].float(), rtol=0, atol=atol)


@pytest.mark.parametrize("name", ["simclr", "bcl"])
def test_gradients_of_one_pass(name, views):
    z1, z2 = (view.float() for view in views(30, 8))
    _, *slopes = gradients(make(name), 3 * z1, z2)
    _, *expected = gradients(make(name), 3 * z1.double(), z2.double())
    for slope, exact in zip(slopes, expected, strict=True):
        assert_allclose(slope, exact.float(), rtol=0, atol=2e-5 * exact.abs().max())
    assert not make(name)(z1, z2).requires_grad


@pytest.mark.parametrize("name", ["simclr", "bcl"])
def test_second_derivatives(name, views):
    results = []
    for dtype in (torch.float32, torch.float64):
        z1, z2 = (view.to(dtype).requires_grad_() for view in views(10, 4))
        (slope,) = torch.autograd.grad(make(name)(z1, z2), z1, create_graph=True)
        results += torch.autograd.grad(slope.square().sum(), (z1, z2))
    assert_allclose(results[0], results[2].float(), rtol=1e-4, atol=1e-6)
    assert_allclose(results[1], results[3].float(), rtol=1e-4, atol=1e-6)


def test_a_subclass_has_its_own_way(views):
    class Half(BCLLoss):
        def log_negative_mass(self, positive, unlabeled):
            return super().log_negative_mass(positive, unlabeled) - math.log(2)

    z1, z2 = (view.float() for view in views(8, 3))
    assert Half()(z1, z2) < BCLLoss()(z1, z2)


def test_similarities_of_zero_have_ranks_without_denormals(views):
    """Keys that are tiny floats would all be zero then."""
    z1, z2 = torch.eye(6), torch.eye(6)
    expected = BCLLoss()(z1, z2)
    assert torch.set_flush_denormal(True)
    try:
        assert_allclose(BCLLoss()(z1, z2), expected, rtol=1e-6)
        assert_allclose(BCLLoss(temperature=0.02)(z1, z2), 0, atol=1e-6)
    finally:
        torch.set_flush_denormal(False)


def test_memory_that_is_kept_serves_every_mode_and_thread(views):
    def loss_and_gradients(n_rows=8):
        z1, z2 = (z.requires_grad_() for z in views(n_rows, 6, torch.float32))
        value = BCLLoss()(z1, z2)
        return [value.detach(), *torch.autograd.grad(value, (z1, z2))]

    expected = loss_and_gradients(16), loss_and_gradients()
    with torch.inference_mode():
        BCLLoss()(*views(16, 6, torch.float32))
    with ThreadPoolExecutor(4) as pool:
        sizes = [16, 8] * 20
        results = list(pool.map(loss_and_gradients, sizes))
    for n_rows, result in zip(sizes, results, strict=True):
        for one, other in zip(result, expected[n_rows == 8], strict=True):
            assert torch.equal(one, other)
    loss_and_gradients(16)  # of memory made in inference mode


EACH = ["simclr", "bcl", "dcl", "hcl"]


@pytest.fixture
def few_at_once(monkeypatch):
    """Let losses take at most seven of 26 anchors at once, but for one pass."""
    monkeypatch.setattr(sklearn_bcl.losses, "MOST_SIMILARITIES", 7 * 26)
    chunks, losses = [], ContrastiveLoss._losses

    def counted(self, z, anchors):
        chunks.append(anchors.stop - anchors.start)
        return losses(self, z, anchors)

    monkeypatch.setattr(ContrastiveLoss, "_losses", counted)
    return chunks


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("temperature", [1e-4, 0.5])
@each_robustness
def test_chunks_of_anchors_change_nothing(
    name, temperature, robustness, views, few_at_once, monkeypatch
):
    loss, pair = (
        make(name, temperature=temperature, robustness=robustness),
        views(13, 4),
    )
    in_chunks = gradients(loss, *pair)
    assert few_at_once == [7, 7, 7, 5]
    assert not loss(*pair).requires_grad
    assert loss(*pair) == in_chunks[0]
    monkeypatch.undo()
    for value, expected in zip(in_chunks, gradients(loss, *pair), strict=True):
        scale = expected.abs().max().item()
        assert_allclose(value, expected, rtol=1e-12, atol=1e-13 * max(1, scale))


@pytest.mark.parametrize("name", EACH)
def test_second_derivatives_of_chunks(name, views, few_at_once, monkeypatch):
    results = []
    for undo in (False, True):
        if undo:
            monkeypatch.undo()
        z1, z2 = (view.clone().requires_grad_() for view in views(13, 4))
        (slope,) = torch.autograd.grad(make(name)(z1, z2), z1, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), (z1, z2)))
    for value, expected in zip(*results, strict=True):
        assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_losses_of_a_subclass_see_all_at_once(views, few_at_once):
    class Own(ContrastiveLoss):
        def log_negative_mass(self, positive, unlabeled):
            return unlabeled.logsumexp(dim=1)

    value = Own()(*views(13, 4))
    assert few_at_once == [26]
    assert_allclose(value, make("simclr", temperature=0.5)(*views(13, 4)), rtol=1e-12)
