"""
Runs that find outputs of former ones: only finished ones of the very same job are taken.

Truth: an undisturbed run over the same inputs, whose outputs are the same except for dates, or absent.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from disturbed_runs import (
    MEMBERS,
    PRODUCT,
    content,
    correct,
    inputs,
    marks,
    visible,
)
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.apply import decide
from jwst_modfix.errors import OutputError
from jwst_modfix.table.file import PACKAGED_TABLE


@pytest.fixture
def finished(undisturbed, folder):
    """The working directory with a copy of the outputs of an undisturbed run in out/."""
    shutil.copytree(undisturbed / "truth", "out")


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


def zero_tail(output):
    content = output.read_bytes()
    output.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))


def take_card(output):
    fits.delval(output, "MODFJOB")


@pytest.mark.filterwarnings("ignore:File may have been truncated")
@pytest.mark.parametrize(
    ("disturb", "words"),
    [
        (lambda output: output.write_text("mine"), "is not a FITS file"),
        (lambda output: output.write_bytes(output.read_bytes()[:-2880]), "it is cut short"),
        (lambda output: output.write_bytes(output.read_bytes()[:5000]), "cannot be read as FITS"),
        (lambda output: output.write_bytes(b""), "is not a FITS file"),
        (zero_tail, "it is cut short or damaged"),
        (lambda output: shutil.copy(output.with_name("jw0_modfix.fits"), output), "it is of another input"),
        (lambda output: shutil.copy("data/jw2_cal.fits", output), "it has no MODFJOB"),
        (rewrite_input, "it is of another input"),
        (touch_pixel_of_input, "it is of another input"),
        (save_again, "or was changed or saved again since"),
        (take_card, "it has no MODFJOB"),
    ],
)
def test_a_foreign_or_stale_file_is_never_taken_for_a_finished_output(finished, caplog, disturb, words):
    disturb(Path("out/jw2_modfix.fits"))
    before = marks("out")
    correct("out", on_existing="skip")
    after = marks("out")
    assert [name for name in before if before[name] != after[name]] == ["jw2_modfix.fits", PRODUCT]
    assert re.search(f"out/jw2_modfix.fits is written again: .*{words}", caplog.text)
    assert "1 of 4 exposures corrected, 0 left unchanged, 3 finished before" in caplog.text
    correct("truth", "data/jw2_cal.fits").close()
    assert content("out/jw2_modfix.fits") == content("truth/jw2_modfix.fits")


@pytest.mark.parametrize("change", ["table", "parameter", "version"])
def test_outputs_of_another_table_parameter_or_version_are_all_made_anew(finished, monkeypatch, change):
    before = marks("out")
    parameters = {"on_existing": "skip"}
    if change == "table":
        model = ModuleOffsetModel(PACKAGED_TABLE)
        model.instance["offsets"][0]["offset"] += 1e-5
        parameters["override_moduleoffset"] = model
    elif change == "parameter":
        parameters["apply_slope"] = False
    else:
        monkeypatch.setattr(decide, "_VERSION", "99")
    correct("out", **parameters)
    assert not before.items() & marks("out").items()


def test_a_run_that_finds_all_done_touches_nothing(finished):
    before, folder_before = marks("out"), Path("out").stat().st_mtime_ns  # which changes with any file that is made
    library = correct("out", on_existing="skip")
    assert marks("out") == before
    assert Path("out").stat().st_mtime_ns == folder_before
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
            assert f"written again: {words}" in caplog.text


def test_an_asdf_exposure_resumes_where_its_output_is_a_fits_file(folder):
    with datamodels.open("data/jw0_cal.fits") as model:
        model.save("data/jw9_cal.asdf")
    correct("out", "data/jw9_cal.asdf")
    before = marks("out")
    correct("out", "data/jw9_cal.asdf", on_existing="skip").close()
    assert marks("out") == before


def test_error_lists_all_that_exist_before_anything_is_written(finished):
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
