"""Processes that train one model together, each on its share of every batch.

A launcher (torchrun, Slurm, Ray Train) starts and connects the processes. They train
together only within a block of :func:`all_processes`.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

LAUNCHER_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def _this_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


@dataclass
class Processes:
    """Rank and number of processes in a block of :func:`all_processes`.

    Parameters
    ----------
    rank : int, default=0
        Number of this process, from 0 on.
    size : int, default=1
        Number of processes.

    Examples
    --------
    Without a launcher, there is one process.

    >>> from sklearn_bcl.distributed import all_processes
    >>> with all_processes() as processes:
    ...     processes.rank, processes.size, processes.is_main
    (0, 1, True)
    """

    rank: int = 0
    size: int = 1
    _timeout: timedelta = field(default=timedelta(minutes=30), repr=False)
    _groups: dict[str, Any] = field(default_factory=dict, repr=False)
    _places: dict[torch.device, torch.device] = field(default_factory=dict, repr=False)
    _is_broken: bool = field(default=False, repr=False)
    _thread: tuple[int, int] = field(default_factory=_this_thread, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this process has rank 0, and so prints and saves."""
        return self.rank == 0

    def _group(self, device_type: str) -> Any:
        """Return the group whose collectives take tensors on a kind of device."""
        if device_type not in self._groups:
            backend = "nccl" if device_type == "cuda" else "gloo"
            group = dist.new_group(backend=backend, timeout=self._timeout)
            self._groups[device_type] = group
        return self._groups[device_type]

    def _meeting_place(self, device: torch.device) -> torch.device:
        """Return where tensors of a device are exchanged: on the CPU or on GPUs.

        GPUs are connected by NCCL, which needs a GPU for each process. All processes
        call this with their devices at the same time.
        """
        if device.type != "cuda":
            return torch.device("cpu")
        if device not in self._places:
            gpus = self._exchange("exchanges tensors of a GPU", _identity(device))
            is_connected = None not in gpus and len(set(gpus)) == self.size
            if is_connected:
                self._group("cuda")
            elif torch.cuda.device_count() > 1:
                warnings.warn(
                    "Processes share a GPU, or NCCL is missing. So they exchange "
                    "through the CPU, which is slow. Give each process a GPU of its "
                    "own, for example by torchrun and device='auto'.",
                    stacklevel=2,
                )
            self._places[device] = device if is_connected else torch.device("cpu")
        return self._places[device]

    def _exchange(self, kind: str, value: Any = None) -> list[Any]:
        """Return the values of all processes, which have to make the same call."""
        given: list[Any] = [None] * self.size
        with _reported():
            dist.all_gather_object(given, (kind, value), group=self._group("cpu"))
        others = [(rank, other) for rank, (other, _) in enumerate(given)]
        rank, other = next((pair for pair in others if pair[1] != kind), (0, kind))
        if other != kind:
            raise OtherProcessError(
                f"Process {rank} {other}, while process {self.rank} {kind}. In a block "
                "of all_processes(), every process must make the same calls of fit and "
                "partial_fit, with valid arguments, and leave the block after them."
            )
        return [value for _, value in given]

    def _break(self) -> None:
        """Close the connections, so that other processes do not wait for this one."""
        self._is_broken = True
        for group in self._groups.values():
            with suppress(Exception):
                dist.destroy_process_group(group)
        self._groups, self._places = {}, {}


class OtherProcessError(RuntimeError):
    """Another process of a training has failed or makes other calls."""

    is_disconnected = False


_CURRENT: ContextVar[Processes | None] = ContextVar("processes", default=None)


@contextmanager
def all_processes(timeout: float = 1800) -> Iterator[Processes]:
    """Train one model with all processes of a launcher.

    Within the block, each call of `fit` or `partial_fit` of a
    :class:`~sklearn_bcl.BCLEmbedder` is one training by all processes. All processes
    pass the same rows and the same parameters. Each process trains on its share of
    every batch, and all processes end with the same fitted estimator.

    If each process trains on its own GPU, the processes exchange through NCCL, and
    otherwise through the CPU.

    ``batch_size`` is the number of rows of all processes together. So the model is the
    model of a single process, up to rounding. `transform`, `score` and the posteriors
    remain local.

    The block uses the process group of :mod:`torch.distributed` if there is one.
    Otherwise, it creates a process group from the variables that ``torchrun`` sets, and
    destroys it at the end. Without a launcher, the block has no effect.

    Parameters
    ----------
    timeout : float > 0, default=1800
        Time in seconds that a process waits for the other processes.

    Yields
    ------
    processes : Processes
        Object with ``rank``, ``size`` and ``is_main``, for example to save on one
        process.

    Raises
    ------
    ValueError
        If `timeout` is not positive. In `fit`, on all processes, if the rows,
        parameters or states of the processes differ.
    RuntimeError
        If the block is inside another one. In `fit`, if another process fails, is
        interrupted or makes other calls: the estimator then stays as before. If this
        happens during training, no other fit is possible in the block.

    Notes
    -----
    A fit in another thread or in a worker process, such as in a search with
    ``n_jobs=2``, is a separate training.

    Examples
    --------
    The same script runs as one process with ``python fit.py`` and as four processes
    with ``torchrun --nproc-per-node 4 fit.py``.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.distributed import all_processes
    >>> X, _ = load_iris(return_X_y=True)
    >>> with all_processes() as processes:
    ...     embedder = BCLEmbedder(max_epochs=2, random_state=0).fit(X)
    >>> if processes.is_main:
    ...     print(processes.size, embedder.n_iter_)
    1 2
    """
    if not timeout > 0:
        raise ValueError(f"'timeout' must be positive, in seconds. Got {timeout!r}.")
    if _CURRENT.get() is not None:
        raise RuntimeError("This block of all_processes() is inside another one.")
    is_ours = _join(timedelta(seconds=timeout))
    processes = Processes()
    if dist.is_available() and dist.is_initialized():
        rank, size = dist.get_rank(), dist.get_world_size()
        processes = Processes(rank, size, timedelta(seconds=timeout))
    token = _CURRENT.set(processes)
    try:
        if processes.size > 1:
            processes._exchange("enters the block")
        yield processes
        if processes.size > 1 and not processes._is_broken:
            processes._exchange("leaves the block")
    finally:
        _CURRENT.reset(token)
        processes._break()
        if is_ours:
            dist.destroy_process_group()


