"""
A DataFrame with categories and missing values
==============================================

:class:`~sklearn_bcl.BCLEmbedder` is fitted on a DataFrame with strings, booleans,
numbers and missing values, without encoding or imputation. With few labels, a logistic
regression on the embedding is more accurate than a random forest on the columns.

The table is generated, and each class is a group of similar rows. On real tables,
either method can be ahead: see :doc:`/benchmarks`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from sklearn_bcl import BCLEmbedder

# %%
# The table describes customers of four kinds, and the kind is the class to predict.
rng = np.random.default_rng(0)
kind = rng.integers(4, size=1500)
plans, cities = rng.dirichlet(np.ones(5), size=4), rng.dirichlet(np.full(40, 0.3), 4)
income = np.exp(rng.normal(10 + 0.3 * kind, 0.4))
hides_income = rng.random(len(kind)) < np.array([0.1, 0.1, 0.7, 0.2])[kind]
X = pd.DataFrame(
    {
        "plan": [f"plan {rng.choice(5, p=plans[k])}" for k in kind],
        "city": [f"city {rng.choice(40, p=cities[k])}" for k in kind],
        "is_member": rng.random(len(kind)) < np.array([0.2, 0.8, 0.5, 0.4])[kind],
        "age": rng.normal(np.array([25, 40, 45, 60])[kind], 12).round(),
        "income": np.where(hides_income, np.nan, income).round(),
        "visits": rng.poisson(np.array([8, 4, 6, 2])[kind]),
    }
)
X_train, X_test, y_train, y_test = train_test_split(
    X, kind, test_size=0.3, stratify=kind, random_state=0
)
X.head()

# %%
# The embedder finds the categories by the dtypes of the columns, and learns from all
# training rows without labels.
embedder = BCLEmbedder(max_epochs=40, random_state=0).fit(X_train)
names = embedder.feature_names_in_[embedder.is_categorical_]
for name, categories in zip(names, embedder.categories_, strict=True):
    print(f"{name}: {len(categories)} frequent categories, such as {categories[0]!r}")

# %%
# Both models take DataFrames, and only the random forest needs codes for the strings.
codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
models = {
    "BCLEmbedder, logistic regression": make_pipeline(
        FrozenEstimator(embedder), StandardScaler(), LogisticRegression(C=0.1)
    ),
    "random forest": make_pipeline(
        make_column_transformer((codes, ["plan", "city"]), remainder="passthrough"),
        RandomForestClassifier(random_state=0),
    ),
}

# %%
# Both models get the same labels, in five draws.
counts, draws = [20, 50, 200], range(5)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
styles = zip(("#0072B2", "#D55E00"), ("o-", "s--"), strict=True)
for (name, model), (color, style) in zip(models.items(), styles, strict=True):
    accuracies = np.zeros((len(counts), len(draws)))
    for i, n_labels in enumerate(counts):
        for draw in draws:
            rows, _, labels, _ = train_test_split(
                X_train,
                y_train,
                train_size=n_labels,
                stratify=y_train,
                random_state=draw,
            )
            accuracies[i, draw] = model.fit(rows, labels).score(X_test, y_test)
    means, deviations = accuracies.mean(axis=1), accuracies.std(axis=1)
    ax.errorbar(
        counts, means, deviations, fmt=style, color=color, capsize=4, label=name
    )
    print(f"{name:33s}", *(f"{mean:.3f}" for mean in means))
ax.set(
    xscale="log",
    xlabel="number of labels",
    ylabel="test accuracy (mean ± std)",
    title="Customers, four classes",
)
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.legend(loc="lower right")
plt.show()
