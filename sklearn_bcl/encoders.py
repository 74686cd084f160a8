"""Encoders for tables and images.

A custom encoder is any ``nn.Module`` that maps rows to vectors. For a table with
categories or missing values, the encoder receives the features of :class:`TableInput`.
An encoder may define two more methods:

- ``fit_statistics(rows, random_state, before)`` is called before each training.
  ``rows`` has a length, ``rows[indices]`` is a float32 tensor of training rows as
  ``forward`` receives them, and ``rows[:]`` is the tensor of all rows. ``random_state``
  is a :class:`numpy.random.RandomState`. ``before`` is the encoder of the last call in
  `partial_fit`, and None in `fit`. ``forward`` must work before this call: the encoder
  is first tried on two rows.
- ``head_input(x)`` returns the input of the projection head, if it is not the
  embedding. It has the shape of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._data.columns import EMBEDDING_SIZE, Columns
from sklearn_bcl._data.scaling import FeatureScales, ReadableRows
from sklearn_bcl._layers import RobustScale, RowwiseLinear
from sklearn_bcl._sparse import SparseBatch

__all__ = [
    "ConvNetEncoder",
    "MLPEncoder",
    "ProjectedEncoder",
    "RobustScale",
    "TableEncoder",
    "TableInput",
    "resnet_encoder",
]

MOST_CELLS = 4  # along each side of an image
LEAST_CHANNELS = 16  # of each cell
NEGATIVE_SLOPE = 0.1  # of the leaky ReLU
ROOT_OFFSET = 0.01  # keeps the square root's gradient finite at 0


class MLPEncoder(nn.Module):
    """Multilayer perceptron plus a linear map, on scaled features.

    The embedding is a leaky ReLU of the sum of the perceptron and the linear map. A
    leaky ReLU avoids dead components, which matters when `n_components` is small. The
    last layer of the perceptron starts at zero. So training starts from a linear map of
    the features.

    Parameters
    ----------
    n_features : int
        Number of input features.
    n_components : int
        Size of the embedding.
    hidden_layer_sizes : sequence of int, default=(256, 256)
        Sizes of the hidden layers, each with a ReLU. An empty sequence leaves only the
        linear map.
    allow_nan : bool, default=False
        Whether values may be missing in training (:class:`RobustScale`).
    scale_features : bool, default=True
        Whether to scale the features. False is for features that are scaled already.

    References
    ----------
    The sum of a linear and a deep model: Cheng et al. (2016). Wide & Deep Learning for
    Recommender Systems. arXiv:1606.07792. Residual branches that start at zero: Goyal
    et al. (2017). Accurate, Large Minibatch SGD. arXiv:1706.02677.

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
        hidden_layer_sizes: Sequence[int] = (256, 256),
        allow_nan: bool = False,
        scale_features: bool = True,
    ) -> None:
        super().__init__()
        self.scale = RobustScale(n_features, allow_nan) if scale_features else None
        self.linear = RowwiseLinear(n_features, n_components)
        self.deep: nn.Sequential | None = None
        if len(hidden_layer_sizes) > 0:
            layers: list[nn.Module] = []
            for size_in, size_out in pairwise([n_features, *hidden_layer_sizes]):
                layers += [RowwiseLinear(size_in, size_out), nn.ReLU()]
            last = RowwiseLinear(hidden_layer_sizes[-1], n_components)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.deep = nn.Sequential(*layers, last)
        self.statistics: FeatureScales | None = None

    def fit_statistics(
        self,
        rows: ReadableRows,
        random_state: np.random.RandomState,
        before: nn.Module | None = None,
    ) -> None:
        """Measure the centers and scales of the features.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            Training rows, or an object that is indexed like such a tensor. At most
            10,000 random rows are measured, and fewer if rows are very wide.
        random_state : numpy.random.RandomState
            Source of the random sample.
        before : MLPEncoder, default=None
            Encoder of an earlier call, whose statistics are averaged with the new ones.
        """
        if self.scale is None:
            return
        earlier = before.statistics if isinstance(before, MLPEncoder) else None
        statistics = FeatureScales.of(rows, random_state, before=earlier)
        self.statistics = statistics
        self.scale.set_statistics(statistics.center, statistics.scale)

    def forward(self, x: Any) -> Tensor:
        """Map rows ``(n, n_features)``, or images, to embeddings ``(n, size)``."""
        if not isinstance(x, SparseBatch):
            x = x.flatten(1)
        if self.scale is not None:
            x = self.scale(x)
        embedding: Tensor = self.linear(x)
        if self.deep is not None:
            embedding = embedding + self.deep(x)
        return F.leaky_relu(embedding, NEGATIVE_SLOPE)

    @property
    def first_layers(self) -> list[nn.Module]:
        """The layers that read the scaled features."""
        return [self.linear] if self.deep is None else [self.linear, self.deep[0]]


