"""
Searching the priors
====================

The priors are parameters of the embedder, so the searches of scikit-learn apply. An
ordinary grid can repeat a setting under other values of the priors, while
:func:`~sklearn_bcl.bayes.prior_grid` returns settings with different weights.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import prior_grid
from sklearn_bcl.plotting import PriorSearchDisplay

# %%
# With labels, a grid search compares the accuracies of a pipeline, which differ here by
# less than the spread over folds.
X, y = load_digits(return_X_y=True)
X, y = X[:400], y[:400]
pipeline = make_pipeline(
    BCLEmbedder(max_epochs=5, random_state=0),
    StandardScaler(),
    LogisticRegression(C=0.1),
)
grid = {
    "bclembedder__tau_plus": [0.05, 0.1, 0.3],
    "bclembedder__alpha": [0.5, 0.7, 0.9],
}
search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
spread = search.cv_results_["std_test_score"][search.best_index_]
print(f"best {search.best_params_}")
print(f"accuracy {search.best_score_:.3f} ± {spread:.3f} over folds")

# %%
# The lowest row of the figure holds one setting three times, because ``tau_plus`` has
# no effect at ``alpha=0.5``.
display = PriorSearchDisplay.from_search(search)
display.ax_.set_title(f"Accuracy of the pipeline, {len(X)} digits")
plt.show()

# %%
# Without labels, ``score`` ranks settings by plain NT-Xent on held-out rows, and
# ``prior_grid`` spreads the settings evenly over the weights.
settings = prior_grid(5)
embedder = BCLEmbedder(max_epochs=5, random_state=0)
unlabeled = GridSearchCV(embedder, settings, cv=3).fit(X)
print("alpha   beta  tau_plus   score")
for setting, score in zip(
    unlabeled.cv_results_["params"],
    unlabeled.cv_results_["mean_test_score"],
    strict=True,
):
    print("{alpha:5}  {beta:5}  {tau_plus:8}".format(**setting), f" {score:.3f}")
