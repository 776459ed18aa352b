"""Conversion of a table to another calibration, by both sets of reference files.

A pixel's flux is proportional to PHOTMJSR x PIXAR_SR / flat. With R the ratio of the new to the old, a source has R
times the flux, and z' = z - 2.5 log10(R). Offsets are differences z_A - z_B: they change by the difference of both.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial import legendre

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.calibration import Photom, PhotomLine, ReferenceFile, explain_difference, read_reference
from jwst_modfix.table.file import expand, today
from jwst_modfix.table.formats import read_text_table
from jwst_modfix.table.table import (
    DETECTORS,
    FULL_FRAME,
    Field,
    Gradient,
    OffsetRow,
    OffsetTable,
    Row,
    Validity,
    ZeroPointRow,
    along_focal_plane,
    scale_pixels,
)
from jwst_modfix.table.validity import FOCAL_PLANE, base_name, contexts_in_words, find_means, mjd_of
from jwst_modfix.text import describe_band

LARGEST_REMAINDER = 0.003  # mag rms; what the model of a row cannot hold of a new flat
_SMALL = 1e-4  # mag; a subarray whose shift differs by more from that of the full frame gets a row of its own
_BLOCK = 16  # pixels, about the aperture of a star: flux is summed over it, and single pixels do not count
_LEAST_SHARE = 0.5  # of the detector that two flats must have in common; beyond it a polynomial is extrapolated
_DECIMALS = 7  # of a row's numbers [mag, mag/arcmin], far below any error
_HIGHEST_ORDER = 3  # of the field that a new flat gives
KINDS = ("photom", "flat", "area")


@dataclass(frozen=True)
class Calibration:
    """Reference files of one calibration, the old or the new one."""

    side: str  # from or to, as in the options
    files: tuple[ReferenceFile, ...]
    problems: tuple[str, ...] = ()  # of reading them
    is_list: bool = False  # of values, which names no files

    def option(self, kind: str) -> str:
        """Name the option that gives files of a kind."""
        return "--photmjsr" if self.is_list else f"--{self.side}-{kind}"

    def of_kind(self, kind: str) -> list[ReferenceFile]:
        """List the files of one kind."""
        return [file for file in self.files if file.kind == kind]

    def names(self, kind: str, table: OffsetTable) -> set[str]:
        """Name photom or flat files of a table's detectors; none for a list of values."""
        needed = {detector for row in table.rows for detector in row.detectors}
        return {file.path.name for file in self.of_kind(kind) if file.detector in needed and not self.is_list}

    def find(self, kind: str, row: Row, detector: str) -> list[Any]:
        """Find the files of a kind for a row's detector; one of its band has precedence."""
        mine = [file for file in self.of_kind(kind) if file.fits(row, detector)]
        return [file for file in mine if file.filters and file.pupils] or mine

    def line(self, row: Row, detector: str) -> PhotomLine | None:
        """Find the line of the photom file for a detector of a row."""
        files: list[Photom] = self.find("photom", row, detector)
        return files[0].find(row.filter, row.pupil, row.subarray) if files else None


