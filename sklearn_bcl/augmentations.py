"""Random views of tables and images, a batch at a time on the batch's device.

An augmentation is any picklable callable ``f(x, generator) -> x'``:

- ``x`` is a float tensor of shape ``(n_rows, n_features)`` in the units of the data, or
  of images of shape ``(n, channels, height, width)``. A category is its code, a whole
  number from 0 on, and NaN is a missing value.
- ``generator`` is a :class:`torch.Generator` on the device of ``x``.
- The result is a new tensor of the same shape.

A callable that also has an argument ``categorical`` is told which columns hold
categories, by a boolean tensor of shape ``(n_features,)``, or None if none does. Codes
must stay valid codes. NaN in a view is a missing value.

Those here take a feature's distribution and the range of pixels from the batch itself,
whose rows are a random draw of the training rows, so they keep no state and no data.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._random import drawing_from
from sklearn_bcl._sparse import SparseBatch
from sklearn_bcl._validation import check_interval

__all__ = [
    "FeatureCorruption",
    "FeatureMasking",
    "GaussianNoise",
    "ImageAugmentation",
]


def identity_view(x: Any, generator: Generator) -> Any:
    """Return the rows as they are: the view that None stands for in a pair."""
    return x


def _random_mask(x: Tensor, rate: float, generator: Generator) -> Tensor:
    draws = torch.rand(
        x.shape, generator=generator, device=x.device, dtype=torch.float32
    )
    return draws < rate


def _without_gaps(statistic: Tensor, of_present: Tensor) -> Tensor:
    """Return a statistic of each column; where values are missing, that of the others.

    Both are the same where none is missing, but for rounding.
    """
    return torch.where(statistic.isnan(), of_present, statistic)


class OfColumns(nn.Module):
    """An augmentation that is told which columns hold categories.

    Parameters
    ----------
    augmentation : callable
        ``f(x, generator, categorical) -> x'``.
    categorical : Tensor of bool, shape (n_features,), or None
    """

    categorical: Tensor | None

    def __init__(self, augmentation: Any, categorical: Tensor | None) -> None:
        super().__init__()
        self.augmentation = augmentation
        self.register_buffer("categorical", categorical)

    @staticmethod
    def applies_to(augmentation: Any) -> bool:
        """Return whether an augmentation has an argument ``categorical`` to give."""
        if isinstance(augmentation, functools.partial) and (
            "categorical" in augmentation.keywords
        ):
            return False
        try:
            return "categorical" in inspect.signature(augmentation).parameters
        except (TypeError, ValueError):  # some callables have no signature
            return False

    def forward(self, x: Tensor, generator: Generator) -> Tensor:
        view: Tensor = self.augmentation(x, generator, categorical=self.categorical)
        return view


class FeatureCorruption(BaseEstimator):
    """Redraw random features from their empirical marginals (SCARF).

    Each value of each row is replaced, with probability `rate`, by the value that
    the same feature has in another, randomly drawn row of the batch. Values stay
    realistic for every kind of feature: categories, integers, heavy tails. A missing
    value is redrawn like any other, and a redrawn value may be missing.

    In batches that are kept sparse, one random shift of the rows says for all rows of a
    column where redrawn values come from, so that zeros need not be looked at.

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

    def __call__(self, x: Any, generator: Generator) -> Any:
        """Return a corrupted copy of ``x``, shape ``(n_rows, n_features)``."""
        check_interval("rate", self.rate, 0, 1)
        if isinstance(x, SparseBatch):
            return x.redrawn(self.rate, generator)
        donors = torch.randint(len(x), x.shape, generator=generator, device=x.device)
        return torch.where(
            _random_mask(x, self.rate, generator), x.gather(0, donors), x
        )


class FeatureMasking(BaseEstimator):
    """Replace random features by their mean over the batch.

    A category is replaced by the most frequent one of the batch. Means are over the
    values that are not missing.

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

    def __call__(
        self, x: Tensor, generator: Generator, categorical: Tensor | None = None
    ) -> Tensor:
        """Return a masked copy of ``x``, shape ``(n_rows, n_features)``."""
        check_interval("rate", self.rate, 0, 1)
        center = _without_gaps(x.mean(dim=0), x.nanmean(dim=0))
        if categorical is not None:
            codes = torch.where(x.isnan(), -1, x).mode(dim=0).values
            codes = torch.where(codes < 0, torch.nan, codes)
            center = torch.where(categorical, codes, center)
        return torch.where(_random_mask(x, self.rate, generator), center, x)


class GaussianNoise(BaseEstimator):
    """Add Gaussian noise in proportion to each feature's spread in the batch.

    Categories and missing values stay as they are.

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

    def __call__(
        self, x: Tensor, generator: Generator, categorical: Tensor | None = None
    ) -> Tensor:
        """Return a noisy copy of ``x``, shape ``(n_rows, n_features)``."""
        check_interval("scale", self.scale, 0, None, closed="left")
        noise = torch.randn(
            x.shape, generator=generator, device=x.device, dtype=x.dtype
        )
        around_mean = x - x.nanmean(dim=0)
        spread = _without_gaps(
            x.std(dim=0, correction=0), around_mean.square().nanmean(dim=0).sqrt()
        )
        if categorical is not None:
            spread = torch.where(categorical, 0, spread)
        return x + self.scale * spread * noise


