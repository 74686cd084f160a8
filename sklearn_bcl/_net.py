"""The skorch net of the estimator: two views, one loss, tensor batches.

It overrides the methods that skorch's steps call, not the steps: `infer` draws and
projects two views, `get_loss` compares them, iterators yield batches ``(x, y)``.
"""

from __future__ import annotations

import copy
import inspect
import math
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._batch_norm import synchronized
from sklearn_bcl._data.rows import RowBatches, Rows
from sklearn_bcl._files import plain_history
from sklearn_bcl._hollow import hollow_net, plain_attributes
from sklearn_bcl._interrupts import Interrupts
from sklearn_bcl._processes import OtherProcessError, Share
from sklearn_bcl._random import Draws, draws_globally
from sklearn_bcl._run import EndedElsewhere, Run
from sklearn_bcl._sparse import SparseBatch
from sklearn_bcl.augmentations import identity_view
from sklearn_bcl.encoders import ProjectedEncoder, takes_sparse
from sklearn_bcl.losses import ContrastiveLoss, NTXentLoss

Augmentation = Callable[[Tensor, Generator], Tensor]
ViewPair = tuple[Augmentation, Augmentation]
Compared = tuple[Tensor, Tensor, Tensor]  # projections of two views, what heads read

SCORE_BATCH_ROWS = 256
TRANSFORM_BATCH_ROWS = 512
SPARSE_BATCH_ROWS = 4096  # which share a copy of the weights
TRANSFORM_BATCH_VALUES = 2**22  # of large images, fewer at a time
# Whose state for a weight is of its shape, if it is not a number.
SIMPLE_OPTIMIZERS = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)
# Matrix products of few rows use other kernels, whose results differ in the last
# bits. From this multiple on, a row's embedding is the same in any company.
ROW_MULTIPLE = 16
COLLAPSED = 1e-5  # spread of the embeddings, relative to their length


def labels_argument(loss: nn.Module) -> inspect.Parameter | None:
    """Return the argument ``y`` of a loss that is called as ``loss(z1, z2, y=y)``."""
    try:
        return inspect.signature(loss.forward).parameters.get("y")
    except (TypeError, ValueError):  # some compiled modules have no signature
        return None


def compares_shares(loss: nn.Module) -> bool:
    """Return whether a loss of this package compares the rows of several processes."""
    of_ours = ContrastiveLoss.forward
    return isinstance(loss, ContrastiveLoss) and type(loss).forward is of_ours


class AverageGradients(Callback):
    """Give all processes of a training the mean of their gradients."""

    def on_grad_computed(
        self, net: ContrastiveNet, named_parameters: Any, **kwargs: Any
    ) -> None:
        net.average_gradients([parameter for _, parameter in named_parameters])

    def on_epoch_begin(self, net: ContrastiveNet, **kwargs: Any) -> None:
        net.begin_epoch()


