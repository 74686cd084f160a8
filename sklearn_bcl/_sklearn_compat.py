"""The only module that imports private names of scikit-learn."""

from __future__ import annotations

from typing import Any

from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_feature_names, _get_feature_names

__all__ = [
    "Interval",
    "StrOptions",
    "check_feature_names",
    "fit_context",
    "get_feature_names",
    "is_missing",
    "safe_indexing",
]

get_feature_names = _get_feature_names


def check_feature_names(X: Any, names: Any, owner: str) -> None:
    """Compare the feature names of `X` with the names from the fit of `owner`."""
    # scikit-learn reads the names from an estimator, and its class for messages.
    fitted = type(owner, (), {})()
    if names is not None:
        fitted.feature_names_in_ = names
    _check_feature_names(fitted, X, reset=False)


def is_missing(value: Any) -> bool:
    """Return whether a value is None, NaN or pandas' NA."""
    return value is None or is_scalar_nan(value) or is_pandas_na(value)
