"""The format of a row: determined in fit, and required of all later rows."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from sklearn_bcl._data.arrays import as_array, check_numbers
from sklearn_bcl._data.columns import Columns, choose_columns, name_some
from sklearn_bcl._data.frames import is_frame, names_of
from sklearn_bcl._data.images import ImageLayout, pixels_of_lists
from sklearn_bcl._data.sources import Stored
from sklearn_bcl._sklearn_compat import check_feature_names


@dataclass(frozen=True)
class RowFormat:
    """The format of the rows of a fit: their shape, their names, and how to read them.

    Parameters
    ----------
    row_shape : tuple of int
        Shape of one row of `X`.
    layout : ImageLayout or None
        How rows become images. None for rows of a table.
    columns : Columns or None
        Description of the columns of a table. None for images.
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
        """Return the format of some rows, and the rows as :meth:`read` returns them.

        `fills_gaps` says whether the encoder accepts NaN.
        """
        given, is_list, X = X, _is_nested_list(X), as_array(X)
        if isinstance(X, Stored):
            asked = image_shape, channel_order, categorical_features
            return cls._of_stored(X, *asked, fills_gaps, min_rows, owner)
        names, columns, layout = names_of(given), None, None
        if image_shape is None and len(X.shape) <= 2:
            are_named = not isinstance(categorical_features, str | None)
            columns, X = Columns.of(
                _read_table(X, are_named, min_rows, owner), categorical_features, names
            )
        else:
            X = _read_images(X, is_list, min_rows, owner)
            layout = ImageLayout.of(X, image_shape, channel_order)
            layout.check_first()
            X = layout.read(X)
        is_named = names is not None and len(X.shape) == 2
        row_format = cls(
            X.shape[1:],
            layout,
            columns,
            tuple(names) if is_named else None,
            fills_gaps or (columns is not None and not columns.is_plain),
            owner,
        )
        return row_format, X

    @classmethod
    def _of_stored(
        cls,
        X: Stored,
        image_shape: Sequence[int] | None,
        channel_order: str,
        categorical_features: Any,
        fills_gaps: bool,
        min_rows: int,
        owner: str,
    ) -> tuple[RowFormat, Stored]:
        """Return the format of rows in a store, which are read once for it."""
        columns, layout = None, None
        is_image = image_shape is not None or len(X.shape) > 2
        blocks = (
            check_numbers(block, is_image=is_image, min_rows=1, owner=owner)
            for block in X.blocks()
        )
        _check_size(X, min_rows, owner)
        if is_image:
            largest = 0.0
            for block in blocks:
                layout = ImageLayout.of(block, image_shape, channel_order)
                largest = max(largest, layout.largest)
            assert layout is not None
            layout = replace(layout, largest=largest)
            layout.check_first()
        else:
            columns = Columns.of_stored(X, categorical_features, blocks)
            fills_gaps = fills_gaps or not columns.is_plain
        row_format = cls(X.shape[1:], layout, columns, None, fills_gaps, owner)
        return row_format, X

    def convert(self, X: Any) -> Any:
        """Return rows of a store as :meth:`read` does, without its checks."""
        if self.columns is not None:
            return self.columns.read(X)
        assert self.layout is not None
        return X if self.layout.are_bytes else X.astype(np.float32, copy=False)

    def read(self, X: Any, *, min_rows: int = 1) -> Any:
        """Return rows of this format as an array: float32, or uint8 for images.

        Categories are codes, and missing values NaN. Sparse rows become a CSR matrix.
        Rows of another shape, or with other names, are an error.
        """
        if (array := self._plain_rows(X, min_rows)) is not None:
            return array
        if len(self.row_shape) == 1:
            self._check_names(X)
        is_list, X = _is_nested_list(X), as_array(X)
        if isinstance(X, Stored):
            _check_size(X, min_rows, self.owner)
            for block in X.blocks():
                self.read(block)
            return X
        columns, layout = self.columns, self.layout
        if columns is None or len(X.shape) > 2:
            X = _read_images(X, is_list, min_rows, self.owner)
        else:
            has_categories = bool(columns.categorical)
            X = _read_table(X, has_categories, min_rows, self.owner)
        self._check_shape(X.shape)
        if columns is None:
            assert layout is not None
            return layout.read(X)
        return self._check_gaps(columns.read(X), columns)

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
            or self.columns.units.columns
        ):
            return None
        with np.errstate(over="ignore"):
            array = X.astype(np.float32, order="C", copy=False)
        return array if np.isfinite(array).all() else None

    def _check_names(self, X: Any) -> None:
        names, given = self.feature_names, names_of(X)
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

    def _check_shape(self, shape_of_rows: tuple[int, ...]) -> None:
        shape = shape_of_rows[1:]
        if shape == self.row_shape:
            return
        if len(shape) == len(self.row_shape) == 1:
            raise ValueError(
                f"X has {shape[0]} features, but {self.owner} is expecting "
                f"{self.n_features} features as input."
            )
        hint = ""
        if shape_of_rows == self.row_shape:
            hint = " If it is a single image, give X[None]."
        raise ValueError(
            f"X has rows of shape {shape}, but {self.owner} was fitted on rows of "
            f"shape {self.row_shape}.{hint}"
        )

    def _check_gaps(self, X: Any, columns: Columns) -> Any:
        """Warn or raise if values are missing in columns that were complete in fit.

        Return the rows, with these values filled as far as needed.
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
        """Raise if the parameter now selects other columns than in fit."""
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
        """Raise if the parameters now give other images than in fit."""
        layout = None
        if image_shape is not None or len(X.shape) > 2:
            layout = ImageLayout.of(X, image_shape, channel_order)
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
        """Shape of a row for the encoder: ``(n_features,)`` or ``(c, h, w)``."""
        if self.layout is not None:
            return self.layout.channels_first_shape
        if self.columns is not None and not self.columns.is_plain:
            return (self.columns.n_encoded,)
        return self.row_shape

    def decode(self, batch: Tensor) -> Tensor:
        """Return a batch as float32 rows or images, for the augmentation."""
        return batch.to(torch.float32) if self.layout is None else self.layout(batch)


def _is_nested_list(X: Any) -> bool:
    """Return whether X is a list of lists, whose integers have no dtype."""
    return isinstance(X, list | tuple) and len(X) > 0 and isinstance(X[0], list | tuple)


def _read_table(X: Any, are_categories: bool, min_rows: int, owner: str) -> Any:
    """Return a DataFrame, or an array or CSR matrix of valid numbers or categories."""
    if _has_columns(X, are_categories):
        _check_size(X, min_rows, owner)
        return _as_table(X)
    return check_numbers(X, is_image=False, min_rows=min_rows, owner=owner)


def _read_images(X: Any, is_list: bool, min_rows: int, owner: str) -> Any:
    """Return images as an array of valid numbers of any dtype."""
    if is_frame(X):
        X = X.to_numpy()
    X = check_numbers(X, is_image=True, min_rows=min_rows, owner=owner)
    return pixels_of_lists(X) if is_list else X


def _has_columns(X: Any, are_categories: bool) -> bool:
    """Return whether columns are read one by one.

    This holds for a DataFrame, and for a dense array with columns of categories.
    """
    if is_frame(X):
        return True
    return bool(are_categories and len(X.shape) == 2 and not sparse.issparse(X))


def _as_table(X: Any) -> Any:
    """Return a DataFrame as it is, and an array of numbers or of Python objects."""
    if is_frame(X) or X.dtype.kind in "fiub":
        return X
    return np.asarray(X, dtype=object)


def _check_size(X: Any, min_rows: int, owner: str) -> None:
    """Raise, as scikit-learn does, if a table has too few rows or columns."""
    n_rows, n_columns = X.shape[:2]
    if n_rows < min_rows:
        raise ValueError(
            f"Found array with {n_rows} sample(s) (shape={X.shape}) while a minimum of "
            f"{min_rows} is required by {owner}."
        )
    if n_columns < 1:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={X.shape}) while a minimum of 1 is "
            f"required by {owner}."
        )
