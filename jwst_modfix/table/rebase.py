"""A table carried from one calibration to another, by what the reference files of both say of each detector's flux.

A pixel's flux is proportional to PHOTMJSR x PIXAR_SR / flat. With R the ratio of the new to the old, a source has R
times the flux, and z' = z - 2.5 log10(R). Offsets are differences z_A - z_B: they change by the difference of both.
"""

from __future__ import annotations

import datetime
import filecmp
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import legendre

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.calibration import (
    Image,
    Photom,
    PhotomLine,
    explain_difference,
    read_image,
    read_photom,
)
from jwst_modfix.table.file import expand
from jwst_modfix.table.formats import read_text_table
from jwst_modfix.table.table import DETECTORS, MODULES, Field, Gradient, OffsetRow, OffsetTable, Validity, ZeroPointRow
from jwst_modfix.table.validity import base_name, contexts_in_words, derived_at, is_kept, mjd_of, photmjsr_agrees

LARGEST_REMAINDER = 0.003  # mag rms; what the model of a row cannot hold of a new flat
_SMALL = 1e-4  # mag; a subarray whose shift differs by more from that of the full frame gets a row of its own
_BLOCK = 16  # pixels, about the aperture of a star: flux is summed over it, and single pixels do not count
_LEAST_SHARE = 0.5  # of the detector that two flats must have in common; beyond it a polynomial is extrapolated
_DECIMALS = 7  # of a row's numbers [mag, mag/arcmin], far below any error
_HIGHEST_ORDER = 3  # of the field that a new flat gives

Row = OffsetRow | ZeroPointRow


@dataclass(frozen=True)
class Calibration:
    """Reference files of one calibration, the old or the new one."""

    side: str  # from or to, as in the options
    photom: dict[str, Photom]  # by detector
    flat: tuple[Image, ...] = ()
    area: tuple[Image, ...] = ()
    problems: tuple[str, ...] = ()  # of reading them
    is_list: bool = False  # of values, which names no files

    @property
    def option(self) -> str:
        """Name of the option that gives PHOTMJSR."""
        return "--photmjsr" if self.is_list else f"--{self.side}-photom"

    @property
    def paths(self) -> list[tuple[str, Path]]:
        """Kind and path of each file."""
        images = [(image.kind, image.path) for image in (*self.flat, *self.area)]
        return [*(("photom", file.path) for file in self.photom.values()), *images]

    def names(self, kind: str, table: OffsetTable) -> list[str]:
        """Names of the photom or flat files of the detectors of a table; a list of values names none."""
        needed = {detector for row in table.all_rows for detector in detectors_of(row)}
        files: Sequence[Photom | Image] = self.flat if kind == "flat" else tuple(self.photom.values())
        return [] if self.is_list else [file.path.name for file in files if file.detector in needed]

    def line(self, row: Row, detector: str) -> PhotomLine | None:
        """Find the line of the photom file for a detector of a row."""
        file = self.photom.get(detector)
        return None if file is None else file.find(row.filter, row.pupil, row.subarray)

    def images(self, kind: str, row: Row, detector: str) -> list[Image]:
        """Find flat or area files for a detector of a row; one that names the band comes before one for all."""
        mine = [file for file in getattr(self, kind) if file.fits(detector, row.filter, row.pupil)]
        return [file for file in mine if file.filters and file.pupils] or mine


@dataclass(frozen=True)
class Change:
    """A row before and after; the new one may be of a subarray that had no row of its own."""

    before: Row
    after: Row
    remainder: float | None = None  # what the row cannot hold of the change of the flats [mag rms]; None without flats

    @property
    def is_needed(self) -> bool:
        """Whether a value of the new row differs from 0 by more than its error."""
        row = self.after
        if isinstance(row, OffsetRow):
            return abs(row.offset) > row.offset_error or abs(row.slope or 0.0) > (row.slope_error or 0.0)
        return row.zero_point_error is None or abs(row.zero_point) > row.zero_point_error or row.field is not None


