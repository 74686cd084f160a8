"""DataFrames with categories: time of transform, and memory of a large fit.

    python examples/benchmarks/frame_speed.py

- Time: transform of a DataFrame, beside that of a one-hot array of the same data, each
  by an embedder that was fitted on rows of its kind. All alternate.
- Memory: what a fit of one epoch adds to a process that holds the DataFrame, beside the
  size of the one-hot matrix that it does without.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import pandas as pd

from sklearn_bcl import BCLEmbedder


def make_table(n_rows: int, n_columns: int, n_levels: int) -> pd.DataFrame:
    """Return a DataFrame of categories, some of them missing."""
    rng = np.random.default_rng(0)
    levels = pd.Index([f"level {i}" for i in range(n_levels)])
    codes = rng.integers(-1, n_levels, size=(n_columns, n_rows), dtype=np.int8)
    return pd.DataFrame(
        {
            f"column {j}": pd.Categorical.from_codes(column, levels)
            for j, column in enumerate(codes)
        }
    )


def compare_transform(n_rows: int, n_levels: int, repeats: int) -> None:
    frame = make_table(n_rows, 10, n_levels)
    inputs = {
        "one-hot array": pd.get_dummies(frame, dtype=np.float32).to_numpy(),
        "category columns": frame,
        "string columns": frame.astype("str"),
    }
    embedders = {
        name: BCLEmbedder(max_epochs=1, random_state=0).fit(X[:2000])
        for name, X in inputs.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in inputs}
    for _ in range(repeats):
        for name, X in inputs.items():
            start = time.perf_counter()
            embedders[name].transform(X)
            seconds[name].append(time.perf_counter() - start)
    print(f"transform of {n_rows:,} rows, 10 columns of {n_levels} categories")
    for name in inputs:
        pairs = zip(seconds[name], seconds["one-hot array"], strict=True)
        ratios = [own / array for own, array in pairs]
        print(
            f"{name:17s} {statistics.median(seconds[name]):6.2f} s, "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            "times that of the array"
        )


def measure_memory(n_rows: int, n_levels: int) -> None:
    BCLEmbedder(max_epochs=1).fit(make_table(1000, 20, n_levels))  # loads libraries
    frame = make_table(n_rows, 20, n_levels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    BCLEmbedder(max_epochs=1, random_state=0).fit(frame)
    seconds = time.perf_counter() - start
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"fit of {n_rows:,} rows, 20 columns of {n_levels} categories, one epoch: "
        f"{seconds:.0f} s, {added / 1024:.0f} MiB more; one-hot matrix: "
        f"{n_rows * 20 * n_levels * 4 / 2**20:.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=100_000, help="to transform")
    parser.add_argument("--train-rows", type=int, default=1_000_000)
    parser.add_argument("--levels", type=int, default=50, help="of each column")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    # The larger fit first: a peak cannot be measured below an earlier one.
    measure_memory(arguments.train_rows, arguments.levels)
    for n_levels in (10, arguments.levels):
        compare_transform(arguments.rows, n_levels, arguments.repeats)


if __name__ == "__main__":
    main()
