"""``photometry='exposure'``: sources found once, then measured in every exposure that covers them."""

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.apertures import default_aperture
from jwst_modfix.photometry.coverage import choose_exposures
from jwst_modfix.photometry.detection import detect
from jwst_modfix.photometry.forced import measure_frame
from jwst_modfix.photometry.frames import read_frame
from jwst_modfix.photometry.measurements import COLUMNS, JANSKY_AT_ZERO, make_measurements
from jwst_modfix.photometry.merging import merge_detections

__all__ = ["Photometry", "check_overlap", "find_sources", "make_exposures", "measure_exposures", "measure_sources"]

_FAINTEST = 23.0  # AB: a magnitude below the selection's limit


@dataclass(frozen=True, kw_only=True, eq=False)
class Photometry:
    """
    Everything that is measured.

    Parameters
    ----------
    measurements : astropy.table.Table
        One row per measurement, with the columns of `~jwst_modfix.photometry.measurements.COLUMNS`.
    exposures : astropy.table.Table
        One row per exposure: what it is, its sky level and its shift.
    """

    measurements: Table
    exposures: Table


def measure_exposures(headers, epochs, *, apertures=None, faintest=_FAINTEST, progress=iter):
    """
    Find the sources of all exposures, and measure them in each.

    Parameters
    ----------
    headers : sequence of ExposureHeader
        The exposures; their pixels are in memory one at a time.
    epochs : Epochs
        The epoch of each.
    apertures : dict of Aperture, optional
        By channel, ``"SHORT"`` and ``"LONG"``; `~jwst_modfix.photometry.apertures.default_aperture` unless given.
    faintest : float
        Sources fainter than this in every band are not measured [AB].
    progress : callable
        Wraps the sequences of exposures that are gone through, such as ``tqdm``.

    Returns
    -------
    Photometry
        The measurements and the exposures.

    Raises
    ------
    PhotometryError
        An exposure cannot be used, or no source is found, or none is seen by more than one exposure.
    """
    sources = find_sources(headers, faintest=faintest, progress=progress)
    return measure_sources(headers, epochs, sources, apertures=apertures, progress=progress)


def find_sources(headers, *, faintest=_FAINTEST, progress=iter):
    """
    Find the sources of all exposures, in as few of them as cover the sky in each band.

    Parameters
    ----------
    headers : sequence of ExposureHeader
        The exposures.
    faintest : float
        Sources fainter than this are left out, after they have counted as neighbours [AB].
    progress : callable
        Wraps the sequence of exposures that are looked at.

    Returns
    -------
    SourceList
        The sources.

    Raises
    ------
    PhotometryError
        An exposure cannot be used, or there is no source bright enough.
    """
    chosen = choose_exposures(headers)
    sources = merge_detections([detect(read_frame(header), faintest=faintest) for header in progress(chosen)])
    bright = sources.flux >= JANSKY_AT_ZERO * 10 ** (-0.4 * faintest)
    if not bright.any():
        raise PhotometryError(
            f"no source brighter than {faintest} AB in any of {len(headers)} exposures; raise faintest"
        )
    return sources[bright]


def measure_sources(headers, epochs, sources, *, apertures=None, progress=iter):
    """
    Measure a list of sources in every exposure that covers them.

    Parameters
    ----------
    headers : sequence of ExposureHeader
        The exposures.
    epochs : Epochs
        The epoch of each.
    sources : SourceList
        The list.
    apertures : dict of Aperture, optional
        By channel.
    progress : callable
        Wraps the sequence of exposures.

    Returns
    -------
    Photometry
        The measurements and the exposures.

    Raises
    ------
    PhotometryError
        An exposure cannot be used, or no source is seen by more than one exposure of a filter.
    """
    apertures = {channel: default_aperture(channel) for channel in ("SHORT", "LONG")} | (apertures or {})
    parts, results = [], []
    for number, header in enumerate(progress(headers)):
        frame = read_frame(header)
        found = measure_frame(frame, sources, apertures[header.channel])
        parts.append(_columns(frame, found, sources, number, epochs.number[number]))
        results.append((found.sky, found.shift, len(found.rows)))
        del frame
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_overlap(columns, headers)
    meta = {"epochs": list(epochs.names), "exposures": [header.name for header in headers]}
    exposures = make_exposures(headers, epochs, *zip(*results, strict=True))
    return Photometry(measurements=make_measurements(columns, meta), exposures=exposures)


def make_exposures(headers, epochs, skies, shifts, counts):
    """
    Make the table of exposures.

    Parameters
    ----------
    headers : sequence of ExposureHeader
        The exposures.
    epochs : Epochs
        The epoch of each.
    skies : sequence of SkyLevel
        The sky level of each.
    shifts : sequence of tuple of float
        The shift of each, east and north [arcsec].
    counts : sequence of int
        The number of sources that each covers.

    Returns
    -------
    astropy.table.Table
        One row per exposure.
    """
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


def _columns(frame, found, sources, number, epoch):
    """Columns of one exposure's measurements."""
    header, n = frame.header, len(found.rows)
    v2, v3 = frame.geometry.to_v2v3(found.x, found.y) if n else (found.x, found.y)
    columns = {name: [getattr(one, name) for one in found.fluxes] for name in ("flux", "flux_error", "sky", "masked")}
    columns |= {name: [getattr(one, name) for one in found.fluxes] for name in ("compactness", "flags")}
    columns |= {"source": found.rows, "RA": sources.ra[found.rows], "Dec": sources.dec[found.rows]}
    columns |= dict(zip(("off_east", "off_north"), found.off, strict=True))
    columns |= {"isolation": sources.isolation[found.rows], "V2": v2, "V3": v3}
    columns |= {"x": found.x + header.corner[0], "y": found.y + header.corner[1]}
    columns |= {name: np.full(n, getattr(header, name)) for name in ("array", "module", "filter", "pupil")}
    columns |= {"exposure": np.full(n, number), "epoch": np.full(n, epoch)}
    kinds = {name: kind for name, kind, _, _ in COLUMNS}
    return {name: np.asarray(values, dtype=kinds[name]) for name, values in columns.items()}


def check_overlap(columns, headers):
    """
    Refuse exposures that share no source: nothing can be compared.

    Parameters
    ----------
    columns : dict
        ``source``, ``filter`` and ``pupil`` of each measurement.
    headers : sequence of ExposureHeader
        The exposures.

    Raises
    ------
    PhotometryError
        No source is seen by two exposures in one filter.
    """
    keys = np.char.add(np.char.add(columns["filter"], "+"), columns["pupil"])
    for band in np.unique(keys):
        if np.unique(columns["source"][keys == band], return_counts=True)[1].max() > 1:
            return
    names = ", ".join(header.name for header in headers)
    raise PhotometryError(f"exposures must overlap on the sky; no two in one filter share a source: {names}")
