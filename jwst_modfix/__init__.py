"""Put the two modules of JWST/NIRCam on one flux scale.

The public names load on first use, so that importing this package is quick and does not import the jwst pipeline.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as in _HOMES, for type checkers and editors
    from jwst_modfix.apply.record import AppliedOffset, applied
    from jwst_modfix.derivation.derive import Derivation
    from jwst_modfix.errors import ModuleOffsetError
    from jwst_modfix.fitting.measurements import Measurements
    from jwst_modfix.fitting.solution import Solution, fit
    from jwst_modfix.report.figures import (
        plot_module_differences,
        plot_offsets,
        plot_patches,
        plot_residual_map,
        plot_sky_map,
    )
    from jwst_modfix.steps.module_offset import ModuleOffsetStep
    from jwst_modfix.steps.module_offset_derive import ModuleOffsetDeriveStep, derive
    from jwst_modfix.steps.pipelines import ModuleOffsetImage2Pipeline, ModuleOffsetImage3Pipeline
    from jwst_modfix.table.model import ModuleOffsetModel
    from jwst_modfix.table.table import Field, Gradient, OffsetRow, OffsetTable, ZeroPointRow

    __version__: str

_HOMES = {
    "AppliedOffset": "jwst_modfix.apply.record",
    "Derivation": "jwst_modfix.derivation.derive",
    "Field": "jwst_modfix.table.table",
    "Gradient": "jwst_modfix.table.table",
    "Measurements": "jwst_modfix.fitting.measurements",
    "ModuleOffsetDeriveStep": "jwst_modfix.steps.module_offset_derive",
    "ModuleOffsetError": "jwst_modfix.errors",
    "ModuleOffsetImage2Pipeline": "jwst_modfix.steps.pipelines",
    "ModuleOffsetImage3Pipeline": "jwst_modfix.steps.pipelines",
    "ModuleOffsetModel": "jwst_modfix.table.model",
    "ModuleOffsetStep": "jwst_modfix.steps.module_offset",
    "OffsetRow": "jwst_modfix.table.table",
    "OffsetTable": "jwst_modfix.table.table",
    "Solution": "jwst_modfix.fitting.solution",
    "ZeroPointRow": "jwst_modfix.table.table",
    "applied": "jwst_modfix.apply.record",
    "derive": "jwst_modfix.steps.module_offset_derive",
    "fit": "jwst_modfix.fitting.solution",
    "plot_module_differences": "jwst_modfix.report.figures",
    "plot_offsets": "jwst_modfix.report.figures",
    "plot_patches": "jwst_modfix.report.figures",
    "plot_residual_map": "jwst_modfix.report.figures",
    "plot_sky_map": "jwst_modfix.report.figures",
}

__all__ = [
    "AppliedOffset",
    "Derivation",
    "Field",
    "Gradient",
    "Measurements",
    "ModuleOffsetDeriveStep",
    "ModuleOffsetError",
    "ModuleOffsetImage2Pipeline",
    "ModuleOffsetImage3Pipeline",
    "ModuleOffsetModel",
    "ModuleOffsetStep",
    "OffsetRow",
    "OffsetTable",
    "Solution",
    "ZeroPointRow",
    "__version__",
    "applied",
    "derive",
    "fit",
    "plot_module_differences",
    "plot_offsets",
    "plot_patches",
    "plot_residual_map",
    "plot_sky_map",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("jwst-modfix")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
