"""An autoencoder with the encoder of `BCLEmbedder`, to compare with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from skorch import NeuralNetRegressor
from torch import nn
from variants import ClippedScale

from sklearn_bcl._parts import auto_epochs
from sklearn_bcl.encoders import MLPEncoder


class Autoencoder(TransformerMixin, BaseEstimator):
    """The encoder and the training of `BCLEmbedder`, with a mirrored decoder.

    Input and target are features as `BCLEmbedder` scales and clips them.
    """

    def __init__(
        self,
        n_components: int = 256,
        hidden_layer_sizes: tuple[int, ...] = (512, 512),
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.random_state = random_state

    def fit(self, X, y=None):
        self.scaler_ = ClippedScale().fit(X)
        X = self.scaler_.transform(X).astype(np.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.random_state)
            sizes = [self.n_components, *self.hidden_layer_sizes[::-1]]
            decoder: list[nn.Module] = []
            for size_in, size_out in pairwise(sizes):
                decoder += [nn.Linear(size_in, size_out), nn.ReLU()]
            decoder.append(nn.Linear(sizes[-1], X.shape[1]))
            encoder = MLPEncoder(X.shape[1], self.n_components, self.hidden_layer_sizes)
            encoder.scale = nn.Identity()  # the rows are scaled
            NeuralNetRegressor(
                nn.Sequential(encoder, *decoder),
                optimizer=torch.optim.Adam,
                lr=1e-3,
                batch_size=256,
                max_epochs=auto_epochs(len(X), early_stopping=False),
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
