"""The solution of a filter and pupil, as a network of sources and detectors."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError
from jwst_modfix.fitting.blocks import find_companions, find_references
from jwst_modfix.fitting.design import CHOICES, Choice
from jwst_modfix.fitting.fields import Structure, carry_fields, choose_order, measure_structure
from jwst_modfix.fitting.measurements import DETECTORS_BY_CODE, EXPOSURE_SHARE, PARTS, Measurements, is_finite
from jwst_modfix.fitting.pieces import add_pieces
from jwst_modfix.fitting.robust import REASONS, RobustFit, fit_robust, student_factor
from jwst_modfix.fitting.separability import Forecast, TermStatus, count_weakest_links, forecast_terms, readmit_terms
from jwst_modfix.fitting.stability import estimate_detector_scatter
from jwst_modfix.fitting.verdict import ArrayResult, DetectorResult, fix_gauge, judge, table_of_results
from jwst_modfix.table.table import Gradient
from jwst_modfix.text import align, count_nouns, format_measured, html_table, wrap

if TYPE_CHECKING:
    from jwst_modfix.table.table import OffsetTable

__all__ = ["Solution", "fit"]

_SWITCHES = ("fit_direction", "per_module", "colour_term", "robust", "scatter")
_milli = partial(format_measured, unit="")
# An epoch term is "not significant" where chance alone exceeds its chi-square this often.
_EPOCH_PROBABILITY = 0.05
# One variable source in a link of fewer looks like an offset, whatever the number of sources in other links.
_WEAKEST_LINK = 5


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Solution(Forecast, RobustFit):  # numpydoc ignore=PR01
    """Zero points, gradients and epoch terms of one filter and pupil."""

    measurements: Measurements  #: the measurements that were fitted: all that are not reserved
    #: by number of a detector, with ``scale='detectors'``: what is left in the residuals over its pixels
    structure: dict[int, Structure] = field(default_factory=dict)
    #: scatter of a detector from exposure to exposure [mag], which the covariance includes
    detector_scatter: float = 0.0
    scatter_freedom: int = 0  #: degrees of freedom that it was estimated from

    def zero_points(self, baseline: str = "B") -> dict[str, tuple[float, float]]:
        """
        List the zero points of all detectors.

        With ``scale='modules'`` they do not include the gradients.

        Parameters
        ----------
        baseline : {'B', 'A', 'mean'} or str, optional
            The module whose detectors, in each group of linked detectors, have a mean of 0; or one detector.

        Returns
        -------
        dict
            Detector to (z, error) [mag]; NaN for both where z is not determined within its group.
        """
        gauge = fix_gauge(self, baseline)
        values = np.where(gauge.determined, gauge.weights @ self.values, np.nan)
        variances = np.sum((gauge.weights @ self.covariance) * gauge.weights, axis=1)
        errors = np.where(gauge.determined, np.sqrt(np.maximum(variances, 0.0)), np.nan)
        names = (DETECTORS_BY_CODE[code] for code in gauge.codes)
        return dict(zip(names, zip(values.tolist(), errors.tolist(), strict=True), strict=True))

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
        """Degrees of freedom: measurements minus sources minus solved combinations."""
        return self.n_measurements - self.n_sources - int(np.linalg.matrix_rank(self.covariance, hermitian=True))

    @property
    def chi2_as_given(self) -> float:
        """Sum of squared residuals of used measurements over their given variances."""
        used = self.rejected == 0
        return float(np.sum((self.residual[used] / self.measurements.mag_error[used]) ** 2))

    def value(self, name: str) -> tuple[float, float]:
        """
        Look up one term by its name; KeyError if there is none.

        Parameters
        ----------
        name : str
            Name such as ``"offset[long]"``.

        Returns
        -------
        tuple of float
            Value and standard error [mag or mag/arcmin]; NaN for both where the term was not determined.
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
        Predict the systematic error z + g u + t of measurements, baseline ``'mean'``.

        Parameters
        ----------
        measurements : Measurements
            Measurements of this filter; MeasurementsError if a detector or epoch is not part of the solution.

        Returns
        -------
        numpy.ndarray, shape (n,)
            What to subtract from the magnitudes [mag]; an array's own level included.
        """
        mine, other = self.measurements.band, measurements.band
        if mine != other:
            raise MeasurementsError(f"measurements in {other}: the solution is of {mine}")
        predicted: np.ndarray = self.model.design(measurements) @ self.values
        return predicted

    def difference(self, array: str, place_A: tuple[float, float], place_B: tuple[float, float]) -> tuple[float, float]:
        """
        Compute module A minus module B, gradient included, between two places.

        Parameters
        ----------
        array : str
            Array ID.
        place_A, place_B : tuple of float
            V2, V3 in module A and in module B [arcsec].

        Returns
        -------
        tuple of float
            The difference and its standard error [mag]; terms that are not determined count as 0.
        """
        there = {PARTS[code][0] for code in self.model.detectors if code ^ 1 in self.model.detectors}
        if array not in there:
            raise MeasurementsError(
                f"array {array!r} is not part of the solution; {', '.join(sorted(there)) or 'none'} is"
            )
        if not is_finite((place_A, place_B), (2, 2)):
            raise MeasurementsError(f"place_A and place_B must be V2, V3 in arcsec; got {place_A!r} and {place_B!r}")
        weights = self.model.contrast(array, place_A, place_B) * self.fitted
        return float(weights @ self.values), float(np.sqrt(weights @ self.covariance @ weights))

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
        names = ("source", "exposure", "epoch", "array", "module", "mag")
        columns: dict[str, np.ndarray] = {name: getattr(self.measurements, name) for name in names}
        columns |= {"residual": self.residual, "used": self.rejected == 0}
        return columns | {"reason": np.array(REASONS)[self.rejected]}

    def to_table(self, description: str | None = None, *, baseline: str = "B", **meta: Any) -> OffsetTable:
        """
        Make a table of all determined arrays or detectors, whatever the verdict.

        Left out are values that hold only under an assumption, or whose error exceeds 3 mmag somewhere in the field.

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
        m, model = self.measurements, self.model
        meta |= {} if description is None else {"description": description}
        if model.scale == "modules":
            origin, kept = (float(model.origin[0]), float(model.origin[1])), {"exposure_share": EXPOSURE_SHARE}
            meta["gradient"] = Gradient(frame="focal_plane", direction=model.direction, origin=origin, **kept)
        return table_of_results(judge(self, baseline=baseline), m.filter, m.pupil, baseline, **meta)

    def summary(self) -> str:
        """
        Describe the solution in lines of at most 78 characters.

        Returns
        -------
        str
            Counts, offsets and slopes with a verdict for each array, epoch terms, and what is not determined.
        """
        single, outliers, variable = (int(count) for count in np.bincount(self.rejected, minlength=4)[1:])
        results = judge(self)
        levels = [term for term in self.model.terms if term.kind == "level"]
        lines = [
            f"{self.measurements.band}: {count_nouns(self.n_measurements, 'measurement')} of"
            f" {count_nouns(self.n_sources, 'source')} in {count_nouns(len(self.model.epochs), 'epoch')}",
            f"rejected: {single} single, {count_nouns(outliers, 'outlier')}, {variable} of variable sources",
            f"intrinsic scatter {1e3 * self.sigma_int:.2f} mmag, error scale {self.error_scale:.2f}",
            f"scatter of a detector from exposure to exposure {1e3 * self.detector_scatter:.2f} mmag",
            f"chi2 {self.chi2:.0f} for {self.dof} degrees of freedom;"
            f" {self.chi2_as_given:.0f} with the errors as given",
            "",
            *align([row[:-1] for row in self._cells()], right=(1, 2, 3)),
            *(f"level of array {term.array}: {_milli(*level)} mmag" for term in levels
              if np.isfinite((level := self.value(term.name))[0])),
            *(f"epoch {epoch}: {_milli(*term)} mmag" for epoch, term in self.epoch_terms().items() if term[1] > 0),
        ]  # fmt: skip
        if "colour" in self.names:
            colour = _milli(*self.value("colour"))
            lines.append(f"colour term A - B: {colour} mmag per mag, 0 at {self.model.colour:.2f} mag")
        reasons = " ".join(result.words for result in results)
        remarks = [status.words for status in self.status if status.words] + [*self.remarks, *self.refusals]
        remarks = [remark for remark in remarks if remark not in reasons]
        remarks = [*(f"{result.title}: {result.words}" for result in results), *dict.fromkeys(remarks)]
        return "\n".join([*lines, *(line for remark in remarks for line in wrap(remark, "- "))])

    def _cells(self) -> list[list[str]]:
        """List the results as text, a row for each array or detector after a header row."""
        kind = ArrayResult if self.model.scale == "modules" else DetectorResult
        heads = [head.replace("offset", "offset A - B") for head in kind.heads]
        return [[*heads, "sources", "verdict", "reason"], *(result.cells() for result in judge(self))]

    def __repr__(self) -> str:
        found = (result.cells() for result in judge(self))
        parts = (f"{name}: {verdict if value == '-' else value + ' mmag'}" for name, value, _, _, verdict, _ in found)
        return f"<Solution {self.measurements.band}: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        return html_table(self.measurements.band, ([*row[:3], row[4]] for row in self._cells()))


