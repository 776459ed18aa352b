"""``modfix merge``: the rows of several tables in one."""

import click

from jwst_modfix.table.combine import merge_tables
from jwst_modfix.table.describe import describe_validity
from jwst_modfix.table.table import BASELINES, OffsetTable

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix merge f200w_moduleoffset.asdf f444w_moduleoffset.asdf -o field_moduleoffset.asdf
  modfix merge packaged f444w_moduleoffset.asdf -o new.asdf --prefer last     the second table's row, if in both
"""


@click.command("merge", epilog=_EXAMPLES)
@click.argument("tables", metavar="T1 T2...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", required=True, help="The table to write; never overwritten.")
@click.option("--prefer", type=click.Choice(["first", "last"]),
              help="Which row to take where two tables have one.  [default: refuse]")  # fmt: skip
@click.option("--baseline", type=click.Choice(BASELINES),
              help="Module whose flux scale is kept; needed where the tables differ.")  # fmt: skip
@click.option("--valid-for", "validity", type=click.Choice(["intersection", "union"]), default="intersection",
              show_default=True, help="Calibrations that all tables allow, or that any does.")  # fmt: skip
def command(tables, output, prefer, baseline, validity):  # numpydoc ignore=PR01
    """Join the rows of several tables.

    Tables that contradict each other (in rows, baseline, gradient or validity) are refused, with the reason.
    """
    if len(tables) < 2:
        raise click.UsageError("give at least two tables")
    options = {"prefer": prefer, "baseline": baseline, "validity": validity}
    merged = merge_tables([OffsetTable.read(name) for name in tables], **options, name=output)
    merged.write(output)
    click.echo(f"wrote {output}: {len(merged.rows)} rows, hash {merged.digest}; {describe_validity(merged.valid_for)}")
    if validity == "union":
        click.echo("note: every row is now valid for the calibrations of all tables: check that this is meant")
