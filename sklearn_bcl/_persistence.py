"""A fitted model as tensors and plain values, and back.

Parameters, the format of rows and the history are plain values of JSON. All other
values are tensors. A custom part is saved by its tensors only, so the caller of `load`
passes the part.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch.history import History
from torch import Tensor, nn

import sklearn_bcl.augmentations as augmentations
import sklearn_bcl.losses as losses
from sklearn_bcl._data.columns import Categories, Columns
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.images import ImageLayout
from sklearn_bcl._data.rows import Rows
from sklearn_bcl._data.scaling import FeatureScales
from sklearn_bcl._data.units import Units
from sklearn_bcl._device import resolve_device
from sklearn_bcl._files import Tensors, joined_state, plain_history, split_state
from sklearn_bcl._model import Model
from sklearn_bcl._net import ContrastiveNet
from sklearn_bcl._parameters import make_net

KIND = "model"
ARRAYS = ("categorical_features", "hidden_layer_sizes", "image_shape")
STATISTICS = ("center", "scale", "n_varied")
OWN = "own"  # key of a value that the file does not hold


def describe(
    model: Model, parameters: Mapping[str, Any], with_optimizer: bool
) -> tuple[Tensors, dict[str, Any]]:
    """Return a model as tensors and a document for JSON."""
    net = model.net
    tensors: Tensors = {}
    for name, module in (("module", net.module_), ("loss", net.criterion_)):
        for key, value in module.state_dict().items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"{key!r} of the {name} is no tensor, but an extra state, which "
                    "cannot be saved. Use joblib.dump."
                )
            tensors[f"{name}.{key}"] = value
    statistics = {}
    for name, part in _measured(net.module_.encoder).items():
        values: FeatureScales = part.statistics
        for key in STATISTICS:
            tensors[f"statistics.{name}.{key}"] = torch.from_numpy(getattr(values, key))
        statistics[name] = values.n_rows
    draws: Any = model.random_state.get_state()
    tensors["draws"] = torch.from_numpy(np.asarray(draws[1]).astype(np.int64))
    document = {
        "parameters": _plain_parameters(parameters),
        "fit": _plain_parameters(model.parameters),
        "format": _plain_format(model.format),
        "statistics": statistics,
        "allow_nan": _allows_nan(net.module_),
        "priors": _priors(net.criterion_),
        "keep_sparse": net.keep_sparse,
        "draws": [draws[0], *draws[2:]],
        "history": plain_history(net.history),
        "optimizer": None,
    }
    if with_optimizer:
        moments, document["optimizer"] = split_state(net.optimizer_.state_dict())
        tensors |= {f"optimizer.{name}": tensor for name, tensor in moments.items()}
    return tensors, document


def restore(
    tensors: Tensors, document: dict[str, Any], parts: Mapping[str, Any]
) -> tuple[dict[str, Any], Model]:
    """Return the parameters and the model of a file.

    `parts` are the custom parts that the caller passes.
    """
    parameters = {
        name: _from_plain(name, value, parts)
        for name, value in document["parameters"].items()
    }
    fitted = {
        name: _from_plain(name, value, parts) for name, value in document["fit"].items()
    }
    for name, part in parts.items():
        if part is not None and part not in (parameters.get(name), fitted.get(name)):
            raise ValueError(f"The file has its own {name!r}. Leave the argument out.")
    row_format = _from_plain_format(document["format"])
    net = _new_net({**fitted, "callbacks": None}, row_format, document)
    try:
        for name, module in (("module", net.module_), ("loss", net.criterion_)):
            module.load_state_dict(_under(f"{name}.", tensors))
    except RuntimeError as error:
        raise ValueError(
            "The weights of the file do not fit the network: another 'encoder' or "
            f"'loss' than that of the fit was passed. {error}"
        ) from error
    for name, part in _measured(net.module_.encoder, fitted=False).items():
        if name in document["statistics"]:
            values = {k: tensors[f"statistics.{name}.{k}"].numpy() for k in STATISTICS}
            n_rows = document["statistics"][name]
            part.statistics = FeatureScales(n_rows=n_rows, **values)
    if document["optimizer"] is not None:
        state = joined_state(_under("optimizer.", tensors), document["optimizer"])
        net.load_optimizer(state)
    net.history = History(document["history"])
    net.keep_sparse = document["keep_sparse"]
    for name, value in document["priors"].items():
        setattr(net.criterion_, name, value)
    kind, *rest = document["draws"]
    random_state = np.random.RandomState()
    random_state.set_state((kind, tensors["draws"].numpy().astype(np.uint32), *rest))
    return parameters, Model(net, row_format, random_state, fitted)


def _new_net(
    parameters: dict[str, Any], row_format: RowFormat, document: dict[str, Any]
) -> ContrastiveNet:
    """Return an untrained net for rows of a format."""
    # On which parts of a user's own are tried.
    rows = np.random.RandomState(0).rand(2, *row_format.row_shape).astype(np.float32)
    if row_format.layout is not None and row_format.layout.are_bytes:
        rows = (255 * rows).astype(np.uint8)
    if row_format.columns is not None:
        rows[:, list(row_format.columns.categorical)] = 0
    if document["allow_nan"] and row_format.columns is not None:
        rows[:, row_format.columns.numbers] = np.nan
    # What labels have measured is known.
    measured = {
        name: value
        for name, value in document["priors"].items()
        if isinstance(parameters.get(name), str)
    }
    device = torch.device("cpu")
    with suppress(ValueError):  # as a pickle does without the GPU of the fit
        device = resolve_device(parameters["device"])
    labels: list[NDArray[Any]] = [np.array([0, 1]), np.array([0, 1], np.float32)]
    try:
        tried = Rows(rows, row_format, device, labels[0])
        net = make_net({**parameters, **measured}, tried, seed=0)
    except ValueError as error:
        if "'loss'" not in str(error):
            raise
        tried = Rows(rows, row_format, device, labels[1])  # it may want floats
        net = make_net({**parameters, **measured}, tried, seed=0)
    net._set_training(False)
    return net


# Parameters


def _plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as values of JSON, but for callbacks."""
    return {
        name: _plain(name, value)
        for name, value in parameters.items()
        if name != "callbacks"
    }


