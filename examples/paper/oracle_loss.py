"""The loss of who knows the false negatives: what debiasing could gain at best."""

import torch
from torch import Tensor
from torch.nn import functional as F

from sklearn_bcl.losses import ContrastiveLoss


class OracleLoss(ContrastiveLoss):
    """NT-Xent over the true negatives, scaled to the number of unlabeled samples.

    An embedder passes the labels of the batch, because `forward` has an argument `y`.
    All rows must be labeled.
    """

    def forward(self, z1: Tensor, z2: Tensor, y: Tensor) -> Tensor:
        positive, unlabeled = self.similarities(self.unit_rows(z1, z2))
        labels = y.repeat(2)
        same = labels[:, None] == labels  # the anchor and its positive, too
        known = (~same).any(dim=1)  # anchors with a true negative
        weight = (len(labels) - 2) / (~same[known]).sum(dim=1)
        negatives = unlabeled.masked_fill(same, -torch.inf)[known].logsumexp(dim=1)
        losses = F.softplus(negatives + weight.log() - positive[known])
        return self.mean_of_losses(losses)
