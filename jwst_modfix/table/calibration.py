"""Readers and exports of CRDS reference files of NIRCam: photom, flat and area."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from astropy.io import fits

from jwst_modfix.errors import ExposureError, ReferenceTableError
from jwst_modfix.exposure import open_fits
from jwst_modfix.files import refuse_existing, written_whole
from jwst_modfix.table.table import DETECTORS, FULL_FRAME, MAG_PER_FRACTION, OffsetTable, Row
from jwst_modfix.table.validity import base_name, mjd_of, photmjsr_agrees
from jwst_modfix.text import count_nouns, plain_text

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


# ---- photom files ----


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


@dataclass(frozen=True)
class Photom:
    """A photom file of one detector."""

    path: Path
    detector: str
    pixar_sr: float | None  # which the photom step takes from the area file, where there is one
    lines: tuple[PhotomLine, ...]
    history: str

    def find(self, filter: str, pupil: str, subarray: str | None = None) -> PhotomLine | None:
        """Find the row of a subarray; without a name, the row of the full frame."""
        mine = {line.subarray: line for line in self.lines if (line.filter, line.pupil) == (filter, pupil)}
        return mine.get(subarray or "FULL", mine.get(None))


def read_photom(path: str | Path) -> Photom:
    """Read a photom file of NIRCam imaging."""
    with _open(path, "photom") as hdulist:
        return _parse_photom(hdulist, path)


def _parse_photom(hdulist: fits.HDUList, path: str | Path) -> Photom:
    found = [hdu for hdu in hdulist if hdu.name == "PHOTOM" or hdu.name in _THROUGHPUT]
    tables = {hdu.name: hdu.data for hdu in found}
    if len(tables) < len(found):
        listed = ", ".join(hdu.name for hdu in found)
        raise ReferenceTableError(f"{path}: has several extensions of one name: {listed}")
    data = tables.pop("PHOTOM", None)
    types = {} if data is None else {name.lower(): data.dtype[name] for name in data.names}
    names = [*types]
    missing = [name for name in ("filter", "pupil", "photmjsr", "uncertainty") if name not in names]
    if missing or "wavelength" in names:
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
    subarrays = [_text(item) for item in data["subarray"]] if "subarray" in names else [None] * len(data)
    lines = tuple(
        PhotomLine(
            place, _text(row["filter"]), _text(row["pupil"]), subarray, float(row["photmjsr"]),
            tuple(
                (name, tuple(float(table[column][place]) for column in ("t0", *_THROUGHPUT[name][0])))
                for name, table in tables.items()
            ),
        )
        for place, (row, subarray) in enumerate(zip(data, subarrays, strict=True))
    )  # fmt: skip
    labels = [line.label for line in lines]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise ReferenceTableError(f"{path}: has several rows of {'; '.join(twice)}")
    header = hdulist[0].header
    return Photom(Path(path), header["DETECTOR"], header.get("PIXAR_SR"), lines, str(header.get("HISTORY", "")))


def _of_kind(kind: str) -> str:
    return f"a {'pixel area' if kind == 'area' else kind} file of NIRCam imaging"


def _text(value: Any) -> str:
    return str(value).strip().upper()


def is_of_kind(path: Path, kind: str) -> bool:
    """Test whether a file is of a kind, or unreadable, for its reader to refuse."""
    try:
        reftype = fits.getval(path, "REFTYPE")
    except (OSError, KeyError):
        return True
    return str(reftype).strip().lower() == kind


@contextlib.contextmanager
def _open(path: str | Path, kind: str) -> Iterator[fits.HDUList]:
    """Open a reference file of one NIRCam detector; refuse a bad one or another kind."""
    what = _of_kind(kind)
    with contextlib.ExitStack() as stack:
        try:
            hdulist = stack.enter_context(open_fits(Path(path)))
        except ExposureError as error:
            reason = str(error).removeprefix(f"{path}: ")
            raise ReferenceTableError(f"{path}: cannot be read as {what}: {reason}") from error
        header = hdulist[0].header
        reftype, detector = str(header.get("REFTYPE", kind)).strip().lower(), header.get("DETECTOR")
        if reftype != kind:
            raise ReferenceTableError(f"{path}: is not {what}: REFTYPE is {header['REFTYPE']}")
        if detector not in DETECTORS:
            raise ReferenceTableError(f"{path}: is not the {kind} file of one NIRCam detector; DETECTOR is {detector}")
        yield hdulist


# ---- export of a photom file ----


@dataclass(frozen=True)
class Export:
    """Rows written into a photom file, with z [mag], and rows written only in part."""

    changed: tuple[tuple[PhotomLine, float], ...]
    dropped: tuple[Row, ...]


def export_photom(table: OffsetTable, photom: str | Path, output: str | Path, *, drop_slope: bool = False) -> Export:
    """Write a copy of a detector's photom file with offsets or zero points included."""
    # PHOTMJSR and its uncertainty are multiplied by 10**(0.4 z), as the correction multiplies the pixels.
    refuse_existing([output], ReferenceTableError)
    with _open(photom, "photom") as hdulist:
        found = _find_rows(_parse_photom(hdulist, photom), table)
        dropped = tuple(dict.fromkeys(row for _, row in found if row.slope or row.field))
        if dropped and not drop_slope:
            raise ReferenceTableError(
                f"{table.name}: a photom file cannot carry the {'; the '.join(map(_variation, dropped))}; drop it to "
                "export the constant alone, or write it into flat files with 'modfix convert --flat'"
            )
        changed = tuple((line, table.zero_point(row, hdulist[0].header["DETECTOR"])) for line, row in found)
        data = hdulist["PHOTOM"].data
        for line, z in changed:
            for column in ("photmjsr", "uncertainty"):
                data[column][line.place] *= 10 ** (0.4 * z)
        words = [f"{_MARK}: PHOTMJSR of {PurePath(photom).name} times 10**(0.4 z),", f"z of {_of(table)}"]
        _save(hdulist, output, words + [f"{_MARK}: the {_variation(row)} was left out" for row in dropped])
    return Export(changed, dropped)


