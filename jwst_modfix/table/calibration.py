"""Readers and exports of CRDS reference files of NIRCam: photom, flat and area."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from jwst_modfix.errors import ExposureError, ReferenceTableError
from jwst_modfix.exposure import open_exposure, open_fits
from jwst_modfix.files import refuse_existing, written_whole
from jwst_modfix.table.table import DETECTORS, FULL_FRAME, MAG_PER_FRACTION, OffsetTable, Row
from jwst_modfix.table.validity import base_name, mjd_of, photmjsr_agrees
from jwst_modfix.text import align, count_nouns, describe_band, plain_text, wrap

_MARK = "jwst_modfix"
_YEAR = 365.0  # days, as in jwst.photom.time_dependence
# Throughput over that of a first day t0, t days after it, and the columns of the table; jwst.photom.time_dependence.
_THROUGHPUT: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "TIMECOEFF_LINEAR": (("lossperyear",), lambda t, loss: 1 - loss * t / _YEAR),
    "TIMECOEFF_EXPONENTIAL": (("amplitude", "tau", "const"), lambda t, high, tau, low: high * np.exp(-t / tau) + low),
    "TIMECOEFF_POWERLAW": (
        ("year1value", "tsoft", "alpha"),
        lambda t, of_year_1, soft, alpha: of_year_1 * ((t + soft) / (_YEAR + soft)) ** alpha,
    ),
}
_ANY = {"ANY", "N/A", "GENERIC", ""}
_BAD_FLAT = {"DO_NOT_USE": 1 << 0, "NO_FLAT_FIELD": 1 << 18, "UNRELIABLE_FLAT": 1 << 25}  # bits of the jwst package


# ---- what is read from a file ----


@dataclass(frozen=True)
class PhotomLine:
    """One row of a photom file."""

    place: int  # in the table
    filter: str
    pupil: str
    subarray: str | None  # None where the file has no such column
    photmjsr: float  # (MJy/sr) / (DN/s), before the correction for time
    losses: tuple[tuple[str, tuple[float, ...]], ...] = ()  # TIMECOEFF tables; t0 and the coefficients in this row

    @property
    def label(self) -> str:
        """Name of the row in messages."""
        subarray = f", subarray={self.subarray}" if self.subarray else ""
        return f"filter={self.filter}, pupil={self.pupil}{subarray}"

    def at(self, mjd: float | None) -> float:
        """Find the PHOTMJSR that photom writes on a date; NaN if the loss is not defined."""
        photmjsr = np.float64(self.photmjsr)
        with np.errstate(all="ignore"):
            for name, (t0, *coefficients) in self.losses if mjd is not None else ():
                photmjsr /= _THROUGHPUT[name][1](np.float64(mjd) - t0, *coefficients)
        return float(photmjsr)


@dataclass(frozen=True, kw_only=True)
class ReferenceFile:
    """A photom, flat or area file of one detector."""

    path: Path
    kind: str
    detector: str
    pixar_sr: float | None = None  # the photom step takes it from the area file, where there is one
    history: str = ""
    filters: tuple[str, ...] = ()  # empty: of every filter
    pupils: tuple[str, ...] = ()

    def fits(self, row: Row, detector: str) -> bool:
        """Test whether the file is for a detector, filter and pupil of a row."""
        wheels = ((row.filter, self.filters), (row.pupil, self.pupils))
        return detector == self.detector and all(not names or name in names for name, names in wheels)


@dataclass(frozen=True, kw_only=True)
class Photom(ReferenceFile):
    """A photom file, or its values in a list."""

    kind: str = "photom"
    lines: tuple[PhotomLine, ...]

    def find(self, filter: str, pupil: str, subarray: str | None = None) -> PhotomLine | None:
        """Find the row of a subarray; without a name, the row of the full frame."""
        mine = {line.subarray: line for line in self.lines if (line.filter, line.pupil) == (filter, pupil)}
        return mine.get(subarray or "FULL", mine.get(None))


@dataclass(frozen=True, kw_only=True)
class Image(ReferenceFile):
    """The header of a flat or area file of the full frame, or of a part of it."""

    corner: tuple[int, int]  # full-frame pixel (0-indexed) of the first pixel, (x, y)
    shape: tuple[int, int]

    def read(self) -> np.ndarray:
        """Read the pixels, float64, shape (2048, 2048); NaN where bad or absent."""
        bits = _BAD_FLAT
        with _open(self.path, self.kind) as (hdulist, _):
            data = hdulist["SCI"].data.astype(float)
            dq = hdulist["DQ"].data if self.kind == "flat" and "DQ" in hdulist else None
            named = hdulist["DQ_DEF"].data if dq is not None and "DQ_DEF" in hdulist else None
            if named is not None and len(named):
                bits = {name: int(row["VALUE"]) for row in named if (name := _text(row["NAME"])) in _BAD_FLAT}
        with np.errstate(invalid="ignore"):
            data[~(data > 0) | ~np.isfinite(data)] = np.nan
        if dq is not None and dq.shape == data.shape:
            data[(dq.astype(np.int64) & sum(bits.values())) != 0] = np.nan
        full = np.full((FULL_FRAME, FULL_FRAME), np.nan)
        x, y = self.corner
        full[y : y + data.shape[0], x : x + data.shape[1]] = data
        return full


def read_reference(path: str | Path, kind: str) -> Photom | Image:
    """Read a photom file, or the header of a flat or area file, of NIRCam imaging."""
    with _open(Path(path), kind) as (_, file):
        return file


@contextlib.contextmanager
def _open(path: Path, kind: str) -> Iterator[tuple[fits.HDUList, Photom | Image]]:
    """Open a reference file of a kind, and read what it is."""
    with contextlib.ExitStack() as stack:
        try:
            hdulist = stack.enter_context(open_fits(path))
        except ExposureError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise ReferenceTableError(f"{path}: cannot be read as {_of_kind(kind)}: {reason}") from error
        header = hdulist[0].header
        reftype, detector = str(header.get("REFTYPE", kind)).strip().lower(), header.get("DETECTOR")
        if reftype != kind:
            raise ReferenceTableError(f"{path}: is not {_of_kind(kind)}: REFTYPE is {header['REFTYPE']}")
        if detector not in DETECTORS:
            raise ReferenceTableError(f"{path}: is not the {kind} file of one NIRCam detector; DETECTOR is {detector}")
        about = {"path": path, "kind": kind, "detector": detector, "pixar_sr": header.get("PIXAR_SR"),
                 "history": str(header.get("HISTORY", ""))}  # fmt: skip
        if kind == "photom":
            yield hdulist, Photom(**about, lines=_read_lines(hdulist, path))
        else:
            yield hdulist, Image(**about, **_read_geometry(hdulist, path, kind))


def _of_kind(kind: str) -> str:
    return f"a {'pixel area' if kind == 'area' else kind} file of NIRCam imaging"


def is_of_kind(path: Path, kind: str) -> bool:
    """Test whether a file is of a kind, or unreadable, for its reader to refuse."""
    try:
        reftype = fits.getval(path, "REFTYPE")
    except (OSError, KeyError):
        return True
    return str(reftype).strip().lower() == kind


def _text(value: Any) -> str:
    return str(value).strip().upper()


def _read_lines(hdulist: fits.HDUList, path: str | Path) -> tuple[PhotomLine, ...]:
    """Read the rows of a photom file, with those of its TIMECOEFF tables."""
    data, times = _find_tables(hdulist, path)
    subarrays = data["subarray"] if "subarray" in map(str.lower, data.names) else None
    of_time = {name: [table[column] for column in ("t0", *_THROUGHPUT[name][0])] for name, table in times.items()}
    lines = []
    for place, row in enumerate(data):
        losses = tuple((name, tuple(float(column[place]) for column in columns)) for name, columns in of_time.items())
        names = (_text(row["filter"]), _text(row["pupil"]), None if subarrays is None else _text(subarrays[place]))
        lines.append(PhotomLine(place, *names, float(row["photmjsr"]), losses))
    labels = [line.label for line in lines]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ReferenceTableError(f"{path}: has several rows of {'; '.join(twice)}")
    return tuple(lines)


def _find_tables(hdulist: fits.HDUList, path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Find the tables of PHOTMJSR and of corrections for time, and check them."""
    found = [hdu for hdu in hdulist if hdu.name == "PHOTOM" or hdu.name in _THROUGHPUT]
    tables = {hdu.name: hdu.data for hdu in found}
    if len(tables) < len(found):
        listed = ", ".join(hdu.name for hdu in found)
        raise ReferenceTableError(f"{path}: has several extensions of one name: {listed}")
    data = tables.pop("PHOTOM", None)
    types = {} if data is None else {name.lower(): data.dtype[name] for name in data.names}
    missing = [name for name in ("filter", "pupil", "photmjsr", "uncertainty") if name not in types]
    if missing or "wavelength" in types:
        lacks = f"it has no column {', '.join(missing)} in PHOTOM" if missing else "it is for spectra"
        raise ReferenceTableError(f"{path}: is not {_of_kind('photom')}: {lacks}")
    if wrong := [f"{name} is {types[name]}" for name in ("photmjsr", "uncertainty") if types[name].kind != "f"]:
        raise ReferenceTableError(
            f"{path}: PHOTMJSR and UNCERTAINTY must be one floating number in a row, not scaled: {', '.join(wrong)}"
        )
    for name, table in tables.items():
        if len(table) != len(data):
            raise ReferenceTableError(
                f"{path}: {name} has {count_nouns(len(table), 'row')}, and PHOTOM has {len(data)}"
            )
    return data, tables


