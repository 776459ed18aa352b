"""The step: every kind of input, associations in and out, refusals, hooks, and no network."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.member import Member
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base
from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.stpipe import Step
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError, ModuleOffsetError
from jwst_modfix.reference.datamodel import PACKAGED_TABLE

CONFIG = Path(__file__).parents[1] / "jwst_modfix" / "config"
FACTOR = 10 ** (0.4 * -0.05267)  # array 2, F200W


@pytest.fixture
def pair(small_exposure):
    """Two fresh models: NRCA2, which is scaled, and NRCB2, which is the baseline."""
    return [small_exposure(detector, "F200W") for detector in ("NRCA2", "NRCB2")]


@pytest.fixture
def folder(pair, tmp_path, monkeypatch):
    """A working directory with data/, two files and an association with a third, non-science member."""
    data = tmp_path / "data"
    data.mkdir()
    for model in pair:
        model.save(str(data / model.meta.filename))
    (data / "sources.ecsv").write_text("# not opened by us\n")
    asn = asn_from_list([str(model.meta.filename) for model in pair], rule=DMS_Level3_Base, product_name="mosaic")
    asn["products"][0]["members"].append(Member({"expname": "sources.ecsv", "exptype": "sourcecat"}))
    (data / "set_asn.json").write_text(asn.dump()[1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(pair):
    return [model.meta.filename for model in pair]


def assert_corrected(results, originals):
    for result, original, factor in zip(results, originals, (FACTOR, 1.0), strict=True):
        np.testing.assert_allclose(result.data, original.data * factor, rtol=3e-7)
        assert result.meta.cal_step.module_offset == "COMPLETE"


def test_a_file_gives_a_model(folder, pair):
    result = ModuleOffsetStep.call(f"data/{names(pair)[0]}")
    assert isinstance(result, datamodels.ImageModel)
    np.testing.assert_allclose(result.data, pair[0].data * FACTOR, rtol=3e-7)
    assert not list(folder.glob("*.fits"))


def test_a_model_gives_a_model_and_is_left_alone(pair):
    before = pair[0].copy()
    result = ModuleOffsetStep.call(pair[0])
    assert isinstance(result, datamodels.ImageModel)
    np.testing.assert_allclose(result.data, before.data * FACTOR, rtol=3e-7)
    np.testing.assert_array_equal(pair[0].data, before.data)
    assert pair[0].instance["meta"].get("cal_step") == before.instance["meta"].get("cal_step")
    assert pair[0].meta.photometry.instance == before.meta.photometry.instance


@pytest.mark.parametrize("kind", [list, tuple, ModelContainer])
def test_lists_and_containers_of_models(pair, kind):
    before = [model.copy() for model in pair]
    result = ModuleOffsetStep.call(kind(pair))
    assert isinstance(result, ModelContainer if kind is ModelContainer else list)
    assert_corrected(result, before)
    np.testing.assert_array_equal(pair[0].data, before[0].data)


def test_a_list_of_files(folder, pair):
    assert_corrected(ModuleOffsetStep.call([f"data/{name}" for name in names(pair)]), pair)


def models_of(library):
    with library:
        models = list(library)
        for index, model in enumerate(models):
            library.shelve(model, index, modify=False)
    return models


def test_a_library_in_memory_is_copied(pair):
    before = [model.copy() for model in pair]
    library = ModelLibrary(pair)
    result = ModuleOffsetStep.call(library)
    assert isinstance(result, ModelLibrary)
    assert_corrected(models_of(result), before)
    np.testing.assert_array_equal(models_of(library)[0].data, before[0].data)


def test_a_library_on_disk_is_copied(folder, pair):
    content = json.loads(Path("data/set_asn.json").read_text())
    content["products"][0]["members"].pop()
    Path("data/two_asn.json").write_text(json.dumps(content))
    library = ModelLibrary("data/two_asn.json", on_disk=True)
    result = ModuleOffsetStep.call(library)
    assert result.on_disk
    assert result.asn["products"][0]["name"] == "mosaic"
    assert_corrected(models_of(result), pair)
    np.testing.assert_array_equal(models_of(library)[0].data, pair[0].data)


@pytest.mark.parametrize("in_memory", [True, False])
def test_an_association_gives_a_library_of_its_science_members(folder, pair, in_memory):
    result = ModuleOffsetStep.call("data/set_asn.json", in_memory=in_memory)
    assert isinstance(result, ModelLibrary)
    assert result.on_disk != in_memory
    assert_corrected(models_of(result), pair)
    with fits.open(f"data/{names(pair)[0]}") as hdulist:
        np.testing.assert_array_equal(hdulist["SCI"].data, pair[0].data)


def test_an_association_in_memory_has_names_relative_to_the_working_directory(folder, pair):
    os.chdir("data")
    content = json.loads(Path("set_asn.json").read_text())
    assert_corrected(models_of(ModuleOffsetStep.call(content)), pair)
    association = asn_from_list(names(pair), rule=DMS_Level3_Base, product_name="mosaic")
    assert_corrected(models_of(ModuleOffsetStep.call(association)), pair)


def run(*arguments, expect=0, **environment):
    """Run strun as a user does, in the working directory."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("CRDS", "STPIPE", "JWST"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("strun"), CONFIG / "modfix.cfg", *arguments],
        capture_output=True, text=True, check=False, env={**clean, **environment},
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore:Input association file contains path information")  # of the catalogue, by jwst
def test_strun_on_an_association_writes_files_and_the_association_of_them(folder, pair):
    log = run("data/set_asn.json", "--output_dir=out")
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
    assert content["products"][0]["name"] == "mosaic"
    without = [{**c, "products": None} for c in (content, before)]
    assert without[0] == without[1]
    assert_corrected([datamodels.open(f"out/{root}_modfix.fits") for root in roots], pair)
    for root in roots:  # a line each, and no CRDS
        assert log.count(f"{root}_cal.fits: took out zero-point error") == 1
    assert "2 of 2 exposures done, 0 skipped" in log
    assert "Table ma2023_table2.asdf (hash 07d650b6cb5d), from the package" in log
    assert "CRDS" not in log
    library = ModelLibrary("out/set_modfix_asn.json", asn_exptypes=["science"])  # as calwebb_image3 opens it
    assert_corrected(models_of(library), pair)


