"""An autoencoder with the encoder of `BCLEmbedder`, to compare with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetRegressor
from torch import nn

from sklearn_bcl.encoders import MLPEncoder


class Autoencoder(TransformerMixin, BaseEstimator):
    """The encoder and the training of `BCLEmbedder`, with a mirrored decoder."""

    def __init__(
        self,
        n_components: int = 256,
        hidden_layer_sizes: tuple[int, ...] = (512, 512),
        max_epochs: int = 200,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.max_epochs = max_epochs
        self.random_state = random_state

    def fit(self, X, y=None):
        self.scaler_ = StandardScaler().fit(X)
        X = self.scaler_.transform(X).astype(np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            sizes = [self.n_components, *self.hidden_layer_sizes[::-1]]
            decoder: list[nn.Module] = []
            for size_in, size_out in pairwise(sizes):
                decoder += [nn.Linear(size_in, size_out), nn.ReLU()]
            decoder.append(nn.Linear(sizes[-1], X.shape[1]))
            encoder = MLPEncoder(X.shape[1], self.n_components, self.hidden_layer_sizes)
            NeuralNetRegressor(
                nn.Sequential(encoder, *decoder),
                optimizer=torch.optim.Adam,
                lr=1e-3,
                batch_size=256,
                max_epochs=self.max_epochs,
                iterator_train__shuffle=True,
                train_split=None,
                verbose=0,
            ).fit(X, X)
        self.encoder_ = encoder.eval()
        return self

    def transform(self, X):
        X = torch.from_numpy(self.scaler_.transform(X).astype(np.float32))
        with torch.no_grad():
            return self.encoder_(X).numpy()
