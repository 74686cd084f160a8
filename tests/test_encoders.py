import torch
from torch import nn

from sklearn_bcl.encoders import MLPEncoder, RobustScale


def test_robust_scale():
    x = torch.randn(500, 3) * torch.tensor([1e-6, 1.0, 1e6])
    layer = RobustScale(3)
    layer.set_statistics(x.median(dim=0).values, x.std(dim=0))
    z = layer(x)
    assert (z.abs() < 3).all()
    assert torch.equal(z.argsort(dim=0), x.argsort(dim=0))
    assert torch.allclose(layer(layer.center + 0.01 * layer.scale), torch.tensor(0.01))
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"center", "scale"}


def test_robust_scale_of_extreme_values():
    layer = RobustScale(3)
    layer.set_statistics([0.0, 0.0, -3e38], [1e-300, 1e300, 1.0])
    z = layer(torch.tensor([[0.0, 1.0, 3e38], [-3e38, 3e38, -3e38]]))
    assert z.isfinite().all()
    assert torch.allclose(z[:, 0], torch.tensor([0.0, -3.0]))
    assert torch.allclose(z[:, 2], torch.tensor([3.0, 0.0]))


def test_mlp_layers():
    encoder = MLPEncoder(4, 3, hidden_layer_sizes=(8, 6))
    linear = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [3, 8, 6, 3]
    embedding = encoder(torch.randn(10, 4))
    assert embedding.shape == (10, 3)
    assert (embedding != 0).all()


def test_mlp_starts_as_a_linear_map_and_learns_to_be_more():
    encoder = MLPEncoder(4, 3, hidden_layer_sizes=(8, 6))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    x = torch.randn(10, 4)
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
