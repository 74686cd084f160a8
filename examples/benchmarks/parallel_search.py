"""A grid search in two processes against the same fits in sequence.

    python examples/benchmarks/parallel_search.py

Each process of ``n_jobs=2`` computes with one thread, which joblib sets. A sequence
with one thread does the same computations. A sequence with two threads shows what
processes gain over the threads of torch. Embeddings are bit-equal in all three. The
logistic regression on them can differ where its BLAS has two threads. All three
alternate.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

from sklearn_bcl import BCLEmbedder


def run(X, y, epochs: int, n_jobs: int, n_threads: int) -> tuple[float, np.ndarray]:
    """Return the seconds and the scores of a search."""
    pipeline = make_pipeline(
        BCLEmbedder(max_epochs=epochs, random_state=0),
        LogisticRegression(max_iter=1000),
    )
    grid = {
        "bclembedder__tau_plus": [0.05, 0.1],
        "bclembedder__alpha": [0.7, 0.9],
    }
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs, refit=False)
    torch.set_num_threads(n_threads)
    start = time.perf_counter()
    with threadpool_limits(n_threads):
        search.fit(X, y)
    return time.perf_counter() - start, search.cv_results_["mean_test_score"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1797)
    arguments = parser.parse_args()

    X, y = (data[: arguments.rows] for data in load_digits(return_X_y=True))
    settings = {
        "two processes": (2, 1),
        "sequence, one thread": (1, 1),
        "sequence, two threads": (1, 2),
    }
    run(X, y, 1, 2, 1)  # starts the processes
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    scores = {}
    for _ in range(arguments.repeats):
        for name, (n_jobs, n_threads) in settings.items():
            taken, scores[name] = run(X, y, arguments.epochs, n_jobs, n_threads)
            seconds[name].append(taken)
            print(f"{name}: {taken:.1f} s", flush=True)
    parallel = seconds["two processes"]
    for name in ("sequence, one thread", "sequence, two threads"):
        ratios = [b / a for a, b in zip(parallel, seconds[name], strict=True)]
        equal = np.array_equal(scores[name], scores["two processes"])
        print(
            f"{name} / two processes: median {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}), results "
            f"{'equal' if equal else 'differ'}"
        )


if __name__ == "__main__":
    main()
