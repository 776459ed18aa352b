"""The paper's own solution, from pairs of epochs and patches: Eq. 5-10 of Ma et al. (2023)."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import median_abs_deviation

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError
from jwst_modfix.fitting.design import MAX_INFLATION
from jwst_modfix.fitting.measurements import DIRECTION, ORIGIN, number_labels
from jwst_modfix.fitting.robust import MAX_LEVERAGE, huber_derivative, huber_weight, student_factor
from jwst_modfix.table.table import ARRAYS

__all__ = ["PairSolution", "PatchPair", "solve_pairs"]


# Gaussian sigma over median absolute deviation, and the error of a median over that of a mean.
_MAD_TO_SIGMA = 1.4826
_MEDIAN_ERROR = np.sqrt(np.pi / 2)
# Differences farther than this from the fit are left out of it (variable sources, blunders).
_OUTLIER_SIGMA = 5.0
# A patch of fewer sources gives no error to trust: one of five varies, and passes for an offset.
_MIN_SOURCES = 8
_MAX_ITERATIONS = 100
# Differences this small [mag] are rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchPair:
    """
    Patches p (B then A) and q (A then B) of one array ID in two epochs.

    Parameters
    ----------
    array : str
        Array ID.
    epochs : tuple of int, shape (2,)
        Epochs i and j, i first.
    median_p, median_q : float
        Median of m_j - m_i in each patch [mag].
    mad_p, mad_q : float
        Their median absolute deviations [mag].
    error_p, error_q : float
        Standard errors of the medians [mag], with Student's factor for few sources.
    n_p, n_q : int
        Numbers of sources.
    source : numpy.ndarray of int, shape (n,)
        Sources of both patches.
    difference, d : numpy.ndarray, shape (n,)
        m_j - m_i [mag], and d = (u_j - u_i) / 2 [arcmin].
    sign : numpy.ndarray, shape (n,)
        +1 in patch p, -1 in patch q.
    """

    array: str
    epochs: tuple
    median_p: float
    median_q: float
    mad_p: float
    mad_q: float
    error_p: float
    error_q: float
    n_p: int
    n_q: int
    source: np.ndarray
    difference: np.ndarray
    d: np.ndarray
    sign: np.ndarray

    @property
    def offset(self):
        """Delta_AB = (Delta_p - Delta_q) / 2 (Eq. 7) [mag]; mixed with the slope where there is one."""
        return (self.median_p - self.median_q) / 2

    @property
    def time(self):
        """Delta_time = (Delta_p + Delta_q) / 2 (Eq. 8) [mag]."""
        return (self.median_p + self.median_q) / 2

    @property
    def error(self):
        """Standard error of both [mag]."""
        return float(np.hypot(self.error_p, self.error_q) / 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class PairSolution:
    """
    The joint linear fit of all patches of one array ID.

    Parameters
    ----------
    array : str
        Array ID.
    pairs : tuple of PatchPair
        The pairs of patches that were fitted.
    names : tuple of str
        ``offset``, ``slope`` where fitted, and ``time[i-j]`` of each pair of epochs where fitted.
    values : numpy.ndarray, shape (p,)
        Delta_AB [mag], k [mag/arcmin], Delta_time [mag].
    covariance : numpy.ndarray, shape (p, p)
        Their covariance, by sandwich over sources.
    n_sources : int
        Number of sources fitted.
    """

    array: str
    pairs: tuple
    names: tuple
    values: np.ndarray
    covariance: np.ndarray
    n_sources: int

    def value(self, name):
        """Look up one term."""
        number = self.names.index(name)
        return float(self.values[number]), float(np.sqrt(self.covariance[number, number]))


def solve_pairs(measurements, *, fit_slope="long", time_term="fit", direction=DIRECTION, origin=ORIGIN, robust=True):
    """Solve for each array ID from pairs of epochs, the way of the paper.

    Magnitudes are averaged for each source, epoch, array and module. Patch p holds sources seen by B then A,
    q by
    A then B. Eq. 7-8 separate Delta_AB and Delta_time by medians; Eq. 9-10 fit ``Delta_p = k d + Delta_AB``
    and
    ``Delta_q = k d - Delta_AB`` together, here by Huber's estimator and with the Delta_time of each pair of
    epochs.
    """
    visits = _average(measurements.select(~measurements.reserved), direction, origin)
    place, found = f"measurements in {measurements.filter}+{measurements.pupil}", {}
    for code, array in enumerate(ARRAYS):
        pairs = _patch_pairs(array, {key: value[visits["array"] == code] for key, value in visits.items()})
        if not pairs:
            continue
        sloped = fit_slope == "all" or (fit_slope == "long" and array == "long")
        columns = _design(pairs, sloped, time_term == "fit")
        if (inflation := _inflation(columns)) < MAX_INFLATION:
            found[array] = _fit(array, pairs, columns, robust)
        else:
            warnings.warn(
                f"{place}: array {array}: offset and slope are not separable in these patches: variance inflated"
                f" {min(inflation, 1e6):.0f} times, at most {MAX_INFLATION:.0f} are allowed; the array is left out",
                DegenerateTermWarning,
                stacklevel=2,
            )
    if not found:
        raise NoSolutionError(
            f"{place}: no array has a patch seen by B then A and one seen by A then B, each with {_MIN_SOURCES}"
            " sources, that separate what is to be fitted; method='pairs' needs both"
        )
    return found


def _average(measurements, direction, origin):
    """Weighted mean magnitude and mean coordinate for each source, epoch, array and module."""
    source = number_labels(measurements.source)[1].astype(np.int64)
    epochs, epoch = number_labels(measurements.epoch)
    key = (source * len(epochs) + epoch) * 2 * len(ARRAYS) + measurements.detector
    key, visit = number_labels(key)
    weight = 1 / measurements.mag_error**2
    total = np.bincount(visit, weight)
    rest, detector = np.divmod(key, 2 * len(ARRAYS))
    return {
        "array": detector // 2,
        "module": detector % 2,
        "epoch": epochs[rest % len(epochs)] if len(key) else rest,
        "source": rest // max(len(epochs), 1),
        "mag": np.bincount(visit, weight * measurements.mag) / total,
        "u": np.bincount(visit, weight * measurements.coordinate(direction, origin)) / total,
    }


def _patch_pairs(array, visits):
    """All pairs of epochs in which the array ID has both patches."""
    epochs = np.unique(visits["epoch"])
    pairs = [_patch_pair(array, visits, i, j) for n, i in enumerate(epochs) for j in epochs[n + 1 :]]
    return tuple(pair for pair in pairs if pair is not None)


def _patch_pair(array, visits, i, j):
    """Match the two modules of an array ID between two epochs."""
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
    statistics = [_median_and_mad(patch[1]) for patch in found]
    source, difference, d, sign = (np.concatenate(column) for column in zip(*found, strict=True))
    return PatchPair(
        array=array, epochs=(int(i), int(j)), source=source, difference=difference, d=d, sign=sign,
        **{f"{k}_{p}": v for p, s in zip("pq", statistics, strict=True) for k, v in s.items()},
    )  # fmt: skip


def _median_and_mad(difference):
    mad = float(median_abs_deviation(difference))
    error = _MEDIAN_ERROR * _MAD_TO_SIGMA * mad / np.sqrt(len(difference)) * student_factor(len(difference))
    return {"median": float(np.median(difference)), "mad": mad, "error": float(error), "n": len(difference)}


def _design(pairs, sloped, timed):
    """Columns of Eq. 9-10 for all patches at once, by name."""
    columns = {"offset": np.concatenate([pair.sign for pair in pairs])}
    if sloped:
        columns["slope"] = np.concatenate([pair.d for pair in pairs])
    for pair in pairs if timed else ():
        own = [np.full(len(other.d), float(other is pair)) for other in pairs]
        columns[f"time[{pair.epochs[0]}-{pair.epochs[1]}]"] = np.concatenate(own)
    return columns


def _inflation(columns):
    """Variance of the offset over what it would be if all else were known; infinite where it is not determined."""
    X = np.column_stack(list(columns.values()))
    if np.linalg.matrix_rank(X) < X.shape[1]:
        return np.inf
    normal = X.T @ X
    return float(np.linalg.inv(normal)[0, 0] * normal[0, 0])


def _fit(array, pairs, columns, robust):
    """Eq. 9-10 for all patches at once."""
    source = np.concatenate([pair.source for pair in pairs])
    y = np.concatenate([pair.difference for pair in pairs])
    values, covariance = _regress(np.column_stack(list(columns.values())), y, source, robust)
    return PairSolution(
        array=array,
        pairs=pairs,
        names=tuple(columns),
        values=values,
        covariance=covariance,
        n_sources=len(np.unique(source)),
    )


def _regress(X, y, source, robust):
    """Huber regression with a scale from the MAD, and its covariance by sandwich over sources."""
    beta = np.linalg.lstsq(X, y, rcond=None)[0]
    if robust:
        beta = _iterate(X, y, beta, _least_absolute)
        beta = _iterate(X, y, beta, lambda residual: _standardise(residual, X.shape[1])[1])
    residual = y - X @ beta
    standard, weight = _standardise(residual, X.shape[1])
    if not robust:
        return beta, _sandwich(X, residual, np.ones(len(y)), source)
    return beta, _sandwich(X, residual * weight, huber_derivative(standard), source)


def _iterate(X, y, beta, weigh):
    """Solve with weights that hang on the residuals, until it settles."""
    for _ in range(_MAX_ITERATIONS):
        before, root = beta, np.sqrt(weigh(y - X @ beta))
        beta = np.linalg.lstsq(root[:, None] * X, root * y, rcond=None)[0]
        if np.abs(beta - before).max() < _ROUNDING:
            break
    return beta


def _least_absolute(residual):
    """Weights of least absolute deviations: a start that one wild source cannot spoil."""
    return 1 / np.maximum(np.abs(residual), 1e-3 * np.median(np.abs(residual)) + _ROUNDING)


def _sandwich(X, score, derivative, source):
    """Covariance by sandwich over sources, corrected for few of them.

    As in `fit_robust`, each source's score is divided by the root of 1 - its leverage (Bell & McCaffrey 2002), and
    errors are those of Student's t, with the degrees of freedom that the sources behind each term leave.
    """
    number = number_labels(source)[1]
    inverse = np.linalg.pinv((X * derivative[:, None]).T @ X)
    leverage = np.bincount(number, derivative * np.einsum("ij,jk,ik->i", X, inverse, X))
    summed = np.column_stack([np.bincount(number, column) for column in (X * score[:, None]).T])
    summed /= np.sqrt(1 - np.clip(leverage, 0.0, MAX_LEVERAGE))[:, None]
    covariance = inverse @ (summed.T @ summed) @ inverse
    share = np.column_stack([np.bincount(number, derivative * column**2) for column in (X @ inverse).T])
    effective = share.sum(axis=0) ** 2 / (share**2).sum(axis=0)
    factor = student_factor(effective - X.shape[1] + 1)
    return covariance * np.outer(factor, factor)


def _standardise(residual, n_terms):
    """Residuals over their robust scale, and their weights; 0 beyond the rejection limit."""
    freedom = np.sqrt(len(residual) / max(len(residual) - n_terms, 1))
    scale = max(_MAD_TO_SIGMA * float(np.median(np.abs(residual))) * freedom, _ROUNDING)
    standard = residual / scale
    return standard, huber_weight(standard) * (np.abs(standard) < _OUTLIER_SIGMA)
