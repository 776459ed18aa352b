"""Tables edited, merged and compared."""

import datetime
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import written_whole
from jwst_modfix.table.file import is_packaged, read_table_file, read_tree
from jwst_modfix.table.roundtrip import YamlText
from jwst_modfix.table.table import OffsetRow, OffsetTable, Validity

__all__ = [
    "SMALL_SHIFT",
    "Comparison",
    "Difference",
    "RowPair",
    "compare_tables",
    "convert_row",
    "edit_row",
    "find_origin_shift",
    "merge_meta",
    "merge_tables",
    "turn_row",
]


SMALL_SHIFT = 1e-5
"""Shifts of m_sys that are none, far below any error of an offset [mag]."""


def convert_row(row, table, gradient):
    """Express a row's slope in the frame and share of another table's gradient.

    Offsets are Delta_AB = z_A - z_B in every baseline, and need no conversion.
    """
    if row.slope is None:
        return row
    own, direction = table.gradient, table.direction(row)
    if own.frame != gradient.frame:
        raise ReferenceTableError(
            f"{table.name}: {row.label}: its gradient is fixed to the {own.frame} and the other table's to the "
            f"{gradient.frame}: one cannot be expressed by the other"
        )
    factor = 1.0
    if own.exposure_share != gradient.exposure_share:
        if 0 in (own.exposure_share, gradient.exposure_share):
            raise ReferenceTableError(f"{table.name}: {row.label}: an exposure_share of 0 leaves no slope to express")
        factor = own.exposure_share / gradient.exposure_share
    direction = None if direction == gradient.direction else direction
    return replace(row, slope=factor * row.slope, slope_error=factor * row.slope_error, direction=direction)


def turn_row(row, direction, gradient):
    """Express a row's slope along another direction."""
    own = gradient.direction if row.direction is None else row.direction
    sign = {0.0: 1.0, 180.0: -1.0}.get(round(own - direction, 6) % 360)
    if sign is None:
        raise ReferenceTableError(
            f"{row.label}: one gradient points to {direction:g} deg and the other to {own:g} deg: slopes along "
            "different directions cannot be compared"
        )
    return replace(row, slope=sign * row.slope, direction=direction)


def find_origin_shift(row, table, gradient):
    """Find the shift of m_sys, the same in both modules, that comes of another origin of the gradient."""
    if row.slope is None or table.gradient.origin == gradient.origin:
        return 0.0
    if table.gradient.frame != "focal_plane":
        return math.inf
    return abs(table.exposure_slope(row)) * math.dist(table.gradient.origin, gradient.origin) / 60


_UNITS = {
    "offset": "mag",
    "offset_error": "mag",
    "slope": "mag/arcmin",
    "slope_error": "mag/arcmin",
    "direction": "deg",
}


def edit_row(path, key, changes, output=None):
    """Change values of a row, or add a row, with a line in the file's history."""
    output = Path(output or path)
    if is_packaged(output):
        raise ReferenceTableError(
            f"{output}: belongs to the package and is not edited in place: give another place by -o, or take a copy "
            "by 'modfix init'"
        )
    row = read_table_file(path).table.row(**key)
    line = _history_line(key, row, changes, path)
    expected = _edited(read_tree(path), key, changes, line)
    text = YamlText.read(path)
    if row is None:
        text.append_to(["offsets"], {**key, **changes})
    else:
        place = next(i for i, item in enumerate(read_tree(path)["offsets"]) if _is_row(item, key))
        for field, value in changes.items():
            text.set(["offsets", place, field], value)
    text.append_to(["meta", "history"], line)
    _write(text, expected, output)
    return line


def _write(text, expected, output):
    """Put the file in its place if it is valid and says what was meant."""
    with written_whole(output) as partial:
        partial.write_bytes(text.to_bytes())
        try:
            read_table_file(partial)
        except ReferenceTableError as error:
            raise ReferenceTableError(str(error).replace(str(partial), str(output))) from None
        if read_tree(partial) != expected:
            raise ReferenceTableError(f"{output}: its layout cannot be edited safely: edit it in a text editor")


def _is_row(item, key):
    return {name: item.get(name, "CLEAR") for name in key} == key


