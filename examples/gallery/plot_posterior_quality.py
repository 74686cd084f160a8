"""
How good is the posterior? A ranker and a probability
=====================================================

With each importance weight comes the posterior probability that a sample of the batch
is a true negative, P(TN). Labels, held back in training, tell how good it is: as a
*ranker*, by the AUC with which it finds the true negatives among an anchor's samples,
and as a *probability*, by how often samples of a given P(TN) are true negatives.
Samples are those that the loss sees: two random views of the rows of a batch, after
training (so that a network with batch normalization uses its running statistics).

By default this trains on the digits. With ``--model`` it reads a
model that ``examples/paper/train.py`` or ``defaults.py`` has saved for Fashion-MNIST.
"""

# %%
import argparse

import joblib
import matplotlib.pyplot as plt
import numpy as np
import torch
from paper.datasets import load
from scipy.stats import rankdata
from sklearn.datasets import load_digits

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.augmentations import FeatureCorruption, ImageAugmentation
from sklearn_bcl.bayes import alpha_from_auc, true_negative_posterior
from sklearn_bcl.plotting import PosteriorDisplay

N_BATCHES, BATCH_SIZE = 20, 256

parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
parser.add_argument("--model", help="model.joblib of train.py, for Fashion-MNIST")
arguments = parser.parse_args()

# %%
# Train without labels.
if arguments.model:
    name, data = "Fashion-MNIST", load("fashion-mnist", None)
    X, y = data.X_train[:, None], data.y_train
    embedder = joblib.load(arguments.model)
else:
    name, (X, y) = "digits", load_digits(return_X_y=True)
    embedder = BCLEmbedder(max_epochs=100, random_state=0).fit(X)
augment = ImageAugmentation() if arguments.model else FeatureCorruption()


# %%
# The ranks p of each anchor's samples in some batches, and which are true negatives.
def sample_ranks(batch, labels, generator):
    """Return p and the truth, both of shape (2n, 2n - 2)."""
    rows = torch.from_numpy(batch).float()
    views = torch.cat([augment(rows, generator) for _ in range(2)])
    n = len(batch)
    own_or_positive = np.tile(np.eye(n, dtype=bool), (2, 2))
    similarities = embedder.similarity(views)[~own_or_positive]
    similarities = similarities.reshape(2 * n, 2 * n - 2)
    labels = np.tile(labels, 2)
    is_true_negative = labels[:, None] != labels
    return (
        rankdata(similarities, axis=1) / (2 * n - 2),
        is_true_negative[~own_or_positive].reshape(2 * n, 2 * n - 2),
    )


order = np.random.RandomState(0).permutation(len(X))
generator = torch.Generator().manual_seed(0)
batches = [
    order[start : start + BATCH_SIZE]
    for start in range(0, len(X) - BATCH_SIZE + 1, BATCH_SIZE)
][:N_BATCHES]
ranks, truths = zip(
    *(sample_ranks(X[batch], y[batch], generator) for batch in batches), strict=True
)
p, is_true_negative = np.concatenate(ranks), np.concatenate(truths)

# %%
# As a ranker, the posterior is as good as the encoder: it falls with the rank,
# whatever the priors. As a probability it depends on them, so it is looked at with
# those of the fit, and with the measured ones: the share of false negatives, and the
# alpha that belongs to the AUC, both of these same samples. The model knows no AUC
# above 5/6: a better encoder has the largest alpha, and is still underestimated.
figure, axes = plt.subplots(2, 2, figsize=(9, 8), layout="constrained")
share = 1 - is_true_negative.mean()


def show(name, alpha, tau_plus, ax):
    posterior = true_negative_posterior(p, alpha=alpha, tau_plus=tau_plus)
    display = PosteriorDisplay(posterior, is_true_negative).plot(ax)
    print(
        f"{name:18s} {alpha:6.3f} {tau_plus:9.3f} {display.calibration_error_:18.3f}"
        f" {display.brier_score_:12.4f}"
    )
    return display


print(f"{name}: {len(batches)} batches, share of false negatives {share:.3f}")
print("                    alpha  tau_plus  calibration error  Brier score")
print(f"no ranks, {1 - share:.2f} {share * (1 - share):51.4f}")
fitted = show("priors of the fit", embedder.alpha_, embedder.tau_plus_, axes[0])
alpha = float(alpha_from_auc(fitted.auc_))
show("measured priors", alpha, share, axes[1])
print(f"AUC as a detector of true negatives, mean over anchors: {fitted.auc_:.3f}")
figure.suptitle(f"{name}: above with the priors of the fit, below with measured ones")

# %%
# The ranks of both kinds beside what the model, with the priors of the fit, expects of
# them. The densities of the model rise in a straight line of the quantile, so it
# cannot follow an encoder that puts most false negatives at the very top: there, it
# gives them too good a chance of being true negatives. Nor does it know of false
# negatives at the bottom, of which the Fashion-MNIST model has some; hard negative
# mining (beta = 0.9) makes many of them.
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
bins, grid = np.linspace(0, 1, 41), np.linspace(0, 1, 400)
alpha, tau_plus = embedder.alpha_, embedder.tau_plus_
expected = true_negative_posterior(grid, alpha=alpha, tau_plus=tau_plus)
for kind, color, style, density in (
    (True, "#0072B2", "-", expected / (1 - tau_plus)),
    (False, "#D55E00", "--", (1 - expected) / tau_plus),
):
    label = f"{'true' if kind else 'false'} negatives"
    ax.hist(
        p[is_true_negative == kind],
        bins,
        density=True,
        histtype="stepfilled",
        alpha=0.3,
        color=color,
        label=label,
    )
    ax.plot(grid, density, style, color=color, label=f"{label}, model")
ax.set(xlabel="rank of the similarity / N", ylabel="density", title=name)
ax.legend()
plt.show()
