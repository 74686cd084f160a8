"""Sparse rows: batches, views and products without zeros."""

import numpy as np
import pytest
import torch
from helpers import small
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from sklearn_bcl._bins import _quantile_edges
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.rows import Rows
from sklearn_bcl._data.scaling import FeatureScales, _measure, _measure_sparse
from sklearn_bcl._sparse import SparseBatch
from sklearn_bcl.augmentations import FeatureCorruption, GaussianNoise
from sklearn_bcl.encoders import MLPEncoder


def table(n_rows=120, n_columns=60, density=0.05):
    """Return sparse rows, with columns that are dense, negative or empty."""
    rng = np.random.default_rng(0)
    is_stored = rng.uniform(size=(n_rows, n_columns)) < density
    X = sparse.lil_array(is_stored * rng.uniform(size=is_stored.shape), dtype="f4")
    X[:, 1] = rng.normal(size=(n_rows, 1)) + 3  # its median is not 0
    X[::2, 2] = -1.0
    X[:, 3] = 0.0
    X[5] = 0.0
    return sparse.csr_array(X)


@pytest.fixture
def batches(monkeypatch):
    """The kinds of batches that views are drawn of, in the order of the steps."""
    kinds = []
    draw = FeatureCorruption.__call__

    def watched(self, x, generator):
        kinds.append(type(x))
        return draw(self, x, generator)

    monkeypatch.setattr(FeatureCorruption, "__call__", watched)
    return kinds


def test_a_batch_is_its_rows():
    X = table()
    batch = SparseBatch.of(X)
    expected = torch.from_numpy(X.toarray())
    assert batch.shape == X.shape
    assert batch.numel() == expected.numel()
    assert_array_equal(batch.to_dense(), expected)
    columns = torch.tensor([7, 1, 3])
    assert_array_equal(batch.select(columns), expected[:, columns])
    both = SparseBatch.joined([batch, batch.padded(2)])
    zeros = torch.zeros(2, X.shape[1])
    assert_array_equal(both.to_dense(), torch.cat([expected, expected, zeros]))


