"""Entry points for stpipe and asdf, which do not import jwst."""

from __future__ import annotations

from jwst_modfix.table.rules import get_resource_mappings

__all__ = ["get_resource_mappings", "get_steps"]


def get_steps() -> list[tuple[str, str, bool]]:
    """List class, alias and whether it is a pipeline, of each step, for stpipe."""
    return [
        ("jwst_modfix.ModuleOffsetStep", "module_offset", False),
        ("jwst_modfix.ModuleOffsetDeriveStep", "module_offset_derive", False),
        ("jwst_modfix.ModuleOffsetImage2Pipeline", "calwebb_image2_modfix", True),
        ("jwst_modfix.ModuleOffsetImage3Pipeline", "calwebb_image3_modfix", True),
    ]