def _variation(row: Row) -> str:
    return f"{'field' if row.field else 'slope'} of {row.label}"


def _check_validity(table: OffsetTable, given: Photom | Image, what: str, valid: Iterable[str]) -> None:
    """Refuse a file that already contains offsets, or does not fit the table."""
    if f"{_MARK}: {what}" in given.history:
        raise ReferenceTableError(f"{given.path}: already contains module offsets (see its HISTORY)")
    allowed = [base_name(name) for name in valid]
    if allowed and given.path.name not in allowed:
        raise ReferenceTableError(
            f"{given.path}: {table.name} is valid for {', '.join(allowed)}; carry it to this file by 'modfix rebase'"
        )


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
    lost = [row.label for row in mine if row.subarray]
    if lost:
        raise ReferenceTableError(
            f"{photom.path}: has one row for all subarrays and cannot carry {', '.join(lost)}; remove the rows, or "
            "give a photom file with a column subarray"
        )
    if wrong := [f"{line.label} has {line.photmjsr:g}" for line, _ in found if not 0 < line.photmjsr < np.inf]:
        raise ReferenceTableError(f"{photom.path}: PHOTMJSR must be positive: {'; '.join(wrong)}")
    problems = [words for line, row in found if (words := explain_difference(photom, line, row))]
    if problems:
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


# ---- export of a flat file ----


def export_flat(
    table: OffsetTable, flat: str | Path, output: str | Path, factor: Callable[[Image], np.ndarray] | None = None
) -> Row:
    """Write a flat divided by 10**(0.4 m_sys), so that the flat step corrects pixels.

    ``factor`` evaluates the correction of a slope over the pixels of the flat, which needs a WCS. The row is returned.
    """
    refuse_existing([output], ReferenceTableError)
    image = read_image(flat, "flat")
    row = _row_of_flat(table, image)
    if row.slope:
        if table.gradient is not None and table.gradient.frame == "sky":
            raise ReferenceTableError(
                f"{flat}: a flat is fixed to the detector and the slope of {row.label} to the sky (gradient.frame), so "
                "no flat can hold it; use the step"
            )
        if factor is None:
            raise ReferenceTableError(
                f"{flat}: {row.label} has a slope, which needs a WCS; give an exposure of {image.detector} by --wcs"
            )
        correction = factor(image)
    else:
        correction = _evaluate(table, row, image)
    with _open(flat, "flat") as hdulist:
        for name in ("SCI", "ERR"):  # the error too: VAR_FLAT goes with the square of (data * ERR / SCI)
            if name in hdulist and hdulist[name].data is not None:
                hdulist[name].data = (hdulist[name].data / correction).astype(np.float32)
        _save(hdulist, output, [f"{_MARK}: flat {PurePath(flat).name} over 10**(0.4 m_sys),", f"m_sys of {_of(table)}"])
    return row


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
        raise ReferenceTableError(f"{image.path}: {table.name} has no row for {image.detector}, {'+'.join(band)}")
    if parts := [other.label for other in table.rows if other.key == row.key and other.subarray]:
        raise ReferenceTableError(f"{image.path}: one flat is for all subarrays and cannot carry {', '.join(parts)}")
    return row


