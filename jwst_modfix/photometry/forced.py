"""All sources of a list in one exposure, at places that the list gives."""

from dataclasses import dataclass

import numpy as np
from photutils.segmentation import SourceCatalog

from jwst_modfix.photometry.apertures import ApertureFlux, measure_source
from jwst_modfix.photometry.background import SkyLevel, measure_sky
from jwst_modfix.photometry.centroids import refine_centroids, window_of
from jwst_modfix.photometry.detection import fill_lone_pixels, find_connected
from jwst_modfix.photometry.geometry import shift_on_sky
from jwst_modfix.photometry.merging import find_shift

__all__ = ["ForcedPhotometry", "measure_frame"]

_BRIGHT = 10.0  # standard deviations of a pixel
_MARGIN = 0.5  # pixels: half a pixel of the array beyond the centres of its outermost ones


@dataclass(frozen=True, kw_only=True, eq=False)
class ForcedPhotometry:
    """
    Measurements of one exposure.

    Parameters
    ----------
    rows : numpy.ndarray of int, shape (n,)
        Rows of the source list.
    x, y : numpy.ndarray, shape (n,)
        Where they were measured [0-indexed pixel of the exposure's arrays].
    fluxes : list of ApertureFlux
        What was measured, for each.
    off : numpy.ndarray, shape (2, n)
        Centroid minus that place, east and north [arcsec].
    shift : tuple of float
        Shift of the list's places onto this exposure, east and north [arcsec].
    sky : SkyLevel
        Sky level of the whole exposure.
    """

    rows: np.ndarray
    x: np.ndarray
    y: np.ndarray
    fluxes: list[ApertureFlux]
    off: np.ndarray
    shift: tuple[float, float]
    sky: SkyLevel


def measure_frame(frame, sources, aperture):
    """
    Measure every source of a list whose place the exposure covers.

    The places are those of the list, moved together by one shift of the whole exposure, the error of its pointing. No
    source is centred on its own: that would follow noise, and a place common to all exposures loses the same light in
    each.

    Parameters
    ----------
    frame : Frame
        The exposure.
    sources : SourceList
        The list.
    aperture : Aperture
        The aperture.

    Returns
    -------
    ForcedPhotometry
        The measurements.
    """
    sky = measure_sky(frame)
    image = fill_lone_pixels(np.where(frame.bad, np.nan, frame.data - np.float32(np.nan_to_num(sky.level))))
    shift = find_pointing_error(frame, image, sources)
    x, y = frame.geometry.to_pixel(*shift_on_sky(sources.ra, sources.dec, *shift))
    ny, nx = frame.data.shape
    inside = (np.abs(x - (nx - 1) / 2) < nx / 2 - _MARGIN) & (np.abs(y - (ny - 1) / 2) < ny / 2 - _MARGIN)
    rows = np.flatnonzero(inside)
    x, y = x[rows], y[rows]
    scales = frame.geometry.scale(x, y)
    fluxes = [measure_source(frame, *place, aperture) for place in zip(x, y, scales, strict=True)]
    off = _find_residuals(frame, image, x, y, scales)
    return ForcedPhotometry(rows=rows, x=x, y=y, fluxes=fluxes, off=off, shift=shift, sky=sky)


def _find_residuals(frame, image, x, y, scales):
    """Centroids minus places, east and north, shape (2, n) [arcsec]: for the report, the fluxes stay in place."""
    centroids = refine_centroids(image, x, y, window_of(frame.header))
    return np.einsum("nij,jn->in", scales, np.stack(centroids) - [x, y])


def find_pointing_error(frame, image, sources):
    """
    Find how far an exposure's WCS is off the source list, from its bright sources.

    Parameters
    ----------
    frame : Frame
        The exposure.
    image : numpy.ndarray, shape (ny, nx)
        Its pixels above the sky, finite everywhere [MJy/sr].
    sources : SourceList
        The list.

    Returns
    -------
    east, north : float
        Shift of the list's places onto the exposure [arcsec]; 0 where fewer than five sources agree.
    """
    noise = np.median(frame.err[::8, ::8][~frame.bad[::8, ::8]])
    segments = find_connected(image, _BRIGHT * noise) if np.isfinite(noise) else None
    if segments is None:
        return 0.0, 0.0
    x, y = np.reshape(SourceCatalog(image, segments).centroid, (-1, 2)).T
    good = np.isfinite(x) & np.isfinite(y)
    east, north = find_shift(*frame.geometry.to_sky(x[good], y[good]), sources.ra, sources.dec)
    return -east, -north
