"""Scores of a search over the priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_bcl.plotting._style import PALETTE, make_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def _values(results: dict[str, Any], name: str) -> Any:
    """Return the values of a parameter, masked where a setting has none."""
    keys = [
        key
        for key in results
        if key == f"param_{name}"
        or (key.startswith("param_") and key.endswith(f"__{name}"))
    ]
    if len(keys) != 1:
        searched = [key[6:] for key in results if key.startswith("param_")]
        raise ValueError(
            f"The parameter {name!r} must be one of those searched, {searched}, or the "
            f"end of one after '__'. Got {len(keys)} that fit: give the full name."
        )
    return results[keys[0]]


def _sorted(values: Any) -> list[Any]:
    """Return different values, numbers before names such as "auto"."""
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


class PriorSearchDisplay:
    """Scores of a search over two priors, as a heat map.

    Parameters
    ----------
    scores : array-like of shape (n_y, n_x)
        Best mean score for each pair of values, NaN for a pair without a score.
    x_values : sequence of length n_x
        Values of the prior on the horizontal axis.
    y_values : sequence of length n_y
        Values of the prior on the vertical axis.
    x_name : str
        Name of the prior on the horizontal axis.
    y_name : str
        Name of the prior on the vertical axis.
    score_name : str, default="mean cross-validated score"
        Label of the color bar.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the heat map.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sklearn_bcl.bayes.prior_grid : Settings of the priors for a search.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.plotting import PriorSearchDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> grid = {"tau_plus": [0.1, 0.3], "alpha": [0.7, 0.9]}
    >>> search = GridSearchCV(BCLEmbedder(max_epochs=1, random_state=0), grid, cv=2)
    >>> PriorSearchDisplay.from_search(search.fit(X)).scores.shape
    (2, 2)
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        scores: ArrayLike,
        x_values: Sequence[Any],
        y_values: Sequence[Any],
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
        """Draw the scores of a fitted search.

        If several settings have the same values of both priors, the heat map shows the
        best score. Settings without a value of one of the priors are left out. For a
        search by successive halving, the last score of each setting is used.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV or similar
            Fitted search of scikit-learn.
        x : str, default="tau_plus"
            Prior on the horizontal axis, with or without the names of pipeline steps.
        y : str, default="alpha"
            Prior on the vertical axis, with or without the names of pipeline steps.
        metric : str, default=None
            Name of the score in a search with several scores. None is the score that
            `refit` names, or the only score.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : PriorSearchDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `search` is not fitted.
        ValueError
            If `x`, `y` or `metric` is not part of the search, or if no score is finite.
        ImportError
            If matplotlib is not installed.
        """
        check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        if metric is None:
            metric = search.refit if isinstance(search.refit, str) else "score"
        key = f"mean_test_{metric}"
        if key not in results:
            found = [name[10:] for name in results if name.startswith("mean_test_")]
            raise ValueError(f"'metric' must be one of {found}. Got {metric!r}.")
        found_x, found_y = (_values(results, name) for name in (x, y))
        searched = ~(np.ma.getmaskarray(found_x) | np.ma.getmaskarray(found_y))
        scores_of = np.asarray(results[key], dtype=float)
        columns, rows = (_sorted(found[searched]) for found in (found_x, found_y))
        shape = (len(rows), len(columns))
        scores, rungs = np.full(shape, np.nan), np.full(shape, -1)
        # Successive halving scores the survivors of a rung anew, on more resources.
        for k in np.flatnonzero(searched):
            place = rows.index(found_y[k]), columns.index(found_x[k])
            rung = results.get("iter", np.zeros(len(scores_of), dtype=int))[k]
            if rung > rungs[place]:
                scores[place], rungs[place] = scores_of[k], rung
            elif rung == rungs[place]:
                scores[place] = np.fmax(scores[place], scores_of[k])
        if not np.isfinite(scores).any():
            raise ValueError(
                f"The search has no finite mean_test_{metric} for which both {x!r} and "
                f"{y!r} were set."
            )
        return cls(scores, columns, rows, x, y).plot(ax)

    def plot(self, ax: Axes | None = None) -> PriorSearchDisplay:
        """Draw the heat map with the scores as text and a frame around the best score.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.

        Returns
        -------
        display : PriorSearchDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
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
            xticklabels=[str(value) for value in self.x_values],
            yticks=range(scores.shape[0]),
            yticklabels=[str(value) for value in self.y_values],
            xlabel=self.x_name,
            ylabel=self.y_name,
        )
        axes.figure.colorbar(image, ax=axes, label=self.score_name)
        self.ax_, self.figure_ = axes, axes.figure
        return self