def takes_sparse(encoder: nn.Module) -> bool:
    """Return whether an encoder is one of `BCLEmbedder` that reads sparse batches."""
    return (
        type(encoder) is MLPEncoder
        and type(encoder.scale) is RobustScale
        and all(type(layer) is RowwiseLinear for layer in encoder.first_layers)
    )


class TableInput(nn.Module):
    """First layer of an encoder for tables with categories or missing values.

    It maps the columns of a table to scaled features (:class:`RobustScale`):

    - A column of numbers is one feature. A missing number becomes 0, the center.
    - A column of 2 to 32 codes (categories, rare ones, missing) is one-hot encoded.
    - A column of more categories has a trained embedding of 16 features.
    - A column with missing values in `fit` has one more feature, which indicates them.
      A column with an embedding does not need this feature.

    A category is rare if it has fewer than 5 rows and less than 1 % of the rows. Rare
    and unknown categories share one code. If no category was rare in `fit`, all one-hot
    features of an unknown category are 0. All features of a column of categories
    together have half the spread of a column of numbers, so that many categories do not
    dominate.

    Parameters
    ----------
    columns : Columns
        Description of the columns, which :class:`~sklearn_bcl.BCLEmbedder` creates.
    allow_nan : bool, default=False
        Whether numbers may be missing in training (:class:`RobustScale`).

    References
    ----------
    Embeddings of categories: Guo, Berkhahn (2016). Entity Embeddings of Categorical
    Variables. arXiv:1604.06737.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from sklearn_bcl import BCLEmbedder
    >>> X = np.array([[0, 1.5], [1, np.nan], [2, 0.5]] * 20)
    >>> embedder = BCLEmbedder(max_epochs=1, categorical_features=[0]).fit(X)
    >>> features = embedder.encoder_.input(torch.tensor([[1, np.nan]]).float())
    >>> features.round(decimals=1)  # number, three categories, missing or not
    tensor([[0.0000, 0.0000, 0.6000, 0.0000, 1.7000]])
    """

    numbers: Tensor
    sources: Tensor
    codes: Tensor
    indicated: Tensor
    embedded: Tensor
    offsets: Tensor
    gaps: Tensor

    def __init__(self, columns: Columns, allow_nan: bool = False) -> None:
        super().__init__()
        one_hot = columns.one_hot
        indices = {
            "numbers": columns.numbers,
            "sources": [column for column, _ in one_hot],
            "indicated": columns.indicated,
            "embedded": [column for column, _ in columns.embedded],
        }
        for name, values in indices.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.long))
        codes = torch.tensor([code for _, code in one_hot], dtype=torch.float32)
        self.register_buffer("codes", codes)
        # Rows of an embedded column: its codes, one for rare or unknown categories, and
        # one for missing values.
        sizes = torch.tensor([n + 2 for _, n in columns.embedded], dtype=torch.long)
        ends = sizes.cumsum(0)
        self.register_buffer("offsets", ends - sizes)
        self.register_buffer("gaps", ends - 1)
        self.embedding: nn.Embedding | None = None
        if len(sizes):
            self.embedding = nn.Embedding(int(ends[-1]), EMBEDDING_SIZE)
            with torch.no_grad():
                self.embedding.weight[torch.cat([ends - 1, ends - 2])] = 0.0
        self.spread = columns.spread
        self.scale = RobustScale(columns.n_encoded, allow_nan)
        self.statistics: FeatureScales | None = None

    def fit_statistics(
        self,
        rows: ReadableRows,
        random_state: np.random.RandomState,
        before: TableInput | None = None,
    ) -> None:
        """Measure the centers and scales of the features, for `forward`.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_columns)
            Training rows, of which a random sample is measured if they are many.
        random_state : numpy.random.RandomState
            Source of the random sample.
        before : TableInput, default=None
            Layer of an earlier call, whose statistics are averaged with the new ones.
        """
        n_features = len(self.spread)
        center, scale = np.zeros(n_features), np.ones(n_features)  # of embeddings
        n_measured = n_features - EMBEDDING_SIZE * len(self.embedded)
        if n_measured:
            encoded = EncodedRows(rows, self._encode_as_they_are)
            earlier = None if before is None else before.statistics
            statistics = FeatureScales.of(
                encoded, random_state, len(self.numbers), earlier
            )
            self.statistics = statistics
            center[:n_measured] = statistics.center
            scale[:n_measured] = statistics.scale
        self.scale.set_statistics(center, scale / self.spread)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features before they are scaled.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_columns)
            Numbers and codes of categories, NaN where a value is missing.

        Returns
        -------
        features : Tensor of shape (n_rows, n_encoded)
            A missing number is still NaN.
        """
        features = self._encode_as_they_are(x)
        if self.embedding is None:
            return features
        codes = x[:, self.embedded]
        places = codes.nan_to_num().long() + self.offsets
        places = torch.minimum(places.maximum(self.offsets), self.gaps - 1)
        places = torch.where(codes.isnan(), self.gaps, places)
        return torch.cat([features, self.embedding(places).flatten(1)], dim=1)

    def _encode_as_they_are(self, x: Tensor) -> Tensor:
        """Return all features except the trained embeddings."""
        parts = [
            x[:, self.numbers],
            (x[:, self.sources] == self.codes).to(x.dtype),
            x[:, self.indicated].isnan().to(x.dtype),
        ]
        return torch.cat(parts, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``(n_rows, n_columns)`` to features ``(n_rows, n_encoded)``."""
        features: Tensor = self.scale(self.encode(x))
        return features


