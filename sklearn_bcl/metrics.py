"""Quality of an embedding without a downstream model.

Each metric is a function of an embedding. It also has a scorer, called as
``scorer(estimator, X, y)``, for the parameter `scoring` of scikit-learn's searches. A
higher score is better.
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
    """Compute the macro-AUC of cosine similarities as a detector of same-class rows.

    Each row is an anchor. Its AUC is the probability that a random row of its class is
    more similar to the anchor than a random row of another class. The macro-AUC is the
    mean over all anchors with rows of both kinds. The BCL paper uses this AUC as
    ``alpha``; under its model, :func:`~sklearn_bcl.bayes.alpha_from_auc` converts it.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Embedding.
    y : array-like of shape (n_samples,)
        Classes.

    Returns
    -------
    auc : float
        Value in [0, 1]. 0.5 is a random embedding.

    Raises
    ------
    ValueError
        If no row has another row of its class and a row of another class.

    See Also
    --------
    embedding_auc_scorer : The scorer for searches.
    sklearn_bcl.bayes.alpha_from_auc : The location parameter of an AUC.

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
    r"""Compute the mean distance of positive pairs on the unit sphere; lower is better.

    The alignment is the mean of :math:`\lVert x_i - x_j \rVert^{exponent}` over all
    pairs of L2-normalized rows with :math:`y_i = y_j`. If `y` holds classes, it
    measures how compact the classes are. To measure how little the embedding changes
    between two views of ``n`` rows, stack the two embeddings and set ``y =
    np.tile(np.arange(n), 2)``.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Embedding.
    y : array-like of shape (n_samples,)
        Rows with the same value are positive pairs.
    exponent : float > 0, default=2.0
        Power of the distance.

    Returns
    -------
    alignment : float
        Value in [0, ``2 ** exponent``]. Random directions have 2 on average, with the
        default exponent.

    Raises
    ------
    ValueError
        If `exponent` is not positive, or no two rows have the same value of `y`.

    See Also
    --------
    alignment_scorer : The scorer for searches.
    uniformity : How evenly the rows are spread.

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
    r"""Compute how evenly rows are spread on the unit sphere; lower is better.

    The uniformity is the log of the mean Gaussian potential,
    :math:`\log \operatorname{mean} e^{-t \lVert x_i - x_j \rVert^2}`, over all pairs
    of different L2-normalized rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_components)
        Embedding of at least two rows.
    t : float > 0, default=2.0
        Rate at which the potential falls with the squared distance.

    Returns
    -------
    uniformity : float
        Value in [``-4 * t``, 0]. Equal rows have 0. Random directions in many
        dimensions have about ``-2 * t``.

    Raises
    ------
    ValueError
        If `t` is not positive, or `X` has a single row.

    See Also
    --------
    uniformity_scorer : The scorer for searches.
    alignment : How close positive pairs are.

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
    """Score a transformer by :func:`embedding_auc` of its embedding.

    Parameters
    ----------
    estimator : fitted transformer
        Such as a :class:`~sklearn_bcl.BCLEmbedder` or a pipeline.
    X : array-like of shape (n_samples, n_features)
        Rows or images.
    y : array-like of shape (n_samples,)
        Classes. Rows with the label -1 (no label) are left out.

    Returns
    -------
    score : float
        Higher is better.

    Raises
    ------
    ValueError
        As in :func:`embedding_auc`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_bcl.metrics import embedding_auc_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> embedding_auc_scorer(PCA(2).fit(X), X, y) > 0.5
    True
    """
    return embedding_auc(*_labeled_embedding(estimator, X, y))


def alignment_scorer(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Score a transformer by minus the :func:`alignment` of its embedding.

    Parameters
    ----------
    estimator : fitted transformer
        Such as a :class:`~sklearn_bcl.BCLEmbedder` or a pipeline.
    X : array-like of shape (n_samples, n_features)
        Rows or images.
    y : array-like of shape (n_samples,)
        Classes. Rows with the label -1 (no label) are left out.

    Returns
    -------
    score : float
        Higher is better.

    Raises
    ------
    ValueError
        As in :func:`alignment`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_bcl.metrics import alignment_scorer
    >>> X, y = load_iris(return_X_y=True)
    >>> -4 <= alignment_scorer(PCA(2).fit(X), X, y) <= 0
    True
    """
    return -alignment(*_labeled_embedding(estimator, X, y))


def uniformity_scorer(estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
    """Score a transformer by minus the :func:`uniformity` of its embedding.

    Parameters
    ----------
    estimator : fitted transformer
        Such as a :class:`~sklearn_bcl.BCLEmbedder` or a pipeline.
    X : array-like of shape (n_samples, n_features)
        Rows or images, at least two.
    y : Ignored
        Present for API consistency.

    Returns
    -------
    score : float
        Higher is better.

    Raises
    ------
    ValueError
        As in :func:`uniformity`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_bcl.metrics import uniformity_scorer
    >>> X, _ = load_iris(return_X_y=True)
    >>> 0 <= uniformity_scorer(PCA(2).fit(X), X) <= 8
    True
    """
    return -uniformity(estimator.transform(X))
