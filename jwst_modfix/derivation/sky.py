"""The sky levels of a filter's exposures beside the offsets of its sources."""

from dataclasses import replace

import numpy as np

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.solution.sky import compare_sky, sky_offsets

__all__ = ["compare_band_sky", "number_times"]

_TOGETHER = 5 / 86400  # day: exposures of the ten detectors start and end together


def compare_band_sky(exposures, solution, results):
    """
    Compare the offsets that the sky tells with those of the sources.

    The sky fills each array, so that a gradient adds its difference between the modules' middles to the
    offset that the sky shows; it is added to the sources' offsets here.

    Parameters
    ----------
    exposures : astropy.table.Table
        The exposures of all filters, with their sky levels.
    solution : NetworkSolution
        The solution of one filter.
    results : sequence of ArrayResult
        Its results.

    Returns
    -------
    tuple of SkyComparison
        One for each array ID that both determine; empty where no sky level is known.

    Warns
    -----
    SkyDisagreementWarning
        The two differ by 3 sigma or more.
    """
    table = _known_levels(exposures, solution.measurements)
    columns = (np.asarray(table[name]) for name in ("array", "module", "sky", "sky_error"))
    try:
        offsets = sky_offsets(number_times(np.asarray(table["mjd"])), *columns)
    except NoSolutionError:
        return ()
    return compare_sky(offsets, [_across_modules(solution, result) for result in results])


def number_times(mjd):
    """
    Give a number to each of the times at which exposures were taken together.

    Parameters
    ----------
    mjd : array_like, shape (n,)
        Middle of each exposure [day].

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        The same number for exposures within 5 s of each other.
    """
    mjd = np.asarray(mjd, float)
    order = np.argsort(mjd, kind="stable")
    numbers = np.zeros(len(mjd), int)
    numbers[order] = np.cumsum(np.diff(mjd[order], prepend=mjd[order][:1]) > _TOGETHER)
    return numbers


def _known_levels(exposures, measurements):
    level, error = np.asarray(exposures["sky"]), np.asarray(exposures["sky_error"])
    mine = (np.asarray(exposures["filter"]) == measurements.filter) & (level > 0) & (error > 0)
    return exposures[mine & (np.asarray(exposures["pupil"]) == measurements.pupil)]


def _across_modules(solution, result):
    """Add the gradient between the modules' middles to an offset, and to its error."""
    if result.offset is None:
        return result
    m, mine = solution.measurements, solution.measurements.array == result.array
    here = [mine & (m.module == module) for module in "AB"]
    contrast = solution.contrast(result.array, *((m.V2[side].mean(), m.V3[side].mean()) for side in here))
    error = np.sqrt(contrast @ solution.covariance @ contrast)
    return replace(result, offset=float(contrast @ solution.values), offset_error=float(error))