@dataclass(frozen=True)
class Change:
    """A row before and after; the new one may be of a subarray that had no row."""

    before: Row
    after: Row
    remainder: float | None = None  # what the row cannot hold of the change of the flats [mag rms]; None without flats

    @property
    def is_needed(self) -> bool:
        """Whether a value of the new row differs from 0 by more than its error."""
        row = self.after
        is_clear = row.error is None or abs(row.value) > row.error
        return is_clear or row.field is not None or abs(row.slope or 0.0) > (row.slope_error or 0.0)


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
    """Convert a table to another calibration; refuse all that does not fit at once."""
    # The date replaces each row's own; the context is that of the new files, which do not name it.
    move = _Move(table, old, new, date)
    dropped = [row for row in table.rows if drop_missing and not move.is_known(row)]
    rows = [row for row in table.rows if row not in dropped]
    if not rows:
        raise ReferenceTableError(f"{table.name}: the calibrations have no values for any of its rows")
    if problems := list(move.problems(rows)):
        raise ReferenceTableError(table.name, problems)
    changes = [move.change(row, row) for row in rows]
    changes += [change for row in rows for change in move.change_subarrays(row)]
    if lost := [change for change in changes if (change.remainder or 0.0) > LARGEST_REMAINDER]:
        words = "; ".join(f"{change.after.label}: {1e3 * (change.remainder or 0.0):.1f} mmag rms" for change in lost)
        raise ReferenceTableError(
            f"{table.name}: the flats differ by what these rows cannot hold (limit {1e3 * LARGEST_REMAINDER:g} mmag "
            f"rms): {words}; derive a table on the new calibration"
        )
    changes, moved = _keep_baseline(table, changes)
    lines = [*(f"{row.label}: left out, as a calibration has no values for it" for row in dropped), *moved]
    photom, flat = (tuple(sorted(new.names(kind, table))) for kind in ("photom", "flat"))
    flat = flat or table.valid_for.flat  # flats that are not given are taken to be the same
    rebased = replace(
        table,
        rows=tuple(change.after for change in changes),
        valid_for=Validity(context_first=context, context_last=context, photom=photom, flat=flat),
        name=name,
        meta={**table.meta, "history": [*table.meta.get("history", ()), move.history_line(), *lines]},
    )
    return Rebased(rebased, tuple(changes), (*lines, *_notes(table, old, rebased)))


# ---- reading ----


def read_calibration(side: str, **paths: Sequence[str | Path]) -> Calibration:
    """Read the files of one side, by kind; collect problems, to report all at once."""
    problems: list[str] = []
    files: list[ReferenceFile] = []
    for kind, names in paths.items():
        for path in dict.fromkeys(map(Path, names)):
            try:
                files.append(read_reference(path, kind))
            except ReferenceTableError as error:
                problems.append(str(error))
    return Calibration(side, tuple(files), tuple(problems))


_COLUMNS = ("detector", "filter", "pupil", "from", "to")


def read_values(path: str | Path) -> tuple[Calibration, Calibration]:
    """Read PHOTMJSR of both calibrations from a CSV file in place of photom files."""
    path = expand(path)
    content = read_text_table(path)
    if missing := [name for name in _COLUMNS if name not in content.colnames]:
        raise ReferenceTableError(f"{path}: has no column {', '.join(missing)}; needed are {', '.join(_COLUMNS)}")
    problems: list[str] = []
    lines: dict[str, dict[str, list[PhotomLine]]] = {"from": {}, "to": {}}
    for number, row in enumerate(content, 1):
        detector, filter, pupil = (str(row[name]).strip().upper() for name in _COLUMNS[:3])
        named = str(row["subarray"]).strip().upper() if "subarray" in content.colnames else ""
        subarray = None if named in ("", "--") else named  # "--" is how an empty cell reads
        if detector not in DETECTORS:
            problems.append(f"row {number}: detector must be one of {', '.join(DETECTORS)}, got {detector}")
        for side, found in lines.items():
            value, mine = _positive(row[side]), found.setdefault(detector, [])
            line = PhotomLine(number, filter, pupil, subarray, value or np.nan)
            if value is None:
                problems.append(f"row {number}: {side} must be a positive number, got {row[side]}")
            if any(line.label == other.label for other in mine):
                problems.append(f"row {number}: {detector}, {line.label} has several rows")
            mine.append(line)
    if problems:
        raise ReferenceTableError(str(path), problems)
    files = [[Photom(path=path, detector=d, lines=tuple(of)) for d, of in found.items()] for found in lines.values()]
    return Calibration("from", tuple(files[0]), is_list=True), Calibration("to", tuple(files[1]), is_list=True)


def _magnitude(ratio: float) -> float:
    """Compute the change of a zero point by a ratio of fluxes [mag]."""
    return float(-2.5 * np.log10(ratio))


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


