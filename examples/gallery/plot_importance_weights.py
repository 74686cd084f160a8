"""
Importance weights: beta chooses between debiasing and mining
=============================================================

The weight of an unlabeled sample depends on the rank of its score only. At ``beta``
0.5 the weights only debias: they fall with the rank, the more so the better the
encoder ranks (``alpha``), since a top rank is then more likely a false negative. At
0.9 and 1 they mine hard negatives: they rise with the rank. At ``alpha`` 0.5 the
encoder tells nothing, and they do so in a straight line. This repeats the second
numerical experiment of the BCL paper (arXiv:2301.11673).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from sklearn_bcl.bayes import importance_weights

TAU_PLUS = 0.1
ALPHAS = (0.5, 0.7, 0.9)
BETAS = (0.1, 0.5, 0.9, 1.0)

# %%
# One panel for each ``alpha``. All curves have the area one.
figure, axes = plt.subplots(
    1, len(ALPHAS), figsize=(10, 3.4), sharey=True, layout="constrained"
)
p = np.linspace(0, 1, 500)
colors = ("#0072B2", "#000000", "#E69F00", "#D55E00")
for ax, alpha in zip(axes, ALPHAS, strict=True):
    for beta, color, style in zip(BETAS, colors, (":", "-", "--", "-."), strict=True):
        weights = importance_weights(p, alpha=alpha, beta=beta, tau_plus=TAU_PLUS)
        ax.plot(p, weights, style, color=color, label=f"beta = {beta:g}")
    ax.set(title=f"alpha = {alpha:g}", xlabel="rank of the score / N", ylim=(0, 5))
axes[0].set_ylabel("importance weight")
axes[0].legend(fontsize="small")
figure.suptitle(f"tau_plus = {TAU_PLUS:g}", fontsize="medium")
plt.show()
