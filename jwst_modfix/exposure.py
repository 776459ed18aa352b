"""What an exposure is, and the one way to open one: a FITS file, or a data model."""

import contextlib
import functools
import gzip
import io
import itertools
import math
import operator
import stat
import struct
import threading
import warnings
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import yaml
from astropy.io import fits
from astropy.time import Time
from astropy.utils.exceptions import AstropyUserWarning

from jwst_modfix.errors import ExposureError
from jwst_modfix.text import is_url

ARRAYS = ("data", "err", "var_poisson", "var_rnoise", "var_flat")
"""Attributes of the data model that are in units of the data, or of their square."""

ONE_THREAD = threading.Lock()
"""For headers, ASDF and WCSs, whose libraries are not thread-safe, nor are filters of warnings. Pixels need no lock."""

STATUS_KEYWORD, JOB_KEYWORD = "S_MODOFF", "MODFJOB"
STATUS_PATH, FACTOR_PATH, LOG_PATH = "meta.cal_step.module_offset", "meta.module_offset", "cal_logs.module_offset"
"""Entries of the ASDF tree."""

_LARGEST_SHARED = 2**20  # bytes of blocks of an ASDF tree; that of a WCS has 2 kB
_LARGEST_FILE = 4 * 1024**3  # bytes; a full frame has 0.12 GB
_DETECTOR_CENTRE = 1023.5  # pixel of the full frame, 0-indexed, along each axis
_DETECTORS = {f"NRC{m}{a}": a.lower() for m in "AB" for a in ("1", "2", "3", "4", "LONG")}

_BAD_TREE, _BAD_MODEL = "its ASDF extension cannot be read", "cannot be read as a JWST data model"

_KINDS = {str: "text", Real: "a finite number", Integral: "a whole number", bool: "true or false"}


def _fact(kind, path, keyword, hdu="PRIMARY"):
    """Make a field from its path below meta, and its card, which has precedence."""
    return field(default=None, metadata={"kind": kind, "path": f"meta.{path}", "keyword": keyword, "hdu": hdu})


