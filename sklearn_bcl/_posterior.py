"""Similarities, importance weights and posteriors of pairs of rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import gen_batches
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from sklearn_bcl._ambient import standard_torch
from sklearn_bcl._model import Model
from sklearn_bcl._net import ROW_MULTIPLE
from sklearn_bcl._ranks import look_up_by_rank
from sklearn_bcl.bayes import importance_weights, true_negative_posterior
from sklearn_bcl.losses import BCLLoss

CHUNK_PAIRS = 2**23  # pairs of anchor and candidate at a time, on a CPU
GPU_CHUNK_PAIRS = 2**20  # fewer, as a GPU holds several matrices of a chunk

OfRanks = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def pairwise(
    anchors: Tensor,
    candidates: Tensor | None,
    of_ranks: OfRanks | None = None,
    chunk_pairs: int | None = None,
) -> NDArray[np.float32]:
    """Return the similarities of all pairs, or a function of the ranks of similarities.

    Parameters
    ----------
    anchors : Tensor of shape (n_anchors, d)
        Projections of unit length.
    candidates : Tensor of shape (n_candidates, d) or None
        Projections of unit length. None means the anchors: each anchor is compared with
        the other anchors only, and its own value is 0 if `of_ranks` is given.
    of_ranks : callable, default=None
        Function of the ranks divided by the number of candidates. None returns the
        similarities.
    chunk_pairs : int, default=None
        Number of pairs at a time. None means 2**23 on a CPU, 2**20 elsewhere.

    Returns
    -------
    values : ndarray of float32, shape (n_anchors, n_candidates)
    """
    among_themselves = candidates is None
    others = anchors if candidates is None else candidates
    table = None
    if of_ranks is not None:
        n = len(others) - among_themselves
        if n == 0:
            raise ValueError(
                "'X' has a single row, which has no candidate. Give more rows, or "
                "candidates 'Y'."
            )
        found = of_ranks(np.arange(1, n + 1) / n)
        if among_themselves:  # an anchor has no rank itself, and comes first
            found = np.append(0.0, found)
        table = torch.from_numpy(found).to(anchors)
    n_anchors, n_candidates = len(anchors), len(others)
    on_cpu = anchors.device.type == "cpu"
    most = chunk_pairs or (CHUNK_PAIRS if on_cpu else GPU_CHUNK_PAIRS)
    size = max(1, most // n_candidates // ROW_MULTIPLE) * ROW_MULTIPLE
    padding = -n_anchors % ROW_MULTIPLE  # so that chunks change no bit
    padded = torch.cat([anchors, anchors.new_zeros(padding, anchors.shape[1])])
    out = torch.empty(len(padded), n_candidates)
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for chunk in gen_batches(len(padded), size):
            of_chunk = out[chunk]
            values = torch.mm(padded[chunk], others.T, out=of_chunk if on_cpu else None)
            if table is not None:
                if among_themselves:
                    values.diagonal(chunk.start).fill_(-torch.inf)
                values = look_up_by_rank(values, table, threads)
            if values is not of_chunk:
                of_chunk.copy_(values)
    return out.numpy()[:n_anchors]


def _has_priors(embedder: Any) -> bool:
    is_fitted = embedder.__sklearn_is_fitted__()
    if is_fitted and hasattr(embedder, "alpha_"):
        return True
    if not is_fitted and (embedder.loss == "bcl" or isinstance(embedder.loss, BCLLoss)):
        return True
    raise AttributeError(
        f"Weights and posteriors follow from the priors of BCL, but 'loss' is "
        f"{embedder.loss!r}. Use loss='bcl', or sklearn_bcl.bayes with your own priors."
    )


class PosteriorMixin:
    """Methods for pairs of anchors and candidates under the Bayesian model.

    For estimators with a fitted `Model`, and priors.
    """

    _fitted_model: Callable[[], Model]

    def similarity(self, X: Any, Y: Any = None) -> NDArray[np.float32]:
        """Return the cosine similarities of the projections of rows.

        Training compares these similarities, but on random views of the rows. Here the
        rows are used as they are, without views.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_anchors, n_features)
            Anchors: rows or images.
        Y : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_candidates, n_features), default=None
            Candidates: rows or images. None means the anchors themselves.

        Returns
        -------
        similarity : ndarray of float32, shape (n_anchors, n_candidates)
            Values in [-1, 1], up to rounding.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `X` or `Y` is invalid, or its rows differ in kind from the rows of the
            fit.

        See Also
        --------
        true_negative_proba : The probability that a candidate is a true negative.
        importance_weights : The weight of a candidate in the Bayesian loss.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_bcl import BCLEmbedder
        >>> X, _ = load_iris(return_X_y=True)
        >>> embedder = BCLEmbedder(max_epochs=5, random_state=0).fit(X)
        >>> embedder.similarity(X[:2], X[2:]).shape
        (2, 148)
        """
        return _of_pairs(self._fitted_model(), X, Y)

    @available_if(_has_priors)
    def true_negative_proba(self, X: Any, Y: Any = None) -> NDArray[np.float32]:
        """Return the posterior probability that each candidate is a true negative.

        A true negative has another latent class than the anchor. The similarities of
        the candidates of an anchor are ranked. The probability depends on the rank, and
        on the priors ``alpha_`` and ``tau_plus_``
        (:func:`~sklearn_bcl.bayes.true_negative_posterior`).

        The candidates should be a random draw of rows, like a batch in training. A
        selection of similar rows gives wrong probabilities: the mean probability over
        the candidates of an anchor is always about ``1 - tau_plus_``.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_anchors, n_features)
            Anchors: rows or images.
        Y : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_candidates, n_features), default=None
            Candidates: rows or images. An anchor that occurs in `Y` is its own
            candidate. None means the anchors: each anchor is compared with the other
            anchors only, and its own probability is 0.

        Returns
        -------
        probability : ndarray of float32, shape (n_anchors, n_candidates)
            Values in [0, 1]. A low value suggests a false negative.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `X` or `Y` is invalid, or its rows differ in kind from the rows of the
            fit, or an anchor has no candidate.
        AttributeError
            If the loss has no priors of the Bayesian model.

        See Also
        --------
        sklearn_bcl.bayes.true_negative_posterior : The same probability from ranks.

        References
        ----------
        Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
        arXiv:2301.11673.

        Examples
        --------
        The most similar candidate has the lowest probability to be a true negative.

        >>> from sklearn.datasets import load_iris
        >>> from sklearn_bcl import BCLEmbedder
        >>> X, _ = load_iris(return_X_y=True)
        >>> embedder = BCLEmbedder(max_epochs=5, random_state=0).fit(X)
        >>> proba = embedder.true_negative_proba(X)
        >>> bool(proba[0, 1:].argmin() == embedder.similarity(X)[0, 1:].argmax())
        True
        """
        model = self._fitted_model()
        alpha, tau_plus = model.prior("alpha"), model.prior("tau_plus")
        of_ranks = partial(true_negative_posterior, alpha=alpha, tau_plus=tau_plus)
        return _of_pairs(model, X, Y, of_ranks)

    @available_if(_has_priors)
    def importance_weights(self, X: Any, Y: Any = None) -> NDArray[np.float32]:
        """Return the weight of each candidate in the Bayesian loss.

        The weight depends on the rank of the candidate's similarity, as in
        :meth:`true_negative_proba`, and on the priors ``alpha_``, ``beta_`` and
        ``tau_plus_`` (:func:`~sklearn_bcl.bayes.importance_weights`). The mean weight
        over the candidates of an anchor is about 1.

        Parameters
        ----------
        X : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_anchors, n_features)
            Anchors: rows or images.
        Y : {array-like, DataFrame, sparse matrix, torch.Tensor} of shape \
                (n_candidates, n_features), default=None
            Candidates: rows or images. An anchor that occurs in `Y` is its own
            candidate. None means the anchors: each anchor is compared with the other
            anchors only, and its own weight is 0.

        Returns
        -------
        weights : ndarray of float32, shape (n_anchors, n_candidates)
            Non-negative weights.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `X` or `Y` is invalid, or its rows differ in kind from the rows of the
            fit, or an anchor has no candidate.
        AttributeError
            If the loss has no priors of the Bayesian model.

        See Also
        --------
        sklearn_bcl.bayes.importance_weights : The same weights from ranks.

        References
        ----------
        Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
        arXiv:2301.11673.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_bcl import BCLEmbedder
        >>> X, _ = load_iris(return_X_y=True)
        >>> embedder = BCLEmbedder(max_epochs=5, random_state=0).fit(X)
        >>> embedder.importance_weights(X[:2], X[2:]).mean(axis=1).round(2)
        array([1., 1.], dtype=float32)
        """
        model = self._fitted_model()
        priors = {name: model.prior(name) for name in ("alpha", "beta", "tau_plus")}
        return _of_pairs(model, X, Y, partial(importance_weights, **priors))


def _of_pairs(
    model: Model, X: Any, Y: Any, of_ranks: OfRanks | None = None
) -> NDArray[np.float32]:
    """Return `pairwise` of the projections that one model computes."""
    anchors, candidates = model.project(X), None
    if Y is not None:
        try:
            candidates = model.project(Y)
        except ValueError as error:
            raise ValueError(f"'Y' cannot be candidates: {error}") from error
    with standard_torch(grad=False):
        return pairwise(anchors, candidates, of_ranks)
