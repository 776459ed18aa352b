"""The command as a whole, and what looks at tables and exposures: show, check and init."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from astropy.io import fits
from pair_of_exposures import names, write_association
from strun import strun

from jwst_modfix import ModuleOffsetStep, OffsetRow, OffsetTable
from jwst_modfix.cli.commands import _COMMANDS
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, read_table


@pytest.fixture
def asn(pair, tmp_path):
    """An association of a pair in F200W, the one on another calibration."""
    pair[1].meta.ref_file.crds.context_used = "jwst_1200.pmap"
    for model in pair:
        model.save(str(tmp_path / model.meta.filename))
    return Path(write_association(tmp_path / "set_asn.json", *names(pair), product="set"))


def names_of(asn):
    return [member["expname"] for member in json.loads(asn.read_text())["products"][0]["members"]]


@pytest.mark.parametrize("name", ["", *_COMMANDS])
def test_every_help_has_examples(modfix, name):
    output = modfix(*name.split(), "--help")
    assert "Examples:\n    modfix" in output
    assert max(map(len, output.splitlines())) <= 120


def test_the_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "jwst_modfix.cli", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "modfix,")


def test_errors_are_one_line_with_status_1_and_wrong_usage_is_2(modfix):
    assert (
        modfix("show", "nothing.asdf", status=1) == "Error: nothing.asdf: cannot be read: No such file or directory\n"
    )
    assert "No such command 'shwo'" in modfix("shwo", status=2)
    assert "Missing option '--filter'" in modfix("set", "packaged", "--array", "1", status=2)


def test_show_prints_the_numbers_of_table_2_in_mmag(modfix):
    output = modfix("show")
    assert "long   F444W   CLEAR   -16.54 ± 1.28" in output
    assert "+4.33 ± 0.90       90 deg" in output
    for words in ("CRDS context jwst_1130.pmap", "module B is kept", "V2, V3 = -1.74, -492.4 arcsec", "JWIDF field"):
        assert words in output


def test_show_takes_the_table_that_the_environment_names(modfix, monkeypatch):
    modfix("init")
    modfix("set", "my_moduleoffset.asdf", "--array", "long", "--filter", "F444W", "--offset", "0.5")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "my_moduleoffset.asdf")
    assert "+500.00 ± 1.28" in modfix("show")


def test_show_says_what_was_done_to_exposures(modfix, asn):
    ModuleOffsetStep.call(str(asn), save_results=True)
    corrected, skipped = (name.replace("_cal", "_modfix") for name in names_of(asn))
    output = modfix("show", names_of(asn)[0], corrected, skipped)
    original, of_corrected, of_skipped = output.split("\n\n")
    assert original.splitlines()[-1] == "  not corrected"
    assert "table ma2023_table2.asdf (hash 07d650b6cb5d)" in of_corrected
    assert "zero-point error -52.67 mmag" in of_corrected  # Table 2, array 2 in F200W
    assert "not corrected: skipped\n  because CRDS_CTX is jwst_1200.pmap" in of_skipped


@pytest.mark.parametrize("route", ["file", "model"])
def test_show_says_of_an_undone_file_that_it_is_not_corrected_and_why(modfix, asn, route):
    corrected = names_of(asn)[0].replace("_cal", "_modfix")
    ModuleOffsetStep.call(names_of(asn)[0], save_results=True)
    date = fits.getval(corrected, "MODFDATE")
    undone = corrected.replace("_modfix", "_unmodfix")
    if route == "file":
        ModuleOffsetStep.call(corrected, inverse=True, save_results=True)
    else:
        ModuleOffsetStep.call(ModuleOffsetStep.call(names_of(asn)[0]), inverse=True).save(undone)
    line = modfix("show", undone).splitlines()[-1]
    assert line.startswith("  not corrected: the correction by ma2023_table2.asdf of ")
    assert line.endswith(f"{date} was undone") or route == "model"
    ModuleOffsetStep.call(undone, save_results=True, suffix="again")
    assert "taken out: zero-point error -52.67 mmag" in modfix("show", undone.replace("_unmodfix", "_again"))


def test_check_says_whether_a_table_is_valid(modfix, tmp_path):
    assert "ma2023_table2.asdf is valid: 10 rows" in modfix("check", "packaged")
    text = PACKAGED_TABLE.read_text().replace("offset: 0.01296,", "offset: much,")
    (tmp_path / "bad.asdf").write_text(text)
    assert "row 1 (array=1, filter=F150W, pupil=CLEAR), field offset" in modfix("check", "bad.asdf", status=1)


def test_show_gives_a_gradient_in_lines_of_a_terminal(modfix, small_exposure):
    """Truth: Table 2, F444W, of which one exposure has half the slope."""
    ModuleOffsetStep.call(small_exposure("NRCALONG", "F444W")).save("x_modfix.fits")
    lines = [line.strip() for line in modfix("show", "x_modfix.fits").splitlines()]
    place = lines.index("gradient +2.165 mmag/arcmin toward 90 deg")
    assert lines[place + 1] == "in the focal_plane, zero at -1.74, -492.4"


def test_show_and_check_take_folders(modfix, asn, tmp_path):
    ModuleOffsetStep.call(str(asn), save_results=True, output_dir="deep/out")
    (tmp_path / "data").mkdir()
    for name in names_of(asn):
        (tmp_path / name).rename(tmp_path / "data" / name)
    output = modfix("show", "deep", "data")
    assert [line.rpartition("/")[2] for line in output.splitlines() if ".fits" in line] == [
        *(name.replace("_cal", "_modfix") for name in names_of(asn)), *names_of(asn)
    ]  # fmt: skip
    assert "zero-point error -52.67 mmag" in output
    first = Path("data", names_of(asn)[0])
    output = modfix("check", "packaged", "data", str(first), str(tmp_path / first))
    assert "2 exposures: 1 apply, 1 skip, 0 refuse" in output, "each once, by whatever name"


@pytest.mark.parametrize("on_invalid", ["skip", "warn", "error"])
@pytest.mark.parametrize("trouble", ["none", "corrected", "short", "missing"])
def test_check_agrees_with_the_step(modfix, asn, tmp_path, on_invalid, trouble):
    first = tmp_path / names_of(asn)[0]
    if trouble == "corrected":
        ModuleOffsetStep.call(str(first)).save(str(first))
    elif trouble == "short":
        first.write_bytes(first.read_bytes()[:9000])
    elif trouble == "missing":
        first.unlink()
    try:
        library = ModuleOffsetStep.call(str(asn), on_invalid=on_invalid)
        with library:
            models = [library.borrow(i) for i in range(2)]
            done = ["apply" if model.meta.cal_step.module_offset == "COMPLETE" else "skip" for model in models]
            [library.shelve(model, i, modify=False) for i, model in enumerate(models)]
    except ModuleOffsetError as error:
        refused = [name in str(error) for name in names_of(asn)]
        done = ["refuse" if bad else "" for bad in refused]
    words = ("check", "packaged", "set_asn.json", "--on-invalid", on_invalid)
    output = modfix(*words, status=int("refuse" in done))
    for name, action in zip(names_of(asn), done, strict=True):
        (line,) = (line for line in output.splitlines() if f" {name} " in line)
        assert line.split()[0] == action or not action  # the step names the refused ones only


def test_check_warns_of_another_photmjsr_as_the_step_does(modfix, small_exposure, tmp_path, caplog):
    model = small_exposure("NRCA2", "F200W")
    model.save(str(tmp_path / model.meta.filename))
    photmjsr = model.meta.photometry.conversion_megajanskys
    for factor, warns in ((1.0009, False), (0.9991, False), (1.002, True), (0.998, True)):
        row = OffsetRow(array="2", filter="F200W", offset=0.01, offset_error=0.001,
                        photmjsr={"A": factor * photmjsr, "B": 1.0})  # fmt: skip
        OffsetTable(rows=(row,), meta={"description": "d"}).write(tmp_path / "mine.asdf", overwrite=True)
        output = " ".join(modfix("check", "mine.asdf", model.meta.filename).split())
        caplog.clear()
        ModuleOffsetStep.call(str(tmp_path / model.meta.filename), override_moduleoffset=str(tmp_path / "mine.asdf"))
        warning = f"PHOTMJSR is {photmjsr:g}, "
        assert (f"+10.00 mmag; warning: {warning}" in output) == warns
        assert any(warning in record.getMessage() for record in caplog.records) == warns


def test_check_evaluates_the_gradient_without_pixels(modfix, small_exposure, tmp_path, monkeypatch):
    model = small_exposure("NRCALONG", "F444W")
    model.save(str(tmp_path / model.meta.filename))
    monkeypatch.setattr(fits.ImageHDU, "data", property(lambda self: pytest.fail("pixels were loaded")))
    output = modfix("check", "packaged", model.meta.filename)
    assert "zero-point error -16.54 mmag, gradient +2.165 mmag/arcmin" in output  # half of Table 2's slope
    modfix("init")
    name = "my_moduleoffset.asdf"
    text = (tmp_path / name).read_text().replace("[-1.74, -492.4]", "[90000.0, -492.4]")
    (tmp_path / name).write_text(text)
    output = modfix("check", name, model.meta.filename, status=1)
    assert "the zero-point error reaches" in output
    monkeypatch.undo()
    with pytest.raises(ModuleOffsetError, match="the zero-point error reaches"):
        ModuleOffsetStep.call(str(tmp_path / model.meta.filename), override_moduleoffset=str(tmp_path / name))


def test_check_names_missing_rows_and_other_members(modfix, asn, tmp_path):
    content = json.loads(asn.read_text())
    content["products"][0]["members"].append({"expname": "sources.ecsv", "exptype": "sourcecat"})
    asn.write_text(json.dumps(content))
    modfix("init")
    text = (tmp_path / "my_moduleoffset.asdf").read_text()
    kept = "\n".join(line for line in text.split("\n") if "array: '2'" not in line)
    (tmp_path / "my_moduleoffset.asdf").write_text(kept)
    output = modfix("check", "my_moduleoffset.asdf", asn, "--on-missing", "error", status=1)
    assert output.count("has no row for array=2, filter=F200W") == 1, "a note, for two rows"
    assert "2 exposures: 0 apply, 0 skip, 2 refuse" in output


@pytest.mark.parametrize("kind", ["cfg", "asdf"])
def test_init_makes_a_folder_in_which_strun_runs_as_written(modfix, asn, tmp_path, kind):
    output = modfix("init", "my offsets")
    assert "strun 'my offsets/modfix.cfg' name_asn.json" in output
    table = tmp_path / "my offsets" / "my_moduleoffset.asdf"
    assert read_table(table).rows == read_table(PACKAGED_TABLE).rows
    modfix("set", table, "--array", "2", "--filter", "F200W", "--offset", "-0.05")
    status, log, _ = strun(f"my offsets/modfix.{kind}", asn)
    assert status == 0, log
    header = fits.getheader(tmp_path / names_of(asn)[0].replace("_cal", "_modfix"))
    assert (header["R_MODOFF"], header["MODFOFF"]) == ("my_moduleoffset.asdf", -0.05)
