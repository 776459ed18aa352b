"""The selected measurements of a filter: residuals, and why they are not used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.derivation.bands import BandResult
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.fitting.measurements import PARTS, Measurements
from jwst_modfix.fitting.robust import OUTLIER_SIGMA
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.photometry.columns import group_medians

_TIMES = ("epoch", "exposure", "drift")  # kinds of terms that are no part of the correction
_COLUMNS = ("source", "exposure", "epoch", "array", "module", "mag", "mag_error", "V2", "V3", "RA", "Dec", "reserved")


def split_prediction(solution: Solution, m: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Predict systematic errors [mag]: the correction, and the terms of time."""
    design, time = solution.model.design(m), solution.model.mask(*_TIMES)
    return design @ np.where(time, 0.0, solution.values), design @ np.where(time, solution.values, 0.0)


def collect_points(derivation: Derivation, band: BandResult) -> Table:
    """Collect selected measurements of a filter with a solution, and reserved ones."""
    # ``residual`` [mag] is the magnitude less z + g u + t and the mean of its source, ``before`` the same with z + g u
    # left in, ``pull`` the residual over its error (NaN where it was not fitted). ``reason`` says why a measurement is
    # not used; it ``deviates`` as an outlier, of a variable source, or reserved and as far from the mean of its source.
    m, solution = band.measurements, band.solution
    table = derivation.measurements["residual", "reason", "flags"][band.rows]
    if solution is None:
        raise ValueError(f"{band.name} has no solution")
    known = solution.model.knows(m)
    system, time = np.full((2, len(m)), np.nan)
    system[known], time[known] = split_prediction(solution, m.select(known))
    residual, pull = np.asarray(table["residual"], float).copy(), np.full(len(m), np.nan)
    own = m.reserved & known
    residual[own], error = _against_mean((m.mag - system - time)[own], m.select(own), solution.sigma_int)
    reason = np.asarray(table["reason"], str)
    deviates = np.isin(reason, ("outlier", "variable"))
    deviates[own] = np.abs(residual[own]) > OUTLIER_SIGMA * error
    standard = solution.residual * np.sqrt(solution.base) / solution.kept
    pull[~m.reserved] = np.where(solution.rejected == 0, standard, np.nan)
    columns = {name: getattr(m, name) for name in _COLUMNS}
    columns |= {"residual": residual, "before": residual + system, "pull": pull, "reason": reason, "used": reason == ""}
    columns |= {"detector": np.array([" ".join(part) for part in PARTS])[m.detector], "deviates": deviates}
    mjd = np.asarray(derivation.photometry.exposures["mjd"])[m.exposure]
    columns["colour"] = np.full(len(m), np.nan) if band.colour is None else band.colour.values
    columns |= {"mjd": mjd, "flags": np.asarray(table["flags"])}
    return Table(columns, copy=False, meta={"filter": m.filter, "pupil": m.pupil, "first_mjd": mjd.min(initial=np.inf)})


def split_exposures(points: Table) -> dict[int, np.ndarray]:
    """Find the rows of each exposure."""
    order = np.argsort(points["exposure"], kind="stable")
    numbers, first = np.unique(points["exposure"][order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


def _against_mean(values: np.ndarray, m: Measurements, scatter: float) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the mean of the source; find the errors of these differences."""
    source, weight = np.unique(m.source, return_inverse=True)[1], 1 / (m.mag_error**2 + scatter**2)
    total = np.bincount(source, weight)
    left = values - (np.bincount(source, weight * values) / total)[source]
    return left, np.sqrt(np.maximum(1 / weight - 1 / total[source], 0.0))


def list_outliers(points: Table, files: Sequence[str]) -> Table:
    """List sources with deviating measurements: their places and worst measurement."""
    deviates = np.asarray(points["deviates"])
    source, number = np.unique(points["source"], return_inverse=True)
    magnitude, size = group_medians(points["mag"], number, len(source)), np.where(deviates, abs(points["residual"]), -1)
    order = np.lexsort([-size, number])  # the worst measurement of each source first
    worst = order[np.flatnonzero(np.diff(number[order], prepend=-1))]
    worst = worst[deviates[worst]]
    m, which = points["source", "RA", "Dec", "reason", "residual", "exposure"][worst], number[worst]
    table = Table({"source": m["source"], "RA": m["RA"] * u.deg, "Dec": m["Dec"] * u.deg})
    table["filter"], table["pupil"] = (np.full(len(m), points.meta[name]) for name in ("filter", "pupil"))
    table["reason"] = m["reason"]
    table["mag"], table["residual"] = magnitude[which] * u.mag, m["residual"] * u.mag
    table["measurements"] = np.bincount(number)[which]
    table["rejected"] = np.bincount(number[deviates], minlength=len(source))[which]
    table["exposure"] = np.array([files[i] for i in m["exposure"]], str)
    return table
