"""From the rows that a user passes to an array of numbers, or a clear error."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_array
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from sklearn_bcl._data.frames import (
    DATES_ERROR,
    MOST_EXACT,
    is_frame,
    is_rounded,
    is_sparse_frame,
)
from sklearn_bcl._data.sources import Stored, is_stored

PIL_MODES = {"1", "L", "RGB", "RGBA", "I", "F", "I;16"}  # whose values are pixels


def as_array(X: Any) -> Any:
    """Return rows as a NumPy array, a CSR matrix, a DataFrame or `Stored`.

    The values are neither changed nor checked.
    """
    if is_frame(X) or sparse.issparse(X) or type(X) is np.ndarray:
        return X
    if isinstance(X, Tensor):
        return _from_tensor(X)
    if isinstance(X, Stored) or is_stored(X):
        stored = X if isinstance(X, Stored) else Stored(X)
        return stored.all_rows() if stored.is_small else stored
    if is_sparse_frame(X) and all(map(_fills_with_zero, X.dtypes)):
        return X.sparse.to_coo().tocsr()
    _refuse(X)
    if isinstance(X, Sequence) and not hasattr(X, "__array__"):
        return _from_sequence(X)
    return np.asarray(X)


def _refuse(X: Any) -> None:
    """Raise ``TypeError`` for an object that is not an array of rows."""
    kind = type(X).__name__
    if X is None:
        raise TypeError("'X' is None. Give rows: an array, a DataFrame or a list.")
    if isinstance(X, str | bytes | os.PathLike):
        raise TypeError(
            f"'X' is {X!r}. Give the rows themselves: read the file first, for "
            "example with pandas.read_csv, numpy.load or PIL.Image.open."
        )
    if isinstance(X, IterableDataset | DataLoader):
        raise TypeError(
            f"'X' is a {kind}, whose rows cannot be read by their numbers. Give a "
            "map-style dataset, or call partial_fit for large blocks of its rows."
        )
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError(
            "'X' is a masked array, whose mask would be lost. Give X.filled("
            "numpy.nan): NaN is a missing value of a table."
        )
    is_image = hasattr(X, "getbands") and hasattr(X, "size")  # of PIL
    if is_image:
        raise TypeError("'X' is a single image. Give a list of images: [image].")
    if isinstance(X, Mapping):
        raise TypeError(
            f"'X' is a {kind}. Give a DataFrame, pandas.DataFrame(X), or an array."
        )
    if not hasattr(X, "__array__") and not isinstance(X, Sequence):
        if isinstance(X, Iterable):
            raise TypeError(f"'X' is a {kind}. Give an array, or list(X).")
        raise TypeError(f"'X' is a {kind}. Give an array, a DataFrame or a list.")


def _from_tensor(X: Tensor) -> NDArray[Any]:
    if X.layout != torch.strided:
        raise TypeError(
            f"'X' is a tensor of layout {X.layout}. Give X.to_dense(), or a sparse "
            "matrix of SciPy."
        )
    if X.is_quantized:
        raise TypeError("'X' is a quantized tensor. Give X.dequantize().")
    if X.device.type == "meta":
        raise TypeError("'X' is a tensor on the device 'meta', without values.")
    X = X.detach().as_subclass(Tensor).cpu().resolve_conj().resolve_neg()
    if X.dtype.is_floating_point and X.dtype not in (torch.float32, torch.float64):
        X = X.float()  # bfloat16, which NumPy lacks, and narrower ones
    array: NDArray[Any] = X.numpy()
    return array


def _from_sequence(X: Sequence[Any]) -> NDArray[Any]:
    """Return a list of rows, images or tensors as an array."""
    if len(X) and all(isinstance(row, str | bytes | os.PathLike) for row in X):
        raise TypeError(
            f"'X' is a list of paths or strings, such as {X[0]!r}. Read the files "
            "first: [PIL.Image.open(path) for path in X]. For one column of "
            "categories, give a DataFrame."
        )
    modes = {row.mode for row in X if hasattr(row, "getbands")}
    if modes - PIL_MODES or len(modes) > 1:
        raise ValueError(
            f"'X' has images of the modes {', '.join(sorted(modes))}. Give all of "
            "one mode whose values are pixels: image.convert('RGB'), or 'L' for gray."
        )
    if len(X) and all(isinstance(row, Tensor) for row in X):
        X = [_from_tensor(row) for row in X]
    missing = [i for i, row in enumerate(X) if row is None]
    if missing:
        raise ValueError(f"'X' has no row at {missing[0]}, but None. Leave it out.")
    shapes = {np.shape(row) for row in X if hasattr(row, "__array_interface__")}
    if len(shapes) > 1:
        first, second = sorted(shapes)[:2]
        raise ValueError(
            f"'X' has rows of different shapes, such as {first} and {second}. Give "
            "all of one shape: resize or crop images first, for example with "
            "PIL.ImageOps.fit(image, (32, 32)) and image.convert('RGB')."
        )
    try:
        return np.asarray(X)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            f"'X' has rows of different lengths. Give the same number of values in "
            f"each row, NaN where one is missing. {error}"
        ) from error


def check_numbers(
    X: Any, *, is_image: bool, min_rows: int, owner: str, dtype: Any = None
) -> Any:
    """Return rows that are valid numbers: finite, or NaN in a table.

    Numbers of an array keep their dtype, and Python objects become float64. For other
    rows, scikit-learn raises the error.
    """
    kind = getattr(X, "dtype", np.dtype(object)).kind
    if kind in "mM":
        raise ValueError(DATES_ERROR.format(label="'X'"))
    if kind == "f" and X.dtype.itemsize > 8 and isinstance(X, np.ndarray):
        with np.errstate(all="ignore"):
            X = X.astype(np.float64)
    if kind == "V":
        raise ValueError(
            "'X' is a structured array. Give a DataFrame, pandas.DataFrame(X)."
        )
    if isinstance(X, np.ndarray) and X.ndim > 1 and len(X) >= min_rows and X.size:
        if kind == "O":
            X = _of_objects(X)
            kind = X.dtype.kind
        if kind in "iub" or (kind == "f" and _is_valid(X, allow_nan=not is_image)):
            return X
    checks: dict[str, Any] = {"ensure_min_samples": min_rows, "dtype": None}
    if is_image:
        checks |= {"allow_nd": True}
    else:
        checks |= {"accept_sparse": "csr", "ensure_all_finite": "allow-nan"}
    if kind in "OUS":
        checks["dtype"] = np.float64
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return check_array(X, estimator=owner, input_name="X", **checks)
    except ValueError as error:
        if "could not convert" not in str(error):
            raise
        raise ValueError(
            f"{error}. Arrays hold numbers. For columns of categories, give a "
            "DataFrame, or their indices in 'categorical_features'."
        ) from error
    except TypeError as error:
        if "NAType" not in str(error):
            raise
        raise TypeError(
            f"{error}. Give the DataFrame itself, or NaN in place of NA."
        ) from error


def _fills_with_zero(dtype: Any) -> bool:
    """Return whether what a sparse column of pandas does not store is 0."""
    return dtype.subtype.kind in "biuf" and bool(dtype.fill_value == 0)


def _of_objects(X: NDArray[Any]) -> NDArray[Any]:
    """Return an array of Python objects as numbers, where they are some.

    They are float64, or int64 if that would lose digits.
    """
    try:
        numbers: NDArray[Any] = X.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        return X
    places = np.argwhere(np.abs(numbers) >= MOST_EXACT)
    lost = [X[*place] for place in places if is_rounded(X[*place])]
    if not lost:
        return numbers
    with suppress(TypeError, ValueError, OverflowError):
        integers = X.astype(np.int64)
        if (integers == X).all():
            return integers
    raise ValueError(
        f"'X' holds integers that are too large for exact numbers beside what else it "
        f"holds, such as {lost[0]!r}. Give a DataFrame, or subtract a constant."
    )


def _is_valid(X: NDArray[Any], *, allow_nan: bool) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(X.sum(dtype=np.float64)):  # in most arrays
            return True
    return bool(not np.isinf(X).any() if allow_nan else np.isfinite(X).all())
