"""How much an embedding is worth with few labels: the study behind the defaults.

    python examples/benchmarks/label_efficiency.py --half tuning
    python examples/benchmarks/label_efficiency.py --half confirmation
    python examples/benchmarks/label_efficiency.py --half tuning confirmation
    python examples/benchmarks/label_efficiency.py --methods bcl simclr dcl hcl

On each data set, every method sees the same unlabelled training rows (70 %). Then some
rows are labelled, drawn anew for each draw, and the same probe is fitted on them:
standardise, logistic regression with C by cross-validation on the labelled rows alone.
Accuracy is that on the other 30 %. Methods that are classifiers see the labelled rows
(self-training: all rows) and predict themselves.

`--methods "bcl:beta=0.9;batch_size=128"` sets parameters of a method; `search.py` does
so to choose the defaults.

Each result is appended to a CSV file when it is there, so that a run that is stopped
goes on where it was, and one whose `--output` has all results only reports them. A
method on a split is run once, whatever the versions and the draws of labels in the
file: for others, give another file. Tables compare the first of the methods with the
others. UMAP needs the extra ``benchmark``.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
from ast import literal_eval
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from autoencoder import Autoencoder
from joblib import Parallel, delayed
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from tables import HALVES
from tqdm import tqdm
from variants import VARIANTS

from sklearn_bcl import BCLEmbedder

LABEL_COUNTS = ["20", "50", "200", "all"]
CS = (0.001, 0.01, 0.1, 1.0, 10.0)
COLUMNS = ("half", "data", "method", "seed", "labels", "draw", "accuracy", "versions")
VERSIONS = " ".join(
    f"{name} {importlib.metadata.version(name)}"
    for name in ("sklearn-bcl", "torch", "scikit-learn", "numpy")
)


def umap(seed: int) -> BaseEstimator:
    from umap import UMAP

    return make_pipeline(StandardScaler(), UMAP(16, random_state=seed, n_jobs=1))


def pca(seed: int) -> BaseEstimator:
    return make_pipeline(StandardScaler(), PCA(0.95, random_state=seed))


class SelfTraining(ClassifierMixin, BaseEstimator):
    """The probe, which goes on to label rows that it is almost sure of.

    C is chosen on the labelled rows, before. The threshold did best of 0.75, 0.95 and
    0.99, and better than taking the k best rows, in first runs on five tuning tables
    that were not kept; scikit-learn's default, 0.75, ends in few classes with few
    labels.
    """

    def fit(self, X, y):
        known = y != -1
        chosen = probe(y[known]).fit(X[known], y[known])
        model = clone(getattr(chosen, "best_estimator_", chosen))
        self.model_ = SelfTrainingClassifier(model, threshold=0.99).fit(X, y)
        return self

    def predict(self, X):
        return self.model_.predict(X)


METHODS: dict[str, Callable[..., Any]] = {
    **{
        loss: partial(
            lambda seed, **kw: BCLEmbedder(random_state=seed, **kw), loss=loss
        )
        for loss in ("bcl", "simclr", "dcl", "hcl")
    },
    "raw": lambda seed: StandardScaler(),
    "PCA": pca,
    "UMAP": umap,
    "random forest": lambda seed: RandomForestClassifier(300, random_state=seed),
    "MLP": lambda seed: make_pipeline(
        StandardScaler(), MLPClassifier((256,), max_iter=300, random_state=seed)
    ),
    "self-training": lambda seed: SelfTraining(),
    "autoencoder": lambda seed: Autoencoder(random_state=seed),
}


def make_method(name: str, seed: int) -> Any:
    """Return a method by its name, with the parameters that follow it."""
    base, _, settings = name.partition(":")
    pairs = [setting.split("=") for setting in settings.split(";") if setting]
    parameters = {key: literal_eval(value) for key, value in pairs}
    return {**METHODS, **VARIANTS}[base](seed, **parameters)


def probe(y: np.ndarray) -> BaseEstimator:
    """Return the classifier of some labelled rows.

    Rotating onto principal axes changes nothing of the model, whose penalty has no
    direction, but makes it small where there are fewer rows than features.
    """
    rarest = np.unique(y, return_counts=True)[1].min()
    model = make_pipeline(
        StandardScaler(), PCA(), LogisticRegression(max_iter=300, tol=1e-3)
    )
    if rarest < 2:
        return model.set_params(logisticregression__C=0.1)
    folds = StratifiedKFold(min(5, rarest), shuffle=True, random_state=0)
    return GridSearchCV(model, {"logisticregression__C": CS}, cv=folds)


def draw_labels(y: np.ndarray, n_labels: int, draw: int) -> np.ndarray:
    """Return the indices of labelled rows, of each class at least one."""
    if n_labels == len(y):
        return np.arange(n_labels)
    return train_test_split(
        np.arange(len(y)), train_size=n_labels, stratify=y, random_state=draw
    )[0]


def partly(y: np.ndarray, n_labels: int, draw: int) -> np.ndarray:
    """Return the labels of labelled rows, and -1 for the others."""
    labelled = draw_labels(y, n_labels, draw)
    labels = np.full(len(y), -1)
    labels[labelled] = y[labelled]
    return labels


def run(
    half: str, data: str, name: str, seed: int, n_draws: int, label_counts: list[str]
) -> list[tuple[Any, ...]]:
    """Return the rows of the CSV file of one method on one split."""
    torch.set_num_threads(1)
    X, y = HALVES[half][data](seed)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    method = make_method(name, seed)
    if not is_classifier(method):
        known = None
        if "use_labels" in name:
            known = partly(y_train, 50, 0)
        elif name.startswith("oracle"):
            known = y_train
        method.fit(X_train, known)
        Z_train, Z_test = method.transform(X_train), method.transform(X_test)
    rows = []
    for labels in label_counts:
        n_labels = len(y_train) if labels == "all" else int(labels)
        if labels != "all" and n_labels > len(y_train) - len(np.unique(y)):
            continue
        for draw in range(1 if labels == "all" else n_draws):
            labelled = draw_labels(y_train, n_labels, draw)
            if not is_classifier(method):
                model = probe(y_train[labelled])
                model.fit(Z_train[labelled], y_train[labelled])
                accuracy = model.score(Z_test, y_test)
            else:
                model = clone(method)
                if name.startswith("self-training"):
                    model.fit(X_train, partly(y_train, n_labels, draw))
                else:
                    model.fit(X_train[labelled], y_train[labelled])
                accuracy = model.score(X_test, y_test)
            rows.append(
                (half, data, name, seed, labels, draw, f"{accuracy:.5f}", VERSIONS)
            )
    return rows


def read(path: Path) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(path, dtype={"labels": str})


def run_missing(arguments: argparse.Namespace) -> None:
    """Run whatever the CSV file lacks, and append it."""
    done = read(arguments.output)
    done = set(zip(done["data"], done["method"], done["seed"], strict=True))
    tasks = [
        (half, data, name, seed, arguments.draws, arguments.labels)
        for seed in range(arguments.seeds)
        for half in arguments.half
        for data in arguments.data or HALVES[half]
        for name in arguments.methods
        if (data, name, seed) not in done
    ]
    results = Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(
        delayed(run)(*task) for task in tasks
    )
    is_new = not arguments.output.exists()
    with arguments.output.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        for rows in tqdm(results, total=len(tasks)):
            writer.writerows(rows)
            file.flush()


def table_of_means(results: pd.DataFrame, methods: list[str]) -> str:
    """Return a table of mean ± standard deviation over splits and draws."""

    def cell(values: pd.Series) -> str:
        spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
        return f"{values.mean():.3f}{spread}"

    cells = results.groupby(["data", "method"])["accuracy"].apply(cell)
    cells = cells.unstack("method")[methods]
    lines = [["data", *methods], ["---"] * (1 + len(methods))]
    lines += [[name, *row] for name, row in cells.iterrows()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def differences(results: pd.DataFrame, method: str, other: str) -> pd.Series:
    """Return accuracies of one method less those of another, paired."""
    keys = ["data", "seed", "labels", "draw"]
    values = results.pivot(index=keys, columns="method", values="accuracy")
    return (values[method] - values[other]).dropna()


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean and the bounds of its 95 % interval, by Student's t."""
    if len(values) < 2:
        return values.mean(), np.nan, np.nan
    half = stats.t.ppf(0.975, len(values) - 1) * values.sem()
    return values.mean(), values.mean() - half, values.mean() + half


