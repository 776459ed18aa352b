"""Rows of several tables joined into one."""

import re

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.reference.conventions import SMALL_SHIFT, convert_row, find_origin_shift
from jwst_modfix.reference.table import OffsetTable, Validity

__all__ = ["merge_meta", "merge_tables"]

_KEPT = ("reftype", "schema_version", "telescope", "instrument")  # of the first file's meta


def merge_tables(tables, *, prefer=None, baseline=None, validity="intersection", name="merged"):
    """
    Join the rows of tables.

    Parameters
    ----------
    tables : sequence of OffsetTable
        The tables; slopes are expressed in the conventions of the first that has a gradient.
    prefer : {'first', 'last'}, optional
        Which one to take of rows with the same key; unless given, they are refused.
    baseline : {'B', 'A', 'mean'}, optional
        The module whose flux scale is kept; needed where the tables differ.
    validity : {'intersection', 'union'}
        Valid for the calibrations that all tables are valid for, or for all that one is.
    name : str
        Name of the result.

    Returns
    -------
    OffsetTable
        The rows in order of the tables.

    Raises
    ------
    ReferenceTableError
        Two tables contradict one another; the message says how, and what to do.
    """
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
    """
    Join what the files say of themselves.

    Parameters
    ----------
    files : sequence of TableFile
        The files.
    history : list of str
        Lines to put last in the history.

    Returns
    -------
    dict
        ``meta`` of the merged file; derivations stand in it by file.
    """
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
