"""A step that works offline, and reports in one line that its output folder cannot be made."""

import os
from pathlib import Path
from typing import Any

from jwst.stpipe import Step as JwstStep
from stpipe import config_parser

from jwst_modfix.files import explained

__all__ = ["OfflineStep"]


class OfflineStep(JwstStep):
    """A step that does not use CRDS, and whose log lines are shown."""

    def run(self, *args: Any) -> Any:
        """Run the step."""
        if self.output_dir:
            folder = Path(os.path.expandvars(self.output_dir)).expanduser()
            with explained(folder, "cannot be made"):
                folder.mkdir(parents=True, exist_ok=True)
        return super().run(*args)

    @classmethod
    def get_config_from_reference(cls, *_args: Any, **_kwargs: Any) -> config_parser.ConfigObj:
        """Take no parameters from CRDS, which has none for this step, so that it starts with no network."""
        return config_parser.ConfigObj()

    @classmethod
    def _get_crds_parameters(cls, _dataset: Any) -> tuple[dict[str, Any], str]:
        """Open no input only to ask CRDS about it."""
        return {}, "jwst"

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Name the loggers that stpipe sets up and records."""
        return (*JwstStep.get_stpipe_loggers(), "jwst_modfix")
