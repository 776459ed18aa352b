"""``photometry='exposure'``: find sources once, measure them in each exposure."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from jwst_modfix.errors import PhotometryError
from jwst_modfix.jobs import THIS_PROCESS, Cache, Known, Workers
from jwst_modfix.photometry.columns import Flag, Photometry, combine_parts, join_columns, to_flux, to_magnitudes
from jwst_modfix.photometry.frames import Epochs, ExposureHeader, Frame, read_frame, shift_on_sky
from jwst_modfix.photometry.source_list import (
    MEDIAN_LOSS,
    Detections,
    SourceList,
    choose_exposures,
    clip,
    detect,
    find_connected,
    find_shift,
    measure_sky,
    merge_detections,
    refine_centroids,
    subtract,
)
from jwst_modfix.table.table import MAG_PER_FRACTION
from jwst_modfix.text import count_nouns, log

FAINTEST = 23.0  # AB: a magnitude below the selection's limit
_BRIGHT = 10.0  # standard deviations of a pixel
_MARGIN = 0.5  # pixels: half a pixel of the array beyond the centres of its outermost ones
_RING = 0.75  # pixels: half the width of the ring that replaces pixels without a counterpart
_MIN_WEIGHT = 0.5  # of the good pixels around a counterpart
_MIN_SKY = 0.3  # share of the annulus that must be good
_MAX_FILLED = 0.02  # share of the flux
_FILL_ERROR = 0.15  # share of the flux that is filled in
_AT_ONCE = 128  # sources, which bounds the memory
_CENTRE = 0.15  # of the radius: a masked pixel within it makes the measurement unusable

LARGE = 1.5
"""Radius of the larger aperture over that of the aperture."""

FARTHEST = 2.0
"""Radius of the largest aperture over that of the aperture; it stays inside of the annulus for the sky."""

APERTURES = ("r", "large", "extrapolated")
"""Choices of the aperture: 0.30" or 0.45", 1.5 times that, or an extrapolation of the flux to all radii."""

# Shares of the growth to 1.5 r, and from there to 2 r, that bring offsets closest to 0 for any wavefronts of the
# modules: least squares over 240 pairs of wavefronts of 60 and 80 nm, and of 100 and 130 nm (benchmarks/apertures.py).
_EXTRAPOLATION = {"SHORT": (1.33, 2.31), "LONG": (1.26, 1.26)}

# Systematic error of the offset of two arrays, common to all sources [mag]: arrays whose PSFs differ lose different
# shares of the light outside of the aperture. Wavefront errors of 60 nm in one module and 80 nm in the other shift
# offsets by this much, in the default apertures (benchmarks/apertures.py).
_FLOORS = {"SHORT": 0.0015, "LONG": 0.0008}
_SHORTEST = 1.5  # micron: below, PSFs differ more
_SHORT_FLOOR = 0.002
# Error of an extrapolated offset over its change from r to 1.5 r: no pair of wavefronts has more than this and a floor.
_EXTRAPOLATION_ERROR = 0.5


@dataclass(frozen=True, kw_only=True)
class Aperture:
    """A round aperture on the sky, and the annulus for its local sky."""

    radius: float  # arcsec
    inner: float  # arcsec, of the annulus
    outer: float  # arcsec, of the annulus

    def __post_init__(self) -> None:
        if not 0 < self.radius <= self.inner < self.outer < np.inf:
            raise PhotometryError(
                f"aperture: must have 0 < radius <= inner < outer; got {self.radius}, {self.inner}, {self.outer}"
            )


def default_aperture(channel: str) -> Aperture:
    """Make the aperture of a channel: 0.30" in short, 0.45" in long wavelengths."""
    # Five and three widths (FWHM) of the PSF at 2.0 and 4.4 micron: large enough that the arrays' PSFs, which differ in
    # the core, hold the same share of the light; small enough that the sky's noise stays below 1% for a source of
    # 22 mag and that few neighbours are inside.
    radius = {"SHORT": 0.30, "LONG": 0.45}[channel]
    return Aperture(radius=radius, inner=2.5 * radius, outer=4.0 * radius)


def find_sources(headers: Sequence[ExposureHeader], *, faintest: float = FAINTEST, **running: Any) -> SourceList:
    """Find the sources in as few exposures as cover the sky in each band."""
    # `running` has progress, workers and cache, as below.
    jobs = [(header, faintest) for header in choose_exposures(headers)]
    sources = merge_detections(_run(_detect_exposure, jobs, **running))
    bright = sources.flux >= to_flux(faintest)
    if not bright.any():
        raise PhotometryError(
            f"no source is brighter than {faintest} AB in any of {count_nouns(len(headers), 'exposure')}; "
            "raise faintest"
        )
    return sources[bright]


def measure_sources(
    headers: Sequence[ExposureHeader], epochs: Epochs, sources: SourceList, **running: Any
) -> Photometry:
    """Measure a list of sources in every exposure that covers them."""
    near = [sources.rows_near(header) for header in headers]
    jobs = [(one, sources[rows], default_aperture(one.channel)) for one, rows in zip(headers, near, strict=True)]
    measured = _run(_measure_exposure, jobs, **running)
    skies, shifts = ([one.pop(name) for one in measured] for name in ("level", "shift"))
    for number, (rows, one) in enumerate(zip(near, measured, strict=True)):
        one["source"] = rows[one["source"]]
        mine = sources[one["source"]]
        one |= {"RA": mine.ra, "Dec": mine.dec, "isolation": mine.isolation, "exposure": np.full(len(mine), number)}
        one["source_mag"] = to_magnitudes(mine.flux, mine.flux)[0]
    return combine_parts(measured, headers, epochs, skies, shifts)


def _run(function, jobs, *, progress: Callable = iter, workers: Workers = THIS_PROCESS, cache: Cache | None = None):
    """Run a job for each exposure, its first argument; log how many were cached."""
    jobs = [(*job, cache) for job in jobs]
    headers = [job[0] for job in jobs]
    with contextlib.closing(workers.map(function, jobs, [header.name for header in headers])) as results:
        found = [result for _, result in zip(progress(headers), results, strict=True)]
    if known := sum(is_known for is_known, _ in found):
        log.info("%d of %s from the cache %s", known, count_nouns(len(found), "exposure"), cache.folder)
    return [result for _, result in found]


def _detect_exposure(header, faintest, cache):
    def make():
        found = detect(read_frame(header), faintest=faintest)
        # numpy's sines of strided and of contiguous arrays can differ in the last bit; pickled arrays are contiguous.
        return {name: np.ascontiguousarray(getattr(found, name)) for name in ("ra", "dec", "flux")}

    arrays = cache.fetch("detections", header.path, [repr(faintest)], make) if cache else make()
    return isinstance(arrays, Known), Detections(exposure=header.name, band=header.band, **arrays)


def _measure_exposure(header, sources, aperture, cache):
    def make():
        return measure_frame(read_frame(header), sources, aperture)

    parameters = [repr(aperture), sources.ra.tobytes(), sources.dec.tobytes()]
    columns = cache.fetch("measurements", header.path, parameters, make) if cache else make()
    return isinstance(columns, Known), dict(columns)


def measure_frame(frame: Frame, sources: SourceList, aperture: Aperture) -> dict[str, np.ndarray]:
    """Measure the listed sources in an exposure: columns, sky level and shift."""
    # The places are those of the list, moved together by the error of the pointing. No source is centred on its own:
    # that would follow noise, and a place common to all exposures loses the same light in each. Centroids are for the
    # report only.
    level, level_error = measure_sky(frame)
    image = subtract(frame, level if np.isfinite(level) else 0.0)
    shift = _find_pointing_error(frame, image, sources)
    x, y = frame.geometry.to_pixel(*shift_on_sky(sources.ra, sources.dec, *shift))
    ny, nx = frame.data.shape
    inside = (np.abs(x - (nx - 1) / 2) < nx / 2 - _MARGIN) & (np.abs(y - (ny - 1) / 2) < ny / 2 - _MARGIN)
    rows = np.flatnonzero(inside)
    x, y = x[rows], y[rows]
    scales = frame.geometry.scale(x, y)
    centroids = np.stack(refine_centroids(image, x, y, frame.header))
    v2, v3 = frame.geometry.to_v2v3(x, y) if rows.size else (x, y)
    columns = measure_fluxes(frame, x, y, scales, aperture)
    columns |= {"source": rows, "x": x + frame.header.corner[0], "y": y + frame.header.corner[1], "V2": v2, "V3": v3}
    columns["off_east"], columns["off_north"] = np.einsum("nij,jn->in", scales, centroids - [x, y])
    columns |= {"level": (level, level_error), "shift": shift}
    return {name: np.ascontiguousarray(values) for name, values in columns.items()}


def _find_pointing_error(frame, image, sources):
    """Find the WCS shift against the list from bright sources, east, north [arcsec]."""
    noise = np.median(frame.err[::8, ::8][~frame.bad[::8, ::8]])  # nothing is above NaN
    _, x, y = find_connected(image, _BRIGHT * noise).measure(image)
    if not len(x):
        return 0.0, 0.0
    east, north = find_shift(*frame.geometry.to_sky(x, y), sources.ra, sources.dec)
    return -east, -north


def systematic_error(aperture: str, channel: str, filter_: str, near: float = 0.0, far: float = 0.0) -> float:
    """Estimate an offset's systematic error [mag] from changes to 1.5 r and to 2 r.

    It is what the aperture loses by the curve of growth, which the extrapolation would add, and the error of the
    extrapolation: the larger of a floor for the filter and a half of the change to 1.5 r.
    """
    # The truth differs from an offset by no more than the sum of the two (triangle inequality).
    digits = "".join(c for c in filter_[1:4] if c.isdigit())
    least = _SHORT_FLOOR if digits and int(digits) / 100 < _SHORTEST else _FLOORS[channel]
    shares, mine = growth_shares("extrapolated", channel), growth_shares(aperture, channel)
    lost = abs((shares[0] - mine[0]) * near + (shares[1] - mine[1]) * far)
    return lost + max(least, _EXTRAPOLATION_ERROR * abs(near))


def growth_shares(aperture: str, channel: str) -> tuple[float, float]:
    """Find the shares of the growths to 1.5 r and 2 r in an aperture's magnitudes."""
    return {"r": (0.0, 0.0), "large": (1.0, 0.0), "extrapolated": _EXTRAPOLATION[channel]}[aperture]


