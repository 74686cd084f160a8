import copy
import math
import pickle
from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.nn.functional import normalize

from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import (
    BCLLoss,
    ContrastiveLoss,
    DebiasedLoss,
    HardNegativeLoss,
    NTXentLoss,
)

PRIORS = {"tau_plus": 0.2, "alpha": 0.8, "beta": 0.7}
LOSSES = {
    "simclr": (NTXentLoss, {}),
    "bcl": (BCLLoss, PRIORS),
    "dcl": (DebiasedLoss, {"tau_plus": 0.2}),
    "hcl": (HardNegativeLoss, {"tau_plus": 0.2, "concentration": 0.7}),
}
each_loss = pytest.mark.parametrize("name", LOSSES)
each_robustness = pytest.mark.parametrize("robustness", [0.0, 0.4, 1.0])


def make(name, **parameters):
    loss_class, arguments = LOSSES[name]
    return loss_class(**{**arguments, **parameters})


def unequal_lengths(*views):
    """Return the views with rows of other lengths, which cosines do not see."""
    generator = torch.Generator().manual_seed(5)
    return [
        z * 10 ** (4 * torch.rand(len(z), 1, generator=generator, dtype=z.dtype) - 2)
        for z in views
    ]


def gradients(loss, z1, z2):
    z1, z2 = (z.detach().clone().requires_grad_() for z in (z1, z2))
    value = loss(z1, z2)
    value.backward()
    return value.detach(), z1.grad, z2.grad


def oracle(
    name,
    z1,
    z2,
    temperature,
    tau_plus=0.0,
    alpha=0.5,
    beta=0.5,
    concentration=0.0,
    robustness=0.0,
):
    """Every loss as plain loops over anchors and samples, from the formulas.

    With so many digits and such exponents that nothing overflows or cancels.
    """
    with localcontext(prec=120):
        t, tau, b = (Decimal(x) for x in (temperature, tau_plus, concentration))
        q = Decimal(robustness)
        z = []
        for row in np.concatenate([z1, z2]).tolist():
            row = [Decimal(value) for value in row]
            length = sum(value * value for value in row).sqrt()
            z.append([value / length for value in row])
        n, rows = len(z1), range(2 * len(z1))
        shares = []
        for anchor in rows:
            positive = (anchor + n) % (2 * n)

            def similarity(other, anchor=anchor):
                return sum(x * y for x, y in zip(z[anchor], z[other], strict=True))

            p_mass = (similarity(positive) / t).exp()
            scores = [similarity(i) for i in rows if i not in (anchor, positive)]
            masses = [(score / t).exp() for score in scores]
            n_unlabeled = len(scores)
            if name == "simclr":
                negatives = sum(masses)
            elif name == "bcl":
                p = np.arange(1, n_unlabeled + 1) / n_unlabeled
                priors = {"alpha": alpha, "beta": beta, "tau_plus": tau_plus}
                weights = importance_weights(p, **priors).tolist()
                pairs = zip(weights, sorted(masses), strict=True)
                negatives = sum(Decimal(weight) * mass for weight, mass in pairs)
            else:
                weights = [mass**b for mass in masses]
                mean_weight = sum(weights) / n_unlabeled
                pairs = zip(weights, masses, strict=True)
                total = sum(weight * mass for weight, mass in pairs) / mean_weight
                negatives = max(
                    (total - tau * n_unlabeled * p_mass) / (1 - tau),
                    n_unlabeled * (-1 / t).exp(),
                )
            shares.append(p_mass / (p_mass + negatives))
        if robustness == 0:
            return float(-sum(share.ln() for share in shares) / len(shares))
        return float(-(sum(share**q for share in shares) / len(shares)).ln() / q)


