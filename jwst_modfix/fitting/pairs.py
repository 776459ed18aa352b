"""The solution of Ma et al. (2023, Eq. 5-10) from pairs of epochs and patches."""

import itertools
import warnings
from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError
from jwst_modfix.fitting import robust
from jwst_modfix.fitting.blocks import MAX_INFLATION
from jwst_modfix.fitting.design import SLOPE_ARRAYS
from jwst_modfix.fitting.linear import Design, LinearSystem, number_labels
from jwst_modfix.fitting.measurements import focal_plane_coordinate
from jwst_modfix.table.table import ARRAYS, MAD_TO_SIGMA

# Differences farther than this from the fit have no weight (variable sources, blunders).
_OUTLIER_SIGMA = 5.0
# A patch of fewer sources gives no reliable error: one variable source of five looks like an offset.
_MIN_SOURCES = 8
_ROUNDING = 1e-9  # differences this small [mag] are rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchPair:
    """Patches p (B then A) and q (A then B) of one array ID in two epochs."""

    epochs: tuple[int, int]  # i and j, i first
    median_p: float  # of m_j - m_i in each patch, mag
    median_q: float
    error_p: float  # standard errors of the medians, with Student's factor for few sources, mag
    error_q: float
    source: np.ndarray  # (n,), of both patches
    difference: np.ndarray  # (n,), m_j - m_i, mag
    d: np.ndarray  # (n,), (u_j - u_i) / 2, arcmin
    sign: np.ndarray  # (n,), +1 in patch p, -1 in patch q

    @property
    def offset(self):
        """Delta_AB = (Delta_p - Delta_q) / 2 (Eq. 7) [mag], mixed with a slope, if any."""
        return (self.median_p - self.median_q) / 2

    @property
    def time(self):
        """Delta_time = (Delta_p + Delta_q) / 2 (Eq. 8) [mag]."""
        return (self.median_p + self.median_q) / 2


@dataclass(frozen=True, eq=False)
class PairSolution:
    """The joint linear fit of all patches of one array ID."""

    pairs: tuple[PatchPair, ...]
    names: tuple[str, ...]  # ``offset``, ``slope`` where fitted, and ``time[i-j]`` of each pair of epochs where fitted
    values: np.ndarray  # Delta_AB [mag], k [mag/arcmin], Delta_time [mag]
    covariance: np.ndarray  # by sandwich over sources
    n_sources: int

    def value(self, name):
        """Look up one term: its value and standard error."""
        number = self.names.index(name)
        return float(self.values[number]), float(np.sqrt(self.covariance[number, number]))


def solve_pairs(measurements, *, fit_slope="long", time_term="fit"):
    """Solve for each array ID from pairs of epochs, as the paper does."""
    # Magnitudes are averaged for each source, epoch, array and module. Patch p holds sources seen by B then A, q by A
    # then B. Eq. 7-8 separate Delta_AB and Delta_time by medians; Eq. 9-10 fit ``Delta_p = k d + Delta_AB`` and
    # ``Delta_q = k d - Delta_AB`` together, here by Huber's estimator and with the Delta_time of each pair of epochs.
    visits = _average(measurements.select(~measurements.reserved))
    place, found = measurements.place, {}
    for code, array in enumerate(ARRAYS):
        mine = {key: value[visits["array"] == code] for key, value in visits.items()}
        epochs = itertools.combinations(np.unique(mine["epoch"]), 2)
        pairs = tuple(pair for i, j in epochs if (pair := _patch_pair(mine, i, j)) is not None)
        if not pairs:
            continue
        number = number_labels(np.concatenate([pair.source for pair in pairs]))[1]
        columns = _list_columns(pairs, array in SLOPE_ARRAYS[fit_slope], time_term == "fit")
        system = LinearSystem(Design.of_columns([column for column, _ in columns.values()]), number, eliminate=False)
        information = system.inform(np.ones(len(number)))
        inverse, null = information.invert(np.ones(len(columns), bool))
        # The variance of the offset over that with all else known.
        inflation = np.inf if null.size else float(inverse[0, 0] * information.matrix[0, 0])
        if inflation < MAX_INFLATION:
            start = np.array([first for _, first in columns.values()])
            found[array] = _fit(pairs, tuple(columns), system, start)
        else:
            warnings.warn(
                f"{place}: array {array}: offset and slope are not separable in these patches: the variance is"
                f" inflated {min(inflation, 1e6):.0f} times (maximum {MAX_INFLATION:.0f}); the array is left out",
                DegenerateTermWarning,
                stacklevel=2,
            )
    if not found:
        raise NoSolutionError(
            f"{place}: no array has a patch seen by B then A and one seen by A then B, each with {_MIN_SOURCES}"
            " sources, that separate the terms to fit; method='pairs' needs both"
        )
    return found


