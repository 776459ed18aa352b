"""Figures of one filter: our versions of those of Ma et al. (2023), and what the fit says of itself."""

import numpy as np

from jwst_modfix.reference.table import ARRAYS
from jwst_modfix.report.sources import epoch_differences, module_differences
from jwst_modfix.report.style import COLORS, MARKERS, Picture, bin_medians, literal, new_axes, shade
from jwst_modfix.solution.measurements import EXPOSURE_SHARE

__all__ = ["draw_band"]

_MOST_PANELS = 3


def draw_band(band, epoch_names):
    """
    Draw all figures of a filter that its measurements allow.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.
    epoch_names : sequence of str
        Name of each epoch.

    Returns
    -------
    list of Picture
        The figures.
    """
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
    """
    Draw differences between epochs on the sky (Fig. 5), or between modules where there is one epoch.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.
    epoch_names : sequence of str
        Name of each epoch.

    Returns
    -------
    Picture or None
        None where no source has a difference.
    """
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
    """
    Draw medians of patch p against patch q, with the line of a time term (Fig. 6).

    Parameters
    ----------
    band : BandResult
        A filter with a solution.
    epoch_names : sequence of str
        Name of each epoch.

    Returns
    -------
    Picture or None
        None where no array has both patches.
    """
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
    """
    Draw A - B of each source against its magnitude, before and after the correction (Fig. 8).

    Parameters
    ----------
    band : BandResult
        A filter with a solution.

    Returns
    -------
    Picture or None
        None where no source was measured by both modules.
    """
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
    """
    Draw the gradient of each array that has one, with its fit.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.

    Returns
    -------
    list of Picture
        One for each array with a fitted slope.
    """
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
    """
    Draw the covariance matrix, as correlations.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.

    Returns
    -------
    Picture or None
        None where no term was fitted.
    """
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
    """
    Draw how many sources each two detectors share.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.

    Returns
    -------
    Picture
        The figure.
    """
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
