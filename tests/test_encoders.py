import torch
from torch import nn

from sklearn_bcl.encoders import MLPEncoder, Standardize


def test_standardize():
    x = torch.randn(500, 3) * torch.tensor([1e-6, 1.0, 1e6])
    x = x + x.std(dim=0)
    layer = Standardize(3)
    layer.set_statistics(x.mean(dim=0), x.std(dim=0))
    assert torch.allclose(layer(x).mean(dim=0), torch.zeros(3), atol=1e-3)
    assert torch.allclose(layer(x).std(dim=0), torch.ones(3), atol=1e-3)
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"mean", "scale"}


def test_mlp_layers():
    encoder = MLPEncoder(4, 3, hidden_layer_sizes=(8, 6))
    linear = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [8, 6, 3]
    embedding = encoder(torch.randn(10, 4))
    assert embedding.shape == (10, 3)
    assert (embedding != 0).all()


def test_mlp_without_hidden_layers():
    assert MLPEncoder(4, 3, hidden_layer_sizes=())(torch.zeros(2, 4)).shape == (2, 3)
