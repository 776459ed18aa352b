"""Least squares with the magnitude of every source eliminated: normal equations, Huber's estimator, covariance."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.stats import norm

__all__ = [
    "HUBER_TUNING",
    "MAD_TO_SIGMA",
    "NULL_SHARE",
    "HuberFit",
    "HuberProblem",
    "LinearSystem",
    "generalised_inverse",
    "huber_mean_square",
    "make_design",
    "number_labels",
    "sandwich",
    "solve_huber",
    "start_huber",
    "student_factor",
]


# Information on a combination of terms below this share of what the measurements held before the sources
# were eliminated is rounding (double precision leaves ~1e-13): that combination is a gauge or a degeneracy.
NULL_SHARE = 1e-10
# Rows taken at once, which bounds the memory: of dense rows, where columns are few and BLAS is faster than sparse
# products, and of sparse rows.
_FEW_COLUMNS = 64
_DENSE_ROWS = 20_000
_SPARSE_ROWS = 200_000


# Counting is faster than sorting where the labels' range is at most this many times their number.
_SPARSEST = 4


def number_labels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted labels, and the place of each value among them, as `numpy.unique` does in 14 times the time."""
    least = int(values.min()) if len(values) else 0
    span = int(values.max()) - least + 1 if len(values) else 0
    if span > _SPARSEST * len(values) or not len(values):
        labels, number = np.unique(values, return_inverse=True)
        return labels, number
    shifted = values.astype(np.int64) - least
    there = np.bincount(shifted, minlength=span) > 0
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[shifted]


def make_design(columns, values, n_terms):
    """Lay out a sparse design from the column and the value of each entry, both of shape (n, entries in a row)."""
    n, entries = values.shape
    pointer = np.arange(0, n * entries + 1, entries)
    return sparse.csr_array((values.ravel(), columns.astype(np.int32).ravel(), pointer), shape=(n, n_terms))


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """
    The model ``y = M[source] + design @ beta`` for n measurements.

    M, the magnitude of each source, is eliminated (Schur complement), so that only the matrices of the global terms
    beta are dense. With ``eliminate=False`` there is no M, and sources only tell which rows are correlated.
    """

    design: sparse.csr_array  # (n, n_terms), the same number of entries in each row
    source: np.ndarray  # (n,), numbered from 0 without gaps
    eliminate: bool = True

    @cached_property
    def n_sources(self):
        """Number of sources."""
        return int(self.source.max()) + 1

    @cached_property
    def _order(self):
        """Rows ordered by source, and the edges of each source among them."""
        counts = np.bincount(self.source, minlength=self.n_sources)
        return np.argsort(self.source, kind="stable").astype(np.int32), np.concatenate([[0], np.cumsum(counts)])

    def rows_of(self, first, last):
        """Find the rows of a range of sources, and where each source starts among them."""
        order, edges = self._order
        return order[edges[first] : edges[last]], edges[first:last] - edges[first]

    def split_sources(self, n_rows):
        """Split the sources into ranges of about ``n_rows`` rows."""
        edges, first = self._order[1], 0
        while first < self.n_sources:
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + n_rows, side="right")) - 1)
            yield first, last
            first = last

    def per_source(self, values):
        """Sum values over each source."""
        return np.bincount(self.source, values, self.n_sources)

    def source_sums(self, weight):
        """Sum weighted design rows over each source."""
        order, edges = self._order
        grouped = sparse.csr_array((weight[order], order, edges), shape=(self.n_sources, len(order)))
        return grouped @ self.design

    def source_mean(self, weight, y):
        """Weighted mean over each source: the estimate of M; 0 where M is not part of the model."""
        if not self.eliminate:
            return np.zeros(self.n_sources)
        return self.per_source(weight * y) * _invert(self.per_source(weight))

    def residual(self, weight, y, beta):
        """Subtract the terms and the sources' means."""
        left = y - self.design @ beta
        return left - self.source_mean(weight, left)[self.source]

    def normal_matrix(self, weight):
        """Weighted normal matrix of the global terms, after and before the sources are eliminated."""
        gram = _square(self.design, weight)
        if not self.eliminate:
            return gram, gram
        return gram - _square(self.source_sums(weight), _invert(self.per_source(weight))), gram

    def score(self, weight, residual):
        """Right side of the normal equations for a step from given residuals."""
        return self.design.T @ (weight * (residual - self.source_mean(weight, residual)[self.source]))

    def kept_share(self, weight):
        """Root of the share of its variance that a residual keeps when its source's mean is subtracted."""
        if not self.eliminate:
            return np.ones(len(weight))
        total = self.per_source(weight)[self.source]
        share = np.divide(weight, total, out=np.ones_like(weight), where=total > 0)
        return np.sqrt(np.maximum(1 - share, 1e-6))

    def leverage(self, weight, covariance):
        """Leverage of each source on all terms together: trace of the covariance times its part of the information."""
        n = len(weight)
        columns, values = (part.reshape(n, -1) for part in (self.design.indices, self.design.data))
        quadratic = np.zeros(n)
        for a, one in zip(columns.T, values.T, strict=True):
            for b, other in zip(columns.T, values.T, strict=True):
                quadratic += covariance[a, b] * one * other
        total = self.per_source(weight * quadratic)
        if not self.eliminate:
            return total
        sums, taken = self.source_sums(weight), np.zeros(self.n_sources)
        for start in range(0, self.n_sources, _DENSE_ROWS):
            part = sums[start : start + _DENSE_ROWS]
            taken[start : start + _DENSE_ROWS] = part.multiply(part @ covariance).sum(axis=1)
        return total - taken * _invert(self.per_source(weight))

    def effective_sources(self, weight, influence):
        """
        Count the sources that constrain a combination of terms.

        With the shares s that the sources have in its information, ``(sum s)^2 / sum s^2`` (Kish): n sources of equal
        shares count n, and one source with all the information counts 1.
        """
        pull = self.design @ influence
        pull -= self.source_mean(weight, pull)[self.source]
        share = self.per_source(weight * pull**2)
        square = np.sum(share**2)
        # Rounded, so that 10 equal sources are not fewer than 10.
        return round(float(np.sum(share) ** 2 / square), 9) if square > 0 else 0.0


