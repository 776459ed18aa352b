"""Figures of all filters together: astrometry, shifts of exposures, and the sky levels beside the sources."""

import numpy as np

from jwst_modfix.reference.table import ARRAYS
from jwst_modfix.report.style import COLORS, LINES, MARKERS, MODULE_COLORS, Picture, literal, new_axes
from jwst_modfix.solution.robust import MAD_TO_SIGMA

__all__ = ["draw_overview"]


def draw_overview(derivation):
    """
    Draw the figures that hold all filters.

    Parameters
    ----------
    derivation : Derivation
        The derivation.

    Returns
    -------
    list of Picture
        The figures.
    """
    drawn = (draw_residuals(derivation), draw_shifts(derivation), draw_sky_check(derivation))
    return [picture for picture in drawn if picture is not None]


def draw_residuals(derivation):
    """
    Draw histograms of the astrometric residuals of sources, by array ID, module and epoch (Fig. 3).

    Parameters
    ----------
    derivation : Derivation
        The derivation.

    Returns
    -------
    Picture or None
        None where no centroid was measured in an exposure.
    """
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
    """
    Draw the shift of each exposure onto the list of sources.

    Parameters
    ----------
    derivation : Derivation
        The derivation.

    Returns
    -------
    Picture or None
        None where exposures were not matched to a list of sources.
    """
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
    """
    Draw offsets from sky levels beside those of the sources.

    Parameters
    ----------
    derivation : Derivation
        The derivation.

    Returns
    -------
    Picture or None
        None where no sky level is known.
    """
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
