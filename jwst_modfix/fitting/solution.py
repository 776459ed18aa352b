"""The solution of the network of all measurements of one filter and pupil."""

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import chi2

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError
from jwst_modfix.fitting.design import (
    MIN_SOURCES,
    SLOPE_ARRAYS,
    build_model,
    count_effective_sources,
    find_separable,
    too_few_sources,
)
from jwst_modfix.fitting.links import check_linked, count_links
from jwst_modfix.fitting.measurements import DIRECTION, EXPOSURE_SHARE, ORIGIN, focal_plane_coordinate
from jwst_modfix.fitting.robust import fit_robust, student_factor
from jwst_modfix.table.table import ARRAYS, MODULES

__all__ = ["NetworkSolution", "fit_network", "solve_network"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkSolution:
    """
    Zero points, gradients and epoch terms of one filter and pupil.

    Parameters
    ----------
    measurements : Measurements
        The measurements that were fitted: all that are not reserved.
    model : Model
        All terms that were asked for, and the reduced system.
    fitted : numpy.ndarray of bool, shape (n_terms,)
        Terms that are determined and were solved for.
    fit : RobustFit
        Values, covariance, residuals, weights and rejections.
    links : LinkReport
        What is linked to what.
    status : tuple of TermStatus
        What became of each offset, slope and epoch term.
    direction : float
        Direction of the gradients [deg], where it is not fitted.
    origin : tuple of float
        (V2, V3) where u = 0 [arcsec].
    fit_direction : bool
        Whether two components of each gradient were fitted.
    level_group : dict
        For each array ID, the number of the group of arrays within which its level counts.
    """

    measurements: object
    model: object
    fitted: np.ndarray
    fit: object
    links: object
    status: tuple
    direction: float
    origin: tuple
    fit_direction: bool
    level_group: dict = field(default_factory=dict)

    @property
    def names(self):
        """Short names of all terms."""
        return tuple(term.name for term in self.model.terms)

    @property
    def values(self):
        """Values of all terms [mag or mag/arcmin]; 0 where fixed."""
        return self.fit.values

    @property
    def covariance(self):
        """Covariance of all terms; 0 where fixed."""
        return self.fit.covariance

    @property
    def sigma_int(self):
        """Intrinsic scatter of one measurement [mag]."""
        return self.fit.sigma_int

    @property
    def rejected(self):
        """Reason code of each measurement fitted: 0 used, 1 single, 2 outlier, 3 variable source."""
        return self.fit.rejected

    @property
    def chi2(self):
        """Sum of squared residuals over variances, sigma_int included."""
        return self.fit.chi2

    @property
    def n_measurements(self):
        """Number of measurements used."""
        return int(np.count_nonzero(self.fit.rejected == 0))

    @property
    def n_sources(self):
        """Number of sources used."""
        return len(np.unique(self.measurements.source[self.fit.rejected == 0]))

    @property
    def dof(self):
        """Degrees of freedom: measurements less sources less determined terms."""
        return self.n_measurements - self.n_sources - int(self.fitted.sum())

    def value(self, name):
        """
        Look up one term by its name.

        Parameters
        ----------
        name : str
            Name such as ``"offset[long]"``.

        Returns
        -------
        value, error : float
            Value and standard error; NaN for both where the term was not determined.

        Raises
        ------
        KeyError
            No term has that name.
        """
        if name not in self.names:
            raise KeyError(f"no term {name!r}; there are {', '.join(self.names)}")
        number = self.names.index(name)
        known = self.fitted[number]
        if not known:
            return np.nan, np.nan
        return float(self.values[number]), float(np.sqrt(self.covariance[number, number]))

    def epoch_terms(self):
        """
        List the epoch terms.

        Returns
        -------
        dict
            Epoch to (t, error) [mag]; (0, 0) in the first epoch and where the term is left out or fixed to 0.
        """
        found = {int(epoch): (0.0, 0.0) for epoch in self.model.epochs}
        for number in np.flatnonzero(self.model.mask("epoch") & self.fitted):
            error = np.sqrt(self.covariance[number, number])
            found[self.model.terms[number].epoch] = (float(self.values[number]), float(error))
        return found

    def predict(self, measurements):
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
            An array, module or epoch has no part in the solution.
        """
        self._check_known(measurements)
        total = np.zeros(len(measurements))
        for value, term in zip(self.values, self.model.terms, strict=True):
            if term.kind != "epoch" and value:
                total += value * self._design(term, measurements)
        t = np.zeros(len(self.model.epochs))
        t[self._epoch_places()] = self.values[self.model.mask("epoch")]
        return total + t[np.searchsorted(self.model.epochs, measurements.epoch)]

    def design_sums(self, measurements, weight):
        """
        Sum each term's part in some measurements: the transpose of `predict`.

        Parameters
        ----------
        measurements : Measurements
            Measurements by detectors and in epochs of this solution.
        weight : numpy.ndarray, shape (n,)
            Weight of each.

        Returns
        -------
        numpy.ndarray, shape (n_terms,)
            The sums, which hold ``weight @ predict == sums @ values``.

        Raises
        ------
        MeasurementsError
            An array, module or epoch has no part in the solution.
        """
        self._check_known(measurements)
        place = np.searchsorted(self.model.epochs, measurements.epoch)
        by_epoch = np.bincount(place, weight, len(self.model.epochs))
        terms = [term for term in self.model.terms if term.kind != "epoch"]
        sums = np.array([weight @ self._design(term, measurements) for term in terms])
        return np.concatenate([sums, by_epoch[self._epoch_places()]])

    def contrast(self, array, place_A, place_B):
        """
        Write the difference A - B between two places of an array ID as a combination of the terms.

        Parameters
        ----------
        array : str
            Array ID.
        place_A, place_B : tuple of float
            (V2, V3) in module A and in module B [arcsec].

        Returns
        -------
        numpy.ndarray, shape (n_terms,)
            Weights of the terms: the difference is ``contrast @ values``. Terms that are not determined weigh 0.
        """
        found = np.zeros(len(self.model.terms))
        for number, term in enumerate(self.model.terms):
            if term.array != array:
                continue
            if term.kind == "offset":
                found[number] = 1.0
            elif term.is_slope:
                V2, V3 = np.transpose([place_A, place_B])
                u = focal_plane_coordinate(V2, V3, self._angle(term), self.origin)
                seen = [term.module in (None, module) for module in MODULES]
                found[number] = EXPOSURE_SHARE * np.sum(u * seen * [1.0, -1.0])
        return found * self.fitted

    def _check_known(self, measurements):
        for array in np.unique(measurements.array_code):
            if f"level[{ARRAYS[array]}]" not in self.names:
                raise MeasurementsError(f"array {ARRAYS[array]} has no part in the solution")
        for epoch in np.setdiff1d(measurements.epoch, self.model.epochs):
            raise MeasurementsError(f"epoch {epoch} has no part in the solution")

    def _epoch_places(self):
        """Places among the epochs of those that have a term, which stand last among the terms."""
        return [np.searchsorted(self.model.epochs, term.epoch) for term in self.model.terms if term.kind == "epoch"]

    def _angle(self, term):
        return {"slope": self.direction, "slope_V2": 90.0, "slope_V3": 0.0}[term.kind]

    def _design(self, term, measurements):
        """Part of one term in each measurement; not for epochs."""
        mine = measurements.array_code == ARRAYS.index(term.array)
        if term.kind == "level":
            return mine.astype(float)
        if term.kind == "offset":
            return mine * np.where(measurements.module_code == 0, 0.5, -0.5)
        if term.module is not None:
            mine = mine & (measurements.module_code == MODULES.index(term.module))
        return mine * EXPOSURE_SHARE * measurements.coordinate(self._angle(term), self.origin)


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