@dataclass(frozen=True)
class Rebased:
    """A table on another calibration, what changed, and what a user must know of it."""

    table: OffsetTable
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def rebase_table(
    table: OffsetTable, old: Calibration, new: Calibration, *, date: str | None = None, context: str | None = None,
    drop_missing: bool = False, name: str = "rebased",
) -> Rebased:  # fmt: skip
    """Carry a table from one calibration to another; refuse all that does not fit at once.

    ``date`` is the one at which photom files that correct for time are compared, in place of each row's own;
    ``context`` is the CRDS context of the new files, which they do not tell.
    """
    if date is not None:
        _check_date(date)
    missing = [row for row in table.all_rows if not all(side.line(row, detector) for side in (old, new)
                                                        for detector in detectors_of(row))]  # fmt: skip
    dropped = tuple(missing) if drop_missing else ()
    rows = [row for row in table.all_rows if row not in dropped]
    if not rows:
        raise ReferenceTableError(f"{table.name}: the calibrations have no values for any of its rows")
    problems = [*old.problems, *new.problems, *_compare_calibrations(old, new), *_compare_validity(table, old, new)]
    problems += [words for row in rows for detector in detectors_of(row)
                 for words in _compare_row(row, detector, old, new, date)]  # fmt: skip
    if problems:
        raise ReferenceTableError(table.name, problems)
    changes = [_change(row, row, table, old, new, date) for row in rows]
    changes += [change for row in rows for change in _change_subarrays(row, table, old, new, date)]
    if lost := [change for change in changes if (change.remainder or 0.0) > LARGEST_REMAINDER]:
        words = "; ".join(f"{change.after.label}: {1e3 * (change.remainder or 0.0):.1f} mmag rms" for change in lost)
        raise ReferenceTableError(
            f"{table.name}: the flats differ by what these rows cannot hold (limit {1e3 * LARGEST_REMAINDER:g} mmag "
            f"rms): {words}; derive a table on the new calibration"
        )
    changes, moved = _keep_baseline(table, changes)
    lines = [*(f"{row.label}: left out, as a calibration has no values for it" for row in dropped), *moved]
    after = [change.after for change in changes]
    rebased = OffsetTable(
        rows=tuple(row for row in after if isinstance(row, OffsetRow)),
        zero_points=tuple(row for row in after if isinstance(row, ZeroPointRow)),
        baseline=table.baseline,
        gradient=table.gradient,
        valid_for=_find_validity(table, new, context),
        name=name,
        meta={**table.meta, "history": [*table.meta.get("history", ()), _history_line(table, old, new, date), *lines]},
    )
    return Rebased(rebased, tuple(changes), (*lines, *_notes(table, old, rebased)))


def detectors_of(row: Row) -> tuple[str, ...]:
    """Detectors whose flux a row compares."""
    if isinstance(row, ZeroPointRow):
        return (row.detector,)
    return tuple(f"NRC{module}{row.array.upper()}" for module in MODULES)


# ---- reading ----


def read_calibration(
    side: str, photom: Sequence[str | Path], flat: Sequence[str | Path] = (), area: Sequence[str | Path] = ()
) -> Calibration:
    """Read the reference files of one side; what is wrong with them is kept, to be said with the rest."""
    problems: list[str] = []

    def read_all(read: Callable[..., Any], paths: Sequence[str | Path], *arguments: Any) -> list[Any]:
        found = []
        for path in dict.fromkeys(map(Path, paths)):
            try:
                found.append(read(path, *arguments))
            except ReferenceTableError as error:
                problems.append(str(error))
        return found

    files = read_all(read_photom, photom)
    for detector, count in Counter(file.detector for file in files).items():
        if count > 1:
            names = " and ".join(file.path.name for file in files if file.detector == detector)
            problems.append(f"--{side}-photom: {names} are of one detector, {detector}; give one of them")
    flats, areas = (tuple(read_all(read_image, paths, kind)) for kind, paths in (("flat", flat), ("area", area)))
    return Calibration(side, {file.detector: file for file in files}, flats, areas, tuple(problems))


_COLUMNS = ("detector", "filter", "pupil", "from", "to")