def is_finite_number(value: Any) -> bool:
    """Test whether a value is a number and finite as a float; text and True are not."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number larger than any float
        return False


class DetectorNames:
    """Module, array and channel of a class with a field `detector`."""

    detector: str

    @property
    def module(self) -> str:
        """``"A"`` or ``"B"``."""
        return self.detector[3]

    @property
    def array(self) -> str:
        """Array ID that both modules share: ``"1"`` to ``"4"`` or ``"long"``."""
        return self.detector[4:].lower()

    @property
    def channel(self) -> str:
        """``"SHORT"`` or ``"LONG"``, as in the ``CHANNEL`` keyword."""
        return "LONG" if self.array == "long" else "SHORT"


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Metadata of an exposure; None where absent. Values of wrong type are refused."""

    name: str  # of the file
    path: Path | None = None  # None for a data model
    instrument: str | None = _fact(str, "instrument.name", "INSTRUME")
    detector: str | None = _fact(str, "instrument.detector", "DETECTOR")
    array: str | None = field(init=False)  # "1" to "4" or "long"; None for an unknown detector
    module: str | None = _fact(str, "instrument.module", "MODULE")
    exp_type: str | None = _fact(str, "exposure.type", "EXP_TYPE")
    channel: str | None = _fact(str, "instrument.channel", "CHANNEL")
    filter: str | None = _fact(str, "instrument.filter", "FILTER")
    pupil: str | None = _fact(str, "instrument.pupil", "PUPIL")
    unit: str | None = _fact(str, "bunit_data", "BUNIT", "SCI")
    resample: str | None = _fact(str, "cal_step.resample", "S_RESAMP")  # COMPLETE for a mosaic
    context: str | None = _fact(str, "ref_file.crds.context_used", "CRDS_CTX")
    photom: str | None = _fact(str, "ref_file.photom.name", "R_PHOTOM")
    flat: str | None = _fact(str, "ref_file.flat.name", "R_FLAT")
    version: str | None = _fact(str, "calibration_software_version", "CAL_VER")
    is_tso: bool | None = _fact(bool, "visit.tsovisit", "TSOVISIT")
    photmjsr: float | None = _fact(Real, "photometry.conversion_megajanskys", "PHOTMJSR", "SCI")  # (MJy/sr) / (DN/s)
    photuja2: float | None = _fact(Real, "photometry.conversion_microjanskys", "PHOTUJA2", "SCI")
    pixar_sr: float | None = _fact(Real, "photometry.pixelarea_steradians", "PIXAR_SR", "SCI")  # sr
    background: float | None = _fact(Real, "background.level", "BKGLEVEL")  # in the unit of the data
    start: float | None = _fact(Real, "exposure.start_time", "EXPSTART")  # MJD
    middle: float | None = _fact(Real, "exposure.mid_time", "EXPMID")  # MJD
    exposure_time: float | None = _fact(Real, "exposure.exposure_time", "EFFEXPTM")  # s
    pa_v3: float | None = _fact(Real, "pointing.pa_v3", "PA_V3", "SCI")  # deg, at the boresight
    roll_ref: float | None = _fact(Real, "wcsinfo.roll_ref", "ROLL_REF", "SCI")  # deg, of V3 at the aperture
    s_region: str | None = _fact(str, "wcsinfo.s_region", "S_REGION", "SCI")
    subarray: str | None = _fact(str, "subarray.name", "SUBARRAY")
    xstart: int | None = _fact(Integral, "subarray.xstart", "SUBSTRT1")  # pixel of the full frame, 1-indexed
    ystart: int | None = _fact(Integral, "subarray.ystart", "SUBSTRT2")
    xsize: int | None = _fact(Integral, "subarray.xsize", "SUBSIZE1")  # pixel
    ysize: int | None = _fact(Integral, "subarray.ysize", "SUBSIZE2")
    program_number: str | None = _fact(str, "observation.program_number", "PROGRAM")
    observation_number: str | None = _fact(str, "observation.observation_number", "OBSERVTN")
    visit_number: str | None = _fact(str, "observation.visit_number", "VISIT")
    visit_group: str | None = _fact(str, "observation.visit_group", "VISITGRP")
    sequence_id: str | None = _fact(str, "observation.sequence_id", "SEQ_ID")
    activity_id: str | None = _fact(str, "observation.activity_id", "ACT_ID")
    exposure_number: str | None = _fact(str, "observation.exposure_number", "EXPOSURE")
    group_id: str | None = _fact(str, "group_id", None)
    shape: tuple[int, ...] | None = None  # (ny, nx)
    status: str | None = None  # COMPLETE, SKIPPED or None
    digest: str | None = None  # MODFHASH
    failed: tuple[str, ...] = ()  # earlier steps whose status is FAILED
    frames: tuple[str, ...] | None = None  # of its WCS; None where nobody has looked
    wcs_box: tuple[tuple[float, float], ...] | None = None  # bounding box of its WCS along x and y [pixel]
    wcs_centre: tuple[float, float] | None = None  # V2, V3 of the detector's centre by its WCS [arcsec]

    def __post_init__(self):
        wrong = []
        for name, fact in _FACTS.items():
            value, kind = getattr(self, name), fact["kind"]
            is_right = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
            if value is not None and not (is_right and (kind is not Real or is_finite_number(value))):
                wrong.append(f"{fact['keyword'] or fact['path']} must be {_KINDS[kind]}, got {value!r}")
        if wrong:
            raise ExposureError(f"{self.name}: {'; '.join(wrong)}")
        object.__setattr__(self, "array", _DETECTORS.get(self.detector))

    @property
    def group(self):
        """Identifier that the detectors of one exposure share, or its keywords, or None."""
        values = operator.attrgetter(*_OBSERVATION)(self)
        return self.group_id or (None if None in values else dict(zip(_OBSERVATION, values, strict=True)))


_FACTS = {field.name: field.metadata for field in fields(Exposure) if field.metadata}
_OBSERVATION = tuple(name for name, fact in _FACTS.items() if "observation" in fact["path"])
_PHOTOMETRY = ("photmjsr", "photuja2", "background")  # in units of the data, or of the data per DN/s


@contextlib.contextmanager
def open_exposure(source):
    """Open a file, which never changes, or a data model, which changes in place."""
    if not isinstance(source, str | Path):
        yield _ModelExposure(source)
    elif (path := Path(source)).suffix.lower() == ".asdf":
        with _open_regular(path) as file, _reading(path):
            content = file.read()
        with _reading(path, _BAD_TREE):
            AsdfTree(content)
        del content  # as large as the file
        yield _ModelExposure(open_model(path), path.name)
    else:
        with open_fits(path) as hdulist:
            with ONE_THREAD, _reading(path):
                opened = _FitsExposure(hdulist, path)
            yield opened


