"""Whether a table is meant for an exposure."""

import re
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import PurePosixPath

from jwst_modfix.errors import ExposureError

__all__ = ["Exposure", "find_invalid", "find_missing", "find_untrusted"]


_TEXT = ("instrument", "detector", "module", "exp_type", "filter", "pupil", "unit", "context", "photom", "flat")
_ARRAY_OF_DETECTOR = re.compile(r"NRC([AB])([1-4]|LONG)")


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """
    What an exposure says of itself, as far as the correction asks; None where it says nothing.

    Parameters
    ----------
    name : str
        Name of the file.
    instrument, detector, module, exp_type, filter, pupil, unit, context, photom, flat : str, optional
        INSTRUME, DETECTOR, MODULE, EXP_TYPE, FILTER, PUPIL, BUNIT, CRDS_CTX, R_PHOTOM and R_FLAT.
    is_tso : bool, optional
        TSOVISIT: part of a time-series observation.
    photmjsr : float, optional
        PHOTMJSR [(MJy/sr) / (DN/s)].
    shape : tuple of int, optional
        Shape of the data, (ny, nx).
    subarray_start, subarray_size : tuple of int, optional
        (x, y) of SUBSTRT1/2 (1-indexed) and SUBSIZE1/2 [pixel].
    frames : tuple of str, optional
        Coordinate frames of its gWCS; empty where it has none, None where nobody has looked.

    Raises
    ------
    ExposureError
        A value is of another kind, as in damaged headers.
    """

    name: str
    instrument: str | None = None
    detector: str | None = None
    module: str | None = None
    exp_type: str | None = None
    filter: str | None = None
    pupil: str | None = None
    unit: str | None = None
    context: str | None = None
    photom: str | None = None
    flat: str | None = None
    is_tso: bool | None = None
    photmjsr: float | None = None
    shape: tuple[int, ...] | None = None
    subarray_start: tuple[int | None, int | None] = (None, None)
    subarray_size: tuple[int | None, int | None] = (None, None)
    frames: tuple[str, ...] | None = None

    def __post_init__(self):
        wrong = [(name, "text") for name in _TEXT if not isinstance(getattr(self, name), str | None)]
        wrong += [("photmjsr", "a number")] if not isinstance(self.photmjsr, Real | None) else []
        for name in ("subarray_start", "subarray_size"):
            if not all(isinstance(value, Integral | None) for value in getattr(self, name)):
                wrong.append((name, "whole numbers"))
        if wrong:
            words = "; ".join(f"{name} must be {kind}, got {getattr(self, name)!r}" for name, kind in wrong)
            raise ExposureError(f"{self.name}: {words}")

    @property
    def array(self):
        """Array ID, ``"1"`` to ``"4"`` or ``"long"``; None where the detector is not one of NIRCam's ten."""
        match = _ARRAY_OF_DETECTOR.fullmatch(self.detector or "")
        return match and match[2].lower()


def find_missing(table, exposure):
    """Say what the table has no row for."""
    if exposure.instrument != "NIRCAM":
        return f"instrument is {exposure.instrument}, and the table is for NIRCAM"
    if exposure.array and table.row(exposure.array, exposure.filter, exposure.pupil) is None:
        return f"{table.name} has no row for array={exposure.array}, filter={exposure.filter}, pupil={exposure.pupil}"
    return None


def find_invalid(table, exposure, *, needs_slope):
    """Say why an exposure is not one that the table may be applied to."""
    reasons = _not_imaging(exposure) or [*_not_one_array(exposure), *_not_calibrated(exposure)]
    reasons += _outside(table, exposure)
    if needs_slope:
        reasons += find_untrusted(exposure)
    return reasons


def _not_imaging(exposure):
    if exposure.exp_type != "NRC_IMAGE":
        return [f"EXP_TYPE is {exposure.exp_type}, and only NRC_IMAGE is imaging"]
    if exposure.is_tso:
        return ["it belongs to a time-series observation (TSOVISIT is true)"]
    if exposure.shape is not None and len(exposure.shape) != 2:
        return [f"the data have shape {exposure.shape}, and an image has two axes"]
    return []


def _not_one_array(exposure):
    if exposure.array is None:
        yield f"DETECTOR is {exposure.detector}, not one of NRCA1-4, NRCALONG, NRCB1-4, NRCBLONG"
    elif exposure.module != exposure.detector[3]:
        yield f"MODULE is {exposure.module}, and {exposure.detector} is of module {exposure.detector[3]}"


def _not_calibrated(exposure):
    if exposure.unit != "MJy/sr":
        yield f"BUNIT is {exposure.unit}, not MJy/sr: the photom step has not been run"


def _outside(table, exposure):
    validity = table.valid_for
    first, last = validity.context_first, validity.context_last
    if (first or last) and not _context_within(exposure.context, first, last):
        contexts = first if first == last else f"{first or 'any'} to {last or 'any'}"
        yield f"CRDS_CTX is {exposure.context}, and {table.name} is valid for {contexts}"
    for keyword, name, allowed in (
        ("R_PHOTOM", exposure.photom, validity.photom),
        ("R_FLAT", exposure.flat, validity.flat),
    ):
        if allowed and _base(name) not in map(_base, allowed):
            yield f"{keyword} is {_base(name) or None}, and {table.name} is valid for {', '.join(map(_base, allowed))}"


def _context_within(context, first, last):
    """Compare CRDS contexts by number, as jwst_0995 comes before jwst_1130."""
    number = _context_number(context)
    if number is None:
        return False
    return (first is None or _context_number(first) <= number) and (last is None or number <= _context_number(last))


def _context_number(context):
    match = re.fullmatch(r"jwst_(\d+)\.pmap", _base(context))
    return match and int(match[1])


def _base(name):
    """Name of a reference file without ``crds://`` or folders."""
    return PurePosixPath((name or "").strip()).name


def find_untrusted(exposure):
    """Say why the geometry of an exposure cannot be trusted with a gradient."""
    return list(_untrusted(exposure))


def _untrusted(exposure):
    if exposure.frames is not None and "v2v3" not in exposure.frames:
        yield f"it has no WCS with a v2v3 frame, which the slope needs; its frames are {exposure.frames}"
    if None in exposure.subarray_start:
        yield f"SUBSTRT1, SUBSTRT2 are {exposure.subarray_start}, and the slope needs to know the subarray's place"
    size = exposure.subarray_size[::-1]
    if exposure.shape is not None and None not in size and exposure.shape != size:
        yield (
            f"the data have shape {exposure.shape} and the subarray keywords SUBSIZE2, SUBSIZE1 say {size}: a cutout, "
            "whose WCS cannot be trusted for the slope; set the keywords and the WCS right, or set --apply_slope=false"
        )
