"""Tables as they are named on the command line."""

import os
from pathlib import Path

from jwst_modfix.reference.table_file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, read_table_file

__all__ = ["PACKAGED", "chosen_table", "open_table"]

PACKAGED = "packaged"
"""The word for the table that comes with the package."""


def open_table(name):
    """
    Open a table by its path, or by the word ``packaged``.

    Parameters
    ----------
    name : str
        What the user wrote.

    Returns
    -------
    TableFile
        The table.

    Raises
    ------
    ReferenceTableError
        The file cannot be read or breaks a rule.
    """
    is_word = name == PACKAGED and not Path(name).exists()
    return read_table_file(PACKAGED_TABLE if is_word else name)


def chosen_table():
    """
    Name the table that the step takes where none is given.

    Returns
    -------
    str
        Its path or ``packaged``.
    """
    return os.environ.get(ENVIRONMENT_VARIABLE) or PACKAGED
