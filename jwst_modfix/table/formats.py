"""Other formats of the table: astropy tables and ECSV, and the released recipe's table."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import written_whole
from jwst_modfix.table.file import plain_tree, refuse_overwriting, table_from_tree, tree_from_table
from jwst_modfix.table.table import Gradient, OffsetTable

_UNITS = {
    "array": None, "filter": None, "pupil": None, "offset": "mag", "offset_error": "mag", "slope": "mag / arcmin",
    "slope_error": "mag / arcmin", "direction": "deg", "photmjsr_A": "MJy s / (DN sr)", "photmjsr_B": "MJy s / (DN sr)",
}  # fmt: skip
_TEXT = ("array", "filter", "pupil")
_BLOCKS = ("meta", "baseline", "gradient", "valid_for")


# ---- astropy tables and ECSV ----


def to_astropy(table: OffsetTable) -> Table:
    """Give the rows as an astropy table with units; the rest of the table is in its ``meta``."""
    tree = tree_from_table(table)
    modules = {"photmjsr_A": "A", "photmjsr_B": "B"}
    rows = [
        {**row, **{name: row["photmjsr"][m] for name, m in modules.items() if "photmjsr" in row}}
        for row in tree["offsets"]
    ]
    result = Table(meta={key: tree[key] for key in _BLOCKS if key in tree})
    for name, unit in _UNITS.items():
        values = [row.get(name) for row in rows]
        if name in _TEXT:
            result[name] = np.array(values, dtype=str)
        elif name in ("offset", "offset_error") or any(value is not None for value in values):
            numbers = np.ma.masked_invalid(np.array(values, dtype=float))  # None is NaN
            result[name] = numbers if numbers.mask.any() else numbers.data
            result[name].unit = unit
    return result


def write_ecsv(table: OffsetTable, path: str | Path) -> None:
    """Write a table as ECSV, with all that its file holds but the comments."""
    refuse_overwriting(path)
    content = to_astropy(table)
    with written_whole(path) as partial:
        content.write(partial, format="ascii.ecsv")


def read_ecsv(path: str | Path) -> OffsetTable:
    """Read a table that `write_ecsv` or a user wrote. Columns in other units are converted."""
    content = _read(path)
    blocks = {key: value for key, value in content.meta.items() if key != "comments"}
    unknown = sorted(set(blocks) - set(_BLOCKS)) + sorted(set(content.colnames) - set(_UNITS))
    if unknown:
        raise ReferenceTableError(f"{path}: unknown columns or entries of its header: {', '.join(unknown)}")
    for name in content.colnames:
        if content[name].unit is None or _UNITS[name] is None:
            continue
        try:  # offsets in mmag are a thousand times too large as mag
            content[name].convert_unit_to(_UNITS[name])
        except (ValueError, TypeError) as error:
            raise ReferenceTableError(f"{path}: column {name}: {error}; its unit must be {_UNITS[name]}") from error
    table: OffsetTable = table_from_tree({**blocks, "offsets": [_row(line) for line in content]}, str(path))
    return table


def _row(line: Any) -> dict[str, Any]:
    """Make a row of the tree: masked cells are absent, PHOTMJSR goes back to a mapping."""
    cells = {name: line[name] for name in line.colnames if not np.ma.is_masked(line[name])}
    row = {name: str(cells[name]) if name in _TEXT else plain_tree(cells[name]) for name in cells}
    photmjsr = {name[-1]: row.pop(name) for name in ("photmjsr_A", "photmjsr_B") if name in row}
    return row | ({"photmjsr": photmjsr} if photmjsr else {})


def _read(path: str | Path) -> Table:
    try:
        return Table.read(path, format="ascii.ecsv")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReferenceTableError(f"{path}: cannot be read as ECSV: {error}") from error


# ---- the released recipe's table (github.com/Jerry-Ma/idf_nircam_cal_recipe) ----


RECIPE_GRADIENT = Gradient(frame="detector", direction=180.0, origin=(0.0, 0.0), exposure_share=1.0)
"""The recipe's own: pixels at large x are dimmed by the whole slope, from column 0, in its second epoch only."""
_RECIPE_COLUMNS = {"det", "filt", "dmag_ab", "dmag_ab_err", "dmag_a", "dmag_b", "slope", "slope_err"}


def is_recipe(path: str | Path) -> bool:
    """Test whether a file is the recipe's table."""
    return set(_read(path).colnames) >= {"det", "filt", "dmag_ab"}


def read_recipe(path: str | Path, context: str | None = None, *, as_recipe: bool = False) -> OffsetTable:
    """Read the recipe's table, with the gradient of the packaged table or that of the recipe's code."""
    content = _read(path)
    if missing := sorted(_RECIPE_COLUMNS - set(content.colnames)):
        raise ReferenceTableError(f"{path}: is not the recipe's table: it has no columns {', '.join(missing)}")
    packaged = OffsetTable.read()
    history = [f"Converted from {Path(path).name} of the released recipe."]
    if as_recipe:
        history += ["Direction, origin and share of the gradient are those of the recipe's code, in its second epoch.",
                    "For its first epoch use apply_slope = False."]  # fmt: skip
    else:
        history += packaged.meta["history"][-1:]
    tree = tree_from_table(packaged, history=history) | {
        "baseline": _recipe_baseline(content, path),
        "valid_for": {"context": dict.fromkeys(("first", "last"), context or _context(path))},
        "offsets": [_recipe_row(line) for line in content],
    }
    if as_recipe:
        tree["gradient"] = plain_tree(vars(RECIPE_GRADIENT))
    table: OffsetTable = table_from_tree(tree, str(path))
    return table


def _recipe_row(line: Any) -> dict[str, Any]:
    row = {"array": str(line["det"]).lower(), "filter": str(line["filt"]).upper(), "pupil": "CLEAR"}
    row |= {"offset": line["dmag_ab"], "offset_error": line["dmag_ab_err"]}
    if line["slope"] or line["slope_err"]:
        row |= {"slope": line["slope"], "slope_error": line["slope_err"]}
    return row


def _recipe_baseline(content: Table, path: str | Path) -> str:
    """Find the baseline by which the recipe's columns split the offset."""
    total, a, b = (np.asarray(content[name], float) for name in ("dmag_ab", "dmag_a", "dmag_b"))
    for baseline, share in (("B", 1.0), ("A", 0.0), ("mean", 0.5)):
        if np.allclose(a, share * total, atol=1e-9) and np.allclose(b, (share - 1) * total, atol=1e-9):
            return baseline
    raise ReferenceTableError(f"{path}: dmag_a and dmag_b are not dmag_ab in the baseline B, A or mean")


def _context(path: str | Path) -> str:
    found = re.search(r"_(\d{4})_pmap", Path(path).name)
    if not found:
        raise ReferenceTableError(f"{path}: its name has no CRDS context (as in _1130_pmap); give the context")
    return f"jwst_{found[1]}.pmap"
