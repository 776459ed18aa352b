"""Fields of detectors: their order, and structure of pixels that they leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.design import legendre, list_powers
from jwst_modfix.fitting.linear import Block, Design, Information, LinearSystem, number_labels
from jwst_modfix.fitting.measurements import PARTS, Measurements
from jwst_modfix.table.table import FULL_FRAME

if TYPE_CHECKING:
    from jwst_modfix.fitting.solution import Solution

_HIGHEST = 3
# A higher order is preferred at this many sigmas, which chance exceeds once in 700.
_PREFERRED = 3.0
_CLIP = 5.0  # sigmas beyond which a residual is an outlier
_SWEEPS = 30
_CELLS = 8  # along each side of a detector: 256 pixels each
_LEAST_CELLS = 16  # that are measured
# Combinations of cells of which sources and terms leave less than this share have too much noise.
_LEAST_SHARE = 0.03
_SAMPLE = 500_000  # measurements in each half of the sources, at most
# By chance, one detector in 10^4 or fewer has as much.
_SIGMAS = 4.0
_SIGMAS_OF_ALL = 2.0  # of the structure of all detectors together, to be carried into the errors


def choose_order(measurements: Measurements, solve: Callable[[int], Solution], least: int = 0) -> Solution:
    """Take the lowest order that no higher one beats in the reserved sources."""
    # All higher orders are compared, not only the next: a bowl has no linear term.
    reserved = measurements.select(measurements.reserved)
    if not len(reserved):
        raise MeasurementsError("field_order='auto' needs reserved sources; set reserve_share, or give the order")
    solutions = []
    for order in range(least, _HIGHEST + 1):
        found = solve(order)
        if found.field_order == order or not solutions:
            solutions.append(found)
        if found.field_order < order:
            break
    reserved = reserved.select(solutions[0].model.knows(reserved))
    return next(
        lower for order, lower in enumerate(solutions)
        if not any(tell_apart(reserved, lower, higher) > _PREFERRED for higher in solutions[order + 1 :])
    )  # fmt: skip


def tell_apart(reserved: Measurements, lower: Solution, higher: Solution) -> float:
    """Compute by how many sigmas the reserved sources prefer the higher order."""
    # The residuals of the lower order are regressed on what the higher one adds, with the sources' means and those of
    # each detector in each exposure taken out of both, and errors from the scatter between sources.
    variance = reserved.mag_error**2 + lower.sigma_int**2
    added, left = higher.predict(reserved) - lower.predict(reserved), reserved.mag - lower.predict(reserved)
    source = number_labels(reserved.source)[1]
    exposure = number_labels(reserved.time.astype(np.int64) * 16 + reserved.detector)[1]
    columns, weight = np.stack([added, left]), 1 / variance
    for _ in range(3):  # the second and third time without outliers
        added, left = _take_means(columns, weight, (source, exposure))
        score = np.bincount(source, weight * added * left)
        weight = np.where(np.abs(left) < _CLIP * np.sqrt(variance), 1 / variance, 0.0)
    spread = np.sqrt(np.sum(score**2))
    return float(np.sum(score) / spread) if spread > 0 else 0.0


def _take_means(columns: np.ndarray, weight: np.ndarray, groups: tuple[np.ndarray, ...]) -> np.ndarray:
    """Subtract the weighted means of two groupings, in turn until both are 0."""
    for group in groups * _SWEEPS:
        total = np.bincount(group, weight)
        sums = np.stack([np.bincount(group, weight * column) for column in columns])
        means = np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)
        columns = columns - means[:, group]
    return columns


@dataclass(frozen=True)
class Structure:
    """Mean residual in cells of a detector, rms over its array."""

    square: float  # mean of the squares, free of noise [mag^2]; of noise alone it is as often negative
    error: float  # of the square, by the noise [mag^2]
    seen: float  # share of the variance of a field of order 2 that the cells show

    @property
    def rms(self) -> float:
        """Structure that is left, rms over the array [mag]."""
        return float(np.sqrt(max(self.square, 0.0)))

    @property
    def is_significant(self) -> bool:
        """Whether it is more than the noise makes."""
        return self.square > _SIGMAS * self.error

    @property
    def words(self) -> str:
        """The structure in words; empty where it is not significant."""
        if not self.is_significant:
            return ""
        error = 1e3 * self.error / (2 * self.rms)
        return (
            f"its residuals have structure of {1e3 * self.rms:.1f} ± {error:.1f} mmag rms over the array that the"
            " correction leaves"
        )


def measure_structure(solution: Solution) -> dict[int, Structure]:
    """Measure residual structure by detector number; none with too few sources."""
    # A term of each cell is added to the model, with one half of the sources and then with the other. The mean of the
    # products of the two is free of noise.
    m = solution.measurements
    if m.x is None or m.y is None:
        return {}
    edges = FULL_FRAME / _CELLS * np.arange(1, _CELLS) - 0.5
    column, row = (np.searchsorted(edges, place, side="right").astype(np.int32) for place in (m.x, m.y))
    cell = (m.detector * _CELLS + row) * _CELLS + column
    step = max(2, len(cell) // _SAMPLE)
    halves = [_solve_cells(solution, cell, np.flatnonzero(solution.system.source % step == half)) for half in (0, 1)]
    found = {}
    for code in solution.model.detectors:
        mine = slice(code * _CELLS**2, (code + 1) * _CELLS**2)
        (one, covariance, field), (other, also, again) = ((v[mine], c[mine, mine], f[mine]) for v, c, f in halves)
        known = (np.diag(covariance) > 0) & (np.diag(also) > 0)
        if (n := np.count_nonzero(known)) >= _LEAST_CELLS:
            error = np.sqrt(np.sum((covariance * also)[np.ix_(known, known)])) / n
            square, seen = (np.sum(a[known] * b[known]) / n for a, b in ((one, other), (field, again)))
            found[code] = Structure(float(square), float(error), float(seen))
    return found


def carry_fields(solution: Solution) -> tuple[float, np.ndarray]:
    """Estimate the rms of unfitted fields [mag], and their part in the covariance."""
    # The fields are assumed to be random, of order 2, with the rms of the structure in the residuals. They shift zero
    # points most where sources link detectors at their edges only.
    m, p, n = solution.measurements, len(solution.free), len(PARTS)
    known = [(s.square, s.seen, s.error) for s in solution.structure.values()]
    if not known or (solution.fitted & solution.model.mask("field")).any():
        return 0.0, np.zeros((p, p))
    squares, seen, errors = np.array(known).T
    # The scatter of detectors between exposures is in the errors already. Its mean over the exposures is left in cells.
    squares -= solution.detector_scatter**2 / len(np.unique(m.time))
    variance, weight = np.sum(squares * seen / errors**2), np.sum((seen / errors) ** 2)
    if variance <= _SIGMAS_OF_ALL * np.sqrt(weight):
        return 0.0, np.zeros((p, p))
    variance /= weight
    rows, powers = np.flatnonzero(solution.system.source % max(1, len(m) // _SAMPLE) == 0), list_powers(2)
    columns = _unit_fields(m.x[rows], m.y[rows])
    blocks = (Block(m.detector[rows], n * k + np.arange(n), column) for k, column in enumerate(columns))
    moved = _extend(solution, rows, Design(tuple(blocks), n * len(powers)))[1][:p]
    return float(np.sqrt(variance)), variance / len(powers) * moved @ moved.T


def _unit_fields(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Evaluate polynomials of order 2, mean 0, rms 1 over the array, (n_powers, n)."""
    powers = list_powers(2)
    return legendre(x, y, powers) * np.sqrt([[(2 * i + 1) * (2 * j + 1)] for i, j in powers])