def _evaluate(table: OffsetTable, row: Row, image: Image) -> np.ndarray:
    """Evaluate the factor over the pixels of an image, shape (ny, nx)."""
    ny, nx = image.shape
    x, y = np.meshgrid(np.arange(nx) + image.corner[0], np.arange(ny) + image.corner[1])
    m_sys = np.full((ny, nx), table.zero_point(row, image.detector))
    if row.field is not None:
        m_sys += row.field.evaluate(x, y)
    return np.asarray(10 ** (0.4 * m_sys))


# ---- export of a drift of all detectors ----


@dataclass(frozen=True)
class Drift:
    """Loss of throughput in one band, common to all detectors."""

    filter: str
    pupil: str
    loss: float  # share a year of 365 days
    error: float
    t0: float  # MJD, of the first epoch, whose flux scale is kept


def find_drifts(table: OffsetTable) -> list[Drift]:
    """Fit a constant loss to a table's epoch terms, weighted by their covariance."""
    try:
        drifts = _fit_drifts(table.meta.get("derivation", {}))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:  # an edit by hand
        raise ReferenceTableError(f"{table.name}: meta.derivation has no epochs and bands of a derivation") from error
    if not drifts:
        raise ReferenceTableError(
            f"{table.name}: has no epoch terms; derive it from two or more epochs, and with time_term=fit"
        )
    return drifts


def _fit_drifts(derivation: Any) -> list[Drift]:
    epochs = {int(epoch["number"]): (epoch["first_mjd"] + epoch["last_mjd"]) / 2
              for epoch in derivation.get("epochs", ())}  # fmt: skip
    drifts = []
    for band in derivation.get("bands", ()):
        named = {f"epoch[{number}]": mjd for number, mjd in epochs.items()}
        places = [place for place, name in enumerate(band.get("terms", ())) if name in named]
        if not places:
            continue
        t0 = min(epochs.values())
        years = np.array([named[band["terms"][place]] - t0 for place in places]) / _YEAR
        lost = 1 - 10 ** (-0.4 * np.array(band["values"], float)[places])  # t > 0: measured faint
        weight = np.linalg.inv(np.array(band["covariance"], float)[np.ix_(places, places)]) * MAG_PER_FRACTION**2
        normal = float(years @ weight @ years)
        if normal > 0:  # else all epochs are of one time, or the covariance is none
            loss = float(years @ weight @ lost) / normal
            drifts.append(Drift(band["filter"], band["pupil"], loss, normal**-0.5, t0))
    return drifts


def export_timecoeff(table: OffsetTable, photom: str | Path, output: str | Path) -> list[Drift]:
    """Write a photom file with the drift of the epoch terms in TIMECOEFF_LINEAR."""
    refuse_existing([output], ReferenceTableError)
    drifts = {(drift.filter, drift.pupil): drift for drift in find_drifts(table)}
    with _open(photom, "photom") as hdulist:
        file = _parse_photom(hdulist, photom)
        if f"{_MARK}: TIMECOEFF_LINEAR" in file.history:
            raise ReferenceTableError(f"{photom}: already contains a drift (see its HISTORY)")
        used = [
            drift for band, drift in drifts.items() if any((line.filter, line.pupil) == band for line in file.lines)
        ]
        if not used:
            raise ReferenceTableError(
                f"{photom}: has no row in the bands of the drift, {', '.join(map('+'.join, drifts))}"
            )
        data = hdulist["PHOTOM"].data
        rows = np.zeros(len(data), [("filter", "S12"), ("pupil", "S15"), ("t0", ">f4"), ("lossperyear", ">f4")])
        rows["filter"], rows["pupil"] = data["filter"], data["pupil"]
        for line in file.lines:
            rows["t0"][line.place], rows["lossperyear"][line.place] = _join(line, drifts.get((line.filter, line.pupil)))
        table_hdu = fits.BinTableHDU(rows, name="TIMECOEFF_LINEAR")
        if "TIMECOEFF_LINEAR" in hdulist:
            hdulist["TIMECOEFF_LINEAR"] = table_hdu
        else:
            hdulist.insert(hdulist.index_of("PHOTOM") + 1, table_hdu)
        _save(hdulist, output, [f"{_MARK}: TIMECOEFF_LINEAR of {PurePath(photom).name} and the epoch terms",
                                f"of {_of(table)}"])  # fmt: skip
    return used


