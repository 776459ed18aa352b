"""Entry points for stpipe and asdf, which do not import jwst."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asdf.resource import DirectoryResourceMapping

__all__ = ["get_resource_mappings", "get_steps"]


def get_steps() -> list[tuple[str, str, bool]]:
    """
    List the steps of this package for ``stpipe list`` and ``strun``.

    Returns
    -------
    list of tuple
        ``(class name, alias, is a pipeline)`` of each step.
    """
    return [
        ("jwst_modfix.ModuleOffsetStep", "module_offset", False),
        ("jwst_modfix.ModuleOffsetDeriveStep", "module_offset_derive", False),
        ("jwst_modfix.ModuleOffsetImage2Pipeline", "calwebb_image2_modfix", True),
        ("jwst_modfix.ModuleOffsetImage3Pipeline", "calwebb_image3_modfix", True),
    ]


def get_resource_mappings() -> list[DirectoryResourceMapping]:
    """
    Map the identifiers of the schemas of this package to files.

    Returns
    -------
    list of asdf.resource.DirectoryResourceMapping
        One mapping: the folder of schemas.
    """
    from asdf.resource import DirectoryResourceMapping

    schemas = resources.files("jwst_modfix.table") / "schemas"
    return [DirectoryResourceMapping(schemas, "asdf://jwst-modfix.org/schemas/", recursive=True)]