# ---- a table between two calibrations ----


@dataclass(frozen=True)
class _Move:
    """A table, both calibrations, and a date of comparison instead of the rows' own."""

    table: OffsetTable
    old: Calibration
    new: Calibration
    date: str | None

    def __post_init__(self) -> None:
        try:
            self.date is None or mjd_of(self.date)
        except (ValueError, TypeError) as error:  # TypeError: with a time zone
            raise ReferenceTableError(f"--date must be an ISO date such as 2026-03-01, got {self.date}") from error

    def is_known(self, row: Row) -> bool:
        """Test whether both calibrations have values for a row."""
        return all(side.line(row, detector) for side in (self.old, self.new) for detector in row.detectors)

    def mjd(self, row: Row) -> float | None:
        """Find the date at which PHOTMJSR of a row is compared."""
        stated = self.date or row.photmjsr_date
        return None if stated is None else mjd_of(stated)

    # ---- what does not fit ----

    def problems(self, rows: Sequence[Row]) -> Iterator[str]:
        """Find files that are bad, lack values, or are of another calibration."""
        yield from (*self.old.problems, *self.new.problems)
        yield from self._problems_of_files()
        pairs = [(row, detector) for row in rows for detector in row.detectors]
        for row, detector in pairs:
            yield from self._problems_of_row(row, detector)
        for kind in ("photom", "flat"):
            if of_others := list(self._of_other_calibrations(self.old, kind, pairs)):
                yield from of_others
                if self.new.of_kind(kind) and not any(self._of_other_calibrations(self.new, kind, pairs)):
                    what = "values" if self.new.is_list else f"{kind} files"
                    yield f"the new {what} are those of the table: the order is wrong"

    def _problems_of_files(self) -> Iterator[str]:
        for side in (self.old, self.new):  # of all files: a row that only the second one has must not be left out
            for one, other in combinations(side.of_kind("photom"), 2):
                if one.detector == other.detector:
                    names = f"{one.path.name} and {other.path.name}"
                    yield f"{side.option('photom')}: {names} are of one detector, {one.detector}; give one of them"
        for kind in KINDS:
            files = [side.of_kind(kind) for side in (self.old, self.new)]
            if any(files) != all(files) or (kind == "photom" and not any(files)):
                yield f"needs both --from-{kind} and --to-{kind}"
            for one, other in () if self.old.is_list else combinations(chain(*files), 2):
                if one.path.name == other.path.name and not filecmp.cmp(one.path, other.path, shallow=False):
                    yield (
                        f"{one.path} and {other.path} have one name and different contents; files of CRDS do not "
                        "change: rename yours"
                    )

    def _problems_of_row(self, row: Row, detector: str) -> Iterator[str]:
        for kind, side in ((kind, side) for kind in KINDS for side in (self.old, self.new)):
            found, option = side.find(kind, row, detector), side.option(kind)
            if len(found) > 1 and kind != "photom":
                names = " and ".join(file.path.name for file in found)
                yield f"{option}: {names} are both of {detector} for {row.label}; give one of them"
            elif found and (words := self._lack(found[0], row)):
                yield f"{option}: {found[0].path.name}{words}"
            elif not found and (kind == "photom" or (self.old.of_kind(kind) and self.new.of_kind(kind))):
                yield f"{option} has no {'values' if side.is_list else 'file'} of {detector}, which {row.label} needs"
        files = [file for side in (self.old, self.new) for file in side.find("photom", row, detector)]
        values = [value for file in files if (value := _positive(file.pixar_sr))]
        if not self.old.of_kind("area") and len(values) == 2 and abs(_magnitude(values[1] / values[0])) > _SMALL:
            yield (
                f"PIXAR_SR of the photom files of {detector} differs "
                f"({1e3 * _magnitude(values[1] / values[0]):+z.1f} mmag), and exposures have that of the area files; "
                "give --from-area and --to-area"
            )

    def _lack(self, file: ReferenceFile, row: Row) -> str | None:
        """Find what a file lacks for a row; the words follow its name."""
        if file.kind == "area" and not _positive(file.pixar_sr):
            return f": PIXAR_SR must be positive, got {file.pixar_sr}"
        if not isinstance(file, Photom):
            return None
        line = file.find(row.filter, row.pupil, row.subarray)
        if line is None:
            return f" has no row of {file.detector} for {row.label}"
        if line.losses and self.mjd(row) is None:
            return f" corrects for time, and {row.label} has no date; give --date"
        if not _positive(value := line.at(self.mjd(row))):
            return f": PHOTMJSR of {file.detector}, {line.label} must be positive, got {value:g}"
        return None

    def _of_other_calibrations(self, side: Calibration, kind: str, pairs: Sequence[tuple[Row, str]]) -> Iterator[str]:
        """Find files and values that are not those of the table and its rows."""
        allowed = {base_name(name) for name in getattr(self.table.valid_for, kind)}
        if allowed and (strange := side.names(kind, self.table) - allowed):
            names = ", ".join(sorted(strange)), ", ".join(sorted(allowed))
            yield f"{side.option(kind)} is {names[0]}, but the table is valid for {names[1]}"
        for row, detector in pairs if kind == "photom" else ():
            name = base_name(row.of_detector("photom", detector))
            for file in side.find("photom", row, detector):
                line = file.find(row.filter, row.pupil, row.subarray)
                if line and name and not side.is_list and name != file.path.name:
                    yield f"{side.option('photom')} is {file.path.name}, but {row.label} was derived with {name}"
                elif line and (words := explain_difference(file, line, row)):
                    yield f"{side.option('photom')}: {detector}: {words}"

    # ---- rows ----

    def shift(self, row: Row) -> float:
        """Compute -2.5 log10(R) of PHOTMJSR and PIXAR_SR, of an offset A - B [mag]."""
        mjd, ratio = self.mjd(row), 1.0
        for detector, sign in zip(row.detectors, (1, -1), strict=False):
            for side, power in ((self.new, sign), (self.old, -sign)):
                ratio *= side.line(row, detector).at(mjd) ** power  # type: ignore[union-attr]
                for area in side.find("area", row, detector):
                    ratio *= float(area.pixar_sr or 1.0) ** power
        return _magnitude(ratio)

    def change(self, before: Row, row: Row) -> Change:
        """Carry a row, the one before or its copy for a subarray, to the new calibration."""
        values: dict[str, Any] = {}
        mean, remainder = 0.0, None
        maps = [blocks for name in row.detectors if (blocks := self._change_of_pixels(row, name)) is not None]
        if maps and isinstance(row, ZeroPointRow):
            mean, values, remainder = _project_field(row, *maps)
        elif maps and isinstance(row, OffsetRow):
            mean, values, remainder = _project_offset(row, self.table, *maps)
        values[row.kind] = round(row.value + self.shift(row) + mean, _DECIMALS)
        lines = [line for detector in row.detectors if (line := self.new.line(row, detector))]
        names = [file.path.name for detector in row.detectors for file in self.new.find("photom", row, detector)]
        after = replace(
            row,
            **values,
            photmjsr=row.by_detector([float(f"{line.at(self.mjd(row)):.7g}") for line in lines]),
            photmjsr_date=self.date or row.photmjsr_date,
            photom=None if self.new.is_list else row.by_detector(names),
        )
        return Change(before, after, remainder)

    def change_subarrays(self, row: Row) -> Iterator[Change]:
        """Add rows for subarrays whose shift differs from that of the full frame."""
        if row.subarray is not None:
            return
        found = (side.find("photom", row, name) for side in (self.old, self.new) for name in row.detectors)
        lines = (line for files in found for file in files for line in file.lines)
        named = {line.subarray for line in lines if (line.filter, line.pupil) == row.band}
        named -= {other.subarray for other in self.table.rows if other.key == row.key} | {None, "FULL", ""}
        full = self.shift(row)
        for subarray in sorted(named):
            part = replace(row, subarray=subarray)
            if self.is_known(part) and abs(self.shift(part) - full) > _SMALL:
                yield self.change(row, part)

    def _change_of_pixels(self, row: Row, detector: str) -> _Blocks | None:
        """Compute -2.5 log10 of new over old AREA / flat; None without such files."""
        changes = []
        for kind, sign in (("flat", 1), ("area", -1)):
            pair = [image.read() for side in (self.old, self.new) for image in side.find(kind, row, detector)]
            changes += [sign * 2.5 * np.log10(after / before) for before, after in pairwise(pair)]
        if not changes:
            return None
        count = FULL_FRAME // _BLOCK
        blocks = np.sum(changes, axis=0).reshape(count, _BLOCK, count, _BLOCK).swapaxes(1, 2).reshape(count, count, -1)
        good = np.isfinite(blocks).mean(axis=-1) >= 0.5
        if (share := good.mean()) < _LEAST_SHARE:
            raise ReferenceTableError(
                f"flat or area files of {detector} for {row.label}: both have good pixels in only {100 * share:.0f}% "
                f"of the detector, less than {100 * _LEAST_SHARE:.0f}%; give files of the full frame"
            )
        centres = np.arange(count) * _BLOCK + (_BLOCK - 1) / 2
        y, x = (grid[good] for grid in np.meshgrid(centres, centres, indexing="ij"))
        return _Blocks(detector, x, y, np.nanmedian(blocks[good], axis=-1))

    def history_line(self) -> str:
        """Describe the change for the history of the new table."""
        old, new = (", ".join(sorted({file.path.name for file in side.files})) for side in (self.old, self.new))
        which = f"by PHOTMJSR of {old}" if self.old.is_list else f"from {old} to {new}"
        at = f", at {self.date}" if self.date else ""
        return f"{today()}: {self.table.name} (hash {self.table.digest}) carried to another calibration, {which}{at}."


