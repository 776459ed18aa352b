"""From a solution to rows of the coefficient table, with a verdict for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.stats import chi2, norm

from jwst_modfix.table.table import OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.text import format_measured

if TYPE_CHECKING:
    from jwst_modfix.fitting.solution import Solution

NEEDED, NOT_NEEDED, NOT_DETERMINED = "needed", "not needed", "not determined"
# Offsets below this size are below the repeatability of NIRCam's photometry: correcting them gains nothing.
TOLERANCE = 0.001
# "Not needed" asks for a difference that is below this at 95% confidence, all over the field.
LARGEST_DIFFERENCE = 0.003
_CONFIDENCE = float(norm.isf(0.05))
# A value with a larger error is not useful, and is not written to a table.
LARGEST_ERROR = 0.003
_EXACT = 1e-9  # mag
# Below, a probability is too small for a number; the root of chi-square is then the same in sigmas.
_LEAST_CHANCE = 1e-290
# Distance of the modules' near edge, middle and far edge from the origin along V2 [arcmin].
_ACROSS = np.array([0.3, 1.45, 2.6])
# A direction is fitted where the slope is this many sigmas from zero: else its length is biased upward and its
# direction is noise.
_DIRECTION_SIGMAS = 3.0


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
    columns: ClassVar[tuple[str, ...]]  # of the row; the first three are the name, the value and its error

    @property
    def name(self) -> str:
        """Array ID or name of the detector."""
        return str(getattr(self, self.columns[0]))

    @property
    def title(self) -> str:
        """The array or detector in words."""
        return f"array {self.name}" if self.columns[0] == "array" else self.name

    @property
    def value(self) -> tuple[float | None, float | None]:
        """Value in the table, and its error [mag]."""
        return getattr(self, self.columns[1]), getattr(self, self.columns[2])

    @property
    def second(self) -> tuple[float | None, float | None]:
        """Slope [mag/arcmin] or rms of a field [mag], and its error."""
        raise NotImplementedError

    def cells(self) -> list[str]:
        """List the name, both values [mmag], effective sources, verdict and reason."""
        numbers = [format_measured(*number, "") for number in (self.value, self.second)]
        return [self.name, *numbers, f"{self.n_sources:.0f}", self.verdict, self.words]


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

    @property
    def second(self) -> tuple[float | None, float | None]:
        """Slope k and its error [mag/arcmin]."""
        return self.slope, self.slope_error


def judge_arrays(solution: Solution, significance: float = 3.0) -> tuple[ArrayResult, ...]:
    """Give each array ID its verdict."""
    # Offset and slope are tested together, as they are correlated. The verdict is `needed` where their joint chi-square
    # reaches `significance` and the difference between the modules exceeds `TOLERANCE` somewhere. It is `not needed`
    # where it does not, and the difference is below `LARGEST_DIFFERENCE` at 95% confidence all over the field (a test
    # of equivalence: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657). Otherwise it is `not determined`. So is an
    # offset that is valid only if an inseparable term is 0, and one whose requested slope is not determined: it is
    # valid only midway between the modules.
    arrays = [term.array for term in solution.model.terms if term.kind == "offset"]
    return tuple(_judge(solution, array, significance) for array in arrays)


def table_of_results(
    results: Sequence[Result], filter: str, pupil: str, baseline: str = "B", name: str = "solution", **meta: Any
) -> OffsetTable:
    """Make a table of the results that are usable, as measured, whatever the verdict."""
    # Detectors in the table are of group 0; the number is given if there are several.
    group = {"group": 0} if len({getattr(result, "group", 0) for result in results}) > 1 else {}
    rows = [
        result.row(
            filter=filter, pupil=pupil, **group, **{column: getattr(result, column) for column in result.columns}
        )
        for result in results
        if result.is_usable
    ]
    known = {field: meta.pop(field) for field in ("valid_for", "gradient") if field in meta}
    return OffsetTable(rows=tuple(rows), baseline=baseline, name=name, meta=meta, **known)


def _judge(solution, array, significance):
    (own,) = (status for status in solution.status if status.term.name == f"offset[{array}]")
    if not own.is_fitted:
        return ArrayResult(array=array, verdict=NOT_DETERMINED, words=own.words, n_sources=own.effective_sources)
    # Places in module A and B, mirrored about the origin along V2, where the modules lie.
    V2, V3 = solution.model.origin
    found = [solution.difference(array, (V2 + 60 * d, V3), (V2 - 60 * d, V3)) for d in _ACROSS]
    size, error = np.abs([value for value, _ in found]), np.array([error for _, error in found])
    # A term that this one is not separable from, or a slope that was asked for and may be part of the offset.
    blocking = [
        s.words
        for s in solution.status
        if own.term.name in s.partners
        or (s.term.array == array and s.term.kind in ("slope", "slope_V2") and not s.is_fitted)
    ]
    terms = solution.model.terms
    mine = [i for i in np.flatnonzero(solution.fitted)
            if terms[i].array == array and (terms[i].kind == "offset" or terms[i].is_slope)]  # fmt: skip
    sigmas = joint_sigmas(solution.values[mine], solution.covariance[np.ix_(mine, mine)])
    found = conclude("the modules", sigmas, size, error, significance, error.max(), blocking)
    return ArrayResult(array=array, n_sources=own.effective_sources, **found, **_measured(solution, array))


def joint_sigmas(values, covariance):
    """Compute the significance of several values together, as Gaussian sigmas."""
    # A value without an error is 0 by definition: the zero point of the detector that is kept.
    known = np.diag(covariance) > _EXACT**2
    values, covariance = values[known], covariance[np.ix_(known, known)]
    joint = values @ np.linalg.solve(covariance, values) if len(values) else 0.0
    chance = chi2.sf(joint, max(len(values), 1))
    return float(norm.isf(chance / 2) if chance > _LEAST_CHANCE else np.sqrt(joint))


def conclude(
    what: str, sigmas: float, size: np.ndarray, error: np.ndarray, significance: float, largest: float,
    blocking: Sequence[str] = (), remark: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Compare differences across the field, with errors [mag], with the limits."""
    # ``largest`` is the error that decides on the table; ``blocking`` are reasons for which the value may be another.
    words = f"{what} {'differ' if what.endswith('s') else 'is off'} by up to {1e3 * size.max():.1f} mmag"
    verdict, words = NEEDED, f"{words} ({sigmas:.1f} sigma)"
    if sigmas < significance or size.max() <= TOLERANCE:
        words += f", with errors of at most {1e3 * error.max():.1f} mmag"
        limit = (size + _CONFIDENCE * error).max()
        verdict = NOT_NEEDED if limit < LARGEST_DIFFERENCE else NOT_DETERMINED
        limits = f"{1e3 * LARGEST_DIFFERENCE:.0f} mmag at 95% confidence (up to {1e3 * limit:.1f} mmag)"
        words += f": not significant, and not below {limits}" if verdict == NOT_DETERMINED else ""
    if blocking:
        verdict, words = NOT_DETERMINED, "; ".join(blocking)
    words += f"; {remark}" if remark else ""
    if largest > LARGEST_ERROR:
        words += f"; its error of {1e3 * largest:.1f} mmag exceeds {1e3 * LARGEST_ERROR:.0f} mmag, so it is in no table"
    is_usable = not blocking and bool(largest <= LARGEST_ERROR)
    return {"verdict": verdict, "words": words, "significance": sigmas, "is_usable": is_usable}


