"""The solution of all measurements of one filter and pupil, as a network of sources and detectors."""

from __future__ import annotations

import html
import textwrap
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError
from jwst_modfix.fitting.blocks import find_companions, find_references
from jwst_modfix.fitting.design import DETECTORS, SLOPE_ARRAYS, number_labels
from jwst_modfix.fitting.detector_scatter import estimate_detector_scatter
from jwst_modfix.fitting.field_choice import choose_order
from jwst_modfix.fitting.measurements import DIRECTION, ORIGIN, Measurements, is_finite
from jwst_modfix.fitting.missed import Structure, carry_fields, measure_structure
from jwst_modfix.fitting.robust import REASONS, RobustFit, fit_robust, student_factor
from jwst_modfix.fitting.separability import (
    MIN_SOURCES,
    Choice,
    Forecast,
    TermStatus,
    count_weakest_links,
    forecast_terms,
    readmit_terms,
)
from jwst_modfix.fitting.verdict import judge_arrays, offset_table
from jwst_modfix.fitting.zero_points import fix_gauge, judge_detectors, zero_point_table
from jwst_modfix.table.table import ARRAYS, MODULES
from jwst_modfix.text import count_nouns, format_measured

if TYPE_CHECKING:
    from jwst_modfix.table.table import OffsetTable

__all__ = ["Solution", "fit"]


