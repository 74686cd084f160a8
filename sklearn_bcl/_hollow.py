"""Modules with arrays in place of tensors, for the pickles of estimators.

Pickles of equal tensors differ. Caches that compare calls by their pickles, such as
``Pipeline(memory=...)``, would therefore never find an earlier call.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

NO_VALUES = np.empty(0, dtype=np.uint8)
KINDS = (Tensor, nn.Parameter)


@dataclass(eq=False)  # to be a key, as a tensor is
class HollowTensor:
    """A tensor's values, as bytes. Its pickle is loaded as the tensor.

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

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        return _tensor, tuple(values)


def _tensor(
    values: NDArray[np.uint8],
    dtype: torch.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...] | None,
    is_parameter: bool,
    requires_grad: bool,
) -> Tensor:
    """Return the tensor that a `HollowTensor` was made of."""
    tensor = torch.empty(shape, dtype=dtype)
    if stride is not None:
        # As in memory before: other kernels would round otherwise.
        tensor = torch.empty_strided(shape, stride, dtype=dtype)
    if len(values):
        flat = torch.from_numpy(values.copy()).view(dtype)
        tensor.copy_(flat.reshape(shape))
    if is_parameter:
        return nn.Parameter(tensor, requires_grad=requires_grad)
    return tensor.requires_grad_(requires_grad)


def _is_dense(tensor: Tensor) -> bool:
    """Return whether the values of a tensor fill a piece of memory, in some order."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride != expected:
            return False
        expected *= max(size, 1)
    return True


@dataclass
class HollowOptimizer:
    """What an optimizer pickles, its state as pairs of a parameter and its values.

    joblib cannot hash a dict whose keys are tensors. Its pickle is loaded as the
    optimizer.
    """

    kind: type[torch.optim.Optimizer]
    attributes: dict[str, Any]
    state: list[tuple[Any, dict[str, Any]]]

    @classmethod
    def of(
        cls, optimizer: torch.optim.Optimizer, memo: dict[int, Any]
    ) -> HollowOptimizer:
        """Return a copy of what an optimizer pickles, for a memo of `copy.deepcopy`."""
        attributes = dict(optimizer.__getstate__())
        pairs = list(attributes.pop("state").items())
        attributes, pairs = copy.deepcopy((attributes, pairs), memo)
        return cls(type(optimizer), attributes, pairs)

    def __reduce__(self) -> tuple[Any, ...]:
        return _optimizer, (self.kind, self.attributes, self.state)


def _optimizer(
    kind: type[torch.optim.Optimizer],
    attributes: dict[str, Any],
    state: list[tuple[Tensor, dict[str, Any]]],
) -> torch.optim.Optimizer:
    """Return the optimizer that a `HollowOptimizer` was made of."""
    optimizer = kind.__new__(kind)
    optimizer.__setstate__({**attributes, "state": defaultdict(dict, state)})
    return optimizer


def hollow(module: nn.Module) -> nn.Module:
    """Return a copy of a module for its pickle, or the module if it has none."""
    return _hollow(module, [module], None)


def hollow_net(state: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of the attributes of a skorch net for its pickle.

    Or the attributes themselves, if they hold what cannot be copied in this way.
    """
    values = [*state.values(), *state["augmentation"]]
    modules = [value for value in values if isinstance(value, nn.Module)]
    return _hollow(state, modules, state["optimizer_"])


def _hollow(
    value: Any, modules: list[nn.Module], optimizer: torch.optim.Optimizer | None
) -> Any:
    tensors = _tensors_of(modules)
    if optimizer is not None:
        moments = [v for state in optimizer.state.values() for v in state.values()]
        tensors += [moment for moment in moments if isinstance(moment, Tensor)]
    tensors = list({id(tensor): tensor for tensor in tensors}.values())
    if any(type(t) not in KINDS or t.layout != torch.strided for t in tensors):
        return value  # such as lazy parameters without values
    places = [t.untyped_storage().data_ptr() for t in tensors if t.numel()]
    if len(set(places)) < len(places):
        return value  # what shares memory has to go on sharing it
    memo: dict[int, Any] = {id(tensor): HollowTensor.of(tensor) for tensor in tensors}
    try:
        if optimizer is not None:
            memo[id(optimizer)] = HollowOptimizer.of(optimizer, memo)
        return copy.deepcopy(value, memo)
    except Exception:  # of what users keep, such as tensors with a graph
        return value


def _tensors_of(modules: list[nn.Module]) -> list[Tensor]:
    parts = [part for module in modules for part in module.modules()]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    values = [value for part in parts for value in vars(part).values()]
    return tensors + [value for value in values if isinstance(value, Tensor)]


def plain_attributes(part: Any) -> dict[str, Any]:
    """Return the attributes of a part that are numbers, strings or tuples of such."""
    values = getattr(part, "__dict__", {})
    return {name: value for name, value in values.items() if is_plain(value)}


def is_plain(value: Any) -> bool:
    """Return whether a value is None, a number, a string or a tuple of such."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
