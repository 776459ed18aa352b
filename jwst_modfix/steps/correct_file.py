"""Correct one FITS file into another: the job of a worker, which needs no jwst package."""

from jwst_modfix.files import written_whole
from jwst_modfix.steps.fits_exposure import open_fits

__all__ = ["correct_file"]


def correct_file(path, target, correction):
    """
    Correct an exposure, or mark it as skipped, and write the result.

    Parameters
    ----------
    path, target : pathlib.Path
        The file that is read, and the one that is written, whole or not at all.
    correction : Correction
        The correction.

    Returns
    -------
    decision : Decision
        What was done.
    group : str or dict or None
        What the detectors of one exposure share; see `~jwst_modfix.steps.fits_exposure.FitsExposure`.

    Raises
    ------
    ExposureError
        The exposure is refused.
    """
    with open_fits(path) as opened:
        decision = correction.run(opened)
        with written_whole(target) as partial:
            opened.save(partial, decision.line(path.name))
        return decision, opened.group