# Values


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)]
)
def test_golden_values(golden, dtype, rtol):
    for case in golden["losses"]:
        z1, z2 = (torch.tensor(case[key], dtype=dtype) for key in ("z1", "z2"))
        t, tau_plus = case["temperature"], case["tau_plus"]
        for name, loss in {
            "simclr": NTXentLoss(t),
            "dcl": DebiasedLoss(t, tau_plus),
            "hcl": HardNegativeLoss(t, tau_plus, case["hcl_beta"]),
            "bcl": BCLLoss(t, tau_plus, case["alpha"], case["beta"]),
        }.items():
            value = loss(z1, z2)
            assert value.dtype == dtype
            assert value.shape == ()
            assert_allclose(value.item(), case["expected"][name], rtol=rtol)


@each_loss
@pytest.mark.parametrize("robustness", [0.0, 0.4])
@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5])
@pytest.mark.parametrize(
    ("n_rows", "tau_plus", "agree"),
    # Where views agree, the most is subtracted, and the floor takes over.
    [(2, 0.2, False), (3, 0.2, True), (4, 0.9, True), (9, 0.1, False)],
)
def test_against_loops(name, temperature, robustness, n_rows, tau_plus, agree, views):
    z1, z2 = unequal_lengths(*views(n_rows, 4, seed=n_rows))
    if agree:
        z2 = z1
    parameters = {"temperature": temperature, "robustness": robustness}
    if name != "simclr":
        parameters["tau_plus"] = tau_plus
    expected = oracle(name, z1, z2, **{**LOSSES[name][1], **parameters})
    loss = make(name, **parameters)
    # A similarity has an error of 1e-16, which the temperature divides.
    tolerance = {"rtol": 1e-12, "atol": 1e-15 / temperature}
    assert_allclose(loss(z1, z2).item(), expected, **tolerance)
    single = loss(z1.float(), z2.float()).item()
    assert_allclose(single, expected, rtol=1e-5, atol=1e-6 / temperature)


@each_loss
@each_robustness
def test_lengths_of_rows_do_not_count(name, robustness, views):
    z1, z2 = views(9, 4)
    loss = make(name, robustness=robustness)
    assert_allclose(loss(*unequal_lengths(z1, z2)), loss(z1, z2), rtol=1e-12)
    _, gradient, _ = gradients(loss, 10 * z1, z2)
    assert_allclose(gradient, gradients(loss, z1, z2)[1] / 10, rtol=1e-9, atol=1e-15)


@each_loss
@each_robustness
def test_symmetries(name, robustness, views):
    z1, z2 = views(17, 5)
    loss = make(name, robustness=robustness)
    value = loss(z1, z2).item()
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    assert_allclose(loss(z1[order], z2[order]).item(), value)
    assert_allclose(loss(z2, z1).item(), value)
    rotation = torch.linalg.qr(z1[:5]).Q
    assert_allclose(loss(z1 @ rotation, z2 @ rotation).item(), value)
    assert abs(loss(z1, z2[order]).item() - value) > 0.1


@each_loss
@each_robustness
def test_devices_agree(name, robustness, device, views):
    z1, z2 = unequal_lengths(*views(32, 8))
    loss = make(name, robustness=robustness)
    expected = gradients(loss, z1, z2)
    results = gradients(loss, *(z.to(device, torch.float32) for z in (z1, z2)))
    for result, exact in zip(results, expected, strict=True):
        assert result.device.type == device.type
        assert_allclose(result.cpu(), exact, rtol=1e-3, atol=1e-5 * exact.abs().max())


# Gradients


@each_loss
@each_robustness
@pytest.mark.parametrize("tau_plus", [0.0, 0.1, 0.9])  # 0.9: the floor is active
def test_gradients(name, robustness, tau_plus, views):
    prior = {} if name == "simclr" else {"tau_plus": tau_plus}
    loss = make(name, robustness=robustness, **prior)
    z1, z2 = (2 * z.requires_grad_() for z in views(5, 3))
    assert torch.autograd.gradcheck(loss, (z1, z2))


