"""Checks of a solution: reserved sources, bootstrap over sources, sky levels."""

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from jwst_modfix.errors import MeasurementsError, ModelMismatchWarning, NoSolutionError, SkyDisagreementWarning
from jwst_modfix.fitting.design import Term
from jwst_modfix.fitting.linear import Design, Information, LinearSystem
from jwst_modfix.fitting.measurements import PARTS
from jwst_modfix.fitting.robust import HuberProblem, robust_width, solve_huber, start_huber, student_factor
from jwst_modfix.fitting.sky_points import sky_magnitudes
from jwst_modfix.fitting.solution import Solution, fit_quietly
from jwst_modfix.table.table import ARRAYS

# A fifth of the sources is few: a check may use fewer than a result does, as its errors are Student's.
_MIN_SOURCES = 4
# Elements of the per-measurement outer products in memory at once [8 bytes each].
_CHUNK_ELEMENTS = 4_000_000
_DISAGREEMENT = 3.0  # sigmas between the sky and the sources, or between two epochs
# Stray light moves the ratio of the modules' sky levels by some 0.3%, about the same in each epoch of a field: the
# level is a check of blunders, and its change one of detectors [mag].
_LEAST_GROWTH = 0.0005  # mag: a third of the least systematic error
_GROWTH_ERROR = 0.0005  # mag, of a growth in addition to its noise: the place within a pixel
_LEAST_LEVEL, _LEAST_CHANGE = 0.010, 0.005


@dataclass(frozen=True, kw_only=True)
class Residual:
    """Residual of the reserved sources: between modules, or of a detector."""

    array: str  # array ID, or name of a detector
    residual: float  # Delta_AB, or zero point, of the corrected reserved sources, mag
    residual_error: float  # its own error, mag
    sigmas: float  # residual over its error and that of the correction of these sources, in quadrature


def _list_results(solution: Solution) -> Iterator[tuple[Term, float, float]]:
    """List the determined offsets or zero points, with values and errors [mag]."""
    for term in solution.model.terms:
        if term.kind in ("offset", "zero_point") and np.isfinite(solution.value(term.name)[0]):
            yield term, *solution.value(term.name)


def reserve_sources(measurements, rng, share=0.2):
    """Reserve a share of the sources, drawn at random, with all their measurements."""
    if not 0 <= share < 1:
        raise MeasurementsError(f"share of reserved sources must be from 0 to below 1; got {share}")
    sources, number = np.unique(measurements.source, return_inverse=True)
    chosen = np.zeros(len(sources), dtype=bool)
    chosen[rng.permutation(len(sources))[: round(share * len(sources))]] = True
    return replace(measurements, reserved=chosen[number])


def validate(solution, measurements):
    """Correct the reserved sources and solve for the remaining offsets."""
    reserved = measurements.select(measurements.reserved)
    reserved = reserved.select(solution.model.knows(reserved))
    corrected = reserved.mag - solution.predict(reserved)
    left = replace(reserved, mag=corrected, reserved=np.zeros(len(reserved), dtype=bool))
    options = {"fit_slope": "none", "time_term": "zero", "min_sources": _MIN_SOURCES}
    try:
        again = fit_quietly(left, scale=solution.model.scale, **options)
    except NoSolutionError:
        return ()
    found = []
    for term, value, error in _list_results(again):
        if term.name in solution.names and np.isfinite(solution.value(term.name)[1]):
            # The part of each term of the correction in this value: the errors of the correction enter through it.
            part = solution.model.design(again.measurements).pull(_influence(again, term))
            sigmas = float(value / np.hypot(error, np.sqrt(part @ solution.covariance @ part)))
            found.append(Residual(array=term.part, residual=value, residual_error=error, sigmas=sigmas))
    return tuple(found)


