"""How good an embedding is, without a downstream model."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.preprocessing import normalize
from sklearn.utils import check_X_y, gen_batches

__all__ = ["embedding_auc"]

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
