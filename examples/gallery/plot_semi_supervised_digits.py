"""
Semi-supervised digits: what a label is worth
=============================================

In a pipeline, an embedder sees the labeled rows only. Fit it on all rows instead,
labeled or not, and let a small model see the labels: on the embedding, 40 of them are
worth 100 on the pixels.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from sklearn_bcl import BCLEmbedder

LABEL_COUNTS, DRAWS = (20, 40, 60, 100, 200), 5

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=40, random_state=0).fit(X_train)
Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)

# %%
# Three ways to use few labels. Rows without one are marked by -1, as everywhere in
# scikit-learn; self-training learns from them, too.
linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
methods = {
    "pixels": (linear, X_train, X_test),
    "pixels, self-training": (SelfTrainingClassifier(linear), X_train, X_test),
    "embedding": (linear, Z_train, Z_test),
}
accuracies = {name: np.zeros((len(LABEL_COUNTS), DRAWS)) for name in methods}
for i, n_labels in enumerate(LABEL_COUNTS):
    for draw in range(DRAWS):
        labeled, _ = train_test_split(
            np.arange(len(y_train)),
            train_size=n_labels,
            stratify=y_train,
            random_state=draw,
        )
        partly = np.full(len(y_train), -1)
        partly[labeled] = y_train[labeled]
        for name, (model, train, test) in methods.items():
            rows = slice(None) if "self" in name else labeled
            model.fit(train[rows], partly[rows])
            accuracies[name][i, draw] = model.score(test, y_test)

# %%
# Mean and range over five draws of the labels.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
styles = zip(("#999999", "#E69F00", "#0072B2"), "s^o", strict=True)
for (name, values), (color, marker) in zip(accuracies.items(), styles, strict=True):
    means = values.mean(axis=1)
    print(f"{name:22s}" + "".join(f"{mean:7.3f}" for mean in means))
    ax.plot(LABEL_COUNTS, means, marker=marker, color=color, label=name)
    low, high = values.min(axis=1), values.max(axis=1)
    ax.fill_between(LABEL_COUNTS, low, high, color=color, alpha=0.2, linewidth=0)
ax.set(
    xlabel="number of labels",
    ylabel="test accuracy (mean and range)",
    title="Digits, 1,257 rows for training",
)
ax.legend()
plt.show()