def test_strun_on_a_file_by_alias(folder, pair):
    done = subprocess.run(
        [Path(sys.executable).with_name("strun"), "module_offset", f"data/{names(pair)[0]}"],
        check=True,
        capture_output=True,
    )
    assert b"CRDS" not in done.stdout + done.stderr
    assert Path(names(pair)[0].replace("_cal", "_modfix")).exists()


def test_output_file_names_the_output_of_one_exposure(folder, pair):
    run(f"data/{names(pair)[0]}", "--output_file=mine.fits")
    assert Path("mine_modfix.fits").exists()
    log = run("data/set_asn.json", "--output_file=mine.fits", expect=1)
    assert "an association has one output file a member: set output_dir and suffix instead" in log


def test_editing_one_coefficient_with_sed_changes_the_output_by_that_much(folder, pair):
    shutil.copy(PACKAGED_TABLE, "mine.asdf")
    subprocess.run(["sed", "-i", "s/offset: -0.05267/offset: -0.03267/", "mine.asdf"], check=True)
    run(f"data/{names(pair)[0]}", "--override_moduleoffset=mine.asdf")
    run(f"data/{names(pair)[0]}", "--output_dir=environment", JWST_MODFIX_REFERENCE="mine.asdf")
    for place in (".", "environment"):
        with fits.open(Path(place) / names(pair)[0].replace("_cal", "_modfix")) as hdulist:
            np.testing.assert_allclose(hdulist["SCI"].data, pair[0].data * 10 ** (0.4 * -0.03267), rtol=3e-7)
            assert hdulist[0].header["R_MODOFF"] == "mine.asdf"


