"""Huber's M-estimator, and the robust solution of a reduced system."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.optimize import brentq
from scipy.stats import chi2, norm

from jwst_modfix.fitting.measurements import number_labels
from jwst_modfix.fitting.normal import generalised_inverse

__all__ = [
    "HUBER_TUNING",
    "MAD_TO_SIGMA",
    "MAX_LEVERAGE",
    "OUTLIER",
    "SINGLE",
    "USED",
    "VARIABLE",
    "RobustFit",
    "fit_robust",
    "fit_scatter",
    "huber_derivative",
    "huber_weight",
    "mean_square_huber",
    "student_factor",
]


# 95 % efficiency for Gaussian errors (Huber 1981, Robust Statistics, section 4).
HUBER_TUNING = 1.345
# Standard deviation of a normal distribution over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
# The leverage of a source that its residuals are corrected for, at most: beyond, a term hangs on that source.
MAX_LEVERAGE = 0.9
# The scatter of this many residuals is known to 0.1 %: more would cost time and tell nothing. A prime, so that an
# even pick does not fall in step with the dithers of a sorted table.
_SCATTER_SAMPLE = 499_979
# Student's t of fewer than 3 degrees of freedom has no standard deviation.
_LEAST_SOURCES = 4


def huber_weight(residual, tuning=HUBER_TUNING):
    """Weight psi(e) / e of Huber's estimator."""
    return tuning / np.maximum(np.abs(residual), tuning)


def huber_derivative(residual, tuning=HUBER_TUNING):
    """Differentiate Huber's psi."""
    return (np.abs(residual) <= tuning).astype(float)


def mean_square_huber(tuning=HUBER_TUNING):
    """Compute the expectation of psi(e)^2 for e of a unit Gaussian."""
    tail = norm.sf(tuning)
    return float(1 - 2 * tail - 2 * tuning * norm.pdf(tuning) + 2 * tuning**2 * tail)


def student_factor(effective_sources):
    """Find the factor by which the errors of a sandwich grow for the few sources behind a term.

    An error from few sources is too small more often than not: it gets the standard deviation of Student's t, with one
    degree of freedom less than there are sources.
    """
    freedom = np.maximum(effective_sources, _LEAST_SOURCES) - 1
    return np.sqrt(freedom / (freedom - 2))


def fit_scatter(residual, error, share):
    """Scatter to add in quadrature so that robust reduced chi-square is 1 (Huber's Proposal 2)."""
    if len(residual) > _SCATTER_SAMPLE:
        pick = np.linspace(0, len(residual) - 1, _SCATTER_SAMPLE).astype(int)
        residual, error = residual[pick], error[pick]
    variance = error**2
    expected = mean_square_huber() * share

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


# Reason codes of ``RobustFit.rejected``.
USED, SINGLE, OUTLIER, VARIABLE = 0, 1, 2, 3
# Rejection: one of 2 million Gaussian residuals is an outlier by this rule.
_OUTLIER_SIGMA = 5.0
# A source with two outliers, and with more than this share of them, varies as a whole ...
_OUTLIER_SHARE = 0.1
# ... and so does one whose epochs scatter by chance less often than this.
_VARIABLE_PROBABILITY = 1e-4
# Rejections have settled when fewer measurements than this share still change sides.
_UNDECIDED = 1e-4
_MAX_ITERATIONS = 100
_MAX_ROUNDS = 6
# The residuals' scale and the terms have settled when a step is this small a part of a term's error.
_TOLERANCE = 1e-3
# Steps keep their length while the scatter changes by less than this.
_STALE = 0.02
# A step [mag] that is nothing, for terms that are a mere gauge and have no error.
_ROUNDING = 1e-8


@dataclass(frozen=True, eq=False)
class RobustFit:
    """
    A solution of the terms with everything that its covariance needs.

    Parameters
    ----------
    values : numpy.ndarray, shape (n_terms,)
        Terms [mag or mag/arcmin]; 0 where fixed.
    covariance : numpy.ndarray, shape (n_terms, n_terms)
        Their covariance, by sandwich over sources; 0 where fixed.
    residual : numpy.ndarray, shape (n,)
        Measurement minus model [mag].
    weight : numpy.ndarray, shape (n,)
        Final weights [1/mag^2]; 0 where rejected.
    derivative : numpy.ndarray, shape (n,)
        Derivative of the score, which takes the weight's place in the sandwich [1/mag^2].
    rejected : numpy.ndarray of int, shape (n,)
        ``USED``, ``SINGLE`` (the source's only measurement), ``OUTLIER`` or ``VARIABLE``.
    sigma_int : float
        Intrinsic scatter of one measurement [mag].
    error_scale : float
        1, or less where the given errors are too large by that factor.
    chi2 : float
        Sum of squared residuals over variances, of the measurements used.
    iterations : int
        Number of re-weightings in all.
    """

    values: np.ndarray
    covariance: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
    derivative: np.ndarray
    rejected: np.ndarray
    sigma_int: float
    error_scale: float
    chi2: float
    iterations: int


