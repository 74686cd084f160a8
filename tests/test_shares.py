"""Losses of several shares of a batch. Threads stand for processes here."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from numpy.linalg import norm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from skorch.callbacks import Callback
from test_losses import each_robustness, make
from torch import nn

import sklearn_bcl._embedder
import sklearn_bcl._processes
import sklearn_bcl.losses
from sklearn_bcl import BCLEmbedder
from sklearn_bcl._bins import BinPredictor
from sklearn_bcl._processes import ALONE, Processes, Share
from sklearn_bcl.losses import NTXentLoss

IRIS = load_iris().data[:130]  # batches of 50, 50 and 30


class OfThread(Share):
    """The share of a thread; what threads exchange goes through a list."""

    def __init__(self, rank, size, barrier, given):
        super().__init__()
        self.rank, self.size, self.barrier, self.given = rank, size, barrier, given

    def exchange(self, kind, value=None):
        self.given[self.rank] = (kind, value)
        self.barrier.wait(20)
        kinds, values = zip(*self.given, strict=True)
        self.barrier.wait(20)
        assert len(set(kinds)) == 1
        return list(values)

    def end_in(self, error):
        if error is not self._agreed:
            self.barrier.abort()

    def _summed(self, x):
        return sum(self.exchange("adds", x.detach()))

    def _gathered(self, x, n_rows):
        rows = torch.cat(self.exchange("gathers", x.detach()))
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


class Alignment(nn.Module):
    def forward(self, z1, z2):
        return (z1 - z2).square().sum(1).mean()


class Doubled(NTXentLoss):
    def forward(self, z1, z2):
        return 2 * super().forward(z1, z2)


class EndInSecond(Callback):
    """End training after two epochs, in the thread of rank 1 only."""

    def on_epoch_end(self, net, **kwargs):
        if net.share.rank == 1 and len(net.history) == 2:
            raise KeyboardInterrupt


class ChangeInSecond(Callback):
    """Change a weight in the thread of rank 1 only."""

    def on_train_end(self, net, **kwargs):
        with torch.no_grad():
            next(net.module_.parameters())[0] += net.share.rank


@pytest.fixture
def fit_in_threads(monkeypatch):
    """Return a function that fits in several threads, as several processes do."""
    of_threads = threading.local()

    @contextmanager
    def share_of_fit():
        try:
            yield of_threads.share
        except Exception as error:
            of_threads.share.end_in(error)
            raise

    def fit(size, X, **parameters):
        def of_share(share):
            of_threads.share = share
            embedder = BCLEmbedder(max_epochs=3, batch_size=50, random_state=0)
            embedder.set_params(optimizer="sgd", learning_rate=0.05)
            return embedder.set_params(**parameters).fit(X)

        monkeypatch.setattr(sklearn_bcl._embedder, "share_of_fit", share_of_fit)
        return in_threads(of_share, size)

    return fit


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"loss": "simclr", "early_stopping": True, "validation_fraction": 0.2},
        {"loss": Alignment()},
        {"loss": Doubled()},
        {"augmentation": "noise", "bin_weight": 0.0},
    ],
    ids=["default", "held-out", "own loss", "own forward", "noise"],
)
def test_fits_of_several_are_the_fit_of_one(fit_in_threads, size, parameters):
    (alone,) = fit_in_threads(1, IRIS, **parameters)
    first, *others = fit_in_threads(size, IRIS, **parameters)
    expected, embedding = alone.transform(IRIS), first.transform(IRIS)
    assert_allclose(first.loss_curve_, alone.loss_curve_, rtol=1e-4)
    assert norm(embedding - expected) <= 1e-5 * norm(expected)
    for other in others:
        assert other.loss_curve_ == first.loss_curve_
        assert_array_equal(other.transform(IRIS), embedding)


def test_all_end_where_one_ends(fit_in_threads):
    embedders = fit_in_threads(3, IRIS, callbacks=[EndInSecond()])
    assert [embedder.n_iter_ for embedder in embedders] == [2, 2, 2]
    first, *others = [embedder.transform(IRIS) for embedder in embedders]
    for other in others:
        assert_array_equal(other, first)


def test_weights_that_differ_are_an_error(fit_in_threads):
    with pytest.raises(ValueError, match="differ in their weights after training"):
        fit_in_threads(2, IRIS, callbacks=[ChangeInSecond()])


def test_all_have_the_counts_of_the_first():
    def of_share(share):
        norm = nn.BatchNorm1d(2)
        norm.running_mean += share.rank
        share.check_weights(norm)
        return norm.running_mean.tolist()

    assert in_threads(of_share, 3) == [[0, 0]] * 3


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


GPU = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("identities", "place"),
    [
        (["a", "b"], GPU),
        (["a", "a"], "cpu"),
        (["a", None], "cpu"),
        ([None, None], "cpu"),
    ],
)
def test_gpus_are_connected_if_each_process_has_its_own(identities, place, monkeypatch):
    processes, calls = Processes(size=2), []
    monkeypatch.setattr(sklearn_bcl._processes, "_identity", lambda device: "a")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(
        Processes, "_exchange", lambda *a: calls.append(a) or identities
    )
    monkeypatch.setattr(Processes, "_group", lambda self, kind: calls.append(kind))
    for _ in range(2):  # the second time, they know
        assert processes._meeting_place(GPU) == torch.device(place)
    assert calls[0][1:] == ("exchanges tensors of a GPU", "a")
    assert calls[1:] == (["cuda"] if place == GPU else [])
    for device in ("cpu", "mps"):
        assert processes._meeting_place(torch.device(device)) == torch.device("cpu")


def test_processes_that_share_one_of_several_gpus_are_warned(monkeypatch):
    monkeypatch.setattr(sklearn_bcl._processes, "_identity", lambda device: "a")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(Processes, "_exchange", lambda *a: ["a", "a"])
    with pytest.warns(UserWarning, match="Give each process a GPU of its own"):
        Processes(size=2)._meeting_place(GPU)
