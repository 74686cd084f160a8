"""The state of one training: its draws, and its exchange with other processes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator

from sklearn_bcl._data.rows import Rows
from sklearn_bcl._interrupts import Interrupts
from sklearn_bcl._processes import Share
from sklearn_bcl._random import Draws

NEXT_EPOCH = "is between two epochs"  # in words, for messages


class EndedElsewhere(KeyboardInterrupt):
    """A callback of another process has ended the training of all."""


@dataclass
class Run:
    """State of one call of `ContrastiveNet.fit_rows`.

    The net drops it after the call: generators cannot be pickled, and data should not
    be.

    Parameters
    ----------
    seed : int
        Seed of all draws.
    device : torch.device
    validation_rows : Rows or None
    loss_takes_labels : bool
    draws_globally : dict
        Which parts, "encoder", "views" and "loss", draw from torch's generators.
    interrupts : Interrupts
    share : Share
    """

    seed: int
    device: torch.device
    validation_rows: Rows | None
    loss_takes_labels: bool
    draws_globally: dict[str, bool]
    interrupts: Interrupts
    share: Share
    whole_epoch: dict[str, Any] | None = None  # weights after the last one

    def __post_init__(self) -> None:
        self.order = Generator().manual_seed(self.seed)
        self.draws = Draws(self.seed, self.device)
        self._validation_draws = Draws(self.seed, self.device)
        self._own_draws: Draws | None = None

    def begin_epoch(self, number: int) -> None:
        """Prepare the draws of an epoch, unless another process has ended it."""
        if not all(self.share.exchange(NEXT_EPOCH, True)):
            raise EndedElsewhere
        self.share.begin_epoch()
        self._draw_own(number)

    def begin_validation(self) -> None:
        """Reset the draws, so that all epochs validate on the same views."""
        self._validation_draws = Draws(self.seed, self.device)
        self._draw_own(0)

    def _draw_own(self, number: int) -> None:
        if self.share.size > 1:
            words = f"{self.seed} {self.share.rank} {number}"
            self._own_draws = Draws(zlib.crc32(words.encode()), self.device)

    def end(self) -> None:
        """Tell the other processes not to begin another epoch."""
        self.share.exchange(NEXT_EPOCH, False)

    def shared_draws(self, training: bool) -> Draws:
        """Return the draws of a step that are the same in all processes."""
        return self.draws if training else self._validation_draws

    def own_draws(self, training: bool) -> Draws:
        """Return the draws of a step for the rows of this process only."""
        return self._own_draws or self.shared_draws(training)
