"""
Clusters, neighbors and anomalies in an embedding
=================================================

An embedding is an array, so every scikit-learn estimator can use it. On the digits,
k-means, nearest neighbors and anomaly detection score higher on the embedding than on
the pixels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_bcl import BCLEmbedder

# %%
# The loss compares directions, so ``Normalizer`` scales the rows of the embedding to
# unit length.
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
transformers = {
    "pixels": StandardScaler(),
    "embedding": make_pipeline(
        BCLEmbedder(max_epochs=20, random_state=0), Normalizer()
    ),
}

# %%
# k-means gets no label, nearest neighbors get 100 labels, and the anomalies are nines,
# which the training rows of the detector lack.
scores = {}
for name, transformer in transformers.items():
    Z_train, Z_test = transformer.fit_transform(X_train), transformer.transform(X_test)
    clusters = KMeans(10, n_init=5, random_state=0).fit(Z_train).predict(Z_test)
    labeled, _, labels, _ = train_test_split(
        Z_train, y_train, train_size=100, stratify=y_train, random_state=0
    )
    neighbors = KNeighborsClassifier(3).fit(labeled, labels)
    without_nines = X_train[y_train != 9]
    partial = clone(transformer).fit(without_nines)
    detector = LocalOutlierFactor(novelty=True).fit(partial.transform(without_nines))
    anomaly = -detector.score_samples(partial.transform(X_test))
    scores[name] = {
        "k-means,\nadjusted Rand index": adjusted_rand_score(y_test, clusters),
        "3 nearest neighbors,\naccuracy": neighbors.score(Z_test, y_test),
        "anomaly detection,\nAUC": roc_auc_score(y_test == 9, anomaly),
    }

# %%
# All scores are of the test rows, and 1 is the best value of each.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for shift, (name, color) in zip(
    (-0.2, 0.2), (("pixels", "#BBBBBB"), ("embedding", "#0072B2")), strict=True
):
    values = list(scores[name].values())
    bars = ax.bar(np.arange(3) + shift, values, 0.38, color=color, label=name)
    ax.bar_label(bars, fmt="%.2f")
ax.set(ylim=(0, 1.15), ylabel="score", title="Digits, test rows")
ax.set_xticks(range(3), scores["pixels"])
ax.legend(loc="upper left", ncols=2)
plt.show()
