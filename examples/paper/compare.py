"""Compare the losses under one budget: runs of train.py, a table, paired differences.

    python examples/paper/compare.py --seeds 3 --epochs 5

Other arguments go to train.py. Each run keeps its results in a folder, so a comparison
that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys

import numpy as np
import train

VARIANTS = {
    "simclr": ["--loss", "simclr"],
    "dcl": ["--loss", "dcl"],
    "hcl": ["--loss", "hcl"],
    "bcl": ["--loss", "bcl"],
    "bcl, beta 0.9": ["--loss", "bcl", "--beta", "0.9"],
}


def results_of(arguments: list[str]) -> dict[str, float]:
    """Run train.py unless its results are there; return the mean accuracies."""
    path = train.run_folder(train.parse_arguments(arguments)) / "results.json"
    if not path.exists():
        subprocess.run([sys.executable, train.__file__, *arguments], check=True)
    results = json.loads(path.read_text())["accuracy"]
    return {name: float(np.mean(values)) for name, values in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--seeds", type=int, default=3)
    arguments, extra = parser.parse_known_args()

    accuracies = {name: [] for name in VARIANTS}
    # Seeds outside: a comparison that was stopped has the same seeds of each loss.
    for seed, name in itertools.product(range(arguments.seeds), VARIANTS):
        accuracies[name].append(
            results_of([*extra, *VARIANTS[name], "--seed", str(seed)])
        )
    measures = list(accuracies["bcl"][0])
    table = {
        name: np.array([[run[measure] for measure in measures] for run in runs])
        for name, runs in accuracies.items()
    }
    print(f"Mean accuracy ± standard deviation of {arguments.seeds} seeds\n")
    print("| loss | " + " | ".join(measures) + " |")
    print("|---|" + "---|" * len(measures))
    for name, values in table.items():
        print(row(name, values))
    for name in VARIANTS:
        if name != "simclr":
            print(row(f"({name}) − simclr, paired", table[name] - table["simclr"]))


def row(label: str, values: np.ndarray) -> str:
    """Format means, and standard deviations if there are several seeds."""
    cells = [f"{mean:.4f}" for mean in values.mean(axis=0)]
    if len(values) > 1:
        deviations = values.std(axis=0, ddof=1)
        cells = [
            f"{cell} ± {deviation:.4f}"
            for cell, deviation in zip(cells, deviations, strict=True)
        ]
    return f"| {label} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
