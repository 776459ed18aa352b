"""The reference file of a derivation: its rows, validity and provenance."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.time import Time

from jwst_modfix.derivation.bands import LEAST_ERROR, BandResult
from jwst_modfix.fitting.sky import SKY_FLOOR
from jwst_modfix.fitting.stability import describe_drifts
from jwst_modfix.photometry.forced import LARGE, default_aperture, growth_shares
from jwst_modfix.photometry.frames import ExposureHeader
from jwst_modfix.table.file import tree_from_table
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.table.rules import context_number
from jwst_modfix.table.table import Field, OffsetTable, Row, Validity
from jwst_modfix.table.validity import PHOTMJSR_TOLERANCE, base_name, mjd_of
from jwst_modfix.text import count_nouns

if TYPE_CHECKING:
    from jwst_modfix.derivation.derive import Derivation, Options

_DECIMALS = 7  # of a row's numbers [mag, mag/arcmin, deg], far below any error; meta.derivation has all digits
_ROUNDED = (
    "offset", "offset_error", "slope", "slope_error", "direction", "zero_point", "zero_point_error", "field_error"
)  # fmt: skip
_SOFTWARE = ("jwst-modfix", "jwst", "photutils", "numpy", "scipy", "astropy")


def make_table(
    bands: Sequence[BandResult], headers: Sequence[ExposureHeader], options: Options, name: str
) -> OffsetTable:
    """Join the rows of all filters."""
    solved = [band.table for band in bands if band.table is not None]
    rows = tuple(_complete(row, headers) for table in solved for row in table.rows)
    valid_for = find_validity(*([getattr(h, name) for h in headers] for name in ("context", "photom", "flat")))
    what = "Zero points of detectors" if options.scale == "detectors" else "Module A/B flux offsets"
    if options.method == "sky":
        what += f" from sky levels (floor of {1e3 * SKY_FLOOR:.0f} mmag)"
    filters = ", ".join(band.name for band in bands if band.table is not None)
    meta = {"description": f"{what} in {filters}, derived from {count_nouns(len(headers), 'exposure')}"}
    known = {"baseline": options.baseline, "gradient": solved[0].gradient, "valid_for": valid_for}
    return OffsetTable(rows=rows, name=name, meta=meta, **known)


def make_model(derivation: Derivation) -> ModuleOffsetModel:
    """Make the reference file."""
    dates = Time([header.mjd for header in derivation.headers], format="mjd")
    first, last = dates.min().isot, dates.max().isot[:10]
    described = describe_derivation(derivation)
    tree = tree_from_table(
        derivation.table,
        author=f"jwst_modfix {described['versions']['jwst-modfix']}, ModuleOffsetDeriveStep",
        pedigree=f"INFLIGHT {first[:10]} {last}",
        useafter=first[:19],
        history=list(_write_history(derivation, described, first[:10], last)),
        derivation=described,
    )
    model = ModuleOffsetModel(tree)
    model.meta.filename = derivation.table.name
    return model


def _complete(row: Row, headers: Sequence[ExposureHeader]) -> Row:
    """Round a row to editable digits, and add the calibration it was derived on."""
    values = {name: getattr(row, name, None) for name in _ROUNDED}
    known: dict[str, Any] = {name: round(value, _DECIMALS) for name, value in values.items() if value is not None}
    if row.field is not None:
        known["field"] = Field.from_matrix(row.field.matrix.round(_DECIMALS))
    mine = [header for header in headers if header.detector in row.detectors and header.band == row.band]
    # The date on which PHOTMJSR is stated, as a photom file may correct it for time.
    date = str(Time(np.mean([header.mjd for header in mine]), format="mjd").isot[:10])
    found = [_calibration_of([h for h in mine if h.detector == detector], date) for detector in row.detectors]
    for name, values in zip(("photom", "photmjsr"), zip(*found, strict=True), strict=True):
        if None not in values:
            known[name] = row.by_detector(list(values))
    return replace(row, **known, **({"photmjsr_date": date} if "photmjsr" in known else {}))


def _calibration_of(headers: Sequence[ExposureHeader], date: str) -> tuple[str | None, float | None]:
    """Find the photom file of a detector, and PHOTMJSR: common, or on a line in time."""
    names = _find_names([header.photom for header in headers])
    name = names[0] if len(names) == 1 else None
    values = np.array([header.photmjsr for header in headers], float)
    if not len(values) or not np.isfinite(values).all():
        return name, None
    if np.ptp(values) == 0:
        return name, float(values[0])
    days = np.array([header.mjd for header in headers]) - mjd_of(date)
    if name is None or np.ptp(days) == 0:
        return name, None
    line = np.polynomial.Polynomial.fit(days, values, 1)
    is_line = np.abs(line(days) - values).max() <= PHOTMJSR_TOLERANCE * values[0]
    return name, float(f"{line(0.0):.7g}") if is_line else None


def find_validity(contexts: Sequence[str | None], photom: Sequence[str | None], flat: Sequence[str | None]) -> Validity:
    """Find the calibration that a table is valid for from contexts and files."""
    names = _find_names(contexts)
    if any(context_number(context) is None for context in names):
        names = ()
    ordered = sorted(names, key=context_number) or [None]
    files = {"photom": _find_names(photom), "flat": _find_names(flat)}
    return Validity(context_first=ordered[0], context_last=ordered[-1], **files)


def describe_calibration(headers: Sequence[ExposureHeader]) -> dict[str, Any]:
    """Describe the calibration of exposures by detector, filter and pupil."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for header in headers:
        key = f"{header.detector} {header.filter} {header.pupil}"
        found.setdefault(key, set()).add((header.photom, header.flat, header.digest if header.status else None))
    rows = {key: sorted((list(one) for one in values), key=str) for key, values in found.items()}
    return {"files": rows, "contexts": sorted({str(header.context) for header in headers})}