def read_values(path: str | Path) -> tuple[Calibration, Calibration]:
    """Read PHOTMJSR of both calibrations from a CSV file, as what photom files would say."""
    path = expand(path)
    content = read_text_table(path)
    if missing := [name for name in _COLUMNS if name not in content.colnames]:
        raise ReferenceTableError(f"{path}: has no column {', '.join(missing)}; needed are {', '.join(_COLUMNS)}")
    problems: list[str] = []
    lines: dict[tuple[str, str], list[PhotomLine]] = {}
    for number, row in enumerate(content, 1):
        detector, filter, pupil = (str(row[name]).strip().upper() for name in _COLUMNS[:3])
        named = str(row["subarray"]).strip().upper() if "subarray" in content.colnames else ""
        subarray = None if named in ("", "--") else named  # "--" is how an empty cell reads
        if detector not in DETECTORS:
            problems.append(f"row {number}: detector must be one of {', '.join(DETECTORS)}, got {detector}")
        for side in ("from", "to"):
            value = _positive(row[side])
            line = PhotomLine(number, filter, pupil, subarray, value or np.nan)
            if value is None:
                problems.append(f"row {number}: {side} must be a positive number, got {row[side]}")
            if any(line.label == other.label for other in lines.setdefault((side, detector), [])):
                problems.append(f"row {number}: {detector}, {line.label} has several rows")
            lines[side, detector].append(line)
    if problems:
        raise ReferenceTableError(str(path), problems)
    old, new = (
        {
            name: Photom(Path(path), name, None, tuple(found), "")
            for (which, name), found in lines.items()
            if which == side
        }
        for side in ("from", "to")
    )
    return Calibration("from", old, is_list=True), Calibration("to", new, is_list=True)


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


# ---- what does not fit ----


def _compare_calibrations(old: Calibration, new: Calibration) -> Iterator[str]:
    """Find kinds of files that only one side has, and one name with two contents."""
    for kind in ("photom", "flat", "area"):
        sides = [bool(getattr(side, kind)) for side in (old, new)]
        if any(sides) != all(sides) or (kind == "photom" and not any(sides)):
            yield f"needs both --from-{kind} and --to-{kind}"
    seen: dict[tuple[str, str], Path] = {}
    for kind, path in () if old.is_list else (*old.paths, *new.paths):
        other = seen.setdefault((kind, path.name), path)
        if not filecmp.cmp(path, other, shallow=False):
            yield f"{other} and {path} have one name and different contents; files of CRDS do not change: rename yours"


def _compare_validity(table: OffsetTable, old: Calibration, new: Calibration) -> Iterator[str]:
    """Find files of the old calibration that the table is not valid for."""
    for kind in () if old.is_list else ("photom", "flat"):
        allowed = {base_name(name) for name in getattr(table.valid_for, kind)}
        mine, others = (set(side.names(kind, table)) for side in (old, new))
        if allowed and (strange := sorted(mine - allowed)):
            order = f"; --to-{kind} is: the order is wrong" if others and others <= allowed else ""
            names = ", ".join(sorted(allowed))
            yield f"--from-{kind} is {', '.join(strange)}, but the table is valid for {names}{order}"


def _compare_row(row: Row, detector: str, old: Calibration, new: Calibration, date: str | None) -> Iterator[str]:
    """Find what a row needs and the files do not have, and values that are not those of its derivation."""
    lines = [side.line(row, detector) for side in (old, new)]
    for side, line in zip((old, new), lines, strict=True):
        file = side.photom.get(detector)
        place = f"{side.option}: {file.path.name}" if file else side.option
        if file is None:
            yield f"{place} has no {'values' if side.is_list else 'file'} of {detector}, which {row.label} needs"
        elif line is None:
            yield f"{place} has no row of {detector} for {row.label}"
        elif line.losses and _mjd(row, date) is None:
            yield f"{place} corrects for time, and {row.label} has no date; give --date"
        elif _positive(value := line.at(_mjd(row, date))) is None:
            yield f"{place}: PHOTMJSR of {detector}, {line.label} must be positive, got {value:g}"
    if lines[0] is not None and lines[1] is not None:
        yield from _compare_derivation(row, detector, old, new)
    yield from _compare_images(row, detector, old, new)


