"""Single entries of an ASDF file read and replaced in its YAML, with every other entry, tag and block kept."""

import yaml

__all__ = ["get_node", "replace_nodes"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_END = b"\n...\n"
_BLOCK_INDEX = b"#ASDF BLOCK INDEX"  # offsets of blocks, optional, and wrong as soon as the YAML changes its length


def get_node(content, path):
    """
    Read one entry.

    Parameters
    ----------
    content : bytes
        An ASDF file.
    path : str
        Keys down to the entry, joined by dots.

    Returns
    -------
    object or None
        Plain value; None where there is none.
    """
    if not content:
        return None
    node = _compose(content)
    for key in path.split("."):
        pair = _find(node, key)
        if pair is None:
            return None
        node = pair[1]
    loader = _LOADER("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def replace_nodes(content, values):
    """
    Replace entries.

    Parameters
    ----------
    content : bytes
        An ASDF file.
    values : dict
        Keys joined by dots to plain values; None takes an entry away.

    Returns
    -------
    bytes
        The file with these entries and all others as they were.
    """
    root = _compose(content)
    represent = yaml.SafeDumper("", default_flow_style=None).represent_data
    for path, value in values.items():
        _replace(root, path.split("."), None if value is None else represent(value))
    header = content[: content.index(b"%YAML")]
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
    blocks = content[content.index(_END) + len(_END) :].partition(_BLOCK_INDEX)[0]
    return header + text + blocks


def _compose(content):
    return yaml.compose(content[: content.index(_END) + len(_END)], Loader=_LOADER)


def _find(node, key):
    return next((pair for pair in node.value if pair[0].value == key), None)


def _replace(node, keys, new):
    *parents, last = keys
    for key in parents:
        pair = _find(node, key)
        if pair is None:
            if new is None:
                return
            pair = (_key(key), yaml.MappingNode("tag:yaml.org,2002:map", []))
            node.value.append(pair)
        node = pair[1]
    node.value = [pair for pair in node.value if pair[0].value != last]
    if new is not None:
        node.value.append((_key(last), new))


def _key(name):
    return yaml.ScalarNode("tag:yaml.org,2002:str", name)
