"""
Where the posterior is too optimistic
=====================================

P(TN) falls with the rank of a similarity, so P(TN) finds true negatives as well as the
encoder ranks rows. As a probability, P(TN) is too high for the most similar rows: more
false negatives have the highest ranks than the model of BCL can express.
"""

# %%
# The labels of the test rows tell which pairs are true negatives, and the training saw
# no label.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_bcl import BCLEmbedder

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=20, random_state=0).fit(X_train)
n = len(X_test)
is_pair = ~np.eye(n, dtype=bool)  # no row is a candidate of itself
similarity = embedder.similarity(X_test)[is_pair].reshape(n, n - 1)
is_true_negative = (y_test[:, np.newaxis] != y_test)[is_pair].reshape(n, n - 1)

# %%
# The rank of a similarity among the candidates of its anchor is all that P(TN) depends
# on.
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from sklearn_bcl.bayes import true_negative_posterior

p = rankdata(similarity, axis=1) / (n - 1)
priors = {"alpha": embedder.alpha_, "tau_plus": embedder.tau_plus_}
proba = true_negative_posterior(p, **priors)
auc = np.mean(
    [roc_auc_score(t, q) for t, q in zip(is_true_negative, proba, strict=True)]
)
print(f"AUC of P(TN), mean over anchors: {auc:.3f}")
top = p > 0.9
print("highest tenth of the ranks:")
print(f"mean P(TN) {proba[top].mean():.2f}", end=", ")
print(f"share of true negatives {is_true_negative[top].mean():.2f}")

# %%
# The highest tenth of the ranks holds more of the false negatives (orange bars) than in
# the model (orange lines), even with the largest ``alpha``.
import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
grid, bins = np.linspace(0, 1, 400), np.linspace(0, 1, 41)
tau_plus = embedder.tau_plus_
for name, chosen, color in (
    ("true negatives", is_true_negative, "#0072B2"),
    ("false negatives", ~is_true_negative, "#D55E00"),
):
    ax.hist(p[chosen], bins, density=True, color=color, alpha=0.3, label=name)
for alpha, style in ((embedder.alpha_, "-"), (1.0, ":")):
    expected = true_negative_posterior(grid, alpha=alpha, tau_plus=tau_plus)
    label = f"model, alpha = {alpha:g}"
    ax.plot(grid, expected / (1 - tau_plus), style, color="#0072B2", label=label)
    ax.plot(grid, (1 - expected) / tau_plus, style, color="#D55E00", label=label)
ax.set(
    xlabel="rank of the similarity / number of candidates",
    ylabel="density",
    title="Pairs of test rows of the digits",
)
ax.legend(fontsize="small")
plt.show()
