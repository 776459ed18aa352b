"""The work on one exposure: small results of many pixels, in this process or another, kept or made anew."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.photometry.detection import Detections, detect
from jwst_modfix.photometry.forced import measure_frame
from jwst_modfix.photometry.frames import read_frame
from jwst_modfix.photometry.geometry import unit_vectors

__all__ = ["Measured", "Places", "detect_exposure", "measure_exposure", "places_near"]

_BEYOND = 30.0  # arcsec around a footprint: far more than pointing errors and the neighbours of a source
_COLUMNS = ("flux", "flux_error", "sky", "masked", "compactness", "flags")


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """
    The sources of a list that an exposure may see.

    Parameters
    ----------
    rows : numpy.ndarray of int, shape (n,)
        Rows of the list.
    ra, dec : numpy.ndarray, shape (n,)
        Where they are [deg].
    """

    rows: np.ndarray
    ra: np.ndarray
    dec: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """
    Measurements of one exposure.

    Parameters
    ----------
    rows : numpy.ndarray of int, shape (n,)
        Rows of the list of sources.
    columns : dict of numpy.ndarray
        Values of each: ``x``, ``y`` of the full frame, ``V2``, ``V3``, ``off_east``, ``off_north`` and those of the
        aperture.
    sky : tuple of float
        Sky level of the whole exposure and its error [MJy/sr].
    shift : tuple of float
        Shift of the list's places onto this exposure, east and north [arcsec].
    """

    rows: np.ndarray
    columns: dict
    sky: tuple[float, float]
    shift: tuple[float, float]


def places_near(header, sources):
    """
    Choose the sources of a list that an exposure may see, generously.

    Parameters
    ----------
    header : ExposureHeader
        The exposure.
    sources : SourceList
        The list.

    Returns
    -------
    Places
        Those within a circle around a corner that holds its footprint, and half an arcminute more; all, where it has
        no footprint.
    """
    corners = header.corners
    rows = np.arange(len(sources))
    if corners is not None:
        around = unit_vectors(*corners.T)
        radius = _distance(around, around[0]).max() + np.radians(_BEYOND / 3600)
        rows = np.flatnonzero(_distance(unit_vectors(sources.ra, sources.dec), around[0]) < radius)
    return Places(rows=rows, ra=sources.ra[rows], dec=sources.dec[rows])


def _distance(vectors, centre):
    """Chords of the unit sphere."""
    return np.linalg.norm(vectors - centre, axis=-1)


def detect_exposure(header, faintest, cache=None):
    """
    Detect the sources of an exposure.

    Parameters
    ----------
    header : ExposureHeader
        The exposure.
    faintest : float
        Sources fainter than this need not be told from their neighbours [AB].
    cache : Cache, optional
        Where results are kept.

    Returns
    -------
    Detections
        Its sources.

    Raises
    ------
    PhotometryError
        The exposure cannot be used.
    """

    def make():
        found = detect(read_frame(header), faintest=faintest)
        # numpy's sines of strided and of contiguous arrays can differ in the last bit, and only the latter travel.
        return {name: np.ascontiguousarray(getattr(found, name)) for name in ("ra", "dec", "flux")}

    arrays = cache.fetch("detections", header.path, [repr(faintest)], make) if cache else make()
    return Detections(exposure=header.name, band=f"{header.filter}+{header.pupil}", **arrays)


def measure_exposure(header, places, aperture, cache=None):
    """
    Measure the sources that an exposure covers.

    Parameters
    ----------
    header : ExposureHeader
        The exposure.
    places : Places
        The sources that it may cover.
    aperture : Aperture
        The aperture.
    cache : Cache, optional
        Where results are kept.

    Returns
    -------
    Measured
        The measurements.

    Raises
    ------
    PhotometryError
        The exposure cannot be used.
    """

    def make():
        return _measure(read_frame(header), places, aperture)

    parameters = [repr(aperture), places.ra.tobytes(), places.dec.tobytes()]
    arrays = dict(cache.fetch("measurements", header.path, parameters, make) if cache else make())
    rows = places.rows[arrays.pop("rows")]
    pairs = {name: tuple(float(value) for value in arrays.pop(name)) for name in ("sky_level", "shift")}
    return Measured(rows=rows, columns=arrays, sky=pairs["sky_level"], shift=pairs["shift"])


def _measure(frame, places, aperture):
    """Measure, as a dict of arrays; rows are those of the places."""
    found = measure_frame(frame, places, aperture)
    v2, v3 = frame.geometry.to_v2v3(found.x, found.y) if len(found.rows) else (found.x, found.y)
    columns = {name: np.array([getattr(one, name) for one in found.fluxes]) for name in _COLUMNS}
    corner = frame.header.corner
    columns |= {
        "rows": found.rows,
        "x": found.x + corner[0],
        "y": found.y + corner[1],
        "V2": v2,
        "V3": v3,
        "off_east": found.off[0],
        "off_north": found.off[1],
        "sky_level": (found.sky.level, found.sky.error),
        "shift": found.shift,
    }
    return {name: np.ascontiguousarray(values) for name, values in columns.items()}
