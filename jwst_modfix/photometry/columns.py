"""The table of measurements: its columns, flags and selection."""

from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from astropy import units as u
from astropy.table import Table

__all__ = [
    "COLUMNS",
    "UNUSABLE",
    "Criteria",
    "Flag",
    "Selection",
    "make_measurements",
    "select_measurements",
    "to_flux",
    "to_magnitudes",
]


class Flag(IntFlag):
    """Flags of a measurement; 0 is a clean one."""

    EDGE = 1  # the aperture is cut off by the edge of the array
    SATURATED = 2  # a pixel in the aperture is saturated
    FILLED = 4  # some masked pixels were filled in
    MASKED = 8  # too much of the flux was filled in, or the centre is masked
    SKY = 16  # too little is left of the annulus for the local sky
    NEGATIVE = 32  # the flux is not positive


UNUSABLE = Flag.EDGE | Flag.SATURATED | Flag.MASKED | Flag.SKY | Flag.NEGATIVE
"""Any of these makes a measurement useless."""


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
    """Turn fluxes into AB magnitudes."""
    flux, flux_error = np.asarray(flux, float), np.asarray(flux_error, float)
    positive = np.where(flux > 0, flux, np.nan)
    return -2.5 * np.log10(positive / _JANSKY_AT_ZERO), _MAG_PER_FRACTION * flux_error / positive


def to_flux(mag):
    """Turn AB magnitudes into fluxes."""
    return _JANSKY_AT_ZERO * 10 ** (-0.4 * mag)


def make_measurements(columns, meta=None):
    """Make the table of measurements."""
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


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """
    What a measurement must be.

    Parameters
    ----------
    snr : float
        Least ratio of flux to its error.
    faintest : float
        Faintest magnitude of a source [AB]: as it was detected, for an aperture holds but a part of a galaxy; where
        that is not known, as it was measured.
    isolation : float
        Least distance to the nearest source of a tenth of the flux or more [arcsec].
    compactness : float, optional
        Least compactness; any unless given.
    """

    snr: float = 100.0
    faintest: float = 22.0
    isolation: float = 1.0
    compactness: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """
    The measurements selected.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (n,)
        Whether each is selected.
    rejected : dict of int
        How many fail each rule; one that fails several counts for each.
    """

    mask: np.ndarray
    rejected: dict[str, int]


def select_measurements(table, criteria=None):
    """Select measurements for the fit.

    Signal to noise, magnitude, compactness and saturation are judged for a source through a filter as a whole, by the
    median of its usable measurements: judged one by one, the detector that measures fainter would lose its faint half
    of a source's measurements, which shifts the mean of what is left.
    """
    criteria = criteria or Criteria()
    flags = np.asarray(table["flags"], int)
    usable = (flags & int(UNUSABLE)) == 0
    key = np.char.add(np.char.add(np.char.add(table["filter"], "+"), table["pupil"]), table["source"].astype(str))
    group = np.unique(key, return_inverse=True)[1] if len(table) else np.zeros(0, int)
    fails = {flag.name.lower(): (flags & flag) != 0 for flag in UNUSABLE if flag != Flag.SATURATED}
    fails["saturated"] = np.bincount(group, (flags & Flag.SATURATED) != 0)[group] > 0
    fails["snr"] = ~(_median(table["flux"] / table["flux_error"], usable, group) >= criteria.snr)
    known = np.asarray(table["source_mag"], float)
    magnitude = np.where(np.isfinite(known), known, _median(table["mag"], usable, group))
    fails["faint"] = ~(magnitude <= criteria.faintest)
    fails["crowded"] = ~(np.asarray(table["isolation"]) >= criteria.isolation)
    if criteria.compactness is not None:
        fails["extended"] = ~(_median(table["compactness"], usable, group) >= criteria.compactness)
    good = ~np.any(list(fails.values()), axis=0)
    fails["single"] = good & (np.bincount(group, good)[group] < 2)
    return Selection(mask=good & ~fails["single"], rejected={name: int(failed.sum()) for name, failed in fails.items()})


def _median(values, usable, group):
    """Median over the usable measurements of each group, for each measurement; not-a-number where there is none."""
    medians = np.full(group.max() + 1 if group.size else 0, np.nan)
    values = np.asarray(values, float)
    keep = np.flatnonzero(usable & np.isfinite(values))
    keep = keep[np.lexsort([values[keep], group[keep]])]
    found, first, count = np.unique(group[keep], return_index=True, return_counts=True)
    medians[found] = (values[keep][first + (count - 1) // 2] + values[keep][first + count // 2]) / 2
    return medians[group]