def test_apply_save_through_another_step_and_undo(folder, pair, small_exposure):
    from jwst.gain_scale import GainScaleStep

    before = small_exposure("NRCALONG", "F444W")
    before.save("jw_cal.fits")
    run("jw_cal.fits")
    with datamodels.open("jw_modfix.fits") as model:
        model.meta.exposure.gain_factor = 1.0
        other = GainScaleStep(skip=False)
        other.process(model)
        model.save("jw_other.fits")
    assert fits.getval("jw_other.fits", "S_MODOFF") == "COMPLETE"
    run("jw_other.fits", "--inverse=True")
    with datamodels.open("jw_other_unmodfix.fits") as undone:
        for name in ("data", "err", "var_poisson", "var_rnoise", "var_flat"):
            np.testing.assert_allclose(getattr(undone, name), getattr(before, name), rtol=3e-7)
    assert "S_MODOFF" not in fits.getheader(next(Path().glob("*unmodfix.fits")))


def test_an_association_is_undone_whole(folder, pair):
    run("data/set_asn.json", "--output_dir=out")
    run("out/set_modfix_asn.json", "--inverse=True", "--output_dir=back")
    for model in pair:
        with fits.open(Path("back") / model.meta.filename.replace("_cal", "_unmodfix")) as hdulist:
            np.testing.assert_allclose(hdulist["SCI"].data, model.data, rtol=3e-7)
    assert Path("back/set_unmodfix_asn.json").exists()


