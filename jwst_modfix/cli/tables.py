"""Tables as they are named on the command line."""

import os
from pathlib import Path

from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, read_table_file

__all__ = ["chosen_table", "locate_table", "open_table"]

_PACKAGED = "packaged"  # the word for the table that comes with the package


def locate_table(name):
    """Find a table's file by its path, or by the word ``packaged``."""
    return PACKAGED_TABLE if name == _PACKAGED and not Path(name).exists() else name


def open_table(name):
    """Open a table by its path, or by the word ``packaged``."""
    return read_table_file(locate_table(name))


def chosen_table():
    """Name the table that the step takes where none is given."""
    return os.environ.get(ENVIRONMENT_VARIABLE) or _PACKAGED