def measure_fluxes(
    frame: Frame, x: np.ndarray, y: np.ndarray, scale: np.ndarray, aperture: Aperture
) -> dict[str, np.ndarray]:
    """Measure flux = sum(w (data - sky) AREA) PIXAR_SR, w each pixel's share inside."""
    # `scale` has the matrices from pixels to arcsec on the sky. Result: columns of the table of measurements.
    pieces = [slice(first, first + _AT_ONCE) for first in range(0, max(len(x), 1), _AT_ONCE)]
    return join_columns([_measure(frame, x[piece], y[piece], scale[piece], aperture) for piece in pieces])


class _Pixels:
    """Pixels at the same offsets from each of n sources: arrays of shape (n, m)."""

    def __init__(self, frame, x, y, scale, reach, least=0.0):
        sizes = np.linalg.svd(scale, compute_uv=False)  # arcsec
        self.half = int(np.ceil(reach / sizes.min(initial=1.0) + 1))
        offsets = np.mgrid[-self.half : self.half + 1, -self.half : self.half + 1].reshape(2, -1)
        if least:  # half a pixel off along each axis
            offsets = offsets[:, np.hypot(*offsets) >= least / sizes.max(initial=1e-9) - 1]
        rows, columns = np.rint([y, x]).astype(int)[:, :, None] + offsets[:, None]
        ny, nx = frame.data.shape
        self.inside = (columns >= 0) & (columns < nx) & (rows >= 0) & (rows < ny)
        self._index = rows * nx + columns
        self.dx, self.dy = columns - x[:, None], rows - y[:, None]
        east, north = (line[:, :1] * self.dx + line[:, 1:] * self.dy for line in scale.swapaxes(0, 1))
        self.radius = np.sqrt(east**2 + north**2)  # arcsec

    def take(self, array):
        """Read an array of the frame; any of its values outside of it."""
        return array.take(self._index, mode="clip")


