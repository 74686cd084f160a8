"""
Scores of true and false negatives: two halves of one density
=============================================================

Under the model, an anchor's unlabeled scores mix true negatives (TN) and false
negatives (FN). The better the encoder ranks (``alpha``), the further apart their
densities; at ``alpha`` 0.5 they are the same, at 1 they are those of the smaller and
of the larger one of two draws. This repeats the first numerical experiment of the BCL
paper (arXiv:2301.11673).
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from sklearn_bcl.bayes import sample_scores

ALPHAS = (0.52, 0.7, 0.9, 1.0)
TAU_PLUS = 0.5  # as many false negatives as true ones, so that both curves are smooth

# %%
# Simulate the scores, with a standard normal base density, and draw their histograms
# over the densities of the model.
figure, axes = plt.subplots(
    1, 4, figsize=(11, 3), sharex=True, sharey=True, layout="constrained"
)
s = np.linspace(-3.5, 3.5, 200)
u, density = stats.norm.cdf(s), stats.norm.pdf(s)
for ax, alpha in zip(axes, ALPHAS, strict=True):
    scores, is_true_negative = sample_scores(
        100, 1000, alpha=alpha, tau_plus=TAU_PLUS, ppf=stats.norm.ppf, random_state=0
    )
    kappa = 2 * alpha - 1
    for chosen, sign, color, label in (
        (is_true_negative, 1, "#0072B2", "true negatives"),
        (~is_true_negative, -1, "#D55E00", "false negatives"),
    ):
        ax.hist(scores[chosen], bins=60, density=True, color=color, alpha=0.35)
        model = density * (1 + sign * kappa * (1 - 2 * u))
        ax.plot(s, model, color=color, ls="-" if sign > 0 else "--", label=label)
    ax.set(title=f"alpha = {alpha:g}", xlabel="similarity score")
axes[0].set_ylabel("density")
axes[0].legend(loc="upper left", fontsize="x-small")
plt.show()
