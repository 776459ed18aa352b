"""The coefficient table as an ASDF file: strict reading as plain values; writing."""

import datetime
import io
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import refuse_existing, write_text, written_whole
from jwst_modfix.table.rules import SCHEMA_VERSION, check, schema_of
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable, Validity, ZeroPointRow
from jwst_modfix.table.validity import find_doubts
from jwst_modfix.text import is_url, log

ENVIRONMENT_VARIABLE = "JWST_MODFIX_REFERENCE"
PACKAGED_TABLE = Path(str(resources.files("jwst_modfix.table") / "tables" / "ma2023_table2.asdf"))
SCHEMA_URI = f"asdf://jwst-modfix.org/schemas/moduleoffset-{SCHEMA_VERSION}"

_MAX_BYTES = 1024**2  # a table of every array, filter and pupil takes 20 kB, and a MiB some ten seconds to parse
_MAX_DEPTH = 32  # a table is five levels deep; deeper text only exhausts the parser
META_DEFAULTS = {  # in the order of a file
    "reftype": "moduleoffset", "schema_version": "1.0.0", "telescope": "JWST", "instrument": {"name": "NIRCAM"},
    "description": None, "author": "unknown", "pedigree": "unknown", "useafter": "1900-01-01T00:00:00",
}  # fmt: skip
_OF_ASDF = ("asdf_library", "history")  # what asdf writes about itself; no part of the table
_HEADER = """\
#ASDF 1.0.0
#ASDF_STANDARD 1.5.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
# Module A/B flux offsets of NIRCam: edit in any text editor. offset [mag] = z_A - z_B (positive: A is brightened),
# slope [mag/arcmin] = k of Ma et al. (2023), Eq. 9; direction [deg]; origin as the frame says; zero_point [mag] of a
# detector (positive: the detector measures faint and is brightened).
"""


def today() -> str:
    """Find the date of an entry in a history."""
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"


# ---- names of files ----


def expand(name: str | os.PathLike[str], *, is_table: bool = False) -> Path:
    """Expand ``~`` and ``$VAR`` in the name of a file; of a table, ``packaged`` too."""
    if not isinstance(name, str | os.PathLike):
        raise ReferenceTableError(f"a table must be a path or the word packaged, got {name!r}")
    if not str(name).strip():
        raise ReferenceTableError("the name of the table is empty: give a path, or the word packaged")
    if is_url(name):
        raise ReferenceTableError(f"{name}: is a URL; download the file and give the copy")
    if "\0" in str(name):
        raise ReferenceTableError(f"{str(name)!a}: a path cannot have a null character")
    # A name that exists is taken as it is: the folder of the package, for one, may have a $ in its name.
    path = Path(name if os.path.exists(name) else os.path.expandvars(name))  # noqa: PTH110 - of any name
    if is_table and str(name) == "packaged" and not path.exists():
        return PACKAGED_TABLE
    return Path(os.path.expanduser(path))  # noqa: PTH111 - leaves the ~ of an unknown user as it is


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name that the file of a table cannot have."""
    if Path(path).suffix != ".asdf":
        raise ReferenceTableError(f"{path}: a module-offset table is an ASDF file: the name must end in '.asdf'")


def check_target(name: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Expand a new table's path; refuse a wrong name, a packaged or existing file."""
    path = expand(name)
    check_name(path)
    refuse_packaged(path)
    if not overwrite:
        refuse_existing([path], ReferenceTableError)
    return path


def refuse_packaged(path: Path) -> None:
    """Refuse to change a file of the package itself."""
    if path.resolve().parent == PACKAGED_TABLE.resolve().parent:
        raise ReferenceTableError(
            f"{path}: belongs to the package and is not changed; give another name, or get a copy by 'modfix init'"
        )


# ---- tables ----