def _measure(frame, x, y, scale, aperture):
    # Errors contain the pixels' err, that of the local sky, and a share of what is filled in for masked pixels.
    sky, sky_error, sky_pixels = _local_sky(frame, x, y, scale, aperture)
    # The light is within a smaller window.
    near = _Pixels(frame, x, y, scale, min(FARTHEST * aperture.radius, aperture.outer))
    bad, area = near.take(frame.bad) | ~near.inside, near.take(frame.area)
    pixel = np.abs(np.linalg.det(scale))  # arcsec^2
    circles, core = _draw_circles(near, scale, pixel, aperture.radius)
    image = np.where(bad, 0, near.take(frame.data) - sky[:, None])
    _fill_masked(near, image, ~bad, bad & (circles[:, -1] > 0) & np.isfinite(sky)[:, None], _RING * np.sqrt(pixel))
    light, filled, noise = image * area, np.where(bad, image, 0), np.where(bad, 0, near.take(frame.err))

    weight, areas = circles[:, 0], circles.sum(axis=2)
    whole = np.pi * aperture.radius**2 / pixel  # pixels
    lost, flux, fluxes = bad & (weight > 0), *_sum_circles(circles, light, areas, whole)
    growths = np.diff(-2.5 * np.log10(fluxes), axis=1)
    errors = _find_errors(circles * area[:, None], noise, filled, sky_error, fluxes, frame.header.channel)
    flags = _judge(near.take(frame.saturated), weight, weight * light, lost, near.radius < _CENTRE * aperture.radius)
    ring = np.pi * (aperture.outer**2 - aperture.inner**2) / pixel
    flags += np.where(sky_pixels < _MIN_SKY * ring, Flag.SKY, 0)
    columns = {
        "flux": flux * frame.header.jansky,
        "flux_error": errors.pop("flux") * frame.header.jansky,
        "sky": sky,
        "compactness": (core * light).sum(axis=1) / np.where(flux > 0, flux, np.nan),
        "growth": growths[:, 0],
        "far_growth": growths[:, 1],
        **errors,
    }
    at_edge, no_sky = areas[:, 0] <= 0.9999 * whole, np.isnan(sky)
    columns = {name: np.where(at_edge | no_sky, np.nan, values) for name, values in columns.items()}
    columns["masked"] = np.where(at_edge | no_sky, 1.0, (weight * lost).sum(axis=1) / whole)
    return columns | {"flags": np.select([at_edge, no_sky], [Flag.EDGE, Flag.SKY], flags)}