def fit(
    measurements: Measurements,
    *,
    scale: str = "modules",
    fit_slope: str = "long",
    time_term: str = "auto",
    exposure_terms: str = "auto",
    field_order: str = "0",
    drift: str = "report",
    direction: float = Choice.direction,
    origin: tuple[float, float] = Choice.origin,
    fit_direction: bool = False,
    per_module: bool = False,
    colour_term: bool = False,
    robust: bool = True,
    scatter: bool = True,
    min_sources: int = Choice.min_sources,
    rest: Callable[[], Iterable[Measurements]] | None = None,
) -> Solution:
    """
    Solve m = M_source + z + g u + t for one filter and pupil.

    This is the general form of Ma et al. (2023, Eq. 3-10). Magnitudes of sources are eliminated. The offsets Delta_AB
    = z_A - z_B, slopes k = 2 g and epoch terms are solved for together by Huber's estimator. Levels of arrays, the
    mean of their two zero points, are free; their sum is 0 in each group of linked arrays.

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
        Whether epochs have a term, where the pointings separate it; ``'auto'`` also says which are not significant.
    exposure_terms : {'auto', 'fit', 'zero'}, optional
        Whether exposures, each of all detectors, have terms instead of their epoch's: ``'auto'`` where these
        multiply no error by more than 3, ``'fit'`` where they are separable.
    field_order : {'0', '1', '2', '3', 'auto'}, optional
        With ``scale='detectors'``: order of the field of each detector, instead of slopes; ``'auto'`` takes the
        lowest for which no higher order predicts the reserved sources better.
    drift : {'report', 'fit', 'no'}, optional
        ``'fit'``: with ``scale='detectors'``, a term for each detector in each later epoch, where these are separable.
    direction : float, optional
        Direction of the gradients [deg], from +V3 toward +V2.
    origin : tuple of float, optional
        (V2, V3) where u = 0 [arcsec].
    fit_direction, per_module : bool, optional
        Fit two components of each slope, along V2 and V3; one slope for each module, as a diagnostic.
    colour_term : bool, optional
        Fit A - B against the column ``colour`` [mag per mag]; zero points hold at its median.
    robust, scatter : bool, optional
        False: plain weighted least squares, and errors as given.
    min_sources : int, optional
        Least effective number of sources that constrain a term; more than 3.
    rest : callable, optional
        Returns an iterable of more measurements than memory holds, each item with whole sources that no other has.
        Values and errors are then those of all; what is determined, and all counts, are of ``measurements`` alone,
        which must be a random sample of the sources.

    Returns
    -------
    Solution
        The solution.

    Raises
    ------
    NoSolutionError
        No sources, one module only, one epoch without dithers, or no overlap between the modules.

    Warns
    -----
    DegenerateTermWarning
        A term is not determined by these measurements: it is fixed to 0 or left out.
    """
    given = dict(locals()) | {"field_order": str(field_order)}
    _check_parameters(**given)
    colour = float(np.median(np.asarray(measurements.colour))) if colour_term else None
    apart = ("measurements", "robust", "scatter", "colour_term", "rest")
    options = {name: given[name] for name in given if name not in apart}
    options |= {"field_order": 0 if field_order == "auto" else int(field_order), "drift": drift == "fit"}
    choice, solve = Choice(**options, colour=colour), partial(_fit_choice, measurements, robust=robust, scatter=scatter)
    if field_order == "auto":
        least = choice.least_order(measurements)
        solution = choose_order(measurements, lambda order: solve(replace(choice, field_order=order)), least)
        choice = replace(choice, field_order=solution.field_order)
    if field_order != "auto" or rest is not None:
        solution = solve(choice, rest=rest)
    degenerate = (status.words for status in solution.status if not status.is_fitted)
    for words in (*degenerate, *solution.refusals):
        warnings.warn(f"{solution.measurements.band}: {words}", DegenerateTermWarning, stacklevel=2)
    return solution


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore what `fit` warns of; the status of the solution says it too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateTermWarning)
        yield