def choose_table(override: Any = None) -> tuple[OffsetTable, str]:
    """Choose and log the user's, environment's or packaged table; name it for users."""
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    table = getattr(override, "table", override)  # not by way of a model, which takes half a second
    if isinstance(table, OffsetTable):
        name, source = table.name, "given as a model"
    elif override is not None:
        table, name, source = read_table(override), str(override), f"from {override}"
    elif chosen:
        table, name, source = read_table(chosen), chosen, f"from {chosen}, set by ${ENVIRONMENT_VARIABLE}"
    else:
        table, name, source = read_table(PACKAGED_TABLE), "packaged", f"from the package, {PACKAGED_TABLE}"
    log.info("Table %s (hash %s), %s", table.name, table.digest, source)
    if table.valid_for.is_empty:
        unknown = "%s names no calibration in valid_for, and is applied to any; on another calibration it is wrong"
        log.warning(unknown, table.name)
    return table, name


def read_table(
    path: str | os.PathLike[str],
    cls: type = OffsetTable,
    *,
    tree: Mapping[str, Any] | None = None,
    problems: Iterable[str] = (),
) -> Any:
    """Read a table, or make it of its file's tree; warn of doubtful values."""
    if tree is None:
        path = expand(path, is_table=True)
        tree = read_tree(path)
    table = table_from_tree(tree, str(path), cls, problems)
    for words in find_doubts(table):  # such as rows that no exposure can match
        log.warning("%s: %s", path, words)
    return table


def write_table(table: OffsetTable, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a table to a new file, whole or not at all."""
    path = check_target(path, overwrite=overwrite)
    tree = tree_from_table(table)
    table_from_tree(tree, str(path))
    write_tree(tree, path)


# ---- dataclasses and trees of plain values ----


def plain_tree(value: Any) -> Any:
    """Copy a tree as plain dicts, lists and scalars, without what is None."""
    if isinstance(value, Mapping):
        return {str(key): plain_tree(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain_tree(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def own_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy a table's tree as plain values, without what asdf writes about itself."""
    return {key: plain_tree(value) for key, value in tree.items() if key not in _OF_ASDF and value is not None}


def tree_from_table(table: OffsetTable, **meta: Any) -> dict[str, Any]:
    """Convert a table to the plain tree of its file; ``meta`` replaces its fields."""
    blocks = {
        "meta": {**META_DEFAULTS, **table.meta, **meta},
        "baseline": table.baseline,
        "gradient": table.gradient and asdict(table.gradient),
        "valid_for": table.valid_for.given(),
        "offsets": [asdict(row) for row in table.offsets] or (None if table.rows else []),
        "zero_points": [asdict(row) for row in table.zero_points] or None,
    }
    tree: dict[str, Any] = plain_tree(blocks)
    tree["meta"]["schema_version"] = needed_version(tree)
    return tree


def needed_version(tree: Mapping[str, Any]) -> str:
    """Find the first version of the schema that holds a tree."""
    new_fields = {"photmjsr_date", "photom", "subarray"}
    needs_2 = "zero_points" in tree or any(new_fields & set(row) for row in tree.get("offsets", ()))
    return SCHEMA_VERSION if needs_2 else "1.0.0"


def table_from_tree(tree: Mapping[str, Any], name: str, cls: type = OffsetTable, problems: Iterable[str] = ()) -> Any:
    """Make the table of a plain tree; report all problems at once, with their places."""
    _check_version(tree, name)
    problems = list(problems)
    meta = schema_of("meta")
    known = dict.fromkeys(("meta", "baseline", "gradient", "valid_for", "offsets", "zero_points"))  # by their classes
    known["meta"] = {**meta, "properties": dict.fromkeys(meta["properties"])}
    known["offsets"] = known["zero_points"] = {"type": "array", "minItems": 1, "items": None}
    blocks = check(tree, {**schema_of(), "properties": known}, "", problems)
    gradient = Gradient.collect(blocks["gradient"], "gradient", problems) if "gradient" in blocks else None
    rows: list[Any] = []
    for kind in (OffsetRow, ZeroPointRow):
        for number, entry in enumerate(blocks.get(kind.path[0], ()), 1):
            key: dict[str, Any] = {kind.part: "missing", "filter": "missing", "pupil": "CLEAR"}
            key = (key | entry) if isinstance(entry, dict) else {}
            words = [f"{field}={key[field]}" for field in (kind.part, "filter", "pupil", "subarray") if field in key]
            place = f"{kind.noun} {number} ({', '.join(words) or 'no mapping'})"
            if row := kind.collect(entry, place, problems):
                rows.append(row)
        if kind is OffsetRow and gradient is None and "gradient" in blocks:
            rows = []  # whose slopes would be said to have no gradient
    if not tree.keys() & {"offsets", "zero_points"}:
        problems.append("top level: missing field offsets or zero_points")
    valid_for = Validity.collect(blocks.get("valid_for", {}), "valid_for", problems) or Validity()
    try:  # with what could be made of the rest, so that all is said at once
        table = cls(rows=rows, gradient=gradient, valid_for=valid_for, name=Path(name).name,
                    meta=blocks.get("meta", {}), baseline=blocks.get("baseline"))  # fmt: skip
    except ReferenceTableError as error:
        problems += error.problems
    if problems:
        raise ReferenceTableError(name, problems)
    return table


def _check_version(tree: Mapping[str, Any], name: str) -> None:
    """Refuse a table of a later schema before judging its keys by today's."""
    meta = tree.get("meta")
    version = meta.get("schema_version") if isinstance(meta, dict) else None
    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})", str(version), re.ASCII)
    if found and tuple(map(int, found.groups())) > tuple(map(int, SCHEMA_VERSION.split("."))):
        raise ReferenceTableError(
            f"{name}: meta.schema_version is {version}, newer than {SCHEMA_VERSION}, the newest that this version of "
            "jwst_modfix reads; update jwst_modfix"
        )


