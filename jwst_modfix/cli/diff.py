"""``modfix diff``: two tables compared."""

import click

from jwst_modfix.table.combine import compare_tables
from jwst_modfix.table.describe import describe_value, wrap
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.text import align

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix diff packaged field_moduleoffset.asdf        the published table and one of your own
  modfix diff old_moduleoffset.asdf new_moduleoffset.asdf
"""


@click.command("diff", epilog=_EXAMPLES)
@click.argument("first", metavar="T1")
@click.argument("second", metavar="T2")
def command(first, second):  # numpydoc ignore=PR01
    """Compare two tables, row by row.

    Differences are T2 - T1, in mmag (offsets), mmag/arcmin (slopes) and in sigmas. Baselines and conventions of the
    gradient are converted, or refused where they cannot be.
    """
    one, other = OffsetTable.read(first), OffsetTable.read(second)
    comparison = compare_tables(one, other)
    click.echo(f"T1  {one.name} (hash {one.digest})\nT2  {other.name} (hash {other.digest})")
    offsets = [_line(pair, "offset", pair.offset) for pair in comparison.pairs]
    slopes = [_line(pair, "slope", pair.slope) for pair in comparison.pairs if _has_slope(pair)]
    for title, lines in (("offset [mmag]", offsets), ("slope [mmag/arcmin]", slopes)):
        if lines:
            header = ["array", "filter", "T1", "T2", "T2 - T1", "sigmas"]
            click.echo("\n".join(["", title, *align([header, *lines])]))
    for name, rows in (("T1", comparison.only_first), ("T2", comparison.only_second)):
        if rows:
            cells = [["", row.array, _band(row), describe_value(row.offset, row.offset_error)] for row in rows]
            click.echo("\n".join([f"\nonly in {name}, offset [mmag]", *align(cells)]))
    click.echo("\n" + "\n".join(line for note in comparison.notes for line in wrap(note, "note: ")))


def _band(row):
    return row.filter if row.pupil == "CLEAR" else f"{row.filter}+{row.pupil}"


def _has_slope(pair):
    return pair.first.slope is not None or pair.second.slope is not None


def _line(pair, name, difference):
    values = [
        describe_value(getattr(row, name), getattr(row, f"{name}_error")) or "   none"
        for row in (pair.first, pair.second)
    ]
    sigmas = (
        [] if difference is None else [describe_value(difference.value, difference.error), f"{difference.sigmas:+6.1f}"]
    )
    return [pair.first.array, _band(pair.first), *values, *sigmas]
