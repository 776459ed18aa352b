"""The reference file of a derivation: its rows, what it is valid for, and how it came about."""

import importlib.metadata
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import PurePosixPath

import numpy as np
from astropy.time import Time

from jwst_modfix.derivation.bands import LEAST_ERROR
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.table.rules import context_number
from jwst_modfix.table.table import MODULES, OffsetTable, Validity

__all__ = ["describe_versions", "make_model", "make_table"]


_DECIMALS = 7  # of a row's numbers [mag, mag/arcmin, deg]: far below any error
_SOFTWARE = ("jwst-modfix", "jwst", "photutils", "numpy", "scipy", "astropy")


def make_table(bands, headers, baseline, name):
    """Join the rows of all filters."""
    solved = [band.offsets for band in bands if band.offsets is not None]
    rows = tuple(_readable(replace(row, photmjsr=_photmjsr(row, headers))) for table in solved for row in table.rows)
    return OffsetTable(
        rows=rows, baseline=baseline, gradient=solved[0].gradient, valid_for=_validity(headers), name=name
    )


def make_model(derivation):
    """Make the reference file."""
    dates = Time([header.mjd for header in derivation.headers], format="mjd")
    first, last = dates.min().isot[:10], dates.max().isot[:10]
    bands = ", ".join(band.name for band in derivation.bands if band.offsets is not None)
    return ModuleOffsetModel.from_table(
        derivation.table,
        description=f"Module A/B flux offsets in {bands}, derived from {len(derivation.headers)} exposures",
        author=f"jwst_modfix {importlib.metadata.version('jwst-modfix')}, ModuleOffsetDeriveStep",
        pedigree=f"INFLIGHT {first} {last}",
        useafter=dates.min().isot[:19],
        history=list(_history(derivation, first, last)),
        derivation=_plain(_describe(derivation)),
    )


def describe_versions():
    """List the software that a derivation rests on."""
    return {name: importlib.metadata.version(name) for name in _SOFTWARE}


def _readable(row):
    """Round a row to what a person can read and edit; the full numbers stand in meta.derivation."""
    numbers = {name: getattr(row, name) for name in ("offset", "offset_error", "slope", "slope_error", "direction")}
    return replace(row, **{name: None if value is None else round(value, _DECIMALS) for name, value in numbers.items()})


def _photmjsr(row, headers):
    """PHOTMJSR of both arrays of a row; None where one is not known or not the same in all exposures."""
    mine = [header for header in headers if (header.array, header.filter, header.pupil) == row.key]
    found = {module: {header.photmjsr for header in mine if header.module == module} for module in MODULES}
    if any(len(values) != 1 or None in values for values in found.values()):
        return None
    return {module: float(values.pop()) for module, values in found.items()}


def _validity(headers):
    contexts = _known(header.context for header in headers)
    if any(context_number(context) is None for context in contexts):
        contexts = ()
    contexts = sorted(contexts, key=context_number)
    return Validity(
        context_first=contexts[0] if contexts else None,
        context_last=contexts[-1] if contexts else None,
        photom=_known(header.photom for header in headers),
        flat=_known(header.flat for header in headers),
    )


def _known(values):
    """Sorted file names; nothing where one exposure does not tell, for the table would refuse that exposure."""
    values = set(values)
    if None in values or "N/A" in values:
        return ()
    return tuple(sorted(PurePosixPath(value).name for value in values))


def _history(derivation, first, last):
    options = derivation.options
    version, count = importlib.metadata.version("jwst-modfix"), len(derivation.headers)
    yield (
        f"Derived by jwst_modfix {version} from {count} exposures of {len(derivation.epochs.names)} epochs, {first} to "
        f"{last}; photometry {options.photometry}, method {options.method}."
    )
    if derivation.corrected:
        yield f"Of {derivation.corrected}, corrected for module offsets before: these are the offsets that were left."
    yield from (f"Mixed calibrations were allowed: {line}." for line in derivation.mixed)
    for band in derivation.bands:
        yield from (f"{band.name}: {warning}" for warning in band.warnings)
        if band.failure:
            yield f"{band.name}: left out: {band.failure}"
        for result in band.results:
            yield f"{band.name}, array {result.array}: correction {result.verdict}: {result.words}."


def _describe(derivation):
    options = {name: value for name, value in asdict(derivation.options).items() if name != "catalogs"}
    return {
        "product": derivation.product,
        "options": options,
        "versions": describe_versions(),
        "exposures": [header.name for header in derivation.headers],
        "epochs": _describe_epochs(derivation),
        "measurements": {
            "measured": len(derivation.selection.mask),
            "selected": int(derivation.selection.mask.sum()),
            "failed": dict(derivation.selection.rejected),
        },
        "least_error_mag": LEAST_ERROR,
        "systematic_floor_mag": derivation.systematic_floor,
        "bands": [_describe_band(band) for band in derivation.bands],
    }


def _describe_epochs(derivation):
    for number, name in enumerate(derivation.epochs.names):
        mine = [h for h, epoch in zip(derivation.headers, derivation.epochs.number, strict=True) if epoch == number]
        times = [header.mjd for header in mine]
        rolls = np.round(sorted({round(header.roll, 2) for header in mine}), 2).tolist()
        yield {"number": number, "name": name, "exposures": len(mine), "first_mjd": min(times), "last_mjd": max(times),
               "roll_deg": rolls}  # fmt: skip


def _describe_band(band):
    known = {"filter": band.filter, "pupil": band.pupil, "failure": band.failure, "warnings": list(band.warnings)}
    if band.solution is None:
        return known
    return (
        known
        | _describe_solution(band.solution)
        | {
            "results": [asdict(result) for result in band.results],
            "reserved": [asdict(residual) for residual in band.residuals],
            "sky": [asdict(comparison) for comparison in band.sky],
            "module_slopes": {name: list(value) for name, value in band.module_slopes.items()},
            "bootstrap_ratio": _ratios(band.bootstrap),
        }
    )


def _describe_solution(solution):
    terms = np.flatnonzero(solution.fitted)
    return {
        "terms": [solution.names[number] for number in terms],
        "units": ["mag/arcmin" if solution.model.terms[number].is_slope else "mag" for number in terms],
        "values": solution.values[terms],
        "covariance": solution.covariance[np.ix_(terms, terms)],
        "sources": solution.n_sources,
        "measurements": solution.n_measurements,
        "rejected": np.bincount(solution.rejected, minlength=4)[1:],
        "intrinsic_scatter_mag": solution.sigma_int,
        "chi2": solution.chi2,
        "degrees_of_freedom": solution.dof,
    }


def _ratios(bootstrap):
    return None if bootstrap is None else dict(zip(bootstrap.names, bootstrap.ratio, strict=True))


def _plain(value):
    """Plain numbers, text, lists and dicts; None for what is not finite, which the file leaves out."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        return [_plain(item) for item in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
