"""``photometry='catalog'``: measurements from a user's photometry of exposures."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from astropy.units import AB, Unit, UnitConversionError

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.columns import (
    Flag,
    Photometry,
    combine_parts,
    join_columns,
    read_table,
    to_flux,
    to_magnitudes,
)
from jwst_modfix.photometry.frames import Epochs, ExposureHeader, offsets_on_sky, read_geometry
from jwst_modfix.photometry.source_list import measure_isolation
from jwst_modfix.table.table import MAG_PER_FRACTION
from jwst_modfix.text import is_url

_FORMATS = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".fits": "fits", ".parquet": "parquet"}
_FORMATS |= dict.fromkeys((".txt", ".dat", ".cat"), "ascii")
_OPTIONS = {".csv": {"encoding": "utf-8-sig", "comment": "#"}}
# Names that other programs give to our columns, in lower case.
_SYNONYMS = {
    "source": ("id", "source_id"),
    "exposure": ("file", "filename", "frame"),
    "x": ("x_fit",),
    "y": ("y_fit",),
    "RA": (),
    "Dec": (),
    "mag": ("mag_fit",),
    "mag_error": ("mag_err", "magerr"),
    "flux": ("flux_fit",),
    "flux_error": ("flux_err", "fluxerr"),
}
_UNITS = {"flux": "Jy", "flux_error": "Jy", "mag": "mag", "mag_error": "mag", "RA": "deg", "Dec": "deg"}
_UNITS |= {"x": "pix", "y": "pix"}
_FAINTEST = 50.0  # AB; catalogues have 99 where there is no magnitude
# A source may lie this many pixels beyond the array: pointing errors are below 1.5", 50 pixels.
_MARGIN = 64.0
_SAME_PLACE = 2.0  # arcsec between a source's places in two exposures: pointing errors of both
# Brighter than this [AB], a star saturates the fastest readout of the smallest subarray: the unit is another one.
_BRIGHTEST = 8.0


def read_catalogues(paths: Iterable[str | Path], headers: Sequence[ExposureHeader], epochs: Epochs) -> Photometry:
    """Read photometry that was made elsewhere.

    Each row is a measurement: ``source``, any name or number that is the same in every exposure; ``exposure``, the
    name of the exposure's file or the beginning of it; ``x`` and ``y`` (0-indexed pixels of that file) or ``RA`` and
    ``Dec``; ``mag`` and ``mag_error`` (AB) or ``flux`` and ``flux_error`` (Jy unless the column has a unit). They
    are those of the source: a sum of pixels in MJy/sr lacks the pixels' solid angle, which differs between arrays.
    """
    parts = [_read_rows(Path(path), headers) for path in paths]
    if len({part["source"].dtype.kind in "iu" for part in parts}) > 1:
        parts = [part | {"source": part["source"].astype(str)} for part in parts]
    columns = join_columns(parts)
    names, first, columns["source"] = np.unique(columns["source"], return_index=True, return_inverse=True)
    _check_sources(columns, first, names, headers, ", ".join(str(path) for path in paths))
    # Each source gets one place on the sky, that of its first row.
    brightest = np.full(len(first), -np.inf)
    np.maximum.at(brightest, columns["source"], columns["flux"])
    ra, dec = columns["RA"][first], columns["Dec"][first]
    places = {"RA": ra, "Dec": dec, "isolation": measure_isolation(ra, dec, brightest)}
    columns |= {name: values[columns["source"]] for name, values in places.items()}
    unknown = np.full(len(columns["source"]), np.nan)
    columns |= {"sky": unknown, "compactness": unknown, "masked": np.zeros(len(unknown))}
    columns["flags"] = np.where(columns["flux"] > 0, 0, int(Flag.NEGATIVE))
    absent = np.full((len(headers), 2), np.nan)
    found = combine_parts([columns], headers, epochs, absent, absent)
    # Text as bytes, a quarter of the memory.
    names = names.astype("S") if names.dtype.kind == "U" else names
    found.measurements["name"] = names[found.measurements["source"]]
    found.measurements["name"].description = "Name or number of the source in your photometry"
    return found


def _read_rows(path, headers):
    """Read the rows of one file; ``exposure`` is the place of each among the headers."""
    table = _open(path)
    _demand(path, table, ("source",))
    pixels = _demand(path, table, ("x", "y"), ("RA", "Dec"))[0] == "x"
    places = [_numbers(path, table, name) for name in (("x", "y") if pixels else ("RA", "Dec"))]
    exposure = _find_exposures(path, table, headers)
    columns = {name: np.empty(len(table)) for name in ("x", "y", "RA", "Dec", "V2", "V3")}
    for number in np.unique(exposure):
        rows, header = np.flatnonzero(exposure == number), headers[number]
        geometry, given = read_geometry(header), [place[rows] for place in places]
        x, y = given if pixels else geometry.to_pixel(*given)
        _refuse_outside(path, header, rows, x, y)
        ra, dec = geometry.to_sky(x, y) if pixels else given
        if pixels and {"RA", "Dec"} <= set(table.colnames):
            apart = np.hypot(*offsets_on_sky(*(_numbers(path, table, name)[rows] for name in ("RA", "Dec")), ra, dec))
            if (wrong := ~(apart <= _SAME_PLACE)).any():  # of a mosaic, or another exposure
                row = int(np.argmax(wrong))
                raise PhotometryError(
                    f"{path}: x, y must be pixels of the exposure, where RA, Dec are; those of row {rows[row] + 1} are "
                    f"{apart[row]:.1f} arcsec apart in {header.name}"
                )
        found = (x + header.corner[0], y + header.corner[1], ra, dec, *geometry.to_v2v3(x, y))
        for name, values in zip(columns, found, strict=True):
            columns[name][rows] = values
    columns["flux"], columns["flux_error"] = _fluxes(path, table)
    # Numbers sort ten times faster than their names.
    source = table["source"]
    numbers = source.dtype.kind in "iu" and source.ndim == 1 and not np.ma.is_masked(source)
    source = np.asarray(source) if numbers else np.repeat(*_texts(path, table, "source"))
    return columns | {"exposure": exposure, "source": source}


def _open(path):
    if is_url(path):
        raise PhotometryError(f"{path}: is a URL; download the file and give the copy")
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in _FORMATS:
        raise PhotometryError(f"{path}: must be one of {', '.join(_FORMATS)}; got {suffix or 'no suffix'}")
    table = read_table(path, _FORMATS[suffix], PhotometryError, **_OPTIONS.get(suffix, {}))
    if suffix == ".csv" and len(table.colnames) == 1:
        raise PhotometryError(f"{path}: columns must be separated by commas; its header is {table.colnames[0]!r}")
    if not len(table):
        raise PhotometryError(f"{path}: must have rows; it has none")
    # Names of other programs become those of this package.
    for name, others in _SYNONYMS.items():
        if name in table.colnames:
            continue
        known = [column for column in table.colnames if column.lower() in (name.lower(), *others)]
        if len(known) > 1:
            raise PhotometryError(
                f"{path}: columns {' and '.join(known)} both can be {name}; rename the right one to {name}"
            )
        if known:
            table.rename_column(known[0], name)
    return table


def _demand(path, table, *choices):
    """Return the first choice of columns that the table has."""
    for choice in choices:
        if set(choice) <= set(table.colnames):
            return choice
    wanted = " or ".join(" and ".join(choice) for choice in choices)
    raise PhotometryError(f"{path}: must have the columns {wanted}; it has {', '.join(table.colnames)}")


def _column(path, table, name):
    column = table[name]
    if column.ndim != 1:
        raise PhotometryError(f"{path}: column {name} must have one value in a row; it has {column.shape[1:]}")
    return column


def _numbers(path, table, name):
    """Read a column as finite numbers, in our unit."""
    column = _column(path, table, name)
    try:
        unit = Unit(column.unit or _UNITS[name])
        if getattr(unit, "physical_unit", None) == AB:  # that of magnitudes may be mag(AB)
            unit = unit.function_unit
        factor = unit.to(_UNITS[name])
        values = np.ma.filled(np.ma.masked_array(column, dtype=float), np.nan) * factor
    except (UnitConversionError, TypeError, ValueError) as error:
        raise PhotometryError(f"{path}: column {name} must hold numbers, in {_UNITS[name]}: {error}") from error
    _refuse(path, name, ~np.isfinite(values), "be finite", values)
    return values


def _texts(path, table, name):
    """Read a column of names or numbers as ASCII text, and the lengths of its runs."""
    # ASCII: every file that we write can hold it.
    column = np.ma.asarray(_column(path, table, name))
    absent, values = np.ma.getmaskarray(column), np.ma.getdata(column)
    # A million strings take seconds.
    rows = np.flatnonzero(np.append(True, (values[1:] != values[:-1]) | (absent[1:] != absent[:-1])))
    absent, values, count = absent[rows], values[rows], np.diff(rows, append=len(values))
    values = np.char.decode(values, "latin-1") if values.dtype.kind == "S" else np.ascontiguousarray(values, dtype=str)
    _refuse(path, name, absent | (values == ""), "be filled in", np.where(absent, "no value", values), rows)
    # Characters as numbers.
    wide = (values.view(np.uint32).reshape(len(values), -1) > 127).any(axis=1)
    _refuse(path, name, wide, "be ASCII", values, rows)
    return values, count


def _refuse(path, name, wrong, rule, values, rows=None):
    if wrong.any():
        place = int(np.argmax(wrong))
        row = place if rows is None else rows[place]
        raise PhotometryError(f"{path}: column {name} must {rule}; row {row + 1} has {values[place]}")


def _find_exposures(path, table, headers):
    """Find the exposure of each row, by column or else by the catalogue's name."""
    stems, places = [_stem(header.name) for header in headers], {}
    if "exposure" not in table.colnames:
        roots = [stem.rpartition("_")[0] or stem for stem in stems]  # without a product suffix such as _cal
        found = [k for k, root in enumerate(roots) if _stem(path.name).startswith(root)]
        if len(found) == 1:
            return np.full(len(table), found[0])
        raise PhotometryError(
            f"{path}: must have the column exposure, or the name of one member as its own; "
            f"it has {', '.join(table.colnames)}"
        )
    names, count = _texts(path, table, "exposure")
    for name, row in zip(names.tolist(), np.cumsum(count) - count + 1, strict=True):
        if name in places:
            continue
        stem = _stem(Path(name).name)
        exact = [k for k, other in enumerate(stems) if other == stem]
        found = exact or [k for k, header in enumerate(headers) if header.name.startswith(f"{stem}_")]
        if len(found) != 1:
            what = f"{len(found)} members" if found else "no member"
            raise PhotometryError(f"{path}: column exposure must name one member; row {row}, {name!r}, names {what}")
        places[name] = found[0]
    return np.repeat([places[name] for name in names.tolist()], count)


