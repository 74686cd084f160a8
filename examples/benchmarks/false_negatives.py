"""What tells false negatives from true ones, without labels?

    SKLEARN_BCL_TABLES=folder python examples/benchmarks/false_negatives.py
    python examples/benchmarks/false_negatives.py --data digits wine --seeds 1

The weights of BCL can do no more than their evidence allows: how much two rows look as
if they were of one class. Three kinds of evidence are measured on pairs of training
rows, whose labels say which are of the same class:

- "encoder": cosine similarity of the projections of a default fit, as BCL ranks them,
  but of rows as they are;
- "features": minus the distance of the scaled features;
- "clusterings": in how many of 64 k-means clusterings, each of a random half of the
  columns, the two rows fall together. It does not come from the encoder.

Each anchor is compared with the other rows of its batch of 256 or more. For each kind:

- AUC of the same class against others, mean over anchors;
- the same among the tenth of the rows that the encoder finds most similar, where false
  negatives and hard true negatives meet;
- recall at 90 % precision, over all pairs: the share of the false negatives that can be
  called so with one error in ten.

Results are appended to the CSV file `--output`, so that a run can be stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from label_efficiency import split, without_columns
from sklearn.cluster import KMeans
from sklearn.metrics import precision_recall_curve, roc_auc_score
from sklearn.preprocessing import StandardScaler
from tables import HALVES

from sklearn_bcl import BCLEmbedder

N_CLUSTERINGS = 64
BATCH_ROWS = 256
PRECISION = 0.9
KINDS = ("encoder", "features", "clusterings")
FIGURES = ("AUC", "AUC in the top tenth", "recall at 90 % precision")


def clusterings(features: np.ndarray, seed: int) -> np.ndarray:
    """Return in which cluster each row falls, ``(n_rows, n_clusterings)``."""
    rng = np.random.default_rng(seed)
    n_columns = features.shape[1]
    labels = []
    for i in range(N_CLUSTERINGS):
        chosen = rng.choice(n_columns, -(-n_columns // 2), replace=False)
        kmeans = KMeans(int(rng.integers(5, 30)), n_init=1, random_state=i)
        labels.append(kmeans.fit_predict(features[:, chosen]))
    return np.stack(labels, axis=1)


def auc(scores: np.ndarray, is_same: np.ndarray) -> float:
    """Return the AUC, or NaN where all or none are of the same class."""
    return roc_auc_score(is_same, scores) if 0 < is_same.mean() < 1 else np.nan


def figures(evidence: dict[str, np.ndarray], y: np.ndarray) -> dict[str, list[float]]:
    """Return the figures of each kind of evidence, ``(n, n)``, on a batch."""
    others = ~np.eye(len(y), dtype=bool)
    is_same = y[:, None] == y
    n_top = len(y) // 10
    result = {}
    for kind, scores in evidence.items():
        everywhere, at_the_top = [], []
        for i in range(len(y)):
            rest = np.flatnonzero(others[i])
            top = rest[np.argsort(evidence["encoder"][i, rest])[-n_top:]]
            everywhere.append(auc(scores[i, rest], is_same[i, rest]))
            at_the_top.append(auc(scores[i, top], is_same[i, top]))
        precision, recall, _ = precision_recall_curve(is_same[others], scores[others])
        result[kind] = [
            np.nanmean(everywhere),
            np.nanmean(at_the_top) if not np.isnan(at_the_top).all() else np.nan,
            recall[precision >= PRECISION].max(),
        ]
    return result


def measure(half: str, data: str, seed: int) -> list[tuple[object, ...]]:
    """Return the rows of the CSV file of one split."""
    X, X_test, y, _ = split(half, data, seed)
    embedder = BCLEmbedder(random_state=seed).fit(X)
    is_frame = isinstance(X, pd.DataFrame)
    features = without_columns(X, X_test)[0] if is_frame else X
    features = StandardScaler().fit_transform(features)
    clusters = clusterings(features, seed)
    order = np.random.default_rng(seed).permutation(len(y))
    n_batches = max(1, len(y) // BATCH_ROWS)
    results = []
    for batch in np.array_split(order, n_batches):
        rows, a, c = X.iloc[batch] if is_frame else X[batch], features[batch], clusters
        evidence = {
            "encoder": embedder.similarity(rows),
            "features": -np.linalg.norm(a[:, None] - a, axis=2),
            "clusterings": (c[batch, None] == c[batch]).mean(axis=2),
        }
        results.append(figures(evidence, y[batch]))
    prior = np.square(np.bincount(y) / len(y)).sum()
    return [
        (half, data, seed, prior, kind, *np.mean([r[kind] for r in results], axis=0))
        for kind in KINDS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", nargs="+", choices=HALVES, default=["real"])
    parser.add_argument("--data", nargs="+", help="tables, in place of those of --half")
    parser.add_argument("--seeds", type=int, default=1, help="number of splits")
    parser.add_argument("--output", type=Path, default=Path("false_negatives.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["half", "data", "seed", "prior", "evidence", *FIGURES]
    done = set()
    if arguments.output.exists():
        keys = pd.read_csv(arguments.output)[["data", "seed"]]
        done = set(keys.itertuples(index=False, name=None))
    tasks = [
        (half, data, seed)
        for seed in range(arguments.seeds)
        for half in HALVES
        for data in HALVES[half]
        if (data in arguments.data if arguments.data else half in arguments.half)
        and (data, seed) not in done
    ]
    for task in tasks:
        rows = pd.DataFrame(measure(*task), columns=columns)
        is_new = not arguments.output.exists()
        rows.to_csv(arguments.output, mode="a", header=is_new, index=False)
    results = pd.read_csv(arguments.output)
    table = results.pivot_table(
        index=["data", "prior"], columns="evidence", values=list(FIGURES), sort=False
    )
    table.loc[("mean", results["prior"].mean()), :] = table.mean()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
