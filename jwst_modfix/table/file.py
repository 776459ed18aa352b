"""The coefficient table as an ASDF file: text in and out."""

import re
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import yaml

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.table.rules import check_tree
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable, Validity

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "PACKAGED_TABLE",
    "TableFile",
    "check_name",
    "is_packaged",
    "read_table_file",
    "read_tree",
    "refuse_overwriting",
    "table_from_tree",
    "tree_from_table",
    "without_empty",
    "write_table_file",
    "write_tree",
]


_MAX_BYTES = 1024**2  # a table of every array, filter and pupil takes 20 kB, and a MiB some ten seconds to parse
_HEADER = """\
#ASDF 1.0.0
#ASDF_STANDARD 1.5.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
# Module A/B flux offsets of NIRCam: edit in any text editor. offset [mag] = z_A - z_B (positive: A is brightened),
# slope [mag/arcmin] = k of Ma et al. (2023), Eq. 9; direction [deg]; origin as the frame says.
"""
_MAX_DEPTH = 32  # a table is five levels deep; deeper text only exhausts the parser


class _PlainLoader(yaml.SafeLoader):
    """YAML 1.1 as plain dicts, lists and scalars: ASDF's tags are dropped; others, aliases and double keys refused."""

    def compose_node(self, parent, index):
        event = self.peek_event()
        self.depth = getattr(self, "depth", 0) + 1
        problem = _problem_of_event(event, self.depth)
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, value_node in node.value:
            problem = _problem_of_pair(key_node, value_node, seen)
            if problem:
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _problem_of_event(event, depth):
    if isinstance(event, yaml.AliasEvent):
        return "aliases (*) are not allowed"
    if event.tag and not event.tag.startswith("tag:stsci.edu:"):
        return f"the tag {event.tag!r} is not allowed"
    if depth > _MAX_DEPTH:
        return "nested too deeply"
    return None


def _problem_of_pair(key_node, value_node, seen):
    key = key_node.value
    if key_node.tag != "tag:yaml.org,2002:str":
        return "a key must be plain text"
    if key in seen:
        return f"key {key!r} stands twice"
    if value_node.tag == "tag:yaml.org,2002:null":
        return f"key {key!r} has no value (is a colon missing, or a comma in a number?)"
    return None


def _construct_untagged(loader, _suffix, node):
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_PlainLoader.add_multi_constructor("tag:stsci.edu:", _construct_untagged)
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


def read_tree(path):
    """Read an ASDF file that holds YAML only."""
    text = _yaml_text(Path(path))
    try:
        tree = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ReferenceTableError(f"{path}: {_explain(error)}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # e.g. an impossible number
        raise ReferenceTableError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ReferenceTableError(f"{path}: must hold a mapping of keys to values, got {type(tree).__name__}")
    return tree


def write_tree(tree, path):
    """Write a plain tree as an ASDF file without binary blocks."""
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=160, allow_unicode=True)
    Path(path).write_text(f"{_HEADER}{text}...\n", encoding="utf-8", newline="\n")


def _yaml_text(path):
    """Take the YAML document out of an ASDF file, from its header to its end marker."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ReferenceTableError(f"{path}: cannot be read: {error.strerror or error}") from error
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


def _explain(error):
    """Say in one line what is wrong with the YAML and where."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"cannot be read as YAML: {problem}" + (f" (line {mark.line + 1})" if mark else "")


def without_empty(value):
    """Leave out what is None, and make plain copies of the rest."""
    if isinstance(value, dict):
        return {str(key): without_empty(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_empty(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def table_from_tree(tree, name):
    """Build the table that a checked tree describes."""
    tree = without_empty(tree)
    check_tree(tree, name)
    gradient = tree.get("gradient")
    return OffsetTable(
        rows=tuple(OffsetRow(**row) for row in tree["offsets"]),
        baseline=tree["baseline"],
        gradient=gradient and Gradient(**{**gradient, "origin": tuple(gradient["origin"])}),
        valid_for=_validity_from_tree(tree["valid_for"]),
        name=name,
    )


def tree_from_table(table):
    """Write a table as a plain tree."""
    validity = table.valid_for
    context = {"first": validity.context_first, "last": validity.context_last}
    return without_empty(
        {
            "baseline": table.baseline,
            "gradient": table.gradient and asdict(table.gradient),
            "valid_for": {
                "context": context if any(context.values()) else None,
                "photom": validity.photom or None,
                "flat": validity.flat or None,
            },
            "offsets": [asdict(row) for row in table.rows],
        }
    )


def _validity_from_tree(block):
    context = block.get("context", {})
    return Validity(
        context_first=context.get("first"),
        context_last=context.get("last"),
        photom=_names(block.get("photom", ())),
        flat=_names(block.get("flat", ())),
    )


def _names(value):
    return (value,) if isinstance(value, str) else tuple(value)


ENVIRONMENT_VARIABLE = "JWST_MODFIX_REFERENCE"
PACKAGED_TABLE = resources.files("jwst_modfix.table") / "tables" / "ma2023_table2.asdf"


@dataclass(frozen=True, eq=False)
class TableFile:
    """
    A table and its metadata.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    meta : dict
        Its block ``meta``.
    table : OffsetTable
        The table, named after the file.
    """

    path: Path
    meta: dict
    table: OffsetTable


def read_table_file(path):
    """Read a table and its metadata."""
    tree = read_tree(path)
    table = replace(table_from_tree(tree, str(path)), name=Path(path).name)
    return TableFile(Path(path), tree["meta"], table)


def is_packaged(path):
    """Tell whether a file is one of the package's own tables."""
    return Path(path).resolve().parent == Path(str(PACKAGED_TABLE)).resolve().parent


def write_table_file(path, meta, table):
    """Write a new file, whole or not at all."""
    refuse_overwriting(path)
    check_name(path)
    tree = without_empty({"meta": meta, **tree_from_table(table)})
    table_from_tree(tree, str(path))
    with written_whole(path) as partial:
        write_tree(tree, partial)


def check_name(path):
    """Refuse a name that the file of a table cannot have."""
    if Path(path).suffix != ".asdf":
        raise ReferenceTableError(f"{path}: a module-offset table is an ASDF file: the name must end in '.asdf'")


def refuse_overwriting(path):
    """Refuse to write over a file."""
    if find_existing([path]):
        raise ReferenceTableError(f"{path}: there already, and never overwritten; give another name or remove it")