def _draw_circles(near, scale, pixel, radius):
    """Compute each pixel's share in three circles, (n, 3, m), and in half the radius."""
    # Where there is little light, shares to a few percent of a pixel suffice; exact ones take most of the time.
    inside = (factor * radius - near.radius for factor in (LARGE, FARTHEST))  # arcsec
    edges = (np.clip(depth / np.sqrt(pixel)[:, None] + 0.5, 0, 1) for depth in inside)
    weight, core = _overlap(near, scale, radius), _overlap(near, scale, radius / 2)
    return np.stack([weight, *(edge * near.inside for edge in edges)], axis=1), core


def _sum_circles(circles, light, areas, whole):
    """Sum the light: in the first circle; in all, NaN if not positive or cut."""
    fluxes = _sum(circles, light)
    least = np.outer(whole, [0, 0.99 * LARGE**2, 0.99 * FARTHEST**2])
    cut = np.logical_or.accumulate(areas <= least, axis=1)
    return fluxes[:, 0], np.where(cut | (fluxes <= 0), np.nan, fluxes)


def _sum(weights, values):
    """Sum values of pixels, (n, m), with several weights each, (n, k, m)."""
    return (weights @ values[:, :, None].astype(float))[:, :, 0]


def _find_errors(areas, noise, filled, sky_error, fluxes, channel):
    """Find errors of the flux, and of the magnitudes made from all fluxes."""
    # All are sums of the fluxes, which share pixels and the sky.
    near, far = growth_shares("extrapolated", channel)
    sums = {"growth": (-1, 1, 0), "large": (0, 1, 0), "extrapolated": (1 - near, near - far, far)}
    shares = {"flux": np.broadcast_to([1.0, 0.0, 0.0], fluxes.shape)}
    shares |= {f"{n}_error": MAG_PER_FRACTION * np.where(one, one / fluxes, 0.0) for n, one in sums.items()}
    noisy = areas * noise[:, None]
    covariance = noisy @ noisy.swapaxes(1, 2)
    for size, error in ((areas.sum(axis=2), sky_error), (_sum(areas, filled), _FILL_ERROR)):
        common = size * np.reshape(error, (-1, 1))
        covariance += common[:, :, None] * common[:, None]
    return {name: np.sqrt(np.einsum("ni,nij,nj->n", share, covariance, share)) for name, share in shares.items()}


