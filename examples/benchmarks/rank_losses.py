"""Losses of the search that weigh samples by their ranks, as BCL does.

Some know the labels of a batch, from `oracle.BATCH`: oracles, which tell how much other
weights could gain.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl.bayes import importance_weights, true_negative_posterior

sys.path.append(str(Path(__file__).parents[1] / "paper"))
import oracle

CLEAN: dict[str, Tensor] = {}


class CleanRows(Callback):
    """Project the rows of each batch as they are, for the loss to rank by."""

    def on_batch_begin(self, net, batch, training, **kwargs):
        with torch.no_grad():
            CLEAN["z"] = net.module_(batch)


class RankedLoss(nn.Module):
    """NT-Xent whose unlabelled samples are weighed by their ranks.

    Parameters
    ----------
    rows : bool or "clean"
        Whether to rank by the similarity of the sums of both views, which should say
        more of two rows' classes than that of single views, or of the projections of
        rows as they are, which needs the callback :class:`CleanRows`.
    subtracted : float in [0, 1]
        Share of the class prior whose mass, taken from the positive, is subtracted
        from that of the samples, as the debiased loss does with all of it.
    trusted : float in (0, 1] or None
        Prior probability that a positive shares the anchor's class after corruption.
        Anchors are weighed by its posterior, given the rank that the positive would
        have among the samples, at the default alpha. None weighs all alike.
    tau_plus, temperature : float
    """

    def __init__(
        self, rows=False, subtracted=0.0, trusted=None, tau_plus=0.1, temperature=0.5
    ):
        super().__init__()
        self.rows = rows
        self.trusted = trusted
        self.subtracted = subtracted
        self.tau_plus = tau_plus
        self.temperature = temperature

    def log_weights(self, z1: Tensor, z2: Tensor, places: Tensor) -> Tensor:
        """Return the log-weights of samples, whose places ascend in similarity."""
        raise NotImplementedError

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        z = torch.cat([z1, z2])
        positive = (z1 * z2).sum(dim=1).repeat(2) / self.temperature
        own = torch.eye(len(z), dtype=torch.bool)
        own |= own.roll(len(z1), 0)
        scores = (z @ z.T / self.temperature).masked_fill(own, -torch.inf)
        ranked = scores.detach()
        if self.rows:
            both = (z1 + z2).detach()
            if self.rows == "clean" and len(CLEAN.get("z", ())) == len(both):
                both = CLEAN["z"]  # the embedder first tries two rows, without it
            both = F.normalize(both, dim=1).repeat(2, 1)
            ranked = (both @ both.T).masked_fill(own, -torch.inf)
        # Without the anchor's own views; both views of another row may be tied.
        places = ranked.argsort(dim=1, stable=True)[:, 2:]
        log_weights = self.log_weights(z1.detach(), z2.detach(), places)
        log_weights = torch.zeros_like(scores).scatter(
            1, places, log_weights.to(scores).expand_as(places)
        )
        negatives = (scores + log_weights).logsumexp(dim=1)
        prior = self.subtracted * self.tau_plus
        if prior > 0:
            n_unlabelled = places.shape[1]
            mass = negatives.exp() - prior * n_unlabelled * positive.exp()
            floor = n_unlabelled * np.exp(-1 / self.temperature)
            negatives = (mass / (1 - prior)).clamp(min=floor).log()
        losses = F.softplus(negatives - positive)
        if self.trusted is not None:
            p = (scores < positive[:, None]).sum(dim=1) - 2  # not its own views
            p = p.clamp(min=0).numpy() / places.shape[1]
            true_negative = true_negative_posterior(
                p, alpha=0.9, tau_plus=self.tau_plus
            )
            ratio = (1 - true_negative) / self.tau_plus
            ratio *= (1 - self.tau_plus) / true_negative
            trust = self.trusted * ratio
            trust = torch.from_numpy(trust / (trust + 1 - self.trusted))
            losses = losses * (trust / trust.mean()).to(losses)
        return losses.mean()


def by_place(places: Tensor, shift: float = 0.0) -> np.ndarray:
    """Return (rank - shift) / N of the places of an anchor's samples."""
    n_unlabelled = places.shape[1]
    return (np.arange(1, n_unlabelled + 1) - shift) / n_unlabelled


