"""
Downstream: clusters, neighbors, anomalies and maps
====================================================

An embedding is an array, so whatever scikit-learn has goes on from it. On the digits,
k-means, nearest neighbors and the detection of a digit that training has not seen are
all better in the embedding than on the pixels.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.plotting import EmbeddingDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)


# %%
# Similarity in an embedding is that of directions: normalize rows before distances.
def features(X_train):
    """Return fitted transformers: of pixels, and of the embedding."""
    embedder = BCLEmbedder(max_epochs=20, random_state=0)
    return {
        "pixels": StandardScaler().fit(X_train),
        "embedding": make_pipeline(embedder, Normalizer()).fit(X_train),
    }


fitted = features(X_train)
scores = {}
for name, transformer in fitted.items():
    Z_train, Z_test = transformer.transform(X_train), transformer.transform(X_test)
    clusters = KMeans(10, n_init=10, random_state=0).fit(Z_train).predict(Z_test)
    labeled, _, labels, _ = train_test_split(
        Z_train, y_train, train_size=100, stratify=y_train, random_state=0
    )
    neighbors = KNeighborsClassifier(3).fit(labeled, labels)
    scores[name] = {
        "k-means, adjusted\nRand index": adjusted_rand_score(y_test, clusters),
        "3 neighbors, 100 labels,\naccuracy": neighbors.score(Z_test, y_test),
    }

# %%
# Anomalies: train without the digit 9, and find it among the test rows.
normal = y_train != 9
for name, transformer in features(X_train[normal]).items():
    detector = LocalOutlierFactor(novelty=True)
    detector.fit(transformer.transform(X_train[normal]))
    anomaly = -detector.score_samples(transformer.transform(X_test))
    auc = roc_auc_score(y_test == 9, anomaly)
    scores[name]["unseen digit,\nAUC of local outliers"] = auc

# %%
# A map: any reducer to two dimensions can draw the embedding. UMAP has the same
# interface as t-SNE here: ``reducer=umap.UMAP()``.
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
for i, (name, color) in enumerate((("pixels", "#999999"), ("embedding", "#0072B2"))):
    values = list(scores[name].values())
    print(name, {key.replace("\n", " "): f"{v:.3f}" for key, v in scores[name].items()})
    bars = left.bar(np.arange(3) + 0.4 * i - 0.2, values, 0.38, color=color, label=name)
    left.bar_label(bars, fmt="%.2f")
left.set(xticks=range(3), xticklabels=scores["pixels"], ylim=(0, 1.1), ylabel="score")
left.legend(loc="upper left", ncols=2)
EmbeddingDisplay.from_estimator(
    fitted["embedding"], X_test, y_test, reducer=TSNE(random_state=0), ax=right
)
right.set_title("t-SNE of the embedding of the test rows")
plt.show()