def _overlap(near, scale, radius):
    """Compute each pixel's share inside a circle on the sky, an ellipse in pixels."""
    from photutils.geometry import elliptical_overlap_grid  # late, as in source_list.py

    shares = np.zeros(near.dx.shape)
    squares, axes = np.linalg.eigh(scale.swapaxes(1, 2) @ scale)
    semi_x, semi_y = radius / np.sqrt(squares.T)
    angle, n = np.arctan2(axes[:, 1, 0], axes[:, 0, 0]), 2 * near.half + 1
    for i, (dx, dy) in enumerate(zip(near.dx, near.dy, strict=True)):
        edges = dx[0] - 0.5, dx[-1] + 0.5, dy[0] - 0.5, dy[-1] + 0.5
        shares[i] = elliptical_overlap_grid(*edges, n, n, semi_x[i], semi_y[i], angle[i], 1, 1).ravel()
    return shares * near.inside


def _local_sky(frame, x, y, scale, aperture):
    """Find the clipped median of each annulus, its error, and its good pixels."""
    around = _Pixels(frame, x, y, scale, aperture.outer, aperture.inner)
    ring = (around.radius >= aperture.inner) & (around.radius <= aperture.outer) & around.inside
    ring &= ~around.take(frame.bad)
    values, errors = (np.where(ring, around.take(array), np.nan) for array in (frame.data, frame.err))
    kept = clip(values)
    # Wings and neighbours spread the levels of the pixels by more than the noise e of a pixel, but they are not noise.
    # Noise moves only pixels near the median across it, a share e/s of n where levels spread by s. Each moves it by
    # s/n, so the variance is proportional to e s/n (with 1.9 for an even spread, pi/2 for none).
    variance = kept.spread * clip(errors, rounds=0).median
    sky = np.where(kept.size < 2, np.nan, kept.median)
    return sky, np.sqrt(MEDIAN_LOSS * variance / np.maximum(kept.size, 1)), ring.sum(axis=1)


def _fill_masked(near, image, good, lost, width):
    """Fill lost pixels from the opposite side of the source, else the ring's median."""
    # Sources are nearly point-symmetric, but not flat, as an interpolation between neighbours assumes.
    source, pixel = np.nonzero(lost)
    if not source.size:
        return
    stamps = len(image), 2 * near.half + 1, -1
    place = [-near.dy[source, pixel] - near.dy[source, 0], -near.dx[source, pixel] - near.dx[source, 0]]
    weights, values = (
        map_coordinates(array.astype(float).reshape(stamps), [source, *place], order=1, mode="grid-constant")
        for array in (good, image)
    )  # 0 outside of the window
    values /= np.where(weights > 0, weights, 1)
    for i in np.flatnonzero(weights < _MIN_WEIGHT):
        n = source[i]
        ring = good[n] & (np.abs(near.radius[n] - near.radius[n, pixel[i]]) < width[n])
        values[i] = np.median(image[n, ring]) if ring.any() else 0.0
    image[source, pixel] = values


def _judge(saturated, weight, light, lost, centre):
    total, filled = light.sum(axis=1), np.abs(light * lost).sum(axis=1)
    flags = {
        Flag.SATURATED: (saturated & (weight > 0)).any(axis=1),
        Flag.FILLED: lost.any(axis=1),
        Flag.MASKED: (lost & centre).any(axis=1) | (filled > _MAX_FILLED * np.abs(total)),
        Flag.NEGATIVE: total <= 0,
    }
    return sum(int(flag) * found for flag, found in flags.items())
