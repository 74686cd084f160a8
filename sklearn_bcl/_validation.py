"""One check for scalar parameters, and one rule for rows without a label."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklearn_bcl._sklearn_compat import Interval

Closed = Literal["left", "right", "both", "neither"]


def check_interval(
    name: str,
    value: Any,
    low: float | None,
    high: float | None,
    *,
    closed: Closed = "both",
    integral: bool = False,
) -> None:
    """Raise ``ValueError`` unless ``value`` is a number in the interval.

    ``None`` as a bound means unbounded. NaN is in no interval.
    """
    interval = Interval(Integral if integral else Real, low, high, closed=closed)
    if not interval.is_satisfied_by(value):
        raise ValueError(f"{name!r} must be {interval}. Got {value!r} instead.")


def is_labeled(y: ArrayLike) -> NDArray[np.bool_]:
    """Return which labels are not -1, as a number or in an array of strings."""
    labels = np.asarray(y)
    return np.asarray((labels != -1) & (labels.astype(str) != "-1"))
