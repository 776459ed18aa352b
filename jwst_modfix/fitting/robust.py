"""Huber's estimator and the robust fit: scatter, outliers, variable sources."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import chi2, norm

from jwst_modfix.fitting.linear import LinearSystem, number_labels
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.table.table import MAD_TO_SIGMA

# Huber (1981, Robust Statistics, section 4); the efficiency is for Gaussian errors.
HUBER_TUNING, HUBER_EFFICIENCY = 1.345, 0.95
_TAIL = norm.sf(HUBER_TUNING)
# Expectation of psi(e)^2 for e of a unit Gaussian.
_MEAN_SQUARE = float(1 - 2 * _TAIL - 2 * HUBER_TUNING * norm.pdf(HUBER_TUNING) + 2 * HUBER_TUNING**2 * _TAIL)
# The leverage of a source that its residuals are corrected for, at most: beyond it one source determines a term.
_MAX_LEVERAGE = 0.9
_SMALL_LEVERAGE = 0.02  # below which a correction would change an error by less than 1%
_ELEMENTS = 2_000_000  # of covariances at once
# Student's t of fewer than 3 degrees of freedom has no standard deviation.
_LEAST_SOURCES = 4
_MAX_ITERATIONS = 100
# The residuals' scale and the terms have settled when a step is this small a part of the scale and the terms' errors.
_TOLERANCE = 1e-3
# Steps keep their length while the scale changes by less than this.
_STALE = 0.02
_SWEEPS = 4  # of weights and sources' means where no term is free: each leaves a fifth of the error
# A negligible step [mag], for terms that are only a gauge and have no error.
_ROUNDING = 1e-8
# Reason codes of ``RobustFit.rejected``.
USED, SINGLE, OUTLIER, VARIABLE = 0, 1, 2, 3
REASONS = ("used", "single", "outlier", "variable")
# Rejection: one of 2 million Gaussian residuals is an outlier by this rule.
OUTLIER_SIGMA = 5.0
# A source with two outliers, and with more than this share of them, varies as a whole ...
_OUTLIER_SHARE = 0.1
# ... and so does one whose epochs scatter by chance less often than this.
_VARIABLE_PROBABILITY = 1e-4
# A source has information on a combination of terms if it holds more than this share of it.
_INFORMED = 1e-8
# Rejections have settled when fewer measurements than this share still change sides.
_UNDECIDED = 1e-4
_MAX_ROUNDS = 6
# The scatter of this many residuals is known to 0.1%; more take time and add nothing. A prime number: residuals at
# equal steps then do not follow the dithers of a sorted table.
_SCATTER_SAMPLE = 499_979


def student_factor(effective_sources: ArrayLike) -> np.ndarray:
    """Compute the factor of sandwich errors for few sources, as of Student's t."""
    freedom = np.maximum(effective_sources, _LEAST_SOURCES) - 1
    return np.asarray(np.sqrt(freedom / (freedom - 2)))


def robust_width(values: np.ndarray) -> float:
    """Estimate the standard deviation from the MAD; NaN without values."""
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))) if len(values) else np.nan


def error_of_median(values: np.ndarray) -> float:
    """Estimate the error of the median of normal values; NaN without values."""
    # It is sqrt(pi / 2) times that of the mean.
    return float(np.sqrt(np.pi / 2 / max(len(values), 1)) * robust_width(values))


@dataclass(frozen=True, kw_only=True, eq=False)
class HuberProblem:
    """What stays the same through one robust fit."""

    system: LinearSystem
    free: np.ndarray  # (n_terms,) terms to solve for; the others are 0
    y: np.ndarray  # mag
    error: np.ndarray  # mag
    # From residuals, which rows are used, and the number of free terms to the scatter that is added to the errors in
    # quadrature [mag], and the factor of both.
    find_scale: Callable[[np.ndarray, np.ndarray, int], tuple[float, float]]
    robust: bool = True
    limit: float = np.inf  # sigmas beyond which a residual has no weight

    def invert(self, weight):
        """Invert for the free terms; find a basis of their null space."""
        if not self.free.any():
            return np.zeros(2 * self.free.shape), np.zeros((len(self.free), 0))
        return self.system.inform(weight).invert(self.free)


