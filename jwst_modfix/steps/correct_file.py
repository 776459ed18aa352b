"""Correct one FITS file into another: the job of a worker, which needs no jwst package."""

from jwst_modfix.files import written_whole
from jwst_modfix.steps.fits_exposure import open_fits

__all__ = ["correct_file"]


def correct_file(path, target, correction, job, product):
    """
    Correct an exposure, or mark it as skipped, and write the result.

    Parameters
    ----------
    path, target : pathlib.Path
        The file that is read, and the one that is written, whole or not at all.
    correction : Correction
        The correction.
    job : str
        What makes this output, for a run that resumes.
    product : pathlib.Path
        The association of outputs: a former one goes when the first of them is replaced.

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
            opened.save(partial, decision.line(path.name), job)
            product.unlink(missing_ok=True)
        return decision, opened.group