def _extend(solution: Solution, rows: np.ndarray, columns: Design) -> tuple[LinearSystem, np.ndarray, Information]:
    """Add columns to the terms, for some rows: free them, find their information."""
    source = number_labels(solution.system.source[rows])[1]
    system = LinearSystem(solution.system.design.take(rows).beside(columns), source)
    whole, rest = system.inform(solution.weight[rows]), len(solution.free) + np.arange(columns.n_terms)
    freed, left = whole.project(np.flatnonzero(solution.free), rest)
    return system, freed, Information(left, whole.gram[np.ix_(rest, rest)], least=_LEAST_SHARE)


def _solve_cells(solution: Solution, cell: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve for cells (0: not determined), their covariance and response to fields."""
    # The response has a column for each polynomial of each detector: the squares of a row add up to the mean square in
    # that cell of fields of unit rms.
    # Cells without a measurement are left out: to find eigenvalues takes most of the time.
    seen, number = number_labels(cell[rows])
    system, freed, information = _extend(solution, rows, Design.of_labels(number, len(seen)))
    score = freed.T @ system.score(solution.weight[rows], solution.residual[rows])
    covariance = information.invert(np.ones(len(seen), bool))[0]
    row, column = np.divmod(np.arange(_CELLS**2), _CELLS)
    y, x = ((place + 0.5) * FULL_FRAME / _CELLS - 0.5 for place in (row, column))
    shapes = _unit_fields(x, y).T
    fields = np.kron(np.eye(len(PARTS)), shapes / np.sqrt(shapes.shape[1]))
    n = len(fields)
    found, known, response = np.zeros(n), np.zeros((n, n)), np.zeros_like(fields)
    found[seen] = covariance @ score
    known[np.ix_(seen, seen)] = covariance * (np.diag(information.gram) > 0)
    response[seen] = covariance @ (information.matrix @ fields[seen])
    return found, known, response
