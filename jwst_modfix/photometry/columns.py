"""The table of measurements: its columns, flags, selection and file."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, Table
from numpy.typing import ArrayLike
from scipy.ndimage import median

from jwst_modfix.errors import ModuleOffsetError, PhotometryError
from jwst_modfix.photometry.frames import Epochs, ExposureHeader
from jwst_modfix.table.table import MAG_PER_FRACTION


class Flag(IntFlag):
    """Flags of a measurement; 0 is a clean one."""

    EDGE = 1  # the aperture is cut off by the edge of the array
    SATURATED = 2  # a pixel in the aperture is saturated
    FILLED = 4  # some masked pixels were filled in
    MASKED = 8  # too much of the flux was filled in, or the centre is masked
    SKY = 16  # too little is left of the annulus for the local sky
    NEGATIVE = 32  # the flux is not positive


UNUSABLE = Flag.EDGE | Flag.SATURATED | Flag.MASKED | Flag.SKY | Flag.NEGATIVE
"""Any of these makes a measurement unusable."""

FITS_META = "MODFIX"
"""Card of a file of measurements in FITS that holds its metadata as JSON."""

_LARGE = 200_000  # measurements: as many take seconds to read from text
_PIECE = 100_000  # rows written at once, which bounds the memory
_BLOCK = 2880  # bytes, of a FITS file
_JANSKY_AT_ZERO = 3631.0  # Jy at 0 mag AB

GROWTHS = ("growth", "growth_error", "far_growth", "large_error", "extrapolated_error")
"""Columns of larger apertures; NaN where these were not measured."""

_HEADER_COLUMNS = ("array", "module", "filter", "pupil")
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
    ("off_east", float, u.arcsec, "Centroid in this exposure minus the shifted place of the list, east"),
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
    ("growth", float, u.mag, "Magnitude in 1.5 times the radius of the aperture minus that in the aperture"),
    ("growth_error", float, u.mag, "Standard error of the growth"),
    ("far_growth", float, u.mag, "Magnitude in twice the radius minus that in 1.5 times the radius"),
    ("large_error", float, u.mag, "Standard error of the magnitude in 1.5 times the radius"),
    ("extrapolated_error", float, u.mag, "Standard error of the magnitude extrapolated from the three apertures"),
    ("isolation", float, u.arcsec, "Distance to the nearest source of a tenth of the flux or more"),
)
"""Columns of the table of measurements."""


def to_magnitudes(flux: ArrayLike, flux_error: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Convert fluxes [Jy] and errors to AB magnitudes; NaN if flux is not positive."""
    flux, flux_error = np.asarray(flux, float), np.asarray(flux_error, float)
    positive = np.where(flux > 0, flux, np.nan)
    return -2.5 * np.log10(positive / _JANSKY_AT_ZERO), MAG_PER_FRACTION * flux_error / positive


def to_flux(mag: ArrayLike) -> np.ndarray:
    """Convert AB magnitudes to fluxes [Jy]."""
    return _JANSKY_AT_ZERO * 10 ** (-0.4 * np.asarray(mag, float))


def make_measurements(columns: dict[str, ArrayLike], meta: dict | None = None) -> Table:
    """Make the table of measurements, sorted by source, band and exposure."""
    unknown = np.full(len(columns["source"]), np.nan)
    columns = dict.fromkeys(("off_east", "off_north", "source_mag", *GROWTHS), unknown) | columns
    columns["mag"], columns["mag_error"] = to_magnitudes(columns["flux"], columns["flux_error"])
    order = np.lexsort([columns["exposure"], number_groups(columns["filter"], columns["pupil"]), columns["source"]])
    table = Table(meta=meta)
    for name, kind, unit, description in COLUMNS:
        values = np.asarray(columns[name], dtype=kind)[order]
        table.add_column(Column(values, name=name, unit=unit, description=description, copy=False), copy=False)
    return table


@dataclass(frozen=True, kw_only=True, eq=False)
class Photometry:
    """Everything that is measured."""

    measurements: Table  # one row per measurement, with the columns of COLUMNS
    exposures: Table  # one row per exposure: its header, sky level and shift