def _average(m):
    """Average magnitudes and coordinates by source, epoch, array and module."""
    source = number_labels(m.source)[1].astype(np.int64)
    epochs, epoch = number_labels(m.epoch)
    key, visit = number_labels((source * len(epochs) + epoch) * 2 * len(ARRAYS) + m.detector)
    weight, u = 1 / m.mag_error**2, focal_plane_coordinate(m.V2, m.V3)
    total = np.bincount(visit, weight)
    rest, detector = np.divmod(key, 2 * len(ARRAYS))
    return {
        "array": detector // 2,
        "module": detector % 2,
        "epoch": epochs[rest % len(epochs)] if len(key) else rest,
        "source": rest // max(len(epochs), 1),
        "mag": np.bincount(visit, weight * m.mag) / total,
        "u": np.bincount(visit, weight * u) / total,
    }


def _patch_pair(visits, i, j):
    """Match both modules of an array ID between epochs; None with too few sources."""
    found = []
    for sign, first, second in ((1.0, 1, 0), (-1.0, 0, 1)):
        before = np.flatnonzero((visits["epoch"] == i) & (visits["module"] == first))
        after = np.flatnonzero((visits["epoch"] == j) & (visits["module"] == second))
        source, a, b = np.intersect1d(visits["source"][before], visits["source"][after], return_indices=True)
        if len(source) < _MIN_SOURCES:
            return None
        difference = visits["mag"][after[b]] - visits["mag"][before[a]]
        d = (visits["u"][after[b]] - visits["u"][before[a]]) / 2
        found.append((source, difference, d, np.full(len(source), sign)))
    p, q = (patch[1] for patch in found)
    error_p, error_q = (robust.error_of_median(d) * float(robust.student_factor(len(d))) for d in (p, q))
    source, difference, d, sign = (np.concatenate(column) for column in zip(*found, strict=True))
    return PatchPair(
        epochs=(int(i), int(j)), source=source, difference=difference, d=d, sign=sign,
        median_p=float(np.median(p)), median_q=float(np.median(q)), error_p=error_p, error_q=error_q,
    )  # fmt: skip


def _list_columns(pairs, sloped, timed):
    """List the columns of Eq. 9-10 by name, with robust starts from Eq. 7-8."""
    sign, d = (np.concatenate([getattr(pair, name) for pair in pairs]) for name in ("sign", "d"))
    columns = {"offset": (sign, np.median([pair.offset for pair in pairs]))} | ({"slope": (d, 0.0)} if sloped else {})
    for pair in pairs if timed else ():
        own = np.concatenate([np.full(len(other.d), float(other is pair)) for other in pairs])
        columns[f"time[{pair.epochs[0]}-{pair.epochs[1]}]"] = own, pair.time
    return columns


def _fit(pairs, names, system, start):
    """Fit Eq. 9-10 to all patches together; the scale is the MAD of the residuals."""
    y = np.concatenate([pair.difference for pair in pairs])
    n, p = len(y), len(names)

    def find_scale(residual, used, n_terms):
        freedom = np.sqrt(n / max(n - n_terms, 1))
        return 0.0, max(MAD_TO_SIGMA * float(np.median(np.abs(residual))) * freedom, _ROUNDING)

    problem = robust.HuberProblem(
        system=system, free=np.ones(p, bool), y=y, error=np.ones(n), find_scale=find_scale, limit=_OUTLIER_SIGMA
    )
    used = np.ones(n, bool)
    first = robust.start_huber(problem, used, start, find_scale(y - system.design @ start, used, p)[1])
    fit = robust.solve_huber(problem, used, first)
    # As in the network's solution, errors are those of Student's t, with the degrees of freedom that are left.
    effective = system.effective_sources(fit.derivative, problem.invert(fit.derivative)[0])
    factor = robust.student_factor(effective - p + 1)
    covariance = robust.sandwich(problem, fit) * np.outer(factor, factor)
    return PairSolution(pairs, names, fit.values, covariance, system.n_sources)