def test_all_bad_members_are_reported_at_once_and_nothing_is_written(folder, pair):
    content = json.loads(Path("data/set_asn.json").read_text())
    science, other = ({"expname": n, "exptype": t} for n, t in (("x", "science"), ("gone.ecsv", "sourcecat")))
    bad = ["missing_cal.fits", "text_cal.fits", "plain_cal.fits", "short_cal.fits"]
    content["products"][0]["members"] += [{**science, "expname": name} for name in bad] + [other]
    Path("data/bad_asn.json").write_text(json.dumps(content))
    Path("data/text_cal.fits").write_text("this is no FITS file")
    fits.PrimaryHDU(np.ones((3, 3))).writeto("data/plain_cal.fits")
    whole = Path("data", names(pair)[0]).read_bytes()
    Path("data/short_cal.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AssociationError) as caught:
        ModuleOffsetStep.call("data/bad_asn.json", save_results=True)
    message = str(caught.value)
    assert "bad: 5 bad members" in message
    for words in (
        "gone.ecsv: no such file",
        "missing_cal.fits: no such file",
        "text_cal.fits: cannot be read as FITS",
        "plain_cal.fits: is not a JWST data model: it has no DATAMODL keyword",
        "short_cal.fits: cannot be read as FITS: ",
    ):
        assert words in message
    assert [p.name for p in folder.iterdir()] == ["data"]


@pytest.mark.filterwarnings("ignore:File may have been truncated")  # astropy's own words, before our refusal
def test_a_file_that_is_cut_short_is_refused(folder, pair):
    path = Path("data", names(pair)[0])
    path.write_bytes(path.read_bytes()[:-2880])
    size = path.stat().st_size
    with pytest.raises(
        ModuleOffsetError, match=f"cannot be read as FITS: it is cut short: {size} of {size + 2880} bytes"
    ):
        ModuleOffsetStep.call(str(path))


def test_every_member_that_was_corrected_before_is_named_and_nothing_is_written(folder, pair):
    run("data/set_asn.json", "--output_dir=out")
    with pytest.raises(AlreadyCorrectedError) as caught:
        ModuleOffsetStep.call("out/set_modfix_asn.json", save_results=True, output_dir="again")
    assert "2 of 2 exposures refused" in str(caught.value)
    assert str(caught.value).count("to undo the first, run the step with inverse = True") == 1
    for name in names(pair):
        assert f"{name.replace('_cal', '_modfix')}: was corrected before, by ma2023_table2.asdf on 20" in str(
            caught.value
        )
    assert not list(Path("again").glob("*"))


def test_a_skipped_member_is_written_through(folder, pair):
    with datamodels.open(f"data/{names(pair)[1]}") as model:
        model.meta.ref_file.crds.context_used = "jwst_1200.pmap"
        model.save(f"data/{names(pair)[1]}")
    log = run("data/set_asn.json", "--output_dir=out")
    assert "1 of 2 exposures done, 1 skipped" in log
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


def test_other_instruments_are_missing_rows(pair):
    pair[0].meta.instrument.name = "MIRI"
    pair[0].meta.exposure.type = "MIR_IMAGE"
    assert ModuleOffsetStep.call(pair[0]).meta.cal_step.module_offset == "SKIPPED"
    with pytest.raises(ExposureError, match="instrument is MIRI, and the table is for NIRCAM"):
        ModuleOffsetStep.call(pair[0], on_missing="error")


def test_inputs_are_never_overwritten(folder, pair):
    before = Path("data", names(pair)[0]).read_bytes()
    with pytest.raises(ModuleOffsetError, match="is an input, which is never overwritten: set output_dir or suffix"):
        ModuleOffsetStep.call("data/set_asn.json", save_results=True, suffix="cal", output_dir="data")
    with pytest.raises(ModuleOffsetError, match="is an input, which is never overwritten: set output_dir or suffix"):
        ModuleOffsetStep.call(f"data/{names(pair)[0]}", save_results=True, suffix="cal", output_dir="data")
    assert Path("data", names(pair)[0]).read_bytes() == before


def test_members_with_one_output_name_are_refused(folder, pair):
    Path("twin").mkdir()
    shutil.copy(f"data/{names(pair)[0]}", "twin")
    content = json.loads(Path("data/set_asn.json").read_text())
    content["products"][0]["members"].append({"expname": f"../twin/{names(pair)[0]}", "exptype": "science"})
    Path("data/twin_asn.json").write_text(json.dumps(content))
    with pytest.raises(AssociationError, match=r"_modfix.fits would be written for 2 exposures"):
        ModuleOffsetStep.call("data/twin_asn.json", save_results=True)


def test_results_of_lists_never_overwrite_one_another_or_an_input(folder, pair):
    Path("twin").mkdir()
    shutil.copy(f"data/{names(pair)[1]}", f"twin/{names(pair)[0]}")
    with pytest.raises(AssociationError, match="_modfix.fits would be written for 2 exposures"):
        ModuleOffsetStep.call([f"data/{names(pair)[0]}", f"twin/{names(pair)[0]}"], save_results=True)
    os.chdir("data")
    before = Path(names(pair)[0]).read_bytes()
    with datamodels.open(names(pair)[0]) as model:
        for item in (model, [model], ModelContainer([model]), ModelLibrary([model])):
            with pytest.raises(AssociationError, match="is an input, which is never overwritten"):
                ModuleOffsetStep.call(item, save_results=True, suffix="cal")
    assert Path(names(pair)[0]).read_bytes() == before


def test_a_member_that_is_no_science_member_is_never_overwritten(folder, pair):
    background = Path("data", names(pair)[0].replace("_cal", "_modfix"))
    shutil.copy(f"data/{names(pair)[1]}", background)
    content = json.loads(Path("data/set_asn.json").read_text())
    content["products"][0]["members"].append({"expname": background.name, "exptype": "background"})
    Path("data/set_asn.json").write_text(json.dumps(content))
    with pytest.raises(AssociationError, match="is an input, which is never overwritten"):
        ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="data")


def test_a_container_leaves_members_alone_that_are_no_science_members(pair):
    pair[0].meta.asn.exptype = "background"
    before = pair[0].data.copy()
    result = ModuleOffsetStep.call(ModelContainer(pair))
    np.testing.assert_array_equal(result[0].data, before)
    assert [model.meta.cal_step.instance.get("module_offset") for model in result] == [None, "COMPLETE"]


