r"""The Bayesian model of contrastive scores, in closed form.

An anchor's similarity to an unlabelled sample has an unknown density
:math:`\varphi` with c.d.f. :math:`\Phi`. With :math:`u = \Phi(s)`, the densities
of true negatives, of false negatives, of unlabelled samples and of the *hard true
negatives* that contrastive learning wants are all linear in :math:`u`:

.. math::

    f_\kappa(u) = 1 + \kappa - 2 \kappa u, \qquad
    F_\kappa(u) = (1 + \kappa) u - \kappa u^2, \qquad \kappa \in [-1, 1],

with :math:`\kappa_{TN} = 2\alpha - 1`, :math:`\kappa_{FN} = -\kappa_{TN}`,
:math:`\kappa_{UN} = (2\alpha - 1)(1 - 2\tau^+)` and
:math:`\kappa_\psi = (\alpha - \beta) / (\alpha + \beta - 2\alpha\beta)` for the
target. Since :math:`F_\kappa` is a quadratic, its inverse is explicit, and so is
every quantity below; there are no epsilons and no rejection loops.

That is the paper's model: the score of a true negative is the lesser of two draws from
:math:`\varphi` with probability :math:`\alpha`, else the greater, and that of a false
negative the other way round. Its AUC is at most 5/6, and it spreads false negatives
over half of the ranks. Here the draws may be more than two: with an `order` of m, they
are the least and the greatest of m draws, with densities :math:`m (1-u)^{m-1}` and
:math:`m u^{m-1}`, whose mixtures make all densities above. Then false negatives are at
the very top of the ranks, as they are where an encoder keeps clusters apart.

References
----------
Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
arXiv:2301.11673.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from sklearn_bcl._validation import check_interval

__all__ = [
    "alpha_from_auc",
    "auc_from_alpha",
    "importance_weights",
    "prior_grid",
    "sample_scores",
    "true_negative_posterior",
]

FloatArray = NDArray[np.float64]

# What `prior_grid` chooses from; rounded, so that results are easy to read.
GRID_ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.97)
GRID_BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
GRID_TAUS = (0.1, 0.0, 0.02, 0.05, 0.2, 0.3, 0.5)
GRID_ORDERS = (2, 3)
ORDERS = (2, 100)  # at least, at most


def check_priors(
    *, alpha: float, tau_plus: float, beta: float = 0.5, order: int = 2
) -> None:
    """Raise ``ValueError`` for priors out of range or in a degenerate corner."""
    check_interval("alpha", alpha, 0.5, 1)
    check_interval("beta", beta, 0, 1, closed="right")
    check_interval("tau_plus", tau_plus, 0, 1, closed="left")
    _check_order(order)
    if alpha == 1 and beta == 1:
        raise ValueError(
            "'alpha' and 'beta' cannot both be 1: the hard true negatives have no "
            f"density then. Got {alpha=!r}, {beta=!r}; choose either below 1."
        )
    if alpha == 1 and tau_plus == 0:
        raise ValueError(
            "'alpha' cannot be 1 with 'tau_plus' 0: the top score has no density "
            f"then. Got {alpha=!r}, {tau_plus=!r}; choose alpha < 1 or tau_plus > 0."
        )


def _check_order(order: int) -> None:
    check_interval("order", order, *ORDERS, integral=True)


def _check_unit_array(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    outside = ~((array >= 0) & (array <= 1))  # also true for NaN
    if outside.any():
        raise ValueError(
            f"{name!r} must lie in [0, 1]. Got {array[outside].flat[0]!r} instead."
        )
    return array


def _density_at_quantile(p: FloatArray, kappa: float) -> FloatArray:
    """f_kappa(F_kappa^-1(p)): the root of the discriminant of F_kappa(u) = p.

    Each branch adds non-negative terms only, so nothing cancels near |kappa| = 1.
    """
    if kappa >= 0:
        return np.sqrt((1 - kappa) ** 2 + 4 * kappa * (1 - p))
    return np.sqrt((1 + kappa) ** 2 - 4 * kappa * p)


def _quantile(p: FloatArray, kappa: float) -> FloatArray:
    """F_kappa^-1(p), exact at p = 0, at p = 1 and at kappa = 0."""
    denominator = (1 + kappa) + _density_at_quantile(p, kappa)
    # The denominator vanishes only at kappa = -1, p = 0, where the quantile is 0.
    quantile = np.divide(
        2 * p, denominator, out=np.zeros_like(denominator), where=denominator > 0
    )
    return np.minimum(quantile, 1)


def _quantile_by_bisection(p: FloatArray, least_share: float, order: int) -> FloatArray:
    """The quantile of a mixture of the least and the greatest of `order` draws."""
    low, high = np.zeros_like(p), np.ones_like(p)
    for _ in range(64):  # to the last bit
        u = (low + high) / 2
        cdf = least_share * (1 - (1 - u) ** order) + (1 - least_share) * u**order
        low, high = np.where(cdf < p, u, low), np.where(cdf < p, high, u)
    return np.where(p < 0.5, low, high)  # exact at both ends


def _densities(
    p: FloatArray, alpha: float, tau_plus: float, order: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Densities of the least and of the greatest draw, and of unlabelled samples.

    All are relative to phi, at the quantile p of the unlabelled samples.
    """
    kappa = (2 * alpha - 1) * (1 - 2 * tau_plus)
    if order == 2:
        # f_kappa(1 - u) = f_-kappa(u), so 1 - u is a quantile too: no cancellation.
        u, one_minus_u = _quantile(p, kappa), _quantile(1 - p, -kappa)
        return 2 * one_minus_u, 2 * u, _density_at_quantile(p, kappa)
    least_share = (1 + kappa) / 2
    u = _quantile_by_bisection(p, least_share, order)
    least, greatest = order * (1 - u) ** (order - 1), order * u ** (order - 1)
    return least, greatest, least_share * least + (1 - least_share) * greatest


