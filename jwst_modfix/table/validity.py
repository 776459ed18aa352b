"""Whether a table is meant for an exposure, and the reasons in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from jwst_modfix.table.rules import context_number
from jwst_modfix.table.table import OffsetRow, OffsetTable, Validity
from jwst_modfix.table.wheels import find_mismatch

if TYPE_CHECKING:
    from jwst_modfix.exposure import Exposure  # which imports astropy and asdf

__all__ = [
    "PHOTMJSR_TOLERANCE",
    "base_name",
    "contexts_in_words",
    "explain_photmjsr",
    "find_invalid",
    "find_missing",
    "find_untrusted",
]


PHOTMJSR_TOLERANCE = 1e-3
"""Relative difference of PHOTMJSR above which a row was derived on another flux calibration."""


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
    """Describe a difference from the PHOTMJSR of the derivation; None if there is none or it is not known."""
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
    """List the reasons why a table is not valid for an exposure."""
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
    """List the reasons why the geometry of an exposure cannot be used for a gradient."""
    return list(_untrusted(exposure))


def _untrusted(exposure: Exposure) -> Iterator[str]:
    if exposure.frames == ():
        yield "it has no WCS, which the slope needs; run assign_wcs"
    elif exposure.frames is not None and "v2v3" not in exposure.frames:
        yield f"its WCS has no v2v3 frame, which the slope needs; its frames are {exposure.frames}"
    size = exposure.subarray_size[::-1]
    if None in exposure.subarray_start or None in size:
        yield (
            f"SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2 are {(*exposure.subarray_start, *exposure.subarray_size)}, and "
            "the slope needs to know the subarray's place"
        )
    elif exposure.shape is not None and exposure.shape != size:
        yield (
            f"the data have shape {exposure.shape} and the subarray keywords SUBSIZE2, SUBSIZE1 say {size}: a cutout, "
            "whose WCS cannot be trusted for the slope; set the keywords and the WCS right, or set --apply_slope=false"
        )
    if exposure.frames and exposure.shape is not None and not _fits_box(exposure):
        yield (
            f"the data have shape {exposure.shape}, but the bounding box of the WCS is {exposure.wcs_box}: a cutout "
            "whose WCS cannot be trusted for the slope; set the WCS right, or set --apply_slope=false"
        )


def _fits_box(exposure: Exposure) -> bool:
    """Compare the bounding box of the WCS, along x and y, with the edges of the array, to a pixel."""
    edges = [edge for size in exposure.shape[::-1] for edge in (-0.5, size - 0.5)]
    box = [edge for interval in exposure.wcs_box or () for edge in interval]
    return len(box) == len(edges) and all(abs(one - other) <= 1 for one, other in zip(box, edges, strict=True))