fit_quietly = without_warnings()(fit)


def _check_parameters(*, measurements: Any, **given: Any) -> None:
    """Refuse values of wrong type: text 'no' counts as true, NaN passes comparisons."""
    if not isinstance(measurements, Measurements):
        raise MeasurementsError(
            f"measurements must be Measurements, as Measurements.from_table makes; got {type(measurements).__name__}"
        )
    for name in _SWITCHES:
        if not isinstance(given[name], bool | np.bool_):
            raise MeasurementsError(f"{name} must be True or False; got {given[name]!r}")
    direction, origin, min_sources = (given[name] for name in ("direction", "origin", "min_sources"))
    if not (is_finite(direction) and is_finite(origin, (2,))):
        raise MeasurementsError(f"direction must be a number, and origin two; got {direction!r} and {origin!r}")
    if not (is_finite(min_sources) and min_sources > 0):
        raise MeasurementsError(f"min_sources must be a number greater than 0; got {min_sources!r}")
    for name, allowed in CHOICES.items():
        if given[name] not in allowed:
            raise MeasurementsError(f"{name} must be one of {', '.join(allowed)}; got {given[name]!r}")
    is_modules = given["scale"] == "modules"
    if not is_modules and (given["fit_direction"] or given["per_module"]):
        raise MeasurementsError("fit_direction and per_module need scale='modules'; got scale='detectors'")
    if is_modules and (given["field_order"] != "0" or given["drift"] == "fit"):
        raise MeasurementsError("field_order and drift='fit' need scale='detectors'; got scale='modules'")
    if given["drift"] == "fit" and given["time_term"] == "zero":
        raise MeasurementsError("drift='fit' needs terms of epochs; got time_term='zero'")
    if given["colour_term"] and measurements.colour is None:
        raise MeasurementsError(
            f"{measurements.band}: colour_term needs the column colour, the magnitude of each source minus that in a "
            "second filter"
        )


