"""``photometry='catalog'``: a user's own photometry of single exposures, as the table of measurements."""

import warnings
from pathlib import Path

import numpy as np
from astropy.table import Table
from astropy.units import AB, Unit, UnitConversionError

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.background import SkyLevel
from jwst_modfix.photometry.columns import Flag, make_measurements, to_flux, to_magnitudes
from jwst_modfix.photometry.exposures import Photometry, check_overlap, make_exposures
from jwst_modfix.photometry.frames import offsets, read_geometry
from jwst_modfix.photometry.source_list import measure_isolation

__all__ = ["read_catalogues"]


_FRACTION_PER_MAG = np.log(10) / 2.5
_FORMATS = {".ecsv": "ascii.ecsv", ".fits": "fits", ".parquet": "parquet"}
_SPELLINGS = {
    **{"id": "source", "source_id": "source", "file": "exposure", "filename": "exposure", "ra": "RA", "dec": "Dec"},
    **{"mag_err": "mag_error", "magerr": "mag_error", "flux_err": "flux_error", "fluxerr": "flux_error"},
}
# Pixels beyond the array at which a source of it may be said to lie: pointing errors are below 1.5", 50 pixels.
_MARGIN = 64.0
_SAME_PLACE = 2.0  # arcsec between a source's places in two exposures: pointing errors of both
# Brighter than this [AB], a star saturates the fastest readout of the smallest subarray: the unit is another one.
_BRIGHTEST = 8.0
_UNITS = {"flux": "Jy", "flux_error": "Jy", "mag": "mag", "mag_error": "mag", "RA": "deg", "Dec": "deg"}


def read_catalogues(paths, headers, epochs):
    """Read photometry that was made elsewhere.

    Each row is a measurement: ``source``, any name or number that is the same in every exposure; ``exposure``, the
    file name of the exposure or the beginning of it; ``x`` and ``y`` (0-indexed pixels of that file) or ``RA`` and
    ``Dec``; ``mag`` and ``mag_error`` (AB) or ``flux`` and ``flux_error`` (Jy unless the column says its unit). They
    are those of the source: a sum of pixels in MJy/sr lacks the pixels' solid angle, which differs between arrays.
    """
    parts = [_read_rows(Path(path), headers) for path in paths]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in ("x", "y", "RA", "Dec", "V2", "V3")}
    columns |= {name: np.concatenate([part[name] for part in parts]) for name in ("flux", "flux_error", "exposure")}
    names, columns["source"] = np.unique(np.concatenate([part["name"] for part in parts]), return_inverse=True)
    exposure = columns["exposure"]
    for name in ("array", "module", "filter", "pupil"):
        columns[name] = np.array([getattr(header, name) for header in headers])[exposure]
    columns["epoch"] = epochs.number[exposure]
    columns |= {"sky": np.full(len(exposure), np.nan), "compactness": np.full(len(exposure), np.nan)}
    columns |= {"flags": np.where(columns["flux"] > 0, 0, int(Flag.NEGATIVE)), "masked": np.zeros(len(exposure))}
    _check_sources(columns, names, headers, ", ".join(str(path) for path in paths))
    _average_places(columns)
    check_overlap(columns, headers)
    meta = {"epochs": list(epochs.names), "exposures": [header.name for header in headers], "sources": names.tolist()}
    counts = np.bincount(exposure, minlength=len(headers))
    unknown = [SkyLevel(level=np.nan, error=np.nan)] * len(headers)
    exposures = make_exposures(headers, epochs, unknown, np.full((len(headers), 2), np.nan), counts)
    return Photometry(measurements=make_measurements(columns, meta), exposures=exposures)


