"""What all figures share: colours that colour-blind readers tell apart, sizes, and text that is no mathematics."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jwst_modfix.solution.robust import MAD_TO_SIGMA

__all__ = ["COLORS", "LINES", "MARKERS", "MODULE_COLORS", "Picture", "bin_medians", "literal", "new_axes", "shade"]

# Okabe & Ito (2008), by array ID and by epoch; each has a marker of its own too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
MODULE_COLORS = {"A": "#0072B2", "B": "#D55E00"}

_STYLE = {"labelsize": 9}


class Picture:
    """
    A figure with its name and its words.

    Parameters
    ----------
    name : str
        Name, for file names.
    figure : matplotlib.figure.Figure
        The figure.
    caption : str
        What it shows, in words.
    """

    def __init__(self, name, figure, caption):
        self.name, self.figure, self.caption = name, figure, caption


def new_axes(columns=1, width=6.4, height=4.0, rows=1, **kwargs):
    """
    Make a figure with axes in a row, or in several.

    Parameters
    ----------
    columns : int, optional
        Number of axes.
    width, height : float, optional
        Size of the figure [inch].
    rows : int, optional
        Number of rows.
    **kwargs
        Passed to `matplotlib.figure.Figure.subplots`.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure, which no window knows.
    axes : list
        Its axes; the list of each row where there are several.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.tick_params(direction="in", top=True, right=True, **_STYLE)
    return figure, [list(row) for row in axes] if rows > 1 else list(axes[0])


def literal(text):
    """
    Take text as it is: no part of it is mathematics.

    Parameters
    ----------
    text : object
        What to write.

    Returns
    -------
    str
        The text for matplotlib.
    """
    return str(text).replace("\\", "/").replace("$", r"\$")


def shade(ax):
    """
    Shade differences of up to 0.05 mag and 0.02 mag, as Fig. 8 of Ma et al. (2023) does.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with magnitudes upward.
    """
    ax.axhspan(-0.05, 0.05, color="0.92", zorder=0)
    ax.axhspan(-0.02, 0.02, color="0.82", zorder=0)
    ax.axhline(0, color="0.3", lw=0.8, zorder=1)


def bin_medians(x, y, bins=8):
    """
    Find medians in bins of equal numbers.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (n,)
        Points.
    bins : int, optional
        Number of bins at most; each holds five points or more.

    Returns
    -------
    x, y, error : numpy.ndarray
        Medians of both, and the standard error of that of y.
    """
    parts = np.array_split(np.argsort(x, kind="stable"), max(1, min(bins, len(x) // 5)))
    middle = np.array([[np.median(x[part]), np.median(y[part])] for part in parts])
    scatter = [MAD_TO_SIGMA * np.median(np.abs(y[part] - np.median(y[part]))) for part in parts]
    error = [s * np.sqrt(np.pi / 2 / len(part)) for s, part in zip(scatter, parts, strict=True)]
    return middle[:, 0], middle[:, 1], np.array(error)