def _compare_derivation(row: Row, detector: str, old: Calibration, new: Calibration) -> Iterator[str]:
    derived, name, mjd = derived_at(row, detector)
    file, other = old.photom[detector], new.photom[detector]
    if name and not old.is_list and base_name(name) != file.path.name:
        order = "; --to-photom has it: the order is wrong" * (base_name(name) == other.path.name)
        yield f"{old.option} is {file.path.name}, but {row.label} was derived with {base_name(name)}{order}"
    line, after = old.line(row, detector), new.line(row, detector)
    if line and after and (words := explain_difference(file, line, row)):
        is_swapped = bool(derived) and photmjsr_agrees(after.at(mjd), float(derived or 1.0))
        yield f"{old.option}: {detector}: {words}" + "; the new calibration has it: the order is wrong" * is_swapped


def _compare_images(row: Row, detector: str, old: Calibration, new: Calibration) -> Iterator[str]:
    for kind in ("flat", "area"):
        for side in (old, new) if getattr(old, kind) and getattr(new, kind) else ():
            found = side.images(kind, row, detector)
            if not found:
                yield f"--{side.side}-{kind} has no file of {detector} for {row.label}"
            elif len(found) > 1:
                names = " and ".join(file.path.name for file in found)
                yield f"--{side.side}-{kind}: {names} are both of {detector} for {row.label}; give one of them"
            elif kind == "area" and not _positive(found[0].pixar_sr):
                yield f"--{side.side}-area: {found[0].path.name}: PIXAR_SR must be positive, got {found[0].pixar_sr}"
    files = [side.photom[detector] for side in (old, new) if detector in side.photom]
    values = [value for file in files if (value := _positive(file.pixar_sr))]
    if not old.area and len(values) == 2 and abs(shift := 2.5 * np.log10(values[0] / values[1])) > _SMALL:
        yield (
            f"PIXAR_SR of the photom files of {detector} differs ({1e3 * shift:+z.1f} mmag), and exposures have "
            "that of the area files; give --from-area and --to-area"
        )


def _check_date(date: str) -> None:
    try:
        mjd_of(date)
    except (ValueError, TypeError) as error:  # TypeError: with a time zone
        raise ReferenceTableError(f"--date must be an ISO date such as 2026-03-01, got {date}") from error


def _mjd(row: Row, date: str | None) -> float | None:
    stated = date or row.photmjsr_date
    return None if stated is None else mjd_of(stated)


# ---- rows ----


def _shift(row: Row, detector: str, old: Calibration, new: Calibration, date: str | None) -> float:
    """-2.5 log10(R) of PHOTMJSR and PIXAR_SR [mag]."""
    mjd, ratio = _mjd(row, date), 1.0
    for side, power in ((new, 1), (old, -1)):
        ratio *= side.line(row, detector).at(mjd) ** power  # type: ignore[union-attr]
        for area in side.images("area", row, detector):
            ratio *= float(area.pixar_sr or 1.0) ** power
    return float(-2.5 * np.log10(ratio))


def _change(before: Row, row: Row, table: OffsetTable, old: Calibration, new: Calibration, date: str | None) -> Change:
    """Carry a row, the one before or its copy for a subarray, to the new calibration."""
    shifts = {detector: _shift(row, detector, old, new, date) for detector in detectors_of(row)}
    maps = {detector: _change_of_pixels(row, detector, old, new) for detector in shifts}
    values: dict[str, Any]
    if isinstance(row, ZeroPointRow):
        mean, values, remainder = _project_field(row, maps[row.detector])
        values["zero_point"] = round(row.zero_point + shifts[row.detector] + mean, _DECIMALS)
    else:
        mean, values, remainder = _project_offset(row, table, maps)
        first, second = shifts.values()
        values["offset"] = round(row.offset + first - second + mean, _DECIMALS)
    return Change(before, replace(row, **values, **_describe(row, new, date)), remainder)


def _describe(row: Row, new: Calibration, date: str | None) -> dict[str, Any]:
    """PHOTMJSR of the new calibration, its date and its files, as a row stores them."""
    lines = {detector: new.line(row, detector) for detector in detectors_of(row)}
    photmjsr: Any = {name[3]: float(f"{line.at(_mjd(row, date)):.7g}") for name, line in lines.items() if line}
    photom: Any = None if new.is_list else {name[3]: new.photom[name].path.name for name in lines}
    if isinstance(row, ZeroPointRow):
        photmjsr, photom = photmjsr[row.detector[3]], photom and photom[row.detector[3]]
    return {"photmjsr": photmjsr, "photmjsr_date": date or row.photmjsr_date, "photom": photom}


