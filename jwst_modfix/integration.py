"""Entry points for stpipe and asdf: names and paths only, so that both can ask without importing jwst."""

from importlib import resources

__all__ = ["get_resource_mappings", "get_steps"]


def get_steps():
    """
    Name our steps for ``stpipe list`` and ``strun``.

    Returns
    -------
    list of tuple
        ``(class name, alias, is a pipeline)`` of each step.
    """
    return [
        ("jwst_modfix.ModuleOffsetStep", "module_offset", False),
        ("jwst_modfix.ModuleOffsetDeriveStep", "module_offset_derive", False),
        ("jwst_modfix.ModuleOffsetImage3Pipeline", "calwebb_image3_modfix", True),
    ]


def get_resource_mappings():
    """
    Give asdf our schemas by their identifiers.

    Returns
    -------
    list of asdf.resource.DirectoryResourceMapping
        One mapping: the folder of schemas.
    """
    from asdf.resource import DirectoryResourceMapping

    schemas = resources.files("jwst_modfix.table") / "schemas"
    return [DirectoryResourceMapping(schemas, "asdf://jwst-modfix.org/schemas/", recursive=True)]
