import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy.stats import rankdata

from sklearn_bcl._ranks import (
    BELOW_ALL,
    MOST_SHORT_KEYS,
    Workspace,
    ascending,
    by_rank,
    exact_order,
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
    expected = values.sort(dim=1, stable=True)
    order, is_tied = exact_order(values)
    assert torch.equal(order, expected.indices)
    assert torch.equal(is_tied, expected.values.diff(dim=1) == 0)


@pytest.mark.parametrize("decimals", [0, 1, 2, 9])
def test_by_rank(decimals, device):
    values = cosines(100).numpy().round(decimals)
    table = np.random.default_rng(0).random(100)
    found = by_rank(
        torch.from_numpy(values).to(device), torch.from_numpy(table).to(device)
    )
    expected = table[rankdata(values, "max", axis=1).astype(int) - 1]
    assert_array_equal(found.cpu(), expected)
