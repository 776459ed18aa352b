"""Levels of the sky: zero points of detectors from them, and a check of offsets."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm

from jwst_modfix.errors import SkyDisagreementWarning
from jwst_modfix.fitting.linear import Design, LinearSystem
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.robust import HuberProblem, robust_width, solve_huber, start_huber, student_factor
from jwst_modfix.fitting.solution import Solution, fit
from jwst_modfix.fitting.verdict import DetectorResult, conclude, judge
from jwst_modfix.table.table import ARRAYS, MODULES

SKY_FLOOR = 0.015
"""Error of a zero point from the sky [mag] in addition to its scatter: how sky and sources differ on NIRCam, rms."""

# A level is a mean over millions of pixels: few exposures give its scatter.
_MIN_EXPOSURES = 4
_DISAGREEMENT = 3.0  # sigmas between the sky and the sources, or between two epochs
# Stray light moves the ratio of the modules' sky levels by some 0.3%, about the same in each epoch of a field: the
# level is a check of blunders, and its change one of detectors [mag].
_LEAST_LEVEL, _LEAST_CHANGE = 0.010, 0.005


def _measured(time, array, module, level, error):
    """Convert the sky levels that are known, and errors, to magnitudes."""
    good = np.isfinite(level) & np.isfinite(error) & (level > 0) & (error > 0)
    level, error = level[good], error[good]
    return time[good], array[good], module[good], -2.5 * np.log10(level), 2.5 / np.log(10) * error / level


def solve_sky(
    time: np.ndarray, array: np.ndarray, module: np.ndarray, level: np.ndarray, error: np.ndarray, band: tuple[str, str]
) -> Solution:
    """Solve -2.5 log10(level) = S(time) + z: the sky of one time acts as a source."""
    time, array, module, mag, mag_error = _measured(time, array, module, level, error)
    zeros = np.zeros(len(time))
    m = Measurements(
        source=time, exposure=time, epoch=zeros.astype(int), array=array, module=module, mag=mag, mag_error=mag_error,
        V2=zeros, V3=zeros, filter=band[0], pupil=band[1],
    )  # fmt: skip
    options = {"time_term": "zero", "exposure_terms": "zero", "fit_slope": "none"}  # a level has no place
    # The number is that of equal weights, which is a little less where errors differ.
    return fit(m, scale="detectors", min_sources=_MIN_EXPOSURES - 0.9, **options)


def judge_sky(solution: Solution, significance: float, baseline: str) -> tuple[DetectorResult, ...]:
    """Give each detector its verdict, with the floor in its error."""
    found = []
    for result in judge(solution, significance, baseline):
        if result.zero_point is None or result.zero_point_error is None or result.group:
            words = f"fewer than {_MIN_EXPOSURES} exposures link its sky level to those of the baseline's detectors"
            found.append(replace(result, words=words, is_usable=False))
            continue
        error, size = float(np.hypot(result.zero_point_error, SKY_FLOOR)), np.array([abs(result.zero_point)])
        remark = f"from sky levels, with a floor of {1e3 * SKY_FLOOR:.0f} mmag"
        changed = conclude(
            "the detector", float(size[0] / error), size, np.array([error]), significance, 0.0, remark=remark
        )
        found.append(replace(result, **changed, zero_point_error=error))
    return tuple(found)


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
    """Compare the modules' sky levels by exposure: offset and error by array."""
    # Delta_AB = -2.5 log10(sky_A / sky_B). The error is from the scatter between exposures, or from the levels' own
    # errors where those are larger, with Student's factor for few exposures [mag].
    # The sky is assumed to be equally bright over both modules, so that stray light, scattered light and gradients of
    # the background enter in full: a check, not a measurement to correct by.
    time, array, module, mag, mag_error = _measured(time, array, module, level, error)
    found = {}
    for name in ARRAYS:
        a, b = (np.flatnonzero((array == name) & (module == side)) for side in MODULES)
        _, first, second = np.intersect1d(time[a], time[b], return_indices=True)
        a, b = a[first], b[second]
        if not len(a):
            continue
        # The Huber mean, scaled by the larger of scatter and errors.
        values, errors, used = mag[a] - mag[b], np.hypot(mag_error[a], mag_error[b]), np.ones(len(a), bool)
        problem = HuberProblem(
            system=LinearSystem(Design.of_columns(np.ones((1, len(a)))), np.arange(len(a)), eliminate=False),
            free=np.ones(1, bool), y=values, error=np.maximum(errors, robust_width(values)),
            find_scale=lambda *_: (0.0, 1.0),
        )  # fmt: skip
        mean = solve_huber(problem, used, start_huber(problem, used, [np.median(values)]))
        found[name] = float(mean.values[0]), float(student_factor(len(a)) / np.sqrt(np.sum(mean.weight)))
    return found


def compare_sky(offsets, results, by_epoch):
    """Compare the sky's offsets with those of sources, and between epochs."""
    # ``by_epoch``: for each epoch, what `sky_offsets` finds in it. A warning where the level is off by more than 1% and
    # 3 sigma, or changes between two epochs by more than 0.5% and 3 sigma (corrected for the number of pairs).
    found = []
    for result in results:
        if result.array not in offsets or result.offset is None:
            continue
        (value, error), sources, sources_error = offsets[result.array], result.offset, result.offset_error
        sigmas = float((value - sources) / np.hypot(error, sources_error))
        mine = {epoch: own[result.array] for epoch, own in sorted(by_epoch.items()) if result.array in own}
        changes = [
            ((first, second), after - before, float(np.hypot(error_before, error_after)))
            for (first, (before, error_before)), (second, (after, error_after)) in itertools.combinations(
                mine.items(), 2
            )
        ]
        change = max(changes, key=lambda change: abs(change[1]) / change[2], default=(None, 0.0, 0.0))
        found.append(SkyComparison(result.array, value, error, sources, sources_error, sigmas, *change))
        if found[-1].disagrees:
            message = (
                f"array {result.array}: offset from the sky {1e3 * value:.1f} ± {1e3 * error:.1f} mmag,"
                f" from sources {1e3 * sources:.1f} ± {1e3 * sources_error:.1f} mmag:"
                f" {abs(sigmas):.1f} sigma; find the reason before you use the offset"
            )
            warnings.warn(message, SkyDisagreementWarning, stacklevel=2)
        limit = norm.isf(norm.sf(_DISAGREEMENT) / max(len(changes), 1))
        epochs, by, by_error = change
        if epochs is not None and abs(by) >= max(limit * by_error, _LEAST_CHANGE):
            message = (
                f"array {result.array}: sky of module A over that of B changes by {1e3 * by:+z.1f} ±"
                f" {1e3 * by_error:.1f} mmag from epoch {epochs[0]} to epoch {epochs[1]};"
                " a detector may have changed: compare fits without one of them"
            )
            warnings.warn(message, SkyDisagreementWarning, stacklevel=2)
    return tuple(found)