def _fit_choice(
    measurements: Measurements, choice: Choice, *, robust: bool, scatter: bool,
    rest: Callable[[], Iterable[Measurements]] | None = None,
) -> Solution:  # fmt: skip
    """Fit all but the reserved sources, with all that adds to the errors."""
    mine = measurements.select(~measurements.reserved) if measurements.reserved.any() else measurements
    solution = _fit_used(forecast_terms(mine, choice), mine, robust=robust, scatter=scatter)
    solution = solution if rest is None else add_pieces(solution, rest())
    if scatter:
        found = estimate_detector_scatter(solution, solution, solution.measurements)
        solution = replace(
            solution, covariance=solution.covariance + found.covariance, detector_scatter=found.sigma,
            scatter_freedom=found.freedom, remarks=(*solution.remarks, *filter(None, [found.words])),
        )  # fmt: skip
    if choice.scale == "detectors":
        solution = replace(solution, structure=measure_structure(solution))
        rms, covariance = carry_fields(solution)
        words = f"fields of detectors are not fitted: structure of {1e3 * rms:.1f} mmag rms is carried into the errors"
        remarks = (*solution.remarks, *([words] if rms else []))
        solution = replace(solution, covariance=solution.covariance + covariance, remarks=remarks)
    solution = _report(solution, choice.min_sources)
    statuses = list(solution.correlate(solution.covariance))
    # Epoch terms that are compatible with 0 are marked, each by its own chi-square. Values and errors stay: to drop a
    # term because it looks small makes the errors of the others too small (Leeb & Poetscher 2005, Econometric Theory
    # 21, 21).
    least = np.sqrt(chi2.isf(_EPOCH_PROBABILITY, 1))
    for number, status in enumerate(statuses if choice.time_term == "auto" else ()):
        value, error = solution.value(status.term.name)
        if status.term.kind == "epoch" and status.is_fitted and abs(value) < least * error:
            words = f"{status.term.words}: {_milli(value, error)} mmag, not significant"
            statuses[number] = replace(status, status="not significant", words=words)
    return replace(solution, status=tuple(statuses))


