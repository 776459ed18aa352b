"""The ASDF file inside a FITS file, read and changed entry by entry, without the asdf library's conversions."""

import struct

import yaml

_LARGEST_BLOCK = 1024**3  # bytes of one block, unpacked
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is five times as fast
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_END = b"\n...\n"
_BLOCK_MAGIC, _BLOCK_INDEX = b"\xd3BLK", b"#ASDF BLOCK INDEX"
_BLOCK_HEADER = struct.Struct(">4sH I4sQQQ")  # magic, size of the rest; flags, compression, allocated, used, unpacked


class AsdfTree:
    """The YAML of an ASDF file as nodes: entries are read and replaced one by one, all tags and blocks stay."""

    def __init__(self, content):
        end = content.index(_END) + len(_END)
        self._head = content[: content.index(b"%YAML")]
        # The index has offsets of blocks, which move when the text changes its length; it is optional.
        self._blocks = content[end:].partition(_BLOCK_INDEX)[0]
        self._root = yaml.compose(content[:end], Loader=_LOADER)
        if not isinstance(self._root, yaml.MappingNode):
            raise ValueError("it has no mapping at its top")
        self.sources = self._find_sources()
        self._refuse_large()

    def get(self, path):
        """Read an entry of plain values; None where it is absent or not plain."""
        node = self._root
        for key in path.split("."):
            node = _child(node, key)
        loader = _LOADER("")
        try:
            return None if node is None else loader.construct_document(node)
        except yaml.YAMLError:
            return None
        finally:
            loader.dispose()

    def set(self, path, value):
        """Replace an entry; None removes it."""
        *parents, last = path.split(".")
        node = self._root
        for key in parents:
            child = _child(node, key)
            if not isinstance(child, yaml.MappingNode):
                if value is None:
                    return
                child = yaml.MappingNode("tag:yaml.org,2002:map", [])
                _put(node, key, child)
            node = child
        dumper = yaml.SafeDumper("", default_flow_style=None)
        _put(node, last, None if value is None else dumper.represent_data(value))

    def to_bytes(self):
        """Write the file."""
        text = yaml.serialize(
            self._root, Dumper=_DUMPER, encoding="utf-8", allow_unicode=True,
            explicit_start=True, explicit_end=True, version=(1, 1), tags={"!": "tag:stsci.edu:asdf/"},
        )  # fmt: skip
        return self._head + text + self._blocks

    def _find_sources(self):
        """Arrays in HDUs that the tree names. Refuse those that asdf would fetch from another file or URL."""
        seen, nodes, sources = set(), [self._root], []
        while nodes:
            node = nodes.pop()
            if id(node) in seen or not isinstance(node, yaml.CollectionNode):
                continue
            seen.add(id(node))
            if "externalarray" in node.tag:
                raise ValueError("it asks for an array in another file")
            if isinstance(node, yaml.SequenceNode):
                nodes += node.value
                continue
            nodes += [part for pair in node.value for part in pair]
            source = _child(node, "source") if "core/ndarray" in node.tag else None
            if isinstance(source, yaml.ScalarNode) and not source.value.lstrip("-").isdecimal():
                if not source.value.startswith("fits:"):
                    raise ValueError(f"it asks for an array in another file: {source.value}")
                sources.append(source.value)
        return sources

    def _refuse_large(self):
        """Read the headers of the binary blocks: a compressed one says how large it becomes."""
        start = self._blocks.find(_BLOCK_MAGIC)
        while start >= 0 and start + _BLOCK_HEADER.size <= len(self._blocks):
            magic, size, _, _, allocated, _, unpacked = _BLOCK_HEADER.unpack_from(self._blocks, start)
            if magic != _BLOCK_MAGIC:
                return
            if unpacked > _LARGEST_BLOCK:
                raise ValueError(f"it asks for {unpacked} bytes of memory for one array, more than {_LARGEST_BLOCK}")
            start += 6 + size + allocated


def _child(node, key):
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value == key:
            return value
    return None


def _put(node, key, child):
    """Put a child in the place of the one of its key."""
    node.value = [pair for pair in node.value if pair[0].value != key]
    if child is not None:
        node.value.append((yaml.ScalarNode("tag:yaml.org,2002:str", key), child))