def importance_weights(
    p: ArrayLike, *, alpha: float, beta: float, tau_plus: float, order: int = 2
) -> FloatArray:
    r"""Importance weights of unlabelled samples, from the ranks of their scores.

    The weight is the ratio of the density of hard true negatives to that of
    unlabelled samples, :math:`\omega(p) = f_{\kappa_\psi}(u) / f_{\kappa_{UN}}(u)`
    at :math:`u = F_{\kappa_{UN}}^{-1}(p)`. It integrates to one over ``p``.

    Parameters
    ----------
    p : array-like of any shape
        Empirical c.d.f. values in [0, 1] of an anchor's similarities among its
        unlabelled samples: rank / n_unlabelled, the most similar sample at 1.
    alpha : float in [0.5, 1]
        Location: probability that the score of a positive exceeds that of a
        negative, i.e. how well the encoder ranks. At 0.5 it ranks at random and
        `tau_plus` has no effect.
    beta : float in (0, 1]
        Concentration: hardness of the negatives to sample. 0.5 means no hard
        negative mining, 1 the hardest.
    tau_plus : float in [0, 1)
        Class prior: probability that an unlabelled sample has the anchor's
        latent class and so is a false negative.
    order : int from 2 to 100, default=2
        Number of draws of which a true negative's score tends to be the least and a
        false negative's the greatest. 2 is the paper's model; with more, false
        negatives are fewer and surer, at the top of the ranks.

    Returns
    -------
    weights : ndarray of float64, same shape as `p`
        Non-negative weights.

    Raises
    ------
    ValueError
        If an argument is out of range, or for a degenerate pair: `alpha` = `beta`
        = 1, or `alpha` = 1 with `tau_plus` = 0.

    References
    ----------
    Liu, Wang, Li (2023). arXiv:2301.11673.

    Examples
    --------
    >>> from sklearn_bcl.bayes import importance_weights
    >>> p = [0.2, 0.4, 0.6, 0.8, 1.0]
    >>> importance_weights(p, alpha=0.9, beta=0.5, tau_plus=0.1).round(3)
    array([1.081, 1.056, 1.017, 0.938, 0.556])
    >>> importance_weights(p, alpha=0.9, beta=0.9, tau_plus=0.1).round(3)
    array([0.678, 0.775, 0.931, 1.248, 2.778])
    >>> importance_weights(p, alpha=0.9, beta=0.5, tau_plus=0.1, order=3).round(3)
    array([1.096, 1.09 , 1.066, 0.929, 0.556])
    """
    check_priors(alpha=alpha, beta=beta, tau_plus=tau_plus, order=order)
    p = _check_unit_array("p", p)
    least, greatest, unlabelled = _densities(p, alpha, tau_plus, order)
    easy, hard = alpha * (1 - beta), (1 - alpha) * beta
    target = (easy * least + hard * greatest) / (easy + hard)
    return np.asarray(target / unlabelled)