def join_columns(parts: Sequence[dict]) -> dict[str, np.ndarray]:
    """Join columns by name; those of one part are not copied."""
    return {name: np.concatenate([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
            for name in parts[0]}  # fmt: skip


def combine_parts(
    parts: Sequence[dict], headers: Sequence[ExposureHeader], epochs: Epochs, skies: ArrayLike, shifts: ArrayLike
) -> Photometry:
    """Combine columns of measurements; refuse exposures that share no source."""
    # The column `exposure` is the place among the headers. Values of whole exposures are added as columns.
    columns = join_columns(parts)
    known = {name: np.array([getattr(header, name) for header in headers]) for name in _HEADER_COLUMNS}
    known["epoch"] = epochs.number
    columns |= {name: values[columns["exposure"]] for name, values in known.items()}
    group = number_groups(*(columns[name] for name in ("filter", "pupil", "source")))
    names = [header.name for header in headers]
    if np.bincount(group, minlength=1).max() < 2:
        raise PhotometryError(
            f"exposures must overlap on the sky; no two in one filter share a source: {', '.join(names)}"
        )
    exposures = Table({"exposure": np.arange(len(headers)), "file": names, "epoch": epochs.number})
    for name in ("detector", *_HEADER_COLUMNS, "mjd", "roll"):
        exposures[name] = [getattr(header, name) for header in headers]
    exposures["sky"], exposures["sky_error"] = np.reshape(skies, (-1, 2)).T * (u.MJy / u.sr)
    exposures["shift_east"], exposures["shift_north"] = np.reshape(shifts, (-1, 2)).T * u.arcsec
    exposures["sources"] = np.bincount(columns["exposure"], minlength=len(headers))
    exposures["mjd"].unit, exposures["roll"].unit = u.day, u.deg
    measurements = make_measurements(columns, {"epochs": list(epochs.names), "exposures": names})
    return Photometry(measurements=measurements, exposures=exposures)


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """The selected measurements."""

    mask: np.ndarray  # bool, shape (n,)
    rejected: dict[str, int]  # how many fail each rule; one that fails several counts for each
    rule: np.ndarray  # int, shape (n,): number of the first rule that each fails; 0 where it is selected

    @property
    def reason(self) -> np.ndarray:
        """The first rule that each fails, shape (n,); empty where it is selected."""
        return np.array(["", *self.rejected])[self.rule]


def select_measurements(
    table: Table,
    *,
    snr: float = 100.0,
    faintest: float = 22.0,
    isolation: float = 1.0,
    compactness: float | None = None,
    growth: bool = False,
) -> Selection:
    """Select measurements to fit; with ``growth``, those of the larger aperture too."""
    # Faintest: AB mag, as it was detected: an aperture holds only a part of a galaxy. As measured, where that is not
    # known. Isolation: arcsec, distance to the nearest source of a tenth of the flux or more.
    # Signal to noise, magnitude, compactness and saturation are judged for a source through a filter as a whole, by
    # the median of its usable measurements. If each measurement were judged alone, the detector that measures fainter
    # would lose the faint half of a source's measurements, which shifts the mean of the rest.
    flags = np.asarray(table["flags"], int)
    usable = (flags & int(UNUSABLE)) == 0
    group = number_groups(table["filter"], table["pupil"], table["source"])

    def typical(values):
        return group_medians(np.where(usable, values, np.nan), group, len(group))[group]

    fails = {flag.name.lower(): (flags & flag) != 0 for flag in UNUSABLE if flag != Flag.SATURATED}
    fails["saturated"] = np.bincount(group, (flags & Flag.SATURATED) != 0)[group] > 0
    fails["snr"] = ~(typical(table["flux"] / table["flux_error"]) >= snr)
    detected = np.asarray(table["source_mag"], float)
    fails["faint"] = ~(np.where(np.isfinite(detected), detected, typical(table["mag"])) <= faintest)
    fails["crowded"] = ~(np.asarray(table["isolation"]) >= isolation)
    if compactness is not None:
        fails["extended"] = ~(typical(table["compactness"]) >= compactness)
    if growth:
        fails["large aperture"] = ~np.isfinite([np.asarray(table[name]) for name in GROWTHS]).all(axis=0)
    good = ~np.any(list(fails.values()), axis=0)
    fails["single"] = good & (np.bincount(group, good)[group] < 2)
    return Selection(
        mask=good & ~fails["single"],
        rejected={name: int(failed.sum()) for name, failed in fails.items()},
        rule=np.select(list(fails.values()), np.arange(1, len(fails) + 1, dtype=np.int8), np.int8(0)),
    )


def number_groups(*columns: ArrayLike) -> np.ndarray:
    """Give each row the number of its combination of values of some columns."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in map(np.asarray, columns):
        # To sort a million equal strings takes a second.
        if len(column) and not (column == column[0]).all():
            values, number = np.unique(column, return_inverse=True)
            code = code * len(values) + number
    return np.unique(code, return_inverse=True)[1]


def group_medians(values: ArrayLike, group: np.ndarray, count: int) -> np.ndarray:
    """Take the median of finite values of groups 0 to count - 1; NaN for empty ones."""
    values = np.asarray(values, float)
    medians = np.full(count, np.nan)
    keep = np.isfinite(values)
    found = np.unique(group[keep])
    if found.size:
        medians[found] = median(values[keep], group[keep], found)
    return medians


def read_table(path: Path, layout: str, fault: type[ModuleOffsetError], **options: Any) -> Table:
    """Read a table in one of astropy's formats; the error says which file and why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Table.read(path, format=layout, **options)
    except FileNotFoundError:
        raise fault(f"{path}: no such file") from None
    except Exception as error:  # the readers pass on any error of their parsers
        reason = str(error).partition("\n")[0]
        raise fault(f"{path}: cannot be read as a table: {reason}") from error


def write_measurements(table: Table, stem: Path) -> Path:
    """Write a table of measurements: as text, or as FITS where it has many rows."""
    if len(table) <= _LARGE:
        path = stem.with_name(stem.name + ".ecsv")
        with path.open("w", encoding="utf-8") as stream:  # which astropy leaves open if the disk is full
            table.write(stream, format="ascii.ecsv")
        return path
    path, n = stem.with_name(stem.name + ".fits"), len(table)
    # A header has no place for lists and dicts.
    first = Table(table[:1], meta={FITS_META: json.dumps(table.meta)})
    hdu = fits.table_to_hdu(first, character_as_bytes=True)
    hdu.header["NAXIS2"] = n
    # astropy would copy the columns several times, those of text value by value.
    record = np.empty(min(n, _PIECE), hdu.data.dtype.newbyteorder(">"))
    with path.open("wb") as stream:
        for header in (fits.PrimaryHDU().header, hdu.header):
            stream.write(header.tostring().encode("ascii"))
        for start in range(0, n, _PIECE):
            piece = record[: n - start]
            for name in table.colnames:
                values = np.asarray(table[name])[start : start + _PIECE]
                piece[name] = np.where(values, ord("T"), ord("F")) if values.dtype == bool else values
            stream.write(piece.data)
        stream.write(bytes(-n * record.itemsize % _BLOCK))
    return path