def _read_rows(path, headers):
    table = _open(path)
    for names in (("source",), ("exposure",), ("x", "y", "RA", "Dec"), ("mag", "flux")):
        _demand(path, table, names)
    pixels = "x" in table.colnames and "y" in table.colnames
    places = [_numbers(path, table, name) for name in (("x", "y") if pixels else ("RA", "Dec"))]
    exposure = _find_exposures(path, table["exposure"], headers)
    columns = {name: np.empty(len(table)) for name in ("x", "y", "RA", "Dec", "V2", "V3")}
    for number in np.unique(exposure):
        rows = exposure == number
        for name, values in _locate(headers[number], pixels, *(place[rows] for place in places)).items():
            columns[name][rows] = values
        _refuse_outside(path, headers[number], np.flatnonzero(rows), columns)
    columns["flux"], columns["flux_error"] = _fluxes(path, table)
    return columns | {"exposure": exposure, "name": np.asarray(table["source"]).astype(str)}


def _open(path):
    if path.suffix.lower() not in _FORMATS:
        raise PhotometryError(f"{path}: must be one of {', '.join(_FORMATS)}; got {path.suffix or 'no suffix'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = Table.read(path, format=_FORMATS[path.suffix.lower()])
    except FileNotFoundError:
        raise PhotometryError(f"{path}: no such file") from None
    except Exception as error:  # the readers let anything through that their parsers raise
        raise PhotometryError(f"{path}: cannot be read as a table: {error}") from error
    for name in table.colnames:
        if name.lower() in _SPELLINGS and _SPELLINGS[name.lower()] not in table.colnames:
            table.rename_column(name, _SPELLINGS[name.lower()])
    if not len(table):
        raise PhotometryError(f"{path}: must have rows; it has none")
    return table


def _demand(path, table, names):
    """Ask for a column, for one of two with its error, or for one of two pairs."""
    pairs = {"x": ("x", "y"), "RA": ("RA", "Dec"), "mag": ("mag", "mag_error"), "flux": ("flux", "flux_error")}
    choices = [pairs[name] for name in names if name in pairs] or [names]
    if not any(set(choice) <= set(table.colnames) for choice in choices):
        wanted = " or ".join(" and ".join(choice) for choice in choices)
        raise PhotometryError(f"{path}: must have the columns {wanted}; it has {', '.join(table.colnames)}")


def _numbers(path, table, name):
    """Read a column as finite numbers, in our unit."""
    column = table[name]
    try:
        factor = 1.0 if column.unit is None or name not in _UNITS else _factor(Unit(column.unit), _UNITS[name])
        values = np.ma.filled(np.ma.masked_array(column, dtype=float), np.nan) * factor
    except (UnitConversionError, TypeError, ValueError) as error:
        unit = _UNITS.get(name, "pixels")
        raise PhotometryError(f"{path}: column {name} must hold numbers, in {unit}: {error}") from error
    _refuse(path, name, ~np.isfinite(values), "be finite", values)
    return values


def _factor(unit, ours):
    """Factor from a column's unit to ours; that of magnitudes may say that they are AB."""
    if getattr(unit, "physical_unit", None) == AB:
        unit = unit.function_unit
    return unit.to(ours)


def _refuse(path, name, wrong, rule, values):
    if wrong.any():
        row = int(np.argmax(wrong))
        raise PhotometryError(f"{path}: column {name} must {rule}; row {row + 1} has {values[row]}")


def _find_exposures(path, column, headers):
    """Place of each row's exposure among the headers, by its file name or the beginning of it."""
    places = {}
    for i, name in enumerate(np.asarray(column).astype(str).tolist()):
        if name in places:
            continue
        exact = [k for k, header in enumerate(headers) if Path(name).name == header.name]
        found = exact or [k for k, header in enumerate(headers) if header.name.startswith(f"{Path(name).name}_")]
        if len(found) != 1:
            what = f"{len(found)} members" if found else "no member"
            raise PhotometryError(f"{path}: column exposure must name one member; row {i + 1}, {name!r}, names {what}")
        places[name] = found[0]
    return np.array([places[name] for name in np.asarray(column).astype(str).tolist()])


def _locate(header, pixels, first, second):
    """Places of one exposure's rows in every frame."""
    geometry = read_geometry(header)
    x, y = (first, second) if pixels else geometry.to_pixel(first, second)
    ra, dec = geometry.to_sky(x, y) if pixels else (first, second)
    v2, v3 = geometry.to_v2v3(x, y)
    return {"x": x + header.corner[0], "y": y + header.corner[1], "RA": ra, "Dec": dec, "V2": v2, "V3": v3}


def _refuse_outside(path, header, rows, columns):
    """Refuse places that an exposure does not see: of another exposure, in hours, or pixels of a mosaic."""
    ny, nx = header.shape
    x, y = columns["x"][rows] - header.corner[0], columns["y"][rows] - header.corner[1]
    inside = (np.abs(x - (nx - 1) / 2) < nx / 2 + _MARGIN) & (np.abs(y - (ny - 1) / 2) < ny / 2 + _MARGIN)
    if not inside.all():
        worst = int(np.argmin(inside))
        raise PhotometryError(
            f"{path}: a source must lie on its exposure; row {rows[worst] + 1} is at x = {x[worst]:.0f}, "
            f"y = {y[worst]:.0f} of {header.name}, which has {nx} x {ny} pixels"
        )


def _check_sources(columns, names, headers, paths):
    """Refuse names that stand for two sources, such as running numbers that begin anew in each exposure."""
    source, exposure = columns["source"], columns["exposure"]
    order = np.lexsort([exposure, source])
    twice = (np.diff(source[order]) == 0) & (np.diff(exposure[order]) == 0)
    if twice.any():
        row = order[int(np.argmax(twice))]
        where = f"stands more often in {headers[exposure[row]].name}"
        raise PhotometryError(f"{paths}: a source must stand once in an exposure; '{names[source[row]]}' {where}")
    first = np.unique(source, return_index=True)[1][source]
    ra, dec = columns["RA"], columns["Dec"]
    apart = np.hypot(*offsets(ra[first], dec[first], ra, dec))
    if (apart > _SAME_PLACE).any():
        row = int(np.argmax(apart > _SAME_PLACE))
        where = f"{headers[exposure[first[row]]].name} and {headers[exposure[row]].name}"
        raise PhotometryError(
            f"{paths}: a source must be at one place on the sky, within {_SAME_PLACE} arcsec; "
            f"'{names[source[row]]}' is {apart[row]:.1f} arcsec apart in {where}"
        )


def _fluxes(path, table):
    """Fluxes and errors [Jy], from those columns or from magnitudes."""
    name = "mag" if {"mag", "mag_error"} <= set(table.colnames) else "flux"
    values, errors = _numbers(path, table, name), _numbers(path, table, f"{name}_error")
    _refuse(path, f"{name}_error", errors <= 0, "be more than 0", errors)
    flux = values if name == "flux" else to_flux(values)
    typical = np.median(flux)
    if typical > to_flux(_BRIGHTEST):
        raise PhotometryError(
            f"{path}: column {name} must be in {'AB mag' if name == 'mag' else 'Jy, or say its unit'}; its median is "
            f"{to_magnitudes(typical, typical)[0]:.1f} mag AB, and no star brighter than {_BRIGHTEST} can be measured"
        )
    return (values, errors) if name == "flux" else (flux, flux * errors * _FRACTION_PER_MAG)


def _average_places(columns):
    """Give each source one place on the sky, that of its first row, and its isolation."""
    sources, first = np.unique(columns["source"], return_index=True)
    brightest = np.full(len(sources), -np.inf)
    np.maximum.at(brightest, columns["source"], columns["flux"])
    isolation = measure_isolation(columns["RA"][first], columns["Dec"][first], brightest, 0.1)
    columns["RA"], columns["Dec"] = columns["RA"][first][columns["source"]], columns["Dec"][first][columns["source"]]
    columns["isolation"] = isolation[columns["source"]]
