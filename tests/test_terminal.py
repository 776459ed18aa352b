"""What a terminal of 80 columns shows: results without prefix, one error, progress, and what to do next."""

import io
import json
import logging
import os
import pickle
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits
from jwst.datamodels import ModelContainer, ModelLibrary
from pair_of_exposures import names
from stpipe.exceptions import StpipeExitException
from strun import strun

from jwst_modfix import ModuleOffsetImage3Pipeline, ModuleOffsetStep
from jwst_modfix.apply.decide import Correction, correct_members
from jwst_modfix.errors import AlreadyCorrectedError, ExposureError
from jwst_modfix.text import annotate, log_result, results_shown_plain, show_progress

ASN = "data/set_asn.json"
NOTHING = "nothing is corrected: 2 exposures left unchanged; derive a table: strun module_offset_derive"


@pytest.fixture
def stream():
    """The terminal of a handler as stpipe makes it, on the logger of stpipe."""
    logger, handler = logging.getLogger("stpipe"), logging.StreamHandler(io.StringIO())
    handler.stream.isatty = lambda: True
    handler.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.stream
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.fixture
def uncorrected(pair_folder, pair):
    """The same folder, calibrated with a context that the packaged table is not for."""
    for name in names(pair):
        fits.setval(f"data/{name}", "CRDS_CTX", value="jwst_1293.pmap")
    return pair_folder


def test_strun_shows_results_without_prefix_and_names_the_association_last(pair_folder, pair):
    status, log, _ = strun("module_offset", ASN, "--output_dir=out")
    first, second = names(pair)
    assert status == 0
    assert [line for line in log if not line.startswith(("20", "  ")) or line.startswith("  exp")] == [
        f"{first}: took out zero-point error -52.67 mmag",
        f"{second}: took out zero-point error +0.00 mmag",
        "2 of 2 exposures corrected, 0 left unchanged",
        "  exposures  filter  array  what",
        "Association of 2 members: out/set_modfix_asn.json",
    ]
    assert log[-1].startswith("Association of")
    prefixed = [line for line in log if " - stpipe.jwst_modfix - " in line]
    assert len(prefixed) == 1, "the line on the table, by the one logger"


def test_a_run_that_corrects_nothing_ends_with_a_line_that_says_what_to_do(uncorrected):
    status, log, _ = strun("module_offset", ASN)
    assert status == 0
    assert log[-1] == (
        f"Warning: {NOTHING} {ASN}; or carry one over: modfix rebase packaged --from-photom OLD --to-photom NEW "
        "-o new_moduleoffset.asdf"
    )
    assert all(len(line) <= 78 for line in log if line.startswith("  ("))
    assert sum("jwst_1293.pmap" in line for line in log) == 3, "once for each member, and once as a note of the table"


def test_with_on_nothing_error_the_status_is_1_and_nothing_is_written(uncorrected):
    status, log, out = strun("module_offset", ASN, "--on_nothing=error", "--output_dir=out")
    assert status == 1
    assert list(Path("out").iterdir()) == []
    message = log[-1]
    rule = "on_nothing is 'error', and nothing is corrected: 2 exposures left unchanged: CRDS_CTX is jwst_1293.pmap"
    assert message.startswith(f"Error: {rule}")
    assert "strun module_offset_derive" in message, "what to do"
    assert out[1] == "ERROR RUNNING STEP 'ModuleOffsetStep':"


def test_errors_of_strun_are_our_message_last_and_alone(pair_folder):
    status, log, _ = strun("module_offset", "data/none_cal.fits")
    assert (status, log[-1]) == (1, "Error: data/none_cal.fits: no such file")


def route(name, pair):
    """An input of each kind."""
    return {
        "file": f"data/{names(pair)[0]}", "list": [f"data/{name}" for name in names(pair)], "folder": "data",
        "association": ASN, "mapping": json.loads(Path(ASN).read_text()), "model": pair[0],
        "library": ModelLibrary(pair), "container": ModelContainer(pair),
    }[name]  # fmt: skip