@dataclass(frozen=True, kw_only=True, eq=False)
class HuberFit:
    """State of the iteration."""

    values: np.ndarray  #: (n_terms,), mag or mag/arcmin; 0 where fixed
    residual: np.ndarray  #: (n,), measurement minus model, mag
    weight: np.ndarray  #: (n,), psi(e) / e over the variance, 1/mag^2; 0 where rejected
    derivative: np.ndarray  #: (n,), of the score psi(e), which takes the weight's place in the matrix of the sandwich
    base: np.ndarray  #: (n,), one over the variance, 0 where not used
    kept: np.ndarray  #: (n,), root of the share of a measurement's variance that its source's mean leaves
    sigma_int: float = 0.0  #: intrinsic scatter of one measurement, mag
    error_scale: float = 1.0  #: less where the given errors are too large by that factor
    scale: float = 1.0  #: typical error of a measurement, mag
    iterations: int = 0  #: number of re-weightings


def start_huber(problem, used, values=None, error_scale=1.0):
    """Start from given terms, or from 0, with the errors as given times a factor."""
    values = np.zeros(len(problem.free)) if values is None else np.asarray(values, float)
    base = used / (error_scale * problem.error) ** 2
    residual = problem.system.residual(base, problem.y, values)
    # The other arrays are found by the first step.
    return HuberFit(
        values=values, residual=residual, weight=base, derivative=base, base=base, kept=base, error_scale=error_scale
    )


def solve_huber(problem, used, fit):
    """Iterate weights, scale and terms to convergence (Huber 1981, section 7.8)."""
    # The step is `(X^T V^-1 X)^-1 X^T V^-1 psi`: the matrix has the variances V alone, not the weights of the
    # residuals, and is inverted again only when the scale has changed: with a thousand terms it takes most of the
    # time.
    system = problem.system
    # At a start from 0 the first residuals contain the terms themselves, and give no weights.
    robust = problem.robust and (fit.values.any() or fit.iterations > 0)
    fit = _rescale(problem, used, fit, fit.sigma_int, fit.error_scale, robust)
    matrix_scale, inverse = fit.scale, problem.invert(fit.base)[0]
    enough = 1 if problem.free.any() else _SWEEPS
    for _ in range(_MAX_ITERATIONS):
        if abs(fit.scale / matrix_scale - 1) > _STALE:
            matrix_scale, inverse = fit.scale, problem.invert(fit.base)[0]
        step, before = inverse @ system.score(fit.weight, fit.residual), fit.scale
        residual = system.residual(fit.weight, problem.y, fit.values + step)
        scale = problem.find_scale(residual / fit.kept, used, np.count_nonzero(problem.free))
        fit = replace(fit, values=fit.values + step, residual=residual, iterations=fit.iterations + 1)
        fit = _rescale(problem, used, fit, *scale, problem.robust)
        settled = abs(fit.scale - before) <= _TOLERANCE * before
        settled &= (np.abs(step) <= _TOLERANCE * np.sqrt(np.maximum(np.diag(inverse), 0)) + _ROUNDING).all()
        if settled and fit.iterations > enough:
            break
    return fit


def _rescale(problem, used, fit, sigma_int, error_scale, robust):
    """Find the weights of the residuals with a new scale."""
    base = used / (error_scale**2 * (problem.error**2 + sigma_int**2))
    kept = problem.system.kept_share(base)
    standard = fit.residual * np.sqrt(base) / kept
    weight, derivative = base, base
    if robust:
        weight = base * (HUBER_TUNING / np.maximum(np.abs(standard), HUBER_TUNING))
        derivative = base * (np.abs(standard) <= HUBER_TUNING)
    if np.isfinite(problem.limit):
        weight = weight * (np.abs(standard) < problem.limit)
    scale = error_scale * np.sqrt(np.mean(problem.error**2) + sigma_int**2)
    return replace(
        fit, weight=weight, derivative=derivative, base=base, kept=kept, sigma_int=sigma_int, error_scale=error_scale,
        scale=scale,
    )  # fmt: skip


def sandwich(problem, fit):
    """Compute the sandwich covariance over sources (Huber 1967) of the free terms.

    ``H^-1 (sum U U^T) H^-1`` with the scores U of the sources holds for correlated residuals of one source as well.
    Residuals of a source that determines a term are too small: they are corrected for the leverage of the source.
    """
    system, inverse = problem.system, problem.invert(fit.derivative)[0]
    score = correct_leverage(system, fit.derivative, inverse, fit.weight * fit.residual)
    return inverse @ system.source_products(score, np.ones(system.n_sources)) @ inverse


