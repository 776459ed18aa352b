"""Files appear whole or not at all; leftovers of processes that died are removed, and nothing else."""

import ast
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jwst_modfix import files
from jwst_modfix.errors import OutputError
from jwst_modfix.files import (
    check_writable,
    identify,
    locate,
    part_folder,
    remove_leftovers,
    written_whole,
)  # fmt: skip


def test_a_file_replaces_the_old_one_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "x.txt"
    with written_whole(target) as partial:
        partial.write_text("old")
        assert not target.exists()
    os.link(target, tmp_path / "as it was")
    with written_whole(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
        assert partial.name == target.name
        assert partial.stat().st_dev == target.stat().st_dev
        assert [path for path in target.parent.iterdir() if not path.name.startswith(".")] == [target]
    assert target.read_text() == "new"
    assert (tmp_path / "as it was").read_text() == "old", "who reads the old file reads it to its end"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt("stop")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(type(error), match=str(error)), written_whole(target) as partial:  # noqa: PT012 - fails inside
        partial.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_of_the_system_names_the_file_and_not_the_hidden_one(tmp_path):
    target = tmp_path / "x.txt"
    with pytest.raises(OutputError) as caught, written_whole(target) as partial:
        (partial / "below").write_text("")
    assert str(caught.value) == f"{target}: cannot be written: No such file or directory"
    with pytest.raises(OutputError) as caught, written_whole(target) as outer, written_whole(outer / "x"):
        outer.write_text("")
    assert str(caught.value) == f"{target}: cannot be written: Is a directory"


def test_two_writers_of_one_process_do_not_disturb_each_other(tmp_path):
    target = tmp_path / "x.txt"
    with written_whole(target) as first, written_whole(target) as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert target.read_text() == "1"
    assert list(tmp_path.iterdir()) == [target]


def dead_process():
    """Process id of a process that ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_dead_processes_are_removed_and_those_of_live_ones_stay(tmp_path):
    with part_folder(tmp_path) as live:
        other_process = tmp_path / live.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-")
        dead = tmp_path / live.name.replace(f"-{os.getpid()}-", f"-{dead_process()}-")
        for folder in (other_process, dead):
            folder.mkdir()
            (folder / "x.fits").write_text("half")
        assert remove_leftovers([tmp_path, tmp_path]) == [dead]
        assert live.exists()
        assert other_process.exists()
        assert not dead.exists()


def test_leftovers_of_another_host_are_removed_after_a_week_only(tmp_path):
    name = ".modfix-part-other-host-{}-abc"  # process numbers of another host are not checked here
    young, old = tmp_path / name.format(dead_process()), tmp_path / name.format(os.getpid())
    young.mkdir()
    old.mkdir()
    a_week_ago = old.stat().st_mtime - 7 * 86400 - 60
    os.utime(old, (a_week_ago, a_week_ago))
    assert remove_leftovers([tmp_path]) == [old]
    assert young.exists()


def test_what_only_looks_like_a_leftover_stays(tmp_path):
    ours = f".modfix-part-{socket.gethostname()}-{dead_process()}-abc"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ours).symlink_to(tmp_path / "elsewhere")
    (tmp_path / f"{ours}d").write_text("a file")
    (tmp_path / f"{ours}.backup").mkdir()
    (tmp_path / ours[1:]).mkdir()
    before = sorted(tmp_path.iterdir())
    assert remove_leftovers([tmp_path]) == []
    assert sorted(tmp_path.iterdir()) == before


def test_a_process_of_another_user_is_alive(tmp_path, monkeypatch):
    def not_permitted(*_):
        raise PermissionError

    monkeypatch.setattr(files.os, "kill", not_permitted)
    (tmp_path / f".modfix-part-{socket.gethostname()}-1-abc").mkdir()
    assert remove_leftovers([tmp_path]) == []


def test_a_folder_is_made_and_tried(tmp_path):
    check_writable(tmp_path / "new" / "er")
    assert list((tmp_path / "new" / "er").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file: cannot be written to: File exists$"):
        check_writable(tmp_path / "file")


def test_a_working_directory_that_was_removed_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputError, match="x.fits: is relative to the working directory, .* cannot be found: No such"):
        locate("x.fits")


def test_a_file_is_known_by_device_and_inode(tmp_path):
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    (tmp_path / "soft").symlink_to(tmp_path / "a")
    os.link(tmp_path / "a", tmp_path / "hard")
    assert identify(tmp_path / "a") == identify(str(tmp_path / "soft")) == identify(tmp_path / "hard")
    assert identify(tmp_path / "a") != identify(tmp_path / "b")
    assert identify(tmp_path / "none") is None


UNIX_ONLY = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}


def test_the_package_imports_no_module_that_windows_lacks():
    """All modules are read; those that need no jwst are imported without the modules of Unix, too."""
    package = Path(files.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not UNIX_ONLY.intersection(names), path
    code = "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd', 'grp', 'termios')));"
    code += "import jwst_modfix.files, jwst_modfix.jobs, jwst_modfix.table.table, jwst_modfix.cli.tables"
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_state_of_a_file_changes_with_its_content_and_with_the_file(tmp_path):
    """Truth: a copy by ``cp -p`` has the size and the time of the other file."""
    path, copy = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"pixels")
    known = [files.file_state(path)]
    copy.write_bytes(b"PIXELS")
    os.utime(copy, ns=(known[0][-1], known[0][-1]))
    for change in (lambda: copy.replace(path), lambda: os.utime(path), lambda: path.write_bytes(b"pixel")):
        change()
        known.append(files.file_state(path))
    assert len(set(known)) == 4
    assert files.file_state(copy) is None


def test_links_of_folders_are_followed_and_not_those_of_files(tmp_path):
    """Truth: a link to the data is the name that a product is given."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").touch()
    (tmp_path / "real" / "named").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("a", "named", "absent"):
        assert files.locate(tmp_path / "link" / name) == tmp_path.resolve() / "real" / name