# ---- text and trees of plain values ----


class _Loader(yaml.SafeLoader):
    """Plain values of a document; refuse what is unsafe or ambiguous, except asdf's."""

    depth = 0
    is_free = False
    root: Any = None

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, was_free = self.peek_event(), self.is_free  # type: ignore[no-untyped-call]
        self.depth += 1
        self.is_free |= self.depth == 2 and getattr(index, "value", None) in _OF_ASDF
        tag, problem = getattr(event, "tag", None), None
        if self.depth > _MAX_DEPTH:
            problem = "nested too deeply"
        elif not self.is_free and isinstance(event, yaml.AliasEvent):
            problem = "aliases (*) are not allowed"
        elif not self.is_free and tag is not None:
            is_scalar = isinstance(event, yaml.ScalarEvent)  # asdf writes `! 'text'` for a date
            is_allowed = tag == "!" and event.style if is_scalar else tag.startswith("tag:stsci.edu:")
            problem = None if is_allowed else f"the tag {tag!r} is not allowed"
        if problem:
            raise _refusal(event, problem)
        node: Any = super().compose_node(parent, index)
        self.root = node  # which is composed last
        if node.id != "scalar" or node.style:  # else the resolvers choose
            node.tag = _PLAIN[node.id]
        self.depth -= 1
        self.is_free = was_free
        return node

    def construct_mapping(self, node: Any, deep: bool = True) -> Any:
        tree: dict[str, Any] = {}
        for name, item in node.value:
            if node is self.root and name.value in _OF_ASDF:
                continue
            key = self.construct_object(name, deep=True)
            if not isinstance(key, str) or (not name.style and key in ("<<", "=")):
                raise _refusal(name, "a key must be plain text")
            if key in tree:
                raise _refusal(name, f"duplicate key {key!r}")
            tree[key] = self.construct_object(item, deep=True)
            if tree[key] is None:
                raise _refusal(item, f"key {key!r} has no value (is a colon missing, or a comma in a number?)")
        return tree


def _refusal(mark: Any, problem: str) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark.start_mark)