class EncodedRows:
    """Rows to which a function is applied when they are indexed."""

    def __init__(
        self, rows: ReadableRows, function: Callable[[Tensor], Tensor]
    ) -> None:
        self.rows = rows
        self.function = function

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: Any) -> Tensor:
        return self.function(self.rows[positions])


class TableEncoder(nn.Module):
    """Encoder of a table with categories or missing values.

    It applies a :class:`TableInput` and then an encoder of numbers.

    Parameters
    ----------
    table_input : TableInput
        First layer.
    encoder : torch.nn.Module
        Maps features ``(n_rows, n_encoded)`` to embeddings ``(n_rows, size)``.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_bcl import BCLEmbedder
    >>> X = np.array([[0, 1.5], [1, np.nan], [2, 0.5]] * 20)
    >>> embedder = BCLEmbedder(max_epochs=1, categorical_features=[0]).fit(X)
    >>> type(embedder.encoder_).__name__, type(embedder.encoder_.encoder).__name__
    ('TableEncoder', 'MLPEncoder')
    """

    def __init__(self, table_input: TableInput, encoder: nn.Module) -> None:
        super().__init__()
        self.input = table_input
        self.encoder = encoder

    def fit_statistics(
        self,
        rows: ReadableRows,
        random_state: np.random.RandomState,
        before: nn.Module | None = None,
    ) -> None:
        """Let both parts compute their statistics from the rows, such as scales.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_columns)
            Training rows, as in :meth:`MLPEncoder.fit_statistics`.
        random_state : numpy.random.RandomState
            Source of the random sample.
        before : TableEncoder, default=None
            Encoder of an earlier call.
        """
        input_before, encoder_before = None, None
        if isinstance(before, TableEncoder):
            input_before, encoder_before = before.input, before.encoder
        self.input.fit_statistics(rows, random_state, input_before)
        measure = getattr(self.encoder, "fit_statistics", None)
        if measure is not None:
            measure(EncodedRows(rows, self.input), random_state, encoder_before)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``(n_rows, n_columns)`` to embeddings."""
        embedding: Tensor = self.encoder(self.input(x))
        return embedding

    def head_input(self, x: Tensor) -> Tensor:
        """Return the input of the projection head.

        Parameters
        ----------
        x : Tensor of shape (n_rows, n_columns)
            Numbers and codes of categories, NaN where a value is missing.

        Returns
        -------
        head_input : Tensor of shape (n_rows, size)
            The ``head_input`` of the encoder if it has one, else the embedding.
        """
        read = getattr(self.encoder, "head_input", self.encoder)
        head_input: Tensor = read(self.input(x))
        return head_input


class ConvNetEncoder(nn.Module):
    """Small convolutional network for images, fast on a CPU.

    Each block is a 3x3 convolution, batch normalization and a ReLU. A block halves the
    resolution as long as at least 4x4 positions remain. The output of the last block is
    averaged over the cells of a grid, so that the embedding keeps positions.

    The embedding is the square root of these means. The projection head reads the means
    themselves: training through the square root gives worse embeddings. To train the
    encoder further, use the means as well (:meth:`cells`).

    Parameters
    ----------
    image_shape : tuple of int
        Shape of an image, ``(n_channels, height, width)``.
    n_components : int
        Size of the embedding, which is the number of cells times the number of channels
        of the last block. The grid has 4x4, 2x2 or 1x1 cells: the finest grid that
        divides `n_components`, leaves at least 16 channels and fits the output of the
        last block.
    widths : sequence of int, default=(32, 64)
        Numbers of channels of the blocks before the last block.

    References
    ----------
    Square roots of features: Perronnin, Sanchez, Mensink (2010). Improving the Fisher
    Kernel for Large-Scale Image Classification. ECCV.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import ConvNetEncoder
    >>> ConvNetEncoder((1, 28, 28), 256)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 256])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_components: int,
        widths: Sequence[int] = (32, 64),
    ) -> None:
        super().__init__()
        n_channels, *sides = image_shape
        strides = []
        for _ in range(len(widths) + 1):
            strides.append(2 if -(-min(sides) // 2) >= MOST_CELLS else 1)
            sides = [-(-side // strides[-1]) for side in sides]
        self.grid = next(
            (
                grid
                for grid in (MOST_CELLS, 2)
                if min(sides) >= grid
                and n_components % grid**2 == 0
                and n_components // grid**2 >= LEAST_CHANNELS
            ),
            1,
        )
        sizes = [n_channels, *widths, n_components // self.grid**2]
        blocks: list[nn.Module] = []
        for (size_in, size_out), stride in zip(pairwise(sizes), strides, strict=True):
            blocks += [
                nn.Conv2d(size_in, size_out, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(size_out),
                nn.ReLU(),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.to(memory_format=torch.channels_last)  # the faster layout on CPUs

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, n_channels, height, width)`` to ``(n, n_components)``."""
        return torch.sqrt(self.cells(x) + ROOT_OFFSET) - ROOT_OFFSET**0.5

    def head_input(self, x: Tensor) -> Tensor:
        """Return the input of the projection head.

        Parameters
        ----------
        x : Tensor of shape (n, n_channels, height, width)
            Images.

        Returns
        -------
        head_input : Tensor of shape (n, n_components)
            The result of :meth:`cells`, whose square root is the embedding. In a
            subclass with its own ``forward``, the embedding.
        """
        has_own_forward = type(self).forward is not ConvNetEncoder.forward
        return self(x) if has_own_forward else self.cells(x)

    def cells(self, x: Tensor) -> Tensor:
        """Encode images, and average each channel over each cell of the grid.

        Parameters
        ----------
        x : Tensor of shape (n, n_channels, height, width)
            Images.

        Returns
        -------
        cells : Tensor of shape (n, n_components)
            Means of each channel of the last block over each cell.
        """
        x = self.blocks(x.contiguous(memory_format=torch.channels_last))
        # torch's adaptive pooling, whose gradient is not deterministic on a GPU.
        for axis in (2, 3):
            side, grid = x.shape[axis], self.grid
            if side == grid:
                continue
            ends = [(i * side // grid, -(-(i + 1) * side // grid)) for i in range(grid)]
            cells = [x.narrow(axis, start, end - start) for start, end in ends]
            x = torch.stack([cell.mean(dim=axis) for cell in cells], dim=axis)
        return x.flatten(1)


class ProjectedEncoder(nn.Module):
    """An encoder with the projection head of the contrastive loss.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps rows to embeddings.
    n_components : int
        Size of the embedding.
    projection_size : int
        Size of the projections that the loss compares.
    bins : torch.nn.Module, default=None
        Second head with its own loss, called as ``bins(read, x, generator)``. ``read``
        is the result of :meth:`read` for views of the rows ``x``.
    most_hidden_units : int, default=512
        Number of hidden units of the projection head, or `n_components` if smaller.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import MLPEncoder, ProjectedEncoder
    >>> ProjectedEncoder(MLPEncoder(8, 16), 16, 32)(torch.zeros(5, 8)).shape
    torch.Size([5, 32])
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_components: int,
        projection_size: int,
        bins: nn.Module | None = None,
        most_hidden_units: int = 512,
    ) -> None:
        super().__init__()
        self.n_components = n_components
        self.encoder = encoder
        hidden_size = min(n_components, most_hidden_units)
        self.head = nn.Sequential(
            nn.Linear(n_components, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, projection_size),
        )
        self.bins = bins

    def read(self, x: Tensor) -> Tensor:
        """Return the input of the heads.

        Parameters
        ----------
        x : Tensor of shape (n_rows, ...)
            Rows or images.

        Returns
        -------
        read : Tensor of shape (n_rows, n_components)
            The ``head_input`` of the encoder if it has one, else the embedding.
        """
        read: Callable[[Tensor], Tensor]
        read = getattr(self.encoder, "head_input", self.encoder)
        return read(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows to projections ``(n_rows, projection_size)``, not normalized."""
        projections: Tensor = self.head(self.read(x))
        return projections


def resnet_encoder(name: str, n_channels: int) -> nn.Module:
    """Return an untrained ResNet of torchvision for small images, as in the BCL paper.

    The first convolution is 3x3 with stride 1, and no max-pooling follows. There is no
    classifier.

    Parameters
    ----------
    name : {"resnet18", "resnet50"}
        Name of the network. The size of the embedding is 512 or 2048.
    n_channels : int
        Number of channels of the images.

    Returns
    -------
    encoder : torch.nn.Module
        Maps images ``(n, n_channels, height, width)`` to embeddings ``(n, size)``.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    ValueError
        If `name` is another name.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import resnet_encoder
    >>> resnet_encoder("resnet18", n_channels=3).eval()(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 512])
    """
    if name not in ("resnet18", "resnet50"):
        raise ValueError(f"'name' must be 'resnet18' or 'resnet50'. Got {name!r}.")
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(
            f"The encoder {name!r} needs torchvision: pip install 'sklearn-bcl[vision]'"
        ) from error
    encoder: nn.Module = models.get_model(name, weights=None)
    encoder.conv1 = nn.Conv2d(n_channels, 64, 3, stride=1, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
    encoder.fc = nn.Identity()
    return encoder
