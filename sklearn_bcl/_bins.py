"""A second task for tables: predict the bin of each number from an embedding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._data.rows import Rows
from sklearn_bcl._data.scaling import sample_rows
from sklearn_bcl._processes import ALONE, Share
from sklearn_bcl._sparse import SparseBatch

N_BINS = 8
SHARES = np.arange(1, N_BINS) / N_BINS
MOST_COLUMNS = 16  # predicted in a step; of more, a random choice
MOST_KNOWN = 512  # predicted at all
IGNORED = -100  # a target that does not count


class BinPredictor(nn.Module):
    """Predict the quantile bin of each number of a row, linearly from its embedding.

    The embedding is of a view, in which some values are redrawn. The bins are of the
    original row. So the embedding has to learn how columns depend on each other.

    Bins have the same number of training rows, except for ties: equal values share a
    bin. A column of few values has fewer bins, but at least two unless it is constant.
    Categories and missing values are not predicted. Of more than 16 columns, each step
    predicts a random 16. Of more than 512, only a random 512 are ever predicted.

    Parameters
    ----------
    columns : list of int
        Columns of numbers.
    edges : Tensor of shape (n_columns, 7)
        Largest value of each bin except the last. Unused edges are infinite.
    n_components : int
        Size of the embedding.

    References
    ----------
    Lee et al. (2024). Binning as a Pretext Task: Improving Self-Supervised Learning in
    Tabular Domains. arXiv:2405.07414.
    """

    columns: Tensor
    edges: Tensor

    def __init__(self, columns: list[int], edges: Tensor, n_components: int) -> None:
        super().__init__()
        shape = (len(columns), N_BINS)
        self.register_buffer("columns", torch.tensor(columns, dtype=torch.long))
        self.register_buffer("edges", edges)
        bound = n_components**-0.5
        weight = torch.empty(*shape, n_components).uniform_(-bound, bound)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    @classmethod
    def of(
        cls, rows: Rows, n_components: int, random_state: np.random.RandomState
    ) -> BinPredictor | None:
        """Return a predictor for the numbers of rows, or None without numbers."""
        assert rows.format.columns is not None
        numbers = rows.format.columns.numbers
        if not numbers:
            return None
        values = sample_rows(rows, random_state)
        if len(numbers) > MOST_KNOWN:
            # The same in each fit of a table, which may go on with the head of another.
            some = np.random.RandomState(0).choice(numbers, MOST_KNOWN, replace=False)
            numbers = sorted(some.tolist())
        values = values[:, numbers]
        if sparse.issparse(values):
            values = values.toarray()
        edges = torch.from_numpy(_quantile_edges(values))
        return cls(numbers, edges, n_components)

    def bins(
        self, x: Tensor | SparseBatch, chosen: Tensor | slice = slice(None)
    ) -> Tensor:
        """Return the bins ``(n_rows, n_columns)`` of rows, in all or chosen columns.

        A bin is -100 for a missing value, and in a column with a single bin.
        """
        columns, edges = self.columns[chosen], self.edges[chosen]
        values = x.select(columns) if isinstance(x, SparseBatch) else x[:, columns]
        bins = (values.unsqueeze(2) > edges).sum(dim=2)
        says_nothing = values.isnan() | edges[:, 0].isinf()
        return torch.where(says_nothing, IGNORED, bins)

    def forward(
        self,
        embeddings: Tensor,
        x: Tensor | SparseBatch,
        generator: Generator,
        share: Share = ALONE,
    ) -> Tensor:
        """Return the mean cross-entropy over the values of all processes.

        `x` holds the rows ``(n, n_features)`` of this process. `embeddings` are the
        embeddings ``(n, n_components)`` of a view of these rows.
        """
        chosen: Tensor | slice = slice(None)
        if (n_columns := len(self.columns)) > MOST_COLUMNS:
            order = torch.rand(
                n_columns,
                generator=generator,
                device=x.device,
                dtype=torch.float32,
            )
            chosen = order.argsort()[:MOST_COLUMNS]
        is_empty = F.pad(self.edges[chosen].isinf(), (1, 0))  # above an infinite edge
        bias = self.bias[chosen].masked_fill(is_empty, -torch.inf)
        weight = self.weight[chosen].flatten(0, 1)
        logits = F.linear(embeddings, weight, bias.flatten()).unflatten(1, bias.shape)
        # Sums over bins are fast if the bins are not the last axis. Under autocast, the
        # logits may be of half precision.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        log_shares = logits.transpose(1, 2).contiguous().log_softmax(dim=1)
        bins = self.bins(x, chosen)
        of_bins = log_shares.gather(1, bins.clamp(min=0).unsqueeze(1)).squeeze(1)
        is_predicted = bins != IGNORED
        total = torch.where(is_predicted, -of_bins, 0.0).sum()
        n_values = is_predicted.sum()
        if share.size > 1:
            both = torch.stack([total, n_values.to(total.dtype)])
            total, n_values = share.sum(both).unbind()
        return total / n_values.detach().clamp(min=1)


def _quantile_edges(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the edges of the bins of each column, filled up with infinity."""
    values = np.sort(values, axis=0)  # missing ones last
    n_present = (~np.isnan(values)).sum(axis=0)
    places = np.floor(np.outer(SHARES, np.maximum(n_present - 1, 0))).astype(int)
    edges = np.take_along_axis(values, places, axis=0)
    largest = np.take_along_axis(values, np.maximum(n_present - 1, 0)[None], axis=0)
    # Where the largest value fills all quantiles, the next one ends the first bin.
    below = np.where(values < largest, values, -np.inf).max(axis=0)
    is_needed = edges[0] == largest[0]
    edges[0] = np.where(is_needed & np.isfinite(below), below, edges[0])
    is_last = ~(edges < largest)
    is_repeated = np.diff(edges, axis=0, prepend=np.nan) == 0
    return np.sort(np.where(is_last | is_repeated, np.inf, edges), axis=0).T
