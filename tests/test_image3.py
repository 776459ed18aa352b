"""Three ways into the stock calwebb_image3, one mosaic: that of exposures that were corrected before."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import CONFIG
from stdatamodels.jwst import datamodels
from strun import combine, correct, simulated

from jwst_modfix.errors import ModuleOffsetError

# Warnings of the stock steps are not ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NO_CATALOG = "--steps.source_catalog.skip=true"  # its aperture corrections come from CRDS
NO_TWEAK = "--steps.tweakreg.skip=true"
HOOK = "--steps.tweakreg.pre_hooks=jwst_modfix.ModuleOffsetStep,"  # the comma makes it a list
PIPELINE = str(CONFIG / "calwebb_image3_modfix.cfg")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """A patch of 400 x 400 pixels, seen by NRCALONG in the first epoch and by NRCBLONG in the second."""
    options = ["--epochs=2", "--dithers=1", "--filter=F444W", "--subarray=824,824,400,400", "--density=150", "--seed=3"]
    with simulated(tmp_path_factory.mktemp("image3"), *options) as folder:
        content = json.loads(Path("demo_F444W_image3_asn.json").read_text())
        first, *_, last = content["products"][0]["members"]
        assert [member["expname"][-17:-9] for member in (first, last)] == ["nrcalong", "nrcblong"]
        content["products"][0]["members"] = [first, last]
        Path("patch_asn.json").write_text(json.dumps(content))
        yield folder


@pytest.fixture(scope="module")
def expected(data_set):
    """Give the mosaic of the corrected association, tweakreg skipped; its members are in another folder."""
    content = json.loads(Path("patch_asn.json").read_text())
    Path("raw").mkdir()
    for member in content["products"][0]["members"]:
        shutil.copy(member["expname"], "raw")
        member["expname"] = f"raw/{member['expname']}"
    Path("moved_asn.json").write_text(json.dumps(content))
    return read_mosaic(combine(correct("moved_asn.json"), "expected", NO_CATALOG, NO_TWEAK))


def read_mosaic(path):
    with datamodels.open(path) as mosaic:
        steps = mosaic.meta.cal_step
        return np.array(mosaic.data), np.array(mosaic.err), steps.tweakreg, steps.instance.get("module_offset")


def assert_same(mosaic, expected):
    assert np.isfinite(expected[0]).mean() > 0.2
    for array, other in zip(mosaic[:2], expected[:2], strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=0, equal_nan=True)


def test_uncorrected_mosaic_is_another(expected):
    """The comparisons below can fail: with Table 2 for F444W an uncorrected mosaic is 0.3 to 1.2 per cent off."""
    data, *_, status = read_mosaic(combine("patch_asn.json", "plain", NO_CATALOG, NO_TWEAK))
    assert np.nanmedian(np.abs(data / expected[0] - 1)) > 1e-3
    assert (status, expected[3]) == (None, "COMPLETE")


@pytest.mark.versions
def test_hook_gives_the_mosaic_of_corrected_exposures(data_set, expected):
    combine("patch_asn.json", "hook", HOOK, NO_CATALOG, NO_TWEAK)
    assert not (data_set / "hook_i2d.fits").exists(), "not to replace the uncorrected mosaic"
    assert_same(read_mosaic("hook_modfix_i2d.fits"), expected)


def test_pipeline_on_disk_gives_the_mosaic_of_corrected_exposures_and_names_it_anew(data_set, expected):
    combine("patch_asn.json", "pipeline", "--in_memory=false", NO_CATALOG, NO_TWEAK, pipeline=PIPELINE)
    assert not (data_set / "pipeline_i2d.fits").exists(), "the name of the mosaic of the stock pipeline"
    assert_same(read_mosaic("pipeline_modfix_i2d.fits"), expected)


def test_pipeline_takes_the_parameters_of_our_step(caplog):
    options = [f"--steps.{name}.skip=true" for name in ("tweakreg", "skymatch", "outlier_detection", "resample")]
    options += ["--steps.module_offset.apply_offset=false", NO_CATALOG]
    with caplog.at_level("INFO"):
        combine("patch_asn.json", "slope", *options, pipeline=PIPELINE)
    assert caplog.text.count("took out zero-point error +0.00 mmag, gradient +2.165 mmag/arcmin") == 2


def test_tweakreg_and_all_other_steps_run_after_the_correction():
    """With stars to align on, tweakreg runs too; the mosaic of the pipeline is that of corrected exposures."""
    reference = read_mosaic(combine(correct("patch_asn.json"), "tweaked", NO_CATALOG))
    assert reference[2] == "COMPLETE"
    combine("patch_asn.json", "piped", NO_CATALOG, pipeline=PIPELINE)
    assert_same(read_mosaic("piped_modfix_i2d.fits"), reference)
    with pytest.raises(ModuleOffsetError, match="was corrected before, by ma2023_table2.asdf"):
        combine("patch_modfix_asn.json", "twice", NO_CATALOG, pipeline=PIPELINE)
