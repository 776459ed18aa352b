"""Every error that jwst_modfix raises on purpose."""

from jwst_modfix.text import plain_text

__all__ = [
    "AlreadyCorrectedError",
    "AssociationError",
    "DegenerateTermWarning",
    "ExposureError",
    "MeasurementsError",
    "ModuleOffsetError",
    "NoSolutionError",
    "OutputError",
    "PhotometryError",
    "ReferenceTableError",
    "SkyDisagreementWarning",
    "WorkerError",
]


class ModuleOffsetError(Exception):
    """Base class of every error that jwst_modfix raises on purpose; its message is one line of plain text."""

    def __str__(self):
        return plain_text(super().__str__())


class ReferenceTableError(ModuleOffsetError, ValueError):
    """A module-offset table breaks its schema or contradicts itself."""


class ExposureError(ModuleOffsetError, ValueError):
    """An exposure is not one that the correction is meant for."""


class AlreadyCorrectedError(ExposureError):
    """An exposure carries a module-offset correction already."""


class AssociationError(ModuleOffsetError, ValueError):
    """An association is none, its members cannot be read, or its outputs would overwrite one another."""


class MeasurementsError(ModuleOffsetError, ValueError):
    """A table of measurements has columns of unequal length, values that are not finite or unknown names."""


class NoSolutionError(ModuleOffsetError, ValueError):
    """The measurements, sound as they are, hold no information on the offset between the modules."""


class DegenerateTermWarning(UserWarning):
    """A term of the model is not separable at these pointings and was fixed or left out."""


class SkyDisagreementWarning(UserWarning):
    """The sky levels and the sources disagree on an offset beyond their errors."""


class PhotometryError(ModuleOffsetError, ValueError):
    """Pixels or a user's photometry from which no table of measurements can be made."""


class OutputError(ModuleOffsetError, OSError):
    """An output cannot be written, stands in the way, or was replaced by another run."""


class WorkerError(ModuleOffsetError, RuntimeError):
    """The processes that were to do the work cannot be had, or died again and again."""
