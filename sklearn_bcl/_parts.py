"""The parts of a net from plain values: encoder, augmentation, loss, optimizer.

Parts that the user passes are copied. Each part is tried on two rows before training,
so that an error comes early and names the parameter.
"""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from sklearn_bcl._data.columns import Columns
from sklearn_bcl._data.format import RowFormat
from sklearn_bcl._net import Augmentation, ViewPair, labels_argument
from sklearn_bcl._random import Draws, draws_globally
from sklearn_bcl.augmentations import (
    FeatureCorruption,
    FeatureMasking,
    GaussianNoise,
    ImageAugmentation,
    OfColumns,
    identity_view,
)
from sklearn_bcl.encoders import (
    ConvNetEncoder,
    MLPEncoder,
    TableEncoder,
    TableInput,
    resnet_encoder,
)
from sklearn_bcl.losses import (
    BCLLoss,
    ContrastiveLoss,
    DebiasedLoss,
    HardNegativeLoss,
    NTXentLoss,
)

AUGMENTATIONS: dict[str, Callable[[], Augmentation]] = {
    "images": ImageAugmentation,
    "corruption": FeatureCorruption,
    "masking": FeatureMasking,
    "noise": GaussianNoise,
}
OPTIMIZERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
ENCODERS = ("auto", "mlp", "convnet", "resnet18", "resnet50")
LOSSES: dict[str, type[ContrastiveLoss]] = {
    "bcl": BCLLoss,
    "simclr": NTXentLoss,
    "dcl": DebiasedLoss,
    "hcl": HardNegativeLoss,
}
# Otherwise, of tables with the encoder "mlp".
AUTO_LEARNING_RATES = (1e-3, 2e-3)
AUTO_EPOCHS = (200, 80)  # for up to so many rows:
AUTO_ROWS = (2_400, 3_750)
LEAST_EPOCHS = 10
NOT_IMPORTABLE = (  # what pickle says of functions that users define in a session
    "local object",
    "lambda",
    "attribute lookup",
    "not the same object",
    "import of module",
)
PARAMETRIZED = (
    " Modules of torch.nn.utils.parametrizations cannot be pickled. Make their weights "
    "in forward instead, or train without."
)
STOPPED_EPOCHS = 200  # at most, where training stops early


def auto_epochs(n_rows: int, is_quick: bool, early_stopping: bool) -> int:
    """Return the number of epochs of ``max_epochs="auto"``.

    It falls with the root of the number of rows, so the number of steps grows with it.
    """
    most = AUTO_EPOCHS[is_quick]
    if early_stopping:
        return STOPPED_EPOCHS
    n_epochs = np.ceil(most * np.sqrt(AUTO_ROWS[is_quick] / n_rows))
    return int(np.clip(n_epochs, LEAST_EPOCHS, most))


def make_loss(
    loss: str | nn.Module,
    projection_size: int,
    labels: Tensor | None = None,
    **parameters: float,
) -> nn.Module:
    """Return a new loss, or a copy of a module.

    A new loss gets only the `parameters` that its constructor has. `labels` are two
    labels to try a module that takes labels.
    """
    if isinstance(loss, str):
        names = inspect.signature(LOSSES[loss]).parameters
        return LOSSES[loss](**{k: v for k, v in parameters.items() if k in names})
    module = copy.deepcopy(loss)
    z = torch.ones(2, projection_size, dtype=torch.float32, requires_grad=True)
    arguments = {} if labels_argument(module) is None else {"y": labels}
    call = f"loss(z1, z2{', y=y' if arguments else ''})"
    try:
        value = copy.deepcopy(module).cpu()(z, z, **arguments)
    except Exception as error:
        raise ValueError(
            f"'loss' must be called as {call} on two tensors of shape (n, "
            f"{projection_size}). It fails: {error}"
        ) from error
    if not isinstance(value, Tensor) or value.ndim != 0:
        raise ValueError(f"'loss' must return a scalar tensor. Got {_describe(value)}.")
    if not value.requires_grad:
        raise ValueError(
            "'loss' must be differentiable. Its value has no gradient: compute it from "
            "z1 and z2 by torch's functions, without detach() or no_grad()."
        )
    check_picklable("loss", module)
    return module


