"""The order of the detectors' fields that the reserved sources ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.linear import number_labels
from jwst_modfix.fitting.measurements import Measurements

if TYPE_CHECKING:
    from jwst_modfix.fitting.solution import Solution

HIGHEST = 3
# A higher order is preferred at this many sigmas, which chance exceeds once in 700.
_SIGMAS = 3.0
_CLIP = 5.0  # sigmas beyond which a residual is an outlier
_SWEEPS = 30


def choose_order(measurements: Measurements, solve: Callable[[int], Solution], least: int = 0) -> Solution:
    """Take the lowest order that no higher one beats in the reserved sources."""
    # All higher orders are compared, not only the next: a bowl has no linear term.
    reserved = measurements.select(measurements.reserved)
    if not len(reserved):
        raise MeasurementsError("field_order='auto' needs reserved sources; set reserve_share, or give the order")
    solutions = []
    for order in range(least, HIGHEST + 1):
        found = solve(order)
        if found.field_order < order and solutions:
            break
        solutions.append(found)
        if found.field_order < order:
            break
    reserved = reserved.select(solutions[0].model.knows(reserved))
    for order, lower in enumerate(solutions):
        if not any(tell_apart(reserved, lower, higher) > _SIGMAS for higher in solutions[order + 1 :]):
            return lower
    return solutions[-1]


def tell_apart(reserved: Measurements, lower: Solution, higher: Solution) -> float:
    """Compute by how many sigmas the reserved sources prefer the higher order."""
    # The residuals of the lower order are regressed on what the higher one adds, with the sources' means and those of
    # each detector in each exposure taken out of both, and errors from the scatter between sources.
    variance = reserved.mag_error**2 + lower.sigma_int**2
    added, left = higher.predict(reserved) - lower.predict(reserved), reserved.mag - lower.predict(reserved)
    source = number_labels(reserved.source)[1]
    exposure = number_labels(reserved.time.astype(np.int64) * 16 + reserved.detector)[1]
    weight = 1 / variance
    for _ in range(2):  # again without outliers
        freed = _take_means(np.stack([added, left]), weight, (source, exposure))
        weight = np.where(np.abs(freed[1]) < _CLIP * np.sqrt(variance), 1 / variance, 0.0)
    added, left = _take_means(np.stack([added, left]), weight, (source, exposure))
    score = np.bincount(source, weight * added * left)
    spread = np.sqrt(np.sum(score**2))
    return float(np.sum(score) / spread) if spread > 0 else 0.0


def _take_means(columns: np.ndarray, weight: np.ndarray, groups: tuple[np.ndarray, ...]) -> np.ndarray:
    """Subtract the weighted means of two groupings, in turn until both are 0."""
    for _ in range(_SWEEPS):
        for group in groups:
            total = np.bincount(group, weight)
            sums = np.stack([np.bincount(group, weight * column) for column in columns])
            means = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
            columns = columns - means[:, group]
    return columns
