"""Random views of tables, a batch at a time on the batch's device.

An augmentation is any picklable callable ``f(x, generator) -> x'``: ``x`` is a float
tensor of shape ``(n_rows, n_features)`` in the units of the data, ``generator`` a
:class:`torch.Generator` on the device of ``x``, and the result a new tensor of the
same shape. Those here take a feature's distribution from the batch itself, whose
rows are a random draw of the training rows, so they keep no state and no data.
"""

from __future__ import annotations

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor

from sklearn_bcl._validation import check_interval

__all__ = ["FeatureCorruption", "FeatureMasking", "GaussianNoise"]


def _random_mask(x: Tensor, rate: float, generator: Generator) -> Tensor:
    return torch.rand(x.shape, generator=generator, device=x.device) < rate


class FeatureCorruption(BaseEstimator):
    """Redraw random features from their empirical marginals (SCARF).

    Each value of each row is replaced, with probability `rate`, by the value that
    the same feature has in another, randomly drawn row of the batch. Values stay
    realistic for every kind of feature: integer codes, one-hot columns, heavy tails.

    Parameters
    ----------
    rate : float in [0, 1], default=0.3
        Probability that a value is redrawn.

    References
    ----------
    Bahri et al. (2022). SCARF: Self-Supervised Contrastive Learning using Random
    Feature Corruption. arXiv:2106.15147.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.augmentations import FeatureCorruption
    >>> x = torch.arange(12.0).reshape(4, 3)
    >>> FeatureCorruption(rate=0.5)(x, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3])
    """

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return a corrupted copy of ``x``, shape ``(n_rows, n_features)``."""
        check_interval("rate", self.rate, 0, 1)
        donors = torch.randint(len(x), x.shape, generator=generator, device=x.device)
        return torch.where(
            _random_mask(x, self.rate, generator), x.gather(0, donors), x
        )


class FeatureMasking(BaseEstimator):
    """Replace random features by their mean over the batch.

    Parameters
    ----------
    rate : float in [0, 1], default=0.3
        Probability that a value is replaced.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.augmentations import FeatureMasking
    >>> x = torch.tensor([[0.0, 10.0], [2.0, 30.0]])
    >>> FeatureMasking(rate=1.0)(x, torch.Generator().manual_seed(0))
    tensor([[ 1., 20.],
            [ 1., 20.]])
    """

    def __init__(self, rate: float = 0.3) -> None:
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return a masked copy of ``x``, shape ``(n_rows, n_features)``."""
        check_interval("rate", self.rate, 0, 1)
        return torch.where(_random_mask(x, self.rate, generator), x.mean(dim=0), x)


class GaussianNoise(BaseEstimator):
    """Add Gaussian noise in proportion to each feature's spread in the batch.

    Parameters
    ----------
    scale : float >= 0, default=0.3
        Standard deviation of the noise, in standard deviations of the feature.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.augmentations import GaussianNoise
    >>> x = torch.tensor([[0.0, 5.0], [1000.0, 5.0]])  # the second is constant
    >>> GaussianNoise(scale=0.1)(x, torch.Generator().manual_seed(0))[:, 1]
    tensor([5., 5.])
    """

    def __init__(self, scale: float = 0.3) -> None:
        self.scale = scale

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return a noisy copy of ``x``, shape ``(n_rows, n_features)``."""
        check_interval("scale", self.scale, 0, None, closed="left")
        noise = torch.randn(
            x.shape, generator=generator, device=x.device, dtype=x.dtype
        )
        return x + self.scale * x.std(dim=0, correction=0) * noise
