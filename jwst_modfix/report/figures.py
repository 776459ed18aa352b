"""Figures: what a solution found, and those of Ma et al. (2023)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jwst_modfix.derivation.bands import BandResult
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.linear import number_labels
from jwst_modfix.fitting.measurements import EXPOSURE_SHARE, Measurements, focal_plane_coordinate
from jwst_modfix.fitting.pairs import PairSolution
from jwst_modfix.fitting.robust import OUTLIER, error_of_median
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.fitting.verdict import ArrayResult
from jwst_modfix.photometry.frames import offsets_on_sky
from jwst_modfix.report.content import split_prediction
from jwst_modfix.table.table import ARRAYS, MAD_TO_SIGMA, MODULES
from jwst_modfix.text import format_measured

__all__ = ["plot_module_differences", "plot_offsets", "plot_patches", "plot_residual_map", "plot_sky_map"]

_RESOLUTION = 110  # dots per inch
_MANY_POINTS = 5_000  # more are an image in a PDF file: as shapes they take a minute
_MOST_POINTS = 10_000  # more hide each other, and take seconds: every so many sources are drawn
# Okabe & Ito (2008), by array ID and by epoch; each has a marker of its own too.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
_MILLI = 1e3  # figures are in mmag and mas
_ZERO: dict[str, Any] = {"color": "0.4", "lw": 0.8}  # a line at 0
_SHADES = ((50, "0.92"), (20, "0.82"))  # mmag, grey
_MOST_PANELS = 3


class Picture(NamedTuple):
    """A figure, its name and the part of its caption that depends on the data."""

    name: str
    figure: Figure
    words: str = ""


def plot_offsets(solution: Solution | Mapping[str, Solution], *, ax: Axes | None = None) -> Axes:
    """
    Plot the offsets of arrays, or zero points of detectors, with standard errors.

    Parameters
    ----------
    solution : Solution or dict of Solution
        One solution, or solutions by the name of the filter, as in ``Derivation.solution``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: A - B, or zero points with a mean of 0 [mmag], 1 sigma errors.
    """
    solutions = solution if isinstance(solution, Mapping) else {solution.measurements.band: solution}
    of_modules = any(one.model.scale == "modules" for one in solutions.values())
    found: dict[str, tuple[float, float]] = {}
    for name, one in solutions.items():
        offsets = {str(term.array): one.value(term.name) for term in one.model.terms if term.kind == "offset"}
        values = offsets if one.model.scale == "modules" else one.zero_points("mean")
        found |= {f"{name}\n{part}": value for part, value in values.items() if np.isfinite(value[0])}
    ax, (y, error) = _axes(ax), _MILLI * np.reshape(list(found.values()), (-1, 2)).T
    ax.errorbar(np.arange(len(found)), y, error, fmt="o", color=_COLORS[0], capsize=3)
    ax.axhline(0, **_ZERO)
    ax.set_xticks(range(len(found)), list(found), fontsize=8)
    ax.set(ylabel="A - B [mmag]" if of_modules else "zero point [mmag]", xlim=(-0.6, len(found) - 0.4))
    return ax


def plot_residual_map(
    solution: Solution, *, corrected: bool = True, gridsize: int = 30, ax: Axes | None = None
) -> Axes:
    """
    Plot median residuals of used measurements over the focal plane.

    A residual is the difference from the corrected mean of its source.

    Parameters
    ----------
    solution : Solution
        The solution of one filter.
    corrected : bool, optional
        Plot the residuals after the correction by the solution, the default, or before it.
    gridsize : int, optional
        Number of hexagonal bins along V2.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: V2 and V3 [arcsec]; colour: median of measured minus fitted magnitude [mmag]; title: the rms.
    """
    ax = _axes(ax)
    used = solution.rejected == 0
    m, residual = solution.measurements.select(used), _MILLI * solution.residual[used]
    residual = residual if corrected else residual + _MILLI * split_prediction(solution, m)[0]
    limit = _limit(residual, 90)
    rows = max(1, round(gridsize * np.ptp(m.V3) / np.ptp(m.V2) / np.sqrt(3)))  # regular hexagons
    bins = ax.hexbin(
        m.V2, m.V3, residual, reduce_C_function=np.median, gridsize=(gridsize, rows), cmap="PuOr", linewidths=0.2,
        vmin=-limit, vmax=limit,
    )  # fmt: skip
    ax.figure.colorbar(bins, ax=ax, label="median residual [mmag]")
    title = f"{'after' if corrected else 'before'}: rms {np.sqrt(np.mean(residual**2)):.1f} mmag"
    ax.set(xlabel="V2 [arcsec]", ylabel="V3 [arcsec]", aspect="equal", title=title)
    ax.xaxis.set_inverted(True)  # of axes that panels share, too
    return ax


def plot_module_differences(
    solution: Solution, *, corrected: bool = False, measurements: Measurements | None = None, ax: Axes | None = None
) -> Axes:
    """
    Plot A - B of each source against its magnitude (Fig. 8 of Ma et al. 2023).

    Parameters
    ----------
    solution : Solution
        The solution of one filter.
    corrected : bool, optional
        Plot the differences after the correction by the solution; before it by default.
    measurements : Measurements, optional
        Measurements to plot, reserved ones included; those of the solution by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: magnitude [AB] and A - B [mmag]; epoch terms are subtracted, 20 and 50 mmag are shaded.
    """
    m, before, after = _subtract(solution, measurements)
    ax, values = _axes(ax), after if corrected else before
    for size, grey in _SHADES:
        ax.axhspan(-size, size, color=grey, zorder=0)
    ax.axhline(0, color="0.3", lw=0.8, zorder=1)
    for code in np.unique(m.array_code):
        mine = m.array_code == code
        label = f"array {ARRAYS[code]}: median {np.median(values[mine]):+z.1f} mmag"
        drawn = np.flatnonzero(mine)[_thin(len(m))]
        ax.plot(m.mag[drawn], values[drawn], _MARKERS[code], color=_COLORS[code], ms=4, alpha=0.8, label=label,
                rasterized=len(drawn) > _MANY_POINTS)  # fmt: skip
    limit = _limit(before, 98, 1.2)
    ax.set(title="after" if corrected else "before", xlabel="magnitude [AB]", ylabel="A - B [mmag]",
           ylim=(-limit, limit))  # fmt: skip
    if len(m):
        ax.legend(fontsize=7.5, loc="upper left", framealpha=0.85)
    return ax


def plot_sky_map(
    solution: Solution, epochs: tuple[int, int] | None = None, *, measurements: Measurements | None = None,
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """
    Plot magnitude differences on the sky, uncorrected (Fig. 5, Ma et al. 2023).

    Parameters
    ----------
    solution : Solution
        The solution of one filter.
    epochs : tuple of int, optional
        Two epochs, for the second minus the first; module A minus module B by default.
    measurements : Measurements, optional
        Measurements to plot, reserved ones included; those of the solution by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: offsets from the middle of the sources [arcmin], the colour is the difference [mmag].
    """
    m = solution.measurements if measurements is None else measurements
    if m.RA is None or m.Dec is None:
        raise MeasurementsError(f"{m.band}: a map on the sky needs RA and Dec; there are none")
    return _draw_maps([_axes(ax)], [_subtract(solution, m, epochs)], m)[0]


def plot_patches(
    pairs: Mapping[str, PairSolution], *, epoch_names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """
    Plot the medians of patch p against those of q (Fig. 6 of Ma et al. 2023).

    Parameters
    ----------
    pairs : dict of PairSolution
        Solutions from pairs of epochs by array ID.
    epoch_names : sequence of str, optional
        Names of the epochs; their numbers by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; the current axes by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: medians of later minus earlier magnitudes [mmag], 20 and 50 mmag are shaded.
    """
    ax, largest = _axes(ax), 5.0
    for number, (array, solved) in enumerate(pairs.items()):
        for place, pair in enumerate(solved.pairs):
            i, j = (str(e) if epoch_names is None else epoch_names[e] for e in pair.epochs)
            p, q, error_p, error_q = _MILLI * np.array([pair.median_p, pair.median_q, pair.error_p, pair.error_q])
            ax.errorbar(p, q, error_q, error_p, fmt=_MARKERS[place % len(_MARKERS)], color=_COLORS[number], ms=6,
                        capsize=2, label=_literal(f"array {array}, {j} - {i}"))  # fmt: skip
            largest = max(largest, 1.25 * abs(p), 1.25 * abs(q))
    for size, grey in _SHADES:
        ax.fill([-size, size, size, -size], [-size, -size, size, size], color=grey, lw=0, zorder=0)
    line = np.array([-largest, largest])
    ax.plot(line, line, color="0.3", ls="--", lw=1, label="time term only")
    ax.plot(line, -line, color="0.3", ls="-", lw=1, label="module offset only")
    ax.set(xlabel="median of patch p (B then A) [mmag]", ylabel="median of patch q (A then B) [mmag]", aspect="equal",
           xlim=(-largest, largest), ylim=(-largest, largest))  # fmt: skip
    ax.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def _subtract(
    solution: Solution, measurements: Measurements | None, epochs: tuple[int, int] | None = None
) -> tuple[Measurements, np.ndarray, np.ndarray]:
    """Subtract mean magnitudes of sources: module A - B of an array, or epoch j - i.

    Returns one measurement of each source, and the differences as measured and corrected [mmag].
    """
    m = solution.measurements if measurements is None else measurements
    rejected = np.zeros(len(m), int)
    rejected[~m.reserved] = solution.rejected
    m = m.select(solution.model.knows(m) & (rejected < OUTLIER))
    system, t = split_prediction(solution, m)
    one, other, part = m.module_code == 0, m.module_code == 1, m.array_code
    if epochs is not None:
        one, other, part = m.epoch == epochs[1], m.epoch == epochs[0], np.zeros(len(m), np.int8)
    _, first, key = np.unique(m.source * len(ARRAYS) + part, return_index=True, return_inverse=True)
    weight = 1 / m.mag_error**2
    sums = [np.bincount(key, weight * side, len(first)) for side in (one, other)]
    both = (sums[0] > 0) & (sums[1] > 0)

    def subtract(values: np.ndarray) -> np.ndarray:
        means = [np.bincount(key, weight * values * side, len(first))[both] for side in (one, other)]
        return np.asarray(_MILLI * (means[0] / sums[0][both] - means[1] / sums[1][both]))

    return m.select(first[both]), subtract(m.mag - t), subtract(m.mag - t - system)


def draw_band(band: BandResult, epoch_names: Sequence[str]) -> Iterator[Picture]:
    """Draw all figures of a filter that its measurements allow."""
    solution, m, pairs = band.solution, band.measurements, band.pairs
    if solution is None:
        return
    both: dict[str, Any] = {"panels": [{"corrected": False}, {"corrected": True}]}
    yield from _sky_maps(solution, m, epoch_names)
    if n := len(_subtract(solution, m)[0]):
        yield _picture(
            "before_after", (9.0, 3.7), plot_module_differences, solution, measurements=m, words=_say_thinned(n), **both
        )
    if pairs:
        yield _picture("patches", (9.0, 4.8), plot_patches, pairs, epoch_names=epoch_names)
    yield from (_gradient(solution, pairs.get(r.array), r) for r in band.results if r.slope is not None)
    yield _picture("residuals", (11.0, 3.4), plot_residual_map, solution, **both)


def draw_overview(derivation: Derivation) -> Iterator[Picture]:
    """Draw the figures that hold all filters."""
    width = max(4.5, 1.6 + 0.8 * sum(len(band.results) for band in derivation.bands))
    yield _picture("offsets", (width, 4.0), plot_offsets, derivation.solution)
    yield from _astrometry(derivation)
    if derivation.options.photometry == "exposure":
        yield _shifts(derivation)


def _sky_maps(solution: Solution, m: Measurements, epoch_names: Sequence[str]) -> Iterator[Picture]:
    """Draw differences between epochs on the sky, or modules with one epoch (Fig. 5)."""
    if m.RA is None or m.Dec is None:
        return
    first, *later = (int(epoch) for epoch in solution.model.epochs)
    titles = {f"{epoch_names[j]} - {epoch_names[first]}": (first, j) for j in later[:_MOST_PANELS]}
    drawn = {title: _subtract(solution, m, epochs) for title, epochs in titles.items()}
    drawn = drawn or {"module A - module B": _subtract(solution, m)}
    drawn = {title: differences for title, differences in drawn.items() if len(differences[0])}
    if drawn:
        figure, axes = _panels(len(drawn), 1.2 + 4.2 * len(drawn), 3.9, sharex=True, sharey=True)
        for ax, title in zip(_draw_maps(axes, list(drawn.values()), m), drawn, strict=True):
            ax.set_title(_literal(title))
        yield Picture("sky", figure, _say_thinned(max(len(own) for own, *_ in drawn.values())))


def _gradient(solution: Solution, pairs: PairSolution | None, result: ArrayResult) -> Picture:
    """Draw differences of epochs along d (Eq. 9-10), or residuals along u; the fit."""
    figure, (ax,) = _panels(1, 6.4, 4.0)
    k, offset = _MILLI * (result.slope or 0.0), _MILLI * (result.offset or 0.0)
    if pairs is not None:
        what, terms = "differences between epochs", solution.epoch_terms()
        d, sign = (np.concatenate([getattr(pair, name) for pair in pairs.pairs]) for name in ("d", "sign"))
        drift = [terms[p.epochs[1]][0] - terms[p.epochs[0]][0] for p in pairs.pairs]
        y = _MILLI * np.concatenate([p.difference - t for p, t in zip(pairs.pairs, drift, strict=True)])
        for s, name, color, marker in ((1, "p (B then A)", _COLORS[0], "o"), (-1, "q (A then B)", _COLORS[1], "s")):
            line = _draw_medians(ax, d[sign == s], y[sign == s], color, marker, f"patch {name}")
            ax.plot(line, k * line + s * offset, color=color, lw=1.8)
        ax.set(xlabel="d [arcmin]", ylabel="later - earlier [mmag]")
    else:
        what = "residuals with the gradient left in"
        mine = (solution.measurements.array == result.array) & (solution.rejected == 0)
        direction = solution.model.direction if result.direction is None else result.direction
        m, g = solution.measurements.select(mine), EXPOSURE_SHARE * k
        u = focal_plane_coordinate(m.V2, m.V3, direction, solution.model.origin)
        y = _MILLI * solution.residual[mine] + g * u
        line = _draw_medians(ax, u, y, _COLORS[0], "o", "medians")
        ax.plot(line, g * line, color=_COLORS[1], lw=1.8, label="fit")
        ax.set(xlabel="u [arcmin]", ylabel="gradient + residual [mmag]")
    limit = _limit(y, 75, 3.0)
    ax.axhline(0, **_ZERO)
    ax.set_ylim(-limit, limit)
    ax.legend(fontsize=8, frameon=False)
    fit = format_measured(result.slope, result.slope_error, "mmag/arcmin")
    fit += f", offset {format_measured(result.offset, result.offset_error, 'mmag')}"
    words = f"The gradient of array {result.array}: {what}, their medians, and the fit: k = {fit}."
    words += _say_thinned(len(y))
    return Picture(f"gradient_{result.array}", figure, words)


def _astrometry(derivation: Derivation) -> Iterator[Picture]:
    """Draw histograms of astrometric residuals, by array ID, module, epoch (Fig. 3)."""
    table, selected = derivation.photometry.measurements, derivation.selection.mask
    table = table["source", "off_east", "off_north", "array", "module", "epoch"][selected]
    source = number_labels(np.asarray(table["source"]))[1]
    off: dict[str, np.ndarray] = {}
    for direction in ("east", "north"):
        values = _MILLI * np.asarray(table[f"off_{direction}"])
        known = np.isfinite(values)
        n, sums = (np.bincount(source, part)[source] for part in (known, np.where(known, values, 0.0)))
        # From the mean of the source in the other exposures; NaN if there is none.
        off[direction] = np.where(known & (n > 1), values - (sums - values) / np.maximum(n - 1, 1), np.nan)
    if not np.isfinite(off["east"]).any():
        return
    groups = (
        ("array", [(f"array {name}", np.asarray(table["array"]) == name) for name in ARRAYS]),
        ("module", [(f"module {name}", np.asarray(table["module"]) == name) for name in "AB"]),
        ("epoch", [(name, np.asarray(table["epoch"]) == i) for i, name in enumerate(derivation.epochs.names)]),
    )
    figure, axes = _panels(2 * len(groups), 11.0, 5.6, rows=2, sharex=True)
    reach = max(3.0, 6 * max(MAD_TO_SIGMA * np.nanmedian(np.abs(values)) for values in off.values()))
    for number, (direction, values) in enumerate(off.items()):
        for ax, (name, parts) in zip(axes[number * len(groups) :], groups, strict=False):
            _draw_histograms(ax, values, parts, reach)
            ax.set(xlabel=f"{direction} [mas]", title=f"by {name}" if number == 0 else "")
        axes[number * len(groups)].set_ylabel("share of sources")
    yield Picture("astrometry", figure)


def _shifts(derivation: Derivation) -> Picture:
    table, names = derivation.photometry.exposures, derivation.epochs.names
    east, north = (_MILLI * np.asarray(table[name]) for name in ("shift_east", "shift_north"))
    figure, (ax,) = _panels(1, 5.4, 4.6)
    for (number, name), module in itertools.product(enumerate(names), MODULES):
        mine = (np.asarray(table["epoch"]) == number) & (np.asarray(table["module"]) == module)
        ax.plot(east[mine], north[mine], _MARKERS[number % len(_MARKERS)], color=_COLORS[number % len(_COLORS)], ms=6,
                fillstyle="full" if module == "A" else "none", label=_literal(f"{name}, module {module}"))  # fmt: skip
    ax.axhline(0, **_ZERO)
    ax.axvline(0, **_ZERO)
    ax.set(xlabel="east [mas]", ylabel="north [mas]", aspect="equal", adjustable="datalim")
    if len(names) <= 8:
        ax.legend(fontsize=7.5, framealpha=0.85)
    return Picture("shifts", figure)


def _axes(ax: Axes | None) -> Axes:
    """Take the axes that are given, else the current ones."""
    if ax is None:
        import matplotlib.pyplot as plt  # late: it chooses a window system

        ax = plt.gca()
    ax.tick_params(direction="in", top=True, right=True, labelsize=9)
    return ax


def _panels(n: int, width: float, height: float, rows: int = 1, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=_RESOLUTION, layout="constrained")
    axes = figure.subplots(rows, n // rows, squeeze=False, **kwargs)
    return figure, [_axes(ax) for ax in axes.flat]


def _picture(
    name: str, size: tuple[float, float], plot: Callable[..., Axes], *args: Any,
    panels: Sequence[dict[str, Any]] = ({},), words: str = "", **kwargs: Any,
) -> Picture:  # fmt: skip
    """Make a picture of one public plot, with a panel for each of some arguments."""
    figure, axes = _panels(len(panels), *size, sharex=True, sharey=True)
    for ax, own in zip(axes, panels, strict=True):
        plot(*args, ax=ax, **own, **kwargs)
    for ax in axes[1:]:
        ax.set_ylabel("")
    return Picture(name, figure, words)


def _thin(n: int) -> slice:
    """Choose the points to draw: all, or every so many."""
    return slice(None, None, max(1, -(-n // _MOST_POINTS)))


def _say_thinned(n: int) -> str:
    """Say for the caption which points are drawn; empty where all are."""
    return f" One of {_thin(n).step} points is drawn." if n > _MOST_POINTS else ""


def _literal(text: str) -> str:
    """Escape what matplotlib would take for mathematics."""
    return text.replace("\\", "/").replace("$", r"\$")


def _limit(values: np.ndarray, percentile: float, factor: float = 1.0) -> float:
    """Find half the range to show [mmag]: variable sources may be outside."""
    return max(5.0, factor * float(np.percentile(np.abs(values), percentile))) if len(values) else 5.0


def _draw_maps(
    axes: Sequence[Axes], differences: Sequence[tuple[Measurements, np.ndarray, np.ndarray]], m: Measurements
) -> Sequence[Axes]:
    """Draw differences on the sky, east and north of the middle, on one colour scale."""
    ra, dec = np.asarray(m.RA), np.asarray(m.Dec)
    middle = ra[0] + np.median((ra - ra[0] + 180) % 360 - 180), np.median(dec)
    limit = max(_limit(before, 90) for _, before, _ in differences)
    for ax, (own, before, _) in zip(axes, differences, strict=True):
        drawn = _thin(len(own))
        places = (np.asarray(v)[drawn] for v in (own.RA, own.Dec))
        east, north = (offset / 60 for offset in offsets_on_sky(*middle, *places))
        points = ax.scatter(
            east, north, c=before[drawn], s=14, cmap="PuOr", vmin=-limit, vmax=limit, ec="0.4", linewidths=0.3,
            rasterized=len(east) > _MANY_POINTS,
        )  # fmt: skip
        ax.set(xlabel="east [arcmin]", aspect="equal")
    axes[0].invert_xaxis()
    axes[0].set_ylabel("north [arcmin]")
    axes[0].figure.colorbar(points, ax=axes if len(axes) > 1 else ax, label="difference before correction [mmag]")
    return axes


def _draw_medians(ax: Axes, x: np.ndarray, y: np.ndarray, color: str, marker: str, label: str) -> np.ndarray:
    """Draw points, and their medians in bins of equal numbers; return the range of x."""
    drawn = _thin(len(x))
    ax.plot(x[drawn], y[drawn], marker, color=color, ms=3, alpha=0.35, rasterized=len(x) > _MANY_POINTS)
    parts = np.array_split(np.argsort(x, kind="stable"), max(1, min(8, len(x) // 5)))
    middle = [[np.median(values[part]) for part in parts] for values in (x, y)]
    error = [error_of_median(y[part]) for part in parts]
    ax.errorbar(middle[0], middle[1], error, fmt=marker, color=color, ms=7, mec="k", capsize=2, label=label)
    return np.array([x.min(), x.max()])


def _draw_histograms(ax: Axes, values: np.ndarray, parts: Iterable[tuple[str, Any]], reach: float) -> None:
    """Draw outlines of the distribution in each part, as shares of it."""
    known = [(name, own) for name, mine in parts if (own := values[mine & np.isfinite(values)]).size]
    for number, (name, own) in enumerate(known[: len(_COLORS)]):
        middle = np.median(own)
        label = _literal(f"{name}: {middle:+z.1f}, {np.median(np.abs(own - middle)):.1f}")
        bins = np.linspace(-reach, reach, 32)
        share = np.histogram(own.clip(-reach, reach), bins)[0] / own.size
        ax.stairs(share, bins, lw=1.4, label=label, color=_COLORS[number], ls=_LINES[number % len(_LINES)])
    ax.axvline(0, **_ZERO)
    ax.set(xlim=(-reach, reach), ylim=(0, 1.55 * ax.get_ylim()[1]))
    ax.legend(fontsize=7.5, frameon=False, loc="upper left")
