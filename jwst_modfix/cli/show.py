"""``modfix show``: a table as a person reads it, and what was done to exposures."""

from pathlib import Path

import click

from jwst_modfix.cli.tables import chosen_table, open_table
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.table.describe import describe_table

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix show                          the table that the correction takes unless told otherwise
  modfix show my_moduleoffset.asdf
  modfix show *_modfix.fits            what was done to exposures
"""


@click.command("show", epilog=_EXAMPLES)
@click.argument("paths", metavar="[TABLE|FITS]...", nargs=-1)
def command(paths):  # numpydoc ignore=PR01
    """Print a table, or what was done to exposures.

    Of a table: offsets, slopes and their errors, the calibration that it is valid for, and how it came about.
    Of a FITS file: which table was applied to it, when, and what it took out.
    """
    problems = []
    for number, path in enumerate(paths or [chosen_table()]):
        try:
            lines = _describe_exposure(path) if path.lower().endswith((".fits", ".fits.gz")) else _describe(path)
            click.echo("\n" * (number > 0) + "\n".join(lines))
        except ModuleOffsetError as error:
            problems.append(str(error))
    if problems:
        raise ModuleOffsetError("; ".join(problems))


def _describe(path):
    return describe_table(open_table(path))


def _describe_exposure(path):
    from jwst_modfix.apply.record import describe_applied

    return describe_applied(Path(path))
