"""Other formats of the table: astropy, ECSV, CSV, YAML lists, the recipe's."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.units import Unit

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import refuse_existing, write_text, written_whole
from jwst_modfix.table import file
from jwst_modfix.table.rules import check
from jwst_modfix.table.table import MAG_PER_FRACTION, MODULES, Gradient, OffsetTable
from jwst_modfix.table.validity import find_mismatch

_UNITS = {
    "array": None, "detector": None, "filter": None, "pupil": None, "subarray": None,
    "offset": "mag", "offset_error": "mag", "slope": "mag / arcmin", "slope_error": "mag / arcmin", "direction": "deg",
    "zero_point": "mag", "zero_point_error": "mag", "field": None, "field_error": "mag",
    "photmjsr_A": "MJy s / (DN sr)", "photmjsr_B": "MJy s / (DN sr)", "photmjsr": "MJy s / (DN sr)",
    "photmjsr_date": None, "photom_A": None, "photom_B": None, "photom": None, "group": None,
}  # fmt: skip
# Of lists: fluxes are multiplied by the factor, which is PHOTMJSR over that of the reference file of the data.
_OF_LISTS = {"factor": "", "factor_error": "", "photmjsr_ref": _UNITS["photmjsr"]}
_OF_RECIPE = dict.fromkeys(("dmag_ab", "dmag_ab_err", "dmag_a", "dmag_b"), "mag") | {"slope_err": _UNITS["slope"]}
_NUMBERS = {name for name, unit in _UNITS.items() if unit} | {"group", *_OF_LISTS}
_BLOCKS = ("meta", "baseline", "gradient", "valid_for")


# ---- astropy tables and ECSV ----


def to_astropy(table: OffsetTable) -> Table:
    """Convert all rows to an astropy table with units; the rest is in its ``meta``."""
    tree, rows = file.tree_from_table(table), []
    for row in [*tree.get("offsets", ()), *tree.get("zero_points", ())]:
        cells: dict[str, Any] = {}
        for name, value in row.items():
            if name == "field":
                cells[name] = json.dumps(value["coefficients"])
            elif isinstance(value, Mapping):  # over the columns of the modules
                cells |= {f"{name}_{module}": item for module, item in value.items()}
            else:
                cells[name] = value
        rows.append(cells)
    keys = {"array", "offset", "offset_error"} if "offsets" in tree else set()
    found = {"filter", "pupil"}.union(keys, *rows)
    units = {name: unit for name, unit in _UNITS.items() if name in found}
    kinds = [int if name == "group" else float if name in _NUMBERS else str for name in units]
    meta = {key: tree[key] for key in _BLOCKS if key in tree}
    # Masked where a row has no value.
    return Table(rows=rows or None, names=list(units), dtype=kinds, units=units, meta=meta)


def write_ecsv(table: OffsetTable, path: str | Path) -> None:
    """Write a table as ECSV, with all that its file holds but the comments."""
    path = file.expand(path)
    refuse_existing([path], ReferenceTableError)
    content = to_astropy(table)
    with written_whole(path) as partial:
        content.write(partial, format="ascii.ecsv")


def read_columns(path: str | Path, context: str | None = None, *, as_recipe: bool = False) -> OffsetTable:
    """Read ECSV or CSV: of `write_ecsv`, of the recipe, or a list of zero points."""
    path = file.expand(path)
    content = read_text_table(path, is_ecsv=path.suffix.lower() == ".ecsv")
    for name, unit in (_UNITS | _OF_LISTS | _OF_RECIPE).items():
        if unit is not None and name in content.colnames and content[name].unit is not None:
            content[name] = _convert(content[name], Unit(unit), path)
    if _RECIPE_COLUMNS & set(content.colnames) >= {"det", "filt", "dmag_ab"}:
        return read_recipe(content, path, context, as_recipe=as_recipe)
    blocks = {key: value for key, value in content.meta.items() if key != "comments"}
    known = [*_UNITS, *_OF_LISTS]
    if unknown := sorted(set(blocks) - set(_BLOCKS)) + sorted(set(content.colnames) - set(known)):
        raise ReferenceTableError(
            f"{path}: unknown columns or entries of its header: {', '.join(unknown)}; known are {', '.join(known)}"
        )
    if as_recipe or (blocks and context):
        raise ReferenceTableError(
            f"{path}: --recipe-gradient is for the recipe's table only, and --context for lists without a header"
        )
    rows = [_row(line, path) for line in content]
    if not blocks:
        return table_of_list(rows, path, context)
    tree = blocks | {"offsets": [row for row in rows if "detector" not in row] or None,
                     "zero_points": [row for row in rows if "detector" in row] or None}  # fmt: skip
    table: OffsetTable = file.read_table(path, tree=file.plain_tree(tree))
    return table


def _convert(column: Any, unit: Any, path: Path) -> Any:
    """Convert a column to a unit, as float: offsets in mmag would be wrong by 1000."""
    try:
        factor = Unit(column.unit).to(unit)
        values = column.astype(float) * factor
    except (ValueError, TypeError) as error:
        raise ReferenceTableError(
            f"{path}: column {column.name}: {error}; its unit must be {str(unit) or 'none'}"
        ) from error
    if factor <= 0:  # dex and dB grow with the flux
        raise ReferenceTableError(f"{path}: column {column.name}: its unit must be {unit}, got {column.unit}")
    return values


def _row(line: Any, path: Path) -> dict[str, Any]:
    """Make a row of the tree, without masked cells; module columns become mappings."""
    row: dict[str, Any] = {}
    for name in line.colnames:
        if np.ma.is_masked(line[name]):
            continue
        value = file.plain_tree(line[name]) if name in _NUMBERS else str(line[name])
        stem, _, module = name.rpartition("_")
        if name == "field":
            try:
                lists = json.loads(value)
            except ValueError as error:
                raise ReferenceTableError(
                    f"{path}: column field: must be lists of numbers, got {value!r}: {error}"
                ) from error
            row[name] = {"order": len(lists) - 1 if isinstance(lists, list) else 0, "coefficients": lists}
        elif stem in ("photmjsr", "photom") and module in MODULES:
            row.setdefault(stem, {})[module] = value
        else:
            row[name] = value
    return row


def read_text_table(path: Path, *, is_ecsv: bool = False) -> Table:
    """Read a small CSV or ECSV file; lines that begin with # are comments."""
    options: dict[str, Any] = {"format": "ascii.ecsv"} if is_ecsv else {"format": "ascii.csv", "comment": "#"}
    try:
        lines = file.read_bytes(path).decode("utf-8-sig").splitlines()
        header = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
        if not (header or is_ecsv):
            raise ReferenceTableError(f"{path}: has no rows")
        if not is_ecsv and "," not in header:
            raise ReferenceTableError(f"{path}: columns must be separated by commas, got {header[:80]!r}")
        content = Table.read(lines, **options)
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, ReferenceTableError):
            raise
        reason = str(error).partition("\n")[0]
        raise ReferenceTableError(f"{path}: cannot be read as {'ECSV' if is_ecsv else 'CSV'}: {reason}") from error
    if not len(content):
        raise ReferenceTableError(f"{path}: has no rows")
    return content


