"""Sources onto pixels: the share of each source's flux that falls on each pixel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.special import ndtr

from jwst_modfix.simulate.detector import WHOLE, Subarray
from jwst_modfix.simulate.diffraction import DiffractionPSF, Wavefronts
from jwst_modfix.simulate.observation import Exposure
from jwst_modfix.simulate.optics import FULL_FRAME, Array
from jwst_modfix.simulate.scene import PROFILES, Mixture, point_spread_function

_REACH = 4.5  # standard deviations: half the width of a stamp, whose sum is set to the flux

_MARGIN = 150.0  # pixels: sources this far outside still shine in
ZERO_POINT = 3631e-6  # MJy at 0 mag AB
_PIXEL_VARIANCE = 1 / 12  # of a square pixel's own width, pixel^2
_POINT = Mixture(np.ones(1), np.zeros(1))
_WIDE = 0.5  # arcsec: Gaussians of a galaxy that are wider than this do not show the details of a PSF


@dataclass(frozen=True, kw_only=True, eq=False)
class SourcesOnDetector:
    """Sources of a scene in an exposure or close to its edge; arrays of shape (n,)."""

    rows: Array  # of the scene
    x: Array  # full-frame pixels, 0-indexed
    y: Array
    v2: Array  # arcsec
    v3: Array


def locate_sources(
    scene: Any, exposure: Exposure, margin: float = _MARGIN, subarray: Subarray = WHOLE
) -> SourcesOnDetector:
    """Find the sources of a scene on the detector of an exposure, or on a part of it."""
    geometry = exposure.geometry
    v2, v3 = exposure.attitude.sky_to_v2v3(np.asarray(scene["ra"]), np.asarray(scene["dec"]))
    reach = (FULL_FRAME / 2 * np.sqrt(2) + margin) * max(geometry.pixel_scales) * 1.05
    middle_v2, middle_v3 = geometry.reference
    near = np.flatnonzero(np.hypot(v2 - middle_v2, v3 - middle_v3) < reach)
    x, y = geometry.v2v3_to_pixel(v2[near], v3[near])
    (first_x, last_x), (first_y, last_y) = subarray.columns[[0, -1]], subarray.rows[[0, -1]]
    margin += 0.5
    inside = (x > first_x - margin) & (x < last_x + margin) & (y > first_y - margin) & (y < last_y + margin)
    rows = near[inside]
    return SourcesOnDetector(rows=rows, x=x[inside], y=y[inside], v2=v2[rows], v3=v3[rows])


def true_flux(scene: Table, exposure: Exposure) -> Array:
    """Compute the true flux of every source in an exposure's band and epoch [MJy]."""
    magnitude = np.asarray(scene[f"mag_{exposure.band.name}"], float)
    variation = np.asarray(scene[f"variation_{exposure.epoch.name}"], float)
    return np.asarray(ZERO_POINT * 10 ** (-0.4 * (magnitude + variation)))


def draw_sources(
    scene: Table, exposure: Exposure, subarray: Subarray = WHOLE, wavefronts: Wavefronts | None = None
) -> Array:
    """Draw a scene onto the pixels of a subarray [MJy per pixel]."""
    image = np.zeros((subarray.ysize, subarray.xsize))
    sources = locate_sources(scene, exposure, subarray=subarray)
    x, y = sources.x - (subarray.xstart - 1), sources.y - (subarray.ystart - 1)
    flux = true_flux(scene, exposure)[sources.rows]
    types = np.asarray(scene["type"])[sources.rows]
    psf = point_spread_function(exposure.band.fwhm)
    jacobian = _sky_to_pixel_jacobian(scene[sources.rows], exposure)
    scale = 1 / np.sqrt(np.abs(np.linalg.det(jacobian)))  # local size of a pixel [arcsec]: the PSF is fixed on the sky
    sharp = None
    if wavefronts is not None and len(scale):
        wavefront = wavefronts.modules[exposure.geometry.module]
        sharp = DiffractionPSF(wavefront, exposure.band, scale.min(), scale.max())
    for i in np.flatnonzero(types == "star"):
        if sharp is None:
            _add_star(image, x[i], y[i], flux[i], psf, scale[i])
        else:
            _add_diffracted(image, x[i], y[i], flux[i], np.zeros((2, 2)), _POINT, sharp, scale[i])
    galaxies = np.flatnonzero(types != "star")
    shapes = _pixel_shapes(scene[sources.rows[galaxies]], jacobian[galaxies])
    for i, shape in zip(galaxies, shapes, strict=True):
        profile = PROFILES[types[i]]
        if sharp is not None:
            wide = profile.sigmas * np.sqrt(np.trace(shape)) * scale[i] > _WIDE
            narrow = Mixture(profile.weights[~wide], profile.sigmas[~wide])
            profile = Mixture(profile.weights[wide], profile.sigmas[wide])
            if narrow.sigmas.size:
                _add_diffracted(image, x[i], y[i], flux[i], shape, narrow, sharp, scale[i])
        _add_galaxy(image, x[i], y[i], flux[i], shape, profile, psf, scale[i])
    return image


