"""One filter and pupil: its measurements, its solution and the checks of it."""

import contextlib
import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table

from jwst_modfix.errors import DegenerateTermWarning, ModelMismatchWarning, NoSolutionError, SkyDisagreementWarning
from jwst_modfix.fitting import checks
from jwst_modfix.fitting.design import CHOICES
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.pairs import PairSolution, solve_pairs
from jwst_modfix.fitting.separability import TermStatus
from jwst_modfix.fitting.sky import SkyComparison, compare_sky, judge_sky, sky_offsets, solve_sky
from jwst_modfix.fitting.solution import Solution, fit, fit_quietly, without_warnings
from jwst_modfix.fitting.stability import Drift, list_drifts
from jwst_modfix.fitting.verdict import ArrayResult, DetectorResult, Result, judge, table_of_results
from jwst_modfix.photometry.columns import Photometry, group_medians
from jwst_modfix.photometry.forced import growth_shares, systematic_error
from jwst_modfix.table.table import MODULES, OffsetTable
from jwst_modfix.table.validity import LONG_FILTERS
from jwst_modfix.text import describe_band, format_measured

# Added to the error of each measurement in quadrature [mag], which limits the weight of bright sources. The fit
# determines the intrinsic scatter beyond it.
LEAST_ERROR = 0.0007
# With fewer sources the dependence of residuals on colour cannot be tested.
_MIN_COLOURS = 20
_NO_COLOUR = (
    f"colour_term needs {_MIN_COLOURS} sources that are selected in a second filter too; add its exposures, or leave"
    " colour_term out"
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Colour:
    """Colours of sources: their magnitude in this band minus that in another band."""

    other: str  # name of the other band
    values: np.ndarray  # of each measurement that was selected, shape (n,), mag; NaN where the source is not in both

    @property
    def median(self) -> float:
        """Colour at which the offsets hold [mag]."""
        return float(np.nanmedian(self.values))


@dataclass(frozen=True, kw_only=True, eq=False)
class BandResult:
    """Everything that is known of one filter and pupil."""

    filter: str
    pupil: str
    rows: np.ndarray  # of the selected measurements in their table, shape (n,)
    measurements: Measurements  # these rows
    solution: Solution | None = None
    results: tuple[ArrayResult, ...] = ()  # a verdict for each array ID, with scale='modules'
    detectors: tuple[DetectorResult, ...] = ()  # a verdict for each detector, with scale='detectors'
    table: OffsetTable | None = None  # of offsets or zero points: the rows that the verdicts admit
    pairs: dict[str, PairSolution] = field(default_factory=dict)  # by array ID
    residuals: tuple[checks.Residual, ...] = ()  # of the reserved sources
    sky: tuple[SkyComparison, ...] = ()
    # With scale='detectors': zero points from the sky, with errors that include its floor [mag].
    sky_points: dict[str, tuple[float, float]] = field(default_factory=dict)
    bootstrap: checks.Bootstrap | None = None
    score_tests: tuple[checks.ScoreTest, ...] = ()
    colour: Colour | None = None
    assumptions: tuple[checks.Assumption, ...] = ()
    apertures: tuple[checks.ApertureDifference, ...] = ()
    drifts: tuple[Drift, ...] = ()  # of each detector in each epoch after the first
    module_slopes: dict[str, tuple[float, float]] = field(default_factory=dict)  # term: (k, error)
    warnings: tuple[str, ...] = ()
    failure: str | None = None  # why there is no solution

    @property
    def name(self) -> str:
        """Name of the band, such as ``F444W`` or ``F444W+F405N``."""
        return describe_band(self.filter, self.pupil)

    @property
    def verdicts(self) -> tuple[Result, ...]:
        """Results of the array IDs, or of the detectors."""
        return (*self.results, *self.detectors)

    @property
    def colour_words(self) -> str:
        """Colour at which offsets hold, and the colour term; empty without second filter."""
        if self.colour is None:
            return ""
        words = f"offsets hold at the median colour {self.name} - {self.colour.other} = {self.colour.median:.2f} mag"
        if self.solution is None or "colour" not in self.solution.names:
            return words
        return f"{words}; colour term A - B: {format_measured(*self.solution.value('colour'), 'mmag per mag')}"

    def systematic_floors(self, aperture: str) -> dict[str, float]:
        """Estimate the systematic error of each offset [mag]: the modules' PSFs differ."""
        known = aperture, _channel(self.filter), self.filter
        found = {result.array: systematic_error(*known) for result in self.results} or {"": systematic_error(*known)}
        return found | {
            one.array: systematic_error(*known, one.difference, one.far_difference) for one in self.apertures
        }


def list_bands(table: Table) -> list[tuple[str, str]]:
    """List the filters and pupils of a table."""
    found, left = [], np.ones(len(table), bool)
    filters, pupils = (np.asarray(table[name]) for name in ("filter", "pupil"))
    while left.any():
        first = int(np.argmax(left))
        found.append((filters[first].item(), pupils[first].item()))
        left &= (filters != filters[first]) | (pupils != pupils[first])
        left[first] = False
    return sorted(found)


def solve_band(photometry: Photometry, selected: np.ndarray, band: tuple[str, str], options: Any) -> BandResult:
    """Solve one filter and pupil, and check the solution."""
    filter_, pupil = band
    rng = np.random.default_rng([options.seed, *f"{filter_}+{pupil}".encode()])
    table = photometry.measurements
    rows = np.flatnonzero(selected & _of_band(table, filter_, pupil))
    chosen = Table(table, copy=False)
    chosen["selected"] = selected
    measurements = Measurements.from_table(chosen, filter=filter_, pupil=pupil, least_error=LEAST_ERROR)
    measurements = _choose_aperture(measurements, table, rows, options.aperture)
    measurements = replace(measurements, time=find_times(photometry.exposures, measurements.exposure))
    colour = _find_colours(photometry, selected, band, rows)
    if options.colour_term and colour is not None:
        known = np.isfinite(colour.values)
        rows, colour = rows[known], replace(colour, values=colour.values[known])
        measurements = replace(measurements.select(known), colour=colour.values)
    result = BandResult(filter=filter_, pupil=pupil, rows=rows, measurements=measurements, colour=colour)
    if options.colour_term and colour is None:
        return replace(result, failure=_NO_COLOUR)
    result = replace(result, measurements=checks.reserve_sources(result.measurements, rng, options.reserve_share))
    modules = np.unique(photometry.exposures["module"][_of_band(photometry.exposures, *band)])
    if len(modules) == 1 and options.scale == "modules":
        return replace(result, failure=f"all exposures are of module {modules[0]}; an offset needs both modules")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        for category in (DegenerateTermWarning, ModelMismatchWarning, SkyDisagreementWarning):
            warnings.simplefilter("always", category)
        try:
            result = _solve(result, photometry, options)
        except NoSolutionError as error:
            return replace(result, failure=str(error))
        if result.solution is not None:
            result = _check(result, photometry, options, rng)
    words = tuple(dict.fromkeys(f"{found.category.__name__}: {found.message}" for found in caught))
    return replace(result, warnings=words)


def _choose_aperture(measurements: Measurements, table: Table, rows: np.ndarray, aperture: str) -> Measurements:
    """Add shares of the growths to magnitudes, and take the errors of these sums."""
    if aperture == "r":
        return measurements
    near, far = growth_shares(aperture, _channel(measurements.filter))
    growth, farther, error = (np.asarray(table[n])[rows] for n in ("growth", "far_growth", f"{aperture}_error"))
    mag = measurements.mag + near * growth + far * farther
    return replace(measurements, mag=mag, mag_error=np.hypot(error, LEAST_ERROR))


def _channel(filter_: str) -> str:
    return "LONG" if filter_ in LONG_FILTERS else "SHORT"


def _of_band(table: Table, filter_: str, pupil: str) -> np.ndarray:
    return np.asarray((table["filter"] == filter_) & (table["pupil"] == pupil))


def _solve(result: BandResult, photometry: Photometry, options: Any) -> BandResult:
    if options.scale == "detectors":
        return _solve_detectors(result, photometry, options)
    measurements, choices = result.measurements, _choices(options)
    if options.method == "pairs":
        solution = fit_quietly(measurements, **choices)  # for levels, epoch terms and links
        pairs = _solve_pairs(measurements, options)
        solution = _replace_by_pairs(solution, pairs)
    else:
        solution = fit(measurements, **choices)
        pairs = {}
        # For the comparison in the report, where that is possible.
        with without_warnings(), contextlib.suppress(NoSolutionError):
            pairs = _solve_pairs(measurements, options)
    results = judge(solution, options.significance)
    return replace(result, solution=solution, pairs=pairs, results=results, table=solution.to_table())


def _choices(options: Any) -> dict[str, Any]:
    """List the parameters of a fit; `Options` refuses those of another scale."""
    names = (*CHOICES, "fit_direction", "colour_term")
    return {name: getattr(options, name) for name in names}


def _solve_detectors(result: BandResult, photometry: Photometry, options: Any) -> BandResult:
    """Solve for detectors by sources or sky; add the other where it is possible."""
    band, chosen = (result.filter, result.pupil), (options.significance, options.baseline)
    levels = _list_levels(photometry.exposures[_of_band(photometry.exposures, *band)])
    by_sky, by_sources, solution, is_sky = (), (), None, options.method == "sky"
    try:
        with without_warnings():
            by_sky = judge_sky(solve_sky(*levels, band), *chosen)
    except NoSolutionError:
        if is_sky:  # the method that was asked for
            raise
    try:
        solution = fit(result.measurements, **_choices(options))
    except NoSolutionError:
        if not is_sky:
            raise
    else:
        by_sources = judge(solution, *chosen)
    detectors = by_sky if is_sky else by_sources
    known = {one.detector: (one.zero_point, one.zero_point_error) for one in by_sky if one.zero_point is not None}
    table = table_of_results(detectors, *band, options.baseline)
    return replace(result, solution=solution, detectors=detectors, sky_points=known, table=table)


def _list_levels(table: Table) -> list[np.ndarray]:
    """List times, arrays, modules, sky levels and their errors of exposures."""
    levels = (np.asarray(table[name]) for name in ("array", "module", "sky", "sky_error"))
    return [number_times(np.asarray(table["mjd"])), *levels]


def _check(result: BandResult, photometry: Photometry, options: Any, rng: np.random.Generator) -> BandResult:
    """Check reserved sources, sky levels, bootstrap and the gradient of each module."""
    solution, measured, fitted = result.solution, photometry.measurements, ~result.measurements.reserved
    is_network = options.method == "network"
    draws = options.bootstrap if is_network else 0
    exposures = photometry.exposures[_of_band(photometry.exposures, result.filter, result.pupil)]
    by_epoch = {
        int(epoch): sky_offsets(*_list_levels(exposures[exposures["epoch"] == epoch]))
        for epoch in np.unique(exposures["epoch"])
    }
    # The sky fills each array, so that a gradient adds its difference between the middles of the two arrays.
    centres = [difference_of_centres(measured, solution, one) for one in result.results]
    sky = compare_sky(sky_offsets(*_list_levels(exposures)), centres, by_epoch)
    colour = None if result.colour is None else result.colour.values[fitted]
    tests = checks.run_score_tests(solution, colour=colour, n_bands=len(list_bands(photometry.exposures)))
    checks.warn_of_mismatch(tests, result.name)
    apertures = ()
    if "growth" in measured.colnames:
        growths = [np.asarray(measured[name])[result.rows[fitted]] for name in ("growth", "far_growth", "growth_error")]
        apertures = checks.compare_apertures(solution, *growths)
    return replace(
        result,
        residuals=checks.validate(solution, result.measurements),
        sky=sky,
        bootstrap=checks.bootstrap_sources(solution, rng, draws) if draws else None,
        module_slopes=_fit_module_slopes(result.measurements, solution, options),
        score_tests=tests,
        assumptions=checks.list_assumptions(solution),
        apertures=apertures,
        drifts=list_drifts(solution) if options.drift == "report" and is_network else (),
    )


def _find_colours(
    photometry: Photometry, selected: np.ndarray, band: tuple[str, str], rows: np.ndarray
) -> Colour | None:
    """Find colours with the band that shares most sources; None if all share too few."""
    table, best = photometry.measurements, None
    mine = _source_magnitudes(table, rows)
    for other in list_bands(photometry.exposures):
        if other == band:
            continue
        magnitudes = mine - _source_magnitudes(table, np.flatnonzero(selected & _of_band(table, *other)))
        count = np.count_nonzero(np.isfinite(magnitudes))
        if count >= _MIN_COLOURS and (best is None or count > best[0]):
            best = count, Colour(other=describe_band(*other), values=magnitudes[np.asarray(table["source"])[rows]])
    return best and best[1]


def _source_magnitudes(table: Table, rows: np.ndarray) -> np.ndarray:
    """Find the median magnitude by source number; NaN for sources not in the rows."""
    source = np.asarray(table["source"])
    return group_medians(np.asarray(table["mag"])[rows], source[rows], int(source.max()) + 1)


def _fit_module_slopes(measurements: Measurements, solution: Solution, options: Any) -> dict[str, tuple[float, float]]:
    if not solution.fitted[solution.model.mask("slope")].any():
        return {}
    again = fit_quietly(measurements, **_choices(options), per_module=True)
    found = {term.name: again.value(term.name) for term in again.model.terms if term.is_slope}
    return {name: value for name, value in found.items() if np.isfinite(value[0])}


def _solve_pairs(measurements: Measurements, options: Any) -> dict[str, PairSolution]:
    time_term = "zero" if options.time_term == "zero" else "fit"
    return solve_pairs(measurements, fit_slope=options.fit_slope, time_term=time_term)


def _replace_by_pairs(solution: Solution, pairs: dict[str, PairSolution]) -> Solution:
    """Replace offsets and slopes of the network by those of pairs of epochs."""
    values, covariance, fitted = solution.values.copy(), solution.covariance.copy(), solution.fitted.copy()
    status = {found.term.name: found for found in solution.status}
    for number, term in enumerate(solution.model.terms):
        if term.kind != "offset" and not term.is_slope:
            continue
        covariance[number, :] = covariance[:, number] = 0.0
        pair = pairs.get(term.array)
        fitted[number] = pair is not None and term.kind in pair.names
        if fitted[number]:
            values[number], error = pair.value(term.kind)
            status[term.name] = TermStatus(term, "free", "", 0.0, error, float(pair.n_sources))
        else:
            values[number] = 0.0
            why = "no pair of epochs has patches p and q that determine it"
            status[term.name] = TermStatus.refuse(term, why)
    for array, pair in pairs.items():
        names = [f"{kind}[{array}]" for kind in pair.names if f"{kind}[{array}]" in solution.names]
        terms = [solution.names.index(name) for name in names]
        covariance[np.ix_(terms, terms)] = pair.covariance[: len(terms), : len(terms)]
    return replace(solution, values=values, covariance=covariance, fitted=fitted, status=tuple(status.values()))


_TOGETHER = 5 / 86400  # day: exposures of the ten detectors start and end together


def number_times(mjd: np.ndarray) -> np.ndarray:
    """Give numbers to the times at which exposures were taken together."""
    order = np.argsort(mjd, kind="stable")
    numbers = np.zeros(len(mjd), int)
    numbers[order] = np.cumsum(np.diff(mjd[order], prepend=mjd[order][:1]) > _TOGETHER)
    return numbers


def find_times(exposures: Table, exposure: np.ndarray) -> np.ndarray:
    """Find the number of the time of each measurement, by the number of its exposure."""
    number = np.asarray(exposures["exposure"])
    # An exposure that is not in the table has a time of its own.
    times = len(number) + np.arange(max(number.max(initial=0), exposure.max(initial=0)) + 1)
    # An association may give exposures of one time to two epochs.
    pairs = np.stack([number_times(np.asarray(exposures["mjd"])), np.asarray(exposures["epoch"])])
    times[number] = np.unique(pairs, axis=1, return_inverse=True)[1].ravel()
    return times[exposure]


def difference_of_centres(table: Table, solution: Solution, result: ArrayResult) -> ArrayResult:
    """Add the gradient between the centres of both arrays to an offset and its error."""
    if result.offset is None:
        return result
    m = solution.measurements
    mine = _of_band(table, m.filter, m.pupil) & np.asarray(table["array"] == result.array)
    places = np.stack([table["V2"], table["V3"]])
    # The middle of the area where sources were measured: their mean would follow how they cluster.
    seen = (places[:, mine & np.asarray(table["module"] == module)] for module in MODULES)
    a, b = ((place.min(axis=1) + place.max(axis=1)) / 2 for place in seen)
    offset, error = solution.difference(result.array, a, b)
    return replace(result, offset=offset, offset_error=error)
