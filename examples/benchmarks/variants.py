"""Designs of the search behind the defaults that `BCLEmbedder` has no parameter for.

Each is built from what is public: pipelines, callbacks, encoders, augmentations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from rank_losses import (
    CleanRows,
    DrawsLoss,
    NearOracleLoss,
    RankOracleLoss,
    SharesLoss,
    oracle,
)
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.cluster import KMeans
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import Normalizer, QuantileTransformer, StandardScaler
from skorch.callbacks import Callback, LRScheduler
from torch import Generator, Tensor, nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import FeatureCorruption, GaussianNoise
from sklearn_bcl.encoders import MLPEncoder


class ClippedScale(TransformerMixin, BaseEstimator):
    """The scaling and the smooth clip of the default encoder, as a transformer."""

    def fit(self, X, y=None):
        low, self.center_, high = np.quantile(X, [0.25, 0.5, 0.75], axis=0)
        self.scale_ = (high - low) / 1.349  # 1 for a standard normal distribution
        self.scale_ = np.where(self.scale_ > 0, self.scale_, np.std(X, axis=0))
        self.scale_ = np.where(self.scale_ > 0, self.scale_, 1)
        return self

    def transform(self, X):
        z = (X - self.center_) / self.scale_
        return z / np.sqrt(1 + (z / 3) ** 2)


class NeighbourViews(BaseEstimator):
    """A corrupted copy of a row, in the second of two views of one of its neighbours.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Training rows, among which neighbours are looked for after scaling.
    n_neighbors : int
    both : bool
        Whether the first view is of a neighbour, too.
    rate : float
        Probability that a value of either is redrawn.
    """

    def __init__(self, X, n_neighbors=5, both=False, rate=0.3):
        self.X = X
        self.n_neighbors = n_neighbors
        self.both = both
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        if not hasattr(self, "rows_"):
            self.rows_ = torch.as_tensor(np.asarray(self.X, dtype=np.float32))
            self.scaler_ = ClippedScale().fit(self.X)
            self.scaled_ = torch.from_numpy(self.scaler_.transform(self.X))
            self.calls_ = 0
        self.calls_ += 1
        if self.both or self.calls_ % 2 == 0:
            scaled = torch.from_numpy(self.scaler_.transform(x.numpy()))
            distances = torch.cdist(scaled, self.scaled_)
            n_nearest = min(self.n_neighbors + 1, len(self.rows_))
            nearest = distances.topk(n_nearest, largest=False).indices
            # The first is the row itself, which stays only if both views are drawn.
            first = 0 if self.both else 1
            chosen = torch.randint(first, n_nearest, (len(x), 1), generator=generator)
            x = self.rows_[nearest.gather(1, chosen)[:, 0]]
        return FeatureCorruption(self.rate)(x, generator)


class NeighbourEmbedder(TransformerMixin, BaseEstimator):
    """`BCLEmbedder` with :class:`NeighbourViews` of its training rows."""

    def __init__(self, embedder, n_neighbors=5, both=False, rate=0.3):
        self.embedder = embedder
        self.n_neighbors = n_neighbors
        self.both = both
        self.rate = rate

    def fit(self, X, y=None):
        views = NeighbourViews(np.asarray(X), self.n_neighbors, self.both, self.rate)
        self.embedder_ = clone(self.embedder).set_params(augmentation=views).fit(X)
        return self

    def transform(self, X):
        return self.embedder_.transform(X)


class OneView(BaseEstimator):
    """Corrupt the second view only, as SCARF does."""

    def __init__(self, rate=0.6):
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        self.calls_ = getattr(self, "calls_", 0) + 1
        return FeatureCorruption(self.rate if self.calls_ % 2 else 0)(x, generator)


class NearCorruption(BaseEstimator):
    """Redraw values from the nearest rows of the batch instead of all of them."""

    def __init__(self, rate=0.5, share=0.25):
        self.rate = rate
        self.share = share

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        spread = x.std(dim=0, correction=0)
        z = (x - x.mean(dim=0)) / torch.where(spread > 0, spread, 1)
        distances = torch.cdist(z.clamp(-3, 3), z.clamp(-3, 3))
        n_near = min(max(2, int(len(x) * self.share)), len(x))
        near = distances.topk(n_near, largest=False).indices
        donors = near.gather(1, torch.randint(n_near, x.shape, generator=generator))
        chosen = torch.rand(x.shape, generator=generator) < self.rate
        return torch.where(chosen, x.gather(0, donors), x)


class RowSwap(BaseEstimator):
    """Redraw values of a row from one other row of the batch."""

    def __init__(self, rate=0.3):
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        donors = torch.randint(len(x), (len(x),), generator=generator)
        chosen = torch.rand(x.shape, generator=generator) < self.rate
        return torch.where(chosen, x[donors], x)


class ClusterCorruption(BaseEstimator):
    """Redraw values from rows of the batch in the same cluster of k-means.

    Parameters
    ----------
    clusters : estimator with a method `predict`
        Fitted on training rows.
    rate : float
    """

    def __init__(self, clusters, rate=0.3):
        self.clusters = clusters
        self.rate = rate

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        groups = torch.from_numpy(self.clusters.predict(x.double().numpy()))
        same = (groups[:, None] == groups).float()
        donors = same.multinomial(x.shape[1], replacement=True, generator=generator)
        chosen = torch.rand(x.shape, generator=generator) < self.rate
        return torch.where(chosen, x.gather(0, donors), x)


class ClusterEmbedder(TransformerMixin, BaseEstimator):
    """`BCLEmbedder` with :class:`ClusterCorruption` by clusters of scaled rows."""

    def __init__(self, embedder, n_clusters=10, rate=0.3):
        self.embedder = embedder
        self.n_clusters = n_clusters
        self.rate = rate

    def fit(self, X, y=None):
        k_means = KMeans(self.n_clusters, random_state=self.embedder.random_state)
        clusters = make_pipeline(ClippedScale(), k_means).fit(X)
        views = ClusterCorruption(FrozenEstimator(clusters), self.rate)
        self.embedder_ = clone(self.embedder).set_params(augmentation=views).fit(X)
        return self

    def transform(self, X):
        return self.embedder_.transform(X)


class OneCycle(LRScheduler):
    """A learning rate that rises to its triple, and falls to almost 0."""

    def __init__(self):
        super().__init__(torch.optim.lr_scheduler.OneCycleLR)

    def on_train_begin(self, net, **kwargs):
        self.max_lr, self.total_steps = 3 * net.lr, net.epochs_
        super().on_train_begin(net, **kwargs)


class WeightAverage(Callback):
    """End with an exponential moving average of the weights."""

    def __init__(self, decay=0.99):
        self.decay = decay

    def on_train_begin(self, net, **kwargs):
        self.average_ = copy.deepcopy(net.module_.state_dict())

    def on_batch_end(self, net, training, **kwargs):
        if training:
            for name, value in net.module_.state_dict().items():
                self.average_[name].lerp_(value, 1 - self.decay)

    def on_train_end(self, net, **kwargs):
        net.module_.load_state_dict(self.average_)


class OwnEncoder(TransformerMixin, BaseEstimator):
    """`BCLEmbedder` on an encoder made for the number of features."""

    def __init__(self, embedder, make):
        self.embedder = embedder
        self.make = make

    def fit(self, X, y=None):
        encoder = partial(self.make, X.shape[1])
        self.embedder_ = clone(self.embedder).set_params(encoder=encoder).fit(X)
        return self

    def transform(self, X):
        return self.embedder_.transform(X)


def mlp(n_features: int) -> nn.Module:
    """Return the default encoder without its scaling."""
    encoder = MLPEncoder(n_features, 256)
    encoder.scale = nn.Identity()
    return nn.Sequential(encoder)  # none that the embedder would set the scales of


def perceptron(n_features: int) -> nn.Module:
    """Return the default encoder of rounds 1 and 2, without the linear map."""
    return nn.Sequential(
        *(nn.Linear(n_features, 512), nn.ReLU()),
        *(nn.Linear(512, 512), nn.ReLU()),
        *(nn.Linear(512, 256), nn.LeakyReLU(0.1)),
    )


def batch_norm(n_features: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(n_features, 512), nn.BatchNorm1d(512), nn.ReLU()),
        *(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()),
        *(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.1)),
    )


def linear_output(n_features: int) -> nn.Module:
    """Return the perceptron without its last activation."""
    return perceptron(n_features)[:-1]


class Skip(nn.Module):
    """The perceptron, whose last layer sees the features, too."""

    def __init__(self, n_features):
        super().__init__()
        self.hidden = nn.Sequential(
            *(nn.Linear(n_features, 512), nn.ReLU()),
            *(nn.Linear(512, 512), nn.ReLU()),
        )
        self.last = nn.Sequential(nn.Linear(512 + n_features, 256), nn.LeakyReLU(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.hidden(x), x], dim=1))


class LabelledViews(BaseEstimator):
    """Corrupted features; the last column is the class, for the loss of the oracle."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        oracle.BATCH["labels"] = x[:, -1]
        return torch.cat([FeatureCorruption()(x[:, :-1], generator), x[:, -1:]], dim=1)


