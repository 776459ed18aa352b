"""Figures of the report."""

from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jwst_modfix.fitting.least_squares import MAD_TO_SIGMA
from jwst_modfix.fitting.measurements import EXPOSURE_SHARE
from jwst_modfix.fitting.robust import OUTLIER
from jwst_modfix.table.table import ARRAYS

__all__ = [
    "COLORS",
    "LINES",
    "MARKERS",
    "MODULE_COLORS",
    "Differences",
    "Picture",
    "bin_medians",
    "draw_band",
    "draw_overview",
    "epoch_differences",
    "literal",
    "module_differences",
    "new_axes",
    "shade",
]


# Okabe & Ito (2008), by array ID and by epoch; each has a marker of its own too.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")
MODULE_COLORS = {"A": "#0072B2", "B": "#D55E00"}

_STYLE = {"labelsize": 9}


class Picture:
    """A figure with its name and its words."""

    def __init__(self, name, figure, caption):
        self.name, self.figure, self.caption = name, figure, caption


def new_axes(columns=1, width=6.4, height=4.0, rows=1, **kwargs):
    """Make a figure with axes in a row, or in several."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.tick_params(direction="in", top=True, right=True, **_STYLE)
    return figure, [list(row) for row in axes] if rows > 1 else list(axes[0])


def literal(text):
    """Take text as it is: no part of it is mathematics."""
    return str(text).replace("\\", "/").replace("$", r"\$")


def shade(ax):
    """Shade differences of up to 0.05 mag and 0.02 mag, as Fig. 8 of Ma et al. (2023) does."""
    ax.axhspan(-0.05, 0.05, color="0.92", zorder=0)
    ax.axhspan(-0.02, 0.02, color="0.82", zorder=0)
    ax.axhline(0, color="0.3", lw=0.8, zorder=1)


def bin_medians(x, y, bins=8):
    """Find medians in bins of equal numbers."""
    parts = np.array_split(np.argsort(x, kind="stable"), max(1, min(bins, len(x) // 5)))
    middle = np.array([[np.median(x[part]), np.median(y[part])] for part in parts])
    scatter = [MAD_TO_SIGMA * np.median(np.abs(y[part] - np.median(y[part]))) for part in parts]
    error = [s * np.sqrt(np.pi / 2 / len(part)) for s, part in zip(scatter, parts, strict=True)]
    return middle[:, 0], middle[:, 1], np.array(error)


@dataclass(frozen=True, eq=False)
class Differences:
    """
    Differences between two groups of measurements of each source.

    Parameters
    ----------
    array_code : numpy.ndarray of int, shape (n,)
        Place of the array ID in ``ARRAYS``; -1 where measurements of several are averaged.
    mag, RA, Dec : numpy.ndarray, shape (n,)
        Mean magnitude and place [deg] of the source.
    before, after : numpy.ndarray, shape (n,)
        Difference of mean magnitudes as measured and corrected [mag].
    """

    array_code: np.ndarray
    mag: np.ndarray
    RA: np.ndarray
    Dec: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def __len__(self):
        return len(self.mag)


def module_differences(band):
    """Find A - B of the sources that both modules of one array ID measured."""
    m, before, after = _magnitudes(band)
    return _differences(m, before, after, m.source * 8 + m.array_code, m.module_code == 0, m.module_code == 1)


def epoch_differences(band, first, second):
    """Find second - first of the sources that were measured in two epochs."""
    m, before, after = _magnitudes(band)
    found = _differences(m, before, after, m.source, m.epoch == second, m.epoch == first)
    return Differences(np.full(len(found), -1), found.mag, found.RA, found.Dec, found.before, found.after)


def _magnitudes(band):
    """Measurements that are no outliers, as measured but for the epoch terms, and corrected."""
    solution, m = band.solution, band.measurements
    rejected = np.zeros(len(m), int)
    rejected[~m.reserved] = solution.rejected
    known = np.isin(m.epoch, solution.model.epochs) & np.isin(m.detector, solution.measurements.detector)
    m = m.select(known & (rejected < OUTLIER))
    terms = solution.epoch_terms()
    t = np.array([terms[epoch][0] for epoch in m.epoch.tolist()])
    return m, m.mag - t, m.mag - solution.predict(m)


def _differences(m, before, after, key, one, other):
    key = np.unique(key, return_inverse=True)[1]
    number = int(key.max()) + 1 if len(key) else 0
    weight = 1 / m.mag_error**2
    sums = [np.bincount(key, weight * side, number) for side in (one, other)]
    both = (sums[0] > 0) & (sums[1] > 0)
    first = np.zeros(number, int)
    first[key[::-1]] = np.arange(len(key))[::-1]
    first = first[both]

    def difference(values):
        means = [np.bincount(key, weight * values * side, number)[both] for side in (one, other)]
        return means[0] / sums[0][both] - means[1] / sums[1][both]

    places = (column[first] for column in (m.mag, m.RA, m.Dec))
    return Differences(m.array_code[first], *places, difference(before), difference(after))


_MOST_PANELS = 3


def draw_band(band, epoch_names):
    """Draw all figures of a filter that its measurements allow."""
    drawn = [
        draw_sky_map(band, epoch_names),
        draw_before_after(band),
        draw_patches(band, epoch_names),
        *draw_gradients(band),
        draw_correlation(band),
        draw_links(band),
    ]
    return [picture for picture in drawn if picture is not None]


def draw_sky_map(band, epoch_names):
    """Draw differences between epochs on the sky (Fig. 5), or between modules where there is one epoch."""
    epochs = [int(epoch) for epoch in band.solution.model.epochs]
    found = {
        f"{epoch_names[j]} - {epoch_names[epochs[0]]}": epoch_differences(band, epochs[0], j)
        for j in epochs[1 : 1 + _MOST_PANELS]
    } or {"module A - module B": module_differences(band)}
    found = {title: differences for title, differences in found.items() if len(differences)}
    if not found:
        return None
    figure, axes = new_axes(len(found), width=1.2 + 4.2 * len(found), height=3.9, sharex=True, sharey=True)
    limit = max(0.02, *(np.percentile(np.abs(d.before), 90) for d in found.values()))
    for ax, (title, d) in zip(axes, found.items(), strict=True):
        east = _offsets(d, found)
        dots = ax.scatter(*east, c=d.before, s=14, cmap="PuOr", vmin=-limit, vmax=limit, edgecolors="0.4", lw=0.3)
        ax.set(title=literal(title), xlabel="East [arcmin]", aspect="equal")
    axes[0].invert_xaxis()
    axes[0].set_ylabel("North [arcmin]")
    figure.colorbar(dots, ax=axes, label="difference before correction [mag]")
    caption = (
        "Differences of magnitude on the sky, as measured but for the epoch terms (compare Fig. 5 of Ma et al. 2023). "
        "Where the modules swapped places, two halves of the field have opposite signs."
    )
    return Picture("sky", figure, caption)


def _offsets(d, found):
    """East and north of the middle of all sources [arcmin]."""
    ra = np.concatenate([other.RA for other in found.values()])
    dec = np.concatenate([other.Dec for other in found.values()])
    middle = np.median(dec)
    turn = (d.RA - ra[0] + 180) % 360 - 180
    center = np.median((ra - ra[0] + 180) % 360 - 180)
    return 60 * (turn - center) * np.cos(np.radians(middle)), 60 * (d.Dec - middle)


def draw_patches(band, epoch_names):
    """Draw medians of patch p against patch q, with the line of a time term (Fig. 6)."""
    if not band.pairs:
        return None
    figure, (ax,) = new_axes(width=9.0, height=4.8)
    largest = 25.0
    for number, (array, solved) in enumerate(band.pairs.items()):
        for place, pair in enumerate(solved.pairs):
            color, marker = COLORS[number], MARKERS[place % len(MARKERS)]
            label = f"array {array}, {epoch_names[pair.epochs[1]]} - {epoch_names[pair.epochs[0]]}"
            ax.errorbar(
                1e3 * pair.median_p, 1e3 * pair.median_q, 1e3 * pair.error_q, 1e3 * pair.error_p,
                fmt=marker, color=color, ms=6, capsize=2, label=literal(label),
            )  # fmt: skip
            largest = max(largest, *(1.25e3 * np.abs([pair.median_p, pair.median_q])))
    for size, grey in ((50, "0.92"), (20, "0.82")):
        ax.fill([-size, size, size, -size], [-size, -size, size, size], color=grey, lw=0, zorder=0)
    line = np.array([-largest, largest])
    ax.set(xlim=line, ylim=line)
    ax.plot(line, line, color="0.3", ls="--", lw=1, label="time term alone")
    ax.plot(line, -line, color="0.3", ls="-", lw=1, label="modules' offset alone")
    ax.set(xlabel="median of patch p (B then A) [mmag]", ylabel="median of patch q (A then B) [mmag]", aspect="equal")
    ax.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    caption = (
        "Medians of the difference between two epochs in the patches that the modules swapped (compare Fig. 6 of Ma et "
        "al. 2023); shaded: 0.05 and 0.02 mag. An offset between modules alone puts points on the full line, a time "
        "term alone on the dashed one; a gradient shifts points along the full one, so that medians alone do not tell "
        "it from an offset."
    )
    return Picture("patches", figure, caption)


def draw_before_after(band):
    """Draw A - B of each source against its magnitude, before and after the correction (Fig. 8)."""
    d = module_differences(band)
    if not len(d):
        return None
    figure, axes = new_axes(2, width=9.0, height=3.7, sharex=True, sharey=True)
    for ax, title, values in zip(axes, ("before", "after"), (d.before, d.after), strict=True):
        shade(ax)
        for code in np.unique(d.array_code):
            mine = d.array_code == code
            ax.plot(
                d.mag[mine], values[mine], MARKERS[code], color=COLORS[code], ms=4, alpha=0.8,
                label=f"array {ARRAYS[code]}: median {1e3 * np.median(values[mine]):+.1f} mmag",
            )  # fmt: skip
        ax.set(title=title, xlabel="magnitude [AB]")
        ax.legend(fontsize=7.5, loc="upper left", framealpha=0.85)
    axes[0].set(ylabel="A - B [mag]", ylim=(-0.12, 0.12))
    caption = (
        "Module A minus module B of each source that both measured, as measured but for the epoch terms, and corrected "
        "by the fit (compare Fig. 8 of Ma et al. 2023); shaded: 0.05 and 0.02 mag. Reserved sources are among them."
    )
    return Picture("before_after", figure, caption)


def draw_gradients(band):
    """Draw the gradient of each array that has one, with its fit."""
    drawn = []
    for result in band.results:
        if result.slope is None:
            continue
        draw = _draw_along_d if result.array in band.pairs else _draw_along_u
        drawn.append(draw(band, result))
    return drawn


def _draw_along_d(band, result):
    """Eq. 9 and 10: differences between epochs along d, the epoch terms taken out."""
    figure, (ax,) = new_axes(width=6.4, height=4.0)
    terms = band.solution.epoch_terms()
    pairs = band.pairs[result.array].pairs
    d, sign = (np.concatenate([getattr(pair, name) for pair in pairs]) for name in ("d", "sign"))
    y = np.concatenate([p.difference - (terms[p.epochs[1]][0] - terms[p.epochs[0]][0]) for p in pairs])
    for s, name, color, marker in ((1, "p (B then A)", COLORS[0], "o"), (-1, "q (A then B)", COLORS[1], "s")):
        mine = sign == s
        ax.plot(d[mine], y[mine], marker, color=color, ms=3, alpha=0.35)
        x, middle, error = bin_medians(d[mine], y[mine])
        ax.errorbar(x, middle, error, fmt=marker, color=color, ms=7, mec="k", capsize=2, label=f"patch {name}")
        line = np.array([d[mine].min(), d[mine].max()])
        ax.plot(line, result.slope * line + s * result.offset, color=color, lw=1.8)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xlabel="d [arcmin]", ylabel="later - earlier [mag]", ylim=_limits(y))
    ax.legend(fontsize=8, frameon=False)
    return Picture(f"gradient_{result.array}", figure, _gradient_caption(result, "differences between epochs"))


def _draw_along_u(band, result):
    """Residuals with the gradient left in, along u."""
    figure, (ax,) = new_axes(width=6.4, height=4.0)
    solution = band.solution
    mine = (solution.measurements.array == result.array) & (solution.rejected == 0)
    direction = solution.direction if result.direction is None else result.direction
    u = solution.measurements.select(mine).coordinate(direction, solution.origin)
    g = EXPOSURE_SHARE * result.slope
    y = solution.fit.residual[mine] + g * u
    ax.plot(u, y, "o", color=COLORS[0], ms=3, alpha=0.35)
    x, middle, error = bin_medians(u, y)
    ax.errorbar(x, middle, error, fmt="o", color=COLORS[0], ms=7, mec="k", capsize=2, label="medians")
    line = np.array([u.min(), u.max()])
    ax.plot(line, g * line, color=COLORS[1], lw=1.8, label="fit")
    ax.set(xlabel="u [arcmin]", ylabel="gradient and residual [mag]", ylim=_limits(y))
    ax.legend(fontsize=8, frameon=False)
    return Picture(f"gradient_{result.array}", figure, _gradient_caption(result, "residuals with the gradient left in"))


def _limits(y):
    largest = max(0.02, 3 * float(np.percentile(np.abs(y), 75)))  # variable sources may lie outside
    return -largest, largest


def _gradient_caption(result, what):
    return (
        f"The gradient of array {result.array}: {what}, their medians, and the fit with k = {1e3 * result.slope:.2f} "
        f"+- {1e3 * result.slope_error:.2f} mmag/arcmin and an offset of {1e3 * result.offset:.2f} mmag."
    )


def draw_correlation(band):
    """Draw the covariance matrix, as correlations."""
    terms = np.flatnonzero(band.solution.fitted)
    if not terms.size:
        return None
    covariance = band.solution.covariance[np.ix_(terms, terms)]
    error = np.sqrt(np.diag(covariance))
    names = [f"{band.solution.names[i]}\n{1e3 * e:.2f}" for i, e in zip(terms, error, strict=True)]
    figure, (ax,) = new_axes(width=2.6 + 0.75 * len(terms), height=1.6 + 0.7 * len(terms))
    _draw_matrix(ax, covariance / np.outer(error, error), names, "{:+.2f}", cmap="PuOr", vmin=-1, vmax=1)
    caption = (
        "Correlations of the fitted terms; below each name its standard error [mmag, or mmag/arcmin for slopes]. The "
        "covariance itself stands in the reference file."
    )
    return Picture("covariance", figure, caption)


def draw_links(band):
    """Draw how many sources each two detectors share."""
    links = band.solution.links
    figure, (ax,) = new_axes(width=2.6 + 0.6 * len(links.detectors), height=1.6 + 0.55 * len(links.detectors))
    _draw_matrix(ax, links.shared, list(links.detectors), "{:d}", cmap="cividis", vmin=0, dark=0.6 * links.shared.max())
    caption = "Sources that two detectors share, and on the diagonal the sources that each measured."
    return Picture("links", figure, caption)


def _draw_matrix(ax, matrix, names, text, dark=None, **kwargs):
    ax.imshow(matrix, **kwargs)
    ax.set_xticks(range(len(names)), names, fontsize=8, rotation=30 if len(names) > 3 else 0)
    ax.set_yticks(range(len(names)), names, fontsize=8)
    for (i, j), value in np.ndenumerate(matrix):
        light = value < dark if dark is not None else abs(value) > 0.6
        ax.text(j, i, text.format(value), ha="center", va="center", fontsize=8, color="white" if light else "black")


def draw_overview(derivation):
    """Draw the figures that hold all filters."""
    drawn = (draw_residuals(derivation), draw_shifts(derivation), draw_sky_check(derivation))
    return [picture for picture in drawn if picture is not None]


def draw_residuals(derivation):
    """Draw histograms of the astrometric residuals of sources, by array ID, module and epoch (Fig. 3)."""
    table = derivation.photometry.measurements[derivation.selection.mask]
    source = np.unique(table["source"], return_inverse=True)[1] if len(table) else np.zeros(0, int)
    off = {name: 1e3 * _from_the_others(np.asarray(table[f"off_{name}"]), source) for name in ("east", "north")}
    if not np.isfinite(off["east"]).any():
        return None
    epochs = list(derivation.epochs.names)
    groups = (
        ("array", [(f"array {name}", np.asarray(table["array"]) == name) for name in ARRAYS]),
        ("module", [(f"module {name}", np.asarray(table["module"]) == name) for name in "AB"]),
        ("epoch", [(name, np.asarray(table["epoch"]) == number) for number, name in enumerate(epochs)]),
    )
    figure, axes = new_axes(len(groups), width=11.0, height=5.6, rows=2, sharex=True)
    reach = max(3.0, 6 * max(MAD_TO_SIGMA * np.nanmedian(np.abs(values)) for values in off.values()))
    for row, direction in zip(axes, ("east", "north"), strict=True):
        for ax, (name, parts) in zip(row, groups, strict=True):
            _draw_histograms(ax, off[direction], parts, reach)
            ax.set(xlabel=f"{direction} [mas]", title=f"by {name}" if direction == "east" else None)
        row[0].set_ylabel("share of sources")
    caption = (
        "Astrometric residuals: the centroid of each selected source in one exposure minus its mean in the others, "
        "after the exposures' shifts (compare Fig. 3 of Ma et al. 2023). In the legends the median and the median "
        "absolute deviation [mas]; what is farther off is counted in the outermost bins."
    )
    return Picture("astrometry", figure, caption)


def _from_the_others(values, source):
    """Each value minus the mean of its source's others, which it does not touch; not-a-number where it is alone."""
    known = np.isfinite(values)
    sums, counts = (np.bincount(source[known], weight) for weight in (values[known], None))
    left = np.full(len(values), np.nan)
    n = counts[source[known]]
    left[known] = np.where(n > 1, values[known] - (sums[source[known]] - values[known]) / np.maximum(n - 1, 1), np.nan)
    return left


