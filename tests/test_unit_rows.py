import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close

from sklearn_bcl._unit_rows import UnitRows


@pytest.fixture
def z():
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    rows[2] = 0
    return rows.double()


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_lengths_do_not_matter(z, scale):
    rows = UnitRows(z * scale).rows
    assert_close(rows, normalize(z), rtol=1e-15, atol=1e-15)
    assert (rows[2] == 0).all()


def test_rows_of_float32_at_the_limits():
    z = torch.tensor([[3e38, 3e38], [1e-45, 0.0], [-1e-40, 1e-40]])
    half = 0.5**0.5
    assert_close(UnitRows(z).rows, torch.tensor([[half, half], [1, 0], [-half, half]]))


def test_gradient_is_that_of_autograd(z):
    z.requires_grad_()
    of_rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double()
    unit = UnitRows(z)
    (expected,) = torch.autograd.grad(unit.rows, z, of_rows)
    with torch.no_grad():
        before = of_rows.clone()
        gradient = UnitRows(z).gradient(of_rows)
    assert torch.equal(of_rows, before)
    assert_close(gradient, expected, rtol=1e-13, atol=1e-15)
    assert (gradient[2] == 0).all()
    assert torch.autograd.gradgradcheck(lambda z: UnitRows(z).rows, z[[0, 1, 3]])
