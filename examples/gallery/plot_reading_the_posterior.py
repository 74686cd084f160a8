"""
Reading the posterior: which rows are false negatives?
======================================================

Contrastive learning pushes each row away from all others, also from those of its own
kind. ``true_negative_proba`` tells which these may be: among the candidates that it
trusts least, most are of the anchor's class, though training saw no label.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.plotting import PosteriorDisplay

digits = load_digits()
X, y = digits.data, digits.target
embedder = BCLEmbedder(max_epochs=40, random_state=0).fit(X)

# %%
# An anchor of each class, and a random 500 of the other rows as candidates. They have
# to be a random draw: the posterior reads the rank of a similarity among them.
anchors = np.array([np.flatnonzero(y == digit)[0] for digit in range(10)])
others = np.setdiff1d(np.arange(len(X)), anchors)
candidates = np.random.default_rng(0).choice(others, 500, replace=False)
proba = embedder.true_negative_proba(X[anchors], X[candidates])
print(f"P(TN) from {proba.min():.2f} to {proba.max():.2f}, mean {proba.mean():.2f}")
same_class = y[anchors, None] == y[candidates]
for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)):
    chosen = (low <= proba) & (proba < high)
    print(
        f"P(TN) in [{low}, {high}): {chosen.mean():4.0%} of the pairs, "
        f"{same_class[chosen].mean():4.0%} of them of the same class"
    )

# %%
# The likeliest false negatives of each anchor (framed), in the order of their P(TN),
# and two of the likeliest true ones. Those of another class than the anchor are red.
order = proba.argsort(axis=1)
shown = np.hstack([order[:, :8], order[:, -2:]])
figure, axes = plt.subplots(10, 11, figsize=(8, 8), layout="constrained")
for i, anchor in enumerate(anchors):
    axes[i, 0].imshow(digits.images[anchor], cmap="gray_r")
    axes[i, 0].patch.set_edgecolor("black")
    axes[i, 0].patch.set_linewidth(4)
    for ax, j in zip(axes[i, 1:], shown[i], strict=True):
        ax.imshow(digits.images[candidates[j]], cmap="gray_r")
        color = "#0072B2" if same_class[i, j] else "#D55E00"
        ax.set_title(f"{proba[i, j]:.2f}", fontsize=8, color=color, pad=2)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("anchor", fontsize=8)
figure.suptitle(
    "Anchor, its 8 likeliest false negatives and 2 likeliest true ones;\n"
    "above each its P(TN), blue for the anchor's class, red for another"
)

# %%
# Over all pairs, P(TN) finds the true negatives with the AUC on the left. As a
# probability it gives the most similar candidates too good a chance (right), as the
# priors are only guesses. With "labels" as priors, 200 labels set them, and nothing
# else: P(TN) is then closer to the truth.
some = np.where(np.arange(len(y)) < 200, y, -1)
informed = BCLEmbedder(
    tau_plus="labels", alpha="labels", max_epochs=40, random_state=0
).fit(X, some)
figure, axes = plt.subplots(2, 2, figsize=(9, 8), layout="constrained")
for name, model, ax in zip(
    ("default", "200 labels"), (embedder, informed), axes, strict=True
):
    display = PosteriorDisplay.from_estimator(model, X, y, ax=ax)
    print(
        f"{name:11s} alpha {model.alpha_:.3f}, tau_plus {model.tau_plus_:.3f}: "
        f"AUC {display.auc_:.3f}, calibration error {display.calibration_error_:.3f}, "
        f"Brier score {display.brier_score_:.3f}"
    )
figure.suptitle("Above with the default priors, below with those of 200 labels")
plt.show()
