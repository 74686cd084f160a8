"""Saving of a fitted embedder to a file without code, and by pickle."""

from __future__ import annotations

import inspect
import json
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning
from torch import nn

import sklearn_bcl._files as _files
import sklearn_bcl._version as _version
from sklearn_bcl._ambient import standard_torch
from sklearn_bcl._device import resolve_device
from sklearn_bcl._hollow import hollow, plain_attributes
from sklearn_bcl._model import Model
from sklearn_bcl._persistence import KIND, describe, restore

STATE_VERSION = 1  # of what a pickle holds
CURVES = ("loss_curve_", "validation_loss_curve_")


class SavingMixin(BaseEstimator):
    """`save` and `load` for an estimator with a `Model`, and pickles with a version."""

    _model: Model
    _fitted_model: Callable[[], Model]
    _publish: Callable[..., None]

    def save(self, path: str | os.PathLike[str], *, optimizer: bool = False) -> None:
        """Save the fitted embedder to a file that contains no code.

        The safetensors file holds the weights, the parameters and a description of the
        rows. For a custom encoder, augmentation, loss or optimizer, the file holds the
        name and the weights only. `callbacks` and the settings of `set_output` are not
        saved. An existing file is replaced in one step: an interrupted call leaves the
        old file intact.

        Parameters
        ----------
        path : str or os.PathLike
            Path of the file, in an existing folder.
        optimizer : bool, default=False
            Whether to save the state of the optimizer, which makes the file about three
            times as large. With the state, `partial_fit` on the loaded embedder
            continues as on this embedder. Without it, the optimizer starts anew.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        OSError
            If the file cannot be written, such as ``FileNotFoundError`` if the folder
            does not exist.
        TypeError
            If a category of the table is neither a string nor a number, or if a custom
            module has an extra state.

        See Also
        --------
        load : Load an embedder from the file.

        Examples
        --------
        >>> import os
        >>> import tempfile
        >>> import numpy as np
        >>> from sklearn_bcl import BCLEmbedder
        >>> X = np.random.default_rng(0).normal(size=(50, 4))
        >>> embedder = BCLEmbedder(max_epochs=1, random_state=0).fit(X)
        >>> path = os.path.join(tempfile.mkdtemp(), "embedder.safetensors")
        >>> embedder.save(path)
        >>> loaded = BCLEmbedder.load(path)
        >>> np.array_equal(loaded.transform(X), embedder.transform(X))
        True
        """
        model, parameters = self._fitted_model(), self.get_params(deep=False)
        tensors, document = describe(model, parameters, optimizer)
        if not Path(path).resolve().parent.is_dir():
            raise FileNotFoundError(
                f"The folder of {str(path)!r} does not exist. Make it first."
            )
        document |= {name: getattr(self, name, None) for name in CURVES}
        document |= {"class": type(self).__name__, "sklearn_bcl": _version.VERSION}
        _files.write(path, KIND, tensors, document)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: Any = None,
        augmentation: Any = None,
        loss: Any = None,
        optimizer: Any = None,
    ) -> Self:
        """Load a fitted embedder from a file of `save`, without running code from it.

        Parameters
        ----------
        path : str or os.PathLike
            Path of the file.
        encoder : torch.nn.Module or callable, default=None
            The custom encoder of the saved embedder, as given to its constructor. The
            weights come from the file.
        augmentation : callable or tuple, default=None
            The custom augmentation of the saved embedder.
        loss : torch.nn.Module, default=None
            The custom loss of the saved embedder. Its weights come from the file.
        optimizer : subclass of torch.optim.Optimizer, default=None
            The custom optimizer of the saved embedder.

        Returns
        -------
        embedder : BCLEmbedder
            The fitted embedder.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        IsADirectoryError
            If `path` is a folder.
        ValueError
            If the file is not a saved embedder, was cut off or changed, has an unknown
            version, or holds another class. Also if a custom part is missing, does not
            fit the weights, or is not needed.

        See Also
        --------
        save : Save an embedder to a file.

        Examples
        --------
        >>> import os
        >>> import tempfile
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_bcl import BCLEmbedder
        >>> X, _ = load_iris(return_X_y=True)
        >>> path = os.path.join(tempfile.mkdtemp(), "embedder.safetensors")
        >>> BCLEmbedder(n_components=8, max_epochs=1, random_state=0).fit(X).save(path)
        >>> BCLEmbedder.load(path).transform(X).shape
        (150, 8)
        """
        tensors, document = _files.read(path, KIND)
        parts = {
            "encoder": encoder,
            "augmentation": augmentation,
            "loss": loss,
            "optimizer": optimizer,
        }
        if document["class"] != cls.__name__:
            raise ValueError(
                f"{str(path)!r} holds a {document['class']}. Load it by "
                f"{document['class']}.load."
            )
        with standard_torch(grad=True):
            parameters, model = restore(tensors, document, parts)
        embedder = cls(**parameters)
        embedder._publish(model, goes_on=False)
        curves = {name: document[name] for name in CURVES if document[name] is not None}
        embedder.__dict__ |= {**curves, "n_iter_": len(curves["loss_curve_"])}
        return embedder

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state["_version"] = _version.VERSION, STATE_VERSION
        if "_model" in state:
            state["_digest"] = _digest(state["_model"])
        return {name: _each(hollow, value) for name, value in state.items()}

    def __copy__(self) -> SavingMixin:
        # Not by the state, which is for pickles.
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version, state_version = state.pop("_version", ("0.1.0.dev3 or before", 0))
        digest = state.pop("_digest", None)
        name = type(self).__name__
        is_fitted = "_model" in state or "_net" in state
        if is_fitted and state_version != STATE_VERSION:
            raise ValueError(
                f"This {name} was pickled by sklearn_bcl {version}, whose fitted "
                f"models version {_version.VERSION} cannot read. Fit it again, or "
                f"install sklearn_bcl {version}."
            )
        if version != _version.VERSION:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=name,
                    current_sklearn_version=f"{_version.VERSION} of sklearn_bcl",
                    original_sklearn_version=f"{version} of sklearn_bcl",
                ),
                stacklevel=2,
            )
        # The other version may have lacked some parameters.
        signature = inspect.signature(type(self)).parameters
        defaults = {key: parameter.default for key, parameter in signature.items()}
        super().__setstate__({**defaults, **state})
        if not is_fitted:
            return
        if digest is not None and digest != _digest(self._model):
            raise ValueError(
                f"The pickle of this {name} was changed after it was written: the "
                "model does not fit its digest. Use another copy."
            )
        # A pickled net is on the CPU, and stays there without its GPU.
        with suppress(ValueError):
            self._model.net.to(resolve_device(self.device))


def _each(function: Callable[[nn.Module], nn.Module], value: Any) -> Any:
    """Apply a function to a module, or to the modules in a pair; keep other values."""
    if isinstance(value, nn.Module):
        return function(value)
    if type(value) in (tuple, list):
        return type(value)(_each(function, item) for item in value)
    return value


def _digest(model: Model) -> str | None:
    """Return a digest of everything that determines embeddings.

    None means that no digest can be computed.
    """
    try:
        tensors, document = describe(model, {}, with_optimizer=False)
    except Exception:  # of a user's part, or of categories that no file could hold
        return None
    del tensors["draws"], document["draws"]  # which go on, also in other threads
    document["modules"] = [
        (
            name,
            type(module).__qualname__,
            repr(sorted(plain_attributes(module).items())),
        )
        for name, module in model.net.module_.named_modules()
    ]
    return _files.digest_of(tensors, json.dumps(document))
