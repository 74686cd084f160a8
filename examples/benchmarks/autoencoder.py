"""An autoencoder with the encoder of `BCLEmbedder`, to compare with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from skorch import NeuralNetRegressor
from torch import nn

from sklearn_bcl.encoders import MLPEncoder


class Autoencoder(TransformerMixin, BaseEstimator):
    """The encoder and the training of `BCLEmbedder`, with a mirrored decoder.

    The target is the features as the encoder scales and clips them.
    """

    def __init__(
        self,
        n_components: int = 256,
        hidden_layer_sizes: tuple[int, ...] = (256, 256),
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.random_state = random_state

    def fit(self, X, y=None):
        X = torch.tensor(np.asarray(X), dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            encoder = MLPEncoder(X.shape[1], self.n_components, self.hidden_layer_sizes)
            random_state = np.random.RandomState(self.random_state)
            encoder.fit_statistics(X, random_state)
            # The law of BCLEmbedder(max_epochs="auto").
            max_epochs = int(np.ceil(80 * np.sqrt(3750 / len(X))).clip(10, 80))
            NeuralNetRegressor(
                nn.Sequential(encoder, self.decoder(X.shape[1])),
                optimizer=torch.optim.Adam,
                lr=2e-3,
                batch_size=256,
                max_epochs=max_epochs,
                iterator_train__shuffle=True,
                train_split=None,
                verbose=0,
            ).fit(X, encoder.scale(X))
        self.encoder_ = encoder.eval()
        return self

    def decoder(self, n_features: int) -> nn.Module:
        """Return the layers from an embedding to scaled features."""
        sizes = [self.n_components, *self.hidden_layer_sizes[::-1]]
        layers: list[nn.Module] = []
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], n_features))

    def transform(self, X):
        X = torch.tensor(np.asarray(X), dtype=torch.float32)
        with torch.no_grad():
            return self.encoder_(X).numpy()
