"""Time of a default fit, beside SimCLR.

    python examples/benchmarks/fit_time.py

Fits of BCL and SimCLR alternate, so that other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from sklearn.datasets import make_classification

from sklearn_bcl import BCLEmbedder


def fit_seconds(X, loss: str, seed: int) -> float:
    embedder = BCLEmbedder(loss=loss, random_state=seed)
    start = time.perf_counter()
    embedder.fit(X)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    X, _ = make_classification(
        arguments.rows,
        arguments.features,
        n_informative=min(20, arguments.features // 2),
        random_state=0,
    )
    print(
        f"{X.shape[0]} rows, {X.shape[1]} features, {torch.get_num_threads()} threads"
    )
    BCLEmbedder(max_epochs=1).fit(X)  # the work of a first fit only
    seconds: dict[str, list[float]] = {"bcl": [], "simclr": []}
    for seed in range(arguments.repeats):
        for loss, times in seconds.items():
            times.append(fit_seconds(X, loss, seed))
            print(f"{loss}: {times[-1]:.1f} s", flush=True)
    ratios = [b / s for b, s in zip(seconds["bcl"], seconds["simclr"], strict=True)]
    print(
        f"bcl: median {statistics.median(seconds['bcl']):.1f} s; bcl / simclr: median "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
