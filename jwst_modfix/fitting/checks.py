"""Checks of a solution: reserved sources and the bootstrap over sources."""

from dataclasses import dataclass, replace

import numpy as np

from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.fitting.normal import generalised_inverse
from jwst_modfix.fitting.solution import fit_network

__all__ = ["Bootstrap", "Residual", "bootstrap_sources", "reserve_sources", "validate"]


# A fifth of the sources is few: a check may do with less than a result does, for its errors are Student's.
_MIN_SOURCES = 4


@dataclass(frozen=True, kw_only=True)
class Residual:
    """
    What is left between the modules in the reserved sources after correction.

    Parameters
    ----------
    array : str
        Array ID.
    residual, residual_error : float
        Delta_AB of the corrected reserved sources and its own error [mag].
    sigmas : float
        Residual over its own error and that of the correction of these very sources, in quadrature.
    """

    array: str
    residual: float
    residual_error: float
    sigmas: float


def reserve_sources(measurements, rng, share=0.2):
    """Reserve a share of the sources, drawn at random, whole with all their measurements."""
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
    left = replace(
        reserved, mag=reserved.mag - solution.predict(reserved), reserved=np.zeros(len(reserved), dtype=bool)
    )
    try:
        again = fit_network(left, fit_slope="none", time_term="zero", min_sources=_MIN_SOURCES)
    except NoSolutionError:
        return ()
    return tuple(_residual(solution, again, name) for name in again.names if _in_both(solution, again, name))


def _in_both(solution, again, name):
    return name.startswith("offset") and np.isfinite(solution.value(name)[1]) and np.isfinite(again.value(name)[1])


def _residual(solution, again, name):
    value, error = again.value(name)
    reliance = solution.design_sums(again.measurements, _influence(again, name))
    total = np.hypot(error, np.sqrt(reliance @ solution.covariance @ reliance))
    return Residual(array=name[7:-1], residual=value, residual_error=error, sigmas=float(value / total))


def _influence(again, name):
    """Change of an offset of the reserved sources with each of their magnitudes."""
    free, weight, system = again.model.mask("offset", "level"), again.fit.weight, again.model.system
    T = again.model.transform[:, free]
    inverse, _ = generalised_inverse(*(T.T @ part @ T for part in system.normal_matrix(weight)))
    pull = system.predict(T @ inverse[:, np.cumsum(free)[again.names.index(name)] - 1])
    return weight * (pull - system.source_mean(weight, pull)[system.source])


# Elements of the array of per-measurement outer products held at once [8 bytes each]: bounds the memory.
_CHUNK_ELEMENTS = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """
    Draws of the terms.

    Parameters
    ----------
    names : tuple of str
        Names of the terms that are determined.
    draws : numpy.ndarray, shape (n_draws, n_terms)
        Values of the terms in each draw [mag or mag/arcmin].
    ratio : numpy.ndarray, shape (n_terms,)
        Bootstrap error over the error of the solution: near 1 where the covariance holds.
    """

    names: tuple
    draws: np.ndarray
    ratio: np.ndarray

    @property
    def covariance(self):
        """Covariance of the draws."""
        return np.cov(self.draws, rowvar=False)


def bootstrap_sources(solution, rng, n_draws=200):
    """Draw sources with replacement and solve again, starting from the solution.

    Each draw gives every source a Poisson(1) number of copies, and takes one Newton step of the robust equations with
    that draw's own matrix: ``theta + (sum c H)^-1 sum c U``. No photometry and no re-weighting is repeated.
    """
    model, fit = solution.model, solution.fit
    free = solution.fitted | _nuisance(solution)
    T = model.transform[:, free]
    matrices, scores = _resample(solution, T, rng, n_draws)
    steps = np.array([_step(matrix, score) for matrix, score in zip(matrices, scores, strict=True)])
    known = solution.fitted[free]
    draws = fit.values[solution.fitted] + steps[:, known]
    names = tuple(name for name, fitted in zip(solution.names, solution.fitted, strict=True) if fitted)
    error = np.sqrt(np.diag(fit.covariance)[solution.fitted])
    return Bootstrap(names=names, draws=draws, ratio=draws.std(axis=0, ddof=1) / error)


def _nuisance(solution):
    """Terms that were solved for without being determined: those with a variance."""
    return (np.diag(solution.covariance) > 0) | solution.model.mask("level")


def _step(matrix, score):
    inverse, _ = generalised_inverse(matrix, np.diag(np.diag(matrix)))
    return inverse @ score


def _resample(solution, T, rng, n_draws):
    """Add up, over copies of sources, their normal matrices and scores, for all draws."""
    system, fit = solution.model.system, solution.fit
    order = np.argsort(system.source, kind="stable")
    edges = np.searchsorted(system.source[order], np.arange(system.n_sources + 1))
    p = T.shape[1]
    matrices, scores = np.zeros((n_draws, p * p)), np.zeros((n_draws, p))
    per_chunk = max(1, _CHUNK_ELEMENTS // (p * p))
    first = 0
    while first < system.n_sources:
        last = max(first + 1, np.searchsorted(edges, edges[first] + per_chunk, side="right") - 1)
        rows = order[edges[first] : edges[last]]
        H, U = _source_parts(system, T, rows, edges[first:last] - edges[first], fit)
        copies = rng.poisson(1.0, (n_draws, last - first)).astype(float)
        matrices += copies @ H
        scores += copies @ U
        first = last
    return matrices.reshape(n_draws, p, p), scores


def _source_parts(system, T, rows, starts, fit):
    """Find the normal matrix and the score of each source from its rows."""
    D = np.zeros((len(rows), T.shape[1]))
    for column, value in zip(system.columns, system.values, strict=True):
        D += T[column[rows]] * (1.0 if value is None else value[rows, None])
    v = fit.derivative[rows]
    total = np.add.reduceat(v, starts)
    sums = np.add.reduceat(v[:, None] * D, starts, axis=0)
    outer = np.add.reduceat((v[:, None] * D)[:, :, None] * D[:, None, :], starts, axis=0)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    outer -= inverse[:, None, None] * sums[:, :, None] * sums[:, None, :]
    score = np.add.reduceat((fit.weight * fit.residual)[rows, None] * D, starts, axis=0)
    return outer.reshape(len(starts), -1), score
