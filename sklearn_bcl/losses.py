r"""Contrastive losses for two views of a batch.

Every loss takes ``z1`` and ``z2`` of shape ``(n, d)``: row ``i`` of both is the
L2-normalised projection of a view of sample ``i``. Each of the ``2n`` rows is once
the anchor; its positive is the other view of the same sample, and the remaining
``N = 2n - 2`` rows are its unlabelled samples. With cosine similarities ``s``,
temperature ``t``, :math:`P = e^{s^+/t}` and :math:`E_i = e^{s_i/t}`, each loss is

.. math:: L = \operatorname{mean} \, -\log \frac{P}{P + N_g}

with its own estimate :math:`N_g` of the negatives' mass (:class:`BCLLoss` can weigh
anchors in the mean). All are computed in the log
domain or scaled by the largest term, in float32 at least, so that they stay finite
for half-precision inputs and low temperatures. The work is
:math:`O(n^2 \log n)` at most, the memory :math:`O(n^2)`.

"Debiased" here is Chuang et al.'s debiased contrastive loss (their "DCL"), not the
*decoupled* contrastive loss that other libraries abbreviate in the same way.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._validation import check_interval
from sklearn_bcl.bayes import check_priors, importance_weights

__all__ = [
    "BCLLoss",
    "DebiasedLoss",
    "HardNegativeLoss",
    "NTXentLoss",
    "bcl_loss",
    "debiased_loss",
    "hard_negative_loss",
    "ntxent_loss",
]

INDEX_BITS = 2**29 - 1
LEAST_ROBUSTNESS = 1e-6  # below, it changes less than rounding does


def _check_views(z1: Tensor, z2: Tensor) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise ValueError(
            "'z1' and 'z2' must be two views of the same rows, both of shape (n, d). "
            f"Got {tuple(z1.shape)} and {tuple(z2.shape)}."
        )
    if len(z1) < 2:
        raise ValueError(
            "A contrastive loss needs at least 2 rows, so that an anchor has an "
            f"unlabelled sample. Got {len(z1)}."
        )
    if not (z1.is_floating_point() and z2.is_floating_point()):
        raise ValueError(
            "'z1' and 'z2' must have a floating point dtype. "
            f"Got {z1.dtype} and {z2.dtype}."
        )


def _check_temperature(temperature: float) -> None:
    check_interval("temperature", temperature, 0, None, closed="neither")


def _scaled_similarities(
    z1: Tensor, z2: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Similarities over temperature: positives (2n,) and unlabelled (2n, 2n).

    In the second, an anchor's own and its positive's place hold -inf.
    """
    _check_views(z1, z2)
    dtype = torch.promote_types(torch.promote_types(z1.dtype, z2.dtype), torch.float32)
    # Under autocast the products would fall back to half precision.
    with torch.autocast(z1.device.type, enabled=False):
        z = torch.cat([z1, z2]).to(dtype)
        n = len(z1)
        positive = (z[:n] * z[n:]).sum(dim=1).div(temperature).repeat(2)
        scaled = (z / temperature) @ z.T
    own = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    return positive, scaled.masked_fill(own | own.roll(n, 0), -torch.inf)


def _argsort_rows(values: Tensor) -> Tensor:
    """Indices that sort each row in ascending order."""
    if values.device.type != "cpu":
        return values.argsort(dim=1)
    # NumPy's vectorised sorts take a fraction of the time of torch's, and sorting
    # values takes less than sorting indices. A float32 leaves the last 29 bits of a
    # float64 empty: room for the index, which then only decides between ties.
    if values.dtype == torch.float32 and values.shape[1] <= INDEX_BITS:
        keys = values.double().clamp_(min=-(2.0**1000))  # -inf has no such room
        bits = keys.view(torch.int64)
        bits |= torch.arange(values.shape[1])
        keys.numpy().sort(axis=1)
        bits &= INDEX_BITS
        return bits
    return torch.from_numpy(np.argsort(values.numpy(), axis=1))


