"""Encoders for tables and images, and the head that only training uses.

Any other ``nn.Module`` from rows to vectors is an encoder, too. Of a table with
categories or missing values, it gets what :class:`TableInput` makes of the rows. It may
have two more methods:

- ``fit_statistics(rows, random_state, before)`` is called before each training.
  ``rows`` has a length, and ``rows[indices]`` is a float32 tensor of training rows, as
  ``forward`` gets them; ``rows[:]`` are all. ``random_state`` is a
  :class:`numpy.random.RandomState` for draws. ``before`` is the encoder of the last
  call in `partial_fit`, and None in `fit`. The encoder is tried on two rows before.
- ``head_input(x)`` returns what the heads of training read, if that is not the
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
    """Multilayer perceptron beside a linear map, on scaled features.

    Both are added, and the embedding ends in a leaky ReLU. It avoids dead components,
    which matters when `n_components` is small. The last layer of the perceptron starts
    at zero. So the encoder starts as a linear map of the features and departs from it
    as far as the training asks for.

    Parameters
    ----------
    n_features : int
        Number of input features.
    n_components : int
        Size of the embedding.
    hidden_layer_sizes : sequence of int, default=(256, 256)
        Sizes of the hidden layers, each of which ends in a ReLU. Without any, the
        linear map is all there is.
    allow_nan : bool, default=False
        Whether values may be missing in training (:class:`RobustScale`).
    scale_features : bool, default=True
        Whether to scale the features. If not, they come scaled.

    References
    ----------
    A linear model beside a deep one: Cheng et al. (2016). Wide & Deep Learning for
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
        rows : Tensor of shape (n_rows, n_features), or what is read like one
            Training rows. Of more than 10,000 rows, a random 10,000 are measured.
        random_state : numpy.random.RandomState
            Draws them.
        before : MLPEncoder, default=None
            Encoder of an earlier call. Its rows count as well, as if they were among
            `rows`.
        """
        if self.scale is None:
            return
        earlier = before.statistics if isinstance(before, MLPEncoder) else None
        statistics = FeatureScales.of(rows, random_state, before=earlier)
        self.statistics = statistics
        self.scale.set_statistics(statistics.center, statistics.scale)

    def forward(self, x: Any) -> Tensor:
        """Map ``(n_rows, n_features)`` to ``(n_rows, n_components)``.

        Images are flattened first.
        """
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
    """Return whether an encoder reads sparse batches: as `BCLEmbedder` makes it."""
    return (
        type(encoder) is MLPEncoder
        and type(encoder.scale) is RobustScale
        and all(type(layer) is RowwiseLinear for layer in encoder.first_layers)
    )


class TableInput(nn.Module):
    """First layer of the encoder of a table with categories or missing values.

    It maps rows to scaled features (:class:`RobustScale`):

    - the columns of numbers, of which a missing one becomes 0, the center;
    - a one-hot feature for each category of a column;
    - instead, an embedding of 16 features, which is trained, if there are more than 32
      with a missing value counted;
    - an indicator of missing values for each other column that had some in `fit`.

    Rare categories, those in fewer than 5 rows and 1 % of the rows, share a place with
    unknown ones. Without rare ones in `fit`, an unknown category is none of the one-hot
    features. All features of a column of categories together have half the spread of a
    column of numbers, so that columns of many categories do not drown the others.

    `BCLEmbedder` makes it.

    Parameters
    ----------
    columns : Columns
        The columns of the training rows.
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
    >>> features.round(decimals=1)  # number, three categories, whether it is missing
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
        # Of an embedded column: its codes, that of the rare and unknown, that of a gap.
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
        """Measure the centers and scales of the features (:class:`MLPEncoder`)."""
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
        """Return the features before they are scaled; a missing number is NaN."""
        features = self._encode_as_they_are(x)
        if self.embedding is None:
            return features
        codes = x[:, self.embedded]
        places = codes.nan_to_num().long() + self.offsets
        places = torch.minimum(places.maximum(self.offsets), self.gaps - 1)
        places = torch.where(codes.isnan(), self.gaps, places)
        return torch.cat([features, self.embedding(places).flatten(1)], dim=1)

    def _encode_as_they_are(self, x: Tensor) -> Tensor:
        """Return all features but the embeddings."""
        parts = [
            x[:, self.numbers],
            (x[:, self.sources] == self.codes).to(x.dtype),
            x[:, self.indicated].isnan().to(x.dtype),
        ]
        return torch.cat(parts, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map rows ``(n_rows, n_columns)`` to ``(n_rows, n_encoded)``."""
        features: Tensor = self.scale(self.encode(x))
        return features


class EncodedRows:
    """Rows after a function, read by indices as the rows are."""

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
    """An encoder of numbers behind the layer that makes numbers of a table's columns.

    Parameters
    ----------
    table_input : TableInput
    encoder : torch.nn.Module
        From ``(n_rows, n_encoded)`` to ``(n_rows, size)``.

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
        """Let the first layer and the encoder measure rows."""
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
        """Return what the encoder gives to the projection head."""
        read = getattr(self.encoder, "head_input", self.encoder)
        head_input: Tensor = read(self.input(x))
        return head_input


class ConvNetEncoder(nn.Module):
    """Small convolutional network for images, quick on a CPU.

    Blocks of a 3x3 convolution, batch normalization and ReLU, each of which halves the
    resolution while that leaves 4x4 positions, then means over the cells of a grid, so
    that the embedding knows where things are. The embedding is the square root of
    these means, which are rarely large and mostly zero. The head of the training reads
    the means themselves: trained through the square root, the embedding is worse. Who
    trains the encoder on should take them as well (:meth:`cells`).

    Parameters
    ----------
    image_shape : tuple of int
        Shape of an image, ``(n_channels, height, width)``.
    n_components : int
        Size of the embedding: cells times channels of the last block. The grid is the
        finest of 4x4, 2x2 and 1x1 cells that leaves at least 16 channels and has no
        more rows or columns than the last block.
    widths : sequence of int, default=(32, 64)
        Numbers of channels of the blocks before the last.

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
        """Return the means over the cells; of a subclass with its own way, that."""
        has_own_forward = type(self).forward is not ConvNetEncoder.forward
        return self(x) if has_own_forward else self.cells(x)

    def cells(self, x: Tensor) -> Tensor:
        """Return the means over the cells, of the shape of the embedding."""
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
    """An encoder under the heads that only training uses.

    Parameters
    ----------
    encoder : torch.nn.Module
    n_components : int
        Size of the encoder's output.
    projection_size : int
        Size of the projections that the loss compares.
    bins : torch.nn.Module, default=None
        A second head with a loss of its own, ``bins(read, x, generator)``: of what the
        heads read of a view, ``(n, n_components)``, for the rows ``(n, size)``.
    most_hidden_units : int, default=512
        Of the head, which has as many as `n_components` if that is less.

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
        """Return what the heads read of rows, ``(n_rows, n_components)``."""
        read: Callable[[Tensor], Tensor]
        read = getattr(self.encoder, "head_input", self.encoder)
        return read(x)

    def forward(self, x: Tensor) -> Tensor:
        """Project rows, to ``(n_rows, projection_size)``; not normalized."""
        projections: Tensor = self.head(self.read(x))
        return projections


def resnet_encoder(name: str, n_channels: int) -> nn.Module:
    """Return torchvision's ResNet, untrained, as the BCL paper uses it.

    The first convolution is 3x3 with stride 1 and there is no max-pooling, for small
    images; the classifier is left out.

    Parameters
    ----------
    name : {"resnet18", "resnet50"}
        Which network; its embedding has the size 512 or 2048.
    n_channels : int
        Number of channels of the images.

    Returns
    -------
    encoder : torch.nn.Module
        From ``(n, n_channels, height, width)`` to ``(n, size)``.

    Raises
    ------
    ImportError
        If torchvision is not installed.

    Examples
    --------
    >>> import torch
    >>> from sklearn_bcl.encoders import resnet_encoder
    >>> resnet_encoder("resnet18", n_channels=3).eval()(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 512])
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(
            f"The encoder {name!r} needs torchvision: pip install 'sklearn-bcl[vision]'"
        ) from error
    encoder: nn.Module = {"resnet18": models.resnet18, "resnet50": models.resnet50}[
        name
    ](weights=None)
    encoder.conv1 = nn.Conv2d(n_channels, 64, 3, stride=1, padding=1, bias=False)
    encoder.maxpool = nn.Identity()
    encoder.fc = nn.Identity()
    return encoder
