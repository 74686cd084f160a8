"""From the parameters of the estimator, a dict of plain values, to a net.

Before that, what the parameters ask of each other and of the data.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np
from torch import nn

from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.labels import class_prior
from sklearn_bcl._data.rows import Rows
from sklearn_bcl._net import ContrastiveNet, takes_labels
from sklearn_bcl._parts import (
    LOSSES,
    auto_epochs,
    make_encoder,
    make_loss,
    make_optimizer,
    make_views,
    optimizer_factory,
    resolve_encoder,
)
from sklearn_bcl._random import isolated_rng
from sklearn_bcl.callbacks import MeasuredAlpha, find_callbacks, make_callbacks
from sklearn_bcl.encoders import ProjectedEncoder

LOSS_PARAMETERS = ("temperature", "tau_plus", "alpha", "beta", "robustness")
UNMEASURED_ALPHA = 0.9  # before the first measurement
STOPPING_PARAMETERS = ("validation_fraction", "n_iter_no_change", "tol")


def refuse_idle(
    parameters: dict[str, Any], defaults: dict[str, Any], row_format: RowFormat
) -> None:
    """Raise ``ValueError`` for a parameter that is set but cannot act."""
    for name, reason in _idle(parameters, row_format):
        value, default = parameters[name], defaults[name]
        if not np.array_equal(value, default):
            raise ValueError(
                f"{name!r} {value!r} cannot act: {reason}. Leave {name!r} at its "
                f"default, {default!r}."
            )


def _idle(
    parameters: dict[str, Any], row_format: RowFormat
) -> Iterator[tuple[str, str]]:
    """Yield the parameters that cannot act beside the others, with the reasons."""
    layout = row_format.layout
    encoder = resolve_encoder(parameters["encoder"], layout is not None)
    if encoder != "mlp":
        yield "hidden_layer_sizes", f"'encoder' {encoder!r} has layers of its own"
    if encoder not in ("mlp", "convnet"):
        yield "n_components", f"'encoder' {encoder!r} has an output of its own size"
    if layout is None:
        yield "channel_order", "the rows are those of a table"
    elif len(layout.shape) == 2:
        yield "channel_order", f"images of shape {layout.shape} have one channel"
    yield from _idle_in_loss(parameters)
    optimizer = parameters["optimizer"]
    factory, _ = optimizer_factory(optimizer)
    if "weight_decay" not in inspect.signature(factory).parameters:
        yield "weight_decay", f"'optimizer' {optimizer!r} has none"
    if not parameters["early_stopping"]:
        for name in STOPPING_PARAMETERS:
            yield name, "early_stopping is False"


def _idle_in_loss(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    loss = parameters["loss"]
    acting: set[str] = set()
    reason = "brings its own"
    if isinstance(loss, str):
        acting, reason = set(inspect.signature(LOSSES[loss]).parameters), "has none"
    for name in LOSS_PARAMETERS:
        if name not in acting:
            yield name, f"'loss' {loss!r} {reason}"
    if isinstance(parameters["alpha"], Real) and find_callbacks(
        parameters["callbacks"], MeasuredAlpha
    ):
        yield "alpha", "MeasuredAlpha among the 'callbacks' measures it"


def labels_asked_by(parameters: dict[str, Any]) -> dict[str, str]:
    """Return what needs labels, each with its name in messages.

    The keys are "tau_plus", "alpha" and "loss".
    """
    asked = {
        name: f"{name!r} 'labels'"
        for name in ("tau_plus", "alpha")
        if isinstance(parameters[name], str)
    }
    if find_callbacks(parameters["callbacks"], MeasuredAlpha):
        asked.setdefault("alpha", "'callbacks' MeasuredAlpha")
    loss = parameters["loss"]
    if isinstance(loss, nn.Module) and takes_labels(loss):
        asked["loss"] = f"'loss' {type(loss).__name__}"
    return asked


def make_net(parameters: dict[str, Any], train: Rows, seed: int) -> ContrastiveNet:
    """Return an initialized, untrained net, its parts tried on the first rows."""
    example = train[:2]
    loss = _make_loss(parameters, train)
    views = make_views(parameters["augmentation"], example)
    with isolated_rng(seed, train.device):
        encoder, size = make_encoder(
            parameters["encoder"],
            train.format.encoder_shape,
            example,
            n_components=parameters["n_components"],
            hidden_layer_sizes=parameters["hidden_layer_sizes"],
        )
        module = ProjectedEncoder(encoder, size, parameters["projection_size"])
    callbacks = make_callbacks(
        parameters["callbacks"],
        loss,
        alpha_is_measured=isinstance(parameters["alpha"], str),
        early_stopping=parameters["early_stopping"],
        n_iter_no_change=parameters["n_iter_no_change"],
        tol=parameters["tol"],
        show_progress=bool(parameters["verbose"]),
    )
    max_epochs = parameters["max_epochs"]
    if isinstance(max_epochs, str):
        max_epochs = auto_epochs(len(train), parameters["early_stopping"])
    net = ContrastiveNet(
        module,
        augmentation=views,
        criterion=loss,
        lr=parameters["learning_rate"],
        batch_size=parameters["batch_size"],
        max_epochs=max_epochs,
        callbacks=callbacks,
        train_split=None,
        device=str(train.device),
        verbose=int(parameters["verbose"]),
        **make_optimizer(
            parameters["optimizer"], parameters["weight_decay"], train.device
        ),
    )
    return net.initialize()


def _make_loss(parameters: dict[str, Any], train: Rows) -> nn.Module:
    """Return the loss, with the priors that labels set."""
    values = {name: parameters[name] for name in LOSS_PARAMETERS}
    asked_by = labels_asked_by(parameters)
    for name in ("tau_plus", "alpha"):
        if name in asked_by:
            prior = class_prior(train.labels, asked_by=asked_by[name])
            if values["tau_plus"] == "labels":
                values["tau_plus"] = prior
    if values["alpha"] == "labels":
        values["alpha"] = UNMEASURED_ALPHA
    first_labels = None if train.y is None else train.y[:2].cpu()
    return make_loss(
        parameters["loss"], parameters["projection_size"], first_labels, **values
    )
