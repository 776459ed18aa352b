"""What the correction would do with exposures, by its own decisions, without pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jwst_modfix.apply.decide import Correction, Decision
from jwst_modfix.errors import ExposureError
from jwst_modfix.exposure import EXPOSURE_SUFFIXES, Exposure, open_exposure
from jwst_modfix.steps.associations import read_association

__all__ = ["Preview", "preview"]


@dataclass(frozen=True)
class Preview:
    """What the correction would do with one exposure."""

    path: Path
    decision: Decision
    exposure: Exposure | None = None  # None where it cannot be read


def preview(inputs: list[str], correction: Correction) -> list[Preview]:
    """List what the correction would do with exposures, and with the members of associations."""
    exposures = {}
    for name in inputs:
        if name.lower().endswith(EXPOSURE_SUFFIXES):
            exposures[Path(os.path.abspath(name))] = None  # noqa: PTH100 - keeps links
        else:
            association = read_association(name)
            exposures |= dict.fromkeys(association.science)
            association.warn_of_missing()
    return [_preview(path, correction) for path in exposures]


def _preview(path: Path, correction: Correction) -> Preview:
    try:
        with open_exposure(path) as opened:
            return Preview(path, correction.preview(opened), opened.exposure)
    except ExposureError as error:
        reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
        return Preview(path, Decision("refuse", reason))
