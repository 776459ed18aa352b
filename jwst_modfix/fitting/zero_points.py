"""Zero points of detectors from a solution: gauge, groups, verdicts and rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.fitting.blocks import find_determined
from jwst_modfix.fitting.design import legendre
from jwst_modfix.fitting.fields import field_error
from jwst_modfix.fitting.measurements import DETECTORS, ORIGIN, Measurements
from jwst_modfix.fitting.verdict import NOT_DETERMINED, NOT_NEEDED, Result, conclude, joint_sigmas, judge_arrays
from jwst_modfix.table.table import BASELINES, FULL_FRAME, MODULES, Field, ZeroPointRow

if TYPE_CHECKING:
    from jwst_modfix.fitting.separability import Forecast
    from jwst_modfix.fitting.solution import Solution

# Pixels of the array at which z + F is compared with what is needed.
_GRID = np.stack(np.meshgrid(*[np.linspace(0, FULL_FRAME - 1, 9)] * 2)).reshape(2, -1)
_OVERLAP = 30.0  # arcsec by which two detectors must overlap: 10 sources at 20 per arcmin^2
_EXACT = 1e-9  # mag: the error of a detector whose flux scale is kept
_ROLLS = (30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0)  # deg, tried as a link


@dataclass(frozen=True, kw_only=True)
class DetectorResult(Result):
    """Result of one detector, with a verdict."""

    detector: str
    zero_point: float | None = None  # z, mag; None where there is no value
    zero_point_error: float | None = None
    field: Field | None = None
    field_error: float | None = None  # rms over the array, mag
    missed: float | None = None  # structure left in the residuals, rms over the array, mag; None where not measured
    group: int = 0  # number of the group of linked detectors; 0 holds the baseline

    heads = ("detector", "zero point [mmag]", "field rms [mmag]")
    row = ZeroPointRow
    columns = ("detector", "zero_point", "zero_point_error", "field", "field_error")

    @property
    def second(self) -> tuple[float | None, float | None]:
        """Field, rms over the array, and its error [mag]."""
        return self.field and self.field.rms, self.field_error


@dataclass(frozen=True, eq=False)
class Gauge:
    """Zero points of all detectors, each group with a gauge of its own."""

    codes: tuple[int, ...]  # numbers of the detectors
    weights: np.ndarray  # (n_detectors, n_terms), of the terms of the solution in each zero point
    determined: np.ndarray  # bool
    group: np.ndarray  # number of the group of each; 0 holds the baseline


def fix_gauge(solution: Forecast, baseline: str) -> Gauge:
    """Subtract the baseline: the mean of its detectors in the group, or one of them."""
    if baseline not in (*BASELINES, *DETECTORS):
        known = ", ".join((*BASELINES, "or a detector such as NRCB1"))
        raise MeasurementsError(f"baseline must be one of {known}; got {baseline!r}")
    model, links = solution.model, solution.links
    codes, weights = np.array(model.detectors), model.zero_points()
    determined = find_determined(solution)
    kept = np.array([baseline in ("mean", MODULES[code % 2], DETECTORS[code]) for code in codes])
    if baseline in DETECTORS and not (kept & determined).any():
        raise NoSolutionError(f"baseline: {baseline} has no zero point here; name a detector that is linked to others")
    # The group of the baseline is the one with most of its detectors, and then with most sources.
    numbers = links.detector_group
    sources = np.diag(links.shared)
    rank = sorted(
        set(numbers.tolist()),
        key=lambda g: (-np.sum(kept & determined & (numbers == g)), -sources[numbers == g].sum()),
    )
    for number in rank:
        mine = (numbers == number) & determined
        base = mine & kept if (mine & kept).any() else mine
        weights[numbers == number] -= weights[base].mean(axis=0) if base.any() else 0.0
    group = np.array([rank.index(number) for number in numbers])
    return Gauge(tuple(codes.tolist()), weights, determined, group)


def judge(solution: Solution, significance: float = 3.0, baseline: str = "B") -> tuple[Result, ...]:
    """Give each array ID, or each detector, its verdict."""
    if solution.model.scale == "modules":
        return judge_arrays(solution, significance)
    return judge_detectors(solution, significance, baseline)


def judge_detectors(solution: Solution, significance: float = 3.0, baseline: str = "B") -> tuple[DetectorResult, ...]:
    """Give each detector its verdict, by the rules of `judge_arrays`."""
    gauge = fix_gauge(solution, baseline)
    return tuple(_judge(solution, gauge, place, significance) for place in range(len(gauge.codes)))


def _judge(solution: Solution, gauge: Gauge, place: int, significance: float) -> DetectorResult:
    code, group = gauge.codes[place], int(gauge.group[place])
    known: dict[str, Any] = {"detector": DETECTORS[code], "group": group}
    status = {s.term.codes: s for s in solution.status if s.term.kind in ("offset", "zero_point")}
    own = status.get((code,)) or next((s for codes, s in status.items() if code in codes), None)
    link = describe_link(solution.measurements, gauge, group) if group else ""
    if not gauge.determined[place]:
        is_alone = np.sum(gauge.group == group) == 1
        words = own.words if own is not None and not is_alone else ""
        words = "; ".join(filter(None, (words, link))) or "no source links it to another detector"
        return DetectorResult(verdict=NOT_DETERMINED, words=words, **known)
    powers, values, covariance = _measure(solution, code, gauge.weights[place])
    error = float(np.sqrt(max(covariance[0, 0], 0.0)))
    known |= {"zero_point": float(values[0]), "zero_point_error": error}
    left = solution.structure.get(code)
    known["missed"] = left.rms if left is not None else None
    known["n_sources"] = own.effective_sources if own is not None else 0.0
    if powers:
        matrix = np.zeros(2 * (1 + max(map(sum, powers)),))
        matrix[tuple(np.transpose(powers))] = values[1:]
        known["field"] = Field.from_matrix(matrix)
        known["field_error"] = field_error(solution.model, np.sqrt(np.diag(solution.covariance)), code)
    elif error < _EXACT:
        verdict, words = (NOT_DETERMINED, link) if group else (NOT_NEEDED, "its flux scale is kept")
        return DetectorResult(verdict=verdict, words=words, is_usable=not group, **known)
    shapes = np.vstack([np.ones(_GRID.shape[1]), *(legendre(*_GRID, powers) if powers else ())])
    errors = np.sqrt(np.einsum("ji,jk,ki->i", shapes, covariance, shapes))
    blocking = [*_find_blocking(solution, gauge.weights[place]), *filter(None, [link])]
    found = conclude(
        "the detector", joint_sigmas(values, covariance), np.abs(values @ shapes), errors, significance,
        max(error, known.get("field_error", 0.0)), blocking, left.words if left is not None else "",
    )  # fmt: skip
    return DetectorResult(**found, **known)


def _measure(
    solution: Solution, code: int, weights: np.ndarray
) -> tuple[tuple[tuple[int, int], ...], np.ndarray, np.ndarray]:
    """List the powers of a detector's field; values and covariance with zero point."""
    terms = solution.model.terms
    fields = [i for i, t in enumerate(terms) if t.kind == "field" and t.codes == (code,) and solution.fitted[i]]
    rows = np.zeros((1 + len(fields), len(terms)))
    rows[0] = weights
    rows[np.arange(1, len(rows)), fields] = 1.0
    powers = tuple(terms[i].power for i in fields)
    return powers, rows @ solution.values, rows @ solution.covariance @ rows.T


