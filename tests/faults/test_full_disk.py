"""
Disks that are full, and folders that cannot be written to.

Truth: an undisturbed run over the same inputs, whose outputs are the same except for dates, or absent.
"""

import gc
import os
import re
import resource
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from disturbed_runs import MEMBERS, assert_whole, correct, ending, forked, hidden, inputs, marks, one_line, visible

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetModel, files
from jwst_modfix.errors import OutputError
from jwst_modfix.steps import module_offset, module_offset_derive
from jwst_modfix.table.file import PACKAGED_TABLE


@pytest.fixture
def mounted(tmp_path):
    """Give a function that mounts a small file system in memory, and returns its folder."""
    folder = tmp_path / "small"

    def mount(size, *, read_only=False):
        folder.mkdir(exist_ok=True)
        options = f"size={size},{'ro' if read_only else 'rw'}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("room", [450, 470, 500])  # KiB: for two outputs of 158 KB and a part of the third
def test_a_full_disk_keeps_what_is_whole_and_says_so(folder, truth, mounted, room):
    small, before = mounted(f"{room}k"), [path.read_bytes() for path in inputs(folder)]
    with pytest.raises(OutputError) as caught:
        correct(small)
    message = one_line(caught.value)
    done = len(visible(small))
    counted = re.fullmatch(
        rf".*/jw\d_modfix.fits: cannot be written: No space left on device; at least (\d) of {MEMBERS} outputs are "
        "complete and kept; run again with on_existing='skip'", message
    )  # fmt: skip
    assert int(counted[1]) <= done
    assert 0 < done < MEMBERS
    assert_whole(small, truth)
    assert hidden(small) == []
    assert [path.read_bytes() for path in inputs(folder)] == before
    kept = marks(small)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small)], check=True)
    correct(small, on_existing="skip")
    assert kept.items() <= marks(small).items()
    assert_whole(small, truth)


@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("source", ["data/jw0_cal.fits", ["data/jw0_cal.fits"]])
@pytest.mark.parametrize("room", [20, 80])
def test_a_full_disk_for_a_single_output(folder, mounted, source, room):
    small = mounted(f"{room}k")
    with pytest.raises(OutputError, match=r"jw0_modfix.fits: cannot be written: No space left on device$"):
        correct(small, source)
    assert list(small.iterdir()) == []
    gc.collect()  # the input's file, which stpipe never closes, is not the next test's affair


def test_a_file_that_may_not_grow_is_named(folder):
    """The unprivileged way: the kernel refuses to write more than so many bytes into one file."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            correct("out")
        except OutputError as error:
            Path("said").write_text(str(error))
            raise

    assert ending(forked(limited)) == 1
    assert re.search(
        r"out/jw0_modfix.fits: cannot be written: .+; at least 0 of 4 outputs", one_line(Path("said").read_text())
    )
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("room", [4, 12, 40, 100])
def test_a_full_disk_leaves_none_of_the_products_of_a_derivation(mounted, room):
    small = mounted(f"{room}k")
    table = Table({"flux": np.random.default_rng(1).normal(size=20_000)})
    with pytest.raises(OutputError, match=r"small/x_mod[a-z_]+(\.asdf)?: cannot be written: No space left on device$"):
        module_offset_derive.write_products(derivation(table), ModuleOffsetModel(PACKAGED_TABLE), small, report=False)
    assert list(small.iterdir()) == []


def derivation(measurements):
    """As much of a derivation as its products need, without a report."""
    table, options = SimpleNamespace(name="x_moduleoffset.asdf"), SimpleNamespace(catalogs=(), compare=None)
    return SimpleNamespace(table=table, options=options, product="x", measurements=measurements)


def test_the_reference_file_of_a_derivation_is_put_in_place_last(tmp_path, monkeypatch):
    placed, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: placed.append(target) or replace(path, target))
    model = ModuleOffsetModel(PACKAGED_TABLE)
    module_offset_derive.write_products(derivation(Table({"flux": [1.0]})), model, tmp_path, report=False)
    assert [path.name for path in placed if path.parent == tmp_path] == [
        "x_modfix_measurements.ecsv",
        "x_moduleoffset.asdf",
    ]


@pytest.fixture
def read_only(mounted, tmp_path):
    """A folder that nothing can be written to, and the reason: root ignores permissions, but not a mount."""
    if os.geteuid() == 0:
        yield mounted("100k", read_only=True), "Read-only file system"
        return
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    yield folder, "Permission denied"
    folder.chmod(0o755)


@pytest.mark.parametrize("source", ["data/set_asn.json", "data/jw0_cal.fits", ["data/jw0_cal.fits"]])
def test_a_read_only_folder_is_refused_before_any_work(folder, read_only, monkeypatch, source):
    place, reason = read_only
    monkeypatch.setattr(module_offset.Correction, "run", lambda *_: pytest.fail("work was done"))
    with pytest.raises(OutputError, match=f"^{place}: cannot be written to: {reason}$"):
        correct(place, source)
    with pytest.raises(OutputError, match=f"^{place}/new: cannot be made: {reason}$"):
        correct(place / "new", source)


def test_a_read_only_folder_is_refused_for_a_derivation(read_only):
    place, reason = read_only
    step = ModuleOffsetDeriveStep(save_results=True, output_dir=str(place))
    with pytest.raises(OutputError, match=f"^{place}: cannot be written to: {reason}$"):
        step.run("never_read_asn.json")
    with pytest.raises(OutputError, match=f"^{place}: cannot be written to: {reason}$"):
        module_offset_derive.write_products(derivation(Table()), ModuleOffsetModel(PACKAGED_TABLE), place, report=False)


def test_something_else_in_the_place_of_a_folder_or_an_output_is_named(folder):
    Path("file").write_text("")
    with pytest.raises(OutputError, match="^file: cannot be made: File exists$"):
        correct("file")
    Path("out/jw1_modfix.fits").mkdir(parents=True)
    with pytest.raises(
        OutputError, match="out/jw1_modfix.fits: cannot be written: Is a directory; at least 1 of 4 outputs"
    ):
        correct("out")


@pytest.mark.parametrize(
    "words", ["Not enough space on disk: requested 105554, available 4096.", "105554 requested and 4096 written"]
)
def test_a_disk_that_was_full_is_named_where_room_was_made_since(tmp_path, words):
    with (
        pytest.raises(OutputError, match="/a: cannot be written: No space left on device$"),
        files.explained(tmp_path / "a"),
    ):
        raise OSError(words)


def test_the_kernel_s_words_are_found_behind_a_library_s(tmp_path):
    with pytest.raises(OutputError, match="^a: cannot be written: No space left on device$"), files.explained("a"):
        raise OSError("Not enough space on disk") from OSError(28, "No space left on device")
    with (
        pytest.raises(OutputError, match="/a: cannot be written: 3072 requested$"),
        files.explained(tmp_path / "a"),
    ):
        raise OSError("3072 requested")
