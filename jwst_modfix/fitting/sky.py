"""An independent check of the offsets: sky levels of the two modules in exposures taken at the same time."""

import warnings
from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import MeasurementsError, NoSolutionError, SkyDisagreementWarning
from jwst_modfix.fitting.robust import MAD_TO_SIGMA, huber_weight, student_factor
from jwst_modfix.table.table import ARRAYS

__all__ = ["SkyComparison", "SkyOffset", "compare_sky", "sky_offsets"]


_MAX_ITERATIONS = 50
_DISAGREEMENT = 3.0


@dataclass(frozen=True, kw_only=True)
class SkyOffset:
    """
    Offset of one array ID from sky levels.

    Parameters
    ----------
    array : str
        Array ID.
    offset, offset_error : float
        Delta_AB = -2.5 log10(sky_A / sky_B) [mag]; the error is from the scatter between exposures, or from the levels'
        own errors where those are larger, with Student's factor for few exposures.
    n_exposures : int
        Number of exposures in which both modules were measured.
    """

    array: str
    offset: float
    offset_error: float
    n_exposures: int


@dataclass(frozen=True, kw_only=True)
class SkyComparison:
    """
    The sky's offset beside that of the sources.

    Parameters
    ----------
    array : str
        Array ID.
    sky, sky_error, sources, sources_error : float
        Both offsets and their errors [mag].
    sigmas : float
        Their difference over the errors in quadrature.
    """

    array: str
    sky: float
    sky_error: float
    sources: float
    sources_error: float
    sigmas: float


def sky_offsets(time, array, module, level, error):
    """Compare the modules' sky levels exposure by exposure.

    The sky is taken to be equally bright over both modules, so that stray light, scattered light and gradients of the
    background enter in full: a check, not a measurement to correct by.
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
    """Set the sky's offsets beside those of the sources."""
    found = []
    for result in results:
        sky = offsets.get(result.array)
        if sky is None or result.offset is None:
            continue
        total = np.hypot(sky.offset_error, result.offset_error)
        sigmas = float((sky.offset - result.offset) / total)
        found.append(
            SkyComparison(
                array=result.array, sky=sky.offset, sky_error=sky.offset_error,
                sources=result.offset, sources_error=result.offset_error, sigmas=sigmas,
            )
        )  # fmt: skip
        if abs(sigmas) >= _DISAGREEMENT:
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
    scatter = MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))
    sigma = np.maximum(errors, scatter)
    mean = np.median(values)
    for _ in range(_MAX_ITERATIONS):
        weight = huber_weight((values - mean) / sigma) / sigma**2
        before, mean = mean, np.sum(weight * values) / np.sum(weight)
        if abs(mean - before) < 1e-10:
            break
    return float(mean), float(student_factor(len(values)) / np.sqrt(np.sum(weight)))


def _disagreement(found):
    sky = f"{found.sky * 1e3:.1f} +- {found.sky_error * 1e3:.1f} mmag"
    sources = f"{found.sources * 1e3:.1f} +- {found.sources_error * 1e3:.1f} mmag"
    what = f"array {found.array}: the sky says {sky}, the sources {sources}: {abs(found.sigmas):.1f} sigma"
    return f"{what}; find out why before you use the offset"
