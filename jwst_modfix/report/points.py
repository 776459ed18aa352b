"""The selected measurements of one filter as the report shows them: their residuals, and why they are not used."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.derivation.bands import BandResult
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.robust import MAD_TO_SIGMA, OUTLIER_SIGMA
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.photometry.columns import group_medians
from jwst_modfix.table.table import ARRAYS, MODULES

_MEDIAN_ERROR = np.sqrt(np.pi / 2)  # error of a median over that of a mean
_BINS = 6
_TIMES = ("epoch", "exposure", "drift")  # kinds of terms that are no part of the correction


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Selected measurements of one filter, reserved ones included; all arrays have shape (n,)."""

    m: Measurements
    rows: np.ndarray  # of the table of measurements
    system: np.ndarray  # what the correction removes, z + g u [mag]
    residual: np.ndarray  # magnitude - z - g u - t - mean of the source [mag]
    pull: np.ndarray  # residual over its standard error; NaN where not fitted
    reason: np.ndarray  # why it is not used; empty where it is
    deviates: np.ndarray  # whether it is an outlier, of a variable source, or reserved and as far from its mean
    colour: np.ndarray  # of the source between two filters [mag]; NaN where unknown
    mjd: np.ndarray
    flags: np.ndarray

    @property
    def before(self) -> np.ndarray:
        """Residual without the correction, against the corrected mean of the source [mag]."""
        return self.residual + self.system

    @cached_property
    def used(self) -> np.ndarray:
        """Which measurements are used in the fit."""
        return self.reason == ""

    @cached_property
    def by_exposure(self) -> dict[int, np.ndarray]:
        """Rows of each exposure."""
        order = np.argsort(self.m.exposure, kind="stable")
        numbers, first = np.unique(self.m.exposure[order], return_index=True)
        return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))

    @cached_property
    def detector(self) -> np.ndarray:
        """Name of the detector, such as ``long A``."""
        names = np.array([f"{array} {module}" for array in ARRAYS for module in MODULES])
        return np.asarray(names[self.m.detector])