def read_primary_header(path: Path) -> fits.Header:
    """Read the primary header of a file; an empty one if it cannot be read."""
    try:
        return fits.getheader(path) if path.is_file() else fits.Header()
    except DeprecationWarning:  # an error where warnings are errors; it is not about the file
        raise
    except Exception:  # whatever astropy raises at a damaged file
        return fits.Header()


@contextlib.contextmanager
def _reading(name, problem="", advice=""):
    """Convert any error of a library at a damaged file into one of ours."""
    try:
        yield
    except (ExposureError, DeprecationWarning):  # a warning, where warnings are errors, is not about the file
        raise
    except MemoryError as error:
        raise ExposureError(f"{name}: there is not enough memory to read it") from error
    except Exception as error:  # whatever astropy, asdf and yaml raise at a damaged file
        if isinstance(error, OSError) and not problem:
            raise ExposureError(f"{name}: cannot be read: {error.strerror or error}") from error
        problem = problem or f"is damaged, or was cut short while it was read: {type(error).__name__}"
        raise ExposureError(f"{name}: {problem}: {error}{advice}") from error


def _open_regular(path):
    """Open a regular file that is not too large: others block, or fill the memory."""
    if is_url(path):
        raise ExposureError(f"{path}: is a URL; download the file and give the copy")
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ExposureError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ExposureError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ExposureError(
            f"{path}: is {'a folder, not a file' if stat.S_ISDIR(status.st_mode) else 'not a regular file'}"
        )
    if status.st_size > _LARGEST_FILE:
        raise ExposureError(f"{path}: has {status.st_size} bytes; an exposure has at most {_LARGEST_FILE}")
    with _reading(path):
        return path.open("rb")


_FORMATS = {
    b"PK": "it is a ZIP archive", b"\x1f\x8b": "it is gzip; a compressed FITS file is named .fits.gz",
    b"BZh": "it is bzip2", b"\xfd7zXZ": "it is xz", b"\x1f\x9d": "it is compress", b"\x89HDF": "it is HDF5",
    b"#ASDF": "it is ASDF; such a file is named .asdf",
}  # fmt: skip


@contextlib.contextmanager
def open_fits(path):
    """Open a FITS file of any content, which is regular and whole."""
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(_open_regular(path))
        if path.suffix.lower() == ".gz":
            with _reading(path, "cannot be read as gzip"):
                file = io.BytesIO(gzip.GzipFile(fileobj=file).read(_LARGEST_FILE + 1))
            if file.getbuffer().nbytes > _LARGEST_FILE:
                raise ExposureError(f"{path}: has more than {_LARGEST_FILE} bytes unpacked; no exposure is so large")
        with _reading(path):
            start = file.read(9)
        if start != b"SIMPLE  =":
            known = [words for magic, words in _FORMATS.items() if start.startswith(magic)]
            kind = known[0] if known else f"it begins with {start!r}" if start else "it is empty"
            raise ExposureError(f"{path}: is not a FITS file, which begins with 'SIMPLE  =': {kind}")
        size, end = file.seek(0, io.SEEK_END), 0
        file.seek(0)
        with ONE_THREAD, _reading(path, "cannot be read as FITS"), warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # what astropy warns of is refused below
            hdulist = stack.enter_context(fits.open(file, memmap=False, disable_image_compression=True))
            for hdu in hdulist:  # reads every header
                before, place = end, hdu.fileinfo()
                end = place["datLoc"] + place["datSpan"]
                if end <= before:
                    raise ValueError("a header describes data of negative size")
        if end != size:
            raise ExposureError(
                f"{path}: has {size} bytes, but its headers describe {end}: it is cut short or damaged; copy it again"
            )
        yield hdulist


def open_model(path: str | Path) -> Any:
    """Open a file that was checked as a data model."""
    from stdatamodels.jwst import datamodels  # noqa: TID251 - takes a second

    with _reading(path, _BAD_MODEL):
        return datamodels.open(path)


