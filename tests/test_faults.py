"""
Faults that are made to happen: kills, a full disk, folders that cannot be written, inputs that vanish, runs at once.

Truth: an undisturbed run over the same inputs, whose outputs a disturbed one must equal but for dates, or not have.
"""

import contextlib
import gc
import os
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetModel, ModuleOffsetStep, files
from jwst_modfix.errors import ExposureError, ModuleOffsetError, OutputError
from jwst_modfix.reference.datamodel import PACKAGED_TABLE
from jwst_modfix.steps import correct_file, derive_products, fits_writer, module_offset
from jwst_modfix.steps.fits_exposure import FitsExposure

# Children are forked from this process, which has imported jwst: starting another Python takes seconds.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

MEMBERS = 6
DATES = {"DATE", "MODFDATE", "MODFJOB"}
PRODUCT = "set_modfix_asn.json"


@pytest.fixture(scope="module")
def undisturbed(small_exposure, tmp_path_factory):
    """data/: six exposures of two detectors and their association; truth/: the outputs of an undisturbed run."""
    base = tmp_path_factory.mktemp("undisturbed")
    data = base / "data"
    data.mkdir()
    models = [small_exposure(detector, "F200W") for detector in ("NRCA2", "NRCB2")]
    for number in range(MEMBERS):
        models[number % 2].save(str(data / f"jw{number}_cal.fits"))
    asn = asn_from_list([path.name for path in inputs(base)], rule=DMS_Level3_Base, product_name="mosaic")
    (data / "set_asn.json").write_text(asn.dump()[1])
    correct(base / "truth", data / "set_asn.json")
    return base


