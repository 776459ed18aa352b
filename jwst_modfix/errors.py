"""Every error that jwst_modfix raises on purpose."""

__all__ = [
    "AlreadyCorrectedError",
    "AssociationError",
    "ExposureError",
    "ModuleOffsetError",
    "PhotometryError",
    "ReferenceTableError",
]


class ModuleOffsetError(Exception):
    """Base class of every error that jwst_modfix raises on purpose."""


class ReferenceTableError(ModuleOffsetError, ValueError):
    """A module-offset table breaks its schema or contradicts itself."""


class ExposureError(ModuleOffsetError, ValueError):
    """An exposure is not one that the correction is meant for."""


class AlreadyCorrectedError(ExposureError):
    """An exposure carries a module-offset correction already."""


class AssociationError(ModuleOffsetError, ValueError):
    """Members of an association are missing, unreadable or no science images."""


class PhotometryError(ModuleOffsetError, ValueError):
    """Pixels or a user's photometry from which no table of measurements can be made."""
