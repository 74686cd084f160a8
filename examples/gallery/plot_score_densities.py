"""
Densities of true and false negatives
=====================================

In the model of BCL, the unlabeled samples of an anchor are true negatives (TN) and
false negatives (FN). The higher ``alpha`` is, the further apart are the similarities of
the two kinds.

This repeats the first numerical experiment of the
`BCL paper <https://arxiv.org/abs/2301.11673>`_.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from sklearn_bcl.bayes import sample_scores

# %%
# Simulated similarities (bars) follow the densities of the model (lines), here with a
# standard normal base density.
s = np.linspace(-3.5, 3.5, 200)
bins = np.linspace(-3.5, 3.5, 50)
figure, axes = plt.subplots(
    2, 2, figsize=(6.5, 5), sharex=True, sharey=True, layout="constrained"
)
for ax, alpha in zip(axes.flat, (0.52, 0.7, 0.9, 1.0), strict=True):
    scores, is_true_negative = sample_scores(
        100, 1000, alpha=alpha, tau_plus=0.5, ppf=norm.ppf, random_state=0
    )
    for name, chosen, sign, color, style in (
        ("TN", is_true_negative, 1, "#0072B2", "-"),
        ("FN", ~is_true_negative, -1, "#D55E00", "--"),
    ):
        ax.hist(scores[chosen], bins, density=True, color=color, alpha=0.3)
        density = norm.pdf(s) * (1 + sign * (2 * alpha - 1) * (1 - 2 * norm.cdf(s)))
        ax.plot(s, density, style, color=color, label=name)
    ax.set_title(f"alpha = {alpha}")
axes[0, 0].legend()
figure.supxlabel("similarity")
figure.supylabel("density")
plt.show()
