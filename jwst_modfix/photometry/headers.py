"""What an exposure says of itself in its headers, and the exposures that do not belong together."""

import contextlib
import math
import re
import warnings
from dataclasses import dataclass
from itertools import compress
from numbers import Real
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.io import fits

from jwst_modfix.errors import PhotometryError
from jwst_modfix.fits_walk import refuse_endless

__all__ = ["ExposureHeader", "find_mixed", "open_hdus", "read_header"]

_DETECTORS = tuple(f"NRC{module}{array}" for module in "AB" for array in ("1", "2", "3", "4", "LONG"))

# Field, keyword; the keyword stands in the primary header or in that of SCI.
_REQUIRED = (("filter", "FILTER"), ("pupil", "PUPIL"), ("pixar_sr", "PIXAR_SR"))
_OPTIONAL = (
    ("context", "CRDS_CTX"),
    ("photom", "R_PHOTOM"),
    ("flat", "R_FLAT"),
    ("photmjsr", "PHOTMJSR"),
    ("status", "S_MODOFF"),
    ("digest", "MODFHASH"),
    ("s_region", "S_REGION"),
)
_CALIBRATION = _OPTIONAL[:4]
_NUMBERS = ("pixar_sr", "photmjsr", "roll", "mjd")
_KINDS = {name: Real if name in _NUMBERS else str for name, _ in (*_REQUIRED, *_OPTIONAL, ("roll", ""), ("mjd", ""))}
_KIND_NAMES = {Real: "a finite number", str: "text"}
_JANSKY_PER_MJY = 1e6


@dataclass(frozen=True, kw_only=True)
class ExposureHeader:
    """
    The headers of an exposure, as far as the derivation asks.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    detector, filter, pupil : str
        DETECTOR, FILTER and PUPIL.
    mjd : float
        Middle of the exposure [MJD].
    roll : float
        PA_V3, position angle of the V3 axis at the boresight [deg].
    pixar_sr : float
        PIXAR_SR, nominal solid angle of a pixel [sr].
    shape : tuple of int
        Shape of the data, (ny, nx).
    corner : tuple of int
        SUBSTRT1 - 1, SUBSTRT2 - 1: the full-frame pixel (0-indexed) of the first pixel.
    context, photom, flat : str, optional
        CRDS_CTX, R_PHOTOM and R_FLAT.
    photmjsr : float, optional
        PHOTMJSR [(MJy/sr) / (DN/s)].
    status : str, optional
        S_MODOFF, ``"COMPLETE"`` where a module offset has been taken out.
    digest : str, optional
        MODFHASH, the content hash of the table whose module offset has been taken out.
    s_region : str, optional
        S_REGION, the footprint on the sky.
    """

    path: Path
    detector: str
    filter: str
    pupil: str
    mjd: float
    roll: float
    pixar_sr: float
    shape: tuple[int, int]
    corner: tuple[int, int]
    context: str | None = None
    photom: str | None = None
    flat: str | None = None
    photmjsr: float | None = None
    status: str | None = None
    digest: str | None = None
    s_region: str | None = None

    @property
    def name(self):
        """Name of the file."""
        return self.path.name

    @property
    def corners(self):
        """Corners of the footprint, RA and Dec of each [deg], shape (4, 2); None where S_REGION does not tell them."""
        try:
            words = [float(word) for word in (self.s_region or "").upper().split() if not word.isalpha()]
            return np.array(words).reshape(4, 2)
        except ValueError:
            return None

    @property
    def jansky(self):
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.pixar_sr * _JANSKY_PER_MJY

    @property
    def module(self):
        """``"A"`` or ``"B"``."""
        return self.detector[3]

    @property
    def array(self):
        """Array ID: ``"1"`` to ``"4"`` or ``"long"``."""
        return self.detector[4:].lower()

    @property
    def channel(self):
        """``"SHORT"`` or ``"LONG"``."""
        return "LONG" if self.array == "long" else "SHORT"


def read_header(path):
    """
    Read the headers of an exposure, without loading pixels.

    Parameters
    ----------
    path : str or pathlib.Path
        A ``_cal`` file.

    Returns
    -------
    ExposureHeader
        What it says of itself.

    Raises
    ------
    PhotometryError
        The file is missing, cut short, no NIRCam image in MJy/sr, or lacks a keyword; names the file.
    """
    path = Path(path)
    with open_hdus(path) as hdulist:
        len(hdulist)  # reads every header, and so finds a file that is cut short
        names = {hdu.name for hdu in hdulist}
        if "SCI" not in names:
            raise PhotometryError(f"{path}: is not a science image: it has no SCI extension")
        if "ASDF" not in names:
            raise PhotometryError(f"{path}: has no gWCS, which assign_wcs writes: there is no ASDF extension")
        return _describe(path, hdulist[0].header, hdulist["SCI"])


