"""Rows of unit length, and the gradient through their scaling."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LEAST_LENGTH = 1e-12  # of zero rows, which are divided by it


class UnitRows:
    """Rows scaled to unit length, however long or short they are; zero rows stay zero.

    Each row is first multiplied by a power of two, which is exact, so that no square
    overflows or vanishes. Zero rows are multiplied by zero and get no gradient.

    Parameters
    ----------
    z : Tensor of shape (n, d)
        Rows of float32 or float64.

    Attributes
    ----------
    rows : Tensor of shape (n, d)
        The unit rows.
    """

    def __init__(self, z: Tensor) -> None:
        largest = z.detach().abs().amax(dim=1, keepdim=True)
        limit = np.log2(torch.finfo(z.dtype).max) - 2
        exponent = largest.log2().floor().clamp(-limit, limit)
        self._factor = torch.where(largest > 0, torch.exp2(-exponent), 0.0)
        scaled = z * self._factor
        length = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        self._length = length.clamp(min=LEAST_LENGTH)
        self.rows = scaled / self._length

    def gradient(self, of_rows: Tensor) -> Tensor:
        """Return the gradient of the rows before scaling from that of the unit rows."""
        along = (of_rows * self.rows).sum(dim=1, keepdim=True)
        across = torch.addcmul(of_rows, along, self.rows, value=-1)
        return across.div_(self._length).mul_(self._factor)
