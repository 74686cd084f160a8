"""Modules with arrays in place of tensors, for the pickles of estimators.

Pickles of equal tensors differ. Caches that compare calls by their pickles, such as
``Pipeline(memory=...)``, would therefore never find an earlier call.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

NO_VALUES = np.empty(0, dtype=np.uint8)


@dataclass
class HollowTensor:
    """A tensor's values, as bytes.

    Parameters
    ----------
    values : ndarray of uint8
    dtype : torch.dtype
    shape : tuple of int
    stride : tuple of int or None
        None if the values do not fill a piece of memory.
    is_parameter, requires_grad : bool
    """

    values: NDArray[np.uint8]
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    is_parameter: bool
    requires_grad: bool

    @classmethod
    def of(cls, tensor: Tensor) -> HollowTensor:
        """Return the values of a tensor."""
        flat = tensor.detach().cpu().contiguous().flatten()
        return cls(
            flat.view(torch.uint8).numpy().copy() if len(flat) else NO_VALUES,
            tensor.dtype,
            tuple(tensor.shape),
            tensor.stride() if _is_dense(tensor) else None,
            isinstance(tensor, nn.Parameter),
            tensor.requires_grad,
        )

    def fill(self) -> Tensor:
        """Return the tensor."""
        tensor = torch.empty(self.shape, dtype=self.dtype)
        if self.stride is not None:
            # As in memory before: other kernels would round otherwise.
            tensor = torch.empty_strided(self.shape, self.stride, dtype=self.dtype)
        if len(self.values):
            flat = torch.from_numpy(self.values.copy()).view(self.dtype)
            tensor.copy_(flat.reshape(self.shape))
        if self.is_parameter:
            return nn.Parameter(tensor, requires_grad=self.requires_grad)
        return tensor.requires_grad_(self.requires_grad)


def _is_dense(tensor: Tensor) -> bool:
    """Return whether the values of a tensor fill a piece of memory, in some order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= max(size, 1)
    return True


def plain_attributes(part: Any) -> dict[str, Any]:
    """Return the attributes of a part that are numbers, strings or tuples of such."""
    values = getattr(part, "__dict__", {})
    return {name: value for name, value in values.items() if is_plain(value)}


def is_plain(value: Any) -> bool:
    """Return whether a value is None, a number, a string or a tuple of such."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


@dataclass
class HollowOptimizer:
    """What an optimizer pickles, its state as pairs of a parameter and its values.

    joblib cannot hash a dict whose keys are tensors.
    """

    kind: type[torch.optim.Optimizer]
    attributes: dict[str, Any]
    state: list[tuple[Any, dict[str, Any]]]

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer) -> HollowOptimizer:
        """Return what an optimizer pickles."""
        attributes = dict(optimizer.__getstate__())
        return cls(type(optimizer), attributes, list(attributes.pop("state").items()))

    def fill(self, tensors: dict[int, Tensor]) -> torch.optim.Optimizer:
        """Return the optimizer, of parameters that were filled before."""
        state: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
        for parameter, values in self.state:
            state[_filled(parameter, tensors)] = {
                name: _filled(value, tensors) for name, value in values.items()
            }
        for group in self.attributes["param_groups"]:
            group["params"] = [_filled(p, tensors) for p in group["params"]]
        optimizer = self.kind.__new__(self.kind)
        optimizer.__setstate__({**self.attributes, "state": state})
        return optimizer


def _filled(value: Any, tensors: dict[int, Tensor]) -> Any:
    if not isinstance(value, HollowTensor):
        return value
    return tensors.setdefault(id(value), value.fill())


def _memo(modules: list[nn.Module], others: list[Any]) -> dict[int, Any] | None:
    """Return what stands for each tensor, by its id; None if one has no values."""
    parts = [part for module in modules for part in module.modules()]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    values = [value for part in parts for value in vars(part).values()]
    tensors += [value for value in [*values, *others] if isinstance(value, Tensor)]
    kinds = (Tensor, nn.Parameter)
    if any(type(t) not in kinds or t.layout != torch.strided for t in tensors):
        return None  # such as lazy parameters without values
    return {id(tensor): HollowTensor.of(tensor) for tensor in tensors}


def hollow(module: nn.Module) -> nn.Module:
    """Return a copy of a module with `HollowTensor` for parameters and buffers."""
    memo = _memo([module], [])
    return module if memo is None else copy.deepcopy(module, memo)


def fill(module: nn.Module, tensors: dict[int, Tensor] | None = None) -> nn.Module:
    """Put tensors back into a hollow module."""
    tensors = {} if tensors is None else tensors
    for part in module.modules():
        for values in (part._parameters, part._buffers, vars(part)):
            for name, value in values.items():
                if isinstance(value, HollowTensor):
                    values[name] = _filled(value, tensors)
    return module


def hollow_net(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a skorch net without tensors, for its pickle."""
    optimizer = state["optimizer_"]
    moments = [v for values in optimizer.state.values() for v in values.values()]
    memo = _memo(_modules_of(state), moments)
    if memo is None:
        return state
    # In one copy, so that what is shared stays shared.
    return copy.deepcopy({**state, "optimizer_": HollowOptimizer.of(optimizer)}, memo)


def fill_net(state: dict[str, Any]) -> dict[str, Any]:
    """Put tensors back into the attributes of a skorch net."""
    tensors: dict[int, Tensor] = {}
    for module in _modules_of(state):
        fill(module, tensors)
    optimizer = state["optimizer_"]
    if isinstance(optimizer, HollowOptimizer):
        state = {**state, "optimizer_": optimizer.fill(tensors)}
    return state


def _modules_of(state: dict[str, Any]) -> list[nn.Module]:
    values = [*state.values(), *state["augmentation"]]
    return [value for value in values if isinstance(value, nn.Module)]
