"""The layers that read features: scaling, and products of dense and sparse rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._sparse import SparseBatch

MIN_PRODUCT_COLUMNS = 16
CLIP = 3.0  # a scaled feature's largest value
FAR = 1e6  # where a scaled feature is as good as clipped


class RobustScale(nn.Module):
    """Center and scale features by constants of the training data, then clip smoothly.

    A feature ``z = (x - center) / scale`` becomes ``z / sqrt(1 + (z / 3)^2)``. Small
    values stay almost unchanged and large values stay below 3, so outliers and heavy
    tails do no harm. The constants are buffers: they are saved with the weights and
    have no gradient. A missing value, NaN, becomes 0, like the center.

    Parameters
    ----------
    n_features : int
        Number of features.
    allow_nan : bool, default=False
        Whether values may be missing in training. If not, NaN stays NaN in training
        mode, so that a faulty augmentation is found.

    References
    ----------
    Holzmüller, Grinsztajn, Steinwart (2024). Better by Default: Strong Pre-Tuned MLPs
    and Boosted Trees on Tabular Data. arXiv:2407.04491.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import RobustScale
    >>> layer = RobustScale(2)
    >>> layer.set_statistics(center=[1.0, 1000.0], scale=[1.0, 500.0])
    >>> layer(torch.tensor([[1.3, 1e9]]))
    tensor([[0.2985, 3.0000]])
    """

    center: Tensor
    scale: Tensor

    def __init__(self, n_features: int, allow_nan: bool = False) -> None:
        super().__init__()
        self.allow_nan = allow_nan
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def set_statistics(self, center: ArrayLike, scale: ArrayLike) -> None:
        """Set the constants.

        Parameters
        ----------
        center : array-like of shape (n_features,)
            Centers of the features.
        scale : array-like of shape (n_features,)
            Scales of the features, positive.
        """
        limits = torch.finfo(self.scale.dtype)
        self.center.copy_(torch.as_tensor(center))
        self.scale.copy_(torch.as_tensor(scale).clamp(limits.tiny, limits.max))

    def forward(self, x: Any) -> Any:
        """Return the scaled features, in the shape of `x`, between -3 and 3."""
        if not isinstance(x, SparseBatch):
            return self._clipped((x - self.center) / self.scale)
        # What zeros become is the same in all rows.
        background = self._clipped(-self.center / self.scale)
        columns = x.columns
        z = self._clipped((x.values - self.center[columns]) / self.scale[columns])
        return dataclasses.replace(
            x, values=z - background[columns], background=background
        )

    def _clipped(self, z: Tensor) -> Tensor:
        if self.allow_nan or not self.training:
            z = z.nan_to_num(nan=0.0)
        z = z.clamp(-FAR, FAR)  # where a square is still finite
        return z / torch.sqrt(1 + (z / CLIP) ** 2)


class RowwiseLinear(nn.Linear):
    """A linear layer in which the result of a row does not depend on its place.

    In products of fewer than a dozen columns, the kernels of torch round differently by
    place. So narrow layers are padded with columns that are then dropped.
    """

    def forward(self, x: Any) -> Tensor:
        if isinstance(x, SparseBatch):
            return x.product(self.weight) + self.bias
        missing = MIN_PRODUCT_COLUMNS - self.out_features
        if missing <= 0:  # a padding of nothing would copy the weights
            return F.linear(x, self.weight, self.bias)
        weight = F.pad(self.weight, (0, 0, 0, missing))
        return F.linear(x, weight, F.pad(self.bias, (0, missing)))[
            :, : self.out_features
        ]

    def store(self, *, by_columns: bool) -> None:
        """Store weights by column, which is fast for sparse rows, or by row."""
        weight = self._parameters.get("weight")
        if weight is not None:  # it may be reparameterized
            weight.data = weight.data.contiguous()
            if by_columns:
                weight.data = weight.data.T.contiguous().T
