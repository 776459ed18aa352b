"""Tables merged and compared."""

import datetime
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.rules import context_number
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable, Validity
from jwst_modfix.table.validity import contexts_in_words

_SMALL_SHIFT = 1e-5  # mag; shifts of m_sys below this are far below any error of an offset


# ---- conventions of the gradient ----


def _convert_row(row: OffsetRow, table: OffsetTable, gradient: Gradient | None) -> OffsetRow:
    """Express a row's slope in the frame and share of another gradient. Offsets are z_A - z_B in every baseline."""
    own = table.gradient
    if row.slope is None or row.slope_error is None or own is None or gradient is None:
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


def _turn_row(row: OffsetRow, own: float, direction: float) -> OffsetRow:
    """Express a row's slope along another direction, which may be the opposite."""
    sign = {0.0: 1.0, 180.0: -1.0}.get(round(own - direction, 6) % 360)
    if sign is None:
        raise ReferenceTableError(
            f"{row.label}: one gradient points to {direction:g} deg and the other to {own:g} deg; slopes along "
            "different directions cannot be compared"
        )
    return replace(row, slope=None if row.slope is None else sign * row.slope, direction=direction)


def _origin_shift(row: OffsetRow, table: OffsetTable, gradient: Gradient | None) -> float:
    """Largest shift of m_sys [mag], the same in both modules, that another origin of the gradient makes."""
    own = table.gradient
    if row.slope is None or own is None or gradient is None or own.origin == gradient.origin:
        return 0.0
    if own.frame != "focal_plane":
        return math.inf
    return abs(table.exposure_gradient(row)) * math.dist(own.origin, gradient.origin) / 60


# ---- merging ----


def merge_tables(
    tables: Sequence[OffsetTable],
    *,
    prefer: str | None = None,
    baseline: str | None = None,
    validity: str = "intersection",
    name: str = "merged",
) -> OffsetTable:
    """Join the rows and the metadata of tables."""
    gradient = next((table.gradient for table in tables if table.gradient is not None), None)
    rows: dict[tuple[str, str, str], tuple[OffsetRow, OffsetTable]] = {}
    for table in tables:
        for row in table.rows:
            if row.key in rows and prefer is None:
                raise ReferenceTableError(
                    f"{row.label} is in {rows[row.key][1].name} and in {table.name}; choose with prefer first or last"
                )
            if row.key not in rows or prefer == "last":
                rows[row.key] = (row, table)
    options = {"prefer": prefer, "baseline": baseline, "validity": validity}
    chosen = "".join(f"; {option} {value}" for option, value in options.items() if value)
    return OffsetTable(
        rows=tuple(_with_gradient(row, table, gradient) for row, table in rows.values()),
        baseline=baseline or _common_baseline(tables),
        gradient=gradient,
        valid_for=_merge_validity(tables, validity),
        name=name,
        meta=_merge_meta(tables, chosen),
    )


def _merge_meta(tables: Sequence[OffsetTable], chosen: str) -> dict[str, Any]:
    sources = ", ".join(f"{table.name} (hash {table.digest})" for table in tables)
    history = [f"{table.name}: {line}" for table in tables for line in table.meta.get("history", ())]
    history.append(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}: merged of {sources}{chosen}.")
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


def _with_gradient(row: OffsetRow, table: OffsetTable, gradient: Gradient | None) -> OffsetRow:
    converted = _convert_row(row, table, gradient)
    if gradient and table.gradient and _origin_shift(row, table, gradient) > _SMALL_SHIFT:
        raise ReferenceTableError(
            f"{table.name}: {row.label}: its gradient's origin {table.gradient.origin} is not the first table's "
            f"{gradient.origin}, and one table has one origin"
        )
    return converted


def _common_baseline(tables: Sequence[OffsetTable]) -> str:
    found = {table.baseline: table.name for table in reversed(tables)}
    if len(found) > 1:
        words = ", ".join(f"{name} has baseline {baseline}" for baseline, name in found.items())
        raise ReferenceTableError(f"{words}; choose one baseline for all: offsets z_A - z_B do not change")
    return tables[0].baseline


