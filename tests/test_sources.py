"""Rows that are not in memory: memory maps, arrays of stores, and datasets."""

import numpy as np
import pytest
import torch
from helpers import small
from numpy.testing import assert_array_equal
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import sklearn_bcl._data.sources as sources
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.rows import RowBatches, Rows


class ByRow(Dataset):
    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return torch.from_numpy(self.X[i])


class Plain:
    """Has a length and rows by number, and nothing else."""

    def __init__(self, X):
        self.X = X

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i]


class ByRows:
    """What a user writes around a file; no dataset of torch's."""

    def __init__(self, X, chunk_rows=None):
        self.X, self.asked = X, []
        if chunk_rows is not None:
            self.chunk_rows = chunk_rows

    def __len__(self):
        return len(self.X)

    def __getitems__(self, indices):
        self.asked.append(indices)
        return self.X[indices]


class OfStore:
    """An array of h5py, which wants ascending indices."""

    def __init__(self, X, chunks=None):
        self.X, self.shape, self.dtype, self.chunks = X, X.shape, X.dtype, chunks

    def read_direct(self):
        raise NotImplementedError

    def __getitem__(self, key):
        if not isinstance(key, slice):
            assert (np.diff(key) > 0).all()
        return self.X[key]


def as_map(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


@pytest.fixture(autouse=True)
def read_in_parts(monkeypatch):
    """Read even small stores some rows at a time, in small blocks."""
    monkeypatch.setattr(sources, "LEAST_STORED_BYTES", 0)
    monkeypatch.setattr(sources, "BLOCK_VALUES", 200)


def table(dtype=np.float64):
    X = np.random.RandomState(0).normal(size=(120, 5)) * [1, 1e-40, 1e3, 1, 1]
    X[:, 2] += 1e9  # beyond the steps of float32
    return X.astype(dtype)


def with_gaps():
    X = table()
    X[3:90:4, 0] = np.nan
    X[:, 4] = np.nan
    return X


def with_one_gap():
    X = table()
    X[7, 3] = np.nan
    return X


@pytest.mark.filterwarnings("ignore:column 4.*all values are missing")
@pytest.mark.parametrize("kind", ["map", ByRow, ByRows, OfStore, Plain])
@pytest.mark.parametrize(
    "X",
    [table(), table()[:, [0, 3]].astype("f4"), with_gaps(), with_one_gap(),
     np.random.RandomState(0).randint(0, 256, (40, 8, 8), dtype=np.uint8),
     np.random.RandomState(0).uniform(size=(40, 8, 8))],
    ids=["float64", "float32", "missing", "one missing", "bytes", "images"],
)  # fmt: skip
def test_the_same_as_in_memory(kind, X, tmp_path):
    stored = as_map(X, tmp_path) if kind == "map" else kind(X)
    assert RowFormat.of(stored)[0] == RowFormat.of(X)[0]
    parameters = {"max_epochs": 2}
    if X.ndim > 2:
        parameters |= {"encoder": "convnet", "augmentation": "noise"}
    expected, embedder = small(**parameters).fit(X), small(**parameters).fit(stored)
    assert_array_equal(embedder.transform(stored), expected.transform(X))
    assert_array_equal(embedder.transform(X), expected.transform(X))
    assert embedder.score(stored) == expected.score(X)
    assert_array_equal(embedder.similarity(stored), expected.similarity(X))
    assert embedder.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize("chosen", ["from_dtype", None, []])
def test_formats_of_datasets(X, chosen):
    one, other = (
        RowFormat.of(rows, categorical_features=chosen, owner="Own")[0]
        for rows in (ByRows(X), X)
    )
    assert one == other
    with pytest.raises(ValueError, match="required by Own"):
        RowFormat.of(ByRows(X[:1]), min_rows=2, owner="Own")
    too_large = X.astype(np.float64)
    too_large[3, 2] = 1e300
    with pytest.raises(ValueError, match="Column 2 contains infinity or a value too"):
        RowFormat.of(ByRows(too_large))
    expected, stored = (
        RowFormat.of(rows, image_shape=(5, 1), channel_order="auto")[0]
        for rows in (X, ByRows(X))
    )
    assert expected == stored


def test_chunks_of_a_store(X):
    assert sources.Stored(OfStore(X, chunks=(7, 5))).chunk_rows == 7
    assert sources.Stored(OfStore(X)).chunk_rows is None
    assert sources.Stored(ByRows(X, chunk_rows=3)).chunk_rows == 3


def test_other_fits_on_datasets(X):
    y = np.arange(len(X)) % 3
    for parameters in ({"early_stopping": True}, {"alpha": "labels"}):
        expected = small(**parameters).fit(X, y).transform(X)
        stored = small(**parameters).fit(TensorDataset(torch.from_numpy(X)), y)
        assert_array_equal(stored.transform(X), expected)
    expected, stored = small().partial_fit(X[:50]), small().partial_fit(ByRow(X[:50]))
    expected.partial_fit(X[50:]), stored.partial_fit(ByRow(X[50:]))
    assert_array_equal(stored.transform(X), expected.transform(X))


@pytest.mark.parametrize("kind", ["map", ByRow, ByRows, OfStore])
def test_small_stores_are_arrays(X, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LEAST_STORED_BYTES", 2**28)
    X = np.round(X.astype(np.float64))
    stored = as_map(X, tmp_path) if kind == "map" else kind(X)
    embedder = small(categorical_features=[0])  # which are not read in parts
    expected = embedder.fit(X).transform(X)
    assert_array_equal(embedder.fit(stored).transform(stored), expected)


def test_batches_are_read_in_ascending_order(X):
    source = ByRows(X)
    row_format, stored = RowFormat.of(source)
    rows = Rows(stored, row_format, torch.device("cpu"))
    source.asked.clear()
    batches = list(RowBatches(rows, 32, torch.Generator().manual_seed(0)))
    assert [sorted(asked) == asked for asked in source.asked] == [True] * 4
    assert sorted(i for asked in source.asked for i in asked) == list(range(100))
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert_array_equal(torch.cat([x for x, _ in batches]), X[order])


def test_chunks_are_read_together():
    X = np.arange(6000, dtype=np.float32)[:, None]
    of_51 = X[:1020]  # one chunk more than are mixed at least
    row_format, stored = RowFormat.of(ByRows(of_51, chunk_rows=20))
    rows = Rows(stored, row_format, torch.device("cpu"))
    last = torch.cat([x for x, _ in RowBatches(rows, 10, torch.Generator())][-4:])
    assert len(set((last // 20).flatten().tolist())) > 10
    row_format, stored = RowFormat.of(ByRows(X, chunk_rows=20))
    rows = Rows(stored, row_format, torch.device("cpu"))
    batches = RowBatches(rows, 10, torch.Generator().manual_seed(0))
    epochs = [torch.cat([x for x, _ in batches]).flatten() for _ in range(2)]
    assert not torch.equal(*epochs)
    for epoch in epochs:
        assert_array_equal(np.sort(epoch), X.ravel())
        for part in epoch.split(1000):  # 50 chunks
            assert len(set((part // 20).tolist())) == 50
            assert (part.diff().abs() > 20).float().mean() > 0.9
    some = rows.subset(np.random.RandomState(0).permutation(6000)[:3000])
    some = torch.cat([x for x, _ in RowBatches(some, 10, torch.Generator())])
    assert len(set(some.flatten().tolist())) == 3000


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3)


class ByDict(ByRows):
    def __getitems__(self, indices):
        return [{"x": 1.0} for _ in indices]


class OfOtherShapes(ByRows):
    def __getitems__(self, indices):
        return self.X[indices][:, : 5 if indices == [0] else 4]


class WithLabels(ByRows):
    def __getitems__(self, indices):
        return self.X[indices], np.zeros(len(indices))


class WithoutLength(Dataset):
    def __getitem__(self, i):
        return torch.zeros(3)


class OfTooFew(ByRows):
    def __getitems__(self, indices):
        return self.X[indices[:1]]


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda X: TensorDataset(torch.from_numpy(X), torch.zeros(len(X))), TypeError,
         "2 parts each, such as .row, label.*labels as 'y'"),
        (lambda X: ByDict(X), TypeError, "returns rows that are dicts"),
        (lambda X: Endless(), TypeError, "Endless.*partial_fit"),
        (lambda X: ByRows(X[:0]), ValueError, "has no rows"),
        (lambda X: ByRows(X[:1]), ValueError, "minimum of 2 is required"),
        (lambda X: OfOtherShapes(X), ValueError, "By its first row, it should be"),
        (lambda X: OfTooFew(X), ValueError, "for 100 indices.*should be .100, 5"),
        (lambda X: WithLabels(X), ValueError, "labels are given as 'y'"),
        (lambda X: OfStore(X[:, 0]), TypeError, "an array of shape .n, n_features."),
        (lambda X: WithoutLength(), TypeError, "without a length. Define __len__"),
        (lambda X: ByRows(X[:, 0]), TypeError, "an array of shape .n, n_features."),
        (lambda X: ByRows(np.where(X > 2, np.inf, X)), ValueError, "infinity"),
        (lambda X: ByRows(X.astype(str)), TypeError, "must return rows of numbers"),
    ],
)  # fmt: skip
def test_errors_of_datasets(X, make, error, match):
    embedder = small().fit(X)
    before = embedder.transform(X)
    with pytest.raises(error, match=match):
        embedder.fit(make(X))
    assert_array_equal(embedder.transform(X), before)


def test_categories_need_rows_in_memory(X):
    with pytest.raises(ValueError, match="of an 'X' that is not in memory"):
        small(categorical_features=[0]).fit(ByRow(X))


def test_later_rows_of_a_dataset_are_checked(X):
    embedder = small().fit(X)
    with pytest.raises(ValueError, match="X has 4 features"):
        embedder.transform(ByRow(X[:, :4]))
    broken = X.copy()
    broken[70, 2] = np.inf
    for call in (embedder.transform, embedder.score):
        with pytest.raises(ValueError, match="infinity"):
            call(ByRows(broken))


class FailsLater(ByRows):
    def __getitems__(self, indices):
        if len(self.asked) > 4:
            raise OSError("the disk is gone")
        return super().__getitems__(indices)


def test_an_error_of_a_dataset_is_raised(X):
    embedder = small().fit(X)
    before = embedder.transform(X)
    with pytest.raises(OSError, match="the disk is gone"):
        embedder.fit(FailsLater(X))
    assert_array_equal(embedder.transform(X), before)


def test_what_becomes_an_array_is_no_store():
    class Convertible(Plain):
        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.X, dtype)

    rows = np.zeros((4, 2))
    assert sources.is_stored(Plain(rows))
    assert not sources.is_stored(Convertible(rows))
