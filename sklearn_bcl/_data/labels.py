"""Labels that a parameter asks for: read once, -1 where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklearn_bcl._sklearn_compat import is_missing
from sklearn_bcl._validation import is_labeled

MOST_LABEL = 2**53  # beyond, floats are no longer exact whole numbers


def read_labels(X: Any, y: ArrayLike | None, *, asked_by: str) -> NDArray[Any]:
    """Return one label for each row, as numbers.

    Integers stay as they are, floats are float32 unless all are whole numbers, and all
    other labels become codes in the order of the labels. -1 means that there is no
    label. `asked_by` says which parameter needs labels.
    """
    if y is None:
        raise ValueError(
            f"{asked_by} needs labels: give y, with -1 for rows without a label."
        )
    labels = column_or_1d(y)
    check_consistent_length(X, labels)
    if labels.dtype.kind in "fO" and any(map(is_missing, labels)):
        raise ValueError(
            f"'y' has missing values. {asked_by} needs labels, with -1 for rows "
            "without a label."
        )
    if labels.dtype.kind in "iu":
        return labels.astype(np.int64)
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)
        if not (np.abs(labels) <= MOST_LABEL).all():
            raise ValueError(
                f"'y' must lie between -{MOST_LABEL:g} and {MOST_LABEL:g}. Got "
                f"{labels[np.abs(labels).argmax()]!r}."
            )
        is_whole = bool((labels == np.rint(labels)).all())
        return labels.astype(np.int64 if is_whole else np.float32)
    known = is_labeled(labels)
    codes = np.full(len(labels), -1, dtype=np.int64)
    codes[known] = np.unique(labels[known], return_inverse=True)[1]
    return codes


def class_prior(labels: NDArray[Any], *, asked_by: str) -> float:
    """Return the probability that two random labeled rows are of the same class."""
    if labels.dtype.kind == "f":
        check_classification_targets(labels)
    classes, counts = np.unique(labels[labels != -1], return_counts=True)
    if len(classes) < 2 or counts.max() < 2:
        raise ValueError(
            f"{asked_by} needs labels of two classes at least, and two rows of one of "
            f"them. Got {len(classes)} classes in {counts.sum()} labeled training "
            "rows; -1 means that there is no label."
        )
    return float(np.square(counts / counts.sum()).sum())