def _is_own(value: Any) -> bool:
    return isinstance(value, dict) and OWN in value


def _plain(name: str, value: Any) -> Any:
    """Return a parameter as a value of JSON."""
    if name in ARRAYS and not isinstance(value, str | list | tuple | None):
        value = np.asarray(value).tolist()
    if isinstance(value, np.random.RandomState):
        return None  # the model has one
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, torch.device):
        value = str(value)
    if isinstance(value, tuple | list):
        items = [_plain(name, item) for item in value]
        own = [item for item in items if _is_own(item)]
        if own:
            return own[0]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if _is_public(value, augmentations):
        plain = {k: _plain(k, v) for k, v in value.get_params().items()}
        return {"augmentation": type(value).__name__, **plain}
    if _is_public(value, losses):
        names = inspect.signature(type(value)).parameters
        plain = {name: _plain(name, vars(value)[name]) for name in names}
        return {"loss": type(value).__name__, **plain}
    class_name = getattr(value, "__name__", "")
    if class_name and getattr(torch.optim, class_name, None) is value:
        return {"optimizer": class_name}
    kind = value if hasattr(value, "__qualname__") else type(value)
    return {OWN: f"{kind.__module__}.{kind.__qualname__}"}


def _from_plain(name: str, value: Any, parts: Mapping[str, Any]) -> Any:
    """Return a parameter from its value of JSON, or the caller's part."""
    if isinstance(value, list):
        return [_from_plain(name, item, parts) for item in value]
    if not isinstance(value, dict):
        return value
    if OWN in value:
        if parts.get(name) is None:
            raise ValueError(
                f"The file holds the weights of {name!r}, but not its code: pass it, "
                f"as load(path, {name}=...). It was {value[OWN]}."
            )
        return parts[name]
    value = dict(value)
    kind = next(iter(value))
    if kind == "tuple":
        return tuple(_from_plain(name, value[kind], parts))
    modules = {"augmentation": augmentations, "loss": losses, "optimizer": torch.optim}
    class_name = value.pop(kind)
    if class_name not in getattr(modules[kind], "__all__", dir(modules[kind])):
        raise ValueError(f"The file names an unknown {kind}, {class_name!r}.")
    public = getattr(modules[kind], class_name)
    return public if kind == "optimizer" else public(**value)


def _is_public(value: Any, module: Any) -> bool:
    """Return whether a value is an instance of a public class of a module."""
    name = type(value).__name__
    return name in module.__all__ and getattr(module, name) is type(value)


def _priors(loss: nn.Module) -> dict[str, float]:
    names = ("temperature", "tau_plus", "alpha", "beta")
    if not isinstance(loss, losses.ContrastiveLoss):
        return {}
    return {name: float(getattr(loss, name)) for name in names if hasattr(loss, name)}


# What rows are


def _plain_format(row_format: RowFormat) -> dict[str, Any]:
    columns = row_format.columns
    plain = asdict(replace(row_format, columns=None))
    if columns is not None:
        plain["columns"] = asdict(replace(columns, categories=()))
        plain["columns"]["categories"] = [
            {**asdict(part), "frequent": [_plain_category(c) for c in part.frequent]}
            for part in columns.categories
        ]
    return plain


def _plain_category(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    raise TypeError(
        f"A category of type {type(value).__name__} cannot be saved: {value!r}. Turn "
        "categories into strings or numbers before the fit, or use joblib.dump."
    )


def _from_plain_format(plain: dict[str, Any]) -> RowFormat:
    layout, columns = plain["layout"], plain["columns"]
    if layout is not None:
        layout = ImageLayout(**{**layout, "shape": tuple(layout["shape"])})
    if columns is not None:
        categories = tuple(
            Categories(
                tuple(
                    Decimal(c["decimal"]) if isinstance(c, dict) else c
                    for c in part["frequent"]
                ),
                part["has_rare"],
                part["kind"],
            )
            for part in columns["categories"]
        )
        tuples = {k: tuple(v) for k, v in columns.items() if isinstance(v, list)}
        units = Units(*(tuple(v) for v in columns["units"].values()))
        columns = Columns(
            **{**columns, **tuples, "categories": categories, "units": units}
        )
    names = plain["feature_names"]
    return RowFormat(
        **{
            **plain,
            "row_shape": tuple(plain["row_shape"]),
            "feature_names": None if names is None else tuple(names),
            "layout": layout,
            "columns": columns,
        }
    )


# Modules and optimizers


def _measured(encoder: nn.Module, fitted: bool = True) -> dict[str, Any]:
    """Return the modules of an encoder that have measured features, by name."""
    return {
        name: module
        for name, module in encoder.named_modules()
        if hasattr(module, "statistics")
        and (isinstance(module.statistics, FeatureScales) or not fitted)
    }


def _allows_nan(module: nn.Module) -> bool:
    return any(getattr(part, "allow_nan", False) for part in module.modules())


def _under(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
