"""An embedding in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.multiclass import type_of_target

from sklearn_bcl._validation import is_labeled
from sklearn_bcl.plotting._style import (
    MARKERS,
    PALETTE,
    UNLABELED,
    make_axes,
    merge_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class EmbeddingDisplay:
    """Embedding in two dimensions, colored by labels.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Coordinates of the rows.
    labels : array-like of shape (n_samples,), default=None
        Classes, with -1 for no label, or continuous values. None draws one color.
    axis_names : sequence of two str, default=("first dimension", "second dimension")
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the points.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.plotting import EmbeddingDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> embedder = BCLEmbedder(max_epochs=5, random_state=0).fit(X)
    >>> display = EmbeddingDisplay.from_estimator(embedder, X, y)
    >>> display.points.shape
    (150, 2)
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        points: ArrayLike,
        labels: ArrayLike | None = None,
        axis_names: Sequence[str] = ("first dimension", "second dimension"),
    ) -> None:
        self.points = points
        self.labels = labels
        self.axis_names = axis_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike | None = None,
        *,
        reducer: Any = None,
        ax: Axes | None = None,
        **scatter_params: Any,
    ) -> EmbeddingDisplay:
        """Draw the embedding of rows in two dimensions.

        Parameters
        ----------
        estimator : fitted transformer
            Such as a :class:`~sklearn_bcl.BCLEmbedder`, or a pipeline that ends in one.
        X : array-like of shape (n_samples, n_features)
            Rows or images to embed.
        y : array-like of shape (n_samples,), default=None
            Classes, with -1 for no label, or continuous values. They set the colors.
        reducer : transformer, default=None
            Transformer to two dimensions, such as UMAP or t-SNE. A clone is fitted on
            the embedding. None is PCA, or no reduction for an embedding of two
            components.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **scatter_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : EmbeddingDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        ValueError
            If the embedding has a single component, if `reducer` does not return two
            dimensions, or if `X` and `y` differ in length.
        ImportError
            If matplotlib is not installed.
        """
        embedding = np.asarray(estimator.transform(X))
        names = ("first dimension", "second dimension")
        if reducer is None and embedding.shape[1] > 2:
            pca = PCA(2, random_state=0).fit(embedding)
            embedding = pca.transform(embedding)
            first, second = pca.explained_variance_ratio_
            names = (
                f"1st principal component ({first:.0%} of variance)",
                f"2nd principal component ({second:.0%} of variance)",
            )
        elif reducer is not None:
            embedding = np.asarray(clone(reducer).fit_transform(embedding))
        return cls(embedding, y, names).plot(ax, **scatter_params)

    def plot(self, ax: Axes | None = None, **scatter_params: Any) -> EmbeddingDisplay:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **scatter_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.scatter`.

        Returns
        -------
        display : EmbeddingDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `points` does not have two columns, or if `points` and `labels` differ in
            length.
        ImportError
            If matplotlib is not installed.
        """
        points = check_array(self.points)
        if points.shape[1] != 2:
            raise ValueError(
                f"'points' must have 2 columns. Got {points.shape[1]}: embed in two "
                "components at least, with a 'reducer' to two dimensions."
            )
        (axes,) = make_axes(ax)
        style: dict[str, Any] = {"s": 12, "linewidth": 0, "alpha": 0.8}
        params = merge_style("scatter", style, scatter_params)
        if self.labels is None:
            axes.scatter(*points.T, **({"color": PALETTE[0]} | params))
        else:
            labels = np.asarray(self.labels)
            check_consistent_length(points, labels)
            if type_of_target(labels) == "continuous":
                shades: dict[str, Any] = {"c": labels, "cmap": "viridis"}
                drawn = axes.scatter(*points.T, **(shades | params))
                axes.figure.colorbar(drawn, ax=axes, label="label")
            else:
                self._plot_classes(axes, points, labels, params)
        axes.set(xlabel=self.axis_names[0], ylabel=self.axis_names[1])
        self.ax_, self.figure_ = axes, axes.figure
        return self

    @staticmethod
    def _plot_classes(
        axes: Axes, points: NDArray[Any], labels: NDArray[Any], params: dict[str, Any]
    ) -> None:
        known = is_labeled(labels)
        if not known.all():
            style: dict[str, Any] = {
                "color": UNLABELED,
                "label": "no label",
                "zorder": 0,
            }
            axes.scatter(*points[~known].T, **(style | params))
        for i, name in enumerate(np.unique(labels[known])):
            style = {
                "color": PALETTE[i % len(PALETTE)],
                "marker": MARKERS[i % len(MARKERS)],
                "label": str(name),
            }
            axes.scatter(*points[labels == name].T, **(style | params))
        axes.legend(
            title="label", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.5
        )
