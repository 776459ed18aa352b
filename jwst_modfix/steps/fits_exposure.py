"""A FITS file of a data model, open for correction: what is not ours to change is copied as it is."""

import contextlib
import functools
import io
import threading
from pathlib import Path

import asdf
import numpy as np
import yaml
from astropy.io import fits
from astropy.time import Time

from jwst_modfix.apply.record import job_card
from jwst_modfix.errors import ExposureError, ModuleOffsetError
from jwst_modfix.fits_walk import refuse_endless
from jwst_modfix.steps.asdf_text import AsdfText
from jwst_modfix.steps.fits_writer import Image, Span, pad, write_fits
from jwst_modfix.steps.keywords import FIELDS, SCALED, SUBARRAY
from jwst_modfix.steps.open_exposure import ARRAYS_BY_POWER, OpenExposure
from jwst_modfix.table.validity import Exposure

__all__ = ["FitsExposure", "open_fits"]

_HDU_OF_ARRAY = {
    "data": "SCI",
    "err": "ERR",
    "var_poisson": "VAR_POISSON",
    "var_rnoise": "VAR_RNOISE",
    "var_flat": "VAR_FLAT",
}


_GIVE = "give a _cal file of the pipeline"
_DAMAGE = (fits.VerifyError, ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
"""What astropy raises at headers and tables that contradict themselves."""

_DTYPE = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
"""Type of the pixels by BITPIX."""

_LARGEST_KEPT = 1 << 20  # bytes: a WCS takes some tens of kB

_OBSERVATION = {
    "program_number": "PROGRAM",
    "observation_number": "OBSERVTN",
    "visit_number": "VISIT",
    "visit_group": "VISITGRP",
    "sequence_id": "SEQ_ID",
    "activity_id": "ACT_ID",
    "exposure_number": "EXPOSURE",
}


@contextlib.contextmanager
def open_fits(path):
    """Open the FITS file of a data model."""
    path = Path(path)
    with contextlib.ExitStack() as stack:
        try:
            refuse_endless(path)
            file = stack.enter_context(path.open("rb"))
            hdulist = stack.enter_context(_read_headers(file))
        except FileNotFoundError:
            raise ExposureError(f"{path}: no such file") from None
        except (OSError, UserWarning, *_DAMAGE) as error:
            raise ExposureError(f"{path}: cannot be read as FITS: {error}") from error
        try:
            _refuse_no_image(hdulist, path)
            yield FitsExposure(hdulist, file, path.name)
        except ModuleOffsetError:
            raise
        except _DAMAGE as error:  # astropy parses a card when it is first asked for
            raise ExposureError(f"{path}: is damaged: {type(error).__name__}: {error}") from error


def _refuse_no_image(hdulist, path):
    if "DATAMODL" not in hdulist[0].header:
        raise ExposureError(f"{path}: is not a JWST data model: it has no DATAMODL keyword; {_GIVE}")
    if "SCI" not in hdulist or not hdulist["SCI"].is_image or hdulist["SCI"].header["NAXIS"] == 0:
        raise ExposureError(f"{path}: is not a science image: it has no SCI image; {_GIVE}")


def _read_headers(file):
    """Read every header, leave integers as stored, and find a file that is cut short."""
    hdulist = fits.open(
        file, memmap=False, lazy_load_hdus=False, do_not_scale_image_data=True, disable_image_compression=True
    )
    last, size = hdulist[-1].fileinfo(), file.seek(0, io.SEEK_END)
    if last["datLoc"] + last["datSpan"] > size:
        raise OSError(f"it is cut short: {size} of {last['datLoc'] + last['datSpan']} bytes are there; copy it again")
    return hdulist


class FitsExposure(OpenExposure):
    """An open FITS file, whose correction is written to another file."""

    def __init__(self, hdulist, source, name):
        self._hdulist = hdulist
        # Names as FITS compares them; of HDUs of one name, the first.
        self._hdus = {hdu.name.strip().upper(): hdu for hdu in reversed(hdulist)} | {"PRIMARY": hdulist[0]}
        self._source = source
        self._name = name
        self._scaling = ()

    def describe(self, *, headers_only=False):  # noqa: D102 - inherited
        headers = {"PRIMARY": self._primary, "SCI": self._science}
        return Exposure(
            name=self._name,
            shape=self._hdus["SCI"].shape,
            **{field: headers[hdu].get(key) for field, _, key, hdu in FIELDS},
            **{field: tuple(self._primary.get(key) for _, key in pair) for field, pair in SUBARRAY.items()},
            frames=None if headers_only else self._frames,
        )

    def scale_pixels(self, factor_map, *, undo=False):
        """Take a factor, with which pixels are scaled on their way to the other file."""
        self.check()
        self._scaling = (factor_map.blocks(), np.divide if undo else np.multiply)

    def check(self):
        """Look at the headers of the arrays and at the text of the ASDF extension."""
        shape = self._hdus["SCI"].shape
        for name in self._present(sum(ARRAYS_BY_POWER, ())):
            hdu = self._hdus[name]
            self.check_array(
                np.broadcast_to(np.empty((), _DTYPE[hdu.header["BITPIX"]]), hdu.shape), name, shape, self._name
            )
        self.status  # noqa: B018 - reads the text
        if not isinstance(group := self._asdf and self._asdf.get("meta.group_id"), str | None):
            raise ExposureError(f"{self._name}: meta.group_id must be text, got {group!r}")

    def _present(self, names):
        """Name the HDUs of arrays that are there: one that is absent may still have a header."""
        hdus = [_HDU_OF_ARRAY[name] for name in names]
        return [hdu for hdu in hdus if hdu in self._hdus and self._hdus[hdu].header["NAXIS"] > 0]

    def scale_photometry(self, factor):  # noqa: D102 - inherited
        for path, key, hdu in SCALED:
            header = self._hdus[hdu].header
            if isinstance(header.get(key), float | int):
                header[key] *= factor
                self._replace_node(f"meta.{path}", header[key])

    def cards(self):  # noqa: D102 - inherited
        return {key: self._primary[key] for key in self._primary if self.is_ours(key)}

    def replace_cards(self, cards):  # noqa: D102 - inherited
        for key in self.cards():
            del self._primary[key]
        for card in cards:
            self._primary.append(card, end=True)

    def read_node(self):  # noqa: D102 - inherited
        return (self._asdf and self._asdf.get("meta.module_offset")) or {}

    def read_status_node(self):  # noqa: D102 - inherited
        return self._asdf and self._asdf.get("meta.cal_step.module_offset")

    def write_node(self, status, node):  # noqa: D102 - inherited
        self._replace_node("meta.cal_step.module_offset", status)
        self._replace_node("meta.module_offset", node or None)

    @property
    def group(self):
        """What the detectors of one exposure share: an identifier, or keywords to make it of; None without."""
        given = self._asdf and self._asdf.get("meta.group_id")
        try:
            return given or {name: self._primary[key] for name, key in _OBSERVATION.items()}
        except KeyError:
            return None

    @property
    def log_lines(self):
        """What the file's own log says of the correction: list of str."""
        lines = self._asdf and self._asdf.get("cal_logs.module_offset")
        return [line for line in lines or () if isinstance(line, str)]

    def save(self, path, log_line=None, job=None):
        """Write the exposure, corrected or marked, to another file."""
        self._primary["FILENAME"] = path.name
        self._primary["DATE"] = Time.now().isot
        self._replace_node("meta.filename", path.name)
        self._replace_node("meta.date", self._primary["DATE"])
        if job:
            self._primary.set(*job_card(job, self._primary))
        if log_line:
            self._replace_node("cal_logs.module_offset", [log_line])
        try:
            write_fits(self._source.fileno(), path, self._pieces(), *self._scaling)
        except EOFError as error:
            raise ExposureError(f"{self._name}: {error}") from error
        self._renew_checksums(path)

    def _pieces(self):
        """Every HDU as it goes into the other file: our headers and the ASDF extension anew, all else as it is."""
        powers = {_HDU_OF_ARRAY[name]: power for power, names in enumerate(ARRAYS_BY_POWER, 1) for name in names}
        scaled = {id(self._hdus[name]): power for name, power in powers.items() if name in self._hdus}
        changed = [self._hdulist[0], self._hdus["SCI"]]
        for hdu in self._hdulist:
            place = hdu.fileinfo()
            data = Span(place["datLoc"], place["datSpan"])
            if hdu is self._hdus.get("ASDF") and self._asdf:
                yield from _asdf_pieces(self._asdf.to_bytes())
                continue
            if any(hdu is one for one in changed):
                yield hdu.header.tostring().encode("ascii")
            else:
                yield Span(place["hdrLoc"], place["datLoc"] - place["hdrLoc"])
            if self._scaling and id(hdu) in scaled and data.size:
                dtype = np.dtype(_DTYPE[hdu.header["BITPIX"]])
                data = Image(data.start, data.size, shape=hdu.shape, dtype=dtype, power=scaled[id(hdu)])
            yield data

    def _renew_checksums(self, path):
        """Renew the checksums of HDUs that had some."""
        with_checksum = [index for index, hdu in enumerate(self._hdulist) if "CHECKSUM" in hdu.header]
        if not with_checksum:
            return
        with fits.open(path, mode="update", memmap=False, do_not_scale_image_data=True) as hdulist:
            for index in with_checksum:
                hdulist[index].add_checksum()

    @property
    def _primary(self):
        return self._hdulist[0].header

    @property
    def _science(self):
        return self._hdus["SCI"].header

    @functools.cached_property
    def _asdf_bytes(self):
        return self._hdus["ASDF"].data["ASDF_METADATA"].tobytes() if "ASDF" in self._hdus else b""

    @functools.cached_property
    def _asdf(self):
        try:
            return AsdfText(self._asdf_bytes) if self._asdf_bytes else None
        except (ValueError, yaml.YAMLError) as error:
            raise ExposureError(f"{self._name}: its ASDF extension cannot be read: {error}") from error

    def _replace_node(self, path, value):
        if self._asdf:
            self._asdf.replace(path, value)

    def read_wcs(self, last=None):  # noqa: D102 - inherited
        content = self._asdf and self._asdf.extract_wcs("meta.wcs", last)
        if not content:
            return None
        try:
            open_wcs = _open_wcs if len(content) <= _LARGEST_KEPT else _open_wcs.__wrapped__
            wcs = open_wcs(content, threading.get_ident())
        except Exception as error:  # whatever the converters of a damaged tree raise
            raise ExposureError(f"{self._name}: its ASDF extension cannot be read: {error}") from error
        if wcs is not None and not hasattr(wcs, "available_frames"):
            raise ExposureError(f"{self._name}: its WCS cannot be read: it is of an unknown kind; run assign_wcs again")
        return wcs

    @property
    def _frames(self):
        wcs = self.read_wcs("v2v3")
        return () if wcs is None else tuple(wcs.available_frames)


@functools.lru_cache(maxsize=32)  # ten detectors, and more than one thread
def _open_wcs(content, _thread):
    """Open the WCS of an ASDF file; exposures of one detector and filter share it, and threads do not."""
    asdf.get_config().extensions  # noqa: B018 - found once; a context would look for them anew
    with asdf.config_context() as config:
        config.validate_on_read = False  # it was validated when it was written; only the WCS is asked for
        with asdf.open(io.BytesIO(content), lazy_tree=True) as file:
            return file.tree["wcs"]


def _asdf_pieces(content):
    """Header and data of an ASDF file as a binary table of one row, as stdatamodels writes it."""
    data = np.frombuffer(content, dtype=np.uint8)[None, :]
    column = fits.Column(array=data, format=f"{len(content)}B", name="ASDF_METADATA")
    hdu = fits.BinTableHDU.from_columns([column], name="ASDF")
    return hdu.header.tostring().encode("ascii"), pad(content)
