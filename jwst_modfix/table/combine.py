"""Tables edited, merged and compared."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table import file
from jwst_modfix.table.rules import check, context_number, schema_of
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable, Row, Validity, ZeroPointRow, legendre_rms
from jwst_modfix.table.validity import contexts_in_words, find_means, find_mismatch, is_kept

_SMALL_SHIFT = 1e-5  # mag; shifts of m_sys below this are far below any error of an offset


# ---- editing ----


def edit_row(
    path: str | Path, key: Mapping[str, str], changes: Mapping[str, float], output: str | Path | None = None
) -> tuple[str, OffsetTable]:
    """Change or add a row, with a line in the file's history: line and new table."""
    # The key has an array or a detector, a filter, a pupil and, for a row of one subarray only, a subarray.
    path = file.expand(path, is_table=True)
    target = file.check_target(output) if output else path
    file.refuse_packaged(target)
    kind = OffsetRow if "array" in key else ZeroPointRow
    problems: list[str] = []
    for field, rule in schema_of(*kind.path)["properties"].items():
        if field in key:
            check(key[field], rule, f"--{field}", problems)
    if problems:
        raise ReferenceTableError(str(path), problems)
    identity = (key[kind.part], key["filter"], key["pupil"], key.get("subarray", ""))
    if mismatch := find_mismatch(*identity, form="--{} {}", joint=" "):
        raise ReferenceTableError(f"{path}: no exposure can match this row: {mismatch}")
    plain, document = file.read_tree(path), file.TableText(path)
    rows = [row for row in file.table_from_tree(plain, str(path)).rows if isinstance(row, kind)]
    row = next((row for row in rows if row.identity == identity), None)
    new = {name: value for name, value in changes.items() if row is None or getattr(row, name) != value}
    if row and not new:
        raise ReferenceTableError(f"{path}: {row.label} has these values already; nothing to change")
    line, block = _history_line(key, row, new), f"{kind.kind}s"
    for tree, put in ((plain, _put), (document.tree, document.put)):
        if row is None:
            put(tree, block, [{**key, **new}])
        for name, value in new.items() if row else ():
            put(tree[block][rows.index(row)], name, value)
        put(tree["meta"], "history", [line])
        if "schema_version" in tree["meta"] and (version := file.needed_version(plain)) != "1.0.0":
            put(tree["meta"], "schema_version", version)
    return line, document.write(target, plain)


def _put(parent: dict[str, Any], key: str, value: Any) -> None:
    """Set a value of a mapping, or append to a list in it."""
    parent[key] = parent.get(key, []) + value if isinstance(value, list) else value


def _history_line(key: Mapping[str, str], row: Row | None, new: Mapping[str, float]) -> str:
    units = {"slope": "mag/arcmin", "slope_error": "mag/arcmin", "direction": "deg"}
    words = ", ".join(
        f"{name} " + (f"{getattr(row, name)} -> " if row else "") + f"{value!r} {units.get(name, 'mag')}"
        for name, value in new.items()
    )
    verb = "changed" if row else "added"
    label = ", ".join(f"{name}={value}" for name, value in key.items())
    return f"{file.today()}, by hand: {verb} row ({label}), {words}."


# ---- conventions of the gradient ----


def _convert_row(row: Row, table: OffsetTable, gradient: Gradient | None) -> Row:
    """Express a row's slope in another gradient; its offset does not change."""
    own = table.gradient
    if row.slope is None or row.slope_error is None or own is None or gradient is None:  # so, too, a zero point
        return row
    if own.frame != gradient.frame:
        raise ReferenceTableError(
            f"{table.name}: {row.label}: its gradient is fixed to the {own.frame} and the other table's to the "
            f"{gradient.frame}; slopes in these frames cannot be converted"
        )
    factor, direction = 1.0, table.direction(row)
    if own.exposure_share != gradient.exposure_share:
        if 0 in (own.exposure_share, gradient.exposure_share):
            raise ReferenceTableError(f"{table.name}: {row.label}: its slope cannot be converted: exposure_share is 0")
        factor = own.exposure_share / gradient.exposure_share
    own_direction = None if direction == gradient.direction else direction
    return replace(row, slope=factor * row.slope, slope_error=factor * row.slope_error, direction=own_direction)