class OracleEmbedder(TransformerMixin, BaseEstimator):
    """An embedder with a loss that knows all labels in training."""

    def __init__(self, embedder, loss):
        self.embedder = embedder
        self.loss = loss

    def fit(self, X, y):
        self.scaler_ = ClippedScale().fit(X)
        self.embedder_ = clone(self.embedder).set_params(
            encoder=partial(WithoutLastColumn, X.shape[1]),
            augmentation=LabelledViews(),
            loss=self.loss,
        )
        oracle.BATCH["labels"] = torch.arange(2.0)  # the embedder first tries two rows
        self.embedder_.fit(np.column_stack([self.scaler_.transform(X), y]))
        return self

    def transform(self, X):
        rows = self.scaler_.transform(X)
        return self.embedder_.transform(np.column_stack([rows, np.zeros(len(rows))]))


class WithoutLastColumn(nn.Module):
    def __init__(self, n_features):
        super().__init__()
        self.encoder = mlp(n_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x[:, :-1])


class Untrained(TransformerMixin, BaseEstimator):
    """A perceptron with random weights, to tell what training adds.

    The default encoder is a random linear map as long as it is untrained.
    """

    def __init__(self, seed):
        self.seed = seed

    def fit(self, X, y=None):
        self.scaler_ = ClippedScale().fit(X)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.encoder_ = perceptron(X.shape[1]).eval()
        return self

    def transform(self, X):
        rows = torch.from_numpy(self.scaler_.transform(X).astype(np.float32))
        with torch.no_grad():
            return self.encoder_(rows).numpy()


