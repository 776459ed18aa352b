"""The coefficient table as an ASDF file: strict reading to plain values, writing, and edits that keep the layout."""

import io
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import yaml

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.table.rules import BrokenRuleError, hold, list_of, located, one_of
from jwst_modfix.table.table import (
    BASELINES,
    DETECTORS,
    META_RULES,
    Gradient,
    OffsetRow,
    OffsetTable,
    Validity,
    ZeroPointRow,
)
from jwst_modfix.table.validity import find_mismatch
from jwst_modfix.text import get_logger

log = get_logger(__name__)

ENVIRONMENT_VARIABLE = "JWST_MODFIX_REFERENCE"
PACKAGED_TABLE = Path(str(resources.files("jwst_modfix.table") / "tables" / "ma2023_table2.asdf"))
SCHEMA_VERSION = "2.0.0"  # written where a table needs it; others are written as 1.0.0, which older versions read
SCHEMA_URI = f"asdf://jwst-modfix.org/schemas/moduleoffset-{SCHEMA_VERSION}"

_MAX_BYTES = 1024**2  # a table of every array, filter and pupil takes 20 kB, and a MiB some ten seconds to parse
_MAX_DEPTH = 32  # a table is five levels deep; deeper text only exhausts the parser
_META_DEFAULTS = {  # in the order of a file
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


def locate_table(name: str | os.PathLike[str]) -> Path:
    """Find a table's file by its path, with ``~`` and ``$VAR`` expanded, or by the word ``packaged``."""
    path = Path(os.path.expandvars(name)).expanduser()
    return PACKAGED_TABLE if str(name) == "packaged" and not path.exists() else path


def choose_table(override: Any = None) -> tuple[OffsetTable, str]:
    """Choose the user's own table, else the environment's, else the packaged one: the table, and where it is from."""
    table = getattr(override, "table", override)  # not by way of a model, which takes half a second
    if isinstance(table, OffsetTable):
        return table, "given as a model"
    if override:
        return read_table(override), f"from {override}"
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    if chosen:
        return read_table(chosen), f"from {chosen}, set by ${ENVIRONMENT_VARIABLE}"
    return read_table(PACKAGED_TABLE), f"from the package, {PACKAGED_TABLE}"


def refuse_packaged(path: Path) -> None:
    """Refuse to change a file of the package itself."""
    if path.resolve().parent == PACKAGED_TABLE.resolve().parent:
        raise ReferenceTableError(
            f"{path}: belongs to the package and is not changed; give another name, or get a copy by 'modfix init'"
        )


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a name that the file of a table cannot have."""
    if Path(path).suffix != ".asdf":
        raise ReferenceTableError(f"{path}: a module-offset table is an ASDF file: the name must end in '.asdf'")


def refuse_overwriting(path: str | os.PathLike[str]) -> None:
    """Refuse to write over a file."""
    if find_existing([path]):
        raise ReferenceTableError(f"{path}: exists already and is not overwritten; give another name or remove it")


def read_table(path: str | os.PathLike[str], cls: type = OffsetTable) -> Any:
    """Read a table, and warn of rows that no exposure can match."""
    path = locate_table(path)
    table = table_from_tree(read_tree(path), str(path), cls)
    for row in (*table.rows, *table.zero_points):
        if mismatch := find_mismatch(row.array, row.filter, row.pupil):
            log.warning("%s: %s can never match an exposure: %s", path, row.label, mismatch.in_words())
    return table


def write_table(table: OffsetTable, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a table to a new file, whole or not at all."""
    path = Path(os.path.expandvars(path)).expanduser()
    check_name(path)
    refuse_packaged(path)
    if not overwrite:
        refuse_overwriting(path)
    tree = tree_from_table(table)
    table_from_tree(tree, str(path))
    with written_whole(path) as partial:
        write_tree(tree, partial)


# ---- dataclasses and trees of plain values ----


def plain_tree(value: Any) -> Any:
    """Copy a tree as plain dicts, lists and scalars, without what is None."""
    if isinstance(value, Mapping):
        return {str(key): plain_tree(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [plain_tree(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def own_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the tree of a table as plain values, without what asdf writes about itself."""
    tree = {key: value for key, value in tree.items() if key not in _OF_ASDF}
    plain: dict[str, Any] = plain_tree(tree)
    return plain


def tree_from_table(table: OffsetTable, **meta: Any) -> dict[str, Any]:
    """Write a table as the plain tree of its file; ``meta`` replaces fields of the table's own."""
    validity = table.valid_for
    context = {"first": validity.context_first, "last": validity.context_last}
    tree: dict[str, Any] = plain_tree(
        {
            "meta": {**_META_DEFAULTS, **table.meta, **meta},
            "baseline": table.baseline,
            "gradient": table.gradient and asdict(table.gradient),
            "valid_for": {
                "context": context if any(context.values()) else None,
                "photom": validity.photom or None,
                "flat": validity.flat or None,
            },
            "offsets": [asdict(row) for row in table.rows] or (None if table.zero_points else []),
            "zero_points": [asdict(row) for row in table.zero_points] or None,
        }
    )
    tree["meta"]["schema_version"] = SCHEMA_VERSION if _needs_schema_2(table) else "1.0.0"
    return tree


def _needs_schema_2(table: OffsetTable) -> bool:
    return bool(table.zero_points) or any(row.photmjsr_date or row.photom or row.subarray for row in table.rows)


def table_from_tree(tree: Any, name: str, cls: type = OffsetTable) -> Any:
    """Make the table that a tree describes; report all that is wrong at once, each with its place."""
    tree = own_tree(tree)
    _check_version(tree, name)
    required = ("meta", "valid_for") if "zero_points" in tree else ("meta", "baseline", "valid_for", "offsets")
    required += ("baseline",) * ("zero_points" in tree and "offsets" in tree)
    blocks, broken = hold(_BLOCKS, tree, required=required)
    problems = [f"{place or 'top level'}: {problem}" for place, problem in broken]
    meta, broken = hold(META_RULES, blocks.pop("meta", {}), _REQUIRED_META)
    problems += located("meta", broken)
    validity = _validity(blocks.pop("valid_for", {}), problems)
    has_gradient = "gradient" in blocks
    gradient = Gradient.collect("gradient", blocks.pop("gradient"), problems) if has_gradient else None
    rows = _collect(OffsetRow, blocks.pop("offsets", ()), problems)
    zero_points = _collect(ZeroPointRow, blocks.pop("zero_points", ()), problems)
    if gradient is None and has_gradient:
        rows = []  # whose slopes would be said to have no gradient
    blocks.setdefault("baseline", "B" if rows else None)
    try:  # with what could be made of the rest, so that all is said at once
        table = cls(rows=rows, zero_points=zero_points, gradient=gradient, valid_for=validity, meta=meta,
                    name=Path(name).name, **blocks)  # fmt: skip
    except ReferenceTableError as error:
        problems.append(str(error).removeprefix(f"{Path(name).name}: "))
    if problems:
        raise ReferenceTableError(f"{name}: " + "; ".join(problems))
    return table


def _collect(kind: Any, entries: Any, problems: list[str]) -> list[Any]:
    """Make the rows of a block that break no rule."""
    key, name = ("detector", "zero point") if kind is ZeroPointRow else ("array", "row")
    places = [f"{name} {number} ({_key_in_words(row, key)})" for number, row in enumerate(entries, 1)]
    rows = [kind.collect(place, row, problems) for place, row in zip(places, entries, strict=True)]
    return [row for row in rows if row is not None]


def _check_version(tree: Mapping[str, Any], name: str) -> None:
    """Refuse a table of a later schema before judging its keys by today's."""
    meta = tree.get("meta")
    version = meta.get("schema_version") if isinstance(meta, dict) else None
    numbers = str(version).split(".")
    if not all(number.isdecimal() and len(number) < 10 for number in numbers):
        return
    if [int(number) for number in numbers] > [int(number) for number in SCHEMA_VERSION.split(".")]:
        raise ReferenceTableError(
            f"{name}: meta.schema_version is {version}, newer than {SCHEMA_VERSION}, the newest that this version of "
            "jwst_modfix reads; update jwst_modfix"
        )


def _validity(block: Any, problems: list[str]) -> Validity:
    """Make the validity of its block, whose contexts are one level deeper."""
    known, broken = hold(dict.fromkeys(("context", "photom", "flat"), _filled), block)
    problems += located("valid_for", broken)
    ends, broken = hold(dict.fromkeys(("first", "last"), _filled), known.pop("context", {}))
    problems += located("valid_for.context", broken)
    contexts = {f"context_{end}": context for end, context in ends.items()}
    return Validity.collect("valid_for", known | contexts, problems) or Validity()


def _filled(value: Any) -> Any:
    """Accept anything but an empty list or mapping, as a rule."""
    if isinstance(value, list | dict) and not value:
        raise BrokenRuleError("must have at least 1 entry, got 0")
    return value


def _rows(value: Any) -> Any:
    """Accept a list that is not empty, as a rule."""
    return list_of(lambda row: row)(_filled(value))


_BLOCKS = {
    "meta": lambda value: value,
    "baseline": one_of((*BASELINES, *DETECTORS)),
    "gradient": lambda value: value,
    "valid_for": lambda value: value,
    "offsets": _rows,
    "zero_points": _rows,
}
_REQUIRED_META = ("reftype", "telescope", "instrument", "description", "author", "pedigree", "useafter")


def _key_in_words(row: Any, key: str) -> str:
    if not isinstance(row, dict):
        return "no mapping"
    first, filter = row.get(key, "missing"), row.get("filter", "missing")
    subarray = f", subarray={row['subarray']}" if "subarray" in row else ""
    return f"{key}={first}, filter={filter}, pupil={row.get('pupil', 'CLEAR')}{subarray}"


# ---- text and trees of plain values ----


class _PlainLoader(yaml.SafeLoader):
    """YAML 1.1 as plain dicts, lists and scalars: ASDF's tags are dropped; others, aliases and double keys refused."""

    depth = 0
    of_asdf = False  # inside what asdf writes about itself, which may have aliases and is not read

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        outside, self.depth = self.of_asdf, self.depth + 1
        self.of_asdf = outside or (self.depth == 2 and getattr(index, "value", None) in _OF_ASDF)
        if problem := _problem_of_event(event, self.depth, self.of_asdf):
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        if node is not None and getattr(event, "tag", None):
            # By the tag "!", the parser would take the quoted text '12' for a number.
            node.tag = self.resolve(type(node), None, (False, False))
        self.of_asdf, self.depth = outside, self.depth - 1
        return node

    def construct_document(self, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            node.value = [pair for pair in node.value if pair[0].value not in _OF_ASDF]
        return super().construct_document(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if problem := _problem_of_pair(key_node, value_node, seen):
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _problem_of_event(event: Any, depth: int, of_asdf: bool) -> str | None:
    if isinstance(event, yaml.AliasEvent):
        return None if of_asdf else "aliases (*) are not allowed"
    is_text = event.tag == "!" and getattr(event, "style", None) in ("'", '"')  # asdf writes `! 'text'` for a date
    is_block = of_asdf or isinstance(event, yaml.CollectionStartEvent)
    if event.tag and not is_text and not (is_block and event.tag.startswith("tag:stsci.edu:")):
        return f"the tag {event.tag!r} is not allowed"
    return "nested too deeply" if depth > _MAX_DEPTH else None


def _problem_of_pair(key_node: Any, value_node: Any, seen: set[str]) -> str | None:
    key = key_node.value
    if key_node.tag != "tag:yaml.org,2002:str":
        return "a key must be plain text"
    if key in seen:
        return f"duplicate key {key!r}"
    if value_node.tag == "tag:yaml.org,2002:null":
        return f"key {key!r} has no value (is a colon missing, or a comma in a number?)"
    return None


# Numbers are plain decimal ones: YAML 1.1 would read 072 as 58 and 1:30 as 90.
_PlainLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if not pair[0].endswith((":int", ":float"))]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_PlainLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
# Dates stay the text that they are in every other reference file.
_PlainLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def read_tree(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the tree of an ASDF file that holds YAML only, without what asdf writes about itself."""
    return _parse_tree(_read_bytes(Path(path)), path)


def write_tree(tree: Mapping[str, Any], path: Path) -> None:
    """Write a plain tree as an ASDF file without binary blocks."""
    path.write_text(f"{_HEADER}{_to_yaml(tree, width=160)}...\n", encoding="utf-8", newline="\n")


def _to_yaml(value: Any, width: float) -> str:
    return yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=width, allow_unicode=True)


def _parse_tree(content: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Parse the bytes of a file."""
    text = _yaml_text(content, path)
    try:
        tree = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        line = f" (line {mark.line + 1})" if mark else ""
        raise ReferenceTableError(f"{path}: cannot be read as YAML: {problem}{line}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # e.g. an impossible number
        raise ReferenceTableError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ReferenceTableError(f"{path}: must hold a mapping of keys to values, got {type(tree).__name__}")
    return tree


def _read_bytes(path: Path) -> bytes:
    """Read a regular file up to the limit; a pipe or device would block or never end."""
    try:
        if path.exists() and not path.is_file():
            raise ReferenceTableError(f"{path}: is not a regular file")
        with path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ReferenceTableError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _yaml_text(content: bytes, path: str | os.PathLike[str]) -> str:
    """Take the YAML document out of an ASDF file, from its header to its end marker."""
    if not content.startswith(b"#ASDF "):
        raise ReferenceTableError(f"{path}: is not an ASDF file: it must begin with '#ASDF', got {content[:20]!r}")
    if len(content) > _MAX_BYTES:
        raise ReferenceTableError(f"{path}: is larger than {_MAX_BYTES} bytes, too large for a module-offset table")
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if b"..." not in lines:
        raise ReferenceTableError(f"{path}: is cut short: the end marker '...' of the YAML document is missing")
    end = lines.index(b"...") + 1
    if any(line.strip() for line in lines[end:]):
        raise ReferenceTableError(f"{path}: must end with the end marker '...' of the YAML document; more follows it")
    try:
        return b"\n".join(lines[:end]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReferenceTableError(f"{path}: is not UTF-8 text: {error}") from error


# ---- edits that keep comments, order and layout ----


class TableText:
    """The text of a file that `read_tree` accepts, as a document that keeps its comments and its layout."""

    def __init__(self, path: Path) -> None:
        from ruamel.yaml import YAML  # late, as only edits need it
        from ruamel.yaml.resolver import VersionedResolver
        from ruamel.yaml.util import load_yaml_guess_indent

        class Verbatim(VersionedResolver):
            versioned_resolver: ClassVar[Any] = {}  # every scalar stays the text that it is

        self._path, content = path, _read_bytes(path)
        text = _yaml_text(content, path)
        self._newline = "\r\n" if b"\r\n" in content else "\n"
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
        return self._yaml.load(_to_yaml([value], width=100_000))[0]

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
        content = f"{self._header}{stream.getvalue()}...\n".replace("\n", self._newline).encode()
        tree = _parse_tree(content, output)
        table: OffsetTable = table_from_tree(tree, str(output))
        if tree != expected:
            raise ReferenceTableError(f"{output}: its layout cannot be edited safely; edit it in a text editor")
        with written_whole(output) as partial:
            partial.write_bytes(content)
        return table


def _last_comment(node: Any) -> tuple[Any, Any, int]:
    """Find where the document keeps the comment behind the last value of a block: its node, key and slot."""
    last = len(node) - 1 if isinstance(node, list) else list(node)[-1]
    child = node[last]
    if isinstance(child, list | dict) and child and not child.fa.flow_style():  # type: ignore[union-attr]
        return _last_comment(child)
    return node, last, 0 if isinstance(node, list) else 2