@dataclass(frozen=True, eq=False)
class _Data:
    """What stays the same through one robust fit."""

    system: object
    transform: np.ndarray
    mag: np.ndarray
    error: np.ndarray
    epoch: np.ndarray
    robust: bool
    scatter: bool


@dataclass(frozen=True, eq=False)
class _Metric:
    """Inverse of the normal matrix before residuals are weighed down, the terms' errors by it, and its scatter."""

    inverse: np.ndarray
    error: np.ndarray
    scatter: float

    def is_stale(self, scatter):
        """Whether the scatter has moved so far that steps would be too long or too short."""
        return abs(scatter / self.scatter - 1) > _STALE


@dataclass(frozen=True, eq=False)
class _State:
    """What one re-weighting hands to the next."""

    theta: np.ndarray
    residual: np.ndarray
    weight: np.ndarray
    leverage: np.ndarray
    base: np.ndarray
    sigma_int: float
    error_scale: float
    iterations: int

    @property
    def standard(self):
        """Residuals over their own standard deviation."""
        return self.residual * np.sqrt(self.base) / self.leverage


def fit_robust(model, free, mag, mag_error, epoch, *, robust=True, scatter=True):
    """Solve for the free terms.

    Huber's estimator for the terms and the sources' magnitudes together, by iterated re-weighting. The scatter
    sigma_int is added in quadrature so that robust reduced chi-square is 1. Rejected are: a measurement beyond 5 sigma;
    a source, whole, with two such (and more than a tenth of its measurements), or whose epochs scatter with a
    chi-square that chance exceeds once in 10^4. The covariance is the sandwich ``H^-1 (sum U U^T) H^-1`` over sources
    (Huber 1967), each ``U U^T`` divided by 1 - leverage of its source (Bell & McCaffrey 2002, with the trace for the
    matrix): it holds for correlated residuals of one source as well.
    """
    data = _Data(model.system, model.transform[:, free], mag, mag_error, epoch, robust, scatter)
    rejected = _single(data.system)
    state = _reweight(data, rejected, _start(data, rejected))
    for _ in range(_MAX_ROUNDS if robust else 0):
        found = _reject(data, state, rejected)
        if np.count_nonzero(found != rejected) <= _UNDECIDED * len(found):
            break
        rejected = found
        state = _reweight(data, rejected, state)
    return _conclude(data, rejected, state, free)


def _single(system):
    """Mark sources measured once, which say nothing of the terms."""
    count = np.bincount(system.source)
    return np.where(count[system.source] < 2, SINGLE, USED).astype(np.int8)


def _start(data, rejected):
    n = len(data.mag)
    scale = np.ones(n)
    theta = np.zeros(data.transform.shape[1])
    residual = data.mag - data.system.source_mean((rejected == USED) / data.error**2, data.mag)[data.system.source]
    return _State(theta, residual, scale, scale, scale, 0.0, 1.0, 0)


def _reweight(data, rejected, state):
    """Iterate weights, scatter and terms until they settle (modified residuals: Huber 1981, section 7.8)."""
    used = rejected == USED
    base = used / (state.error_scale**2 * (data.error**2 + state.sigma_int**2))
    state = replace(state, weight=base, base=base, leverage=_leverage(data.system, base))
    metric = _find_metric(data, state)
    for _ in range(_MAX_ITERATIONS):
        before, state = state, _step(data, used, state, metric)
        change = np.abs(state.theta - before.theta)
        settled = abs(state.sigma_int - before.sigma_int) <= 1e-3 * np.sqrt(np.mean(data.error**2))
        if before.iterations and settled and (change <= _TOLERANCE * metric.error + _ROUNDING).all():
            break
        if not (data.robust or data.scatter):
            break
        if metric.is_stale(_typical_scatter(data, state)):
            metric = _find_metric(data, state)
    return state


def _step(data, used, state, metric):
    """Move the terms once with given weights, and find the scatter of the residuals."""
    theta = state.theta + metric.inverse @ (data.transform.T @ data.system.right_side(state.weight, state.residual))
    residual = data.mag - data.system.predict(data.transform @ theta)
    residual -= data.system.source_mean(state.weight, residual)[data.system.source]
    sigma_int, scale = _scatter(data, used, residual / state.leverage, len(theta))
    base = used / (scale**2 * (data.error**2 + sigma_int**2))
    found = _State(theta, residual, base, _leverage(data.system, base), base, sigma_int, scale, state.iterations + 1)
    return replace(found, weight=base * huber_weight(found.standard)) if data.robust else found


def _find_metric(data, state):
    """Invert the normal matrix of these errors; what has no information keeps its value, as a gauge does."""
    T = data.transform
    inverse, _ = generalised_inverse(*(T.T @ part @ T for part in data.system.normal_matrix(state.base)))
    return _Metric(inverse, np.sqrt(np.maximum(np.diag(inverse), 0)), _typical_scatter(data, state))


