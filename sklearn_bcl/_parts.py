"""Parameters of the estimator made into the parts of a net, and these into the net.

What the user hands in is copied, and each part is tried on two rows before training, so
that an error comes early and names the parameter.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sklearn.base import clone
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback, EarlyStopping
from torch import Tensor, nn
from torch.nn import functional as F

from sklearn_bcl._net import (
    Augmentation,
    ContrastiveNet,
    EpochProgress,
    ProjectedEncoder,
)
from sklearn_bcl._priors import (
    DEFAULT_ALPHA,
    DEFAULT_TAU_PLUS,
    LabelledRows,
    make_alpha_schedule,
)
from sklearn_bcl._random import isolated_rng
from sklearn_bcl._rows import MIN_BATCH_ROWS, Rows
from sklearn_bcl.augmentations import (
    FeatureCorruption,
    FeatureMasking,
    GaussianNoise,
    ImageAugmentation,
)
from sklearn_bcl.encoders import ConvNetEncoder, MLPEncoder, resnet_encoder
from sklearn_bcl.losses import BCLLoss, DebiasedLoss, HardNegativeLoss, NTXentLoss

if TYPE_CHECKING:
    from sklearn_bcl._embedder import BCLEmbedder

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
AUTO_EPOCHS = (10, 200)  # at least, at most
AUTO_ROWS = 2_400  # up to which it is the most
ROBUST_ROWS = 1_000  # of a table, from which on robustness="auto" is 1
LOSSES = ("bcl", "simclr", "dcl", "hcl")


def auto_epochs(n_rows: int, early_stopping: bool) -> int:
    """Return the number of epochs of ``max_epochs="auto"``."""
    least, most = AUTO_EPOCHS
    if early_stopping:
        return most
    return int(np.clip(np.ceil(most * np.sqrt(AUTO_ROWS / n_rows)), least, most))


def auto_robustness(n_rows: int, *, is_table: bool) -> float:
    """Return the robustness of ``robustness="auto"``."""
    return float(is_table and n_rows >= ROBUST_ROWS)


def fixed_priors(
    embedder: BCLEmbedder, labelled: LabelledRows | None
) -> tuple[float, float]:
    """Return tau_plus, and alpha before any measurement of it."""
    tau_plus, alpha = embedder.tau_plus, embedder.alpha
    if tau_plus == "auto":
        tau_plus = DEFAULT_TAU_PLUS if labelled is None else labelled.class_prior
    return tau_plus, DEFAULT_ALPHA if alpha == "auto" else alpha


def build_net(
    embedder: BCLEmbedder, rows: Rows, labelled: LabelledRows | None, seed: int
) -> ContrastiveNet:
    """Return an initialised, untrained net for some rows."""
    example = rows[:2]
    tau_plus, alpha = fixed_priors(embedder, labelled)
    robustness = embedder.robustness
    if robustness == "auto":
        robustness = auto_robustness(len(rows), is_table=example.ndim == 2)
    loss = make_loss(
        embedder.loss,
        embedder.projection_size,
        temperature=embedder.temperature,
        tau_plus=tau_plus,
        alpha=alpha,
        beta=embedder.beta,
        robustness=robustness,
    )
    augmentation = make_augmentation(embedder.augmentation, example)
    with isolated_rng(seed, rows.device):
        encoder, size = make_encoder(
            embedder.encoder,
            example,
            n_components=embedder.n_components,
            hidden_layer_sizes=embedder.hidden_layer_sizes,
        )
        module = ProjectedEncoder(encoder, size, embedder.projection_size)
    optimizer, settings = make_optimizer(
        embedder.optimizer, embedder.weight_decay, rows.device
    )
    net = ContrastiveNet(
        module,
        augmentation=augmentation,
        criterion=loss,
        optimizer=optimizer,
        lr=embedder.learning_rate,
        batch_size=embedder.batch_size,
        callbacks=make_callbacks(embedder, loss, labelled),
        train_split=None,
        device=str(rows.device),
        verbose=int(embedder.verbose),
        **{f"optimizer__{key}": value for key, value in settings.items()},
    )
    return net.initialize()


def make_callbacks(
    embedder: BCLEmbedder, loss: nn.Module, labelled: LabelledRows | None
) -> list[Callback]:
    """Return the schedule of alpha, copies of the user's callbacks, and our others."""
    callbacks = make_alpha_schedule(
        embedder.alpha_schedule,
        loss,
        labelled if embedder.alpha == "auto" and embedder.loss == "bcl" else None,
        every=embedder.alpha_update_epochs,
        early_stopping=embedder.early_stopping,
    )
    callbacks += copy.deepcopy(list(embedder.callbacks or []))
    if embedder.early_stopping:
        callbacks.append(
            EarlyStopping(
                patience=embedder.n_iter_no_change,
                threshold=embedder.tol,
                threshold_mode="abs",
                load_best=True,
            )
        )
    if embedder.verbose:
        callbacks.append(EpochProgress())
    return callbacks


