"""What large batches, rows on a disk and several processes cost, and how they agree.

    python examples/benchmarks/scale_out.py
    torchrun --nproc-per-node 2 examples/benchmarks/scale_out.py

The first prints a Markdown table of times and memory on one process, as ``speed.py``
does. The second prints how far embeddings that all processes have trained are from
those of one process, relative to their length. Beside them stands what rounding alone
can do: one process, whose initial weights were changed by 1e-7 of their size.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import speed
import torch
import torch.distributed as dist
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from skorch.callbacks import Callback
from torch import Tensor

import sklearn_bcl.losses
from sklearn_bcl import BCLEmbedder
from sklearn_bcl.distributed import all_processes
from sklearn_bcl.losses import BCLLoss, ContrastiveLoss, DebiasedLoss, HardNegativeLoss

TABLES = {
    "breast cancer": load_breast_cancer,
    "diabetes": load_diabetes,
    "digits": load_digits,
    "wine": load_wine,
}
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "sgd", "learning_rate": 0.05},
    "Adam": {},
}
N_COLUMNS = 4096


def loss_and_gradient(loss: ContrastiveLoss, most: int, z1: Tensor, z2: Tensor) -> Any:
    """Compute a loss of so many similarities at once, and its gradient."""
    before = sklearn_bcl.losses.MOST_SIMILARITIES
    sklearn_bcl.losses.MOST_SIMILARITIES = most
    try:
        value = loss(z1, z2)
        return value.detach(), *torch.autograd.grad(value, (z1, z2))
    finally:
        sklearn_bcl.losses.MOST_SIMILARITIES = before


def chunks(n_rows: int, repeats: int) -> Iterator[speed.Line]:
    """Compare a loss in chunks of anchors with one of all anchors at once."""
    most, pair = sklearn_bcl.losses.MOST_SIMILARITIES, speed.views(n_rows)
    for loss in (DebiasedLoss(), HardNegativeLoss(robustness=1)):
        at_once = partial(loss_and_gradient, loss, 2**60)
        in_chunks = partial(loss_and_gradient, loss, most)
        section = f"{type(loss).__name__}, batch of {n_rows}"
        of_times = speed.ratio(
            partial(in_chunks, *pair), partial(at_once, *pair), repeats
        )
        yield section, "time in chunks", "at once", of_times[1]
        bytes_of = [
            speed.memory_of(function, speed.views, n_rows)
            for function in (in_chunks, at_once)
        ]
        share = f"{bytes_of[0] / bytes_of[1]:.2f}"
        yield section, "memory in chunks", "at once", share
        results = zip(in_chunks(*pair), at_once(*pair), strict=True)
        worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in results)
        yield section, "largest difference", "relative", f"{worst:.0e}"
    n_bytes = speed.memory_of(
        partial(loss_and_gradient, BCLLoss(), most), speed.views, 2 * n_rows
    )
    yield f"BCLLoss, batch of {2 * n_rows}", "memory", "", speed.megabytes(n_bytes)


def map_on_disk(gigabytes: float) -> Iterator[speed.Line]:
    """Train on a memory map of float64, and embed it: memory of the process's own."""
    n_rows = int(gigabytes * 1e9 / 8 / N_COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        X = np.lib.format.open_memmap(path, "w+", np.float64, (n_rows, N_COLUMNS))
        generator = np.random.default_rng(0)
        for start in range(0, n_rows, 1024):
            X[start : start + 1024] = generator.random(X[start : start + 1024].shape)
        X.flush()
        X = np.load(path, mmap_mode="r")
        embedder = BCLEmbedder(max_epochs=1, batch_size=256, random_state=0)
        embedder.fit(X[:1000])
        section = f"memory map, {X.nbytes / 1e9:.1f} GB of float64"
        calls = {"epoch": embedder.fit, "transform": embedder.transform}
        for name, call in calls.items():
            start, peak = time.perf_counter(), AnonymousPeak()
            with peak:
                call(X)
            seconds = time.perf_counter() - start
            yield section, name, "own memory", speed.megabytes(peak.bytes)
            yield section, name, "seconds", f"{seconds:.0f}"


class AnonymousPeak:
    """The largest memory of a process of its own, without pages of files."""

    def __enter__(self) -> None:
        self.bytes, self.ends = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        while not self.ends.wait(0.01):
            self.bytes = max(self.bytes, speed.resident("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        self.thread.join()


def one_process_in_the_block(repeats: int) -> Iterator[speed.Line]:
    X, _ = speed.table(1000, 64)

    def inside() -> Any:
        with all_processes():
            return outside()

    def outside() -> Any:
        return BCLEmbedder(max_epochs=5, random_state=0).fit_transform(X)

    assert np.array_equal(inside(), outside())
    of_times = speed.ratio(inside, outside, repeats)
    yield speed.line("fit of one process", "in all_processes()", "outside", of_times)


class Rounding(Callback):
    """Change the initial weights by about a bit of float32."""

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        generator = torch.Generator().manual_seed(0)
        for weight in net.module_.parameters():
            noise = torch.rand(weight.shape, generator=generator)
            weight.data *= 1 + 1e-7 * (2 * noise - 1)


def agreement() -> None:
    """Print how embeddings of all processes differ from those of one."""
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    if dist.get_rank() == 0:
        print("| table, optimizer | several processes | one, weights changed by 1e-7 |")
        print("| --- | --- | --- |")
    for name, load in TABLES.items():
        X = load().data
        for optimizer, parameters in OPTIMIZERS.items():
            parameters = {**parameters, "max_epochs": 5, "random_state": 0}
            alone = BCLEmbedder(**parameters).fit(X).transform(X)
            changed = BCLEmbedder(**parameters, callbacks=[Rounding()]).fit(X)
            with all_processes() as processes:
                together = BCLEmbedder(**parameters).fit(X)
            differences = [
                float(np.linalg.norm(one.transform(X) - alone) / np.linalg.norm(alone))
                for one in (together, changed)
            ]
            if processes.is_main:
                cells = [f"{difference:.1e}" for difference in differences]
                print(f"| {name}, {optimizer} | {' | '.join(cells)} |", flush=True)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=4096, help="of the large batch")
    parser.add_argument("--gigabytes", type=float, default=4, help="of the memory map")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        agreement()
        return
    print(f"{speed.processor()}, {torch.get_num_threads()} threads\n")
    print("| what | of | against | result (quartiles) |")
    print("| --- | --- | --- | --- |")
    for lines in (
        chunks(arguments.rows, arguments.repeats),
        one_process_in_the_block(arguments.repeats),
        map_on_disk(arguments.gigabytes),
    ):
        for cells in lines:
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