def true_negative_posterior(
    p: ArrayLike, *, alpha: float, tau_plus: float, order: int = 2
) -> FloatArray:
    r"""Posterior probability that an unlabelled sample is a true negative.

    :math:`P(TN \mid s) = (1 - \tau^+) f_{\kappa_{TN}}(u) / f_{\kappa_{UN}}(u)` at
    :math:`u = F_{\kappa_{UN}}^{-1}(p)`. It integrates to ``1 - tau_plus`` over ``p``.

    Parameters
    ----------
    p : array-like of any shape
        Empirical c.d.f. values in [0, 1], as in :func:`importance_weights`.
    alpha : float in [0.5, 1]
        Probability that the score of a positive exceeds that of a negative.
    tau_plus : float in [0, 1)
        Prior probability that an unlabelled sample is a false negative.
    order : int from 2 to 100, default=2
        Order of the model, as in :func:`importance_weights`.

    Returns
    -------
    posterior : ndarray of float64, same shape as `p`
        Probabilities in [0, 1], decreasing in `p`.

    Raises
    ------
    ValueError
        If an argument is out of range, or `alpha` = 1 with `tau_plus` = 0.

    References
    ----------
    Liu, Wang, Li (2023). arXiv:2301.11673.

    Examples
    --------
    >>> from sklearn_bcl.bayes import true_negative_posterior
    >>> true_negative_posterior([0.0, 0.5, 1.0], alpha=0.9, tau_plus=0.1).round(3)
    array([0.988, 0.935, 0.5  ])
    """
    check_priors(alpha=alpha, tau_plus=tau_plus, order=order)
    p = _check_unit_array("p", p)
    least, greatest, unlabelled = _densities(p, alpha, tau_plus, order)
    true_negative = alpha * least + (1 - alpha) * greatest
    return np.asarray((1 - tau_plus) * true_negative / unlabelled)


def _auc_range(order: int) -> float:
    """AUC at alpha = 1 less that at alpha = 0."""
    _check_order(order)
    return 1 - 2 / comb(2 * order, order)


def auc_from_alpha(alpha: ArrayLike, *, order: int = 2) -> FloatArray:
    r"""AUC of an independent (positive, negative) pair under the model.

    Under the model a false negative outscores an independent true negative with
    probability :math:`A = 1/2 + (2\alpha - 1) (1/2 - 1/\binom{2m}{m})` at order m:
    :math:`1/2 + (2\alpha - 1) / 3` in the paper's. ``alpha`` itself is *not* the AUC.

    Parameters
    ----------
    alpha : array-like of any shape
        Values in [0.5, 1].
    order : int from 2 to 100, default=2
        Order of the model, as in :func:`importance_weights`.

    Returns
    -------
    auc : ndarray of float64, same shape as `alpha`
        Values of at least 1/2, and at most 5/6 at order 2, 0.95 at order 3.

    Raises
    ------
    ValueError
        If a value lies outside [0.5, 1], or `order` is out of range.

    Examples
    --------
    >>> from sklearn_bcl.bayes import auc_from_alpha
    >>> auc_from_alpha([0.5, 0.8]).round(3)
    array([0.5, 0.7])
    >>> auc_from_alpha(1, order=3).round(3)
    np.float64(0.95)
    """
    array = _check_unit_array("alpha", alpha)
    if (array < 0.5).any():
        raise ValueError(f"'alpha' must lie in [0.5, 1]. Got {array.min()!r} instead.")
    return np.asarray(0.5 + (array - 0.5) * _auc_range(order))


def prior_grid(n_settings: int, *, prefix: str = "") -> list[dict[str, list[Any]]]:
    r"""Settings of the priors whose importance weights are spread evenly.

    At a given order, the priors enter the weights through two numbers,
    :math:`\kappa_{UN}` and :math:`\kappa_\psi`, so an ordinary grid repeats itself: at
    ``alpha=0.5``, `tau_plus` has no effect; at ``beta=0.5`` and ``tau_plus=0``, neither
    `alpha` nor `order` has any. Here each setting is the one farthest from those before
    it, by the Hellinger distance of their weights, which are densities of the rank. The
    first is the default of :class:`~sklearn_bcl.BCLEmbedder` for tables, and a grid
    begins with every smaller grid.

    Parameters
    ----------
    n_settings : int
        Number of settings, from 1 to 100.
    prefix : str, default=""
        Put before the names of the parameters, such as "bclembedder__" for the step of
        a pipeline.

    Returns
    -------
    grid : list of dict
        A `param_grid` for :class:`~sklearn.model_selection.GridSearchCV`: of each
        setting the lists ``[alpha]``, ``[beta]``, ``[tau_plus]`` and ``[order]``.

    Raises
    ------
    ValueError
        If `n_settings` is out of range.

    Examples
    --------
    >>> from sklearn_bcl.bayes import prior_grid
    >>> prior_grid(2, prefix="bclembedder__")[0]  # doctest: +NORMALIZE_WHITESPACE
    {'bclembedder__alpha': [0.97], 'bclembedder__beta': [0.5],
     'bclembedder__tau_plus': [0.1], 'bclembedder__order': [3]}
    """
    check_interval("n_settings", n_settings, 1, 100, integral=True)
    p = (np.arange(100) + 0.5) / 100
    names = ("alpha", "beta", "tau_plus", "order")
    values = [(0.97, 0.5, 0.1, 3)]
    values += product(GRID_ALPHAS, GRID_BETAS, GRID_TAUS, GRID_ORDERS)
    settings: list[dict[str, Any]] = [dict(zip(names, v, strict=True)) for v in values]
    roots = np.sqrt([importance_weights(p, **setting) for setting in settings])
    chosen, distances = [0], np.full(len(settings), np.inf)
    while len(chosen) < n_settings:
        squares = np.square(roots - roots[chosen[-1]]).mean(axis=1)
        distances = np.minimum(distances, squares)
        chosen.append(int(distances.argmax()))
    return [
        {f"{prefix}{name}": [value] for name, value in settings[i].items()}
        for i in chosen
    ]


