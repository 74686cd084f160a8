"""The skorch net behind the estimator: two views, one loss, tensor batches."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm  # a dependency of skorch

from sklearn_bcl._random import isolated_rng
from sklearn_bcl._rows import RowBatches, Rows
from sklearn_bcl.encoders import ConvNetEncoder
from sklearn_bcl.losses import ntxent_loss

Augmentation = Callable[[Tensor, Generator], Tensor]

MOST_HIDDEN_UNITS = 512  # of the head, as in the paper
SCORE_BATCH_ROWS = 256
TRANSFORM_BATCH_ROWS = 1024
TRANSFORM_BATCH_VALUES = 2**22  # of large images, fewer at a time
# Matrix products of few rows use other kernels, whose results differ in the last
# bits. From this multiple on, a row's embedding is the same in any company.
ROW_MULTIPLE = 16


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device that a ``device`` parameter means, if it can be used."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
        torch.empty(1, device=resolved)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(
            f"'device' {str(device)!r} cannot be used on this machine. Use 'auto' or "
            f"'cpu', or install a torch that supports it. {error}"
        ) from error
    return resolved


class ProjectedEncoder(nn.Module):
    """An encoder under the projection head that only training uses.

    Parameters
    ----------
    encoder : nn.Module
    n_components : int
        Size of the encoder's output.
    projection_size : int
        Size of the projections that the loss compares.
    """

    def __init__(
        self, encoder: nn.Module, n_components: int, projection_size: int
    ) -> None:
        super().__init__()
        self.n_components = n_components
        self.encoder = encoder
        hidden_size = min(n_components, MOST_HIDDEN_UNITS)
        self.head = nn.Sequential(
            nn.Linear(n_components, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, projection_size),
        )

    def forward(self, x: Tensor) -> Tensor:
        encoder, forward = self.encoder, type(self.encoder).forward
        if isinstance(encoder, ConvNetEncoder) and forward is ConvNetEncoder.forward:
            # Trained through its square root, the embedding is worse.
            hidden = encoder.cells(x)
        else:
            hidden = encoder(x)
        return F.normalize(self.head(hidden), dim=1)


@dataclass
class Run:
    """What belongs to one call of `fit_rows`: its data, draws and end.

    Generators cannot be pickled and data should not be, so a net drops it after.
    """

    seed: int
    order: Generator
    views: Generator
    validation_views: Generator
    validation_rows: Rows | None
    epoch_is_complete: bool = True
    stopped_by_callback: bool = False
    interrupted: bool = False


class EpochProgress(Callback):
    """A progress bar over the epochs of a fit, with the latest losses.

    skorch's own bar counts the batches of one epoch, which on tables is too short to
    be seen.
    """

    def on_train_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        self.bar_ = tqdm(total=net.epochs_, unit="epoch", desc="BCLEmbedder")

    def on_epoch_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        losses = ("train_loss", "valid_loss")
        latest = {key: net.history[-1][key] for key in losses if key in net.history[-1]}
        self.bar_.set_postfix(latest, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        self.bar_.close()
        del self.bar_  # it cannot be pickled


class ContrastiveNet(NeuralNet):
    """A skorch net that trains a `ProjectedEncoder` on two views of each batch.

    Train it with :meth:`fit_rows`.

    Parameters
    ----------
    module : ProjectedEncoder
    augmentation : callable
        ``f(x, generator) -> x'``.
    **kwargs
        As in :class:`skorch.NeuralNet`.
    """

    device: str

    def __init__(
        self, module: ProjectedEncoder, *, augmentation: Augmentation, **kwargs: Any
    ) -> None:
        super().__init__(module, **kwargs)
        self.augmentation = augmentation

    @property
    def _default_callbacks(self) -> list[Any]:
        return []

    def fit_rows(
        self,
        rows: Rows,
        *,
        epochs: int,
        seed: int,
        validation_rows: Rows | None = None,
    ) -> bool:
        """Train for some epochs; return whether the user interrupted it.

        The draws depend on `seed` only, and the global generators are left as they
        were. An interrupted net keeps its weights and its whole epochs. Afterwards, the
        modules are in evaluation mode.
        """
        self.epochs_ = epochs
        self._run = Run(
            seed=seed,
            order=Generator().manual_seed(seed),
            views=Generator(rows.device).manual_seed(seed),
            validation_views=Generator(rows.device),
            validation_rows=validation_rows,
        )
        try:
            with isolated_rng(seed, rows.device):
                self.partial_fit(rows, epochs=epochs)
            if self.history and not self._run.epoch_is_complete:
                del self.history[-1]
            return self._run.interrupted
        finally:
            self._set_training(False)
            del self._run

    def get_split_datasets(
        self, X: Rows, y: Any = None, **kwargs: Any
    ) -> tuple[Rows, Rows | None]:
        return X, self._run.validation_rows

    def get_iterator(self, dataset: Rows, training: bool = False) -> RowBatches:
        order = self._run.order if training else None
        return RowBatches(dataset, self.batch_size, order)

    def fit_loop(self, *args: Any, **kwargs: Any) -> ContrastiveNet:
        # skorch ends training on every KeyboardInterrupt, and its callbacks raise
        # one to stop early. The user's has to be told from theirs: it comes from
        # anywhere but a callback, save by a rare chance.
        try:
            super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            self._run.interrupted = not self._run.stopped_by_callback
        return self

    def on_epoch_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        super().on_epoch_begin(net, **kwargs)
        self._run.epoch_is_complete = False

    def on_epoch_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        super().on_epoch_end(net, **kwargs)
        self._run.epoch_is_complete = True

    def notify(self, method_name: str, **kwargs: Any) -> None:
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt:
            self._run.stopped_by_callback = True
            raise

    def run_single_epoch(
        self,
        iterator: RowBatches | None,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Any]],
        **fit_params: Any,
    ) -> None:
        """Run an epoch as skorch does, but wait for the device only at its end."""
        if iterator is None:
            return
        if not training:  # the same views in every epoch, so that losses compare
            self._run.validation_views.manual_seed(self._run.seed)
        losses, sizes = [], []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses.append(step["loss"].detach())
            sizes.append(len(batch))
            self.history.record_batch(f"{prefix}_batch_size", sizes[-1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        loss = float(np.average(torch.stack(losses).tolist(), weights=sizes))
        self.history.record(f"{prefix}_batch_count", len(sizes))
        self.history.record(f"{prefix}_loss", loss)
        losses_before = [epoch[f"{prefix}_loss"] for epoch in self.history[:-1]]
        self.history.record(
            f"{prefix}_loss_best", loss < min(losses_before, default=np.inf)
        )
        if not np.isfinite(loss):
            raise ValueError(
                f"The {prefix} loss is {loss} in epoch {len(self.history)}: training "
                f"diverged. Lower 'learning_rate' (now {self.lr!r}), raise "
                "'temperature', or check that 'augmentation' and 'encoder' return "
                "finite values."
            )

    def train_step_single(self, batch: Tensor, **fit_params: Any) -> dict[str, Any]:
        self._set_training(True)
        loss = self.two_view_loss(batch, self._run.views)
        loss.backward()
        return {"loss": loss, "y_pred": None}

    def validation_step(self, batch: Tensor, **fit_params: Any) -> dict[str, Any]:
        self._set_training(False)
        with torch.no_grad():
            loss = self.two_view_loss(batch, self._run.validation_views)
        return {"loss": loss, "y_pred": None}

    def project_views(
        self, batch: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Project two augmented views of a batch, each to ``(n, projection_size)``."""
        views = [self.augmentation(batch, generator) for _ in range(2)]
        z1, z2 = self.module_(torch.cat(views)).chunk(2)
        return z1, z2

    def two_view_loss(self, batch: Tensor, generator: Generator) -> Tensor:
        loss: Tensor = self.criterion_(*self.project_views(batch, generator))
        return loss

    def ntxent(self, rows: Rows, temperature: float) -> float:
        """Mean NT-Xent loss of the rows, with fixed batches and fixed views."""
        order = torch.randperm(len(rows), generator=Generator().manual_seed(0))
        order = order.to(rows.indices.device)
        views = Generator(self.device).manual_seed(0)
        total = 0.0
        with isolated_rng(0, rows.device), torch.no_grad():
            # Batches of nearly the same size: the loss grows with a batch's size.
            for positions in order.tensor_split(-(-len(rows) // SCORE_BATCH_ROWS)):
                z1, z2 = self.project_views(rows[positions], views)
                loss = ntxent_loss(z1, z2, temperature=temperature)
                total += loss.item() * len(positions)
        return total / len(rows)

    def embed(self, rows: Rows, *, project: bool = False) -> NDArray[np.float32]:
        """Embed the rows as they are, without or with the head, in bounded memory."""
        module = self.module_ if project else self.module_.encoder
        self._set_training(False)
        parts = []
        with torch.no_grad():
            most = TRANSFORM_BATCH_VALUES // rows[:1].numel() // ROW_MULTIPLE
            size = min(TRANSFORM_BATCH_ROWS, max(1, most) * ROW_MULTIPLE)
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                padding = batch.new_zeros(-len(batch) % ROW_MULTIPLE, *batch.shape[1:])
                embedding = module(torch.cat([batch, padding]))
                parts.append(embedding[: len(batch)].float().cpu())
        return torch.cat(parts).numpy()

    def continue_from(self, other: ContrastiveNet, *, with_optimizer: bool) -> None:
        """Take the weights and, if asked and possible, the optimiser's state."""
        try:
            self.module_.load_state_dict(other.module_.state_dict())
            if type(self.criterion_) is type(other.criterion_):
                self.criterion_.load_state_dict(other.criterion_.state_dict())
        except RuntimeError as error:
            raise ValueError(
                "A warm start and partial_fit need the network of the last fit, but a "
                "parameter that shapes it has changed ('n_components', 'encoder', "
                "'hidden_layer_sizes', 'projection_size' or 'loss'). Set it back, or "
                f"use fit with warm_start=False. {error}"
            ) from error
        if with_optimizer and type(self.optimizer_) is type(other.optimizer_):
            # The state of the other, under the hyper-parameters of this one.
            state = copy.deepcopy(other.optimizer_.state_dict()["state"])
            self.optimizer_.load_state_dict(
                {**self.optimizer_.state_dict(), "state": state}
            )

    def to(self, device: torch.device) -> ContrastiveNet:
        """Move weights and optimiser state, so that the net lives on `device`."""
        if torch.device(self.device) != device:
            self.module_.to(device)
            self.criterion_.to(device)
            # Loading moves an optimiser's state to where its parameters are now.
            self.optimizer_.load_state_dict(self.optimizer_.state_dict())
            self.device = str(device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # On the CPU, so that a net trained on a GPU loads anywhere. skorch's own state
        # goes through torch.load, whose defaults have changed between versions.
        if self.device == "cpu":
            return self.__dict__.copy()
        on_cpu = self.__class__.__new__(self.__class__)
        on_cpu.__dict__.update(copy.deepcopy(self.__dict__))
        return on_cpu.to(torch.device("cpu")).__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