def is_for_sparse(view: Augmentation) -> bool:
    """Return whether a view of sparse rows can be drawn without zeros."""
    return view is identity_view or type(view) is FeatureCorruption


def make_views(augmentation: Any, row_format: RowFormat, example: Tensor) -> ViewPair:
    """Return how the first and the second view are drawn.

    `augmentation` is one for both, or a pair, in which None leaves rows as they are.
    """
    columns = row_format.columns
    if not isinstance(augmentation, tuple | list):
        both = _make_augmentation(augmentation, example, columns)
        return both, both
    if len(augmentation) != 2:
        raise ValueError(
            "'augmentation' must be one for both views or a pair (first view, second "
            f"view). Got {len(augmentation)} of them."
        )
    first, second = (
        identity_view if part is None else _make_augmentation(part, example, columns)
        for part in augmentation
    )
    if first is second is identity_view:
        raise ValueError(
            "'augmentation' (None, None) makes two equal views, from which nothing is "
            "learned. Give an augmentation for one view at least."
        )
    return first, second


def _make_augmentation(
    augmentation: Any, example: Tensor, columns: Columns | None
) -> Augmentation:
    """Return a new augmentation, or a copy of the user's, tried on two rows.

    One that asks is told which columns of a table hold categories.
    """
    if augmentation == "auto":
        augmentation = "images" if example.ndim == 4 else "corruption"
    if isinstance(augmentation, str) and augmentation not in AUGMENTATIONS:
        raise ValueError(
            f"'augmentation' must be one of {['auto', *AUGMENTATIONS]} or callable. "
            f"Got {augmentation!r}."
        )
    copied: Augmentation = (
        AUGMENTATIONS[augmentation]()
        if isinstance(augmentation, str)
        else clone(augmentation, safe=False)
    )
    if columns is not None and OfColumns.applies_to(copied):
        mask = torch.from_numpy(columns.is_categorical).to(example.device)
        copied = OfColumns(copied, mask if columns.categorical else None)
    _try_augmentation(copied, example, columns)
    if not isinstance(augmentation, str):
        check_picklable("augmentation", copied)
    return copied


def _try_augmentation(
    augmentation: Augmentation, example: Tensor, columns: Columns | None
) -> None:
    """Raise unless an augmentation does what it must, on some rows."""
    views, rows = [], example.clone()
    is_ours = not draws_globally(augmentation)
    for _ in range(1 if is_ours else 2):
        generator = torch.Generator(example.device).manual_seed(0)
        try:
            with Draws(0, example.device).lent(not is_ours):
                views.append(augmentation(rows, generator))
        except ImportError:
            raise
        except Exception as error:
            raise ValueError(
                "'augmentation' must be called as f(x, generator). It fails on rows of "
                f"shape {tuple(example.shape)}: {error}"
            ) from error
    view = views[0]
    if (
        not isinstance(view, Tensor)
        or view.shape != example.shape
        or view.dtype != example.dtype
        or view.device != example.device
    ):
        raise ValueError(
            "'augmentation' must return a tensor of the shape, dtype and device of its "
            f"input, {_describe(example)}. Got {_describe(view)}."
        )
    if not torch.equal(rows.nan_to_num(), example.nan_to_num()):
        raise ValueError(
            "'augmentation' must return a new tensor. It has changed its input: start "
            "with x = x.clone()."
        )
    if (view.isnan() & ~example.isnan().any() | view.isinf()).any():
        raise ValueError(
            "'augmentation' must return finite values. Of rows without missing values, "
            f"it returns {view[~view.isfinite()][0].item()}."
        )
    if not torch.equal(view.nan_to_num(), views[-1].nan_to_num()):
        warnings.warn(
            "'augmentation' does not draw from the generator that it is given, nor "
            "from torch's: equal generators give other views. So 'random_state' does "
            "not make fits reproducible.",
            UserWarning,
            stacklevel=2,
        )
    if columns is not None:
        _check_codes(view, columns)