def _fit_used(forecast: Forecast, mine: Measurements, *, robust: bool, scatter: bool) -> Solution:
    """Fit until the terms are those that the used measurements determine."""
    while True:
        found = fit_robust(forecast.system, forecast.free, mine, robust=robust, scatter=scatter)
        # Without links the values would be 0 without any data.
        try:
            again = readmit_terms(forecast, found.derivative)
        except NoSolutionError as error:
            what = forecast.model.scale
            raise NoSolutionError(
                f"{mine.place}: {1 - np.mean(found.rejected == 0):.0%} were rejected as"
                f" outliers or variable sources, and the others do not link the {what}"
            ) from error
        # A term that is no longer free changes the others: they are fitted again without it. Terms only get fewer.
        settled, forecast = (again.free == forecast.free).all(), again
        if settled:
            return Solution(**vars(found), **vars(forecast), measurements=mine)


def _report(solution: Solution, min_sources: int) -> Solution:
    """Leave out weak links; convert to reported terms, with errors for few sources."""
    model, links = solution.model, solution.links
    group, references = links.group(model.code), find_references(model, links)
    # Detectors to be linked: a detector and the reference of its group, or the modules of an offset.
    kept = dict(zip(group[references].tolist(), model.code[references].tolist(), strict=True))
    points = np.flatnonzero(model.mask("zero_point"))
    pairs = {model.terms[i].name: (int(model.code[i]), kept[group[i]]) for i in points}
    pairs |= {term.name: (term.codes[0], term.codes[1]) for term in model.terms if term.kind == "offset"}
    weakest = count_weakest_links(solution.measurements, solution.derivative > 0, pairs)
    least = min(_WEAKEST_LINK, min_sources)
    fitted, factor, status = solution.fitted.copy(), np.ones(len(solution.free)), {s.term: s for s in solution.status}
    for number in np.flatnonzero(solution.fitted & ~model.mask("level", "exposure", "field", "drift")):
        term = model.terms[number]
        count = status[term].effective_sources
        factor[number] = student_factor(max(count, min_sources))
        if weakest.get(term.name, least) < least:
            link = "between its modules" if term.kind == "offset" else "to the other detectors"
            why = f"the weakest link {link} has {weakest[term.name]} sources"
            why += f" that agree (minimum {least}); not fitted"
            status[term] = TermStatus.refuse(term, why, effective_sources=count)
        fitted[number] = status[term].is_fitted
    # A level is valid if its offset is, and a reference if another detector of its group is.
    alone = references | model.mask("level")
    lost = fitted & alone & ~find_companions(model, links, fitted & ~alone)
    for number in np.flatnonzero(lost & model.mask("zero_point")):
        why = "no detector that it is linked to has a zero point; not fitted"
        status[model.terms[number]] = TermStatus.refuse(model.terms[number], why)
    fitted &= ~lost
    solution = replace(solution, fitted=fitted, status=tuple(status.values()))
    report = solution.report()
    covariance = report @ solution.covariance @ report.T * np.outer(factor, factor)
    return replace(solution, values=report @ solution.values, covariance=covariance)
