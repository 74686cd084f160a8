"""Losses of several shares of a batch. Threads stand for processes here."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from numpy.testing import assert_allclose
from test_losses import each_robustness, make

import sklearn_bcl.losses
from sklearn_bcl._bins import BinPredictor
from sklearn_bcl._processes import ALONE, Share


class OfThread(Share):
    """The share of a thread; what threads exchange goes through a list."""

    def __init__(self, rank, size, barrier, given):
        super().__init__()
        self.rank, self.size, self.barrier, self.given = rank, size, barrier, given

    def exchange_tensors(self, x):
        self.given[self.rank] = x.detach()
        self.barrier.wait(20)
        values = list(self.given)
        self.barrier.wait(20)
        return values

    def _summed(self, x):
        return sum(self.exchange_tensors(x))

    def _gathered(self, x, n_rows):
        rows = torch.cat(self.exchange_tensors(x))
        assert len(rows) == n_rows
        return rows


def in_threads(function, size):
    """Return what a function of a share returns in each of several threads."""
    barrier, given = threading.Barrier(size), [None] * size
    shares = [OfThread(rank, size, barrier, given) for rank in range(size)]
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(function, shares))


@pytest.mark.parametrize("name", ["simclr", "bcl", "dcl", "hcl"])
@pytest.mark.parametrize(("n_rows", "size"), [(24, 2), (25, 3), (3, 2), (2, 3)])
@pytest.mark.parametrize("way", ["graph", "one pass", "chunks"])
@each_robustness
def test_shares_have_the_gradients_of_the_whole(
    name, n_rows, size, way, robustness, views, monkeypatch
):
    loss = make(name, robustness=robustness)
    pair = [view.clone().requires_grad_() for view in views(n_rows, 8)]
    value = loss(*pair)
    value.backward()
    dtype = torch.float32 if way == "one pass" else torch.float64
    if way == "chunks":
        monkeypatch.setattr(sklearn_bcl.losses, "MOST_SIMILARITIES", 5 * n_rows)

    def of_share(share):
        own = share.rows(n_rows)
        z1, z2 = (view.detach()[own].to(dtype).requires_grad_() for view in pair)
        of_all = loss.of_share(z1, z2, share, n_rows)
        of_all.backward()
        # Gradients are those of the mean over the processes.
        return own, of_all.item(), z1.grad / size, z2.grad / size

    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for own, of_all, *slopes in in_threads(of_share, size):
        assert_allclose(of_all, value.item(), rtol=tolerance)
        for view, slope in zip(pair, slopes, strict=True):
            scale = max(view.grad.abs().max().item(), 1e-3)
            atol = 100 * tolerance * scale
            assert_allclose(slope, view.grad[own], rtol=0, atol=atol)


@pytest.mark.parametrize("size", [2, 3])
def test_shares_have_the_loss_of_the_bins_of_the_whole(size):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(10, 3, generator=generator)
    rows[0, 1] = torch.nan
    embeddings = torch.randn(10, 4, generator=generator)
    edges = torch.linspace(-1, 1, 7).expand(3, 7).contiguous()
    predictor = BinPredictor([0, 1, 2], edges, 4)
    expected = predictor(embeddings, rows, generator)

    def of_share(share):
        own = share.rows(10)
        return predictor(embeddings[own], rows[own], generator, share).item()

    assert_allclose(in_threads(of_share, size), expected.item(), rtol=1e-6)
    assert predictor(embeddings, rows, generator, ALONE) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n_rows", [2, 3, 24, 25])
def test_shares_are_all_rows_once(n_rows, size):
    share = Share()
    share.size, rows, anchors = size, [], []
    for share.rank in range(size):
        own = share.rows(n_rows)
        rows += range(n_rows)[own]
        assert abs(own.stop - own.start - n_rows / size) < 1
        for part in share.anchors(n_rows):
            anchors += range(2 * n_rows)[part]
    assert rows == list(range(n_rows))
    assert sorted(anchors) == list(range(2 * n_rows))
