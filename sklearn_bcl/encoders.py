"""Encoders for tables. Any other ``nn.Module`` from rows to vectors will do, too."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["MLPEncoder", "Standardize"]

MIN_PRODUCT_COLUMNS = 16


class Standardize(nn.Module):
    """Centre and scale features by constants of the training data.

    The constants are buffers: they travel with the weights and take no gradient.

    Parameters
    ----------
    n_features : int
        Number of features.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import Standardize
    >>> layer = Standardize(2)
    >>> layer.set_statistics(mean=[1.0, 1000.0], scale=[1.0, 500.0])
    >>> layer(torch.tensor([[0.0, 2000.0]]))
    tensor([[-1.,  2.]])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def set_statistics(self, mean: ArrayLike, scale: ArrayLike) -> None:
        """Set the constants, both of shape ``(n_features,)``; scales are positive."""
        self.mean.copy_(torch.as_tensor(mean))
        self.scale.copy_(torch.as_tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(x - mean) / scale``."""
        return (x - self.mean) / self.scale


class _RowwiseLinear(nn.Linear):
    """A linear layer in which a row's result does not depend on its place.

    Products of fewer than a dozen columns use kernels for which it does, in the last
    bits, so narrow layers are padded with columns that are then dropped.
    """

    def forward(self, x: Tensor) -> Tensor:
        missing = max(0, MIN_PRODUCT_COLUMNS - self.out_features)
        weight = F.pad(self.weight, (0, 0, 0, missing))
        return F.linear(x, weight, F.pad(self.bias, (0, missing)))[
            :, : self.out_features
        ]


class MLPEncoder(nn.Module):
    """Multilayer perceptron whose first layer standardises the features.

    Hidden layers end in a ReLU. The embedding ends in a leaky one, which learns as well
    and leaves no component dead, so that even two of them tell rows apart.

    Parameters
    ----------
    n_features : int
        Number of input features.
    n_components : int
        Size of the embedding.
    hidden_layer_sizes : sequence of int, default=(512,)
        Sizes of the hidden layers.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import MLPEncoder
    >>> MLPEncoder(8, 16, hidden_layer_sizes=(32, 32))(torch.zeros(5, 8)).shape
    torch.Size([5, 16])
    """

    def __init__(
        self,
        n_features: int,
        n_components: int,
        hidden_layer_sizes: Sequence[int] = (512,),
    ) -> None:
        super().__init__()
        self.standardize = Standardize(n_features)
        sizes = [n_features, *hidden_layer_sizes, n_components]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [_RowwiseLinear(size_in, size_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.LeakyReLU(0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n_rows, n_features)`` to ``(n_rows, n_components)``."""
        embedding: Tensor = self.layers(self.standardize(x))
        return embedding