@lru_cache(maxsize=64)
def _log_weights_by_rank(
    n_unlabelled: int,
    alpha: float,
    beta: float,
    tau_plus: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Log-weights of the places of an ascending row of similarities.

    The first two places hold the anchor itself and its positive, which are no
    unlabelled samples. Kept on the device, so that a step copies nothing to it.
    """
    p = np.arange(1, n_unlabelled + 1) / n_unlabelled
    weights = importance_weights(p, alpha=alpha, beta=beta, tau_plus=tau_plus)
    with np.errstate(divide="ignore"):  # alpha = 1 gives the top rank no weight
        log_weights = np.concatenate([[0.0, 0.0], np.log(weights)])
    with torch.inference_mode(False):
        return torch.from_numpy(log_weights).to(device, dtype)


def _negative_log_share(
    positive: Tensor, log_negatives: Tensor, robustness: float = 0.0
) -> Tensor:
    """Minus the log of the power mean of P / (P + Ng), from log P and log Ng.

    The power is `robustness`; at 0 it is the geometric mean.
    """
    losses = F.softplus(log_negatives - positive)
    if robustness < LEAST_ROBUSTNESS:
        return losses.mean()
    least = losses.min().detach()  # any constant would do; this one cannot overflow
    powers = torch.expm1(-robustness * (losses - least))
    return least - torch.log1p(powers.mean()) / robustness


def ntxent_loss(z1: Tensor, z2: Tensor, *, temperature: float = 0.5) -> Tensor:
    r"""NT-Xent, the loss of SimCLR: :math:`N_g = \sum_i E_i`.

    See :class:`NTXentLoss` for the parameters.
    """
    _check_temperature(temperature)
    positive, unlabelled = _scaled_similarities(z1, z2, temperature)
    return _negative_log_share(positive, unlabelled.logsumexp(dim=1))


def bcl_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.5,
    tau_plus: float = 0.1,
    alpha: float = 0.9,
    beta: float = 0.5,
    robustness: float = 0.0,
) -> Tensor:
    r"""Bayesian contrastive loss: :math:`N_g = \sum_i \omega_i E_i`.

    The weights depend on ranks only, so the sum is an L-statistic: sort each
    anchor's similarities once and weigh them by place.

    See :class:`BCLLoss` for the parameters, and for what `robustness` makes of the mean
    over anchors.
    """
    _check_temperature(temperature)
    check_priors(alpha=alpha, beta=beta, tau_plus=tau_plus)
    check_interval("robustness", robustness, 0, 1, closed="both")
    positive, unlabelled = _scaled_similarities(z1, z2, temperature)
    by_rank = _log_weights_by_rank(
        2 * len(z1) - 2, alpha, beta, tau_plus, unlabelled.dtype, unlabelled.device
    )
    order = _argsort_rows(unlabelled.detach())
    log_weights = torch.empty_like(unlabelled, requires_grad=False)
    log_weights.scatter_(1, order, by_rank.expand_as(order))
    log_negatives = (unlabelled + log_weights).logsumexp(dim=1)
    return _negative_log_share(positive, log_negatives, robustness)


def debiased_loss(
    z1: Tensor, z2: Tensor, *, temperature: float = 0.5, tau_plus: float = 0.1
) -> Tensor:
    r"""Debiased contrastive loss ("DCL" of Chuang et al.).

    .. math:: N_g = \max\left(
        \frac{\sum_i E_i - \tau^+ N P}{1 - \tau^+}, \; N e^{-1/t} \right)

    See :class:`DebiasedLoss` for the parameters.
    """
    return hard_negative_loss(
        z1, z2, temperature=temperature, tau_plus=tau_plus, concentration=0
    )


def hard_negative_loss(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.5,
    tau_plus: float = 0.1,
    concentration: float = 1.0,
) -> Tensor:
    r"""Debiased loss with hard negatives ("HCL" of Robinson et al.).

    With :math:`w_i = E_i^b` and
    :math:`R = \sum_i w_i E_i / \operatorname{mean}(w)`,

    .. math:: N_g = \max\left(
        \frac{R - \tau^+ N P}{1 - \tau^+}, \; N e^{-1/t} \right)

    See :class:`HardNegativeLoss` for the parameters.
    """
    _check_temperature(temperature)
    check_interval("tau_plus", tau_plus, 0, 1, closed="left")
    check_interval("concentration", concentration, 0, None, closed="left")
    positive, unlabelled = _scaled_similarities(z1, z2, temperature)
    n_unlabelled = 2 * len(z1) - 2
    log_sum = ((1 + concentration) * unlabelled).logsumexp(dim=1)
    if concentration > 0:  # 0 * -inf is NaN, and the mean weight is 1 there
        log_total_weight = (concentration * unlabelled).logsumexp(dim=1)
        log_sum = log_sum - log_total_weight + np.log(n_unlabelled)
    # A difference of exponentials: scale by the larger one instead of taking logs.
    scale = torch.maximum(positive, log_sum).detach()
    p = (positive - scale).exp()
    corrected = ((log_sum - scale).exp() - tau_plus * n_unlabelled * p) / (1 - tau_plus)
    floor = (np.log(n_unlabelled) - 1 / temperature - scale).exp()
    negatives = torch.maximum(corrected, floor)
    # log(p + negatives), which keeps small negatives where p = 1.
    log_mass = torch.log1p(negatives + torch.expm1(positive - scale))
    return (log_mass + scale - positive).mean()


class NTXentLoss(nn.Module):
    r"""NT-Xent, the loss of SimCLR, which takes every unlabelled sample at par.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        Softmax temperature of the cosine similarities.

    References
    ----------
    Chen et al. (2020). A Simple Framework for Contrastive Learning of Visual
    Representations. arXiv:2002.05709.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.losses import NTXentLoss
    >>> z1 = z2 = torch.eye(4)
    >>> NTXentLoss(temperature=0.5)(z1, z2)
    tensor(0.5944)
    """

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__()
        _check_temperature(temperature)
        self.temperature = temperature

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss, a scalar, of two ``(n, d)`` L2-normalised views."""
        return ntxent_loss(z1, z2, temperature=self.temperature)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"


class BCLLoss(nn.Module):
    r"""Bayesian contrastive loss: unlabelled samples weighed by their ranks.

    Each unlabelled sample has the importance weight
    :func:`sklearn_bcl.bayes.importance_weights` of its rank among the anchor's
    unlabelled samples, at p = rank / N. The weights carry no gradient. At
    ``alpha = beta = 0.5``, or ``beta = 0.5`` with ``tau_plus = 0``, all weights are
    one and the loss, with ``robustness = 0``, is :class:`NTXentLoss`.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1), default=0.1
        Class prior: probability that an unlabelled sample is a false negative,
        i.e. shares the anchor's latent class. No effect at ``alpha = 0.5``.
    alpha : float in [0.5, 1], default=0.9
        Location: probability that a positive's score exceeds a negative's.
    beta : float in (0, 1], default=0.5
        Concentration: hardness of the negatives. 0.5 means no hard negative
        mining: each sample counts by how likely it is a true negative. 1 is the
        hardest.
    robustness : float in [0, 1], default=0
        How strongly anchors are weighed down whose two views disagree, as when one was
        changed beyond recognition. 0 is the paper's mean over all anchors. Above, an
        anchor counts in proportion to :math:`(P / (P + N_g))^q`, where P is the
        exponentiated similarity of its views and q the `robustness`. At lower
        temperatures fewer anchors count.

    Raises
    ------
    ValueError
        If a parameter is out of range, or for ``alpha = beta = 1`` and for
        ``alpha = 1`` with ``tau_plus = 0``, where the weights are degenerate.

    Notes
    -----
    With a robustness q the loss is minus the log of a power mean over anchors,

    .. math:: -\frac{1}{q} \log \operatorname{mean} \left(
        \frac{P}{P + N_g} \right)^q,

    whose limit at 0 is the mean of the negative logs. Its gradient is that of the
    generalised cross entropy of noisy labels [2]_, divided by the mean of the anchors'
    weights, so that its scale does not depend on q. RINCE [3]_ is a related loss for
    noisy views. Values at different q do not compare.

    References
    ----------
    .. [1] Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
       arXiv:2301.11673.
    .. [2] Zhang, Sabuncu (2018). Generalized Cross Entropy Loss for Training Deep
       Neural Networks with Noisy Labels. arXiv:1805.07836.
    .. [3] Chuang et al. (2022). Robust Contrastive Learning against Noisy Views.
       arXiv:2201.04309.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.losses import BCLLoss
    >>> generator = torch.Generator().manual_seed(0)
    >>> z = torch.randn(8, 3, generator=generator, requires_grad=True)
    >>> z1 = torch.nn.functional.normalize(z)
    >>> z2 = torch.nn.functional.normalize(z + 0.1)
    >>> loss = BCLLoss(temperature=0.5, tau_plus=0.1, alpha=0.9, beta=0.5)(z1, z2)
    >>> loss.backward()
    >>> loss.shape, z.grad.shape
    (torch.Size([]), torch.Size([8, 3]))
    """

    def __init__(
        self,
        temperature: float = 0.5,
        tau_plus: float = 0.1,
        alpha: float = 0.9,
        beta: float = 0.5,
        robustness: float = 0.0,
    ) -> None:
        super().__init__()
        _check_temperature(temperature)
        check_priors(alpha=alpha, beta=beta, tau_plus=tau_plus)
        check_interval("robustness", robustness, 0, 1, closed="both")
        self.temperature = temperature
        self.tau_plus = tau_plus
        self.alpha = alpha
        self.beta = beta
        self.robustness = robustness

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss, a scalar, of two ``(n, d)`` L2-normalised views."""
        return bcl_loss(
            z1,
            z2,
            temperature=self.temperature,
            tau_plus=self.tau_plus,
            alpha=self.alpha,
            beta=self.beta,
            robustness=self.robustness,
        )

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, tau_plus={self.tau_plus}, "
            f"alpha={self.alpha}, beta={self.beta}, robustness={self.robustness}"
        )


class DebiasedLoss(nn.Module):
    r"""Debiased contrastive loss: subtracts the expected false negatives.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1), default=0.1
        Class prior: probability that an unlabelled sample is a false negative.

    Notes
    -----
    This is the "DCL" of Chuang et al., not the *decoupled* contrastive loss.

    Where the views of an anchor agree and samples are spread evenly, P is
    :math:`e^{1/t}` and the mean of E about 1. So with a `tau_plus` above
    :math:`1 / (1 + e^{1/t})`, 0.119 at the default temperature, what the subtraction
    leaves is less than the floor :math:`N e^{-1/t}`, which takes over.

    References
    ----------
    Chuang et al. (2020). Debiased Contrastive Learning. arXiv:2007.00224.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.losses import DebiasedLoss
    >>> z1 = z2 = torch.eye(4)
    >>> DebiasedLoss(temperature=0.5, tau_plus=0.1)(z1, z2)
    tensor(0.2115)
    """

    def __init__(self, temperature: float = 0.5, tau_plus: float = 0.1) -> None:
        super().__init__()
        _check_temperature(temperature)
        check_interval("tau_plus", tau_plus, 0, 1, closed="left")
        self.temperature = temperature
        self.tau_plus = tau_plus

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss, a scalar, of two ``(n, d)`` L2-normalised views."""
        return debiased_loss(
            z1, z2, temperature=self.temperature, tau_plus=self.tau_plus
        )

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, tau_plus={self.tau_plus}"