def test_weights_carry_no_gradient(views):
    # With the weights held constant, the gradient of the L-statistic is the same.
    _, *results = gradients(BCLLoss(temperature=0.5, **PRIORS), *views(6, 3))
    y1, y2 = (z.requires_grad_() for z in views(6, 3))
    y = normalize(torch.cat([y1, y2]))
    similarity = y @ y.T
    own = torch.eye(12, dtype=torch.bool)
    keep = ~(own | own.roll(6, 0))
    scores = similarity[keep].view(12, 10)
    rank = (scores[:, :, None] >= scores[:, None, :]).sum(dim=2)
    weights = torch.from_numpy(importance_weights(rank.numpy() / 10, **PRIORS))
    positive = (similarity[own.roll(6, 0)] / 0.5).exp()
    negatives = (weights * (scores / 0.5).exp()).sum(dim=1)
    (-(positive / (positive + negatives)).log().mean()).backward()
    assert_allclose(results[0], y1.grad, rtol=1e-10, atol=1e-16)
    assert_allclose(results[1], y2.grad, rtol=1e-10, atol=1e-16)


def test_robustness_weighs_anchors_by_their_share(views):
    # The gradient is that of a weighted mean of the anchors' losses.
    _, *results = gradients(NTXentLoss(robustness=0.5), *views(6, 3))
    y1, y2 = (z.requires_grad_() for z in views(6, 3))
    y = normalize(torch.cat([y1, y2]))
    scores = (y @ y.T / 0.5).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
    softmax = scores.softmax(dim=1)
    shares = torch.cat([softmax.diagonal(6), softmax.diagonal(-6)])
    weights = shares.detach().sqrt()
    (-(weights * shares.log()).sum() / weights.sum()).backward()
    assert_allclose(results[0], y1.grad, rtol=1e-10, atol=1e-16)
    assert_allclose(results[1], y2.grad, rtol=1e-10, atol=1e-16)


@each_loss
def test_robustness_starts_at_the_mean(name, views):
    z1, z2 = views(16, 4, torch.float32)
    expected = make(name)(z1, z2)
    for tiny in (1e-46, 1e-7, 1e-5):
        assert_allclose(make(name, robustness=tiny)(z1, z2), expected, rtol=1e-4)
    assert make(name, robustness=0.5)(z1, z2) < expected


# Special cases


class RankWeighted(ContrastiveLoss):
    """A loss of a user: samples weighed by a function of rank / N."""

    def __init__(self, of_ranks, temperature=0.5, robustness=0.0):
        super().__init__(temperature, robustness)
        self.of_ranks = of_ranks

    def log_negative_mass(self, positive, unlabeled):
        n_unlabeled = unlabeled.shape[1] - 2
        self.seen = positive, unlabeled
        scores = unlabeled.sort(dim=1).values[:, 2:]  # the first two are -inf
        p = torch.arange(1, n_unlabeled + 1, dtype=scores.dtype) / n_unlabeled
        return (self.of_ranks(p) * scores.exp()).sum(dim=1).log()


def quantile(p, kappa):
    """Invert the c.d.f. (1 + kappa) u - kappa u^2."""
    return 2 * p / (1 + kappa + ((1 + kappa) ** 2 - 4 * kappa * p) ** 0.5)


def density(p, kappa):
    return 1 + kappa - 2 * kappa * quantile(p, kappa)


def posterior(p):
    return torch.from_numpy(true_negative_posterior(p, alpha=0.8, tau_plus=0.2))


KAPPA = (2 * 0.8 - 1) * (1 - 2 * 0.2)  # of unlabeled samples, at 0.8 and 0.2


