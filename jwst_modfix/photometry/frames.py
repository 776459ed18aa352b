"""One exposure in memory: headers, pixels, and the transforms between them and the sky."""

import contextlib
import functools
import io
import math
import re
import warnings
from dataclasses import dataclass
from itertools import compress
from numbers import Real
from pathlib import Path, PurePosixPath

import asdf
import numpy as np
from astropy.io import fits
from gwcs import WCS

from jwst_modfix.embedded import refuse_hostile
from jwst_modfix.errors import PhotometryError
from jwst_modfix.fits_walk import refuse_endless

_STEP = 0.5  # pixel, for derivatives of the WCS
_NEWTON_STEPS = 2
_MARGIN = 100.0  # pixels around the array within which the inverse is improved


@dataclass(frozen=True, eq=False)
class SkyGeometry:
    """The WCS of an exposure."""

    wcs: WCS  # from 0-indexed pixels of the exposure's arrays to RA, Dec [deg], by way of v2v3
    shape: tuple[int, int]  # of the arrays, (ny, nx)

    def to_sky(self, x, y):
        """RA, Dec of pixels."""
        return self.wcs(np.asarray(x, float), np.asarray(y, float), with_bounding_box=False)

    def to_v2v3(self, x, y):
        """Focal-plane coordinates of pixels."""
        return self.wcs.get_transform("detector", "v2v3")(np.asarray(x, float), np.asarray(y, float))

    def to_pixel(self, ra, dec):
        """Pixels of sky positions; the WCS's own inverse, improved until the forward transform agrees."""
        x, y = (np.asarray(value, float) for value in self.wcs.backward_transform(ra, dec))
        inside = np.flatnonzero(self._is_near(x, y))
        for _ in range(_NEWTON_STEPS if inside.size else 0):
            at = x[inside], y[inside]
            missed = np.stack(offsets(*self.to_sky(*at), np.asarray(ra)[inside], np.asarray(dec)[inside]), axis=-1)
            step = np.linalg.solve(self.scale(*at), missed[..., None])[..., 0]
            x[inside], y[inside] = at[0] + step[:, 0], at[1] + step[:, 1]
        return x, y

    def scale(self, x, y):
        """Local scale of the WCS."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        along_x = offsets(*self.to_sky(x - _STEP, y), *self.to_sky(x + _STEP, y))
        along_y = offsets(*self.to_sky(x, y - _STEP), *self.to_sky(x, y + _STEP))
        return np.stack([np.stack(along_x, -1), np.stack(along_y, -1)], axis=-1) / (2 * _STEP)

    def _is_near(self, x, y):
        ny, nx = self.shape
        return (x > -_MARGIN) & (x < nx + _MARGIN) & (y > -_MARGIN) & (y < ny + _MARGIN)


def offsets(ra_0, dec_0, ra, dec):
    """Small offsets on the sky."""
    delta = (np.asarray(ra) - ra_0 + 180) % 360 - 180
    return delta * np.cos(np.radians(dec_0)) * 3600, (np.asarray(dec) - dec_0) * 3600


def unit_vectors(ra, dec):
    """Turn sky positions into unit vectors, which know no pole and no RA = 0."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def shift_on_sky(ra, dec, east, north):
    """Shift sky positions by a small offset."""
    return (ra + east / 3600 / np.cos(np.radians(dec))) % 360, dec + north / 3600


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
_CALIBRATION = _OPTIONAL[:3]
_NUMBERS = ("pixar_sr", "photmjsr", "roll", "mjd")
_KINDS = {name: Real if name in _NUMBERS else str for name, _ in (*_REQUIRED, *_OPTIONAL, ("roll", ""), ("mjd", ""))}
_KIND_NAMES = {Real: "a finite number", str: "text"}
_JANSKY_PER_MJY = 1e6


