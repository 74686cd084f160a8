"""Small estimators and what tests of them share."""

import os

import torch

from sklearn_bcl import BCLEmbedder

# With SKLEARN_BCL_LONG=1, trials at random moments and of random values are many more.
LONG = "SKLEARN_BCL_LONG" in os.environ


def small(**params):
    """Return a fast embedder; its sizes are only set where they can act."""
    defaults = {
        "n_components": 8,
        "hidden_layer_sizes": (16,),
        "projection_size": 8,
        "batch_size": 32,
        "max_epochs": 3,
        "random_state": 0,
    }
    encoder = params.get("encoder", "mlp")
    if encoder != "mlp":
        del defaults["hidden_layer_sizes"]
    if encoder not in ("mlp", "convnet", "auto"):
        del defaults["n_components"]
    return BCLEmbedder(**{**defaults, **params})


def weights(module):
    return {key: value.clone() for key, value in module.state_dict().items()}


def noise(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator, device=x.device)
