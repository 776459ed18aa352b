"""Other formats of the table: ECSV, the released recipe's, photom reference files."""

import re
from pathlib import Path, PurePath

import numpy as np
from astropy.io import fits
from astropy.table import Table
from stdatamodels.jwst.datamodels import NrcImgPhotomModel

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.exposure import Exposure
from jwst_modfix.files import written_whole
from jwst_modfix.table.file import (
    PACKAGED_TABLE,
    read_table_file,
    refuse_overwriting,
    table_from_tree,
    tree_from_table,
    without_empty,
)
from jwst_modfix.table.rules import SCHEMA_VERSION

__all__ = ["export_photom", "is_recipe", "read_ecsv", "read_recipe", "write_ecsv"]


_UNITS = {
    "array": None, "filter": None, "pupil": None, "offset": "mag", "offset_error": "mag", "slope": "mag / arcmin",
    "slope_error": "mag / arcmin", "direction": "deg", "photmjsr_A": "MJy s / (DN sr)", "photmjsr_B": "MJy s / (DN sr)",
}  # fmt: skip
_TEXT = ("array", "filter", "pupil")
_BLOCKS = ("meta", "baseline", "gradient", "valid_for")
_RECIPE_COLUMNS = {"det", "filt", "dmag_ab", "dmag_ab_err", "dmag_a", "dmag_b", "slope", "slope_err"}


def write_ecsv(file, path):
    """Write a table as ECSV, with all that its file says; only comments in the YAML do not go along."""
    refuse_overwriting(path)
    rows = [_flat(row) for row in tree_from_table(file.table)["offsets"]]
    table = Table(meta={key: value for key, value in _tree(file).items() if key in _BLOCKS})
    for name, unit in _UNITS.items():
        values = [row.get(name) for row in rows]
        if any(value is not None for value in values):
            table[name] = _column(name, values)
            table[name].unit = unit
    with written_whole(path) as partial:
        table.write(partial, format="ascii.ecsv")


def read_ecsv(path):
    """Read a table that `write_ecsv` wrote, or a user in its place."""
    content = _read(path)
    blocks = {key: value for key, value in content.meta.items() if key != "comments"}
    unknown = sorted(set(blocks) - set(_BLOCKS)) + sorted(set(content.colnames) - set(_UNITS))
    if unknown:
        raise ReferenceTableError(f"{path}: unknown columns or entries of its header: {', '.join(unknown)}")
    tree = without_empty({**blocks, "offsets": [_row(line) for line in content]})
    return tree.get("meta"), table_from_tree(tree, str(path))


def read_recipe(path, context=None, *, as_recipe=False):
    """Read the table of the released recipe (github.com/Jerry-Ma/idf_nircam_cal_recipe)."""
    content = _read(path)
    if not set(content.colnames) >= _RECIPE_COLUMNS:
        raise ReferenceTableError(
            f"{path}: is not the recipe's table: it lacks {_RECIPE_COLUMNS - set(content.colnames)}"
        )
    name = "released_recipe.asdf" if as_recipe else PACKAGED_TABLE.name
    model = read_table_file(PACKAGED_TABLE.parent / name)
    tree = tree_from_table(model.table) | {
        "baseline": _recipe_baseline(content, path),
        "valid_for": {"context": dict.fromkeys(("first", "last"), context or _context(path))},
        "offsets": [_recipe_row(line) for line in content],
    }
    history = [f"Converted from {Path(path).name} of the released recipe.", *model.meta["history"][-1:]]
    meta = model.meta | {"history": history, "schema_version": SCHEMA_VERSION}
    return meta, table_from_tree({"meta": meta, **tree}, str(path))


def is_recipe(path):
    """Tell the recipe's table from ours."""
    return set(_read(path).colnames) >= {"det", "filt", "dmag_ab"}


def _read(path):
    try:
        return Table.read(path, format="ascii.ecsv")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ReferenceTableError(f"{path}: cannot be read as ECSV: {error}") from error


def _tree(file):
    return {"meta": file.meta, **tree_from_table(file.table)}


def _flat(row):
    photmjsr = row.pop("photmjsr", None) or {}
    return row | {f"photmjsr_{module}": value for module, value in photmjsr.items()}


def _column(name, values):
    if name in _TEXT:
        return np.array(values)
    mask = [value is None for value in values]
    return np.ma.MaskedArray([0.0 if value is None else value for value in values], mask) if any(mask) else values


