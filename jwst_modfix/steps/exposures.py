"""What an exposure says of itself: from an open model, or from the headers of a file."""

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from jwst_modfix.correction.record import STATUS_KEYWORD
from jwst_modfix.errors import ExposureError
from jwst_modfix.reference.validity import Exposure
from jwst_modfix.steps.provenance import read_status

__all__ = ["MemberState", "describe_file", "describe_model"]

# Field of Exposure, attribute of the data model, FITS keyword, HDU.
_FIELDS = (
    ("instrument", "instrument.name", "INSTRUME", "PRIMARY"),
    ("detector", "instrument.detector", "DETECTOR", "PRIMARY"),
    ("module", "instrument.module", "MODULE", "PRIMARY"),
    ("exp_type", "exposure.type", "EXP_TYPE", "PRIMARY"),
    ("filter", "instrument.filter", "FILTER", "PRIMARY"),
    ("pupil", "instrument.pupil", "PUPIL", "PRIMARY"),
    ("unit", "bunit_data", "BUNIT", "SCI"),
    ("context", "ref_file.crds.context_used", "CRDS_CTX", "PRIMARY"),
    ("photom", "ref_file.photom.name", "R_PHOTOM", "PRIMARY"),
    ("flat", "ref_file.flat.name", "R_FLAT", "PRIMARY"),
    ("is_tso", "visit.tsovisit", "TSOVISIT", "PRIMARY"),
    ("photmjsr", "photometry.conversion_megajanskys", "PHOTMJSR", "SCI"),
)
_SUBARRAY = {
    "subarray_start": (("subarray.xstart", "SUBSTRT1"), ("subarray.ystart", "SUBSTRT2")),
    "subarray_size": (("subarray.xsize", "SUBSIZE1"), ("subarray.ysize", "SUBSIZE2")),
}


@dataclass(frozen=True)
class MemberState:
    """
    An exposure, and what we did to it before.

    Parameters
    ----------
    exposure : Exposure
        What it says of itself.
    status : str or None
        ``"COMPLETE"``, ``"SKIPPED"`` or None.
    history : str
        By which table and when, in words; empty where it was not corrected.
    """

    exposure: Exposure
    status: str | None = None
    history: str = ""


def describe_model(model):
    """
    Describe an open model.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        The exposure; nothing of it is changed, and no absent array comes into being.

    Returns
    -------
    MemberState
        Its description.
    """
    subarray = {field: tuple(_meta(model, path) for path, _ in pair) for field, pair in _SUBARRAY.items()}
    wcs = _meta(model, "wcs")
    exposure = Exposure(
        name=model.meta.filename or "in-memory model",
        shape=model.shape,
        frames=() if wcs is None else tuple(wcs.available_frames),
        **{field: _meta(model, path) for field, path, _, _ in _FIELDS},
        **subarray,
    )
    return MemberState(exposure, *read_status(model))


def describe_file(path):
    """
    Describe a file by its headers, without loading pixels.

    Parameters
    ----------
    path : str or pathlib.Path
        A FITS file of a JWST data model.

    Returns
    -------
    MemberState
        Its description; the frames of its WCS are not looked at.

    Raises
    ------
    ExposureError
        The file is missing, unreadable, cut short or no data model; names the file and the reason.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(path) as hdulist:
                return _describe_hdulist(hdulist, path)
    except FileNotFoundError:
        raise ExposureError(f"{path}: no such file") from None
    except (OSError, UserWarning, fits.VerifyError, KeyError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, ExposureError):
            raise
        raise ExposureError(f"{path}: cannot be read as FITS: {error}") from error


def _describe_hdulist(hdulist, path):
    len(hdulist)  # reads every header, and so finds a file that is cut short
    primary = hdulist[0].header
    if "DATAMODL" not in primary:
        raise ExposureError(f"{path}: is not a JWST data model: it has no DATAMODL keyword")
    if "SCI" not in hdulist:
        raise ExposureError(f"{path}: is not a science image: it has no SCI extension")
    headers = {"PRIMARY": primary, "SCI": hdulist["SCI"].header}
    exposure = Exposure(
        name=path.name,
        shape=hdulist["SCI"].shape,
        **{field: headers[hdu].get(key) for field, _, key, hdu in _FIELDS},
        **{field: tuple(primary.get(key) for _, key in pair) for field, pair in _SUBARRAY.items()},
    )
    history = f"by {primary.get('R_MODOFF')} on {primary.get('MODFDATE')}"
    return MemberState(exposure, primary.get(STATUS_KEYWORD), history)


def _meta(model, path):
    """Look up ``meta.<path>``; None where a part of it is missing."""
    return functools.reduce(lambda node, name: getattr(node, name, None), path.split("."), model.meta)
