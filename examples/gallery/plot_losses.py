"""
Four losses on the same rows
============================

The losses SimCLR, debiased (DCL), hard negatives (HCL) and BCL differ only in the
weights of an anchor's unlabeled samples. On the digits, the four losses are close to
each other, and all are ahead of the pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.metrics import alignment, embedding_auc, uniformity

# %%
# Each seed sets a split, initial weights and views, which all losses share.
X, y = load_digits(return_X_y=True)


def measure(transformer, seed):
    """Return measures of an embedding on test rows."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    Z_train, Z_test = transformer.fit_transform(X_train), transformer.transform(X_test)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    accuracies = []
    for draw in range(5):
        labeled, _, labels, _ = train_test_split(
            Z_train, y_train, train_size=50, stratify=y_train, random_state=draw
        )
        accuracies.append(model.fit(labeled, labels).score(Z_test, y_test))
    return [
        np.mean(accuracies),
        embedding_auc(Z_test, y_test),
        alignment(Z_test, y_test),
        uniformity(Z_test),
    ]


seeds, losses = range(3), ("simclr", "dcl", "hcl", "bcl")
results = {"pixels": [measure(StandardScaler(), seed) for seed in seeds]}
for loss in losses:
    results[loss] = [
        measure(BCLEmbedder(loss=loss, max_epochs=10, random_state=seed), seed)
        for seed in seeds
    ]

# %%
# Accuracy and macro-AUC are better when higher, alignment and uniformity when lower.
print("means      accuracy  macro-AUC  alignment  uniformity")
for name, values in results.items():
    print(f"{name:9s}", *(f"{mean:10.3f}" for mean in np.mean(values, axis=0)))

# %%
# Each point is a seed.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
colors = ("#777777", "#E69F00", "#009E73", "#CC79A7", "#0072B2")
for i, (values, color) in enumerate(zip(results.values(), colors, strict=True)):
    ax.scatter([i] * len(seeds), [value[0] for value in values], color=color, s=60)
ax.set(
    ylabel="test accuracy with 50 labels",
    xlim=(-0.5, 4.5),
    title="Digits, three seeds for each loss",
)
ax.set_xticks(range(5), results)
ax.grid(axis="y", alpha=0.3)
plt.show()
