"""Accuracy with few labels: eleven methods and more on real and generated tables.

    SKLEARN_BCL_TABLES=folder python examples/benchmarks/label_efficiency.py \\
        --draws 5 --methods bcl raw "random forest" "gradient boosting"
    python examples/benchmarks/label_efficiency.py --half confirmation
    python examples/benchmarks/label_efficiency.py --data wine --methods bcl raw
    python examples/benchmarks/label_efficiency.py --data wine \\
        --methods bcl "bcl:beta=0.9;batch_size=128" --summary summary.csv
    python examples/benchmarks/report.py --data wine --summary summary.csv

On each table, every method sees the same unlabeled training rows (70 %). Then some rows
are labeled, drawn anew for each draw, and the same probe is fitted on them: scaling to
unit variance, then logistic regression, with C by cross-validation on the labeled rows
alone. Accuracy and AUC (one class against the others, mean over classes) are measured
on the other 30 %. Methods that are classifiers see the labeled rows (self-training: all
rows) and predict themselves.

Real tables (`tables.py` says where they come from) have at most 1,024 training rows.
The contrastive methods see them as they are. The others see one-hot columns for
categories of up to 12 levels, codes for more; medians for missing numbers, and
indicators of them.

A method's name may be followed by parameters: "bcl:beta=0.9;batch_size=128".

Each accuracy is appended to the CSV file `--output`, so a run that is stopped goes on
where it was. A method is run once on a split: to run it again, for example with another
version or more draws, give another file. `--summary` adds the means to a second CSV
file, from which `report.py` prints tables. UMAP needs the extra ``benchmark``. On
request only: "oracle", the loss of SimCLR, told all false negatives by the labels of
all training rows; "gradient boosting"; "TabPFN" and "TabICL", packages to be installed,
which load weights that were trained on other tables.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import warnings
from ast import literal_eval
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from autoencoder import Autoencoder
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from tables import HALVES
from tqdm import tqdm

from sklearn_bcl import BCLEmbedder

LABEL_COUNTS = ["20", "50", "200", "all"]
CS = (0.001, 0.01, 0.1, 1.0, 10.0)
COLUMNS = ("half", "data", "method", "seed", "labels", "draw", "accuracy", "auc")
COLUMNS += ("versions",)
MOST_REAL_ROWS = 1024  # to train on
MOST_ONE_HOT = 12
SUMMARY_KEYS = ["half", "data", "method", "labels"]
VERSIONS = " ".join(
    f"{name} {importlib.metadata.version(name)}"
    for name in ("sklearn-bcl", "torch", "scikit-learn", "numpy")
)


def probe(y: np.ndarray) -> BaseEstimator:
    """Return the classifier of some labeled rows.

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


class SelfTraining(ClassifierMixin, BaseEstimator):
    """The probe, which goes on to label rows that it is almost sure of.

    C is chosen on the labeled rows, before. Of the thresholds 0.75, 0.95 and 0.99, the
    last was the best on five tuning tables.
    """

    def fit(self, X, y):
        known = y != -1
        chosen = probe(y[known]).fit(X[known], y[known])
        model = clone(getattr(chosen, "best_estimator_", chosen))
        if not known.all():
            model = SelfTrainingClassifier(model, threshold=0.99)
        self.model_ = model.fit(X, y)
        return self

    @property
    def classes_(self):
        return self.model_.classes_

    def predict(self, X):
        return self.model_.predict(X)

    def predict_proba(self, X):
        return self.model_.predict_proba(X)


def contrastive(loss: str, seed: int, **settings: Any) -> BaseEstimator:
    # "bcl:random_state=100" is another network on the same splits.
    return BCLEmbedder(loss=loss, **{"random_state": seed, **settings})


def oracle(seed: int, **settings: Any) -> BaseEstimator:
    from oracle_loss import OracleLoss  # in ../paper, where `tables` looks, too

    return contrastive(OracleLoss(), seed, **settings)


def pca(seed: int) -> BaseEstimator:
    return make_pipeline(StandardScaler(), PCA(0.95, random_state=seed))


def umap(seed: int) -> BaseEstimator:
    from umap import UMAP

    return make_pipeline(StandardScaler(), UMAP(16, random_state=seed, n_jobs=1))


def mlp(seed: int) -> BaseEstimator:
    classifier = MLPClassifier((256,), max_iter=300, random_state=seed)
    return make_pipeline(StandardScaler(), classifier)


def tabpfn(seed: int) -> BaseEstimator:
    from tabpfn import TabPFNClassifier

    return TabPFNClassifier(random_state=seed)


