"""``modfix init``: a folder to start from."""

import shlex

import click

from jwst_modfix.table.start import TABLE_NAME, start_folder
from jwst_modfix.text import align

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix init                      in this folder
  modfix init offsets              in the folder offsets, which is made
"""
_PURPOSE = {
    "modfix.cfg": "parameters of the correction; with the table below",
    "modfix_derive.cfg": "parameters of the derivation of a table of your own",
    "calwebb_image3_modfix.cfg": "parameters of calwebb_image3 with the correction in it",
    TABLE_NAME: "a copy of the packaged table, to edit as text or by 'modfix set'",
}


@click.command("init", epilog=_EXAMPLES)
@click.argument("folder", metavar="[DIR]", default=".")
def command(folder):  # numpydoc ignore=PR01
    """Put parameter files and a table of your own in a folder.

    Then 'strun modfix.cfg name_asn.json' corrects the members of an association with that table. Nothing is ever
    overwritten.
    """
    written = start_folder(folder)
    click.echo("\n".join(align([["wrote", str(path), _PURPOSE[path.name]] for path in written])))
    config, table = (shlex.quote(str(path)) for path in (written[0], written[-1]))
    click.echo(f"\nWhat it would do:  modfix check {table} name_asn.json")
    click.echo(f"To do it:          strun {config} name_asn.json")
