"""
Semi-supervised digits: fit the embedder on all rows
====================================================

An embedder in a pipeline is fitted on the labeled rows only. An embedder that was
fitted on all rows gives a higher accuracy with the same labels.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder

# %%
# The embedder is fitted once, on all training rows and without labels.
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=30, random_state=0).fit(X_train)

# %%
# ``FrozenEstimator`` keeps the fitted embedder in a pipeline, so only the classifier is
# fitted on the labeled rows.
classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
models = {
    "pixels": classifier,
    "embedder fitted on labeled rows": make_pipeline(
        BCLEmbedder(max_epochs=40, random_state=0), classifier
    ),
    "embedder fitted on all rows": make_pipeline(FrozenEstimator(embedder), classifier),
}

# %%
# Every model gets the same labeled rows, in three draws.
counts, draws = [20, 50, 200], range(3)
accuracies = {name: np.zeros((len(counts), len(draws))) for name in models}
for i, n_labels in enumerate(counts):
    for draw in draws:
        rows, _, labels, _ = train_test_split(
            X_train, y_train, train_size=n_labels, stratify=y_train, random_state=draw
        )
        for name, model in models.items():
            accuracies[name][i, draw] = model.fit(rows, labels).score(X_test, y_test)

# %%
# Lines are means over the draws of labels, and bands reach from the worst draw to the
# best draw.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
styles = zip(("#777777", "#D55E00", "#0072B2"), ("s:", "^--", "o-"), strict=True)
for (name, values), (color, style) in zip(accuracies.items(), styles, strict=True):
    ax.plot(counts, values.mean(axis=1), style, color=color, label=name)
    low, high = values.min(axis=1), values.max(axis=1)
    ax.fill_between(counts, low, high, color=color, alpha=0.2, linewidth=0)
    print(f"{name:32s}", *(f"{mean:.3f}" for mean in values.mean(axis=1)))
ax.set(
    xscale="log",
    xlabel="number of labels",
    ylabel="test accuracy",
    title=f"Digits, {len(X_train):,} training rows",
)
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.legend()
plt.show()
