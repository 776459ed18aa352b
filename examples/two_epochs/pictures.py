"""The demonstration in one picture: A - B by array and along the field, and the difference of the epochs."""

import matplotlib.pyplot as plt
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter, map_coordinates
from stdatamodels.jwst import datamodels

__all__ = ["draw_comparison"]

# Okabe and Ito's palette, told apart with every kind of colour vision; shapes differ too.
_STYLES = {
    "before": {"color": "#0072B2", "marker": "o", "mfc": "white", "linestyle": "none", "capsize": 3},
    "after": {"color": "#D55E00", "marker": "s", "linestyle": "none", "capsize": 3},
}
_LABEL = r"$m_\mathrm{A} - m_\mathrm{B}$ [mmag]"
_PIXEL = 0.2  # arcsec, of the difference images
_SMOOTHING = 3.0  # pixels of the exposure
_SIZE = (1620, 700)  # columns, rows: 5.4' x 2.3'


def draw_comparison(path, results, exposures, truths):
    """
    Draw the comparison of the modules before and after the correction.

    Parameters
    ----------
    path : path-like
        The picture to write.
    results : dict
        `ModuleComparison` by ``("before" or "after", array, filter)``.
    exposures : dict
        By "before" and "after", files of the long-wavelength arrays by ``(epoch, module)``.
    truths : dict
        Delta_AB [mag] and k [mag/arcmin] that were put in, by ``(array, filter)``.
    """
    figure = plt.figure(figsize=(10, 7.6), layout="constrained")
    figure.suptitle("Simulated exposures: what was injected, and what is measured in the images", fontsize=11)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    panels = top.subplot_mosaic([["arrays", "field"], ["errors", "field"]], height_ratios=(2, 1))
    panels["arrays"].sharex(panels["errors"])
    _draw_arrays(panels["arrays"], panels["errors"], results, truths)
    _draw_field(panels["field"], results["before", "long", "F444W"], results["after", "long", "F444W"], truths)
    _draw_differences(bottom, exposures)
    figure.savefig(path, dpi=140)
    plt.close(figure)


def _draw_arrays(axes, errors, results, truths):
    """Draw Delta_AB of each array ID, as the right panel of Fig. 8 does, and below what it is off, with its error."""
    keys = list(dict.fromkeys(key[1:] for key in results))
    _shade(axes)
    for i, key in enumerate(keys):
        axes.hlines(
            1e3 * truths[key][0], i - 0.3, i + 0.3, color="k", linestyle=":", label="injected" if i == 0 else None
        )
    for state, shift in (("before", -0.1), ("after", 0.1)):
        offsets = [results[state, *key].offset for key in keys]
        values, sigma = np.transpose([(1e3 * offset.value, 1e3 * offset.error) for offset in offsets])
        expected = [1e3 * truths[key][0] if state == "before" else 0.0 for key in keys]
        axes.errorbar(np.arange(len(keys)) + shift, values, sigma, label=f"{state} correction", **_STYLES[state])
        errors.errorbar(np.arange(len(keys)) + shift, values - expected, sigma, **_STYLES[state])
    errors.axhline(0, color="k", linestyle=":", linewidth=1)
    errors.set_xticks(range(len(keys)), [f"{array}\n{band}" for array, band in keys])
    errors.set(xlabel="array ID", ylabel="measured \N{MINUS SIGN}\nexpected [mmag]", ylim=(-4.5, 4.5))
    axes.set(ylabel=_LABEL, ylim=(-62, 62))
    axes.set_title("(a) offset of the modules, simulated", fontsize=10)
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, loc="upper right", ncols=3, columnspacing=1, handletextpad=0.3)


def _draw_field(axes, before, after, truths):
    """Draw A - B along the long side of the field, as Eq. 9 has it, with the fitted lines."""
    _shade(axes)
    distance = np.array([0, 2.6])
    offset, slope = truths["long", "F444W"]
    axes.plot(distance, 1e3 * (offset + slope * distance), "k:", label="injected")
    for state, comparison in (("before", before), ("after", after)):
        axes.errorbar(*_bin(comparison.sources), label=f"{state} correction", **_STYLES[state])
        line = comparison.offset.value + comparison.slope.value * distance
        axes.plot(distance, 1e3 * line, color=_STYLES[state]["color"], linewidth=1)
    axes.set(xlabel=r"$|d|$ from the midpoint of the modules [arcmin]", ylabel=_LABEL)
    axes.set(xlim=(0, 2.6), ylim=(-25, 25))
    axes.set_title("(b) gradient across the field, simulated: F444W", fontsize=10)
    axes.legend(frameon=False, loc="upper right", ncols=3, columnspacing=1, handletextpad=0.3)


