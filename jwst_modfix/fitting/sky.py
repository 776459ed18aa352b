"""A check of the offsets: sky levels of the two modules in exposures taken at the same time."""

import warnings
from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import MeasurementsError, NoSolutionError, SkyDisagreementWarning
from jwst_modfix.fitting.least_squares import (
    MAD_TO_SIGMA,
    HuberProblem,
    LinearSystem,
    make_design,
    solve_huber,
    start_huber,
    student_factor,
)
from jwst_modfix.table.table import ARRAYS

__all__ = ["SkyComparison", "SkyOffset", "compare_sky", "sky_offsets"]


_DISAGREEMENT = 3.0  # sigmas


@dataclass(frozen=True, kw_only=True)
class SkyOffset:
    """Offset of one array ID from sky levels."""

    array: str
    offset: float  # Delta_AB = -2.5 log10(sky_A / sky_B), mag
    # From the scatter between exposures, or from the levels' own errors where those are larger, with Student's factor
    # for few exposures [mag].
    offset_error: float
    n_exposures: int  # in which both modules were measured


@dataclass(frozen=True, kw_only=True)
class SkyComparison:
    """Offset from the sky, and the same from sources, with their errors [mag]."""

    array: str
    sky: float
    sky_error: float
    sources: float
    sources_error: float
    sigmas: float  # sky minus sources, over the errors in quadrature


def sky_offsets(time, array, module, level, error):
    """Compare the modules' sky levels exposure by exposure.

    The sky is assumed to be equally bright over both modules, so that stray light, scattered light and gradients of
    the background enter in full: a check, not a measurement to correct by.
    """
    time, array, module = (np.asarray(column) for column in (time, array, module))
    level, error = np.asarray(level, dtype=float), np.asarray(error, dtype=float)
    _check(time, array, module, level, error)
    found = {}
    for name in ARRAYS:
        ratio, ratio_error = _ratios(time, level, error, array == name, module)
        if len(ratio):
            value, value_error = _robust_mean(ratio, ratio_error)
            found[name] = SkyOffset(array=name, offset=value, offset_error=value_error, n_exposures=len(ratio))
    if not found:
        raise NoSolutionError("sky levels: no array has levels of both modules at one time")
    return found


def compare_sky(offsets, results):
    """Compare the sky's offsets with those of the sources."""
    found = []
    for result in results:
        sky = offsets.get(result.array)
        if sky is None or result.offset is None:
            continue
        total = np.hypot(sky.offset_error, result.offset_error)
        found.append(
            SkyComparison(
                array=result.array, sky=sky.offset, sky_error=sky.offset_error, sources=result.offset,
                sources_error=result.offset_error, sigmas=float((sky.offset - result.offset) / total),
            )
        )  # fmt: skip
        if abs(found[-1].sigmas) >= _DISAGREEMENT:
            warnings.warn(_disagreement(found[-1]), SkyDisagreementWarning, stacklevel=2)
    return tuple(found)


def _check(time, array, module, level, error):
    lengths = {len(column) for column in (time, array, module, level, error)}
    if len(lengths) > 1:
        raise MeasurementsError(f"sky levels: columns must have one length; got {sorted(lengths)}")
    for name, column in (("level", level), ("error", error)):
        bad = np.flatnonzero(~(np.isfinite(column) & (column > 0)))
        if len(bad):
            raise MeasurementsError(
                f"sky levels: {name} must be positive and finite; row {bad[0]} has {column[bad[0]]:g}"
            )


def _ratios(time, level, error, mine, module):
    """-2.5 log10(sky_A / sky_B) and its error for each time that has both."""
    side = [np.flatnonzero(mine & (module == name)) for name in ("A", "B")]
    _, a, b = np.intersect1d(time[side[0]], time[side[1]], return_indices=True)
    a, b = side[0][a], side[1][b]
    relative = np.hypot(error[a] / level[a], error[b] / level[b])
    return -2.5 * np.log10(level[a] / level[b]), 2.5 / np.log(10) * relative


def _robust_mean(values, errors):
    """Huber mean in units of the scatter or the errors, whichever is larger, and its standard error."""
    n, median = len(values), np.median(values)
    scatter = MAD_TO_SIGMA * np.median(np.abs(values - median))
    problem = HuberProblem(
        system=LinearSystem(make_design(np.zeros((n, 1)), np.ones((n, 1)), 1), np.arange(n), eliminate=False),
        free=np.ones(1, bool), y=values, error=np.maximum(errors, scatter), find_scale=lambda *_: (0.0, 1.0),
    )  # fmt: skip
    used = np.ones(n, bool)
    fit = solve_huber(problem, used, start_huber(problem, used, [median]))
    return float(fit.values[0]), float(student_factor(n) / np.sqrt(np.sum(fit.weight)))


def _disagreement(found):
    sky, sources = (
        f"{1e3 * value:.1f} ± {1e3 * error:.1f} mmag"
        for value, error in ((found.sky, found.sky_error), (found.sources, found.sources_error))
    )
    return (
        f"array {found.array}: offset from the sky {sky}, from sources {sources}: {abs(found.sigmas):.1f} sigma;"
        " find the reason before you use the offset"
    )
