"""A defined state of torch for computations, whatever the state of the caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from sklearn_bcl._random import Float32Factories


@contextmanager
def standard_torch(*, grad: bool) -> Iterator[None]:
    """Compute with torch's defaults in this thread: no inference mode, no autocast.

    New tensors are float32 and on the CPU unless specified. Gradients are recorded if
    `grad`. Afterwards, the caller's state is restored. Other threads keep their state.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(grad))
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        # torch.get_default_device() of torch 2.6 does not know a block of torch.device.
        if torch.empty(0).device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            stack.enter_context(Float32Factories())
        yield
