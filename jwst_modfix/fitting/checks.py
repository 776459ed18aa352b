"""Checks of a solution: reserved sources and the bootstrap over sources."""

from dataclasses import dataclass, replace

import numpy as np

from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.fitting.least_squares import generalised_inverse
from jwst_modfix.fitting.solution import solve

__all__ = ["Bootstrap", "Residual", "bootstrap_sources", "reserve_sources", "validate"]


# A fifth of the sources is few: a check may use fewer than a result does, as its errors are Student's.
_MIN_SOURCES = 4
# Elements of the per-measurement outer products in memory at once [8 bytes each].
_CHUNK_ELEMENTS = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Difference between the modules that is left in the reserved sources after correction."""

    array: str
    residual: float  # Delta_AB of the corrected reserved sources, mag
    residual_error: float  # its own error, mag
    sigmas: float  # residual over its error and that of the correction of these sources, in quadrature


def reserve_sources(measurements, rng, share=0.2):
    """Reserve a share of the sources, drawn at random, with all their measurements."""
    if not 0 <= share < 1:
        raise MeasurementsError(f"share of reserved sources must be from 0 to below 1; got {share}")
    sources, number = np.unique(measurements.source, return_inverse=True)
    chosen = np.zeros(len(sources), dtype=bool)
    chosen[rng.permutation(len(sources))[: round(share * len(sources))]] = True
    return replace(measurements, reserved=chosen[number])


def validate(solution, measurements):
    """Correct the reserved sources and solve for the offset that is left."""
    reserved = measurements.select(measurements.reserved)
    known = np.isin(reserved.epoch, solution.model.epochs) & np.isin(reserved.detector, solution.measurements.detector)
    reserved = reserved.select(known)
    corrected = reserved.mag - solution.predict(reserved)
    left = replace(reserved, mag=corrected, reserved=np.zeros(len(reserved), dtype=bool))
    try:
        again = solve(left, fit_slope="none", time_term="zero", min_sources=_MIN_SOURCES)
    except NoSolutionError:
        return ()
    found = [_residual(solution, again, term) for term in again.model.terms if term.kind == "offset"]
    return tuple(residual for residual in found if np.isfinite(residual.sigmas))


def _residual(solution, again, term):
    value, error = again.value(term.name)
    if not np.isfinite(solution.value(term.name)[1]):
        error = np.nan
    # The part of each term of the correction in this offset: the errors of the correction enter through it.
    part = solution.model.design(again.measurements).T @ _influence(again, again.model.terms.index(term))
    total = np.hypot(error, np.sqrt(part @ solution.covariance @ part))
    return Residual(array=term.array, residual=value, residual_error=error, sigmas=float(value / total))


def _influence(again, number):
    """Change of an offset of the reserved sources with each of their magnitudes."""
    free, weight, system = again.model.mask("offset", "level"), again.fit.derivative, again.system
    here, row = np.ix_(free, free), np.zeros(len(free))
    inverse, _ = generalised_inverse(*(part[here] for part in system.normal_matrix(weight)))
    row[free] = inverse[np.count_nonzero(free[:number])]
    return -weight * system.residual(weight, 0.0, row)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """Draws of the terms that are determined."""

    names: tuple[str, ...]
    draws: np.ndarray  # (n_draws, n_terms), mag or mag/arcmin
    ratio: np.ndarray  # (n_terms,), bootstrap error over the error of the solution; near 1 where the covariance holds

    @property
    def covariance(self):
        """Covariance of the draws."""
        return np.cov(self.draws, rowvar=False)


def bootstrap_sources(solution, rng, n_draws=200):
    """Draw sources with replacement and solve again, starting from the solution.

    Each draw gives every source a Poisson(1) number of copies c, and takes one Newton step of the robust equations
    with that draw's own matrix: ``theta + (sum c H)^-1 sum c U``. Photometry and weights are not repeated.
    """
    # Terms that were solved for without being determined have a variance too.
    free = solution.fitted | (np.diag(solution.covariance) > 0) | solution.model.mask("level")
    matrices, scores = _resample(solution, free, rng, n_draws)
    steps = np.array([_step(matrix, score) for matrix, score in zip(matrices, scores, strict=True)])
    draws = solution.values[solution.fitted] + steps[:, solution.fitted[free]]
    names = tuple(name for name, fitted in zip(solution.names, solution.fitted, strict=True) if fitted)
    error = np.sqrt(np.diag(solution.covariance)[solution.fitted])
    return Bootstrap(names=names, draws=draws, ratio=draws.std(axis=0, ddof=1) / error)


def _step(matrix, score):
    inverse, _ = generalised_inverse(matrix, np.diag(np.diag(matrix)))
    return inverse @ score


def _resample(solution, free, rng, n_draws):
    """Add up, over copies of sources, their normal matrices and scores, for all draws."""
    p = np.count_nonzero(free)
    matrices, scores = np.zeros((n_draws, p * p)), np.zeros((n_draws, p))
    for first, last in solution.system.split_sources(max(1, _CHUNK_ELEMENTS // (p * p))):
        H, U = _source_parts(solution, free, first, last)
        copies = rng.poisson(1.0, (n_draws, last - first)).astype(float)
        matrices += copies @ H
        scores += copies @ U
    return matrices.reshape(n_draws, p, p), scores


def _source_parts(solution, free, first, last):
    """Find the normal matrix and the score of each source of a range."""
    rows, starts = solution.system.rows_of(first, last)
    D, fit = solution.system.design[rows].toarray()[:, free], solution.fit
    v = fit.derivative[rows]
    total = np.add.reduceat(v, starts)
    sums = np.add.reduceat(v[:, None] * D, starts, axis=0)
    outer = np.add.reduceat((v[:, None] * D)[:, :, None] * D[:, None, :], starts, axis=0)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    outer -= inverse[:, None, None] * sums[:, :, None] * sums[:, None, :]
    score = np.add.reduceat((fit.weight * fit.residual)[rows, None] * D, starts, axis=0)
    return outer.reshape(len(starts), -1), score