class DrawsLoss(RankedLoss):
    """BCL's loss, debiasing only, with more draws or better ranks.

    Parameters
    ----------
    m : int
        Number of draws. The score of a true negative is the least of them with
        probability `alpha`, else the greatest, and that of a false negative the other
        way round. The paper has two; with more, false negatives crowd at the top of the
        ranks, as they do in trained embeddings.
    alpha : float
    mid_ranks : bool
        Whether weights are those at (rank - 1/2) / N, which have mean 1, instead of
        rank / N.
    **settings
        Those of :class:`RankedLoss`.
    """

    def __init__(self, m=2, alpha=0.9, mid_ranks=False, **settings):
        super().__init__(**settings)
        self.m = m
        self.alpha = alpha
        self.mid_ranks = mid_ranks

    def weights(self, p: np.ndarray) -> np.ndarray:
        m, alpha, tau_plus = self.m, self.alpha, self.tau_plus
        least_share = (1 - tau_plus) * alpha + tau_plus * (1 - alpha)
        u = np.linspace(0, 1, 100_001)
        cdf = least_share * (1 - (1 - u) ** m) + (1 - least_share) * u**m
        u = np.interp(p, cdf, u)
        least, greatest = m * (1 - u) ** (m - 1), m * u ** (m - 1)
        unlabelled = least_share * least + (1 - least_share) * greatest
        return (alpha * least + (1 - alpha) * greatest) / unlabelled

    def log_weights(self, z1: Tensor, z2: Tensor, places: Tensor) -> Tensor:
        p = by_place(places, 0.5 if self.mid_ranks else 0.0)
        return torch.from_numpy(np.log(self.weights(p)))


class SharesLoss(RankedLoss):
    """BCL's loss, debiasing only, with a class prior for each anchor.

    The prior is the share of the batch that is in the anchor's cluster of k-means on
    the sums of both views, or in its class, at most 0.9. The anchor itself counts.

    Parameters
    ----------
    n_clusters : int or None
        None means the classes, known from all labels.
    alpha : float
    """

    def __init__(self, n_clusters=None, alpha=0.9):
        super().__init__()
        self.n_clusters = n_clusters
        self.alpha = alpha

    def shares(self, z1: Tensor, z2: Tensor) -> Tensor:
        if self.n_clusters is None:
            groups = oracle.BATCH["labels"]
        else:
            rows = F.normalize(z1 + z2, dim=1).numpy()
            k_means = KMeans(min(self.n_clusters, len(rows)), n_init=1, random_state=0)
            groups = torch.from_numpy(k_means.fit_predict(rows))
        return (groups[:, None] == groups).float().mean(dim=1)

    def log_weights(self, z1: Tensor, z2: Tensor, places: Tensor) -> Tensor:
        shares = self.shares(z1, z2).clamp(max=0.9).tolist()
        p = by_place(places)
        weights = {
            share: importance_weights(p, alpha=self.alpha, beta=0.5, tau_plus=share)
            for share in set(shares)
        }
        log_weights = np.log([weights[share] for share in shares])
        return torch.from_numpy(log_weights).repeat(2, 1)


class RankOracleLoss(RankedLoss):
    """NT-Xent weighted by the true posterior P(true negative | rank).

    The posterior is measured on the labels of the batches, as a moving average over
    them, smoothed over nine ranks. It is what BCL's posterior would be if its priors
    and its model of the ranks were right; other weights may still train better.
    """

    def __init__(self, momentum: float = 0.95, **settings: Any) -> None:
        super().__init__(**settings)
        self.momentum = momentum
        self.posterior: Tensor | None = None  # by rank, of the most ranks so far

    def measure(self, different: Tensor) -> Tensor:
        """Return the posterior by rank, after a batch whose samples are sorted."""
        measured = different.float().mean(dim=0)
        n_ranks, old = len(measured), self.posterior
        if old is not None:
            old = F.interpolate(old[None, None], n_ranks, mode="linear")[0, 0]
            measured = self.momentum * old + (1 - self.momentum) * measured
        if self.posterior is None or n_ranks >= len(self.posterior):
            self.posterior = measured
        padded = F.pad(measured[None, None], (4, 4), mode="replicate")
        return F.avg_pool1d(padded, 9, stride=1)[0, 0].clamp(min=1e-3)

    def log_weights(self, z1: Tensor, z2: Tensor, places: Tensor) -> Tensor:
        labels = oracle.BATCH["labels"].repeat(2)
        posterior = self.measure(labels[:, None] != labels[places])
        return (posterior / posterior.mean()).log()


class NearOracleLoss(RankedLoss):
    """NT-Xent without the false negatives among the most similar samples.

    Parameters
    ----------
    share : float in (0, 1]
        Of an anchor's samples, from the most similar on, of which false negatives are
        known.
    """

    def __init__(self, share: float = 0.1) -> None:
        super().__init__()
        self.share = share

    def log_weights(self, z1: Tensor, z2: Tensor, places: Tensor) -> Tensor:
        labels = oracle.BATCH["labels"].repeat(2)
        false = labels[:, None] == labels[places]
        false[:, : round((1 - self.share) * places.shape[1])] = False
        kept = (~false).float()
        return (kept / kept.mean(dim=1, keepdim=True).clamp(min=1e-3)).log()
