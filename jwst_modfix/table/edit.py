"""Rows changed in the text of a table; comments, order and layout are kept."""

import datetime
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import written_whole
from jwst_modfix.table.file import (
    locate_table,
    parse_tree,
    read_table,
    read_text,
    read_tree,
    refuse_packaged,
    table_from_tree,
    to_yaml,
)  # fmt: skip
from jwst_modfix.table.table import OffsetRow, OffsetTable
from jwst_modfix.table.validity import find_mismatch


def edit_row(
    path: str | Path, key: Mapping[str, str], changes: Mapping[str, float], output: str | Path | None = None
) -> tuple[str, OffsetTable]:
    """Change values of a row, or add a row, with a line in the file's history: the line, and the new table."""
    path = locate_table(path)
    output = Path(output) if output else path
    refuse_packaged(output)
    if mismatch := find_mismatch(**key):
        raise ReferenceTableError(
            f"{path}: no exposure can match this row: {mismatch.in_words('--{name} {value}', ' ')}"
        )
    line = _history_line(key, read_table(path).row(**key), changes, path)
    document, expected = TableText(path), read_tree(path)
    _edit(document.tree, key, changes, line, document.node, document.add)
    _edit(expected, key, changes, line, lambda value: value, _add)
    return line, document.write(output, expected)


def _edit(tree: Any, key: Mapping[str, str], changes: Mapping[str, float], line: str, node: Any, add: Any) -> None:
    """Make the edit in a document or in a tree of plain values."""
    rows, meta = tree["offsets"], tree["meta"]
    row = next((row for row in rows if {"pupil": "CLEAR", **row}.items() >= key.items()), None)
    if row is None:
        add(rows, {**key, **changes})
        changes = {}
    for name, value in changes.items():
        if name in row:
            row[name] = node(value)
        else:
            add(row, value, name)
    if "history" in meta:
        add(meta["history"], line)
    else:
        add(meta, [line], "history")


def _add(parent: Any, value: Any, key: str | None = None) -> None:
    if key is None:
        parent.append(value)
    else:
        parent[key] = value


def _history_line(key: Mapping[str, str], row: OffsetRow | None, changes: Mapping[str, float], path: Path) -> str:
    units = {"slope": "mag/arcmin", "slope_error": "mag/arcmin", "direction": "deg"}
    new = {name: value for name, value in changes.items() if row is None or getattr(row, name) != value}
    if not new:
        raise ReferenceTableError(f"{path}: {row and row.label} has these values already; nothing to change")
    words = ", ".join(
        f"{name} " + (f"{getattr(row, name)} -> " if row else "") + f"{value!r} {units.get(name, 'mag')}"
        for name, value in new.items()
    )
    verb = "changed" if row else "added"
    label = ", ".join(f"{name}={value}" for name, value in key.items())
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, by hand: {verb} row ({label}), {words}."


class TableText:
    """The text of a file that `read_tree` accepts, as a document that keeps its comments and its layout."""

    def __init__(self, path: Path) -> None:
        from ruamel.yaml import YAML  # late, as only edits need it
        from ruamel.yaml.resolver import VersionedResolver
        from ruamel.yaml.util import load_yaml_guess_indent

        class Verbatim(VersionedResolver):
            versioned_resolver: ClassVar[Any] = {}  # every scalar stays the text that it is

        text, self._newline = read_text(path)
        start = re.search(r"^---.*\n", text, re.MULTILINE)
        begin = start.end() if start else 0
        self._header, body = text[:begin], text[begin:].removesuffix("...")
        self._yaml = YAML()
        self._yaml.Resolver, self._yaml.preserve_quotes, self._yaml.width = Verbatim, True, 100_000
        _, indent, offset = load_yaml_guess_indent(body)
        self._yaml.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
        self.tree = self._yaml.load(body)

    def node(self, value: Any) -> Any:
        """Make a node of the document from a plain value."""
        return self._yaml.load(to_yaml([value], width=100_000))[0]

    def add(self, parent: Any, value: Any, key: str | None = None) -> None:
        """Append a value to a list, or with its key to a mapping; comments that follow go behind it."""
        from ruamel.yaml.tokens import CommentToken

        token = None
        if parent and not parent.fa.flow_style():
            owner, last, slot = _last_comment(parent)
            token = owner.ca.items.get(last, [None] * 4)[slot]
        if key is None:
            parent.append(self.node(value))
        else:
            parent[key] = self.node(value)
        if token is None or "\n" not in token.value[:-1]:
            return
        own, _, following = token.value.partition("\n")  # the comment of the line itself, and the lines below it
        token.value = f"{own}\n"
        if not own:
            del owner.ca.items[last]
        owner, last, slot = _last_comment(parent)
        owner.ca.items[last] = [None] * 4
        owner.ca.items[last][slot] = CommentToken(f"\n{following}", token.start_mark, None)

    def write(self, output: Path, expected: Mapping[str, Any]) -> OffsetTable:
        """Write the file whole, if it is a valid table with the expected tree; give the table."""
        stream = io.StringIO()
        self._yaml.dump(self.tree, stream)
        text = f"{self._header}{stream.getvalue()}...\n"
        tree = parse_tree(text, output)
        table: OffsetTable = table_from_tree(tree, str(output))
        if tree != expected:
            raise ReferenceTableError(f"{output}: its layout cannot be edited safely; edit it in a text editor")
        with written_whole(output) as partial:
            partial.write_bytes(text.replace("\n", self._newline).encode())
        return table


def _last_comment(node: Any) -> tuple[Any, Any, int]:
    """Find where the document keeps the comment behind the last value of a block: its node, key and slot."""
    last = len(node) - 1 if isinstance(node, list) else list(node)[-1]
    child = node[last]
    if isinstance(child, list | dict) and child and not child.fa.flow_style():  # type: ignore[union-attr]
        return _last_comment(child)
    return node, last, 0 if isinstance(node, list) else 2
