"""A folder to start from: parameter files and a table to edit."""

from importlib import resources
from pathlib import Path

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.table.file import PACKAGED_TABLE

__all__ = ["TABLE_NAME", "start_folder"]


TABLE_NAME = "my_moduleoffset.asdf"
_CONFIGS = resources.files("jwst_modfix") / "config"
_NAMES = ("modfix.cfg", "modfix_derive.cfg", "calwebb_image3_modfix.cfg")
_UNSET = '# override_moduleoffset = "my_moduleoffset.asdf"'


def start_folder(folder):
    """Put the parameter files of the steps and a copy of the packaged table in a folder.

    They name the table by its absolute path, and so work from every working directory.
    """
    folder = Path(folder)
    contents = {
        **{name: _with_table(name, folder) for name in _NAMES},
        TABLE_NAME: PACKAGED_TABLE.read_text(encoding="utf-8"),
    }
    if existing := find_existing(folder / name for name in contents):
        raise ModuleOffsetError(f"{', '.join(existing)}: there already, and never overwritten; nothing was written")
    for name, content in contents.items():
        with written_whole(folder / name) as partial:
            partial.write_text(content, encoding="utf-8", newline="\n")
    return [folder / name for name in contents]


def _with_table(name, folder):
    """Write a parameter file, with the table's place where it names a table."""
    table = str((folder / TABLE_NAME).absolute())
    if any(character in table for character in "\"'\n$%"):
        raise ModuleOffsetError(f"{table}: a path with quotes, $ or % cannot stand in a parameter file")
    text = (_CONFIGS / name).read_text(encoding="utf-8")
    return text.replace(_UNSET, f'override_moduleoffset = "{table}"')
