"""Validation with sources that the fit has not seen."""

from dataclasses import dataclass, replace

import numpy as np

from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.solution.network import fit_network
from jwst_modfix.solution.normal import generalised_inverse

__all__ = ["Residual", "reserve_sources", "validate"]

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
    """
    Reserve a share of the sources, drawn at random, whole with all their measurements.

    Parameters
    ----------
    measurements : Measurements
        The measurements.
    rng : numpy.random.Generator
        Source of randomness.
    share : float, optional
        Share of the sources to reserve, from 0 to below 1.

    Returns
    -------
    Measurements
        The same with the flag ``reserved`` set.

    Raises
    ------
    MeasurementsError
        The share is out of range.
    """
    if not 0 <= share < 1:
        raise MeasurementsError(f"share of reserved sources must be from 0 to below 1; got {share}")
    sources, number = np.unique(measurements.source, return_inverse=True)
    chosen = np.zeros(len(sources), dtype=bool)
    chosen[rng.permutation(len(sources))[: round(share * len(sources))]] = True
    return replace(measurements, reserved=chosen[number])


def validate(solution, measurements):
    """
    Correct the reserved sources and solve for the offset that is left.

    Parameters
    ----------
    solution : NetworkSolution
        The solution, from sources that are not reserved.
    measurements : Measurements
        All measurements; the reserved ones are used.

    Returns
    -------
    tuple of Residual
        One for each array ID whose offset both determine; empty where the reserved sources do not tie the modules.
    """
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
