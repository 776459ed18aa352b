"""The flux of one source in an aperture, above its local sky."""

from dataclasses import dataclass

import numpy as np
from photutils.geometry import elliptical_overlap_grid
from scipy.ndimage import map_coordinates

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.background import MEDIAN_LOSS, clip
from jwst_modfix.photometry.columns import Flag

_RING = 0.75  # pixels: half the width of the ring that replaces pixels without a counterpart
_MIN_WEIGHT = 0.5  # of the good pixels around a counterpart
_MIN_SKY = 0.3  # share of the annulus that must be good
_MAX_FILLED = 0.02  # share of the flux
_FILL_ERROR = 0.15  # share of the flux that is filled in
_ERR_TOLERANCE = 1.1  # faint sources in the annulus make it scatter a little more than err says
_CENTRE = 0.15  # of the radius: a masked pixel within it makes the measurement unusable

# Systematic error of the offset of two arrays, common to all sources [mag]. Arrays whose PSFs differ lose different
# shares of the light outside of the aperture. Widths vary over NIRCam by 0.6% rms in F444W and by more at shorter
# wavelengths, up to 5% rms in F070W (Zhuang & Shen 2024, ApJ 962, 93); 1% in width is 0.8 mmag in F200W and 1.2 mmag in
# F444W in the default apertures, for the simulation's PSF (benchmarks/recovery.py).
SYSTEMATIC_FLOOR = 0.001


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
    """Aperture of a channel: 0.30" in the short, 0.45" in the long wavelengths."""
    # Five and three widths (FWHM) of the PSF at 2.0 and 4.4 micron: large enough that the arrays' PSFs, which differ in
    # the core, hold the same share of the light; small enough that the sky's noise stays below 1% for a source of
    # 22 mag and that few neighbours are inside.
    radius = {"SHORT": 0.30, "LONG": 0.45}[channel]
    return Aperture(radius=radius, inner=2.5 * radius, outer=4.0 * radius)


@dataclass(frozen=True, kw_only=True)
class ApertureFlux:
    """The measurement of one source; the default is that of an aperture cut off by the edge."""

    flux: float = np.nan  # Jy, above the local sky
    flux_error: float = np.nan  # Jy
    sky: float = np.nan  # MJy/sr
    masked: float = 1.0  # share of the aperture's area
    compactness: float = np.nan  # flux within half the radius over that within the radius
    flags: Flag = Flag.EDGE


def measure_source(frame, x: float, y: float, scale: np.ndarray, aperture: Aperture) -> ApertureFlux:
    """Measure one source: flux = sum(w (data - sky) AREA) PIXAR_SR, with w the exact share of each pixel inside.

    ``scale`` is the matrix from pixels to arcsec on the sky.
    """
    # The error contains the pixels' err, the error of the local sky, the scatter of the annulus that exceeds its err by
    # more than a tenth, and a share of what is filled in for masked pixels.
    window, dx, dy = _window(frame, x, y, aperture.outer, scale)
    data, err, bad, area = (array[window] for array in (frame.data, frame.err, frame.bad, frame.area))
    weight = _overlap(dx, dy, scale, aperture.radius)
    pixel = abs(np.linalg.det(scale))  # arcsec^2
    if not weight.sum() > 0.9999 * np.pi * aperture.radius**2 / pixel:
        return ApertureFlux()
    radius = np.hypot(*np.einsum("ij,jkl->ikl", scale, np.stack(np.broadcast_arrays(dx, dy[:, None]))))
    ring = (radius >= aperture.inner) & (radius <= aperture.outer) & ~bad
    sky, sky_error, excess = _local_sky(data[ring], err[ring])
    if not np.isfinite(sky):
        return ApertureFlux(flags=Flag.SKY)

    lost = bad & (weight > 0)
    image = _fill_masked(data - sky, bad, lost, dx, dy, radius)
    light = weight * area * image
    flux = light.sum()
    variance = (np.where(bad, 0, weight * area * err) ** 2).sum() + ((weight * area) ** 2).sum() * excess
    variance += ((weight * area).sum() * sky_error) ** 2 + (_FILL_ERROR * light[lost].sum()) ** 2
    whole = np.pi * (aperture.outer**2 - aperture.inner**2) / pixel
    flags = _judge(frame.saturated[window], weight, light, lost, radius < _CENTRE * aperture.radius)
    flags |= Flag.SKY if np.count_nonzero(ring) < _MIN_SKY * whole else Flag(0)
    return ApertureFlux(
        flux=flux * frame.header.jansky,
        flux_error=np.sqrt(variance) * frame.header.jansky,
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


def _local_sky(values, errors):
    """Clipped median, its error, and the variance that the pixels' errors do not explain."""
    kept = clip(values)
    if kept.size < 2:
        return np.nan, np.nan, np.nan
    variance = kept.var()
    excess = max(0.0, float(variance - (_ERR_TOLERANCE * np.median(errors)) ** 2))
    return float(np.median(kept)), np.sqrt(MEDIAN_LOSS * variance / kept.size), excess


def _fill_masked(image, bad, lost, dx, dy, radius):
    """Fill lost pixels with their counterpart on the other side of the source, else the median of their ring."""
    # Sources are far more nearly point-symmetric than flat, which an interpolation between neighbours would assume.
    filled = np.where(bad, 0, image)
    if not lost.any():
        return filled
    good = ~bad
    rows, columns = np.nonzero(lost)
    place = -dy[rows] - dy[0], -dx[columns] - dx[0]
    weights, values = (
        map_coordinates(array.astype(float), place, order=1, mode="grid-constant") for array in (good, filled)
    )  # 0 outside of the window
    values /= np.where(weights > 0, weights, 1)
    width = _RING * radius.max() / np.hypot(np.abs(dx).max(), np.abs(dy).max())
    for i in np.flatnonzero(weights < _MIN_WEIGHT):
        ring = good & (np.abs(radius - radius[rows[i], columns[i]]) < width)
        values[i] = np.median(image[ring]) if ring.any() else 0.0
    filled[rows, columns] = values
    return filled


def _judge(saturated, weight, light, lost, centre):
    flags = Flag(0)
    total, filled = light.sum(), np.abs(light[lost]).sum()
    if (saturated & (weight > 0)).any():
        flags |= Flag.SATURATED
    if lost.any():
        flags |= Flag.FILLED
    if (lost & centre).any() or filled > _MAX_FILLED * abs(total):
        flags |= Flag.MASKED
    if total <= 0:
        flags |= Flag.NEGATIVE
    return flags