@pytest.fixture
def folder(undisturbed, tmp_path, monkeypatch):
    """A working directory with a copy of data/."""
    shutil.copytree(undisturbed / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def truth(undisturbed):
    """Content of each output of an undisturbed run."""
    return {path.name: content(path) for path in (undisturbed / "truth").glob("*.fits")}


def inputs(folder):
    return sorted((folder / "data").glob("*_cal.fits"))


def correct(output_dir, source="data/set_asn.json", **parameters):
    """Run the step as strun does, but for the log's set-up."""
    step = ModuleOffsetStep(save_results=True, output_dir=str(output_dir), **parameters)
    return step.run(source)


def content(path):
    """All that a file holds, without dates."""
    with fits.open(path) as hdulist:
        cards = [
            card for card in hdulist[0].header.tostring(sep="\n").split("\n") if card.split("=")[0].strip() not in DATES
        ]
        arrays = [(hdu.name, b"" if hdu.data is None else hdu.data.tobytes()) for hdu in hdulist]
    return cards, [(name, re.sub(rb"20\d\d-\d\d-\d\dT[\d:.]+", b"DATE", data)) for name, data in arrays]


def visible(folder):
    return sorted(path for path in Path(folder).glob("*") if not path.name.startswith("."))


def hidden(folder):
    return list(Path(folder).glob(".*"))


def marks(folder):
    """What changes when a file is touched or replaced."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in visible(folder)}


def forked(function):
    """Run a function in a child; give the child's process id."""
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            function()
            status = 0
        os._exit(status)
    return child


def ending(child):
    """Exit status of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def assert_whole(folder, truth):
    """Every output under its final name is that of the undisturbed run; the association names no other."""
    found = {path.name: content(path) for path in visible(folder) if path.suffix == ".fits"}
    for name, value in found.items():
        assert value == truth[name], name
    if Path(folder, PRODUCT).exists():
        assert len(found) == MEMBERS


# Killed


def test_fifty_kills_at_random_instants_leave_only_whole_files_and_resuming_completes_them(folder, truth):
    rng = np.random.default_rng(5)
    start = time.monotonic()
    assert ending(forked(lambda: correct("clock"))) == 0
    duration = time.monotonic() - start
    killed = partly = completed = 0
    while killed < 50:
        before = marks("out")
        child = forked(lambda: correct("out", on_existing="skip"))
        time.sleep(rng.uniform(0, duration))  # the random instant itself, not a wait for something
        os.kill(child, signal.SIGKILL)
        killed += ending(child) == -signal.SIGKILL
        after = marks("out")
        assert before.items() <= after.items(), "a finished output was touched"
        assert_whole("out", truth)
        assert len(hidden("out")) <= 4, "folders of dead runs pile up"
        partly += 0 < len(after) <= MEMBERS
        if len(after) > MEMBERS:
            completed += 1
            shutil.rmtree("out")
    correct("out", on_existing="skip")
    assert_whole("out", truth)
    assert len(visible("out")) == MEMBERS + 1
    assert hidden("out") == []
    assert completed > 0
    assert partly > 5, "the kills missed the time of writing"


INSTANTS = {
    "the hidden folder is made": (tempfile, "mkdtemp"),
    "it is locked": (files, "_locked"),
    "an output is written": (FitsExposure, "save"),
    "an array is written": (fits_writer, "_write"),
    "an output or the association is put in place": (Path, "replace"),
    "the former association is withdrawn": (Path, "unlink"),
    "the association is written": (Path, "write_text"),
    "the hidden folder is removed": (files, "_remove"),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("instant", INSTANTS)
def test_a_kill_at_each_step_of_writing_leaves_only_whole_files(folder, truth, monkeypatch, instant, moment):
    owner, name = INSTANTS[instant]
    original, calls = getattr(owner, name), iter(range(100))

    def deadly(*args, **kwargs):
        last = next(calls) == (0 if name == "write_text" else 3)
        if last and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, deadly)
        assert ending(forked(lambda: correct("out"))) == -signal.SIGKILL
    assert_whole("out", truth)
    assert not Path("out", PRODUCT).exists()
    before = marks("out")
    correct("out", on_existing="skip")
    assert_whole("out", truth)
    assert before.items() <= marks("out").items()
    assert len(visible("out")) == MEMBERS + 1
    assert hidden("out") == []


def test_an_association_of_a_former_run_goes_with_the_first_output_that_is_replaced(folder, monkeypatch):
    correct("out")
    monkeypatch.setattr(module_offset, "write_association", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert ending(forked(lambda: correct("out", apply_offset=False))) == -signal.SIGKILL
    assert len(visible("out")) == MEMBERS, "it would name outputs of two sets of parameters"


def test_a_hidden_folder_goes_when_its_run_is_dead_and_not_before(tmp_path):
    target, other = tmp_path / "x.fits", tmp_path / "y.fits"
    with files.HiddenFolder(target) as live:
        assert ending(forked(lambda: files.HiddenFolder(target) and os.kill(os.getpid(), signal.SIGKILL))) < 0
        assert ending(forked(lambda: files.HiddenFolder(other) and os.kill(os.getpid(), signal.SIGKILL))) < 0
        (dead,) = [path for path in tmp_path.glob(".x.fits*") if path != live]
        assert files.remove_leftovers([target]) == [dead]
        assert live.exists()
    assert len(hidden(tmp_path)) == 1, "y.fits is not ours to clean"


def test_folders_that_only_look_like_ours_stay(tmp_path):
    (tmp_path / ".x.fits.backup").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ".x.fits.abcd.modfix-part").symlink_to(elsewhere)
    assert files.remove_leftovers([tmp_path / "x.fits"]) == []
    assert len(list(tmp_path.iterdir())) == 3


# Resumed


def rewrite_input(output):
    source = Path("data", output.name.replace("_modfix", "_cal"))
    with datamodels.open(source) as model:
        model.data[:] = model.data + 1
        model.save(str(source))


def touch_pixel_of_input(output):
    with fits.open(Path("data", output.name.replace("_modfix", "_cal")), mode="update") as hdulist:
        hdulist["SCI"].data[0, 0] += 1  # neither size nor a card changes


def save_again(output):
    with datamodels.open(output) as model:
        model.save(str(output))


def take_card(output):
    fits.delval(output, "MODFJOB")


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize(
    ("disturb", "words"),
    [
        (lambda output: output.write_text("mine"), "cannot be read as FITS"),
        (lambda output: output.write_bytes(output.read_bytes()[:-2880]), "it is cut short"),
        (lambda output: output.write_bytes(output.read_bytes()[:5000]), "cannot be read as FITS"),
        (lambda output: output.write_bytes(b""), "cannot be read as FITS"),
        (lambda output: shutil.copy(output.with_name("jw4_modfix.fits"), output), "it is of another input"),
        (lambda output: shutil.copy("data/jw2_cal.fits", output), "it has no MODFJOB"),
        (rewrite_input, "it is of another input"),
        (touch_pixel_of_input, "it is of another input"),
        (save_again, "or was saved again since"),
        (take_card, "it has no MODFJOB"),
    ],
)
def test_a_foreign_or_stale_file_is_never_taken_for_a_finished_output(folder, caplog, disturb, words):
    correct("out")
    disturb(Path("out/jw2_modfix.fits"))
    before = marks("out")
    correct("out", on_existing="skip")
    after = marks("out")
    assert [name for name in before if before[name] != after[name]] == ["jw2_modfix.fits", PRODUCT]
    assert re.search(f"out/jw2_modfix.fits is made anew: .*{words}", caplog.text)
    assert "1 of 6 exposures done, 0 skipped, 5 finished before" in caplog.text
    correct("truth")
    assert content("out/jw2_modfix.fits") == content("truth/jw2_modfix.fits")


@pytest.mark.parametrize("change", ["table", "parameter", "version"])
def test_outputs_of_another_table_parameter_or_version_are_all_made_anew(folder, monkeypatch, change):
    correct("out")
    before = marks("out")
    parameters = {"on_existing": "skip"}
    if change == "table":
        model = ModuleOffsetModel(PACKAGED_TABLE)
        model.instance["offsets"][0]["offset"] += 1e-5
        parameters["override_moduleoffset"] = model
    elif change == "parameter":
        parameters["apply_slope"] = False
    else:
        from jwst_modfix.steps import correct as module

        monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "99")
    correct("out", **parameters)
    assert not before.items() & marks("out").items()


def test_a_run_that_finds_all_done_touches_nothing(folder):
    correct("out")
    before = marks("out")
    library = correct("out", on_existing="skip")
    assert marks("out") == before
    assert len(library) == MEMBERS


def test_skipped_exposures_and_undone_ones_are_finished_too(folder):
    for path in inputs(folder):
        fits.setval(path, "EXP_TYPE", value="NRC_TSIMAGE")
    correct("skipped")
    before = marks("skipped")
    correct("skipped", on_existing="skip")
    assert marks("skipped") == before
    correct("undone", f"skipped/{PRODUCT}", inverse=True)
    before = marks("undone")
    correct("undone", f"skipped/{PRODUCT}", inverse=True, on_existing="skip")
    assert marks("undone") == before


def test_files_and_lists_resume(folder, caplog):
    source = ["data/jw0_cal.fits", "data/jw1_cal.fits"]
    correct("out", source[0])
    before = marks("out")
    results = correct("out", source, on_existing="skip")
    after = marks("out")
    assert len(after) == 2
    assert before.items() <= after.items()
    assert "jw0_modfix.fits is finished and left alone" in caplog.text
    for path, result in zip(source, results, strict=True):
        np.testing.assert_array_equal(result.data, ModuleOffsetStep.call(path).data)
    again = correct("out", source[0], on_existing="skip")
    assert marks("out") == after
    assert again.meta.cal_step.module_offset == "COMPLETE"
    correct("out", "data/set_asn.json", on_existing="skip")  # files and associations know each other's outputs
    assert after.items() <= marks("out").items()


def test_what_cannot_be_known_is_made_anew(folder, caplog):
    with datamodels.open("data/jw0_cal.fits") as model:
        for source, ext, words in (
            (model, ".fits", "an exposure in memory"),
            ("data/jw0_cal.fits", ".asdf", "only a FITS"),
        ):
            correct("out", source, output_ext=ext)
            before = marks("out")
            correct("out", source, output_ext=ext, on_existing="skip")
            assert before.items() - marks("out").items()
            assert f"made anew: {words}" in caplog.text


def test_an_asdf_exposure_resumes_where_its_output_is_a_fits_file(folder):
    with datamodels.open("data/jw0_cal.fits") as model:
        model.save("data/jw9_cal.asdf")
    correct("out", "data/jw9_cal.asdf")
    before = marks("out")
    correct("out", "data/jw9_cal.asdf", on_existing="skip").close()
    assert marks("out") == before


def test_error_lists_all_that_exist_before_anything_is_written(folder):
    correct("out")
    Path("out/jw2_modfix.fits").unlink()
    before = marks("out")
    with pytest.raises(OutputError) as caught:
        correct("out", on_existing="error")
    assert str(caught.value).endswith("exist, and on_existing is 'error'")
    for name in before:
        assert f"out/{name}" in str(caught.value)
    for source in ("data/jw0_cal.fits", ["data/jw2_cal.fits", "data/jw0_cal.fits"]):
        with pytest.raises(OutputError, match=r"^[^,]*out/jw0_modfix.fits: exists, and on_existing is 'error'$"):
            correct("out", source, on_existing="error")
    assert marks("out") == before
    correct("new", on_existing="error")
    assert len(visible("new")) == MEMBERS + 1


# Disk full


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
        subprocess.run(["umount", str(folder)], check=True)


def one_line(error):
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize("room", [450, 470, 500])  # KiB: for two outputs of 158 KB and a part of the third
def test_a_full_disk_keeps_what_is_whole_and_says_so(folder, truth, mounted, room):
    small, before = mounted(f"{room}k"), [path.read_bytes() for path in inputs(folder)]
    with pytest.raises(OutputError) as caught:
        correct(small)
    message = one_line(caught.value)
    done = len(visible(small))
    assert re.fullmatch(
        rf".*/jw\d_modfix.fits: cannot be written: No space left on device; \d of {MEMBERS} outputs were finished "
        "before that, and stay: on_existing='skip' completes them", message
    )  # fmt: skip
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
    assert re.search(r"out/jw0_modfix.fits: cannot be written: .+; 0 of 6 outputs", one_line(Path("said").read_text()))
    assert list(Path("out").iterdir()) == []


@pytest.mark.parametrize("room", [4, 12, 40, 100])
def test_a_full_disk_leaves_none_of_the_products_of_a_derivation(mounted, monkeypatch, room):
    small = mounted(f"{room}k")
    table = Table({"flux": np.random.default_rng(1).normal(size=20_000)})
    monkeypatch.setattr(derive_products, "annotate_measurements", lambda _: table)
    with pytest.raises(OutputError, match=r"small/x_mod[a-z_]+(\.asdf)?: cannot be written: No space left on device$"):
        derive_products.write_products(derivation(), ModuleOffsetModel(PACKAGED_TABLE), small, report=False)
    assert list(small.iterdir()) == []


def derivation():
    """As much of a derivation as its products need, without a report."""
    table, options = SimpleNamespace(name="x_moduleoffset.asdf"), SimpleNamespace(catalogs=())
    return SimpleNamespace(table=table, options=options, product="x")


def test_the_reference_file_of_a_derivation_is_put_in_place_last(tmp_path, monkeypatch):
    monkeypatch.setattr(derive_products, "annotate_measurements", lambda _: Table({"flux": [1.0]}))
    placed, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda path, target: placed.append(target) or replace(path, target))
    model = ModuleOffsetModel(PACKAGED_TABLE)
    derive_products.write_products(derivation(), model, tmp_path, report=False)
    assert [path.name for path in placed if path.parent == tmp_path] == [
        "x_modfix_measurements.ecsv",
        "x_moduleoffset.asdf",
    ]


# Folders that cannot be written


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
        derive_products.write_products(derivation(), ModuleOffsetModel(PACKAGED_TABLE), place, report=False)


def test_something_else_in_the_place_of_a_folder_or_an_output_is_named(folder):
    Path("file").write_text("")
    with pytest.raises(OutputError, match="^file: cannot be made: File exists$"):
        correct("file")
    Path("out/jw1_modfix.fits").mkdir(parents=True)
    with pytest.raises(OutputError, match="out/jw1_modfix.fits: cannot be written: Is a directory; 1 of 6 outputs"):
        correct("out")


# Inputs that vanish, and runs at once


def test_an_input_that_vanishes_in_mid_run_is_named_and_what_is_done_stays(folder, truth, monkeypatch):
    gone, opened = Path("data/jw2_cal.fits").absolute(), correct_file.open_fits

    def vanishing(path):
        if path == gone:
            path.rename("kept")
        return opened(path)

    with monkeypatch.context() as patch:
        patch.setattr(correct_file, "open_fits", vanishing)
        with pytest.raises(ExposureError) as caught:
            correct("out")
    assert one_line(caught.value) == (
        f"{gone}: no such file; 2 of 6 outputs were finished before that, and stay: on_existing='skip' completes them"
    )
    assert_whole("out", truth)
    assert {"jw0_modfix.fits", "jw1_modfix.fits"} <= set(marks("out"))
    assert not Path("out", PRODUCT).exists()
    before = marks("out")
    with pytest.raises(ModuleOffsetError, match="jw2_cal.fits: no such file"):
        correct("out", on_existing="skip")
    Path("kept").rename(gone)
    correct("out", on_existing="skip")
    assert before.items() <= marks("out").items()
    assert_whole("out", truth)


def test_an_input_that_vanishes_from_a_list_is_named(folder, monkeypatch):
    gone = Path("data/jw1_cal.fits")
    check = module_offset.refuse_together
    monkeypatch.setattr(module_offset, "refuse_together", lambda *args, **_: check(*args) or gone.unlink())
    with pytest.raises(ExposureError, match="data/jw1_cal.fits: no such file$"):
        correct("out", ["data/jw0_cal.fits", "data/jw1_cal.fits"])
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize("on_existing", ["overwrite", "skip"])
def test_two_runs_at_once_into_one_folder_both_finish(folder, truth, on_existing):
    for _ in range(2):
        children = [forked(lambda: correct("out", on_existing=on_existing)) for _ in range(3)]
        assert [ending(child) for child in children] == [0, 0, 0]
        assert_whole("out", truth)
        assert len(visible("out")) == MEMBERS + 1
        assert hidden("out") == []
        shutil.rmtree("out")


def test_two_runs_of_other_parameters_at_once_write_no_association_of_a_mixture(folder, monkeypatch):
    members = ModuleOffsetStep._correct_members

    def overtaken(step, *args):
        done = members(step, *args)
        monkeypatch.setattr(ModuleOffsetStep, "_correct_members", members)
        correct("out", "data/jw3_cal.fits", apply_offset=False)
        return done

    monkeypatch.setattr(ModuleOffsetStep, "_correct_members", overtaken)
    with pytest.raises(OutputError) as caught:
        correct("out")
    assert re.fullmatch(
        ".*out/jw3_modfix.fits: replaced or removed by another run meanwhile, so no association is written: "
        "give each run its own output_dir", one_line(caught.value)
    )  # fmt: skip
    assert not Path("out", PRODUCT).exists()


def test_the_kernel_s_words_are_found_behind_a_library_s(tmp_path):
    with pytest.raises(OutputError, match="^a: cannot be written: No space left on device$"), files.telling("a"):
        raise OSError("Not enough space on disk") from OSError(28, "No space left on device")
    with (
        pytest.raises(OutputError, match="^a: cannot be written: 3072 requested$"),
        files.telling("a", folder=tmp_path),
    ):
        raise OSError("3072 requested")


def test_a_file_system_without_locks_is_written_to_and_never_cleaned(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", no_locks)
    target = tmp_path / "x.fits"
    with files.written_whole(target) as partial:
        partial.write_text("new")
        assert files.remove_leftovers([target]) == []
    assert list(tmp_path.iterdir()) == [target]