class OpenExposure:
    """An exposure that is open for correction, and the record of what was done to it.

    The record is a set of cards in the primary header, which later steps keep. The status is in the ASDF tree as well
    (meta.cal_step.module_offset), which mosaics keep, and with it the factor where the undo cannot evaluate it again.
    """

    name: str
    path: Path | None = None
    exposure: Exposure  # as it was opened; its WCS is not read
    cards: list[tuple[str, Any]]  # of a correction, as it was opened: keyword and value of each, but that of the job
    tree: Any  # entries by their path: ``tree.get("meta.filename")``, ``tree.set("meta.filename", name)``
    wcs: Any  # the gWCS; None where there is none
    _places: dict[str, tuple[Any, str]]  # by name of an array: the object that has it, and the attribute
    _headers: dict[str, Any]  # of the primary and the SCI HDU of a file, whose cards have precedence over the tree
    _has_stray_cards: bool  # cards of a correction outside of the primary header, where other tools may put them
    _copies: bool  # arrays to be changed, as something else may refer to them

    def _describe(self, arrays, failed):
        """Check shape and data type of the arrays, given by name, and read the metadata."""
        shape, _ = arrays["data"]
        for name in (*ARRAYS, "dq"):
            array_shape, dtype = arrays.get(name, (shape, np.dtype(float)))
            if array_shape != shape:
                raise ExposureError(f"{self.name}: {name} has shape {array_shape}, and the data have {shape}")
            if name in ARRAYS and dtype.kind != "f":
                raise ExposureError(f"{self.name}: {name} must hold floating-point numbers, got {dtype}")
        status, digest = self.tree.get(STATUS_PATH), dict(self.cards).get("MODFHASH")
        traces = self.cards if status is None else [*self.cards, (STATUS_KEYWORD, status)]
        is_skipped = traces == [(STATUS_KEYWORD, "SKIPPED")] * len(traces)
        if self._has_stray_cards or not is_skipped or self.tree.get(FACTOR_PATH) is not None:
            status = "COMPLETE"  # any trace of a correction
        else:
            status = "SKIPPED" if traces else None
        facts = {}
        for name, fact in _FACTS.items():
            keyword, header, values = fact["keyword"], self._headers.get(fact["hdu"], ()), [None]
            if keyword and keyword in header:
                with _reading(self.name, f"the card {keyword} of {fact['hdu']} cannot be read"):  # parsed only now
                    values = [header[keyword, number] for number in range(header.count(keyword))]
            if len(set(map(repr, values))) > 1:
                raise ExposureError(
                    f"{self.name}: the cards {keyword} of {fact['hdu']} are {values}; keep the right one"
                )
            is_absent = values[0] is None or isinstance(values[0], fits.card.Undefined)
            facts[name] = self.tree.get(fact["path"]) if is_absent else values[0]
        self.exposure = Exposure(
            name=self.name, path=self.path, shape=shape, status=status,
            digest=digest if isinstance(digest, str) else None, failed=tuple(sorted(failed)), **facts,
        )  # fmt: skip

    @property
    def exposure_with_wcs(self):
        """The description with what the WCS says."""
        wcs = self.wcs
        if wcs is None:
            return replace(self.exposure, frames=())
        if not hasattr(wcs, "available_frames"):
            raise ExposureError(
                f"{self.name}: its WCS is of an unknown kind, {type(wcs).__name__}; run assign_wcs again"
            )
        exposure, frames, centre = self.exposure, tuple(wcs.available_frames), None
        with ONE_THREAD, _reading(self.name, "its WCS cannot be evaluated", "; run assign_wcs again"):
            box = wcs.bounding_box
            box = box and tuple(map(tuple, np.array(box.bounding_box(order="F"), float).tolist()))
            if "v2v3" in frames and None not in (exposure.xstart, exposure.ystart):
                x, y = _DETECTOR_CENTRE - (exposure.xstart - 1), _DETECTOR_CENTRE - (exposure.ystart - 1)
                centre = tuple(map(float, wcs.get_transform("detector", "v2v3")(x, y)))
        return replace(exposure, frames=frames, wcs_box=box, wcs_centre=centre)

    def array(self, name):
        """Read an array such as ``"dq"``, in native byte order; None where it is absent."""
        if name not in self._places:
            return None
        with _reading(self.path or self.name):
            array = getattr(*self._places[name])
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def change(self, function, factor):
        """Change pixels by a function of the arrays, 32-bit floats by name, in place.

        PHOTMJSR and PHOTUJA2, so that data / PHOTMJSR stays DN/s, and the level of a measured sky take the factor.
        """
        arrays = {}
        places = {name: self._places[name] for name in ARRAYS if name in self._places}
        for name, place in places.items():
            with _reading(self.path or self.name):
                array = getattr(*place)
            arrays[name] = array.astype(np.dtype("f4").newbyteorder(array.dtype.byteorder), copy=self._copies)
        function(arrays)
        if self._headers:
            for name, array in arrays.items():
                setattr(*self._places[name], array)
        else:  # not by attributes: the schema, which these arrays meet, would be checked for longer than all else takes
            self.model.instance.update(arrays)
        for name in _PHOTOMETRY:
            fact, value = _FACTS[name], getattr(self.exposure, name)
            if value is not None:
                if self._headers:
                    self._headers[fact["hdu"]][fact["keyword"]] = value * factor
                self.tree.set(fact["path"], value * factor)

    def mark(self, status, cards=(), factor=None):
        """Replace the status and the record."""
        cards = [(STATUS_KEYWORD, status, "Module offset correction"), *cards] if status else []
        if self._headers:
            for key in {JOB_KEYWORD, *dict(self.cards)}:
                self._headers["PRIMARY"].remove(key, remove_all=True, ignore_missing=True)
            for card in cards:
                self._headers["PRIMARY"].append(card, end=True)
        else:
            others = [card for card in self._all_cards("PRIMARY") if not is_ours(card[0]) and card[0] != JOB_KEYWORD]
            self.tree.set("extra_fits.PRIMARY.header", [*others, *map(list, cards)])
        self.tree.set(STATUS_PATH, status)
        self.tree.set(FACTOR_PATH, factor)

    def _all_cards(self, hdu):
        """List [keyword, value, comment] of a model's cards that no schema knows."""
        header = self.tree.get(f"extra_fits.{hdu}.header")
        kinds = (list, tuple)
        return [card for card in header if isinstance(card, kinds) and card] if isinstance(header, kinds) else []


