"""Tensors and optimizers as estimators pickle them."""

import copy

import pytest
import torch
from torch import nn

from sklearn_bcl._hollow import HollowTensor, fill_net, hollow_net

TENSORS = {
    "matrix": torch.randn(3, 4),
    "transposed": torch.randn(3, 4).T,
    "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "slice": torch.randn(3, 8)[:, ::2],
    "expanded": torch.randn(3, 1).expand(3, 4),
    "empty": torch.empty(0, 3, dtype=torch.int64),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "booleans": torch.tensor([True, False]),
    "complex": torch.randn(2, dtype=torch.complex64),
    "half": torch.randn(2, 2).bfloat16(),
}


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("is_parameter", [False, True])
def test_tensors_come_back(name, is_parameter):
    tensor = TENSORS[name]
    if is_parameter:
        is_float = tensor.is_floating_point() or tensor.is_complex()
        tensor = nn.Parameter(tensor, requires_grad=is_float)
    back = HollowTensor.of(tensor).fill()
    assert type(back) is type(tensor)
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert back.requires_grad == tensor.requires_grad
    assert torch.equal(back, tensor)
    if name not in ("slice", "expanded"):  # which leave memory out, or share some
        assert back.stride() == tensor.stride()


def test_what_is_shared_stays_shared():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    state = {
        "module_": module,
        "module": module,
        "criterion_": nn.Identity(),
        "augmentation": (nn.Identity(), None),
        "optimizer_": optimizer,
    }
    expected = copy.deepcopy(optimizer.state_dict())
    back = fill_net(hollow_net(state))
    assert state["module_"] is module  # the original is left alone
    assert all(type(p) is nn.Parameter for p in module.parameters())
    assert back["module"] is back["module_"]
    parameters = list(back["module_"].parameters())
    (group,) = back["optimizer_"].param_groups
    assert all(a is b for a, b in zip(group["params"], parameters, strict=True))
    found = back["optimizer_"].state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for key, moments in expected["state"].items():
        for name, moment in moments.items():
            assert torch.equal(found["state"][key][name], moment)
    back["optimizer_"].step()


def test_tensors_without_values_are_left():
    lazy = nn.LazyLinear(2)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters())
    state = {"module_": lazy, "augmentation": (), "optimizer_": optimizer}
    assert hollow_net(state) is state
    assert fill_net(state)["optimizer_"] is optimizer
