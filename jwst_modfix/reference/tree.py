"""The table as a plain tree, as it stands in a file, and back."""

from dataclasses import asdict

import numpy as np

from jwst_modfix.reference.rules import check_tree
from jwst_modfix.reference.table import Gradient, OffsetRow, OffsetTable, Validity

__all__ = ["table_from_tree", "tree_from_table", "without_empty"]


def without_empty(value):
    """
    Leave out what is None, and make plain copies of the rest.

    Parameters
    ----------
    value : object
        A tree of dicts, lists and scalars.

    Returns
    -------
    object
        The same tree with fresh dicts and lists, with Python's numbers for numpy's, and without entries that are None.
    """
    if isinstance(value, dict):
        return {str(key): without_empty(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_empty(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def table_from_tree(tree, name):
    """
    Build the table that a checked tree describes.

    Parameters
    ----------
    tree : dict
        Plain tree of a reference file.
    name : str
        Name of the file or table, for messages and headers.

    Returns
    -------
    OffsetTable
        The table.

    Raises
    ------
    ReferenceTableError
        The tree breaks a rule of the schema, or two rows or blocks contradict one another.
    """
    tree = without_empty(tree)
    check_tree(tree, name)
    gradient = tree.get("gradient")
    return OffsetTable(
        rows=tuple(OffsetRow(**row) for row in tree["offsets"]),
        baseline=tree["baseline"],
        gradient=gradient and Gradient(**{**gradient, "origin": tuple(gradient["origin"])}),
        valid_for=_validity_from_tree(tree["valid_for"]),
        name=name,
    )


def tree_from_table(table):
    """
    Write a table as a plain tree.

    Parameters
    ----------
    table : OffsetTable
        The table.

    Returns
    -------
    dict
        The blocks ``baseline``, ``gradient``, ``valid_for`` and ``offsets`` of a reference file.
    """
    validity = table.valid_for
    context = {"first": validity.context_first, "last": validity.context_last}
    return without_empty(
        {
            "baseline": table.baseline,
            "gradient": table.gradient and asdict(table.gradient),
            "valid_for": {
                "context": context if any(context.values()) else None,
                "photom": validity.photom or None,
                "flat": validity.flat or None,
            },
            "offsets": [asdict(row) for row in table.rows],
        }
    )


def _validity_from_tree(block):
    context = block.get("context", {})
    return Validity(
        context_first=context.get("first"),
        context_last=context.get("last"),
        photom=_names(block.get("photom", ())),
        flat=_names(block.get("flat", ())),
    )


def _names(value):
    return (value,) if isinstance(value, str) else tuple(value)
