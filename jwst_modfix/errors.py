"""Errors and warnings of jwst_modfix."""

from jwst_modfix.text import plain_text

__all__ = [
    "AlreadyCorrectedError",
    "AssociationError",
    "DegenerateTermWarning",
    "ExposureError",
    "MeasurementsError",
    "ModelMismatchWarning",
    "ModuleOffsetError",
    "NoSolutionError",
    "OutputError",
    "PhotometryError",
    "ReferenceTableError",
    "SkyDisagreementWarning",
    "WorkerError",
]


class ModuleOffsetError(Exception):
    """Base class of all errors that jwst_modfix raises; the message is one line of plain text."""

    def __str__(self) -> str:
        return plain_text(super().__str__())


class ReferenceTableError(ModuleOffsetError, ValueError):
    """A module-offset table violates its schema or is inconsistent."""


class ExposureError(ModuleOffsetError, ValueError):
    """An exposure is not suitable for the correction."""


class AlreadyCorrectedError(ExposureError):
    """An exposure has already been corrected."""


class AssociationError(ModuleOffsetError, ValueError):
    """An association is not valid, its members cannot be read, or its outputs would overwrite each other."""


class MeasurementsError(ModuleOffsetError, ValueError):
    """A table of measurements has columns of unequal length, values that are not finite, or unknown names."""


class NoSolutionError(ModuleOffsetError, ValueError):
    """The measurements are valid but do not constrain the offset between the modules."""


class DegenerateTermWarning(UserWarning):
    """A term of the model is degenerate at these pointings and was fixed or not fitted."""


class ModelMismatchWarning(UserWarning):
    """The residuals depend on something that the model does not have."""


class SkyDisagreementWarning(UserWarning):
    """The offsets from sky levels and from sources differ by more than their errors allow."""


class PhotometryError(ModuleOffsetError, ValueError):
    """The pixels or the user's photometry cannot be converted to a table of measurements."""


class OutputError(ModuleOffsetError, OSError):
    """An output cannot be written, already exists, or was replaced by another run."""


class WorkerError(ModuleOffsetError, RuntimeError):
    """The worker processes cannot be started, or one of them died."""
