"""Whether a table is meant for an exposure, and the reasons in words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import PurePosixPath

from jwst_modfix.errors import ExposureError
from jwst_modfix.table.rules import context_number
from jwst_modfix.table.table import OffsetRow, OffsetTable, Validity
from jwst_modfix.table.wheels import find_mismatch

__all__ = [
    "PHOTMJSR_TOLERANCE",
    "Exposure",
    "base_name",
    "contexts_in_words",
    "explain_photmjsr",
    "find_invalid",
    "find_missing",
    "find_untrusted",
]


PHOTMJSR_TOLERANCE = 1e-3
"""Relative difference of PHOTMJSR above which a row was derived on another flux calibration."""


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

    def __post_init__(self) -> None:
        wrong = [(name, "text") for name in _TEXT if not isinstance(getattr(self, name), str | None)]
        wrong += [("photmjsr", "a number")] if not isinstance(self.photmjsr, Real | None) else []
        for name in ("subarray_start", "subarray_size"):
            if not all(isinstance(value, Integral | None) for value in getattr(self, name)):
                wrong.append((name, "whole numbers"))
        if wrong:
            words = "; ".join(f"{name} must be {kind}, got {getattr(self, name)!r}" for name, kind in wrong)
            raise ExposureError(f"{self.name}: {words}")

    @property
    def array(self) -> str | None:
        """Array ID, ``"1"`` to ``"4"`` or ``"long"``; None where the detector is not one of NIRCam's ten."""
        match = _ARRAY_OF_DETECTOR.fullmatch(self.detector or "")
        return match[2].lower() if match else None


def find_missing(table: OffsetTable, exposure: Exposure) -> str | None:
    """Name the row that a table has not got for an exposure; None where it has one."""
    if exposure.instrument != "NIRCAM":
        return f"instrument is {exposure.instrument}, but the table is for NIRCAM"
    if not exposure.array or table.row(exposure.array, exposure.filter, exposure.pupil) is not None:
        return None
    reason = f"{table.name} has no row for array={exposure.array}, filter={exposure.filter}, pupil={exposure.pupil}"
    for row in table.rows:
        mismatch = find_mismatch(*row.key)
        if mismatch and {row.filter, row.pupil} & {exposure.filter, exposure.pupil} - {"CLEAR"}:
            return f"{reason}; its {row.label} can never match: {mismatch.in_words()}"
    return reason


def explain_photmjsr(row: OffsetRow | None, exposure: Exposure) -> str | None:
    """Say that PHOTMJSR is not the one that a row was derived at; None where it is, or is not known."""
    derived = ((row and row.photmjsr) or {}).get(exposure.module or "")
    if row is None or not derived or not exposure.photmjsr:
        return None
    if abs(exposure.photmjsr / derived - 1) <= PHOTMJSR_TOLERANCE:
        return None
    return (
        f"PHOTMJSR is {exposure.photmjsr:g}, but {row.label} was derived at {derived:g}: check that the table fits "
        "this calibration"
    )


def find_invalid(table: OffsetTable, exposure: Exposure, *, needs_slope: bool) -> list[str]:
    """Say why a table may not be applied to an exposure."""
    reasons = _not_imaging(exposure) or [*_not_one_array(exposure), *_not_calibrated(exposure)]
    reasons += _outside(table, exposure)
    if needs_slope:
        reasons += find_untrusted(exposure)
    return reasons


def _not_imaging(exposure: Exposure) -> list[str]:
    if exposure.exp_type != "NRC_IMAGE":
        return [f"EXP_TYPE is {exposure.exp_type}, and only NRC_IMAGE is imaging"]
    if exposure.is_tso:
        return ["it belongs to a time-series observation (TSOVISIT is true)"]
    if exposure.shape is not None and len(exposure.shape) != 2:
        return [f"the data have shape {exposure.shape}, and an image has two axes"]
    return []


def _not_one_array(exposure: Exposure) -> Iterator[str]:
    if exposure.array is None:
        yield f"DETECTOR is {exposure.detector}, not one of NRCA1-4, NRCALONG, NRCB1-4, NRCBLONG"
    elif exposure.detector and exposure.module != exposure.detector[3]:
        yield f"MODULE is {exposure.module}, and {exposure.detector} is of module {exposure.detector[3]}"


def _not_calibrated(exposure: Exposure) -> Iterator[str]:
    if not _is_surface_brightness(exposure.unit):
        yield f"BUNIT is {exposure.unit}, not MJy/sr: the photom step has not been run"


def _is_surface_brightness(unit: str | None) -> bool:
    """Compare as units, as ``MJy / sr`` is the same."""
    if unit is None or unit == "MJy/sr":
        return unit is not None
    from astropy import units as u  # late: nearly all files have the text above

    try:
        return bool(u.Unit(unit) == u.MJy / u.sr)
    except ValueError:
        return False


def _outside(table: OffsetTable, exposure: Exposure) -> Iterator[str]:
    validity = table.valid_for
    first, last = context_number(validity.context_first), context_number(validity.context_last)
    number = context_number(exposure.context)
    is_within = number is not None and (first is None or first <= number) and (last is None or number <= last)
    if not (first is None and last is None) and not is_within:
        yield f"CRDS_CTX is {exposure.context}, and {table.name} is valid for {contexts_in_words(validity)}"
    for keyword, name, allowed in (
        ("R_PHOTOM", exposure.photom, validity.photom),
        ("R_FLAT", exposure.flat, validity.flat),
    ):
        names = [base_name(item) for item in allowed]
        if names and base_name(name) not in names:
            yield f"{keyword} is {base_name(name) or None}, and {table.name} is valid for {', '.join(names)}"


def contexts_in_words(validity: Validity) -> str:
    """Name the CRDS contexts that a table is valid for."""
    first, last = validity.context_first, validity.context_last
    return str(first) if first == last else f"{first or 'any'} to {last or 'any'}"


def base_name(name: str | None) -> str:
    """Name of a reference file without ``crds://`` or folders."""
    return PurePosixPath((name or "").strip()).name


def find_untrusted(exposure: Exposure) -> list[str]:
    """Say why the geometry of an exposure cannot be trusted with a gradient."""
    return list(_untrusted(exposure))


def _untrusted(exposure: Exposure) -> Iterator[str]:
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
