"""Outputs that exist: which of them this run may take for its own, and which it must not."""

import hashlib
import json

from astropy.io import fits

from jwst_modfix.apply.record import job_card
from jwst_modfix.errors import ExposureError, OutputError
from jwst_modfix.exposure import JOB_KEYWORD, open_exposure
from jwst_modfix.files import find_existing

__all__ = ["describe_job", "find_unfinished", "refuse_existing", "refuse_replaced", "sign"]


def describe_job(path, correction):
    """Identify what makes an output: its input, the table, the parameters and our version."""
    try:
        status = path.stat()
    except OSError as error:
        raise ExposureError(f"{path}: no such file" if not path.exists() else f"{path}: {error.strerror}") from None
    content = [path.name, status.st_size, status.st_mtime_ns, *correction.identity]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def sign(path, job):
    """Sign a FITS file that a data model has written; other files have no place for a signature."""
    if job and path.suffix == ".fits":
        with fits.open(path, mode="update", memmap=False) as hdulist:
            header = hdulist[0].header
            header.set(*job_card(job, header["DATE"]))


def find_unfinished(target, job):
    """Say why an existing file is not the finished output of a job."""
    if target.suffix != ".fits":
        return "only a FITS file says what it is the output of"
    try:
        with open_exposure(target):
            return _find_foreign(target, job)
    except ExposureError as error:
        return str(error).removeprefix(f"{target}: ")


def refuse_existing(targets):
    """Refuse to write where anything is."""
    if existing := find_existing(targets):
        raise OutputError(
            f"{', '.join(existing)}: {'exists' if len(existing) == 1 else 'exist'}, and on_existing is 'error'"
        )


def refuse_replaced(jobs):
    """Refuse outputs that another run has replaced by those of another table, other parameters or another input."""
    replaced = [str(target) for target, job in jobs.items() if target.suffix == ".fits" and _find_foreign(target, job)]
    if replaced:
        raise OutputError(
            f"{', '.join(replaced)}: replaced or removed by another run meanwhile, so no association is written: "
            "give each run its own output_dir"
        )


def _find_foreign(target, job):
    try:
        header = fits.getheader(target)
    except (OSError, fits.VerifyError, ValueError) as error:
        return f"cannot be read as FITS: {error}"
    if JOB_KEYWORD not in header:
        return f"it has no {JOB_KEYWORD}, so nothing says what it is the output of"
    if header[JOB_KEYWORD] != job_card(job, header.get("DATE"))[1] or header.get("FILENAME") != target.name:
        return "it is of another input, table, parameter or version, or was saved again since"
    return ""
