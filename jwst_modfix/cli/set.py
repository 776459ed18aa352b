"""``modfix set``: change a row of a table."""

import click

from jwst_modfix.table.combine import edit_row
from jwst_modfix.table.table import ARRAYS

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix set my_moduleoffset.asdf --array long --filter F444W --offset -0.0165
  modfix set my_moduleoffset.asdf --array long --filter F444W --slope 0.004 --slope-error 0.001
  modfix set my_moduleoffset.asdf --array long --filter F444W --pupil F405N --offset 0.01 --offset-error 0.002
  modfix set packaged --array 1 --filter F150W --offset 0.013 -o my_moduleoffset.asdf
"""


@click.command("set", epilog=_EXAMPLES)
@click.argument("table")
@click.option("--array", type=click.Choice(ARRAYS), required=True, help="Array ID of the row.")
@click.option("--filter", required=True, help="As in the FILTER keyword.")
@click.option("--pupil", default="CLEAR", show_default=True, help="As in the PUPIL keyword.")
@click.option("--offset", type=float, help="z_A - z_B [mag]; positive where A measures fainter than B.")
@click.option("--offset-error", type=float, help="[mag]")
@click.option("--slope", type=float, help="k of Ma et al. (2023), Eq. 9 [mag/arcmin].")
@click.option("--slope-error", type=float, help="[mag/arcmin]")
@click.option("--direction", type=float, help="This row's own direction of the gradient [deg].")
@click.option("-o", "--output", metavar="OUT", help="Write here, and leave TABLE unchanged.")
def command(table, array, filter, pupil, output, **values):  # numpydoc ignore=PR01
    """Change a row of a table, or add one.

    The rest of the file is kept, comments included, and a line is added to its history. A new row needs --offset
    and --offset-error. A value that breaks a rule is refused, as is a filter that the array does not have, and the
    file is left unchanged.
    """
    changes = {name: value for name, value in values.items() if value is not None}
    if not changes:
        raise click.UsageError("give at least one of --offset, --offset-error, --slope, --slope-error, --direction")
    key = {"array": array, "filter": filter.upper(), "pupil": pupil.upper()}
    line, changed = edit_row(table, key, changes, output)
    click.echo(f"{line}\nwrote {output or table} (hash {changed.digest})")
