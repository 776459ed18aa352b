"""The solution of all measurements of one filter and pupil, as a network of sources and detectors."""

from __future__ import annotations

import html
import textwrap
import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import chi2

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError
from jwst_modfix.fitting.design import SLOPE_ARRAYS, number_labels
from jwst_modfix.fitting.measurements import DIRECTION, ORIGIN, Measurements
from jwst_modfix.fitting.robust import REASONS, RobustFit, fit_robust, student_factor
from jwst_modfix.fitting.separability import (
    MIN_SOURCES,
    Choice,
    Forecast,
    TermStatus,
    count_effective_sources,
    count_weakest_links,
    forecast_terms,
    too_few_sources,
)
from jwst_modfix.fitting.verdict import judge_arrays, offset_table
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
    """

    measurements: Measurements
    level_group: dict[str, int] = field(default_factory=dict)

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
        """Degrees of freedom: measurements less sources less determined terms."""
        return self.n_measurements - self.n_sources - int(self.fitted.sum())

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
        places = place_A or self._middle(array, "A"), place_B or self._middle(array, "B")
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

    def to_table(
        self, description: str | None = None, *, significance: float = 3.0, baseline: str = "B", **meta: Any
    ) -> OffsetTable:
        """
        Make a coefficient table of the arrays whose offset is determined.

        Parameters
        ----------
        description : str, optional
            One line that says what the table is.
        significance : float, optional
            Sigmas from which on a correction is needed.
        baseline : {'B', 'A', 'mean'}, optional
            The module whose flux scale is kept.
        **meta : object
            More fields of the table, such as ``name`` and ``valid_for``.

        Returns
        -------
        OffsetTable
            The table.
        """
        if description is not None:
            meta["description"] = description
        return offset_table(self, significance, baseline, **meta)

    def summary(self) -> str:
        """
        Describe the solution in lines of at most 78 characters.

        Returns
        -------
        str
            Counts, offsets and slopes with a verdict for each array, epoch terms, and what is not determined.
        """
        single, outliers, variable = (int(count) for count in np.bincount(self.rejected, minlength=4)[1:])
        results = judge_arrays(self)
        lines = [
            f"{self._band}: {self.n_measurements} measurements of {self.n_sources} sources"
            f" in {count_nouns(len(self.model.epochs), 'epoch')}",
            f"rejected: {single} single, {count_nouns(outliers, 'outlier')}, {variable} of variable sources",
            f"scatter {1e3 * self.sigma_int:.2f} mmag, errors times {self.error_scale:.2f},"
            f" chi2 {self.chi2:.0f} for {self.dof} degrees of freedom",
            "",
            f"{'array':6}{'offset A - B [mmag]':>20}{'slope [mmag/arcmin]':>21}{'sources':>9}  verdict",
        ]
        lines += [
            f"{r.array:6}{_milli(r.offset, r.offset_error):>20}{_milli(r.slope, r.slope_error):>21}"
            f"{r.n_sources:>9.0f}  {r.verdict}"
            for r in results
        ]
        lines += [f"epoch {epoch}: {_milli(*term)} mmag" for epoch, term in self.epoch_terms().items() if term[1] > 0]
        remarks = [f"array {r.array}: {r.words}" for r in results]
        remarks += [status.words for status in self.status if status.words]
        for remark in dict.fromkeys(remarks):
            lines += textwrap.wrap(remark, _WIDTH, initial_indent="- ", subsequent_indent="  ")
        return "\n".join(lines)

    @property
    def _band(self) -> str:
        return f"{self.measurements.filter}+{self.measurements.pupil}"

    def __repr__(self) -> str:
        offsets = (
            f"{r.array}: {_milli(r.offset, r.offset_error)} mmag" if r.offset is not None else f"{r.array}: {r.verdict}"
            for r in judge_arrays(self)
        )
        return f"<Solution {self._band}: {', '.join(offsets)}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{r.array}</td><td>{_milli(r.offset, r.offset_error)}</td>"
            f"<td>{_milli(r.slope, r.slope_error)}</td><td>{r.verdict}</td></tr>"
            for r in judge_arrays(self)
        )
        head = "<tr><th>array</th><th>offset A - B [mmag]</th><th>slope [mmag/arcmin]</th><th>verdict</th></tr>"
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
    direction: float = DIRECTION,
    origin: tuple[float, float] = ORIGIN,
    fit_direction: bool = False,
    per_module: bool = False,
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
    fit_slope : {'long', 'all', 'none'}, optional
        Array IDs that have a slope.
    time_term : {'auto', 'fit', 'zero'}, optional
        Whether epochs have a term, where the pointings separate it; ``'auto'`` also says which terms are not
        significant. These keep their value and error: to drop a term because it looks small makes the errors of
        the others too small (Leeb & Poetscher 2005, Econometric Theory 21, 21).
    direction : float, optional
        Direction of the gradients [deg], from +V3 toward +V2.
    origin : tuple of float, optional
        (V2, V3) where u = 0 [arcsec].
    fit_direction : bool, optional
        Fit two components of each slope, along V2 and V3.
    per_module : bool, optional
        Fit one slope for each module, as a diagnostic.
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
    choice = Choice(
        scale=scale, fit_slope=fit_slope, time_term=time_term, exposure_terms=exposure_terms, direction=direction,
        origin=origin, fit_direction=fit_direction, per_module=per_module, min_sources=min_sources,
    )  # fmt: skip
    for name, known in _CHOICES.items():
        if getattr(choice, name) not in known:
            raise MeasurementsError(f"{name} must be one of {', '.join(known)}; got {getattr(choice, name)!r}")
    mine = measurements.select(~measurements.reserved)
    forecast = forecast_terms(mine, choice)
    found = fit_robust(forecast.system, forecast.free, mine, robust=robust, scatter=scatter)
    solution = Solution(**vars(found), **vars(forecast), measurements=mine)
    solution = _take_gauge(*_recount(solution, min_sources))
    solution = _mark_insignificant(solution) if time_term == "auto" else solution
    degenerate = (status.words for status in solution.status if status.is_degenerate)
    for words in (*degenerate, *solution.refusals):
        warnings.warn(f"{solution._band}: {words}", DegenerateTermWarning, stacklevel=2)
    return solution


def _recount(solution: Solution, min_sources: int) -> tuple[Solution, np.ndarray]:
    """Count the effective sources again without those rejected: leave terms out; return errors' factors for few."""
    used, main = solution.rejected == 0, solution.model.mask("offset", "zero_point")
    # Without links the values would be 0 without any data.
    if not used.any() or not np.diag(solution.covariance)[main].any():
        what = "modules" if solution.scale_of == "modules" else "detectors"
        raise NoSolutionError(
            f"measurements in {solution._band}: {1 - used.mean():.0%} were rejected as outliers or variable"
            f" sources, and the others do not link the {what}"
        )
    counts = count_effective_sources(solution, solution.derivative)
    weakest = count_weakest_links(solution.measurements, solution.derivative > 0, _link_pairs(solution))
    fitted, factor, status = solution.fitted.copy(), np.ones(len(solution.free)), {s.term: s for s in solution.status}
    for number, count in counts.items():
        term = solution.model.terms[number]
        factor[number] = student_factor(max(count, min_sources))
        status[term] = replace(status[term], effective_sources=count)
        if count < min_sources:
            status[term] = too_few_sources(term, count, min_sources)
        elif main[number] and weakest[term.name] < min(_WEAKEST_LINK, min_sources):
            link = "the weakest link between its modules"
            if term.kind == "zero_point":
                link = "the weakest link to the other detectors"
            why = f"{link} has {weakest[term.name]} sources that agree (minimum {_WEAKEST_LINK}); not fitted"
            status[term] = TermStatus.refuse(term, why, effective_sources=count)
        fitted[number] = status[term].is_fitted
    return replace(solution, fitted=fitted, status=tuple(status.values())), factor


