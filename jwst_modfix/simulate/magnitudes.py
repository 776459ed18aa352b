"""Measurements without pixels: sky, geometry and truth of the exposures."""

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from jwst_modfix.derivation.forecast import EDGE, Pointing
from jwst_modfix.simulate.detector import noise_equivalent_flux
from jwst_modfix.simulate.observation import Epoch, Exposure, plan_exposures
from jwst_modfix.simulate.optics import FULL_FRAME, Array
from jwst_modfix.simulate.render import ZERO_POINT, locate_sources, true_flux
from jwst_modfix.simulate.truth import CalibrationTruth
from jwst_modfix.table.table import MAG_PER_FRACTION


def observe_sources(
    scene: Table, exposures: Sequence[Exposure], *, truth: CalibrationTruth | None = None, faintest: float = np.inf
) -> Table:
    """
    Find what every exposure sees of every source, before noise.

    Parameters
    ----------
    scene : astropy.table.Table
        The sky, as from `make_scene`.
    exposures : sequence of Exposure
        The exposures, as from `plan_exposures`.
    truth : CalibrationTruth, optional
        The error of the calibration; that of Ma et al. (2023) unless given.
    faintest : float
        Faintest magnitude to keep [AB].

    Returns
    -------
    astropy.table.Table
        One row for each source in each exposure: ``source``, ``exposure`` (rows of the arguments), pixels ``x`` and
        ``y``, ``v2`` and ``v3`` [arcsec], ``true_mag``, ``magnitude_error`` (what the calibration adds) and ``noise``
        [mag], and columns of the exposure.
    """
    truth = truth or CalibrationTruth()
    seen = [_observe(scene, exposure, truth, faintest) for exposure in exposures]
    counts = [len(columns["source"]) for columns in seen]
    table = Table({name: np.concatenate([columns[name] for columns in seen]) for name in seen[0]})
    table["exposure"] = np.repeat(np.arange(len(seen)), counts)
    times = {start: number for number, start in enumerate(sorted({exposure.start for exposure in exposures}))}
    table["time"] = np.repeat([times[exposure.start] for exposure in exposures], counts)
    for name in exposures[0].facts:
        table[name] = np.repeat([exposure.facts[name] for exposure in exposures], counts)
    for name in ("ra", "dec", "variable"):
        table[name] = np.asarray(scene[name])[table["source"]]
    return table


def draw_measurements(
    observed: Table,
    rng: np.random.Generator,
    *,
    scatter: float = 0.003,
    outlier_fraction: float = 0.0,
    outlier_amplitude: float = 0.3,
) -> Table:
    """
    Draw one realisation of the measurements.

    Parameters
    ----------
    observed : astropy.table.Table
        As from `observe_sources`.
    rng : numpy.random.Generator
        Source of randomness.
    scatter : float
        Scatter of every measurement, in quadrature with the noise [mag].
    outlier_fraction, outlier_amplitude : float
        Fraction of the measurements that are outliers, and the standard deviation of what they are off [mag].

    Returns
    -------
    astropy.table.Table
        The rows of `observed` with ``mag``, ``mag_err`` [mag] and ``outlier``.
    """
    number = len(observed)
    measured = observed.copy(copy_data=False)
    error = np.hypot(observed["noise"], scatter)
    outlier = rng.random(number) < outlier_fraction
    deviation = error * rng.standard_normal(number)
    deviation[outlier] += rng.normal(0, outlier_amplitude, outlier.sum())
    measured["mag"] = observed["true_mag"] + observed["magnitude_error"] + deviation
    measured["mag_err"] = error
    measured["outlier"] = outlier
    return measured


def simulate_measurements(
    scene: Table,
    exposures: Sequence[Exposure],
    rng: np.random.Generator,
    *,
    truth: CalibrationTruth | None = None,
    faintest: float = np.inf,
    **noise: float,
) -> Table:
    """Simulate measurements without pixels: `observe_sources`, `draw_measurements`."""
    return draw_measurements(observe_sources(scene, exposures, truth=truth, faintest=faintest), rng, **noise)


def _observe(scene: Table, exposure: Exposure, truth: CalibrationTruth, faintest: float) -> dict[str, Array]:
    sources = locate_sources(scene, exposure, margin=-EDGE)
    flux = true_flux(scene, exposure)[sources.rows]
    magnitude = -2.5 * np.log10(flux / ZERO_POINT)
    error = truth.magnitude_error(exposure, x=sources.x, y=sources.y, v2=sources.v2, v3=sources.v3)
    bright = magnitude <= faintest
    columns = {
        "source": sources.rows, "x": sources.x, "y": sources.y, "v2": sources.v2, "v3": sources.v3,
        "true_mag": magnitude, "magnitude_error": np.broadcast_to(error, magnitude.shape),
        "noise": MAG_PER_FRACTION * noise_equivalent_flux(flux, exposure) / flux,
    }  # fmt: skip
    return {name: values[bright] for name, values in columns.items()}


def plan_pointings(
    rolls: Sequence[float],
    *,
    dithers: int | Sequence[tuple[float, float]] = 6,
    filters: Sequence[str] = ("F200W", "F444W"),
    ra: float = 265.035,
    dec: float = 68.974,
) -> list[Pointing]:
    """Lay out exposures, one epoch for each roll angle."""
    epochs = [
        Epoch(name=f"ep{number}", date=f"{2022 + number // 12}-{number % 12 + 1:02d}-01", roll=roll, ra=ra, dec=dec)
        for number, roll in enumerate(rolls)
    ]
    exposures = plan_exposures(epochs, filters=filters, dithers=dithers)
    return [_pointing(exposure, epochs.index(exposure.epoch)) for exposure in exposures]


def _pointing(exposure: Exposure, epoch: int) -> Pointing:
    geometry, band = exposure.geometry, exposure.band
    ra, dec = exposure.attitude.v2v3_to_sky(*geometry.reference)
    radius = FULL_FRAME / 2 * np.sqrt(2) * max(geometry.pixel_scales) * 1.05

    def locate(ra: Array, dec: Array) -> tuple[Array, Array, Array]:
        found = locate_sources({"ra": ra, "dec": dec}, exposure, margin=-EDGE)
        inside = np.zeros(len(ra), dtype=bool)
        inside[found.rows] = True
        return inside, found.v2, found.v3, found.x, found.y

    centre, time = (float(ra), float(dec)), 1000 * epoch + exposure.number
    return Pointing(band.filter, band.pupil, geometry.array, geometry.module, epoch, centre, radius, locate, time)