def _identity(gpu: torch.device) -> str | None:
    """Return what tells a GPU from all others, or None if NCCL cannot connect it."""
    if not dist.is_nccl_available():
        return None
    return str(torch.cuda.get_device_properties(gpu).uuid)


def _join(timeout: timedelta) -> bool:
    """Create the process group of a launcher if needed; return whether it was."""
    if not dist.is_available() or dist.is_initialized():
        return False
    if not all(name in os.environ for name in LAUNCHER_VARIABLES):
        return False
    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        # Some launchers show each process its own GPU only.
        number = int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count()
        torch.cuda.set_device(number)
    dist.init_process_group(timeout=timeout)
    return True


@contextmanager
def share_of_fit() -> Iterator[Share]:
    """Yield the share of each batch that this process trains on.

    Without other processes, the share is the whole batch. If the fit fails in this
    block, it fails in all processes.
    """
    processes = _CURRENT.get()
    if processes is None or processes.size == 1 or processes._thread != _this_thread():
        yield ALONE
        return
    if processes._is_broken:
        raise RuntimeError(
            "A fit in this block of all_processes() has failed, so the processes are "
            "no longer connected. Start another block, or all processes anew."
        )
    share = Share(processes)
    try:
        processes._exchange("calls fit")
        yield share
    except Exception as error:
        share.end_in(error)
        raise
    except BaseException:
        processes._break()
        raise


@contextmanager
def _reported() -> Iterator[None]:
    """Explain the error of a broken connection."""
    try:
        yield
    except RuntimeError as error:
        of_others = OtherProcessError(
            "Another process of this training has failed, was interrupted or did not "
            f"answer in time; its own output says why. ({error})"
        )
        of_others.is_disconnected = True
        raise of_others from error