def _find_names(values: Sequence[str | None]) -> tuple[str, ...]:
    """Sort file names; none if one is missing: the table would refuse its exposure."""
    names = [value for value in values if value not in (None, "N/A")]
    return tuple(sorted(set(map(base_name, names)))) if len(names) == len(values) else ()


def _write_history(derivation: Derivation, described: dict[str, Any], first: str, last: str) -> Iterator[str]:
    options, versions = derivation.options, described["versions"]
    exposures = count_nouns(len(derivation.headers), "exposure")
    epochs = count_nouns(len(derivation.epochs.names), "epoch")
    yield (
        f"Derived by jwst_modfix {versions['jwst-modfix']} from {exposures} of {epochs}, {first} to {last}; "
        f"photometry {options.photometry}, method {options.method}."
    )
    if derivation.corrected:
        yield f"Corrected for module offsets before: {derivation.corrected}; their offsets are what remained."
    yield from (f"Mixed calibrations were allowed: {line}." for line in derivation.mixed)
    for band in derivation.bands:
        yield from (f"{band.name}: {warning}" for warning in band.warnings)
        if band.failure:
            yield f"{band.name}: no solution: {band.failure}"
        yield from (f"{band.name}, {r.title}: correction {r.verdict}: {r.words}." for r in band.verdicts)
        yield from (f"{band.name}: {sentence}." for sentence in describe_drifts(band.drifts))


def describe_derivation(derivation: Derivation) -> dict[str, Any]:
    """Describe a derivation as plain values, for the reference file and the report."""
    selection, epochs, options = derivation.selection, derivation.epochs, derivation.options
    channels = sorted({header.channel for header in derivation.headers})
    return plain({
        "product": derivation.product,
        "options": {name: value for name, value in asdict(options).items() if name != "catalogs"},
        "versions": {name: importlib.metadata.version(name) for name in _SOFTWARE},
        "exposures": [header.name for header in derivation.headers],
        "epochs": [
            {
                "number": number, "name": epochs.names[number], "exposures": len(mine),
                "first_mjd": min(header.mjd for header in mine), "last_mjd": max(header.mjd for header in mine),
                "roll_deg": sorted({round(header.roll, 2) for header in mine}),
            }
            for number, mine in enumerate(epochs.split(derivation.headers))
        ],
        "measurements": {
            "measured": len(selection.mask), "selected": selection.mask.sum(), "failed": selection.rejected
        },
        "least_error_mag": LEAST_ERROR,
        "systematic_floor_mag": derivation.systematic_floor,
        # Mosaics and catalogues have other apertures.
        "aperture": None if options.photometry != "exposure" else {
            "choice": options.aperture,
            "radius_arcsec": {channel: default_aperture(channel).radius for channel in channels},
            "larger_by": LARGE,
            "growths_added": {channel: growth_shares(options.aperture, channel) for channel in channels},
        },
        "bands": [_describe_band(band, options) for band in derivation.bands],
    })  # fmt: skip


def _describe_band(band: BandResult, options: Options) -> dict[str, Any]:
    known = {"filter": band.filter, "pupil": band.pupil, "failure": band.failure, "warnings": band.warnings}
    known["detectors"] = [asdict(result) for result in band.detectors]
    known["sky_zero_points"] = {n: {"value": v, "error": e} for n, (v, e) in band.sky_points.items()}
    if band.solution is None:
        return known
    solution, bootstrap, colour = band.solution, band.bootstrap, band.colour
    terms = np.flatnonzero(solution.fitted & ~solution.model.mask("exposure"))  # there may be a thousand
    return known | {
        "terms": [solution.names[number] for number in terms],
        "units": [solution.model.terms[number].unit for number in terms],
        "values": solution.values[terms],
        "covariance": solution.covariance[np.ix_(terms, terms)],
        "zero_points": {
            name: {"value": value, "error": error} for name, (value, error) in solution.zero_points("mean").items()
        },
        "sources": solution.n_sources,
        "measurements": solution.n_measurements,
        "rejected": np.bincount(solution.rejected, minlength=4)[1:],
        "intrinsic_scatter_mag": solution.sigma_int,
        "chi2": solution.chi2,
        "chi2_as_given": solution.chi2_as_given,
        "error_scale": solution.error_scale,
        "degrees_of_freedom": solution.dof,
        "results": [asdict(result) for result in band.results],
        "detector_scatter_mag": solution.detector_scatter,
        "remarks": [*solution.remarks, *solution.refusals],
        "drifts": [asdict(drift) for drift in band.drifts],
        "reserved": [asdict(residual) for residual in band.residuals],
        "sky": [asdict(comparison) for comparison in band.sky],
        "score_tests": [asdict(test) | {"is_mismatch": test.is_mismatch} for test in band.score_tests],
        "assumptions": [asdict(assumption) | {"words": assumption.words} for assumption in band.assumptions],
        "colour": colour and {"band": f"{band.name} - {colour.other}", "median_mag": colour.median,
                              "words": band.colour_words},
        "apertures": [asdict(one) | {"is_significant": one.is_significant} for one in band.apertures],
        "systematic_floors_mag": band.systematic_floors(options.aperture) if options.photometry == "exposure" else None,
        "module_slopes": band.module_slopes,
        "bootstrap_ratio": bootstrap and dict(zip(bootstrap.names, bootstrap.ratio, strict=True)),
    }  # fmt: skip


def plain(value: Any) -> Any:
    """Make plain numbers, text, lists and dicts; None, later left out, if not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
