"""The step: every kind of input, associations in and out, hooks, and no network."""

import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.stpipe import Step
from pair_of_exposures import CONFIG, FACTOR, assert_corrected, models_of, names, run_strun, run_strun_here
from stdatamodels.jwst import datamodels
from stpipe import config_parser, crds_client

from jwst_modfix import ModuleOffsetStep
from jwst_modfix.errors import ModuleOffsetError, NoSolutionError
from jwst_modfix.table.file import PACKAGED_TABLE


@pytest.mark.parametrize("kind", ["fits", "asdf"])
def test_a_file_gives_a_model(pair_folder, pair, kind):
    pair[0].save(f"data/jw_cal.{kind}")
    result = ModuleOffsetStep.call(f"data/jw_cal.{kind}")
    assert isinstance(result, datamodels.ImageModel)
    np.testing.assert_allclose(result.data, pair[0].data * FACTOR, rtol=3e-7)
    assert not list(pair_folder.glob("*.fits"))


def test_a_model_gives_a_model_and_is_left_alone(pair):
    before = pair[0].copy()
    result = ModuleOffsetStep.call(pair[0])
    assert isinstance(result, datamodels.ImageModel)
    np.testing.assert_allclose(result.data, before.data * FACTOR, rtol=3e-7)
    np.testing.assert_array_equal(pair[0].data, before.data)
    assert pair[0].instance["meta"].get("cal_step") == before.instance["meta"].get("cal_step")
    assert pair[0].meta.photometry.instance == before.meta.photometry.instance


@pytest.mark.parametrize("kind", [list, tuple, ModelContainer, ModelLibrary])
def test_several_models_are_copied(pair, kind):
    before = [model.copy() for model in pair]
    result = ModuleOffsetStep.call(kind(pair))
    assert isinstance(result, list if kind is tuple else kind)
    assert_corrected(models_of(result) if kind is ModelLibrary else result, before)
    np.testing.assert_array_equal(pair[0].data, before[0].data)


@pytest.mark.parametrize("kind", [list, ModelContainer])
def test_models_that_share_arrays_or_are_one_model_are_corrected_once_each(pair, kind):
    """Truth: A2 is scaled by one factor in each result, and the inputs are left alone."""
    first, truth = pair[0], pair[0].copy()
    other = first.copy()
    other.data, other.err, other.var_rnoise = first.data, first.err, first.var_rnoise
    for result in ModuleOffsetStep.call(kind([first, other, first])):
        np.testing.assert_allclose(result.data, truth.data * FACTOR, rtol=3e-7)
        np.testing.assert_allclose(result.var_rnoise, truth.var_rnoise * FACTOR**2, rtol=4e-7)
    np.testing.assert_array_equal(first.data, truth.data)


def test_a_library_on_disk_is_copied(pair_folder, pair):
    """Its catalogue is found from anywhere, and the product does not replace the uncorrected mosaic."""
    content = json.loads(Path("data/set_asn.json").read_text())
    content["products"][0]["members"].pop()
    content["products"][0]["members"][0]["tweakreg_catalog"] = "cat.ecsv"
    Path("data/two_asn.json").write_text(json.dumps(content))
    library = ModelLibrary("data/two_asn.json", on_disk=True)
    result = ModuleOffsetStep.call(library)
    assert result.on_disk
    (product,) = result.asn["products"]
    assert product["name"] == "mosaic_modfix"
    assert product["members"][0]["tweakreg_catalog"] == str(Path("data/cat.ecsv").absolute())
    assert_corrected(models_of(result), pair)
    np.testing.assert_array_equal(models_of(library)[0].data, pair[0].data)


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_association_gives_a_library_of_its_science_members(pair_folder, pair, in_memory):
    result = ModuleOffsetStep.call("data/set_asn.json", in_memory=in_memory)
    assert isinstance(result, ModelLibrary)
    assert result.on_disk != in_memory
    assert_corrected(models_of(result), pair)
    with fits.open(f"data/{names(pair)[0]}") as hdulist:
        np.testing.assert_array_equal(hdulist["SCI"].data, pair[0].data)


