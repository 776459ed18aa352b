"""Whether a table is meant for an exposure."""

import re
from pathlib import PurePosixPath

from astropy.units import Unit

__all__ = ["explain_photmjsr", "find_invalid", "find_missing", "find_untrusted"]

PHOTMJSR_TOLERANCE = 1e-3
"""Relative difference of PHOTMJSR above which a row was derived on another flux calibration."""


def explain_photmjsr(row, exposure):
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
    if not _is_surface_brightness(exposure.unit):
        yield f"BUNIT is {exposure.unit}, not MJy/sr: the photom step has not been run"


def _is_surface_brightness(unit):
    try:
        return Unit(unit or "") == Unit("MJy/sr")
    except ValueError:
        return False


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


def _fits_box(exposure):
    """Compare the bounding box of the WCS, along x and y, with the edges of the array, to a pixel."""
    edges = [edge for size in exposure.shape[::-1] for edge in (-0.5, size - 0.5)]
    box = [edge for interval in exposure.wcs_box or () for edge in interval]
    return len(box) == len(edges) and all(abs(one - other) <= 1 for one, other in zip(box, edges, strict=True))
