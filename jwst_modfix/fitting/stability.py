"""Stability of detectors: scatter between exposures, and drifts between epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize_scalar

from jwst_modfix.fitting.blocks import MAX_DRIFT_ERROR, with_drifts
from jwst_modfix.fitting.design import list_terms
from jwst_modfix.fitting.linear import Design, LinearSystem, number_labels
from jwst_modfix.fitting.measurements import PARTS
from jwst_modfix.fitting.robust import RobustFit, fit_robust
from jwst_modfix.fitting.separability import Forecast

if TYPE_CHECKING:
    from jwst_modfix.fitting.measurements import Measurements
    from jwst_modfix.fitting.solution import Solution

# Beyond this many effects their matrix is too large for eigenvalues; moments are as good with so many.
_MANY = 1500
_LARGEST = 0.1  # mag
_RANK = 1e-6  # of an effect's own information: less is what sources and terms take over of an effect
_VARY = 4.0
_PROBES = 8  # random vectors for traces (Hutchinson 1990): with many effects the scatter is exact to 0.5%
# Student's t of fewer than 3 degrees of freedom has no variance.
_LEAST_FREEDOM = 3
_ENOUGH = 10  # contrasts: the scatter is known to 22%
# More terms than this take minutes.
_MOST_TERMS = 300


@dataclass(frozen=True, eq=False)
class DetectorScatter:
    """Random effects that all measurements of a detector in one exposure share."""

    sigma: float  # mag
    freedom: int  # contrasts between effects that no other term holds
    covariance: np.ndarray  # (n_terms, n_terms), to be added to that of the terms as solved

    @property
    def words(self) -> str:
        """Say how well the scatter is known, where it is not known well."""
        what = "the scatter of a detector from exposure to exposure"
        if self.freedom < _LEAST_FREEDOM:
            counts = f"{self.freedom} contrasts, minimum {_LEAST_FREEDOM}"
            return f"{what} is not determined ({counts}); errors do not include it"
        if self.freedom >= _ENOUGH:
            return ""
        error = 1 / np.sqrt(2 * self.freedom)  # of a standard deviation
        size = f"{1e3 * self.sigma:.1f} mmag from {self.freedom} contrasts"
        return f"{what} is {size}, uncertain by {error:.0%}; the errors depend on it"


def estimate_detector_scatter(fit: RobustFit, forecast: Forecast, measurements: Measurements) -> DetectorScatter:
    """Estimate the scatter from final residuals by REML (Patterson & Thompson 1971)."""
    # With Z the columns of the effects, sources and terms projected out by the final weights w, the scores S = Z^T w r
    # have the covariance c G + sigma^2 G G with G = Z^T w Z. The noise c is that of the residuals within the detectors'
    # exposures.
    system, free, weight = forecast.system, forecast.free, fit.weight
    terms = np.flatnonzero(free)
    number = number_labels(measurements.time.astype(np.int64) * 16 + measurements.detector)[1]
    n = int(number.max()) + 1
    effects = Design.of_labels(number, n)
    inverse = system.inform(weight).invert(free)[0]
    # A shift b changes the score psi by the derivative of psi, which is less than the weight psi / e.
    slope = weight.sum() / max(fit.derivative.sum(), 1e-300)
    score = slope * effects.pull(weight * fit.residual)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(fit.base > 0, weight / fit.base, 0.0)
        squares = np.sum(np.where(fit.base > 0, (slope * weight * fit.residual) ** 2 / fit.base, 0.0))
    used = np.count_nonzero(fit.base)
    squares /= max(share.sum() / max(used, 1), 1e-9)
    freedom = used - np.count_nonzero(system.per_source(fit.base)) - np.linalg.matrix_rank(inverse, hermitian=True)
    if n <= _MANY:
        joint, rest = system.beside(effects), len(free) + np.arange(n)
        information = joint.inform(weight)
        freed, left = information.project(terms, rest)
        spread = freed.T @ joint.source_products(slope * weight * fit.residual, np.ones(joint.n_sources)) @ freed
        whole, change = np.diag(information.gram)[rest].max(initial=0.0), -freed[terms]
        variance, freedom = _maximise_likelihood(left, score, spread, squares, freedom, whole)
    else:
        # Products of the effects' columns with the terms', the sources' means taken out.
        cross = system.cross(weight, effects)[terms]
        change = inverse[np.ix_(terms, terms)] @ cross  # of the terms, by each effect
        alone = LinearSystem(effects, system.source)
        variance, freedom = _take_moments(alone, weight, cross, change, score, squares / max(freedom, 1))
    covariance = np.zeros((len(free), len(free)))
    if variance > 0:
        factor = freedom / (freedom - 2) if freedom >= _LEAST_FREEDOM else np.inf
        covariance[np.ix_(terms, terms)] = factor * variance * (change @ change.T)
    return DetectorScatter(float(np.sqrt(variance)), freedom, covariance)


def _maximise_likelihood(information, score, spread, squares, left, whole):
    value, vector = np.linalg.eigh(information)
    kept = value > _RANK * max(whole, 1e-300)
    value, part = value[kept], vector[:, kept].T @ score
    freedom, within = len(value), max(left - len(value), 1)
    if freedom < _LEAST_FREEDOM:
        return 0.0, freedom
    noise = max((squares - np.sum(part**2 / value)) / within, 1e-12) * value
    # If the few sources of a link are variable, their noise is much larger than their measurement errors.
    seen = np.sum(vector[:, kept] * (spread @ vector[:, kept]), axis=0)
    noise = np.where(seen > _VARY * noise, seen, noise)

    def lack(sigma):
        expected = noise + sigma**2 * value**2
        return np.sum(np.log(expected) + part**2 / expected)

    best = minimize_scalar(lack, bounds=(0.0, _LARGEST), method="bounded", options={"xatol": 1e-7}).x
    return (float(best**2) if lack(best) < lack(0.0) else 0.0), freedom


def _take_moments(effects, weight, cross, change, score, noise):
    """Solve E S^T S = c tr G + sigma^2 tr G G; random vectors give the traces."""
    probes = np.random.default_rng(len(score)).choice([-1.0, 1.0], (len(score), _PROBES))
    seen = np.stack([effects.score(weight, effects.design @ probe) for probe in probes.T], axis=1)
    moved = seen - cross.T @ (change @ probes)
    trace, square = np.sum(probes * moved) / _PROBES, np.sum(moved**2) / _PROBES
    return max(float((score @ score - noise * trace) / square), 0.0), max(len(score) - len(cross), 1)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Change of a detector since the first epoch, minus the mean of all detectors."""

    detector: str
    epoch: int
    value: float | None  # mag; None where it is not separable from zero points
    error: float | None
    share: float  # change of the detector's zero point, less the mean of all, over a drift of it that is not fitted