class Share:
    """The share of each batch that belongs to this process, and the exchange of values.

    Gradients are the gradients of the mean of the values of all processes. So a value
    that each process computes from all rows has the same gradients as in one process.

    Parameters
    ----------
    processes : Processes, default=None
        None is a process that trains alone. Each method then returns its argument.
    """

    def __init__(self, processes: Processes | None = None) -> None:
        self._processes = processes or Processes()
        self.rank, self.size = self._processes.rank, self._processes.size
        self._are_used: list[bool] | None = None
        self._trained: list[bool] = []
        self._trains = False
        self._agreed: Exception | None = None

    def begin_training(self) -> None:
        """Begin training: from now on, a process that fails interrupts the others.

        Before, processes only exchange values and can continue after an error.
        """
        self.exchange("begins to train")
        self._trains = True

    def begin_epoch(self) -> None:
        """Ask again which parameters have gradients."""
        self._are_used = None

    def agreed(self, message: str) -> ValueError:
        """Return an error that all processes raise at this place."""
        self._agreed = ValueError(message)
        return self._agreed

    def end_in(self, error: Exception) -> None:
        """Tell the other processes of an error, so that none waits for this one."""
        if error is self._agreed:
            return
        if self._trains or getattr(error, "is_disconnected", False):
            self._processes._break()
        elif not isinstance(error, OtherProcessError):
            # The others get it in place of what they wait for.
            with suppress(OtherProcessError):
                self._processes._exchange(f"has failed with {error!r}")

    def __deepcopy__(self, memo: dict[int, Any]) -> Share:
        return self  # there is one for a training

    def rows(self, n_rows: int) -> slice:
        """Return which rows of a batch belong to this process; there may be none."""
        first, stop = (n_rows * (self.rank + i) // self.size for i in (0, 1))
        return slice(first, stop)

    def anchors(self, n_rows: int) -> list[slice]:
        """Return which of the ``2 * n_rows`` projections belong to this process."""
        if self.size == 1:
            return [slice(0, 2 * n_rows)]
        own = self.rows(n_rows)
        return [own, slice(n_rows + own.start, n_rows + own.stop)]

    def gather(self, x: Tensor, n_rows: int) -> Tensor:
        """Return the rows ``(n_rows, ...)`` of all processes, with gradients."""
        if self.size == 1:
            return x
        rows: Tensor = _Gather.apply(x, self, n_rows)
        return rows

    def gather_anchors(self, x: Tensor, n_rows: int) -> Tensor:
        """Return the values ``(2 * n_rows,)`` of all anchors, from the own values."""
        if self.size == 1:
            return x
        return self.gather(x.unflatten(0, (2, -1)).T, n_rows).T.flatten()

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum of the values of all processes, with gradients."""
        if self.size == 1:
            return x
        total: Tensor = _Sum.apply(x, self)
        return total

    def exchange(self, kind: str, value: Any = None) -> list[Any]:
        """Return the values of all processes; they are pickled."""
        if self.size == 1:
            return [value]
        return self._processes._exchange(kind, value)

    def from_first(self, value: Any) -> Any:
        """Return the value of the first process."""
        return self.exchange("shares a value", value if self.rank == 0 else None)[0]

    def check_same(self, values: dict[str, Any]) -> None:
        """Raise ``ValueError`` in all processes if a value differs between them."""
        given = self.exchange("compares what it fits", values)
        others = [k for k in values if any(g.get(k) != values[k] for g in given)]
        others += [k for k in given[0] if k not in values]
        if others:
            raise self.agreed(
                f"The processes of this fit differ in their {' and '.join(others)}. In "
                "a block of all_processes(), each must give the same rows in the same "
                "order, the same parameters and an estimator in the same state: seed "
                "what draws, such as train_test_split."
            )

    def check_weights(self, *modules: nn.Module) -> None:
        """Raise if weights differ between processes; share the buffers of the first.

        Buffers are computed from the rows of each process, so they may differ.
        """
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for weight in (part for module in modules for part in module.parameters()):
            data = weight.detach().cpu().contiguous().flatten()
            digest.update(data.view(torch.uint8).numpy().data)
        self.check_same({"weights after training": digest.hexdigest()})
        buffers = [part for module in modules for part in module.buffers()]
        of_first = self.from_first([buffer.cpu() for buffer in buffers])
        for buffer, value in zip(buffers, of_first, strict=True):
            buffer.copy_(value)

    def average_gradients(
        self, parameters: Sequence[Tensor], *, may_change: bool
    ) -> None:
        """Replace gradients by their mean over the processes.

        A parameter without a gradient in any process keeps none. Processes exchange
        which parameters have one in the first step of an epoch, or in each step if
        `may_change`.
        """
        if self.size == 1:
            return
        trained = [p.requires_grad for p in parameters]
        if may_change or self._are_used is None or trained != self._trained:
            has_gradient = [p.grad is not None for p in parameters]
            given = self.exchange("steps", has_gradient)
            self._are_used = [any(of_one) for of_one in zip(*given, strict=True)]
            self._trained = trained
        used = [p for p, used in zip(parameters, self._are_used, strict=True) if used]
        for dtype in sorted({p.dtype for p in used}, key=str):  # all in one order
            some = [p for p in used if p.dtype == dtype]
            for p in some:
                if p.grad is None:
                    p.grad = torch.zeros_like(p)
            gradients = [p.grad for p in some if p.grad is not None]
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            means = self._summed(flat).div_(self.size)
            sizes = [gradient.numel() for gradient in gradients]
            for gradient, mean in zip(gradients, means.split(sizes), strict=True):
                gradient.copy_(mean.view(gradient.shape))

    def _summed(self, x: Tensor) -> Tensor:
        place = self._processes._meeting_place(x.device)
        total = x.detach().to(place, copy=True).contiguous()
        with _reported():
            dist.all_reduce(total, group=self._processes._group(place.type))
        return total.to(x.device)

    def _gathered(self, x: Tensor, n_rows: int) -> Tensor:
        # Collectives want equal shapes: shares are filled up to the largest.
        most = -(-n_rows // self.size)
        place = self._processes._meeting_place(x.device)
        filled = x.new_zeros(most, *x.shape[1:], device=place)
        filled[: len(x)] = x.detach()
        parts = [torch.empty_like(filled) for _ in range(self.size)]
        with _reported():
            dist.all_gather(parts, filled, group=self._processes._group(place.type))
        sizes = [
            n_rows * (rank + 1) // self.size - n_rows * rank // self.size
            for rank in range(self.size)
        ]
        rows = torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)])
        return rows.to(x.device)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return share._summed(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.share.sum(gradients[0]), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, share: Share, n_rows: int) -> Tensor:
        ctx.share, ctx.n_rows = share, n_rows
        return share._gathered(x, n_rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = ctx.share.sum(gradients[0])
        return total[ctx.share.rows(ctx.n_rows)], None, None


ALONE = Share()