# ---- published lists of zero points by detector: rows of columns, or YAML entries ----


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
    table: OffsetTable = file.read_table(path, tree=tree, problems=problems)
    return table


def _zero_point(row: Mapping[str, Any], place: str, problems: list[str]) -> dict[str, Any]:
    """Make a row of the table of a row of a list."""
    point = {"zero_point": 0.0} | {key: value for key, value in row.items() if key not in _OF_LISTS}
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
        problems.append(f"{place}: no exposure can match: {mismatch}")
    return point


def _is_positive(value: Any) -> bool:
    """Test whether a value is a number above 0; True (YAML's ``yes``) is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def read_yaml_list(path: str | Path, context: str | None = None) -> OffsetTable:
    """Read ``DETECTOR-FILTER-PUPIL: [mjsr, scale, pixar_sr]``; scale multiplies flux."""
    path = file.expand(path)
    problems: list[str] = []
    rows, areas = [], {}
    for key, values in file.read_tree(path, is_asdf=False).items():
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


# ---- the released recipe's table (github.com/Jerry-Ma/idf_nircam_cal_recipe) ----


RECIPE_GRADIENT = Gradient(frame="detector", direction=180.0, origin=(0.0, 0.0), exposure_share=1.0)
"""The recipe's own: pixels at large x are dimmed by the whole slope, from column 0, in its second epoch only."""
_RECIPE_COLUMNS = {"det", "filt", "dmag_ab", "dmag_ab_err", "dmag_a", "dmag_b", "slope", "slope_err"}


def read_recipe(content: Table, path: Path, context: str | None, *, as_recipe: bool) -> OffsetTable:
    """Read the recipe's table, with the packaged gradient or that of its code."""
    if missing := sorted(_RECIPE_COLUMNS - set(content.colnames)):
        raise ReferenceTableError(f"{path}: is not the recipe's table: it has no columns {', '.join(missing)}")
    total, a, b = (np.asarray(content[name], float) for name in ("dmag_ab", "dmag_a", "dmag_b"))
    splits = [
        baseline
        for baseline, share in (("B", 1.0), ("A", 0.0), ("mean", 0.5))
        if np.allclose(a, share * total, atol=1e-9) and np.allclose(b, (share - 1) * total, atol=1e-9)
    ]
    if not splits:
        raise ReferenceTableError(f"{path}: dmag_a and dmag_b are not dmag_ab in the baseline B, A or mean")
    if not context and (found := re.search(r"_(\d{4})_pmap", path.name)):
        context = f"jwst_{found[1]}.pmap"
    if not context:
        raise ReferenceTableError(f"{path}: its name has no CRDS context (as in _1130_pmap); give the context")
    packaged = OffsetTable.read()
    history = [f"Converted from {path.name} of the released recipe."]
    if as_recipe:
        history += ["Direction, origin and share of the gradient are those of the recipe's code, in its second epoch.",
                    "For its first epoch use apply_slope = False."]  # fmt: skip
    else:
        history += packaged.meta["history"][-1:]
    tree = file.tree_from_table(packaged, history=history) | {
        "baseline": splits[0],
        "valid_for": {"context": {"first": context, "last": context}},
        "offsets": [_recipe_row(line) for line in content],
    }
    if as_recipe:
        tree["gradient"] = file.plain_tree(vars(RECIPE_GRADIENT))
    table: OffsetTable = file.read_table(path, tree=tree)
    return table


def _recipe_row(line: Any) -> dict[str, Any]:
    row = {"array": str(line["det"]).lower(), "filter": str(line["filt"]).upper(), "pupil": "CLEAR"}
    row |= {"offset": line["dmag_ab"], "offset_error": line["dmag_ab_err"]}
    if line["slope"] or line["slope_err"]:
        row |= {"slope": line["slope"], "slope_error": line["slope_err"]}
    return row
