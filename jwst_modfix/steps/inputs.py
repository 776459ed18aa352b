"""Look at every input before anything is changed, and refuse all that is wrong in one error."""

from contextlib import contextmanager
from pathlib import Path

from stdatamodels.jwst import datamodels

from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError
from jwst_modfix.steps.fits_exposure import open_fits
from jwst_modfix.steps.model_exposure import ModelExposure

__all__ = ["refuse_together"]

_HOW_TO_UNDO = "A second correction would be wrong; to undo the first, run the step with inverse = True"


def refuse_together(inputs, correction, *, where=None, problems=()):
    """
    Refuse inputs that are unreadable, or that the correction must not be applied to, in one error.

    Parameters
    ----------
    inputs : iterable of pathlib.Path or JwstDataModel
        The exposures; FITS files are judged by their headers.
    correction : Correction
        The correction.
    where : str, optional
        Name of the association, for the message.
    problems : iterable of str
        What is wrong with other inputs.

    Raises
    ------
    AssociationError
        Members of an association are missing, unreadable or no data models.
    ExposureError
        An input is, or exposures are refused.
    AlreadyCorrectedError
        Exposures are refused because each was corrected before.
    """
    problems, refused, count = list(problems), [], 0
    for item in inputs:
        count += 1
        try:
            with _opened(item) as opened:
                decision = correction.decide(opened, headers_only=True)
                if decision.action == "refuse":
                    name = opened.describe(headers_only=True).name
                    refused.append((opened.status == "COMPLETE", f"{name}: {decision.reason}"))
        except ExposureError as error:
            problems.append(str(error))
    if problems:
        text = "; ".join(problems)
        raise AssociationError(f"{where}: {len(problems)} bad members: {text}") if where else ExposureError(text)
    if refused:
        corrected_before = all(is_complete for is_complete, _ in refused) and not correction.inverse
        lines = "; ".join(line for _, line in refused)
        of_all = f"{len(refused)} of {count} exposures refused: " if count > 1 else ""
        if corrected_before:
            raise AlreadyCorrectedError(f"{of_all}{lines}. {_HOW_TO_UNDO}")
        raise ExposureError(of_all + lines)


@contextmanager
def _opened(item):
    if not isinstance(item, Path):
        yield ModelExposure(item)
    elif item.suffix.lower() == ".fits":
        with open_fits(item) as opened:
            yield opened
    else:
        with _open_model(item) as model:
            yield ModelExposure(model)


def _open_model(path):
    try:
        return datamodels.open(path)
    except FileNotFoundError:
        raise ExposureError(f"{path}: no such file") from None
    except Exception as error:  # whatever the readers of other formats raise
        raise ExposureError(f"{path}: cannot be read as a JWST data model: {error}") from error