def _change_subarrays(
    row: Row, table: OffsetTable, old: Calibration, new: Calibration, date: str | None
) -> Iterator[Change]:
    """Give a row to each subarray without one whose shift is not that of the full frame."""
    if row.subarray is not None:
        return
    detectors = detectors_of(row)
    lines = [line for side in (old, new) for name in detectors for line in side.photom[name].lines]
    named = {line.subarray for line in lines if (line.filter, line.pupil) == (row.filter, row.pupil)}
    named -= {other.subarray for other in table.all_rows if other.key == row.key} | {None, "FULL"}
    full = _net_shift(row, old, new, date)
    for subarray in sorted(name for name in named if name):
        part: Row = replace(row, subarray=subarray)
        is_known = all(side.line(part, name) for side in (old, new) for name in detectors)
        if is_known and abs(_net_shift(part, old, new, date) - full) > _SMALL:
            yield _change(row, part, table, old, new, date)


def _net_shift(row: Row, old: Calibration, new: Calibration, date: str | None) -> float:
    """Shift of a zero point, or of an offset A - B [mag]."""
    first, *second = (_shift(row, name, old, new, date) for name in detectors_of(row))
    return first - sum(second)


# ---- flats and area maps, over the pixels of a detector ----


@dataclass(frozen=True)
class _Blocks:
    """A change of the zero-point error over a detector, as medians of blocks of good pixels."""

    x: np.ndarray  # centres of blocks, 0-indexed pixels of the full frame
    y: np.ndarray
    change: np.ndarray  # mag


def _change_of_pixels(row: Row, detector: str, old: Calibration, new: Calibration) -> _Blocks | None:
    """-2.5 log10 of (AREA / flat) of the new files over the old; None without such files."""
    change = None
    for kind, sign in (("flat", 1), ("area", -1)):
        pair = [image for side in (old, new) for image in side.images(kind, row, detector)]
        if pair:
            before, after = (image.read() for image in pair)
            change = (0.0 if change is None else change) + sign * 2.5 * np.log10(after / before)
    if change is None:
        return None
    blocks, share = _median_blocks(np.asarray(change))
    if share < _LEAST_SHARE:
        raise ReferenceTableError(
            f"flat or area files of {detector} for {row.label}: both have good pixels in only {100 * share:.0f}% of "
            f"the detector, less than {100 * _LEAST_SHARE:.0f}%; give files of the full frame"
        )
    return blocks


def _median_blocks(change: np.ndarray) -> tuple[_Blocks, float]:
    """Medians of blocks, at least half of whose pixels are good, and their share: unflagged bad pixels do not count."""
    count = len(change) // _BLOCK
    blocks = change.reshape(count, _BLOCK, count, _BLOCK).swapaxes(1, 2).reshape(count, count, _BLOCK**2)
    good = np.isfinite(blocks).mean(axis=-1) >= 0.5
    centres = np.arange(count) * _BLOCK + (_BLOCK - 1) / 2
    y, x = (grid[good] for grid in np.meshgrid(centres, centres, indexing="ij"))
    return _Blocks(x, y, np.nanmedian(blocks[good], axis=-1)), float(good.mean())


def _project_field(row: ZeroPointRow, blocks: _Blocks | None) -> tuple[float, dict[str, Any], float | None]:
    """Find the mean change and the new field, and the rms that both leave."""
    if blocks is None:
        return 0.0, {}, None
    own = 0 if row.field is None else row.field.order
    highest = max(own, _HIGHEST_ORDER)
    fits = [_fit_legendre(blocks, order) for order in range(own, highest + 1)]
    # The lowest order that leaves no more than the highest, so that flats that differ by a constant give no field.
    matrix, remainder = next((one, rms) for one, rms in fits if rms <= fits[-1][1] + _SMALL)
    if row.field is not None:
        for i, values in enumerate(row.field.coefficients):
            matrix[i, : len(values)] += values
    mean, matrix[0, 0] = float(matrix[0, 0]), 0.0
    order = len(matrix) - 1
    ragged = tuple(tuple(matrix[i, : order + 1 - i].round(_DECIMALS).tolist()) for i in range(order + 1))
    return mean, {"field": Field(order=order, coefficients=ragged) if order else row.field}, remainder


