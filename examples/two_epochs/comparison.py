"""A - B of one array ID: the same sources in module A at one epoch, and in module B at another."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table, vstack
from photometry import find_sources, measure_fluxes
from stdatamodels.jwst import datamodels

__all__ = ["Estimate", "ModuleComparison", "compare_modules", "fit_comparison"]

_BRIGHT = 50.0  # least signal to noise, in both epochs
_FLOOR = 0.003  # mag: flat fields, filled pixels, distortion of the apertures
_CLIP = 4.0  # sigma: variable stars, and neighbours on the edge of an array


@dataclass(frozen=True)
class Estimate:
    """
    A number and its standard error.

    Parameters
    ----------
    value, error : float
        The two.
    """

    value: float
    error: float

    @property
    def sigmas(self):
        """How many standard errors it is from zero."""
        return self.value / self.error


@dataclass(frozen=True, kw_only=True, eq=False)
class ModuleComparison:
    """
    The two modules compared, in one array ID and filter.

    Parameters
    ----------
    offset : Estimate
        Delta_AB [mag].
    slope : Estimate or None
        k [mag/arcmin], where it is fitted.
    time : Estimate
        Second epoch minus first [mag].
    sources : astropy.table.Table
        ``difference`` = m_A - m_B, its ``error`` [mag], ``distance`` along +V2 from module B to module A [arcmin],
        ``later`` (+1 where A is of the second epoch, else -1) and ``used``.
    """

    offset: Estimate
    slope: Estimate | None
    time: Estimate
    sources: Table


def compare_modules(exposures):
    """
    Measure the same sources in both modules.

    Parameters
    ----------
    exposures : dict
        Files of one array ID and filter by ``(epoch, module)``, epochs 1 and 2, whose modules swap places.

    Returns
    -------
    astropy.table.Table
        The sources, as in `ModuleComparison`.
    """
    patches = [_compare(exposures[1, "B"], exposures[2, "A"], +1), _compare(exposures[2, "B"], exposures[1, "A"], -1)]
    return vstack(patches)


def fit_comparison(sources, *, with_slope):
    """
    Fit m_A - m_B = Delta_AB + k (u_A - u_B) / 2 ± Delta_time (Eq. 5 to 10 of Ma et al. 2023).

    Offset and slope are fitted together: a median across a gradient is not an offset.

    Parameters
    ----------
    sources : astropy.table.Table
        As from `compare_modules`.
    with_slope : bool
        Whether to fit the gradient.

    Returns
    -------
    ModuleComparison
        The fit.
    """
    columns = [np.ones(len(sources)), sources["later"], sources["distance"] / 2]
    design = np.stack(columns if with_slope else columns[:2], axis=1)
    used = np.isfinite(sources["difference"])
    for _ in range(10):
        values, errors = _solve(design[used], sources[used])
        pull = (sources["difference"] - design @ values) / np.hypot(sources["error"], _FLOOR)
        spread = 1.4826 * np.median(np.abs(pull[used]))
        used = np.abs(pull) < _CLIP * spread
    sources["used"] = used
    offset, time, *slope = (Estimate(*pair) for pair in zip(values, errors, strict=True))
    return ModuleComparison(offset=offset, slope=slope[0] if slope else None, time=time, sources=sources)


def _solve(design, sources):
    """Weighted least squares; errors are scaled by the scatter that is seen."""
    weight = 1 / np.hypot(sources["error"], _FLOOR)
    covariance = np.linalg.inv((design.T * weight**2) @ design)
    values = covariance @ ((design.T * weight**2) @ sources["difference"])
    residual = (sources["difference"] - design @ values) * weight
    reduced = np.sum(residual**2) / (len(residual) - len(values))
    return values, np.sqrt(np.diag(covariance) * reduced)


def _compare(path_b, path_a, later):
    with datamodels.open(path_a) as model_a, datamodels.open(path_b) as model_b:
        ra, dec = find_sources(model_a)
        a, b = measure_fluxes(model_a, ra, dec), measure_fluxes(model_b, ra, dec)
    with np.errstate(invalid="ignore"):
        bright = (a["flux"] > _BRIGHT * a["error"]) & (b["flux"] > _BRIGHT * b["error"])
    a, b = a[bright], b[bright]
    return Table(
        {
            "difference": -2.5 * np.log10(a["flux"] / b["flux"]),
            "error": 1.0857 * np.hypot(a["error"] / a["flux"], b["error"] / b["flux"]),
            "distance": (a["v2"] - b["v2"]) / 60,
            "later": np.full(len(a), later),
            "ra": ra[bright],
            "dec": dec[bright],
        }
    )
