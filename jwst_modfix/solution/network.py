"""One robust solution of the network of all measurements of a filter: ``method='network'``."""

import warnings
from dataclasses import replace

import numpy as np
from scipy.stats import chi2

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError
from jwst_modfix.solution.links import check_linked, count_links
from jwst_modfix.solution.measurements import DIRECTION, ORIGIN
from jwst_modfix.solution.network_solution import NetworkSolution
from jwst_modfix.solution.robust import student_factor
from jwst_modfix.solution.robust_fit import fit_robust
from jwst_modfix.solution.separability import MIN_SOURCES, find_separable
from jwst_modfix.solution.term_status import count_effective_sources, too_few_sources
from jwst_modfix.solution.terms import SLOPE_ARRAYS, build_model

__all__ = ["NetworkSolution", "fit_network", "solve_network"]

_TIME_TERMS = ("auto", "fit", "zero")
# An epoch term is "not demanded by the data" where chance alone exceeds its chi-square this often.
_EPOCH_PROBABILITY = 0.05


def solve_network(
    measurements,
    *,
    fit_slope="long",
    time_term="auto",
    direction=DIRECTION,
    origin=ORIGIN,
    fit_direction=False,
    per_module=False,
    robust=True,
    scatter=True,
    min_sources=MIN_SOURCES,
):
    """
    Solve m = M_source + z + g u + t for one filter and pupil (the general form of Ma et al. 2023, Eq. 3-10).

    Magnitudes of sources are eliminated, and the offsets Delta_AB = z_A - z_B, slopes k = 2 g and epoch terms
    are solved for together by Huber's estimator (see `fit_robust`). Levels of arrays, the mean of their two
    zero points, are free; their sum is 0 in each group of linked arrays.

    Parameters
    ----------
    measurements : Measurements
        All measurements; reserved ones stay out.
    fit_slope : {'long', 'all', 'none'}, optional
        Array IDs that have a gradient.
    time_term : {'auto', 'fit', 'zero'}, optional
        Whether epochs have a term, where the pointings separate it; ``'auto'`` says too which terms the data do not
        demand. These keep their value and error: a term that is dropped because it looks small takes with it
        the honest error of all that hangs on it (Leeb & Poetscher 2005, Econometric Theory 21, 21).
    direction : float, optional
        Direction of the gradients [deg], from +V3 toward +V2.
    origin : tuple of float, optional
        (V2, V3) where u = 0 [arcsec].
    fit_direction : bool, optional
        Fit two components of each gradient, along V2 and V3.
    per_module : bool, optional
        One gradient for each module, as a diagnostic.
    robust, scatter : bool, optional
        False: plain weighted least squares, and errors as given.
    min_sources : int, optional
        Effective number of sources that a term must hang on, above 3.

    Returns
    -------
    NetworkSolution
        The solution.

    Raises
    ------
    NoSolutionError
        No sources, one module only, one epoch without dithers, or no overlap between the modules.
    MeasurementsError
        An option is not known.

    Warns
    -----
    DegenerateTermWarning
        A term is not separable at these pointings, or hangs on nothing: it is fixed to 0 or left out.
    """
    _check_options(fit_slope, time_term)
    solution = fit_network(
        measurements, fit_slope=fit_slope, time_term=time_term, direction=direction, origin=origin,
        fit_direction=fit_direction, per_module=per_module, robust=robust, scatter=scatter,
        min_sources=min_sources,
    )  # fmt: skip
    place = f"{measurements.filter}+{measurements.pupil}"
    for status in solution.status:
        if status.is_degenerate:
            warnings.warn(f"{place}: {status.words}", DegenerateTermWarning, stacklevel=2)
    return solution