class HardNegativeLoss(nn.Module):
    r"""Debiased contrastive loss that samples hard negatives.

    Unlabelled samples are weighed by a power of their exponentiated similarity,
    through which gradients flow.

    Parameters
    ----------
    temperature : float > 0, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1), default=0.1
        Class prior: probability that an unlabelled sample is a false negative.
    concentration : float >= 0, default=1.0
        Exponent of the weights; 0 gives :class:`DebiasedLoss`. The paper calls it
        beta; it is not the ``beta`` of :class:`BCLLoss`.

    References
    ----------
    Robinson et al. (2021). Contrastive Learning with Hard Negative Samples.
    arXiv:2010.04592.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.losses import HardNegativeLoss
    >>> z1 = z2 = torch.eye(4)
    >>> HardNegativeLoss(temperature=0.5, tau_plus=0.1, concentration=1.0)(z1, z2)
    tensor(0.2115)
    """

    def __init__(
        self,
        temperature: float = 0.5,
        tau_plus: float = 0.1,
        concentration: float = 1.0,
    ) -> None:
        super().__init__()
        _check_temperature(temperature)
        check_interval("tau_plus", tau_plus, 0, 1, closed="left")
        check_interval("concentration", concentration, 0, None, closed="left")
        self.temperature = temperature
        self.tau_plus = tau_plus
        self.concentration = concentration

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss, a scalar, of two ``(n, d)`` L2-normalised views."""
        return hard_negative_loss(
            z1,
            z2,
            temperature=self.temperature,
            tau_plus=self.tau_plus,
            concentration=self.concentration,
        )

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, tau_plus={self.tau_plus}, "
            f"concentration={self.concentration}"
        )
