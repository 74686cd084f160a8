"""Figures in the style of scikit-learn: Displays, made and drawn by ``from_...``.

A class method ``from_...`` computes the values, draws them and returns a Display.
``plot`` draws a Display again. The figures need matplotlib (extra ``plot``), which is
imported at the first figure.
"""

from sklearn_bcl.plotting._curves import ImportanceWeightDisplay, LossCurveDisplay
from sklearn_bcl.plotting._embedding import EmbeddingDisplay
from sklearn_bcl.plotting._posterior import PosteriorDisplay
from sklearn_bcl.plotting._search import PriorSearchDisplay

__all__ = [
    "EmbeddingDisplay",
    "ImportanceWeightDisplay",
    "LossCurveDisplay",
    "PosteriorDisplay",
    "PriorSearchDisplay",
]