# ---- flats and area maps, over the pixels of a detector ----


@dataclass(frozen=True)
class _Blocks:
    """Change of zero-point error over a detector: medians of good pixels in blocks."""

    detector: str
    x: np.ndarray  # centres of blocks, 0-indexed pixels of the full frame
    y: np.ndarray
    change: np.ndarray  # mag


def _project_field(row: ZeroPointRow, blocks: _Blocks) -> tuple[float, dict[str, Any], float]:
    """Find the mean change and the new field, and the rms that both leave."""
    own = np.zeros((1, 1)) if row.field is None else row.field.matrix
    fits = [_fit_legendre(blocks, order) for order in range(len(own) - 1, max(len(own) - 1, _HIGHEST_ORDER) + 1)]
    # The lowest order with residuals as small as the highest order: flats that differ by a constant give no field.
    matrix, remainder = next((one, rms) for one, rms in fits if rms <= fits[-1][1] + _SMALL)
    matrix[: len(own), : len(own)] += own
    mean, matrix[0, 0] = float(matrix[0, 0]), 0.0
    field = Field.from_matrix(matrix.round(_DECIMALS)) if len(matrix) > 1 else row.field
    return mean, {"field": field}, remainder


def _fit_legendre(blocks: _Blocks, order: int) -> tuple[np.ndarray, float]:
    """Fit polynomials P_i(xi) P_j(eta), i + j <= order: coefficients, residual rms."""
    is_term = np.add.outer(range(order + 1), range(order + 1)) <= order
    every = legendre.legvander2d(scale_pixels(blocks.x), scale_pixels(blocks.y), [order, order])
    matrix = np.zeros(is_term.shape)
    matrix[is_term], rms = _solve(every[:, is_term.ravel()], blocks.change)
    return matrix, rms