def in_points(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def table_of_differences(results: pd.DataFrame, methods: list[str]) -> str:
    """Return a table of the first method's accuracies less those of the others.

    Draws of labels within a split share its rows and its embedding, so they count as
    one in the first interval, and splits of a data set as one in the second. Data sets
    are listed where the interval over their splits and draws, as if they were
    independent, excludes 0: more of them than a cautious test would find.
    """
    first, *others = methods
    lines = [
        [
            f"{first} less",
            "points, mean over data sets × splits",
            "over data sets",
            "data sets above",
            "below",
        ],
        ["---"] * 5,
    ]
    for other in others:
        values = differences(results, first, other)
        splits = values.groupby(["data", "seed"]).mean()
        bounds = {data: interval(group)[1:] for data, group in values.groupby("data")}
        above = [data for data, (low, _) in bounds.items() if low > 0]
        below = [data for data, (_, high) in bounds.items() if high < 0]
        lines.append(
            [
                other,
                in_points(*interval(splits)),
                in_points(*interval(splits.groupby("data").mean())),
                f"{len(above)} of {len(bounds)}",
                ", ".join(below) or "none",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def critical_difference(n_methods: int, n_cases: int) -> float:
    """Return the difference of average ranks that Nemenyi's test calls one, at 5 %."""
    quantile = stats.studentized_range.ppf(0.95, n_methods, np.inf) / np.sqrt(2)
    return quantile * np.sqrt(n_methods * (n_methods + 1) / (6 * n_cases))


def plot_ranks(
    ranks: pd.Series, first: str, difference: float, title: str, path: Path
) -> None:
    """Draw average ranks; methods in the grey band are level with the best."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    colors = ["#0072B2" if name == first else "#999999" for name in ranks.index]
    axes.axvspan(ranks.iloc[0], ranks.iloc[0] + difference, color="#EEEEEE", zorder=0)
    axes.scatter(ranks, np.arange(len(ranks)), c=colors, s=60)
    axes.set(
        yticks=np.arange(len(ranks)),
        yticklabels=ranks.index,
        xlabel="average rank (1 is best); grey: critical difference from the best, 5 %",
        title=title,
    )
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def report(
    results: pd.DataFrame, methods: list[str], title: str, figure: Path | None
) -> None:
    """Print tables of means, ranks and differences; draw the ranks, if asked to."""
    print(f"\n## {title}: accuracy, mean ± standard deviation\n")
    print(table_of_means(results, methods))
    means = results.groupby(["data", "method"])["accuracy"].mean().unstack("method")
    means = means.dropna()  # data sets that some method has not been run on
    ranks = means.rank(axis=1, ascending=False).mean().sort_values()
    print("\nAverage ranks:", ", ".join(f"{n} {r:.2f}" for n, r in ranks.items()))
    if len(methods) > 2 and len(means) > 1:
        # Whether the methods differ at all, or their ranks are those of a random order.
        p_value = stats.friedmanchisquare(*means.to_numpy().T).pvalue
        print(f"Friedman's test of equal methods: p = {p_value:.2g}")
    print(f"\n{table_of_differences(results, methods)}")
    if figure is not None:
        difference = critical_difference(len(ranks), len(means))
        plot_ranks(ranks, methods[0], difference, title, figure)


def versions(results: pd.DataFrame) -> str:
    """Return which methods' results each set of versions has made."""
    methods = results.groupby("versions")["method"].unique()
    lines = (f"- {made}: {', '.join(names)}" for made, names in methods.items())
    return "\n".join(["\nMade by", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--half", nargs="+", choices=HALVES, default=["tuning"])
    parser.add_argument("--data", nargs="+", help="all of the half unless given")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--labels", nargs="+", default=LABEL_COUNTS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("label_efficiency.csv"))
    parser.add_argument("--figures", type=Path, help="folder for figures of the ranks")
    arguments = parser.parse_args()
    run_missing(arguments)
    results = read(arguments.output)
    chosen = results["half"].isin(arguments.half)
    chosen &= results["method"].isin(arguments.methods)
    # The file may have more.
    chosen &= results["seed"] < arguments.seeds
    chosen &= results["draw"] < arguments.draws
    chosen &= results["labels"].isin(arguments.labels)
    if arguments.data:
        chosen &= results["data"].isin(arguments.data)
    results = results[chosen]
    parts = {labels: results[results["labels"] == labels] for labels in LABEL_COUNTS}
    parts["few"] = results[results["labels"] != "all"]  # the mean over label counts
    for labels, part in parts.items():
        methods = [name for name in arguments.methods if name in set(part["method"])]
        if methods:  # none where the data sets are that small
            title = f"{' and '.join(arguments.half)}, {labels} labels"
            name = f"ranks_{'_'.join(arguments.half)}_{labels}.png"
            report(part, methods, title, arguments.figures and arguments.figures / name)
    print(versions(results))


if __name__ == "__main__":
    main()
