"""Modules with arrays in place of tensors, for the pickles of estimators.

Pickles of equal tensors differ. Caches that compare calls by their pickles, such as
``Pipeline(memory=...)``, would therefore never find an earlier call.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass
class HollowTensor:
    """A tensor's values, as bytes.

    Parameters
    ----------
    values : ndarray of uint8
    dtype : torch.dtype
    shape : tuple of int
    is_parameter, requires_grad : bool
    """

    values: NDArray[np.uint8]
    dtype: torch.dtype
    shape: tuple[int, ...]
    is_parameter: bool
    requires_grad: bool

    @classmethod
    def of(cls, tensor: Tensor) -> HollowTensor:
        """Return the values of a tensor."""
        flat = tensor.detach().cpu().contiguous().flatten()
        return cls(
            flat.view(torch.uint8).numpy().copy(),
            tensor.dtype,
            tuple(tensor.shape),
            isinstance(tensor, nn.Parameter),
            tensor.requires_grad,
        )

    def fill(self) -> Tensor:
        """Return the tensor."""
        flat = torch.from_numpy(self.values.copy()).view(self.dtype)
        tensor = flat.reshape(self.shape)
        if self.is_parameter:
            return nn.Parameter(tensor, requires_grad=self.requires_grad)
        return tensor.requires_grad_(self.requires_grad)


def plain_attributes(part: Any) -> dict[str, Any]:
    """Return the attributes of a part that are numbers, strings or tuples of such."""
    values = getattr(part, "__dict__", {})
    return {name: value for name, value in values.items() if is_plain(value)}


def is_plain(value: Any) -> bool:
    """Return whether a value is None, a number, a string or a tuple of such."""
    if type(value) is tuple:
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def hollow(module: nn.Module) -> nn.Module:
    """Return a copy of a module with `HollowTensor` for parameters and buffers."""
    parts = list(module.modules())
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    tensors += [v for p in parts for v in vars(p).values() if isinstance(v, Tensor)]
    kinds = (Tensor, nn.Parameter)
    if any(type(t) not in kinds or t.layout != torch.strided for t in tensors):
        return module  # such as lazy parameters without values
    memo: dict[int, Any] = {id(tensor): HollowTensor.of(tensor) for tensor in tensors}
    return copy.deepcopy(module, memo)


def fill(module: nn.Module) -> nn.Module:
    """Put tensors back into a hollow module."""
    tensors: dict[int, Tensor] = {}
    for part in module.modules():
        for values in (part._parameters, part._buffers, vars(part)):
            for name, value in values.items():
                if isinstance(value, HollowTensor):
                    tensor: Any = tensors.setdefault(id(value), value.fill())
                    values[name] = tensor
    return module
