"""Bins of numbers, and the loss of telling them from an embedding."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import small as by_default
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from torch import Generator, nn

from sklearn_bcl import BCLEmbedder
from sklearn_bcl._bins import MOST_COLUMNS, N_BINS, BinPredictor
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.rows import Rows


def small(bin_weight=1.0, **parameters):
    return by_default(bin_weight=bin_weight, **parameters)


def predictor(X, n_components=4, device="cpu"):
    row_format, X = RowFormat.of(X)
    rows = Rows(X, row_format, torch.device(device))
    random_state = np.random.RandomState(0)
    torch.manual_seed(0)
    return BinPredictor.of(rows, n_components, random_state).to(device), rows


def test_bins_have_the_same_number_of_rows(device):
    X = np.random.default_rng(0).normal(size=(800, 3)) * [1, 1e-3, 1e6]
    head, rows = predictor(X, device=device)
    bins = head.bins(rows[:]).cpu()
    for column in bins.T:
        assert_array_equal(np.bincount(column), np.full(N_BINS, 100))
    order = X[:, 2].argsort()
    assert (np.diff(bins[order, 2]) >= 0).all()


def test_ties_gaps_and_constants():
    X = np.column_stack(
        [
            np.repeat([0.0, 1.0], [60, 20]),  # two values, two bins
            np.tile([0.0, 1.0, 2.0, 3.0], 20),
            np.repeat([0.0, 5.0], [79, 1]),  # no quantile tells them apart
            np.full(80, 3.0),
            np.where(np.arange(80) < 40, np.nan, np.arange(80)),
        ]
    )
    head, rows = predictor(X)
    bins = head.bins(rows[:]).numpy()
    assert_array_equal(bins[:, 0], X[:, 0])
    assert_array_equal(bins[:, 1], X[:, 1])
    assert_array_equal(bins[:, 2], X[:, 2] / 5)
    assert (bins[:, 3] == -100).all()
    assert (bins[:40, 4] == -100).all()
    assert_array_equal(np.bincount(bins[40:, 4]), np.full(N_BINS, 5))
    # Beyond what was seen, the outer bins.
    assert head.bins(torch.tensor([[-9.0, 9.0, 9.0, 3.0, 1e9]])).tolist() == [
        [0, 3, 1, -100, 7]
    ]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("share", [0.88, 0.95])
def test_a_column_of_two_values_has_two_bins(sign, share):
    X = sign * (np.arange(200) < 200 * share).astype(float)[:, None]
    head, rows = predictor(X)
    bins = head.bins(rows[:]).numpy()
    assert_array_equal(bins, X > X.min())


def test_a_plain_loop_gives_the_same_loss(device):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=50), rng.integers(3, size=50), np.ones(50)])
    X[:5, 0] = np.nan
    head, rows = predictor(X, device=device)
    x, embeddings = rows[:], torch.from_numpy(rng.normal(size=(50, 4))).to(device)
    head.double()
    loss = head(embeddings, x, Generator(device))
    head, bins = head.cpu(), head.bins(x).cpu()
    n_bins = [8, 3]
    terms = []
    for i, embedding in enumerate(embeddings.cpu()):
        for j in (0, 1):
            target = bins[i, j]
            if target >= 0:
                weight, bias = head.weight[j, : n_bins[j]], head.bias[j, : n_bins[j]]
                terms.append(-torch.log_softmax(weight @ embedding + bias, 0)[target])
    assert len(terms) == 45 + 50
    assert_allclose(loss.item(), torch.stack(terms).mean().item(), rtol=1e-12)


def test_no_value_to_predict_is_no_loss():
    head, _ = predictor(np.random.default_rng(0).normal(size=(20, 2)))
    embeddings = torch.ones(5, 4, requires_grad=True)
    loss = head(embeddings, torch.full((5, 2), torch.nan), Generator())
    loss.backward()
    assert loss.item() == 0
    assert (embeddings.grad == 0).all()


def test_wide_rows_predict_some_columns_at_a_time(device):
    X = np.random.default_rng(0).normal(size=(20, MOST_COLUMNS + 36))
    head, rows = predictor(X, device=device)
    embeddings = torch.randn(20, 4, device=device, generator=Generator(device))
    losses = []
    for seed in (0, 0, 1):
        head.zero_grad()
        generator = Generator(device).manual_seed(seed)
        losses.append(head(embeddings, rows[:], generator))
        losses[-1].backward()
        chosen = head.weight.grad.abs().sum(dim=(1, 2)).nonzero().flatten()
        assert len(chosen) == MOST_COLUMNS
        terms = []
        for j in chosen:
            logits = embeddings @ head.weight[j].T + head.bias[j]
            bins = head.bins(rows[:])[:, j]
            terms.append(nn.functional.cross_entropy(logits, bins).item())
        assert_allclose(losses[-1].item(), np.mean(terms), rtol=1e-5)
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_is_beside_that_of_the_views(X):
    half, whole, double = (
        small(bin_weight=weight, max_epochs=1, batch_size=100, learning_rate=1e-12)
        .fit(X)
        .loss_curve_[0]
        for weight in (0.5, 1, 2)
    )
    assert 0.8 * np.log(N_BINS) < double - whole < 1.3 * np.log(N_BINS)
    assert_allclose(whole - half, (double - whole) / 2, rtol=1e-4)


def test_bins_are_on_by_default(X):
    assert BCLEmbedder().bin_weight == 0.3
    expected = small(bin_weight=0.3).fit_transform(X)
    assert_array_equal(by_default().fit_transform(X), expected)


@pytest.mark.parametrize("first_is_plain", [False, True])
def test_a_view_tells_the_bins_of_the_row_as_it_is(X, first_is_plain):
    """Not those of a view, in which all values are others."""
    seen = []

    class Recorder(nn.Module):
        edges = torch.zeros(0)

        def forward(self, read, x, generator, share):
            seen.append((read.detach().clone(), x.clone()))
            return read.sum() * 0

    embedder = small(
        augmentation=(
            None if first_is_plain else lambda x, generator: x + 10,
            lambda x, generator: x - 10,
        ),
        max_epochs=1,
        batch_size=100,
        learning_rate=1e-12,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BinPredictor, "of", lambda *arguments: Recorder())
        embedder.fit(X)
    ((read, x),) = seen
    assert torch.equal(x.sort(dim=0).values, torch.from_numpy(np.sort(X, axis=0)))
    with torch.no_grad():
        expected = embedder.encoder_(x - 10 if first_is_plain else x + 10)
    assert_allclose(read, expected, atol=1e-5)


def test_bins_are_told_from_the_embedding(X):
    embedder = small(n_components=32, max_epochs=100, learning_rate=3e-3).fit(X)
    head = embedder._model.net.module_.bins
    Z = torch.from_numpy(embedder.transform(X))
    logits = torch.einsum("nk,cbk->ncb", Z, head.weight) + head.bias
    is_right = logits.argmax(dim=2) == head.bins(torch.from_numpy(X))
    assert is_right.double().mean() > 3 / N_BINS


def test_only_tables_with_numbers_have_bins(X):
    frame = pd.DataFrame({"color": ["red", "blue"] * 50, "size": np.arange(100.0)})
    assert small().fit(frame)._model.net.module_.bins.columns.tolist() == [1]
    assert by_default().fit(frame[["color"]])._model.net.module_.bins is None
    assert small(bin_weight=0).fit(X)._model.net.module_.bins is None
    with pytest.raises(ValueError, match=r"'bin_weight' 2 cannot act: no column"):
        small(bin_weight=2).fit(frame[["color"]])
    images = np.zeros((10, 8, 8), dtype=np.uint8)
    flat = {"encoder": "mlp", "augmentation": "noise", "max_epochs": 1}
    assert BCLEmbedder(**flat).fit(images)._model.net.module_.bins is None
    BCLEmbedder(bin_weight=0, **flat).fit(images)  # none anywhere
    small(bin_weight=0).fit(frame[["color"]])
    with pytest.raises(ValueError, match="'bin_weight' 1 cannot act: the rows are ima"):
        BCLEmbedder(bin_weight=1, **flat).fit(images)


def test_an_own_encoder_has_bins(X):
    encoder = nn.Sequential(nn.Linear(5, 7), nn.Tanh())
    bins = small(encoder=encoder).fit(X)._model.net.module_.bins
    assert bins.weight.shape == (5, N_BINS, 7)


@pytest.mark.parametrize("goes_on", ["fit", "partial_fit"])
def test_bins_of_later_calls(X, goes_on):
    """A new fit measures them anew, as it does the scales of the features."""
    first, second = X.copy(), 10 * X
    first[:, 1] = 3.0  # constant there only
    embedder = small(warm_start=True)
    getattr(embedder, goes_on)(first)
    before = embedder._model.net.module_.bins.edges.clone()
    embedder = pickle.loads(pickle.dumps(embedder))
    getattr(embedder, goes_on)(second)
    edges = embedder._model.net.module_.bins.edges
    expected = small().fit(second)._model.net.module_.bins.edges
    assert torch.equal(edges, before if goes_on == "partial_fit" else expected)
    heavier = copy.deepcopy(embedder).set_params(bin_weight=2)
    curves = [getattr(e, goes_on)(second).loss_curve_ for e in (embedder, heavier)]
    assert curves[1][-1] > curves[0][-1]
    embedder.set_params(bin_weight=0)
    with pytest.raises(ValueError, match="'bin_weight' from or to 0"):
        getattr(embedder, goes_on)(second)


def test_sparse_rows_have_the_same_bins():
    X = np.random.default_rng(0).poisson(0.5, size=(100, MOST_COLUMNS + 6))
    X = X.astype(np.float32)
    embeddings = [small().fit_transform(x) for x in (X, sparse.csr_array(X))]
    assert_allclose(*embeddings, atol=1e-5)


def test_held_out_rows_have_the_same_loss(X):
    curves = [
        small(bin_weight=weight, early_stopping=True).fit(X).validation_loss_curve_
        for weight in (0, 1)
    ]
    assert curves[1][0] - curves[0][0] > 0.5 * np.log(N_BINS)


def test_autocast_does_not_lower_the_precision():
    generator = torch.Generator().manual_seed(0)
    rows, z = torch.randn(600, 3, generator=generator), torch.zeros(600, 4)
    edges = torch.linspace(-1, 1, 7).expand(3, 7).contiguous()
    predictor = BinPredictor([0, 1, 2], edges, 4)
    nn.init.zeros_(predictor.bias)
    with torch.autocast("cpu", torch.bfloat16):
        loss = predictor(z, rows, generator)
    assert_allclose(loss.item(), np.log(8), rtol=1e-5)
