"""What a set can tell of detectors that change on their own between epochs, after the fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.fitting.blocks import MAX_DRIFT_ERROR, Information, first_drifts, report_terms
from jwst_modfix.fitting.design import SLOPE_ARRAYS, Model, list_terms
from jwst_modfix.fitting.detector_scatter import estimate_detector_scatter
from jwst_modfix.fitting.linear import LinearSystem
from jwst_modfix.fitting.robust import fit_robust
from jwst_modfix.fitting.zero_points import find_determined

if TYPE_CHECKING:
    from jwst_modfix.fitting.measurements import Measurements
    from jwst_modfix.fitting.separability import Forecast, LinkReport
    from jwst_modfix.fitting.solution import Solution

# More terms than this take minutes.
_MOST_TERMS = 300


@dataclass(frozen=True, kw_only=True)
class Drift:
    """Change of one detector in one epoch since the first, less the mean of all detectors."""

    detector: str
    epoch: int
    value: float | None  # mag; None where it cannot be told from zero points
    error: float | None
    share: float  # change of the detector's zero point, less the mean of all, over a drift of it that is not fitted


@dataclass(frozen=True, eq=False)
class _Extended:
    """The model of a solution, or a forecast, with drifts."""

    model: Model
    system: LinearSystem
    links: LinkReport
    free: np.ndarray
    fitted: np.ndarray

    def told(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Terms that these weights determine, and the expected covariance."""
        information = Information(self.model, self.links, *self.system.normal_matrix(weight))
        inverse, null = information.invert(self.free)
        report = self.report()
        return ~information.touches(report, null), report @ inverse @ report.T

    def report(self) -> np.ndarray:
        return report_terms(self.model, self.links, self.free, self.fitted)


def list_drifts(solution: Solution) -> tuple[Drift, ...]:
    """Fit a drift of every detector in every epoch after the first, beside all terms of a solution."""
    m = solution.measurements
    extended = _extend(solution, m)
    if extended is None:
        return ()
    # What the terms of the solution leave is fitted: its weights are nearly right, which halves the time.
    left = replace(m, mag=m.mag - solution.predict(m))
    again, report = fit_robust(extended.system, extended.free, left, start=solution), extended.report()
    scatter = estimate_detector_scatter(again, extended.system, extended.free, m.detector, m.time)
    covariance = report @ (again.covariance + scatter.covariance) @ report.T
    told, _ = extended.told(again.derivative)
    shares = _list_shares(solution, m, solution.derivative)
    return tuple(_drifts(extended, told, report @ again.values, covariance, shares))


def forecast_drifts(forecast: Forecast, measurements: Measurements) -> tuple[Drift, ...]:
    """Forecast the errors of drifts; values are 0."""
    extended, weight = _extend(forecast, measurements), 1 / measurements.mag_error**2
    if extended is None:
        return ()
    told, covariance = extended.told(weight)
    shares = _list_shares(forecast, measurements, weight)
    return tuple(_drifts(extended, told, np.zeros(len(told)), covariance, shares))


def _drifts(extended, told, values, covariance, shares):
    error = np.sqrt(np.maximum(np.diag(covariance), 0))
    for number in np.flatnonzero(extended.model.mask("drift")):
        term = extended.model.terms[number]
        known = bool(extended.fitted[number] and told[number] and error[number] <= MAX_DRIFT_ERROR)
        yield Drift(
            detector=term.detector, epoch=int(term.epoch), share=shares.get((term.codes[0], term.epoch), 0.0),
            value=float(values[number]) if known else None, error=float(error[number]) if known else None,
        )  # fmt: skip


def _extend(found: Forecast, m: Measurements) -> _Extended | None:
    choice = found.choice
    if (found.model.epochs.size - 1) * len(found.model.detectors) > _MOST_TERMS:
        return None
    model = list_terms(
        m, SLOPE_ARRAYS[choice.fit_slope], choice.direction, choice.origin, choice.fit_direction, choice.per_module,
        scale=choice.scale, field_order=found.field_order, exposures=found.has_exposures, drift=True,
        colour=choice.colour,
    )  # fmt: skip
    known = dict(zip(found.model.terms, zip(found.free, found.fitted, strict=True), strict=True))
    free, fitted = np.array([known.get(term, (False, False)) for term in model.terms], bool).reshape(-1, 2).T
    # The mean of all detectors is the epoch's term; an epoch without a term of its own has no drifts either.
    timed = {t.epoch for t, f in zip(found.model.terms, found.fitted, strict=True) if f and t.kind == "epoch"}
    there = set(np.array(found.model.detectors)[find_determined(found)].tolist())
    # Detectors without a result drift too: if they did not, they would hold the others.
    every = np.array([term.kind == "drift" and term.epoch in timed for term in model.terms], bool)
    possible = every & np.array([bool(there & set(term.codes)) for term in model.terms], bool)
    free, fitted = free | (every & ~first_drifts(model, every)), (fitted & ~model.mask("drift")) | possible
    return _Extended(model, LinearSystem(model.design(m), found.system.source), found.links, free, fitted)


def _list_shares(found: Forecast, m: Measurements, weight: np.ndarray) -> dict[tuple[int, int], float]:
    """Change of each detector's zero point with its own magnitudes in each epoch."""
    weights = found.model.zero_points()
    weights = weights - weights.mean(axis=0)
    inverse, _ = found.system.invert(weight, found.free)
    rows, shares = np.zeros_like(weights), {}
    rows[:, found.free] = weights[:, found.free] @ inverse
    for code, row in zip(found.model.detectors, rows, strict=True):
        influence = -weight * found.system.residual(weight, 0.0, row)
        for epoch in found.model.epochs:
            mine = (m.detector == code) & (m.epoch == epoch)
            shares[code, int(epoch)] = float(influence[mine].sum())
    return shares


def describe_drifts(drifts: tuple[Drift, ...]) -> list[str]:
    """Say for each epoch to what error drifts of single detectors are known, or what they would move."""
    words = []
    for epoch in dict.fromkeys(drift.epoch for drift in drifts):
        mine = [drift for drift in drifts if drift.epoch == epoch]
        errors = [drift.error for drift in mine if drift.error is not None]
        if errors:
            limits = " to ".join(dict.fromkeys(f"{1e3 * error:.1f}" for error in (min(errors), max(errors))))
            words.append(f"epoch {epoch}: a drift of one of {len(errors)} detectors is known to {limits} mmag")
        hidden = [drift for drift in mine if drift.error is None]
        if hidden:
            worst = max(hidden, key=lambda drift: abs(drift.share))
            names = "any detector" if len(hidden) == len(mine) else ", ".join(drift.detector for drift in hidden)
            words.append(
                f"epoch {epoch}: a drift of {names} cannot be told from its zero point; 10 mmag of {worst.detector}"
                f" move it by up to {10 * abs(worst.share):.1f} mmag"
            )
    return words
