"""
Where the posterior is too optimistic
=====================================

P(TN) is too high for the most similar rows. More false negatives have the highest ranks
than the model of BCL can express.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import rankdata
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import true_negative_posterior
from sklearn_bcl.plotting import PosteriorDisplay

# %%
# The labels of the test rows tell which pairs are true negatives, and the training saw
# no label.
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.3, stratify=y, random_state=0
)
embedder = BCLEmbedder(max_epochs=20, random_state=0).fit(X_train)

# %%
# P(TN) depends only on the rank of a similarity among the candidates of an anchor. The
# highest tenth of the ranks holds more of the false negatives than in the model, even
# with the largest ``alpha``.
n = len(X_test)
is_pair = ~np.eye(n, dtype=bool)  # no row is a candidate of itself
similarity = embedder.similarity(X_test)[is_pair].reshape(n, n - 1)
is_true_negative = (y_test[:, np.newaxis] != y_test)[is_pair].reshape(n, n - 1)
p = rankdata(similarity, axis=1) / (n - 1)
tau_plus = embedder.tau_plus_
share = (p[~is_true_negative] > 0.9).mean()
print(f"false negatives in the highest tenth of the ranks: {share:.0%}")
for alpha in (embedder.alpha_, 1.0):
    proba = true_negative_posterior(p, alpha=alpha, tau_plus=tau_plus)
    share = (1 - proba)[p > 0.9].sum() / (1 - proba).sum()
    print(f"in the model with alpha = {alpha:g}: {share:.0%}")

# %%
# P(TN) is above the share of true negatives where P(TN) is lowest (right). P(TN) still
# ranks the pairs well (left).
display = PosteriorDisplay.from_estimator(embedder, X_test, y_test)
display.figure_.set_size_inches(7.5, 3.8)
plt.show()
