"""``modfix show``: a table as a person reads it, and what was done to exposures."""

import os
from pathlib import Path

import click

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.table.describe import describe_table
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, locate_table
from jwst_modfix.table.table import OffsetTable

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix show                          the table that the correction uses by default
  modfix show my_moduleoffset.asdf
  modfix show *_modfix.fits            what was done to exposures
"""


@click.command("show", epilog=_EXAMPLES)
@click.argument("paths", metavar="[TABLE|FITS]...", nargs=-1)
def command(paths):  # numpydoc ignore=PR01
    """Print a table, or what was done to exposures.

    Of a table: offsets, slopes and their errors, the calibration that it is valid for, and how it was made.
    Of a FITS file: which table was applied to it, when, and what it took out.
    """
    problems = []
    for number, path in enumerate(paths or [os.environ.get(ENVIRONMENT_VARIABLE) or "packaged"]):
        try:
            lines = _describe(path)
        except ModuleOffsetError as error:
            problems.append(str(error))
        else:
            click.echo("\n" * (number > 0) + "\n".join(lines))
    if problems:
        raise ModuleOffsetError("; ".join(problems))


def _describe(path):
    if not path.lower().endswith((".fits", ".fits.gz")):
        return describe_table(OffsetTable.read(path), str(locate_table(path)))
    from jwst_modfix.apply.record import describe_applied

    return describe_applied(Path(path))
