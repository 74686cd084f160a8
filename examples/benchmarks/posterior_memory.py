"""Time and peak memory of the posterior of all pairs of many rows.

    python examples/benchmarks/posterior_memory.py

Peak memory is measured for the whole process, with Python, torch and the model.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import numpy as np
import torch

from sklearn_bcl import BCLEmbedder


def peak_gigabytes() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=64)
    arguments = parser.parse_args()

    X = np.random.default_rng(0).normal(size=(arguments.rows, arguments.features))
    embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X)
    before = peak_gigabytes()
    start = time.perf_counter()
    proba = embedder.true_negative_proba(X)
    seconds = time.perf_counter() - start
    print(
        f"{proba.shape[0]} x {proba.shape[1]} pairs, {torch.get_num_threads()} threads:"
        f" {seconds:.1f} s, peak memory {peak_gigabytes():.2f} GB"
        f" ({before:.2f} GB before, the result itself is {proba.nbytes / 1e9:.2f} GB)"
    )


if __name__ == "__main__":
    main()
