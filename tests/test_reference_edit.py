"""Rows changed in the text of a table: the values, and nothing else."""

import difflib

import pytest

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.combine import edit_row
from jwst_modfix.table.file import PACKAGED_TABLE, read_table

KEY = {"array": "long", "filter": "F444W", "pupil": "CLEAR"}
NEW = {"array": "1", "filter": "F115W", "pupil": "CLEAR"}

BLOCKS = """\
#ASDF 1.0.0
#ASDF_STANDARD 1.5.0
%YAML 1.1
%TAG ! tag:stsci.edu:asdf/
--- !core/asdf-1.1.0
# written by hand
offsets:
  - array: long   # the pair of long-wavelength arrays
    filter: F444W
    offset:   -0.01   # to be improved
    offset_error: 0.001   # a guess

# what it is for
valid_for: {}
baseline: B
meta: {reftype: moduleoffset, telescope: JWST, instrument: {name: NIRCAM}, description: d, author: a,
       pedigree: GROUND, useafter: '2022-07-08T00:00:00'}
...
"""


@pytest.fixture
def packaged(tmp_path):
    path = tmp_path / "mine.asdf"
    path.write_text(PACKAGED_TABLE.read_text())
    return path


def changed_lines(before, after):
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[:2] in ("- ", "+ ")]


def test_a_value_is_changed_where_it_stands(packaged):
    before = packaged.read_text()
    line, table = edit_row(packaged, KEY, {"offset": -0.0165})
    assert table == read_table(packaged)
    removed, added = (line for line in changed_lines(before, packaged.read_text()) if "filter: F444W" in line)
    assert added[2:] == removed[2:].replace("-0.01654", "-0.0165")
    assert len(changed_lines(before, packaged.read_text())) == 3  # and the line of the history
    assert read_table(packaged).meta["history"][-1] == line
    assert "offset -0.01654 -> -0.0165 mag" in line


def test_a_row_is_added_in_the_style_of_the_others(packaged):
    edit_row(packaged, NEW, {"offset": 0.01, "offset_error": 1e-5})
    row = read_table(packaged).row("1", "F115W")
    assert (row.offset, row.offset_error, row.slope) == (0.01, 1e-5, None)
    assert (
        "- {array: '1', filter: F115W, pupil: CLEAR, offset: 0.01, offset_error: 1.0e-05}\n...\n"
        in packaged.read_text()
    )


def test_layout_by_hand_is_kept(tmp_path):
    path = tmp_path / "hand.asdf"
    path.write_text(BLOCKS)
    edit_row(path, KEY, {"offset": -0.02})
    edit_row(path, NEW, {"offset": 0.1, "offset_error": 0.2})
    lines = path.read_text().splitlines()
    assert "    offset: -0.02     # to be improved" in lines  # the comment keeps its column
    assert lines[lines.index("    offset_error: 0.001   # a guess") + 1].startswith("  - {array: '1', filter: F115W")
    assert {line for line in BLOCKS.splitlines() if "#" in line} - set(lines) == {
        "    offset:   -0.01   # to be improved"
    }
    assert len(read_table(path).meta["history"]) == 2


def test_a_missing_key_is_added_to_a_row_in_blocks(tmp_path):
    path = tmp_path / "hand.asdf"
    gradient = "gradient: {frame: focal_plane, direction: 90, origin: [0, 0], exposure_share: 0.5}\n"
    path.write_text(BLOCKS.replace("baseline:", gradient + "baseline:"))
    edit_row(path, KEY, {"slope": 0.004, "slope_error": 0.001, "direction": 80.0})
    row = read_table(path).row("long", "F444W")
    assert (row.slope, row.slope_error, row.direction) == (0.004, 0.001, 80.0)
    assert (
        "    offset_error: 0.001   # a guess\n    slope: 0.004\n    slope_error: 0.001\n    direction: 80.0\n"
        in path.read_text()
    )


def test_line_ends_of_windows_are_kept(packaged):
    packaged.write_bytes(packaged.read_bytes().replace(b"\n", b"\r\n"))
    edit_row(packaged, NEW, {"offset": 0.01, "offset_error": 0.001})
    content = packaged.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize(
    ("key", "changes", "words"),
    [
        (NEW, {"offset": 0.1}, r"row 11 \(array=1, filter=F115W, pupil=CLEAR\): missing field offset_error"),
        (KEY, {"offset": 2.0}, "field offset: must not be more than 1, got 2.0"),
        (KEY, {"offset": float("nan")}, "must be finite, got nan"),
        (KEY, {"offset": -0.01654}, "has these values already; nothing to change"),
        ({**NEW, "filter": "F999W"}, {"offset": 0.1, "offset_error": 0.1}, "NIRCam has no filter F999W"),
    ],
)
def test_what_breaks_a_rule_leaves_the_file_as_it_was(packaged, key, changes, words):
    before = packaged.read_bytes()
    with pytest.raises(ReferenceTableError, match=words) as raised:
        edit_row(packaged, key, changes)
    assert str(packaged) in str(raised.value)
    assert ".mine.asdf." not in str(raised.value)  # no name of a temporary folder
    assert packaged.read_bytes() == before
    assert [path.name for path in packaged.parent.iterdir()] == ["mine.asdf"]


def test_the_packaged_table_is_not_edited_in_place(tmp_path):
    with pytest.raises(ReferenceTableError, match="belongs to the package.*modfix init"):
        edit_row(PACKAGED_TABLE, KEY, {"offset": 0.1})
    edit_row(PACKAGED_TABLE, KEY, {"offset": 0.1}, tmp_path / "mine.asdf")
    assert read_table(tmp_path / "mine.asdf").row("long", "F444W").offset == 0.1


def test_comments_below_the_last_row_stay_below_new_rows_and_keys(tmp_path):
    path = tmp_path / "hand.asdf"
    path.write_text(BLOCKS)
    edit_row(path, NEW, {"offset": 0.1, "offset_error": 0.2})
    edit_row(path, {**NEW, "filter": "F140M"}, {"offset": 0.1, "offset_error": 0.2})
    text = path.read_text()
    new = "  - {array: '1', filter: %s, pupil: CLEAR, offset: 0.1, offset_error: 0.2}\n"
    assert f"    offset_error: 0.001   # a guess\n{new % 'F115W'}{new % 'F140M'}\n# what it is for\nvalid_for:" in text


def test_every_value_that_is_not_edited_keeps_its_text(packaged):
    text = packaged.read_text().replace("0.00148}", ".00148}").replace("0.00228}", "+0.00228}")
    text = text.replace("useafter: '2022-07-08T00:00:00'", 'useafter: "2022-07-08"')
    packaged.write_text(text)
    edit_row(packaged, KEY, {"offset": -0.0165})
    assert len(changed_lines(text, packaged.read_text())) == 3