_CHOICES = {
    "scale": ("modules", "detectors"),
    "fit_slope": tuple(SLOPE_ARRAYS),
    "time_term": ("auto", "fit", "zero"),
    "exposure_terms": ("auto", "fit", "zero"),
}
_ORDERS = ("0", "1", "2", "3", "auto")
_DRIFTS = ("report", "fit", "no")
_SWITCHES = ("fit_direction", "per_module", "colour_term", "robust", "scatter")
# An epoch term is "not significant" where chance alone exceeds its chi-square this often.
_EPOCH_PROBABILITY = 0.05
# One variable source in a link of fewer looks like an offset, whatever the number of sources in other links.
_WEAKEST_LINK = 5
_WIDTH = 78  # characters of a line of the summary


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Solution(Forecast, RobustFit):
    """
    Zero points, gradients and epoch terms of one filter and pupil.

    Parameters
    ----------
    values, covariance : numpy.ndarray, shapes (n_terms,) and (n_terms, n_terms)
        All terms [mag or mag/arcmin] and their covariance; 0 where fixed.
    residual : numpy.ndarray, shape (n,)
        Measurements less the model [mag].
    base, weight, derivative : numpy.ndarray, shape (n,)
        Inverse variances, weights in the fit and weights in its covariance [1/mag^2]; 0 where rejected.
    rejected : numpy.ndarray of int, shape (n,)
        Reason code of each measurement fitted: 0 used, 1 single, 2 outlier, 3 variable source.
    sigma_int, scale : float
        Intrinsic scatter of one measurement, and its typical error [mag].
    error_scale : float
        Factor of the given errors: 1, or less where they are too large.
    chi2 : float
        Sum of squared residuals over variances, sigma_int included.
    iterations : int
        Number of re-weightings.
    measurements : Measurements
        The measurements that were fitted: all that are not reserved.
    model, system : Model, LinearSystem
        All terms that were asked for, and the design of the measurements.
    links : LinkReport
        Sources that detectors and epochs share.
    free, fitted : numpy.ndarray of bool, shape (n_terms,)
        Terms that were solved for, and those of them that are determined.
    status : tuple of TermStatus
        Whether each offset, slope and epoch term is determined, and why not.
    level_group : dict
        For each array ID, the number of the group of linked arrays whose levels have a sum of 0.
    structure : dict
        By the number of a detector, with ``scale='detectors'``: what is left in the residuals over its pixels.
    detector_scatter, scatter_freedom : float, int
        Random scatter of a detector from exposure to exposure [mag], which the covariance includes, and the degrees
        of freedom that it was estimated from.
    """

    measurements: Measurements
    level_group: dict[str, int] = field(default_factory=dict)
    structure: dict[int, Structure] = field(default_factory=dict)
    detector_scatter: float = 0.0
    scatter_freedom: int = 0

    def zero_points(self, baseline: str = "B") -> dict[str, tuple[float, float]]:
        """
        List the zero point of every detector, with ``scale='modules'`` too, where gradients are left out.

        Parameters
        ----------
        baseline : {'B', 'A', 'mean'} or str, optional
            The module whose detectors, in each group of linked detectors, have a mean of 0; or one detector.

        Returns
        -------
        dict
            Detector to (z, error) [mag]; NaN for both where z is not determined within its group.

        Raises
        ------
        NoSolutionError
            The detector of the baseline has no zero point.
        """
        values, covariance = self.zero_point_covariance(baseline)
        return {
            name: (float(value), float(np.sqrt(max(variance, 0.0)))) if np.isfinite(value) else (np.nan, np.nan)
            for name, value, variance in zip(values, values.values(), np.diag(covariance), strict=True)
        }

    def zero_point_covariance(self, baseline: str = "B") -> tuple[dict[str, float], np.ndarray]:
        """
        Zero points of all detectors with their covariance; parameters as for `zero_points`.

        Parameters
        ----------
        baseline : str, optional
            As for `zero_points`.

        Returns
        -------
        values, covariance : dict, numpy.ndarray of shape (n_detectors, n_detectors)
            Zero points [mag], NaN where not determined, and their covariance [mag^2].
        """
        gauge = fix_gauge(self, baseline)
        values = np.where(gauge.determined, gauge.weights @ self.values, np.nan)
        covariance = gauge.weights @ self.covariance @ gauge.weights.T
        return dict(zip((DETECTORS[code] for code in gauge.codes), values.tolist(), strict=True)), covariance

    @property
    def names(self) -> tuple[str, ...]:
        """Short names of all terms, such as ``"offset[long]"``."""
        return tuple(term.name for term in self.model.terms)

    @property
    def n_measurements(self) -> int:
        """Number of measurements used."""
        return int(np.count_nonzero(self.rejected == 0))

    @property
    def n_sources(self) -> int:
        """Number of sources used."""
        return len(np.unique(self.measurements.source[self.rejected == 0]))

    @property
    def dof(self) -> int:
        """Degrees of freedom: measurements less sources less combinations of terms that were solved for."""
        return self.n_measurements - self.n_sources - int(np.linalg.matrix_rank(self.covariance, hermitian=True))

    @property
    def chi2_as_given(self) -> float:
        """Sum of squared residuals of the measurements used, over the variances as given: without scatter or factor."""
        used = self.rejected == 0
        return float(np.sum((self.residual[used] / self.measurements.mag_error[used]) ** 2))

    def value(self, name: str) -> tuple[float, float]:
        """
        Look up one term by its name.

        Parameters
        ----------
        name : str
            Name such as ``"offset[long]"``.

        Returns
        -------
        value, error : float
            Value and standard error [mag or mag/arcmin]; NaN for both where the term was not determined.

        Raises
        ------
        KeyError
            No term has that name.
        """
        if name not in self.names:
            raise KeyError(f"no term {name!r}; there are {', '.join(self.names)}")
        number = self.names.index(name)
        if not self.fitted[number]:
            return np.nan, np.nan
        return float(self.values[number]), float(np.sqrt(self.covariance[number, number]))

    def epoch_terms(self) -> dict[int, tuple[float, float]]:
        """
        List the epoch terms.

        Returns
        -------
        dict
            Epoch to (t, error) [mag]; (0, 0) in the first epoch and where the term is left out or fixed to 0.
        """
        found = {int(epoch): (0.0, 0.0) for epoch in self.model.epochs}
        for number in np.flatnonzero(self.model.mask("epoch") & self.fitted):
            term = self.model.terms[number]
            found[int(term.epoch or 0)] = self.value(term.name)
        return found

    def predict(self, measurements: Measurements) -> np.ndarray:
        """
        Systematic error z + g u + t of any measurements of this filter, with the baseline ``'mean'``.

        Parameters
        ----------
        measurements : Measurements
            Measurements by detectors and in epochs of this solution.

        Returns
        -------
        numpy.ndarray, shape (n,)
            What to subtract from the magnitudes [mag]; an array's own level included.

        Raises
        ------
        MeasurementsError
            An array or epoch is not part of the solution.
        """
        mine, other = (f"{m.filter}+{m.pupil}" for m in (self.measurements, measurements))
        if mine != other:
            raise MeasurementsError(f"measurements in {other}: the solution is of {mine}")
        predicted: np.ndarray = self.model.design(measurements) @ self.values
        return predicted

    def difference(
        self, array: str, place_A: tuple[float, float] | None = None, place_B: tuple[float, float] | None = None
    ) -> tuple[float, float]:
        """
        Zero-point error of module A minus that of module B, gradient included, between two places.

        Parameters
        ----------
        array : str
            Array ID.
        place_A, place_B : tuple of float, optional
            V2, V3 in module A and in module B [arcsec]; the mean place of the module's measurements unless given.

        Returns
        -------
        value, error : float
            The difference and its standard error [mag]; terms that are not determined count as 0.
        """
        there = {ARRAYS[code // 2] for code in self.model.detectors if code ^ 1 in self.model.detectors}
        if array not in there:
            raise MeasurementsError(
                f"array {array!r} is not part of the solution; {', '.join(sorted(there)) or 'none'} is"
            )
        places = place_A or self._middle(array, "A"), place_B or self._middle(array, "B")
        if not is_finite(places, (2, 2)):
            raise MeasurementsError(f"place_A and place_B must be V2, V3 in arcsec; got {place_A!r} and {place_B!r}")
        weights = self.model.contrast(array, *places) * self.fitted
        return float(weights @ self.values), float(np.sqrt(weights @ self.covariance @ weights))

    def _middle(self, array: str, module: str) -> tuple[float, float]:
        mine = self.measurements.detector == 2 * ARRAYS.index(array) + MODULES.index(module)
        return float(self.measurements.V2[mine].mean()), float(self.measurements.V3[mine].mean())

    def residuals(self) -> dict[str, np.ndarray]:
        """
        List what the fit leaves of each measurement.

        Returns
        -------
        dict of numpy.ndarray, shape (n,)
            Columns ``source``, ``exposure``, ``epoch``, ``array``, ``module``, ``mag`` [mag], ``residual`` [mag],
            ``used`` and ``reason`` (``"used"``, ``"single"``, ``"outlier"`` or ``"variable"``), in the order of the
            measurements. A residual is the magnitude minus z + g u + t minus the mean of its source: of its
            measurements used, or of all where the source is rejected whole.
        """
        source, m = number_labels(self.measurements.source)[1], self.measurements
        left, weight = m.mag - self.predict(m), 1 / m.mag_error**2
        mean = np.bincount(source, weight * left) / np.bincount(source, weight)
        used = self.rejected == 0
        is_used = np.bincount(source, used)[source] > 0
        names = ("source", "exposure", "epoch", "array", "module", "mag")
        columns: dict[str, np.ndarray] = {name: getattr(m, name) for name in names}
        columns |= {"residual": np.where(is_used, self.residual, left - mean[source]), "used": used}
        return columns | {"reason": np.array(REASONS)[self.rejected]}

    def to_table(self, description: str | None = None, *, baseline: str = "B", **meta: Any) -> OffsetTable:
        """
        Make a coefficient table of the arrays or detectors that are determined.

        Parameters
        ----------
        description : str, optional
            One line that says what the table is.
        baseline : {'B', 'A', 'mean'} or str, optional
            The module whose flux scale is kept; for ``scale='detectors'`` also the name of a detector.
        **meta : object
            More fields of the table, such as ``name`` and ``valid_for``.

        Returns
        -------
        OffsetTable
            The table.
        """
        if description is not None:
            meta["description"] = description
        make = offset_table if self.model.scale == "modules" else zero_point_table
        return make(self, baseline, **meta)

    def summary(self) -> str:
        """
        Describe the solution in lines of at most 78 characters.

        Returns
        -------
        str
            Counts, offsets and slopes with a verdict for each array, epoch terms, and what is not determined.
        """
        single, outliers, variable = (int(count) for count in np.bincount(self.rejected, minlength=4)[1:])
        lines = [
            f"{self._band}: {count_nouns(self.n_measurements, 'measurement')} of"
            f" {count_nouns(self.n_sources, 'source')} in {count_nouns(len(self.model.epochs), 'epoch')}",
            f"rejected: {single} single, {count_nouns(outliers, 'outlier')}, {variable} of variable sources",
            f"intrinsic scatter {1e3 * self.sigma_int:.2f} mmag, error scale {self.error_scale:.2f}",
            f"scatter of a detector from exposure to exposure {1e3 * self.detector_scatter:.2f} mmag",
            f"chi2 {self.chi2:.0f} for {self.dof} degrees of freedom;"
            f" {self.chi2_as_given:.0f} with the errors as given",
            "",
        ]
        rows, remarks = self._describe_detectors() if self.model.scale == "detectors" else self._describe_arrays()
        lines += rows
        lines += [f"epoch {epoch}: {_milli(*term)} mmag" for epoch, term in self.epoch_terms().items() if term[1] > 0]
        if "colour" in self.names:
            lines.append(
                f"colour term A - B: {_milli(*self.value('colour'))} mmag per mag, 0 at {self.model.colour:.2f} mag"
            )
        remarks += [status.words for status in self.status if status.words]
        remarks += [*self.remarks, *self.refusals]
        for remark in dict.fromkeys(remarks):
            lines += textwrap.wrap(remark, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)

    def _describe_arrays(self) -> tuple[list[str], list[str]]:
        """Rows of the summary and remarks, for modules."""
        results = judge_arrays(self)
        lines = [f"{'array':6}{'offset A - B [mmag]':>20}{'slope [mmag/arcmin]':>21}{'sources':>9}  verdict"]
        lines += [
            f"{r.array:6}{_milli(r.offset, r.offset_error):>20}{_milli(r.slope, r.slope_error):>21}"
            f"{r.n_sources:>9.0f}  {r.verdict}"
            for r in results
        ]
        levels = [term for term in self.model.terms if term.kind == "level"]
        known = [(term.array, *self.value(term.name)) for term in levels if np.isfinite(self.value(term.name)[0])]
        lines += [f"level of array {array}: {_milli(*level)} mmag" for array, *level in known]
        return lines, [f"array {r.array}: {r.words}" for r in results]

    def _describe_detectors(self) -> tuple[list[str], list[str]]:
        """Rows of the summary and remarks, for detectors."""
        results = judge_detectors(self)
        lines = [f"{'detector':9}{'zero point [mmag]':>20}{'field rms [mmag]':>19}{'sources':>9}  verdict"]
        lines += [
            f"{r.detector:9}{_milli(r.zero_point, r.zero_point_error):>20}"
            f"{_milli(r.field_rms, r.field_error):>19}{r.n_sources:>9.0f}  {r.verdict}"
            for r in results
        ]
        return lines, [f"{r.detector}: {r.words}" for r in results]

    @property
    def _band(self) -> str:
        return f"{self.measurements.filter}+{self.measurements.pupil}"

    def __repr__(self) -> str:
        found = [(r.detector, r.zero_point, r.zero_point_error, r.verdict) for r in judge_detectors(self)]
        if self.model.scale == "modules":
            found = [(r.array, r.offset, r.offset_error, r.verdict) for r in judge_arrays(self)]
        parts = (f"{n}: {verdict}" if v is None else f"{n}: {_milli(v, e)} mmag" for n, v, e, verdict in found)
        return f"<Solution {self._band}: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        if self.model.scale == "modules":
            heads = ["array", "offset A - B [mmag]", "slope [mmag/arcmin]", "verdict"]
            cells = [(r.array, (r.offset, r.offset_error), (r.slope, r.slope_error), r.verdict)
                     for r in judge_arrays(self)]  # fmt: skip
        else:
            heads = ["detector", "zero point [mmag]", "field rms [mmag]", "verdict"]
            cells = [(r.detector, (r.zero_point, r.zero_point_error), (r.field_rms, r.field_error), r.verdict)
                     for r in judge_detectors(self)]  # fmt: skip
        lines = [(name, _milli(*one), _milli(*other), verdict) for name, one, other, verdict in cells]
        rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
        head = "<tr>" + "".join(f"<th>{name}</th>" for name in heads) + "</tr>"
        return f"<table><caption>{html.escape(self._band)}</caption>{head}{rows}</table>"


def _milli(value: float | None, error: float | None) -> str:
    return format_measured(value, error, "")


def fit(
    measurements: Measurements,
    *,
    scale: str = "modules",
    fit_slope: str = "long",
    time_term: str = "auto",
    exposure_terms: str = "auto",
    field_order: str = "0",
    drift: str = "report",
    direction: float = DIRECTION,
    origin: tuple[float, float] = ORIGIN,
    fit_direction: bool = False,
    per_module: bool = False,
    colour_term: bool = False,
    robust: bool = True,
    scatter: bool = True,
    min_sources: int = MIN_SOURCES,
) -> Solution:
    """
    Solve m = M_source + z + g u + t for one filter and pupil (the general form of Ma et al. 2023, Eq. 3-10).

    Magnitudes of sources are eliminated. The offsets Delta_AB = z_A - z_B, slopes k = 2 g and epoch terms are
    solved for together by Huber's estimator. Levels of arrays, the mean of their two zero points, are free;
    their sum is 0 in each group of linked arrays.

    Parameters
    ----------
    measurements : Measurements
        All measurements; reserved ones are left out.
    scale : {'modules', 'detectors'}, optional
        What has zero points: the modules (offset, level and slope of each array ID), or each detector.
    fit_slope : {'long', 'all', 'none'}, optional
        Array IDs that have a gradient across the field: a slope, or with ``scale='detectors'`` fields of order 1 at
        least. Where these are not determined, zero points are not, either.
    time_term : {'auto', 'fit', 'zero'}, optional
        Whether epochs have a term, where the pointings separate it; ``'auto'`` also says which terms are not
        significant. These keep their value and error: to drop a term because it looks small makes the errors of
        the others too small (Leeb & Poetscher 2005, Econometric Theory 21, 21).
    exposure_terms : {'auto', 'fit', 'zero'}, optional
        Whether exposures, each of all detectors, have terms in the place of their epoch's: ``'auto'`` where these
        multiply no error by more than 3, ``'fit'`` where they are separable.
    field_order : {'0', '1', '2', '3', 'auto'}, optional
        With ``scale='detectors'``: order of the field of each detector, in the place of slopes; ``'auto'`` takes the
        lowest that the reserved sources cannot tell from any higher one.
    drift : {'report', 'fit', 'no'}, optional
        ``'fit'``: with ``scale='detectors'``, a term for each detector in each epoch after the first, less the mean
        of all, where these are separable. The others fit none.
    direction : float, optional
        Direction of the gradients [deg], from +V3 toward +V2.
    origin : tuple of float, optional
        (V2, V3) where u = 0 [arcsec].
    fit_direction : bool, optional
        Fit two components of each slope, along V2 and V3.
    per_module : bool, optional
        Fit one slope for each module, as a diagnostic.
    colour_term : bool, optional
        Fit the dependence of A - B on the colour of sources [mag per mag], the term ``"colour"``. The measurements need
        the column ``colour``; zero points hold at its median.
    robust, scatter : bool, optional
        False: plain weighted least squares, and errors as given.
    min_sources : int, optional
        Least effective number of sources that constrain a term; more than 3.

    Returns
    -------
    Solution
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
        A term is not determined by these measurements: it is fixed to 0 or left out.
    """
    given, order = dict(locals()), str(field_order)
    _check_parameters(**given)
    for name, value, known in (("field_order", order, _ORDERS), ("drift", drift, _DRIFTS)):
        if value not in known:
            raise MeasurementsError(f"{name} must be one of {', '.join(known)}; got {value!r}")
    if scale == "modules" and (order != "0" or drift == "fit"):
        raise MeasurementsError("field_order and drift='fit' need scale='detectors'; got scale='modules'")
    if drift == "fit" and time_term == "zero":
        raise MeasurementsError("drift='fit' needs terms of epochs; got time_term='zero'")
    colour = None if measurements.colour is None else float(np.median(measurements.colour))
    if colour_term and colour is None:
        raise MeasurementsError(
            f"{measurements.filter}+{measurements.pupil}: colour_term needs the column colour, the magnitude of each "
            "source minus that in a second filter"
        )
    choice = Choice(
        scale=scale, fit_slope=fit_slope, time_term=time_term, exposure_terms=exposure_terms, direction=direction,
        origin=origin, fit_direction=fit_direction, per_module=per_module, min_sources=min_sources,
        field_order=0 if order == "auto" else int(order), drift=drift == "fit",
        colour=colour if colour_term else None,
    )  # fmt: skip
    for name, allowed in _CHOICES.items():
        if getattr(choice, name) not in allowed:
            raise MeasurementsError(f"{name} must be one of {', '.join(allowed)}; got {getattr(choice, name)!r}")
    solve = partial(_fit_choice, measurements, robust=robust, scatter=scatter)
    if order == "auto":
        least = choice.least_order(measurements)
        solution = choose_order(measurements, lambda order: solve(replace(choice, field_order=order)), least)
    else:
        solution = solve(choice)
    degenerate = (status.words for status in solution.status if status.is_degenerate)
    for words in (*degenerate, *solution.refusals):
        warnings.warn(f"{solution._band}: {words}", DegenerateTermWarning, stacklevel=2)
    return solution


def _check_parameters(
    *, measurements: Any, scale: Any, direction: Any, origin: Any, min_sources: Any, **given: Any
) -> None:
    """Refuse values of another type: text such as 'no' counts as true, and NaN passes every comparison."""
    if not isinstance(measurements, Measurements):
        raise MeasurementsError(
            f"measurements must be Measurements, as Measurements.from_table makes; got {type(measurements).__name__}"
        )
    for name in _SWITCHES:
        if not isinstance(given[name], bool | np.bool_):
            raise MeasurementsError(f"{name} must be True or False; got {given[name]!r}")
    if not (is_finite(direction) and is_finite(origin, (2,))):
        raise MeasurementsError(f"direction must be a number, and origin two; got {direction!r} and {origin!r}")
    if not (is_finite(min_sources) and min_sources > 0):
        raise MeasurementsError(f"min_sources must be a number greater than 0; got {min_sources!r}")
    if scale == "detectors" and (given["fit_direction"] or given["per_module"]):
        raise MeasurementsError("fit_direction and per_module need scale='modules'; got scale='detectors'")


def _fit_choice(measurements: Measurements, choice: Choice, *, robust: bool, scatter: bool) -> Solution:
    """Fit all but the reserved sources, with all that adds to the errors."""
    mine = measurements.select(~measurements.reserved) if measurements.reserved.any() else measurements
    solution = _fit_used(forecast_terms(mine, choice), mine, robust=robust, scatter=scatter)
    solution = _add_detector_scatter(solution) if scatter else solution
    solution = _add_fields(solution) if choice.scale == "detectors" else solution
    solution = _correlate(_take_gauge(*_correct_for_few(solution, choice.min_sources)))
    return _mark_insignificant(solution) if choice.time_term == "auto" else solution


def _fit_used(forecast: Forecast, mine: Measurements, *, robust: bool, scatter: bool) -> Solution:
    """Fit, and find again which terms are determined by the measurements that are used, until the two agree."""
    while True:
        found = fit_robust(forecast.system, forecast.free, mine, robust=robust, scatter=scatter)
        # Without links the values would be 0 without any data.
        try:
            again = readmit_terms(forecast, found.derivative)
        except NoSolutionError as error:
            what = forecast.model.scale
            raise NoSolutionError(
                f"measurements in {mine.filter}+{mine.pupil}: {1 - np.mean(found.rejected == 0):.0%} were rejected as"
                f" outliers or variable sources, and the others do not link the {what}"
            ) from error
        # A term that is no longer free changes the others: they are fitted again without it. Terms only get fewer.
        settled, forecast = (again.free == forecast.free).all(), again
        if settled:
            return Solution(**vars(found), **vars(forecast), measurements=mine)


def _add_detector_scatter(solution: Solution) -> Solution:
    """Add to the covariance what detectors scatter by in each exposure, beside the noise of single measurements."""
    m = solution.measurements
    found = estimate_detector_scatter(solution, solution.system, solution.free, m.detector, m.time)
    covariance = solution.covariance + found.covariance
    return replace(solution, covariance=covariance, detector_scatter=found.sigma, scatter_freedom=found.freedom)


def _add_fields(solution: Solution) -> Solution:
    """Measure the structure that is left in detectors, and add to the covariance what it makes of their zero points."""
    solution = replace(solution, structure=measure_structure(solution))
    rms, covariance = carry_fields(solution)
    if rms == 0:
        return solution
    words = f"fields of detectors are not fitted: structure of {1e3 * rms:.1f} mmag rms is carried into the errors"
    return replace(solution, covariance=solution.covariance + covariance, remarks=(*solution.remarks, words))


def _correct_for_few(solution: Solution, min_sources: int) -> tuple[Solution, np.ndarray]:
    """Leave out what depends on a weak link; return the factors of the errors of few sources too."""
    model, counted = solution.model, ~solution.model.mask("level", "exposure", "field", "drift")
    weakest = count_weakest_links(solution.measurements, solution.derivative > 0, _link_pairs(solution))
    fitted, factor, status = solution.fitted.copy(), np.ones(len(solution.free)), {s.term: s for s in solution.status}
    for number in np.flatnonzero(solution.fitted & counted):
        term = model.terms[number]
        count = status[term].effective_sources
        factor[number] = student_factor(max(count, min_sources))
        if weakest.get(term.name, _WEAKEST_LINK) < min(_WEAKEST_LINK, min_sources):
            link = "between its modules" if term.kind == "offset" else "to the other detectors"
            why = f"the weakest link {link} has {weakest[term.name]} sources"
            why += f" that agree (minimum {_WEAKEST_LINK}); not fitted"
            status[term] = TermStatus.refuse(term, why, effective_sources=count)
        fitted[number] = status[term].is_fitted
    # A level holds if its offset does, and a reference if another detector of its group does.
    alone = find_references(model, solution.links) | model.mask("level")
    fitted &= ~alone | find_companions(model, solution.links, fitted & ~alone)
    return replace(solution, fitted=fitted, status=tuple(status.values())), factor


def _link_pairs(solution: Solution) -> dict[str, tuple[int, int]]:
    """Detectors whose link each offset, or zero point, needs: its modules, or it and the reference of its group."""
    terms, group = solution.model.terms, solution.links.group_of
    references = find_references(solution.model, solution.links)
    code = {group(term): term.codes[0] for term, found in zip(terms, references, strict=True) if found}
    pairs = {term.name: (term.codes[0], code[group(term)]) for term in terms if term.kind == "zero_point"}
    return pairs | {term.name: (term.codes[0], term.codes[1]) for term in terms if term.kind == "offset"}


def _take_gauge(solution: Solution, factor: np.ndarray) -> Solution:
    """Values and covariance of the terms as reported, with the factors of errors from few sources."""
    groups = {str(term.array): solution.links.group_of(term) for term in solution.model.terms if term.kind == "level"}
    report = solution.report()
    covariance = report @ solution.covariance @ report.T * np.outer(factor, factor)
    return replace(solution, values=report @ solution.values, covariance=covariance, level_group=groups)


def _correlate(solution: Solution) -> Solution:
    """State for each term its largest correlation with another one in the covariance as reported."""
    known = np.flatnonzero(solution.fitted)
    covariance = solution.covariance[np.ix_(known, known)]
    error = np.sqrt(np.diag(covariance))
    product = np.outer(error, error)
    size = np.abs(covariance / np.where(product > 0, product, np.inf))  # a term with error 0 correlates with none
    np.fill_diagonal(size, 0.0)
    largest = dict(zip((solution.model.terms[i] for i in known), size.max(axis=1, initial=0.0).tolist(), strict=True))
    status = (replace(s, correlation=largest[s.term]) if s.term in largest else s for s in solution.status)
    return replace(solution, status=tuple(status))


def _mark_insignificant(solution: Solution) -> Solution:
    """Mark the epoch terms that are compatible with 0, each by its own chi-square; values and errors stay."""
    least = np.sqrt(chi2.isf(_EPOCH_PROBABILITY, 1))
    status = []
    for found in solution.status:
        value, error = solution.value(found.term.name)
        if found.term.kind == "epoch" and found.is_fitted and abs(value) < least * error:
            words = f"{found.term.words}: {_milli(value, error)} mmag, not significant"
            found = replace(found, status="not significant", words=words)
        status.append(found)
    return replace(solution, status=tuple(status))
