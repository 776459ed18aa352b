"""Rows changed in the text of a table; comments, order and layout are kept."""

import copy
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import written_whole
from jwst_modfix.table import file
from jwst_modfix.table.rules import check, schema_of
from jwst_modfix.table.table import OffsetRow, OffsetTable, Row, ZeroPointRow
from jwst_modfix.table.validity import find_mismatch


def edit_row(
    path: str | Path, key: Mapping[str, str], changes: Mapping[str, float], output: str | Path | None = None
) -> tuple[str, OffsetTable]:
    """Change or add a row, with a line in the file's history: line and new table.

    The key has an array or a detector, a filter, a pupil and, for a row of one subarray only, a subarray.
    """
    path = file.locate_table(path)
    target = file.check_target(output) if output else path
    file.refuse_packaged(target)
    kind = OffsetRow if "array" in key else ZeroPointRow
    problems: list[str] = []
    for field, rule in schema_of(*kind.path)["properties"].items():
        if field in key:
            check(key[field], rule, f"--{field}", problems)
    if problems:
        raise ReferenceTableError(str(path), problems)
    identity = (key[kind.part], key["filter"], key["pupil"], key.get("subarray", ""))
    if mismatch := find_mismatch(*identity):
        raise ReferenceTableError(
            f"{path}: no exposure can match this row: {mismatch.in_words('--{name} {value}', ' ')}"
        )
    before = file.read_tree(path)
    rows = file.table_from_tree(before, str(path)).rows
    line = _history_line(key, next((row for row in rows if row.identity == identity), None), changes, path)
    after = _edit(before, f"{kind.kind}s", key, changes, line)
    document = TableText(path)
    document.update(document.tree, before, after)
    return line, document.write(target, after)


def _edit(tree: Any, block: str, key: Mapping[str, str], changes: Mapping[str, float], line: str) -> Any:
    """Make the edit in a copy of a tree of plain values."""
    tree = copy.deepcopy(tree)
    rows, meta = tree.setdefault(block, []), tree["meta"]
    place = {"pupil": "CLEAR", "subarray": None, **key}
    row = next((row for row in rows if {"pupil": "CLEAR", "subarray": None, **row}.items() >= place.items()), None)
    if row is None:
        rows.append({**key, **changes})
    else:
        row.update(changes)
    meta.setdefault("history", []).append(line)
    if "schema_version" in meta and (version := file.needed_version(tree)) != "1.0.0":
        meta["schema_version"] = version
    return tree


def _history_line(key: Mapping[str, str], row: Row | None, changes: Mapping[str, float], path: Path) -> str:
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
    return f"{file.today()}, by hand: {verb} row ({label}), {words}."


class TableText:
    """A file that `read_tree` accepts, as a document with its comments and layout."""

    def __init__(self, path: Path) -> None:
        from ruamel.yaml import YAML  # late, as only edits need it
        from ruamel.yaml.resolver import VersionedResolver
        from ruamel.yaml.util import load_yaml_guess_indent

        class Verbatim(VersionedResolver):
            versioned_resolver: ClassVar[Any] = {}  # every scalar stays the text that it is

        content = file.read_bytes(path)
        self._newline = b"\r\n" if b"\r\n" in content else b"\n"
        text = content.replace(b"\r\n", b"\n").decode("utf-8-sig").rstrip().removesuffix("...")
        start = re.search(r"^---.*\n", text, re.MULTILINE)
        begin = start.end() if start else 0
        self._header, body = text[:begin], text[begin:]
        self._yaml = YAML()
        self._yaml.Resolver, self._yaml.preserve_quotes, self._yaml.width = Verbatim, True, 100_000
        _, indent, offset = load_yaml_guess_indent(body)
        self._yaml.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
        self.tree = self._yaml.load(body)

    def update(self, node: Any, before: Any, after: Any) -> None:
        """Make what was added and changed between two trees in the node of the first one."""
        known = dict(_items(before))
        for key, value in _items(after):
            if key not in known:
                self._add(node, key, value)
            elif isinstance(value, dict | list):
                self.update(node[key], known[key], value)
            elif value != known[key]:
                node[key] = self._node(value)

    def _node(self, value: Any) -> Any:
        """Make a node of the document from a plain value."""
        return self._yaml.load(file.to_yaml([value], width=100_000))[0]

    def _add(self, parent: Any, key: Any, value: Any) -> None:
        """Append to a list, or with a key to a mapping; comments after it stay last."""
        from ruamel.yaml.tokens import CommentToken

        token = None
        if parent and not parent.fa.flow_style():
            owner, last, slot = _last_comment(parent)
            token = owner.ca.items.get(last, [None] * 4)[slot]
        if isinstance(parent, list):
            parent.append(self._node(value))
        else:
            parent[key] = self._node(value)
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
        """Write the file if it is a valid table with the expected tree; return the table."""
        stream = io.StringIO()
        self._yaml.dump(self.tree, stream)
        content = f"{self._header}{stream.getvalue()}...\n".encode()
        tree = file.parse_tree(content, output)
        table: OffsetTable = file.table_of_file(tree, output)
        if tree != expected:
            raise ReferenceTableError(f"{output}: its layout cannot be edited safely; edit it in a text editor")
        with written_whole(output) as partial:
            partial.write_bytes(content.replace(b"\n", self._newline))
        return table


def _items(block: Any) -> Iterable[tuple[Any, Any]]:
    return block.items() if isinstance(block, dict) else enumerate(block)


def _last_comment(node: Any) -> tuple[Any, Any, int]:
    """Find the comment after the last value of a block: its node, key and slot."""
    last = len(node) - 1 if isinstance(node, list) else list(node)[-1]
    child = node[last]
    if isinstance(child, list | dict) and child and not child.fa.flow_style():  # type: ignore[union-attr]
        return _last_comment(child)
    return node, last, 0 if isinstance(node, list) else 2
