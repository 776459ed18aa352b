"""``photometry='exposure'``: sources found once, then measured in every exposure that covers them."""

import contextlib
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.errors import PhotometryError
from jwst_modfix.parallel import THIS_PROCESS
from jwst_modfix.photometry.apertures import default_aperture
from jwst_modfix.photometry.background import SkyLevel
from jwst_modfix.photometry.coverage import choose_exposures
from jwst_modfix.photometry.measurements import COLUMNS, make_measurements, to_flux, to_magnitudes
from jwst_modfix.photometry.merging import merge_detections
from jwst_modfix.photometry.tasks import detect_exposure, measure_exposure, places_near

__all__ = [
    "FAINTEST",
    "Photometry",
    "check_overlap",
    "find_sources",
    "make_exposures",
    "measure_exposures",
    "measure_sources",
]

FAINTEST = 23.0  # AB: a magnitude below the selection's limit


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


def measure_exposures(
    headers, epochs, *, apertures=None, faintest=FAINTEST, progress=iter, workers=THIS_PROCESS, cache=None
):
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
    workers : Workers
        Who looks at the exposures.
    cache : Cache, optional
        Where what was measured in each exposure is kept.

    Returns
    -------
    Photometry
        The measurements and the exposures.

    Raises
    ------
    PhotometryError
        An exposure cannot be used, or no source is found, or none is seen by more than one exposure.
    """
    how = {"progress": progress, "workers": workers, "cache": cache}
    sources = find_sources(headers, faintest=faintest, **how)
    return measure_sources(headers, epochs, sources, apertures=apertures, **how)


def find_sources(headers, *, faintest=FAINTEST, progress=iter, workers=THIS_PROCESS, cache=None):
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
    workers : Workers
        Who looks at the exposures.
    cache : Cache, optional
        Where what was measured in each exposure is kept.

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
    jobs = [(header, faintest, cache) for header in chosen]
    sources = merge_detections(_results(detect_exposure, jobs, workers, progress))
    bright = sources.flux >= to_flux(faintest)
    if not bright.any():
        raise PhotometryError(
            f"no source brighter than {faintest} AB in any of {len(headers)} exposures; raise faintest"
        )
    return sources[bright]


def measure_sources(headers, epochs, sources, *, apertures=None, progress=iter, workers=THIS_PROCESS, cache=None):
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
    workers : Workers
        Who looks at the exposures.
    cache : Cache, optional
        Where what was measured in each exposure is kept.

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
