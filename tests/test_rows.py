import gc
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.rows import RowBatches, Rows, _fits
from sklearn_bcl._sparse import SparseBatch

CPU = torch.device("cpu")


@pytest.fixture
def X():
    return np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.fixture
def y():
    return np.array([0, 1, 2, -1, 1, 0, 2, 2, -1, 1])


def make(X, device=CPU, y=None, **layout):
    row_format, X = RowFormat.of(X, **layout)
    return Rows(X, row_format, device, y)


def containers(X):
    readonly = X.copy()
    readonly.flags.writeable = False
    return X, readonly, sparse.csr_matrix(X), sparse.csr_array(X)


def test_rows_share_the_memory_of_the_array(X):
    rows = make(X)
    assert rows.data.data_ptr() == X.ctypes.data
    batch = rows[:2]
    batch.zero_()
    rows[torch.tensor([0, 1])].zero_()
    assert_array_equal(X.ravel(), np.arange(30))  # batches are copies


def test_rows_keep_a_read_only_array(X):
    X.flags.writeable = False
    expected, reference = X.copy(), weakref.ref(X)
    rows = make(X)
    del X
    gc.collect()
    assert rows.data.data_ptr() == reference().ctypes.data
    assert_array_equal(rows[:], expected)
    assert not reference().flags.writeable


def test_rows_of_every_container(X, y, device):
    positions = torch.tensor([3, 1])
    for data in containers(X):
        rows = make(data, device, y)
        assert len(rows) == 10
        where = positions.to(rows.indices.device)
        batch, labels = rows.batch(where)
        assert batch.device.type == labels.device.type == device.type
        assert batch.dtype == torch.float32
        assert_array_equal(batch.cpu(), X[[3, 1]])
        assert_array_equal(labels.cpu(), y[[3, 1]])
        assert_array_equal(rows[where].cpu(), batch.cpu())
        subset = rows.subset(np.array([9, 8, 7]))
        assert len(subset) == 3
        assert_array_equal(subset[:2].cpu(), X[[9, 8]])


def test_images_are_read_as_the_format_says(device):
    images = np.arange(240, dtype=np.uint8).reshape(4, 5, 4, 3)
    for X, layout in (
        (images, {}),
        (images.reshape(4, -1), {"image_shape": (5, 4, 3)}),
    ):
        rows = make(X, device, **layout)
        assert rows.data.dtype == torch.uint8
        batch = rows[torch.tensor([2, 0]).to(rows.indices.device)]
        assert batch.device.type == device.type
        expected = torch.from_numpy(images[[2, 0]].transpose(0, 3, 1, 2)) / 255
        torch.testing.assert_close(batch.cpu(), expected)


# Sparse rows


def test_sparse_batches_are_asked_for(X):
    rows = make(sparse.csr_array(X))
    kept = rows.kept_sparse()
    batch = kept[torch.tensor([2, 0])]
    assert isinstance(batch, SparseBatch)
    assert isinstance(kept.subset(np.array([1, 2]))[:], SparseBatch)
    assert isinstance(rows[:], torch.Tensor)
    on_host = make(sparse.csr_array(X), torch.device("meta"))
    for same in (make(X), on_host):
        assert same.kept_sparse() is same


def test_density(X):
    assert make(X).density == 1
    X[:, 1:] = 0
    assert make(sparse.csr_array(X)).density == 9 / 30  # one more 0


def test_sparse_rows_out_of_order_are_copied():
    parts = [1.0, 2, 3, 4], [2, 0, 1, 1], [0, 2, 4]
    given = sparse.csr_array(parts, shape=(2, 3), dtype=np.float32)
    rows = make(given)
    assert_array_equal(rows[:], [[2, 0, 1], [0, 7, 0]])
    assert rows.data.has_canonical_format
    assert given.indices.tolist() == parts[1]
    in_order = sparse.csr_array(rows[:].numpy())
    assert np.shares_memory(make(in_order).data.data, in_order.data)


def test_rows_to_measure(X):
    positions = torch.tensor([3, 1])
    for data in containers(X):
        sample = make(data).subset(np.arange(9, -1, -1)).sample(positions)
        assert sparse.issparse(sample) == sparse.issparse(data)
        sample = sample.toarray() if sparse.issparse(sample) else sample
        assert_array_equal(sample, X[[6, 8]])
    images = np.arange(20, dtype=np.uint8).reshape(2, 2, 5)
    assert_array_equal(
        make(images).sample(slice(None)), images.reshape(2, 10) / np.float32(255)
    )


# Gaps


def test_gaps_of_numbers(X):
    names = np.array(["a", None] * 5, dtype=object)
    for gaps in (X[:, 1:], sparse.csr_array(X)):
        assert not make(gaps).has_gaps
    frame = pd.DataFrame(X).add_prefix("x").assign(name=names)
    assert not make(frame).has_gaps
    X[1, 1] = np.nan
    for gaps in (X, sparse.csr_array(X), frame.assign(x1=X[:, 1])):
        assert make(gaps).has_gaps
    assert not make(np.zeros((2, 5, 5))).has_gaps


# Labels