def _origin_shift(row: Row, table: OffsetTable, gradient: Gradient | None) -> float:
    """Find the largest common shift of m_sys [mag] between two origins of gradients."""
    own = table.gradient
    if row.slope is None or own is None or gradient is None or own.origin == gradient.origin:
        return 0.0
    if own.frame != "focal_plane":
        return math.inf
    return abs(table.exposure_gradient(row)) * math.dist(own.origin, gradient.origin) / 60


# ---- merging ----


def merge_tables(
    tables: Sequence[OffsetTable], *, prefer: str | None = None, baseline: str | None = None,
    validity: str = "intersection", name: str = "merged",
) -> OffsetTable:  # fmt: skip
    """Join the rows and the metadata of tables."""
    gradient = next((table.gradient for table in tables if table.gradient is not None), None)
    rows: dict[tuple[str, ...], tuple[Row, OffsetTable]] = {}
    baseline = baseline or _common_baseline(tables)
    for table in tables:
        for row in in_baseline(table, baseline):
            if row.identity in rows and prefer is None:
                other = rows[row.identity][1].name
                raise ReferenceTableError(
                    f"{row.label} is in {other} and in {table.name}; choose with prefer first or last"
                )
            if row.identity not in rows or prefer == "last":
                rows[row.identity] = (row, table)
    _refuse_mixtures(rows.values(), baseline)
    converted = []
    for row, table in rows.values():
        converted.append(_convert_row(row, table, gradient))
        if gradient and table.gradient and _origin_shift(row, table, gradient) > _SMALL_SHIFT:
            raise ReferenceTableError(
                f"{table.name}: {row.label}: its gradient's origin {table.gradient.origin} is not the first table's "
                f"{gradient.origin}, and one table has one origin"
            )
    options = {"prefer": prefer, "baseline": baseline, "validity": validity}
    chosen = "".join(f"; {option} {value}" for option, value in options.items() if value)
    known = {"valid_for": _merge_validity(tables, validity), "meta": _merge_meta(tables, chosen)}
    return OffsetTable(rows=converted, baseline=baseline, gradient=gradient, name=name, **known)


def _merge_meta(tables: Sequence[OffsetTable], chosen: str) -> dict[str, Any]:
    sources = ", ".join(f"{table.name} (hash {table.digest})" for table in tables)
    history = [f"{table.name}: {line}" for table in tables for line in table.meta.get("history", ())]
    history.append(f"{file.today()}: merged of {sources}{chosen}.")
    meta: dict[str, Any] = {"description": f"Rows of {', '.join(table.name for table in tables)}"}
    for name in ("author", "pedigree"):
        if found := dict.fromkeys(table.meta[name] for table in tables if name in table.meta):
            meta[name] = "; ".join(found)
    if dates := [table.meta["useafter"] for table in tables if "useafter" in table.meta]:
        meta["useafter"] = max(dates)
    meta["history"] = history
    if derivations := {table.name: table.meta["derivation"] for table in tables if "derivation" in table.meta}:
        meta["derivation"] = {"tables": derivations}
    return meta


def in_baseline(table: OffsetTable, baseline: str | None) -> list[Row]:
    """Express zero points relative to a baseline: the mean of its detectors is 0."""
    # A group without a detector of the baseline keeps its own scale. Errors and offsets do not change.
    if baseline in (table.baseline, None):
        return list(table.rows)
    means = find_means(table.rows, baseline)
    known = {(filter, pupil) for filter, pupil, _ in means}
    if lacking := dict.fromkeys(row.band for row in table.zero_points if row.band not in known):
        words = "; ".join(f"filter {filter}, pupil {pupil}" for filter, pupil in lacking)
        raise ReferenceTableError(
            f"{table.name}: {words}: no zero point of baseline {baseline}, so they cannot be converted from baseline "
            f"{table.baseline}"
        )
    moved = [replace(row, zero_point=row.zero_point - means.get(row.scale, 0.0)) for row in table.zero_points]
    return [*table.offsets, *moved]


