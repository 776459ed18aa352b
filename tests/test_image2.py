"""In calwebb_image2 the correction is between photom and resample, and not a hook of photom; pipelines of one's own."""

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from astropy.io import fits
from jwst.datamodels import ModelLibrary
from jwst.photom import PhotomStep
from jwst.pipeline import Image3Pipeline
from pair_of_exposures import FACTOR, assert_corrected, models_of
from stpipe import Step

from jwst_modfix import ModuleOffsetImage2Pipeline, ModuleOffsetImage3Pipeline, ModuleOffsetStep
from jwst_modfix.errors import ModuleOffsetError

# The exposures are calibrated: the steps that need files from CRDS are skipped.
SKIPPED = {name: {"skip": True} for name in ("bkg_subtract", "assign_wcs", "flat_field", "photom")}


def test_a_hook_of_photom_is_refused_and_the_places_that_work_are_named(pair):
    step = PhotomStep(post_hooks=["jwst_modfix.ModuleOffsetStep"], skip=True)
    with pytest.raises(ModuleOffsetError, match="a hook of photom: .* calwebb_image2_modfix, or the hook --st"):
        step._post_hooks[0].run(pair[0])


def test_the_pipeline_corrects_after_photom_and_before_resample(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair[0].save("jw_rate.fits")
    seen = []
    pipeline = ModuleOffsetImage2Pipeline(steps=SKIPPED)
    pipeline.prefetch_references = False
    monkeypatch.setattr(pipeline.resample, "run", lambda model: seen.append(model.data.copy()))
    (result,) = pipeline.process("jw_rate.fits")  # run would ask CRDS at its end
    for data in (result.data, seen[0]):
        np.testing.assert_allclose(data, pair[0].data * FACTOR, rtol=3e-7)
    assert result.meta.cal_step.module_offset == "COMPLETE"


def test_a_refusal_names_the_exposure(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair[0].meta.ref_file.crds.context_used = "jwst_0990.pmap"
    pair[0].save("jw_rate.fits")
    options = {"steps": SKIPPED | {"module_offset": {"on_invalid": "error"}}, "save_results": True}
    pipeline = ModuleOffsetImage2Pipeline(**options)
    pipeline.prefetch_references, pipeline.suffix = False, pipeline.default_suffix()  # as run does
    with pytest.raises(ModuleOffsetError, match=r"^jw_cal.fits: CRDS_CTX is jwst_0990.pmap"):
        pipeline.process("jw_rate.fits")


def test_parameters_of_a_hook_are_in_parentheses_and_hooks_are_given_when_the_pipeline_is_made():
    hooks = ["jwst_modfix.ModuleOffsetStep(apply_slope=False)"]
    hook = Image3Pipeline(steps={"tweakreg": {"pre_hooks": hooks}}).tweakreg._pre_hooks[0]
    assert (hook.apply_slope, hook.apply_offset) == (False, True)
    late = Image3Pipeline()
    late.tweakreg.pre_hooks = hooks
    assert late.tweakreg._pre_hooks == [], "as the page says"


PAGE = Path(__file__).parents[1] / "docs" / "running.rst"


@pytest.fixture(scope="module")
def page():
    """The classes that the page shows."""
    text = PAGE.read_text()
    block = text.partition("in a\nparameter file too::\n\n")[2].partition("\nThe second")[0]
    assert max(len(part.splitlines()) for part in block.split("class My")) <= 15
    names = {"source": dedent(block)}
    exec(names["source"], names)
    return names


def test_a_pipeline_of_your_own_for_image2(pair, tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    pair[0].save("jw_rate.fits")
    pipeline = page["MyImage2Pipeline"](steps=SKIPPED | {"resample": {"skip": True}})
    pipeline.prefetch_references = False
    (result,) = pipeline.process("jw_rate.fits")
    np.testing.assert_allclose(result.data, pair[0].data * FACTOR, rtol=3e-7)


def test_a_pipeline_of_your_own_for_image3(pair, page, monkeypatch):
    skipped = {name: {"skip": True} for name in ("tweakreg", "skymatch", "outlier_detection")}
    before, seen = [model.copy() for model in pair], []
    pipeline = page["MyImage3Pipeline"](steps=skipped | {"module_offset": {"apply_slope": False}})
    monkeypatch.setattr(pipeline.resample, "run", seen.append)
    pipeline.process(ModelLibrary(pair))
    assert_corrected(models_of(seen[0]), before)


def run_image3(cls, source, monkeypatch, output_file=None, **steps):
    """Run a pipeline up to resample: the pipeline, and what resample is given."""
    skipped, seen = {name: {"skip": True} for name in ("tweakreg", "skymatch", "outlier_detection")}, []
    pipeline = cls(steps={name: {**skipped.get(name, {}), **steps.get(name, {})} for name in {*skipped, *steps}})
    pipeline.prefetch_references, pipeline.output_file = False, output_file
    monkeypatch.setattr(pipeline.resample, "run", seen.append)
    pipeline.process(source)
    return pipeline, seen[0]


@pytest.mark.parametrize(("moving", "name"), [(False, "tweakreg"), (False, "skymatch"), (True, "skymatch")])
def test_a_hook_corrects_and_names_the_product_anew(pair_folder, pair, monkeypatch, moving, name):
    """Tweakreg does not run for a moving target, as the page says: a hook of skymatch does."""
    if moving:
        for model in pair:
            fits.setval(f"data/{model.meta.filename}", "TARGTYPE", value="MOVING")
        monkeypatch.setattr("jwst.assign_mtwcs.AssignMTWcsStep.run", lambda _, library: library)
    hook = {name: {"pre_hooks": ["jwst_modfix.ModuleOffsetStep"]}}
    pipeline, library = run_image3(Image3Pipeline, "data/set_asn.json", monkeypatch, **hook)
    assert_corrected(models_of(library), pair)
    assert pipeline.output_file == "mosaic_modfix"


def test_a_product_that_the_user_names_keeps_its_name(pair_folder, monkeypatch):
    hook = {"tweakreg": {"pre_hooks": ["jwst_modfix.ModuleOffsetStep"]}}
    pipeline, _ = run_image3(Image3Pipeline, "data/set_asn.json", monkeypatch, output_file="mine", **hook)
    assert pipeline.output_file == "mine"


def test_a_step_that_is_skipped_leaves_the_status_of_a_former_correction(pair, monkeypatch):
    """Else the mosaic of corrected exposures says that it is not corrected."""
    library = ModelLibrary([ModuleOffsetStep.call(model) for model in pair])
    _, seen = run_image3(ModuleOffsetImage3Pipeline, library, monkeypatch, module_offset={"skip": True})
    assert_corrected(models_of(seen), pair)


@pytest.mark.parametrize(
    ("skip", "given", "name"), [(False, None, "mosaic_modfix"), (True, None, "mosaic"), (False, "mine", "mine")]
)
def test_the_pipeline_names_the_product_anew_where_it_corrects(pair_folder, monkeypatch, skip, given, name):
    step, asn = {"module_offset": {"skip": skip}}, "data/set_asn.json"
    pipeline, _ = run_image3(ModuleOffsetImage3Pipeline, asn, monkeypatch, output_file=given, **step)
    assert pipeline.output_file == name


def test_parameter_files_of_a_pipeline_of_your_own(tmp_path, page, monkeypatch):
    """Truth: the parameter file that the page shows, and the ASDF file that stpipe writes of it."""
    (tmp_path / "my_pipelines.py").write_text(page["source"])
    monkeypatch.syspath_prepend(tmp_path)
    shown = PAGE.read_text().partition(".. code-block:: cfg\n\n")[2].partition("\n\n``--save")[0]
    (tmp_path / "my_image3.cfg").write_text(dedent(shown))
    for name in ("my_image3.cfg", "my_image3.asdf"):
        pipeline = Step.from_config_file(str(tmp_path / name))
        assert type(pipeline).__name__ == "MyImage3Pipeline"
        assert (pipeline.module_offset.apply_slope, pipeline.module_offset.apply_offset) == (False, True)
        pipeline.export_config(tmp_path / "my_image3.asdf", include_metadata=True)