_PLAIN = {"mapping": "tag:yaml.org,2002:map", "sequence": "tag:yaml.org,2002:seq", "scalar": "tag:yaml.org,2002:str"}
_Loader.yaml_implicit_resolvers = {}  # only those below, so that dates stay text
# Numbers are plain decimal ones: YAML 1.1 would read 072 as 58 and 1:30 as 90.
for _kind, _pattern in {
    "bool": "yes|Yes|YES|true|True|TRUE|on|On|ON|no|No|NO|false|False|FALSE|off|Off|OFF",
    "null": "~|null|Null|NULL|",
    "int": "[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"(?:{_pattern})\Z"), None)


def read_tree(path: str | os.PathLike[str], content: bytes | None = None, *, is_asdf: bool = True) -> dict[str, Any]:
    """Read a file, or its content, of YAML 1.1 as plain dicts, lists and scalars."""
    # ASDF's own entries and tags are dropped. Other tags, aliases, duplicate keys and keys without a value are refused.
    content = read_bytes(Path(path)) if content is None else content
    if is_asdf:
        if not content.startswith(b"#ASDF "):
            raise ReferenceTableError(f"{path}: is not an ASDF file: it must begin with '#ASDF', got {content[:20]!r}")
        head, end, tail = content.replace(b"\r\n", b"\n").partition(b"\n...\n")
        if not end and not head.endswith(b"\n..."):
            raise ReferenceTableError(f"{path}: is cut short: the end marker '...' of the YAML document is missing")
        if tail.strip():
            reason = "must end with the end marker '...' of the YAML document; more follows it"
            raise ReferenceTableError(f"{path}: {reason}")
        content = head.removesuffix(b"\n...") + b"\n..."
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReferenceTableError(f"{path}: is not UTF-8 text: {error}") from error
    try:
        tree = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible number
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = f" (line {mark.line + 1})" if mark else ""
        raise ReferenceTableError(f"{path}: cannot be read as YAML: {problem}{line}") from error
    if not isinstance(tree, dict):
        raise ReferenceTableError(f"{path}: must hold a mapping of keys to values, got {type(tree).__name__}")
    return tree


def write_tree(tree: Mapping[str, Any], path: Path) -> None:
    """Write a plain tree as an ASDF file without binary blocks, whole or not at all."""
    write_text(path, f"{_HEADER}{to_yaml(tree, width=160)}...\n")


def to_yaml(value: Any, width: float) -> str:
    """Write plain values as YAML, short lists and mappings in one line."""
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=width, allow_unicode=True)


def read_bytes(path: Path) -> bytes:
    """Read a small regular file; a pipe or device would block or never end."""
    try:
        status = path.stat()
        is_readable = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_BYTES
        content = path.read_bytes() if is_readable else b""
    except OSError as error:
        raise ReferenceTableError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ReferenceTableError(f"{path}: is not a regular file")
    if not is_readable:
        raise ReferenceTableError(f"{path}: is larger than {_MAX_BYTES} bytes, too large for a module-offset table")
    return content


# ---- values changed in the text of a table; comments, order and layout are kept ----


class TableText:
    """A file that `read_tree` accepts, as a document with its comments and layout."""

    def __init__(self, path: Path) -> None:
        from ruamel.yaml import YAML  # late, as only edits need it
        from ruamel.yaml.resolver import VersionedResolver
        from ruamel.yaml.util import load_yaml_guess_indent

        class Verbatim(VersionedResolver):
            versioned_resolver: ClassVar[Any] = {}  # every scalar stays the text that it is

        content = read_bytes(path)
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

    def put(self, parent: Any, key: str, value: Any) -> None:
        """Set a value of a mapping, or append the only one of a list to the list in it."""
        if key not in parent:
            self._add(parent, key, value)
        elif isinstance(value, list):
            self._add(parent[key], None, value[0])
        else:
            parent[key] = self._node(value)

    def _node(self, value: Any) -> Any:
        """Make a node of the document from a plain value."""
        return self._yaml.load(to_yaml([value], width=100_000))[0]

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
        tree = read_tree(output, content)
        table: OffsetTable = read_table(output, tree=tree)
        if tree != expected:
            raise ReferenceTableError(f"{output}: its layout cannot be edited safely; edit it in a text editor")
        with written_whole(output) as partial:
            partial.write_bytes(content.replace(b"\n", self._newline))
        return table


def _last_comment(node: Any) -> tuple[Any, Any, int]:
    """Find the comment after the last value of a block: its node, key and slot."""
    last = len(node) - 1 if isinstance(node, list) else list(node)[-1]
    child = node[last]
    if isinstance(child, list | dict) and child and not child.fa.flow_style():  # type: ignore[union-attr]
        return _last_comment(child)
    return node, last, 0 if isinstance(node, list) else 2
