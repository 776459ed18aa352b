"""ModuleOffsetImage3Pipeline: calwebb_image3 with the module offsets taken out first."""

from typing import ClassVar

from jwst.pipeline import Image3Pipeline

from jwst_modfix.steps.module_offset import ModuleOffsetStep

__all__ = ["ModuleOffsetImage3Pipeline"]


class ModuleOffsetImage3Pipeline(Image3Pipeline):
    """
    Combine NIRCam images of both modules on one flux scale.

    The stock calwebb_image3 with ``module_offset`` before ``tweakreg``; its parameters are under
    ``--steps.module_offset``.
    """

    class_alias = "calwebb_image3_modfix"

    step_defs: ClassVar = {"module_offset": ModuleOffsetStep, **Image3Pipeline.step_defs}

    @classmethod
    def get_config_reftype(cls):
        """
        Name the type of the parameter files in CRDS, which are those of the stock pipeline.

        Returns
        -------
        str
            The type.
        """
        return Image3Pipeline.get_config_reftype()

    @staticmethod
    def get_stpipe_loggers():
        """
        Name the loggers that stpipe sets up and records.

        Returns
        -------
        tuple of str
            The jwst loggers and ours.
        """
        return ModuleOffsetStep.get_stpipe_loggers()

    def process(self, input_data):
        """
        Correct the exposures, then run the stock pipeline on them.

        Parameters
        ----------
        input_data : str, dict, list, ModelLibrary, ModelContainer or JwstDataModel
            As for calwebb_image3.
        """
        library = self._load_input_as_library(input_data)
        super().process(self.module_offset.run(library))
