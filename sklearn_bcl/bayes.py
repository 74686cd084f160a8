r"""The Bayesian model of contrastive scores, in closed form.

The similarity :math:`s` of an anchor and an unlabeled sample has an unknown density
:math:`\varphi` with c.d.f. :math:`\Phi`. Let :math:`u = \Phi(s)`. Relative to
:math:`\varphi`, the densities of true negatives, false negatives, unlabeled samples and
*hard true negatives* (the target of contrastive learning) are linear in :math:`u`:

.. math::

    f_\kappa(u) = 1 + \kappa - 2 \kappa u, \qquad
    F_\kappa(u) = (1 + \kappa) u - \kappa u^2, \qquad \kappa \in [-1, 1],

with a parameter :math:`\kappa` for each density:

- true negatives: :math:`\kappa_{TN} = 2\alpha - 1`
- false negatives: :math:`\kappa_{FN} = -\kappa_{TN}`
- unlabeled samples: :math:`\kappa_{UN} = (2\alpha - 1)(1 - 2\tau^+)`
- hard true negatives: :math:`\kappa_\psi = (\alpha - \beta) / (\alpha + \beta -
  2\alpha\beta)`

The c.d.f. :math:`F_\kappa` is a quadratic function with an explicit inverse. The
functions of this module are therefore exact, without epsilons or rejection sampling.

The model is from Liu, Wang, Li (2023), *Bayesian Self-Supervised Contrastive Learning*,
arXiv:2301.11673.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

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
GRID_ALPHAS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
GRID_BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
GRID_TAUS = (0.1, 0.0, 0.02, 0.05, 0.2, 0.3, 0.5)


def check_priors(*, alpha: float, tau_plus: float, beta: float = 0.5) -> None:
    """Raise ``ValueError`` for priors that are out of range or degenerate."""
    check_interval("alpha", alpha, 0.5, 1)
    check_interval("beta", beta, 0, 1, closed="right")
    check_interval("tau_plus", tau_plus, 0, 1, closed="left")
    if alpha == 1 and beta == 1:
        raise ValueError(
            "'alpha' and 'beta' cannot both be 1: the hard true negatives have no "
            f"density then. Got {alpha=!r}, {beta=!r}; choose either below 1."
        )
    if _kappa_unlabeled(alpha, tau_plus) == 1:  # tau_plus may be too small to count
        raise ValueError(
            "'alpha' cannot be 1 with 'tau_plus' 0, or below 1e-16: the top score has "
            f"no density then. Got {alpha=!r}, {tau_plus=!r}; choose alpha < 1 or a "
            "larger tau_plus."
        )


def _kappa_unlabeled(alpha: float, tau_plus: float) -> float:
    return (2 * alpha - 1) * (1 - 2 * tau_plus)


def _check_unit_array(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    outside = ~((array >= 0) & (array <= 1))  # also true for NaN
    if outside.any():
        raise ValueError(
            f"{name!r} must lie in [0, 1]. Got {array[outside].flat[0]!r} instead."
        )
    return array


def _density_at_quantile(p: FloatArray, kappa: ArrayLike) -> FloatArray:
    """f_kappa(F_kappa^-1(p)): the root of the discriminant of F_kappa(u) = p.

    Each branch adds non-negative terms only, so nothing cancels near |kappa| = 1.
    """
    kappa = np.asarray(kappa)
    square = np.where(
        kappa >= 0,
        (1 - kappa) ** 2 + 4 * kappa * (1 - p),
        (1 + kappa) ** 2 - 4 * kappa * p,
    )
    return np.sqrt(square)


def _quantile(p: FloatArray, kappa: ArrayLike) -> FloatArray:
    """F_kappa^-1(p), exact at p = 0, at p = 1 and at kappa = 0."""
    kappa = np.asarray(kappa)
    denominator = (1 + kappa) + _density_at_quantile(p, kappa)
    # The denominator vanishes only at kappa = -1, p = 0, where the quantile is 0.
    quantile = np.divide(
        2 * p, denominator, out=np.zeros_like(denominator), where=denominator > 0
    )
    return np.minimum(quantile, 1)


def _unlabeled_density(
    p: FloatArray, alpha: float, tau_plus: float
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return u, 1 - u and f_UN(u) where F_UN(u) = p."""
    kappa = _kappa_unlabeled(alpha, tau_plus)
    # f_kappa(1 - u) = f_-kappa(u), so 1 - u is a quantile too: no cancellation.
    return (
        _quantile(p, kappa),
        _quantile(1 - p, -kappa),
        _density_at_quantile(p, kappa),
    )


