"""One filter and pupil: its measurements, its solution and the checks of it."""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError, SkyDisagreementWarning
from jwst_modfix.fitting.checks import bootstrap_sources, reserve_sources, validate
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.pairs import solve_pairs
from jwst_modfix.fitting.separability import TermStatus
from jwst_modfix.fitting.sky import compare_sky, sky_offsets
from jwst_modfix.fitting.solution import fit, solve
from jwst_modfix.fitting.verdict import judge_arrays, offset_table

__all__ = [
    "LEAST_ERROR",
    "BandResult",
    "compare_band_sky",
    "list_bands",
    "number_times",
    "solve_band",
    "solve_by_pairs",
]


_NO_PATCHES = "no pair of epochs has patches p and q that determine it"


def solve_by_pairs(solution, pairs):
    """Put offsets and slopes of pairs of epochs into a solution of the network."""
    values, covariance, fitted = solution.values.copy(), solution.covariance.copy(), solution.fitted.copy()
    status = {found.term.name: found for found in solution.status}
    for number, term in enumerate(solution.model.terms):
        if term.kind != "offset" and not term.is_slope:
            continue
        covariance[number, :] = covariance[:, number] = 0.0
        if term.array not in pairs or term.kind not in pairs[term.array].names:
            fitted[number], values[number] = False, 0.0
            status[term.name] = TermStatus(term, "no information", f"{term.words}: {_NO_PATCHES}")
    for array, pair in pairs.items():
        names = [f"{kind}[{array}]" for kind in pair.names]
        terms = [solution.names.index(name) for name in names if name in solution.names]
        values[terms], fitted[terms] = pair.values[: len(terms)], True
        covariance[np.ix_(terms, terms)] = pair.covariance[: len(terms), : len(terms)]
        for number in terms:
            status[solution.names[number]] = _status(solution, number, pair)
    fit = replace(solution.fit, values=values, covariance=covariance)
    return replace(solution, fit=fit, fitted=fitted, status=tuple(status.values()))


def _status(solution, number, pair):
    _, error = pair.value(solution.model.terms[number].kind)
    return TermStatus(solution.model.terms[number], "free", "", 0.0, error, float(pair.n_sources))


_TOGETHER = 5 / 86400  # day: exposures of the ten detectors start and end together


def compare_band_sky(exposures, solution, results):
    """Compare the offsets that the sky tells with those of the sources.

    The sky fills each array, so that a gradient adds its difference between the modules' middles to the
    offset that the sky shows; it is added to the sources' offsets here.
    """
    table = _known_levels(exposures, solution.measurements)
    columns = (np.asarray(table[name]) for name in ("array", "module", "sky", "sky_error"))
    try:
        offsets = sky_offsets(number_times(np.asarray(table["mjd"])), *columns)
    except NoSolutionError:
        return ()
    return compare_sky(offsets, [_across_modules(solution, result) for result in results])


def number_times(mjd):
    """Give a number to each of the times at which exposures were taken together."""
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
    offset, error = solution.difference(result.array)
    return replace(result, offset=offset, offset_error=error)


# No measurement counts for more than with this error [mag], however bright its source: a third of what measurements of
# one star repeat to with the same kind of detector (WFC3/IR, 0.65%: Som et al. 2021, ISR WFC3 2021-05). By photons
# alone, a handful of bright sources would count for all the others.
LEAST_ERROR = 0.002


@dataclass(frozen=True, kw_only=True, eq=False)
class BandResult:
    """
    All that is known of one filter and pupil.

    Parameters
    ----------
    filter, pupil : str
        Names in the two wheels.
    rows : numpy.ndarray of int, shape (n,)
        Rows of the table of measurements that were selected.
    measurements : Measurements
        Those measurements.
    solution : Solution, optional
        The solution; None where there is none.
    results : tuple of ArrayResult
        A verdict for each array ID.
    offsets : OffsetTable, optional
        The rows that the verdicts admit, with the gradient.
    pairs : dict
        Array ID to PairSolution: medians of patches, and the paper's fit.
    residuals : tuple of Residual
        What is left between the modules in the reserved sources.
    sky : tuple of SkyComparison
        Offsets from sky levels beside those of the sources.
    bootstrap : Bootstrap, optional
        Draws, where they were asked for.
    module_slopes : dict
        Name of the term to (k, error) where each module has its own gradient [mag/arcmin]: a diagnostic.
    warnings : tuple of str
        Named warnings.
    failure : str, optional
        Why there is no solution.
    """

    filter: str
    pupil: str
    rows: np.ndarray
    measurements: Measurements
    solution: object = None
    results: tuple = ()
    offsets: object = None
    pairs: dict = field(default_factory=dict)
    residuals: tuple = ()
    sky: tuple = ()
    bootstrap: object = None
    module_slopes: dict = field(default_factory=dict)
    warnings: tuple = ()
    failure: str | None = None

    @property
    def name(self):
        """Name of the band, such as ``F444W`` or ``F444W+F405N``."""
        return self.filter if self.pupil == "CLEAR" else f"{self.filter}+{self.pupil}"