def generalised_inverse(matrix, gram):
    """Inverse of a symmetric matrix without its null space, and vectors that span the null space.

    Contrasts that the data determine, such as z_A - z_B, do not depend on which generalised inverse is taken.
    """
    scale = np.diag(gram)
    root = np.sqrt(np.where(scale > 0, scale, 1.0))
    eigenvalue, vector = np.linalg.eigh(matrix / np.outer(root, root))
    kept = eigenvalue > NULL_SHARE
    inverse = (vector[:, kept] / eigenvalue[kept]) @ vector[:, kept].T
    return inverse / np.outer(root, root), vector[:, ~kept]


def _invert(total):
    return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)


def _square(rows, weight):
    """Compute ``rows.T @ diag(weight) @ rows`` of sparse rows."""
    n = rows.shape[1]
    total, dense = np.zeros((n, n)), n <= _FEW_COLUMNS
    step = _DENSE_ROWS if dense else _SPARSE_ROWS
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        part.data *= np.repeat(np.sqrt(weight[start : start + step]), np.diff(part.indptr))
        part = part.toarray() if dense else part
        square = part.T @ part
        total += square if dense else square.toarray()
    return total


# 95% efficiency for Gaussian errors (Huber 1981, Robust Statistics, section 4).
HUBER_TUNING = 1.345
# Standard deviation of a normal distribution over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
# The leverage of a source that its residuals are corrected for, at most: beyond it one source determines a term.
_MAX_LEVERAGE = 0.9
# Student's t of fewer than 3 degrees of freedom has no standard deviation.
_LEAST_SOURCES = 4
_MAX_ITERATIONS = 100
# The residuals' scale and the terms have settled when a step is this small a part of the scale and the terms' errors.
_TOLERANCE = 1e-3
# Steps keep their length while the scale changes by less than this.
_STALE = 0.02
# A step [mag] that is nothing, for terms that are a gauge only and have no error.
_ROUNDING = 1e-8


def huber_mean_square(tuning=HUBER_TUNING):
    """Compute the expectation of psi(e)^2 for e of a unit Gaussian."""
    tail = norm.sf(tuning)
    return float(1 - 2 * tail - 2 * tuning * norm.pdf(tuning) + 2 * tuning**2 * tail)


def student_factor(effective_sources: ArrayLike) -> np.ndarray:
    """Find the factor by which the errors of a sandwich grow for few sources.

    An error from few sources is too small more often than not: it gets the standard deviation of Student's t, with one
    degree of freedom less than there are sources.
    """
    freedom = np.maximum(effective_sources, _LEAST_SOURCES) - 1
    return np.asarray(np.sqrt(freedom / (freedom - 2)))


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
    rescale: bool = True  # False: one step, with the errors as given
    limit: float = np.inf  # sigmas beyond which a residual has no weight


@dataclass(frozen=True, kw_only=True, eq=False)
class HuberFit:
    """State of the iteration."""

    values: np.ndarray  # (n_terms,)
    residual: np.ndarray  # (n,), mag
    weight: np.ndarray  # (n,), psi(e) / e over the variance, 1/mag^2
    base: np.ndarray  # (n,), one over the variance, 0 where not used
    standard: np.ndarray  # (n,), residuals over their own standard deviation
    sigma_int: float = 0.0  # mag
    error_scale: float = 1.0
    iterations: int = 0

    @property
    def derivative(self):
        """Derivative of the score psi(e), which takes the weight's place in the matrix of the sandwich."""
        return self.base * (np.abs(self.standard) <= HUBER_TUNING)


