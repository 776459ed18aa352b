"""What an exposure is, and the one way to open one: a FITS file, or a data model."""

import contextlib
import functools
import gzip
import io
import math
import stat
import warnings
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import asdf
import numpy as np
from astropy.io import fits
from astropy.time import Time
from astropy.utils.exceptions import AstropyUserWarning

from jwst_modfix.asdf_tree import AsdfTree
from jwst_modfix.errors import ExposureError

EXPOSURE_SUFFIXES = (".fits", ".fits.gz", ".fits.fz", ".asdf")
"""Ends of the names of exposures; other files are associations."""

ARRAYS = {"data": "SCI", "err": "ERR", "var_poisson": "VAR_POISSON", "var_rnoise": "VAR_RNOISE", "var_flat": "VAR_FLAT"}
"""Attribute of the data model and HDU of each array in units of the data, or of their square."""

STATUS_KEYWORD, JOB_KEYWORD = "S_MODOFF", "MODFJOB"
_STATUS_PATH, _FACTOR_PATH = "cal_step.module_offset", "module_offset"  # in the ASDF tree, below meta
_LARGEST_FILE = 4 * 1024**3  # bytes; a full frame has 0.12 GB
_DETECTORS = {f"NRC{m}{a}": a.lower() for m in "AB" for a in ("1", "2", "3", "4", "LONG")}

_BAD_TREE, _BAD_MODEL = "its ASDF extension cannot be read", "cannot be read as a JWST data model"

_KINDS = {str: "text", float: "a finite number", int: "a whole number", bool: "true or false"}


def _fact(kind, path, keyword, hdu="PRIMARY"):
    """Make a field, by its attribute below the data model's meta and by its card, which has precedence there too."""
    return field(default=None, metadata={"kind": kind, "path": path, "keyword": keyword, "hdu": hdu})


class DetectorNames:
    """What the name of one of NIRCam's ten detectors says, for classes with a field `detector`."""

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
    """Description of an exposure by its metadata; None where absent. Raises ExposureError for values of wrong type."""

    name: str  # of the file
    path: Path | None = None  # None for a data model
    instrument: str | None = _fact(str, "instrument.name", "INSTRUME")
    detector: str | None = _fact(str, "instrument.detector", "DETECTOR")
    module: str | None = _fact(str, "instrument.module", "MODULE")
    exp_type: str | None = _fact(str, "exposure.type", "EXP_TYPE")
    filter: str | None = _fact(str, "instrument.filter", "FILTER")
    pupil: str | None = _fact(str, "instrument.pupil", "PUPIL")
    unit: str | None = _fact(str, "bunit_data", "BUNIT", "SCI")
    context: str | None = _fact(str, "ref_file.crds.context_used", "CRDS_CTX")
    photom: str | None = _fact(str, "ref_file.photom.name", "R_PHOTOM")
    flat: str | None = _fact(str, "ref_file.flat.name", "R_FLAT")
    version: str | None = _fact(str, "calibration_software_version", "CAL_VER")
    is_tso: bool | None = _fact(bool, "visit.tsovisit", "TSOVISIT")
    photmjsr: float | None = _fact(float, "photometry.conversion_megajanskys", "PHOTMJSR", "SCI")  # (MJy/sr) / (DN/s)
    photuja2: float | None = _fact(float, "photometry.conversion_microjanskys", "PHOTUJA2", "SCI")
    pixar_sr: float | None = _fact(float, "photometry.pixelarea_steradians", "PIXAR_SR", "SCI")  # sr
    background: float | None = _fact(float, "background.level", "BKGLEVEL")  # in the unit of the data
    start: float | None = _fact(float, "exposure.start_time", "EXPSTART")  # MJD
    middle: float | None = _fact(float, "exposure.mid_time", "EXPMID")  # MJD
    exposure_time: float | None = _fact(float, "exposure.exposure_time", "EFFEXPTM")  # s
    pa_v3: float | None = _fact(float, "pointing.pa_v3", "PA_V3", "SCI")  # deg, at the boresight
    roll_ref: float | None = _fact(float, "wcsinfo.roll_ref", "ROLL_REF", "SCI")  # deg, of V3 at the aperture
    s_region: str | None = _fact(str, "wcsinfo.s_region", "S_REGION", "SCI")
    subarray: str | None = _fact(str, "subarray.name", "SUBARRAY")
    xstart: int | None = _fact(int, "subarray.xstart", "SUBSTRT1")  # pixel of the full frame, 1-indexed
    ystart: int | None = _fact(int, "subarray.ystart", "SUBSTRT2")
    xsize: int | None = _fact(int, "subarray.xsize", "SUBSIZE1")  # pixel
    ysize: int | None = _fact(int, "subarray.ysize", "SUBSIZE2")
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
    frames: tuple[str, ...] | None = None  # of its WCS; None where nobody has looked
    wcs_box: tuple[tuple[float, float], ...] | None = None  # bounding box of its WCS along x and y [pixel]

    def __post_init__(self):
        wrong = [
            f"{fact['keyword'] or fact['path']} must be {_KINDS[fact['kind']]}, got {getattr(self, name)!r}"
            for name, fact in _FACTS.items()
            if not _is_of_kind(getattr(self, name), fact["kind"])
        ]
        if wrong:
            raise ExposureError(f"{self.name}: {'; '.join(wrong)}")

    @property
    def array(self):
        """Array ID, ``"1"`` to ``"4"`` or ``"long"``; None where the detector is not one of NIRCam's ten."""
        return _DETECTORS.get(self.detector)

    @property
    def channel(self):
        """``"SHORT"`` or ``"LONG"``."""
        return self.array and ("LONG" if self.array == "long" else "SHORT")

    @property
    def subarray_start(self):
        """(x, y) of the first pixel in the full frame, 1-indexed."""
        return self.xstart, self.ystart

    @property
    def subarray_size(self):
        """Size along (x, y) by the keywords [pixel]."""
        return self.xsize, self.ysize

    @property
    def observation(self):
        """What the detectors of one exposure share, by attribute of meta.observation; None where a part is missing."""
        values = {name: getattr(self, name) for name in _OBSERVATION}
        return None if None in values.values() else values

    @property
    def group(self):
        """What the detectors of one exposure share: an identifier, or keywords to make it of; None without."""
        return self.group_id or self.observation


