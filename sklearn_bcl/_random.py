"""Randomness that leaves torch's global generators as they were."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_RNG_LOCK = threading.RLock()


@contextmanager
def isolated_rng(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, for modules that use them; restore them after.

    The generators belong to the process, so threads take turns.
    """
    cuda = [device] if device.type == "cuda" else []
    with _RNG_LOCK, torch.random.fork_rng(devices=cuda), _mps_restored(device):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


@contextmanager
def _mps_restored(device: torch.device) -> Iterator[None]:
    if device.type != "mps":
        yield
        return
    state = torch.mps.get_rng_state()
    try:
        yield
    finally:
        torch.mps.set_rng_state(state)


def seed_from(generator: torch.Generator) -> int:
    """Draw a seed from a generator, without waiting for its device."""
    if generator.device.type == "cpu":
        return int(torch.randint(2**62, (), generator=generator))
    # Seed and offset of a GPU's generator are known on the host; a draw moves on.
    seed = zlib.crc32(generator.get_state().numpy().tobytes())
    torch.rand((), generator=generator, device=generator.device)
    return seed
