"""
Semi-supervised digits: many rows, few labels
=============================================

The embedder is fitted on all training rows, and a classifier on the few labeled rows.
On the digits, a linear model on the embedding is more accurate than the same model on
the pixels, with and without self-training.
"""

# %%
# The embedder is fitted once, on all training rows and without labels.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_bcl import BCLEmbedder

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=30, random_state=0).fit(X_train)
Z_train, Z_test = embedder.transform(X_train), embedder.transform(X_test)

# %%
# scikit-learn marks rows without a label by -1, and self-training learns from them too.
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
methods = {
    "pixels": (linear, X_train, X_test),
    "pixels, self-training": (SelfTrainingClassifier(linear), X_train, X_test),
    "embedding": (linear, Z_train, Z_test),
}
counts, draws = [20, 50, 100, 200], range(4)
accuracies = {name: np.zeros((len(counts), len(draws))) for name in methods}
for i, n_labels in enumerate(counts):
    for draw in draws:
        labeled, _ = train_test_split(
            np.arange(len(y_train)),
            train_size=n_labels,
            stratify=y_train,
            random_state=draw,
        )
        partly = np.full(len(y_train), -1)
        partly[labeled] = y_train[labeled]
        for name, (model, train, test) in methods.items():
            rows = slice(None) if model is not linear else labeled
            model.fit(train[rows], partly[rows])
            accuracies[name][i, draw] = model.score(test, y_test)

# %%
# Lines are means over the draws of labels, and bands reach from the worst draw to the
# best draw.
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
styles = zip(("#777777", "#D55E00", "#0072B2"), ("s:", "^--", "o-"), strict=True)
for (name, values), (color, style) in zip(accuracies.items(), styles, strict=True):
    ax.plot(counts, values.mean(axis=1), style, color=color, label=name)
    low, high = values.min(axis=1), values.max(axis=1)
    ax.fill_between(counts, low, high, color=color, alpha=0.2, linewidth=0)
    print(f"{name:22s}", *(f"{mean:.3f}" for mean in values.mean(axis=1)))
ax.set(
    xlabel="number of labels",
    ylabel="test accuracy",
    title=f"Digits, {len(X_train):,} training rows",
)
ax.legend()
plt.show()