def _refuse_mixtures(rows: Iterable[tuple[Row, OffsetTable]], baseline: str | None) -> None:
    """Refuse a filter and pupil with two kinds of rows, or zero points on two scales."""
    found: dict[tuple[str, str], list[tuple[Row, OffsetTable]]] = {}
    for row, table in rows:
        found.setdefault(row.band, []).append((row, table))
    for (filter, pupil), members in found.items():
        tables = list({id(table): table for _, table in members}.values())  # two may have one name
        if len(tables) < 2:
            continue
        band, names = f"filter {filter}, pupil {pupil}", " and ".join(table.name for table in tables)
        if len({row.kind for row, _ in members}) > 1:
            raise ReferenceTableError(
                f"{band}: offsets and zero points, in {names}; give rows of one kind: remove the others from one table"
            )
        if problem := _find_two_scales(tables, (filter, pupil), baseline):
            raise ReferenceTableError(f"{band}: zero points of {names} have no common scale: {problem}")


def _find_two_scales(tables: Sequence[OffsetTable], band: tuple[str, str], baseline: str | None) -> str | None:
    """Find why zero points are not on one scale: other detectors, or several groups."""
    points = [(one.name, rows) for one in tables if (rows := [row for row in one.zero_points if row.band == band])]
    kept = [(name, sorted(row.detector for row in rows if is_kept(row, baseline))) for name, rows in points]
    if lacking := [name for name, detectors in kept if not detectors]:
        return f"{lacking[0]} has none of baseline {baseline}"
    if any(detectors != kept[0][1] for _, detectors in kept):
        words = ", and of ".join(f"{', '.join(detectors)} in {name}" for name, detectors in kept)
        return f"baseline {baseline} is the mean of {words}; give a detector of both as the baseline"
    groups = [(name, sorted({str(row.group) for row in rows})) for name, rows in points]
    if len({group for _, found in groups for group in found}) > 1:
        words = ", ".join(f"{name} has group {' and '.join(found)}" for name, found in groups)
        return f"{words}, and groups of linked detectors have scales of their own"
    return None


def _common_baseline(tables: Sequence[OffsetTable]) -> str | None:
    found = {table.baseline: table.name for table in reversed(tables)}
    if len(found) > 1:
        words = ", ".join(f"{name} has baseline {baseline}" for baseline, name in found.items())
        raise ReferenceTableError(
            f"{words}; choose one baseline for all: offsets z_A - z_B do not change, zero points are converted"
        )
    return tables[0].baseline


def _merge_validity(tables: Sequence[OffsetTable], which: str) -> Validity:
    """Find the calibrations of all tables, or of any; a table allows what it omits."""
    found: dict[str, Any] = {}
    ends = {"context_first": (max, min), "context_last": (min, max)}
    for name in ("context_first", "context_last", "photom", "flat"):
        given = [value for table in tables if (value := getattr(table.valid_for, name))]
        if not given or (which == "union" and len(given) < len(tables)):
            continue
        if name in ends:
            found[name] = ends[name][which == "union"](given, key=context_number)
        else:
            names = dict.fromkeys(itertools.chain(*given))
            found[name] = tuple(item for item in names if which == "union" or all(item in one for one in given))
    first, last = (context_number(found.get(name)) for name in ends)
    lacking = ["context"] if first and last and first > last else [name for name, value in found.items() if not value]
    if lacking:
        name, words = lacking[0], []
        for table in tables:
            of = table.valid_for
            allowed = contexts_in_words(of) if name == "context" else ", ".join(getattr(of, name))
            words.append(f"{table.name} is valid for {allowed or 'any'}")
        raise ReferenceTableError(
            f"valid_for.{name}: none in common ({'; '.join(words)}), and validity holds for a whole table. Files of "
            "different detectors or filters always differ: join all names with validity 'union'"
        )
    return Validity(**found)


# ---- comparing ----


@dataclass(frozen=True)
class Difference:
    """Second minus first value, errors in quadrature; None for an unknown error."""

    value: float
    error: float | None

    @classmethod
    def of(cls, first: tuple[float, float | None], second: tuple[float, float | None]) -> "Difference":
        """Subtract a value and its error from another."""
        (one, error), (other, its_error) = first, second
        return cls(other - one, None if error is None or its_error is None else math.hypot(error, its_error))

    @property
    def sigmas(self) -> float:
        """Difference over its error: inf for an error of 0, NaN for an unknown one."""
        if self.error is None:
            return math.nan
        if self.error > 0:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


@dataclass(frozen=True)
class RowPair:
    """Rows of one key in two tables, the second in the conventions of the first."""

    first: Row
    second: Row
    value: Difference  # mag
    slope: Difference | None = None  # mag/arcmin; None where not both rows have one
    field: float = 0.0  # mag, rms over the detector of the difference of the fields