def list_bands(table):
    """List the filters and pupils of a table."""
    return sorted(set(zip(np.asarray(table["filter"]).tolist(), np.asarray(table["pupil"]).tolist(), strict=True)))


def solve_band(photometry, selected, band, options, rng):
    """Solve one filter and pupil, and check the solution."""
    rows, measurements = _take(photometry.measurements, selected, band)
    measurements = reserve_sources(measurements, rng, options.reserve_share)
    known = {"filter": band[0], "pupil": band[1], "rows": rows, "measurements": measurements}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        for category in (DegenerateTermWarning, SkyDisagreementWarning):
            warnings.simplefilter("always", category)
        try:
            _check_modules(photometry.exposures, band)
            known |= _solve(measurements, options)
        except NoSolutionError as error:
            return BandResult(**known, failure=str(error))
        known |= _check(known, photometry.exposures, options, rng)
    said = tuple(dict.fromkeys(f"{found.category.__name__}: {found.message}" for found in caught))
    return BandResult(**known, warnings=said)


def _check_modules(exposures, band):
    mine = (np.asarray(exposures["filter"]) == band[0]) & (np.asarray(exposures["pupil"]) == band[1])
    modules = np.unique(np.asarray(exposures["module"])[mine])
    if len(modules) == 1:
        raise NoSolutionError(f"all exposures are of module {modules[0]}; an offset needs both modules")


def _take(table, selected, band):
    """Rows of one band as the solver's measurements."""
    mine = selected & (np.asarray(table["filter"]) == band[0]) & (np.asarray(table["pupil"]) == band[1])
    rows = np.flatnonzero(mine)
    names = ("source", "exposure", "epoch", "array", "module", "mag", "mag_error", "V2", "V3", "x", "y", "RA", "Dec")
    columns = {name: np.asarray(table[name])[rows] for name in names}
    columns["mag_error"] = np.hypot(columns["mag_error"], LEAST_ERROR)
    return rows, Measurements(**columns, filter=band[0], pupil=band[1])


def _solve(measurements, options):
    choices = {"fit_slope": options.fit_slope, "time_term": options.time_term}
    if options.method == "pairs":
        solution = solve(measurements, **choices)  # for levels, epoch terms and what is linked to what
        pairs = _pairs(measurements, options)
        solution = solve_by_pairs(solution, pairs)
    else:
        solution = fit(measurements, **choices, fit_direction=options.fit_direction)
        pairs = _pairs_beside(measurements, options)
    return {
        "solution": solution,
        "pairs": pairs,
        "results": judge_arrays(solution, options.significance),
        "offsets": offset_table(solution, options.significance, options.baseline),
    }


def _pairs(measurements, options):
    """Find the paper's own solution."""
    time_term = "zero" if options.time_term == "zero" else "fit"
    return solve_pairs(measurements, fit_slope=options.fit_slope, time_term=time_term)


def _pairs_beside(measurements, options):
    """Find it where it can be had, to stand beside the network's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DegenerateTermWarning)
            return _pairs(measurements, options)
    except NoSolutionError:
        return {}


def _check(known, exposures, options, rng):
    """Reserved sources, sky levels, bootstrap and the gradient of each module."""
    solution, measurements = known["solution"], known["measurements"]
    bootstrap = options.bootstrap and options.method == "network"
    return {
        "residuals": validate(solution, measurements),
        "sky": compare_band_sky(exposures, solution, known["results"]),
        "bootstrap": bootstrap_sources(solution, rng, options.bootstrap) if bootstrap else None,
        "module_slopes": _module_slopes(measurements, solution, options),
    }


def _module_slopes(measurements, solution, options):
    if not solution.fitted[solution.model.mask("slope")].any():
        return {}
    again = solve(measurements, fit_slope=options.fit_slope, time_term=options.time_term, per_module=True)
    found = {term.name: again.value(term.name) for term in again.model.terms if term.is_slope}
    return {name: value for name, value in found.items() if np.isfinite(value[0])}
