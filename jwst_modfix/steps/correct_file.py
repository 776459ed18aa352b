"""Correct one FITS file into another: the job of a worker, which needs no jwst package."""

from jwst_modfix.files import written_whole
from jwst_modfix.steps.fits_exposure import open_fits

__all__ = ["correct_file"]


def correct_file(path, target, correction, job, product):
    """Correct an exposure, or mark it as skipped, and write the result."""
    with open_fits(path) as opened:
        decision = correction.run(opened)
        with written_whole(target) as partial:
            opened.save(partial, decision.line(path.name), job)
            product.unlink(missing_ok=True)
        return decision, opened.group
