"""From the parameters of the estimator, a dict of plain values, to rows and a net.

It also checks which parameters are allowed together, and with these rows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from sklearn_bcl._bins import BinPredictor
from sklearn_bcl._checkpoint import origin_of
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._data.labels import class_prior, read_labels
from sklearn_bcl._data.rows import MIN_BATCH_ROWS, Rows
from sklearn_bcl._device import resolve_device
from sklearn_bcl._net import ContrastiveNet, ViewPair, labels_argument
from sklearn_bcl._parts import (
    AUTO_LEARNING_RATES,
    LOSSES,
    auto_epochs,
    is_for_sparse,
    make_encoder,
    make_loss,
    make_optimizer,
    make_views,
    resolve_encoder,
    takes_weight_decay,
)
from sklearn_bcl._processes import Share
from sklearn_bcl._random import Draws, Float32Factories
from sklearn_bcl.callbacks import (
    Checkpoint,
    MeasuredAlpha,
    find_callbacks,
    make_callbacks,
)
from sklearn_bcl.encoders import ProjectedEncoder, takes_sparse

LOSS_PARAMETERS = ("temperature", "tau_plus", "alpha", "beta")
MOST_DENSITY = 0.1  # up to which sparse products are faster than dense ones
MOST_HIDDEN_UNITS = (512, 128)  # of the head: as in the paper, and of "mlp" on tables
UNMEASURED_ALPHA = 0.9  # before the first measurement
STOPPING_PARAMETERS = ("validation_fraction", "n_iter_no_change", "tol")


@contextmanager
def unchanged_on_error(random_state: np.random.RandomState) -> Iterator[None]:
    """Leave a random state as it was if a call fails."""
    draws = random_state.get_state()
    try:
        yield
    except BaseException:
        # With random_state=None it is NumPy's global one, which is not ours to set.
        if random_state is not check_random_state(None):
            random_state.set_state(draws)
        raise


def share_random_state(
    share: Share, random_state: np.random.RandomState, parameters: dict[str, Any]
) -> np.random.RandomState:
    """Return a random state that is the same in all processes of a fit."""
    if share.size == 1:
        return random_state
    seed = parameters["random_state"]
    share.check_same({"random_state": seed if isinstance(seed, Integral) else None})
    if random_state is check_random_state(None):  # NumPy's, which is not ours to set
        return np.random.RandomState(share.from_first(random_state.randint(2**31)))
    random_state.set_state(share.from_first(random_state.get_state()))
    return random_state


def check_same_fit(share: Share, net: ContrastiveNet, train: Rows, seed: int) -> None:
    """Raise ``ValueError`` if the processes of a fit do not fit the same."""
    if share.size > 1:
        origin = origin_of(net, train, seed, most_rows=64)
        share.check_same({**origin, "kind of device": train.device.type})


def read_rows(
    X: Any,
    y: Any,
    parameters: dict[str, Any],
    defaults: dict[str, Any],
    row_format: RowFormat | None,
    incremental: bool,
    owner: str,
) -> Rows:
    """Return the rows of a fit, with their labels if a parameter asks for them.

    `row_format` is the format of an earlier fit that this fit continues. After an
    `incremental` fit, others may follow. `owner` is the class of the estimator, for
    messages.
    """
    _check_checkpoint(parameters, incremental)
    device = resolve_device(parameters["device"])
    is_one_of_several = incremental or row_format is not None
    layout = {name: parameters[name] for name in ("image_shape", "channel_order")}
    categorical_features = parameters["categorical_features"]
    if row_format is None:
        row_format, X = RowFormat.of(
            X,
            **layout,
            categorical_features=categorical_features,
            fills_gaps=resolve_encoder(parameters["encoder"], False) == "mlp",
            min_rows=MIN_BATCH_ROWS,
            owner=owner,
        )
    else:
        row_format.check_columns(categorical_features)
        X = row_format.read(X, min_rows=MIN_BATCH_ROWS)
        row_format.check_layout(X, **layout)
    refuse_idle(parameters, defaults, row_format)
    asked_by = labels_asked_by(parameters)
    if not asked_by or (y is None and list(asked_by) == ["optional loss"]):
        return Rows(X, row_format, device)
    loss_reads_labels = bool({"loss", "optional loss"} & asked_by.keys())
    labels = read_labels(
        X,
        y,
        asked_by=next(iter(asked_by.values())),
        fixed_codes=is_one_of_several and loss_reads_labels,
    )
    return Rows(X, row_format, device, labels)


def _check_checkpoint(parameters: dict[str, Any], incremental: bool) -> None:
    """Raise if a checkpoint is asked for where no fit could resume from it."""
    if not find_callbacks(parameters["callbacks"], Checkpoint):
        return
    if incremental:
        raise ValueError(
            "'callbacks' Checkpoint is for fit. Of partial_fit, each call is one epoch:"
            " save the embedder after it, embedder.save(path, optimizer=True)."
        )
    if not isinstance(parameters["random_state"], Integral):
        raise ValueError(
            "'callbacks' Checkpoint needs an int as 'random_state', so that a second "
            "call starts from the same weights. Got "
            f"{parameters['random_state']!r}."
        )


def hold_out(
    rows: Rows, parameters: dict[str, Any], random_state: np.random.RandomState
) -> tuple[Rows, Rows | None]:
    """Return the rows to train on, and those to stop early by."""
    if not parameters["early_stopping"]:
        return rows, None
    return rows.split(parameters["validation_fraction"], random_state)


def refuse_idle(
    parameters: dict[str, Any], defaults: dict[str, Any], row_format: RowFormat
) -> None:
    """Raise ``ValueError`` for a parameter that is set but cannot act."""
    for name, reason in _idle(parameters, row_format):
        value, default = parameters[name], defaults[name]
        if not _are_same(value, default):
            raise ValueError(
                f"{name!r} {value!r} cannot act: {reason}. Leave {name!r} at its "
                f"default, {default!r}."
            )


def _are_same(value: Any, default: Any) -> bool:
    if isinstance(value, Real) and isinstance(default, Real):
        return math.isclose(value, default, rel_tol=1e-6)  # of any precision
    return bool(np.array_equal(value, default))


def _idle(
    parameters: dict[str, Any], row_format: RowFormat
) -> Iterator[tuple[str, str]]:
    """Yield the parameters that have no effect given the others, with the reasons."""
    layout = row_format.layout
    encoder = resolve_encoder(parameters["encoder"], layout is not None)
    if encoder != "mlp":
        yield "hidden_layer_sizes", f"'encoder' {encoder!r} has layers of its own"
    if encoder not in ("mlp", "convnet"):
        yield "n_components", f"'encoder' {encoder!r} has an output of its own size"
    if parameters["bin_weight"] != 0:  # no loss of bins is no error anywhere
        if layout is not None:
            yield "bin_weight", "the rows are images"
        elif row_format.columns is None or not row_format.columns.numbers:
            yield "bin_weight", "no column of 'X' holds numbers"
    if layout is None:
        yield "channel_order", "the rows are those of a table"
    else:
        if parameters["categorical_features"] is not None:
            yield "categorical_features", "the rows are images"
        if len(layout.shape) == 2:
            yield "channel_order", f"images of shape {layout.shape} have one channel"
    yield from _idle_in_loss(parameters)
    optimizer = parameters["optimizer"]
    if parameters["weight_decay"] != 0 and not takes_weight_decay(optimizer):
        yield "weight_decay", f"'optimizer' {optimizer!r} has no such argument to set"
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
    """Return what asks for labels, each with its name in messages.

    The keys are "tau_plus", "alpha", "loss", and "optional loss" for a loss that takes
    labels where there are any.
    """
    asked = {
        name: f"{name}='labels'"
        for name in ("tau_plus", "alpha")
        if isinstance(parameters[name], str)
    }
    if find_callbacks(parameters["callbacks"], MeasuredAlpha):
        asked.setdefault("alpha", "'callbacks' MeasuredAlpha")
    loss = parameters["loss"]
    argument = labels_argument(loss) if isinstance(loss, nn.Module) else None
    if argument is not None:
        is_optional = argument.default is not argument.empty
        key = "optional loss" if is_optional else "loss"
        asked[key] = f"'loss' {type(loss).__name__}"
    return asked


def make_net(parameters: dict[str, Any], train: Rows, seed: int) -> ContrastiveNet:
    """Return an initialized, untrained net, its parts tried on the first rows."""
    example = train[:2]

    def trial(name: str) -> AbstractContextManager[None]:
        # What is not ours may draw from torch's global generators.
        is_ours = isinstance(parameters[name], str)
        return Draws(seed, train.device).lent(not is_ours)

    with trial("loss"):
        loss = _make_loss(parameters, train)
    with trial("augmentation"):
        views = make_views(parameters["augmentation"], train.format, example)
    with trial("encoder"), Float32Factories(torch.Generator().manual_seed(seed)):
        module = _make_module(parameters, train, seed)
    callbacks = make_callbacks(
        parameters["callbacks"],
        loss,
        alpha_is_measured=isinstance(parameters["alpha"], str),
        early_stopping=parameters["early_stopping"],
        n_iter_no_change=parameters["n_iter_no_change"],
        tol=parameters["tol"],
        show_progress=bool(parameters["verbose"]),
    )
    return ContrastiveNet(
        module,
        augmentation=views,
        bin_weight=float(parameters["bin_weight"]),
        keep_sparse=_keeps_sparse(train, module.encoder, views),
        criterion=loss,
        batch_size=parameters["batch_size"],
        **_schedule(parameters, train),
        callbacks=callbacks,
        train_split=None,
        device=str(train.device),
        verbose=int(parameters["verbose"]),
        **make_optimizer(
            parameters["optimizer"], parameters["weight_decay"], train.device
        ),
    ).initialize()


def _make_module(
    parameters: dict[str, Any], train: Rows, seed: int
) -> ProjectedEncoder:
    """Return a new encoder and the heads that train it."""
    encoder, size = make_encoder(
        parameters["encoder"],
        train.format,
        train[:2],
        n_components=parameters["n_components"],
        hidden_layer_sizes=parameters["hidden_layer_sizes"],
        allow_nan=train.has_gaps,
    )
    bins = None
    if train.format.layout is None and parameters["bin_weight"] > 0:
        bins = BinPredictor.of(train, size, np.random.RandomState(seed))
    return ProjectedEncoder(
        encoder,
        size,
        parameters["projection_size"],
        bins,
        MOST_HIDDEN_UNITS[_is_quick(parameters, train)],
    )


def _schedule(parameters: dict[str, Any], train: Rows) -> dict[str, Any]:
    """Return the step size and the number of epochs."""
    max_epochs, learning_rate = parameters["max_epochs"], parameters["learning_rate"]
    is_quick = _is_quick(parameters, train)
    if isinstance(max_epochs, str):
        max_epochs = auto_epochs(len(train), is_quick, parameters["early_stopping"])
    if isinstance(learning_rate, str):
        learning_rate = AUTO_LEARNING_RATES[is_quick]
    return {"lr": learning_rate, "max_epochs": max_epochs}


def _is_quick(parameters: dict[str, Any], train: Rows) -> bool:
    """Return whether the encoder is "mlp" on a table, which trains in fewer steps."""
    return train.format.layout is None and isinstance(parameters["encoder"], str)


def _keeps_sparse(train: Rows, encoder: nn.Module, views: ViewPair) -> bool:
    """Return whether batches of sparse rows stay sparse."""
    return (
        train.density <= MOST_DENSITY
        and train.device.type == "cpu"
        and takes_sparse(encoder)
        and all(is_for_sparse(view) for view in views)
    )


def _make_loss(parameters: dict[str, Any], train: Rows) -> nn.Module:
    """Return the loss, with the priors that labels set."""
    values = {name: parameters[name] for name in LOSS_PARAMETERS}
    asked_by = labels_asked_by(parameters)
    if "alpha" in asked_by:  # what is measured needs the same labels
        class_prior(train.labels, asked_by=asked_by["alpha"])
    if isinstance(values["alpha"], str):
        values["alpha"] = UNMEASURED_ALPHA
    if isinstance(values["tau_plus"], str):
        prior = class_prior(train.labels, asked_by=asked_by["tau_plus"])
        values["tau_plus"] = prior
    example = None
    if train.y is not None:
        labels = train.labels
        known_first = np.argsort(labels == -1, kind="stable")[:2]
        example = torch.from_numpy(labels[known_first])
    return make_loss(
        parameters["loss"], parameters["projection_size"], example, **values
    )