def tabicl(seed: int) -> BaseEstimator:
    from tabicl import TabICLClassifier

    return TabICLClassifier(random_state=seed)


METHODS: dict[str, Callable[..., Any]] = {
    **{loss: partial(contrastive, loss) for loss in ("bcl", "simclr", "dcl", "hcl")},
    "raw": lambda seed: StandardScaler(),
    "PCA": pca,
    "UMAP": umap,
    "random forest": lambda seed: RandomForestClassifier(300, random_state=seed),
    "MLP": mlp,
    "self-training": lambda seed: SelfTraining(),
    "autoencoder": lambda seed: Autoencoder(random_state=seed),
}
ON_REQUEST: dict[str, Callable[..., Any]] = {
    "oracle": oracle,
    "gradient boosting": lambda seed: GradientBoostingClassifier(random_state=seed),
    "TabPFN": tabpfn,
    "TabICL": tabicl,
}


def make_method(name: str, seed: int) -> Any:
    """Return a method by its name, with the parameters that follow it."""
    base, _, settings = name.partition(":")
    pairs = [setting.split("=") for setting in settings.split(";") if setting]
    return (METHODS | ON_REQUEST)[base](
        seed, **{key: literal_eval(value) for key, value in pairs}
    )


def draw_labels(y: np.ndarray, n_labels: int, draw: int) -> np.ndarray:
    """Return the indices of labeled rows, at least one of each class.

    They are stratified, as far as a row of each class allows. Of more classes than
    labels, some have one.
    """
    counts = np.bincount(y)
    if n_labels == len(y):
        return np.arange(n_labels)
    if counts.min() * n_labels >= len(y):
        return train_test_split(
            np.arange(len(y)), train_size=n_labels, stratify=y, random_state=draw
        )[0]
    rng = np.random.default_rng(draw)
    if n_labels < len(counts):
        sizes = rng.permutation(np.arange(len(counts)) < n_labels).astype(int)
    else:
        wanted = counts / len(y) * n_labels
        sizes = np.maximum(wanted.astype(int), 1)
        while sizes.sum() > n_labels:
            sizes[np.argmax(np.where(sizes > 1, sizes - wanted, -np.inf))] -= 1
        while sizes.sum() < n_labels:
            sizes[np.argmax(np.where(sizes < counts, wanted - sizes, -np.inf))] += 1
    return np.concatenate(
        [
            rng.choice(np.flatnonzero(y == label), size, replace=False)
            for label, size in enumerate(sizes)
        ]
    )


def macro_auc(model: BaseEstimator, X: np.ndarray, y: np.ndarray) -> float:
    """Return the mean AUC of each class against the others."""
    scores = pd.DataFrame(model.predict_proba(X), columns=model.classes_)
    scores = scores.reindex(columns=np.unique(y), fill_value=0.0)
    return np.mean([roc_auc_score(y == c, scores[c]) for c in scores])


def without_columns(X_train: pd.DataFrame, X_test: pd.DataFrame) -> list[np.ndarray]:
    """Return a table as arrays, for methods that do not take its columns."""
    numbers = make_column_selector(dtype_include="number")(X_train)
    others = X_train.columns.difference(numbers, sort=False)
    is_short = X_train[others].nunique() <= MOST_ONE_HOT
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1
    )
    encode = make_column_transformer(
        (SimpleImputer(strategy="median", add_indicator=True), numbers),
        (one_hot, list(others[is_short])),
        (codes, list(others[~is_short])),
    )
    return [encode.fit_transform(X_train), encode.transform(X_test)]


