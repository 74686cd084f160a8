"""What a row is: decided once in fit, asked again of all rows that come later."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.validation import check_array
from torch import Tensor

from sklearn_bcl._data.columns import Columns, choose_columns, name_some
from sklearn_bcl._data.frames import is_frame, names_of
from sklearn_bcl._sklearn_compat import check_feature_names

IMAGE_DTYPES = (np.float32, np.uint8)  # kept; others become float32
CHANNEL_COUNTS = (1, 3, 4)  # gray, RGB, RGBA: told from heights and widths


@dataclass(frozen=True)
class ImageLayout:
    """The shape of one image as it is stored, and where its channels are.

    Parameters
    ----------
    shape : tuple of int
        ``(h, w)``, ``(c, h, w)`` or ``(h, w, c)``.
    channels_last : bool
        Whether a shape of three means ``(h, w, c)``.
    divisor : int, default=1
        What pixels are divided by: 255 if the encoder was fitted on uint8.
    """

    shape: tuple[int, ...]
    channels_last: bool
    divisor: int = 1

    @classmethod
    def infer(
        cls, shape: Sequence[int], channel_order: str, divisor: int = 1
    ) -> ImageLayout:
        """Return the layout of images of a shape, or raise ``ValueError``."""
        shape = tuple(shape)
        if len(shape) not in (2, 3) or not all(
            isinstance(size, Integral) and size > 0 for size in shape
        ):
            raise ValueError(
                "An image must have the shape (h, w), (c, h, w) or (h, w, c). Got "
                f"{shape}."
            )
        if len(shape) == 2 or channel_order != "auto":
            return cls(shape, channel_order == "last", divisor)
        first, last = shape[0] in CHANNEL_COUNTS, shape[-1] in CHANNEL_COUNTS
        if first == last:
            raise ValueError(
                f"It is not clear which axis of images of shape {shape} is that of the "
                "channels. Set 'channel_order' to 'first' or 'last'."
            )
        return cls(shape, last, divisor)

    @property
    def channels_first_shape(self) -> tuple[int, int, int]:
        """Shape of an image as encoders see it, ``(c, h, w)``."""
        first, *others = (1, *self.shape) if len(self.shape) == 2 else self.shape
        if len(self.shape) == 3 and self.channels_last:
            return others[1], first, others[0]
        return first, others[0], others[1]

    def __call__(self, batch: Tensor) -> Tensor:
        """Return float32 images of shape (n, c, h, w)."""
        images = batch.reshape(-1, *self.shape)
        if len(self.shape) == 2:
            images = images.unsqueeze(1)
        elif self.channels_last:
            images = images.movedim(-1, 1)
        images = images.to(torch.float32)
        return images if self.divisor == 1 else images / self.divisor


@dataclass(frozen=True)
class RowFormat:
    """What the rows of a fit are: their shape, their names, and how they are read.

    Parameters
    ----------
    row_shape : tuple of int
        Shape of one row as it is given.
    layout : ImageLayout or None
        How rows become images; None if they are rows of a table.
    columns : Columns or None
        What the columns of a table are; None if rows are images.
    feature_names : tuple of str or None
        Names of the columns, if all are strings.
    fills_gaps : bool
        Whether values may be missing in columns that were complete in fit.
    owner : str
        Class of the estimator, for messages.
    """

    row_shape: tuple[int, ...]
    layout: ImageLayout | None = None
    columns: Columns | None = None
    feature_names: tuple[str, ...] | None = None
    fills_gaps: bool = False
    owner: str = "BCLEmbedder"

    @classmethod
    def of(
        cls,
        X: Any,
        *,
        image_shape: Sequence[int] | None = None,
        channel_order: str = "auto",
        categorical_features: Any = "from_dtype",
        fills_gaps: bool = False,
        min_rows: int = 1,
        owner: str = "BCLEmbedder",
    ) -> tuple[RowFormat, Any]:
        """Return the format of some rows, and the rows as an array.

        The array is as that of :meth:`read`. `fills_gaps` says whether the encoder
        takes NaN.
        """
        names, columns = names_of(X), None
        arguments = {"categorical_features": categorical_features, "names": names}
        are_named = not isinstance(categorical_features, str | None)
        if image_shape is None and _has_columns(X, are_named):
            columns, X = Columns.of(_as_table(X), **arguments)
            X = _as_array(X, False, min_rows, owner)
        else:
            X = _as_array(X, image_shape is not None, min_rows, owner)
            if image_shape is None and X.ndim == 2:
                columns, X = Columns.of(X, **arguments)
        layout = _find_layout(X, image_shape, channel_order)
        is_named = names is not None and X.ndim == 2
        row_format = cls(
            X.shape[1:],
            layout,
            columns,
            tuple(names) if is_named else None,
            fills_gaps or (columns is not None and not columns.is_plain),
            owner,
        )
        return row_format, X

    def read(self, X: Any, *, min_rows: int = 1) -> Any:
        """Return rows of this format as an array: float32, or uint8 for images.

        Categories are codes, and missing values NaN. Sparse rows become a CSR matrix.
        Rows of another shape, or with other names, are an error.
        """
        if (array := self._plain_rows(X, min_rows)) is not None:
            return array
        if len(self.row_shape) == 1:
            self._check_names(X)
        columns = self.columns
        if columns is not None and _has_columns(X, bool(columns.categorical)):
            X = _as_table(X)
            self._check_shape(X.shape[1:])
            X = columns.read(X)
        X = _as_array(X, self.layout is not None, min_rows, self.owner)
        self._check_shape(X.shape[1:])
        return X if columns is None else self._check_gaps(X, columns)

    def _plain_rows(self, X: Any, min_rows: int) -> Any:
        """Return an array of complete rows as :meth:`read` does; None for all else.

        For one row, the checks take longer than the encoder.
        """
        if (
            self.columns is None
            or not self.columns.is_plain
            or self.feature_names is not None
            or type(X) is not np.ndarray
            or X.dtype not in (np.float32, np.float64)
            or X.shape[1:] != self.row_shape
            or len(X) < min_rows
        ):
            return None
        with np.errstate(over="ignore"):
            array = X.astype(np.float32, order="C", copy=False)
        return array if np.isfinite(array).all() else None

    def _check_names(self, X: Any) -> None:
        names, given = self.feature_names, names_of(X) if is_frame(X) else None
        try:
            check_feature_names(X, names and np.array(names, dtype=object), self.owner)
        except ValueError as error:
            assert names is not None and given is not None
            if sorted(given) != sorted(names):
                raise
            now, before = next(
                (a, b) for a, b in zip(given, names, strict=True) if a != b
            )
            raise ValueError(
                f"{error}Column {now!r} is where column {before!r} was. Order them: "
                "X[embedder.feature_names_in_]."
            ) from error

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if shape != self.row_shape and len(shape) == len(self.row_shape) == 1:
            raise ValueError(
                f"X has {shape[0]} features, but {self.owner} is expecting "
                f"{self.n_features} features as input."
            )
        if shape != self.row_shape:
            raise ValueError(
                f"X has rows of shape {shape}, but {self.owner} was fitted on rows of "
                f"shape {self.row_shape}."
            )

    def _check_gaps(self, X: Any, columns: Columns) -> Any:
        """Return rows in which values may be missing where none were in fit.

        Say so, or refuse them.
        """
        late = columns.new_values(X)
        if late:
            warnings.warn(
                f"{name_some(columns.labels(late))}: all values were missing in fit. "
                "They are still ignored.",
                UserWarning,
                stacklevel=2,
            )
        new_gaps = columns.new_gaps(X)
        if not new_gaps:
            return X
        message = (
            f"{name_some(columns.labels(new_gaps))}: values are missing, but none were "
            "in fit. "
        )
        if not self.fills_gaps:
            raise ValueError(
                f"{message}Fill them, fit on rows with missing values, or use "
                "encoder='mlp': your own 'encoder' gets these rows as they are."
            )
        warnings.warn(
            f"{message}They count as the median of the column, or as an unknown "
            "category.",
            UserWarning,
            stacklevel=2,
        )
        return columns.close_gaps(X, new_gaps)

    def check_columns(self, categorical_features: Any) -> None:
        """Raise if the parameter now asks for other categories than these rows have."""
        if self.columns is None:
            return
        columns = self.columns
        chosen = choose_columns(categorical_features, columns.n_columns, columns.names)
        if chosen is None:
            has_changed = not columns.by_dtype
        else:
            changed = np.flatnonzero(chosen != columns.is_categorical)
            has_changed = not set(changed.tolist()) <= set(columns.empty)
        if has_changed:
            raise ValueError(
                f"'categorical_features' {categorical_features!r} are other columns "
                "than those of the last fit, which a warm start and partial_fit go on "
                "with. Set it back, or use fit with warm_start=False."
            )

    def check_layout(
        self, X: Any, image_shape: Sequence[int] | None, channel_order: str
    ) -> None:
        """Raise if the parameters now ask for other images than these rows make."""
        layout = _find_layout(X, image_shape, channel_order)
        now, before = (
            part and (part.shape, part.channels_last) for part in (layout, self.layout)
        )
        if now != before:
            raise ValueError(
                f"'image_shape' {image_shape!r} and 'channel_order' {channel_order!r} "
                "make other images than those of the last fit, which a warm start and "
                "partial_fit go on with. Set them back, or use fit with "
                "warm_start=False."
            )

    @property
    def n_features(self) -> int:
        """Number of values of a row."""
        return math.prod(self.row_shape)

    @property
    def encoder_shape(self) -> tuple[int, ...]:
        """Shape of a row as encoders see it: ``(n_features,)`` or ``(c, h, w)``."""
        if self.layout is not None:
            return self.layout.channels_first_shape
        if self.columns is not None and not self.columns.is_plain:
            return (self.columns.n_encoded,)
        return self.row_shape

    def decode(self, batch: Tensor) -> Tensor:
        """Return a batch as views see it: float32 rows, or images."""
        return batch.to(torch.float32) if self.layout is None else self.layout(batch)


def _has_columns(X: Any, are_categories: bool) -> bool:
    """Return whether columns are to be read one by one.

    Those of a DataFrame are, and those of a dense array if some are categories.
    """
    if is_frame(X):
        return True
    n_dimensions: int = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
    return are_categories and n_dimensions == 2 and not sparse.issparse(X)


def _as_table(X: Any) -> Any:
    """Return a DataFrame as it is, and an array of numbers or of Python objects."""
    if is_frame(X):
        return X
    array = _from_tensor(X) if isinstance(X, Tensor) else np.asarray(X)
    return array if array.dtype.kind in "fiub" else np.asarray(X, dtype=object)


def _from_tensor(X: Tensor) -> NDArray[Any]:
    X = X.detach().cpu()
    array: NDArray[Any] = (X.float() if X.dtype == torch.bfloat16 else X).numpy()
    return array


def _as_array(X: Any, flat_images: bool, min_rows: int, owner: str) -> Any:
    """Return valid rows: float32, NaN included, or images that stay uint8."""
    if isinstance(X, Tensor):
        X = _from_tensor(X)
    n_dimensions = X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim
    checks: dict[str, Any] = {"order": "C", "ensure_min_samples": min_rows}
    if n_dimensions > 2:
        checks |= {"dtype": IMAGE_DTYPES, "allow_nd": True}
    elif flat_images:
        checks |= {"dtype": IMAGE_DTYPES}
    else:
        checks |= {"dtype": np.float32, "accept_sparse": "csr"}
        checks |= {"ensure_all_finite": "allow-nan"}
    # What float32 cannot hold is an error below.
    with np.errstate(over="ignore", invalid="ignore"):
        try:
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


def _find_layout(
    X: Any, image_shape: Sequence[int] | None, channel_order: str
) -> ImageLayout | None:
    """Return how rows become images; None if they are rows of a table."""
    row_shape = X.shape[1:]
    if image_shape is None and len(row_shape) == 1:
        return None
    layout = ImageLayout.infer(
        row_shape if image_shape is None else image_shape,
        channel_order,
        divisor=255 if X.dtype == np.uint8 else 1,
    )
    fits = math.prod(layout.shape) == math.prod(row_shape)
    if not fits or (len(row_shape) > 1 and layout.shape != row_shape):
        raise ValueError(
            f"'image_shape' {image_shape!r} does not fit rows of shape {row_shape}: "
            "it must have as many values as flat rows, and be the shape of images."
        )
    return layout
