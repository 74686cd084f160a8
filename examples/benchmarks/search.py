"""The search behind the defaults for tables, on the half of the data sets that tunes.

    python examples/benchmarks/search.py            # runs what is missing, then reports
    python examples/benchmarks/search.py --report   # reports what is there
    python examples/benchmarks/search.py --report --base simclr

The protocol is that of `label_efficiency.py` with 20, 50 and 200 labels and 5 draws of
them, of which the means are kept. Each round compares variants with one base design,
whose seeds they share. That of rounds 1 and 2 is history, the default of version
0.1.0.dev0, whose encoder was the perceptron alone: their results are kept, and only the
last round is run. The designs of round 3 are without `robustness`, unless it is in the
name.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from label_efficiency import interval, run
from tables import TUNING
from tqdm import tqdm

LABELS = ["20", "50", "200"]
DRAWS = 5
COLUMNS = ("round", "variant", "data", "seed", "labels", "accuracy", "versions")
RESULTS = Path(__file__).parent / "results" / "search.csv"
# Of each round, the variant with which the others are compared, and what it was.
BASES = {
    1: ("bcl", "the default of version 0.1.0.dev0"),
    2: ("bcl", "the default of version 0.1.0.dev0"),
    3: ("bcl:robustness=0.0", "the default but for robustness"),
}
LAST = max(BASES)
VARIANTS_OF: dict[int, list[str]] = {
    1: [
        "bcl:weight_decay=0.0003",
        "bcl:weight_decay=0.001",
        "bcl:hidden_layer_sizes=[512]",
        "bcl:hidden_layer_sizes=[512,512,512]",
        "bcl:hidden_layer_sizes=[1024,1024]",
        "bcl:max_epochs=100",
        "bcl:max_epochs=400",
        "bcl:batch_size=128",
        "bcl:batch_size=1024",
        "bcl:temperature=0.7",
        "bcl:tau_plus=0.2",
        "bcl:beta=0.6",
        "bcl:beta=0.9",
        'bcl:alpha_schedule="linear"',
        "bcl:use_labels=True;tau_plus=0.1;alpha_update_epochs=10",
        'bcl:use_labels=True;tau_plus=0.1;alpha_update_epochs=10;alpha_reading="paper"',
        "average",
        "cosine",
        "neighbours",
        "skip",
        "standardised",
    ],
    2: [
        "oracle",
        "simclr",
        "bcl:tau_plus=0.3;beta=0.3",
        "bcl:tau_plus=0.5;alpha=0.95;beta=0.3",
        "corruption:rate=0.2",
        "corruption:rate=0.4",
        "one view",
        "corruption by near rows",
        "noise",
        "raw appended",
        "draws:m=3;alpha=0.97",
        "draws:m=3;alpha=0.99",
        "draws:m=4;alpha=0.99",
        "draws:rows=True",
        "draws:m=3;alpha=0.97;rows=True",
        "normalised",
        "average normalised",
        "linear output",
        "bcl:beta=0.3",
        "bcl:temperature=0.3",
        "bcl:projection_size=32",
        "batch norm",
        "quantiles",
    ],
    3: [
        "bcl:robustness=0.0;beta=0.3",
        "bcl:robustness=0.0;tau_plus=0.2",
        "average normalised",
        "average",
        "oracle of ranks",
        "oracle",
        "bcl:robustness=0.0;weight_decay=0.001",
        "draws",
        "draws:subtracted=0.5",
        "oracle of near",
        "draws:subtracted=1.0",
        "draws:trusted=0.5",
        "draws:trusted=0.2",
        "draws:subtracted=1.0;m=3;alpha=0.97",
        'oracle of ranks:rows="clean"',
        "draws:mid_ranks=True",
        "cluster shares",
        "oracle of shares",
        "row swap",
        "corruption by clusters",
        "one cycle",
        "neighbour positives",
        "dcl:tau_plus=0.13",
        "simclr",
        "simclr:batch_size=1024",
        "bcl:robustness=0.0;batch_size=1024",
        "bcl:robustness=1.0",
        "bcl:robustness=0.5",
        "bcl:robustness=1.0;tau_plus=0.0",
    ],
}


def run_means(variant: str, data: str, seed: int) -> list[tuple[int | str, ...]]:
    """Return the rows of the CSV file of one variant on one split."""
    rows = pd.DataFrame(run("tuning", data, variant, seed, DRAWS, LABELS))
    means = rows.groupby(4, sort=False).agg(
        {6: lambda v: v.astype(float).mean(), 7: "first"}
    )
    return [
        (LAST, variant, data, seed, labels, f"{accuracy:.5f}", versions)
        for labels, (accuracy, versions) in zip(means.index, means.values, strict=True)
    ]


def read(path: Path) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(path, dtype={"labels": str})


def run_missing(path: Path, n_seeds: int, n_jobs: int) -> None:
    """Run whatever of the last round the CSV file lacks, and append it."""
    results = read(path)
    of_round = results[results["round"] == LAST]
    keys = ["variant", "data", "seed"]
    done = set(of_round[keys].itertuples(index=False, name=None))
    tasks = [
        (variant, data, seed)
        for variant in [BASES[LAST][0], *VARIANTS_OF[LAST]]
        for seed in range(n_seeds)
        for data in TUNING
        if (variant, data, seed) not in done
    ]
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        jobs = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
            delayed(run_means)(*task) for task in tasks
        )
        for rows in tqdm(jobs, total=len(tasks)):
            writer.writerows(rows)
            file.flush()


def report(results: pd.DataFrame, base: str | None = None) -> None:
    """Print each variant's accuracy less that of a base, with a 95 % interval.

    It is over data sets, whose splits count as one. With 200 labels there is no wine.
    """
    values = results.set_index(["data", "seed"])
    for number, of_round in values.groupby("round"):
        base_variant, name = BASES[number] if base is None else (base, base)
        base_rows = of_round[of_round["variant"] == base_variant]
        if base_rows.empty:
            print(f"\nRound {number}: no results of {base_variant}")
            continue
        print(f"\nRound {number}, base {name}; points, 95 % interval\n")
        print("| variant | 20 labels | 50 labels | 200 labels | splits |")
        print("|---|---|---|---|---|")
        for variant, of_variant in of_round.groupby("variant", sort=False):
            if variant == base_variant:
                continue
            cells, n_splits = [], 0
            for labels in LABELS:
                own, other = (
                    part.loc[part["labels"] == labels, "accuracy"]
                    for part in (of_variant, base_rows)
                )
                gains = (own - other).dropna()
                n_splits = max(n_splits, len(gains))
                of_data = gains.groupby("data").mean()
                mean, low, high = 100 * np.array(interval(of_data))
                cells.append(f"{mean:+.1f} ({low:+.1f} to {high:+.1f})")
            print(f"| {variant} | " + " | ".join(cells) + f" | {n_splits} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument(
        "--base", help="variant to compare with, in place of each round's"
    )
    parser.add_argument("--data", nargs="+", default=list(TUNING), help="to report on")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not arguments.report:
        run_missing(arguments.output, arguments.seeds, arguments.jobs)
    results = read(arguments.output)
    report(results[results["data"].isin(arguments.data)], arguments.base)


if __name__ == "__main__":
    main()
