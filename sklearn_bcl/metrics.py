"""How good an embedding is, without a downstream model.

Each metric is a function of an embedding and, as ``..._scorer(estimator, X, y)``, a
`scoring` for scikit-learn's searches over a transformer, where higher is better.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp
from scipy.stats import rankdata
from sklearn.metrics import euclidean_distances
from sklearn.preprocessing import normalize
from sklearn.utils import check_array, check_X_y, gen_batches

from sklearn_bcl._validation import check_interval, is_labeled

__all__ = [
    "alignment",
    "alignment_scorer",
    "embedding_auc",
    "embedding_auc_scorer",
    "uniformity",
    "uniformity_scorer",
]

CHUNK_ANCHORS = 512


def embedding_auc(X: ArrayLike, y: ArrayLike) -> float:
    """Macro-AUC of cosine similarities as a detector of rows of the same class.

    For each row (the anchor), the probability that a random other row of its class is
    more similar to it than a random row of another class; the mean over all anchors
    that have both. It is the ranking quality that ``alpha`` stands for in BCL.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Embedding.
    y : array-like of shape (n_samples,)
        Classes.

    Returns
    -------
    auc : float
        In [0, 1]; 0.5 for a random embedding.

    Raises
    ------
    ValueError
        If no row has both another row of its class and one of another class.

    Examples
    --------
    >>> from sklearn_bcl.metrics import embedding_auc
    >>> embedding_auc([[1, 0], [2, 0.1], [0, 1], [0.1, 3]], [0, 0, 1, 1])
    1.0
    """
    X, y = check_X_y(X, y)
    unit = normalize(X)
    classes, y = np.unique(y, return_inverse=True)
    n_same = np.bincount(y)[y] - 1
    n_other = len(y) - 1 - n_same
    usable = np.flatnonzero((n_same > 0) & (n_other > 0))
    if not len(usable):
        raise ValueError(
            "The AUC needs a row with another one of its class and one of another "
            f"class. Got {len(classes)} classes in {len(y)} rows."
        )
    total = 0.0
    for chunk in gen_batches(len(usable), CHUNK_ANCHORS):
        anchors = usable[chunk]
        similarity = unit[anchors] @ unit.T
        similarity[np.arange(len(anchors)), anchors] = -np.inf  # rank 1, no sample
        ranks = rankdata(similarity, axis=1) - 1
        same = y[anchors, None] == y
        same[np.arange(len(anchors)), anchors] = False
        above = (ranks * same).sum(axis=1) - n_same[anchors] * (n_same[anchors] + 1) / 2
        total += float((above / (n_same[anchors] * n_other[anchors])).sum())
    return total / len(usable)


def alignment(X: ArrayLike, y: ArrayLike, *, exponent: float = 2.0) -> float:
    r"""Mean distance of positive pairs on the unit sphere; lower is better.

    :math:`\operatorname{mean} \lVert x_i - x_j \rVert^{exponent}` over all pairs of
    L2-normalized rows with :math:`y_i = y_j`. With classes as `y` it says how compact
    they are; with ``y = np.tile(np.arange(n), 2)`` and the stacked embeddings of two
    views of `n` rows, how little the embedding changes between views.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Embedding.
    y : array-like of shape (n_samples,)
        Rows with the same value are positive pairs.
    exponent : float > 0, default=2
        Power of the distance.

    Returns
    -------
    alignment : float
        From 0 to ``2 ** exponent``; 2 in the mean for random directions, with the
        default.

    Raises
    ------
    ValueError
        If no two rows share a value of `y`.

    References
    ----------
    Wang, Isola (2020). Understanding Contrastive Representation Learning through
    Alignment and Uniformity on the Hypersphere. arXiv:2005.10242.

    Examples
    --------
    >>> from sklearn_bcl.metrics import alignment
    >>> alignment([[1, 0], [3, 0], [0, 1], [0, -1]], [0, 0, 1, 1])
    2.0
    """
    check_interval("exponent", exponent, 0, None, closed="neither")
    X, y = check_X_y(X, y)
    unit = normalize(X)
    classes, y = np.unique(y, return_inverse=True)
    total, n_pairs = 0.0, 0
    for k in range(len(classes)):
        rows = unit[y == k]
        n_pairs += len(rows) * (len(rows) - 1)
        for chunk in gen_batches(len(rows), CHUNK_ANCHORS):
            distances = euclidean_distances(rows[chunk], rows)
            own = np.arange(len(distances))
            distances[own, own + chunk.start] = 0  # exactly
            total += float((distances**exponent).sum())
    if n_pairs == 0:
        raise ValueError(
            "The alignment needs two rows with the same 'y'. Got "
            f"{len(classes)} values in {len(y)} rows."
        )
    return total / n_pairs


def uniformity(X: ArrayLike, *, t: float = 2.0) -> float:
    r"""Logarithm of the mean Gaussian potential of all pairs; lower is better.

    :math:`\log \operatorname{mean} e^{-t \lVert x_i - x_j \rVert^2}` over the pairs of
    L2-normalized rows: how evenly they lie on the unit sphere.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Embedding, of two rows at least.
    t : float > 0, default=2
        How fast the potential falls with the squared distance.

    Returns
    -------
    uniformity : float
        From ``-4 * t`` to 0, which is that of equal rows; about ``-2 * t`` for random
        directions in many dimensions.

    References
    ----------
    Wang, Isola (2020). Understanding Contrastive Representation Learning through
    Alignment and Uniformity on the Hypersphere. arXiv:2005.10242.

    Examples
    --------
    >>> from sklearn_bcl.metrics import uniformity
    >>> uniformity([[1, 0], [2, 0], [1, 0]])
    0.0
    """
    check_interval("t", t, 0, None, closed="neither")
    unit = normalize(check_array(X, ensure_min_samples=2))
    sums = []
    for chunk in gen_batches(len(unit), CHUNK_ANCHORS):
        potential = -t * euclidean_distances(unit[chunk], unit, squared=True)
        own = np.arange(len(potential))
        potential[own, own + chunk.start] = -np.inf
        sums.append(logsumexp(potential))
    return float(logsumexp(sums) - np.log(len(unit) * (len(unit) - 1)))


def _labeled_embedding(
    estimator: Any, X: Any, y: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any]]:
    known = is_labeled(y)
    return np.asarray(estimator.transform(X))[known], np.asarray(y)[known]


def embedding_auc_scorer(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Return :func:`embedding_auc` of ``estimator.transform(X)``.

    Rows with the label -1, which means that there is none, are left out.
    """
    return embedding_auc(*_labeled_embedding(estimator, X, y))


def alignment_scorer(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Return minus the :func:`alignment` of ``estimator.transform(X)`` by classes.

    Rows with the label -1, which means that there is none, are left out.
    """
    return -alignment(*_labeled_embedding(estimator, X, y))


def uniformity_scorer(estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
    """Return minus the :func:`uniformity` of ``estimator.transform(X)``."""
    return -uniformity(estimator.transform(X))
