"""Published lists of zero points by detector: table columns, or YAML entries."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import refuse_existing, write_text
from jwst_modfix.table import file
from jwst_modfix.table.rules import check
from jwst_modfix.table.table import MAG_PER_FRACTION, OffsetTable
from jwst_modfix.table.validity import find_mismatch

OF_LISTS = ("factor", "factor_error", "photmjsr_ref")
"""Columns of lists that tables do not have: fluxes are multiplied by the factor, which is PHOTMJSR over that of the
reference file that the data were calibrated with."""

_NOT_NEGATIVE = {"type": "number", "minimum": 0}
_HEADER = "# DETECTOR-FILTER-PUPIL: [PHOTMJSR, factor of the flux, PIXAR_SR]\n"


def table_of_list(rows: Sequence[Mapping[str, Any]], path: Path, context: str | None, **derivation: Any) -> OffsetTable:
    """Make a table of a list's zero points, or of factors in their place."""
    problems: list[str] = []
    points = []
    for number, row in enumerate(rows, 1):
        named = ", ".join(f"{key}={row[key]}" for key in ("detector", "filter", "pupil") if key in row)
        points.append(_zero_point(row, f"zero point {number} ({named})", problems))
    history = f"Converted from {path.name}; the values are those of the list, relative to no common baseline."
    if any("photmjsr_ref" in row for row in rows):
        history += " Zero points are 2.5 log10(photmjsr / photmjsr_ref); photmjsr_ref is taken as that of the data."
    described = {"description": f"Zero points of detectors, as in {path.name}", "history": [history]}
    tree = {
        "meta": file.META_DEFAULTS | described | ({"derivation": derivation} if derivation else {}),
        "valid_for": {"context": {"first": context, "last": context}} if context else {},
        "zero_points": points,
    }
    table: OffsetTable = file.table_of_file(tree, path, problems=problems)
    return table


def _zero_point(row: Mapping[str, Any], place: str, problems: list[str]) -> dict[str, Any]:
    """Make a row of the table of a row of a list."""
    point = {"zero_point": 0.0} | {key: value for key, value in row.items() if key not in OF_LISTS}
    given = [key for key in ("zero_point", "factor", "photmjsr_ref") if key in row]
    if len(given) != 1:
        found = f"it has {' and '.join(given)}" if given else "it has none"
        problems.append(f"{place}: needs one of zero_point, factor, and photmjsr with photmjsr_ref; {found}")
        return point
    factor = row.get("factor")
    if "photmjsr_ref" in row:
        point["photmjsr"] = row["photmjsr_ref"]  # of the data, which the correction brings to that of the list
        ratio = [row.get("photmjsr"), row["photmjsr_ref"]]
        if not all(map(_is_positive, ratio)):
            problems.append(f"{place}: photmjsr and photmjsr_ref must be greater than 0, got {ratio[0]} and {ratio[1]}")
            return point
        factor = ratio[0] / ratio[1]
    if "zero_point" not in row:
        if not _is_positive(factor):
            problems.append(f"{place}: factor must be a number greater than 0, got {factor}")
            return point
        point["zero_point"] = 2.5 * math.log10(factor)
        if "factor_error" in row:
            error = check(row["factor_error"], _NOT_NEGATIVE, f"{place}, field factor_error", problems)
            point["zero_point_error"] = MAG_PER_FRACTION * error / factor if isinstance(error, float) else 0.0
    if "factor_error" in row and {"zero_point", "zero_point_error"} & set(row):
        problems.append(f"{place}: has factor_error and a zero_point or its error; give values and errors of one kind")
    detector, filter, pupil = (str(row.get(key, "CLEAR")) for key in ("detector", "filter", "pupil"))
    subarray = str(row.get("subarray", ""))
    if (mismatch := find_mismatch(detector, filter, pupil, subarray)) and detector[:4] in ("NRCA", "NRCB"):
        problems.append(f"{place}: no exposure can match: {mismatch.in_words()}")
    return point


def _is_positive(value: Any) -> bool:
    """Test whether a value is a number above 0; True (YAML's ``yes``) is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


# ---- the YAML layout ----


def read_yaml_list(path: str | Path, context: str | None = None) -> OffsetTable:
    """Read ``DETECTOR-FILTER-PUPIL: [mjsr, scale, pixar_sr]``; scale multiplies flux."""
    path = file.expand(path)
    problems: list[str] = []
    rows, areas = [], {}
    for key, values in file.parse_tree(file.read_bytes(path), path).items():
        names = key.split("-")
        if len(names) != 3:
            problems.append(f"{key}: must be DETECTOR-FILTER-PUPIL")
        elif not (isinstance(values, list) and len(values) == 3):
            problems.append(f"{key}: must be a list [mjsr, scale, pixar_sr], got {values!r}")
        else:
            detector, filter, pupil = names
            row = {"detector": detector, "filter": filter, "pupil": pupil}
            rows.append(row | {"photmjsr": values[0], "factor": values[1]})
            areas[key] = check(values[2], _NOT_NEGATIVE, f"{key} pixar_sr", problems)
    if problems:
        raise ReferenceTableError(str(path), problems)
    return table_of_list(rows, path, context, pixar_sr=areas)


def write_yaml_list(table: OffsetTable, path: str | Path) -> None:
    """Write zero points in the YAML layout, without errors, fields and subarrays."""
    path = file.expand(path)
    refuse_existing([path], ReferenceTableError)
    areas = table.meta.get("derivation", {}).get("pixar_sr", {})
    lines, problems = [_HEADER], [f"{row.label}: is an offset" for row in table.offsets]
    for row in table.zero_points:
        key = "-".join(row.key)
        if row.field or row.subarray:
            problems.append(f"{row.label}: has a field or is of a subarray")
        elif row.photmjsr is None or key not in areas:
            problems.append(f"{row.label}: has no PHOTMJSR, or meta.derivation.pixar_sr has no {key}")
        else:
            lines.append(f"{key}: [{row.photmjsr!r}, {10 ** (0.4 * row.zero_point):.12g}, {areas[key]!r}]\n")
    if problems:
        raise ReferenceTableError(f"{table.name}: cannot be written as {path.name}", problems)
    write_text(path, "".join(lines))
