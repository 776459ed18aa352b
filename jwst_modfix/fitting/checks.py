"""Checks of a solution: reserved sources, bootstrap, assumptions, score tests.

Score tests say whether residuals depend on terms that the fit does not have. The columns to test are freed of the
fitted terms and of the sources' magnitudes. Their scores are summed over each source, so that residuals of one source
may be correlated, and compared with their own scatter between the sources: the robust score test (White 1982,
Econometrica 50, 1) in Hotelling's form, F(k, n - k) for k terms and n sources.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import pinvh
from scipy.stats import f as fisher

from jwst_modfix.errors import MeasurementsError, ModelMismatchWarning, NoSolutionError
from jwst_modfix.fitting.design import HALVES, Term, list_powers, multiply_legendre
from jwst_modfix.fitting.linear import Block, Design, LinearSystem, number_labels
from jwst_modfix.fitting.measurements import PARTS
from jwst_modfix.fitting.solution import Solution, fit_quietly
from jwst_modfix.table.table import MODULES
from jwst_modfix.text import format_measured

MISMATCH = 1e-3
"""A test whose probability, corrected for the number of tests, is below this is a warning."""

# Columns with fewer sources are not tested: their scatter is not known.
_MIN_TESTED = 10
# A combination of columns of which the fitted terms leave less than this share is not separable from them.
_LEAST_SHARE = 0.01
# Columns whose z agree to this share are the same test: the data cannot tell which of them is the cause.
_ALIAS = 0.98
_CONTAMINATED = 22.0  # mag at which a column for a constant flux is 1

# By the name of the test: the usual cause of a failure, and what to do.
_REMEDIES = {
    "detector x epoch": (
        "drift of a detector",
        "look at this detector in this epoch; leave the epoch out if the detector changed",
    ),
    "exposure": ("deviating exposure", "fit a term for each exposure (exposure_terms), or look at this exposure"),
    "exposure x detector": (
        "jitter of exposures",
        "look at this file; where many differ, errors without their scatter are too small",
    ),
    "magnitude x module": (
        "contamination, sky bias or linearity",
        "look at linearity and sky subtraction; compare fits of bright and of faint sources",
    ),
    "colour x module": ("colour term", "the offsets hold at the median colour only; fit a term (colour_term)"),
    "position on detector": ("flat field", "fit a field (field_order), or look at the flat of this detector"),
    "position x module": ("flat field", "look at the flats; fit a field (field_order)"),
    "pixel phase": ("pixel phase", "look at the centroids; use a larger aperture"),
}
CAUSES = {name: cause for name, (cause, _) in _REMEDIES.items()}

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
    found = []
    # The part of each term of the correction in these values: the errors of the correction enter through it.
    for (term, value, error), part in _list_influences(again, solution.model.design(again.measurements)):
        if term.name in solution.names and np.isfinite(solution.value(term.name)[1]):
            sigmas = float(value / np.hypot(error, np.sqrt(part @ solution.covariance @ part)))
            found.append(Residual(array=term.part, residual=value, residual_error=error, sigmas=sigmas))
    return tuple(found)


def _list_influences(solution: Solution, columns: Design) -> Iterator[tuple[tuple[Term, float, float], np.ndarray]]:
    """List determined offsets or zero points, and their change by each column."""
    found = list(_list_results(solution))
    rows = solution.report()[[solution.names.index(term.name) for term, *_ in found]]
    return zip(found, solution.influence(solution.derivative, rows, columns), strict=True)


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
    if solution.model.scale != "modules":
        return ()
    m, found = solution.measurements, []
    epochs, epoch = number_labels(m.epoch)
    cell, shape = m.detector * np.int64(len(epochs)) + epoch, (len(PARTS), len(epochs))
    # A detector that is seen in one epoch alone is what the offset measures: it cannot change.
    seen = (np.bincount(cell, minlength=np.prod(shape)).reshape(shape) > 0).sum(axis=1)
    for (term, *_), moved in _list_influences(solution, Design.of_labels(cell, len(PARTS) * len(epochs))):
        shares = moved.reshape(shape) * (seen > 1)[:, None]
        d, e = np.unravel_index(np.argmax(np.abs(shares).round(9)), shape)
        if share := float(shares[d, e]):
            found.append(Assumption(array=term.array, detector=" ".join(PARTS[d]), epoch=int(epochs[e]), share=share))
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


@dataclass(frozen=True, kw_only=True)
class ScoreTest:
    """One test of the residuals."""

    name: str  # what the residuals may depend on
    n_terms: int  # number of terms that were tested
    probability: float  # that chance alone gives as much, corrected for the number of tests
    effect: float  # the most significant term, if it were the only one [mag, or mag per unit of the term]
    effect_error: float
    where: str  # this term in words
    advice: str

    @property
    def is_mismatch(self) -> bool:
        """Whether the model is incomplete."""
        return self.probability < MISMATCH

    @property
    def words(self) -> str:
        """The result in words."""
        size = format_measured(self.effect, self.effect_error)
        chance = f"p = {self.probability:.2g}" if self.probability < MISMATCH else f"p = {self.probability:.2f}"
        return f"residuals depend on {self.name} ({chance}): {self.where} {size}; {self.advice}"


def run_score_tests(solution: Solution, *, colour: np.ndarray | None = None, n_bands: int = 1) -> tuple[ScoreTest, ...]:
    """Test a solution for unmodelled terms, if they are separable from its own."""
    # ``colour`` is that of the source of each measurement fitted [mag], NaN where it is not known. Probabilities are
    # corrected for all tests of ``n_bands`` solutions (Bonferroni).
    found = [test for columns in _list_tests(solution, colour) if (test := _test(solution, *columns)) is not None]
    return tuple(replace(test, probability=min(1.0, test.probability * len(found) * n_bands)) for test in found)


def warn_of_mismatch(tests: Sequence[ScoreTest], band: str) -> None:
    """Warn of each test that fails."""
    for test in tests:
        if test.is_mismatch:
            warnings.warn(f"{band}: {test.words}", ModelMismatchWarning, stacklevel=2)


def _list_tests(solution: Solution, colour: np.ndarray | None) -> Iterator[tuple[Any, ...]]:
    """List a test's name, columns, these in words, and columns tested on their own."""
    m, weight = solution.measurements, solution.weight
    detectors = ["array {} module {}".format(*part) for part in PARTS]
    detector, exposure = (m.detector, detectors.__getitem__), (m.time, "exposure {}".format)
    by_epoch, by_exposure = _indicate(detector, (m.epoch, "epoch {}".format)), _indicate(exposure)
    yield "detector x epoch", *by_epoch
    yield "exposure", *by_exposure
    yield "exposure x detector", *_indicate(detector, exposure), by_epoch[0], by_exposure[0]
    side = HALVES[m.module_code]
    magnitude = solution.system.source_mean(weight, m.mag - solution.system.design @ solution.values)
    magnitude = magnitude[solution.system.source]
    middle = np.average(magnitude, weights=weight) if weight.any() else 0.0
    contamination = 10 ** (0.4 * (magnitude - _CONTAMINATED))
    # 2.5 mag are a factor of 10 in flux.
    columns = [side * (magnitude - middle) / 2.5, side * contamination]
    yield "magnitude x module", Design.of_columns(columns), ["A - B per dex", "A - B at 22 mag"]
    if colour is not None and np.isfinite(colour).any():
        shift = np.nan_to_num(colour - np.nanmedian(colour))
        yield "colour x module", Design.of_columns([side * shift]), ["A - B per mag of colour"]
    yield from _list_maps(solution, detectors)
    if m.x is not None and m.y is not None:
        phases = [wave(2 * np.pi * place) for place in (m.x, m.y) for wave in (np.cos, np.sin)]
        words = [f"{wave} of {axis}" for axis in "xy" for wave in ("cosine", "sine")]
        yield "pixel phase", Design.of_columns(phases), words


