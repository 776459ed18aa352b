"""A table together with what its file says of it, read without the data models."""

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from jwst_modfix.reference.table import OffsetTable
from jwst_modfix.reference.text import read_tree
from jwst_modfix.reference.tree import table_from_tree

__all__ = ["ENVIRONMENT_VARIABLE", "PACKAGED_TABLE", "TableFile", "is_packaged", "read_table_file"]

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
