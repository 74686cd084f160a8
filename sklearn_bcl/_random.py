"""Random draws of a training that leave the global generators unchanged.

Parts of this package draw from a generator that they receive. Custom parts may use only
torch's global generators, which belong to all threads. So the global generators are
lent to a custom part for one call at a time, in a state that belongs to the training.
"""

from __future__ import annotations

import inspect
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode

_LOCK = threading.RLock()
# A process that forks while a thread has lent the generators waits for that call. Else
# its child would never get the lock, and have generators in another's state.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_LOCK.acquire,
        after_in_parent=_LOCK.release,
        after_in_child=_LOCK.release,
    )

_FLOAT_FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn}
_DRAWS = {
    torch.bernoulli,
    torch.multinomial,
    torch.normal,
    torch.poisson,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
} | {
    getattr(Tensor, name)
    for name in (
        "bernoulli",
        "bernoulli_",
        "cauchy_",
        "exponential_",
        "geometric_",
        "log_normal_",
        "multinomial",
        "normal_",
        "random_",
        "uniform_",
    )
}
# Some functions of torch.nn.init come here themselves, in place of what they call.
_DRAWS |= {
    function
    for function in vars(nn.init).values()
    if inspect.isfunction(function)
    and "generator" in inspect.signature(function).parameters
}
# Modules of torch and torchvision without draws of their own.
_KNOWN = ("sklearn_bcl.", "torch.nn.modules.", "torchvision.models.resnet")
_DRAWING_FILES = ("dropout", "rnn", "transformer")
_DRAWING = {
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "MultiheadAttention",
    "RReLU",
}


class Float32Factories(TorchFunctionMode):
    """New tensors are float32 unless a dtype is given, whatever torch's default dtype.

    With a `generator`, draws on the CPU come from this generator unless another one is
    given. So the weights of a new module depend on the generator only.
    """

    def __init__(self, generator: Generator | None = None) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in _FLOAT_FACTORIES and kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32
        if (
            self.generator is not None
            and func in _DRAWS
            and kwargs.get("generator") is None
            and _is_on_cpu(args, kwargs)
        ):
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


def _is_on_cpu(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if args and isinstance(args[0], Tensor):
        return args[0].device.type == "cpu"
    return kwargs.get("device") is None or torch.device(kwargs["device"]).type == "cpu"


def draws_globally(part: Any) -> bool:
    """Return whether a part of a net may draw from torch's global generators."""
    wrapped = getattr(part, "augmentation", None)  # in one of ours
    if wrapped is not None and draws_globally(wrapped):
        return True
    if isinstance(part, nn.Module):
        return not all(_is_known(type(module)) for module in part.modules())
    kind = part if isinstance(part, type) or hasattr(part, "__code__") else type(part)
    return not _is_known(kind)


def _is_known(kind: Any) -> bool:
    module = kind.__module__ or ""  # None in code run by exec
    file = module.rpartition(".")[2]
    return (
        module.startswith(_KNOWN)
        and file not in _DRAWING_FILES
        and kind.__name__ not in _DRAWING
    )


class Draws:
    """A generator, and a state of torch's global generators, both from one seed.

    Parameters
    ----------
    seed : int
    device : torch.device
        Device of the draws.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = Generator(device).manual_seed(seed)
        kinds = {torch.device("cpu"), device}
        self._states = {d: Generator(d).manual_seed(seed).get_state() for d in kinds}

    def state(self) -> dict[str, Any]:
        """Return the state, as tensors."""
        lent = {str(device): state for device, state in self._states.items()}
        return {"generator": self.generator.get_state(), "lent": lent}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.generator.set_state(state["generator"])
        self._states = {d: state["lent"][str(d)] for d in self._states}

    @contextmanager
    def lent(self, when: bool = True) -> Iterator[None]:
        """Set torch's global generators to their state after the last such call.

        Afterwards, they have their former state again. Other threads that draw during
        the call may receive numbers of this state.
        """
        if not when:
            yield
            return
        with _LOCK:
            before = {device: _state_of(device) for device in self._states}
            _set_states(self._states)
            try:
                yield
            finally:
                self._states = {device: _state_of(device) for device in before}
                _set_states(before)


def _state_of(device: torch.device) -> Tensor:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else torch.get_rng_state()


def _set_states(states: dict[torch.device, Tensor]) -> None:
    for device, state in states.items():
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        elif device.type == "mps":
            torch.mps.set_rng_state(state)
        else:
            torch.set_rng_state(state)


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Let code without a generator argument, such as kornia, draw from a generator."""
    if generator.device.type == "cpu":
        with Float32Factories(generator):
            yield
    else:
        with Draws(seed_from(generator), generator.device).lent():
            yield


def seed_from(generator: Generator) -> int:
    """Draw a seed from a generator, without waiting for its device."""
    if generator.device.type == "cpu":
        return int(torch.randint(2**62, (), generator=generator))
    # Seed and offset of a GPU's generator are known on the host; a draw moves on.
    seed = zlib.crc32(generator.get_state().numpy().tobytes())
    torch.rand((), generator=generator, device=generator.device)
    return seed
