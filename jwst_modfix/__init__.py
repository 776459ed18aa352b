"""Put the two modules of JWST/NIRCam on one flux scale.

The public names load on first use, so that importing this package is quick and does not import the jwst pipeline.
"""

import importlib
import importlib.metadata

_HOMES = {
    "ModuleOffsetStep": "jwst_modfix.steps.module_offset",
    "ModuleOffsetDeriveStep": "jwst_modfix.steps.module_offset_derive",
    "ModuleOffsetImage3Pipeline": "jwst_modfix.steps.pipelines",
    "ModuleOffsetModel": "jwst_modfix.table.model",
    "derive": "jwst_modfix.steps.module_offset_derive",
    "OffsetTable": "jwst_modfix.table.table",
    "OffsetRow": "jwst_modfix.table.table",
    "Gradient": "jwst_modfix.table.table",
    "ModuleOffsetError": "jwst_modfix.errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name == "__version__":
        return importlib.metadata.version("jwst-modfix")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
