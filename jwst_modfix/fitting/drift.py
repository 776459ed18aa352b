"""Limits on drifts of single detectors between epochs, from a finished fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.fitting.blocks import MAX_DRIFT_ERROR, with_drifts
from jwst_modfix.fitting.design import list_terms
from jwst_modfix.fitting.detector_scatter import estimate_detector_scatter
from jwst_modfix.fitting.linear import Design, LinearSystem
from jwst_modfix.fitting.measurements import PARTS
from jwst_modfix.fitting.robust import fit_robust
from jwst_modfix.fitting.separability import Forecast

if TYPE_CHECKING:
    from jwst_modfix.fitting.measurements import Measurements
    from jwst_modfix.fitting.solution import Solution

# More terms than this take minutes.
_MOST_TERMS = 300


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
    scatter = estimate_detector_scatter(again, extended.system, extended.free, m.detector, m.time)
    covariance, determined = again.covariance + scatter.covariance, extended.invert(again.derivative)[1]
    shares = _list_shares(solution, m, solution.derivative)
    return _collect(extended, determined, report @ again.values, report @ covariance @ report.T, shares)


def forecast_drifts(forecast: Forecast, measurements: Measurements) -> tuple[Drift, ...]:
    """Forecast the errors of drifts; values are 0."""
    extended, weight = _add_drifts(forecast, measurements), 1 / measurements.mag_error**2
    if extended is None:
        return ()
    determined, shares = extended.invert(weight)[1], _list_shares(forecast, measurements, weight)
    return _collect(extended, determined, np.zeros(len(determined)), extended.expect(weight), shares)


def _collect(extended, determined, values, covariance, shares):
    error, found = np.sqrt(np.maximum(np.diag(covariance), 0)), []
    for number in np.flatnonzero(extended.model.mask("drift")):
        term = extended.model.terms[number]
        known = bool(extended.fitted[number] and determined[number] and error[number] <= MAX_DRIFT_ERROR)
        found.append(Drift(
            detector=term.detector, epoch=int(term.epoch), share=shares.get((term.codes[0], term.epoch), 0.0),
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


def _list_shares(found: Forecast, m: Measurements, weight: np.ndarray) -> dict[tuple[int, int], float]:
    """Compute the change of detectors' zero points with their magnitudes in epochs."""
    weights, epochs = found.model.zero_points(), found.model.epochs
    cells = m.detector * np.int64(len(epochs)) + np.searchsorted(epochs, m.epoch)
    columns = Design.of_labels(cells, len(PARTS) * len(epochs))
    shares = found.influence(weight, weights - weights.mean(axis=0), columns).reshape(len(weights), -1, len(epochs))
    return {
        (code, int(epoch)): float(shares[i, code, e])
        for i, code in enumerate(found.model.detectors)
        for e, epoch in enumerate(epochs)
    }


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
