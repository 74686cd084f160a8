from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.stats import rankdata

from sklearn_bcl._ranks import (
    BELOW_ALL,
    BLOCK_VALUES,
    MOST_SHORT_KEYS,
    Workspace,
    ascending,
    by_numpy,
    by_torch,
    exact_order,
    look_up_by_rank,
)


def cosines(n_columns):
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(20, n_columns, generator=generator) * 2 - 1
    values[:, [5, 9]] = BELOW_ALL
    values[:, 20], values[:, 40] = values[:, 30], 1.0000002
    values[:, 50], values[:, 60] = 0.0, -0.0
    return values


@pytest.mark.parametrize("n_columns", [300, MOST_SHORT_KEYS, MOST_SHORT_KEYS + 1])
def test_ascending(n_columns):
    values = cosines(n_columns)
    before = values.clone()
    (buffer, _), keys, order = Workspace().of(20, n_columns)
    order = ascending(values, buffer, keys, order)
    assert torch.equal(values, before)
    assert torch.equal(order.sort(dim=1).values, torch.arange(n_columns).expand(20, -1))
    places = order.argsort(dim=1)
    assert (places[:, [5, 9]] == torch.tensor([0, 1])).all()
    assert (places[:, 30] > places[:, 20]).all()  # the earlier of two equal ones
    assert (places[:, 60] > places[:, 50]).all()
    steps = values.gather(1, order).diff(dim=1)
    assert steps.min() >= (0 if n_columns > MOST_SHORT_KEYS else -(2**-19))


@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e30])
def test_exact_order(scale):
    values = scale * cosines(100)
    values[:, [7, 8]] = torch.tensor([-torch.inf, torch.inf])
    expected = values.sort(dim=1, stable=True).indices
    order = exact_order(values.numpy())
    assert_array_equal(order, expected.numpy() + 100 * np.arange(20)[:, np.newaxis])


@pytest.mark.parametrize("decimals", [0, 1, 2, 9])
def test_entries_for_ranks(decimals, device):
    values = cosines(100).numpy().round(decimals)
    table = np.random.default_rng(0).random(100, dtype=np.float32)
    expected = table[rankdata(values, "max", axis=1).astype(int) - 1]
    of_device = torch.from_numpy(values.copy()).to(device)
    found = by_torch(of_device, torch.from_numpy(table).to(device))
    assert_array_equal(found.cpu(), expected)
    by_numpy(values, table)
    assert_array_equal(values, expected)


@pytest.mark.parametrize("n_columns", [1, 300, BLOCK_VALUES + 1])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_blocks_of_rows(n_columns, n_threads):
    values = torch.rand(700 if n_columns == 300 else 3, n_columns)
    table = torch.rand(n_columns)
    expected = by_torch(values, table)
    with ThreadPoolExecutor(n_threads) as threads:
        found = look_up_by_rank(values, table, threads)
    assert found is values
    assert torch.equal(found, expected)
