"""Labels that a parameter asks for, with -1 for no label."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from sklearn_bcl._sklearn_compat import is_missing
from sklearn_bcl._validation import is_labeled


def read_labels(
    X: Any, y: ArrayLike | None, *, asked_by: str, fixed_codes: bool = False
) -> NDArray[Any]:
    """Return one label for each row, as numbers.

    Integers are unchanged, floats become float32, and other labels become codes in
    sorted order. -1 means no label. `asked_by` names the parameter that needs labels.
    With `fixed_codes`, labels that are not numbers are an error, as other calls might
    give them other codes.
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
    if labels.dtype.kind == "O":
        labels = np.asarray(labels.tolist())  # nullable numbers are numbers
    if labels.dtype.kind in "iuf":
        is_float = labels.dtype.kind == "f"
        most = np.finfo(np.float32).max if is_float else np.iinfo(np.int64).max
        outside = ~((labels >= -most) & (labels <= most))
        if outside.any():
            raise ValueError(
                f"'y' must fit into {'float32' if is_float else 'int64'}. Got "
                f"{labels[outside][0]!r}."
            )
        return labels.astype(np.float32 if is_float else np.int64)
    if fixed_codes:
        raise ValueError(
            f"{asked_by} needs labels that are numbers in partial_fit and with "
            "warm_start=True, as codes of others change from call to call. Got "
            f"{labels[0]!r}: encode them, as with sklearn.preprocessing.LabelEncoder."
        )
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