class _FitsExposure(OpenExposure):
    """An open FITS file; HDUs that do not change are copied to the output."""

    _copies = False

    def __init__(self, hdulist, path):
        self.path, self.name, self._size = path, path.name, path.stat().st_size
        # Data models take the first HDU of a name, and we take EXTVER 1.
        self._hdulist = fits.HDUList([hdulist[0], *sorted(hdulist[1:], key=operator.attrgetter("ver"))])
        self._hdus, self._places, self.cards, self._has_stray_cards, arrays, failed = {}, {}, [], False, {}, []
        for number, hdu in enumerate(hdulist):
            name = hdu.name.strip().upper() if number else "PRIMARY"
            if f"{name},{hdu.ver}" in self._hdus:
                raise ExposureError(f"{path}: has two HDUs {name} of EXTVER {hdu.ver}")
            if "ZIMAGE" in hdu.header:
                raise ExposureError(f"{path}: {name} is tile-compressed; unpack it with funpack")
            self._hdus[f"{name},{hdu.ver}"] = self._hdus[str(number)] = hdu
            if hdu.ver == 1 and hdu.is_image and hdu.shape and name != "DATA":  # SCI has the data
                attribute = "data" if name == "SCI" else name.lower()
                self._places[attribute] = (hdu, "data")
                arrays[attribute] = (hdu.shape, np.dtype(fits.hdu.image.BITPIX2DTYPE[hdu.header["BITPIX"]]))
            self._has_stray_cards |= number > 0 and any(map(is_ours, hdu.header))
        for card in hdulist[0].header.cards:
            if is_ours(card.keyword):
                try:
                    value = card.value
                except fits.VerifyError:
                    value = "?"  # still a trace
                self.cards.append((card.keyword, value))
            elif card.keyword.startswith("S_"):
                with _reading(self.name, "the status of a step cannot be read"):
                    status = card.value
                failed += [card.keyword] * (status == "FAILED")
        self._check()
        self._describe(arrays, failed)

    def _check(self):
        """Refuse a file whose correction would fail after it has begun."""
        advice = "give a _cal file of the pipeline"
        if "DATAMODL" not in self._hdulist[0].header:
            raise ExposureError(f"{self.path}: is not a JWST data model: it has no DATAMODL keyword; {advice}")
        if "data" not in self._places:
            raise ExposureError(f"{self.path}: is not a science image: it has no SCI image of EXTVER 1; {advice}")
        kind, shape = self._hdulist[0].header["DATAMODL"], self._places["data"][0].shape
        if len(shape) != {"ImageModel": 2, "CubeModel": 3, "RampModel": 4}.get(kind, len(shape)):
            raise ExposureError(f"{self.path}: DATAMODL is {kind}, but SCI has shape {shape}; {advice}")
        if not (self.name.isascii() and self.name.isprintable()):
            raise ExposureError(f"{self.name}: FITS headers hold names of printable ASCII only; rename the file")
        if "ASDF,1" not in self._hdus:
            raise ExposureError(
                f"{self.path}: has no ASDF extension, which is normally the last; it is cut short: copy it again"
            )
        self._headers = {"PRIMARY": self._hdulist[0].header, "SCI": self._places["data"][0].header}
        with _reading(self.path, _BAD_TREE):
            self.tree = AsdfTree(self._hdus["ASDF,1"].data["ASDF_METADATA"].tobytes())
        if missing := self.tree.hdus - self._hdus.keys():
            raise ExposureError(
                f"{self.path}: its ASDF tree names the HDU {', '.join(sorted(missing))}, not in the file; copy it again"
            )
        for name in ARRAYS:
            hdu, _ = self._places.get(name, self._places["data"])
            scaling = [hdu.header.get("BSCALE", 1), hdu.header.get("BZERO", 0)]
            if scaling != [1, 0]:
                raise ExposureError(
                    f"{self.name}: {hdu.name} is stored with BSCALE, BZERO = {scaling}; save floating-point numbers"
                )

    @functools.cached_property
    def wcs(self):
        """The gWCS, which must not be changed; None where the tree has none."""
        with ONE_THREAD, _reading(self.name, "its WCS cannot be read", "; run assign_wcs again"):
            return self.tree.read_wcs()

    def save(self, path, log_line=None, sign=None):
        """Write the exposure to a file; in FITS, ``sign`` makes a card of its header."""
        if path.suffix == ".asdf":
            with self.to_model(log_line) as model:
                model.save(str(path))
            return
        self._finish(path.name, log_line)
        header = self._hdulist[0].header
        if sign:
            header.set(*sign(header))
        for hdu in self._hdulist:
            if "CHECKSUM" in hdu.header:
                hdu.add_checksum()
        try:
            self._hdulist.writeto(path, output_verify="ignore")
        except Exception as error:  # of the system, or whatever astropy raises at cards that it cannot write again
            with _reading(self.path), self.path.open("rb") as file:  # if the input cannot be read any more, that is why
                if sum(map(len, iter(lambda: file.read(1 << 24), b""))) != self._size:
                    raise ValueError("its size has changed") from None
            if isinstance(error, OSError):
                raise
            raise ExposureError(f"{self.name}: cannot be written again: {type(error).__name__}: {error}") from error

    def to_model(self, log_line=None):
        """Make a data model, which is independent of the file."""
        from stdatamodels.jwst import datamodels  # noqa: TID251 - takes a second

        self._finish(self.name, log_line)
        kind = getattr(datamodels, str(self._hdulist[0].header["DATAMODL"]), None)
        kind = kind if isinstance(kind, type) and issubclass(kind, datamodels.JwstDataModel) else datamodels.ImageModel
        with _reading(self.path, _BAD_MODEL):
            return kind(self._hdulist)

    def _finish(self, name, log_line):
        """Bring the ASDF extension up to date."""
        header = self._hdulist[0].header
        header["FILENAME"], header["DATE"] = name, Time.now().isot
        self.tree.set("meta.filename", name)
        self.tree.set("meta.date", header["DATE"])
        if log_line:
            self.tree.set(LOG_PATH, [log_line])
        old, data = self._hdus["ASDF,1"], np.frombuffer(self.tree.to_bytes(), np.uint8)[None]
        column = fits.Column("ASDF_METADATA", f"{data.size}B", array=data)
        with ONE_THREAD:
            new = fits.BinTableHDU.from_columns([column], name="ASDF", header=old.header)
        self._hdulist[self._hdulist.index(old)] = self._hdus["ASDF,1"] = new


