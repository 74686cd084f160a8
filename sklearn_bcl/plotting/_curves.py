"""Curves of the loss over epochs, and of the importance weight over ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_is_fitted

from sklearn_bcl.bayes import importance_weights
from sklearn_bcl.plotting._style import (
    PALETTE,
    STYLES,
    UNLABELED,
    make_axes,
    merge_style,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class LossCurveDisplay:
    """Training loss, and loss on the held-out rows, of each epoch.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Mean training loss of each epoch, in nats.
    validation_loss_curve : array-like of shape (n_epochs,), default=None
        Loss on the held-out rows after each epoch, in nats. None draws no such curve.
    name : str, default=None
        Prefix of the entries of the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    EmbeddingDisplay : An embedding in two dimensions.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn_bcl import BCLEmbedder
    >>> from sklearn_bcl.plotting import LossCurveDisplay
    >>> X, _ = load_iris(return_X_y=True)
    >>> embedder = BCLEmbedder(max_epochs=5, random_state=0).fit(X)
    >>> len(LossCurveDisplay.from_estimator(embedder).loss_curve)
    5
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self,
        loss_curve: ArrayLike,
        validation_loss_curve: ArrayLike | None = None,
        name: str | None = None,
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        name: str | None = None,
        ax: Axes | None = None,
        **line_params: Any,
    ) -> LossCurveDisplay:
        """Draw the loss curves of a fitted embedder.

        Parameters
        ----------
        estimator : BCLEmbedder
            Fitted embedder.
        name : str, default=None
            Prefix of the entries of the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **line_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        check_is_fitted(estimator, "loss_curve_")
        held_out = getattr(estimator, "validation_loss_curve_", None)
        return cls(estimator.loss_curve_, held_out, name).plot(ax, **line_params)

    def plot(self, ax: Axes | None = None, **line_params: Any) -> LossCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **line_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        (axes,) = make_axes(ax)
        prefix = "" if self.name is None else f"{self.name}, "
        curves = {"training": self.loss_curve}
        if self.validation_loss_curve is not None:
            curves["held out"] = self.validation_loss_curve
        n_drawn = len(axes.lines)
        for i, (label, curve) in enumerate(curves.items()):
            style: dict[str, Any] = {
                "color": PALETTE[(n_drawn + i) % len(PALETTE)],
                "linestyle": STYLES[i],
                "label": prefix + label,
            }
            # A warm start may have begun to hold out rows: its losses are the last.
            n_epochs, values = len(np.asarray(self.loss_curve)), np.asarray(curve)
            epochs = np.arange(n_epochs - len(values), n_epochs) + 1
            axes.plot(epochs, values, **merge_style("line", style, line_params))
        axes.set(xlabel="epoch", ylabel="loss (nats)")
        axes.legend()
        self.ax_, self.figure_ = axes, axes.figure
        return self


class ImportanceWeightDisplay:
    """Importance weight of a sample against the rank of its similarity.

    Parameters
    ----------
    p : array-like of shape (n_points,)
        Ranks divided by the number of unlabeled samples, in [0, 1]. The most similar
        sample has 1.
    weights : array-like of shape (n_points,)
        Importance weights.
    name : str, default=None
        Entry of the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the curve.
    figure_ : matplotlib Figure
        Figure of the axes.

    See Also
    --------
    sklearn_bcl.bayes.importance_weights : The weights as an array.

    Examples
    --------
    >>> from sklearn_bcl.plotting import ImportanceWeightDisplay
    >>> display = ImportanceWeightDisplay.from_priors(alpha=0.9, beta=0.5, tau_plus=0.1)
    >>> float(display.weights[-1].round(3))
    0.556
    """

    ax_: Axes
    figure_: Figure | SubFigure

    def __init__(
        self, p: ArrayLike, weights: ArrayLike, name: str | None = None
    ) -> None:
        self.p = p
        self.weights = weights
        self.name = name

    @classmethod
    def from_priors(
        cls,
        *,
        alpha: float,
        beta: float,
        tau_plus: float,
        ax: Axes | None = None,
        **line_params: Any,
    ) -> ImportanceWeightDisplay:
        """Draw the weights for given priors.

        Parameters
        ----------
        alpha : float in [0.5, 1]
            Location parameter, as in :func:`~sklearn_bcl.bayes.importance_weights`.
        beta : float in (0, 1]
            Concentration parameter.
        tau_plus : float in [0, 1)
            Class prior.
        ax : matplotlib Axes, default=None
            Axes to draw on, for example with curves of other priors. None creates a
            figure.
        **line_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ImportanceWeightDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a prior is out of range, or the priors are degenerate.
        ImportError
            If matplotlib is not installed.
        """
        p = np.linspace(0, 1, 201)
        weights = importance_weights(p, alpha=alpha, beta=beta, tau_plus=tau_plus)
        name = f"α = {alpha:.3g}, β = {beta:.3g}, τ⁺ = {tau_plus:.3g}"
        return cls(p, weights, name).plot(ax, **line_params)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: Axes | None = None, **line_params: Any
    ) -> ImportanceWeightDisplay:
        """Draw the weights for the priors of a fitted embedder.

        Parameters
        ----------
        estimator : BCLEmbedder
            Fitted embedder with the loss "bcl".
        ax : matplotlib Axes, default=None
            Axes to draw on, for example with curves of other priors. None creates a
            figure.
        **line_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ImportanceWeightDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If `estimator` is not fitted.
        AttributeError
            If the loss of `estimator` has no priors of the Bayesian model.
        ImportError
            If matplotlib is not installed.
        """
        check_is_fitted(estimator)
        return cls.from_priors(
            alpha=estimator.alpha_,
            beta=estimator.beta_,
            tau_plus=estimator.tau_plus_,
            ax=ax,
            **line_params,
        )

    def plot(
        self, ax: Axes | None = None, **line_params: Any
    ) -> ImportanceWeightDisplay:
        """Draw the weights, and the constant weight 1 of NT-Xent on empty axes.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a figure.
        **line_params : dict
            Arguments of :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ImportanceWeightDisplay
            The display, drawn.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        (axes,) = make_axes(ax)
        n_drawn = len(axes.lines)
        if n_drawn == 0:
            axes.axhline(1, color=UNLABELED, linewidth=1, label="1, of NT-Xent")
            n_drawn = 1
        style: dict[str, Any] = {
            "color": PALETTE[(n_drawn - 1) % len(PALETTE)],
            "linestyle": STYLES[(n_drawn - 1) % len(STYLES)],
            "label": self.name,
        }
        axes.plot(
            np.asarray(self.p),
            np.asarray(self.weights),
            **merge_style("line", style, line_params),
        )
        axes.set(
            xlabel="rank of the similarity / number of candidates",
            ylabel="importance weight ω",
        )
        axes.set_ylim(0, 1.05 * max(np.max(line.get_ydata()) for line in axes.lines))
        axes.legend()
        self.ax_, self.figure_ = axes, axes.figure
        return self
