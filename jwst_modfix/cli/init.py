"""``modfix init``: a folder to start from."""

import shlex
from importlib import resources
from pathlib import Path

import click

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.table.describe import wrap
from jwst_modfix.table.file import PACKAGED_TABLE

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix init                      in this folder
  modfix init offsets              in the folder offsets, which is made
"""
_TABLE_NAME = "my_moduleoffset.asdf"
_UNSET = f'# override_moduleoffset = "{_TABLE_NAME}"'
_PURPOSE = {
    "modfix.cfg": "parameters of the correction; with the table below",
    "modfix_derive.cfg": "parameters of the derivation of a table of your own",
    "calwebb_image3_modfix.cfg": "parameters of calwebb_image3 with the correction in it",
    _TABLE_NAME: "a copy of the packaged table, to edit as text or by 'modfix set'",
}


@click.command("init", epilog=_EXAMPLES)
@click.argument("folder", metavar="[DIR]", default=".")
def command(folder):  # numpydoc ignore=PR01
    """Put parameter files and a table of your own in a folder.

    Then 'strun modfix.cfg name_asn.json' corrects the members of an association with that table. Nothing is
    overwritten.
    """
    folder = Path(folder).expanduser()
    contents = {name: _read(name, folder) for name in _PURPOSE}
    if existing := find_existing(folder / name for name in contents):
        raise ModuleOffsetError(f"{', '.join(existing)}: exists already and is not overwritten; nothing was written")
    for name, content in contents.items():
        with written_whole(folder / name) as partial:
            partial.write_text(content, encoding="utf-8", newline="\n")
        click.echo("\n".join([f"wrote {folder / name}", *wrap(_PURPOSE[name], "      ")]))
    config, table = (shlex.quote(str(folder / name)) for name in ("modfix.cfg", _TABLE_NAME))
    click.echo(f"\nWhat it would do:  modfix check {table} name_asn.json")
    click.echo(f"To do it:          strun {config} name_asn.json")


def _read(name, folder):
    """Read a file of the package; a parameter file names the table by its absolute path, to work from anywhere."""
    if name == _TABLE_NAME:
        return PACKAGED_TABLE.read_text(encoding="utf-8")
    table = str((folder / _TABLE_NAME).absolute())
    if any(character in table for character in "\"'\n$%"):
        raise ModuleOffsetError(f"{table}: a path with quotes, $ or % cannot be used in a parameter file")
    text = (resources.files("jwst_modfix") / "config" / name).read_text(encoding="utf-8")
    return text.replace(_UNSET, f'override_moduleoffset = "{table}"')