class _ModelExposure(OpenExposure):
    """A data model, changed in place."""

    _copies = True

    def __init__(self, model, name=None):
        if not hasattr(model, "instance"):
            raise ExposureError(f"an exposure must be a file or a JWST data model, got {type(model).__name__}")
        self.model, self.tree, self._headers = model, _ModelTree(model.instance), {}
        self.name = name or str(self.tree.get("meta.filename") or "in-memory model")
        arrays = {name: array for name, array in model.instance.items() if hasattr(array, "dtype")}
        for name in ARRAYS:
            if name not in arrays and model.instance.get(name) is not None:
                raise ExposureError(
                    f"{self.name}: {name} must be an array, got a {type(model.instance[name]).__name__}"
                )
        if "data" not in arrays:
            raise ExposureError(f"{self.name}: has no data")
        self._places = {name: (model, name) for name in arrays}
        self.cards = [tuple([*card, None][:2]) for card in self._all_cards("PRIMARY") if is_ours(card[0])]
        headers = self.tree.get("extra_fits")
        others = headers.keys() - {"PRIMARY"} if isinstance(headers, dict) else ()
        self._has_stray_cards = any(is_ours(card[0]) for name in others for card in self._all_cards(name))
        steps = self.tree.get("meta.cal_step")
        steps = steps if isinstance(steps, dict) else {}
        failed = [name for name, status in steps.items() if status == "FAILED" and name != "module_offset"]
        self._describe({name: (tuple(array.shape), np.dtype(array.dtype)) for name, array in arrays.items()}, failed)

    @property
    def wcs(self):
        """The gWCS; None where the model has none."""
        return self.tree.get("meta.wcs")

    def save(self, path, log_line=None, sign=None):
        """Write the model to a file; only a FITS file has a place for a signature."""
        if log_line:
            self.tree.set(LOG_PATH, [log_line])
        self.model.save(str(path))
        if sign and path.suffix == ".fits":
            with fits.open(path, mode="update", memmap=False) as hdulist:
                hdulist[0].header.set(*sign(hdulist[0].header))

    def to_model(self):
        """Return the model."""
        return self.model


