"""Files appear whole or not at all."""

import pytest

from jwst_modfix.files import written_whole


def test_a_file_replaces_the_old_one_when_it_is_complete(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with written_whole(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
        assert partial.name == target.name
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"):  # noqa: SIM117, PT012 - the inner block is what is tested
        with written_whole(target) as partial:
            partial.write_text("half")
            raise OSError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
