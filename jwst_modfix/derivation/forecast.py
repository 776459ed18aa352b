"""Forecast of a derivation, for sources spread evenly over its exposures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats.qmc import Halton

from jwst_modfix.derivation.bands import number_times
from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.robust import HUBER_EFFICIENCY
from jwst_modfix.fitting.separability import Forecast, forecast_terms
from jwst_modfix.fitting.stability import Drift, forecast_drifts
from jwst_modfix.fitting.verdict import DetectorForecast, forecast_detectors
from jwst_modfix.photometry.frames import offsets_on_sky

EDGE = 8.0  # pixels: sources nearer to an edge are not measured
_ARCMIN2 = 3600.0  # arcsec^2


@dataclass(frozen=True, eq=False)
class Pointing:
    """Where one exposure of one detector looks."""

    filter: str
    pupil: str
    array: str
    module: str
    epoch: int
    centre: tuple[float, float]  # RA, Dec [deg]
    radius: float  # arcsec, within which all is that it sees
    # From RA, Dec [deg] to a mask of those on the detector, and their V2, V3 [arcsec] and full-frame pixels x, y.
    locate: Callable
    time: int = 0  # number of the exposure, which all detectors that are exposed together share


@dataclass(frozen=True, eq=False)
class BandPlan:
    """The forecast of one filter and pupil."""

    filter: str
    pupil: str
    exposures: int
    sources: int
    measurements: int
    forecast: Forecast | None = None
    detectors: tuple[DetectorForecast, ...] = ()
    drifts: tuple[Drift, ...] = ()
    failure: str = ""  # why there is none

    def largest_error(self) -> float:
        """Find the largest error of an offset or zero point [mag]; inf if undetermined."""
        if self.forecast is None:
            return float("inf")
        if self.forecast.model.scale == "detectors":
            errors = [one.error if one.group == 0 else None for one in self.detectors]
        else:
            mine = [status for status in self.forecast.status if status.term.kind == "offset"]
            errors = [status.expected_error if status.is_fitted else None for status in mine]
        return max(float("inf") if error is None else error for error in errors)


# Rolls of a set that `reach_error` tries, and exposures of each.
_ROLLS = ((0.0,), (0.0, 90.0), (0.0, 150.0), (0.0, 180.0), (0.0, 60.0, 120.0), (0.0, 90.0, 180.0), (0.0, 180.0, 0.0))
_DITHERS = (1, 2, 3, 4, 6, 9, 12)
_SHOWN = 5  # sets


def reach_error(lay_out, seed, error, rolls=None, **options):
    """Find the cheapest rolls and dithers for a largest error of offsets [mag]."""
    # ``lay_out`` makes pointings of rolls and a number of dithers. Yields rolls, dithers and the plan of each filter.
    sets = [(len(turns) * dithers, turns, dithers) for turns in ([rolls] if rolls else _ROLLS) for dithers in _DITHERS]
    found = 0
    for _, turns, dithers in sorted(sets):
        plans = plan_bands(lay_out(turns, dithers), np.random.default_rng(seed), **options)
        if all(plan.largest_error() <= error for plan in plans):
            yield turns, dithers, plans
            found += 1
        if found == _SHOWN:
            return


def plan_bands(pointings, rng, *, density=20.0, scatter=0.003, choice=None, reserve_share=0.2, baseline="B"):
    """Forecast what a derivation from exposures would give in each filter and pupil."""
    ra, dec = draw_places(pointings, rng, density * (1 - reserve_share), even=True)
    scatter /= np.sqrt(HUBER_EFFICIENCY)
    plans = []
    for band in sorted({(pointing.filter, pointing.pupil) for pointing in pointings}):
        mine = [pointing for pointing in pointings if (pointing.filter, pointing.pupil) == band]
        measurements = plan_measurements(mine, ra, dec, scatter)
        counts = (len(mine), len(np.unique(measurements.source)), len(measurements))
        try:
            forecast = forecast_terms(measurements, choice)
            detectors = forecast_detectors(forecast, measurements, baseline)
        except NoSolutionError as error:
            plans.append(BandPlan(*band, *counts, failure=str(error)))
            continue
        drifts = forecast_drifts(forecast, measurements)
        plans.append(BandPlan(*band, *counts, forecast, detectors, drifts))
    return plans


def plan_measurements(pointings, ra, dec, scatter):
    """List which sources the exposures of one filter and pupil see, and where."""
    seen = [pointing.locate(ra, dec) for pointing in pointings]
    source = [np.flatnonzero(inside) for inside, *_ in seen]
    places = dict(
        zip(("V2", "V3", "x", "y"), (np.concatenate(part) for part in list(zip(*seen, strict=True))[1:]), strict=True)
    )
    counts = [len(found) for found in source]
    columns = {name: np.repeat([getattr(pointing, name) for pointing in pointings], counts)
               for name in ("epoch", "array", "module", "time")}  # fmt: skip
    return Measurements(
        source=np.concatenate(source), exposure=np.repeat(np.arange(len(pointings)), counts), **columns,
        mag=np.full(sum(counts), 20.0), mag_error=np.full(sum(counts), float(scatter)),
        **places, filter=pointings[0].filter, pupil=pointings[0].pupil,
    )  # fmt: skip


def pointings_of_exposures(headers, geometries, epochs):
    """Take pointings from the headers and the WCS of exposures."""
    times = number_times(np.array([header.mjd for header in headers])).tolist()
    return [_pointing(*one) for one in zip(headers, geometries, map(int, epochs), times, strict=True)]


def _pointing(header, geometry, epoch, time):
    ny, nx = geometry.shape
    centre = tuple(float(value) for value in geometry.to_sky((nx - 1) / 2, (ny - 1) / 2))
    corners = geometry.to_sky(np.array([0, nx - 1, 0, nx - 1]), np.array([0, 0, ny - 1, ny - 1]))
    radius = float(np.hypot(*offsets_on_sky(*centre, *corners)).max())

    def locate(ra, dec):
        near = np.flatnonzero(np.hypot(*offsets_on_sky(*centre, ra, dec)) < radius)
        x, y = geometry.to_pixel(ra[near], dec[near])
        on = (x > EDGE) & (x < nx - 1 - EDGE) & (y > EDGE) & (y < ny - 1 - EDGE)
        inside = np.zeros(len(ra), dtype=bool)
        inside[near[on]] = True
        return inside, *geometry.to_v2v3(x[on], y[on]), x[on] + header.corner[0], y[on] + header.corner[1]

    return Pointing(header.filter, header.pupil, header.array, header.module, epoch, centre, radius, locate, time)


def draw_places(pointings, rng, density, *, even=False):
    """Draw places evenly over the box of all exposures: forecasts then vary little."""
    first = pointings[0].centre
    east, north = offsets_on_sky(*first, *np.transpose([pointing.centre for pointing in pointings]))
    radius = np.array([pointing.radius for pointing in pointings])
    low = np.array([(east - radius).min(), (north - radius).min()])
    high = np.array([(east + radius).max(), (north + radius).max()])
    expected = density * np.prod(high - low) / _ARCMIN2
    share = rng.uniform(size=(2, 1 if even else rng.poisson(expected)))
    if even:
        share = (share + Halton(2, scramble=False).random(round(expected)).T) % 1
    x, y = low[:, None] + share * (high - low)[:, None]
    return first[0] + x / 3600 / np.cos(np.deg2rad(first[1])), first[1] + y / 3600