ROUTES = ["file", "list", "folder", "association", "mapping", "model", "library", "container"]


@pytest.mark.parametrize("name", ROUTES)
def test_every_route_says_that_nothing_was_corrected_or_ends_with_an_error(
    pair_folder, pair, name, caplog, monkeypatch
):
    """Truth: the exposures are of jwst_1293, and the table is for jwst_1130; corrected they are with another table."""
    for model, file in zip(pair, names(pair), strict=True):
        model.meta.ref_file.crds.context_used = "jwst_1293.pmap"
        fits.setval(f"data/{file}", "CRDS_CTX", value="jwst_1293.pmap")
    if name == "mapping":
        monkeypatch.chdir("data")
    given = route(name, pair) if name != "mapping" else json.loads(Path("set_asn.json").read_text())
    with caplog.at_level("INFO"):
        ModuleOffsetStep.call(given, configure_log=False)
    (line,) = (record for record in caplog.records if "nothing is corrected" in record.getMessage())
    assert line.levelno == logging.WARNING
    assert line is [record for record in caplog.records if record.name == "stpipe.jwst_modfix"][-1]
    with pytest.raises(
        ExposureError, match="on_nothing is 'error', and nothing is corrected: .* is valid for jwst_1130"
    ):
        ModuleOffsetStep.call(given, configure_log=False, on_nothing="error")


def test_an_exposure_that_only_its_wcs_rules_out_is_found_before_too(small_exposure):
    model = small_exposure("NRCALONG", "F444W")  # whose row has a slope
    model.meta.wcs = None
    with pytest.raises(ExposureError, match="nothing is corrected: 1 exposure left unchanged: it has no WCS"):
        ModuleOffsetStep.call(model, configure_log=False, on_nothing="error")


@pytest.mark.parametrize("name", ROUTES[:4])
def test_one_exposure_that_is_corrected_is_enough(pair_folder, pair, name, caplog):
    fits.setval(f"data/{names(pair)[1]}", "CRDS_CTX", value="jwst_1293.pmap")
    with caplog.at_level("INFO"):
        ModuleOffsetStep.call(route(name, pair), configure_log=False, on_nothing="error")
    assert "nothing is corrected" not in caplog.text


def test_a_run_that_finds_its_unchanged_outputs_says_so_again(uncorrected, caplog):
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO"):
            ModuleOffsetStep.call(ASN, save_results=True, output_dir="out", on_existing="skip", configure_log=False)
        assert NOTHING in caplog.text
    assert "2 finished before" in caplog.text


def test_an_undo_of_nothing_says_so(uncorrected, caplog):
    ModuleOffsetStep.call(ASN, save_results=True, output_dir="out")
    with caplog.at_level("INFO"):
        ModuleOffsetStep.call("out/set_modfix_asn.json", inverse=True, configure_log=False)
    assert caplog.records[-1].getMessage() == "nothing is undone: 2 exposures left unchanged"


def test_the_last_line_of_the_pipeline_says_that_nothing_was_corrected(uncorrected, caplog):
    skipped = ("tweakreg", "skymatch", "outlier_detection", "resample", "source_catalog", "assign_mtwcs")
    steps = {name: {"skip": True} for name in skipped}
    with caplog.at_level("INFO"):
        ModuleOffsetImage3Pipeline(steps=steps).run(ASN)
    assert "nothing is corrected" in caplog.records[-1].getMessage()
    assert caplog.text.count("nothing is corrected") == 1
    with pytest.raises(ExposureError, match="nothing is corrected"):
        ModuleOffsetImage3Pipeline(steps=steps | {"module_offset": {"on_nothing": "error"}}).run(ASN)


def test_errors_are_of_their_class_and_of_the_one_that_stpipe_ends_with_a_status(pair):
    corrected = ModuleOffsetStep.call(pair[0])
    with pytest.raises(AlreadyCorrectedError, match="was corrected before") as caught:
        ModuleOffsetStep.call(corrected)
    assert isinstance(caught.value, StpipeExitException)
    assert caught.value.exit_status == 1
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is AlreadyCorrectedError
    assert str(copy) == str(caught.value)


