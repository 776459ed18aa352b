"""Measurements without pixels: the same sky, geometry and truth as the exposures, straight to magnitudes."""

import numpy as np
from astropy.table import Table

from jwst_modfix.derivation.forecast import EDGE, Pointing
from jwst_modfix.simulate.detector import noise_equivalent_flux
from jwst_modfix.simulate.observation import Epoch, plan_exposures
from jwst_modfix.simulate.optics import FULL_FRAME
from jwst_modfix.simulate.render import ZERO_POINT, locate_sources, true_flux
from jwst_modfix.simulate.truth import CalibrationTruth

__all__ = ["draw_measurements", "observe_sources", "plan_pointings", "simulate_measurements"]


_MAG_PER_FRACTION = 2.5 / np.log(10)


def observe_sources(scene, exposures, *, truth=None, faintest=np.inf):
    """Find what every exposure sees of every source, before noise."""
    truth = truth or CalibrationTruth()
    seen = [_observe(scene, exposure, truth, faintest) for exposure in exposures]
    counts = [len(columns["source"]) for columns in seen]
    table = Table({name: np.concatenate([columns[name] for columns in seen]) for name in seen[0]})
    table["exposure"] = np.repeat(np.arange(len(seen)), counts)
    for name, values in _exposure_columns(exposures).items():
        table[name] = np.repeat(values, counts)
    for name in ("ra", "dec", "variable"):
        table[name] = np.asarray(scene[name])[table["source"]]
    return table


def draw_measurements(observed, rng, *, scatter=0.003, outlier_fraction=0.0, outlier_amplitude=0.3):
    """Draw one realisation of the measurements."""
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


def simulate_measurements(scene, exposures, rng, *, truth=None, faintest=np.inf, **noise):
    """Simulate the measurements of every source in every exposure, with no pixels."""
    return draw_measurements(observe_sources(scene, exposures, truth=truth, faintest=faintest), rng, **noise)


def _observe(scene, exposure, truth, faintest):
    sources = locate_sources(scene, exposure, margin=-EDGE)
    flux = true_flux(scene, exposure)[sources.rows]
    magnitude = -2.5 * np.log10(flux / ZERO_POINT)
    error = truth.magnitude_error(exposure, x=sources.x, y=sources.y, v2=sources.v2, v3=sources.v3)
    bright = magnitude <= faintest
    columns = {
        "source": sources.rows,
        "x": sources.x,
        "y": sources.y,
        "v2": sources.v2,
        "v3": sources.v3,
        "true_mag": magnitude,
        "magnitude_error": np.broadcast_to(error, magnitude.shape),
        "noise": _MAG_PER_FRACTION * noise_equivalent_flux(flux, exposure) / flux,
    }
    return {name: values[bright] for name, values in columns.items()}


def _exposure_columns(exposures):
    """Columns that are the same for a whole exposure, one value for each."""
    return {
        "epoch": [exposure.epoch.name for exposure in exposures],
        "detector": [exposure.geometry.detector for exposure in exposures],
        "array": [exposure.geometry.array for exposure in exposures],
        "module": [exposure.geometry.module for exposure in exposures],
        "filter": [exposure.band.filter for exposure in exposures],
        "pupil": [exposure.band.pupil for exposure in exposures],
    }


def plan_pointings(rolls, *, dithers=6, filters=("F200W", "F444W"), ra=265.035, dec=68.974):
    """Lay out exposures, one epoch for each roll angle."""
    epochs = [
        Epoch(name=f"ep{number}", date=f"{2022 + number // 12}-{number % 12 + 1:02d}-01", roll=roll, ra=ra, dec=dec)
        for number, roll in enumerate(rolls)
    ]
    return [
        _pointing(exposure, epochs.index(exposure.epoch))
        for exposure in plan_exposures(epochs, filters=filters, dithers=dithers)
    ]


def _pointing(exposure, epoch):
    geometry, attitude = exposure.geometry, exposure.attitude
    centre = tuple(float(value) for value in attitude.v2v3_to_sky(*geometry.reference))
    radius = FULL_FRAME / 2 * np.sqrt(2) * max(geometry.pixel_scales) * 1.05

    def locate(ra, dec):
        found = locate_sources({"ra": ra, "dec": dec}, exposure, margin=-EDGE)
        inside = np.zeros(len(ra), dtype=bool)
        inside[found.rows] = True
        return inside, found.v2, found.v3

    band = exposure.band
    return Pointing(band.filter, band.pupil, geometry.array, geometry.module, epoch, centre, radius, locate)
