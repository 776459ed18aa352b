"""``modfix diff``: two tables compared."""

import click

from jwst_modfix.cli.tables import open_table
from jwst_modfix.table.combine import compare_tables
from jwst_modfix.table.describe import describe_value
from jwst_modfix.text import align

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix diff packaged field_moduleoffset.asdf        the published table and one of your own
  modfix diff old_moduleoffset.asdf new_moduleoffset.asdf
"""
_HEADER = ["array", "filter", "pupil", "", "T1", "T2", "T2 - T1", "sigmas", "unit"]


@click.command("diff", epilog=_EXAMPLES)
@click.argument("first", metavar="T1")
@click.argument("second", metavar="T2")
def command(first, second):  # numpydoc ignore=PR01
    """Compare two tables, row by row.

    Differences are T2 - T1, in mmag (offsets), mmag/arcmin (slopes) and in sigmas. Baselines and conventions of the
    gradient are converted, or refused where they cannot be.
    """
    one, other = open_table(first).table, open_table(second).table
    comparison = compare_tables(one, other)
    click.echo(f"T1  {one.name} (hash {one.digest})\nT2  {other.name} (hash {other.digest})\n")
    if comparison.pairs:
        click.echo("\n".join(align([_HEADER, *(line for pair in comparison.pairs for line in _lines(pair))])))
    for name, rows in (("T1", comparison.only_first), ("T2", comparison.only_second)):
        if rows:
            click.echo(f"\nonly in {name}")
            click.echo("\n".join(align([["", row.array, row.filter, row.pupil, _offset(row)] for row in rows])))
    click.echo("\n" + "\n".join(f"note: {note}" for note in comparison.notes))


def _lines(pair):
    """One line for the offsets, and one for the slopes."""
    one, other = pair.first, pair.second
    yield [*one.key, "offset", _offset(one), _offset(other), *_difference(pair.offset), "mmag"]
    if one.slope is None and other.slope is None:
        return
    difference = ["", ""] if pair.slope is None else _difference(pair.slope)
    yield ["", "", "", "slope", _slope(one), _slope(other), *difference, "mmag/arcmin"]


def _offset(row):
    return describe_value(row.offset, row.offset_error)


def _slope(row):
    return describe_value(row.slope, row.slope_error) or "     none"


def _difference(difference):
    return [describe_value(difference.value, difference.error), f"{difference.sigmas:+6.1f}"]
