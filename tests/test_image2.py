"""In calwebb_image2 the correction is between photom and resample, and not a hook of photom."""

import numpy as np
import pytest
from jwst.photom import PhotomStep
from pair_of_exposures import FACTOR

from jwst_modfix import ModuleOffsetImage2Pipeline
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
