"""Quickstart: accuracy with few labels on the digits, with and without an embedding.

Every method is fitted on the same training rows without labels. The same logistic
regression then gets 50, 200 or all labels. Accuracy is measured on the 30 % of the rows
that are held out. Means and standard deviations are over 3 splits, each with its own
seed of the embedder, and 5 draws of labels. The script takes a few minutes on two
cores.

    python examples/quickstart.py
"""

# %%
import time

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder

SEEDS = range(3)
LABEL_DRAWS = range(5)
LABEL_COUNTS = (50, 200, None)  # None: all labels

X, y = load_digits(return_X_y=True)


def accuracies(Z_train, y_train, Z_test, y_test, n_labels):
    """Fit a classifier on draws of `n_labels` rows; return its test accuracies."""
    classifier = LogisticRegression(max_iter=5000)
    if n_labels is None:
        return [classifier.fit(Z_train, y_train).score(Z_test, y_test)]
    scores = []
    for draw in LABEL_DRAWS:
        labeled, _ = train_test_split(
            np.arange(len(y_train)),
            train_size=n_labels,
            stratify=y_train,
            random_state=draw,
        )
        classifier.fit(Z_train[labeled], y_train[labeled])
        scores.append(classifier.score(Z_test, y_test))
    return scores


# %%
# Compare the embedding with the raw features and with PCA.
start = time.perf_counter()
results = {}
for seed in SEEDS:
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    methods = {
        "raw features": StandardScaler(),
        "PCA (32)": make_pipeline(StandardScaler(), PCA(32, random_state=seed)),
        "BCLEmbedder": BCLEmbedder(random_state=seed),
    }
    for name, method in methods.items():
        Z_train = method.fit_transform(X_train)  # no labels
        Z_test = method.transform(X_test)
        for n_labels in LABEL_COUNTS:
            results.setdefault((name, n_labels), []).extend(
                accuracies(Z_train, y_train, Z_test, y_test, n_labels)
            )

counts = [str(n) if n else f"all {len(y_train)}" for n in LABEL_COUNTS]
print("Accuracy of logistic regression on digits, mean ± standard deviation\n")
print("| features | " + " | ".join(f"{count} labels" for count in counts) + " |")
print("|---|" + "---|" * len(counts))
for name in methods:
    cells = [
        f"{np.mean(results[name, n]):.3f} ± {np.std(results[name, n]):.3f}"
        for n in LABEL_COUNTS
    ]
    print(f"| {name} | " + " | ".join(cells) + " |")
print(f"\n{time.perf_counter() - start:.0f} seconds")

# %%
# Search the priors of a pipeline by cross-validation on 200 labels.
pipeline = make_pipeline(
    BCLEmbedder(max_epochs=20, random_state=0), LogisticRegression(max_iter=5000)
)
grid = {"bclembedder__tau_plus": [0.05, 0.1], "bclembedder__alpha": [0.7, 0.9]}
search = GridSearchCV(pipeline, grid, cv=3).fit(X_train[:200], y_train[:200])
print(f"\nGrid search over {len(search.cv_results_['params'])} settings of the priors:")
print(f"best {search.best_params_}, cross-validated accuracy {search.best_score_:.3f}")

# %%
# Draw the accuracies, and two principal components of the embedding.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
markers = dict(zip(methods, "so^", strict=True))
colors = dict(zip(methods, ("#999999", "#E69F00", "#0072B2"), strict=True))
for shift, name in zip((-0.06, 0, 0.06), methods, strict=True):
    left.errorbar(
        np.arange(len(counts)) + shift,
        [np.mean(results[name, n]) for n in LABEL_COUNTS],
        [np.std(results[name, n]) for n in LABEL_COUNTS],
        marker=markers[name],
        color=colors[name],
        capsize=3,
        label=name,
    )
left.set(
    xticks=range(len(counts)),
    xticklabels=counts,
    xlabel="number of labels",
    ylabel="test accuracy (mean ± s.d.)",
    title="Logistic regression on the digits",
)
left.grid(axis="y", alpha=0.3)
left.legend()
plane = PCA(2).fit_transform(Z_test)
for digit in range(10):
    right.scatter(*plane[y_test == digit].T, marker=f"${digit}$", s=30, linewidths=0.3)
right.set(
    xlabel="first principal component",
    ylabel="second principal component",
    title="Embedding of the test rows, drawn as digits",
)
figure.savefig("quickstart.png", dpi=120)
print("\nFigure saved as quickstart.png")