def start_huber(problem, used, values=None, error_scale=1.0):
    """Start from given terms, or from 0, with the errors as given times a factor."""
    values = np.zeros(len(problem.free)) if values is None else np.asarray(values, float)
    base = used / (error_scale * problem.error) ** 2
    residual = problem.system.residual(base, problem.y, values)
    return HuberFit(
        values=values, residual=residual, weight=base, base=base, standard=residual, error_scale=error_scale
    )


def solve_huber(problem, used, fit):
    """Iterate weights, scale and terms until they settle (Huber 1981, section 7.8: modified residuals).

    The step is ``(X^T V^-1 X)^-1 X^T V^-1 psi``: the matrix has the variances V alone, not the weights of the
    residuals, and is inverted again only when the scale has changed: with a thousand terms it takes most of the time.
    """
    # The first residuals of a start from 0 hold the terms themselves: no weights from them.
    robust = problem.robust and fit.values.any()
    fit = _rescale(problem, used, fit, fit.sigma_int, fit.error_scale, robust)
    matrix_scale, inverse = _typical_scale(problem, fit), _invert_free(problem, fit.base)
    for _ in range(_MAX_ITERATIONS):
        before, scale = fit, _typical_scale(problem, fit)
        fit = _step(problem, used, fit, inverse)
        change = np.abs(fit.values - before.values)[problem.free]
        settled = abs(_typical_scale(problem, fit) - scale) <= _TOLERANCE * scale
        error = np.sqrt(np.maximum(np.diag(inverse), 0))
        if before.iterations and settled and (change <= _TOLERANCE * error + _ROUNDING).all():
            break
        if not (problem.robust or problem.rescale):
            break
        if abs(_typical_scale(problem, fit) / matrix_scale - 1) > _STALE:
            matrix_scale, inverse = _typical_scale(problem, fit), _invert_free(problem, fit.base)
    return fit


def _step(problem, used, fit, inverse):
    """Move the terms once with given weights, and find the scale of the new residuals."""
    system, values = problem.system, fit.values.copy()
    values[problem.free] += inverse @ system.score(fit.weight, fit.residual)[problem.free]
    residual = system.residual(fit.weight, problem.y, values)
    sigma_int, error_scale = problem.find_scale(
        residual / system.kept_share(fit.base), used, np.count_nonzero(problem.free)
    )
    moved = replace(fit, values=values, residual=residual, iterations=fit.iterations + 1)
    return _rescale(problem, used, moved, sigma_int, error_scale, problem.robust)


def _rescale(problem, used, fit, sigma_int, error_scale, robust):
    """Find the weights of the residuals with a new scale."""
    base = used / (error_scale**2 * (problem.error**2 + sigma_int**2))
    standard = fit.residual * np.sqrt(base) / problem.system.kept_share(base)
    weight = base * (HUBER_TUNING / np.maximum(np.abs(standard), HUBER_TUNING)) if robust else base
    if np.isfinite(problem.limit):
        weight = weight * (np.abs(standard) < problem.limit)
    return replace(fit, weight=weight, base=base, standard=standard, sigma_int=sigma_int, error_scale=error_scale)


def _typical_scale(problem, fit):
    return fit.error_scale * np.sqrt(np.mean(problem.error**2) + fit.sigma_int**2)


def _invert_free(problem, weight):
    """Inverse of the normal matrix of the free terms; combinations with no information keep their value."""
    here = np.ix_(problem.free, problem.free)
    return generalised_inverse(*(part[here] for part in problem.system.normal_matrix(weight)))[0]


def sandwich(problem, fit, as_given=False):
    """Covariance of the free terms, by sandwich over sources (Huber 1967); 0 for the others.

    ``H^-1 (sum U U^T) H^-1`` with the scores U of the sources holds for correlated residuals of one source as well.
    Each U is divided by the root of 1 - leverage of its source (Bell & McCaffrey 2002, with the trace for the matrix),
    as residuals of a source that determines a term are too small. ``as_given``: H^-1, where the errors are known.
    """
    system, free = problem.system, problem.free
    covariance, here = np.zeros((len(free), len(free))), np.ix_(free, free)
    derivative = fit.derivative if problem.robust else fit.base
    covariance[here] = inverse = _invert_free(problem, derivative)
    if as_given:
        return covariance
    leverage = np.clip(system.leverage(derivative, covariance), 0.0, _MAX_LEVERAGE)
    score = sparse.diags_array(1 / np.sqrt(1 - leverage)) @ system.source_sums(fit.weight * fit.residual)
    covariance[here] = inverse @ (score.T @ score).toarray()[here] @ inverse
    return covariance
