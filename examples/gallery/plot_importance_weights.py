"""
Importance weights: alpha debiases, beta mines hard negatives
=============================================================

The weight of an unlabeled sample depends on the rank of its similarity. At
``beta=0.5``, the most similar samples have the lowest weights, and a higher ``alpha``
lowers these weights. At ``beta`` near 1, the most similar samples have the highest
weights.

This repeats the second numerical experiment of the
`BCL paper <https://arxiv.org/abs/2301.11673>`_.
"""

import matplotlib.pyplot as plt

from sklearn_bcl.plotting import ImportanceWeightDisplay

# %%
# The left panel varies ``alpha`` and the right panel ``beta``, and the mean of each
# curve is 1.
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
for alpha in (0.5, 0.7, 0.9):
    ImportanceWeightDisplay.from_priors(
        alpha=alpha, beta=0.5, tau_plus=0.1, ax=left, label=f"alpha = {alpha}"
    )
for beta in (0.1, 0.5, 0.9, 1.0):
    ImportanceWeightDisplay.from_priors(
        alpha=0.9, beta=beta, tau_plus=0.1, ax=right, label=f"beta = {beta}"
    )
left.set(title="beta = 0.5, tau_plus = 0.1", xlabel="", ylim=(0, 1.6))
right.set(title="alpha = 0.9, tau_plus = 0.1", xlabel="", ylabel="", ylim=(0, 4))
figure.supxlabel("rank of the similarity / number of samples")
plt.show()