def importance_weights(
    p: ArrayLike, *, alpha: float, beta: float, tau_plus: float
) -> FloatArray:
    r"""Compute importance weights of unlabeled samples from the ranks of their scores.

    The weight is the density of hard true negatives divided by the density of unlabeled
    samples: :math:`\omega(p) = f_{\kappa_\psi}(u) / f_{\kappa_{UN}}(u)` at :math:`u =
    F_{\kappa_{UN}}^{-1}(p)`. The integral of the weight over ``p`` is 1.

    Parameters
    ----------
    p : array-like of any shape
        Values in [0, 1] of the empirical c.d.f. of an anchor's similarities: the rank
        of a similarity divided by the number of unlabeled samples. The most similar
        sample has the value 1.
    alpha : float in [0.5, 1]
        Location parameter: the ranking quality of the encoder. The score of a false
        negative is the larger of two draws with probability alpha, else the smaller;
        of a true negative, the reverse. The AUC is 1/2 + (2 alpha - 1) / 3
        (:func:`alpha_from_auc`). With 0.5, a random ranking, `tau_plus` has no effect.
    beta : float in (0, 1]
        Concentration parameter: hardness of the negatives. 0.5 means no hard negative
        mining. 1 is the hardest.
    tau_plus : float in [0, 1)
        Class prior: probability that an unlabeled sample is a false negative, i.e. has
        the anchor's latent class.

    Returns
    -------
    weights : ndarray of float64, same shape as `p`
        Non-negative weights.

    Raises
    ------
    ValueError
        If an argument is out of range, if `alpha` and `beta` are both 1, or if `alpha`
        is 1 and `tau_plus` is 0.

    See Also
    --------
    true_negative_posterior : Probability that a sample is a true negative.
    sklearn_bcl.losses.BCLLoss : The loss with these weights.

    References
    ----------
    Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
    arXiv:2301.11673.

    Examples
    --------
    >>> from sklearn_bcl.bayes import importance_weights
    >>> p = [0.2, 0.4, 0.6, 0.8, 1.0]
    >>> importance_weights(p, alpha=0.9, beta=0.5, tau_plus=0.1).round(3)
    array([1.081, 1.056, 1.017, 0.938, 0.556])
    >>> importance_weights(p, alpha=0.9, beta=0.9, tau_plus=0.1).round(3)
    array([0.678, 0.775, 0.931, 1.248, 2.778])
    """
    check_priors(alpha=alpha, beta=beta, tau_plus=tau_plus)
    p = _check_unit_array("p", p)
    u, one_minus_u, density = _unlabeled_density(p, alpha, tau_plus)
    easy, hard = alpha * (1 - beta), (1 - alpha) * beta
    target = 2 * (easy * one_minus_u + hard * u) / (easy + hard)
    return np.asarray(target / density)


