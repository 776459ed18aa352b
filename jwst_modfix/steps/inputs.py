"""Look at every input before anything is changed, and refuse all that is wrong in one error."""

from contextlib import contextmanager
from pathlib import Path

from stdatamodels.jwst import datamodels

from jwst_modfix.embedded import refuse_hostile
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError
from jwst_modfix.steps.fits_exposure import open_fits
from jwst_modfix.steps.model_exposure import ModelExposure

__all__ = ["open_input", "open_model", "refuse_together"]

_HOW_TO_UNDO = "A second correction would be wrong; to undo the first, run the step with --inverse=true"


def refuse_together(inputs, correction, *, where=None, problems=()):
    """Refuse inputs that are unreadable, or that the correction must not be applied to, in one error."""
    problems, refused, inputs = list(problems), [], list(inputs)
    for item in inputs:
        try:
            with open_input(item) as opened:
                reason = _refusal(opened, correction)
                if reason:
                    refused.append((opened.status == "COMPLETE", reason))
        except ExposureError as error:
            problems.append(str(error))
    if problems:
        lines = "; ".join([*problems, *(line for _, line in refused)])
        count = len(problems) + len(refused)
        raise AssociationError(f"{where}: {count} bad members: {lines}") if where else ExposureError(lines)
    if refused:
        lines = "; ".join(line for _, line in refused)
        of_all = f"{len(refused)} of {len(inputs)} exposures refused: " if len(inputs) > 1 else ""
        if all(is_complete for is_complete, _ in refused) and not correction.inverse:
            raise AlreadyCorrectedError(f"{of_all}{lines}. {_HOW_TO_UNDO}")
        raise ExposureError(of_all + lines)


def _refusal(opened, correction):
    """Say why an exposure is refused, or nothing; the WCS is looked at only where its lack would be an error."""
    opened.check()
    decision = correction.decide(opened, headers_only=correction.on_invalid != "error")
    return f"{opened.describe(headers_only=True).name}: {decision.reason}" if decision.action == "refuse" else ""


@contextmanager
def open_input(item):
    """Open an exposure for correction."""
    if not isinstance(item, Path):
        yield ModelExposure(item)
    elif item.suffix.lower() == ".fits":
        with open_fits(item) as opened:
            yield opened
    else:
        with open_model(item) as model:
            yield ModelExposure(model)


def open_model(path):
    """Open a file as a data model."""
    try:
        if path.suffix.lower() == ".asdf":
            refuse_hostile(path.read_bytes())
        model = datamodels.open(path)
        if not isinstance(model, datamodels.JwstDataModel):
            raise TypeError(f"it holds a {type(model).__name__}")
        return model
    except FileNotFoundError:
        raise ExposureError(f"{path}: no such file") from None
    except Exception as error:  # whatever the readers of other formats raise
        raise ExposureError(f"{path}: cannot be read as a JWST data model: {error}") from error