def test_all_products_of_an_association_are_in_the_library(folder, pair):
    content = json.loads(Path("data/set_asn.json").read_text())
    first, second, _ = content["products"][0]["members"]
    content["products"] = [{"name": "one", "members": [first]}, {"name": "two", "members": [second]}]
    Path("data/two_asn.json").write_text(json.dumps(content))
    assert_corrected(models_of(ModuleOffsetStep.call("data/two_asn.json")), pair)
    result = ModuleOffsetStep.call("data/two_asn.json", save_results=True, output_dir="out")
    assert_corrected(models_of(result), pair)
    assert len(json.loads(Path("out/two_modfix_asn.json").read_text())["products"]) == 2


def damage_shape(hdulist):
    hdulist["ERR"].data = np.ones((3, 3), "f4")


def damage_asdf(hdulist):
    column = fits.Column("ASDF_METADATA", "4B", array=np.zeros((1, 4), np.uint8))
    hdulist["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(damage_shape, r"ERR has shape \(3, 3\)"), (damage_asdf, "its ASDF extension cannot be read")],
)
def test_what_would_fail_in_the_middle_is_found_before_anything_is_written(folder, pair, damage, words):
    path = Path("data", names(pair)[1])
    with fits.open(path, mode="update") as hdulist:
        damage(hdulist)
    with pytest.raises(AssociationError, match=f"{path.name}: {words}"):
        ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="out")
    assert not list(Path("out").glob("*"))


def test_an_absent_err_stays_absent_in_files(folder, pair):
    del pair[0].instance["err"]
    pair[0].save(f"data/{names(pair)[0]}")
    ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="out")
    with fits.open(Path("out", names(pair)[0].replace("_cal", "_modfix"))) as hdulist:
        assert "ERR" not in hdulist or hdulist["ERR"].data is None
        np.testing.assert_allclose(hdulist["SCI"].data, pair[0].data * FACTOR, rtol=3e-7)


def test_the_undo_needs_no_table(pair, monkeypatch):
    corrected = ModuleOffsetStep.call(pair[0])
    monkeypatch.setenv("JWST_MODFIX_REFERENCE", "gone.asdf")
    undone = ModuleOffsetStep.call(corrected, inverse=True)
    np.testing.assert_allclose(undone.data, pair[0].data, rtol=3e-7)


@pytest.mark.parametrize("suffix", ["", "a/b", "a b"])
def test_a_suffix_is_a_plain_word(pair, suffix):
    with pytest.raises(ModuleOffsetError, match=f"suffix must be letters, .* got '{suffix}'"):
        ModuleOffsetStep.call(pair[0], suffix=suffix)


