"""
Damaged reference files: a valid table or a ModuleOffsetError, nothing else, in bounded time, with nothing ignored.

The truth of an accepted file is what an independent reading of its YAML says (by the stock safe loader): every
value of the table is one of the file, and every key of the file is in the table.
"""

import re

import numpy as np
import pytest
import yaml
from fuzzing import damage_bytes, damage_tree, pick, time_limit

from jwst_modfix import OffsetTable
from jwst_modfix.errors import ModuleOffsetError, ReferenceTableError
from jwst_modfix.table.file import read_tree, table_from_tree, tree_from_table, write_tree
from jwst_modfix.text import has_hidden

HEADER = "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
BODY = """\
meta: {reftype: moduleoffset, telescope: JWST, instrument: {name: NIRCAM}, description: d, author: a, pedigree: GROUND,
  useafter: '2022-07-08'}
baseline: B
gradient: {frame: focal_plane, direction: 90.0, origin: [-1.74, -492.4], exposure_share: 0.5}
valid_for:
  context: {first: jwst_1130.pmap, last: jwst_1130.pmap}
  photom: [jwst_nircam_photom_0157.fits]
offsets:
- {array: '1', filter: F150W2, pupil: F162M, offset: 0.012, offset_error: 0.001}
- {array: long, filter: F444W, offset: -0.01654, offset_error: 0.00128, slope: 0.00433, slope_error: 0.0009}
"""
SMALL = f"{HEADER}{BODY}...\n".encode()
LIMIT = 5  # s; a case takes 5 ms


_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's is five times as fast


class _Independent(yaml.SafeLoader):
    """Plain YAML by the parser's own rules, with ASDF's tags dropped."""


_Independent.add_multi_constructor("tag:stsci.edu:", lambda loader, _, node: loader.construct_mapping(node, deep=True))


def outcome(path):
    """Read a file as the step does; None where it is refused."""
    with time_limit(LIMIT):
        try:
            return OffsetTable.read(path)
        except ModuleOffsetError as error:
            message = str(error)
    assert message.startswith(str(path))
    assert not has_hidden(message)
    return None


def normal(tree):
    """What a table says, in one form: defaults written out, names as lists, the metadata left out."""
    tree = {key: value for key, value in tree.items() if key not in ("meta", "history", "asdf_library")}
    tree["offsets"] = [{"pupil": "CLEAR", **row} for row in tree["offsets"]]
    for name in {"photom", "flat"} & set(tree["valid_for"]):
        names = tree["valid_for"][name]
        tree["valid_for"] = {**tree["valid_for"], name: [names] if isinstance(names, str) else list(names)}
    if "gradient" in tree:
        tree["gradient"] = {**tree["gradient"], "origin": list(tree["gradient"]["origin"])}
    return tree


def assert_nothing_is_lost(path, table, again):
    """The table says what the file says, and says it again when written."""
    text = path.read_bytes().replace(b"\r\n", b"\n").partition(b"\n...\n")[0]
    assert normal(tree_from_table(table)) == normal(yaml.load(text, Loader=_Independent)), text
    meta = read_tree(path)["meta"]
    write_tree(tree_from_table(table), again)
    assert table_from_tree(read_tree(again), "again") == table
    assert read_tree(again)["meta"] == {"schema_version": "1.0.0"} | meta


