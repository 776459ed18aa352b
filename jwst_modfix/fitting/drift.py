"""What a set can tell of detectors that change on their own between epochs, after the fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.fitting.blocks import MAX_DRIFT_ERROR, Information, first_drifts, report_terms
from jwst_modfix.fitting.design import SLOPE_ARRAYS, LinearSystem, list_terms
from jwst_modfix.fitting.detector_scatter import estimate_detector_scatter
from jwst_modfix.fitting.robust import fit_robust
from jwst_modfix.fitting.zero_points import find_determined

if TYPE_CHECKING:
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


def list_drifts(solution: Solution) -> tuple[Drift, ...]:
    """Fit a drift of every detector in every epoch after the first, beside all terms of a solution."""
    m, choice = solution.measurements, solution.choice
    if (solution.model.epochs.size - 1) * len(solution.model.detectors) > _MOST_TERMS:
        return ()
    model = list_terms(
        m, SLOPE_ARRAYS[choice.fit_slope], choice.direction, choice.origin, choice.fit_direction, choice.per_module,
        scale=choice.scale, field_order=solution.field_order, exposures=solution.has_exposures, drift=True,
    )  # fmt: skip
    drifts = model.mask("drift")
    known = dict(zip(solution.model.terms, zip(solution.free, solution.fitted, strict=True), strict=True))
    free, fitted = np.array([known.get(term, (False, False)) for term in model.terms], bool).reshape(-1, 2).T
    # The mean of all detectors is the epoch's term; an epoch without a term of its own has no drifts either.
    timed = {t.epoch for t, f in zip(solution.model.terms, solution.fitted, strict=True) if f and t.kind == "epoch"}
    there = set(np.array(solution.model.detectors)[find_determined(solution)].tolist())
    possible = np.array([
        term.kind == "drift" and term.epoch in timed and term.codes[0] in there for term in model.terms
    ], bool)  # fmt: skip
    free, fitted = free | (possible & ~first_drifts(model, possible)), fitted | possible
    system = LinearSystem(model.design(m), solution.system.source)
    again = fit_robust(system, free, m)
    information = Information(model, solution.links, *system.normal_matrix(again.derivative))
    report = report_terms(model, solution.links, free, fitted)
    told = ~information.touches(report, information.invert(free)[1])
    covariance = again.covariance + estimate_detector_scatter(again, system, free, m.detector, m.time).covariance
    values, error = report @ again.values, np.sqrt(np.maximum(np.diag(report @ covariance @ report.T), 0))
    shares, found = _list_shares(solution), []
    for number in np.flatnonzero(drifts):
        term = model.terms[number]
        known_to = bool(possible[number] and told[number] and error[number] <= MAX_DRIFT_ERROR)
        found.append(Drift(
            detector=term.detector, epoch=int(term.epoch or 0), share=shares.get((term.codes[0], term.epoch), 0.0),
            value=float(values[number]) if known_to else None, error=float(error[number]) if known_to else None,
        ))  # fmt: skip
    return tuple(found)


def _list_shares(solution: Solution) -> dict[tuple[int, int], float]:
    """Change of each detector's zero point with its own magnitudes in each epoch."""
    m, weights = solution.measurements, solution.model.zero_points()
    weights = weights - weights.mean(axis=0)
    inverse, _ = solution.system.invert(solution.derivative, solution.free)
    rows = np.zeros_like(weights)
    rows[:, solution.free] = weights[:, solution.free] @ inverse
    found = {}
    for code, row in zip(solution.model.detectors, rows, strict=True):
        influence = -solution.derivative * solution.system.residual(solution.derivative, 0.0, row)
        for epoch in solution.model.epochs:
            mine = (m.detector == code) & (m.epoch == epoch)
            found[code, int(epoch)] = float(influence[mine].sum())
    return found


def describe_drifts(drifts: tuple[Drift, ...]) -> list[str]:
    """Say for each epoch to what error drifts of single detectors are known, or what they would move."""
    words = []
    for epoch in dict.fromkeys(drift.epoch for drift in drifts):
        mine = [drift for drift in drifts if drift.epoch == epoch]
        errors = [drift.error for drift in mine if drift.error is not None]
        if errors:
            words.append(
                f"epoch {epoch}: a drift of one of {len(errors)} detectors is known to"
                f" {1e3 * min(errors):.1f} to {1e3 * max(errors):.1f} mmag"
            )
        hidden = [drift for drift in mine if drift.error is None]
        if hidden:
            worst = max(hidden, key=lambda drift: abs(drift.share))
            names = "any detector" if len(hidden) == len(mine) else ", ".join(drift.detector for drift in hidden)
            words.append(
                f"epoch {epoch}: a drift of {names} cannot be told from its zero point; 10 mmag of {worst.detector}"
                f" move it by up to {10 * abs(worst.share):.1f} mmag"
            )
    return words
