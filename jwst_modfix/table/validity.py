"""Which exposures can exist, and whether a table is valid for one."""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.table.rules import schema_of
from jwst_modfix.table.table import FULL_FRAME, OffsetTable, Row, Validity

if TYPE_CHECKING:
    from jwst_modfix.exposure import Exposure  # which imports astropy and asdf

PHOTMJSR_TOLERANCE = 1e-3  # relative difference above which two values are of different flux calibrations
_LARGEST_DRIFT = 0.1  # of one photom file: its correction for time (jwst >= 1.20) is smaller, 0.2% a year
EXPORTED = "_modfix.fits"
"""End of the names of reference files that 'modfix convert' writes to a folder."""
HOW_TO_GET_VALID = (
    "derive a table from these exposures ('strun module_offset_derive ASN'), or convert this one to their calibration "
    "('modfix rebase')"
)
"""What to do where `valid_for` does not fit."""
_MJD_0 = datetime.datetime(1858, 11, 17)  # dates of a table are UTC, without a zone

_ESSENTIAL = ("S_PHOTOM", "S_FLAT", "S_WCS", "photom", "flat_field", "assign_wcs")  # in a file, in a model
# V2, V3 [arcsec] of the centre of each detector, and their derivatives along x and y [arcsec/pixel]: linear fits to the
# full SCI frame of pysiaf 0.29.0 (PRDOPSSOC-075). They leave 0.3 arcsec in SW and 0.9 in LW, 0.04 mmag of any slope.
FOCAL_PLANE = {
    "NRCA1": ((120.59, -527.53), (-0.03114, -0.00027), (-0.00030, 0.03133)),
    "NRCA2": ((119.75, -459.78), (-0.03074, -0.00015), (-0.00011, 0.03084)),
    "NRCA3": ((51.93, -527.96), (-0.03129, 0.00002), (0.00016, 0.03146)),
    "NRCA4": ((52.34, -459.90), (-0.03088, 0.00003), (0.00005, 0.03097)),
    "NRCALONG": ((85.92, -493.55), (-0.06286, -0.00017), (-0.00007, 0.06317)),
    "NRCB1": ((-122.44, -457.70), (-0.03071, 0.00023), (0.00019, 0.03080)),
    "NRCB2": ((-122.70, -525.45), (-0.03111, 0.00042), (0.00046, 0.03130)),
    "NRCB3": ((-54.59, -457.70), (-0.03084, -0.00022), (-0.00024, 0.03093)),
    "NRCB4": ((-54.37, -525.66), (-0.03125, -0.00005), (-0.00019, 0.03143)),
    "NRCBLONG": ((-89.40, -491.41), (-0.06297, 0.00011), (0.00002, 0.06326)),
}
_LARGEST_SHIFT = 5.0  # arcsec; versions of the SIAF and of distortion files differ by less

# NIRCam's wheels in imaging.
SHORT_FILTERS = (
    "F070W", "F090W", "F115W", "F140M", "F150W", "F150W2", "F182M", "F187N", "F200W", "F210M", "F212N",
)  # fmt: skip
LONG_FILTERS = (
    "F250M", "F277W", "F300M", "F322W2", "F335M", "F356W", "F360M", "F410M", "F430M", "F444W", "F460M", "F480M",
)  # fmt: skip
IN_PUPIL_WHEEL = {
    "F162M": "F150W2", "F164N": "F150W2", "F323N": "F322W2", "F405N": "F444W", "F466N": "F444W", "F470N": "F444W",
}  # fmt: skip
"""Bands in the pupil wheel, and the filter that is used with each."""
_LARGEST_PLAUSIBLE = 0.5  # mag; of no calibration of NIRCam: such a value is one in mmag, or a factor
_SMALL_MEAN = 1e-4  # mag; rounding of rows leaves less


