"""Single entries of an ASDF file read and replaced in its YAML, with every other entry, tag and block kept."""

import yaml

from jwst_modfix.embedded import LOADER, compose_asdf

__all__ = ["AsdfText"]

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BLOCK_INDEX = b"#ASDF BLOCK INDEX"  # offsets of blocks, optional, and wrong as soon as the YAML changes its length


class AsdfText:
    """The YAML of an ASDF file, entry by entry."""

    def __init__(self, content):
        self._root, blocks = compose_asdf(content)
        self._header = content[: content.index(b"%YAML")]
        self._blocks = blocks.partition(_BLOCK_INDEX)[0]

    def get(self, path):
        """Read one entry."""
        node = self._node(path)
        if node is None:
            return None
        loader = LOADER("")
        try:
            return loader.construct_document(node)
        finally:
            loader.dispose()

    def replace(self, path, value):
        """Replace one entry."""
        *parents, last = path.split(".")
        node = self._root
        for key in parents:
            pair = _find(node, key)
            if pair is None:
                if value is None:
                    return
                pair = (_key(key), yaml.MappingNode("tag:yaml.org,2002:map", []))
                node.value.append(pair)
            node = pair[1]
        node.value = [pair for pair in node.value if pair[0].value != last]
        if value is not None:
            new = yaml.SafeDumper("", default_flow_style=None).represent_data(value)
            node.value.append((_key(last), new))

    def extract_wcs(self, path, last=None):
        """Make an ASDF file of a gWCS alone."""
        node = self._node(path)
        if node is None:
            return None
        return self._serialize(yaml.MappingNode(self._root.tag, [(_key("wcs"), _cut(node, last))]))

    def to_bytes(self):
        """Write the file."""
        return self._serialize(self._root)

    def _node(self, path):
        node = self._root
        for key in path.split("."):
            pair = _find(node, key)
            if pair is None:
                return None
            node = pair[1]
        return node

    def _serialize(self, root):
        text = yaml.serialize(
            root,
            Dumper=_DUMPER,
            encoding="utf-8",
            explicit_start=True,
            explicit_end=True,
            version=(1, 1),
            tags={"!": "tag:stsci.edu:asdf/"},
            allow_unicode=True,
        )
        return self._header + text + self._blocks


def _cut(wcs, last):
    """End the steps of a gWCS at a frame, whose transform to the next is dropped."""
    steps = _child(wcs, "steps")
    names = [_child(_child(step, "frame"), "name") for step in getattr(steps, "value", ())]
    names = [name and name.value for name in names]
    index = names.index(last) if names.count(last) == 1 else 0
    if index == 0:
        return wcs
    frame = yaml.MappingNode(steps.value[index].tag, [_find(steps.value[index], "frame")])
    kept = yaml.SequenceNode(steps.tag, [*steps.value[:index], frame])
    return yaml.MappingNode(wcs.tag, [(key, kept if value is steps else value) for key, value in wcs.value])


def _child(node, key):
    pair = _find(node, key) if isinstance(node, yaml.MappingNode) else None
    return pair and pair[1]


def _find(node, key):
    return next((pair for pair in node.value if pair[0].value == key), None)


def _key(name):
    return yaml.ScalarNode("tag:yaml.org,2002:str", name)