def test_a_product_is_that_of_the_dense_rows():
    X = table()
    weight = torch.randn(5, X.shape[1], generator=torch.Generator().manual_seed(0))
    weights = [weight.clone().requires_grad_() for _ in range(2)]
    products = [
        SparseBatch.of(X).product(weights[0]),
        torch.from_numpy(X.toarray()) @ weights[1].T,
    ]
    assert_allclose(*(product.detach() for product in products), atol=1e-5)
    for product in products:
        product.square().sum().backward()
    assert_allclose(*(w.grad for w in weights), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_views_have_the_distribution_of_dense_ones(rate):
    X = np.array([[0, 2, 0], [1, 0, 0], [0, 3, 0], [4, 5, 0]], dtype=np.float32)
    n_draws = 20_000
    x = torch.from_numpy(X).repeat(1, n_draws)
    generator = torch.Generator().manual_seed(0)
    draw = FeatureCorruption(rate)
    batch = SparseBatch.of(sparse.csr_array(x.numpy()))
    views, others = (
        view.view(4, n_draws, 3)
        for view in (draw(batch, generator).to_dense(), draw(x, generator))
    )
    for value in range(6):
        shares = [(view == value).double().mean(dim=1) for view in (views, others)]
        assert_allclose(*shares, atol=0.02)
    # Columns are redrawn by themselves.
    changed = (views[3] != torch.from_numpy(X[3])).double()
    p = changed.mean(dim=0)
    both = (changed[:, 0] * changed[:, 1]).mean()
    assert_allclose(both, p[0] * p[1], atol=0.02)


def test_views_keep_rows_in_order_and_the_batch_as_it_is():
    batch = SparseBatch.of(table())
    before = batch.to_dense().clone()
    view = batch.redrawn(0.5, torch.Generator().manual_seed(0))
    assert_array_equal(batch.to_dense(), before)
    assert ((view.rows * 60 + view.columns).diff() > 0).all()
    again = batch.redrawn(0.5, torch.Generator().manual_seed(0))
    assert_array_equal(view.to_dense(), again.to_dense())
    assert not torch.equal(view.to_dense(), before)


def test_views_of_nothing_are_nothing():
    batch = SparseBatch.of(sparse.csr_array((4, 3), dtype=np.float32))
    view = batch.redrawn(0.5, torch.Generator().manual_seed(0))
    assert_array_equal(view.to_dense(), np.zeros((4, 3)))


@pytest.mark.parametrize("n_rows", [2, 3, 4, 5, 8, 121])
def test_features_are_measured_as_dense_ones(n_rows):
    X = table(200)[:n_rows]
    for sparse_one, dense_one in zip(
        _measure_sparse(X), _measure(X.toarray()), strict=True
    ):
        assert_allclose(sparse_one, dense_one, rtol=1e-6, atol=1e-7)


def test_measuring_takes_few_dense_columns_at_once(monkeypatch):
    X = table()
    expected = _measure_sparse(X)
    monkeypatch.setattr("sklearn_bcl._data.scaling.BLOCK_VALUES", 3)
    for one, other in zip(_measure_sparse(X), expected, strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize("hidden_layer_sizes", [(), (24,), (24, 8)])
def test_an_encoder_reads_sparse_rows_as_dense_ones(hidden_layer_sizes):
    X = table()
    x = torch.from_numpy(X.toarray())
    encoder = MLPEncoder(60, 16, hidden_layer_sizes)
    encoder.fit_statistics(x, np.random.RandomState(0))
    if hidden_layer_sizes:
        torch.nn.init.normal_(encoder.deep[-1].weight)
    outputs, gradients = [], []
    for batch in (x, SparseBatch.of(X)):
        encoder.zero_grad()
        output = encoder(batch)
        output.square().sum().backward()
        outputs.append(output.detach())
        gradients.append([p.grad.clone() for p in encoder.parameters()])
        for layer in encoder.first_layers:  # changes no value
            layer.store(by_columns=True)
    assert_allclose(*outputs, rtol=1e-4, atol=1e-4)
    for one, other in zip(*gradients, strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-3)


def test_training_keeps_rows_sparse(batches):
    X = table()
    embedder = small().fit(X)
    assert set(batches[2:]) == {SparseBatch}  # after the trials on two rows
    embedding = embedder.transform(X)
    assert_allclose(embedder.transform(X.toarray()), embedding, rtol=1e-4, atol=1e-5)
    assert_array_equal(small().fit_transform(X), embedding)
    assert embedder.loss_curve_[-1] < embedder.loss_curve_[0]
    assert np.isfinite(embedder.score(X))


def test_training_learns_as_from_dense_rows():
    """Other draws of the same views: the losses are close."""
    X = table(200)
    curves = [
        small(max_epochs=8, random_state=seed).fit(rows).loss_curve_
        for rows in (X, X.toarray())
        for seed in range(3)
    ]
    last = np.array(curves)[:, -1].reshape(2, 3)
    assert abs(last[0].mean() - last[1].mean()) < 4 * last.std(axis=1).max()


@pytest.mark.parametrize(
    "parameters",
    [
        {"augmentation": GaussianNoise(0.1)},
        {"augmentation": ("corruption", "noise")},
        {"encoder": torch.nn.Linear(60, 4)},
    ],
)
def test_parts_that_need_dense_rows_get_them(batches, parameters):
    small(**parameters).fit(table())
    assert SparseBatch not in batches


def test_dense_tables_in_a_sparse_format_are_trained_dense(batches):
    X = table(density=0.5)
    embedder = small().fit(X)
    assert SparseBatch not in batches
    expected = small().fit_transform(X.toarray())
    assert_allclose(embedder.transform(X), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("first", [sparse.csr_array, np.asarray])
def test_training_goes_on_with_other_containers(first):
    X = table()
    embedder = small().partial_fit(first(X.toarray()))
    embedder.partial_fit(X).partial_fit(X.toarray()).partial_fit(X)
    assert np.isfinite(embedder.transform(X)).all()


def test_one_view_may_be_the_rows_themselves(batches):
    small(augmentation=(None, "corruption"), early_stopping=True).fit(table(300))
    assert set(batches[1:]) == {SparseBatch}


def test_values_stored_twice_or_out_of_order_are_those_of_the_dense_rows():
    X = table()
    messy = sparse.csr_array(X)
    for start, end in zip(messy.indptr[:-1], messy.indptr[1:], strict=True):
        messy.indices[start:end] = messy.indices[start:end][::-1].copy()
        messy.data[start:end] = messy.data[start:end][::-1].copy()
    twice = sparse.csr_array(
        (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), X.shape
    )
    expected = small().fit_transform(X)
    for other in (sparse.csr_array(messy), twice):
        indices = other.indices.copy()
        assert_array_equal(small().fit_transform(other), expected)
        assert_array_equal(other.indices, indices)


def test_missing_values_of_sparse_rows(batches):
    X = table()
    X.data[::9] = np.nan
    embedder = small().fit(X)
    assert SparseBatch not in batches
    expected = small().fit_transform(X.toarray())
    assert_allclose(embedder.transform(X), expected, rtol=1e-3, atol=1e-4)


def test_an_embedding_does_not_depend_on_the_company():
    X = table(300)
    embedder = small().fit(X)
    whole = embedder.transform(X)
    for rows in (slice(3, 4), slice(250, 300), slice(1, 290)):
        assert_array_equal(embedder.transform(X[rows]), whole[rows])


def test_of_wide_tables_some_columns_are_predicted(monkeypatch):
    monkeypatch.setattr("sklearn_bcl._bins.MOST_KNOWN", 20)
    X = table(density=0.5)
    X = X + sparse.csr_array(np.where(X.toarray() > 0, np.arange(60), 0.0))
    for rows in (X, X.toarray()):
        # A warm start goes on with the head, whose bins are those of its columns.
        embedder = small(warm_start=True).fit(rows).fit(rows)
        head = embedder._model.net.module_.bins
        assert len(head.columns) == 20
        assert (head.columns.diff() > 0).all()
        expected = _quantile_edges(X.toarray()[:, head.columns].astype(np.float32))
        assert_array_equal(head.edges, expected)


def test_values_that_are_missing_later(batches):
    X = table()
    late = X.copy()
    late.data[::7] = np.nan
    embedder = small().fit(X)
    with pytest.warns(UserWarning, match="count as the median"):
        embedding = embedder.transform(late)
        expected = embedder.transform(late.toarray())
    assert_allclose(embedding, expected, rtol=1e-4, atol=1e-5)
    with pytest.warns(UserWarning, match="count as the median"):
        assert np.isfinite(embedder.score(late))
        assert np.isfinite(embedder.true_negative_proba(X[:4], late)).all()
        embedder.partial_fit(late)
    assert batches[-1] is SparseBatch
    assert np.isfinite(embedder.transform(X)).all()


def test_missing_values_are_measured_as_those_of_dense_ones():
    X = table(200)
    X.data[::5] = np.nan
    sparse_one, dense_one = (
        FeatureScales.of(small_rows, np.random.RandomState(0))
        for small_rows in (rows_of(X), rows_of(X.toarray()))
    )
    assert_allclose(sparse_one.center, dense_one.center, rtol=1e-6)
    assert_allclose(sparse_one.scale, dense_one.scale, rtol=1e-6)


def rows_of(X):
    row_format, X = RowFormat.of(X)
    return Rows(X, row_format, torch.device("cpu"))


def test_the_score_is_that_of_dense_rows():
    X = table()
    embedder = small().fit(X)
    assert embedder.score(X) == pytest.approx(embedder.score(X.toarray()), rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "sgd", torch.optim.LBFGS])
def test_weights_and_moments_are_stored_as_usual(optimizer):
    X = table()
    decay = {} if isinstance(optimizer, str) else {"weight_decay": 0}
    embedder = small(optimizer=optimizer, learning_rate=0.01, **decay)
    for rows in (X, X.toarray(), X):
        embedder.partial_fit(rows)
        for weight in embedder.encoder_.parameters():
            assert weight.is_contiguous()
            for moment in embedder._model.net.optimizer_.state[weight].values():
                assert not isinstance(moment, torch.Tensor) or moment.is_contiguous()
    assert np.isfinite(embedder.transform(X)).all()


def test_moments_follow_the_weights():
    """Weights stored in another way are trained to the same values."""
    X = table()
    results = []
    for optimizer in ("adam", type("Adam", (torch.optim.Adam,), {})):
        embedder = small(optimizer=optimizer, max_epochs=3)
        embedder.fit(X).partial_fit(X)
        results.append(embedder.transform(X))
    assert_allclose(*results, rtol=1e-3, atol=1e-4)


class Changed(MLPEncoder):
    pass


def with_other_layer():
    encoder = MLPEncoder(60, 8, (16,))
    encoder.linear = torch.nn.Linear(60, 8)
    return encoder


def with_dropout():
    encoder = MLPEncoder(60, 8, (16,))
    encoder.deep.insert(0, torch.nn.Dropout(0.1))
    return encoder


@pytest.mark.parametrize(
    "encoder", [lambda: Changed(60, 8, (16,)), with_other_layer, with_dropout]
)
def test_encoders_that_differ_get_dense_rows(batches, encoder):
    X = table()
    embedder = small(encoder=encoder).fit(X)
    assert SparseBatch not in batches
    assert_array_equal(embedder.transform(X), embedder.transform(X.toarray()))


def test_hooks_and_normalized_weights_of_an_own_encoder(batches):
    encoder = MLPEncoder(60, 8, (16,))
    torch.nn.utils.spectral_norm(encoder.linear)
    before = encoder.linear.weight_orig.detach().clone()
    embedder = small(encoder=encoder).fit(table())
    assert SparseBatch in batches
    assert not torch.equal(embedder.encoder_.linear.weight_orig, before)


def test_a_layer_exchanged_after_the_fit():
    X = table()
    embedder = small().fit(X)
    embedder.encoder_.linear = torch.nn.Linear(60, 8)
    assert_array_equal(embedder.transform(X), embedder.transform(X.toarray()))


def test_rows_without_values():
    X = sparse.csr_array((20, 60), dtype=np.float32)
    embedding = small().fit_transform(X)
    assert_array_equal(embedding, np.tile(embedding[:1], (20, 1)))


def test_indices_of_64_bits_and_memory_that_is_read_only():
    X = table()
    expected = small().fit_transform(X)
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    assert_array_equal(small().fit_transform(X), expected)


def test_sparse_and_dense_rows_in_a_pair():
    X = table()
    embedder = small().fit(X)
    expected = embedder.similarity(X, X[:7])
    for one, other in ((X.toarray(), X[:7]), (X, X[:7].toarray())):
        assert_allclose(embedder.similarity(one, other), expected, atol=1e-5)