def find_mismatch(
    name: str, filter: str, pupil: str, subarray: str = "", *, form: str = "{}: {}", joint: str = ", "
) -> str | None:
    """Find why no exposure has this row, and what is probably meant."""

    def explain(reason: str, **meant: str) -> str:
        return reason + (f": {joint.join(form.format(*item) for item in meant.items())}" if meant else "")

    is_long, is_array = name.lower().endswith("long"), name.lower() == name
    mine, others = (LONG_FILTERS, SHORT_FILTERS) if is_long else (SHORT_FILTERS, LONG_FILTERS)
    if is_array:
        there = {"array": "1, 2, 3 or 4" if is_long else "long"}
    else:
        there = {"detector": ", ".join(f"{name[:4]}{n}" for n in range(1, 5)) if is_long else f"{name[:4]}LONG"}
    known_as = f"array {name}" if is_array else name
    for band, reason in ((filter, "is in the pupil wheel"), (pupil, "in the pupil wheel is used with another filter")):
        wheel = IN_PUPIL_WHEEL.get(band)
        if wheel and wheel != filter:
            return explain(f"{band} {reason}", **(there if wheel in others else {}), filter=wheel, pupil=band)
    if filter in others:
        return explain(f"{filter} is a filter of the {'short' if is_long else 'long'}-wavelength arrays", **there)
    if filter not in mine:
        return f"NIRCam has no filter {filter}; filters of {known_as} are {', '.join(mine)}"
    if subarray and subarray not in (known := schema_of("zero_points", "items", "subarray")["known"]):
        close = difflib.get_close_matches(subarray, known, 1)
        return explain(f"NIRCam has no subarray {subarray}", **({"subarray": close[0]} if close else {}))
    if pupil == "CLEAR" or pupil in IN_PUPIL_WHEEL:
        return None
    pupils = ", ".join(["CLEAR", *(name for name, wheel in IN_PUPIL_WHEEL.items() if wheel in mine)])
    return f"pupil {pupil} is not used in imaging; pupils of {known_as} are {pupils}"


def find_doubts(table: OffsetTable) -> Iterator[str]:
    """Find rows that match no exposure, values likely in mmag, changed baselines."""
    for row in table.rows:
        if mismatch := find_mismatch(*row.identity):
            yield f"{row.label} can never match an exposure: {mismatch}"
        if max(abs(row.value), row.error or 0.0) > _LARGEST_PLAUSIBLE:
            size = f"{row.value:g} ± {row.error or 0.0:g} mag is larger than {_LARGEST_PLAUSIBLE} mag"
            yield f"{row.label}: {size}; is it in mmag, or a factor?"
    for (filter, pupil, _), mean in find_means(table.rows, table.baseline).items():
        if abs(mean) > _SMALL_MEAN:
            yield (
                f"filter={filter}, pupil={pupil}: the baseline is {table.baseline}, but its zero points have a mean of "
                f"{1e3 * mean:+.2f} mmag: the correction changes its flux scale"
            )


def is_kept(row: Row, baseline: str | None) -> bool:
    """Test whether a detector is of the baseline, whose mean zero point is 0."""
    return row.subarray is None and baseline in ("mean", row.name, row.name[3:4])


def find_means(rows: Iterable[Row], baseline: str | None) -> dict[tuple[str, str, int | None], float]:
    """Find the mean zero point of a baseline [mag], by filter, pupil and group."""
    kept: dict[tuple[str, str, int | None], list[float]] = {}
    for row in rows:
        if row.kind == "zero_point" and is_kept(row, baseline):
            kept.setdefault(row.scale, []).append(row.value)
    return {scale: math.fsum(values) / len(values) for scale, values in kept.items()}


def find_missing(table: OffsetTable, exposure: Exposure) -> str | None:
    """Name the row for an exposure that a table lacks; None where it has one."""
    if exposure.instrument != "NIRCAM":
        return f"instrument is {exposure.instrument}, but the table is for NIRCAM"
    band = (exposure.filter, exposure.pupil)
    if not exposure.array or table.row(exposure.detector, *band, exposure.subarray) is not None:
        return None
    is_by_detector = any(row.band == band for row in table.zero_points) or not table.offsets
    place = f"detector={exposure.detector}" if is_by_detector else f"array={exposure.array}"
    reason = f"{table.name} has no row for {place}, filter={exposure.filter}, pupil={exposure.pupil}"
    if exposure.subarray and any(row.band == band and row.subarray for row in table.rows):
        reason += f", subarray={exposure.subarray}"
    for row in table.rows:
        mismatch = find_mismatch(*row.identity)
        if mismatch and set(row.band) & set(band) - {"CLEAR"}:
            return f"{reason}; its {row.label} can never match: {mismatch}"
    return reason


