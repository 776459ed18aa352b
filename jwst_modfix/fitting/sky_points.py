"""Zero points of detectors from the sky levels of exposures that were taken at the same time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.solution import Solution, fit
from jwst_modfix.fitting.verdict import compare
from jwst_modfix.fitting.zero_points import DetectorResult, judge_detectors

SKY_FLOOR = 0.015
"""Error of each zero point from the sky [mag], beside the scatter: what sky and sources differ by on NIRCam."""

# A level is a mean over millions of pixels: few exposures give its scatter.
_MIN_EXPOSURES = 4


def solve_sky(
    time: np.ndarray, array: np.ndarray, module: np.ndarray, level: np.ndarray, error: np.ndarray, band: tuple[str, str]
) -> Solution:
    """Solve -2.5 log10(level) = S(time) + z: the sky of one time takes the place of a source."""
    good = np.isfinite(level) & (level > 0) & (error > 0)
    level, error, n = level[good], error[good], np.count_nonzero(good)
    m = Measurements(
        source=time[good], exposure=time[good], epoch=np.zeros(n, int), array=array[good], module=module[good],
        mag=-2.5 * np.log10(level), mag_error=2.5 / np.log(10) * error / level, V2=np.zeros(n), V3=np.zeros(n),
        filter=band[0], pupil=band[1],
    )  # fmt: skip
    return fit(m, scale="detectors", time_term="zero", exposure_terms="zero", min_sources=_MIN_EXPOSURES)


def judge_sky(solution: Solution, significance: float, baseline: str) -> tuple[DetectorResult, ...]:
    """Give each detector its verdict, with the floor in its error."""
    found = []
    for result in judge_detectors(solution, significance, baseline):
        if result.zero_point is None or result.zero_point_error is None or result.group:
            words = "no exposure links its sky level to those of the baseline's detectors"
            found.append(replace(result, words=words, is_usable=False))
            continue
        error = float(np.hypot(result.zero_point_error, SKY_FLOOR))
        size = np.array([abs(result.zero_point)])
        verdict, words = compare("the detector", size[0] / error, size, np.array([error]), significance)
        words += f"; from sky levels, with a floor of {1e3 * SKY_FLOOR:.0f} mmag"
        changed = {"zero_point_error": error, "verdict": verdict, "words": words, "significance": size[0] / error}
        found.append(replace(result, **changed, is_usable=True))
    return tuple(found)