@each_robustness
@pytest.mark.parametrize(
    ("alpha", "beta", "tau_plus", "weight"),
    [
        (0.8, 0.5, 0.0, torch.ones_like),
        (0.5, 0.5, 0.3, torch.ones_like),
        (0.8, 0.5, 0.2, lambda p: posterior(p) / 0.8),
        (0.8, 0.8, 0.2, lambda p: 1 / density(p, KAPPA)),
        (0.5, 0.7, 0.2, lambda p: 2 * (0.3 * (1 - p) + 0.7 * p)),
        (0.8, 1.0, 0.2, lambda p: 2 * quantile(p, KAPPA) / density(p, KAPPA)),
    ],
    ids=["no prior", "no location", "debias", "base", "hardness only", "hardest"],
)
def test_special_cases_of_bcl(alpha, beta, tau_plus, weight, robustness, views):
    z1, z2 = views(16, 4)
    loss = BCLLoss(0.3, tau_plus, alpha, beta, robustness)
    expected = RankWeighted(weight, 0.3, robustness)
    results = gradients(loss, z1, z2), gradients(expected, z1, z2)
    for result, exact in zip(*results, strict=True):
        assert_allclose(result, exact, rtol=1e-10, atol=1e-15)
    is_plain = weight is torch.ones_like
    plain = NTXentLoss(0.3, robustness)(z1, z2)
    assert is_plain == np.isclose(results[0][0], plain, rtol=1e-12)


def test_tau_plus_has_no_effect_at_alpha_one_half(views):
    z1, z2 = views(16, 4)
    losses = [
        BCLLoss(alpha=0.5, beta=0.8, tau_plus=tau_plus)(z1, z2).item()
        for tau_plus in (0.0, 0.4)
    ]
    assert_allclose(losses[0], losses[1], rtol=1e-14)
    assert abs(losses[0] - NTXentLoss()(z1, z2).item()) > 1e-3


@pytest.mark.parametrize("n_rows", [2, 50, 600])
def test_tied_similarities_split_their_ranks(n_rows):
    # All rows are equal, so the loss sees the sum of the weights: N, up to O(1).
    z = torch.ones(n_rows, 3, dtype=torch.float64)
    n_unlabeled = 2 * n_rows - 2
    p = np.arange(1, n_unlabeled + 1) / n_unlabeled
    total = importance_weights(p, **PRIORS).sum()
    assert_allclose(BCLLoss(**PRIORS)(z, z), math.log1p(total), rtol=1e-12)
    assert abs(total - n_unlabeled) < 1.5


@each_robustness
def test_hard_negative_special_cases(robustness, views):
    z1, z2 = views(16, 4)
    q = {"robustness": robustness}
    debiased = DebiasedLoss(tau_plus=0.1, **q)(z1, z2)
    without_mining = HardNegativeLoss(tau_plus=0.1, concentration=0, **q)(z1, z2)
    assert_allclose(without_mining, debiased, rtol=1e-12)
    without_prior = DebiasedLoss(tau_plus=0, **q)(z1, z2)
    assert_allclose(without_prior, NTXentLoss(**q)(z1, z2), rtol=1e-12)


# A loss of one's own


def test_subclass_sees_similarities_over_temperature(views):
    z1, z2 = unequal_lengths(*views(4, 3))
    loss = RankWeighted(torch.ones_like, temperature=0.2)
    assert_allclose(loss(z1, z2), NTXentLoss(0.2)(z1, z2), rtol=1e-12)
    positive, unlabeled = loss.seen
    z = normalize(torch.cat([z1, z2]))
    cosine = z @ z.T / 0.2
    assert_allclose(positive, cosine.diagonal(4).repeat(2), rtol=1e-12)
    own = torch.eye(8, dtype=torch.bool)
    masked = own | own.roll(4, 0)
    assert (unlabeled[masked] == -torch.inf).all()
    assert_allclose(unlabeled[~masked], cosine[~masked], rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="'temperature' must be"):
        RankWeighted(torch.ones_like, temperature=0)
    with pytest.raises(NotImplementedError):
        ContrastiveLoss()(z1, z2)


# Precision


EXTREME_VIEWS = {
    "random": lambda z1, z2: (z1, z2),
    "collapsed": lambda z1, z2: (z1[:1].repeat(12, 1), z1[:1].repeat(12, 1)),
    "agreeing": lambda z1, z2: (z1, z1),
    "orthogonal": lambda z1, z2: (torch.eye(12, dtype=z1.dtype),) * 2,
    "opposed": lambda z1, z2: (z1, -z1),
    "half opposed": lambda z1, z2: (z1, torch.cat([z1[:6], -z1[6:]])),
    "with zero rows": lambda z1, z2: (torch.cat([0 * z1[:3], z1[3:]]), z2),
}