_FACTS = {field.name: field.metadata for field in fields(Exposure) if field.metadata}
_OBSERVATION = tuple(name for name, fact in _FACTS.items() if fact["path"].startswith("observation."))
_PHOTOMETRY = ("photmjsr", "photuja2", "background")  # in units of the data, or of the data per DN/s


def _is_of_kind(value, kind):
    if value is None or isinstance(value, bool):
        return value is None or kind is bool
    numbers = {float: Real, int: Integral}
    return isinstance(value, numbers.get(kind, kind)) and (kind is not float or math.isfinite(value))


@contextlib.contextmanager
def open_exposure(source):
    """Open an exposure: the path of a file, which is never changed, or a data model, which is changed in place."""
    with contextlib.ExitStack() as stack:
        if not isinstance(source, str | Path):
            opened = _ModelExposure(source)
        else:
            path = Path(source)
            file = stack.enter_context(_open_regular(path))
            if path.suffix.lower() == ".asdf":
                opened = _ModelExposure(_open_asdf(path, file), path.name)
            else:
                hdulist = stack.enter_context(_open_fits(path, file))
                with _reading(path):
                    opened = _FitsExposure(hdulist, path)
        opened.exposure  # noqa: B018 - values of another kind are found at once
        yield opened


@contextlib.contextmanager
def open_fits(path):
    """Open a FITS file of any content, which is regular and whole."""
    with _open_regular(path) as file, _open_fits(path, file) as hdulist:
        yield hdulist


@contextlib.contextmanager
def _reading(name, problem="", advice=""):
    """Turn whatever a library raises at a damaged file into one line."""
    try:
        yield
    except ExposureError:
        raise
    except MemoryError as error:
        raise ExposureError(f"{name}: there is not enough memory to read it") from error
    except Exception as error:
        if isinstance(error, OSError) and not problem:
            raise ExposureError(f"{name}: cannot be read: {error.strerror or error}") from error
        problem = problem or f"is damaged, or was cut short while it was read: {type(error).__name__}"
        raise ExposureError(f"{name}: {problem}: {error}{advice}") from error