def _measured(solution, array):
    """List offset, slope and direction of the array, as fields of its result."""
    offset, offset_error = solution.value(f"offset[{array}]")
    found = {"offset": offset, "offset_error": offset_error}
    if f"slope_V2[{array}]" in solution.names:
        return found | _fitted_direction(solution, array)
    name = f"slope[{array}]"
    if name in solution.names and np.isfinite(solution.value(name)[0]):
        slope, slope_error = solution.value(name)
        shared = solution.covariance[solution.names.index(name), solution.names.index(f"offset[{array}]")]
        found |= {"slope": slope, "slope_error": slope_error}
        found["correlation"] = float(shared / (slope_error * offset_error))
    return found


def _fitted_direction(solution, array):
    """Find slope and direction from the components along V2 and V3."""
    # Where the slope is not significant, its component along the given direction is taken. Where the pointings do not
    # determine the component along V3, that along V2 is taken, where the modules lie.
    names = [f"slope_V2[{array}]", f"slope_V3[{array}]"]
    mine = [solution.names.index(name) for name in names]
    if not solution.fitted[mine[0]]:
        return {}
    if not solution.fitted[mine[1]]:
        slope, slope_error = solution.value(names[0])
        return {"slope": slope, "slope_error": slope_error, "direction": 90.0}
    values, covariance = solution.values[mine], solution.covariance[np.ix_(mine, mine)]
    angle = np.deg2rad(solution.model.direction)
    along = np.array([np.sin(angle), np.cos(angle)])
    if values @ np.linalg.solve(covariance, values) < chi2.isf(2 * norm.sf(_DIRECTION_SIGMAS), 2):
        return {"slope": float(along @ values), "slope_error": float(np.sqrt(along @ covariance @ along))}
    slope = float(np.hypot(*values))
    along, across = values / slope, np.array([values[1], -values[0]]) / slope
    return {
        "slope": slope,
        "slope_error": float(np.sqrt(along @ covariance @ along)),
        "direction": float(np.rad2deg(np.arctan2(*values)) % 360),
        "direction_error": float(np.rad2deg(np.sqrt(across @ covariance @ across) / slope)),
    }