def _influence(solution: Solution, term: Term) -> np.ndarray:
    """Compute the change of a term, as reported, with each of the magnitudes."""
    return solution.influence(solution.derivative, solution.report()[[solution.names.index(term.name)]])[0]


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """Effect on an offset of one detector that changes alone in one epoch."""

    array: str  # whose offset it is
    detector: str  # the array and module that move it most, such as "2 A"
    epoch: int
    share: float  # change of the offset over the change of this detector

    @property
    def words(self) -> str:
        """The assumption in words."""
        one, module = self.detector.split()
        return (
            f"assumes that no detector changes alone; a change d of array {one} module {module} in epoch {self.epoch}"
            f" moves it by {self.share:+z.2f} d"
        )


def list_assumptions(solution):
    """Find the detector whose change in one epoch alone would shift an offset most."""
    m, found = solution.measurements, []
    epochs, epoch = np.unique(m.epoch, return_inverse=True)
    cell, shape = m.detector * len(epochs) + epoch, (len(PARTS), len(epochs))
    # A detector that is seen in one epoch alone is what the offset measures: it cannot change.
    seen = (np.bincount(cell, minlength=np.prod(shape)).reshape(shape) > 0).sum(axis=1)
    for term, *_ in _list_results(solution) if solution.model.scale == "modules" else ():
        shares = np.bincount(cell, _influence(solution, term), np.prod(shape)).reshape(shape) * (seen > 1)[:, None]
        d, e = np.unravel_index(np.argmax(np.abs(shares).round(9)), shape)
        if shares[d, e]:
            where = {"detector": " ".join(PARTS[d]), "epoch": int(epochs[e])}
            found.append(Assumption(array=term.array, share=float(shares[d, e]), **where))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ApertureDifference:
    """Change of a term from the aperture to larger ones: its dependence on the PSF."""

    name: str  # of the term
    array: str  # array ID of an offset, detector of a zero point
    difference: float  # mag
    error: float  # of the difference itself: most noise is common to both apertures
    far_difference: float  # mag, from the larger aperture to the largest

    @property
    def is_significant(self) -> bool:
        """Whether the term depends on the aperture."""
        return abs(self.difference) > max(_DISAGREEMENT * self.error, _LEAST_GROWTH)


