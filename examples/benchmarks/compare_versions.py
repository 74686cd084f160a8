"""Speed of another version of sklearn_bcl beside this one, in one run.

    git worktree add ../other REVISION
    python examples/benchmarks/compare_versions.py ../other

Each version has a process of its own. They take turns, so that whatever else the
machine does hits both alike. Ratios above 1 say that this version is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from sklearn.datasets import make_classification
from torch.nn.functional import normalize

from sklearn_bcl import BCLEmbedder, losses

HERE = Path(__file__).parents[2]
LOSSES = ("NTXentLoss", "BCLLoss", "DebiasedLoss", "HardNegativeLoss")
LOSS_REPEATS = 20


def loss_case(name: str, batch_size: int) -> Callable[[], object]:
    loss = getattr(losses, name)()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, batch_size, 128, generator=generator)
    # Losses did not normalize before version 0.1.0: their caller did.
    normalizes = torch.allclose(loss(z[0], z[1]), loss(2 * z[0], z[1]), rtol=1e-4)
    z.requires_grad_()

    def run() -> None:
        for _ in range(LOSS_REPEATS):
            z1, z2 = z if normalizes else normalize(z, dim=2)
            torch.autograd.grad(loss(z1, z2), z)

    return run


def cases() -> dict[str, Callable[[], object]]:
    """Return what is timed; the first call of each is a warm-up."""
    X, _ = make_classification(1024, 64, n_informative=20, random_state=0)
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X)
    many = X.repeat(20, axis=0)
    runs: dict[str, Callable[[], object]] = {
        f"{name}, batch {size}": loss_case(name, size)
        for name in LOSSES
        for size in (256, 1024)
    }
    for loss in ("bcl", "simclr"):
        model = BCLEmbedder(loss=loss, max_epochs=10, random_state=0)
        runs[f"fit, {loss}"] = lambda model=model: model.fit(X)
    runs["partial_fit"] = lambda: embedder.partial_fit(X)
    runs["transform, 20,480 rows"] = lambda: embedder.transform(many)
    runs["transform, 1 row"] = lambda: [embedder.transform(X[:1]) for _ in range(100)]
    runs["true_negative_proba"] = lambda: embedder.true_negative_proba(X)
    return runs


def worker() -> None:
    """Time the case that each line of the standard input names."""
    runs = cases()
    print(*runs, sep="\n", end="\n\n", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        runs[line.strip()]()
        print(time.perf_counter() - start, flush=True)


class Version:
    """A process with one version of the package."""

    def __init__(self, checkout: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker"],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cases = [line.strip() for line in iter(self.process.stdout.readline, "\n")]

    def seconds(self, case: str) -> float:
        self.process.stdin.write(f"{case}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("other", type=Path, nargs="?", help="folder of a checkout")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--cases", default="", help="only those with this in the name")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    if arguments.other is None or not (arguments.other / "sklearn_bcl").is_dir():
        parser.error("OTHER must be a folder that holds sklearn_bcl/")
    this, other = Version(HERE), Version(arguments.other.resolve())
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n")
    print("| case | other / this, median | quartiles |\n|---|---|---|")
    for case in (case for case in this.cases if arguments.cases in case):
        ratios = []
        for repeat in range(arguments.repeats + 1):
            order = (this, other) if repeat % 2 else (other, this)
            seconds = {version: version.seconds(case) for version in order}
            if repeat > 0:  # the first is a warm-up
                ratios.append(seconds[other] / seconds[this])
        low, median, high = statistics.quantiles(ratios, n=4)
        print(f"| {case} | {median:.2f} | {low:.2f} to {high:.2f} |", flush=True)


if __name__ == "__main__":
    main()