def _read_geometry(hdulist: fits.HDUList, path: str | Path, kind: str) -> dict[str, Any]:
    """Read the filters of an image, and its place on the detector."""
    header = hdulist[0].header
    if "SCI" not in hdulist or len(hdulist["SCI"].shape) != 2:
        raise ReferenceTableError(f"{path}: is not {_of_kind(kind)}: it has no image SCI of two axes")
    corner = (int(header.get("SUBSTRT1", 1)) - 1, int(header.get("SUBSTRT2", 1)) - 1)
    ny, nx = hdulist["SCI"].shape
    sizes = (int(header.get("SUBSIZE1", nx)), int(header.get("SUBSIZE2", ny)))
    if sizes != (nx, ny) or ((nx, ny) != (FULL_FRAME, FULL_FRAME) and "SUBSTRT1" not in header):
        raise ReferenceTableError(
            f"{path}: SCI has shape ({ny}, {nx}), but SUBSTRT1 is {header.get('SUBSTRT1')} and SUBSIZE1, SUBSIZE2 "
            f"are {sizes[0]}, {sizes[1]}: its place on the detector is not known"
        )
    if min(corner) < 0 or corner[0] + nx > FULL_FRAME or corner[1] + ny > FULL_FRAME:
        raise ReferenceTableError(
            f"{path}: SUBSTRT1, SUBSTRT2 = {corner[0] + 1}, {corner[1] + 1} and shape ({ny}, {nx}) are not within "
            f"the {FULL_FRAME} x {FULL_FRAME} pixels of the detector"
        )
    filters, pupils = _names(header, "FILTER", "P_FILTE"), _names(header, "PUPIL", "P_PUPIL")
    return {"filters": filters, "pupils": pupils, "corner": corner, "shape": (ny, nx)}