class ContrastiveNet(NeuralNet):
    """A skorch net that trains a `ProjectedEncoder` on two views of each batch.

    Train it with :meth:`fit_rows`.

    Parameters
    ----------
    module : ProjectedEncoder
    augmentation : tuple of two callables
        ``f(x, generator)`` of the first view and of the second view.
    bin_weight : float
        Weight of the loss of the module's `bins`, which is added to the criterion.
    keep_sparse : bool
        Whether batches of sparse rows stay sparse.
    **kwargs
        As in :class:`skorch.NeuralNet`.
    """

    device: str

    def __init__(
        self,
        module: ProjectedEncoder,
        *,
        augmentation: ViewPair,
        bin_weight: float,
        keep_sparse: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, **kwargs)
        self.augmentation = augmentation
        self.bin_weight = bin_weight
        self.keep_sparse = keep_sparse

    @property
    def _default_callbacks(self) -> list[Any]:
        return [("gradients", AverageGradients())]  # before others see them

    @property
    def seed(self) -> int:
        """Seed of the current training."""
        return self._run.seed

    @property
    def share(self) -> Share:
        """Share of each batch that belongs to this process."""
        return self._run.share

    def fit_rows(
        self,
        rows: Rows,
        validation_rows: Rows | None,
        *,
        seed: int,
        interrupts: Interrupts,
        share: Share,
    ) -> None:
        """Train for `max_epochs`, or until a callback or the user ends the training.

        The draws depend on `seed` only. A net whose training was ended keeps its
        complete epochs and the weights after the last of them. Without a complete
        epoch, the interrupt is raised. With other processes, the user's interrupt is
        always raised. Afterwards, the modules are in evaluation mode.
        """
        self._run = Run(
            seed=seed,
            device=rows.device,
            validation_rows=validation_rows,
            loss_takes_labels=labels_argument(self.criterion_) is not None,
            draws_globally={
                "encoder": draws_globally(self.module_.encoder),
                "loss": draws_globally(self.criterion_),
                "views": any(map(draws_globally, self.augmentation)),
            },
            interrupts=interrupts,
            share=share,
        )
        interrupts.hold()
        share.begin_training()
        try:
            with self._stored_for_sparse(), synchronized(self.module_, share):
                self.notify("on_train_begin", X=rows, y=None)
                self._loop(rows)
                self.notify("on_train_end", X=rows, y=None)
            self._check_result(rows)
            share.check_weights(self.module_, self.criterion_)
        except Exception as error:
            is_elsewhere = isinstance(error, OtherProcessError)
            if _comes_from_a_callback(error) and not is_elsewhere:
                error.add_note("It comes from one of the 'callbacks'.")
            raise
        finally:
            self._set_training(False)
            del self._run

    def _loop(self, rows: Rows) -> None:
        """Train; after an incomplete epoch, return to the end of the epoch before."""
        is_ended, ended_elsewhere, share = False, False, self._run.share
        try:
            self.fit_loop(rows, epochs=self.max_epochs - len(self.history))
        except EndedElsewhere:
            is_ended = ended_elsewhere = True
        except KeyboardInterrupt as error:
            is_ended = True
            if not _comes_from_a_callback(error):
                self._run.interrupts.came = True
            if share.size > 1 and self._run.interrupts.came:
                raise
            if share.size > 1 and self._is_within_an_epoch():
                raise ValueError(
                    "The 'callbacks' ended training in the middle of an epoch. In a "
                    "block of all_processes(), let them end it in on_epoch_end."
                ) from error
        if not ended_elsewhere:
            self._run.end()
        if self._is_within_an_epoch():
            del self.history[-1]
            self._restore(self._run.whole_epoch)
        if is_ended and not self.history:
            if not self._run.interrupts.came:
                raise share.agreed(
                    "The 'callbacks' ended training before the first epoch was "
                    "complete, so there is nothing to keep. Leave them out, or let "
                    "them end it in on_epoch_end."
                )
            raise KeyboardInterrupt

    def _is_within_an_epoch(self) -> bool:
        last_loss = "train_loss"
        if self._run.validation_rows is not None:
            last_loss = "valid_loss"
        return bool(self.history) and last_loss not in self.history[-1]

    @contextmanager
    def _stored_for_sparse(self) -> Iterator[None]:
        """Store weights that read sparse rows, and their moments, by column."""
        if not self.keep_sparse or self.optimizer not in SIMPLE_OPTIMIZERS:
            yield
            return
        try:
            self._store(by_columns=True)
            yield
        finally:
            self._store(by_columns=False)

    def _store(self, *, by_columns: bool) -> None:
        for layer in self.module_.encoder.first_layers:
            layer.store(by_columns=by_columns)
        self._store_moments()

    def _store_moments(self) -> None:
        """Store the optimizer's state of a weight in the memory order of the weight.

        Fused optimizers read both in the order of the memory.
        """
        for weight, state in self.optimizer_.state.items():
            for name, moment in state.items():
                if isinstance(moment, Tensor) and moment.shape == weight.shape:
                    state[name] = torch.empty_like(weight.data).copy_(moment)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Continue with the state of another optimizer."""
        self.optimizer_.load_state_dict(state)
        self._store_moments()

    def get_split_datasets(
        self, X: Rows, y: Any = None, **kwargs: Any
    ) -> tuple[Rows, Rows | None]:
        return X, self._run.validation_rows

    def get_iterator(self, dataset: Rows, training: bool = False) -> RowBatches:
        order = self._run.order if training else None
        rows = dataset.kept_sparse() if self.keep_sparse else dataset
        # Views and encoders of images need a row at least in each process.
        least = self.share.size if rows.format.layout is not None else 0
        return RowBatches(rows, self.batch_size, order, least)

    def infer(self, x: Tensor, **fit_params: Any) -> Compared:
        run, training = self._run, self.module_.training
        is_global, own = run.draws_globally, run.share.rows(len(x))
        draws, own_draws = run.shared_draws(training), run.own_draws(training)
        if x.ndim == 4 and run.share.size > 1:
            # Images cost more to augment than to compare: each process does its own.
            draws, x, own = own_draws, x[own], slice(None)
        with draws.lent(is_global["views"]), _named("augmentation"):
            views = self._views(x, draws.generator, own)
        with own_draws.lent(is_global["encoder"]), _named("encoder"):
            features = self.module_.read(views)
        z1, z2 = self.module_.head(features).chunk(2)
        return z1, z2, features

    def get_loss(
        self, y_pred: Compared, y_true: Any, X: Any = None, training: bool = False
    ) -> Tensor:
        z1, z2, features = y_pred
        labels = {"y": y_true} if self._run.loss_takes_labels else {}
        draws = self._run.shared_draws(self.module_.training)
        share, n_rows = self._run.share, len(X)
        of_share = share.size > 1 and compares_shares(self.criterion_)
        if share.size > 1 and not of_share:
            z1, z2 = share.gather(torch.stack([z1, z2], 1), n_rows).unbind(1)
        with draws.lent(self._run.draws_globally["loss"]), _named("loss"):
            loss: Tensor
            if of_share:
                loss = self.criterion_.of_share(z1, z2, share, n_rows)
            else:
                loss = self.criterion_(z1, z2, **labels)
        if self.module_.bins is not None:
            # Of one view, which is cheaper: the first in which values are redrawn.
            place = int(self.augmentation[0] is identity_view)
            of_view, rows = features.chunk(2)[place], X[share.rows(n_rows)]
            of_bins = self.module_.bins(of_view, rows, draws.generator, share)
            loss = loss + self.bin_weight * of_bins
        return loss

    def begin_epoch(self) -> None:
        """Keep the weights, unless another process has ended the training."""
        self._run.whole_epoch = copy.deepcopy(self._weights())
        self._run.begin_epoch(len(self.history))

    def average_gradients(self, parameters: list[Tensor]) -> None:
        """Replace the gradients of this process by the mean over all of them."""
        is_global = self._run.draws_globally
        may_change = is_global["encoder"] or is_global["loss"]
        self._run.share.average_gradients(parameters, may_change=may_change)

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
        run = self._run
        if not training:
            run.begin_validation()
        # In one tensor: many small ones would keep freed memory from being used again.
        dtype = torch.float32 if self.device == "mps" else torch.float64
        losses = torch.empty(len(iterator), dtype=dtype, device=self.device)
        sizes: list[int] = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            losses[len(sizes)] = step["loss"].detach()
            sizes.append(len(batch[0]))
            self.history.record_batch(f"{prefix}_batch_size", sizes[-1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
            if run.interrupts.came:
                raise KeyboardInterrupt
        of_batches = run.share.from_first(losses.tolist())
        loss = self._mean_loss(of_batches, sizes, prefix)
        self.history.record(f"{prefix}_batch_count", len(sizes))
        losses_before = [epoch[f"{prefix}_loss"] for epoch in self.history[:-1]]
        self.history.record(
            f"{prefix}_loss_best", loss < min(losses_before, default=np.inf)
        )
        self.history.record(f"{prefix}_loss", loss)

    def _mean_loss(self, losses: list[float], sizes: list[int], prefix: str) -> float:
        """Return the mean loss of the batches, each with the weight of its rows."""
        is_finite = np.isfinite(losses)
        if not is_finite.all():
            batch = int(np.argmin(is_finite))
            raise self.share.agreed(
                f"The {prefix} loss is {losses[batch]} in batch {batch + 1} of epoch "
                f"{len(self.history)}: training diverged. {self._remedy()}"
            )
        return float(np.average(losses, weights=sizes))

    def _remedy(self) -> str:
        """Return advice for a training that diverged."""
        return (
            f"Lower 'learning_rate' (now {self.lr!r}), raise 'temperature', or check "
            "that 'augmentation', 'encoder' and 'loss' return finite values."
        )

    def state_of_run(self) -> dict[str, Any]:
        """Return the state that determines the rest of a training, without its rows."""
        run = self._run
        return {
            **self._weights(),
            "attributes": [plain_attributes(part) for part in self._parts],
            "optimizer": self.optimizer_.state_dict(),
            "order": run.order.get_state(),
            "draws": run.draws.state(),
            "history": plain_history(self.history),
        }

    @property
    def _parts(self) -> list[Any]:
        """All parts that may have attributes that training changes."""
        modules = [*self.module_.modules(), *self.criterion_.modules()]
        return modules + list(self.augmentation)

    def resume(self, state: dict[str, Any]) -> None:
        """Replace the state at the begin of training by the state of a checkpoint."""
        run = self._run
        self._restore(state)
        for part, values in zip(self._parts, state["attributes"], strict=True):
            for name, value in values.items():
                if name != "training":
                    setattr(part, name, value)
        self.load_optimizer(state["optimizer"])
        if self.keep_sparse and self.optimizer in SIMPLE_OPTIMIZERS:
            self._store(by_columns=True)
        run.order.set_state(state["order"])
        run.draws.set_state(state["draws"])
        self.history[:] = state["history"]

    def lent(self) -> AbstractContextManager[None]:
        """Lend generators to an encoder that draws, outside of a step."""
        run = self._run
        draws = Draws(run.seed, torch.device(self.device))
        return draws.lent(run.draws_globally["encoder"])

    def _weights(self) -> dict[str, Any]:
        return {
            "module": self.module_.state_dict(),
            "criterion": self.criterion_.state_dict(),
        }

    def _restore(self, weights: dict[str, Any] | None) -> None:
        if weights is not None:
            self.module_.load_state_dict(weights["module"])
            self.criterion_.load_state_dict(weights["criterion"])

    def _check_result(self, rows: Rows) -> None:
        """Raise unless what was trained is finite, and warn if it has collapsed."""
        n_checked = min(len(rows), TRANSFORM_BATCH_ROWS)
        some = np.linspace(0, len(rows) - 1, n_checked).astype(np.intp)
        checked = rows.subset(some)
        with self.lent():
            z = torch.from_numpy(self.embed(checked))
            values = [z, self.project(checked), *self.module_.parameters()]
        if not all(bool(value.isfinite().all()) for value in values):
            raise self.share.agreed(
                "After the last step of training, weights or embeddings are not "
                f"finite: training diverged. {self._remedy()}"
            )
        spread = (z - z.mean(dim=0)).norm() / z.norm().clamp(min=1e-30)
        if spread < COLLAPSED and (checked[:] != checked[:1]).any():
            warnings.warn(
                "The embedding has collapsed: it is the same for all rows, up to "
                f"{float(spread):.1e} of its length. {self._remedy()}",
                stacklevel=2,
            )

    def _views(self, batch: Any, generator: Generator, own: slice = slice(None)) -> Any:
        """Draw two views of a batch, and return some of its rows of each."""
        views: list[Any]
        views = [augment(batch, generator)[own] for augment in self.augmentation]
        if isinstance(batch, SparseBatch):
            return SparseBatch.joined(views)
        return torch.cat(views)

    def ntxent(self, rows: Rows, temperature: float) -> float:
        """Mean NT-Xent loss of the rows, with fixed batches and fixed views."""
        order = torch.randperm(len(rows), generator=Generator().manual_seed(0))
        order = order.to(rows.indices.device)
        criterion = NTXentLoss(temperature)
        total = 0.0
        draws = Draws(0, rows.device)
        parts = [*self.augmentation, self.module_.encoder]
        is_lent = any(map(draws_globally, parts))
        with torch.no_grad():
            # Batches of nearly the same size: the loss grows with a batch's size.
            for positions in order.tensor_split(-(-len(rows) // SCORE_BATCH_ROWS)):
                with draws.lent(is_lent):
                    views = self._views(rows[positions], draws.generator)
                    loss = criterion(*self.module_(views).chunk(2))
                total += loss.item() * len(positions)
        return total / len(rows)

    def embed(self, rows: Rows) -> NDArray[np.float32]:
        """Embed the rows as they are, in bounded memory."""
        return self._in_batches(self.module_.encoder, rows).numpy()

    def project(self, rows: Rows) -> Tensor:
        """Project the rows as they are, to unit length, on the CPU."""
        return self._in_batches(lambda x: F.normalize(self.module_(x), dim=1), rows)

    def _in_batches(self, function: Callable[[Tensor], Tensor], rows: Rows) -> Tensor:
        if any(module.training for module in self.module_.modules()):
            self._set_training(False)
        if self.keep_sparse and takes_sparse(self.module_.encoder):
            rows = rows.kept_sparse()
        n_values = math.prod(rows.format.encoder_shape)
        most = TRANSFORM_BATCH_VALUES // n_values // ROW_MULTIPLE
        size = min(TRANSFORM_BATCH_ROWS, max(1, most) * ROW_MULTIPLE)
        if rows.stays_sparse:
            size = SPARSE_BATCH_ROWS
        out = torch.empty(0)
        with torch.no_grad():
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                n_rows = len(batch)
                if padding := -n_rows % ROW_MULTIPLE:
                    batch = _padded(batch, padding)
                values = function(batch)[:n_rows]
                if start == 0:
                    out = torch.empty(len(rows), *values.shape[1:], dtype=torch.float32)
                out[start : start + n_rows] = values
        return out

    def fit_statistics(
        self,
        rows: Rows,
        seed: int,
        random_state: np.random.RandomState,
        before: ContrastiveNet | None,
    ) -> None:
        """Let an encoder with `fit_statistics` measure the rows."""
        measure = getattr(self.module_.encoder, "fit_statistics", None)
        if measure is None:
            return
        encoder_before = None if before is None else before.module_.encoder
        is_lent = draws_globally(self.module_.encoder)
        try:
            with Draws(seed, rows.device).lent(is_lent), torch.no_grad():
                measure(rows, random_state, encoder_before)
        except Exception as error:
            raise ValueError(
                "'encoder' has a method fit_statistics(rows, random_state, before). It "
                f"fails: {error}"
            ) from error

    def continue_from(
        self, other: ContrastiveNet | None, *, with_optimizer: bool
    ) -> None:
        """Take the weights and, if asked and possible, the optimizer's state."""
        if other is None:
            return
        state = dict(other.module_.state_dict())
        if not with_optimizer and self.module_.bins is not None:
            # As with the scales of features, a new fit has new edges.
            state["bins.edges"] = self.module_.bins.edges
        try:
            self.module_.load_state_dict(state)
            if type(self.criterion_) is type(other.criterion_):
                self.criterion_.load_state_dict(other.criterion_.state_dict())
        except RuntimeError as error:
            raise ValueError(
                "A warm start and partial_fit need the network of the last fit, but a "
                "parameter that shapes it has changed ('n_components', 'encoder', "
                "'hidden_layer_sizes', 'projection_size', 'loss', or 'bin_weight' from "
                "or to 0). Set it back, or use fit with warm_start=False. "
                f"{error}"
            ) from error
        if with_optimizer and type(self.optimizer_) is type(other.optimizer_):
            # The state of the other, under the hyper-parameters of this one.
            moments = copy.deepcopy(other.optimizer_.state_dict()["state"])
            self.optimizer_.load_state_dict(
                {**self.optimizer_.state_dict(), "state": moments}
            )

    def to(self, device: torch.device) -> ContrastiveNet:
        """Move weights and optimizer state, so that the net lives on `device`."""
        if torch.device(self.device) != device:
            self.module_.to(device)
            self.criterion_.to(device)
            for view in self.augmentation:
                if isinstance(view, nn.Module):
                    view.to(device)
            # Loading moves an optimizer's state to where its parameters are now.
            self.optimizer_.load_state_dict(self.optimizer_.state_dict())
            self.device = str(device)
        return self

    def __getstate__(self) -> dict[str, Any]:
        # On the CPU, so that a net trained on a GPU loads anywhere. skorch's own state
        # goes through torch.load, whose defaults have changed between versions.
        if self.device == "cpu":
            return hollow_net(self.__dict__)
        on_cpu = self.__class__.__new__(self.__class__)
        on_cpu.__dict__.update(copy.deepcopy(self.__dict__))
        return hollow_net(on_cpu.to(torch.device("cpu")).__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __copy__(self) -> ContrastiveNet:
        # Not by the state, which is for pickles.
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        return other


class _named:
    """Name the parameter that an error comes from."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, Exception):
            error.add_note(f"It comes from {self.name!r}.")


def _comes_from_a_callback(error: BaseException) -> bool:
    """Return whether an error was raised below skorch's call of its callbacks.

    They raise ``KeyboardInterrupt`` to end training. That of a signal is noted before.
    """
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is NeuralNet.notify.__code__ for frame, _ in frames)


def _padded(batch: Any, n_rows: int) -> Any:
    """Return a batch and rows of zeros after it."""
    if isinstance(batch, SparseBatch):
        return batch.padded(n_rows)
    return torch.cat([batch, batch.new_zeros(n_rows, *batch.shape[1:])])