@dataclass(frozen=True, kw_only=True)
class ExposureHeader:
    """The headers of an exposure, as far as the derivation uses them."""

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
    def band(self):
        """Filter and pupil."""
        return self.filter, self.pupil

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
    """Read the headers of an exposure, without loading pixels."""
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
    """Open a FITS file, and refuse one that cannot be read while it is open."""
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
    """Find exposures that were not calibrated alike."""
    detectors, arrays = {}, {}
    for header in headers:
        band = (header.filter, header.pupil)
        detectors.setdefault((header.detector, *band), []).append(header)
        arrays.setdefault((f"array {header.array}", *band), []).append(header)
    lines = []
    for key, members in detectors.items():
        for field, keyword in _CALIBRATION:
            lines += _differing(" ".join(key), keyword, [_base(getattr(header, field)) for header in members])
        # One photom file gives a PHOTMJSR of its own to each time; without its name, the value is all that is known.
        unnamed = [header.photmjsr for header in members if header.photom is None]
        lines += _differing(" ".join(key), "PHOTMJSR", unnamed)
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


_DO_NOT_USE, _SATURATED = 1, 2  # bits of the DQ array
_KEPT = 256  # WCSs kept in memory, of about 0.4 MB each


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """The pixels of an exposure."""

    header: ExposureHeader
    data: np.ndarray
    err: np.ndarray
    bad: np.ndarray
    saturated: np.ndarray
    area: np.ndarray
    geometry: SkyGeometry

    @property
    def jansky(self):
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.header.jansky


def read_frame(header):
    """Read the pixels and the WCS of an exposure."""
    with open_hdus(header.path, memmap=False) as hdulist:
        arrays = {name: _native(header, hdulist, name) for name in ("SCI", "ERR", "AREA", "DQ")}
        geometry = _parse_geometry(header, hdulist["ASDF"].data.tobytes())
    bad = ~(np.isfinite(arrays["SCI"]) & (arrays["ERR"] > 0)) | ((arrays["DQ"] & _DO_NOT_USE) != 0)
    if bad.all():
        raise PhotometryError(
            f"{header.path}: has no good pixel: all are not finite or flagged DO_NOT_USE; leave it out"
        )
    saturated = (arrays["DQ"] & _SATURATED) != 0
    data, err, area = arrays["SCI"], arrays["ERR"], arrays["AREA"]
    return Frame(header=header, data=data, err=err, bad=bad, saturated=saturated, area=area, geometry=geometry)


def read_geometry(header):
    """Read the WCS of an exposure, and no pixels."""
    with open_hdus(header.path, memmap=False) as hdulist:
        return _parse_geometry(header, hdulist["ASDF"].data.tobytes())


def _native(header, hdulist, name):
    """Array of an extension, in this machine's byte order."""
    if name not in hdulist:
        raise PhotometryError(f"{header.path}: must have the extensions SCI, ERR, DQ and AREA; it has no {name}")
    data = hdulist[name].data
    if data is None or data.shape != header.shape:
        raise PhotometryError(f"{header.path}: {name} must have the shape of SCI, {header.shape}")
    return data.astype(np.uint32 if name == "DQ" else np.float32)


def _parse_geometry(header, content):
    try:
        wcs = _parse_wcs(content)
    except Exception as error:  # whatever the converters of a damaged tree raise
        raise PhotometryError(f"{header.path}: its ASDF extension, with the gWCS, cannot be read: {error}") from error
    if wcs is None or "v2v3" not in getattr(wcs, "available_frames", ()):
        raise PhotometryError(f"{header.path}: has no gWCS with a v2v3 frame, which assign_wcs writes")
    return SkyGeometry(wcs, header.shape)


@functools.lru_cache(maxsize=_KEPT)
def _parse_wcs(content):
    """Find the gWCS in the bytes of an ASDF file; an exposure is read two or three times."""
    refuse_hostile(content)
    loaded = asdf.get_config()
    loaded.extensions, loaded.resource_manager  # noqa: B018  # once for all: a context begins with what is loaded
    with asdf.config_context() as config:
        config.validate_on_read = False  # schemas take longer than the WCS, and what is no WCS is refused anyway
        with asdf.open(io.BytesIO(content)) as file:
            return file["meta"].get("wcs")
