"""
Searching the priors: on labels, without labels, and without repeating oneself
==============================================================================

The priors are parameters like all others, so scikit-learn's searches apply. Only two
numbers of them reach the loss: ordinary grids repeat themselves, and ``prior_grid``
does not.
"""

# %%
# With few labels: cross-validate the pipeline. In it, the embedder sees the rows of the
# training folds only.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import prior_grid
from sklearn_bcl.metrics import embedding_auc_scorer
from sklearn_bcl.plotting import ImportanceWeightDisplay, PriorSearchDisplay

X, y = load_digits(return_X_y=True)
X, y = X[:400], y[:400]
pipeline = make_pipeline(
    BCLEmbedder(max_epochs=10, random_state=0), LogisticRegression(max_iter=1000)
)
grid = {
    "bclembedder__tau_plus": [0.05, 0.1, 0.2, 0.5],
    "bclembedder__alpha": [0.5, 0.7, 0.9],
}
search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X, y)
print(f"best {search.best_params_}, accuracy {search.best_score_:.3f}")

# %%
# The lowest row is one setting four times: at ``alpha=0.5``, ``tau_plus`` has no
# effect. The others differ by a few of the 400 rows, so little is at stake here.
display = PriorSearchDisplay.from_search(search)
display.ax_.set_title("Accuracy of a linear model on the embedding")
scores = np.asarray(display.scores)
assert (scores[0] == scores[0, 0]).all()

# %%
# Settings that are spread evenly over the weights. ``score`` needs no label, but ranks
# settings by plain NT-Xent on held-out rows only; a scorer of ``sklearn_bcl.metrics``
# says how well the embedding ranks rows of the same class.
embedder = BCLEmbedder(max_epochs=10, random_state=0)
unlabeled = GridSearchCV(embedder, prior_grid(6), cv=3, n_jobs=2).fit(X)
labeled = GridSearchCV(
    embedder, prior_grid(6), cv=3, n_jobs=2, scoring=embedding_auc_scorer
).fit(X, y)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
print("alpha  beta  tau_plus  score (NT-Xent)  macro-AUC")
for setting, score, auc in zip(
    unlabeled.cv_results_["params"],
    unlabeled.cv_results_["mean_test_score"],
    labeled.cv_results_["mean_test_score"],
    strict=True,
):
    print("{alpha:5}  {beta:4}  {tau_plus:8}".format(**setting), end="")
    print(f"  {score:15.3f}  {auc:9.3f}")
    ImportanceWeightDisplay.from_priors(**setting, ax=ax)
ax.set(title="The first six settings of prior_grid", ylim=(0, 4))
plt.show()