class ImageAugmentation(BaseEstimator):
    """Crop, flip, color jitter, grayscale and blur: the views of SimCLR and BCL.

    Each image has a draw of its own. Colors and blur are kornia's (extra ``vision``),
    on the device of the batch. Its color operations need pixels in [0, 1], so the range
    of the batch is mapped to that and back: images may be in [0, 1], in [0, 255] or
    standardized. Saturation, hue and grayscale apply to three channels only.

    Parameters
    ----------
    crop_scale : float in (0, 1], default=0.4
        Least share of an image's area that a crop keeps, before it is resized to the
        size of the image. The share is uniform, the ratio of the sides log-uniform from
        3/4 to 4/3, cut off where the image ends. 1 leaves images as they are.
    flip : float in [0, 1], default=0.5
        Probability of a horizontal flip. 0 where left and right differ in meaning.
    jitter : float in [0, 1], default=0.4
        Strength of changes of brightness, contrast and saturation, factors from
        [1 - jitter, 1 + jitter]; hue changes by a quarter of it. Applied with
        probability 0.8.
    grayscale : float in [0, 1], default=0.2
        Probability that an image loses its colors.
    blur : float in [0, 1], default=0.5
        Probability of a Gaussian blur of 0.1 to 2 pixels.

    Notes
    -----
    The paper's pipeline is the default with ``crop_scale=0.08``.

    References
    ----------
    Chen et al. (2020). A Simple Framework for Contrastive Learning of Visual
    Representations. arXiv:2002.05709.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.augmentations import ImageAugmentation
    >>> images = torch.rand(4, 3, 32, 32)
    >>> ImageAugmentation(flip=0)(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 32, 32])
    """

    def __init__(
        self,
        crop_scale: float = 0.4,
        flip: float = 0.5,
        jitter: float = 0.4,
        grayscale: float = 0.2,
        blur: float = 0.5,
    ) -> None:
        self.crop_scale = crop_scale
        self.flip = flip
        self.jitter = jitter
        self.grayscale = grayscale
        self.blur = blur

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Return views of images ``x``, shape ``(n, channels, height, width)``."""
        if x.ndim != 4:
            raise ValueError(
                "ImageAugmentation needs images of shape (n, channels, height, width). "
                f"Got {tuple(x.shape)}."
            )
        low, high = x.amin(), x.amax()
        spread = torch.where(high > low, high - low, 1)
        operations = self._operations(*x.shape[1:])
        view = self._crop_and_flip((x - low) / spread, generator)
        with drawing_from(generator):
            for operation in operations:
                view = operation(view)
        return view.clamp(0, 1) * spread + low

    def _crop_and_flip(self, x: Tensor, generator: Generator) -> Tensor:
        """Do both in one interpolation, of all images at once."""
        if self.crop_scale == 1 and self.flip == 0:
            return x
        n_images, _, height, width = x.shape
        area, ratio, column, row, flip = torch.rand(
            5, n_images, generator=generator, device=x.device, dtype=torch.float32
        )
        area = 1 - (1 - self.crop_scale) * area
        ratio = (4 / 3) ** (2 * ratio - 1) * height / width
        if self.crop_scale == 1:
            ratio = torch.ones_like(ratio)
        half_width = (area * ratio).sqrt().clamp(max=1)  # in halves of the image
        half_height = (area / ratio).sqrt().clamp(max=1)
        sign = torch.where(flip < self.flip, -torch.ones_like(flip), 1)
        maps = x.new_zeros(n_images, 2, 3)
        maps[:, 0, 0], maps[:, 1, 1] = sign * half_width, half_height
        maps[:, 0, 2] = (1 - half_width) * (2 * column - 1)
        maps[:, 1, 2] = (1 - half_height) * (2 * row - 1)
        grid = F.affine_grid(maps, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _operations(self, n_channels: int, height: int, width: int) -> list[Any]:
        """Build kornia's operations; those without effect are left out."""
        check_interval("crop_scale", self.crop_scale, 0, 1, closed="right")
        for name in ("flip", "jitter", "grayscale", "blur"):
            check_interval(name, getattr(self, name), 0, 1)
        if not (self.jitter or self.grayscale or self.blur):
            return []
        try:
            import kornia.augmentation as K
        except ImportError as error:
            raise ImportError(
                "ImageAugmentation needs kornia: pip install 'sklearn-bcl[vision]'"
            ) from error
        operations: list[Any] = []
        if self.jitter:
            colors = (self.jitter, self.jitter / 4) if n_channels == 3 else (0.0, 0.0)
            operations.append(K.ColorJitter(self.jitter, self.jitter, *colors, p=0.8))
        if self.grayscale and n_channels == 3:
            operations.append(K.RandomGrayscale(p=self.grayscale))
        if self.blur and min(height, width) > 1:  # it reflects the border
            operations.append(K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=self.blur))
        return operations