def _typical_scatter(data, state):
    return state.error_scale * np.sqrt(np.mean(data.error**2) + state.sigma_int**2)


def _leverage(system, base):
    """Square root of the share of its variance that a residual keeps when its source's mean is taken off."""
    total = np.bincount(system.source, base, system.n_sources)[system.source]
    share = np.divide(base, total, out=np.ones_like(base), where=total > 0)
    return np.sqrt(np.maximum(1 - share, 1e-6))


def _scatter(data, used, residual, n_terms):
    """Scatter and error scale from the residuals of the measurements used."""
    if not data.scatter:
        return 0.0, 1.0
    freedom = np.count_nonzero(used) - np.count_nonzero(np.bincount(data.system.source[used]))
    share = max(1 - n_terms / max(freedom, 1), 0.2)
    return fit_scatter(residual[used], data.error[used], share)


def _reject(data, state, before):
    """Apply the rejection rules to all measurements, those rejected before included.

    The errors are those given, even where the residuals are smaller: else each rejection shrinks the scale, by which
    the next is judged, until the few that are left agree by selection, with an error that is far too small.
    """
    source, n = data.system.source, data.system.n_sources
    base = 1 / (data.error**2 + state.sigma_int**2)
    standard = _against_source(data, state, base)
    outlier = (np.abs(standard) > _OUTLIER_SIGMA) & (before != SINGLE)
    count, total = np.bincount(source[outlier], minlength=n), np.bincount(source, minlength=n)
    variable = (count >= 2) & (count > _OUTLIER_SHARE * total)
    variable |= _scatters(data, base * ~outlier, state)
    found = np.where(outlier, OUTLIER, USED)
    found[variable[source] & (before != SINGLE)] = VARIABLE
    left = np.bincount(source[found == USED], minlength=n)[source] < 2
    found[(found == USED) & left] = OUTLIER
    found[before == SINGLE] = SINGLE
    return found.astype(np.int8)


def _against_source(data, state, base):
    """Standardised residuals against the robust mean of the source, also where the source has no weight."""
    total = np.bincount(data.system.source, base, data.system.n_sources)[data.system.source]
    residual = data.mag - data.system.predict(data.transform @ state.theta)
    robust_mean = data.system.source_mean(_fallback(data.system, state.weight, base), residual)
    return (residual - robust_mean[data.system.source]) * np.sqrt(base / np.maximum(1 - base / total, 1e-6))


def _fallback(system, weight, base):
    """Take the weights, or the plain ones in sources that have none left."""
    empty = np.bincount(system.source, weight, system.n_sources)[system.source] == 0
    return np.where(empty, base, weight)


def _scatters(data, base, state):
    """Find sources whose epoch means scatter far more than their errors."""
    source, n = data.system.source, data.system.n_sources
    residual = data.mag - data.system.predict(data.transform @ state.theta)
    residual = residual - data.system.source_mean(base, residual)[source]
    _, epoch = number_labels(data.epoch)
    visit, inverse = number_labels(source.astype(np.int64) * (epoch.max() + 1) + epoch)
    weight = np.bincount(inverse, base)
    moment = np.bincount(inverse, base * residual)
    square = np.divide(moment**2, weight, out=np.zeros_like(weight), where=weight > 0)
    owner = visit // (epoch.max() + 1)
    between = np.bincount(owner, square, n)
    freedom = np.bincount(owner[weight > 0], minlength=n) - 1
    limit = chi2.isf(_VARIABLE_PROBABILITY, np.maximum(np.arange(freedom.max() + 1), 1))
    return (freedom > 0) & (between > limit[np.maximum(freedom, 0)])


def _conclude(data, rejected, state, free):
    """Sandwich covariance over sources, and the result in all terms."""
    if data.robust:
        derivative = state.base * huber_derivative(state.standard)
        weight = state.base * huber_weight(state.standard)
    else:
        derivative = weight = state.base
    covariance = _sandwich(data, weight, derivative, state.residual)
    values, full = np.zeros(len(free)), np.zeros((len(free), len(free)))
    values[free] = state.theta
    full[np.ix_(free, free)] = covariance
    total = float(np.sum(state.base * state.residual**2))
    return RobustFit(
        values, full, state.residual, weight, derivative, rejected,
        state.sigma_int, state.error_scale, total, state.iterations,
    )  # fmt: skip


def _sandwich(data, weight, derivative, residual):
    """Sandwich over sources, or ``H^-1`` where the errors are taken as given."""
    T = data.transform
    normal, gram = data.system.normal_matrix(derivative)
    inverse, _ = generalised_inverse(T.T @ normal @ T, T.T @ gram @ T)
    if not (data.robust or data.scatter):
        return inverse
    leverage = np.clip(data.system.leverage(derivative, T @ inverse @ T.T), 0.0, MAX_LEVERAGE)
    score = sparse.diags_array(1 / np.sqrt(1 - leverage)) @ data.system.source_sums(weight * residual)
    return inverse @ (T.T @ (score.T @ score).toarray() @ T) @ inverse
