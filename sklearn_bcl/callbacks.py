"""Callbacks for the parameter `callbacks` of :class:`~sklearn_bcl.BCLEmbedder`.

:class:`LinearAlpha` and :class:`MeasuredAlpha` change the ``alpha`` of
:class:`~sklearn_bcl.losses.BCLLoss` during training. :class:`Checkpoint` resumes a fit
that an earlier process did not complete. :class:`EpochProgress` shows a progress bar.
Other callbacks of skorch work as well, except those that score predictions.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from skorch.callbacks import (
    BatchScoring,
    Callback,
    EarlyStopping,
    EpochScoring,
    PassthroughScoring,
)
from torch import nn
from tqdm.auto import tqdm

from sklearn_bcl._checkpoint import Checkpoint
from sklearn_bcl._validation import check_interval
from sklearn_bcl.bayes import alpha_from_auc
from sklearn_bcl.losses import BCLLoss
from sklearn_bcl.metrics import embedding_auc

if TYPE_CHECKING:
    from sklearn_bcl._data.rows import Rows
    from sklearn_bcl._net import ContrastiveNet

__all__ = ["Checkpoint", "EpochProgress", "LinearAlpha", "MeasuredAlpha"]

# The AUC of so many rows has a standard error far below its changes in training.
MOST_MEASURED_ROWS = 2048
SCORING = (BatchScoring, EpochScoring, PassthroughScoring)


class AlphaCallback(Callback):
    """Base class of callbacks that set ``net.criterion_.alpha`` before each epoch.

    A subclass overrides :meth:`alpha_at`. The history records the ``alpha`` of each
    epoch.
    """

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        """Return the alpha of an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 0 on.
        net : skorch.NeuralNet
            The net in training.

        Returns
        -------
        alpha : float

        Raises
        ------
        NotImplementedError
            In the base class.
        """
        raise NotImplementedError

    def on_epoch_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        alpha = self.alpha_at(len(net.history) - 1, net)
        net.criterion_.alpha = net.share.from_first(alpha)
        net.history.record("alpha", net.criterion_.alpha)


class LinearAlpha(AlphaCallback):
    """Raise alpha linearly from 0.5 in the first epoch to its final value in the last.

    An untrained encoder ranks positives and negatives at random: ``alpha=0.5``. The
    final value is the ``alpha`` of the embedder, or of the loss if ``loss`` is an
    instance. In
    :meth:`~sklearn_bcl.BCLEmbedder.partial_fit`, which trains one epoch, alpha is the
    final value.

    See Also
    --------
    MeasuredAlpha : Alpha from labels.

    References
    ----------
    Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
    arXiv:2301.11673. The authors' result on CIFAR-10 is from such a schedule.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.callbacks import LinearAlpha
    >>> X, _ = load_iris(return_X_y=True)
    >>> embedder = BCLEmbedder(alpha=0.9, max_epochs=3, callbacks=[LinearAlpha()])
    >>> embedder.fit(X).history_[:, "alpha"]
    [0.5, 0.7, 0.9]
    """

    def on_train_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        self.final_ = net.criterion_.alpha

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        if net.max_epochs == 1:
            return float(self.final_)
        return float(0.5 + (self.final_ - 0.5) * epoch / (net.max_epochs - 1))

    def on_train_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        net.criterion_.alpha = self.final_  # also of a training that was stopped


class MeasuredAlpha(AlphaCallback):
    """Set alpha from labeled rows: before training, every `every` epochs, at the end.

    Alpha is the ranking quality of the encoder. It is computed from the macro-AUC of
    the similarities of projections (:func:`~sklearn_bcl.metrics.embedding_auc`) on at
    most 2,048 labeled rows. The labels are the `y` of `fit`, with -1 for no label. With
    ``alpha="labels"``, the embedder adds a ``MeasuredAlpha()``, unless `callbacks` has
    one.

    Parameters
    ----------
    every : int >= 1, default=20
        Number of epochs between two measurements.
    reading : {"calibrated", "paper"}, default="calibrated"
        How alpha is computed from the AUC. "calibrated" uses the relation under the
        Bayesian model (:func:`~sklearn_bcl.bayes.alpha_from_auc`). "paper" uses the AUC
        as alpha.

    See Also
    --------
    LinearAlpha : A linear schedule of alpha, without labels.

    References
    ----------
    Liu, Wang, Li (2023). Bayesian Self-Supervised Contrastive Learning.
    arXiv:2301.11673.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.callbacks import MeasuredAlpha
    >>> X, y = load_iris(return_X_y=True)
    >>> measured = MeasuredAlpha(every=2, reading="paper")
    >>> embedder = BCLEmbedder(alpha="labels", max_epochs=4, callbacks=[measured])
    >>> alphas = embedder.fit(X, y).history_[:, "alpha"]
    >>> alphas[0] == alphas[1], alphas[1] == alphas[2]
    (True, False)
    """

    def __init__(
        self, every: int = 20, reading: Literal["calibrated", "paper"] = "calibrated"
    ) -> None:
        self.every = every
        self.reading = reading

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If `every` is not a positive integer, or `reading` is unknown.
        """
        check_interval("every", self.every, 1, None, closed="left", integral=True)
        if self.reading not in ("calibrated", "paper"):
            raise ValueError(
                f"'reading' must be 'calibrated' or 'paper'. Got {self.reading!r}."
            )

    def on_train_begin(self, net: ContrastiveNet, X: Rows, **kwargs: Any) -> None:
        chosen = _choose_labeled(X.labels, np.random.RandomState(net.seed))
        self.rows_: Rows | None = X.subset(chosen)

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        if epoch % self.every == 0:
            return self._measure(net)
        return float(net.criterion_.alpha)

    def on_train_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        net.criterion_.alpha = net.share.from_first(self._measure(net))
        del self.rows_  # a pickled net holds no data

    def _measure(self, net: ContrastiveNet) -> float:
        assert self.rows_ is not None
        with net.lent():
            projections = net.project(self.rows_).numpy()
        auc = embedding_auc(projections, self.rows_.labels)
        if self.reading == "paper":
            return float(np.clip(auc, 0.5, np.nextafter(1, 0)))
        return float(alpha_from_auc(auc))


