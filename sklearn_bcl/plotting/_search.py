"""Scores of a search over the priors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_bcl.plotting._style import PALETTE, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PriorSearchDisplay:
    """Scores of a search over two priors, as a heat map.

    Parameters
    ----------
    scores : array-like of shape (n_y, n_x)
        Best mean score at each pair of values, NaN where there was none.
    x_values, y_values : array-like
        Values of the priors.
    x_name, y_name : str
        Their names.
    score_name : str, default="mean cross-validated score"
        Label of the colour bar.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    ax_: Axes
    figure_: Figure

    def __init__(
        self,
        scores: ArrayLike,
        x_values: ArrayLike,
        y_values: ArrayLike,
        x_name: str,
        y_name: str,
        score_name: str = "mean cross-validated score",
    ) -> None:
        self.scores = scores
        self.x_values = x_values
        self.y_values = y_values
        self.x_name = x_name
        self.y_name = y_name
        self.score_name = score_name

    @classmethod
    def from_search(
        cls,
        search: Any,
        *,
        x: str = "tau_plus",
        y: str = "alpha",
        metric: str | None = None,
        ax: Axes | None = None,
    ) -> PriorSearchDisplay:
        """Draw a fitted search; of settings that share both values, the best counts.

        Parameters
        ----------
        search : fitted GridSearchCV, RandomizedSearchCV or the like
        x, y : str, default="tau_plus" and "alpha"
            The priors, with or without the names of the steps that lead to them.
        metric : str, default=None
            Which score of a search with several. None is that of `refit`, if it has
            one, or the only one.
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : PriorSearchDisplay
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        if metric is None:
            metric = search.refit if isinstance(search.refit, str) else "score"
        key = f"mean_test_{metric}"
        if key not in results:
            found = [name[10:] for name in results if name.startswith("mean_test_")]
            raise ValueError(f"'metric' must be one of {found}. Got {metric!r}.")
        values = {}
        for name in (x, y):
            keys = [
                key
                for key in results
                if key == f"param_{name}"
                or (key.startswith("param_") and key.endswith(f"__{name}"))
            ]
            if len(keys) != 1:
                raise ValueError(
                    f"{name!r} must be one of the parameters searched. Got "
                    f"{[key[6:] for key in results if key.startswith('param_')]}."
                )
            values[name] = np.asarray(results[keys[0]], dtype=float)
        columns, column = np.unique(values[x], return_inverse=True)
        rows, row = np.unique(values[y], return_inverse=True)
        scores = np.full((len(rows), len(columns)), -np.inf)
        np.maximum.at(scores, (row, column), np.asarray(results[key], dtype=float))
        scores[np.isneginf(scores)] = np.nan
        return cls(scores, columns, rows, x, y).plot(ax)

    def plot(self, ax: Axes | None = None) -> PriorSearchDisplay:
        """Draw the heat map, with the scores written into it and the best one framed.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw. None makes a new figure.

        Returns
        -------
        display : PriorSearchDisplay
        """
        (axes,) = make_axes(ax)
        from matplotlib.patches import Polygon

        scores = np.asarray(self.scores, dtype=float)
        image = axes.imshow(scores, cmap="cividis", origin="lower", aspect="auto")
        middle = (np.nanmin(scores) + np.nanmax(scores)) / 2
        for (i, j), score in np.ndenumerate(scores):
            if np.isfinite(score):
                color = "white" if score <= middle else "black"
                axes.text(j, i, f"{score:.3f}", ha="center", va="center", color=color)
        i, j = np.unravel_index(np.nanargmax(scores), scores.shape)
        frame = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
        axes.add_patch(
            Polygon(
                frame + np.array([j, i]), fill=False, edgecolor=PALETTE[1], linewidth=3
            )
        )
        axes.set(
            xticks=range(scores.shape[1]),
            xticklabels=[f"{value:g}" for value in np.asarray(self.x_values)],
            yticks=range(scores.shape[0]),
            yticklabels=[f"{value:g}" for value in np.asarray(self.y_values)],
            xlabel=self.x_name,
            ylabel=self.y_name,
        )
        axes.figure.colorbar(image, ax=axes, label=self.score_name)
        self.ax_, self.figure_ = axes, axes.figure  # type: ignore[assignment]
        return self
