"""
Reading the posterior: which rows are false negatives?
======================================================

A false negative is another row of the anchor's class, which the loss should not push
away. ``true_negative_proba`` finds false negatives without labels: most candidates with
the lowest P(TN) have the class of the anchor.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_bcl import BCLEmbedder

# %%
# The candidates are a random draw of rows, because P(TN) depends on the rank of a
# similarity among all candidates.
digits = load_digits()
X, y = digits.data, digits.target
embedder = BCLEmbedder(max_epochs=30, random_state=0).fit(X)
rows = np.random.default_rng(0).permutation(len(X))
anchors, candidates = rows[:100], rows[100:600]
proba = embedder.true_negative_proba(X[anchors], X[candidates])
print(f"P(TN) of {proba.shape} pairs, from {proba.min():.2f} to {proba.max():.2f}")

# %%
# The lower P(TN) is, the more pairs are of the same class.
is_same_class = y[anchors][:, np.newaxis] == y[candidates]
for low, high in ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)):
    chosen = (low <= proba) & (proba < high)
    if chosen.any():
        print(
            f"P(TN) from {low} to {high}: {chosen.mean():4.0%} of the pairs, of which "
            f"{is_same_class[chosen].mean():4.0%} are of the same class"
        )

# %%
# Each row of the figure shows an anchor, its six candidates of lowest P(TN) and its two
# candidates of highest P(TN), with P(TN) above each candidate.
order = proba.argsort(axis=1)
share = np.take_along_axis(is_same_class, order[:, :6], axis=1).mean()
print(f"six candidates of lowest P(TN), all anchors: {share:.0%} are of the same class")
shown = np.hstack([order[:, :6], order[:, -2:]])
figure, axes = plt.subplots(6, 9, figsize=(6.5, 5.5), layout="constrained")
for images, digit in zip(axes, range(6), strict=True):
    i = np.flatnonzero(y[anchors] == digit)[0]
    images[0].imshow(digits.images[anchors[i]], cmap="gray_r")
    for ax, j in zip(images[1:], shown[i], strict=True):
        ax.imshow(digits.images[candidates[j]], cmap="gray_r")
        color, sign = ("#0072B2", "=") if is_same_class[i, j] else ("#D55E00", "≠")
        ax.set_title(f"{sign} {proba[i, j]:.2f}", color=color, pad=2)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_title("anchor", pad=2)
figure.suptitle("Class of the anchor (=, blue) or another class (≠, orange)")
plt.show()
