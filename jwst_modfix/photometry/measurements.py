"""The table of measurements: its columns, their units and what they mean."""

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.photometry.flags import Flag

__all__ = ["COLUMNS", "make_measurements", "to_flux", "to_magnitudes"]

_JANSKY_AT_ZERO = 3631.0  # Jy at 0 mag AB
_MAG_PER_FRACTION = 2.5 / np.log(10)

# Name, type, unit, description.
COLUMNS = (
    ("source", int, None, "Number of the source; its row in the list of sources"),
    ("exposure", int, None, "Number of the exposure; its row in the table of exposures"),
    ("epoch", int, None, "Number of the epoch, 0 for the first in time"),
    ("array", str, None, "Array ID: 1 to 4, or long"),
    ("module", str, None, "Module: A or B"),
    ("filter", str, None, "FILTER"),
    ("pupil", str, None, "PUPIL"),
    ("x", float, u.pix, "Column of the full frame, 0-indexed"),
    ("y", float, u.pix, "Row of the full frame, 0-indexed"),
    ("V2", float, u.arcsec, "Focal-plane coordinate V2"),
    ("V3", float, u.arcsec, "Focal-plane coordinate V3"),
    ("RA", float, u.deg, "Right ascension of the source, the same in all exposures"),
    ("Dec", float, u.deg, "Declination of the source, the same in all exposures"),
    ("off_east", float, u.arcsec, "Centroid in this exposure minus where the list and the shift put it, east"),
    ("off_north", float, u.arcsec, "The same, north"),
    ("flux", float, u.Jy, "Flux in the aperture, above the local sky"),
    ("flux_error", float, u.Jy, "Standard error of the flux"),
    ("mag", float, u.mag, "AB magnitude"),
    ("mag_error", float, u.mag, "Standard error of the magnitude"),
    ("source_mag", float, u.mag, "AB magnitude of the source as it was detected, in the band where it is brightest"),
    ("sky", float, u.MJy / u.sr, "Local surface brightness of the sky"),
    ("flags", int, None, "Sum of " + ", ".join(f"{flag.value} {flag.name}" for flag in Flag)),
    ("masked", float, None, "Share of the aperture's area that is masked"),
    ("compactness", float, None, "Flux within half the radius over that within the radius"),
    ("isolation", float, u.arcsec, "Distance to the nearest source of a tenth of the flux or more"),
)
"""Columns of the table of measurements."""


def to_magnitudes(flux, flux_error):
    """
    Turn fluxes into AB magnitudes.

    Parameters
    ----------
    flux, flux_error : array_like, shape (n,)
        Fluxes and their standard errors [Jy].

    Returns
    -------
    mag, mag_error : numpy.ndarray, shape (n,)
        Magnitudes and their standard errors; not-a-number where the flux is not positive.
    """
    flux, flux_error = np.asarray(flux, float), np.asarray(flux_error, float)
    positive = np.where(flux > 0, flux, np.nan)
    return -2.5 * np.log10(positive / _JANSKY_AT_ZERO), _MAG_PER_FRACTION * flux_error / positive


def to_flux(mag):
    """
    Turn AB magnitudes into fluxes.

    Parameters
    ----------
    mag : float or numpy.ndarray
        Magnitudes.

    Returns
    -------
    float or numpy.ndarray
        Fluxes [Jy].
    """
    return _JANSKY_AT_ZERO * 10 ** (-0.4 * mag)


def make_measurements(columns, meta=None):
    """
    Make the table of measurements.

    Parameters
    ----------
    columns : dict
        Values of each of `COLUMNS`; those of ``mag`` and ``mag_error`` follow from the fluxes, and those of
        ``off_east``, ``off_north`` and ``source_mag`` are not-a-number unless given.
    meta : dict, optional
        Metadata of the table.

    Returns
    -------
    astropy.table.Table
        One row per measurement, ordered by source, filter, pupil and exposure; it can be written as ECSV.
    """
    unknown = np.full(len(columns["source"]), np.nan)
    columns = dict.fromkeys(("off_east", "off_north", "source_mag"), unknown) | columns
    columns["mag"], columns["mag_error"] = to_magnitudes(columns["flux"], columns["flux_error"])
    table = Table(meta=meta)
    for name, kind, unit, description in COLUMNS:
        table[name] = np.asarray(columns[name], dtype=kind)
        table[name].unit = unit
        table[name].description = description
    order = np.lexsort([table["exposure"], table["pupil"], table["filter"], table["source"]])
    return table[order]
