"""Errors and warnings of jwst_modfix."""

from collections.abc import Iterable

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
    "SimulationError",
    "SkyDisagreementWarning",
    "WorkerError",
]


_IN_LINE = 5  # problems in one line of a terminal


class ModuleOffsetError(Exception):
    """
    Base class of all errors that jwst_modfix raises; the message is plain text.

    Parameters
    ----------
    message : str
        What is wrong, or where.
    problems : iterable of str, optional
        What is wrong there, each once.
    """

    def __init__(self, message: str = "", problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(dict.fromkeys(problems))
        self.args = (message, self.problems) if self.problems else (message,)  # of which copies are made

    def __str__(self) -> str:
        message, *problems = map(plain_text, (str(self.args[0]), *self.problems))
        return ": ".join(filter(None, [message, "; ".join(problems)]))

    @property
    def lines(self) -> list[str]:
        """The message in lines, for a terminal: of many problems each has its own."""
        if len(self.problems) <= _IN_LINE:
            return [str(self)]
        head = ": ".join(filter(None, [str(self.args[0]), f"{len(self.problems)} problems:"]))
        return [plain_text(head), *(f"  {plain_text(problem)}" for problem in self.problems)]


class ReferenceTableError(ModuleOffsetError, ValueError):
    """A module-offset table violates its schema or is inconsistent."""


class ExposureError(ModuleOffsetError, ValueError):
    """An exposure is not suitable for the correction."""


class AlreadyCorrectedError(ExposureError):
    """An exposure has already been corrected."""


class AssociationError(ModuleOffsetError, ValueError):
    """An association or its members cannot be used, or its outputs would collide."""


class MeasurementsError(ModuleOffsetError, ValueError):
    """A table of measurements has bad columns, values or names."""


class NoSolutionError(ModuleOffsetError, ValueError):
    """The measurements are valid but do not constrain the offset between the modules."""


class DegenerateTermWarning(UserWarning):
    """A term of the model is degenerate at these pointings and is not fitted."""


class ModelMismatchWarning(UserWarning):
    """The residuals depend on something that the model does not have."""


class SkyDisagreementWarning(UserWarning):
    """Offsets from sky levels and from sources differ by more than their errors."""


class PhotometryError(ModuleOffsetError, ValueError):
    """Pixels or photometry cannot be converted to a table of measurements."""


class SimulationError(ModuleOffsetError, ValueError):
    """A simulation has an impossible band, subarray, population or wavefront."""


class OutputError(ModuleOffsetError, OSError):
    """An output cannot be written, already exists, or was replaced by another run."""


class WorkerError(ModuleOffsetError, RuntimeError):
    """The worker processes cannot be started, or one of them died."""