def _shade(axes):
    """Shade 0.05 and 0.02 mag, as Figs. 6 and 8 do."""
    for limit, grey in ((50, "0.94"), (20, "0.86")):
        axes.axhspan(-limit, limit, color=grey, zorder=0)
    axes.axhline(0, color="0.4", linewidth=0.8, zorder=1)


def _bin(sources, count=8):
    """Weighted means in bins of equal number along the field: |d| [arcmin], A - B and its error [mmag]."""
    sources = sources[sources["used"]]
    sources = sources[np.argsort(sources["distance"])]
    bins = np.array_split(np.arange(len(sources)), count)
    distance = [np.mean(sources["distance"][rows]) / 2 for rows in bins]
    weights = [1 / (sources["error"][rows] ** 2 + 0.003**2) for rows in bins]
    means = [np.average(sources["difference"][rows], weights=w) for rows, w in zip(bins, weights, strict=True)]
    errors = [
        np.sqrt(np.average((sources["difference"][rows] - mean) ** 2, weights=w) / (w.sum() ** 2 / (w**2).sum()))
        for rows, w, mean in zip(bins, weights, means, strict=True)
    ]
    return distance, 1e3 * np.array(means), 1e3 * np.array(errors)


def _draw_differences(figure, exposures):
    """Second epoch minus first, before and after, on one scale."""
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, letter, state in zip(panels, "cd", ("before", "after"), strict=True):
        image = axes.imshow(
            1e3 * _difference(exposures[state]),
            origin="lower",
            cmap="RdBu_r",
            vmin=-10,
            vmax=10,
            extent=np.array([-0.5, 0.5, -0.5, 0.5]) * np.repeat(_SIZE, 2) * _PIXEL / 60,
            interpolation="nearest",
        )
        axes.set_facecolor("0.85")
        title = f"({letter}) simulated epoch 2 \N{MINUS SIGN} 1, F444W, {state} correction"
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="along the field [arcmin]")
    panels[0].set_ylabel("across [arcmin]")
    figure.colorbar(image, ax=panels, orientation="horizontal", shrink=0.5, aspect=40, label="difference [kJy/sr]")


def _difference(exposures):
    grid = _field_grid(exposures[1, "A"], exposures[1, "B"])
    first, second = (_mosaic([exposures[epoch, module] for module in "AB"], grid) for epoch in (1, 2))
    return second - first


def _field_grid(path_a, path_b):
    """Make a grid on the sky whose columns run from module B to module A."""
    centres = []
    for path in (path_b, path_a):
        with datamodels.open(path) as model:
            centres.append(SkyCoord(*model.meta.wcs(1023.5, 1023.5), unit="deg"))
    b, a = centres
    middle = b.directional_offset_by(b.position_angle(a), b.separation(a) / 2)
    angle = middle.position_angle(a).rad
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [middle.ra.deg, middle.dec.deg]
    wcs.wcs.crpix = (np.array(_SIZE) + 1) / 2
    wcs.wcs.cd = _PIXEL / 3600 * np.array([[np.sin(angle), -np.cos(angle)], [np.cos(angle), np.sin(angle)]])
    return wcs


def _mosaic(paths, grid):
    """Mean of smoothed exposures on a grid; not-a-number where there is none."""
    planes = []
    for path in paths:
        with datamodels.open(path) as model:
            planes.append(_resample(model, grid))
    seen = np.isfinite(planes)
    total = np.where(seen, planes, 0).sum(axis=0)
    return np.divide(total, seen.sum(axis=0), out=np.full(total.shape, np.nan), where=seen.any(axis=0))


def _resample(model, grid):
    """Interpolate an exposure on a grid; positions are exact on a coarse grid, and smooth between."""
    columns, rows = (np.linspace(0, size - 1, 40) for size in _SIZE)
    sky = grid.pixel_to_world_values(*np.meshgrid(columns, rows))
    to_detector = model.meta.wcs.get_transform("world", "detector")
    x, y = (RectBivariateSpline(rows, columns, place) for place in to_detector(*sky))
    places = [place(np.arange(_SIZE[1]), np.arange(_SIZE[0])) for place in (y, x)]
    good = np.isfinite(model.data)
    weight = gaussian_filter(np.float32(good), _SMOOTHING)
    smooth = gaussian_filter(np.where(good, model.data, 0), _SMOOTHING) / np.maximum(weight, 1e-6)
    smooth[weight < 0.5] = np.nan
    return map_coordinates(smooth, places, order=1, cval=np.nan)