def _merge_validity(tables: Sequence[OffsetTable], which: str) -> Validity:
    """Find the calibrations that all tables are valid for, or that any is; a table allows what it does not name."""
    found: dict[str, Any] = {}
    choose = {
        "context_first": (max, min),
        "context_last": (min, max),
        "photom": (_common, _all),
        "flat": (_common, _all),
    }
    for name, (narrow, widen) in choose.items():
        given = [value for table in tables if (value := getattr(table.valid_for, name))]
        key = {"key": context_number} if name.startswith("context") else {}
        if given and which == "intersection":
            found[name] = narrow(given, **key)
        elif len(given) == len(tables):
            found[name] = widen(given, **key)
    first, last = found.get("context_first"), found.get("context_last")
    if first and last and (context_number(first) or 0) > (context_number(last) or 0):
        raise _no_common("context", [(table.name, contexts_in_words(table.valid_for)) for table in tables])
    for kind in ("photom", "flat"):
        if kind in found and not found[kind]:
            raise _no_common(kind, [(table.name, ", ".join(getattr(table.valid_for, kind))) for table in tables])
    return Validity(**found)


def _common(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(name for name in lists[0] if all(name in other for other in lists))


def _all(lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(itertools.chain(*lists)))


def _no_common(kind: str, named: Iterable[tuple[str, str]]) -> ReferenceTableError:
    words = "; ".join(f"{name} is valid for {calibrations or 'any'}" for name, calibrations in named)
    return ReferenceTableError(
        f"valid_for.{kind}: none in common ({words}), and validity holds for a whole table. Files of different "
        "detectors or filters always differ: join all names with validity 'union'"
    )


# ---- comparing ----


@dataclass(frozen=True)
class Difference:
    """Second value minus first, with the errors in quadrature."""

    value: float
    error: float

    @property
    def sigmas(self) -> float:
        """The difference over its error; 0 for no difference, infinite where there is no error."""
        if self.error > 0:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


@dataclass(frozen=True)
class RowPair:
    """One array, filter and pupil in both tables, the second slope in the conventions of the first table."""

    first: OffsetRow
    second: OffsetRow
    offset: Difference  # mag
    slope: Difference | None  # mag/arcmin; None where not both rows have one


@dataclass(frozen=True)
class Comparison:
    """Rows that both tables have, rows that one has, and notes on conversions."""

    pairs: tuple[RowPair, ...]
    only_first: tuple[OffsetRow, ...]
    only_second: tuple[OffsetRow, ...]
    notes: tuple[str, ...]


def compare_tables(first: OffsetTable, second: OffsetTable) -> Comparison:
    """Compare two tables row by row."""
    shared = [(row, other) for row in first.rows if (other := second.row(*row.key)) is not None]
    return Comparison(
        pairs=tuple(_compare(first, one, second, other) for one, other in shared),
        only_first=tuple(row for row in first.rows if second.row(*row.key) is None),
        only_second=tuple(row for row in second.rows if first.row(*row.key) is None),
        notes=tuple(_notes(first, second, shared)),
    )


def _compare(first: OffsetTable, one: OffsetRow, second: OffsetTable, other: OffsetRow) -> RowPair:
    offset = Difference(other.offset - one.offset, math.hypot(one.offset_error, other.offset_error))
    slope = None
    if one.slope is not None and other.slope is not None:
        converted = _convert_row(other, second, first.gradient)
        other = _turn_row(converted, second.direction(other), first.direction(one))
        slope = Difference(
            (other.slope or 0.0) - one.slope, math.hypot(one.slope_error or 0.0, other.slope_error or 0.0)
        )
    return RowPair(one, other, offset, slope)


def _notes(first: OffsetTable, second: OffsetTable, shared: Sequence[tuple[OffsetRow, OffsetRow]]) -> Iterator[str]:
    if first.baseline != second.baseline:
        yield f"baselines {first.baseline} and {second.baseline}: an offset is z_A - z_B in both, not converted"
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
