import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from sklearn_bcl.encoders import (
    ConvNetEncoder,
    MLPEncoder,
    ProjectedEncoder,
    RobustScale,
)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# RobustScale


def test_robust_scale(device):
    x = (randn(500, 3) * torch.tensor([1e-6, 1.0, 1e6])).to(device)
    layer = RobustScale(3).to(device)
    layer.set_statistics(x.median(dim=0).values, x.std(dim=0))
    z = layer(x)
    assert z.device == x.device
    assert (z.abs() < 3).all()
    assert torch.equal(z.argsort(dim=0), x.argsort(dim=0))
    small = layer(layer.center + 0.01 * layer.scale)
    assert_allclose(small.cpu(), 0.01, rtol=1e-4)
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"center", "scale"}


def test_robust_scale_of_extreme_values():
    layer = RobustScale(3)
    layer.set_statistics([0.0, 0.0, -3e38], [1e-300, 1e300, 1.0])
    z = layer(torch.tensor([[0.0, 1.0, 3e38], [-3e38, 3e38, -3e38]]))
    assert z.isfinite().all()
    assert torch.allclose(z[:, 0], torch.tensor([0.0, -3.0]))
    assert torch.allclose(z[:, 2], torch.tensor([3.0, 0.0]))


# MLPEncoder


def test_mlp_layers():
    encoder = MLPEncoder(4, 3, hidden_layer_sizes=(8, 6))
    linear = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [3, 8, 6, 3]
    embedding = encoder(randn(10, 4))
    assert embedding.shape == (10, 3)
    assert (embedding != 0).all()


def test_mlp_starts_as_a_linear_map_and_learns_to_be_more():
    encoder = MLPEncoder(4, 3, hidden_layer_sizes=(8, 6))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    x = randn(10, 4)
    linear = nn.functional.leaky_relu(encoder.linear(encoder.scale(x)), 0.1)
    assert torch.equal(encoder(x), linear)
    before = [parameter.clone() for parameter in encoder.parameters()]
    for _ in range(2):  # the hidden layers are idle while the last is zero
        optimizer.zero_grad()
        encoder(x).square().sum().backward()
        optimizer.step()
    for parameter, old in zip(encoder.parameters(), before, strict=True):
        assert not torch.equal(parameter, old)


def test_mlp_without_hidden_layers():
    encoder = MLPEncoder(4, 3, hidden_layer_sizes=())
    assert encoder(torch.zeros(2, 4)).shape == (2, 3)
    assert [name for name, _ in encoder.named_parameters()] == [
        "linear.weight",
        "linear.bias",
    ]


def test_mlp_flattens_images():
    encoder, x = MLPEncoder(12, 3, hidden_layer_sizes=(8,)), randn(5, 3, 2, 2)
    assert torch.equal(encoder(x), encoder(x.flatten(1)))


@pytest.mark.parametrize("size", [1, 3, 20])  # below 16, layers are padded
def test_mlp_is_its_linear_layers(size):
    encoder, x = MLPEncoder(4, size, hidden_layer_sizes=(5,)), randn(10, 4)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    first, _, last = encoder.deep
    z = encoder.scale(x)
    hidden = (z @ first.weight.T + first.bias).relu()
    total = z @ encoder.linear.weight.T + encoder.linear.bias
    total = total + hidden @ last.weight.T + last.bias
    expected = torch.where(total > 0, total, 0.1 * total)
    assert_allclose(encoder(x).detach(), expected.detach(), rtol=1e-4, atol=1e-6)


def test_mlp_measures_rows():
    rows = 5 + 3 * randn(400, 4)
    encoder = MLPEncoder(4, 3)
    encoder.fit_statistics(rows, np.random.RandomState(0))
    low, center, high = np.percentile(rows, [25, 50, 75], axis=0)
    assert_allclose(encoder.scale.center, center, rtol=1e-5)
    assert_allclose(encoder.scale.scale, (high - low) / 1.349, rtol=1e-5)


def test_mlp_goes_on_from_an_earlier_encoder():
    first, second = randn(300, 4), 5 + 3 * randn(100, 4, seed=1)
    before, encoder, alone = MLPEncoder(4, 3), MLPEncoder(4, 3), MLPEncoder(4, 3)
    draws = np.random.RandomState(0)
    before.fit_statistics(first, draws)
    encoder.fit_statistics(second, draws, before)
    alone.fit_statistics(second, draws, nn.Linear(4, 3))  # it has measured nothing
    for name in ("center", "scale"):
        old, new, own = (
            getattr(module.scale, name) for module in (before, encoder, alone)
        )
        assert_allclose(new, 0.75 * old + 0.25 * own, rtol=1e-5, atol=1e-6)


# Devices


@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (MLPEncoder(4, 24, hidden_layer_sizes=(8,)), (4,)),
        (ConvNetEncoder((2, 12, 10), 64, widths=(4, 8)), (2, 12, 10)),
    ],
    ids=["mlp", "convnet"],
)
def test_devices_agree(encoder, shape, device):
    module = ProjectedEncoder(encoder, 64 if len(shape) == 3 else 24, 5).eval()
    x = randn(10, *shape)
    expected = [encoder(x).detach(), module(x).detach()]
    module.to(device)
    try:
        for values, exact in zip(
            (encoder(x.to(device)), module(x.to(device))), expected, strict=True
        ):
            assert values.device.type == device.type
            assert_allclose(values.detach().cpu(), exact, rtol=1e-2, atol=1e-3)
    finally:
        module.to("cpu")


def test_statistics_of_rows_on_a_device(device):
    rows = 5 + 3 * randn(400, 4)
    encoder, expected = MLPEncoder(4, 3).to(device), MLPEncoder(4, 3)
    encoder.fit_statistics(rows.to(device), np.random.RandomState(0))
    expected.fit_statistics(rows, np.random.RandomState(0))
    for name in ("center", "scale"):
        values = getattr(encoder.scale, name)
        assert values.device.type == device.type
        assert_allclose(values.cpu(), getattr(expected.scale, name), rtol=1e-5)


# The head


@pytest.mark.parametrize(("size", "hidden_size"), [(24, 24), (2048, 512)])
def test_head(size, hidden_size):
    encoder = nn.Linear(4, size)
    module, x = ProjectedEncoder(encoder, size, 5), randn(10, 4)
    layers = [m for m in module.head.modules() if isinstance(m, nn.Linear)]
    assert [layer.out_features for layer in layers] == [hidden_size, 5]
    assert torch.equal(module(x), module.head(encoder(x)))
    # The loss normalizes projections, so they come as they are.
    lengths = module(x).norm(dim=1)
    assert lengths.std() > 1e-3 * lengths.mean()


def test_encoder_says_what_the_head_reads():
    class Rooted(nn.Linear):
        def head_input(self, x):
            return self(x) ** 2

    encoder, x = Rooted(4, 6), randn(10, 4)
    module = ProjectedEncoder(encoder, 6, 5)
    assert torch.equal(module(x), module.head(encoder(x) ** 2))
