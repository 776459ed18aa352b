"""Figures of all filters together: the shifts of exposures, and the sky levels beside the sources."""

import numpy as np

from jwst_modfix.report.style import COLORS, MARKERS, MODULE_COLORS, Picture, literal, new_axes

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
    drawn = (draw_shifts(derivation), draw_sky_check(derivation))
    return [picture for picture in drawn if picture is not None]


def draw_shifts(derivation):
    """
    Draw the astrometric residual of each exposure (Fig. 3).

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
        "Astrometric residuals: the shift of each exposure onto the common list of sources (compare Fig. 3 of Ma et "
        "al. 2023). It is taken out before fluxes are measured."
    )
    return Picture("astrometry", figure, caption)


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
