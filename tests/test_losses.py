import copy
import math
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from sklearn_bcl.bayes import importance_weights
from sklearn_bcl.losses import (
    BCLLoss,
    DebiasedLoss,
    HardNegativeLoss,
    NTXentLoss,
    _argsort_rows,
    bcl_loss,
    debiased_loss,
    hard_negative_loss,
    ntxent_loss,
)

PRIORS = {"tau_plus": 0.2, "alpha": 0.8, "beta": 0.7}
LOSSES = {
    "simclr": (ntxent_loss, NTXentLoss, {}),
    "bcl": (bcl_loss, BCLLoss, PRIORS),
    "robust bcl": (bcl_loss, BCLLoss, {**PRIORS, "robustness": 1.0}),
    "dcl": (debiased_loss, DebiasedLoss, {"tau_plus": 0.2}),
    "hcl": (
        hard_negative_loss,
        HardNegativeLoss,
        {"tau_plus": 0.2, "concentration": 0.7},
    ),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def golden_arguments(case):
    tau_plus = {"tau_plus": case["tau_plus"]}
    return {
        "simclr": {},
        "dcl": tau_plus,
        "hcl": {**tau_plus, "concentration": case["hcl_beta"]},
        "bcl": {**tau_plus, "alpha": case["alpha"], "beta": case["beta"]},
    }


def oracle(
    name,
    z1,
    z2,
    t,
    tau_plus=0.0,
    alpha=0.5,
    beta=0.5,
    concentration=0.0,
    robustness=0.0,
):
    """Every loss as plain loops over anchors and samples, from the formulas."""
    z = np.concatenate([z1, z2]).tolist()
    n, rows = len(z1), range(2 * len(z1))
    losses = []
    for anchor in rows:
        positive = (anchor + n) % (2 * n)

        def similarity(other, anchor=anchor):
            return sum(a * b for a, b in zip(z[anchor], z[other], strict=True))

        p_mass = math.exp(similarity(positive) / t)
        scores = [similarity(i) for i in rows if i not in (anchor, positive)]
        masses = [math.exp(score / t) for score in scores]
        n_unlabelled = len(scores)
        if name == "simclr":
            negatives = sum(masses)
        elif name.endswith("bcl"):
            negatives = 0.0
            for score, mass in zip(scores, masses, strict=True):
                p = sum(other <= score for other in scores) / n_unlabelled
                weight = importance_weights(
                    p, alpha=alpha, beta=beta, tau_plus=tau_plus
                )
                negatives += float(weight) * mass
        else:
            weights = [mass**concentration for mass in masses]
            mean_weight = sum(weights) / n_unlabelled
            total = sum(
                weight * mass / mean_weight
                for weight, mass in zip(weights, masses, strict=True)
            )
            negatives = max(
                (total - tau_plus * n_unlabelled * p_mass) / (1 - tau_plus),
                n_unlabelled * math.exp(-1 / t),
            )
        losses.append(math.log1p(negatives / p_mass))  # -log(P / (P + Ng))
    if robustness > 0:
        powers = [math.exp(-loss) ** robustness for loss in losses]
        return -math.log(sum(powers) / len(powers)) / robustness
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)]
)
def test_golden_values(golden, dtype, rtol):
    for case in golden["losses"]:
        z1, z2 = (torch.tensor(case[key], dtype=dtype) for key in ("z1", "z2"))
        for name, arguments in golden_arguments(case).items():
            function, _, _ = LOSSES[name]
            loss = function(z1, z2, temperature=case["temperature"], **arguments)
            assert loss.dtype == dtype
            assert_allclose(loss.item(), case["expected"][name], rtol=rtol)


@each_loss
@pytest.mark.parametrize("n_rows", [2, 3, 9])
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_against_loops(name, n_rows, temperature, views):
    z1, z2 = views(n_rows, 4, seed=n_rows)
    function, _, arguments = LOSSES[name]
    loss = function(z1, z2, temperature=temperature, **arguments)
    expected = oracle(name, z1.numpy(), z2.numpy(), temperature, **arguments)
    assert_allclose(loss.item(), expected, rtol=1e-12, atol=1e-14)


@each_loss
@pytest.mark.parametrize("tau_plus", [0.0, 0.9])  # 0.9: the floor is active
def test_gradients(name, tau_plus, views):
    function, _, arguments = LOSSES[name]
    if "tau_plus" in arguments:
        arguments = {**arguments, "tau_plus": tau_plus}
    z1, z2 = (z.requires_grad_() for z in views(5, 3))
    assert torch.autograd.gradcheck(
        lambda *z: function(*z, temperature=0.5, **arguments), (z1, z2)
    )


