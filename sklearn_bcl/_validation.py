"""One check for scalar parameters, so that every error reads alike."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Literal

from sklearn.utils._param_validation import Interval

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