def is_ours(keyword: str) -> bool:
    """Test whether a keyword is of a correction's record; that of the job is not."""
    keyword = str(keyword).upper()
    return keyword in (STATUS_KEYWORD, "R_MODOFF") or (keyword.startswith("MODF") and keyword != JOB_KEYWORD)


class _ModelTree:
    """The tree of a data model, read and changed as that of a file."""

    def __init__(self, root):
        self._root = root

    def get(self, path):
        """Read an entry; None where it is absent."""
        node = self._root
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        return node

    def set(self, path, value):
        """Replace an entry; None removes it."""
        *parents, last = path.split(".")
        node = self._root
        for key in parents:
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        node.pop(last, None)
        if value is not None:
            node[last] = value


_LARGEST_BLOCK = 1024**3  # bytes of one block, unpacked
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is five times as fast
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_END = b"\n...\n"
_BLOCK_MAGIC, _BLOCK_INDEX = b"\xd3BLK", b"#ASDF BLOCK INDEX"
_BLOCK_HEADER = struct.Struct(">4sH I4sQQQ")  # magic, size of the rest; flags, compression, allocated, used, unpacked


class AsdfTree:
    """An ASDF file whose entries are read and replaced; all tags and blocks stay."""

    def __init__(self, content):
        end = content.index(_END) + len(_END)
        self._head = content[: content.index(b"%YAML")]
        # The index has offsets of blocks, which move when the text changes its length; it is optional.
        self._blocks = content[end:].partition(_BLOCK_INDEX)[0]
        self._root = yaml.compose(content[:end], Loader=_LOADER)
        if not isinstance(self._root, yaml.MappingNode):
            raise ValueError("it has no mapping at its top")
        self.hdus = set()  # HDUs that hold arrays: ``NAME,VERSION`` or the number of one
        self._refuse_elsewhere()
        start = self._blocks.find(_BLOCK_MAGIC)
        while start >= 0 and start + _BLOCK_HEADER.size <= len(self._blocks):
            magic, size, _, _, allocated, _, unpacked = _BLOCK_HEADER.unpack_from(self._blocks, start)
            if magic != _BLOCK_MAGIC:
                break
            if unpacked > _LARGEST_BLOCK:
                raise ValueError(f"it asks for {unpacked} bytes of memory for one array, more than {_LARGEST_BLOCK}")
            start += 6 + size + allocated

    def get(self, path, *, as_node=False):
        """Read a plain entry, or the node of any entry; None where there is none."""
        node = self._root
        for key in path.split("."):
            pairs = node.value if isinstance(node, yaml.MappingNode) else ()
            found = [child for name, child in pairs if name.value == key]
            node = found[0] if found else None
        if node is None or as_node:
            return node
        loader = _LOADER("")
        try:
            return loader.construct_document(node)
        except yaml.YAMLError:
            return None
        finally:
            loader.dispose()

    def set(self, path, value):
        """Replace an entry; None removes it."""
        *parents, last = path.split(".")
        node = self._root
        for key in parents:
            found = [child for name, child in node.value if name.value == key]
            if not (found and isinstance(found[0], yaml.MappingNode)):
                if value is None:
                    return
                found = [yaml.MappingNode("tag:yaml.org,2002:map", [])]
                node.value = _with(node, key, found[0]).value
            node = found[0]
        dumper = yaml.SafeDumper("", default_flow_style=None)
        node.value = _with(node, last, None if value is None else dumper.represent_data(value)).value

    def read_wcs(self):
        """Read the gWCS; None where there is none."""
        wcs, steps = self.get("meta.wcs", as_node=True), self.get("meta.wcs.steps", as_node=True)
        if steps is None or len(steps.value) < 2 or len(self._blocks) > _LARGEST_SHARED:
            return wcs and _read_entry(self.to_bytes(wcs))
        # The first transform, to V2V3, is the same in all exposures of a detector through a filter, and takes most of
        # the time and memory: it is read once, as a WCS of two steps, and the WCSs of these files share it.
        first, second, *others = steps.value
        last = _with(second, "transform", yaml.ScalarNode("tag:yaml.org,2002:null", "null"))
        start = _read_once(self.to_bytes(_with(wcs, "steps", yaml.SequenceNode(steps.tag, [first, last]))))
        bare = [_with(first, "transform", last.value[-1][1]), second, *others]
        found = _read_entry(self.to_bytes(_with(wcs, "steps", yaml.SequenceNode(steps.tag, bare))))
        found.set_transform(*start.available_frames, start.get_transform(*start.available_frames))
        return found

    def to_bytes(self, entry=None):
        """Write the file, or one with a single entry."""
        root = _with(yaml.MappingNode(self._root.tag, []), _ENTRY, entry) if entry else self._root
        text = yaml.serialize(
            root, Dumper=_DUMPER, encoding="utf-8", allow_unicode=True,
            explicit_start=True, explicit_end=True, version=(1, 1), tags={"!": "tag:stsci.edu:asdf/"},
        )  # fmt: skip
        return self._head + text + self._blocks

    def _refuse_elsewhere(self):
        """Find the HDUs that hold arrays; refuse arrays in another file or at a URL."""
        seen, nodes = set(), [self._root]
        while nodes:
            node = nodes.pop()
            if id(node) in seen or not isinstance(node, yaml.CollectionNode):
                continue
            seen.add(id(node))
            if "externalarray" in node.tag:
                raise ValueError("it asks for an array in another file")
            if isinstance(node, yaml.SequenceNode):
                nodes += node.value
                continue
            nodes += itertools.chain.from_iterable(node.value)
            for key, source in node.value if "core/ndarray" in node.tag else ():
                is_source = key.value == "source" and isinstance(source, yaml.ScalarNode)
                if is_source and not source.value.lstrip("-").isdecimal():
                    if not source.value.startswith("fits:"):
                        raise ValueError(f"it asks for an array in another file: {source.value}")
                    self.hdus.add(source.value.removeprefix("fits:").replace(" ", "").upper())


def _with(node, key, child):
    """Copy a mapping with another child of a key; None leaves it out."""
    pairs = [pair for pair in node.value if pair[0].value != key]
    if child is not None:
        pairs.append((yaml.ScalarNode("tag:yaml.org,2002:str", key), child))
    return yaml.MappingNode(node.tag, pairs)


_ENTRY = "entry"


def _read_entry(content):
    """Read the entry of a file that has one."""
    config = asdf.get_config()
    config.extensions, config.resource_manager  # noqa: B018 - loaded once: a context starts with what is loaded
    with asdf.config_context() as config:
        config.validate_on_read = False  # it was validated when it was written
        with asdf.open(io.BytesIO(content), lazy_tree=True) as file:
            return file[_ENTRY]


_read_once = functools.lru_cache(maxsize=64)(_read_entry)  # 0.5 MB each, and their blocks