@dataclass(frozen=True)
class Comparison:
    """Rows that both tables have, rows that one has, and notes on conversions."""

    pairs: tuple[RowPair, ...]
    only_first: tuple[Row, ...]
    only_second: tuple[Row, ...]
    notes: tuple[str, ...]


def compare_tables(first: OffsetTable, second: OffsetTable) -> Comparison:
    """Compare two tables row by row."""
    bands = {row.band for row in first.zero_points}
    shared, others = ([row for row in second.rows if (row.band in bands) == is_in] for is_in in (True, False))
    second = replace(second, rows=[*others, *in_baseline(replace(second, rows=shared), first.baseline)])
    mine, theirs = ({row.identity: row for row in table.rows} for table in (first, second))
    pairs = [(mine[key], theirs[key]) for key in mine if key in theirs]
    return Comparison(
        pairs=tuple(_compare(first, one, second, other) for one, other in pairs),
        only_first=tuple(row for key, row in mine.items() if key not in theirs),
        only_second=tuple(row for key, row in theirs.items() if key not in mine),
        notes=tuple(_notes(first, second, [pair for pair in pairs if pair[0].kind == "offset"])),
    )


def _compare(first: OffsetTable, one: Row, second: OffsetTable, other: Row) -> RowPair:
    value, slope = Difference.of((one.value, one.error), (other.value, other.error)), None
    if isinstance(one, OffsetRow) and isinstance(other, OffsetRow) and None not in (one.slope, other.slope):
        wanted, found = first.direction(one), second.direction(other)
        other = _convert_row(other, second, first.gradient)
        sign = {0.0: 1.0, 180.0: -1.0}.get(round(found - wanted, 6) % 360)
        if sign is None:
            raise ReferenceTableError(
                f"{other.label}: one gradient points to {wanted:g} deg and the other to {found:g} deg; slopes along "
                "different directions cannot be compared"
            )
        other = replace(other, slope=sign * other.slope, direction=wanted)
        slope = Difference.of((one.slope, one.slope_error), (other.slope, other.slope_error))
    fields = [np.zeros((1, 1)) if row.field is None else row.field.matrix for row in (one, other)]
    side = max(map(len, fields))
    before, after = (np.pad(matrix, (0, side - len(matrix))) for matrix in fields)
    return RowPair(one, other, value, slope, legendre_rms(after - before))


def _notes(first: OffsetTable, second: OffsetTable, shared: Sequence[tuple[Row, Row]]) -> Iterator[str]:
    if first.baseline != second.baseline and shared:
        yield f"baselines {first.baseline} and {second.baseline}: an offset is z_A - z_B in both, not converted"
    if first.baseline != second.baseline and second.zero_points:
        done = "zero points are not converted" if first.baseline is None else "zero points are converted to the first"
        yield f"baselines {first.baseline} and {second.baseline}: {done}"
    for filter, pupil in dict.fromkeys(row.band for row in first.zero_points if first.baseline is not None):
        if problem := _find_two_scales([first, second], (filter, pupil), first.baseline):
            yield f"filter {filter}, pupil {pupil}: the differences contain an arbitrary constant: {problem}"
    kinds = [{row.band for row in rows} for table in (first, second) for rows in (table.offsets, table.zero_points)]
    for filter, pupil in sorted((kinds[0] & kinds[3]) | (kinds[1] & kinds[2])):
        yield f"filter {filter}, pupil {pupil}: one table has offsets and the other zero points; not compared"
    both = [(one, other) for one, other in shared if one.slope is not None and other.slope is not None]
    one, other = first.gradient, second.gradient
    if both and one and other and one.exposure_share != other.exposure_share:
        yield (
            f"exposure_share {one.exposure_share:g} and {other.exposure_share:g}: slopes of {second.name} are "
            f"converted to that of {first.name}"
        )
    shift = max((_origin_shift(row, second, one) for _, row in both), default=0.0)
    if shift > _SMALL_SHIFT:
        size = f"by up to {1e3 * shift:.2f} mmag" if math.isfinite(shift) else "by an unknown amount"
        yield f"the gradients' origins differ: that shifts both modules alike, {size}, and is not in this comparison"
    if first.valid_for != second.valid_for:
        yield "the tables are valid for different calibrations, which may be the cause of a difference"
    yield "sigmas: errors in quadrature, right for independent tables; tables from the same exposures differ by less"
