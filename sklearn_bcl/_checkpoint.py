"""Checkpoints: the state of a training after each epoch, in a file."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

import sklearn_bcl._files as _files
import sklearn_bcl._version as _version
from sklearn_bcl._data.sources import Stored
from sklearn_bcl._hollow import is_plain, plain_attributes
from sklearn_bcl._validation import check_interval

if TYPE_CHECKING:
    from sklearn_bcl._data.rows import Rows
    from sklearn_bcl._net import ContrastiveNet

KIND = "checkpoint"


class Checkpoint(Callback):
    """Write the state of a fit to a file, and resume the fit from the file.

    If a process ends before its fit is complete, repeat the same call of `fit`, with
    the same rows and parameters. The fit continues after the last epoch that was
    written. On a CPU with the same number of threads, the weights, optimizer, random
    numbers and history are bit-equal to an uninterrupted fit.

    The file is replaced in one step, so it is always complete. It remains after the
    fit. The same call then returns at once.

    A file of another fit, or a file that was cut off or changed, raises an error and is
    not overwritten. Delete the file or use another path. Each fit of a search needs its
    own path. Reading the file runs no code.

    Parameters
    ----------
    path : str or os.PathLike
        Path of the file, in an existing folder.
    every : int >= 1, default=1
        Number of epochs between two writes. The last epoch of `max_epochs` is always
        written. If a callback stopped the fit earlier, a repeated call trains the
        epochs after the last write again.

    Raises
    ------
    ValueError
        In `fit`, if a parameter is invalid or ``random_state`` is not an int. Also if
        the folder cannot be written to, or the file is damaged or from another fit. In
        `partial_fit`, always.

    Notes
    -----
    A custom callback continues from its state if its attributes are numbers, strings,
    arrays, tensors, lists or dicts of these, or have a ``state_dict``. Other attributes
    start as in a new fit. Custom encoders, augmentations and losses continue with their
    weights, buffers and attributes that are numbers, strings or tuples.

    A file belongs to the same fit if the rows, the initial weights, the parameters and
    the code and attributes of custom parts are equal.

    Examples
    --------
    >>> import os
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.callbacks import Checkpoint
    >>> X, _ = load_iris(return_X_y=True)
    >>> path = os.path.join(tempfile.mkdtemp(), "iris.checkpoint")
    >>> embedder = BCLEmbedder(
    ...     max_epochs=3, random_state=0, callbacks=[Checkpoint(path)]
    ... )
    >>> embedder.fit(X).n_iter_
    3
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = path
        self.every = every

    def check(self) -> None:
        """Check the parameters.

        Raises
        ------
        ValueError
            If `every` is not a positive integer, or `path` is not a path in a folder
            that can be written to.
        """
        check_interval("every", self.every, 1, None, closed="left", integral=True)
        if not isinstance(self.path, str | os.PathLike):
            raise ValueError(f"'path' of Checkpoint must be a path. Got {self.path!r}.")
        folder = Path(self.path).resolve().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(
                f"'path' {str(self.path)!r} of Checkpoint is not in a folder that can "
                "be written to. Make the folder first."
            )

    def on_train_begin(self, net: ContrastiveNet, X: Rows, **kwargs: Any) -> None:
        self.origin_, self.written_ = origin_of(net, X, net.seed), None
        state: dict[str, Any] | None = None
        if net.share.rank == 0 and Path(self.path).exists():
            self.written_ = self._stamp()
            tensors, document = _files.read(self.path, KIND)
            self._check_origin(document)
            state = _files.joined_state(tensors, document["state"])
        state = net.share.from_first(state)
        if state is not None:
            for name, callback in net.callbacks_:
                if callback is not self:
                    _set_state_of(callback, state["callbacks"].get(name, {}))
            net.resume(state)

    def on_epoch_end(self, net: ContrastiveNet, **kwargs: Any) -> None:
        n_epochs = len(net.history)
        if n_epochs % self.every and n_epochs != net.max_epochs:
            return
        if net.share.rank > 0:  # they are all in the same state
            return
        state = {
            **net.state_of_run(),
            "callbacks": {
                name: _state_of(part)
                for name, part in net.callbacks_
                if part is not self
            },
        }
        tensors, plain = _files.split_state(state)
        document = {"state": plain, "origin": self.origin_, "versions": _versions()}
        if self._stamp() != self.written_:
            raise ValueError(
                f"Another fit has written the file {str(self.path)!r} meanwhile. Each "
                "fit needs a path of its own, and so do those of a search."
            )
        _files.write(self.path, KIND, tensors, document)
        self.written_ = self._stamp()

    def _stamp(self) -> list[int] | None:
        """Return what distinguishes this file from another file at its path."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return None
        return [status.st_ino, status.st_mtime_ns, status.st_size]

    def _check_origin(self, document: dict[str, Any]) -> None:
        others = [k for k, v in self.origin_.items() if document["origin"].get(k) != v]
        if others:
            raise ValueError(
                f"The file {str(self.path)!r} is of another fit, with other "
                f"{' and '.join(others)}. Repeat the call that wrote it, or delete the "
                "file, or give another path."
            )
        if document["versions"] != _versions():
            warnings.warn(
                f"The file {str(self.path)!r} was written with other versions, "
                f"{document['versions']}. The result may differ in the last bits.",
                UserWarning,
                stacklevel=2,
            )


def _versions() -> dict[str, str]:
    return {
        "sklearn_bcl": _version.VERSION,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def origin_of(
    net: ContrastiveNet, rows: Rows, seed: int, most_rows: int | None = None
) -> dict[str, str]:
    """Return digests of the start of a fit, from all rows or from some of them."""
    data = hashlib.sha256(str(rows.format).encode())
    arrays: list[Any] = [rows.indices, rows.y]
    if most_rows is not None:
        data.update(str(len(rows)).encode())
        n_rows = min(most_rows, len(rows))
        some = np.linspace(0, len(rows) - 1, n_rows).astype(np.intp)
        arrays = [some, *rows.batch(torch.from_numpy(some))]
    elif isinstance(rows.data, Stored):
        for block in rows.data.blocks():
            data.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    elif isinstance(rows.data, Tensor):
        arrays.append(rows.data)
    else:
        arrays += [rows.data.data, rows.data.indices, rows.data.indptr]
    for array in arrays:
        if isinstance(array, Tensor):
            array = array.cpu().numpy()
        if array is not None:
            array = np.ascontiguousarray(array)
            data.update(f"{array.dtype} {array.shape}".encode())
            data.update(array.reshape(-1).view(np.uint8).data)
    states = {"module": net.module_.state_dict(), "loss": net.criterion_.state_dict()}
    tensors, _ = _files.split_state(states)
    settings = {
        **{name: repr(getattr(net, name)) for name in ("lr", "max_epochs")},
        "seed": repr(seed),
        "batch_size": repr(net.batch_size),
        "bin_weight": repr(net.bin_weight),
        "network": repr(net.module_),
        "loss": _name_of(net.criterion_),
        "encoder": _name_of(net.module_.encoder),
        "views": [_name_of(view) for view in net.augmentation],
        "optimizer": net.optimizer.__name__,
        "settings": repr(net.optimizer_.defaults),
        "callbacks": [
            _name_of(callback)
            for _, callback in net.callbacks_
            if type(callback).__name__ != "EpochProgress"  # it changes nothing
        ],
    }
    return {
        "rows": data.hexdigest(),
        "parameters": hashlib.sha256(json.dumps(settings).encode()).hexdigest(),
        "initial weights": _files.digest_of(tensors, ""),
    }


def _name_of(part: Any) -> str:
    """Return the name of a part, and its parameters whose text is their value."""
    kind = part if hasattr(part, "__qualname__") else type(part)
    values: dict[str, Any] = {}
    if hasattr(part, "get_params") and not isinstance(part, Checkpoint | type):
        values = part.get_params(deep=False)
    plain = {k: repr(v) for k, v in values.items() if " at 0x" not in repr(v)}
    parts = part.modules() if isinstance(part, nn.Module) else [part]
    attributes = [
        {k: v for k, v in plain_attributes(p).items() if k != "training"}
        for p in parts
        if not isinstance(p, Checkpoint)
    ]
    name = f"{kind.__module__}.{kind.__qualname__}"
    return f"{name} {sorted(plain.items())} {attributes} {_code_of(part)}"


def _code_of(part: Any) -> str:
    """Return the code of a function, and its enclosed values, as a text."""
    code = getattr(part, "__code__", None)
    if code is None:
        return ""
    cells = [cell.cell_contents for cell in part.__closure__ or ()]
    constants = [c for c in (*code.co_consts, *cells, part.__defaults__) if is_plain(c)]
    return f"{hashlib.sha256(code.co_code).hexdigest()} {constants!r}"


def _state_of(callback: Callback) -> dict[str, Any]:
    """Return the attributes of a callback that can be saved."""
    state: dict[str, Any] = {}
    for name, value in vars(callback).items():
        key = name
        if hasattr(value, "state_dict") and not isinstance(value, type):
            key, value = f"{name}()", value.state_dict()
        try:
            _files.split_state(value)
        except TypeError:
            continue
        state[key] = value
    return state


def _set_state_of(callback: Callback, state: dict[str, Any]) -> None:
    for name, value in state.items():
        if name.endswith("()"):
            getattr(callback, name[:-2]).load_state_dict(value)
        else:
            setattr(callback, name, value)