@pytest.mark.filterwarnings("ignore:Input association file contains path information")  # of the catalogue, by jwst
def test_strun_on_an_association_writes_files_and_the_association_of_them(pair_folder, pair):
    log = run_strun("data/set_asn.json", "--output_dir=out")
    roots = [name.removesuffix("_cal.fits") for name in names(pair)]
    assert sorted(p.name for p in Path("out").iterdir()) == sorted(
        [*(f"{root}_modfix.fits" for root in roots), "set_modfix_asn.json"]
    )
    content = json.loads(Path("out/set_modfix_asn.json").read_text())
    before = json.loads(Path("data/set_asn.json").read_text())
    members = content["products"][0]["members"]
    assert [m["expname"] for m in members] == [
        f"{roots[0]}_modfix.fits",
        f"{roots[1]}_modfix.fits",
        "../data/sources.ecsv",
    ]
    assert [m["exptype"] for m in members] == ["science", "science", "sourcecat"]
    assert content["products"][0]["name"] == "mosaic_modfix"
    without = [{**c, "products": None} for c in (content, before)]
    assert without[0] == without[1]
    assert_corrected([datamodels.open(f"out/{root}_modfix.fits") for root in roots], pair)
    for root in roots:  # a line each, and no CRDS
        assert log.count(f"{root}_cal.fits: took out zero-point error") == 1
    assert "2 of 2 exposures corrected, 0 left unchanged" in log
    assert "Table ma2023_table2.asdf (hash 07d650b6cb5d), from the package" in log
    assert "CRDS" not in log
    library = ModelLibrary("out/set_modfix_asn.json", asn_exptypes=["science"])  # as calwebb_image3 opens it
    assert_corrected(models_of(library), pair)


def test_editing_one_coefficient_with_sed_changes_the_output_by_that_much(pair_folder, pair, monkeypatch):
    shutil.copy(PACKAGED_TABLE, "mine.asdf")
    subprocess.run(["sed", "-i", "s/offset: -0.05267/offset: -0.03267/", "mine.asdf"], check=True)
    run_strun_here(f"data/{names(pair)[0]}", "--override_moduleoffset=mine.asdf")
    monkeypatch.setenv("JWST_MODFIX_REFERENCE", "mine.asdf")
    ModuleOffsetStep.call(f"data/{names(pair)[0]}", save_results=True, output_dir="environment")
    for place in (".", "environment"):
        with fits.open(Path(place) / names(pair)[0].replace("_cal", "_modfix")) as hdulist:
            np.testing.assert_allclose(hdulist["SCI"].data, pair[0].data * 10 ** (0.4 * -0.03267), rtol=3e-7)
            assert hdulist[0].header["R_MODOFF"] == "mine.asdf"


def test_apply_save_through_another_step_and_undo(pair_folder, pair, small_exposure):
    from jwst.gain_scale import GainScaleStep

    before = small_exposure("NRCALONG", "F444W")
    before.save("jw_cal.fits")
    ModuleOffsetStep.call("jw_cal.fits", save_results=True)
    with datamodels.open("jw_modfix.fits") as model:
        model.meta.exposure.gain_factor = 1.0
        other = GainScaleStep(skip=False)
        other.process(model)
        model.save("jw_other.fits")
    assert fits.getval("jw_other.fits", "S_MODOFF") == "COMPLETE"
    ModuleOffsetStep.call("jw_other.fits", save_results=True, inverse=True)
    with datamodels.open("jw_other_unmodfix.fits") as undone:
        for name in ("data", "err", "var_poisson", "var_rnoise", "var_flat"):
            np.testing.assert_allclose(getattr(undone, name), getattr(before, name), rtol=3e-7)
    assert "S_MODOFF" not in fits.getheader(next(Path().glob("*unmodfix.fits")))


