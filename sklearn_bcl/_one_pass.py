r"""Loss and gradient of a batch in one pass over blocks of anchors, on a CPU.

The gradient has a closed form. Let :math:`S_a = P_a / (P_a + N_a)` be the share of
anchor a. Under the power mean with robustness q, anchor a has the weight
:math:`g_a = S_a^q / \sum_b S_b^q`. The importance weights :math:`\omega` are constant
between changes of ranks, so

.. math:: \frac{dL}{ds_a^+} = -\frac{g_a (1 - S_a)}{t}, \qquad
    \frac{dL}{ds_{ai}} = \frac{g_a \omega_{ai} E_{ai}}{(P_a + N_a) \, t}.

With these values in a matrix G, with one row for each anchor, the gradient of the unit
rows z is :math:`(G + G^T) z`. No matrix of all similarities is kept in memory, while
autograd would keep several.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from sklearn_bcl._processes import Share
from sklearn_bcl._ranks import BELOW_ALL, Workspace, ascending
from sklearn_bcl._unit_rows import UnitRows

LEAST_TEMPERATURE = 0.03  # from here on, sums of e^(1 / t) are far from overflow
BLOCK_VALUES = 2**17  # similarities in a block
ONE_BLOCK = 512  # anchors up to which all are one block
WORKSPACE = Workspace()


def can_take_one_pass(z: Tensor, temperature: float) -> bool:
    """Return whether :func:`one_pass` applies to unit rows."""
    is_plain = z.device.type == "cpu" and z.dtype == torch.float32
    return is_plain and temperature >= LEAST_TEMPERATURE


def one_pass(
    z: Tensor,
    temperature: float,
    weights_by_rank: Tensor | None = None,
    robustness: float = 0.0,
    needs_gradient: bool = True,
    anchors: Sequence[slice] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return the loss of each anchor, and the gradient of their weighted sum.

    Parameters
    ----------
    z : Tensor of float32, shape (2n, d)
        Unit rows of the first views, then of the second views.
    temperature : float
        At least 0.03.
    weights_by_rank : Tensor of shape (2n,), default=None
        Weights of the similarities of an anchor in ascending order, after two zeros for
        the anchor itself and its positive. None means equal weights.
    robustness : float in [0, 1], default=0.0
        Exponent of the power mean of the shares.
    needs_gradient : bool, default=True
        Whether to compute the gradient.
    anchors : sequence of slices, default=None
        Rows that are anchors. None means all rows.

    Returns
    -------
    losses : Tensor of shape (n_anchors,)
    gradient : Tensor of shape (2n, d) or None
        Gradient of the mean of the losses, times `total_weight`.
    total_weight : Tensor
        Sum of the weights of the anchors in this mean: a scalar.
    """
    n_columns = len(z)
    columns = torch.arange(n_columns).unsqueeze(1)
    partner = columns.roll(n_columns // 2, dims=0)
    excluded = torch.cat([columns, partner], dim=1)
    scale = 1 / (temperature * math.log(2))  # 2^x is faster than e^x
    ratios, influence = z.new_empty(n_columns), z.new_zeros(n_columns)
    gradient = torch.zeros_like(z) if needs_gradient else None
    n_rows = max(1, BLOCK_VALUES // n_columns)
    if n_columns <= ONE_BLOCK:
        n_rows = n_columns
    buffers, all_keys, all_orders = WORKSPACE.of(n_rows, n_columns)
    parts = anchors or [slice(0, n_columns)]
    for block in (block for part in parts for block in blocks_of(part, n_rows)):
        of_block = z[block]
        g, weights = buffers[:, : len(of_block)]
        torch.mm(of_block, z.T, out=g)
        positive = g.gather(1, partner[block]).squeeze(1).mul_(scale).exp2_()
        if weights_by_rank is None:
            g.mul_(scale).exp2_().scatter_(1, excluded[block], 0.0)
        else:
            keys, order = all_keys[: len(of_block)], all_orders[: len(of_block)]
            g.scatter_(1, excluded[block], BELOW_ALL)
            order = ascending(g, weights, keys, order)
            weights.scatter_(1, order, weights_by_rank.expand_as(order))
            g.mul_(scale).exp2_().mul_(weights)
        ratios[block] = ratio = g.sum(dim=1).div_(positive)
        if gradient is None:
            continue
        share = 1 / (1 + ratio)
        influence[block] = power = share**robustness
        g.mul_((power * share / (positive * temperature)).unsqueeze(1))
        of_positive = -power * ratio * share / temperature  # 1 - share, exactly
        g.scatter_(1, partner[block], of_positive.unsqueeze(1))
        if len(of_block) == n_columns:
            gradient = weights.copy_(g.T).add_(g) @ z  # reads of columns are slow
        else:
            gradient[block].addmm_(g, z)
            gradient.addmm_(g.T, of_block)
    ratios = torch.cat([ratios[part] for part in parts])
    return ratios.log1p_(), gradient, influence.sum()


def blocks_of(rows: slice, size: int) -> Iterator[slice]:
    """Yield parts of a slice."""
    for start in range(rows.start, rows.stop, size):
        yield slice(start, min(start + size, rows.stop))


class WithGradient(torch.autograd.Function):
    """The loss of rows of any length, whose gradient is computed with it.

    A second derivative goes through the loss's own graph.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, loss: Any, share: Share) -> Tensor:
        # Under autocast some products would fall back to half precision.
        with torch.autocast(z.device.type, enabled=False):
            value: Tensor
            unit = UnitRows(z)
            value, of_rows = loss.value_and_gradient(
                unit.rows, share, needs_gradient=ctx.needs_input_grad[0]
            )
            gradient = None if of_rows is None else unit.gradient(of_rows)
        ctx.loss, ctx.share = loss, share
        ctx.save_for_backward(z, gradient)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        z, gradient = ctx.saved_tensors
        if torch.is_grad_enabled():  # it is to be differentiated again
            value = ctx.loss.of_unit_rows(UnitRows(z).rows, ctx.share)
            (gradient,) = torch.autograd.grad(value, z, create_graph=True)
        return grad_outputs[0] * gradient, None, None