def extreme_losses(tau_plus, temperature, robustness):
    common = {"temperature": temperature, "robustness": robustness}
    if tau_plus == 0:
        yield NTXentLoss(**common)
    else:
        yield BCLLoss(alpha=1, tau_plus=tau_plus, **common)  # a weight of 0
    yield BCLLoss(alpha=0.95, beta=1, tau_plus=tau_plus, **common)
    yield DebiasedLoss(tau_plus=tau_plus, **common)
    for concentration in (0, 1, 2):
        yield HardNegativeLoss(tau_plus=tau_plus, concentration=concentration, **common)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", EXTREME_VIEWS)
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.5, 2])
def test_finite(dtype, kind, temperature, views):
    z1, z2 = EXTREME_VIEWS[kind](*views(12, 6, dtype))
    for tau_plus, robustness in product((0, 0.1, 0.5, 0.9), (0, 1)):
        for loss in extreme_losses(tau_plus, temperature, robustness):
            value, *results = gradients(loss, z1, z2)
            assert value.dtype == torch.float32
            assert torch.isfinite(value), loss
            for gradient in results:
                assert gradient.dtype == dtype
                assert torch.isfinite(gradient).all(), loss


@each_loss
@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (torch.float32, (1e-36, 1e-20, 1e19, 1e37)),
        (torch.float64, (1e-300, 1e-20, 1e19, 1e300)),
        (torch.bfloat16, (1e-36, 1e37)),
    ],
)
def test_rows_of_any_length(name, dtype, scales, views):
    z1, z2 = views(12, 6)
    loss = make(name)
    expected = loss(z1.to(dtype), z2.to(dtype)).item()
    for scale in scales:
        value = loss((scale * z1).to(dtype), (scale * z2).to(dtype)).item()
        assert_allclose(value, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5)


@each_loss
@pytest.mark.parametrize(
    ("dtype", "length"), [(torch.float32, 2.0**-149), (torch.float64, 2.0**-1060)]
)
def test_rows_that_are_below_the_least_normal_number(name, dtype, length):
    z, loss = torch.eye(4, dtype=dtype), make(name)
    value, *slopes = gradients(loss, length * z, length * z)
    assert_allclose(value, loss(z, z))
    assert not any(slope.isnan().any() for slope in slopes)


@each_loss
def test_a_zero_row_is_orthogonal_to_all(name, views):
    z1, z2 = views(5, 3)
    apart = torch.zeros(10, 4, dtype=torch.float64)
    apart[:, :3] = torch.cat([z1, z2])
    apart[0] = torch.tensor([0.0, 0, 0, 1])  # orthogonal to all
    loss = make(name)
    z1[0] = 0
    value, gradient, _ = gradients(loss, z1, z2)
    assert_allclose(value.item(), loss(*apart.chunk(2)).item())
    assert (gradient[0] == 0).all()
    assert (gradient[1:] != 0).any()


@each_loss
@pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)]
)
def test_half_precision_is_close(name, dtype, rtol, views):
    loss = make(name, temperature=0.1)
    z1, z2 = views(64, 16)
    expected = loss(z1, z2).item()
    for scale in (1e-2, 1, 1e4):
        half = loss((scale * z1).to(dtype), (scale * z2).to(dtype))
        assert_allclose(half.item(), expected, rtol=rtol)
    # Of two dtypes, the wider one counts.
    assert loss(z1.to(dtype), z2).dtype == torch.float64


@each_loss
def test_autocast_does_not_lower_the_precision(name, device, views):
    z1, z2 = (z.to(device) for z in views(32, 8, torch.float32))
    loss = make(name)
    leaves = [z.clone().requires_grad_() for z in (z1, z2)]
    with torch.autocast(device.type, dtype=torch.bfloat16):
        value = loss(*leaves)
    assert value.dtype == torch.float32
    slopes = torch.autograd.grad(value, leaves)
    expected, *exact = gradients(loss, z1, z2)
    assert_allclose(value.item(), expected.item(), rtol=1e-6)
    for slope, other in zip(slopes, exact, strict=True):
        assert_allclose(slope.cpu(), other.cpu(), rtol=1e-4, atol=1e-7)


