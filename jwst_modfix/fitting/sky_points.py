"""Zero points of detectors from the sky levels of simultaneous exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.solution import Solution, fit
from jwst_modfix.fitting.verdict import conclude
from jwst_modfix.fitting.zero_points import DetectorResult, judge_detectors

SKY_FLOOR = 0.015
"""Error of each zero point from the sky [mag], beside the scatter: what sky and sources differ by on NIRCam."""

# A level is a mean over millions of pixels: few exposures give its scatter.
_MIN_EXPOSURES = 4


def sky_magnitudes(level: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute magnitudes of sky levels and their errors [mag]."""
    return -2.5 * np.log10(level), 2.5 / np.log(10) * error / level


def solve_sky(
    time: np.ndarray, array: np.ndarray, module: np.ndarray, level: np.ndarray, error: np.ndarray, band: tuple[str, str]
) -> Solution:
    """Solve -2.5 log10(level) = S(time) + z: the sky of one time acts as a source."""
    good = np.isfinite(level) & (level > 0) & (error > 0)
    (mag, mag_error), n = sky_magnitudes(level[good], error[good]), np.count_nonzero(good)
    m = Measurements(
        source=time[good], exposure=time[good], epoch=np.zeros(n, int), array=array[good], module=module[good],
        mag=mag, mag_error=mag_error, V2=np.zeros(n), V3=np.zeros(n), filter=band[0], pupil=band[1],
    )  # fmt: skip
    options = {"time_term": "zero", "exposure_terms": "zero", "fit_slope": "none"}  # a level has no place
    return fit(m, scale="detectors", min_sources=_MIN_EXPOSURES, **options)


def judge_sky(solution: Solution, significance: float, baseline: str) -> tuple[DetectorResult, ...]:
    """Give each detector its verdict, with the floor in its error."""
    found = []
    for result in judge_detectors(solution, significance, baseline):
        if result.zero_point is None or result.zero_point_error is None or result.group:
            words = "no exposure links its sky level to those of the baseline's detectors"
            found.append(replace(result, words=words, is_usable=False))
            continue
        error, size = float(np.hypot(result.zero_point_error, SKY_FLOOR)), np.array([abs(result.zero_point)])
        remark = f"from sky levels, with a floor of {1e3 * SKY_FLOOR:.0f} mmag"
        changed = conclude(
            "the detector", float(size[0] / error), size, np.array([error]), significance, 0.0, remark=remark
        )
        found.append(replace(result, **changed, zero_point_error=error))
    return tuple(found)
