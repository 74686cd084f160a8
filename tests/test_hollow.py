"""Tensors and optimizers as estimators pickle them."""

import copy
import pickle

import joblib
import numpy as np
import pytest
import torch
from helpers import noise, small
from numpy.testing import assert_array_equal
from skorch.callbacks import LRScheduler
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from sklearn_bcl._hollow import HollowTensor, hollow, hollow_net

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
X = np.random.RandomState(0).normal(size=(60, 4)).astype(np.float32)


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("is_parameter", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_tensors_come_back(name, is_parameter, copied):
    tensor = TENSORS[name]
    if is_parameter:
        is_float = tensor.is_floating_point() or tensor.is_complex()
        tensor = nn.Parameter(tensor, requires_grad=is_float)
    hollow_one = HollowTensor.of(tensor)
    back, again = copied([hollow_one, hollow_one])
    assert back is again
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
        "augmentation": (nn.Identity(), None),
        "optimizer_": optimizer,
        "scheduler": StepLR(optimizer, 1),
        "some": [module[0].weight],
    }
    expected = copy.deepcopy(optimizer.state_dict())
    back = pickled(hollow_net(state))
    assert state["module_"] is module  # the original is left alone
    assert all(type(p) is nn.Parameter for p in module.parameters())
    assert back["module"] is back["module_"]
    assert back["some"][0] is back["module_"][0].weight
    assert back["scheduler"].optimizer is back["optimizer_"]
    parameters = list(back["module_"].parameters())
    (group,) = back["optimizer_"].param_groups
    assert all(a is b for a, b in zip(group["params"], parameters, strict=True))
    found = back["optimizer_"].state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for key, moments in expected["state"].items():
        for name, moment in moments.items():
            assert torch.equal(found["state"][key][name], moment)
    back["optimizer_"].step()


def test_what_has_no_hollow_form_is_left():
    lazy = nn.LazyLinear(2)
    assert hollow(lazy) is lazy
    twice = nn.ParameterList([torch.ones(4)])
    twice.register_buffer("view", twice[0].detach()[:2])
    assert hollow(twice) is twice  # a change of one changes the other
    keeps_graphs = nn.Linear(2, 1)
    keeps_graphs.seen = [keeps_graphs(torch.ones(2))]
    assert hollow(keeps_graphs) is keeps_graphs


class KeepsReferences(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)
        self.references = {"weights": [self.weight]}


class KeepsLosses(nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, z1, z2):
        loss = (z1 - z2).square().mean()
        self.kept.append(loss)
        return loss


def schedule(policy, **parameters):
    return LRScheduler(policy, **parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {"callbacks": [schedule(StepLR, step_size=1)]},
        {"callbacks": [schedule(CosineAnnealingLR, T_max=2)]},
        {"callbacks": [schedule(ReduceLROnPlateau, monitor="train_loss")]},
        {"encoder": KeepsReferences, "augmentation": noise},
        {"loss": KeepsLosses()},
        {"optimizer": torch.optim.Adafactor},
    ],
    ids=["steps", "cosine", "plateau", "references", "graphs", "adafactor"],
)
def test_fitted_embedders_are_copied(parameters):
    embedder = small(**parameters).fit(X)
    # torch does not copy graphs.
    deep = pickled if "loss" in parameters else copy.deepcopy
    copies = [pickled(embedder), deep(embedder), copy.copy(embedder)]
    expected = embedder.transform(X)
    for each in copies:
        assert_array_equal(each.transform(X), expected)
        encoder = each.encoder_
        if "encoder" in parameters:
            assert encoder.references["weights"][0] is encoder.weight
    after = copies[0].partial_fit(X).transform(X)
    assert_array_equal(copies[1].partial_fit(X).transform(X), after)
    assert_array_equal(embedder.transform(X), expected)


def test_equal_fits_have_equal_hashes():
    one, other = (small().fit(X) for _ in range(2))
    assert joblib.hash(one) == joblib.hash(other)
    assert joblib.hash(one) == joblib.hash(pickled(one))
    assert joblib.hash(one) != joblib.hash(small(alpha=0.8).fit(X))
