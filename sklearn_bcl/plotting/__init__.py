"""Figures in scikit-learn's style: a Display each, made `from_...` and drawn by `plot`.

All need matplotlib (extra ``plot``), which is imported when something is drawn.
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