def photmjsr_agrees(value: float, other: float, *, same_file: bool = False) -> bool:
    """Test whether two PHOTMJSR are of one calibration; one file may vary in time."""
    return abs(value / other - 1) <= (_LARGEST_DRIFT if same_file else PHOTMJSR_TOLERANCE)


def mjd_of(date: str) -> float:
    """Convert an ISO date, with or without time, to MJD."""
    return (datetime.datetime.fromisoformat(date) - _MJD_0) / datetime.timedelta(days=1)


def explain_failed(exposure: Exposure, *, is_essential: bool = False) -> str | None:
    """Name earlier steps that failed, or those that flux scale and WCS need, or None."""
    names = ", ".join([name for name in exposure.failed if not is_essential or name in _ESSENTIAL])
    advice = "calibrate the exposure again" if is_essential else "look at its log before you use the exposure"
    return f"an earlier step FAILED ({names}): {advice}" if names else None


def find_warnings(table: OffsetTable, row: Row, exposure: Exposure) -> Iterator[str]:
    """Find doubts of a correction: failed steps, another PHOTMJSR, unlinked groups."""
    if failed := explain_failed(exposure):
        yield failed
    if exposure.detector and exposure.photmjsr:
        derived = row.of_detector("photmjsr", exposure.detector)
        photom = row.of_detector("photom", exposure.detector)
        same_file = photom is not None and base_name(photom) == base_name(exposure.photom)
        if derived and not photmjsr_agrees(exposure.photmjsr, derived, same_file=same_file):
            yield (
                f"PHOTMJSR is {exposure.photmjsr:g}, but {row.label} was derived at {derived:g}: check that the table "
                "fits this calibration, or carry it over by 'modfix rebase'"
            )
    others = {str(other.group) for other in table.rows if other.band == row.band and other.group != row.group}
    if others:
        yield (
            f"{row.label} is of group {row.group}, and other detectors are of group {', '.join(sorted(others))}: "
            "nothing links the groups, and their corrected fluxes have no common scale"
        )


def find_invalid(table: OffsetTable, exposure: Exposure, *, needs_place: bool) -> list[str]:
    """List the reasons why a table is not valid for an exposure."""
    reasons = [*_not_imaging(exposure), *filter(None, [explain_failed(exposure, is_essential=True)])]
    validity, outside, is_copy = table.valid_for, [], False
    if not validity.covers(exposure.context):
        outside.append(f"CRDS_CTX is {exposure.context}, and {table.name} is valid for {contexts_in_words(validity)}")
    for kind in ("photom", "flat"):
        card, name = f"R_{kind.upper()}", base_name(getattr(exposure, kind))
        names = list(map(base_name, getattr(validity, kind)))
        if name.endswith(EXPORTED):
            is_copy = True
            outside.append(f"{card} is {name}, a copy that contains module offsets: a second correction would be wrong")
        elif names and name not in names:
            outside.append(f"{card} is {name or None}, and {table.name} is valid for {', '.join(names)}")
    if outside and not is_copy:
        outside[-1] += f": {HOW_TO_GET_VALID}"
    return [*reasons, *outside, *(find_untrusted(exposure) if needs_place else [])]


