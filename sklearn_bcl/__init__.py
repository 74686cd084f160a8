"""Bayesian contrastive representation learning as a scikit-learn estimator."""

from sklearn_bcl._embedder import BCLEmbedder

__all__ = ["BCLEmbedder"]

__version__ = "0.1.0.dev3"
