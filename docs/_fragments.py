"""A Sphinx extension that writes the tables of the benchmarks from their summary.

`benchmarks.md` includes these tables. `report.py` prints the same numbers, under the
names that methods have in the summary.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
REPORT = HERE.parent / "examples" / "benchmarks" / "report.py"
NAMES = {
    "bcl": "`BCLEmbedder()`",
    "simclr": '`loss="simclr"`',
    "raw": "raw features",
    "bcl:bin_weight=0.0": "BCL",
    "simclr:bin_weight=0.0": "SimCLR",
    "dcl:bin_weight=0.0": "DCL",
    "hcl:bin_weight=0.0": "HCL",
}
HELD_OUT = ["`BCLEmbedder()`", "raw features", "random forest", "gradient boosting"]
REAL = [HELD_OUT[0], '`loss="simclr"`', "raw features", "PCA", *HELD_OUT[2:]]
IN_SHORT = ["`BCLEmbedder()`", "random forest", "raw features"]
LOSSES = ["BCL", "SimCLR", "DCL", "HCL"]
OLD = [*LOSSES, "raw features", "PCA", "UMAP", "random forest", "MLP"]
OLD += ["self-training", "autoencoder"]
OLD_IN_SHORT = ["BCL", "SimCLR", "raw features", "random forest", "MLP"]


def load_report() -> ModuleType:
    """Import `report.py`, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("report", REPORT)
    report = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(report)
    return report


def means_table(report: ModuleType, summary: Any, methods: list[str]) -> str:
    """Return mean accuracy / mean AUC for each number of labels."""
    counts = [*report.COUNTS, "all"]
    lines = [["accuracy / AUC", *(f"{labels} labels" for labels in counts)]]
    scores = [summary, report.with_auc(summary)]
    values = {n: [report.means(score, methods, n) for score in scores] for n in counts}
    for method in methods:
        cells = [[f"{part[method].mean():.3f}" for part in values[n]] for n in counts]
        lines.append([method, *map(" / ".join, cells)])
    return report.markdown(lines)


def fragments() -> dict[str, str]:
    """Return the tables in Markdown, by the name of their file."""
    report = load_report()
    summary = report.read().replace({"method": NAMES})
    halves = {half: summary[summary["half"] == half] for half in summary["half"]}
    tables = {}
    for half, methods in {"real": REAL, "held out": HELD_OUT}.items():
        part, name = halves[half], half.replace(" ", "_")
        auc = report.with_auc(part)
        tables |= {
            f"{name}_means": means_table(report, part, methods),
            f"{name}_record": report.record(part, methods),
            f"{name}_differences": report.table_of_differences(part, methods),
            f"{name}_differences_auc": report.table_of_differences(auc, methods),
            f"{name}_tables": report.table_by_table(part, IN_SHORT, ["50"]),
        }
    both = summary[summary["half"].isin(["confirmation", "tuning"])]
    digits = summary[summary["data"] == "digits"]
    counts = [*report.COUNTS, "all"]
    return tables | {
        "confirmation_means": report.main_table(halves["confirmation"], OLD),
        "confirmation_differences": report.table_of_differences(
            halves["confirmation"], [*LOSSES, "raw features"]
        ),
        "both_differences": report.table_of_differences(
            both, [*LOSSES, "raw features"]
        ),
        "confirmation_tables": report.table_by_table(
            halves["confirmation"], OLD_IN_SHORT, ["50"]
        ),
        "failure_tables": report.table_by_table(
            halves["failure"], OLD_IN_SHORT, ["50"]
        ),
        "digits_tables": report.table_by_table(digits, OLD_IN_SHORT, counts),
    }


def unbroken(table: str) -> str:
    """Return a table whose figures stay on one line on narrow screens."""
    table = re.sub(r"(?<=\d) ([/±]) (?=\d)", "\u00a0\\1\u00a0", table)
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", table)


def write_fragments(app: Any) -> None:
    """Write `_generated/*.md`; a file that is up to date keeps its time."""
    folder = HERE / "_generated"
    folder.mkdir(exist_ok=True)
    for name, table in fragments().items():
        path = folder / f"{name}.md"
        text = f"{unbroken(table)}\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("builder-inited", write_fragments)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