def compare_apertures(solution, growth, far_growth, error):
    """Fit the model of a solution to the growths of magnitudes between apertures."""
    # ``error`` [mag] is that of the growth. All are of the measurements fitted; NaN where an aperture was not measured.
    known = np.isfinite([growth, far_growth, error]).all(axis=0) & (solution.rejected == 0)
    mine = replace(solution.measurements.select(known), mag_error=np.hypot(error[known], _GROWTH_ERROR))
    asked = {name: getattr(solution.choice, name) for name in ("scale", "fit_slope", "time_term", "exposure_terms")}
    try:
        near, far = (fit_quietly(replace(mine, mag=one[known]), **asked) for one in (growth, far_growth))
    except NoSolutionError:
        return ()
    found, beyond = [], {term.name: value for term, value, _ in _list_results(far)}
    for term, value, error in (one for one in _list_results(near) if one[0].name in beyond):
        names = {"name": term.name, "array": term.part}
        found.append(ApertureDifference(**names, difference=value, error=error, far_difference=beyond[term.name]))
        if found[-1].is_significant:
            message = (
                f"{term.words}: {1e3 * value:+z.1f} ± {1e3 * error:.1f} mmag more in 1.5 times the aperture; the PSFs"
                " of the modules differ; use aperture='extrapolated', or add it to the error"
            )
            warnings.warn(message, ModelMismatchWarning, stacklevel=2)
    return tuple(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """Draws of the terms that are determined."""

    names: tuple[str, ...]
    draws: np.ndarray  # (n_draws, n_terms), mag or mag/arcmin
    ratio: np.ndarray  # (n_terms,), bootstrap error over the error of the solution; near 1 where the covariance holds


def bootstrap_sources(solution, rng, n_draws=200):
    """Draw sources with replacement and solve again, starting from the solution."""
    # Each draw gives every source a Poisson(1) number of copies c, and takes one Newton step of the robust equations
    # with that draw's own matrix: ``theta + (sum c H)^-1 sum c U``. Photometry and weights are not repeated.
    free, shown = solution.free, solution.fitted & ~solution.model.mask("exposure")
    matrices, scores = _resample(solution, free, rng, n_draws)
    every = np.ones(np.count_nonzero(free), bool)
    inverses = [Information(matrix, matrix).invert(every)[0] for matrix in matrices]
    steps = np.array([inverse @ score for inverse, score in zip(inverses, scores, strict=True)])
    draws = solution.values[shown] + steps @ solution.report()[np.ix_(shown, free)].T
    names = tuple(name for name, is_shown in zip(solution.names, shown, strict=True) if is_shown)
    error = np.sqrt(np.diag(solution.covariance)[shown])
    return Bootstrap(names=names, draws=draws, ratio=draws.std(axis=0, ddof=1) / error)


def _resample(solution, free, rng, n_draws):
    """Sum normal matrices and scores over the copies of sources, for all draws."""
    p, system = np.count_nonzero(free), solution.system
    matrices, scores = np.zeros((n_draws, p * p)), np.zeros((n_draws, p))
    for first, last in system.split_sources(max(1, _CHUNK_ELEMENTS // (p * p))):
        rows, starts = system.rows_of(first, last)
        D, v = system.design.take(rows).toarray()[:, free], solution.derivative[rows]
        total = np.add.reduceat(v, starts)
        sums = np.add.reduceat(v[:, None] * D, starts, axis=0)
        outer = np.add.reduceat((v[:, None] * D)[:, :, None] * D[:, None, :], starts, axis=0)
        inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        outer -= inverse[:, None, None] * sums[:, :, None] * sums[:, None, :]
        score = np.add.reduceat((solution.weight * solution.residual)[rows, None] * D, starts, axis=0)
        copies = rng.poisson(1.0, (n_draws, last - first)).astype(float)
        matrices += copies @ outer.reshape(len(starts), -1)
        scores += copies @ score
    return matrices.reshape(n_draws, p, p), scores


@dataclass(frozen=True, kw_only=True)
class SkyOffset:
    """Offset of one array ID from sky levels."""

    array: str
    offset: float  # Delta_AB = -2.5 log10(sky_A / sky_B), mag
    # From the scatter between exposures, or from the levels' own errors where those are larger, with Student's factor
    # for few exposures [mag].
    offset_error: float
    n_exposures: int  # in which both modules were measured


@dataclass(frozen=True)
class SkyComparison:
    """Offset from the sky and from sources with errors [mag], and its change in time."""

    array: str
    sky: float
    sky_error: float
    sources: float
    sources_error: float
    sigmas: float  # sky minus sources, over the errors in quadrature
    epochs: tuple[int, int] | None = None  # between which the sky's offset changes most; None where there is one
    change: float = 0.0  # from the first to the second of them, mag
    change_error: float = 0.0

    @property
    def disagrees(self) -> bool:
        """Whether the level is off by more than stray light explains."""
        return abs(self.sigmas) >= _DISAGREEMENT and abs(self.sky - self.sources) > _LEAST_LEVEL


def sky_offsets(time, array, module, level, error):
    """Compare the modules' sky levels exposure by exposure."""
    # The sky is assumed to be equally bright over both modules, so that stray light, scattered light and gradients of
    # the background enter in full: a check, not a measurement to correct by.
    time, array, module = (np.asarray(column) for column in (time, array, module))
    level, error = np.asarray(level, dtype=float), np.asarray(error, dtype=float)
    lengths = {len(column) for column in (time, array, module, level, error)}
    if len(lengths) > 1:
        raise MeasurementsError(f"sky levels: columns must have one length; got {sorted(lengths)}")
    for name, column in (("level", level), ("error", error)):
        bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
        if len(bad):
            raise MeasurementsError(
                f"sky levels: {name} must be positive and finite; row {bad[0]} has {column[bad[0]]:g}"
            )
    found = {}
    for name in ARRAYS:
        ratio, ratio_error = _ratios(time, level, error, array == name, module)
        if len(ratio):
            value, value_error = _robust_mean(ratio, ratio_error)
            found[name] = SkyOffset(array=name, offset=value, offset_error=value_error, n_exposures=len(ratio))
    if not found:
        raise NoSolutionError("sky levels: no array has levels of both modules at one time")
    return found


def compare_sky(offsets, results, by_epoch=None):
    """Compare the sky's offsets with those of sources, and between epochs."""
    # ``by_epoch``: for each epoch, what `sky_offsets` finds in it. A warning where the level is off by more than 1% and
    # 3 sigma, or changes between two epochs by more than 0.5% and 3 sigma (corrected for the number of pairs).
    found = []
    for result in results:
        sky = offsets.get(result.array)
        if sky is None or result.offset is None:
            continue
        value, error, sources, sources_error = sky.offset, sky.offset_error, result.offset, result.offset_error
        sigmas = float((value - sources) / np.hypot(error, sources_error))
        change = _largest_change({e: own[result.array] for e, own in (by_epoch or {}).items() if result.array in own})
        found.append(SkyComparison(result.array, value, error, sources, sources_error, sigmas, *change))
        if found[-1].disagrees:
            message = (
                f"array {result.array}: offset from the sky {1e3 * value:.1f} ± {1e3 * error:.1f} mmag,"
                f" from sources {1e3 * sources:.1f} ± {1e3 * sources_error:.1f} mmag:"
                f" {abs(sigmas):.1f} sigma; find the reason before you use the offset"
            )
            warnings.warn(message, SkyDisagreementWarning, stacklevel=2)
        pairs = len(by_epoch or {}) * (len(by_epoch or {}) - 1) // 2
        limit = norm.isf(norm.sf(_DISAGREEMENT) / max(pairs, 1))
        epochs, by, by_error = change
        if epochs is not None and abs(by) >= max(limit * by_error, _LEAST_CHANGE):
            message = (
                f"array {result.array}: sky of module A over that of B changes by {1e3 * by:+z.1f} ±"
                f" {1e3 * by_error:.1f} mmag from epoch {epochs[0]} to epoch {epochs[1]};"
                " a detector may have changed: compare fits without one of them"
            )
            warnings.warn(message, SkyDisagreementWarning, stacklevel=2)
    return tuple(found)


def _largest_change(offsets):
    """Find the two epochs of the most significant change, the change and its error."""
    best = None, 0.0, 0.0
    for first, second in itertools.combinations(sorted(offsets), 2):
        change = offsets[second].offset - offsets[first].offset
        error = float(np.hypot(offsets[first].offset_error, offsets[second].offset_error))
        if best[0] is None or abs(change) * best[2] > abs(best[1]) * error:
            best = (first, second), float(change), error
    return best


def _ratios(time, level, error, mine, module):
    """Compute -2.5 log10(sky_A / sky_B) and its error for each time that has both."""
    side = [np.flatnonzero(mine & (module == name)) for name in ("A", "B")]
    _, a, b = np.intersect1d(time[side[0]], time[side[1]], return_indices=True)
    a, b = side[0][a], side[1][b]
    (mag_a, error_a), (mag_b, error_b) = (sky_magnitudes(level[rows], error[rows]) for rows in (a, b))
    return mag_a - mag_b, np.hypot(error_a, error_b)


def _robust_mean(values, errors):
    """Compute the Huber mean, scaled by the larger of scatter and errors; its error."""
    n, median, scatter = len(values), np.median(values), robust_width(values)
    problem = HuberProblem(
        system=LinearSystem(Design.of_columns(np.ones((n, 1))), np.arange(n), eliminate=False),
        free=np.ones(1, bool), y=values, error=np.maximum(errors, scatter), find_scale=lambda *_: (0.0, 1.0),
    )  # fmt: skip
    used = np.ones(n, bool)
    fit = solve_huber(problem, used, start_huber(problem, used, [median]))
    return float(fit.values[0]), float(student_factor(n) / np.sqrt(np.sum(fit.weight)))