def test_a_subset_keeps_the_labels(X, y):
    for data in containers(X):
        subset = make(data, y=y).subset(np.array([9, 3, 6]))
        assert_array_equal(subset.labels, [1, -1, 2])
        batch, labels = subset.batch(torch.tensor([2, 0]))
        assert_array_equal(batch, X[[6, 9]])
        assert_array_equal(labels, [2, 1])
        twice = subset.subset(np.array([2, 1]))
        assert_array_equal(twice.labels, [2, -1])
        assert_array_equal(twice[:], X[[6, 3]])


def test_labels_keep_their_dtype(X):
    y = np.linspace(0, 1, 10, dtype=np.float32)
    rows = make(X, y=y)
    assert_array_equal(rows.labels, y)
    assert rows.labels.dtype == np.float32
    assert rows.batch(torch.tensor([1]))[1].dtype == torch.float32


def test_rows_without_labels(X, device):
    rows = make(X, device).subset(np.array([1, 2]))
    assert rows.batch(torch.tensor([0]).to(rows.indices.device))[1] is None
    assert_array_equal(rows.labels, [-1, -1])
    assert [labels for _, labels in RowBatches(rows, 2)] == [None]


# Where rows live


def test_rows_stay_on_the_host_of_a_device_without_room(X, y):
    # "meta" stands for an accelerator: it has no memory to speak of.
    rows = make(X, torch.device("meta"), y)
    assert rows.data.device == rows.indices.device == CPU
    batch, labels = rows.batch(torch.arange(4))
    assert batch.device.type == labels.device.type == "meta"
    assert_array_equal(rows.labels, y)


def test_rows_live_where_there_is_room(X, y, device):
    expected = "cpu" if device.type == "mps" else device.type
    rows = make(X, device, y)
    assert {t.device.type for t in (rows.data, rows.indices, rows.y)} == {expected}
    assert make(sparse.csr_array(X), device).indices.device == CPU


def test_rows_take_half_of_the_free_memory_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (800, 10_000))
    for n_rows, fits in ((100, True), (101, False)):  # 400 bytes, and a little more
        assert _fits(torch.zeros(n_rows), torch.device("cuda")) == fits
        assert _fits(torch.zeros(n_rows), CPU)


# Splits


def test_split(X, y):
    for data in containers(X):
        left, held_out = make(data, y=y).split(0.25, np.random.RandomState(0))
        assert (len(left), len(held_out)) == (7, 3)
        values = torch.cat([left[:], held_out[:]])
        assert sorted(values[:, 0].tolist()) == X[:, 0].tolist()
        for part in (left, held_out):
            assert_array_equal(part.labels, y[part[:][:, 0].int() // 3])
    again, _ = make(X, y=y).split(0.25, np.random.RandomState(0))
    assert_array_equal(again[:], left[:])
    other, _ = make(X, y=y).split(0.25, np.random.RandomState(1))
    assert not torch.equal(other[:], left[:])


@pytest.mark.parametrize(
    ("fraction", "match"),
    [(0.1, "9 to train on and 1 to hold out"), (0.9, "1 to train on and 9")],
)
def test_split_leaves_a_batch_to_both(X, fraction, match):
    with pytest.raises(ValueError, match=f"'validation_fraction' {fraction}.*{match}"):
        make(X).split(fraction, np.random.RandomState(0))


@pytest.mark.parametrize(("fraction", "n_held_out"), [(0.2, 2), (0.8, 8), (0.11, 2)])
def test_the_smallest_parts_of_a_split(X, fraction, n_held_out):
    left, held_out = make(X).split(fraction, np.random.RandomState(0))
    assert (len(left), len(held_out)) == (10 - n_held_out, n_held_out)


# Batches


def test_each_epoch_is_a_permutation(X, y, device):
    def generator():
        return torch.Generator().manual_seed(0)

    batches = RowBatches(make(X, device, y), 4, generator())
    epochs = []
    for _ in range(2):
        rows, labels = (torch.cat(parts).cpu() for parts in zip(*batches, strict=True))
        order = rows[:, 0].int() // 3
        assert_array_equal(rows, X[order])
        assert_array_equal(labels, y[order])
        assert sorted(order.tolist()) == list(range(10))
        epochs.append(order.tolist())
    assert epochs[0] != epochs[1]
    again = RowBatches(make(X, device), 4, generator())
    order = torch.cat([rows for rows, _ in again])[:, 0].int() // 3
    assert order.tolist() == epochs[0]


def test_batches_without_a_generator_are_in_order(X, y):
    for _ in range(2):
        batches = list(RowBatches(make(X, y=y), 4))
        assert_array_equal(torch.cat([rows for rows, _ in batches]), X)
        assert_array_equal(torch.cat([labels for _, labels in batches]), y)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(4, [4, 4, 2]), (3, [3, 3, 3]), (10, [10]), (99, [10])],  # 3: a tail of one
)
def test_tail_of_one_row_is_dropped(X, batch_size, sizes):
    assert [len(rows) for rows, _ in RowBatches(make(X), batch_size)] == sizes


@pytest.mark.parametrize(("batch_size", "n_batches"), [(2, 5), (3, 3), (4, 3), (20, 1)])
def test_length_is_the_number_of_batches(X, batch_size, n_batches):
    batches = RowBatches(make(X), batch_size)
    assert len(batches) == len(list(batches)) == n_batches
