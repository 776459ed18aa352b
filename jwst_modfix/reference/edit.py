"""One row of a table's file changed in its text; comments, order and layout stay."""

import datetime
from pathlib import Path

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import written_whole
from jwst_modfix.reference.table_file import is_packaged, read_table_file
from jwst_modfix.reference.text import read_tree
from jwst_modfix.reference.yaml_text import YamlText

__all__ = ["edit_row"]

_UNITS = {
    "offset": "mag",
    "offset_error": "mag",
    "slope": "mag/arcmin",
    "slope_error": "mag/arcmin",
    "direction": "deg",
}


def edit_row(path, key, changes, output=None):
    """
    Change values of a row, or add a row, with a line in the file's history.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    key : dict
        ``array``, ``filter`` and ``pupil`` of the row.
    changes : dict
        Field to new value: of ``offset``, ``offset_error``, ``slope``, ``slope_error``, ``direction``.
    output : str or pathlib.Path, optional
        Where to write; over the file unless given.

    Returns
    -------
    str
        What was changed, as it stands in the history.

    Raises
    ------
    ReferenceTableError
        The file, or what would come of it, breaks a rule; nothing changes; the file is the package's own; or its
        layout is one that cannot be edited.
    """
    output = Path(output or path)
    if is_packaged(output):
        raise ReferenceTableError(
            f"{output}: belongs to the package and is not edited in place: give another place by -o, or take a copy "
            "by 'modfix init'"
        )
    row = read_table_file(path).table.row(**key)
    line = _history_line(key, row, changes, path)
    expected = _edited(read_tree(path), key, changes, line)
    text = YamlText.read(path)
    if row is None:
        text.append_to(["offsets"], {**key, **changes})
    else:
        place = next(i for i, item in enumerate(read_tree(path)["offsets"]) if _is_row(item, key))
        for field, value in changes.items():
            text.set(["offsets", place, field], value)
    text.append_to(["meta", "history"], line)
    _write(text, expected, output)
    return line


def _write(text, expected, output):
    """Put the file in its place if it is valid and says what was meant."""
    with written_whole(output) as partial:
        partial.write_bytes(text.to_bytes())
        try:
            read_table_file(partial)
        except ReferenceTableError as error:
            raise ReferenceTableError(str(error).replace(str(partial), str(output))) from None
        if read_tree(partial) != expected:
            raise ReferenceTableError(f"{output}: its layout cannot be edited safely: edit it in a text editor")


def _is_row(item, key):
    return {name: item.get(name, "CLEAR") for name in key} == key


def _edited(tree, key, changes, line):
    """Make the edit in the tree: what the file must say after it."""
    row = next((item for item in tree["offsets"] if _is_row(item, key)), None)
    if row is None:
        tree["offsets"].append({**key, **changes})
    else:
        row.update(changes)
    tree["meta"].setdefault("history", []).append(line)
    return tree


def _history_line(key, row, changes, path):
    if row is None:
        words = ", ".join(f"{name} {value!r} {_UNITS[name]}" for name, value in changes.items())
        verb = "added"
    else:
        new = {name: value for name, value in changes.items() if getattr(row, name) != value}
        if not new:
            raise ReferenceTableError(f"{path}: {row.label} has these values already: nothing to change")
        words = ", ".join(f"{name} {getattr(row, name)} -> {value!r} {_UNITS[name]}" for name, value in new.items())
        verb = "changed"
    label = ", ".join(f"{name}={value}" for name, value in key.items())
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, by hand: {verb} row ({label}), {words}."