def _names(header: fits.Header, keyword: str, pattern: str) -> tuple[str, ...]:
    """List names in a wheel from ``F200W`` or ``F150W|F200W|``; none for all."""
    given = {_text(header.get(keyword, "")), *map(_text, str(header.get(pattern, "")).split("|"))}
    return tuple(sorted(given - _ANY))


# ---- copies of reference files that contain a table; each export returns lines for the user ----


@contextlib.contextmanager
def _copied(path: Path, kind: str, output: Path) -> Iterator[tuple[fits.HDUList, Any, list[str]]]:
    """Give a file to change, its content, and lines for its history; write a copy."""
    refuse_existing([output], ReferenceTableError)
    history: list[str] = []
    with _open(path, kind) as (hdulist, file):
        yield hdulist, file, history
        header = hdulist[0].header
        header["FILENAME"] = output.name
        for line in history:
            header.add_history(plain_text(line).encode("ascii", "backslashreplace").decode())
        for hdu in hdulist:
            if "CHECKSUM" in hdu.header:
                hdu.add_checksum()
        with written_whole(output) as partial:
            hdulist.writeto(partial, output_verify="ignore")


def _check_validity(table: OffsetTable, given: ReferenceFile, what: str, valid: Iterable[str]) -> None:
    """Refuse a file that already contains offsets, or does not fit the table."""
    if f"{_MARK}: {what}" in given.history:
        raise ReferenceTableError(f"{given.path}: already contains module offsets (see its HISTORY)")
    allowed = [base_name(name) for name in valid]
    if allowed and given.path.name not in allowed:
        raise ReferenceTableError(
            f"{given.path}: {table.name} is valid for {', '.join(allowed)}; carry it to this file by 'modfix rebase'"
        )