def _link_pairs(solution: Solution) -> dict[str, tuple[int, int]]:
    """Pairs of detectors whose link each offset, or each zero point, needs: its modules, or it and the reference."""
    links, pairs = solution.links, {}
    references = find_references(solution.model, links)
    group = dict(zip(links.detectors, links.detector_group, strict=True))
    of_group = {
        group[f"{term.array} {term.module}"]: term.code
        for term, is_reference in zip(solution.model.terms, references, strict=True)
        if is_reference
    }
    for term, is_reference in zip(solution.model.terms, references, strict=True):
        if term.kind == "offset":
            pairs[term.name] = (2 * ARRAYS.index(str(term.array)), 2 * ARRAYS.index(str(term.array)) + 1)
        elif term.kind == "zero_point":
            others = [t.code for t in solution.model.terms if t.kind == "zero_point" and t != term]
            pairs[term.name] = (term.code, of_group[group[f"{term.array} {term.module}"]])
            if is_reference:
                pairs[term.name] = (term.code, term.code)
    return pairs


def _take_gauge(solution: Solution, factor: np.ndarray) -> Solution:
    """Values and covariance of the terms as reported, with the factors of errors from few sources."""
    groups: dict[str, int] = {}
    for detector, group in zip(solution.links.detectors, solution.links.detector_group, strict=True):
        groups.setdefault(detector.split()[0], int(group))
    report = solution.report()
    covariance = report @ solution.covariance @ report.T * np.outer(factor, factor)
    return replace(solution, values=report @ solution.values, covariance=covariance, level_group=groups)


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
