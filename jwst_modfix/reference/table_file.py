"""A table together with what its file says of it, read without the data models."""

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.reference.table import OffsetTable
from jwst_modfix.reference.text import read_tree, write_tree
from jwst_modfix.reference.tree import table_from_tree, tree_from_table, without_empty

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "PACKAGED_TABLE",
    "TableFile",
    "check_name",
    "is_packaged",
    "read_table_file",
    "refuse_overwriting",
    "write_table_file",
]

ENVIRONMENT_VARIABLE = "JWST_MODFIX_REFERENCE"
PACKAGED_TABLE = resources.files("jwst_modfix.reference") / "tables" / "ma2023_table2.asdf"


@dataclass(frozen=True, eq=False)
class TableFile:
    """
    A table and its metadata.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    meta : dict
        Its block ``meta``.
    table : OffsetTable
        The table, named after the file.
    """

    path: Path
    meta: dict
    table: OffsetTable


def read_table_file(path):
    """
    Read a table and its metadata.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    TableFile
        Both.

    Raises
    ------
    ReferenceTableError
        The file cannot be read or breaks a rule; names the file, the row and the field.
    """
    tree = read_tree(path)
    table = replace(table_from_tree(tree, str(path)), name=Path(path).name)
    return TableFile(Path(path), tree["meta"], table)


def is_packaged(path):
    """
    Tell whether a file is one of the package's own tables.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    bool
        Whether it is.
    """
    return Path(path).resolve().parent == Path(str(PACKAGED_TABLE)).resolve().parent


def write_table_file(path, meta, table):
    """
    Write a new file, whole or not at all.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, ending in ``.asdf``.
    meta : dict
        Its block ``meta``.
    table : OffsetTable
        The table.

    Raises
    ------
    ReferenceTableError
        The file is there already, its name does not end in ``.asdf``, or what it would say breaks a rule.
    """
    refuse_overwriting(path)
    check_name(path)
    tree = without_empty({"meta": meta, **tree_from_table(table)})
    table_from_tree(tree, str(path))
    with written_whole(path) as partial:
        write_tree(tree, partial)


def check_name(path):
    """
    Refuse a name that the file of a table cannot have.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Raises
    ------
    ReferenceTableError
        It does not end in ``.asdf``.
    """
    if Path(path).suffix != ".asdf":
        raise ReferenceTableError(f"{path}: a module-offset table is an ASDF file: the name must end in '.asdf'")


def refuse_overwriting(path):
    """
    Refuse to write over a file.

    Parameters
    ----------
    path : str or pathlib.Path
        Where something is to be written.

    Raises
    ------
    ReferenceTableError
        There is something already.
    """
    if find_existing([path]):
        raise ReferenceTableError(f"{path}: there already, and never overwritten; give another name or remove it")
