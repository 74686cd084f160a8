"""Batch normalization over the rows of all processes, on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from sklearn_bcl._processes import Share


@contextmanager
def synchronized(module: nn.Module, share: Share) -> Iterator[None]:
    """Let batch normalization use the rows of all processes within a block.

    :class:`torch.nn.SyncBatchNorm` does so on GPUs only. Afterwards, the modules are
    unchanged. Raises ``ValueError`` for a module with its own normalization.
    """
    norms: list[Any] = [
        part
        for part in module.modules()
        if isinstance(part, _BatchNorm) and not isinstance(part, nn.SyncBatchNorm)
    ]
    if share.size == 1:
        norms = []
    for norm in norms:
        if type(norm).forward is not _BatchNorm.forward:
            raise ValueError(
                f"'encoder' has a {type(norm).__name__}, whose forward is not that of "
                "torch's batch normalization. In a block of all_processes(), use "
                "torch.nn.BatchNorm1d, 2d or 3d."
            )
    for norm in norms:
        norm.forward = partial(_forward, norm, share)
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: Any, share: Share, x: Tensor) -> Tensor:
    """Normalize by the mean and the variance over the rows of all processes."""
    norm._check_input_dim(x)
    is_measured = norm.training or norm.running_mean is None
    if not is_measured:
        return F.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
        )
    dims = [0, *range(2, x.ndim)]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    exact = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    n_own = exact.new_full((1,), x.numel() / max(1, x.shape[1]))
    total = share.sum(torch.cat([exact.sum(dims), n_own]))
    n_values = total[-1].detach()
    mean = total[:-1] / n_values
    centered = exact - mean.view(shape)
    variance = share.sum(centered.square().sum(dims)) / n_values
    if norm.training and norm.track_running_stats:
        _update(norm, mean.detach(), variance.detach() * n_values / (n_values - 1))
    result = centered / (variance + norm.eps).sqrt().view(shape)
    if norm.affine:
        result = result * norm.weight.view(shape) + norm.bias.view(shape)
    return result.to(x.dtype)


def _update(norm: Any, mean: Tensor, variance: Tensor) -> None:
    norm.num_batches_tracked.add_(1)
    momentum = norm.momentum
    if momentum is None:  # the mean over all batches
        momentum = 1.0 / norm.num_batches_tracked
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), momentum)
