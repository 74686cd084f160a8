r"""Contrastive losses of two views of a batch.

A loss is called as ``loss(z1, z2)`` with two tensors of shape ``(n, d)``. Row ``i`` of
`z1` and row ``i`` of `z2` are projections of two views of sample ``i``. They need no
normalization.

Each of the ``2n`` projections is an anchor. Its positive is the other view of the same
sample. The other ``N = 2n - 2`` projections are its unlabeled samples. With the cosine
similarities ``s`` and the temperature ``t``, let :math:`P = e^{s^+/t}` for the positive
and :math:`E_i = e^{s_i/t}` for an unlabeled sample. The loss at robustness q is

.. math:: L = -\frac{1}{q} \log \operatorname{mean}
    \left( \frac{P}{P + N_g} \right)^q,

with the mean over the anchors. At q = 0, it is the mean of :math:`-\log P / (P + N_g)`.
The losses differ only in :math:`N_g`, the mass of the negatives.

The losses compute in float32 or float64, also for half-precision projections, and stay
finite at low temperatures. Time is at most :math:`O(n^2 \log n)`. Memory is
:math:`O(n^2)` up to 1,448 rows and :math:`O(n)` above, by chunks of anchors. On a CPU,
`NTXentLoss` and `BCLLoss` always use :math:`O(n)` memory in float32 from a temperature
of 0.03 on. Then similarities that differ by less than 2e-6 may rank in either order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._one_pass import (
    WithGradient,
    blocks_of,
    can_take_one_pass,
    one_pass,
)
from sklearn_bcl._processes import ALONE, Share
from sklearn_bcl._unit_rows import UnitRows
from sklearn_bcl._validation import check_interval
from sklearn_bcl.bayes import check_priors, importance_weights

__all__ = [
    "BCLLoss",
    "ContrastiveLoss",
    "DebiasedLoss",
    "HardNegativeLoss",
    "NTXentLoss",
]

LEAST_TEMPERATURE = 1e-6  # below, only the rounding of similarities would count
# Below, float32 may take it for 0, and 0 * -inf is NaN. The mean weight is 1 there.
LEAST_CONCENTRATION = 1e-30
LEAST_ROBUSTNESS = 1e-6  # below, it changes less than rounding does
MOST_SIMILARITIES = 2**23  # computed at once; of more, anchors are taken in chunks
EXACT_SOFTPLUS = 50.0  # from here on, log(1 + e^x) is x in float64


class ContrastiveLoss(nn.Module):
    r"""Base class of the contrastive losses.

    A subclass defines :meth:`log_negative_mass`: the log of the mass :math:`N_g` of the
    negatives of each anchor. The base class computes the rest of the loss, the mean of
    :math:`-\log (P / (P + N_g))`. P is e^(similarity to the positive / temperature).

    Parameters
    ----------
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    robustness : float in [0, 1], default=0.0
        Exponent q of :math:`(P / (P + N_g))^q`, the weight of an anchor. Values above 0
        reduce the weight of anchors whose two views disagree, most at low temperatures.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    With q > 0, a power mean replaces the mean (:meth:`mean_of_losses`). It weighs the
    gradients of anchors like the generalized cross entropy for noisy labels [1]_, but
    scales the weights to a mean of 1. RINCE [2]_ is a similar loss. The values of
    losses with different q cannot be compared.

    References
    ----------
    .. [1] Zhang, Sabuncu (2018). Generalized Cross Entropy Loss for Training Deep
       Neural Networks with Noisy Labels. arXiv:1805.07836.
    .. [2] Chuang et al. (2022). Robust Contrastive Learning against Noisy Views.
       arXiv:2201.04309.

    Examples
    --------
    A loss that counts each unlabeled sample like the most similar one. Two entries of
    each row of ``unlabeled`` are -inf: the anchor itself and its positive.

    >>> import math
    >>> import torch
    >>> from sklearn_bcl.losses import ContrastiveLoss
    >>> class HardestLoss(ContrastiveLoss):
    ...     def log_negative_mass(self, positive, unlabeled):
    ...         n_unlabeled = unlabeled.shape[1] - 2
    ...         return unlabeled.amax(dim=1) + math.log(n_unlabeled)
    >>> HardestLoss(temperature=0.5)(torch.eye(4), torch.eye(4))
    tensor(0.5944)
    """

    def __init__(self, temperature: float = 0.5, robustness: float = 0.0) -> None:
        super().__init__()
        check_interval(
            "temperature", temperature, LEAST_TEMPERATURE, None, closed="left"
        )
        check_interval("robustness", robustness, 0, 1)
        self.temperature = temperature
        self.robustness = robustness

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the loss of two views.

        Parameters
        ----------
        z1, z2 : Tensor of shape (n, d)
            Projections of the two views, at least 2 rows of a floating point dtype.

        Returns
        -------
        loss : Tensor
            A scalar of float64 if the projections are float64, else of float32.

        Raises
        ------
        ValueError
            If the views differ in shape, have a single row or are not floating point.
        """
        return self.of_share(z1, z2, ALONE, len(z1))

    def of_share(self, z1: Tensor, z2: Tensor, share: Share, n: int) -> Tensor:
        """Return the mean loss of a batch of `n` rows, spread over several processes.

        `z1` and `z2` are the projections of the rows of this process. `share` connects
        the processes. All processes return the same loss.
        """
        if share.size > 1:
            z1, z2 = share.gather(torch.cat([z1, z2], dim=1), n).chunk(2, dim=1)
        if type(self).__module__ == __name__:
            z = _stack(z1, z2)
            if self._takes_one_pass(z) or len(z) ** 2 > MOST_SIMILARITIES:
                value: Tensor = WithGradient.apply(z, self, share)
                return value
        return self.of_unit_rows(self.unit_rows(z1, z2), share)

    def unit_rows(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Stack both views and scale each row to length 1; zero rows stay zero.

        Parameters
        ----------
        z1, z2 : Tensor of shape (n, d)
            Projections of the two views.

        Returns
        -------
        z : Tensor of shape (2n, d)
            Rows of `z1`, then rows of `z2`.
        """
        z = _stack(z1, z2)
        with torch.autocast(z.device.type, enabled=False):
            return UnitRows(z).rows

    def of_unit_rows(self, z: Tensor, share: Share = ALONE) -> Tensor:
        """Return the loss of the rows of :meth:`unit_rows`."""
        losses = [self._losses(z, anchors) for anchors in share.anchors(len(z) // 2)]
        of_all = share.gather_anchors(torch.cat(losses), len(z) // 2)
        return self.mean_of_losses(of_all)

    def value_and_gradient(
        self, z: Tensor, share: Share, needs_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return the loss of unit rows `z` (:meth:`unit_rows`), and its gradient.

        With several processes, the gradient of the loss is the mean of their gradients.
        """
        anchors, n = share.anchors(len(z) // 2), len(z) // 2
        if not self._takes_one_pass(z):
            return self._in_chunks(z, share, needs_gradient)
        losses, gradient, total_weight = one_pass(
            z,
            self.temperature,
            IN_ONE_PASS[type(self)](self, z),
            self.robustness,
            needs_gradient,
            anchors,
        )
        if gradient is not None:
            gradient.div_(share.sum(total_weight) / share.size)
        return self.mean_of_losses(share.gather_anchors(losses, n)), gradient

    def _takes_one_pass(self, z: Tensor) -> bool:
        return type(self) in IN_ONE_PASS and can_take_one_pass(z, self.temperature)

    def _in_chunks(
        self, z: Tensor, share: Share, needs_gradient: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `value_and_gradient` returns, computed in chunks of anchors."""
        z, gradient = z.detach().requires_grad_(needs_gradient), torch.zeros_like(z)
        n, most = len(z) // 2, max(1, MOST_SIMILARITIES // len(z))
        q = self.robustness if self.robustness >= LEAST_ROBUSTNESS else 0.0
        losses, least = [z.new_zeros(0)], z.new_full((), torch.inf)
        for chunk in (c for part in share.anchors(n) for c in blocks_of(part, most)):
            with torch.set_grad_enabled(needs_gradient):
                of_chunk = self._losses(z, chunk)
            losses.append(of_chunk.detach())
            if needs_gradient:
                # An anchor weighs e^(-q (loss - least)), with the least loss so far.
                before, least = least, torch.minimum(least, losses[-1].min())
                gradient *= torch.exp(q * (least - before)) if q else 1
                weights = torch.exp(-q * (losses[-1] - least))
                gradient += torch.autograd.grad(of_chunk, z, weights)[0]
        of_all = share.gather_anchors(torch.cat(losses), n)
        if not needs_gradient:
            return self.mean_of_losses(of_all), None
        if q:  # a process without anchors has no least loss
            weight = torch.exp(-q * (least - of_all.min()))
            gradient *= torch.where(least.isfinite(), weight, 1.0)
        total_weight = torch.exp(-q * (of_all - of_all.min())).sum()
        return self.mean_of_losses(of_all), gradient * (share.size / total_weight)

    def _losses(self, z: Tensor, anchors: slice) -> Tensor:
        """Return the loss of each anchor."""
        positive, unlabeled = self.similarities(z, anchors)
        log_negatives = self.log_negative_mass(positive, unlabeled)
        return F.softplus(log_negatives - positive, threshold=EXACT_SOFTPLUS)

    def log_negative_mass(self, positive: Tensor, unlabeled: Tensor) -> Tensor:
        """Return the log of the mass of the negatives of each anchor.

        Parameters
        ----------
        positive : Tensor of shape (n_anchors,)
            Similarity of each anchor to its positive, divided by the temperature.
            Anchors are all ``2n`` projections or a part of them.
        unlabeled : Tensor of shape (n_anchors, 2n)
            Similarities of each anchor to all projections, divided by the temperature.
            The entries of the anchor itself and of its positive are -inf.

        Returns
        -------
        log_negatives : Tensor of shape (n_anchors,)

        Raises
        ------
        NotImplementedError
            In the base class.
        """
        raise NotImplementedError

    def similarities(
        self, z: Tensor, anchors: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Return the arguments of :meth:`log_negative_mass`.

        Parameters
        ----------
        z : Tensor of shape (2n, d)
            Result of :meth:`unit_rows`.
        anchors : slice, default=slice(None)
            Rows of `z` that are anchors.

        Returns
        -------
        positive : Tensor of shape (n_anchors,)
        unlabeled : Tensor of shape (n_anchors, 2n)
        """
        n = len(z) // 2
        of_anchors, of_positives = z[anchors], z.roll(n, 0)[anchors]
        # Under autocast the products would fall back to half precision.
        with torch.autocast(z.device.type, enabled=False):
            positive = (of_anchors * of_positives).sum(dim=1).div(self.temperature)
            scaled = (of_anchors / self.temperature) @ z.T
        own = torch.arange(2 * n, device=z.device)
        excluded = torch.stack([own, own.roll(n)], dim=1)[anchors]
        return positive, scaled.scatter(1, excluded, -torch.inf)

    def mean_of_losses(self, losses: Tensor) -> Tensor:
        """Return the mean; if ``robustness`` q > 0, -log(mean of (P / (P + Ng))^q) / q.

        Parameters
        ----------
        losses : Tensor of shape (n_anchors,)
            Values of -log(P / (P + Ng)).

        Returns
        -------
        loss : Tensor
        """
        if self.robustness < LEAST_ROBUSTNESS:
            return losses.mean()
        least = losses.min().detach()  # any constant would do; this cannot overflow
        powers = torch.expm1(-self.robustness * (losses - least))
        return least - torch.log1p(powers.mean()) / self.robustness

    def extra_repr(self) -> str:
        return ", ".join(
            f"{name}={value}"
            for name, value in vars(self).items()
            if name != "training" and not name.startswith("_")
        )


class NTXentLoss(ContrastiveLoss):
    r"""NT-Xent, the loss of SimCLR: :math:`N_g = \sum_i E_i`.

    All unlabeled samples have the same weight.

    Parameters
    ----------
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    robustness : float in [0, 1], default=0.0
        Reduces the weight of anchors whose views disagree (:class:`ContrastiveLoss`).

    Raises
    ------
    ValueError
        If a parameter is out of range.

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

    def log_negative_mass(self, positive: Tensor, unlabeled: Tensor) -> Tensor:
        return unlabeled.logsumexp(dim=1)


class BCLLoss(ContrastiveLoss):
    r"""Bayesian contrastive loss: :math:`N_g = \sum_i \omega_i E_i`.

    :math:`E_i = e^{s_i/t}`. The N unlabeled samples of an anchor are ranked by their
    similarity :math:`s_i` to the anchor. The weight :math:`\omega_i` follows from
    rank / N (:func:`sklearn_bcl.bayes.importance_weights`) and has no gradient. All are
    1, as in :class:`NTXentLoss`, at ``beta = 0.5`` with ``alpha = 0.5`` or ``tau_plus =
    0``.

    Parameters
    ----------
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1), default=0.1
        Class prior: probability that an unlabeled sample is a false negative, i.e. has
        the anchor's latent class. No effect at ``alpha = 0.5``.
    alpha : float in [0.5, 1], default=0.9
        Location parameter: the ranking quality of the encoder, as in
        :func:`~sklearn_bcl.bayes.importance_weights`. 0.5 is a random ranking.
    beta : float in (0, 1], default=0.5
        Concentration parameter: hardness of the negatives. 0.5 weights a sample by its
        probability to be a true negative. 1 is the hardest.
    robustness : float in [0, 1], default=0.0
        Reduces the weight of anchors whose views disagree (:class:`ContrastiveLoss`).

    Raises
    ------
    ValueError
        If a parameter is out of range, if `alpha` and `beta` are both 1, or if `alpha`
        is 1 and `tau_plus` is 0.

    References
    ----------
    Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
    arXiv:2301.11673.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.losses import BCLLoss
    >>> generator = torch.Generator().manual_seed(0)
    >>> z = torch.randn(8, 3, generator=generator, requires_grad=True)
    >>> loss = BCLLoss(temperature=0.5, tau_plus=0.1, alpha=0.9, beta=0.5)(z, z + 0.1)
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
        super().__init__(temperature, robustness)
        check_priors(alpha=alpha, beta=beta, tau_plus=tau_plus)
        self.tau_plus = tau_plus
        self.alpha = alpha
        self.beta = beta

    def log_negative_mass(self, positive: Tensor, unlabeled: Tensor) -> Tensor:
        # The weights depend on ranks only: sort once, and weigh by place.
        order = unlabeled.argsort(dim=1, stable=True)
        by_rank = _weights_by_rank(self, unlabeled.T).expand_as(order)
        weights = torch.empty_like(unlabeled, requires_grad=False)
        weights.scatter_(1, order, by_rank)
        return (unlabeled + weights.log_()).logsumexp(dim=1)


class DebiasedLoss(ContrastiveLoss):
    r"""Debiased contrastive loss, which subtracts the expected false negatives.

    .. math:: N_g = \max\left(
        \frac{\sum_i E_i - \tau^+ N P}{1 - \tau^+}, \; N e^{-1/t} \right)

    Parameters
    ----------
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1), default=0.1
        Class prior: probability that an unlabeled sample is a false negative.
    robustness : float in [0, 1], default=0.0
        Reduces the weight of anchors whose views disagree (:class:`ContrastiveLoss`).

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    This loss is the "DCL" of Chuang et al., not the *decoupled* contrastive loss, which
    other libraries call "DCL".

    If the views of an anchor agree and the samples are spread evenly, P is
    :math:`e^{1/t}` and the mean of E is about 1. With `tau_plus` above
    :math:`1 / (1 + e^{1/t})`, which is 0.119 at the default temperature, the floor
    :math:`N e^{-1/t}` then replaces the difference.

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

    def __init__(
        self, temperature: float = 0.5, tau_plus: float = 0.1, robustness: float = 0.0
    ) -> None:
        super().__init__(temperature, robustness)
        check_interval("tau_plus", tau_plus, 0, 1, closed="left")
        self.tau_plus = tau_plus

    def log_negative_mass(self, positive: Tensor, unlabeled: Tensor) -> Tensor:
        log_sum, n_unlabeled = unlabeled.logsumexp(dim=1), unlabeled.shape[1] - 2
        return _debias(log_sum, positive, n_unlabeled, self.tau_plus, self.temperature)


class HardNegativeLoss(ContrastiveLoss):
    r"""Debiased contrastive loss that gives hard negatives more weight.

    With the weights :math:`w_i = E_i^b`, which carry a gradient, and
    :math:`R = \sum_i w_i E_i / \operatorname{mean}(w)`,

    .. math:: N_g = \max\left(
        \frac{R - \tau^+ N P}{1 - \tau^+}, \; N e^{-1/t} \right)

    Parameters
    ----------
    temperature : float >= 1e-6, default=0.5
        Softmax temperature of the cosine similarities.
    tau_plus : float in [0, 1), default=0.1
        Class prior: probability that an unlabeled sample is a false negative.
    concentration : float in [0, 1e6], default=1.0
        Exponent b of the weights. 0 gives :class:`DebiasedLoss`. The paper calls it
        beta, but it differs from the ``beta`` of :class:`BCLLoss`.
    robustness : float in [0, 1], default=0.0
        Reduces the weight of anchors whose views disagree (:class:`ContrastiveLoss`).

    Raises
    ------
    ValueError
        If a parameter is out of range.

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
        robustness: float = 0.0,
    ) -> None:
        super().__init__(temperature, robustness)
        check_interval("tau_plus", tau_plus, 0, 1, closed="left")
        check_interval("concentration", concentration, 0, 1e6)
        self.tau_plus = tau_plus
        self.concentration = concentration

    def log_negative_mass(self, positive: Tensor, unlabeled: Tensor) -> Tensor:
        b, n_unlabeled = self.concentration, unlabeled.shape[1] - 2
        log_sum = ((1 + b) * unlabeled).logsumexp(dim=1)
        if b > LEAST_CONCENTRATION:
            log_sum_of_weights = (b * unlabeled).logsumexp(dim=1)
            log_sum = log_sum - (log_sum_of_weights - np.log(n_unlabeled))
        return _debias(log_sum, positive, n_unlabeled, self.tau_plus, self.temperature)


def _debias(
    log_sum: Tensor,
    positive: Tensor,
    n_unlabeled: int,
    tau_plus: float,
    temperature: float,
) -> Tensor:
    """Log of max((S - tau N P) / (1 - tau), N e^(-1/t)), from log S and log P."""
    log_n = np.log(n_unlabeled)
    floor = torch.full_like(log_sum, log_n - 1 / temperature)
    if tau_plus == 0:
        return torch.maximum(log_sum, floor)
    log_ratio = positive + (np.log(tau_plus) + log_n) - log_sum
    # What the subtraction does not leave has no log: its place holds a constant, so
    # that no NaN comes back from there as gradient.
    is_left = log_ratio < 0
    log_ratio = torch.where(is_left, log_ratio, -1.0)
    corrected = log_sum + torch.log(-torch.expm1(log_ratio)) - np.log1p(-tau_plus)
    return torch.where(is_left & (corrected > floor), corrected, floor)


def _stack(z1: Tensor, z2: Tensor) -> Tensor:
    """Check two views and stack them, in float32 at least."""
    _check_views(z1, z2)
    dtype = torch.promote_types(z1.dtype, z2.dtype)
    return torch.cat([z1, z2]).to(torch.promote_types(dtype, torch.float32))


def _check_views(z1: Tensor, z2: Tensor) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise ValueError(
            "'z1' and 'z2' must be two views of the same rows, both of shape (n, d). "
            f"Got {tuple(z1.shape)} and {tuple(z2.shape)}."
        )
    if len(z1) < 2:
        raise ValueError(
            "A contrastive loss needs at least 2 rows, so that an anchor has an "
            f"unlabeled sample. Got {len(z1)}."
        )
    if not (z1.is_floating_point() and z2.is_floating_point()):
        raise ValueError(
            "'z1' and 'z2' must have a floating point dtype. "
            f"Got {z1.dtype} and {z2.dtype}."
        )


def _weights_by_rank(loss: BCLLoss, of_columns: Tensor) -> Tensor:
    n, dtype, device = len(of_columns), of_columns.dtype, of_columns.device
    return _cached_weights(n, loss.alpha, loss.beta, loss.tau_plus, dtype, device)


@lru_cache(maxsize=64)
def _cached_weights(
    n_anchors: int,
    alpha: float,
    beta: float,
    tau_plus: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Return the weights of an ascending row of similarities.

    The first two places belong to the anchor itself and to its positive, which are not
    unlabeled samples. The weights stay on the device, so that a step copies nothing.
    """
    n_unlabeled = n_anchors - 2
    p = np.arange(1, n_unlabeled + 1) / n_unlabeled
    weights = importance_weights(p, alpha=alpha, beta=beta, tau_plus=tau_plus)
    with torch.inference_mode(False):
        return torch.from_numpy(np.append([0.0, 0.0], weights)).to(device, dtype)


# The losses that are computed in one pass where that applies, and their weights.
IN_ONE_PASS: dict[type[ContrastiveLoss], Callable[..., Tensor | None]] = {
    NTXentLoss: lambda loss, z: None,
    BCLLoss: _weights_by_rank,
}
