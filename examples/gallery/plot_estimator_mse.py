"""
The weighted mean estimates the true negatives best
===================================================

A contrastive loss needs the mean of exp(s / t) over the true negatives of an anchor.
The weighted mean of BCL has the smallest error wherever the encoder ranks better than
at random.

This repeats the third numerical experiment of the
`BCL paper <https://arxiv.org/abs/2301.11673>`_, on simulated similarities.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import uniform

from sklearn_bcl.bayes import importance_weights, sample_scores

# %%
# The biased mean counts all unlabeled samples alike, the debiased mean (DCL) subtracts
# the share of 10 known positives, and BCL weights samples by rank.
N_ANCHORS, N_UNLABELED, N_POSITIVES = 100, 100, 10
TAU_PLUS, TEMPERATURE = 0.1, 0.5
N_REPETITIONS = 50
similarity = uniform(-1 / TEMPERATURE**2, 2 / TEMPERATURE**2)


def squared_errors(alpha, seed):
    """Return the mean squared error of the three estimates."""
    rng = np.random.RandomState(seed)
    options = {"alpha": alpha, "ppf": similarity.ppf, "random_state": rng}
    scores, is_true_negative = sample_scores(
        N_ANCHORS, N_UNLABELED, tau_plus=TAU_PLUS, **options
    )
    positives, _ = sample_scores(N_ANCHORS, N_POSITIVES, tau_plus=1, **options)
    values = np.exp(scores / TEMPERATURE)
    positive = np.exp(positives / TEMPERATURE).mean(axis=1)
    p = (scores.argsort(axis=1).argsort(axis=1) + 1) / N_UNLABELED
    weights = importance_weights(p, alpha=alpha, beta=0.5, tau_plus=TAU_PLUS)

    truth = np.average(values, axis=1, weights=is_true_negative)
    biased = values.mean(axis=1)
    debiased = (biased - TAU_PLUS * positive) / (1 - TAU_PLUS)
    weighted = np.average(values, axis=1, weights=weights)
    return [((mean - truth) ** 2).mean() for mean in (biased, debiased, weighted)]


alphas = [0.5, 0.6, 0.7, 0.8, 0.86, 0.9, 0.95, 0.999]
errors = np.array(
    [[squared_errors(alpha, seed) for seed in range(N_REPETITIONS)] for alpha in alphas]
)  # (alpha, repetition, estimate)
means = errors.mean(axis=1)
standard_errors = errors.std(axis=1, ddof=1) / np.sqrt(N_REPETITIONS)

# %%
# At ``alpha=0.5``, the weights of BCL are all 1, so the weighted mean is the biased
# mean.
print("alpha    biased  debiased  weighted")
for alpha, row in zip(alphas, means, strict=True):
    print(f"{alpha:5.3f}", *(f"{error:9.0f}" for error in row))

# %%
# Vertical bars are two standard errors over the repetitions.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for i, (name, style, color) in enumerate(
    (
        ("biased mean", "s:", "#777777"),
        ("debiased mean (DCL)", "^--", "#D55E00"),
        ("weighted mean (BCL)", "o-", "#0072B2"),
    )
):
    ax.errorbar(
        alphas,
        means[:, i],
        2 * standard_errors[:, i],
        fmt=style,
        color=color,
        capsize=3,
        label=name,
    )
ax.set(
    yscale="log",
    xlabel="alpha, how well the encoder ranks",
    ylabel="mean squared error",
    title=f"{N_ANCHORS} anchors, {N_UNLABELED} unlabeled samples each",
)
ax.legend()
plt.show()