def test_other_lines_keep_their_prefix_and_files_of_a_log_keep_it_for_all(stream, tmp_path):
    file = logging.FileHandler(tmp_path / "log.txt")
    file.setFormatter(logging.Formatter("%(name)s %(message)s"))
    logging.getLogger("stpipe").addHandler(file)
    long = "word " * 30 + "end"
    with results_shown_plain():
        log_result(long)
        log_result("  row", logging.WARNING)
        log_result(long, logging.WARNING, is_whole=True)
        logging.getLogger("stpipe.other").info("not ours")
    log_result("after")
    logging.getLogger("stpipe").removeHandler(file)
    file.close()
    wrapped, row, whole, other, after = stream.getvalue().partition(" end\n")[0], *stream.getvalue().splitlines()[-4:]
    assert max(map(len, wrapped.splitlines())) <= 78
    assert row == "  row", "rows of a table have no word before them"
    assert whole == f"Warning: {long}"
    assert other.endswith(" - stpipe.other - INFO - not ours")
    assert after.endswith(" - stpipe.jwst_modfix - INFO - after")
    assert (tmp_path / "log.txt").read_text().splitlines()[0] == f"stpipe.jwst_modfix {long}"


def test_a_line_is_whole_in_a_pipe(stream, monkeypatch):
    monkeypatch.setattr(stream, "isatty", lambda: False)
    with results_shown_plain():
        log_result("word " * 30 + "end")
    assert stream.getvalue().count("\n") == 1


def test_long_cells_become_notes_and_equal_ones_share_a_note():
    rows = [["name", "why"], ["a", "x" * 50 + " " + "y" * 50], ["bb", ""], ["c", "short"], ["d", "short"]]
    lines = annotate(rows)
    assert lines == [
        "name",
        "a    (1)",
        "bb",
        "c    (2)",
        "d    (2)",
        "(1) " + "x" * 50,
        "    " + "y" * 50,
        "(2) short",
    ]


def test_a_terminal_shows_a_bar_with_the_time_left_and_lines_are_written_over_it():
    """In a pseudo-terminal; elsewhere there is neither a bar nor a code of a terminal."""
    code = (
        "import logging, sys\n"
        "from jwst_modfix.text import log_result, results_shown_plain, show_progress\n"
        "logging.getLogger('stpipe').setLevel('INFO')\n"
        "logging.getLogger('stpipe').addHandler(logging.StreamHandler())\n"
        "with results_shown_plain():\n"
        "    for i in show_progress(iter(range(3)), 'Correcting', total=3, has_lines=False):\n"
        "        log_result(f'line {i}')\n"
        "    log_result('end')\n"
    )
    here, there = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stderr=there, check=True)
    os.close(there)
    shown = os.read(here, 100_000).decode()
    os.close(here)
    assert "Correcting: 3 exposures" in shown
    assert "ETA" in shown or "100%" in shown.replace("(100.00%)", "100%")
    assert "\r\x1b[Kline 1\r\n" in shown
    assert shown.endswith("\r\nend\r\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["line 0", "line 1", "line 2", "end"]


def test_an_error_within_a_bar_ends_the_bar(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    shown = show_progress([1, 2], "Correcting")
    next(shown)
    shown.close()  # as the end of a loop by an error does
    with results_shown_plain():
        log_result("after")
    assert stream.getvalue().endswith("\nafter\n")


def test_an_error_of_a_member_ends_the_bar(monkeypatch, stream):
    """While its traceback, which holds the loop over the members, is still there."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with results_shown_plain():
        try:
            correct_members([Path("none_cal.fits")] * 2, Correction(table=None, inverse=True), total=2)
        except ExposureError as error:
            log_result(str(error))
    assert stream.getvalue().endswith("\nnone_cal.fits: no such file\n")