def _draw_histograms(ax, values, parts, reach):
    """Outlines of the distribution in each part, as shares of it."""
    parts = [(name, values[mine & np.isfinite(values)]) for name, mine in parts]
    parts = [(name, own) for name, own in parts if own.size]
    for number, (name, own) in enumerate(parts[: len(COLORS)]):
        middle = np.median(own)
        label = literal(f"{name}: {middle:+.1f}, {np.median(np.abs(own - middle)):.1f}")
        weights, style = np.full(own.size, 1 / own.size), {"color": COLORS[number], "ls": LINES[number % len(LINES)]}
        ax.hist(
            own.clip(-reach, reach), bins=31, range=(-reach, reach), weights=weights, histtype="step", lw=1.4,
            label=label, **style,
        )  # fmt: skip
    ax.axvline(0, color="0.6", lw=0.8)
    ax.set(xlim=(-reach, reach), ylim=(0, 1.55 * ax.get_ylim()[1]))
    ax.legend(fontsize=7.5, frameon=False, loc="upper left")


def draw_shifts(derivation):
    """Draw the shift of each exposure onto the list of sources."""
    table = derivation.photometry.exposures
    east, north = (1e3 * np.asarray(table[name]) for name in ("shift_east", "shift_north"))
    if derivation.options.photometry != "exposure":
        return None
    figure, (ax,) = new_axes(width=5.4, height=4.6)
    for number, name in enumerate(derivation.epochs.names):
        for module, filled in (("A", "full"), ("B", "none")):
            mine = (np.asarray(table["epoch"]) == number) & (np.asarray(table["module"]) == module)
            style = {"color": COLORS[number % len(COLORS)], "fillstyle": filled, "ms": 6}
            label = literal(f"{name}, module {module}")
            ax.plot(east[mine], north[mine], MARKERS[number % len(MARKERS)], label=label, **style)
    ax.axhline(0, color="0.6", lw=0.8)
    ax.axvline(0, color="0.6", lw=0.8)
    ax.set(xlabel="East [mas]", ylabel="North [mas]", aspect="equal", adjustable="datalim")
    if len(derivation.epochs.names) <= 8:
        ax.legend(fontsize=7.5, framealpha=0.85)
    caption = (
        "The shift of each exposure onto the common list of sources, an error of its pointing. It is taken out before "
        "fluxes are measured."
    )
    return Picture("shifts", figure, caption)


def draw_sky_check(derivation):
    """Draw offsets from sky levels beside those of the sources."""
    found = [(f"{band.name}\n{sky.array}", sky) for band in derivation.bands for sky in band.sky]
    if not found:
        return None
    figure, (ax,) = new_axes(width=max(4.5, 1.6 + 0.8 * len(found)), height=4.0)
    place = np.arange(len(found))
    for shift, which, marker, color in ((-0.12, "sources", "o", "A"), (0.12, "sky", "s", "B")):
        values = [1e3 * getattr(sky, which) for _, sky in found]
        errors = [1e3 * getattr(sky, f"{which}_error") for _, sky in found]
        ax.errorbar(place + shift, values, errors, fmt=marker, color=MODULE_COLORS[color], capsize=3, label=which)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set_xticks(place, [name for name, _ in found], fontsize=8)
    ax.set(ylabel="A - B [mmag]", xlim=(-0.6, len(found) - 0.4))
    ax.legend(fontsize=8, frameon=False)
    caption = (
        "The difference between the modules' sky levels in exposures taken at the same time, beside what the sources' "
        "offset and gradient predict for it: an independent check, which stray light enters in full."
    )
    return Picture("sky_check", figure, caption)