@each_loss
def test_symmetries(name, views):
    function, _, arguments = LOSSES[name]
    z1, z2 = views(17, 5)
    loss = function(z1, z2, **arguments).item()
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    assert_allclose(function(z1[order], z2[order], **arguments).item(), loss)
    assert_allclose(function(z2, z1, **arguments).item(), loss)


@pytest.mark.parametrize(
    "priors",
    [
        {"alpha": 0.8, "beta": 0.5, "tau_plus": 0.0},
        {"alpha": 0.5, "beta": 0.5, "tau_plus": 0.3},
    ],
)
def test_bcl_special_cases_are_ntxent(priors, views):
    z1, z2 = views(16, 4)
    assert_allclose(bcl_loss(z1, z2, **priors), ntxent_loss(z1, z2), rtol=1e-12)


def test_tau_plus_has_no_effect_at_alpha_one_half(views):
    z1, z2 = views(16, 4)
    losses = [
        bcl_loss(z1, z2, alpha=0.5, beta=0.8, tau_plus=tau_plus).item()
        for tau_plus in (0.0, 0.4)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != ntxent_loss(z1, z2).item()


def test_robustness_weighs_anchors_by_their_share(views):
    # The gradient is that of a weighted mean of the anchors' losses.
    z1, z2 = (z.requires_grad_() for z in views(6, 3))
    bcl_loss(z1, z2, tau_plus=0.0, robustness=0.5).backward()
    y1, y2 = (z.requires_grad_() for z in views(6, 3))
    y = torch.cat([y1, y2])
    scores = (y @ y.T / 0.5).fill_diagonal_(-torch.inf)
    softmax = scores.softmax(dim=1)
    shares = torch.cat([softmax.diagonal(6), softmax.diagonal(-6)])
    weights = shares.detach().sqrt()
    (-(weights * shares.log()).sum() / weights.sum()).backward()
    assert_allclose(z1.grad, y1.grad, rtol=1e-10)
    assert_allclose(z2.grad, y2.grad, rtol=1e-10)


def test_robustness_starts_at_the_mean(views):
    z1, z2 = views(16, 4, torch.float32)
    expected = bcl_loss(z1, z2)
    for tiny in (1e-46, 1e-7, 1e-5):
        assert_allclose(bcl_loss(z1, z2, robustness=tiny), expected, rtol=1e-4)
    assert bcl_loss(z1, z2, robustness=0.5) < expected


@pytest.mark.parametrize("robustness", [-0.1, 1.1, float("nan"), "auto"])
def test_invalid_robustness(robustness, views):
    z1, z2 = views(3, 2)
    with pytest.raises(ValueError, match="'robustness' must be"):
        bcl_loss(z1, z2, robustness=robustness)


def test_hard_negative_special_cases(views):
    z1, z2 = views(16, 4)
    without_mining = hard_negative_loss(z1, z2, tau_plus=0.1, concentration=0)
    assert_allclose(without_mining, debiased_loss(z1, z2, tau_plus=0.1))
    assert_allclose(debiased_loss(z1, z2, tau_plus=0), ntxent_loss(z1, z2))


@each_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("collapsed", [False, True])
def test_finite_at_low_temperature(name, dtype, collapsed, views):
    function, _, arguments = LOSSES[name]
    z1, z2 = views(64, 16, dtype)
    if collapsed:  # all similarities tie
        z1 = z2 = z1[:1].repeat(64, 1)
    z1, z2 = z1.clone().requires_grad_(), z2.clone().requires_grad_()
    loss = function(z1, z2, temperature=0.01, **arguments)
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    for z in (z1, z2):
        assert z.grad.dtype == dtype
        assert torch.isfinite(z.grad).all()


def test_half_precision_is_close(views):
    expected = bcl_loss(*views(64, 16), temperature=0.1)
    loss = bcl_loss(*views(64, 16, torch.float16), temperature=0.1)
    assert_allclose(loss.item(), expected.item(), rtol=1e-3)


@each_loss
def test_autocast_does_not_lower_the_precision(name, views):
    function, _, arguments = LOSSES[name]
    z1, z2 = views(32, 8, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = function(z1, z2, **arguments)
    assert loss.item() == function(z1, z2, **arguments).item()


def test_weights_carry_no_gradient(views):
    # With the weights held constant, the gradient of the L-statistic is the same.
    z1, z2 = (z.requires_grad_() for z in views(6, 3))
    bcl_loss(z1, z2, temperature=0.5, **PRIORS).backward()
    y1, y2 = (z.requires_grad_() for z in views(6, 3))
    y = torch.cat([y1, y2])
    similarity = y @ y.T
    own = torch.eye(12, dtype=torch.bool)
    keep = ~(own | own.roll(6, 0))
    scores = similarity[keep].view(12, 10)
    rank = (scores[:, :, None] >= scores[:, None, :]).sum(dim=2)
    weights = torch.from_numpy(importance_weights(rank.numpy() / 10, **PRIORS))
    positive = (similarity[own.roll(6, 0)] / 0.5).exp()
    negatives = (weights * (scores / 0.5).exp()).sum(dim=1)
    (-(positive / (positive + negatives)).log().mean()).backward()
    assert_allclose(z1.grad, y1.grad, rtol=1e-10)
    assert_allclose(z2.grad, y2.grad, rtol=1e-10)


def test_every_sort_gives_the_same_weights(views, monkeypatch):
    z1, z2 = views(64, 8, torch.float32)
    expected = bcl_loss(z1, z2).item()
    monkeypatch.setattr(
        "sklearn_bcl.losses._argsort_rows", lambda values: values.argsort(dim=1)
    )
    assert_allclose(bcl_loss(z1, z2).item(), expected, rtol=1e-6)


def test_first_use_under_inference_mode(views):
    priors = {"alpha": 0.61, "beta": 0.62, "tau_plus": 0.63}
    z1, z2 = views(8, 3)
    with torch.inference_mode():
        expected = bcl_loss(z1, z2, **priors).item()
    loss = bcl_loss(z1.requires_grad_(), z2, **priors)
    loss.backward()
    assert loss.item() == expected


@each_loss
def test_module_is_a_thin_copy_of_the_function(name, views):
    function, module_class, arguments = LOSSES[name]
    z1, z2 = views(8, 3)
    module = module_class(temperature=0.2, **arguments)
    expected = function(z1, z2, temperature=0.2, **arguments)
    for loss in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert loss(z1, z2) == expected
    for key, value in {"temperature": 0.2, **arguments}.items():
        assert f"{key}={value}" in repr(module)


@each_loss
def test_defaults_agree(name, views):
    function, module_class, _ = LOSSES[name]
    z1, z2 = views(8, 3)
    assert function(z1, z2) == module_class()(z1, z2)


@each_loss
@pytest.mark.parametrize(
    ("z1", "z2", "match"),
    [
        (torch.zeros(3, 2), torch.zeros(4, 2), r"\(3, 2\) and \(4, 2\)"),
        (torch.zeros(3), torch.zeros(3), r"shape \(n, d\)"),
        (torch.zeros(1, 2), torch.zeros(1, 2), "at least 2 rows"),
        (torch.zeros(3, 2, dtype=int), torch.zeros(3, 2, dtype=int), "torch.int64"),
    ],
)
def test_invalid_views(name, z1, z2, match):
    function, _, arguments = LOSSES[name]
    with pytest.raises(ValueError, match=match):
        function(z1, z2, **arguments)


@pytest.mark.parametrize(
    ("module_class", "arguments"),
    [
        (NTXentLoss, {"temperature": 0}),
        (BCLLoss, {"temperature": -1}),
        (BCLLoss, {"alpha": 0.3}),
        (BCLLoss, {"beta": 0}),
        (BCLLoss, {"tau_plus": 1}),
        (BCLLoss, {"alpha": 1, "beta": 1}),
        (BCLLoss, {"robustness": 1.1}),
        (DebiasedLoss, {"tau_plus": 1}),
        (HardNegativeLoss, {"tau_plus": -0.1}),
        (HardNegativeLoss, {"concentration": -1}),
    ],
)
def test_invalid_parameters(module_class, arguments):
    with pytest.raises(ValueError, match=f"'{next(iter(arguments))}'"):
        module_class(**arguments)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_argsort_of_float32(scale):
    values = scale * torch.randn(20, 300, generator=torch.Generator().manual_seed(0))
    values[:, [5, 9]] = -torch.inf
    values[:, 20] = values[:, 30]  # ties
    values[:, 40], values[:, 41] = 0.0, -0.0
    order = _argsort_rows(values)
    assert torch.equal(values.gather(1, order), values.sort(dim=1).values)
    assert torch.equal(order.sort(dim=1).values, torch.arange(300).expand(20, 300))