def test_a_skipped_member_is_written_through(pair_folder, pair, caplog):
    with datamodels.open(f"data/{names(pair)[1]}") as model:
        model.meta.ref_file.crds.context_used = "jwst_1200.pmap"
        model.save(f"data/{names(pair)[1]}")
    ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="out", configure_log=False)
    log = caplog.text
    assert "1 of 2 exposures corrected, 1 left unchanged" in log
    ModuleOffsetStep.call(f"data/{names(pair)[1]}", configure_log=False)
    assert "0 of 1 exposure corrected, 1 left unchanged" in caplog.text
    assert (
        f"{names(pair)[1]}: SKIPPED: CRDS_CTX is jwst_1200.pmap, and ma2023_table2.asdf is valid for jwst_1130.pmap"
        in log
    )
    skipped = Path("out", names(pair)[1].replace("_cal", "_modfix"))
    assert fits.getval(skipped, "S_MODOFF") == "SKIPPED"
    assert fits.getval(skipped, "CRDS_CTX") == "jwst_1200.pmap"
    np.testing.assert_array_equal(fits.getdata(skipped, "SCI"), pair[1].data)
    assert len(json.loads(Path("out/set_modfix_asn.json").read_text())["products"][0]["members"]) == 3


def test_warn_says_it_louder(pair, caplog):
    pair[0].meta.exposure.type = "NRC_TSIMAGE"
    ModuleOffsetStep.call(pair[0], on_invalid="warn", configure_log=False)
    levels = {record.levelname for record in caplog.records if "EXP_TYPE is NRC_TSIMAGE" in record.message}
    assert levels == {"WARNING"}


@pytest.mark.parametrize("kind", [ModelContainer, ModelLibrary])
def test_members_that_are_no_science_members_are_left_alone(pair, kind):
    pair[0].meta.asn.exptype = "background"
    before = pair[0].data.copy()
    result = ModuleOffsetStep.call(kind(pair))
    result = models_of(result) if kind is ModelLibrary else result
    np.testing.assert_array_equal(result[0].data, before)
    assert [model.meta.cal_step.instance.get("module_offset") for model in result] == [None, "COMPLETE"]


def test_a_hook_corrects_the_library_of_the_pipeline_in_place(pair):
    from jwst.tweakreg import TweakRegStep

    before = [model.copy() for model in pair]
    step = TweakRegStep(pre_hooks=["jwst_modfix.ModuleOffsetStep"], skip=True)
    hook = step._pre_hooks[0]
    assert isinstance(hook, ModuleOffsetStep)
    library = ModelLibrary(pair)
    assert hook.run(library) is library
    assert_corrected(models_of(library), before)


def test_cal_ver_and_the_context_stay(pair_folder, pair):
    version = pair[0].meta.calibration_software_version
    result = ModuleOffsetStep.call(pair[0])
    assert result.meta.calibration_software_version == version
    assert result.meta.ref_file.crds.context_used == "jwst_1130.pmap"
    assert "module_offset" in result.cal_logs.instance


@pytest.mark.parametrize(
    ("name", "kind"),
    [("modfix", "ModuleOffsetStep"), ("modfix_derive", "ModuleOffsetDeriveStep"),
     ("calwebb_image3_modfix", "ModuleOffsetImage3Pipeline")],
)  # fmt: skip
def test_the_asdf_file_and_the_cfg_file_make_the_same_step_of_the_same_parameters(name, kind):
    """Truth: the steps that stpipe makes of both, with every parameter."""
    cfg, asdf = (Step.from_config_file(str(CONFIG / f"{name}.{suffix}")) for suffix in ("cfg", "asdf"))
    assert type(cfg).__name__ == type(asdf).__name__ == kind
    assert cfg.name == asdf.name
    assert cfg.get_pars() == asdf.get_pars()
    if name != "modfix_derive":
        step = getattr(cfg, "module_offset", cfg)
        assert (step.suffix, step.on_invalid, step.apply_slope) == ("modfix", "skip", True)
    stated = [config_parser.load_config_file(str(CONFIG / f"{name}.{suffix}")) for suffix in ("cfg", "asdf")]
    names = [{**one, **one.get("steps", {}).get("module_offset", {})}.keys() for one in stated]
    assert names[0] - {"steps"} == names[1] - {"steps"}