def _fit_legendre(blocks: _Blocks, order: int) -> tuple[np.ndarray, float]:
    """Fit the polynomials P_i(xi) P_j(eta) with i + j <= order: their coefficients, and the rms that they leave."""
    xi, eta = (2 * pixel / 2047 - 1 for pixel in (blocks.x, blocks.y))
    terms = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    p_xi, p_eta = (legendre.legvander(pixel, order) for pixel in (xi, eta))
    design = np.stack([p_xi[:, i] * p_eta[:, j] for i, j in terms], axis=-1)
    found, rms = _solve(design, blocks.change)
    matrix = np.zeros((order + 1, order + 1))
    for (i, j), value in zip(terms, found, strict=True):
        matrix[i, j] = value
    return matrix, rms


def _project_offset(
    row: OffsetRow, table: OffsetTable, maps: dict[str, _Blocks | None]
) -> tuple[float, dict[str, Any], float | None]:
    """Find the change of the offset and, where the row has a slope, of the slope, which both modules share."""
    first, second = maps.values()
    if first is None or second is None:
        return 0.0, {}, None
    change = np.concatenate([first.change, second.change])
    is_first = np.arange(len(change)) < len(first.change)
    design = np.stack([is_first, ~is_first], axis=-1).astype(float)
    if row.slope is None or table.gradient is None or table.gradient.exposure_share == 0:
        (z_a, z_b), rms = _solve(design, change)
        return float(z_a - z_b), {}, rms
    if table.gradient.frame == "sky":
        raise ReferenceTableError(
            f"{row.label}: flats are fixed to the detector and the slope of this row to the sky (gradient.frame), so "
            "it cannot hold their change; derive a table anew"
        )
    direction = table.direction(row)
    u = np.concatenate([_along(name, blocks, table.gradient, direction) for name, blocks in maps.items() if blocks])
    (z_a, z_b, gradient), rms = _solve(np.column_stack([design, u]), change)
    return (
        float(z_a - z_b),
        {"slope": round(row.slope + float(gradient) / table.gradient.exposure_share, _DECIMALS)},
        rms,
    )


def _solve(design: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, float]:
    found = np.linalg.lstsq(design, change, rcond=None)[0]
    return found, float(np.sqrt(np.mean((change - design @ found) ** 2)))


# V2, V3 [arcsec] of the centre of each detector, and their derivatives along x and y [arcsec/pixel]: linear fits to the
# full SCI frame of pysiaf 0.29.0 (PRDOPSSOC-075). They leave 0.3 arcsec in SW and 0.9 in LW, 0.04 mmag of any slope.
_FOCAL_PLANE = {
    "NRCA1": ((120.59, -527.53), (-0.03114, -0.00027), (-0.00030, 0.03133)),
    "NRCA2": ((119.75, -459.78), (-0.03074, -0.00015), (-0.00011, 0.03084)),
    "NRCA3": ((51.93, -527.96), (-0.03129, 0.00002), (0.00016, 0.03146)),
    "NRCA4": ((52.34, -459.90), (-0.03088, 0.00003), (0.00005, 0.03097)),
    "NRCALONG": ((85.92, -493.55), (-0.06286, -0.00017), (-0.00007, 0.06317)),
    "NRCB1": ((-122.44, -457.70), (-0.03071, 0.00023), (0.00019, 0.03080)),
    "NRCB2": ((-122.70, -525.45), (-0.03111, 0.00042), (0.00046, 0.03130)),
    "NRCB3": ((-54.59, -457.70), (-0.03084, -0.00022), (-0.00024, 0.03093)),
    "NRCB4": ((-54.37, -525.66), (-0.03125, -0.00005), (-0.00019, 0.03143)),
    "NRCBLONG": ((-89.40, -491.41), (-0.06297, 0.00011), (0.00002, 0.06326)),
}


