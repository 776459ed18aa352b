"""Values for masked pixels inside an aperture."""

from dataclasses import dataclass

import numpy as np
from photutils.geometry import elliptical_overlap_grid

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.background import MEDIAN_LOSS, clip
from jwst_modfix.photometry.columns import Flag

__all__ = ["SYSTEMATIC_FLOOR", "Aperture", "ApertureFlux", "default_aperture", "fill_masked", "measure_source"]


_RING = 0.75  # pixels: half the width of the ring for those without a counterpart
_LEAST_WEIGHT = 0.5


def fill_masked(image, bad, lost, dx, dy, radius):
    """Fill pixels with the value at their counterpart, point-symmetric about the source.

    Stars and galaxies look the same turned by 180 deg, far more nearly than they look flat, which an interpolation
    between neighbours would assume. Where the counterpart is masked too, the median of the ring of that radius is
    taken.
    """
    filled = np.where(bad, 0, image)
    if not lost.any():
        return filled
    good = ~bad
    rows, columns = np.nonzero(lost)
    values, weights = _interpolate(filled, good, -dx[columns] - dx[0], -dy[rows] - dy[0])
    width = _RING * radius.max() / np.hypot(np.abs(dx).max(), np.abs(dy).max())
    for i in np.flatnonzero(weights < _LEAST_WEIGHT):
        ring = good & (np.abs(radius - radius[rows[i], columns[i]]) < width)
        values[i] = np.median(image[ring]) if ring.any() else 0.0
    filled[rows, columns] = values
    return filled


def _interpolate(image, good, x, y):
    """Bilinear values between good pixels, and the weight of the good ones, 0 outside; shape (n,)."""
    left, low = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weights = np.zeros(x.size), np.zeros(x.size)
    for column, row in ((left, low), (left + 1, low), (left, low + 1), (left + 1, low + 1)):
        inside = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
        at = row.clip(0, image.shape[0] - 1), column.clip(0, image.shape[1] - 1)
        share = (1 - np.abs(x - column)) * (1 - np.abs(y - row)) * (good[at] & inside)
        total += share * image[at]
        weights += share
    return total / np.where(weights > 0, weights, 1), weights


_LEAST_SKY = 0.3  # share of the annulus that must be left
_MOST_FILLED = 0.02  # of the flux
_FILL_ERROR = 0.15  # of what is filled in
_ERR_TOLERANCE = 1.1  # faint sources in the annulus make it scatter a little more than err says
_CENTRE = 0.15  # of the radius: a masked pixel there is fatal

SYSTEMATIC_FLOOR = 0.001
"""
What the offset of two arrays may be off by, however many sources there are [mag].

Arrays whose PSFs differ lose different shares of the light outside of the aperture. Widths vary over NIRCam by 0.6% rms
in F444W and by more at shorter wavelengths, up to 5% rms in F070W (Zhuang & Shen 2024, ApJ 962, 93); 1% in width is
0.8 mmag in F200W and 1.2 mmag in F444W in the default apertures, for the simulation's PSF (benchmarks/recovery.py).
"""


@dataclass(frozen=True, kw_only=True)
class Aperture:
    """
    A round aperture on the sky, and the annulus for its local sky.

    Parameters
    ----------
    radius : float
        Radius of the aperture [arcsec].
    inner, outer : float
        Radii of the annulus [arcsec].

    Raises
    ------
    PhotometryError
        The radii do not grow from 0.
    """

    radius: float
    inner: float
    outer: float

    def __post_init__(self):
        if not 0 < self.radius <= self.inner < self.outer < np.inf:
            raise PhotometryError(
                f"aperture: must have 0 < radius <= inner < outer; got {self.radius}, {self.inner}, {self.outer}"
            )


def default_aperture(channel):
    """Aperture of a channel: 0.30" in the short, 0.45" in the long wavelengths.

    These are five and three widths (FWHM) of the PSF at 2.0 and 4.4 micron: large enough that the arrays' PSFs, that
    differ in the core, hold the same share of the light, small enough that the sky's noise stays below 1% for a
    source of 22 mag and that few neighbours get in.
    """
    radius = {"SHORT": 0.30, "LONG": 0.45}[channel]
    return Aperture(radius=radius, inner=2.5 * radius, outer=4.0 * radius)


@dataclass(frozen=True, kw_only=True)
class ApertureFlux:
    """
    What is measured of one source.

    Parameters
    ----------
    flux, flux_error : float
        Flux in the aperture above the local sky, and its standard error [Jy]; not-a-number where there is none.
    sky : float
        Local surface brightness of the sky [MJy/sr].
    masked : float
        Share of the aperture's area that is masked.
    compactness : float
        Flux within half the radius over that within the radius.
    flags : Flag
        What is to be said of it.
    """

    flux: float = np.nan
    flux_error: float = np.nan
    sky: float = np.nan
    masked: float = 1.0
    compactness: float = np.nan
    flags: Flag = Flag.EDGE


