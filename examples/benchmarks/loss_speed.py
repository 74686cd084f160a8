"""Time and memory of the BCL loss against a straightforward all-pairs version.

The importance weights need the rank of every similarity among those of its anchor.
The released research code compares all pairs of similarities, which makes a boolean
array of 2B x N x N values; the library sorts. Both compute the same loss.

    python examples/benchmarks/loss_speed.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sklearn_bcl.bayes import importance_weights
from sklearn_bcl.losses import bcl_loss, ntxent_loss

PRIORS = {"alpha": 0.9, "beta": 0.9, "tau_plus": 0.1}
TEMPERATURE = 0.5


def all_pairs_loss(z1: Tensor, z2: Tensor) -> Tensor:
    """The BCL loss with ranks from the comparison of all pairs of similarities."""
    n = len(z1)
    z = torch.cat([z1, z2])
    own = torch.eye(2 * n, dtype=torch.bool)
    mask = ~(own | own.roll(n, 0))
    similarity = z @ z.T
    scores = similarity[mask].view(2 * n, 2 * n - 2)
    p = (scores[:, :, None] >= scores[:, None, :]).float().mean(dim=2)
    weights = torch.from_numpy(importance_weights(p, **PRIORS)).float()
    positive = ((z1 * z2).sum(dim=1) / TEMPERATURE).exp().repeat(2)
    negatives = (weights * (scores / TEMPERATURE).exp()).sum(dim=1)
    return -(positive / (positive + negatives)).log().mean()


def sorted_loss(z1: Tensor, z2: Tensor) -> Tensor:
    return bcl_loss(z1, z2, temperature=TEMPERATURE, **PRIORS)


def simclr_loss(z1: Tensor, z2: Tensor) -> Tensor:
    return ntxent_loss(z1, z2, temperature=TEMPERATURE)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "all pairs": all_pairs_loss,
    "sklearn_bcl": sorted_loss,
    "NT-Xent": simclr_loss,
}


def make_views(batch_size: int, size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(batch_size, size, generator=generator)
    noise = torch.randn(batch_size, size, generator=generator)
    z1, z2 = normalize(z, dim=1), normalize(z + 0.5 * noise, dim=1)
    return z1.requires_grad_(), z2.requires_grad_()


def forward_and_backward(name: str, z1: Tensor, z2: Tensor) -> float:
    loss = LOSSES[name](z1, z2)
    torch.autograd.grad(loss, (z1, z2))
    return loss.item()


def peak_memory(name: str, batch_size: int, size: int) -> None:
    """Print the growth of this process's peak resident memory, in bytes."""

    def peak() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("peak memory is measured on Linux only")

    forward_and_backward(name, *make_views(8, size))  # loads the libraries
    views = make_views(batch_size, size)
    before = peak()
    forward_and_backward(name, *views)
    print(peak() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--size", type=int, default=128, help="of the projections")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--memory-of", choices=LOSSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    batch_size, size = arguments.batch_size, arguments.size
    if arguments.memory_of:
        peak_memory(arguments.memory_of, batch_size, size)
        return

    views = make_views(batch_size, size)
    values = {name: forward_and_backward(name, *views) for name in LOSSES}
    torch.testing.assert_close(
        values["sklearn_bcl"], values["all pairs"], rtol=1e-5, atol=0
    )

    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(arguments.repeats):  # interleaved, so that noise hits all alike
        for name in LOSSES:
            start = time.perf_counter()
            forward_and_backward(name, *views)
            seconds[name].append(time.perf_counter() - start)

    unit = (2 * batch_size) ** 2 * 4
    print(
        f"Batch {batch_size}, projections of {size}, forward and backward, CPU with "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"median of {arguments.repeats} (quartiles)\n"
    )
    print("loss          milliseconds               all pairs   peak memory")
    slowest = statistics.median(seconds["all pairs"])
    for name in LOSSES:
        low, median, high = statistics.quantiles(seconds[name], n=4)
        command = [sys.executable, __file__, "--memory-of", name]
        command += ["--batch-size", str(batch_size), "--size", str(size)]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
        memory = int(output.stdout)
        print(
            f"{name:12s} {median * 1e3:7.2f} ({low * 1e3:.2f}, {high * 1e3:.2f})"
            f"{slowest / median:12.1f}x slower  {memory / 2**20:7.1f} MiB"
            f" = {memory / unit:.1f} x (2B)^2 x 4 bytes"
        )


if __name__ == "__main__":
    main()
