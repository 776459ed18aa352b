"""What the correction would do with exposures, told by its own decisions, without pixels."""

import os
from dataclasses import dataclass
from pathlib import Path

from jwst_modfix.apply.decide import Decision
from jwst_modfix.errors import ExposureError
from jwst_modfix.steps.associations import read_association
from jwst_modfix.steps.inputs import open_input
from jwst_modfix.steps.keywords import EXPOSURE_SUFFIXES

__all__ = ["Preview", "preview"]


@dataclass(frozen=True)
class Preview:
    """
    What the correction would do with one exposure.

    Parameters
    ----------
    path : pathlib.Path
        Its file.
    decision : Decision
        The action, and what would be taken out or why nothing is.
    exposure : Exposure or None
        What the exposure says of itself; None where it cannot be read.
    """

    path: Path
    decision: Decision
    exposure: object = None


def preview(inputs, correction):
    """Say what the correction would do with exposures."""
    exposures = {}
    for name in inputs:
        if name.lower().endswith(EXPOSURE_SUFFIXES):
            exposures[Path(os.path.abspath(name))] = None  # noqa: PTH100 - keeps links
        else:
            association = read_association(name)
            exposures |= dict.fromkeys(association.science)
            association.warn_of_missing()
    return [_preview(path, correction) for path in exposures]


def _preview(path, correction):
    try:
        with open_input(path) as opened:
            return Preview(path, correction.preview(opened), opened.describe(headers_only=True))
    except ExposureError as error:
        reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
        return Preview(path, Decision("refuse", reason))