def true_negative_posterior(
    p: ArrayLike, *, alpha: float, tau_plus: float
) -> FloatArray:
    r"""Compute the posterior probability that an unlabeled sample is a true negative.

    The probability is :math:`P(TN \mid s) = (1 - \tau^+) f_{\kappa_{TN}}(u) /
    f_{\kappa_{UN}}(u)` at :math:`u = F_{\kappa_{UN}}^{-1}(p)`. The integral of the
    probability over ``p`` is ``1 - tau_plus``. :mod:`sklearn_bcl.bayes` defines the
    symbols.

    Parameters
    ----------
    p : array-like of any shape
        Values in [0, 1] of the empirical c.d.f. of an anchor's similarities, as in
        :func:`importance_weights`.
    alpha : float in [0.5, 1]
        Location parameter: the ranking quality of the encoder, as in
        :func:`importance_weights`.
    tau_plus : float in [0, 1)
        Class prior: probability that an unlabeled sample is a false negative.

    Returns
    -------
    posterior : ndarray of float64, same shape as `p`
        Probabilities in [0, 1]. They fall with `p`, or stay equal.

    Raises
    ------
    ValueError
        If an argument is out of range, or if `alpha` is 1 and `tau_plus` is 0.

    See Also
    --------
    importance_weights : Weights of the samples in the loss.

    References
    ----------
    Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
    arXiv:2301.11673.

    Examples
    --------
    >>> from sklearn_bcl.bayes import true_negative_posterior
    >>> true_negative_posterior([0.0, 0.5, 1.0], alpha=0.9, tau_plus=0.1).round(3)
    array([0.988, 0.935, 0.5  ])
    """
    check_priors(alpha=alpha, tau_plus=tau_plus)
    p = _check_unit_array("p", p)
    u, one_minus_u, density = _unlabeled_density(p, alpha, tau_plus)
    true_negative = 2 * (alpha * one_minus_u + (1 - alpha) * u)
    # Rounding may exceed 1, where all samples are true negatives.
    return np.minimum((1 - tau_plus) * true_negative / density, 1.0)


def auc_from_alpha(alpha: ArrayLike) -> FloatArray:
    r"""Compute the AUC that a location parameter implies under the model.

    The AUC is the probability that the score of a false negative exceeds the score of
    an independent true negative. Under the model, it is :math:`1/2 + (2\alpha - 1) /
    3`. So ``alpha`` itself is *not* an AUC: an AUC of 0.7 is ``alpha = 0.8``.

    Parameters
    ----------
    alpha : array-like of any shape
        Location parameters in [0.5, 1].

    Returns
    -------
    auc : ndarray of float64, same shape as `alpha`
        Values in [1/2, 5/6].

    Raises
    ------
    ValueError
        If a value is outside [0.5, 1].

    See Also
    --------
    alpha_from_auc : The inverse function.

    Examples
    --------
    >>> from sklearn_bcl.bayes import auc_from_alpha
    >>> auc_from_alpha([0.5, 0.8]).round(3)
    array([0.5, 0.7])
    """
    array = _check_unit_array("alpha", alpha)
    if (array < 0.5).any():
        raise ValueError(f"'alpha' must lie in [0.5, 1]. Got {array.min()!r} instead.")
    return np.asarray(0.5 + (2 * array - 1) / 3)


def prior_grid(n_settings: int, *, prefix: str = "") -> list[dict[str, list[float]]]:
    r"""Choose settings of the priors whose importance weights differ most.

    The weights depend on the three priors through two numbers only, :math:`\kappa_{UN}`
    and :math:`\kappa_\psi`. An ordinary grid therefore repeats settings: `tau_plus` has
    no effect at ``alpha=0.5``, and `alpha` has no effect at ``beta=0.5`` with
    ``tau_plus=0``.

    Each setting is, of a fixed list of candidates, the one farthest from its nearest
    setting before it, by the Hellinger distance of the weights, which are densities of
    the rank. The first setting is the default of :class:`~sklearn_bcl.BCLEmbedder`. A
    larger grid begins with the settings of a smaller one.

    Parameters
    ----------
    n_settings : int
        Number of settings, from 1 to 100.
    prefix : str, default=""
        Prefix of the parameter names, such as ``"bclembedder__"`` for a step of a
        pipeline.

    Returns
    -------
    grid : list of dict
        A `param_grid` for :class:`~sklearn.model_selection.GridSearchCV`. Each setting
        has the lists ``[alpha]``, ``[beta]`` and ``[tau_plus]``.

    Raises
    ------
    ValueError
        If `n_settings` is out of range.

    See Also
    --------
    importance_weights : Weights for one setting.
    sklearn_bcl.plotting.PriorSearchDisplay : Scores of a search over two priors.

    Examples
    --------
    >>> from sklearn_bcl.bayes import prior_grid
    >>> prior_grid(2, prefix="bclembedder__")[0]  # doctest: +NORMALIZE_WHITESPACE
    {'bclembedder__alpha': [0.9], 'bclembedder__beta': [0.5],
     'bclembedder__tau_plus': [0.1]}
    """
    check_interval("n_settings", n_settings, 1, 100, integral=True)
    p = (np.arange(100) + 0.5) / 100
    settings = [(0.9, 0.5, 0.1)] + [
        (alpha, beta, tau_plus)
        for alpha, beta, tau_plus in product(GRID_ALPHAS, GRID_BETAS, GRID_TAUS)
    ]
    roots = np.sqrt(
        [
            importance_weights(p, alpha=alpha, beta=beta, tau_plus=tau_plus)
            for alpha, beta, tau_plus in settings
        ]
    )
    chosen, distances = [0], np.full(len(settings), np.inf)
    while len(chosen) < n_settings:
        squares = np.square(roots - roots[chosen[-1]]).mean(axis=1)
        distances = np.minimum(distances, squares)
        chosen.append(int(distances.argmax()))
    names = [f"{prefix}{name}" for name in ("alpha", "beta", "tau_plus")]
    return [
        {name: [value] for name, value in zip(names, settings[i], strict=True)}
        for i in chosen
    ]


