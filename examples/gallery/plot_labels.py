"""
Labels calibrate the posterior, not the embedding
=================================================

With ``tau_plus="labels"`` and ``alpha="labels"``, the embedder sets two priors from the
labeled rows, and uses labels for nothing else. P(TN) is then closer to the observed
share of true negatives, while a classifier on the embedding is as accurate as before.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder

# %%
# The breast cancer data have two classes, so half of all pairs are of the same class,
# and the default ``tau_plus=0.1`` is too low.
X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
partly = np.where(np.arange(len(y_train)) < 100, y_train, -1)  # -1: no label
embedders = {
    "default priors": BCLEmbedder(max_epochs=40, random_state=0).fit(X_train),
    "priors from labels": BCLEmbedder(
        tau_plus="labels", alpha="labels", max_epochs=40, random_state=0
    ).fit(X_train, partly),
}
for name, embedder in embedders.items():
    print(f"{name:18s} tau_plus {embedder.tau_plus_:.2f}, alpha {embedder.alpha_:.2f}")

# %%
# P(TN) is compared with the truth for all pairs of test rows, and a classifier gets the
# same 50 labels for both embeddings, in ten draws.
is_pair = ~np.eye(len(X_test), dtype=bool)
is_true_negative = (y_test[:, np.newaxis] != y_test)[is_pair]
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
proba, accuracies = {}, {}
for name, embedder in embedders.items():
    proba[name] = embedder.true_negative_proba(X_test)[is_pair]
    Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)
    accuracies[name] = []
    for draw in range(10):
        rows, _, labels, _ = train_test_split(
            Z_train, y_train, train_size=50, stratify=y_train, random_state=draw
        )
        accuracies[name].append(classifier.fit(rows, labels).score(Z_test, y_test))
    mean, deviation = np.mean(accuracies[name]), np.std(accuracies[name])
    print(f"{name:18s} accuracy {mean:.3f} ± {deviation:.3f}")

# %%
# The left panel shows the calibration of P(TN), and the right panel the accuracy of
# each draw of labels.
figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 4), layout="constrained")
colors, markers = ("#D55E00", "#0072B2"), ("s", "o")
for i, name in enumerate(embedders):
    style = {"color": colors[i], "marker": markers[i]}
    display = CalibrationDisplay.from_predictions(
        is_true_negative,
        proba[name],
        n_bins=10,
        strategy="quantile",
        name=name,
        ax=left,
        **style,
    )
    error = np.abs(display.prob_true - display.prob_pred).mean()
    print(f"{name:18s} calibration error {error:.3f}")
    right.scatter(np.full(10, i), accuracies[name], **style)
left.set(xlabel="P(TN), mean of a bin", ylabel="share of true negatives")
left.set(title="Pairs of test rows", ylim=(-0.05, 1.35))
left.legend(loc="upper left")
right.set(ylabel="test accuracy with 50 labels", xlim=(-0.5, 1.5), ylim=(0.5, 1))
right.set_title("Classifier on the embedding")
right.set_xticks([0, 1], ["default\npriors", "priors\nfrom labels"])
plt.show()
