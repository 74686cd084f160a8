"""Bayesian contrastive representation learning as a scikit-learn estimator."""

from sklearn_bcl._embedder import BCLEmbedder
from sklearn_bcl._version import VERSION as __version__

__all__ = ["BCLEmbedder", "__version__"]
