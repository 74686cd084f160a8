"""Files of tensors with a JSON document, written whole or not at all.

They are safetensors files, so reading one runs no code. A digest of all contents tells
a file that was changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from skorch.history import History
from torch import Tensor

VERSION = 1  # of what the documents hold
Tensors = dict[str, Tensor]


def digest_of(tensors: Tensors, document: str) -> str:
    """Return a digest of tensors, their names, dtypes and shapes, and of a text."""
    digest = hashlib.sha256(document.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write(
    path: str | os.PathLike[str], kind: str, tensors: Tensors, document: Any
) -> None:
    """Write a file of some kind in place of another, if there is one.

    A process that is killed meanwhile leaves the other as it was.
    """
    text = json.dumps({"version": VERSION, **document})
    whole = {  # in memory of their own, as safetensors wants it
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in tensors.items()
    }
    metadata = {"kind": kind, "document": text, "sha256": digest_of(whole, text)}
    content = save(whole, metadata)
    path = Path(path)
    owner = f"{os.getpid()}-{threading.get_ident()}"  # no other writes to this one
    part = path.with_name(f"{path.name}.{owner}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors and the document of a file.

    Raises ``ValueError`` if the file is of another kind, was changed or cut off, or has
    an unknown version, and ``FileNotFoundError`` if there is no file.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{str(path)!r} is a folder. Give the path of a file.")
    if not path.exists():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{str(path)!r} is no file of sklearn_bcl, or was cut off or changed: "
            f"{error}"
        ) from error
    if metadata.get("kind") != kind:
        raise ValueError(
            f"{str(path)!r} is no {kind} of sklearn_bcl, but another safetensors file."
        )
    text = metadata.get("document", "")
    if metadata.get("sha256") != digest_of(tensors, text):
        raise ValueError(
            f"{str(path)!r} was changed after it was written: its contents do not fit "
            "their digest. Use another copy."
        )
    document = json.loads(text)
    if document["version"] != VERSION:
        raise ValueError(
            f"{str(path)!r} is of version {document['version']!r} of the file format. "
            f"This version of sklearn_bcl reads version {VERSION}: install the one "
            "that wrote it."
        )
    return tensors, document


def plain_history(history: History) -> list[dict[str, Any]]:
    """Return a history as values of JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        if isinstance(value, np.generic):
            value = value.item()
        is_plain = value is None or isinstance(value, str | bool | int | float)
        return value if is_plain else str(value)

    epochs: list[dict[str, Any]] = [plain(dict(epoch)) for epoch in history.to_list()]
    return epochs


def split_state(state: Any, name: str = "") -> tuple[Tensors, Any]:
    """Return the tensors of nested dicts, lists and tuples, and the other values.

    In the other values, ``{"tensor": name}`` replaces a tensor.
    """
    if isinstance(state, np.ndarray):
        tensors, plain = split_state(torch.from_numpy(state), name)
        return tensors, {"array": plain["tensor"]}
    if isinstance(state, Tensor):
        return {name: state}, {"tensor": name}
    if isinstance(state, dict):
        tensors, items = {}, []
        for i, (key, value) in enumerate(state.items()):
            found, plain = split_state(value, f"{name}.{i}" if name else str(i))
            tensors |= found
            items.append([key, plain])
        return tensors, {"dict": items}
    if isinstance(state, list | tuple):
        tensors, items = {}, []
        for i, value in enumerate(state):
            found, plain = split_state(value, f"{name}.{i}" if name else str(i))
            tensors |= found
            items.append(plain)
        return tensors, {"tuple" if isinstance(state, tuple) else "list": items}
    if isinstance(state, np.generic):
        state = state.item()
    if state is None or isinstance(state, str | bool | int | float):
        return {}, state
    raise TypeError(f"a value of type {type(state).__name__} cannot be saved")


def joined_state(tensors: Tensors, plain: Any) -> Any:
    """Return the state from the result of `split_state`."""
    if not isinstance(plain, dict):
        return plain
    ((kind, value),) = plain.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "array":
        return tensors[value].numpy()
    if kind == "dict":
        return {key: joined_state(tensors, item) for key, item in value}
    items = [joined_state(tensors, item) for item in value]
    return tuple(items) if kind == "tuple" else items