def alpha_from_auc(auc: ArrayLike) -> FloatArray:
    r"""Compute the location parameter that a macro-AUC implies under the model.

    This is the inverse of :func:`auc_from_alpha`, :math:`\alpha = (6A - 1) / 4` for an
    AUC :math:`A`. The result is clipped to [0.5, 1), as the model has no AUC below 1/2
    or above 5/6.

    Parameters
    ----------
    auc : array-like of any shape
        Macro-AUC values in [0, 1].

    Returns
    -------
    alpha : ndarray of float64, same shape as `auc`
        Location parameters in [0.5, 1).

    Raises
    ------
    ValueError
        If a value is outside [0, 1].

    See Also
    --------
    auc_from_alpha : The inverse function.
    sklearn_bcl.metrics.embedding_auc : The macro-AUC of an embedding.

    Examples
    --------
    >>> from sklearn_bcl.bayes import alpha_from_auc
    >>> alpha_from_auc([0.4, 0.7, 0.8]).round(3)
    array([0.5 , 0.8 , 0.95])
    """
    array = _check_unit_array("auc", auc)
    return np.clip((6 * array - 1) / 4, 0.5, np.nextafter(1, 0))


def sample_scores(
    n_anchors: int,
    n_unlabeled: int,
    *,
    alpha: float,
    tau_plus: float,
    ppf: Callable[[FloatArray], ArrayLike] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Simulate the scores of unlabeled samples under the model.

    Each sample is a false negative with probability `tau_plus`. Its score is drawn from
    the density of true or false negatives, by the inverse c.d.f.

    Parameters
    ----------
    n_anchors : int >= 1
        Number of anchors.
    n_unlabeled : int >= 1
        Number of unlabeled samples of each anchor.
    alpha : float in [0.5, 1]
        Location parameter: the ranking quality of the encoder, as in
        :func:`importance_weights`.
    tau_plus : float in [0, 1]
        Class prior: probability that an unlabeled sample is a false negative.
    ppf : callable, default=None
        Inverse c.d.f. of the score density, from [0, 1] to scores, such as
        ``scipy.stats.norm.ppf``. None means uniform scores in [-1, 1].
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    scores : ndarray of float64, shape (n_anchors, n_unlabeled)
        Similarity scores.
    is_true_negative : ndarray of bool, shape (n_anchors, n_unlabeled)
        Which scores belong to true negatives.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
    arXiv:2301.11673. Section 4, numerical experiments.

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
    check_interval("n_unlabeled", n_unlabeled, 1, None, closed="left", integral=True)
    check_interval("alpha", alpha, 0.5, 1)
    check_interval("tau_plus", tau_plus, 0, 1)
    rng = check_random_state(random_state)
    shape = (n_anchors, n_unlabeled)
    is_true_negative = rng.uniform(size=shape) >= tau_plus
    kappa = np.where(is_true_negative, 2 * alpha - 1, 1 - 2 * alpha)
    u = _quantile(rng.uniform(size=shape), kappa)
    scores = 2 * u - 1 if ppf is None else np.asarray(ppf(u), dtype=np.float64)
    return scores, is_true_negative