def check_picklable(name: str, part: Any) -> None:
    """Raise ``ValueError`` for a part that cannot be sent to another process.

    A part that only lacks an importable name, such as a lambda, is allowed: joblib
    sends it to its workers.
    """
    try:
        pickle.dumps(part)
    except Exception as error:
        if any(reason in str(error) for reason in NOT_IMPORTABLE):
            return
        raise ValueError(
            f"{name!r} must be picklable, for parallel searches and to be saved. "
            f"Pickling it fails: {error}"
            + (PARAMETRIZED if "parametrized" in str(error) else "")
        ) from error


def _check_codes(view: Tensor, columns: Columns) -> None:
    """Raise if a view of rows has a value that is not a code of a category."""
    for j, categories in columns.by_number.items():
        codes = view[:, j][~view[:, j].isnan()]
        most = len(categories.frequent)
        if not ((codes == codes.round()) & (codes >= 0) & (codes <= most)).all():
            raise ValueError(
                "'augmentation' must leave codes of categories whole numbers, here "
                f"from 0 to {most}. {columns.labels([j])[0]} becomes {codes.tolist()}. "
                "With an argument 'categorical', it is told which columns hold codes."
            )


def make_encoder(
    encoder: str | nn.Module | Callable[[], nn.Module],
    row_format: RowFormat,
    example: Tensor,
    *,
    n_components: int | Literal["auto"],
    hidden_layer_sizes: Sequence[int],
    allow_nan: bool = False,
) -> tuple[nn.Module, int]:
    """Return a new encoder, or a copy of the user's, and the size of its output.

    `allow_nan` says whether values are missing in the training rows.
    """
    shape, is_image = row_format.encoder_shape, row_format.layout is not None
    encoder = resolve_encoder(encoder, is_image)
    if isinstance(encoder, str) and encoder != "mlp" and not is_image:
        raise ValueError(
            f"'encoder' {encoder!r} needs images. Got rows of {shape[0]} features: "
            "give images of shape (n, h, w), (n, c, h, w) or (n, h, w, c), set "
            "'image_shape' to reshape the rows, or use 'mlp'."
        )
    if n_components == "auto":
        n_components = 2048 if encoder == "convnet" else 256
    if encoder == "convnet":
        return ConvNetEncoder(shape, n_components), n_components
    columns, table_input = row_format.columns, None
    if columns is not None and not columns.is_plain:
        table_input = TableInput(columns, allow_nan).to(example.device)
    if encoder == "mlp":
        sizes = list(hidden_layer_sizes)
        if not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise ValueError(
                "'hidden_layer_sizes' must be a sequence of positive integers, such "
                f"as (512,). Got {hidden_layer_sizes!r}."
            )
        n_features = int(np.prod(shape))
        module: nn.Module = MLPEncoder(
            n_features,
            n_components,
            sizes,
            allow_nan=allow_nan,
            scale_features=table_input is None,
        )
        size = n_components
    else:
        if table_input is not None:
            example = table_input(example).detach()
        try:
            module, size = _try_encoder(encoder, shape[0], example)
        except ValueError as error:
            if table_input is None:
                raise
            raise ValueError(
                f"{error} The {row_format.n_features} columns of the table make "
                f"{shape[0]} features (sklearn_bcl.encoders.TableInput); "
                "torch.nn.LazyLinear finds their number."
            ) from error
    if table_input is not None:
        module = TableEncoder(table_input, module)
    return module, size


def resolve_encoder(encoder: Any, is_image: bool) -> Any:
    """Return which encoder "auto" means."""
    is_auto = isinstance(encoder, str) and encoder == "auto"
    return ("convnet" if is_image else "mlp") if is_auto else encoder


