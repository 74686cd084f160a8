"""The result of a fit: a trained net and the format of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklearn_bcl._ambient import standard_torch
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.rows import MIN_BATCH_ROWS, Rows
from sklearn_bcl._data.sources import Stored, is_stored
from sklearn_bcl._net import ContrastiveNet

SCORE_TEMPERATURE = 0.5


@dataclass(frozen=True)
class Model:
    """A fitted model. Calls in several threads do not disturb each other.

    Parameters
    ----------
    net : ContrastiveNet
    format : RowFormat
    random_state : numpy.random.RandomState
        Source of the next warm start or `partial_fit`, which advance it.
    parameters : dict
        Parameters of the fit.
    """

    net: ContrastiveNet
    format: RowFormat
    random_state: np.random.RandomState
    parameters: dict[str, Any]

    def rows(self, X: Any, min_rows: int = 1) -> Rows:
        """Read rows of the same format as the rows of the fit."""
        X = self.format.read(X, min_rows=min_rows)
        return Rows(X, self.format, torch.device(self.net.device))

    def embed(self, X: Any) -> NDArray[np.float32]:
        """Return the embedding of rows."""
        with standard_torch(grad=False):
            return self._in_blocks(lambda part: self.net.embed(self.rows(part)), X)

    def project(self, X: Any) -> Tensor:
        """Return the projections of rows, of unit length, on the model's device."""
        with standard_torch(grad=False):
            of_all = self._in_blocks(
                lambda part: self.net.project(self.rows(part)).numpy(), X
            )
            return torch.from_numpy(of_all).to(self.net.device)

    def _in_blocks(
        self, function: Callable[[Any], NDArray[np.float32]], X: Any
    ) -> NDArray[np.float32]:
        """Apply a function to rows; to those in a store, block by block."""
        if not is_stored(X) or (X := Stored(X)).is_small:
            return function(X)
        result, start = np.empty((0, 0), dtype=np.float32), 0
        for block in X.blocks():
            part = function(block)
            if start == 0:
                result = np.empty((len(X), *part.shape[1:]), dtype=np.float32)
            result[start : start + len(part)] = part
            start += len(part)
        return result

    def score(self, X: Any) -> float:
        """Return minus the mean NT-Xent loss of rows."""
        with standard_torch(grad=False):
            rows = self.rows(X, min_rows=MIN_BATCH_ROWS)
            return -self.net.ntxent(rows, temperature=SCORE_TEMPERATURE)

    def prior(self, name: str) -> float:
        """Return a prior of the loss at the end of the fit."""
        return float(getattr(self.net.criterion_, name))