def alpha_from_auc(auc: ArrayLike, *, order: int = 2) -> FloatArray:
    r"""The location ``alpha`` that a measured macro-AUC corresponds to.

    The inverse of :func:`auc_from_alpha`, :math:`\alpha = (6A - 1) / 4` in the paper's
    model, clipped to [0.5, 1): that knows no AUC below 1/2 or above 5/6.

    Parameters
    ----------
    auc : array-like of any shape
        Macro-AUC values in [0, 1].
    order : int from 2 to 100, default=2
        Order of the model, as in :func:`importance_weights`.

    Returns
    -------
    alpha : ndarray of float64, same shape as `auc`
        Values in [0.5, 1).

    Raises
    ------
    ValueError
        If a value lies outside [0, 1], or `order` is out of range.

    Examples
    --------
    >>> from sklearn_bcl.bayes import alpha_from_auc
    >>> alpha_from_auc([0.4, 0.7, 0.8]).round(3)
    array([0.5 , 0.8 , 0.95])
    """
    array = _check_unit_array("auc", auc)
    alpha = 0.5 + (array - 0.5) / _auc_range(order)
    return np.clip(alpha, 0.5, np.nextafter(1, 0))


def sample_scores(
    n_anchors: int,
    n_unlabelled: int,
    *,
    alpha: float,
    tau_plus: float,
    order: int = 2,
    ppf: Callable[[FloatArray], ArrayLike] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Simulate the scores of unlabelled samples under the model.

    Each sample is a false negative with probability `tau_plus`; its score is then
    drawn by inverse c.d.f. from the density of its kind, without rejection.

    Parameters
    ----------
    n_anchors, n_unlabelled : int
        Number of anchors, and of unlabelled samples for each, at least 1.
    alpha : float in [0.5, 1]
        Probability that the score of a positive exceeds that of a negative.
    tau_plus : float in [0, 1]
        Probability that an unlabelled sample is a false negative.
    order : int from 2 to 100, default=2
        Order of the model, as in :func:`importance_weights`.
    ppf : callable, default=None
        Inverse c.d.f. of the base score density, from [0, 1] to scores, such as
        ``scipy.stats.norm.ppf``. ``None`` means uniform scores on [-1, 1].
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    scores : ndarray of float64, shape (n_anchors, n_unlabelled)
        Similarity scores.
    is_true_negative : ndarray of bool, shape (n_anchors, n_unlabelled)
        Which scores belong to true negatives.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Liu, Wang, Li (2023). arXiv:2301.11673, section 4 (numerical experiments).

    Examples
    --------
    >>> from sklearn_bcl.bayes import sample_scores
    >>> scores, is_true_negative = sample_scores(
    ...     2, 1000, alpha=0.9, tau_plus=0.1, random_state=0
    ... )
    >>> scores.shape
    (2, 1000)
    >>> bool(scores[is_true_negative].mean() < scores[~is_true_negative].mean())
    True
    """
    check_interval("n_anchors", n_anchors, 1, None, closed="left", integral=True)
    check_interval("n_unlabelled", n_unlabelled, 1, None, closed="left", integral=True)
    check_interval("alpha", alpha, 0.5, 1)
    check_interval("tau_plus", tau_plus, 0, 1)
    _check_order(order)
    rng = check_random_state(random_state)
    shape = (n_anchors, n_unlabelled)
    is_true_negative = rng.uniform(size=shape) >= tau_plus
    is_least = (rng.uniform(size=shape) < alpha) == is_true_negative
    greatest = rng.uniform(size=shape) ** (1 / order)  # of that many draws
    u = np.where(is_least, 1 - greatest, greatest)
    scores = 2 * u - 1 if ppf is None else np.asarray(ppf(u), dtype=np.float64)
    return scores, is_true_negative
