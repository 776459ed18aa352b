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
    "apply.record": ("AppliedOffset", "applied"),
    "derivation.derive": ("Derivation",),
    "errors": ("ModuleOffsetError",),
    "fitting.measurements": ("Measurements",),
    "fitting.solution": ("Solution", "fit"),
    "report.figures": ("plot_module_differences", "plot_offsets", "plot_patches", "plot_residual_map", "plot_sky_map"),
    "steps.module_offset": ("ModuleOffsetStep",),
    "steps.module_offset_derive": ("ModuleOffsetDeriveStep", "derive"),
    "steps.pipelines": ("ModuleOffsetImage2Pipeline", "ModuleOffsetImage3Pipeline"),
    "table.model": ("ModuleOffsetModel",),
    "table.table": ("Field", "Gradient", "OffsetRow", "OffsetTable", "ZeroPointRow"),
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
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"jwst_modfix.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
