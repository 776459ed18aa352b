"""From a solution to rows of the coefficient table, with a verdict on each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.stats import chi2, norm

from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.fitting.blocks import field_error, find_determined
from jwst_modfix.fitting.design import legendre
from jwst_modfix.fitting.measurements import DETECTORS_BY_CODE, ORIGIN, Measurements
from jwst_modfix.table.table import BASELINES, FULL_FRAME, MODULES, Field, OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.text import format_measured

if TYPE_CHECKING:
    from jwst_modfix.fitting.separability import Forecast
    from jwst_modfix.fitting.solution import Solution

NEEDED, NOT_NEEDED, NOT_DETERMINED = "needed", "not needed", "not determined"
# mag: a smaller difference is never "needed". It is below the repeatability of NIRCam's photometry.
SMALLEST_NEEDED = 0.001
# mag: for "not needed" the difference is below this at 95% confidence, everywhere in the field.
LARGEST_NOT_NEEDED = 0.003
_CONFIDENCE = float(norm.isf(0.05))
# mag: a value with a larger error is not useful, and is not written to a table.
LARGEST_ERROR = 0.003
_EXACT = 1e-9  # mag: the error of a detector whose flux scale is kept
# Below, a probability is too small for a number; the root of chi-square is then the same in sigmas.
_LEAST_CHANCE = 1e-290
# Distance of the modules' near edge, middle and far edge from the origin along V2 [arcmin].
_ACROSS = np.array([0.3, 1.45, 2.6])
# A direction is fitted where the slope is this many sigmas from zero: else its length is biased upward and its
# direction is noise.
_DIRECTION_SIGMAS = 3.0
# Pixels of the array at which z + F is compared with what is needed.
_GRID = np.stack(np.meshgrid(*[np.linspace(0, FULL_FRAME - 1, 9)] * 2)).reshape(2, -1)
_OVERLAP = 30.0  # arcsec by which two detectors must overlap: 10 sources at 20 per arcmin^2
_ROLLS = (30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0)  # deg, tried as a link


@dataclass(frozen=True, kw_only=True)
class Result:
    """Verdict on one array ID or detector: a value, its slope or field, their errors."""

    verdict: str  # 'needed', 'not needed' or 'not determined'
    words: str  # why
    significance: float = 0.0  # of all its terms together, as Gaussian sigmas
    n_sources: float = 0.0  # effective number behind the offset or zero point
    is_usable: bool = False  # whether the value goes into a table

    heads: ClassVar[tuple[str, str, str]]  # of the name and the two values
    row: ClassVar[type[OffsetRow] | type[ZeroPointRow]]
    columns: ClassVar[tuple[str, ...]]  # of the row; first the name, and both values with their errors

    @property
    def title(self) -> str:
        """The array or detector in words."""
        name = str(getattr(self, self.columns[0]))
        return f"array {name}" if self.columns[0] == "array" else name

    def cells(self) -> list[str]:
        """List the name, both values [mmag], effective sources, verdict and reason."""
        name, value, error, second, second_error = (getattr(self, column) for column in self.columns[:5])
        second = second.rms if isinstance(second, Field) else second  # or a slope [mag/arcmin]
        numbers = format_measured(value, error, ""), format_measured(second, second_error, "")
        return [name, *numbers, f"{self.n_sources:.0f}", self.verdict, self.words]


@dataclass(frozen=True, kw_only=True)
class ArrayResult(Result):
    """Result of one array ID, with a verdict."""

    array: str
    offset: float | None = None  # Delta_AB, mag; None where there is no value
    offset_error: float | None = None
    slope: float | None = None  # k, mag/arcmin; None where not fitted
    slope_error: float | None = None
    direction: float | None = None  # of the gradient [deg], where fitted and significant
    direction_error: float | None = None
    correlation: float = 0.0  # of offset and slope

    heads = ("array", "offset [mmag]", "slope [mmag/arcmin]")
    row = OffsetRow
    columns = ("array", "offset", "offset_error", "slope", "slope_error", "direction")


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


def judge(solution: Solution, significance: float = 3.0, baseline: str = "B") -> tuple[Any, ...]:
    """Give each array ID, or each detector, its verdict."""
    # All values of an array or detector are tested together, as they are correlated. The verdict is `needed` where
    # their joint chi-square reaches `significance` and the difference that they make exceeds `SMALLEST_NEEDED`
    # somewhere. It is `not needed` where it does not, and the difference is below `LARGEST_NOT_NEEDED` at 95%
    # confidence everywhere in the field (a test of equivalence: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657).
    # Otherwise it is `not determined`. So is a value that is valid only if an inseparable term is 0, and an offset
    # whose requested slope is not determined: it is valid only midway between the modules.
    if solution.model.scale == "modules":
        arrays = [str(term.array) for term in solution.model.terms if term.kind == "offset"]
        return tuple(_judge_array(solution, array, significance) for array in arrays)
    gauge = fix_gauge(solution, baseline)
    return tuple(_judge_detector(solution, gauge, place, significance) for place in range(len(gauge.codes)))


def table_of_results(
    results: Sequence[Result], filter: str, pupil: str, baseline: str = "B", name: str = "solution", **meta: Any
) -> OffsetTable:
    """Make a table of the results that are usable, as measured, whatever the verdict."""
    band: dict[str, Any] = {"filter": filter, "pupil": pupil}
    if len({getattr(result, "group", 0) for result in results}) > 1:
        band["group"] = 0  # of all detectors in the table
    rows = [r.row(**band, **{name: getattr(r, name) for name in r.columns}) for r in results if r.is_usable]
    known = {field: meta.pop(field) for field in ("valid_for", "gradient") if field in meta}
    return OffsetTable(rows=tuple(rows), baseline=baseline, name=name, meta=meta, **known)


def _judge_array(solution: Solution, array: str, significance: float) -> ArrayResult:
    (own,) = (status for status in solution.status if status.term.name == f"offset[{array}]")
    if not own.is_fitted:
        return ArrayResult(array=array, verdict=NOT_DETERMINED, words=own.words, n_sources=own.effective_sources)
    model, terms = solution.model, solution.model.terms
    # Places in module A and B, mirrored about the origin along V2, where the modules lie.
    V2, V3 = model.origin
    places = [model.contrast(array, (V2 + 60 * d, V3), (V2 - 60 * d, V3)) * solution.fitted for d in _ACROSS]
    # A term that this one is not separable from, or a slope that was asked for and may be part of the offset.
    blocking = [
        s.words
        for s in solution.status
        if own.term.name in s.partners
        or (s.term.array == array and s.term.kind in ("slope", "slope_V2") and not s.is_fitted)
    ]
    mine = [term.array == array and (term.kind == "offset" or term.is_slope) for term in terms]
    weighed = weigh(solution, np.eye(len(terms))[solution.fitted & mine], np.array(places))
    found = conclude("the modules", *weighed, significance, weighed[2].max(), blocking)
    return ArrayResult(array=array, n_sources=own.effective_sources, **found, **_measured(solution, array))


def weigh(solution: Solution, own: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Compute the joint significance of values [sigma], and differences with errors."""
    # Both are combinations of terms, (n, n_terms). A value without an error is 0 by definition: the zero point of the
    # detector that is kept.
    values, covariance = own @ solution.values, own @ solution.covariance @ own.T
    known = np.diag(covariance) > _EXACT**2
    values, covariance = values[known], covariance[np.ix_(known, known)]
    joint = values @ np.linalg.solve(covariance, values) if len(values) else 0.0
    chance = chi2.sf(joint, max(len(values), 1))
    sigmas = float(norm.isf(chance / 2) if chance > _LEAST_CHANCE else np.sqrt(joint))
    return sigmas, np.abs(rows @ solution.values), np.sqrt(np.sum((rows @ solution.covariance) * rows, axis=1))