def _project_offset(
    row: OffsetRow, table: OffsetTable, first: _Blocks, second: _Blocks
) -> tuple[float, dict[str, Any], float]:
    """Find the change of the offset and of the slope, if any, common to both modules."""
    change = np.concatenate([first.change, second.change])
    is_first = np.arange(len(change)) < len(first.change)
    design = np.stack([is_first, ~is_first], axis=-1).astype(float)
    gradient = table.gradient
    if row.slope is None or gradient is None or gradient.exposure_share == 0:
        (z_a, z_b), rms = _solve(design, change)
        return float(z_a - z_b), {}, rms
    if gradient.frame == "sky":
        raise ReferenceTableError(
            f"{row.label}: flats are fixed to the detector and the slope of this row to the sky (gradient.frame), so "
            "it cannot hold their change; derive a table anew"
        )
    u = np.concatenate([_along(blocks, gradient, table.direction(row)) for blocks in (first, second)])
    (z_a, z_b, steeper), rms = _solve(np.column_stack([design, u]), change)
    slope = round(row.slope + float(steeper) / gradient.exposure_share, _DECIMALS)
    return float(z_a - z_b), {"slope": slope}, rms


def _solve(design: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, float]:
    found = np.linalg.lstsq(design, change, rcond=None)[0]
    return found, float(np.sqrt(np.mean((change - design @ found) ** 2)))