def _find_blocking(solution: Solution | Forecast, weights: np.ndarray) -> list[str]:
    """Describe the fixed terms that a zero point or its baseline depends on."""
    parts = {solution.model.terms[i].name for i in np.flatnonzero(np.abs(weights) > _EXACT)}
    held = [s.words for s in solution.status if parts & set(s.partners)]
    if solution.choice.field_order and not solution.field_order:
        # Sources link detectors at their edges, where a field differs from its mean.
        held.append(
            f"its value holds only if no detector has a field, and that of order {solution.choice.field_order} is not"
            " determined"
        )
    return held


@dataclass(frozen=True, kw_only=True)
class DetectorForecast:
    """What a fit will know of one detector."""

    detector: str
    group: int  # 0 holds the baseline
    error: float | None  # of the zero point [mag]; None where it will not be determined
    field_error: float | None  # rms over the array [mag]
    words: str  # why it is not determined, and what would link it


def forecast_detectors(
    forecast: Forecast, measurements: Measurements, baseline: str = "B"
) -> tuple[DetectorForecast, ...]:
    """Forecast the errors of zero points and fields from the errors of measurements."""
    gauge, model, found = fix_gauge(forecast, baseline), forecast.model, []
    covariance = forecast.expect(1 / measurements.mag_error**2)
    fields = {t.codes[0] for t, f in zip(model.terms, forecast.fitted, strict=True) if f and t.kind == "field"}
    status = {s.term.codes: s.words for s in forecast.status}
    for code, weights, determined, group in zip(
        gauge.codes, gauge.weights, gauge.determined, gauge.group.tolist(), strict=True
    ):
        words = describe_link(measurements, gauge, group) if group else "" if determined else status.get((code,), "")
        if determined and (blocking := _find_blocking(forecast, weights)):
            determined, words = False, "; ".join([*blocking, *filter(None, [words])])
        found.append(DetectorForecast(
            detector=DETECTORS[code], group=group, words=words,
            error=float(np.sqrt(max(weights @ covariance @ weights, 0.0))) if determined else None,
            field_error=field_error(model, np.sqrt(np.diag(covariance)), code) if code in fields else None,
        ))  # fmt: skip
    return tuple(found)