def plain(seed: int, robustness: float = 0.0, **settings: Any) -> BCLEmbedder:
    """Return what designs are built on: the default embedder, but for robustness."""
    return BCLEmbedder(random_state=seed, robustness=robustness, **settings)


def scaled(
    scaler: Any, seed: int, make: Callable[[int], nn.Module] = mlp, **settings: Any
) -> BaseEstimator:
    """Return an embedder with another scaling of the features, or another encoder."""
    return make_pipeline(scaler, OwnEncoder(plain(seed, **settings), make))


def quantiles(seed: int) -> QuantileTransformer:
    return QuantileTransformer(
        n_quantiles=1000, output_distribution="normal", random_state=seed
    )


def clipped(make: Callable[[int], nn.Module]) -> Callable[..., BaseEstimator]:
    return lambda seed, **kw: scaled(ClippedScale(), seed, make, **kw)


def augmented(make: Callable[..., Any]) -> Callable[..., BaseEstimator]:
    """Return a maker of embedders with an augmentation, and its rate in the name."""

    def embedder(seed: int, rate: float | None = None, **settings: Any) -> BCLEmbedder:
        augmentation = make() if rate is None else make(rate)
        return plain(seed, augmentation=augmentation, **settings)

    return embedder


VARIANTS: dict[str, Callable[..., Any]] = {
    "oracle": lambda seed: OracleEmbedder(plain(seed), oracle.OracleLoss(0.5)),
    "oracle of ranks": lambda seed, **kw: OracleEmbedder(
        plain(seed, callbacks=[CleanRows()]), RankOracleLoss(**kw)
    ),
    "raw appended": lambda seed, **kw: FeatureUnion(
        [("raw", StandardScaler()), ("bcl", plain(seed, **kw))]
    ),
    "standardised": lambda seed, **kw: scaled(StandardScaler(), seed, **kw),
    "quantiles": lambda seed, **kw: scaled(quantiles(seed), seed, **kw),
    "batch norm": clipped(batch_norm),
    "draws": lambda seed, **kw: plain(
        seed, loss=DrawsLoss(**kw), callbacks=[CleanRows()]
    ),
    "cluster shares": lambda seed: plain(seed, loss=SharesLoss(n_clusters=10)),
    "oracle of near": lambda seed, **kw: OracleEmbedder(
        plain(seed), NearOracleLoss(**kw)
    ),
    "oracle of shares": lambda seed: OracleEmbedder(plain(seed), SharesLoss()),
    "row swap": augmented(RowSwap),
    "corruption by clusters": lambda seed, **kw: ClusterEmbedder(plain(seed), **kw),
    "one cycle": lambda seed: plain(seed, callbacks=[OneCycle()]),
    "perceptron": clipped(perceptron),
    "clipped": lambda seed: ClippedScale(),
    "untrained": lambda seed: Untrained(seed),
    "linear output": clipped(linear_output),
    "skip": clipped(Skip),
    "neighbours": lambda seed, **kw: NeighbourEmbedder(plain(seed, **kw), both=True),
    "neighbour positives": lambda seed: NeighbourEmbedder(plain(seed)),
    "corruption": augmented(FeatureCorruption),
    "corruption by near rows": augmented(NearCorruption),
    "one view": augmented(OneView),
    "noise": augmented(lambda: GaussianNoise(0.5)),
    "normalised": lambda seed, **kw: make_pipeline(plain(seed, **kw), Normalizer()),
    "average normalised": lambda seed, **kw: make_pipeline(
        plain(seed, callbacks=[WeightAverage()], **kw), Normalizer()
    ),
    "average": lambda seed, **kw: plain(seed, callbacks=[WeightAverage()], **kw),
    "cosine": lambda seed, **kw: plain(
        seed, callbacks=[LRScheduler("CosineAnnealingLR", T_max=200)], **kw
    ),
}
