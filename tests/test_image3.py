"""Three ways into the stock calwebb_image3, one mosaic: that of exposures that were corrected before."""

import json
import shutil

import numpy as np
import pytest
from commands import CONFIG, CommandError, combine, correct, simulate
from stdatamodels.jwst import datamodels

pytestmark = pytest.mark.slow

ASSOCIATION = "demo_F444W_image3_asn.json"
NO_CATALOG = "--steps.source_catalog.skip=true"  # its aperture corrections come from CRDS
NO_TWEAK = "--steps.tweakreg.skip=true"
HOOK = "--steps.tweakreg.pre_hooks=jwst_modfix.ModuleOffsetStep,"  # the comma makes it a list
PIPELINE = str(CONFIG / "calwebb_image3_modfix.cfg")


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """Two epochs of 400 x 400 pixels of both long-wavelength arrays: each patch is seen by both modules."""
    folder = tmp_path_factory.mktemp("image3")
    options = ["--epochs", "2", "--dithers", "1", "--filter", "F444W", "--subarray", "824,824,400,400"]
    simulate(folder, *options, "--density", "150", "--seed", "3")
    return folder


@pytest.fixture(scope="module")
def expected(data_set):
    """Give the mosaic of the corrected association, tweakreg skipped; its members are in another folder."""
    content = json.loads((data_set / ASSOCIATION).read_text())
    (data_set / "raw").mkdir()
    for member in content["products"][0]["members"]:
        shutil.copy(data_set / member["expname"], data_set / "raw")
        member["expname"] = f"raw/{member['expname']}"
    (data_set / "moved_asn.json").write_text(json.dumps(content))
    return read_mosaic(combine(data_set, correct(data_set, "moved_asn.json"), "expected", NO_CATALOG, NO_TWEAK))


def read_mosaic(path):
    with datamodels.open(path) as mosaic:
        steps = mosaic.meta.cal_step
        return np.array(mosaic.data), np.array(mosaic.err), steps.tweakreg, steps.instance.get("module_offset")


def assert_same(mosaic, expected):
    assert np.isfinite(expected[0]).mean() > 0.2
    for array, other in zip(mosaic[:2], expected[:2], strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=0, equal_nan=True)


def test_uncorrected_mosaic_is_another(data_set, expected):
    """The comparisons below can fail: with Table 2 for F444W an uncorrected mosaic is 0.3 to 1.2 per cent off."""
    data, *_, status = read_mosaic(combine(data_set, ASSOCIATION, "plain", NO_CATALOG, NO_TWEAK))
    assert np.nanmedian(np.abs(data / expected[0] - 1)) > 1e-3
    assert (status, expected[3]) == (None, "COMPLETE")


@pytest.mark.versions
def test_hook_gives_the_mosaic_of_corrected_exposures(data_set, expected):
    path = combine(data_set, ASSOCIATION, "hook", HOOK, NO_CATALOG, NO_TWEAK)
    assert path.name == "hook_modfix_i2d.fits", "not to replace the uncorrected mosaic"
    assert_same(read_mosaic(path), expected)


def test_pipeline_on_disk_gives_the_mosaic_of_corrected_exposures_and_names_it_anew(data_set, expected):
    options = ["--in_memory=false", NO_CATALOG, NO_TWEAK]
    path = combine(data_set, ASSOCIATION, "pipeline", *options, pipeline=PIPELINE)
    assert path.name == "pipeline_modfix_i2d.fits", "not to replace the mosaic of the stock pipeline"
    assert_same(read_mosaic(path), expected)


def test_pipeline_takes_the_parameters_of_our_step(data_set):
    options = [f"--steps.{name}.skip=true" for name in ("tweakreg", "skymatch", "outlier_detection", "resample")]
    options += ["--steps.module_offset.apply_offset=false", NO_CATALOG]
    combine(data_set, ASSOCIATION, "slope", *options, pipeline=PIPELINE)
    log = (data_set / "slope.log").read_text()
    assert log.count("took out zero-point error +0.00 mmag, gradient +2.165 mmag/arcmin") == 4


def test_tweakreg_and_all_other_steps_run_after_the_correction(data_set):
    """With stars to align on, tweakreg runs too; the mosaic of the pipeline is that of corrected exposures."""
    reference = read_mosaic(combine(data_set, correct(data_set, ASSOCIATION), "tweaked", NO_CATALOG))
    assert reference[2] == "COMPLETE"
    piped = combine(data_set, ASSOCIATION, "tweaked_pipeline", NO_CATALOG, pipeline=PIPELINE)
    assert_same(read_mosaic(piped), reference)
    with pytest.raises(CommandError, match="was corrected before, by ma2023_table2.asdf"):
        combine(data_set, ASSOCIATION.replace("_asn", "_modfix_asn"), "twice", NO_CATALOG, pipeline=PIPELINE)