def _indicate(*labels: tuple[np.ndarray, Callable[[Any], str]]) -> tuple[Design, list[str]]:
    """Make one column for each combination of labels that occurs: 1 in its rows."""
    known = [number_labels(values) for values, _ in labels]
    shape = [len(found) for found, _ in known]
    codes, column = number_labels(np.ravel_multi_index([number for _, number in known], shape))
    parts = [
        [write(found[i]) for i in place]
        for (_, write), (found, _), place in zip(labels, known, np.unravel_index(codes, shape), strict=True)
    ]
    return Design.of_labels(column, len(codes)), [" in ".join(words) for words in zip(*parts, strict=True)]


def _list_maps(solution: Solution, detectors: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """List Legendre polynomials to order 2 of detector pixels, else of V2 and V3."""
    m = solution.measurements
    axes = ("V2", "V3") if m.x is None or m.y is None else ("x", "y")
    codes, detector = number_labels(m.detector)
    modules, module = number_labels(m.module_code)
    on_detector = _map((getattr(m, axis) for axis in axes), detector)
    in_module = _map((m.V2, m.V3), module)
    shapes = (f"along {axes[0]}", f"along {axes[1]}", f"curved along {axes[0]}", "twisted", f"curved along {axes[1]}")
    places = len(shapes) * np.arange(len(codes))
    blocks = (Block(detector, places + i, shape) for i, shape in enumerate(on_detector))
    words = [f"{detectors[code]} {shape}" for code in codes for shape in shapes]
    yield "position on detector", Design(tuple(blocks), len(words)), words
    if len(modules) == len(MODULES):
        side = HALVES[m.module_code]
        columns = [side * shape for shape in (*on_detector, *in_module)]
        words = [f"A - B {shape}, {part}" for part in ("each detector", "whole module") for shape in shapes]
        yield "position x module", Design.of_columns(columns), words


def _map(places: Iterable[np.ndarray], group: np.ndarray) -> np.ndarray:
    """Evaluate polynomials to order 2 over what is seen of each detector or module."""
    scaled = []
    for place in places:
        low, high = np.full(group.max() + 1, np.inf), np.full(group.max() + 1, -np.inf)
        np.minimum.at(low, group, place)
        np.maximum.at(high, group, place)
        scaled.append((2 * place - low[group] - high[group]) / np.maximum(high - low, 1e-9)[group])
    return multiply_legendre(*scaled, list_powers(2))


def _test(solution: Solution, name: str, matrix: Design, words: Sequence[str], *beside: Design) -> ScoreTest | None:
    """Test columns together; None where terms and those beside leave nothing of them."""
    system, weight, free = solution.system, solution.weight, solution.free
    behind = LinearSystem(matrix, system.source).count_sources((weight > 0).astype(float))
    kept = np.flatnonzero(behind >= _MIN_TESTED)
    if not len(kept):
        return None
    joint = system.beside(*beside, matrix)
    first = joint.design.n_terms - matrix.n_terms
    held, tested = np.append(np.flatnonzero(free), np.arange(len(free), first)), first + kept
    information = joint.inform(weight)
    freed, left = information.project(held, tested)
    # Residuals are from weighted means of the sources: their scores do not need to be freed of these again.
    score = freed.T @ joint.design.pull(weight * solution.residual)
    spread = freed.T @ joint.source_products(weight * solution.residual, np.ones(joint.n_sources)) @ freed
    before = np.diag(information.gram)[tested]
    # Combinations with information of their own, in units of what each column held before.
    root = np.sqrt(np.maximum(before, 1e-300))
    share, vector = np.linalg.eigh(left / np.outer(root, root))
    vector = vector[:, share > _LEAST_SHARE] / root[:, None]
    n, k = int(np.count_nonzero(system.per_source(weight))), vector.shape[1]
    alone = np.flatnonzero(np.diag(left) > _LEAST_SHARE * before)
    if not k or n <= k + 1 or not alone.size:
        return None
    inverse, rank = pinvh(vector.T @ spread @ vector, rtol=1e-9, return_rank=True)
    size = float(vector.T @ score @ inverse @ vector.T @ score)
    # size / (1 - size / n): about the mean of the scores, not about 0.
    ratio = size / (1 - size / n) * (n - rank) / (n * rank) if size < n else np.inf
    strength = score[alone] / np.sqrt(np.maximum(np.diag(spread)[alone], 1e-300))
    effect, best = score[alone] / np.diag(left)[alone], int(np.argmax(np.abs(strength).round(9)))
    same = np.flatnonzero(np.abs(strength) >= _ALIAS * np.abs(strength[best]))[:3]
    places = [best, *(i for i in same if i != best)]
    return ScoreTest(
        name=name, n_terms=k, probability=float(fisher.sf(ratio, rank, n - rank)), effect=float(effect[best]),
        effect_error=float(abs(effect[best] / strength[best])) if strength[best] else 0.0,
        where=" or ".join(words[kept[alone[i]]] for i in places), advice=_REMEDIES[name][1],
    )  # fmt: skip
