"""A fitted model as tensors and plain values, and back.

Parameters, what rows are, and the history are plain values of JSON; all else are
tensors. Parts that are not ours are saved by their tensors only: who loads the file
passes the part.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from skorch.history import History
from torch import nn

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
PARTS = ("encoder", "augmentation", "loss", "optimizer")
STATISTICS = ("center", "scale", "n_varied")
OWN = "own"  # key of a value that the file does not hold


def describe(
    model: Model, parameters: Mapping[str, Any], with_optimizer: bool
) -> tuple[Tensors, dict[str, Any]]:
    """Return a model as tensors and a document for JSON."""
    net = model.net
    tensors: Tensors = {}
    for name, module in (("module", net.module_), ("loss", net.criterion_)):
        tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    statistics = {}
    for name, part in _measured(net.module_.encoder).items():
        values: FeatureScales = part.statistics
        for key in STATISTICS:
            tensors[f"statistics.{name}.{key}"] = torch.from_numpy(getattr(values, key))
        statistics[name] = values.n_rows
    draws: Any = model.random_state.get_state()
    tensors["draws"] = torch.from_numpy(np.asarray(draws[1]).astype(np.int64))
    document = {
        "parameters": {
            name: _plain(name, value)
            for name, value in parameters.items()
            if name != "callbacks"
        },
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
    """Return parameters and model of a file; `parts` are those of the caller."""
    parameters = {
        name: _from_plain(name, value, parts)
        for name, value in document["parameters"].items()
    }
    unknown = [name for name in parts if name not in PARTS]
    given = [name for name, value in parts.items() if value is not None]
    idle = [name for name in given if parameters[name] is not parts[name]]
    if unknown or idle:
        raise ValueError(
            f"The file has its own {(unknown + idle)[0]!r}. Leave the argument out."
        )
    row_format = _from_plain_format(document["format"])
    net = _new_net({**parameters, "callbacks": None}, row_format, document)
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
    return parameters, Model(net, row_format, random_state)


def _new_net(
    parameters: dict[str, Any], row_format: RowFormat, document: dict[str, Any]
) -> ContrastiveNet:
    """Return an untrained net for rows of a format."""
    rows = np.zeros((2, *row_format.row_shape), dtype=np.float32)
    if row_format.layout is not None and row_format.layout.are_bytes:
        rows = rows.astype(np.uint8)
    if document["allow_nan"] and row_format.columns is not None:
        rows[:, row_format.columns.numbers] = np.nan
    # What labels have measured is known.
    measured = {
        name: value
        for name, value in document["priors"].items()
        if isinstance(parameters.get(name), str)
    }
    device = resolve_device(parameters["device"])
    net = make_net(
        {**parameters, **measured},
        Rows(rows, row_format, device, np.array([0, 1])),
        seed=0,
    )
    net._set_training(False)
    return net


# Parameters


def _plain(name: str, value: Any) -> Any:
    """Return a parameter as a value of JSON."""
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
        own = [item for item in items if isinstance(item, dict) and OWN in item]
        if own:
            return own[0]
        return {"tuple": items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if _is_public(value, augmentations):
        return {"augmentation": type(value).__name__, **value.get_params()}
    if _is_public(value, losses):
        names = inspect.signature(type(value)).parameters
        return {"loss": type(value).__name__, **{n: vars(value)[n] for n in names}}
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
    public = getattr(modules[kind], value.pop(kind))
    return public if kind == "optimizer" else public(**value)


def _is_public(value: Any, module: Any) -> bool:
    """Return whether a value is an instance of a public class of a module of ours."""
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