@contextlib.contextmanager
def _open_regular(path):
    """Open a regular file of a size that an exposure can have: others block, or fill the memory."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ExposureError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ExposureError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise ExposureError(f"{path}: is not a regular file{' but a folder' * stat.S_ISDIR(status.st_mode)}")
    if status.st_size > _LARGEST_FILE:
        raise ExposureError(f"{path}: has {status.st_size} bytes; an exposure has at most {_LARGEST_FILE}")
    with _reading(path):
        file = path.open("rb")
    with file:
        yield file


_FORMATS = {
    b"PK": "it is a ZIP archive", b"\x1f\x8b": "it is gzip; a compressed FITS file is named .fits.gz",
    b"BZh": "it is bzip2", b"\xfd7zXZ": "it is xz", b"\x1f\x9d": "it is compress", b"\x89HDF": "it is HDF5",
    b"#ASDF": "it is ASDF; such a file is named .asdf",
}  # fmt: skip


@contextlib.contextmanager
def _open_fits(path, file):
    if path.suffix.lower() == ".gz":
        file = io.BytesIO(_unpack(path, file))
    with _reading(path):
        start = file.read(9)
    if start != b"SIMPLE  =":
        known = [words for magic, words in _FORMATS.items() if start.startswith(magic)]
        kind = known[0] if known else f"it begins with {start!r}" if start else "it is empty"
        raise ExposureError(f"{path}: is not a FITS file, which begins with 'SIMPLE  =': {kind}")
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    with _reading(path, "cannot be read as FITS"), warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # what astropy warns of is refused below
        hdulist = fits.open(file, memmap=False, disable_image_compression=True)
        end = _read_headers(hdulist)
    with hdulist:
        if end != size:
            raise ExposureError(
                f"{path}: has {size} bytes, but its headers describe {end}: it is cut short or damaged; copy it again"
            )
        yield hdulist


def _read_headers(hdulist):
    """Read every header; return where the last HDU ends."""
    end = 0
    for hdu in hdulist:
        place = hdu.fileinfo()
        if place["datLoc"] + place["datSpan"] <= end:
            raise ValueError("a header describes data of negative size")
        end = place["datLoc"] + place["datSpan"]
    return end


def _unpack(path, file):
    with _reading(path, "cannot be read as gzip"):
        content = gzip.GzipFile(fileobj=file).read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ExposureError(f"{path}: has more than {_LARGEST_FILE} bytes unpacked; no exposure is so large")
    return content


def _open_asdf(path, file):
    from stdatamodels.jwst import datamodels  # noqa: TID251 - takes a second

    with _reading(path):
        content = file.read()
    with _reading(path, _BAD_TREE):
        AsdfTree(content)
    with _reading(path, _BAD_MODEL):
        return datamodels.open(path)


class OpenExposure:
    """An exposure that is open for correction, and the record of what was done to it.

    The record is a set of cards in the primary header, which later steps keep. The status is in the ASDF tree as well
    (meta.cal_step.module_offset), which mosaics keep, and with it the factor where the undo cannot evaluate it again.
    """

    name: str
    path: Path | None = None
    cards: list[tuple[str, Any]]

    @functools.cached_property
    def exposure(self):
        """The description of the exposure as it was opened; its WCS is not read."""
        values = {name: self._get(fact) for name, fact in _FACTS.items()}
        digest = dict(self.cards).get("MODFHASH")
        digest = digest if isinstance(digest, str) else None
        return Exposure(name=self.name, path=self.path, shape=self.shape, status=self.status, digest=digest, **values)

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
        box = wcs.bounding_box
        box = box and tuple(tuple(map(float, interval)) for interval in box.bounding_box(order="F"))
        return replace(self.exposure, frames=tuple(wcs.available_frames), wcs_box=box)

    @property
    def status(self):
        """COMPLETE, SKIPPED or None; any trace of a correction means COMPLETE, which prevents a second one."""
        traces = [card for card in self.cards if card[0] != JOB_KEYWORD]
        if (status := self.tree(_STATUS_PATH)) is not None:
            traces.append((STATUS_KEYWORD, status))
        if self.stored_factor:
            return "COMPLETE"
        if traces == [(STATUS_KEYWORD, "SKIPPED")] * len(traces):
            return "SKIPPED" if traces else None
        return "COMPLETE"

    @property
    def stored_factor(self):
        """The factor that the ASDF tree keeps for the undo, as it is; None without."""
        return self.tree(_FACTOR_PATH)

    def mark(self, status, cards=(), factor=None):
        """Put a status and a record in the place of what is there."""
        status_card = [(STATUS_KEYWORD, status, "Module offset correction")] if status else []
        self._replace_cards([*status_card, *cards])
        self._set_tree(_STATUS_PATH, status)
        self._set_tree(_FACTOR_PATH, factor)

    def scale_photometry(self, factor):
        """Scale PHOTMJSR and PHOTUJA2, so that data / PHOTMJSR stays DN/s, and the level of a measured sky."""
        for name in _PHOTOMETRY:
            value = getattr(self.exposure, name)
            if value is not None:
                self._set(_FACTS[name], value * factor)

    def array(self, name):
        """Array of an attribute such as ``"dq"``, in native byte order; None where it is absent."""
        array = self._load(name)
        return None if array is None else array.astype(array.dtype.newbyteorder("="), copy=False)

    def _check_array(self, name, shape, dtype):
        if shape != self.shape:
            raise ExposureError(f"{self.name}: {name} has shape {shape}, and the data have {self.shape}")
        if dtype.kind != "f":
            raise ExposureError(f"{self.name}: {name} must hold floating-point numbers, got {dtype}")


class _FitsExposure(OpenExposure):
    """An open FITS file, changed in memory and written to another file; HDUs that do not change are copied."""

    def __init__(self, hdulist, path):
        self._hdulist, self.path, self.name, self._size = hdulist, path, path.name, path.stat().st_size
        self._hdus = {}
        for hdu in hdulist:
            key = ("PRIMARY" if hdu is hdulist[0] else hdu.name.strip().upper(), hdu.ver)
            if self._hdus.setdefault(key, hdu) is not hdu:
                raise ExposureError(f"{path}: has two HDUs {key[0]} of EXTVER {key[1]}")
            if "ZIMAGE" in hdu.header:
                raise ExposureError(f"{path}: {key[0]} is tile-compressed; unpack it with funpack")
        if "DATAMODL" not in hdulist[0].header:
            raise ExposureError(
                f"{path}: is not a JWST data model: it has no DATAMODL keyword; give a _cal file of the pipeline"
            )
        science = self._hdu("SCI")
        if not _is_array(science):
            raise ExposureError(
                f"{path}: is not a science image: it has no SCI image of EXTVER 1; give a _cal file of the pipeline"
            )
        self.shape = science.shape
        self._check()

    def _check(self):
        """Look for what would end the correction of this exposure in its middle."""
        if not self.name.isascii():
            raise ExposureError(f"{self.name}: FITS headers hold names in ASCII only; rename the file")
        if self._hdu("ASDF") is None:
            raise ExposureError(
                f"{self.path}: has no ASDF extension, which is the last: it is cut short; copy it again"
            )
        missing = [source for source in self._tree.sources if self._find(source) is None]
        if missing:
            raise ExposureError(
                f"{self.path}: its ASDF tree names {', '.join(missing)}, not in the file; copy it again"
            )
        for name in ARRAYS.values():
            hdu = self._hdu(name)
            if not _is_array(hdu):
                continue
            self._check_array(name, hdu.shape, np.dtype(fits.hdu.image.BITPIX2DTYPE[hdu.header["BITPIX"]]))
            scaling = [self._card(hdu, key) for key in ("BSCALE", "BZERO")]
            if scaling not in ([None, None], [1, None], [None, 0], [1, 0]):
                raise ExposureError(
                    f"{self.name}: {name} is stored with BSCALE, BZERO = {scaling}; save plain floating-point numbers"
                )

    def _hdu(self, name, version=1):
        return self._hdus.get((name, version))

    def _find(self, source):
        """Find the HDU of ``fits:NAME,VERSION`` or ``fits:NUMBER``."""
        name, _, version = source.removeprefix("fits:").rpartition(",")
        if not version.isdecimal():
            return None
        if name:
            return self._hdu(name.strip().upper(), int(version))
        return self._hdulist[int(version)] if int(version) < len(self._hdulist) else None

    def _card(self, hdu, keyword):
        try:
            value = hdu.header.get(keyword)
        except Exception as error:  # astropy parses a card when it is first asked for
            raise ExposureError(f"{self.name}: the card {keyword} of {hdu.name} cannot be read: {error}") from error
        return None if isinstance(value, fits.card.Undefined) else value

    def _get(self, fact):
        value = fact["keyword"] and self._card(self._hdu(fact["hdu"]), fact["keyword"])
        return self.tree(fact["path"]) if value is None else value

    def _set(self, fact, value):
        self._hdu(fact["hdu"]).header[fact["keyword"]] = value
        self._set_tree(fact["path"], value)

    @property
    def cards(self):
        """Cards of a correction: list of (keyword, value)."""
        cards = [card for card in self._hdulist[0].header.cards if is_ours(card.keyword)]
        return [(card.keyword, _parsed(card)) for card in cards]

    def _replace_cards(self, cards):
        header = self._hdulist[0].header
        for key, _ in self.cards:
            header.remove(key, remove_all=True, ignore_missing=True)
        for card in cards:
            header.append(card, end=True)

    @functools.cached_property
    def _tree(self):
        with _reading(self.path, _BAD_TREE):
            return AsdfTree(self._hdu("ASDF").data["ASDF_METADATA"].tobytes())

    def tree(self, path):
        """Entry of the ASDF tree below meta; None where it is absent."""
        return self._tree.get(f"meta.{path}")

    def _set_tree(self, path, value):
        self._tree.set(f"meta.{path}", value)

    @property
    def log_lines(self):
        """Log lines in the file on the correction: list of str."""
        lines = self._tree.get("cal_logs.module_offset")
        return [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []

    @functools.cached_property
    def wcs(self):
        """The gWCS; None where the tree has none."""
        config = asdf.get_config()
        config.extensions, config.resource_manager  # noqa: B018 - loaded once: a context starts with what is loaded
        with _reading(self.name, "its WCS cannot be read", "; run assign_wcs again"), asdf.config_context() as config:
            config.validate_on_read = False  # it was validated when it was written; only the WCS is asked for
            with asdf.open(io.BytesIO(self._tree.to_bytes()), lazy_tree=True) as file:
                return file["meta"].get("wcs")

    def _load(self, name):
        hdu = self._hdu(ARRAYS.get(name, name.upper()))
        with _reading(self.path):
            return hdu.data if _is_array(hdu) else None

    def take(self, name):
        """Array to be changed, which nothing else refers to, and in 32 bits, as in the data model."""
        array = self._load(name)
        return array if array is None or array.dtype.itemsize == 4 else array.astype(">f4")

    def put(self, name, array):
        """Put a changed array in its place."""
        self._hdu(ARRAYS[name]).data = array

    def save(self, path, log_line=None, sign=None):
        """Write the exposure to another file; ``sign`` makes a card of its primary header, in a FITS file only."""
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
        except OSError:
            self._read_again()
            raise
        except Exception as error:  # whatever astropy raises at cards that it cannot write again
            self._read_again()
            raise ExposureError(f"{self.name}: cannot be written again: {type(error).__name__}: {error}") from error

    def _read_again(self):
        """Blame the input if it cannot be read to its end any more."""
        with _reading(self.path), self.path.open("rb") as file:
            if sum(map(len, iter(lambda: file.read(1 << 24), b""))) != self._size:
                raise ValueError("its size has changed")

    def to_model(self, log_line=None):
        """Make a data model, which is independent of the file."""
        from stdatamodels.jwst import datamodels  # noqa: TID251 - takes a second

        self._finish(self.name, log_line)
        kind = getattr(datamodels, str(self._hdulist[0].header["DATAMODL"]), None)
        kind = kind if isinstance(kind, type) and issubclass(kind, datamodels.JwstDataModel) else datamodels.ImageModel
        # Data models take the first HDU of a name, and we take EXTVER 1.
        first, *others = self._hdulist
        with _reading(self.path, _BAD_MODEL):
            return kind(fits.HDUList([first, *sorted(others, key=lambda hdu: hdu.ver)]))

    def _finish(self, name, log_line):
        """Bring the ASDF extension up to date."""
        header = self._hdulist[0].header
        header["FILENAME"], header["DATE"] = name, Time.now().isot
        self._set_tree("filename", name)
        self._set_tree("date", header["DATE"])
        if log_line:
            self._tree.set("cal_logs.module_offset", [log_line])
        old, data = self._hdu("ASDF"), np.frombuffer(self._tree.to_bytes(), np.uint8)[None]
        column = fits.Column("ASDF_METADATA", f"{data.size}B", array=data)
        self._hdulist[self._hdulist.index(old)] = self._hdus["ASDF", 1] = fits.BinTableHDU.from_columns(
            [column], name="ASDF", header=old.header
        )


class _ModelExposure(OpenExposure):
    """A data model, changed in place."""

    def __init__(self, model, name=None):
        if not hasattr(model, "instance"):
            raise ExposureError(f"an exposure must be a file or a JWST data model, got {type(model).__name__}")
        self.model = model
        self._meta = model.instance.setdefault("meta", {})
        self.name = name or str(self._meta.get("filename") or "in-memory model")
        data = model.instance.get("data")
        if data is None:
            raise ExposureError(f"{self.name}: has no data")
        self.shape = tuple(data.shape)
        for name in ARRAYS:
            array = model.instance.get(name)
            if array is not None:
                self._check_array(name, tuple(array.shape), np.dtype(array.dtype))

    def _get(self, fact):
        return self.tree(fact["path"])

    def _set(self, fact, value):
        self._set_tree(fact["path"], value)

    @property
    def cards(self):
        """Cards of a correction: list of (keyword, value)."""
        return [(card[0], card[1]) for card in self._all_cards if is_ours(card[0])]

    @property
    def _all_cards(self):
        """Cards of the primary header that no schema knows: (keyword, value, comment) each."""
        return self.model.instance.get("extra_fits", {}).get("PRIMARY", {}).get("header", [])

    def _replace_cards(self, cards):
        kept = [card for card in self._all_cards if not is_ours(card[0])]
        extra = self.model.instance.setdefault("extra_fits", {}).setdefault("PRIMARY", {})
        extra["header"] = [*kept, *map(list, cards)]

    def tree(self, path):
        """Entry of the ASDF tree below meta; None where it is absent."""
        node = self._meta
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        return node

    def _set_tree(self, path, value):
        *parents, last = path.split(".")
        node = self._meta
        for key in parents:
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        node.pop(last, None)
        if value is not None:
            node[last] = value

    @property
    def wcs(self):
        """The gWCS; None where the model has none."""
        return self.tree("wcs")

    def _load(self, name):
        return None if self.model.instance.get(name) is None else getattr(self.model, name)

    def take(self, name):
        """Array to be changed: a copy, as arrays of models may share their memory."""
        array = self._load(name)
        return None if array is None else array.copy()

    def put(self, name, array):
        """Put a changed array in its place."""
        setattr(self.model, name, array)

    def save(self, path, log_line=None, sign=None):
        """Write the model to a file; only a FITS file has a place for a signature."""
        if log_line:
            self.model.instance.setdefault("cal_logs", {})["module_offset"] = [log_line]
        self.model.save(str(path))
        if sign and path.suffix == ".fits":
            with fits.open(path, mode="update", memmap=False) as hdulist:
                hdulist[0].header.set(*sign(hdulist[0].header))

    def to_model(self, log_line=None):
        """Return the model."""
        return self.model


def _is_array(hdu):
    return hdu is not None and hdu.is_image and len(hdu.shape) > 0


def is_ours(keyword: str) -> bool:
    """Test whether a keyword belongs to the record of a correction."""
    return keyword in (STATUS_KEYWORD, "R_MODOFF") or str(keyword).startswith("MODF")


def _parsed(card):
    try:
        return card.value
    except fits.VerifyError:
        return "?"  # a trace all the same