def split_prediction(solution: Solution, m: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Systematic errors of measurements [mag]: what the correction removes, and the terms of time."""
    design, time = solution.model.design(m), solution.model.mask(*_TIMES)
    return design @ np.where(time, 0.0, solution.values), design @ np.where(time, solution.values, 0.0)


def collect_points(derivation: Derivation, band: BandResult) -> Points:
    """Collect the points of a filter that has a solution."""
    m, solution = band.measurements, band.solution
    table = derivation.measurements["residual", "reason", "flags", "exposure"][band.rows]
    if solution is None:
        raise ValueError(f"{band.name} has no solution")
    known = np.isin(m.epoch, solution.model.epochs) & np.isin(m.detector, solution.measurements.detector)
    system, time = np.full((2, len(m)), np.nan)
    system[known], time[known] = split_prediction(solution, m.select(known))
    residual, pull = np.asarray(table["residual"], float).copy(), np.full(len(m), np.nan)
    own = m.reserved & known
    residual[own], error = _against_mean((m.mag - system - time)[own], m.select(own), solution.sigma_int)
    reason = np.asarray(table["reason"], str)
    deviates = np.isin(reason, ("outlier", "variable"))
    deviates[own] = np.abs(residual[own]) > OUTLIER_SIGMA * error
    fitted = solution.rejected == 0
    share = solution.system.kept_share(solution.base)
    pull[~m.reserved] = np.where(fitted, solution.residual * np.sqrt(solution.base) / share, np.nan)
    return Points(
        m=m, rows=band.rows, system=system, residual=residual, pull=pull, reason=reason, deviates=deviates,
        colour=np.full(len(m), np.nan) if band.colour is None else band.colour.values, flags=np.asarray(table["flags"]),
        mjd=np.asarray(derivation.photometry.exposures["mjd"])[np.asarray(table["exposure"])],
    )  # fmt: skip


def _against_mean(values: np.ndarray, m: Measurements, scatter: float) -> tuple[np.ndarray, np.ndarray]:
    """Values less the mean of their source, and the errors of these differences."""
    source, weight = np.unique(m.source, return_inverse=True)[1], 1 / (m.mag_error**2 + scatter**2)
    total = np.bincount(source, weight)
    left = values - (np.bincount(source, weight * values) / total)[source]
    return left, np.sqrt(np.maximum(1 / weight - 1 / total[source], 0.0))


def robust_width(values: np.ndarray) -> float:
    """Estimate the standard deviation from the median absolute deviation; NaN without values."""
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def describe_median(values: np.ndarray) -> dict[str, Any]:
    """Describe values [mag] by their number, median and its standard error."""
    n, median = len(values), float(np.median(values)) if len(values) else np.nan
    error = _MEDIAN_ERROR * robust_width(values) / np.sqrt(n) if n else np.nan
    return {"n": n, "median_mag": median, "error_mag": error}


def describe_detectors(points: Points) -> Iterator[dict[str, Any]]:
    """Median and rms of each detector's residuals, before and after the correction."""
    for name in np.unique(points.detector):
        mine = points.used & (points.detector == name)
        parts = {"before": points.before[mine], "after": points.residual[mine]}
        yield {"detector": str(name), "n": int(mine.sum())} | {
            f"{which}_{key}": value for which, r in parts.items()
            for key, value in (("median_mag", np.median(r)), ("rms_mag", np.sqrt(np.mean(r**2)))) if r.size
        }  # fmt: skip


def describe_exposures(points: Points, exposures: Table) -> Iterator[dict[str, Any]]:
    """Median residual of each exposure, in order of time."""
    mine = np.array([*points.by_exposure])
    for number in mine[np.argsort(np.asarray(exposures["mjd"])[mine], kind="stable")].tolist():
        row, used = exposures[number], points.by_exposure[number][points.used[points.by_exposure[number]]]
        yield {
            "exposure": str(row["file"]), "number": number, "detector": f"{row['array']} {row['module']}",
            "epoch": int(row["epoch"]), "mjd": float(row["mjd"]), **describe_median(points.residual[used]),
        }  # fmt: skip


def describe_trend(points: Points, values: np.ndarray) -> Iterator[dict[str, Any]]:
    """Median residuals of each module in bins of equal numbers along some values."""
    known = points.used & np.isfinite(values)
    edges = np.quantile(values[known], np.linspace(0, 1, _BINS + 1)) if known.any() else np.zeros(0)
    for low, high in itertools.pairwise(edges):
        inside = known & (values >= low) & ((values < high) | (high == edges[-1]))
        for module in ("A", "B"):
            found = describe_median(points.residual[inside & (points.m.module == module)])
            yield {"module": module, "from": float(low), "to": float(high), **found}


def list_outliers(points: Points, files: Sequence[str]) -> Table:
    """List the sources with measurements that deviate: where they are, and the worst of these measurements."""
    rejected = points.deviates
    source, number = np.unique(points.m.source, return_inverse=True)
    magnitude, size = group_medians(points.m.mag, number, len(source)), np.where(rejected, np.abs(points.residual), -1)
    order = np.lexsort([-size, number])  # the worst measurement of each source first
    worst = order[np.flatnonzero(np.diff(number[order], prepend=-1))]
    worst = worst[rejected[worst]]
    m, which = points.m.select(worst), number[worst]
    table = Table({"source": m.source, "RA": m.RA * u.deg, "Dec": m.Dec * u.deg})
    table["filter"], table["pupil"] = np.full(len(m), m.filter), np.full(len(m), m.pupil)
    table["reason"] = points.reason[worst]
    table["mag"], table["residual"] = magnitude[which] * u.mag, points.residual[worst] * u.mag
    table["measurements"] = np.bincount(number)[which]
    table["rejected"] = np.bincount(number[rejected], minlength=len(source))[which]
    table["exposure"] = np.array([files[i] for i in m.exposure], str)
    return table