class EpochProgress(Callback):
    """Show a progress bar over the epochs of a fit, with the latest losses.

    ``verbose=1`` of the embedder adds this callback. The progress bar of skorch counts
    the batches of one epoch, which takes too short a time on tables.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.callbacks import EpochProgress
    >>> X, _ = load_iris(return_X_y=True)
    >>> embedder = BCLEmbedder(max_epochs=2, callbacks=[EpochProgress()])
    >>> embedder.fit(X).n_iter_  # the bar goes to the standard error stream
    2
    """

    def on_train_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        is_elsewhere = net.share.rank > 0
        self.bar_ = tqdm(
            total=net.max_epochs,
            unit="epoch",
            desc="BCLEmbedder",
            disable=is_elsewhere,
        )

    def on_epoch_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        losses = ("train_loss", "valid_loss")
        latest = {key: net.history[-1][key] for key in losses if key in net.history[-1]}
        self.bar_.set_postfix(latest, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # it cannot be pickled


def _not_copied(callbacks: Sequence[Any] | None) -> str:
    """Return which of the callbacks cannot be copied."""
    for callback in callbacks or []:
        try:
            copy.deepcopy(callback)
        except Exception:
            return repr(type(callback).__name__)
    return "them"


def make_callbacks(
    callbacks: Sequence[Any] | None,
    loss: nn.Module,
    *,
    alpha_is_measured: bool,
    early_stopping: bool,
    n_iter_no_change: int,
    tol: float,
    show_progress: bool,
) -> list[Any]:
    """Return copies of the user's callbacks, and those that other parameters need.

    Raises ``ValueError`` if a callback changes alpha, but the loss has none, another
    callback changes it, too, or early stopping compares losses of different alphas.
    """
    check_callbacks(callbacks, early_stopping)
    try:
        made = copy.deepcopy(list(callbacks or []))
    except Exception as error:
        raise ValueError(
            f"'callbacks' are copied, which fails for {_not_copied(callbacks)}: "
            f"{error}. Let it open files and connections in on_train_begin."
        ) from error
    if alpha_is_measured and not find_callbacks(made, MeasuredAlpha):
        made.append(MeasuredAlpha())
    alpha_callbacks = find_callbacks(made, AlphaCallback)
    if len(alpha_callbacks) > 1:
        names = " and ".join(type(callback).__name__ for callback in alpha_callbacks)
        raise ValueError(
            f"Only one of the 'callbacks' may change alpha, or alpha='labels'. Got "
            f"{names}: leave one out, or set 'alpha' to a number."
        )
    for callback in alpha_callbacks:
        _check_alpha_callback(callback, loss)
        if early_stopping:
            raise ValueError(
                f"An alpha that changes ({type(callback).__name__}) does not go with "
                "early_stopping=True: held-out losses at different alphas cannot be "
                "compared. Set 'alpha' to a number without such a callback, or "
                "early_stopping=False."
            )
    if early_stopping:
        made.append(
            EarlyStopping(
                patience=n_iter_no_change,
                threshold=tol,
                threshold_mode="abs",
                load_best=True,
            )
        )
    if show_progress:
        made.append(EpochProgress())
    # Alpha is measured last when training ends: others may still change the weights. A
    # checkpoint holds what all others have done in an epoch.
    last = (AlphaCallback, Checkpoint)
    return sorted(
        made, key=lambda item: [bool(find_callbacks([item], k)) for k in last[::-1]]
    )


def check_callbacks(callbacks: Sequence[Any] | None, early_stopping: bool) -> None:
    """Raise ``ValueError`` for callbacks that cannot work here."""
    names = [item[0] for item in callbacks or [] if isinstance(item, tuple) and item]
    repeated = sorted({name for name in names if names.count(name) > 1}, key=str)
    if repeated:
        raise ValueError(
            f"'callbacks' has {names.count(repeated[0])} of the name {repeated[0]!r}. "
            "Give each a name of its own, or none."
        )
    for place, item in enumerate(callbacks or []):
        is_pair = isinstance(item, tuple) and len(item) == 2 and item[0]
        callback = item[1] if is_pair and isinstance(item[0], str) else item
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise ValueError(
                f"'callbacks' must hold callbacks of skorch, classes of them or pairs "
                f"(name, callback). Got {item!r} at place {place}. For a function of "
                "your own, derive from skorch.callbacks.Callback and define "
                "on_epoch_end(self, net, **kwargs)."
            )
        if issubclass(kind, SCORING):
            raise ValueError(
                f"'callbacks' {kind.__name__} scores predictions or batches, of which "
                "an embedder has none. Leave it out: the losses of each epoch are in "
                "history_[:, 'train_loss']."
            )
        if kind is Checkpoint:
            _check_checkpoint(callback, callbacks)
        monitor = getattr(callback, "monitor", None)
        if isinstance(callback, type):
            parameters = inspect.signature(callback).parameters
            monitor = getattr(parameters.get("monitor"), "default", None)
        is_validated = isinstance(monitor, str) and monitor.startswith("valid_loss")
        if is_validated and not early_stopping:
            raise ValueError(
                f"'callbacks' {kind.__name__} monitors {monitor!r}, but no rows are "
                f"held out. Set early_stopping=True, which does so and stops by their "
                f"loss, or monitor={str(monitor).replace('valid', 'train')!r}."
            )


def _check_checkpoint(callback: Any, callbacks: Sequence[Any] | None) -> None:
    if isinstance(callback, type):
        raise ValueError("'callbacks' Checkpoint needs a path: Checkpoint(path).")
    if len(find_callbacks(callbacks, Checkpoint)) > 1:
        raise ValueError("'callbacks' has two of Checkpoint. Leave one out.")
    callback.check()


def find_callbacks(callbacks: Sequence[Any] | None, kind: type) -> list[Any]:
    """Return the callbacks that are instances of a class.

    As in skorch, a callback may also be given as a pair ``(name, callback)``, whose
    name is dropped, or as a class, which is then called.
    """
    bare = [item[1] if isinstance(item, tuple) else item for item in callbacks or []]
    return [
        item() if isinstance(item, type) and item is not Checkpoint else item
        for item in bare
        if isinstance(item, kind) or (isinstance(item, type) and issubclass(item, kind))
    ]


def _check_alpha_callback(callback: AlphaCallback, loss: nn.Module) -> None:
    if isinstance(callback, MeasuredAlpha):
        callback.check()
    if not isinstance(loss, BCLLoss):
        raise ValueError(
            f"'callbacks' {type(callback).__name__} changes the alpha of loss='bcl' or "
            f"of a BCLLoss, but the loss is {loss}. Leave it out, or use loss='bcl'."
        )


def _choose_labeled(
    labels: NDArray[Any], random_state: np.random.RandomState
) -> NDArray[np.intp]:
    """Return random labeled rows to measure on, first two rows of each class."""
    order = random_state.permutation(np.flatnonzero(labels != -1))
    _, first = np.unique(labels[order], return_index=True)
    others = np.delete(order, first)
    _, second = np.unique(labels[others], return_index=True)
    chosen = [order[first], others[second], np.delete(others, second)]
    return np.concatenate(chosen)[:MOST_MEASURED_ROWS]