def _not_imaging(exposure: Exposure) -> Iterator[str]:
    """Find why an exposure is not a calibrated image; for another mode, one reason."""
    from astropy import units as u  # late, as tables are read without astropy

    if exposure.exp_type != "NRC_IMAGE":
        yield f"EXP_TYPE is {exposure.exp_type}, and only NRC_IMAGE is imaging"
    elif exposure.is_tso:
        yield "it belongs to a time-series observation (TSOVISIT is true)"
    elif exposure.shape is not None and len(exposure.shape) != 2:
        yield f"the data have shape {exposure.shape}, and an image has two axes"
    elif exposure.resample == "COMPLETE":
        yield "it is a mosaic (S_RESAMP is COMPLETE): correct the exposures before resample"
    else:
        if exposure.detector is None or exposure.array is None:
            yield f"DETECTOR is {exposure.detector}, not one of NRCA1-4, NRCALONG, NRCB1-4, NRCBLONG"
        else:
            module, channel = exposure.detector[3], "LONG" if exposure.array == "long" else "SHORT"
            if exposure.module != module:
                yield f"MODULE is {exposure.module}, and {exposure.detector} is of module {module}"
            if exposure.channel not in (None, channel):
                yield f"CHANNEL is {exposure.channel}, and {exposure.detector} is of channel {channel}"
        if u.Unit(exposure.unit or "", parse_strict="silent") != u.MJy / u.sr:  # as units: MJy / sr is the same
            yield f"BUNIT is {exposure.unit}, not MJy/sr: the photom step has not been run"
        elif (exposure.photom or "N/A").strip() == "N/A":
            yield (
                f"R_PHOTOM is {exposure.photom}, so its calibration is not known; it is recorded after the hooks of "
                "photom, so correct by calwebb_image2_modfix or later"
            )


def contexts_in_words(validity: Validity) -> str:
    """Name the CRDS contexts that a table is valid for; empty where it names none."""
    first, last = validity.context_first, validity.context_last
    return first or "" if first == last else f"{first or 'any'} to {last or 'any'}"


def base_name(name: str | None) -> str:
    """Name of a reference file without ``crds://`` or folders."""
    return PurePosixPath((name or "").strip()).name


def find_untrusted(exposure: Exposure) -> Iterator[str]:
    """Find the reasons why the geometry of an exposure cannot be used for a gradient."""
    if exposure.frames == ():
        yield "it has no WCS, which the slope needs; run assign_wcs"
    elif exposure.frames is not None and "v2v3" not in exposure.frames:
        yield f"its WCS has no v2v3 frame, which the slope needs; its frames are {exposure.frames}"
    first, size = (exposure.xstart, exposure.ystart), (exposure.xsize, exposure.ysize)
    place = f"SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2 are {(*first, *size)}"
    if None in first or None in size:
        yield f"{place}, and a slope or field needs to know the subarray's place"
    elif exposure.shape is not None and exposure.shape != size[::-1]:
        yield (
            f"the data have shape {exposure.shape} and the subarray keywords SUBSIZE2, SUBSIZE1 say {size[::-1]}: a "
            "cutout, whose WCS cannot be trusted for the slope; set the keywords and the WCS right, or set "
            "--apply_slope=false"
        )
    elif min(first) < 1 or max(first[0] + size[0], first[1] + size[1]) > FULL_FRAME + 1:
        yield (
            f"{place}, which is not within the detector's {FULL_FRAME} pixels; set the keywords right, or set "
            "--apply_slope=false"
        )
    if exposure.wcs_centre and exposure.detector in FOCAL_PLANE:
        expected = FOCAL_PLANE[exposure.detector][0]
        if math.dist(exposure.wcs_centre, expected) > _LARGEST_SHIFT:
            found, known = (f"({v2:.1f}, {v3:.1f})" for v2, v3 in (exposure.wcs_centre, expected))
            yield (
                f"its WCS puts the centre of the detector at V2, V3 = {found} arcsec, and that of {exposure.detector} "
                f"is {known}: the WCS or SUBSTRT1, SUBSTRT2 are those of something else; set them right, or set "
                "--apply_slope=false"
            )
    edges = np.outer((exposure.shape or ())[::-1], (0, 1)) - 0.5  # of the array, along x and y
    box = np.array(exposure.wcs_box or np.nan, float)
    # To a pixel; not-a-number does not fit, either.
    if exposure.frames and edges.size and not (box.shape == edges.shape and (abs(box - edges) <= 1).all()):
        yield (
            f"the data have shape {exposure.shape}, but the bounding box of the WCS is {exposure.wcs_box}: a cutout "
            "whose WCS cannot be trusted for the slope; set the WCS right, or set --apply_slope=false"
        )
