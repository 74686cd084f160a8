"""Time and memory of the BCL loss, beside a straightforward all-pairs version.

The importance weights need the rank of each similarity among those of its anchor. The
released research code compares all pairs of similarities, in a boolean array of
2B x N x N values. The library sorts. Both compute the same loss.

    python examples/benchmarks/loss_speed.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from sklearn_bcl.bayes import importance_weights
from sklearn_bcl.losses import BCLLoss, NTXentLoss

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


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "all pairs": all_pairs_loss,
    "sklearn_bcl": BCLLoss(TEMPERATURE, **PRIORS),
    "NT-Xent": NTXentLoss(TEMPERATURE),
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


def peak_memory(name: str, batch_size: int, size: int, answer: SimpleQueue) -> None:
    """Answer with the growth of this process's peak resident memory, in bytes."""

    def peak() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("peak memory is measured on Linux only")

    forward_and_backward(name, *make_views(8, size))  # loads the libraries
    views = make_views(batch_size, size)
    before = peak()
    forward_and_backward(name, *views)
    answer.put(peak() - before)


def memory_of(name: str, batch_size: int, size: int) -> int:
    """Return the peak memory of a loss, measured in a process of its own."""
    context = multiprocessing.get_context("fork")  # before torch starts threads
    answer = context.SimpleQueue()
    process = context.Process(target=peak_memory, args=(name, batch_size, size, answer))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"the memory of {name!r} could not be measured")
    return answer.get()


def measure_seconds(
    views: tuple[Tensor, Tensor], repeats: int
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(repeats):  # interleaved, so that other load affects all alike
        for name in LOSSES:
            start = time.perf_counter()
            forward_and_backward(name, *views)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--batch-size", type=int, default=256, help="rows")
    parser.add_argument("--size", type=int, default=128, help="of the projections")
    parser.add_argument("--repeats", type=int, default=15, help="of each loss")
    arguments = parser.parse_args()
    batch_size, size = arguments.batch_size, arguments.size
    memory = {name: memory_of(name, batch_size, size) for name in LOSSES}
    views = make_views(batch_size, size)
    own, expected = (
        forward_and_backward(name, *views) for name in ("sklearn_bcl", "all pairs")
    )
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=0)
    seconds = measure_seconds(views, arguments.repeats)
    print(
        f"Batch {batch_size}, projections of {size}, forward and backward, CPU with "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"median of {arguments.repeats} (quartiles)\n"
    )
    print("loss         milliseconds (quartiles)   against all pairs   peak memory")
    unit = (2 * batch_size) ** 2 * 4
    slowest = statistics.median(seconds["all pairs"])
    for name in LOSSES:
        low, median, high = statistics.quantiles(seconds[name], n=4)
        print(
            f"{name:12s} {median * 1e3:7.2f} ({low * 1e3:.2f}, {high * 1e3:.2f})"
            f"{slowest / median:12.1f}x faster  {memory[name] / 2**20:7.1f} MiB"
            f" = {memory[name] / unit:.1f} x (2B)^2 x 4 bytes"
        )


if __name__ == "__main__":
    main()
