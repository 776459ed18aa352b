"""The robust fit of a network: scatter of the measurements, outliers and variable sources."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2

from jwst_modfix.fitting.least_squares import (
    HUBER_TUNING,
    HuberProblem,
    LinearSystem,
    huber_mean_square,
    number_labels,
    sandwich,
    solve_huber,
    start_huber,
)
from jwst_modfix.fitting.measurements import Measurements

__all__ = ["OUTLIER", "REASONS", "SINGLE", "USED", "VARIABLE", "RobustFit", "fit_robust"]


# Reason codes of ``RobustFit.rejected``.
USED, SINGLE, OUTLIER, VARIABLE = 0, 1, 2, 3
REASONS = ("used", "single", "outlier", "variable")
# Rejection: one of 2 million Gaussian residuals is an outlier by this rule.
_OUTLIER_SIGMA = 5.0
# A source with two outliers, and with more than this share of them, varies as a whole ...
_OUTLIER_SHARE = 0.1
# ... and so does one whose epochs scatter by chance less often than this.
_VARIABLE_PROBABILITY = 1e-4
# Rejections have settled when fewer measurements than this share still change sides.
_UNDECIDED = 1e-4
_MAX_ROUNDS = 6
# The scatter of this many residuals is known to 0.1%; more take time and add nothing. A prime, so that an even pick
# does not fall in step with the dithers of a sorted table.
_SCATTER_SAMPLE = 499_979


@dataclass(frozen=True, kw_only=True, eq=False)
class RobustFit:
    """A solution of the terms with everything that its covariance needs."""

    values: np.ndarray  # (n_terms,), mag or mag/arcmin; 0 where fixed
    covariance: np.ndarray  # (n_terms, n_terms), by sandwich over sources; 0 where fixed
    residual: np.ndarray  # (n,), measurement minus model, mag
    weight: np.ndarray  # (n,), 1/mag^2; 0 where rejected
    derivative: np.ndarray  # (n,), derivative of the score, the weight of the sandwich's matrix, 1/mag^2
    rejected: np.ndarray  # (n,), USED, SINGLE (the source's only measurement), OUTLIER or VARIABLE
    sigma_int: float  # intrinsic scatter of one measurement, mag
    error_scale: float  # 1, or less where the given errors are too large by that factor
    chi2: float  # sum of squared residuals over variances, of the measurements used
    iterations: int  # number of re-weightings in all


def fit_robust(
    system: LinearSystem, free: np.ndarray, measurements: Measurements, *, robust: bool = True, scatter: bool = True
) -> RobustFit:
    """Solve for the free terms by Huber's estimator.

    The scatter sigma_int is added in quadrature so that robust reduced chi-square is 1. Rejected are: a measurement
    beyond 5 sigma; a whole source with two such measurements (and more than a tenth of all), or whose epochs scatter
    with a chi-square that chance exceeds once in 10^4.
    """
    error = measurements.mag_error

    def find_scale(residual, used, n_terms):
        if not scatter:
            return 0.0, 1.0
        freedom = np.count_nonzero(used) - np.count_nonzero(system.per_source(used))
        return _find_scatter(residual[used], error[used], max(1 - n_terms / max(freedom, 1), 0.2))

    problem = HuberProblem(
        system=system, free=free, y=measurements.mag, error=error, find_scale=find_scale,
        robust=robust, rescale=scatter,
    )  # fmt: skip
    # A source measured once has no information on the terms.
    rejected = np.where(system.per_source(None)[system.source] < 2, SINGLE, USED).astype(np.int8)
    fit = solve_huber(problem, rejected == USED, start_huber(problem, rejected == USED))
    for _ in range(_MAX_ROUNDS if robust else 0):
        found = _reject(problem, fit, rejected, measurements.epoch)
        if np.count_nonzero(found != rejected) <= _UNDECIDED * len(found):
            break
        rejected = found
        fit = solve_huber(problem, rejected == USED, fit)
    return RobustFit(
        values=fit.values,
        covariance=sandwich(problem, fit, as_given=not (robust or scatter)),
        residual=_residual(problem, fit, 1 / (error**2 + fit.sigma_int**2)),
        weight=fit.weight,
        derivative=fit.derivative if robust else fit.base,
        rejected=rejected,
        sigma_int=fit.sigma_int,
        error_scale=fit.error_scale,
        chi2=float(np.sum(fit.base * fit.residual**2)),
        iterations=fit.iterations,
    )


def _find_scatter(residual, error, share):
    """Scatter to add in quadrature so that robust reduced chi-square is 1 (Huber's Proposal 2), and error scale."""
    if len(residual) > _SCATTER_SAMPLE:
        pick = np.linspace(0, len(residual) - 1, _SCATTER_SAMPLE).astype(int)
        residual, error = residual[pick], error[pick]
    variance = error**2
    expected = huber_mean_square() * share

    def excess(added, factor=1.0):
        standard = residual / np.sqrt(factor * variance + added)
        return np.mean(np.minimum(np.abs(standard), HUBER_TUNING) ** 2) - expected

    if excess(0.0) > 0:
        top = 10 * np.mean(residual**2) + 1e-20
        return float(np.sqrt(brentq(excess, 0.0, top, xtol=1e-12))), 1.0
    floor = 1e-12
    if excess(0.0, floor) <= 0:
        return 0.0, float(np.sqrt(floor))
    factor = np.exp(brentq(lambda x: excess(0.0, np.exp(x)), np.log(floor), 0.0, xtol=1e-4))
    return 0.0, float(np.sqrt(factor))


def _reject(problem, fit, before, epoch):
    """Apply the rejection rules to all measurements, those rejected before included.

    The errors are those given, even where the residuals are smaller: otherwise each rejection shrinks the scale by
    which the next is judged, until the few that are left agree by selection, with an error that is far too small.
    """
    system = problem.system
    base = 1 / (problem.error**2 + fit.sigma_int**2)
    standard = _residual(problem, fit, base) * np.sqrt(base) / system.kept_share(base)
    outlier = (np.abs(standard) > _OUTLIER_SIGMA) & (before != SINGLE)
    count = system.per_source(outlier)
    variable = (count >= 2) & (count > _OUTLIER_SHARE * system.per_source(None))
    variable |= _epochs_scatter(system, base * ~outlier, problem.y - system.design @ fit.values, epoch)
    found = np.where(outlier, OUTLIER, USED)
    found[variable[system.source]] = VARIABLE
    alone = system.per_source(found == USED)[system.source] < 2
    found[(found == USED) & alone] = OUTLIER
    found[before == SINGLE] = SINGLE
    return found.astype(np.int8)


def _residual(problem, fit, base):
    """Residuals against the robust mean of the source, or the plain mean where all its measurements are rejected."""
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