def test_every_parameter_has_a_help_text():
    ours, stock = (step.load_spec_file() for step in (ModuleOffsetStep, Step))
    assert "override_moduleoffset" in ours
    for name in {*ours} - {*stock} | {"suffix"}:
        assert len(ours.inline_comments[name]) > 20, name


@pytest.mark.filterwarnings("ignore:While validating")  # FAILED is new in stdatamodels 6
@pytest.mark.parametrize("kind", ["model", "file"])
@pytest.mark.parametrize(
    ("step", "keyword"), [("photom", "S_PHOTOM"), ("flat_field", "S_FLAT"), ("assign_wcs", "S_WCS")]
)
def test_an_exposure_without_a_flux_scale_is_skipped_and_its_failed_step_named(
    pair, tmp_path, caplog, kind, step, keyword
):
    given, name = pair[0], step
    if kind == "file":
        given, name = str(tmp_path / "jw_cal.fits"), keyword
        pair[0].save(given)
        fits.setval(given, keyword, value="FAILED")
    else:
        pair[0].instance["meta"].setdefault("cal_step", {})[step] = "FAILED"
    result = ModuleOffsetStep.call(given, configure_log=False)
    assert result.meta.cal_step.module_offset == "SKIPPED"
    np.testing.assert_array_equal(result.data, pair[0].data)
    words = f"an earlier step FAILED ({name}): calibrate the exposure again"
    assert words in caplog.text
    with pytest.raises(ModuleOffsetError, match=re.escape(words)):
        ModuleOffsetStep.call(given, on_invalid="error")


@pytest.mark.filterwarnings("ignore:While validating")
def test_another_step_that_failed_is_named_in_a_warning(pair, tmp_path, caplog):
    """Truth: a step that failed after photom leaves the flux scale as it is."""
    pair[0].meta.cal_step.jump = "SKIPPED"
    pair[0].save(str(tmp_path / "jw_cal.fits"))
    fits.setval(tmp_path / "jw_cal.fits", "S_TWKREG", value="FAILED")
    pair[0].instance["meta"]["cal_step"]["tweakreg"] = "FAILED"
    for given, name in ((pair[0], "tweakreg"), (str(tmp_path / "jw_cal.fits"), "S_TWKREG")):
        caplog.clear()
        result = ModuleOffsetStep.call(given, configure_log=False)
        np.testing.assert_allclose(result.data, pair[0].data * FACTOR, rtol=3e-7)
        (line,) = (record for record in caplog.records if "FAILED" in record.getMessage())
        assert line.levelname == "WARNING"
        assert f"jw_cal.fits: an earlier step FAILED ({name}): look at its log" in line.getMessage() or given is pair[0]


@pytest.mark.parametrize("step", ["module_offset", "module_offset_derive"])
def test_no_server_is_asked(pair_folder, pair, monkeypatch, step):
    """Truth: every way in which stpipe asks CRDS for a file or a context."""
    asked = []
    monkeypatch.delenv("STPIPE_DISABLE_CRDS_STEPPARS", raising=False)
    for name in ("check_reference_open", "get_context_used", "get_multiple_reference_paths", "get_reference_file"):
        monkeypatch.setattr(crds_client, name, lambda *args, **_: asked.append(args))
    with contextlib.suppress(NoSolutionError):  # of the derivation, as the exposures do not overlap
        Step.from_cmdline([step, *(f"data/{name}" for name in names(pair))])
    assert asked == []