def _edited(tree, key, changes, line):
    """Make the edit in the tree: what the file must say after it."""
    row = next((item for item in tree["offsets"] if _is_row(item, key)), None)
    if row is None:
        tree["offsets"].append({**key, **changes})
    else:
        row.update(changes)
    tree["meta"].setdefault("history", []).append(line)
    return tree


def _history_line(key, row, changes, path):
    if row is None:
        words = ", ".join(f"{name} {value!r} {_UNITS[name]}" for name, value in changes.items())
        verb = "added"
    else:
        new = {name: value for name, value in changes.items() if getattr(row, name) != value}
        if not new:
            raise ReferenceTableError(f"{path}: {row.label} has these values already: nothing to change")
        words = ", ".join(f"{name} {getattr(row, name)} -> {value!r} {_UNITS[name]}" for name, value in new.items())
        verb = "changed"
    label = ", ".join(f"{name}={value}" for name, value in key.items())
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, by hand: {verb} row ({label}), {words}."


_KEPT = ("reftype", "schema_version", "telescope", "instrument")  # of the first file's meta


def merge_tables(tables, *, prefer=None, baseline=None, validity="intersection", name="merged"):
    """Join the rows of tables."""
    gradient = next((table.gradient for table in tables if table.gradient is not None), None)
    rows = {}
    for table in tables:
        for row in table.rows:
            if row.key in rows and prefer is None:
                raise ReferenceTableError(
                    f"{row.label} stands in {rows[row.key][1].name} and in {table.name}: prefer first or last"
                )
            if row.key not in rows or prefer == "last":
                rows[row.key] = (row, table)
    return OffsetTable(
        rows=tuple(_converted(row, table, gradient) for row, table in rows.values()),
        baseline=baseline or _common_baseline(tables),
        gradient=gradient,
        valid_for=_VALIDITIES[validity](tables),
        name=name,
    )


def merge_meta(files, history):
    """Join what the files say of themselves."""
    said = [f"{file.table.name}: {line}" for file in files for line in file.meta.get("history", ())]
    derivations = {file.table.name: file.meta["derivation"] for file in files if "derivation" in file.meta}
    meta = {key: value for key, value in files[0].meta.items() if key in _KEPT}
    meta |= {key: "; ".join(dict.fromkeys(file.meta[key] for file in files)) for key in ("author", "pedigree")}
    meta["description"] = f"Rows of {', '.join(file.table.name for file in files)}"
    meta["useafter"] = max(file.meta["useafter"] for file in files)
    meta["history"] = [*said, *history]
    return meta | ({"derivation": {"tables": derivations}} if derivations else {})


def _converted(row, table, gradient):
    shift = 0.0 if row.slope is None else find_origin_shift(row, table, gradient)
    row = convert_row(row, table, gradient)
    if shift > SMALL_SHIFT:
        raise ReferenceTableError(
            f"{table.name}: {row.label}: its gradient's origin {table.gradient.origin} is not the first table's "
            f"{gradient.origin}, and one table has one origin"
        )
    return row


def _common_baseline(tables):
    found = {table.baseline: table.name for table in reversed(tables)}
    if len(found) > 1:
        words = ", ".join(f"{name} has baseline {baseline}" for baseline, name in found.items())
        raise ReferenceTableError(f"{words}: choose one baseline for all; offsets z_A - z_B stay as they are")
    return tables[0].baseline


def _intersection(tables):
    """Find the calibrations that all tables are valid for; what a table does not name, it allows."""
    validities = [table.valid_for for table in tables]
    first = max((v.context_first for v in validities if v.context_first), key=_number, default=None)
    last = min((v.context_last for v in validities if v.context_last), key=_number, default=None)
    if first and last and _number(first) > _number(last):
        raise ReferenceTableError(_no_common("context", tables, lambda v: f"{v.context_first} to {v.context_last}"))
    common = {}
    for kind in ("photom", "flat"):
        named = [getattr(validity, kind) for validity in validities if getattr(validity, kind)]
        common[kind] = tuple(name for name in (named or [()])[0] if all(name in other for other in named))
        if named and not common[kind]:
            raise ReferenceTableError(_no_common(kind, tables, lambda v, kind=kind: ", ".join(getattr(v, kind))))
    return Validity(context_first=first, context_last=last, **common)