@pytest.mark.parametrize("seed", range(10))
def test_damaged_text_is_a_valid_table_or_refused(seed, tmp_path):
    """600 cases a seed: bytes replaced, inserted, deleted, doubled, cut off."""
    rng, accepted = np.random.default_rng([2311, seed]), 0
    path = tmp_path / "mine.asdf"
    for _ in range(600):
        path.write_bytes(damage_bytes(rng, SMALL))
        table = outcome(path)
        if table:
            accepted += 1
            assert_nothing_is_lost(path, table, tmp_path / "again.asdf")
    assert 0 < accepted < 300


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_tree_is_a_valid_table_or_refused(seed, tmp_path):
    """300 cases a seed: values of every kind in every place, keys misspelt, dropped, added, trees inside themselves."""
    rng, accepted = np.random.default_rng([1127, seed]), 0
    tree = yaml.safe_load(BODY)
    path = tmp_path / "mine.asdf"
    for _ in range(300):
        damaged, misspelt = damage_tree(rng, tree)
        text = yaml.dump(damaged, Dumper=_DUMPER, sort_keys=False)
        path.write_text(f"{HEADER}{text}...\n", encoding="utf-8")
        table = outcome(path)
        if table:
            accepted += 1
            assert not any(is_there(damaged, place) for place in misspelt), damaged
            assert_nothing_is_lost(path, table, tmp_path / "again.asdf")
    assert 0 < accepted < 100


def is_there(tree, place):
    for name in place:
        if not isinstance(tree, dict | list) or (isinstance(tree, dict) and name not in tree):
            return False
        try:
            tree = tree[name]
        except (IndexError, TypeError):
            return False
    return True


def test_random_bytes_are_refused(tmp_path):
    """1,100 cases: noise, with and without the first line and the end marker of an ASDF file."""
    rng, path = np.random.default_rng(7), tmp_path / "mine.asdf"
    for number in range(1100):
        noise = rng.integers(0, 256 if number % 2 else 128, rng.integers(0, 400), dtype="u1").tobytes()
        path.write_bytes(
            pick(rng, (noise, b"#ASDF 1.0.0\n" + noise + b"\n...\n", HEADER.encode() + noise + b"\n...\n"))
        )
        assert outcome(path) is None


KEYS = (
    "meta", "baseline", "gradient", "frame", "direction", "origin", "exposure_share", "valid_for", "context", "first",
    "photom", "offsets", "pupil", "offset", "slope",
)  # fmt: skip


@pytest.mark.parametrize("place", KEYS)
def test_a_misspelt_key_is_never_ignored(place, tmp_path):
    """Every deletion, doubling and change of case of one letter in a key of the table."""
    path = tmp_path / "mine.asdf"
    for at in range(len(place)):
        before, letter, after = place[:at], place[at], place[at + 1 :]
        for new in {before + after, before + letter + letter + after, before + letter.upper() + after} - {place}:
            path.write_text(re.sub(rf"\b{place}:", f"{new}:", SMALL.decode(), count=1), encoding="utf-8")
            with pytest.raises(ReferenceTableError):
                OffsetTable.read(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("author: a", r'author: "\ud800"', "meta.author: must hold no control characters"),
        ("[jwst_nircam_photom_0157.fits]", r'"a\x1b[2Kb"', "valid_for.photom entry 1: must hold no control characters"),
        ("offset: 0.012", "offset: !!float '1:30'", "the tag 'tag:yaml.org,2002:float' is not allowed"),
        ("offset: 0.012", "offset: !!int '072'", "the tag 'tag:yaml.org,2002:int' is not allowed"),
        ("baseline: B", "baseline: B\n7: x", "a key must be plain text"),
        ("offsets:\n", "offsets: {a: .nan}\nrows:\n", "offsets: must be a list"),
    ],
)
def test_what_the_fuzz_found_is_refused(old, new, message, tmp_path):
    """Each of these once was another exception, or was read as something that the file does not say."""
    text = SMALL.decode()
    assert old in text
    path = tmp_path / "mine.asdf"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ReferenceTableError, match=message):
        OffsetTable.read(path)


@pytest.mark.parametrize("more", [b"- {array: '2', filter: F444W, offset: 0.1, offset_error: 0}\n", b"\xd3BLK\x000"])
def test_what_follows_the_end_marker_is_not_ignored(more, tmp_path):
    path = tmp_path / "mine.asdf"
    path.write_bytes(SMALL + more)
    with pytest.raises(ReferenceTableError, match="must end with the end marker"):
        OffsetTable.read(path)
    path.write_bytes(SMALL + b"\n \n")
    assert len(OffsetTable.read(path).rows) == 2