def _of(table: OffsetTable) -> str:
    return f"{table.name} (hash {table.digest})"


# ---- photom files ----


def export_photom(table: OffsetTable, path: Path, output: Path, *, drop_slope: bool = False) -> list[str]:
    """Write a copy of a detector's photom file with offsets or zero points included."""
    # PHOTMJSR and its uncertainty are multiplied by 10**(0.4 z), as the correction multiplies the pixels.
    rows = []
    with _copied(path, "photom", output) as (hdulist, photom, history):
        found = _find_rows(photom, table)
        dropped = tuple(dict.fromkeys(row for _, row in found if row.slope or row.field))
        if dropped and not drop_slope:
            raise ReferenceTableError(
                f"{table.name}: a photom file cannot carry the {'; the '.join(map(_variation, dropped))}; drop it to "
                "export the constant alone, or write it into flat files with 'modfix convert --flat'"
            )
        data = hdulist["PHOTOM"].data
        for line, row in found:
            z = table.zero_point(row, photom.detector)
            for column in ("photmjsr", "uncertainty"):
                data[column][line.place] *= 10 ** (0.4 * z)
            names = [line.filter, line.pupil, *filter(None, [line.subarray])]
            rows.append([*names, f"z {1e3 * z:+z.2f} mmag", f"PHOTMJSR times {10 ** (0.4 * z):.6f}"])
        history += [f"{_MARK}: PHOTMJSR of {path.name} times 10**(0.4 z),", f"z of {_of(table)}"]
        history += [f"{_MARK}: the {_variation(row)} was left out" for row in dropped]
    lines = []
    for row in dropped:
        part = "field" if row.slope is None else f"slope, {1e3 * row.slope:+z.2f} mmag/arcmin,"
        lines.append(f"warning: {row.label}: its {part} is left out")
    lines += align(rows)
    if not table.valid_for.photom:
        words = f"{table.name} names no photom file; check that this one is of the calibration it is valid for"
        lines += wrap(words, "note: ")
    return lines


def _variation(row: Row) -> str:
    return f"{'field' if row.field else 'slope'} of {row.label}"


def _find_rows(photom: Photom, table: OffsetTable) -> list[tuple[PhotomLine, Row]]:
    """Find a photom file's lines that the table has a row for, of one calibration."""
    _check_validity(table, photom, "PHOTMJSR", table.valid_for.photom)
    pairs = [(line, table.row(photom.detector, line.filter, line.pupil, line.subarray)) for line in photom.lines]
    found = [(line, row) for line, row in pairs if row is not None]
    if not found:
        raise ReferenceTableError(
            f"{photom.path}: {table.name} has no row for {photom.detector} in any filter of this file"
        )
    for_all = {(line.filter, line.pupil) for line in photom.lines if line.subarray is None}
    mine = [row for row in table.rows if photom.detector in row.detectors and row.band in for_all]
    if lost := [row.label for row in mine if row.subarray]:
        raise ReferenceTableError(
            f"{photom.path}: has one row for all subarrays and cannot carry {', '.join(lost)}; remove the rows, or "
            "give a photom file with a column subarray"
        )
    if wrong := [f"{line.label} has {line.photmjsr:g}" for line, _ in found if not 0 < line.photmjsr < np.inf]:
        raise ReferenceTableError(f"{photom.path}: PHOTMJSR must be positive: {'; '.join(wrong)}")
    if problems := [words for line, row in found if (words := explain_difference(photom, line, row))]:
        raise ReferenceTableError(
            f"{photom.path}: {'; '.join(problems)}: carry the table to this file by 'modfix rebase', or use the photom "
            "file of the derivation"
        )
    return found