# Modules and modes


def test_first_use_under_inference_mode(views):
    loss = BCLLoss(alpha=0.61, beta=0.62, tau_plus=0.63)
    z1, z2 = views(8, 3)
    with torch.inference_mode():
        expected = loss(z1, z2).item()
    value, *results = gradients(loss, z1, z2)
    assert_allclose(value.item(), expected, rtol=1e-14)
    assert all(torch.isfinite(gradient).all() for gradient in results)


@each_loss
def test_copies_and_repr(name, views):
    z1, z2 = views(8, 3)
    loss = make(name, temperature=0.2, robustness=0.3)
    expected = loss(z1, z2)
    assert not list(loss.parameters())
    for same in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert same(z1, z2) == expected
    parameters = {**LOSSES[name][1], "temperature": 0.2, "robustness": 0.3}
    shown = repr(loss).removeprefix(f"{type(loss).__name__}(").removesuffix(")")
    assert set(shown.split(", ")) == {f"{k}={v}" for k, v in parameters.items()}


def test_defaults():
    for default, loss in (
        (NTXentLoss(), NTXentLoss(0.5, 0.0)),
        (BCLLoss(), BCLLoss(0.5, 0.1, 0.9, 0.5, 0.0)),
        (DebiasedLoss(), DebiasedLoss(0.5, 0.1, 0.0)),
        (HardNegativeLoss(), HardNegativeLoss(0.5, 0.1, 1.0, 0.0)),
    ):
        assert repr(default) == repr(loss)


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
    with pytest.raises(ValueError, match=match):
        make(name)(z1, z2)


@each_loss
@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("temperature", [0, -1, float("nan"), "auto"]),
        ("robustness", [-0.1, 1.1, float("nan"), "auto"]),
    ],
)
def test_invalid_common_parameters(name, parameter, values):
    for value in values:
        with pytest.raises(ValueError, match=f"'{parameter}' must be"):
            make(name, **{parameter: value})


ENDS = {
    "temperature": ([1e-6, 1e6], [9e-7]),
    "robustness": ([0, 1], [-1e-9, 1 + 1e-9]),
    "tau_plus": ([0, 0.999], [-1e-9, 1]),
    "alpha": ([0.5, 1], [0.499, 1.001]),
    "beta": ([1e-3, 1], [0, 1.001]),
    "concentration": ([0, 1e6], [-1e-9, 1e6 + 1]),
}


@each_loss
def test_ends_of_parameters(name):
    for parameter in ("temperature", "robustness", *LOSSES[name][1]):
        inside, outside = ENDS[parameter]
        for value in inside:
            assert getattr(make(name, **{parameter: value}), parameter) == value
        for value in outside:
            with pytest.raises(ValueError, match=f"'{parameter}' must be"):
                make(name, **{parameter: value})


@pytest.mark.parametrize("arguments", [{"beta": 1}, {"tau_plus": 0}])
def test_degenerate_priors(arguments):
    with pytest.raises(ValueError, match=f"'alpha'.* '{next(iter(arguments))}'"):
        BCLLoss(alpha=1, **arguments)


def test_nothing_is_left_of_the_negatives():
    # One unlabeled sample, of exactly the mass that is subtracted.
    positive = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    unlabeled = torch.tensor([[-math.inf, -math.inf, np.log(0.5)]], dtype=torch.float64)
    unlabeled.requires_grad_()
    log_negatives = DebiasedLoss(tau_plus=0.5).log_negative_mass(positive, unlabeled)
    assert log_negatives.item() == -2  # the floor, at a temperature of 0.5
    log_negatives.sum().backward()
    assert not positive.grad.any() and not unlabeled.grad.any()