def _try_encoder(
    encoder: str | nn.Module | Callable[[], nn.Module],
    n_channels: int,
    example: Tensor,
) -> tuple[nn.Module, int]:
    """Return a ResNet, or the user's encoder, and the size of its output."""
    try:
        module = _new_module(encoder, n_channels).to(example.device)
        copy.deepcopy(module).train()(example)
        output = module.eval()(example)
        with torch.no_grad():
            head_input = getattr(module, "head_input", module)(example)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"'encoder' fails on rows of shape {tuple(example.shape)}: {error}"
        ) from error
    if (
        not isinstance(output, Tensor)
        or output.ndim != 2
        or len(output) != len(example)
        or output.dtype != torch.float32
    ):
        raise ValueError(
            "'encoder' must return a float32 tensor of shape (n_rows, size). "
            f"Got {_describe(output)} for {len(example)} rows."
        )
    is_trained = any(weight.requires_grad for weight in module.parameters())
    if is_trained and not output.requires_grad:
        raise ValueError(
            "'encoder' has weights to train, but its output has no gradient: leave "
            "detach() and no_grad() out, or freeze it by encoder.requires_grad_(False)."
        )
    if not isinstance(head_input, Tensor) or head_input.shape != output.shape:
        raise ValueError(
            "'encoder' has a method head_input(x), which must return a tensor of the "
            f"shape of its output, {tuple(output.shape)}. Got {_describe(head_input)}."
        )
    if not isinstance(encoder, str):
        check_picklable("encoder", module)
    return module, output.shape[1]


def _new_module(
    encoder: str | nn.Module | Callable[[], nn.Module], n_channels: int
) -> nn.Module:
    if isinstance(encoder, str):
        return resnet_encoder(encoder, n_channels)
    return copy.deepcopy(encoder) if isinstance(encoder, nn.Module) else encoder()


def make_optimizer(
    optimizer: str | Callable[..., Any], weight_decay: float, device: torch.device
) -> dict[str, Any]:
    """Return an optimizer as skorch takes it, without the learning rate."""
    factory, settings = optimizer_factory(optimizer)
    if not isinstance(optimizer, str):
        _try_optimizer(optimizer)
    if optimizer in ("adam", "adamw") and device.type in ("cpu", "cuda"):
        settings = {"fused": True}  # one kernel for all weights, a tenth of a step
    if takes_weight_decay(optimizer):
        settings = {"weight_decay": weight_decay, **settings}
    named = {f"optimizer__{name}": value for name, value in settings.items()}
    return {"optimizer": factory, **named}


def _try_optimizer(optimizer: Callable[..., Any]) -> None:
    """Raise unless an optimizer takes a step on a weight."""
    weights = [
        nn.Parameter(torch.ones(shape, dtype=torch.float32)) for shape in ((2, 2), 2)
    ]

    def closure() -> Tensor:
        for weight in weights:
            weight.grad = 2 * weight.detach()
        return weights[0].detach().square().sum()

    try:
        made = optimizer(weights, lr=1e-3)
        made.step(closure)
    except Exception as error:
        raise ValueError(
            "'optimizer' must be called as optimizer(weights, lr=...) and take steps "
            f"on dense gradients. It fails: {error}"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ValueError(
            "'optimizer' must make a torch.optim.Optimizer, as a subclass of it does. "
            f"Got {_describe(made)}."
        )


def optimizer_factory(
    optimizer: str | Callable[..., Any],
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the class of an optimizer, and the settings that its name means."""
    return OPTIMIZERS[optimizer] if isinstance(optimizer, str) else (optimizer, {})


def takes_weight_decay(optimizer: str | Callable[..., Any]) -> bool:
    """Return whether an optimizer has a weight decay that is not set already."""
    factory, _ = optimizer_factory(optimizer)
    if isinstance(factory, functools.partial) and "weight_decay" in factory.keywords:
        return False
    return "weight_decay" in inspect.signature(factory).parameters


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"shape {tuple(value.shape)} and {value.dtype}"
    return type(value).__name__
