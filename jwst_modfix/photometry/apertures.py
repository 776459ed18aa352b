"""The flux of one source in an aperture, above its local sky."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from photutils.geometry import elliptical_overlap_grid
from scipy.ndimage import map_coordinates

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.background import MEDIAN_LOSS, clip
from jwst_modfix.photometry.columns import MAG_PER_FRACTION, Flag

_RING = 0.75  # pixels: half the width of the ring that replaces pixels without a counterpart
_MIN_WEIGHT = 0.5  # of the good pixels around a counterpart
_MIN_SKY = 0.3  # share of the annulus that must be good
_MAX_FILLED = 0.02  # share of the flux
_FILL_ERROR = 0.15  # share of the flux that is filled in
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


# Error of an extrapolated offset over its change from r to 1.5 r: no pair of wavefronts has more than this and a floor.
_EXTRAPOLATION_ERROR = 0.5


def growth_shares(aperture: str, channel: str) -> tuple[float, float]:
    """Find the shares of the growths to 1.5 r and 2 r in an aperture's magnitudes."""
    return {"r": (0.0, 0.0), "large": (1.0, 0.0), "extrapolated": _EXTRAPOLATION[channel]}[aperture]


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


@dataclass(frozen=True, kw_only=True)
class ApertureFlux:
    """Measurement of one source; the defaults are for an aperture cut by the edge."""

    flux: float = np.nan  # Jy, above the local sky
    flux_error: float = np.nan  # Jy
    sky: float = np.nan  # MJy/sr
    masked: float = 1.0  # share of the aperture's area
    compactness: float = np.nan  # flux within half the radius over that within the radius
    growth: float = np.nan  # magnitude in 1.5 times the radius minus that in the aperture
    growth_error: float = np.nan  # mag
    far_growth: float = np.nan  # magnitude in twice the radius minus that in 1.5 times the radius
    large_error: float = np.nan  # of the magnitude in 1.5 times the radius
    extrapolated_error: float = np.nan  # of the extrapolated magnitude
    flags: Flag = Flag.EDGE


def measure_source(frame, x: float, y: float, scale: np.ndarray, aperture: Aperture) -> ApertureFlux:
    """Measure flux = sum(w (data - sky) AREA) PIXAR_SR, w each pixel's share inside."""
    # `scale` is the matrix from pixels to arcsec on the sky.
    # Errors contain the pixels' err, that of the local sky, and a share of what is filled in for masked pixels.
    pixel = abs(np.linalg.det(scale))  # arcsec^2
    around, dx, dy = _window(frame, x, y, aperture.outer, scale)
    radius = np.hypot(*np.einsum("ij,jkl->ikl", scale, np.stack(np.broadcast_arrays(dx, dy[:, None]))))
    ring = (radius >= aperture.inner) & (radius <= aperture.outer) & ~frame.bad[around]
    sky, sky_error = _local_sky(frame.data[around][ring], frame.err[around][ring])
    # The light is within a smaller window.
    window, dx, dy = _window(frame, x, y, min(FARTHEST * aperture.radius, aperture.outer), scale)
    radius = radius[*(slice(a.start - b.start, a.stop - b.start) for a, b in zip(window, around, strict=True))]
    data, err, bad, area = (array[window] for array in (frame.data, frame.err, frame.bad, frame.area))
    weight = _overlap(dx, dy, scale, aperture.radius)
    if not weight.sum() > 0.9999 * np.pi * aperture.radius**2 / pixel:
        return ApertureFlux()
    if not np.isfinite(sky):
        return ApertureFlux(flags=Flag.SKY)

    # Where there is little light, shares to a few percent of a pixel suffice; exact ones take most of the time.
    edges = [factor * aperture.radius - radius for factor in (LARGE, FARTHEST)]
    circles = [weight, *(np.clip(edge / np.sqrt(pixel) + 0.5, 0.0, 1.0) for edge in edges)]
    lost = bad & (weight > 0)
    image = _fill_masked(data - sky, bad, bad & (circles[-1] > 0), dx, dy, radius)
    light, noise = weight * area * image, np.where(bad, 0, err)
    flux, fluxes = light.sum(), _sum_circles(circles, area * image, np.pi * aperture.radius**2 / pixel)
    growths = np.diff(-2.5 * np.log10(fluxes))
    find_error = partial(_find_error, [circle * area for circle in circles], image, noise, bad, sky_error)
    whole = np.pi * (aperture.outer**2 - aperture.inner**2) / pixel
    flags = _judge(frame.saturated[window], weight, light, lost, radius < _CENTRE * aperture.radius)
    flags |= Flag.SKY if np.count_nonzero(ring) < _MIN_SKY * whole else Flag(0)
    return ApertureFlux(
        flux=flux * frame.header.jansky,
        flux_error=find_error((1, 0, 0)) * frame.header.jansky,
        sky=sky,
        masked=weight[lost].sum() / weight.sum(),
        compactness=(_overlap(dx, dy, scale, aperture.radius / 2) * area * image).sum() / flux if flux > 0 else np.nan,
        growth=growths[0],
        far_growth=growths[1],
        **_find_magnitude_errors(fluxes, find_error, frame.header.channel),
        flags=flags,
    )


