import numpy as np
import pytest
import torch
from scipy import sparse

from sklearn_bcl import _rows
from sklearn_bcl._rows import RowBatches, Rows

CPU = torch.device("cpu")


@pytest.fixture
def X():
    return np.arange(30, dtype=np.float32).reshape(10, 3)


def test_rows_share_the_memory_of_the_array(X):
    rows = Rows(X, CPU)
    assert rows.data.data_ptr() == X.ctypes.data
    batch = rows[:2]
    batch.zero_()
    assert X[0, 1] == 1  # a batch is a copy


def test_rows_of_every_container(X):
    positions = torch.tensor([3, 1])
    readonly = X.copy()
    readonly.flags.writeable = False
    for data in (X, readonly, sparse.csr_matrix(X), sparse.csr_array(X)):
        rows = Rows(data, CPU)
        assert len(rows) == 10
        batch = rows[positions]
        assert batch.dtype == torch.float32
        np.testing.assert_array_equal(batch, X[[3, 1]])
        subset = rows.subset(np.array([9, 8, 7]))
        assert len(subset) == 3
        np.testing.assert_array_equal(subset[torch.tensor([0, 2])], X[[9, 7]])


def test_rows_stay_on_the_host_when_the_device_is_too_small(X, monkeypatch):
    # "meta" stands for an accelerator: it has no memory to speak of.
    monkeypatch.setattr(_rows, "_fits", lambda data, device: False)
    rows = Rows(X, torch.device("meta"))
    assert rows.data.device == CPU
    assert rows[:4].device.type == "meta"
    monkeypatch.setattr(_rows, "_fits", lambda data, device: True)
    rows = Rows(X, torch.device("meta"))
    assert rows.data.device.type == rows.indices.device.type == "meta"


def test_each_epoch_is_a_permutation(X):
    generator = torch.Generator().manual_seed(0)
    batches = RowBatches(Rows(X, CPU), 4, generator)
    epochs = [torch.cat(list(batches))[:, 0].tolist() for _ in range(2)]
    assert epochs[0] != epochs[1]
    for epoch in epochs:
        assert sorted(epoch) == X[:, 0].tolist()
    in_order = torch.cat(list(RowBatches(Rows(X, CPU), 4)))
    np.testing.assert_array_equal(in_order, X)


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(4, [4, 4, 2]), (3, [3, 3, 3]), (10, [10]), (99, [10])],  # 3: a tail of one
)
def test_tail_of_one_row_is_dropped(X, batch_size, sizes):
    assert [len(batch) for batch in RowBatches(Rows(X, CPU), batch_size)] == sizes
