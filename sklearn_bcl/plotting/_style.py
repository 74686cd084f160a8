"""Style of all Displays: colors, markers, and axes to draw on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colors, which the color-blind can tell apart, less black and yellow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP*X"
STYLES = ("-", "--", "-.", ":")
UNLABELED = "#BBBBBB"


def merge_style(artist: str, style: dict[str, Any], given: Any) -> dict[str, Any]:
    """Return the style of a matplotlib artist, overridden by the user's arguments.

    Aliases, such as "c" for "color", are the same argument.
    """
    from matplotlib import cbook, collections, lines

    kind = {"line": lines.Line2D, "scatter": collections.PathCollection}[artist]
    if artist == "scatter" and isinstance(given.get("c"), str):
        given = {**given, "color": given["c"]}
        del given["c"]
    return style | cbook.normalize_kwargs(given, kind)


def make_axes(axes: Any, n_axes: int = 1) -> list[Axes]:
    """Return the given axes, or new ones on a figure of their own."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "A Display needs matplotlib: pip install 'sklearn-bcl[plot]'"
        ) from error
    if axes is None:
        size = (6, 4) if n_axes == 1 else (9, 4)
        _, axes = plt.subplots(1, n_axes, figsize=size, layout="constrained")
    made = list(np.ravel(axes))
    if len(made) != n_axes:
        raise ValueError(f"'ax' must be {n_axes} axes. Got {len(made)}.")
    return made