def _sum_circles(circles, light, size):
    """Sum the light in each circle; NaN if it is not positive or the circle is cut."""
    fluxes = np.array([(circle * light).sum() for circle in circles])
    for i, factor in enumerate((LARGE, FARTHEST), 1):
        if not circles[i].sum() > 0.99 * factor**2 * size:
            fluxes[i:] = np.nan
    fluxes[fluxes <= 0] = np.nan
    return fluxes


def _find_error(areas, image, noise, bad, sky_error, shares):
    """Find the error of a weighted sum of aperture fluxes with common pixels and sky."""
    total = sum(share * area for share, area in zip(shares, areas, strict=True) if share)
    filled = (total * image)[bad].sum()
    return np.sqrt(((total * noise) ** 2).sum() + (total.sum() * sky_error) ** 2 + (_FILL_ERROR * filled) ** 2)


def _find_magnitude_errors(fluxes, find_error, channel):
    """Find errors of the magnitudes made from the fluxes in all apertures."""
    near, far = growth_shares("extrapolated", channel)
    sums = {"growth": (-1, 1, 0), "large": (0, 1, 0), "extrapolated": (1 - near, near - far, far)}
    return {
        f"{name}_error": MAG_PER_FRACTION * find_error(np.where(shares, shares / fluxes, 0.0))
        for name, shares in sums.items()
    }


def _window(frame, x, y, reach, scale):
    """Find slices around a position, and their columns and rows from there [pixel]."""
    half = reach / np.sqrt(np.linalg.eigvalsh(scale.T @ scale)[0]) + 1
    spans = []
    for centre, size in ((y, frame.data.shape[0]), (x, frame.data.shape[1])):
        first, last = np.ceil([centre - half, centre + half]).clip(0, size).astype(int)
        spans.append(slice(first, max(last, first)))
    rows, columns = spans
    return (rows, columns), np.arange(columns.start, columns.stop) - x, np.arange(rows.start, rows.stop) - y


def _overlap(dx, dy, scale, radius):
    """Compute each pixel's share inside a circle on the sky, an ellipse in pixels."""
    # The shape is (ny, nx).
    if not (dx.size and dy.size):
        return np.zeros((dy.size, dx.size))
    squares, axes = np.linalg.eigh(scale.T @ scale)
    semi_x, semi_y = radius / np.sqrt(squares)
    angle = np.arctan2(axes[1, 0], axes[0, 0])
    edges = dx[0] - 0.5, dx[-1] + 0.5, dy[0] - 0.5, dy[-1] + 0.5
    return elliptical_overlap_grid(*edges, dx.size, dy.size, semi_x, semi_y, angle, 1, 1)


def _local_sky(values, errors):
    """Find the clipped median and its error."""
    kept = clip(values)
    if kept.size < 2:
        return np.nan, np.nan
    # Wings and neighbours spread the levels of the pixels by more than the noise e of a pixel, but they are not noise.
    # Noise moves only pixels near the median across it, a share e/s of n where levels spread by s. Each moves it by
    # s/n, so the variance is proportional to e s/n (with 1.9 for an even spread, pi/2 for none).
    variance = kept.std() * np.median(errors)
    return float(np.median(kept)), np.sqrt(MEDIAN_LOSS * variance / kept.size)


def _fill_masked(image, bad, lost, dx, dy, radius):
    """Fill lost pixels from the opposite side of the source, else the ring's median."""
    # Sources are nearly point-symmetric, but not flat, as an interpolation between neighbours assumes.
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