def _along(detector: str, blocks: _Blocks, gradient: Gradient, direction: float) -> np.ndarray:
    """Coordinate u along a gradient [arcmin]."""
    sine, cosine = np.sin(np.radians(direction)), np.cos(np.radians(direction))
    centre, along_x, along_y = (np.array(pair) for pair in _FOCAL_PLANE[detector])
    if gradient.frame == "detector":
        x, y = blocks.x - gradient.origin[0], blocks.y - gradient.origin[1]
        return np.asarray((x * np.hypot(*along_x) * cosine + y * np.hypot(*along_y) * sine) / 60)
    at = centre + np.outer(blocks.x - 1023.5, along_x) + np.outer(blocks.y - 1023.5, along_y)
    return np.asarray((at - np.array(gradient.origin)) @ np.array([sine, cosine]) / 60)


# ---- the table as a whole ----


def _keep_baseline(table: OffsetTable, changes: list[Change]) -> tuple[list[Change], list[str]]:
    """Keep the flux scale of the baseline: where its zero points were 0 in the mean, they are so again."""
    groups: dict[tuple[Any, ...], list[Change]] = {}
    for change in changes:
        if isinstance(change.after, ZeroPointRow):
            groups.setdefault((*change.after.key[1:], change.after.group), []).append(change)
    moved: dict[int, float] = {}
    words = []
    for (filter, pupil, _), members in groups.items():
        kept = [c for c in members if is_kept(c.after, table.baseline)]
        before, after = [c.before.value for c in kept], [c.after.value for c in kept]
        if not kept or abs(np.mean(before)) > _SMALL / 10:
            continue
        mean = float(np.mean(after))
        moved |= dict.fromkeys(map(id, members), mean)
        if abs(mean) > _SMALL / 10:
            words.append(
                f"{filter}+{pupil}: the new calibration changes the flux scale of the baseline {table.baseline} by "
                f"{-1e3 * mean:+z.2f} mmag; the new scale is kept, and its zero points are 0 in the mean again"
            )
    shifted = []
    for change in changes:
        row = change.after
        if isinstance(row, ZeroPointRow) and id(change) in moved:
            change = replace(
                change, after=replace(row, zero_point=round(row.zero_point - moved[id(change)], _DECIMALS))
            )
        shifted.append(change)
    return shifted, words


def _find_validity(table: OffsetTable, new: Calibration, context: str | None) -> Validity:
    """Name the new calibration. Files do not tell their context; flats that are not given are taken to be the same."""
    photom, flat = (tuple(sorted(set(new.names(kind, table)))) for kind in ("photom", "flat"))
    return Validity(context_first=context, context_last=context, photom=photom, flat=flat or table.valid_for.flat)


def _history_line(table: OffsetTable, old: Calibration, new: Calibration, date: str | None) -> str:
    today = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    sources = [", ".join(sorted({path.name for _, path in side.paths})) for side in (old, new)]
    which = f"by PHOTMJSR of {sources[0]}" if old.is_list else f"from {sources[0]} to {sources[1]}"
    at = f", at {date}" if date else ""
    return f"{today}: {table.name} (hash {table.digest}) carried to another calibration, {which}{at}."


def _notes(table: OffsetTable, old: Calibration, rebased: OffsetTable) -> Iterator[str]:
    """Say what could not be checked."""
    if rebased.valid_for.is_empty:
        yield "the new table names no calibration in valid_for, and is applied to any; give --context"
    if not old.flat:
        yield "flats are taken to be the same in both calibrations; if they are not, give --from-flat and --to-flat"
    known = [derived_at(row, detector)[0] for row in table.all_rows for detector in detectors_of(row)]
    if not all(known) and (old.is_list or not table.valid_for.photom):
        yield (
            f"{table.name} does not say at which PHOTMJSR it was derived: check that the old values are those of "
            f"{_calibration_in_words(table)}"
        )


def _calibration_in_words(table: OffsetTable) -> str:
    validity = table.valid_for
    return contexts_in_words(validity) if validity.context_first or validity.context_last else "its calibration"