def list_drifts(solution: Solution) -> tuple[Drift, ...]:
    """Fit a drift of each detector in each later epoch with all terms of a solution."""
    m = solution.measurements
    extended = _add_drifts(solution, m)
    if extended is None:
        return ()
    # The residuals of the solution are fitted: its weights are nearly right, which halves the time.
    left = replace(m, mag=m.mag - solution.predict(m))
    again, report = fit_robust(extended.system, extended.free, left, start=solution), extended.report()
    scatter = estimate_detector_scatter(again, extended, m)
    covariance = report @ (again.covariance + scatter.covariance) @ report.T
    shares = _list_shares(solution, m, solution.derivative)
    return _collect(extended, again.derivative, report @ again.values, covariance, shares)


def forecast_drifts(forecast: Forecast, measurements: Measurements) -> tuple[Drift, ...]:
    """Forecast the errors of drifts; values are 0."""
    extended, weight = _add_drifts(forecast, measurements), 1 / measurements.mag_error**2
    if extended is None:
        return ()
    shares = _list_shares(forecast, measurements, weight)
    return _collect(extended, weight, np.zeros(len(extended.free)), extended.expect(weight), shares)


def _collect(extended, weight, values, covariance, shares):
    model, found, error = extended.model, [], np.sqrt(np.maximum(np.diag(covariance), 0))
    determined = extended.fitted & extended.invert(weight)[1] & (error <= MAX_DRIFT_ERROR)
    for number in np.flatnonzero(model.mask("drift")):
        term, known = model.terms[number], determined[number]
        found.append(Drift(
            detector=term.detector, epoch=int(term.epoch), share=float(shares[model.code[number], model.epoch[number]]),
            value=float(values[number]) if known else None, error=float(error[number]) if known else None,
        ))  # fmt: skip
    return tuple(found)


def _add_drifts(found: Forecast, m: Measurements) -> Forecast | None:
    """Add drifts to the terms of a solution or forecast; None if they are too many."""
    if (found.model.epochs.size - 1) * len(found.model.detectors) > _MOST_TERMS:
        return None
    terms = {"field_order": found.field_order, "exposure_terms": "fit" if found.has_exposures else "zero"}
    choice = replace(found.choice, **terms, drift=True)
    model = list_terms(m, choice)
    known = dict(zip(found.model.terms, zip(found.free, found.fitted, strict=True), strict=True))
    free, fitted = np.array([known.get(term, (False, False)) for term in model.terms], bool).reshape(-1, 2).T
    # The mean of all detectors is the epoch's term; an epoch without a term of its own has no drifts either.
    timed = {t.epoch for t, f in zip(found.model.terms, found.fitted, strict=True) if f and t.kind == "epoch"}
    every = np.array([term.kind == "drift" and term.epoch in timed for term in model.terms], bool)
    system = LinearSystem(model.design(m), found.system.source)
    return with_drifts(Forecast(model, system, found.links, (), free, fitted, choice), every)


def _list_shares(found: Forecast, m: Measurements, weight: np.ndarray) -> np.ndarray:
    """Compute the change of zero points by a drift: (n_detectors, n_epochs)."""
    weights, epochs, codes = found.model.zero_points(), found.model.epochs, list(found.model.detectors)
    cells = m.detector * np.int64(len(epochs)) + np.searchsorted(epochs, m.epoch)
    columns = Design.of_labels(cells, len(PARTS) * len(epochs))
    moved = found.influence(weight, weights - weights.mean(axis=0), columns).reshape(len(codes), len(PARTS), -1)
    shares = np.zeros(moved.shape[1:])
    shares[codes] = moved[np.arange(len(codes)), codes]
    return shares


def describe_drifts(drifts: Sequence[Drift]) -> list[str]:
    """State the error of drifts in each epoch, or their effect if not determined."""
    words = []
    for epoch in dict.fromkeys(drift.epoch for drift in drifts):
        mine = [drift for drift in drifts if drift.epoch == epoch]
        errors = [drift.error for drift in mine if drift.error is not None]
        if errors:
            limits = " to ".join(dict.fromkeys(f"{1e3 * error:.1f}" for error in (min(errors), max(errors))))
            words.append(f"epoch {epoch}: a drift of one of {len(errors)} detectors is known to {limits} mmag")
        hidden = [drift for drift in mine if drift.error is None]
        if hidden:
            worst = max(hidden, key=lambda drift: round(abs(drift.share), 9))
            names = "any detector" if len(hidden) == len(mine) else ", ".join(drift.detector for drift in hidden)
            words.append(
                f"epoch {epoch}: a drift of {names} is not separable from its zero point; 10 mmag of {worst.detector}"
                f" move it by up to {10 * abs(worst.share):.1f} mmag"
            )
    return words