def _join(line: PhotomLine, drift: Drift | None) -> tuple[float, float]:
    """Find coefficients t0 and lossperyear of the file's own loss times the drift."""
    # The product of two losses is not linear: it gets the value and the slope that it has at t0 of the drift.
    t0, own = dict(line.losses).get("TIMECOEFF_LINEAR", (0.0, 0.0))
    if drift is None or not own:
        return (t0, own) if drift is None else (drift.t0, drift.loss)
    value = 1 - own * (drift.t0 - t0) / _YEAR
    loss = own + value * drift.loss
    return drift.t0 - (1 - value) * _YEAR / loss, loss


def _of(table: OffsetTable) -> str:
    return f"{table.name} (hash {table.digest})"


def _save(hdulist: fits.HDUList, output: str | Path, history: list[str]) -> None:
    """Write a changed copy, whole or not at all, with what was done in its HISTORY."""
    header = hdulist[0].header
    header["FILENAME"] = PurePath(output).name
    for line in history:
        header.add_history(plain_text(line).encode("ascii", "backslashreplace").decode())
    for hdu in hdulist:
        if "CHECKSUM" in hdu.header:
            hdu.add_checksum()
    with written_whole(output) as partial:
        hdulist.writeto(partial, output_verify="ignore")


# ---- flat and area files: images of the full frame, or of a part of it ----


_ANY = ("ANY", "N/A", "GENERIC", "")
_BAD_FLAT = {"DO_NOT_USE": 1 << 0, "NO_FLAT_FIELD": 1 << 18, "UNRELIABLE_FLAT": 1 << 25}  # bits of the jwst package


@dataclass(frozen=True)
class Image:
    """A flat or area file of one detector: its header; pixels are read on request."""

    path: Path
    kind: str  # flat or area
    detector: str
    filters: tuple[str, ...]  # empty: of every filter
    pupils: tuple[str, ...]
    corner: tuple[int, int]  # full-frame pixel (0-indexed) of the first pixel, (x, y)
    shape: tuple[int, int]
    pixar_sr: float | None
    history: str

    def fits(self, detector: str, filter: str, pupil: str) -> bool:
        """Test whether the file is for a detector, filter and pupil."""
        wheels = ((filter, self.filters), (pupil, self.pupils))
        return detector == self.detector and all(not names or name in names for name, names in wheels)

    def read(self) -> np.ndarray:
        """Read the pixels, float64, shape (2048, 2048); NaN where bad or absent."""
        full = np.full((FULL_FRAME, FULL_FRAME), np.nan)
        with _open(self.path, self.kind) as hdulist:
            data = hdulist["SCI"].data.astype(float)
            dq = _find_bad(hdulist) if self.kind == "flat" else np.zeros(data.shape, bool)
        with np.errstate(invalid="ignore"):
            data[dq | ~(data > 0) | ~np.isfinite(data)] = np.nan
        x, y = self.corner
        full[y : y + data.shape[0], x : x + data.shape[1]] = data
        return full


def read_image(path: str | Path, kind: str) -> Image:
    """Read the header of a flat or area file."""
    with _open(path, kind) as hdulist:
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
        filters, pupils = (_names(header, *keys) for keys in (("FILTER", "P_FILTE"), ("PUPIL", "P_PUPIL")))
        return Image(Path(path), kind, header["DETECTOR"], filters, pupils, corner, (ny, nx), header.get("PIXAR_SR"),
                     str(header.get("HISTORY", "")))  # fmt: skip


def _names(header: fits.Header, keyword: str, pattern: str) -> tuple[str, ...]:
    """List names in a wheel from ``F200W`` or ``F150W|F200W|``; none for all."""
    given = {_text(header.get(keyword, "")), *map(_text, str(header.get(pattern, "")).split("|"))}
    return () if _text(header.get(keyword, "")) in _ANY and not given - set(_ANY) else tuple(sorted(given - set(_ANY)))


def _find_bad(hdulist: fits.HDUList) -> np.ndarray:
    """Find the pixels that DQ marks as bad, with bits as in DQ_DEF, if it exists."""
    shape = hdulist["SCI"].shape
    if "DQ" not in hdulist or hdulist["DQ"].data is None or hdulist["DQ"].shape != shape:
        return np.zeros(shape, bool)
    bits = sum(_BAD_FLAT.values())
    if "DQ_DEF" in hdulist and hdulist["DQ_DEF"].data is not None and len(hdulist["DQ_DEF"].data):
        bits = sum(int(row["VALUE"]) for row in hdulist["DQ_DEF"].data if _text(row["NAME"]) in _BAD_FLAT)
    return np.asarray((hdulist["DQ"].data.astype(np.int64) & bits) != 0)
