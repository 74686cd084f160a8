"""Print tables of results from a summary of `label_efficiency.py`.

    python examples/benchmarks/report.py
    python examples/benchmarks/report.py --auc
    python examples/benchmarks/report.py --data letter --labels 50 200

The first method is compared with the others. Intervals and ranks are over tables: each
table counts once, by its mean over splits and draws of labels. A spread "±" is the
standard deviation over splits and draws. A tie is a difference of at most one point.

`docs/_fragments.py` writes the tables of the documentation with these functions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

SUMMARY = Path(__file__).parent / "results" / "summary.csv"
COUNTS = ["20", "50", "200"]
TIE = 0.01  # the largest difference that counts as a tie
FEW = "20, 50, 200"  # the mean over these numbers of labels, where a table has them


def read(path: Path = SUMMARY) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"labels": str})


def with_auc(summary: pd.DataFrame) -> pd.DataFrame:
    """Return a summary with AUC in place of accuracy, whose spread is not known."""
    return summary.assign(mean=summary["auc"], n=1).dropna(subset="mean")


def means(summary: pd.DataFrame, methods: list[str], labels: str) -> pd.DataFrame:
    """Return mean accuracies, one row for each table that all methods have."""
    chosen = COUNTS if labels == FEW else [labels]
    part = summary[summary["labels"].isin(chosen)]
    values = part.pivot_table(
        index="data", columns="method", values="mean", aggfunc="mean", sort=False
    )
    return values.reindex(columns=methods).dropna()


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean and the bounds of its 95 % interval, by Student's t."""
    mean = values.mean()
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.sem()
    return mean, mean - half, mean + half


def in_points(values: pd.Series, digits: int) -> str:
    """Format the mean of differences and its interval, in percentage points."""
    if values.empty:
        return "–"
    mean, low, high = (f"{100 * value:+.{digits}f}" for value in interval(values))
    text = f"{mean} ({low} to {high})" if len(values) > 1 else mean
    return text.replace("-", "−")


def markdown(lines: list[list[str]]) -> str:
    """Return a Markdown table; the first line is its header."""
    header, *body = lines
    lines = [header, ["---"] * len(header), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main_table(summary: pd.DataFrame, methods: list[str]) -> str:
    """Return mean accuracies, mean ranks and differences at 50 labels."""
    values = {labels: means(summary, methods, labels) for labels in [*COUNTS, "all"]}
    values = {labels: part for labels, part in values.items() if len(part)}
    ranks = {
        labels: part.rank(axis=1, ascending=False).mean()
        for labels, part in values.items()
    }
    header = ["method"]
    header += [f"{n} labels, {len(part)} tables" for n, part in values.items()]
    header += [f"rank at {', '.join(values)}", f"{methods[0]} minus this at 50, points"]
    lines = [header]
    for method in methods:
        line = [method, *(f"{part[method].mean():.3f}" for part in values.values())]
        line.append(", ".join(f"{rank[method]:.1f}" for rank in ranks.values()))
        is_other = method != methods[0] and "50" in values
        at_50 = values["50"][methods[0]] - values["50"][method] if is_other else None
        line.append(in_points(at_50, digits=1) if is_other else "")
        lines.append(line)
    return markdown(lines)


def table_of_differences(summary: pd.DataFrame, methods: list[str]) -> str:
    """Return the first method less the others, for each number of labels."""
    base, *others = methods
    counts = [*COUNTS, "all", FEW]
    lines = [[f"{base} minus this, points", *counts[:-1], f"mean of {FEW}"]]
    for other in others:
        pairs = (means(summary, [base, other], labels) for labels in counts)
        gains = (pair[base] - pair[other] for pair in pairs)
        lines.append([other, *(in_points(gain, digits=2) for gain in gains)])
    return markdown(lines)


def record(summary: pd.DataFrame, methods: list[str]) -> str:
    """Return on how many tables the first method wins, ties and loses."""
    base, *others = methods
    counts = [*COUNTS, "all"]
    lines = [[f"{base} wins–ties–losses", *counts]]
    for other in others:
        line = [other]
        for labels in counts:
            pair = means(summary, [base, other], labels)
            gains = pair[base] - pair[other]
            wins, losses = (gains > TIE).sum(), (gains < -TIE).sum()
            line.append(f"{wins}–{len(gains) - wins - losses}–{losses}")
        lines.append(line)
    return markdown(lines)


def friedman(summary: pd.DataFrame, methods: list[str]) -> str:
    """Return p-values of Friedman's test that all methods are equal."""
    lines = []
    for labels in COUNTS:
        values = means(summary, methods, labels)
        if len(methods) > 2 and len(values) > 1:
            p_value = stats.friedmanchisquare(*values.to_numpy().T).pvalue
            lines.append(f"{p_value:.2g} with {labels} labels")
    return f"Friedman's test of equal methods: p = {', '.join(lines) or 'none'}"


def table_by_table(
    summary: pd.DataFrame, methods: list[str], label_counts: Iterable[str]
) -> str:
    """Return mean ± standard deviation for each table and number of labels."""
    cells = {
        (row.data, row.labels, row.method): f"{row.mean:.3f}"
        + (f" ± {row.sd:.3f}" if row.n > 1 else "")
        for row in summary.itertuples()
    }
    lines = [["table", "labels", *methods]]
    for data in summary["data"].unique():
        for labels in label_counts:
            line = [cells.get((data, labels, method), "–") for method in methods]
            if set(line) != {"–"}:
                lines.append([data, labels, *line])
    return markdown(lines)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--half", nargs="+", default=["real"])
    parser.add_argument("--data", nargs="+", help="tables, in place of those of --half")
    parser.add_argument(
        "--methods", nargs="+", help="those without settings in their names by default"
    )
    parser.add_argument(
        "--labels", nargs="+", default=["50"], help="of the table of all tables"
    )
    parser.add_argument("--auc", action="store_true", help="in place of accuracy")
    parser.add_argument("--summary", type=Path, default=SUMMARY)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    summary = read(arguments.summary)
    if arguments.auc and "auc" not in summary:
        raise SystemExit(f"{arguments.summary} has no AUC: run label_efficiency.py")
    if arguments.auc:
        summary = with_auc(summary)
    if arguments.data:
        summary = summary[summary["data"].isin(arguments.data)]
    else:
        summary = summary[summary["half"].isin(arguments.half)]
    known = list(summary["method"].unique())
    methods = arguments.methods or [name for name in known if ":" not in name]
    missing = [name for name in arguments.methods or ["bcl"] if name not in known]
    if missing or not methods:
        raise SystemExit(f"No such results in {arguments.summary}: {missing}")
    print(f"{'AUC' if arguments.auc else 'Accuracy'}\n")
    if summary["data"].nunique() > 1:
        print(f"{main_table(summary, methods)}\n")
        print(f"{friedman(summary, methods)}\n")
        print(f"{table_of_differences(summary, methods)}\n")
        print(f"{record(summary, methods)}\n")
    print(table_by_table(summary, methods, arguments.labels))


if __name__ == "__main__":
    main()