def partly(y: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """Return the labels of labeled rows, and -1 for the others."""
    labels = np.full(len(y), -1)
    labels[labeled] = y[labeled]
    return labels


def split(half: str, data: str, seed: int) -> list[Any]:
    """Return X_train, X_test, y_train and y_test of a split."""
    X, y = HALVES[half][data](seed)
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    if half in ("real", "held out") and len(y_train) > MOST_REAL_ROWS:
        X_train, _, y_train, _ = train_test_split(
            X_train,
            y_train,
            train_size=MOST_REAL_ROWS,
            stratify=y_train,
            random_state=seed,
        )
    return [X_train, X_test, y_train, y_test]


def run(
    half: str, data: str, name: str, seed: int, n_draws: int, label_counts: list[str]
) -> list[tuple[Any, ...]]:
    """Return the rows of the CSV file of one method on one split."""
    torch.set_num_threads(1)
    # Of categories and gaps that the training rows do not have.
    warnings.filterwarnings("ignore", "Found unknown categories|Column")
    X_train, X_test, y_train, y_test = split(half, data, seed)
    method = make_method(name, seed)
    is_embedding = not is_classifier(method)
    if isinstance(X_train, pd.DataFrame) and not isinstance(method, BCLEmbedder):
        X_train, X_test = without_columns(X_train, X_test)
    if is_embedding:
        method.fit(X_train, y_train if name.startswith("oracle") else None)
        X_train, X_test = method.transform(X_train), method.transform(X_test)
    rows = []
    for labels in label_counts:
        n_labels = len(y_train) if labels == "all" else int(labels)
        if labels != "all" and n_labels > len(y_train) - len(np.unique(y_train)):
            continue  # too few rows
        for draw in range(1 if labels == "all" else n_draws):
            labeled = draw_labels(y_train, n_labels, draw)
            model = probe(y_train[labeled]) if is_embedding else clone(method)
            if isinstance(model, SelfTraining):
                model.fit(X_train, partly(y_train, labeled))
            else:
                model.fit(X_train[labeled], y_train[labeled])
            accuracy = f"{model.score(X_test, y_test):.5f}"
            auc = f"{macro_auc(model, X_test, y_test):.5f}"
            rows.append((half, data, name, seed, labels, draw, accuracy, auc, VERSIONS))
    return rows


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"labels": str})


def run_missing(arguments: argparse.Namespace) -> None:
    """Run whatever the CSV file lacks, and append it."""
    is_new = not arguments.output.exists()
    done = set()
    if not is_new:
        columns = tuple(read(arguments.output).columns)
        if columns != COLUMNS:
            raise SystemExit(f"{arguments.output} has other columns: {columns}")
        keys = read(arguments.output)[["data", "method", "seed"]]
        done = set(keys.itertuples(index=False, name=None))
    tasks = [
        (half, data, name, seed, arguments.draws, arguments.labels)
        for seed in range(arguments.seeds)
        for half in HALVES
        for data in HALVES[half]
        for name in arguments.methods
        if (data in arguments.data if arguments.data else half in arguments.half)
        and (data, name, seed) not in done
    ]
    results = Parallel(n_jobs=arguments.jobs, return_as="generator_unordered")(
        delayed(run)(*task) for task in tasks
    )
    with arguments.output.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(COLUMNS)
        for rows in tqdm(results, total=len(tasks)):
            writer.writerows(rows)
            file.flush()


def summarize(results: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each table, method and number of labels.

    The columns are `mean` and `sd` of the accuracies over all splits and draws of
    labels, the mean `auc`, the number of splits, and the number of accuracies. This
    standard deviation is the spread in all tables.
    """
    groups = results.groupby(SUMMARY_KEYS, sort=False)
    return groups.agg(
        mean=("accuracy", "mean"),
        sd=("accuracy", "std"),
        auc=("auc", "mean"),
        n_splits=("seed", "nunique"),
        n=("accuracy", "size"),
    )


def add_to_summary(results: pd.DataFrame, path: Path) -> None:
    """Write the summary of results to a file, in place of older rows of the same."""
    summary = summarize(results)
    if path.exists():
        old = read(path).set_index(SUMMARY_KEYS)
        order = old.index.union(summary.index, sort=False)
        summary = pd.concat([summary, old[~old.index.isin(summary.index)]]).loc[order]
    summary.to_csv(path, float_format="%.5f", lineterminator="\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    names = [name for half in HALVES.values() for name in half]
    parser.add_argument("--half", nargs="+", choices=HALVES, default=["real"])
    parser.add_argument(
        "--data", nargs="+", choices=names, help="tables, in place of those of --half"
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3, help="number of splits")
    parser.add_argument("--draws", type=int, default=10, help="of labels, a split")
    parser.add_argument("--labels", nargs="+", default=LABEL_COUNTS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("label_efficiency.csv"))
    parser.add_argument("--summary", type=Path, help="CSV file to add the means to")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    run_missing(arguments)
    if arguments.summary is None:
        return
    results = read(arguments.output)  # which may have more than is asked for
    chosen = results["method"].isin(arguments.methods)
    chosen &= results["labels"].isin(arguments.labels)
    chosen &= results["seed"] < arguments.seeds
    chosen &= results["draw"] < arguments.draws
    if arguments.data:
        chosen &= results["data"].isin(arguments.data)
    else:
        chosen &= results["half"].isin(arguments.half)
    add_to_summary(results[chosen], arguments.summary)


if __name__ == "__main__":
    main()
