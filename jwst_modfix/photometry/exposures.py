"""``photometry='exposure'``: sources found once, then measured in every exposure that covers them."""

import contextlib
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table
from photutils.segmentation import SourceCatalog

from jwst_modfix.errors import PhotometryError
from jwst_modfix.jobs import THIS_PROCESS
from jwst_modfix.photometry.apertures import ApertureFlux, default_aperture, measure_source
from jwst_modfix.photometry.background import SkyLevel, measure_sky
from jwst_modfix.photometry.columns import COLUMNS, make_measurements, to_flux, to_magnitudes
from jwst_modfix.photometry.detection import (
    Detections,
    detect,
    fill_lone_pixels,
    find_connected,
    refine_centroids,
    window_of,
)
from jwst_modfix.photometry.frames import read_frame, shift_on_sky, unit_vectors
from jwst_modfix.photometry.source_list import choose_exposures, find_shift, merge_detections

__all__ = [
    "FAINTEST",
    "ForcedPhotometry",
    "Measured",
    "Photometry",
    "Places",
    "check_overlap",
    "detect_exposure",
    "find_sources",
    "make_exposures",
    "measure_exposure",
    "measure_exposures",
    "measure_frame",
    "measure_sources",
    "places_near",
]


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
    """Measure every source of a list whose place the exposure covers.

    The places are those of the list, moved together by one shift of the whole exposure, the error of its pointing. No
    source is centred on its own: that would follow noise, and a place common to all exposures loses the same light in
    each.
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
    """Find how far an exposure's WCS is off the source list, from its bright sources."""
    noise = np.median(frame.err[::8, ::8][~frame.bad[::8, ::8]])
    segments = find_connected(image, _BRIGHT * noise) if np.isfinite(noise) else None
    if segments is None:
        return 0.0, 0.0
    x, y = np.reshape(SourceCatalog(image, segments).centroid, (-1, 2)).T
    good = np.isfinite(x) & np.isfinite(y)
    east, north = find_shift(*frame.geometry.to_sky(x[good], y[good]), sources.ra, sources.dec)
    return -east, -north


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
    """Choose the sources of a list that an exposure may see, generously."""
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
    """Detect the sources of an exposure."""

    def make():
        found = detect(read_frame(header), faintest=faintest)
        # numpy's sines of strided and of contiguous arrays can differ in the last bit, and only the latter travel.
        return {name: np.ascontiguousarray(getattr(found, name)) for name in ("ra", "dec", "flux")}

    arrays = cache.fetch("detections", header.path, [repr(faintest)], make) if cache else make()
    return Detections(exposure=header.name, band=f"{header.filter}+{header.pupil}", **arrays)


def measure_exposure(header, places, aperture, cache=None):
    """Measure the sources that an exposure covers."""

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


FAINTEST = 23.0  # AB: a magnitude below the selection's limit


@dataclass(frozen=True, kw_only=True, eq=False)
class Photometry:
    """
    Everything that is measured.

    Parameters
    ----------
    measurements : astropy.table.Table
        One row per measurement, with the columns of `~jwst_modfix.photometry.columns.COLUMNS`.
    exposures : astropy.table.Table
        One row per exposure: what it is, its sky level and its shift.
    """

    measurements: Table
    exposures: Table


def measure_exposures(
    headers, epochs, *, apertures=None, faintest=FAINTEST, progress=iter, workers=THIS_PROCESS, cache=None
):
    """Find the sources of all exposures, and measure them in each."""
    how = {"progress": progress, "workers": workers, "cache": cache}
    sources = find_sources(headers, faintest=faintest, **how)
    return measure_sources(headers, epochs, sources, apertures=apertures, **how)


def find_sources(headers, *, faintest=FAINTEST, progress=iter, workers=THIS_PROCESS, cache=None):
    """Find the sources of all exposures, in as few of them as cover the sky in each band."""
    chosen = choose_exposures(headers)
    jobs = [(header, faintest, cache) for header in chosen]
    sources = merge_detections(_results(detect_exposure, jobs, workers, progress))
    bright = sources.flux >= to_flux(faintest)
    if not bright.any():
        raise PhotometryError(
            f"no source brighter than {faintest} AB in any of {len(headers)} exposures; raise faintest"
        )
    return sources[bright]


def measure_sources(headers, epochs, sources, *, apertures=None, progress=iter, workers=THIS_PROCESS, cache=None):
    """Measure a list of sources in every exposure that covers them."""
    apertures = {channel: default_aperture(channel) for channel in ("SHORT", "LONG")} | (apertures or {})
    jobs = [(header, places_near(header, sources), apertures[header.channel], cache) for header in headers]
    measured = _results(measure_exposure, jobs, workers, progress)
    parts = [
        _columns(header, found, sources, number, epochs.number[number])
        for number, (header, found) in enumerate(zip(headers, measured, strict=True))
    ]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_overlap(columns, headers)
    meta = {"epochs": list(epochs.names), "exposures": [header.name for header in headers]}
    skies = [SkyLevel(level=found.sky[0], error=found.sky[1]) for found in measured]
    exposures = make_exposures(
        headers, epochs, skies, [found.shift for found in measured], [len(found.rows) for found in measured]
    )
    return Photometry(measurements=make_measurements(columns, meta), exposures=exposures)


def make_exposures(headers, epochs, skies, shifts, counts):
    """Make the table of exposures."""
    table = Table({"exposure": np.arange(len(headers)), "file": [header.name for header in headers]})
    table["epoch"] = epochs.number
    for name in ("detector", "array", "module", "filter", "pupil", "mjd", "roll"):
        table[name] = [getattr(header, name) for header in headers]
    table["sky"] = [sky.level for sky in skies] * (u.MJy / u.sr)
    table["sky_error"] = [sky.error for sky in skies] * (u.MJy / u.sr)
    table["shift_east"], table["shift_north"] = np.reshape(shifts, (-1, 2)).T * u.arcsec
    table["sources"] = list(counts)
    table["mjd"].unit, table["roll"].unit = u.day, u.deg
    return table


def _results(function, jobs, workers, progress):
    """Results of a job for each exposure, which its arguments begin with."""
    headers = [header for header, *_ in jobs]
    with contextlib.closing(workers.map(function, jobs, [header.name for header in headers])) as results:
        return [result for _, result in zip(progress(headers), results, strict=True)]


def _columns(header, found, sources, number, epoch):
    """Columns of one exposure's measurements."""
    n = len(found.rows)
    columns = {"source": found.rows, "RA": sources.ra[found.rows], "Dec": sources.dec[found.rows]}
    columns |= found.columns | {"isolation": sources.isolation[found.rows]}
    columns["source_mag"] = to_magnitudes(sources.flux, sources.flux)[0][found.rows]
    columns |= {name: np.full(n, getattr(header, name)) for name in ("array", "module", "filter", "pupil")}
    columns |= {"exposure": np.full(n, number), "epoch": np.full(n, epoch)}
    kinds = {name: kind for name, kind, _, _ in COLUMNS}
    return {name: np.asarray(values, dtype=kinds[name]) for name, values in columns.items()}


def check_overlap(columns, headers):
    """Refuse exposures that share no source: nothing can be compared."""
    keys = np.char.add(np.char.add(columns["filter"], "+"), columns["pupil"])
    for band in np.unique(keys):
        if np.unique(columns["source"][keys == band], return_counts=True)[1].max() > 1:
            return
    names = ", ".join(header.name for header in headers)
    raise PhotometryError(f"exposures must overlap on the sky; no two in one filter share a source: {names}")
