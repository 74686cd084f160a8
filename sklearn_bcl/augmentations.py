"""Random views of tables and images.

An augmentation is any picklable callable ``f(x, generator)`` that returns a new tensor
of the shape of ``x``:

- ``x`` is a float32 batch of rows of shape ``(n, n_features)``, in the units of the
  data. In a table, a category is a whole number from 0 on, its code, and NaN is a
  missing value. A batch of images has the shape ``(n, channels, height, width)``.
- ``generator`` is a :class:`torch.Generator` on the device of ``x``. The augmentation
  draws its random numbers from ``generator``.

If the callable has an argument ``categorical``, it is called as ``f(x, generator,
categorical=mask)``. The mask is a boolean tensor of shape ``(n_features,)`` that marks
the columns of categories, or None if there are none. The codes in a view must be valid
codes.

The augmentations of this module keep no data. They estimate the distribution of a
feature, or the range of pixels, from the batch: its rows are a random draw of the
training rows.
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
    """Return a statistic of each column; replace NaN by the same statistic without NaN.

    In columns without missing values, both are equal up to rounding.
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
    """Replace random values by values of other rows (SCARF).

    With probability `rate`, a value is replaced by the value of the same feature in
    another, random row of the batch. So a replaced value is always a realistic value of
    its feature: a category, an integer or a value of a heavy tail. A missing value is
    replaced like any other value, and the new value may be missing.

    For batches that stay sparse, each column draws a number k, and a replaced value
    comes from the row k places further on. Zeros then need no computation.

    Parameters
    ----------
    rate : float in [0, 1], default=0.3
        Probability that a value is replaced.

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
        """Return a view of a batch of rows.

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
            Rows of a table.
        generator : torch.Generator
            Source of the random numbers.

        Returns
        -------
        view : Tensor of shape (n, n_features)
            The rows, with some values replaced.

        Raises
        ------
        ValueError
            If `rate` is out of range.
        """
        check_interval("rate", self.rate, 0, 1)
        if isinstance(x, SparseBatch):
            return x.redrawn(self.rate, generator)
        donors = torch.randint(len(x), x.shape, generator=generator, device=x.device)
        return torch.where(
            _random_mask(x, self.rate, generator), x.gather(0, donors), x
        )


class FeatureMasking(BaseEstimator):
    """Replace random values by the mean of their feature in the batch.

    A category is replaced by the most frequent category of its column in the batch. The
    mean ignores missing values.

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
        """Return a view of a batch of rows.

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
            Rows of a table.
        generator : torch.Generator
            Source of the random numbers.
        categorical : Tensor of bool, shape (n_features,), default=None
            Which columns hold categories. None means no column.

        Returns
        -------
        view : Tensor of shape (n, n_features)
            The rows, with some values replaced.

        Raises
        ------
        ValueError
            If `rate` is out of range.
        """
        check_interval("rate", self.rate, 0, 1)
        center = _without_gaps(x.mean(dim=0), x.nanmean(dim=0))
        if categorical is not None:
            codes = torch.where(x.isnan(), -1, x).mode(dim=0).values
            codes = torch.where(codes < 0, torch.nan, codes)
            center = torch.where(categorical, codes, center)
        return torch.where(_random_mask(x, self.rate, generator), center, x)


class GaussianNoise(BaseEstimator):
    """Add Gaussian noise to the numbers of a table.

    The standard deviation of the noise is proportional to the standard deviation of the
    feature in the batch. Categories and missing values stay unchanged.

    Parameters
    ----------
    scale : float >= 0, default=0.3
        Standard deviation of the noise, in standard deviations of the feature.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.augmentations import GaussianNoise
    >>> x = torch.tensor([[0.0, 5.0], [1000.0, 5.0]])  # the second feature is constant
    >>> GaussianNoise(scale=0.1)(x, torch.Generator().manual_seed(0))[:, 1]
    tensor([5., 5.])
    """

    def __init__(self, scale: float = 0.3) -> None:
        self.scale = scale

    def __call__(
        self, x: Tensor, generator: Generator, categorical: Tensor | None = None
    ) -> Tensor:
        """Return a view of a batch of rows.

        Parameters
        ----------
        x : Tensor of shape (n, n_features)
            Rows of a table.
        generator : torch.Generator
            Source of the random numbers.
        categorical : Tensor of bool, shape (n_features,), default=None
            Which columns hold categories. None means no column.

        Returns
        -------
        view : Tensor of shape (n, n_features)
            The rows with noise.

        Raises
        ------
        ValueError
            If `scale` is negative.
        """
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

    Each image has its own random draw. Color operations and blur are from kornia (extra
    ``vision``) and run on the device of the batch. They need pixels in [0, 1], so the
    range of the batch is mapped to [0, 1] and back. Images may thus have any range,
    such as [0, 255], or be standardized. Changes of saturation and hue, and grayscale,
    apply only to images with three channels.

    Parameters
    ----------
    crop_scale : float in (0, 1], default=0.4
        Smallest fraction of the image's area that a crop keeps. The crop is then
        resized to the size of the image. The fraction is uniform. The aspect ratio is
        log-uniform in [3/4, 4/3], limited by the borders of the image. 1 means no crop.
    flip : float in [0, 1], default=0.5
        Probability of a horizontal flip. Set it to 0 if left and right differ in
        meaning.
    jitter : float in [0, 1], default=0.4
        Strength of the color jitter, which is applied with probability 0.8.
        Brightness, contrast and saturation change by factors in [1 - jitter,
        1 + jitter]. Hue shifts by up to jitter / 4 of the color circle.
    grayscale : float in [0, 1], default=0.2
        Probability that an image becomes gray.
    blur : float in [0, 1], default=0.5
        Probability of a Gaussian blur, with a standard deviation of 0.1 to 2 pixels and
        a kernel of 3x3 pixels.

    Notes
    -----
    ``crop_scale=0.08`` with the other defaults is the pipeline of the BCL paper.

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
        """Return a view of a batch of images.

        Parameters
        ----------
        x : Tensor of shape (n, channels, height, width)
            Images.
        generator : torch.Generator
            Source of the random numbers.

        Returns
        -------
        view : Tensor of shape (n, channels, height, width)
            Augmented images, in the range of the pixels of `x`.

        Raises
        ------
        ValueError
            If `x` does not have four dimensions, or a parameter is out of range.
        ImportError
            If kornia is needed and not installed.
        """
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
        """Build the operations of kornia, without those that have no effect."""
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