def describe_link(measurements: Measurements, gauge: Gauge, group: int) -> str:
    """Name a dither or roll that would link a group with that of the baseline."""
    boxes = {code: _box(measurements, code) for code in gauge.codes}
    mine, others = ([code for code, g in zip(gauge.codes, gauge.group, strict=True) if g == wanted]
                    for wanted in (group, 0))  # fmt: skip
    shifts = [_shift(boxes[one], boxes[other]) for one in mine for other in others]
    shift = min(shifts, key=lambda one: float(np.hypot(*one)))
    rolls = [roll for roll in _ROLLS if any(_meets(boxes[one], boxes[other], roll) for one in mine for other in others)]
    names = ", ".join(DETECTORS[code] for code in mine)
    words = (
        f"{names}: no source links {'it' if len(mine) == 1 else 'them'} to the detectors of the baseline's group; a"
        f" dither by ({shift[0]:+z.0f}, {shift[1]:+z.0f}) arcsec in (V2, V3)"
    )
    return words + (f" or an epoch turned by {rolls[0]:.0f} deg would" if rolls else " would")


def _box(measurements: Measurements, code: int) -> np.ndarray:
    """Find corners (low, high) of a detector's sources, V2, V3 from origin [arcsec]."""
    mine = measurements.detector == code
    place = np.stack([measurements.V2[mine], measurements.V3[mine]], axis=1) - ORIGIN
    return np.stack([place.min(axis=0), place.max(axis=0)])


def _shift(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Find the least shift that makes two boxes overlap [arcsec]."""
    gap = np.maximum(other[0] - one[1], one[0] - other[1]) + _OVERLAP
    direction = np.sign(other.mean(axis=0) - one.mean(axis=0))
    return np.where(gap > 0, gap * direction, 0.0)


def _meets(one: np.ndarray, other: np.ndarray, roll: float) -> bool:
    """Test whether a detector, turned about the modules' midpoint, meets the other."""
    angle = np.deg2rad(roll)
    grid = np.stack(np.meshgrid(*np.linspace(*one, 15).T)).reshape(2, -1)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ grid
    inside = ((turned > other[0][:, None]) & (turned < other[1][:, None])).all(axis=0)
    return bool(inside.mean() > 0.05)