def make_loss(
    loss: str | nn.Module,
    projection_size: int,
    *,
    temperature: float,
    tau_plus: float,
    alpha: float,
    beta: float,
    robustness: float,
) -> nn.Module:
    """Return a new loss, or a copy of the user's."""
    if loss == "simclr":
        return NTXentLoss(temperature)
    if loss == "dcl":
        return DebiasedLoss(temperature, tau_plus)
    if loss == "hcl":
        return HardNegativeLoss(temperature, tau_plus)
    if loss == "bcl":
        return BCLLoss(temperature, tau_plus, alpha, beta, robustness)
    module = copy.deepcopy(loss)
    assert isinstance(module, nn.Module)
    z = F.normalize(torch.ones(2, projection_size), dim=1)
    try:
        with torch.no_grad():
            value = copy.deepcopy(module).cpu()(z, z)
    except Exception as error:
        raise ValueError(
            "'loss' must be called as loss(z1, z2) on two tensors of shape (n, "
            f"{projection_size}). It fails: {error}"
        ) from error
    if not isinstance(value, Tensor) or value.ndim != 0:
        raise ValueError(f"'loss' must return a scalar tensor. Got {_describe(value)}.")
    return module


def make_augmentation(
    augmentation: str | Augmentation, example: Tensor
) -> Augmentation:
    """Return a new augmentation, or a copy of the user's."""
    if augmentation == "auto":
        augmentation = "images" if example.ndim == 4 else "corruption"
    copied: Augmentation = (
        AUGMENTATIONS[augmentation]()
        if isinstance(augmentation, str)
        else clone(augmentation, safe=False)
    )
    generator = torch.Generator(example.device).manual_seed(0)
    try:
        with isolated_rng(0, example.device):
            view = copied(example.clone(), generator)
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            "'augmentation' must be called as f(x, generator). It fails on rows of "
            f"shape {tuple(example.shape)}: {error}"
        ) from error
    if (
        not isinstance(view, Tensor)
        or view.shape != example.shape
        or view.dtype != example.dtype
    ):
        raise ValueError(
            "'augmentation' must return a tensor of the shape and dtype of its input, "
            f"{_describe(example)}. Got {_describe(view)}."
        )
    return copied


def make_encoder(
    encoder: str | nn.Module | Callable[[], nn.Module],
    example: Tensor,
    *,
    n_components: int | Literal["auto"],
    hidden_layer_sizes: Sequence[int],
) -> tuple[nn.Module, int]:
    """Return a new encoder, or a copy of the user's, and the size of its output."""
    is_image = example.ndim == 4
    if encoder == "auto":
        encoder = "convnet" if is_image else "mlp"
    if isinstance(encoder, str) and encoder != "mlp" and not is_image:
        raise ValueError(
            f"'encoder' {encoder!r} needs images. Got rows of {example.shape[1]} "
            "features: give images of shape (n, h, w), (n, c, h, w) or (n, h, w, c), "
            "set 'image_shape' to reshape the rows, or use 'mlp'."
        )
    if n_components == "auto":
        n_components = 2048 if encoder == "convnet" else 256
    if encoder == "convnet":
        return ConvNetEncoder(example.shape[1:], n_components), n_components
    if encoder == "mlp":
        sizes = list(hidden_layer_sizes)
        if not all(isinstance(size, Integral) and size > 0 for size in sizes):
            raise ValueError(
                "'hidden_layer_sizes' must be a sequence of positive integers, such "
                f"as (512,). Got {hidden_layer_sizes!r}."
            )
        n_features = example[0].numel()
        return MLPEncoder(n_features, n_components, sizes), n_components
    try:
        module = _new_module(encoder, example.shape[1]).to(example.device)
        with torch.no_grad():
            output = module.eval()(example)
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
    ):
        raise ValueError(
            "'encoder' must return a tensor of shape (n_rows, size). "
            f"Got {_describe(output)} for {len(example)} rows."
        )
    return module, output.shape[1]


def _new_module(
    encoder: str | nn.Module | Callable[[], nn.Module], n_channels: int
) -> nn.Module:
    if isinstance(encoder, str):
        return resnet_encoder(encoder, n_channels)
    return copy.deepcopy(encoder) if isinstance(encoder, nn.Module) else encoder()


def make_optimizer(
    optimizer: str | Callable[..., Any], weight_decay: float, device: torch.device
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the class of an optimiser, and its settings but for the learning rate."""
    factory, settings = (
        OPTIMIZERS[optimizer] if isinstance(optimizer, str) else (optimizer, {})
    )
    if optimizer in ("adam", "adamw") and device.type in ("cpu", "cuda"):
        settings = {"fused": True}  # one kernel for all weights, a tenth of a step
    if "weight_decay" in inspect.signature(factory).parameters:
        settings = {"weight_decay": weight_decay, **settings}
    return factory, settings


def split_rows(
    rows: Rows, validation_fraction: float, random_state: np.random.RandomState
) -> tuple[Rows, Rows]:
    """Split into rows to train on and rows to hold out."""
    n_held_out = int(np.ceil(validation_fraction * len(rows)))
    n_left = len(rows) - n_held_out
    if min(n_held_out, n_left) < MIN_BATCH_ROWS:
        raise ValueError(
            f"'validation_fraction' {validation_fraction!r} splits {len(rows)} samples "
            f"into {n_left} to train on and {n_held_out} to hold out, and both need "
            f"{MIN_BATCH_ROWS} at least. Change it, give more rows or set "
            "early_stopping=False."
        )
    left, held_out = train_test_split(
        np.arange(len(rows)), test_size=n_held_out, random_state=random_state
    )
    return rows.subset(left), rows.subset(held_out)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"shape {tuple(value.shape)} and {value.dtype}"
    return type(value).__name__