def explain_difference(photom: Photom, line: PhotomLine, row: Row) -> str | None:
    """Describe the change of PHOTMJSR: the part of the offset that the file contains."""
    derived, name = row.of_detector("photmjsr", photom.detector), base_name(row.of_detector("photom", photom.detector))
    mjd = None if row.photmjsr_date is None else mjd_of(row.photmjsr_date)
    found = line.at(mjd)
    is_named = name == photom.path.name
    same_file = is_named and bool(line.losses) and mjd is None
    if derived is None and name and not is_named:
        return f"{row.label} was derived with {name}"
    if derived is None or photmjsr_agrees(found, derived, same_file=same_file):
        return None
    change = f" ({2500 * np.log10(derived / found):+z.1f} mmag)" if found > 0 else ""
    return f"PHOTMJSR of {row.label} is {found:g}, but the row was derived at {derived:g}{change}"


# ---- flat files ----


def export_flat(table: OffsetTable, path: Path, output: Path, *, wcs: Sequence[str | Path] = ()) -> list[str]:
    """Write a flat divided by 10**(0.4 m_sys), so that the flat step corrects pixels."""
    with _copied(path, "flat", output) as (hdulist, image, history):
        row = _row_of_flat(table, image)
        if row.slope:
            factor = _factor_by_wcs(table, row, image, wcs)
        else:
            y, x = np.indices(image.shape)
            field = row.field.evaluate(x + image.corner[0], y + image.corner[1]) if row.field else 0.0
            # Of numpy, also without a field: by a Python number, pixels would be divided as float32.
            factor = np.float64(10) ** (0.4 * (table.zero_point(row, image.detector) + field))
        for name in ("SCI", "ERR"):  # the error too: VAR_FLAT goes with the square of (data * ERR / SCI)
            if name in hdulist and hdulist[name].data is not None:
                hdulist[name].data = (hdulist[name].data / factor).astype(np.float32)
        history += [f"{_MARK}: flat {path.name} over 10**(0.4 m_sys),", f"m_sys of {_of(table)}"]
    return [f"{row.label}: flat divided by the factor of the correction"]


def _row_of_flat(table: OffsetTable, image: Image) -> Row:
    """Find the row that a flat is for, and check that both are of one calibration."""
    _check_validity(table, image, "flat", table.valid_for.flat)
    if len(image.filters) != 1 or len(image.pupils) != 1:
        raise ReferenceTableError(
            f"{image.path}: must be of one filter and pupil, got FILTER {', '.join(image.filters) or 'ANY'}, "
            f"PUPIL {', '.join(image.pupils) or 'ANY'}"
        )
    band = (image.filters[0], image.pupils[0])
    row = table.row(image.detector, *band)
    if row is None:
        raise ReferenceTableError(f"{image.path}: {table.name} has no row for {image.detector}, {describe_band(*band)}")
    if parts := [other.label for other in table.rows if other.key == row.key and other.subarray]:
        raise ReferenceTableError(f"{image.path}: one flat is for all subarrays and cannot carry {', '.join(parts)}")
    return row


def _factor_by_wcs(table: OffsetTable, row: Row, image: Image, exposures: Sequence[str | Path]) -> Any:
    """Evaluate the factor by the WCS of an exposure with the pixels of a flat."""
    if table.gradient is not None and table.gradient.frame == "sky":
        raise ReferenceTableError(
            f"{image.path}: a flat is fixed to the detector and the slope of {row.label} to the sky (gradient.frame), "
            "so no flat can hold it; use the step"
        )
    if not exposures:
        raise ReferenceTableError(
            f"{image.path}: {row.label} has a slope, which needs a WCS; give an exposure of {image.detector} by --wcs"
        )
    wanted = (image.detector, *row.band, image.shape, (image.corner[0] + 1, image.corner[1] + 1))
    for path in map(Path, exposures):
        with open_exposure(path) as opened:
            found = opened.exposure
        if (found.detector, found.filter, found.pupil, found.shape, (found.xstart, found.ystart)) == wanted:
            return table.factor(path).evaluate()
    raise ReferenceTableError(
        f"{image.path}: --wcs has no exposure of {image.detector} in {describe_band(*row.band)} with the pixels of the "
        f"flat (shape {image.shape})"
    )


# ---- a drift of all detectors ----


@dataclass(frozen=True)
class Drift:
    """Loss of throughput in one band, common to all detectors."""

    loss: float  # share a year of 365 days
    error: float
    t0: float  # MJD, of the first epoch, whose flux scale is kept