def fit_network(
    measurements,
    *,
    fit_slope,
    time_term,
    direction=DIRECTION,
    origin=ORIGIN,
    fit_direction=False,
    per_module=False,
    robust=True,
    scatter=True,
    min_sources=MIN_SOURCES,
):
    """
    Do the work of `solve_network`, and leave it to the caller to speak of degeneracies.

    Parameters
    ----------
    measurements : Measurements
        All measurements; reserved ones stay out.
    fit_slope, time_term, direction, origin, fit_direction, per_module, robust, scatter, min_sources
        As for `solve_network`.

    Returns
    -------
    NetworkSolution
        The solution.

    Raises
    ------
    NoSolutionError
        As for `solve_network`.
    """
    mine = measurements.select(~measurements.reserved)
    links = count_links(mine)
    check_linked(mine, links)
    model = build_model(
        mine, slope_arrays=SLOPE_ARRAYS[fit_slope], direction=direction, origin=origin,
        fit_direction=fit_direction, per_module=per_module,
    )  # fmt: skip
    roles = find_separable(model, links, mine.mag_error, time_term != "zero", min_sources)
    free = roles.fitted | roles.nuisance
    fit = fit_robust(model, free, mine.mag, mine.mag_error, mine.epoch, robust=robust, scatter=scatter)
    solution = NetworkSolution(
        measurements=mine, model=model, fitted=roles.fitted, fit=fit, links=links, status=roles.status,
        direction=direction, origin=origin, fit_direction=fit_direction,
    )  # fmt: skip
    solution = _centre_levels(_recount(solution, roles, min_sources))
    return _say_idle(solution) if time_term == "auto" else solution


def _check_options(fit_slope, time_term):
    if fit_slope not in SLOPE_ARRAYS:
        raise MeasurementsError(f"fit_slope must be one of {', '.join(SLOPE_ARRAYS)}; got {fit_slope!r}")
    if time_term not in _TIME_TERMS:
        raise MeasurementsError(f"time_term must be one of {', '.join(_TIME_TERMS)}; got {time_term!r}")


def _say_idle(solution):
    """Say which epoch terms the data do not demand, each by its own chi-square."""
    least = np.sqrt(chi2.isf(_EPOCH_PROBABILITY, 1))
    status = []
    for found in solution.status:
        value, error = solution.value(found.term.name)
        if found.term.kind == "epoch" and found.is_fitted and abs(value) < least * error:
            words = f"{found.term.words}: {1e3 * value:.2f} +- {1e3 * error:.2f} mmag, not demanded by the data"
            found = replace(found, status="idle", words=words)
        status.append(found)
    return replace(solution, status=tuple(status))


def _recount(solution, roles, min_sources):
    """
    Count again the sources behind each term, outliers and variable sources left out.

    Errors from few sources are too small, more often than not: they get the standard deviation of Student's
    t with
    one degree of freedom less than there are sources. Terms with too few sources are left out.
    """
    _check_still_linked(solution)
    wanted = np.flatnonzero(solution.fitted)
    free = solution.fitted | roles.nuisance
    counts = count_effective_sources(solution.model, solution.links, solution.fit.derivative, free, wanted)
    fitted, factor, status = solution.fitted.copy(), np.ones(len(free)), {s.term: s for s in solution.status}
    for number, count in counts.items():
        term = solution.model.terms[number]
        factor[number] = student_factor(max(count, min_sources))
        status[term] = replace(status[term], effective_sources=count)
        if count < min_sources:
            fitted[number], status[term] = False, too_few_sources(term, count, min_sources)
    fit = replace(solution.fit, covariance=solution.covariance * np.outer(factor, factor))
    return replace(solution, fit=fit, fitted=fitted, status=tuple(status.values()))


def _check_still_linked(solution):
    """Refuse a solution whose links were all rejected: its value 0 would stand for nothing."""
    mine, used = solution.measurements, solution.fit.rejected == 0
    error = np.sqrt(np.diag(solution.covariance))
    if not used.any() or not error[solution.model.mask("offset")].any():
        raise NoSolutionError(
            f"measurements in {mine.filter}+{mine.pupil}: {1 - used.mean():.0%} were rejected as outliers or"
            " variable sources, and what is left does not tie the modules"
        )


def _centre_levels(solution):
    """Gauge of the levels: their sum is 0 in each group of linked arrays."""
    levels = np.flatnonzero(solution.model.mask("level"))
    arrays = [solution.model.terms[i].array for i in levels]
    groups = {}
    for detector, group in zip(solution.links.detectors, solution.links.detector_group, strict=True):
        groups.setdefault(detector.split()[0], int(group))
    project = np.eye(len(solution.values))
    for group in set(groups.values()):
        members = [i for i, array in zip(levels, arrays, strict=True) if groups[array] == group]
        project[np.ix_(members, members)] -= 1 / len(members)
    fit = replace(
        solution.fit,
        values=project @ solution.values,
        covariance=project @ solution.covariance @ project.T,
    )
    return replace(solution, fit=fit, level_group=groups)