def conclude(
    what: str, sigmas: float, size: np.ndarray, error: np.ndarray, significance: float, largest: float,
    blocking: Sequence[str] = (), remark: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Compare differences across the field, with errors [mag], with the limits."""
    # ``largest`` is the error that decides on the table; ``blocking`` are reasons for which the value may be another.
    words = f"{what} {'differ' if what.endswith('s') else 'is off'} by up to {1e3 * size.max():.1f} mmag"
    verdict, words = NEEDED, f"{words} ({sigmas:.1f} sigma)"
    if sigmas < significance or size.max() <= SMALLEST_NEEDED:
        words += f", with errors of at most {1e3 * error.max():.1f} mmag"
        limit = (size + _CONFIDENCE * error).max()
        verdict = NOT_NEEDED if limit < LARGEST_NOT_NEEDED else NOT_DETERMINED
        limits = f"{1e3 * LARGEST_NOT_NEEDED:.0f} mmag at 95% confidence (up to {1e3 * limit:.1f} mmag)"
        words += f": not significant, and not below {limits}" if verdict == NOT_DETERMINED else ""
    if blocking:
        verdict, words = NOT_DETERMINED, "; ".join(blocking)
    words += f"; {remark}" if remark else ""
    if largest > LARGEST_ERROR:
        words += f"; its error of {1e3 * largest:.1f} mmag exceeds {1e3 * LARGEST_ERROR:.0f} mmag, so it is in no table"
    is_usable = not blocking and bool(largest <= LARGEST_ERROR)
    return {"verdict": verdict, "words": words, "significance": sigmas, "is_usable": is_usable}


def _measured(solution: Solution, array: str) -> dict[str, float]:
    """Find offset, slope and direction of the array, as fields of its result."""
    # A slope has components along V2 and V3 where its direction is fitted. Where it is not significant, its component
    # along the given direction is taken. Where the pointings do not determine the component along V3, that along V2 is
    # taken, where the modules lie.
    names, angle = solution.names, np.deg2rad(solution.model.direction)
    offset, offset_error = solution.value(f"offset[{array}]")
    found = {"offset": offset, "offset_error": offset_error}
    slopes = (f"{kind}[{array}]" for kind in ("slope", "slope_V2", "slope_V3"))
    mine = [names.index(name) for name in slopes if name in names]
    if not mine or not solution.fitted[mine[0]]:
        return found
    values, covariance = solution.values[mine], solution.covariance[np.ix_(mine, mine)]
    if len(mine) == 1:
        slope_error = float(np.sqrt(covariance[0, 0]))
        shared = solution.covariance[mine[0], names.index(f"offset[{array}]")]
        correlation = float(shared / (slope_error * offset_error))
        return found | {"slope": float(values[0]), "slope_error": slope_error, "correlation": correlation}
    along = np.array([np.sin(angle), np.cos(angle)])
    if not solution.fitted[mine[1]]:
        along, found["direction"] = np.array([1.0, 0.0]), 90.0
    elif values @ np.linalg.solve(covariance, values) >= chi2.isf(2 * norm.sf(_DIRECTION_SIGMAS), 2):
        size = np.hypot(*values)
        along, across = values / size, np.array([values[1], -values[0]]) / size
        found["direction"] = float(np.rad2deg(np.arctan2(*values)) % 360)
        found["direction_error"] = float(np.rad2deg(np.sqrt(across @ covariance @ across) / size))
    return found | {"slope": float(along @ values), "slope_error": float(np.sqrt(along @ covariance @ along))}


@dataclass(frozen=True, eq=False)
class Gauge:
    """Zero points of all detectors, each group with a gauge of its own."""

    codes: tuple[int, ...]  # numbers of the detectors
    weights: np.ndarray  # (n_detectors, n_terms), of the terms of the solution in each zero point
    determined: np.ndarray  # bool
    group: np.ndarray  # number of the group of each; 0 holds the baseline


def fix_gauge(solution: Forecast, baseline: str) -> Gauge:
    """Subtract the baseline: the mean of its detectors in the group, or one of them."""
    if baseline not in (*BASELINES, *DETECTORS_BY_CODE):
        known = ", ".join((*BASELINES, "or a detector such as NRCB1"))
        raise MeasurementsError(f"baseline must be one of {known}; got {baseline!r}")
    model, links = solution.model, solution.links
    codes, weights = np.array(model.detectors), model.zero_points()
    determined = find_determined(solution)
    kept = np.array([baseline in ("mean", MODULES[code % 2], DETECTORS_BY_CODE[code]) for code in codes])
    if baseline in DETECTORS_BY_CODE and not (kept & determined).any():
        raise NoSolutionError(f"baseline: {baseline} has no zero point here; name a detector that is linked to others")
    # The group of the baseline is the one with most of its detectors, and then with most sources.
    numbers = links.detector_group
    sources = np.diag(links.shared)
    rank = sorted(
        set(numbers.tolist()), key=lambda g: (-np.sum(kept & determined & (numbers == g)), -sources[numbers == g].sum())
    )
    for number in rank:
        mine = (numbers == number) & determined
        base = mine & kept if (mine & kept).any() else mine
        weights[numbers == number] -= weights[base].mean(axis=0) if base.any() else 0.0
    group = np.array([rank.index(number) for number in numbers])
    return Gauge(tuple(codes.tolist()), weights, determined, group)


def _judge_detector(solution: Solution, gauge: Gauge, place: int, significance: float) -> DetectorResult:
    model, code, group = solution.model, gauge.codes[place], int(gauge.group[place])
    known: dict[str, Any] = {"detector": DETECTORS_BY_CODE[code], "group": group}
    status = {s.term.codes: s for s in solution.status if s.term.kind in ("offset", "zero_point")}
    own = status.get((code,)) or next((s for codes, s in status.items() if code in codes), None)
    link = describe_link(solution.measurements, gauge, group) if group else ""
    if not gauge.determined[place]:
        is_alone = np.sum(gauge.group == group) == 1
        words = own.words if own is not None and not is_alone else ""
        words = "; ".join(filter(None, (words, link))) or "no source links it to another detector"
        return DetectorResult(verdict=NOT_DETERMINED, words=words, **known)
    weights, left = gauge.weights[place], solution.structure.get(code)
    error = float(np.sqrt(max(weights @ solution.covariance @ weights, 0.0)))
    known |= {"zero_point": float(weights @ solution.values), "zero_point_error": error}
    known |= {"missed": left and left.rms, "n_sources": own.effective_sources if own is not None else 0.0}
    rows, shapes = weights[None], np.ones((1, _GRID.shape[1]))
    if len(fields := np.flatnonzero(model.mask("field") & (model.code == code) & solution.fitted)):
        powers = tuple(model.terms[i].power or (0, 0) for i in fields)
        matrix = np.zeros(2 * (1 + model.order[fields].max(),))
        matrix[tuple(np.transpose(powers))] = solution.values[fields]
        known["field"] = Field.from_matrix(matrix)
        known["field_error"] = field_error(model, np.sqrt(np.diag(solution.covariance)), code)
        rows = np.vstack([rows, np.eye(len(model.terms))[fields]])
        shapes = np.vstack([shapes, legendre(*_GRID, powers)])
    elif error < _EXACT:
        verdict, words = (NOT_DETERMINED, link) if group else (NOT_NEEDED, "its flux scale is kept")
        return DetectorResult(verdict=verdict, words=words, is_usable=not group, **known)
    blocking = [*_find_blocking(solution, weights), *filter(None, [link])]
    found = conclude(
        "the detector", *weigh(solution, rows, shapes.T @ rows), significance,
        max(error, known.get("field_error", 0.0)), blocking, left.words if left is not None else "",
    )  # fmt: skip
    return DetectorResult(**found, **known)


def _find_blocking(solution: Solution | Forecast, weights: np.ndarray) -> list[str]:
    """Describe the fixed terms that a zero point or its baseline depends on."""
    parts = {solution.model.terms[i].name for i in np.flatnonzero(np.abs(weights) > _EXACT)}
    held = [s.words for s in solution.status if parts & set(s.partners)]
    if solution.choice.field_order and not solution.field_order:
        # Sources link detectors at their edges, where a field differs from its mean.
        order = solution.choice.field_order
        held.append(f"its value holds only if no detector has a field, and that of order {order} is not determined")
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
    for place, code in enumerate(gauge.codes):
        weights, determined, group = gauge.weights[place], gauge.determined[place], int(gauge.group[place])
        words = describe_link(measurements, gauge, group) if group else "" if determined else status.get((code,), "")
        if determined and (blocking := _find_blocking(forecast, weights)):
            determined, words = False, "; ".join([*blocking, *filter(None, [words])])
        found.append(DetectorForecast(
            detector=DETECTORS_BY_CODE[code], group=group, words=words,
            error=float(np.sqrt(max(weights @ covariance @ weights, 0.0))) if determined else None,
            field_error=field_error(model, np.sqrt(np.diag(covariance)), code) if code in fields else None,
        ))  # fmt: skip
    return tuple(found)


def describe_link(measurements: Measurements, gauge: Gauge, group: int) -> str:
    """Name a dither or roll that would link a group with that of the baseline."""
    places = np.stack([measurements.V2, measurements.V3], axis=1) - ORIGIN
    seen = (places[measurements.detector == code] for code in gauge.codes)
    # Corners (low, high) of the sources of each detector, and of each pair of one in the group and one outside.
    boxes = np.array([[place.min(axis=0), place.max(axis=0)] for place in seen])
    pairs = list(itertools.product(boxes[gauge.group == group], boxes[gauge.group == 0]))
    one, other = np.swapaxes(pairs, 0, 1)
    # The least shift that makes two of them overlap.
    gap = np.maximum(other[:, 0] - one[:, 1], one[:, 0] - other[:, 1]) + _OVERLAP
    shifts = np.where(gap > 0, gap * np.sign(other.mean(axis=1) - one.mean(axis=1)), 0.0)
    shift = shifts[np.argmin(np.hypot(*shifts.T))]
    roll = next((roll for roll in _ROLLS if any(_meets(*pair, roll) for pair in pairs)), None)
    turn = "" if roll is None else f" or an epoch turned by {roll:.0f} deg"
    names = [DETECTORS_BY_CODE[code] for code in np.array(gauge.codes)[gauge.group == group]]
    return (
        f"{', '.join(names)}: no source links {'it' if len(names) == 1 else 'them'} to the detectors of the baseline's"
        f" group; a dither by ({shift[0]:+z.0f}, {shift[1]:+z.0f}) arcsec in (V2, V3)"
        f"{turn} would"
    )


def _meets(one: np.ndarray, other: np.ndarray, roll: float) -> bool:
    """Test whether a detector, turned about the modules' midpoint, meets the other."""
    angle = np.deg2rad(roll)
    grid = np.stack(np.meshgrid(*np.linspace(*one, 15).T)).reshape(2, -1)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) @ grid
    inside = ((turned > other[0][:, None]) & (turned < other[1][:, None])).all(axis=0)
    return bool(inside.mean() > 0.05)