def correct_leverage(system: LinearSystem, weight: np.ndarray, covariance: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Correct scores for a source's leverage H: W^1/2 (I - H)^-1/2 W^-1/2 (CR2)."""
    # Bell & McCaffrey (2002, Survey Methodology 28, 169); with the magnitudes of sources eliminated: Pustejovsky &
    # Tipton (2018, J. Bus. Econ. Stat. 36, 672). Where the trace of H is small, nothing is corrected.
    # At most: without what the sources' magnitudes take.
    trace = system.per_source(weight * system.design.quadratic(covariance))
    corrected = score.copy()
    large, counts, n_terms = np.flatnonzero(trace > _SMALL_LEVERAGE), system.per_source(None), len(covariance)
    variance = system.mean_variance(weight)
    for count in np.unique(counts[large]).tolist():
        same = large[counts[large] == count]
        for first in range(0, len(same), step := max(_ELEMENTS // (count * max(count, n_terms)), 1)):
            sources = same[first : first + step]
            rows = system.find_rows(sources).reshape(-1, count)
            own, root = weight[rows], np.sqrt(weight[rows])
            matrix = system.design.take(rows.ravel()).project(covariance, len(rows))
            away = np.eye(count) - (own * variance[sources, None])[:, None, :]
            matrix = away @ matrix @ away.transpose(0, 2, 1)
            value, vector = np.linalg.eigh(root[:, :, None] * matrix * root[:, None, :])
            freed = np.divide(score[rows], root, out=np.zeros_like(root), where=root > 0)[..., None]
            freed = vector.transpose(0, 2, 1) @ freed / np.sqrt(1 - np.clip(value, 0.0, _MAX_LEVERAGE))[..., None]
            corrected[rows] = np.where(root > 0, root * (vector @ freed)[..., 0], score[rows])
    return corrected


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustFit(HuberFit):
    """A solution of the terms with everything that its covariance needs."""

    covariance: np.ndarray  #: (n_terms, n_terms), by sandwich over sources; 0 where fixed
    rejected: np.ndarray  #: (n,), USED, SINGLE (the source's only measurement), OUTLIER or VARIABLE
    chi2: float  #: sum of squared residuals over variances, of the measurements used


def fit_robust(
    system: LinearSystem, free: np.ndarray, measurements: Measurements, *, robust: bool = True, scatter: bool = True,
    start: RobustFit | None = None,
) -> RobustFit:  # fmt: skip
    """Solve for the free terms by Huber's estimator; ``start`` has initial weights."""
    # The scatter sigma_int is added in quadrature so that robust reduced chi-square is 1. Rejected are: a measurement
    # beyond 5 sigma; a whole source with two such measurements (and more than a tenth of all), or whose epochs
    # scatter with a chi-square that chance exceeds once in 10^4.
    known = None if scatter else (0.0, 1.0)
    problem, fit, rejected = settle(system, free, measurements, robust=robust, scale=known, start=start)
    chi2_used = float(np.sum(fit.base * fit.residual**2))
    covariance = sandwich(problem, fit) if robust or scatter else problem.invert(fit.derivative)[0]
    fit = replace(fit, residual=_residual(problem, fit, 1 / (problem.error**2 + fit.sigma_int**2)))
    return RobustFit(**vars(fit), covariance=covariance, rejected=rejected, chi2=chi2_used)


def settle(
    system: LinearSystem, free: np.ndarray, measurements: Measurements, *, robust: bool = True,
    scale: tuple[float, float] | None = None, start: RobustFit | None = None,
) -> tuple[HuberProblem, HuberFit, np.ndarray]:  # fmt: skip
    """Iterate terms, weights and rejections; ``scale``: known scatter, error factor."""
    error = measurements.mag_error

    def find_scale(residual, used, n_terms):
        if scale is not None:
            return scale
        freedom = np.count_nonzero(used) - np.count_nonzero(system.per_source(used))
        return _find_scatter(residual, error, used, max(1 - n_terms / max(freedom, 1), 0.2))

    problem = HuberProblem(
        system=system, free=free, y=measurements.mag, error=error, find_scale=find_scale, robust=robust
    )
    # A source measured once has no information on the terms.
    rejected = np.where(system.per_source(None)[system.source] < 2, SINGLE, USED).astype(np.int8)
    fit = start_huber(problem, rejected == USED)
    if start is not None:
        names = ("residual", "sigma_int", "error_scale", "iterations")
        rejected, fit = start.rejected, replace(fit, **{name: getattr(start, name) for name in names})
    fit = solve_huber(problem, rejected == USED, fit)
    for _ in range(_MAX_ROUNDS if robust else 0):
        found = _reject(problem, fit, rejected, measurements.epoch)
        if np.count_nonzero(found != rejected) <= _UNDECIDED * len(found):
            break
        rejected = found
        fit = solve_huber(problem, rejected == USED, fit)
    return problem, fit, rejected


def _find_scatter(residual, error, used, share):
    """Find scatter for robust reduced chi-square of 1 (Proposal 2), and error scale."""
    pick = np.flatnonzero(used)
    if len(pick) > _SCATTER_SAMPLE:
        pick = pick[np.linspace(0, len(pick) - 1, _SCATTER_SAMPLE).astype(int)]
    square, variance = residual[pick] ** 2, error[pick] ** 2

    def excess(added, factor=1.0):
        return np.mean(np.minimum(square / (factor * variance + added), HUBER_TUNING**2)) - _MEAN_SQUARE * share

    if excess(0.0) > 0:
        top = 10 * np.mean(square) + 1e-20
        return float(np.sqrt(brentq(excess, 0.0, top, xtol=1e-12))), 1.0
    floor = 1e-12
    if excess(0.0, floor) <= 0:
        return 0.0, float(np.sqrt(floor))
    factor = np.exp(brentq(lambda x: excess(0.0, np.exp(x)), np.log(floor), 0.0, xtol=1e-4))
    return 0.0, float(np.sqrt(factor))


def _reject(problem, fit, before, epoch):
    """Apply the rejection rules to all measurements, those rejected before included."""
    # The errors are those given, even where the residuals are smaller: otherwise each rejection shrinks the scale by
    # which the next is judged, until the few that are left agree by selection, with an error that is far too small.
    system = problem.system
    base = 1 / (problem.error**2 + fit.sigma_int**2)
    standard = _residual(problem, fit, base) * np.sqrt(base) / system.kept_share(base)
    outlier = (np.abs(standard) > OUTLIER_SIGMA) & (before != SINGLE)
    count = system.per_source(outlier)
    variable = (count >= 2) & (count > _OUTLIER_SHARE * system.per_source(None))
    variable |= _epochs_scatter(system, base * ~outlier, problem.y - system.design @ fit.values, epoch)
    found = np.where(outlier, OUTLIER, USED)
    found[variable[system.source]] = VARIABLE
    alone = system.per_source(found == USED)[system.source] < 2
    found[(found == USED) & alone] = OUTLIER
    found[before == SINGLE] = SINGLE
    if np.count_nonzero(found != before) <= _UNDECIDED * len(found):
        return before
    # As in the step that follows, whose normal matrix is then known.
    base = 1 / (fit.error_scale**2 * (problem.error**2 + fit.sigma_int**2))
    link = _find_links(problem, base * (before != SINGLE), found == USED)[system.source]
    found[link & (before != SINGLE)] = USED
    return found.astype(np.int8)


def _find_links(problem, weight, used):
    """Find sources that alone constrain a combination of terms: those of a link."""
    # If one of few sources varies, a fit can follow it and reject the others. They stay: Huber's weights decide.
    system = problem.system
    found = np.zeros(system.n_sources, dtype=bool)
    for direction in problem.invert(weight * used)[1].T:
        pull, whole = system.residual(weight, 0.0, direction), np.sum(weight * (system.design @ direction) ** 2)
        found |= system.per_source(weight * pull**2) > _INFORMED * whole
    return found


def _residual(problem, fit, base):
    """Subtract the source's robust mean, or its plain mean if all are rejected."""
    system = problem.system
    empty = system.per_source(fit.weight)[system.source] == 0
    return system.residual(np.where(empty, base, fit.weight), problem.y, fit.values)


def _epochs_scatter(system, weight, left, epoch):
    """Find sources whose means in the epochs scatter far more than their errors."""
    residual = left - system.source_mean(weight, left)[system.source]
    epochs, number = number_labels(epoch)
    visit, place = number_labels(system.source.astype(np.int64) * len(epochs) + number)
    total, moment = np.bincount(place, weight), np.bincount(place, weight * residual)
    square = np.divide(moment**2, total, out=np.zeros_like(total), where=total > 0)
    owner = visit // len(epochs)
    between = np.bincount(owner, square, system.n_sources)
    freedom = np.bincount(owner[total > 0], minlength=system.n_sources) - 1
    limit = chi2.isf(_VARIABLE_PROBABILITY, np.maximum(np.arange(freedom.max() + 1), 1))
    return (freedom > 0) & (between > limit[np.maximum(freedom, 0)])
