"""Checks of a solution: reserved sources, bootstrap, assumptions, apertures."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jwst_modfix.errors import MeasurementsError, ModelMismatchWarning, NoSolutionError
from jwst_modfix.fitting.design import Term
from jwst_modfix.fitting.linear import Design, number_labels
from jwst_modfix.fitting.measurements import PARTS
from jwst_modfix.fitting.solution import Solution, fit_quietly

# A fifth of the sources is few: a check may use fewer than a result does, as its errors are Student's.
_MIN_SOURCES = 4
_LEAST_GROWTH = 0.0005  # mag: a third of the least systematic error
_SIGNIFICANT = 3.0  # sigmas of a difference between apertures
_GROWTH_ERROR = 0.0005  # mag, of a growth in addition to its noise: the place within a pixel


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
    known = [
        (term, value, error) for term, value, error in _list_results(again)
        if term.name in solution.names and np.isfinite(solution.value(term.name)[1])
    ]  # fmt: skip
    # The part of each term of the correction in these values: the errors of the correction enter through it.
    parts, found = _influence(again, [term for term, *_ in known], solution.model.design(again.measurements)), []
    for (term, value, error), part in zip(known, parts, strict=True):
        sigmas = float(value / np.hypot(error, np.sqrt(part @ solution.covariance @ part)))
        found.append(Residual(array=term.part, residual=value, residual_error=error, sigmas=sigmas))
    return tuple(found)


def _influence(solution: Solution, terms: Sequence[Term], columns: Design) -> np.ndarray:
    """Compute the change of terms, as reported, with each column of magnitudes."""
    rows = solution.report()[[solution.names.index(term.name) for term in terms]]
    return solution.influence(solution.derivative, rows, columns)


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
    epochs, epoch = number_labels(m.epoch)
    cell, shape = m.detector * np.int64(len(epochs)) + epoch, (len(PARTS), len(epochs))
    # A detector that is seen in one epoch alone is what the offset measures: it cannot change.
    seen = (np.bincount(cell, minlength=np.prod(shape)).reshape(shape) > 0).sum(axis=1)
    terms = [term for term, *_ in _list_results(solution)] if solution.model.scale == "modules" else []
    influences = _influence(solution, terms, Design.of_labels(cell, len(PARTS) * len(epochs)))
    for term, moved in zip(terms, influences, strict=True):
        shares = moved.reshape(shape) * (seen > 1)[:, None]
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
        return abs(self.difference) > max(_SIGNIFICANT * self.error, _LEAST_GROWTH)


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
    system, pull = solution.system, solution.weight * solution.residual
    shown, report, steps = solution.fitted & ~solution.model.mask("exposure"), solution.report(), []
    for _ in range(n_draws):
        copies = rng.poisson(1.0, system.n_sources)[system.source]
        inverse = system.inform(copies * solution.derivative).invert(solution.free)[0]
        steps.append(report[shown] @ (inverse @ system.design.pull(copies * pull)))
    draws = solution.values[shown] + np.array(steps)
    names = tuple(name for name, is_shown in zip(solution.names, shown, strict=True) if is_shown)
    error = np.sqrt(np.diag(solution.covariance)[shown])
    return Bootstrap(names=names, draws=draws, ratio=draws.std(axis=0, ddof=1) / error)