def _along(blocks: _Blocks, gradient: Gradient, direction: float) -> np.ndarray:
    """Compute the coordinate u along a gradient [arcmin]."""
    centre, along_x, along_y = FOCAL_PLANE[blocks.detector]
    if gradient.frame == "detector":
        x, y = blocks.x - gradient.origin[0], blocks.y - gradient.origin[1]
        angle = np.radians(direction)
        return np.asarray((x * np.hypot(*along_x) * np.cos(angle) + y * np.hypot(*along_y) * np.sin(angle)) / 60)
    x, y = (pixel - (FULL_FRAME - 1) / 2 for pixel in (blocks.x, blocks.y))
    v2, v3 = (centre[axis] + x * along_x[axis] + y * along_y[axis] for axis in (0, 1))
    return along_focal_plane(v2, v3, gradient.origin, direction)


# ---- the table as a whole ----


def _keep_baseline(table: OffsetTable, changes: list[Change]) -> tuple[list[Change], list[str]]:
    """Keep the baseline's flux scale: a mean zero point of 0 stays 0."""
    before = find_means(dict.fromkeys(change.before for change in changes), table.baseline)
    after = find_means([change.after for change in changes], table.baseline)
    moved = {scale: mean for scale, mean in after.items() if abs(before[scale]) <= _SMALL / 10}
    words = [
        f"{describe_band(filter, pupil)}: the new calibration changes the flux scale of the baseline {table.baseline} "
        f"by {-1e3 * mean:+z.2f} mmag; the new scale is kept, and its zero points are 0 in the mean again"
        for (filter, pupil, _), mean in moved.items()
        if abs(mean) > _SMALL / 10
    ]
    shifted = []
    for change in changes:
        row = change.after
        if isinstance(row, ZeroPointRow) and row.scale in moved:
            row = replace(row, zero_point=round(row.zero_point - moved[row.scale], _DECIMALS))
        shifted.append(replace(change, after=row))
    return shifted, words


def _notes(table: OffsetTable, old: Calibration, rebased: OffsetTable) -> Iterator[str]:
    """Say what could not be checked."""
    if rebased.valid_for.is_empty:
        yield "the new table names no calibration in valid_for, and is applied to any; give --context"
    if not old.of_kind("flat"):
        yield "flats are taken to be the same in both calibrations; if they are not, give --from-flat and --to-flat"
    if not all(row.photmjsr for row in table.rows) and (old.is_list or not table.valid_for.photom):
        yield (
            f"{table.name} does not say at which PHOTMJSR it was derived: check that the old values are those of "
            f"{contexts_in_words(table.valid_for) or 'its calibration'}"
        )