def _stem(name):
    """Name of a file without .fits, .fits.gz, .ecsv and the like."""
    name = name.removesuffix(".gz")
    return Path(name).stem if Path(name).suffix in _FORMATS else name


def _refuse_outside(path, header, rows, x, y):
    """Refuse positions off the exposure: of another one, in hours, or of a mosaic."""
    ny, nx = header.shape
    inside = (np.abs(x - (nx - 1) / 2) < nx / 2 + _MARGIN) & (np.abs(y - (ny - 1) / 2) < ny / 2 + _MARGIN)
    if not inside.all():
        worst = int(np.argmin(inside))
        raise PhotometryError(
            f"{path}: a source must lie on its exposure; row {rows[worst] + 1} is at x = {x[worst]:.0f}, "
            f"y = {y[worst]:.0f} of {header.name}, which has {nx} x {ny} pixels"
        )


def _fluxes(path, table):
    """Read fluxes and errors [Jy], from those columns or from magnitudes."""
    name, error = _demand(path, table, ("mag", "mag_error"), ("flux", "flux_error"))
    values, errors = _numbers(path, table, name), _numbers(path, table, error)
    _refuse(path, error, errors <= 0, "be more than 0", errors)
    if name == "mag":
        wrong = np.abs(values) > _FAINTEST
        _refuse(path, name, wrong, f"be within {_FAINTEST:g} mag; leave rows out that were not measured", values)
        flux = to_flux(values)
        values, errors = flux, flux * errors / MAG_PER_FRACTION
    typical = np.median(values)
    if typical > to_flux(_BRIGHTEST):
        raise PhotometryError(
            f"{path}: column {name} must be in {'AB mag' if name == 'mag' else 'Jy, or have its unit'}; its median is "
            f"{to_magnitudes(typical, typical)[0]:.1f} mag AB, and no star brighter than {_BRIGHTEST} can be measured"
        )
    return values, errors


def _check_sources(columns, first, names, headers, paths):
    """Refuse names that two sources share, as numbers that restart in each exposure."""
    source, exposure = columns["source"], columns["exposure"]
    order = np.lexsort([exposure, source])
    twice = (np.diff(source[order]) == 0) & (np.diff(exposure[order]) == 0)
    if twice.any():
        row = order[int(np.argmax(twice))]
        raise PhotometryError(
            f"{paths}: a source must have one row in an exposure; '{names[source[row]]}' has more in "
            f"{headers[exposure[row]].name}"
        )
    first, ra, dec = first[source], columns["RA"], columns["Dec"]
    apart = np.hypot(*offsets_on_sky(ra[first], dec[first], ra, dec))
    if (apart > _SAME_PLACE).any():
        row = int(np.argmax(apart > _SAME_PLACE))
        where = f"{headers[exposure[first[row]]].name} and {headers[exposure[row]].name}"
        raise PhotometryError(
            f"{paths}: a source must be at one place on the sky, within {_SAME_PLACE} arcsec; "
            f"'{names[source[row]]}' is {apart[row]:.1f} arcsec apart in {where}"
        )