def test_a_member_cannot_make_us_write_outside_the_output_folder(folder, pair):
    Path("deep/er").mkdir(parents=True)
    content = json.loads(Path("data/set_asn.json").read_text())
    for member in content["products"][0]["members"]:
        member["expname"] = f"../../data/{member['expname']}"
    Path("deep/er/up_asn.json").write_text(json.dumps(content))
    ModuleOffsetStep.call("deep/er/up_asn.json", save_results=True, output_dir="out")
    assert sorted(p.name for p in folder.iterdir()) == ["data", "deep", "out"]
    assert len(list(Path("out").glob("*_modfix.fits"))) == 2
    assert len(list(Path("data").iterdir())) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not an association"),
        ("[1, 2]", "is not an association"),
        ('{"products": []}', "is not an association|must have a list of products"),
        ('{"products": [{"name": "x", "members": []}]}', "has no member of exptype science|is not an association"),
        ('{"products": [{"name": "x", "members": [{"exptype": "science"}]}]}', "must have an expname|is not an assoc"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_a_broken_association_is_one_clear_error(tmp_path, content, words):
    (tmp_path / "x_asn.json").write_text(content)
    with pytest.raises(AssociationError, match=f"x_asn.json: .*({words})"):
        ModuleOffsetStep.call(str(tmp_path / "x_asn.json"))


def test_a_missing_input_is_named(tmp_path):
    for name in ("gone_asn.json", "gone_cal.fits"):
        with pytest.raises(ModuleOffsetError, match=f"{name}: no such file"):
            ModuleOffsetStep.call(str(tmp_path / name))


def test_other_inputs_are_refused_by_their_type():
    with pytest.raises(ModuleOffsetError, match="input must be a file, a JWST data model, .* got int"):
        ModuleOffsetStep.call(3)


def test_a_table_that_names_no_calibration_is_applied_with_a_warning(pair, caplog):
    model = ModuleOffsetModel(PACKAGED_TABLE)
    model.instance["valid_for"] = {}
    result = ModuleOffsetStep.call(pair[0], override_moduleoffset=model, configure_log=False)
    assert result.meta.cal_step.module_offset == "COMPLETE"
    assert "names no calibration in valid_for, and is applied to any" in caplog.text


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModuleOffsetError, match="notes.txt: is neither an exposure .* nor an association"):
        ModuleOffsetStep.call(str(tmp_path / "notes.txt"))


def test_nothing_to_apply_is_refused(pair):
    with pytest.raises(ModuleOffsetError, match="apply_offset and apply_slope are both False"):
        ModuleOffsetStep.call(pair[0], apply_offset=False, apply_slope=False)


def test_the_table_can_be_a_model(pair):
    result = ModuleOffsetStep.call(pair[0], override_moduleoffset=ModuleOffsetModel(PACKAGED_TABLE))
    np.testing.assert_allclose(result.data, pair[0].data * FACTOR, rtol=3e-7)


def test_a_hook_corrects_the_library_of_the_pipeline_in_place(pair):
    from jwst.tweakreg import TweakRegStep

    before = [model.copy() for model in pair]
    step = TweakRegStep(pre_hooks=["jwst_modfix.ModuleOffsetStep"], skip=True)
    hook = step._pre_hooks[0]
    assert isinstance(hook, ModuleOffsetStep)
    library = ModelLibrary(pair)
    assert hook.run(library) is library
    assert_corrected(models_of(library), before)


def test_cal_ver_and_the_context_stay(folder, pair):
    version = pair[0].meta.calibration_software_version
    result = ModuleOffsetStep.call(pair[0])
    assert result.meta.calibration_software_version == version
    assert result.meta.ref_file.crds.context_used == "jwst_1130.pmap"
    assert "module_offset" in result.cal_logs.instance


@pytest.mark.parametrize("name", ["modfix.cfg", "calwebb_image3_modfix.cfg"])
def test_each_config_builds_its_step(name):
    step = Step.from_config_file(str(CONFIG / name))
    assert type(step).__name__ in ("ModuleOffsetStep", "ModuleOffsetImage3Pipeline")
    module_offset = getattr(step, "module_offset", step)
    assert (module_offset.suffix, module_offset.on_invalid, module_offset.apply_slope) == ("modfix", "skip", True)


def test_every_parameter_has_a_help_text():
    spec = ModuleOffsetStep.load_spec_file()
    ours = (
        "override_moduleoffset",
        "apply_offset",
        "apply_slope",
        "inverse",
        "on_invalid",
        "on_missing",
        "on_existing",
        "in_memory",
        "suffix",
    )
    for name in ours:
        assert len(spec.inline_comments[name]) > 20, name


def test_an_asdf_exposure_is_corrected(pair, tmp_path):
    pair[0].save(str(tmp_path / "jw_cal.asdf"))
    result = ModuleOffsetStep.call(str(tmp_path / "jw_cal.asdf"))
    np.testing.assert_allclose(result.data, pair[0].data * FACTOR, rtol=3e-7)