def _pixel_shapes(galaxies: Table, jacobian: Array) -> Array:
    """Compute covariances of galaxies of unit radius, in pixels, (n, 2, 2)."""
    angle = np.deg2rad(np.asarray(galaxies["position_angle"]))
    radius = np.asarray(galaxies["half_light_radius"])
    major = np.stack([np.sin(angle), np.cos(angle)], axis=-1) * radius[:, None]
    minor = np.stack([-np.cos(angle), np.sin(angle)], axis=-1) * radius[:, None]
    minor *= np.asarray(galaxies["axis_ratio"])[:, None]
    on_pixels = jacobian @ np.stack([major, minor], axis=-1)
    return np.asarray(on_pixels @ np.swapaxes(on_pixels, -1, -2))


def _sky_to_pixel_jacobian(sources: Table, exposure: Exposure) -> Array:
    """Find pixels per arcsec east and north, over 0.5 arcsec: (n, 2, 2)."""
    ra, dec, step = np.asarray(sources["ra"]), np.asarray(sources["dec"]), 0.5
    east, north = step * np.array([[1, -1, 0, 0], [0, 0, 1, -1]])[:, :, None]
    moved = ra + east / np.cos(np.deg2rad(dec)) / 3600, dec + north / 3600
    pixels = np.stack(exposure.geometry.v2v3_to_pixel(*exposure.attitude.sky_to_v2v3(*moved)))
    return np.moveaxis(pixels[:, ::2] - pixels[:, 1::2], 2, 0) / (2 * step)


def _add_star(image: Array, x: float, y: float, flux: float, psf: Mixture, scale: float) -> None:
    """Add a point source, its Gaussians integrated over each pixel."""
    for weight, sigma in zip(psf.weights, psf.sigmas / scale, strict=True):
        columns, rows = _stamp(x, sigma), _stamp(y, sigma)
        offsets = rows - y, columns - x
        stamp = np.outer(*(ndtr((off + 0.5) / sigma) - ndtr((off - 0.5) / sigma) for off in offsets))
        _add_stamp(image, columns, rows, weight * flux / stamp.sum(), stamp)


def _add_diffracted(
    image: Array, x: float, y: float, flux: float, shape: Array, profile: Mixture, psf: DiffractionPSF, scale: float
) -> None:
    """Add a source with a diffraction PSF; light beyond the stamp is lost."""
    column, row = round(float(x)), round(float(y))
    stamp = psf.stamp(x - column, y - row, scale, profile, shape)
    along = np.arange(len(stamp)) - len(stamp) // 2
    _add_stamp(image, column + along, row + along, flux, stamp)


def _add_galaxy(
    image: Array, x: float, y: float, flux: float, shape: Array, profile: Mixture, psf: Mixture, scale: float
) -> None:
    """Add a galaxy: each Gaussian of its profile with each of the PSF."""
    shapes = profile.sigmas[:, None, None, None] ** 2 * shape
    covariances = shapes + ((psf.sigmas / scale) ** 2 + _PIXEL_VARIANCE)[:, None, None] * np.eye(2)
    reach = np.sqrt(np.diagonal(covariances, axis1=2, axis2=3))
    inverses, shares = np.linalg.inv(covariances), np.outer(profile.weights, psf.weights)
    for place in np.ndindex(shares.shape):
        columns, rows = _stamp(x, reach[place][0]), _stamp(y, reach[place][1])
        dx, dy, inverse = columns - x, rows - y, inverses[place]
        along_x, along_y = np.exp(-0.5 * inverse[0, 0] * dx**2), np.exp(-0.5 * inverse[1, 1] * dy**2)
        stamp = np.exp(-inverse[0, 1] * np.outer(dy, dx)) * along_x * along_y[:, None]
        _add_stamp(image, columns, rows, shares[place] * flux / stamp.sum(), stamp)


def _stamp(centre: float, sigma: float) -> Array:
    """Find the pixels within reach of a centre along one axis."""
    half = int(np.ceil(_REACH * sigma)) + 1
    return np.arange(round(float(centre)) - half, round(float(centre)) + half + 1)


def _add_stamp(image: Array, columns: Array, rows: Array, flux: float, stamp: Array) -> None:
    """Add a stamp times a flux, cut where it hangs over the edge."""
    on_x = slice(*np.searchsorted(columns, [0, image.shape[1]]))
    on_y = slice(*np.searchsorted(rows, [0, image.shape[0]]))
    columns, rows = columns[on_x], rows[on_y]
    if columns.size and rows.size:
        here = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        here += stamp[on_y, on_x] * flux