def measure_source(frame, x, y, scale, aperture):
    """Measure one source: flux = sum(w (data - sky) AREA) PIXAR_SR, with w the exact share of each pixel inside.

    Masked pixels take the value of their counterpart on the other side of the source (`fill_masked`); a share of that
    goes into the error, and where it is more than 2% of the flux, or where the centre is masked, the flag MASKED says
    not to use the measurement. The error has the pixels' ``err``, the error of the local sky, and what the annulus
    scatters by more than a tenth above its ``err``.
    """
    window, dx, dy = _window(frame, x, y, aperture.outer, scale)
    data, err, bad, area = (array[window] for array in (frame.data, frame.err, frame.bad, frame.area))
    weight = _overlap(dx, dy, scale, aperture.radius)
    if not _is_inside(weight, scale, aperture.radius):
        return ApertureFlux()
    radius = np.hypot(*np.einsum("ij,jkl->ikl", scale, np.stack(np.broadcast_arrays(dx, dy[:, None]))))
    ring = (radius >= aperture.inner) & (radius <= aperture.outer)
    sky, sky_error, excess = _local_sky(data[ring & ~bad], err[ring & ~bad])
    full = np.pi * (aperture.outer**2 - aperture.inner**2) / abs(np.linalg.det(scale))
    flags = Flag.SKY if np.count_nonzero(ring & ~bad) < _LEAST_SKY * full else Flag(0)
    if not np.isfinite(sky):
        return ApertureFlux(flags=Flag.SKY)

    lost = bad & (weight > 0)
    image = fill_masked(data - sky, bad, lost, dx, dy, radius)
    light = weight * area * image
    flux = light.sum()
    variance = (np.where(bad, 0, weight * area * err) ** 2).sum() + ((weight * area) ** 2).sum() * excess
    variance += ((weight * area).sum() * sky_error) ** 2 + (_FILL_ERROR * light[lost].sum()) ** 2
    flags |= _judge(frame.saturated[window], weight, light, lost, radius < _CENTRE * aperture.radius)
    return ApertureFlux(
        flux=flux * frame.jansky,
        flux_error=np.sqrt(variance) * frame.jansky,
        sky=sky,
        masked=weight[lost].sum() / weight.sum(),
        compactness=(_overlap(dx, dy, scale, aperture.radius / 2) * area * image).sum() / flux if flux > 0 else np.nan,
        flags=flags,
    )


def _window(frame, x, y, reach, scale):
    """Slices around a place, and the offsets of their columns and rows from it [pixel]."""
    half = reach / np.sqrt(np.linalg.eigvalsh(scale.T @ scale)[0]) + 1
    spans = []
    for centre, size in ((y, frame.data.shape[0]), (x, frame.data.shape[1])):
        first, last = np.ceil([centre - half, centre + half]).clip(0, size).astype(int)
        spans.append(slice(first, max(last, first)))
    rows, columns = spans
    return (rows, columns), np.arange(columns.start, columns.stop) - x, np.arange(rows.start, rows.stop) - y


def _overlap(dx, dy, scale, radius):
    """Share of each pixel inside a circle on the sky, which is an ellipse on the pixels; shape (ny, nx)."""
    if not (dx.size and dy.size):
        return np.zeros((dy.size, dx.size))
    squares, axes = np.linalg.eigh(scale.T @ scale)
    semi_x, semi_y = radius / np.sqrt(squares)
    angle = np.arctan2(axes[1, 0], axes[0, 0])
    edges = dx[0] - 0.5, dx[-1] + 0.5, dy[0] - 0.5, dy[-1] + 0.5
    return elliptical_overlap_grid(*edges, dx.size, dy.size, semi_x, semi_y, angle, 1, 1)


def _is_inside(weight, scale, radius):
    """Whether no part of the aperture is cut off."""
    return weight.sum() > 0.9999 * np.pi * radius**2 / abs(np.linalg.det(scale))


def _local_sky(values, errors):
    """Clipped median, its error, and the variance that the pixels' errors do not explain."""
    kept = clip(values)
    if kept.size < 2:
        return np.nan, np.nan, np.nan
    variance = kept.var()
    return (
        float(np.median(kept)),
        np.sqrt(MEDIAN_LOSS * variance / kept.size),
        max(0.0, float(variance - (_ERR_TOLERANCE * np.median(errors)) ** 2)),
    )


def _judge(saturated, weight, light, lost, centre):
    flags = Flag(0)
    total, filled = light.sum(), np.abs(light[lost]).sum()
    if (saturated & (weight > 0)).any():
        flags |= Flag.SATURATED
    if lost.any():
        flags |= Flag.FILLED
    if (lost & centre).any() or filled > _MOST_FILLED * abs(total):
        flags |= Flag.MASKED
    if total <= 0:
        flags |= Flag.NEGATIVE
    return flags
