"""The priors of a fit: fixed, in a schedule, or measured on labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.multiclass import check_classification_targets
from skorch.callbacks import Callback
from torch import nn

from sklearn_bcl._validation import is_labelled
from sklearn_bcl.bayes import alpha_from_auc
from sklearn_bcl.losses import BCLLoss
from sklearn_bcl.metrics import embedding_auc

if TYPE_CHECKING:
    from sklearn_bcl._net import ContrastiveNet
    from sklearn_bcl._rows import Rows

DEFAULT_TAU_PLUS = 0.1
DEFAULT_ALPHA = 0.9
# The AUC of so many rows has a standard error far below its changes in training.
MOST_MEASURED_ROWS = 2048

Reading = Literal["calibrated", "paper"]


@dataclass(frozen=True)
class LabelledRows:
    """The labelled ones among the training rows, and what they say of the priors.

    Parameters
    ----------
    rows : Rows
        At most 2,048 random ones of them, on which alpha is measured.
    labels : ndarray
        Labels of `rows`.
    class_prior : float
        Probability that two random labelled rows are of the same class.
    reading : {"calibrated", "paper"}
        What a macro-AUC says of alpha: :func:`sklearn_bcl.bayes.alpha_from_auc`, or
        alpha itself.
    """

    rows: Rows
    labels: NDArray[Any]
    class_prior: float
    reading: Reading

    @classmethod
    def of(
        cls,
        rows: Rows,
        y: ArrayLike | None,
        seed: int,
        reading: Reading,
    ) -> LabelledRows:
        """Find them; `y` has the labels of the array that `rows` are taken from."""
        if y is None:
            raise ValueError(
                "'use_labels' True needs labels: give y, with -1 for rows without a "
                "label, or use use_labels=False."
            )
        labels = column_or_1d(y)
        check_consistent_length(rows.data, labels)
        labels = labels[rows.indices.cpu().numpy()]
        if labels.dtype.kind in "fO" and any(map(_is_missing, labels)):
            raise ValueError(
                "'y' has missing values. With use_labels=True, rows without a label "
                "have -1."
            )
        if labels.dtype.kind == "f":
            check_classification_targets(labels)
        labelled = np.flatnonzero(is_labelled(labels))
        classes, counts = np.unique(labels[labelled], return_counts=True)
        if len(classes) < 2 or counts.max() < 2:
            raise ValueError(
                "'use_labels' True needs labels of two classes at least, and two rows "
                f"of one of them. Got {len(classes)} classes in {len(labelled)} "
                "labelled training rows; -1 means that there is no label."
            )
        class_prior = float(np.square(counts / counts.sum()).sum())
        measured = _choose(labelled, labels, np.random.RandomState(seed))
        return cls(rows.subset(measured), labels[measured], class_prior, reading)

    def measure_alpha(self, net: ContrastiveNet) -> float:
        """Return what the net's macro-AUC on the rows says of alpha, below 1."""
        auc = embedding_auc(net.embed(self.rows, project=True), self.labels)
        if self.reading == "paper":
            return float(np.clip(auc, 0.5, np.nextafter(1, 0)))
        return float(alpha_from_auc(auc))


def _is_missing(label: Any) -> bool:
    return label is None or is_scalar_nan(label) or is_pandas_na(label)


def _choose(
    labelled: NDArray[np.intp],
    labels: NDArray[Any],
    random_state: np.random.RandomState,
) -> NDArray[np.intp]:
    """Return the random rows to measure on, first two of each class."""
    order = random_state.permutation(labelled)
    _, first = np.unique(labels[order], return_index=True)
    others = np.delete(order, first)
    _, second = np.unique(labels[others], return_index=True)
    chosen = [order[first], others[second], np.delete(others, second)]
    return np.concatenate(chosen)[:MOST_MEASURED_ROWS]


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


class MeasuredAlpha(AlphaSchedule):
    """Measure alpha on labelled rows every few epochs, the first time before any."""

    def __init__(self, labelled: LabelledRows, every: int) -> None:
        self.labelled: LabelledRows | None = labelled
        self.every = every

    def alpha_at(self, epoch: int, net: ContrastiveNet) -> float:
        if epoch % self.every == 0:
            assert self.labelled is not None
            return self.labelled.measure_alpha(net)
        return float(net.criterion_.alpha)

    def on_train_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        self.labelled = None  # a pickled net holds no data


def make_alpha_schedule(
    schedule: str,
    loss: nn.Module,
    measured_on: LabelledRows | None,
    *,
    every: int,
    early_stopping: bool,
) -> list[Callback]:
    """Return the callback that sets alpha, if the loss has one."""
    if schedule == "linear" and not isinstance(loss, BCLLoss):
        raise ValueError(
            f"'alpha_schedule' 'linear' needs loss='bcl' or a BCLLoss. Got {loss}; use "
            "'constant' with other losses."
        )
    if schedule == "linear" and measured_on is not None:
        raise ValueError(
            "'alpha_schedule' 'linear' needs an 'alpha' to end with, but alpha='auto' "
            "with use_labels=True is measured. Set 'alpha', or use 'constant'."
        )
    if not isinstance(loss, BCLLoss):
        return []
    if schedule == "constant" and measured_on is None:
        return [ConstantAlpha()]
    if early_stopping:
        raise ValueError(
            "An 'alpha' that changes ('alpha_schedule' 'linear', or alpha='auto' with "
            "use_labels=True) does not go with early_stopping=True: held-out losses at "
            "different alphas cannot be compared. Set 'alpha' and 'constant', or "
            "early_stopping=False."
        )
    if measured_on is not None:
        return [MeasuredAlpha(measured_on, every)]
    return [LinearAlpha(loss.alpha)]
