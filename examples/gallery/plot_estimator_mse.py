"""
The weighted mean estimates the true negatives best
===================================================

A contrastive loss needs the mean of exp(s / t) over *true* negatives, and sees
unlabeled samples only. Three estimates, on simulated scores: the mean over all
unlabeled samples (biased: false negatives raise it), that mean less the share that
10 known positives predict (debiased, "DCL"), and the mean weighed by BCL (``beta``
0.5: no mining). This repeats the third numerical experiment of the BCL paper
(arXiv:2301.11673): 100 anchors, 100 unlabeled samples each, scores uniform on
[-1/t², 1/t²] at t = 0.5, ``tau_plus`` 0.1. The error is that against the mean over
the true negatives of the same anchor.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from sklearn_bcl.bayes import importance_weights, sample_scores

N_ANCHORS, N_UNLABELED, N_POSITIVES = 100, 100, 10
TAU_PLUS, TEMPERATURE = 0.1, 0.5
REPETITIONS = 100
ALPHAS = [0.5, 0.6, 0.7, 0.8, 0.86, 0.9, 0.95, 0.999]
BOUND = 1 / TEMPERATURE**2
uniform = stats.uniform(-BOUND, 2 * BOUND)


def squared_errors(alpha, seed):
    """Return the mean squared error of the biased, the debiased and BCL's estimate."""
    rng = np.random.RandomState(seed)
    options = {"alpha": alpha, "ppf": uniform.ppf, "random_state": rng}
    scores, is_true_negative = sample_scores(
        N_ANCHORS, N_UNLABELED, tau_plus=TAU_PLUS, **options
    )
    positives, _ = sample_scores(N_ANCHORS, N_POSITIVES, tau_plus=1, **options)
    mass = np.exp(scores / TEMPERATURE)
    positive_mass = np.exp(positives / TEMPERATURE).mean(axis=1)
    p = (scores.argsort(axis=1).argsort(axis=1) + 1) / N_UNLABELED
    weights = importance_weights(p, alpha=alpha, beta=0.5, tau_plus=TAU_PLUS)

    truth = np.average(mass, axis=1, weights=is_true_negative)
    biased = mass.mean(axis=1)
    debiased = (biased - TAU_PLUS * positive_mass) / (1 - TAU_PLUS)
    bcl = np.average(mass, axis=1, weights=weights)
    return [((estimate - truth) ** 2).mean() for estimate in (biased, debiased, bcl)]


# %%
# Means over repetitions, and the ratios between the estimates.
errors = np.array(
    [[squared_errors(alpha, seed) for seed in range(REPETITIONS)] for alpha in ALPHAS]
)  # (alpha, repetition, estimate)
means = errors.mean(axis=1)
standard_errors = errors.std(axis=1, ddof=1) / np.sqrt(REPETITIONS)
print("alpha   MSE biased   debiased        BCL   biased/BCL   debiased/BCL")
for alpha, (biased, debiased, bcl) in zip(ALPHAS, means, strict=True):
    print(
        f"{alpha:5.3f} {biased:12.0f} {debiased:10.0f} {bcl:10.0f}"
        f" {biased / bcl:12.2f} {debiased / bcl:14.2f}"
    )

# %%
# BCL has the least error wherever the encoder ranks better than at random, and equals
# the biased mean where it does not.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for index, (label, marker, color) in enumerate(
    (
        ("biased mean", "s", "#999999"),
        ("debiased mean (DCL)", "o", "#E69F00"),
        ("BCL weighted mean", "^", "#0072B2"),
    )
):
    ax.errorbar(
        ALPHAS,
        means[:, index],
        2 * standard_errors[:, index],
        marker=marker,
        color=color,
        capsize=3,
        label=label,
    )
ax.set(
    yscale="log",
    xlabel="alpha (probability that a positive outscores a negative)",
    ylabel=f"mean squared error ({REPETITIONS} repetitions, ± 2 s.e.)",
)
ax.legend()
plt.show()
