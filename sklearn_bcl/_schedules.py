"""skorch callbacks that set the location alpha of the loss from epoch to epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from skorch.callbacks import Callback
from torch import nn

from sklearn_bcl.bayes import alpha_from_auc
from sklearn_bcl.losses import BCLLoss
from sklearn_bcl.metrics import embedding_auc

if TYPE_CHECKING:
    from sklearn_bcl._net import ContrastiveNet
    from sklearn_bcl._rows import Rows

# The AUC of so many rows has a standard error far below its changes in training.
MOST_LABELLED_ROWS = 2048


class AlphaSchedule(Callback):
    """Set ``net.criterion_.alpha`` before each epoch and record it as ``alpha``."""

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        raise NotImplementedError

    def on_epoch_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        net.criterion_.alpha = self.alpha_at(len(net.history) - 1, net)
        net.history.record("alpha", net.criterion_.alpha)


class ConstantAlpha(AlphaSchedule):
    """Leave alpha as it is."""

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        return float(net.criterion_.alpha)


class LinearAlpha(AlphaSchedule):
    """Raise alpha from 0.5 in the first epoch to `final` in the last.

    An untrained encoder ranks at random; the paper's CIFAR-10 result is of this ramp.
    """

    def __init__(self, final: float) -> None:
        self.final = final

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        if net.epochs_ == 1:
            return self.final
        return 0.5 + (self.final - 0.5) * epoch / (net.epochs_ - 1)


class AUCAlpha(AlphaSchedule):
    """Measure alpha every few epochs, as the macro-AUC of labelled rows.

    Parameters
    ----------
    rows : Rows
        Labelled rows.
    labels : ndarray of shape (n_rows,)
    every : int
        Epochs between measurements.
    reading : {"calibrated", "paper"}
        What an AUC means: :func:`sklearn_bcl.bayes.alpha_from_auc`, or alpha itself.
    """

    def __init__(
        self,
        rows: Rows,
        labels: NDArray[Any],
        every: int,
        reading: Literal["calibrated", "paper"],
    ) -> None:
        self.rows: Rows | None = rows
        self.labels: NDArray[Any] | None = labels
        self.every = every
        self.reading = reading

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        if epoch % self.every == 0:
            assert self.rows is not None and self.labels is not None
            auc = embedding_auc(net.embed(self.rows, project=True), self.labels)
            if self.reading == "paper":
                return float(np.clip(auc, 0.5, np.nextafter(1, 0)))
            return float(alpha_from_auc(auc))
        return float(net.criterion_.alpha)

    def on_train_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        self.rows = self.labels = None  # a pickled net holds no data


def make_alpha_schedule(
    schedule: str,
    loss: nn.Module,
    rows: Rows,
    y: ArrayLike | None,
    *,
    every: int,
    reading: Literal["calibrated", "paper"],
    early_stopping: bool,
    random_state: np.random.RandomState,
) -> list[Callback]:
    """Return the callback that sets alpha, if the loss has one.

    `y` has the labels of the array that `rows` are taken from.
    """
    if not isinstance(loss, BCLLoss):
        if schedule == "constant":
            return []
        raise ValueError(
            f"'alpha_schedule' {schedule!r} needs loss='bcl' or a BCLLoss. Got {loss}; "
            "use 'constant' with other losses."
        )
    if schedule == "constant":
        return [ConstantAlpha()]
    if early_stopping:
        raise ValueError(
            f"'alpha_schedule' {schedule!r} does not go with early_stopping=True: "
            "held-out losses at different alphas cannot be compared. Use 'constant', "
            "or early_stopping=False."
        )
    if schedule == "linear":
        return [LinearAlpha(loss.alpha)]
    if y is None:
        raise ValueError(
            "'alpha_schedule' 'auc' needs labels: give y, with -1 for rows without a "
            "label, or use 'constant' or 'linear'."
        )
    labels = column_or_1d(y)
    check_consistent_length(rows.data, labels)
    labels = labels[rows.indices.cpu().numpy()]
    # An array of -1 and strings has the string "-1".
    labelled = np.flatnonzero((labels != -1) & (labels.astype(str) != "-1"))
    classes, counts = np.unique(labels[labelled], return_counts=True)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError(
            "'alpha_schedule' 'auc' needs labels of two classes at least, and two rows "
            f"of one of them. Got {len(classes)} classes in {len(labelled)} labelled "
            "training rows."
        )
    labelled = random_state.permutation(labelled)[:MOST_LABELLED_ROWS]
    return [AUCAlpha(rows.subset(labelled), labels[labelled], every, reading)]