def _row(line):
    """Make a row of the tree: masked cells are absent, PHOTMJSR goes back to a mapping."""
    cells = {name: line[name] for name in line.colnames if not np.ma.is_masked(line[name])}
    row = {name: str(cells[name]) if name in _TEXT else float(cells[name]) for name in cells}
    photmjsr = {name[-1]: row.pop(name) for name in ("photmjsr_A", "photmjsr_B") if name in row}
    return row | ({"photmjsr": photmjsr} if photmjsr else {})


def _recipe_row(line):
    row = {"array": str(line["det"]).lower(), "filter": str(line["filt"]).upper(), "pupil": "CLEAR"}
    row |= {"offset": float(line["dmag_ab"]), "offset_error": float(line["dmag_ab_err"])}
    if line["slope"] or line["slope_err"]:
        row |= {"slope": float(line["slope"]), "slope_error": float(line["slope_err"])}
    return row


def _recipe_baseline(content, path):
    """Find the baseline by which the recipe's columns split the offset."""
    total, a, b = (np.asarray(content[name], float) for name in ("dmag_ab", "dmag_a", "dmag_b"))
    for baseline, share in (("B", 1.0), ("A", 0.0), ("mean", 0.5)):
        if np.allclose(a, share * total, atol=1e-9) and np.allclose(b, (share - 1) * total, atol=1e-9):
            return baseline
    raise ReferenceTableError(f"{path}: dmag_a and dmag_b are not dmag_ab in the baseline B, A or mean")


def _context(path):
    found = re.search(r"_(\d{4})_pmap", Path(path).name)
    if not found:
        raise ReferenceTableError(f"{path}: its name tells no CRDS context (as in _1130_pmap): give it")
    return f"jwst_{found[1]}.pmap"


_MARK = "jwst_modfix"


def export_photom(table, photom, output, *, drop_slope=False):
    """Write a copy of a photom reference file of one detector whose PHOTMJSR carry the offsets.

    PHOTMJSR and its uncertainty are multiplied by 10**(0.4 z), as the correction multiplies the pixels.
    """
    refuse_overwriting(output)
    try:
        model = NrcImgPhotomModel(str(photom))
    except Exception as error:  # whatever the data models raise
        raise ReferenceTableError(f"{photom}: cannot be read as a photom file of NIRCam imaging: {error}") from error
    with model:
        rows = _find_rows(model, table, photom)
        dropped = list(dict.fromkeys(row for _, row in rows if row.slope))
        if dropped and not drop_slope:
            labels = ", ".join(row.label for row in dropped)
            raise ReferenceTableError(
                f"{table.name}: a photom file cannot carry the slope of {labels}: drop it to export the offset alone"
            )
        changed = _scale(model, table, rows)
        with written_whole(output) as partial:
            model.save(str(partial))
            _record(partial, table, photom, dropped)
    return changed, dropped


def _find_rows(model, table, photom):
    """Find the place of each row of the photom file that the table has an offset for."""
    detector = model.meta.instrument.detector
    array = Exposure(name=str(photom), detector=detector).array
    if array is None or model.phot_table is None:
        raise ReferenceTableError(
            f"{photom}: is not the photom file of one NIRCam detector; its DETECTOR is {detector}"
        )
    if _MARK in str(fits.getheader(photom).get("HISTORY", "")):
        raise ReferenceTableError(f"{photom}: carries module offsets already, as its HISTORY says")
    allowed = [PurePath(name).name for name in table.valid_for.photom]
    if allowed and PurePath(photom).name not in allowed:
        raise ReferenceTableError(f"{photom}: {table.name} is valid for {', '.join(allowed)}")
    keys = [(array, str(row["filter"]).strip(), str(row["pupil"]).strip()) for row in model.phot_table]
    found = [(place, table.row(*key)) for place, key in enumerate(keys)]
    found = [(place, row) for place, row in found if row is not None]
    if not found:
        raise ReferenceTableError(f"{photom}: {table.name} has no row for {detector} in any filter of this file")
    return found


def _scale(model, table, rows):
    phot_table, changed = model.phot_table.copy(), []
    for place, row in rows:
        z = table.zero_point(row, model.meta.instrument.detector[3])
        for column in ("photmjsr", "uncertainty"):
            phot_table[column][place] *= 10 ** (0.4 * z)
        changed.append((row.filter, row.pupil, z))
    model.phot_table = phot_table
    return changed


def _record(path, table, photom, dropped):
    """Say in the file's HISTORY what was done; the data models' own way to do so differs between their versions."""
    with fits.open(path, mode="update") as hdulist:
        history = hdulist[0].header.add_history
        history(f"{_MARK}: PHOTMJSR of {PurePath(photom).name} times 10**(0.4 z),")
        history(f"z of {table.name} (hash {table.digest})")
        for row in dropped:
            history(f"{_MARK}: the slope was left out of {row.label}")
