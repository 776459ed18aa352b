"""The stock pipelines calwebb_image2 and calwebb_image3 with ModuleOffsetStep."""

from __future__ import annotations

from typing import Any, ClassVar

from jwst.pipeline import Image2Pipeline, Image3Pipeline

from jwst_modfix.steps.associations import rename_product
from jwst_modfix.steps.module_offset import ModuleOffsetStep
from jwst_modfix.text import results_shown_plain

__all__ = ["ModuleOffsetImage2Pipeline", "ModuleOffsetImage3Pipeline"]


class _OnStockPipeline:
    """Parts that both pipelines share."""

    stock: ClassVar[Any]
    module_offset: ModuleOffsetStep

    def run(self, *args: Any) -> Any:
        """Run the pipeline; where no exposure was corrected, its last line says so."""
        step = self.module_offset
        step.is_part, step.decisions = True, ()
        with results_shown_plain():
            result = super().run(*args)  # type: ignore[misc]
            step.is_part = False
            step.conclude(args)
        return result

    @classmethod
    def get_config_reftype(cls) -> str:
        """Name the type of the parameter files in CRDS: those of the stock pipeline."""
        return str(cls.stock.get_config_reftype())


class ModuleOffsetImage2Pipeline(_OnStockPipeline, Image2Pipeline):
    """
    Calibrate NIRCam exposures, and put both modules on one flux scale.

    The stock calwebb_image2 with ``module_offset`` after ``photom`` and before ``resample``; its parameters are under
    ``--steps.module_offset``. Results are ``_cal`` files that are corrected: do not correct them again before
    calwebb_image3.
    """

    class_alias = "calwebb_image2_modfix"
    stock = Image2Pipeline

    step_defs: ClassVar = {**Image2Pipeline.step_defs, "module_offset": ModuleOffsetStep}

    def default_suffix(self) -> str:  # numpydoc ignore=RT01
        """Name an exposure by its result, as messages do."""
        return "cal"

    def process_exposure_product(self, *args: Any, **kwargs: Any) -> Any:  # numpydoc ignore=PR01,RT01
        """Calibrate one exposure; correct it between photom and resample."""
        run_photom = self.photom.run
        # After its run, and not as a hook: hooks see the context and photom file of the rate file.
        self.photom.run = lambda model: self.module_offset.run(run_photom(model))
        try:
            return super().process_exposure_product(*args, **kwargs)
        finally:
            del self.photom.run


class ModuleOffsetImage3Pipeline(_OnStockPipeline, Image3Pipeline):
    """
    Combine NIRCam images of both modules on one flux scale.

    The stock calwebb_image3 with ``module_offset`` before ``tweakreg``; its parameters are under
    ``--steps.module_offset``. The mosaic is named ``<product>_modfix_i2d``.
    """

    class_alias = "calwebb_image3_modfix"
    stock = Image3Pipeline
    output_file: str | None

    step_defs: ClassVar = {"module_offset": ModuleOffsetStep, **Image3Pipeline.step_defs}

    def process(self, input_data: Any) -> None:
        """
        Correct the exposures, then run the stock pipeline on them.

        Parameters
        ----------
        input_data : str, dict, list, ModelLibrary, ModelContainer or JwstDataModel
            As for calwebb_image3.
        """
        library = self._load_input_as_library(input_data)
        name = library.asn["products"][0].get("name")
        if name and not (self.output_file or self.module_offset.skip):
            self.output_file = rename_product(name, "modfix")  # not to replace the uncorrected mosaic
        super().process(self.module_offset.run(library))
