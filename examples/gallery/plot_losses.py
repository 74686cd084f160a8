"""
Comparing losses: the same fit under four of them
=================================================

SimCLR, the debiased loss ("DCL"), that with hard negatives ("HCL") and BCL differ in
what they make of an anchor's unlabeled samples only. On the digits, three seeds each,
they are close: what they share matters more than what they do not.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.metrics import alignment, embedding_auc, uniformity

SEEDS, LABEL_DRAWS = range(3), range(5)
X, y = load_digits(return_X_y=True)


def measure(loss, seed):
    """Return what an embedding with one loss is like, on held-out rows."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=0.3, stratify=y, random_state=seed
    )
    embedder = BCLEmbedder(loss=loss, max_epochs=10, random_state=seed).fit(X_train)
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    accuracies = []
    for draw in LABEL_DRAWS:
        Z, _, labels, _ = train_test_split(
            Z_train, y_train, train_size=50, stratify=y_train, random_state=draw
        )
        accuracies.append(model.fit(Z, labels).score(Z_test, y_test))
    return {
        "accuracy, 50 labels": np.mean(accuracies),
        "macro-AUC": embedding_auc(Z_test, y_test),
        "alignment of classes": alignment(Z_test, y_test),
        "uniformity": uniformity(Z_test),
    }


losses = ("simclr", "dcl", "hcl", "bcl")
results = {loss: [measure(loss, seed) for seed in SEEDS] for loss in losses}

# %%
# Each point is a seed, with the same rows, weights and views under each loss.
measures = list(results["bcl"][0])
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
colors = ("#E69F00", "#009E73", "#CC79A7", "#0072B2")
for ax, name in zip(axes, measures, strict=True):
    for i, (loss, color, marker) in enumerate(zip(losses, colors, "s^Do", strict=True)):
        values = [result[name] for result in results[loss]]
        ax.scatter([i] * len(values), values, color=color, marker=marker)
        print(f"{name:20s} {loss:7s} {np.mean(values):.3f} ± {np.std(values):.3f}")
    ax.set(xticks=range(4), xticklabels=losses, ylabel=name, xlim=(-0.5, 3.5))
plt.show()