def find_drifts(table: OffsetTable) -> dict[tuple[str, str], Drift]:
    """Fit a constant loss to the epoch terms of each filter and pupil."""
    try:
        drifts = _fit_drifts(table.meta.get("derivation", {}))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # an edit by hand
        raise ReferenceTableError(f"{table.name}: meta.derivation has no epochs and bands of a derivation") from error
    if not drifts:
        raise ReferenceTableError(
            f"{table.name}: has no epoch terms; derive it from two or more epochs, and with time_term=fit"
        )
    return drifts


def _fit_drifts(derivation: Any) -> dict[tuple[str, str], Drift]:
    times = {f"epoch[{int(epoch['number'])}]": (epoch["first_mjd"] + epoch["last_mjd"]) / 2
             for epoch in derivation.get("epochs", ())}  # fmt: skip
    drifts = {}
    for band in derivation.get("bands", ()):
        places = [place for place, name in enumerate(band.get("terms", ())) if name in times]
        if not places:
            continue
        t0 = min(times.values())
        years = np.array([times[band["terms"][place]] - t0 for place in places]) / _YEAR
        lost = 1 - 10 ** (-0.4 * np.array(band["values"], float)[places])  # t > 0: measured faint
        weight = np.linalg.inv(np.array(band["covariance"], float)[np.ix_(places, places)]) * MAG_PER_FRACTION**2
        normal = float(years @ weight @ years)
        if normal > 0:  # else all epochs are of one time, or the covariance is none
            loss = float(years @ weight @ lost) / normal
            drifts[band["filter"], band["pupil"]] = Drift(loss, normal**-0.5, t0)
    return drifts


def export_timecoeff(table: OffsetTable, path: Path, output: Path) -> list[str]:
    """Write a photom file with the drift of the epoch terms in TIMECOEFF_LINEAR."""
    drifts = find_drifts(table)
    with _copied(path, "photom", output) as (hdulist, photom, history):
        if f"{_MARK}: TIMECOEFF_LINEAR" in photom.history:
            raise ReferenceTableError(f"{path}: already contains a drift (see its HISTORY)")
        known = {(line.filter, line.pupil) for line in photom.lines}
        used = {band: drift for band, drift in drifts.items() if band in known}
        if not used:
            raise ReferenceTableError(
                f"{path}: has no row in the bands of the drift, {', '.join(map('+'.join, drifts))}"
            )
        data = hdulist["PHOTOM"].data
        rows = np.zeros(len(data), [("filter", "S12"), ("pupil", "S15"), ("t0", ">f4"), ("lossperyear", ">f4")])
        rows["filter"], rows["pupil"] = data["filter"], data["pupil"]
        for line in photom.lines:
            rows["t0"][line.place], rows["lossperyear"][line.place] = _join(line, used.get((line.filter, line.pupil)))
        table_hdu = fits.BinTableHDU(rows, name="TIMECOEFF_LINEAR")
        if "TIMECOEFF_LINEAR" in hdulist:
            hdulist["TIMECOEFF_LINEAR"] = table_hdu
        else:
            hdulist.insert(hdulist.index_of("PHOTOM") + 1, table_hdu)
        history += [f"{_MARK}: TIMECOEFF_LINEAR of {path.name} and the epoch terms", f"of {_of(table)}"]
    return [
        f"{describe_band(*band)}: loss of {1e2 * drift.loss:+z.3f} ± {1e2 * drift.error:.3f} % a year "
        f"from MJD {drift.t0:.1f} on"
        for band, drift in used.items()
    ]


def _join(line: PhotomLine, drift: Drift | None) -> tuple[float, float]:
    """Find coefficients t0 and lossperyear of the file's own loss times the drift."""
    # The product of two losses is not linear: it gets the value and the slope that it has at t0 of the drift.
    t0, own = dict(line.losses).get("TIMECOEFF_LINEAR", (0.0, 0.0))
    if drift is None or not own:
        return (t0, own) if drift is None else (drift.t0, drift.loss)
    value = 1 - own * (drift.t0 - t0) / _YEAR
    loss = own + value * drift.loss
    return drift.t0 - (1 - value) * _YEAR / loss, loss
