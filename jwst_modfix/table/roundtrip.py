"""YAML edited as text: single values replaced and entries appended, everything else left as it stands."""

import re
from pathlib import Path

import yaml

__all__ = ["YamlText"]


_END = re.compile(rb"(?m)^\.\.\.\r?$")


class YamlText:
    """The YAML document of an ASDF file, as text."""

    def __init__(self, text, rest=b""):
        self.text = text
        self._rest = rest
        self._newline = "\r\n" if "\r\n" in text else "\n"

    @classmethod
    def read(cls, path):
        """Read a file that `~jwst_modfix.table.file.read_tree` reads."""
        content = Path(path).read_bytes()
        end = _END.search(content).start()
        return cls(content[:end].decode("utf-8"), content[end:])

    def to_bytes(self):
        """Give the whole file."""
        return self.text.encode("utf-8") + self._rest

    def set(self, path, value):
        """Replace a value in a mapping, or append the key to it."""
        *parents, key = path
        parent = self._node(parents)
        node = _child(parent, key)
        if node is None:
            self._append(parent, f"{key}: {_flow(value)}")
        else:
            self._replace(node.start_mark.index, node.end_mark.index, _flow(value))

    def append_to(self, path, value):
        """Append an entry to a list, which comes into being where it is missing."""
        node = self._node(path)
        if node is None:
            self._append(self._node(path[:-1]), f"{path[-1]}: [{_flow(value)}]")
        else:
            self._append(node, _flow(value))

    def _node(self, path):
        node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        for key in path:
            node = node and _child(node, key)
        return node

    def _append(self, node, entry):
        """Put an entry behind the last of a mapping or list, in the style of the others."""
        if node.flow_style:
            self._replace(*[node.end_mark.index - 1] * 2, f", {entry}" if node.value else entry)
            return
        last = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
        dash = "" if isinstance(node, yaml.MappingNode) else "- "
        place, before = self._end_of_line(_end(last))
        self._replace(place, place, f"{before}{' ' * node.start_mark.column}{dash}{entry}{self._newline}")

    def _end_of_line(self, index):
        """Start of the line behind a value, its comment included, and a line break where the text lacks one."""
        if self.text[index - 1] == "\n":
            return index, ""
        end = self.text.find("\n", index)
        return (len(self.text), self._newline) if end < 0 else (end + 1, "")

    def _replace(self, start, end, new):
        self.text = self.text[:start] + new + self.text[end:]


def _child(node, key):
    if isinstance(node, yaml.SequenceNode):
        return node.value[key]
    return next((value for name, value in node.value if name.value == key), None)


def _end(node):
    """Where the text of a node ends; a block list or mapping is said to end only where the next token begins."""
    while not isinstance(node, yaml.ScalarNode) and not node.flow_style:
        node = node.value[-1][1] if isinstance(node, yaml.MappingNode) else node.value[-1]
    return node.end_mark.index


def _flow(value):
    """Write a value in flow style, on one line."""
    wrapped = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return wrapped.strip()[1:-1]
