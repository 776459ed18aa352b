"""The ASDF file inside a FITS file, looked at before it is opened: it reaches for nothing outside of itself."""

import struct

import yaml

__all__ = ["LOADER", "compose_asdf", "refuse_hostile"]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader where PyYAML was built with it: parsing takes some five times as long without."""

_END = b"\n...\n"
_BLOCK_MAGIC = b"\xd3BLK"
_BLOCK_HEADER = struct.Struct(">4sH I4sQQQ")  # magic, size of the rest; flags, compression, allocated, used, data
_LARGEST_BLOCK = 1024**3  # bytes; a WCS takes kilobytes, and a full-frame array 16 MiB


def compose_asdf(content):
    """Parse the YAML of an ASDF file to nodes, with nothing constructed."""
    end = content.index(_END) + len(_END)
    root, blocks = yaml.compose(content[:end], Loader=LOADER), content[end:]
    _refuse_external(root)
    _refuse_large(blocks)
    return root, blocks


def refuse_hostile(content):
    """Refuse an ASDF file that asks for another file, or for more memory than it may."""
    compose_asdf(content)


def _refuse_external(root):
    """Find arrays that the asdf library would fetch by file name or URL; ``fits:`` is the file around the text."""
    seen, nodes = set(), [root]
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
            continue
        for key, value in node.value:
            nodes += (key, value)
            if key.value == "source" and "core/ndarray" in node.tag and _is_elsewhere(value):
                raise ValueError(f"it asks for an array in another file: {value.value}")


def _is_elsewhere(node):
    is_text = isinstance(node, yaml.ScalarNode) and not node.value.lstrip("-").isdecimal()
    return is_text and not node.value.startswith("fits:")


def _refuse_large(blocks):
    """Read the headers of the binary blocks: a compressed one says how large it becomes."""
    start = blocks.find(_BLOCK_MAGIC)
    while start >= 0 and start + _BLOCK_HEADER.size <= len(blocks):
        magic, size, _, _, allocated, _, unpacked = _BLOCK_HEADER.unpack_from(blocks, start)
        if magic != _BLOCK_MAGIC:
            return
        if unpacked > _LARGEST_BLOCK:
            raise ValueError(f"it asks for {unpacked} bytes of memory for one array, more than {_LARGEST_BLOCK}")
        start += 6 + size + allocated