def _no_common(kind, tables, say):
    words = "; ".join(f"{table.name} is valid for {say(table.valid_for) or 'any'}" for table in tables)
    return (
        f"valid_for.{kind}: there is none in common ({words}), and validity holds for a whole table. Files of "
        "different detectors or filters differ by nature: join all that are named by validity 'union'"
    )


def _union(tables):
    """Find the calibrations that one table is valid for; contexts from the first to the last."""
    validities = [table.valid_for for table in tables]
    joined = {
        kind: tuple(dict.fromkeys(name for validity in validities for name in getattr(validity, kind)))
        if all(getattr(validity, kind) for validity in validities)
        else ()
        for kind in ("photom", "flat")
    }
    firsts, lasts = ([getattr(v, f"context_{end}") for v in validities] for end in ("first", "last"))
    return Validity(
        context_first=min(firsts, key=_number) if all(firsts) else None,
        context_last=max(lasts, key=_number) if all(lasts) else None,
        **joined,
    )


_VALIDITIES = {"intersection": _intersection, "union": _union}


def _number(context):
    return int(re.search(r"\d+", context)[0])


@dataclass(frozen=True)
class Difference:
    """
    A difference of two values, second minus first.

    Parameters
    ----------
    value, error : float
        The difference, and both errors in quadrature.
    """

    value: float
    error: float

    @property
    def sigmas(self):
        """The difference over its error; 0 for no difference, infinite where there is no error."""
        if self.error > 0:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


@dataclass(frozen=True)
class RowPair:
    """
    One array, filter and pupil in both tables.

    Parameters
    ----------
    first, second : OffsetRow
        The rows, the second one's slope in the conventions of the first.
    offset : Difference
        Of the offsets [mag].
    slope : Difference or None
        Of the slopes [mag/arcmin]; None where not both rows have one.
    """

    first: OffsetRow
    second: OffsetRow
    offset: Difference
    slope: Difference | None


@dataclass(frozen=True)
class Comparison:
    """
    Two tables compared.

    Parameters
    ----------
    pairs : tuple of RowPair
        Rows that both have.
    only_first, only_second : tuple of OffsetRow
        Rows that one has.
    notes : tuple of str
        What was converted, and what to mind.
    """

    pairs: tuple
    only_first: tuple
    only_second: tuple
    notes: tuple


def compare_tables(first, second):
    """Compare two tables row by row."""
    shared = [(row, second.row(*row.key)) for row in first.rows if second.row(*row.key) is not None]
    return Comparison(
        pairs=tuple(_compare(first, one, second, other) for one, other in shared),
        only_first=tuple(row for row in first.rows if second.row(*row.key) is None),
        only_second=tuple(row for row in second.rows if first.row(*row.key) is None),
        notes=tuple(_notes(first, second, shared)),
    )


def _compare(first, one, second, other):
    offset = Difference(other.offset - one.offset, math.hypot(one.offset_error, other.offset_error))
    slope = None
    if one.slope is not None and other.slope is not None:
        other = turn_row(convert_row(other, second, first.gradient), first.direction(one), first.gradient)
        slope = Difference(other.slope - one.slope, math.hypot(one.slope_error, other.slope_error))
    return RowPair(one, other, offset, slope)


def _notes(first, second, shared):
    if first.baseline != second.baseline:
        yield (
            f"baselines {first.baseline} and {second.baseline}: an offset is z_A - z_B in both, and needs no conversion"
        )
    both = [(one, other) for one, other in shared if one.slope is not None and other.slope is not None]
    if both and first.gradient.exposure_share != second.gradient.exposure_share:
        yield (
            f"exposure_share {first.gradient.exposure_share:g} and {second.gradient.exposure_share:g}: slopes of "
            f"{second.name} are given as {first.name} would have them"
        )
    shift = max((find_origin_shift(other, second, first.gradient) for _, other in both), default=0.0)
    if shift > SMALL_SHIFT:
        size = f"by up to {1e3 * shift:.2f} mmag" if math.isfinite(shift) else "by an unknown amount"
        yield f"the gradients' origins differ: that shifts both modules alike, {size}, and is not in this comparison"
    if first.valid_for != second.valid_for:
        yield "the tables are valid for different calibrations: a difference may be one of the calibration"
    yield "sigmas: errors in quadrature, right for independent tables; tables from the same exposures differ by less"
