"""The text of an ASDF file: read to a plain tree with every ambiguity refused, and written for people to edit."""

import re
from pathlib import Path

import yaml

from jwst_modfix.errors import ReferenceTableError

__all__ = ["read_tree", "write_tree"]

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
    """
    Read an ASDF file that holds YAML only.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    dict
        The tree, with plain dicts, lists, strings and numbers.

    Raises
    ------
    ReferenceTableError
        No such file, not an ASDF file, cut short, or not YAML; names the file and, where it has one, the line.
    """
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
    """
    Write a plain tree as an ASDF file without binary blocks.

    Parameters
    ----------
    tree : dict
        Plain dicts, lists, strings and numbers; the order of the keys is kept.
    path : str or pathlib.Path
        The file.
    """
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
