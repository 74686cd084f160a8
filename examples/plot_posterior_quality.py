"""
How good is the posterior? A ranker and a probability
=====================================================

With each importance weight comes the posterior probability that a sample of the batch
is a true negative, P(TN). Labels, held back in training, tell how good it is: as a
*ranker*, by the AUC with which it finds the true negatives among an anchor's samples,
and as a *probability*, by how often samples of a given P(TN) are true negatives.
Samples are those that the loss sees: two random views of the rows of a batch, after
training (so that a network with batch normalisation uses its running statistics).

By default this trains on the digits, in half a minute. With ``--model`` it reads a
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
from sklearn.metrics import brier_score_loss

from sklearn_bcl import BCLEmbedder
from sklearn_bcl.bayes import alpha_from_auc, true_negative_posterior
from sklearn_bcl.losses import BCLLoss

N_BATCHES, BATCH_SIZE, N_BINS = 20, 256, 15

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
    embedder = BCLEmbedder(random_state=0).fit(X)
net, loss = embedder.net_, embedder.net_.criterion_
if not isinstance(loss, BCLLoss):
    raise SystemExit(f"The posterior needs a model with loss='bcl', not {loss}.")


# %%
# The ranks p of each anchor's samples in some batches, and which are true negatives.
def sample_ranks(batch, labels, generator):
    """Return p and the truth, both of shape (2n, 2n - 2)."""
    batch = torch.from_numpy(batch).to(net.device, torch.float32)
    batch = batch / 255 if arguments.model else batch
    with torch.no_grad():
        z = torch.cat(net.project_views(batch, generator)).cpu().numpy()
    n = len(batch)
    own_or_positive = np.tile(np.eye(n, dtype=bool), (2, 2))
    similarities = (z @ z.T)[~own_or_positive].reshape(2 * n, 2 * n - 2)
    labels = np.tile(labels, 2)
    is_true_negative = labels[:, None] != labels
    return (
        rankdata(similarities, axis=1) / (2 * n - 2),
        is_true_negative[~own_or_positive].reshape(2 * n, 2 * n - 2),
    )


order = np.random.RandomState(0).permutation(len(X))
generator = torch.Generator(net.device).manual_seed(0)
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
n_true = is_true_negative.sum(axis=1)
n_false = p.shape[1] - n_true
# The Mann-Whitney statistic: how many true negatives each false one outranks.
wins = (p * p.shape[1] * ~is_true_negative).sum(axis=1) - n_false * (n_false + 1) / 2
both = (n_true > 0) & (n_false > 0)
auc = (wins[both] / (n_true * n_false)[both]).mean()
share = 1 - is_true_negative.mean()
settings = {
    "priors of the fit": (loss.alpha, loss.tau_plus),
    "measured priors": (float(alpha_from_auc(auc)), share),
}


def reliability(posterior):
    """Mean P(TN) and share of true negatives in bins of as many samples each."""
    order = posterior.ravel().argsort(kind="stable")
    return [
        np.array(
            [part.mean() for part in np.array_split(values.ravel()[order], N_BINS)]
        )
        for values in (posterior, is_true_negative)
    ]


print(f"{name}: {len(batches)} batches, share of false negatives {share:.3f}")
print(f"AUC as a detector of true negatives, mean over anchors: {auc:.3f}\n")
print("                    alpha  tau_plus  calibration error  Brier score")
truth = is_true_negative.ravel()
prior_score = brier_score_loss(truth, np.full(truth.shape, 1 - share))
print(
    f"no ranks, {1 - share:.2f}                                       {prior_score:.4f}"
)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
right.plot([0, 1], [0, 1], ":", color="black", label="calibrated")
for (label, (alpha, tau_plus)), color, marker in zip(
    settings.items(), ("#0072B2", "#D55E00"), "o^", strict=True
):
    posterior = true_negative_posterior(p, alpha=alpha, tau_plus=tau_plus)
    predicted, observed = reliability(posterior)
    error = np.abs(predicted - observed).mean()
    brier = brier_score_loss(truth, posterior.ravel())
    print(f"{label:18s} {alpha:6.3f} {tau_plus:9.3f} {error:18.3f} {brier:12.4f}")
    right.plot(predicted, observed, marker=marker, color=color, label=label)

# %%
# The ranks of both kinds beside what the model, with the priors of the fit, expects of
# them, and the reliability diagram: above the dotted line, P(TN) is too low, below it,
# too high. The densities of the model rise in a straight line of the quantile, so it
# cannot follow an encoder that puts most false negatives at the very top: there, it
# gives them too good a chance of being true negatives. Nor does it know of false
# negatives at the bottom, of which the Fashion-MNIST model has some; hard negative
# mining (beta = 0.9) makes many of them.
bins, grid = np.linspace(0, 1, 41), np.linspace(0, 1, 400)
alpha, tau_plus = settings["priors of the fit"]
expected = true_negative_posterior(grid, alpha=alpha, tau_plus=tau_plus)
for kind, color, density in (
    (True, "#0072B2", expected / (1 - tau_plus)),
    (False, "#D55E00", (1 - expected) / tau_plus),
):
    label = f"{'true' if kind else 'false'} negatives"
    left.hist(
        p[is_true_negative == kind],
        bins,
        density=True,
        histtype="stepfilled",
        alpha=0.3,
        color=color,
        label=label,
    )
    left.plot(
        grid, density, "-" if kind else "--", color=color, label=f"{label}, model"
    )
left.set(xlabel="rank of the similarity / N", ylabel="density", title=name)
left.legend()
right.set(
    xlabel="posterior P(TN)",
    ylabel="share of true negatives",
    title="Reliability, bins of as many samples",
)
right.legend()
plt.show()