@contextlib.contextmanager
def open_hdus(path, **options):
    """
    Open a FITS file, and refuse one that cannot be read while it is open.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    **options
        As for `astropy.io.fits.open`.

    Yields
    ------
    astropy.io.fits.HDUList
        Its HDUs.

    Raises
    ------
    PhotometryError
        The file is missing, cut short or damaged; names it.
    """
    try:
        refuse_endless(path)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(path, **options) as hdulist:
                yield hdulist
    except FileNotFoundError:
        raise PhotometryError(f"{path}: no such file") from None
    except PhotometryError:
        raise
    except Exception as error:  # whatever astropy raises at headers that contradict themselves
        raise PhotometryError(f"{path}: cannot be read as FITS: {error}") from error


def find_mixed(headers):
    """
    Find exposures that were not calibrated alike.

    Parameters
    ----------
    headers : sequence of ExposureHeader
        The exposures.

    Returns
    -------
    list of str
        One line in words for each detector, filter, pupil and property with more than one value: the values, and
        how many exposures have each; and for each array, filter and pupil of which only some exposures have been
        corrected already, or by different tables. Arrays may differ in that: a correction leaves the others alone.
    """
    detectors, arrays = {}, {}
    for header in headers:
        band = (header.filter, header.pupil)
        detectors.setdefault((header.detector, *band), []).append(header)
        arrays.setdefault((f"array {header.array}", *band), []).append(header)
    lines = []
    for key, members in detectors.items():
        for field, keyword in _CALIBRATION:
            lines += _differing(" ".join(key), keyword, [_base(getattr(header, field)) for header in members])
    for key, members in arrays.items():
        corrected = [header.status == "COMPLETE" for header in members]
        lines += _differing(" ".join(key), "S_MODOFF=COMPLETE", [str(value) for value in corrected])
        lines += _differing(" ".join(key), "MODFHASH", [header.digest for header in compress(members, corrected)])
    return lines


def _describe(path, primary, sci):
    _check_instrument(path, primary, sci)
    fields = {field: _keyword(primary, sci.header, key) for field, key in _REQUIRED + _OPTIONAL}
    fields["roll"] = _keyword(primary, sci.header, "PA_V3", "ROLL_REF")
    fields["mjd"] = _keyword(primary, sci.header, "EXPMID", "MJD-AVG", "EXPSTART")
    missing = [name for name in ("filter", "pupil", "pixar_sr", "roll", "mjd") if fields[name] is None]
    if missing:
        raise PhotometryError(f"{path}: its headers must tell {', '.join(missing)}; they do not")
    _check_values(path, fields)
    corner = tuple(int(primary.get(key, 1)) - 1 for key in ("SUBSTRT1", "SUBSTRT2"))
    return ExposureHeader(path=path, detector=primary["DETECTOR"], shape=sci.shape, corner=corner, **fields)


def _check_values(path, fields):
    for name, kind in _KINDS.items():
        value = fields[name]
        if value is not None and (not isinstance(value, kind) or (kind is Real and not math.isfinite(value))):
            raise PhotometryError(f"{path}: {name} must be {_KIND_NAMES[kind]}, got {value!r}")
    for name in ("filter", "pupil"):  # which name figures and files
        if not re.fullmatch(r"[A-Z0-9]+", fields[name]):
            raise PhotometryError(f"{path}: {name} must be capital letters and digits, got {fields[name]!r}")
    if fields["pixar_sr"] <= 0:
        raise PhotometryError(f"{path}: PIXAR_SR must be positive, got {fields['pixar_sr']}")


def _check_instrument(path, primary, sci):
    if primary.get("INSTRUME") != "NIRCAM" or primary.get("DETECTOR") not in _DETECTORS:
        raise PhotometryError(
            f"{path}: must be of NIRCam and one of {', '.join(_DETECTORS)}; got INSTRUME {primary.get('INSTRUME')}, "
            f"DETECTOR {primary.get('DETECTOR')}"
        )
    if primary.get("EXP_TYPE", "NRC_IMAGE") != "NRC_IMAGE":
        raise PhotometryError(f"{path}: EXP_TYPE must be NRC_IMAGE; got {primary['EXP_TYPE']}")
    if len(sci.shape) != 2:
        raise PhotometryError(f"{path}: SCI must have two axes; got shape {sci.shape}")
    if sci.header.get("BUNIT") != "MJy/sr":
        raise PhotometryError(
            f"{path}: BUNIT must be MJy/sr, as the photom step makes it; got {sci.header.get('BUNIT')}"
        )


def _keyword(primary, sci, *keywords):
    """Value of the first keyword that either header has."""
    values = (header.get(keyword) for keyword in keywords for header in (primary, sci))
    return next((value for value in values if value is not None), None)


def _differing(which, keyword, values):
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) > 1:
        yield f"{which}: {keyword} is " + ", ".join(f"{value} ({count} exposures)" for value, count in counts.items())


def _base(value):
    return PurePosixPath(value).name if isinstance(value, str) else value
