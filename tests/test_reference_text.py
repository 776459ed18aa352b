"""Reading the text of a reference file: what is not clear text is refused, with file and line."""

import os

import asdf
import pytest
from fuzzing import time_limit

from jwst_modfix import ModuleOffsetModel, OffsetTable
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.combine import edit_row
from jwst_modfix.table.file import PACKAGED_TABLE, read_tree, write_tree

HEAD = "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"


def write(path, text, end="...\n"):
    path.write_bytes((HEAD + text + end).encode())
    return path


def test_what_is_written_is_read_back(tmp_path):
    tree = {"b": {"first": 1.5e-7, "name": "a: b"}, "a": [{"array": "1", "offset": -0.25}, "text"]}
    write_tree(tree, tmp_path / "t.asdf")
    assert read_tree(tmp_path / "t.asdf") == tree
    assert list(read_tree(tmp_path / "t.asdf")) == ["b", "a"]


def test_line_ends_of_windows_editors_are_read(tmp_path):
    path = write(tmp_path / "t.asdf", "a: 1\nb: text\n")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_tree(path) == {"a": 1, "b": "text"}


def test_tags_of_asdf_and_dates_become_plain_values(tmp_path):
    path = write(tmp_path / "t.asdf", "software: !core/software-1.0.0 {name: asdf}\nday: 2022-07-08\ntime: ! '12'\n")
    assert read_tree(path) == {"software": {"name": "asdf"}, "day": "2022-07-08", "time": "12"}


def test_quotes_make_a_text_of_any_key(tmp_path):
    assert read_tree(write(tmp_path / "t.asdf", "a: {'<<': {'=': 1}}\n")) == {"a": {"<<": {"=": 1}}}


@pytest.mark.parametrize("text", ["072", "1:30", "0x10", "1_000", "1e-3", "0b1"])
def test_only_plain_decimal_numbers_are_numbers(tmp_path, text):
    path = write(tmp_path / "t.asdf", f"direction: {text}\nother: [0, -7, 72, 0.5, -1.5e-07, .5, 1.]\n")
    assert read_tree(path) == {"direction": text, "other": [0, -7, 72, 0.5, -1.5e-07, 0.5, 1.0]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SIMPLE  =", "is not an ASDF file: it must begin with '#ASDF', got b'SIMPLE  ='"),
        (b"", "is not an ASDF file"),
        (HEAD.encode() + b"a: 1\n", r"is cut short: the end marker '\.\.\.'"),
        (HEAD.encode() + b"a: 1\n...\nb: 2\n", r"must end with the end marker '\.\.\.' of the YAML document; more"),
        (HEAD.encode() + b"a: \xff\xfe\n...\n", "is not UTF-8 text"),
        (HEAD.encode() + b"- 1\n...\n", "must hold a mapping of keys to values, got list"),
        (HEAD.encode() + b"a: [1\n...\n", "cannot be read as YAML: .*line 7"),
        (HEAD.encode() + b"a: 1\nb: 2\na: 3\n...\n", "duplicate key 'a' .line 8"),
        (HEAD.encode() + b"a: &x [1]\nb: *x\n...\n", r"aliases \(\*\) are not allowed .line 7"),
        (HEAD.encode() + b"- {a: 1, offset: -0,01654}\n...\n", "key '01654' has no value .is a colon missing"),
        (HEAD.encode() + b"a: {slope 0.1, b: 1}\n...\n", "key 'slope 0.1' has no value"),
        (HEAD.encode() + b"valid_for:\n  contxt:\n...\n", "key 'contxt' has no value .* .line 7"),
        (HEAD.encode() + b"a: {<<: {b: 1}}\n...\n", "a key must be plain text .line 6"),
        (HEAD.encode() + b"a: " + b"[" * 5000 + b"]" * 5000 + b"\n...\n", "nested too deeply"),
        (
            HEAD.encode() + b"a: !!python/object/apply:os.getcwd []\n...\n",
            r"as YAML: the tag .*python/object/apply:os.getcwd. is not allowed",
        ),
        (HEAD.encode() + b"a: ! 072\n...\n", "the tag '!' is not allowed .line 6"),
        (HEAD.encode() + b"history: &x [1]\nb: *x\n...\n", r"aliases \(\*\) are not allowed .line 7"),
        (HEAD.encode() + b"meta: {history: [&x 1, *x]}\n...\n", r"aliases \(\*\) are not allowed .line 6"),
        (b"#ASDF 1.0.0\n" + b"#" * (17 * 1024**2), "is larger than 1048576 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_unclear_text_is_refused_with_its_file(tmp_path, content, message):
    path = tmp_path / "table.asdf"
    path.write_bytes(content)
    with pytest.raises(ReferenceTableError, match=f"table.asdf: .*{message}"):
        read_tree(path)


def test_what_asdf_itself_writes_is_accepted(tmp_path):
    software = {"name": "x", "version": "1.0", "author": "me", "homepage": "http://x"}
    with asdf.open(PACKAGED_TABLE) as file:
        for words in ("widened by me", "second: a thing\nin two lines"):
            file.add_history_entry(words, software=software)  # the same software twice, which may become an alias
        file["meta"]["history"].append("2026-11-26")
        file.write_to(tmp_path / "mine.asdf")
    assert OffsetTable.read(tmp_path / "mine.asdf") == OffsetTable.read("packaged")
    text = (tmp_path / "mine.asdf").read_text()
    assert "history_entry" in text
    edit_row(tmp_path / "mine.asdf", {"array": "1", "filter": "F150W", "pupil": "CLEAR"}, {"offset": 0.5})
    with asdf.open(tmp_path / "mine.asdf") as file:
        assert file.get_history_entries()[1]["description"] == "second: a thing\nin two lines"
        assert file["offsets"][0]["offset"] == 0.5
    assert ModuleOffsetModel(tmp_path / "mine.asdf").table.row("1", "F150W").offset == 0.5


@pytest.mark.parametrize("version", ["1.0.0", "1.3.0", "1.5.0"])
def test_what_asdf_writes_in_other_versions_of_its_standard_is_accepted(tmp_path, version):
    with asdf.open(PACKAGED_TABLE) as file:
        copy = asdf.AsdfFile(dict(file.tree), version=version)
        copy.add_history_entry("words: 'quoted' \"twice\" # ünd\n" + "a" * 200)
        copy.write_to(tmp_path / "mine.asdf", all_array_compression="zlib")
    assert OffsetTable.read(tmp_path / "mine.asdf") == OffsetTable.read("packaged")


def test_aliases_of_asdf_in_its_own_block_are_accepted(tmp_path):
    history = "history:\n  entries: [&x !core/history_entry-1.0.0 {description: d}, *x]\n"
    assert read_tree(write(tmp_path / "t.asdf", history + "a: 1\n")) == {"a": 1}


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = tmp_path / "mine.asdf"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with time_limit(5), pytest.raises(ReferenceTableError, match="mine.asdf: is not a regular file"):
        read_tree(path)
