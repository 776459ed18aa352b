"""Measurements by all detectors of a channel, with the real geometry and a known truth, and no pixels."""

import functools
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from jwst_modfix.derivation.forecast import draw_places, plan_measurements
from jwst_modfix.fitting.design import legendre, list_powers
from jwst_modfix.fitting.measurements import DETECTORS_BY_CODE
from jwst_modfix.simulate.magnitudes import plan_pointings

SW, LW = DETECTORS_BY_CODE[:8], DETECTORS_BY_CODE[8:]


@dataclass(frozen=True, kw_only=True)
class Network:
    """A set of exposures, and what is wrong with them."""

    rolls: tuple = (0.0, 180.0, 0.0)
    dithers: int | tuple = 6
    filter: str = "F200W"
    density: float = 20.0  # sources per arcmin^2
    scatter: float = 0.003  # of each measurement [mag]
    spread: float = 0.025  # standard deviation of zero points [mag]
    field_rms: float = 0.0  # of each detector's field [mag]
    field_order: int = 2
    exposure_scatter: float = 0.0  # of the terms of exposures [mag]
    jitter: float = 0.0  # of each detector in each exposure [mag]
    shared: bool = False  # sources at the places of one of four skies: to find their pixels takes the most time
    drifts: MappingProxyType = field(default_factory=lambda: MappingProxyType({}))  # (detector, epoch): mag

    def seeds(self, name, number=0):
        """Generator of one realisation, independent of all others."""
        return np.random.default_rng([number, *name.encode()])


@functools.cache
def lay_out(rolls, dithers, filter):
    """Pointings of all detectors of a channel."""
    return plan_pointings(rolls, dithers=dithers, filters=[filter])


def _see_sky(network, rng):
    pointings = lay_out(network.rolls, network.dithers, network.filter)
    return plan_measurements(pointings, *draw_places(pointings, rng, network.density), network.scatter)


@functools.cache
def _see_shared_sky(network, number):
    return _see_sky(network, np.random.default_rng(number))


@dataclass(frozen=True)
class Truth:
    """What was put in."""

    zero_points: dict  # by detector [mag]
    fields: dict  # by detector, coefficients by (i, j) [mag]

    def relative(self, baseline, detectors=None):
        """Zero points in the gauge of a baseline."""
        detectors = list(detectors or self.zero_points)
        kept = [d for d in detectors if baseline in ("mean", d[3], d)]
        mean = np.mean([self.zero_points[d] for d in kept])
        return {d: self.zero_points[d] - mean for d in detectors}


def simulate(network, rng):
    """Draw sources, a truth and measurements."""
    m = _see_shared_sky(replace(network, drifts=None), rng.integers(4)) if network.shared else _see_sky(network, rng)
    detectors = [DETECTORS_BY_CODE[code] for code in np.unique(m.detector)]
    truth = Truth(
        dict(zip(detectors, rng.normal(0, network.spread, len(detectors)), strict=True)),
        {d: draw_field(rng, network.field_rms, network.field_order) for d in detectors},
    )
    return add_errors(m, network, truth, rng), truth


def draw(name, number=0, **network):
    """Draw realisation `number` of a named set: measurements and truth."""
    network = Network(**network)
    return simulate(network, network.seeds(name, number))


def draw_field(rng, rms, order):
    """Coefficients of a field with an rms over the array, of all powers up to an order."""
    powers = list_powers(order)
    drawn = rng.standard_normal(len(powers))
    norm = np.sqrt(sum(c**2 / (2 * i + 1) / (2 * j + 1) for c, (i, j) in zip(drawn, powers, strict=True)))
    return {power: float(rms * c / norm) for power, c in zip(powers, drawn, strict=True)}


def add_errors(m, network, truth, rng):
    """Add to flat magnitudes what the truth makes of them."""
    names = np.array(DETECTORS_BY_CODE)[m.detector]
    mag = rng.uniform(18, 22, m.source.max() + 1)[m.source]
    mag += np.array([truth.zero_points[name] for name in names])
    for name in np.unique(names) if network.field_rms else ():
        mine, powers = names == name, tuple(truth.fields[name])
        mag[mine] += np.array([*truth.fields[name].values()]) @ legendre(m.x[mine], m.y[mine], powers)
    times, time = np.unique(m.time, return_inverse=True)
    mag += rng.normal(0, network.exposure_scatter, len(times))[time]
    mag += rng.normal(0, network.jitter, (len(times), len(DETECTORS_BY_CODE)))[time, m.detector]
    for (detector, epoch), drift in network.drifts.items():
        mag[(names == detector) & (m.epoch == epoch)] += drift
    return replace(m, mag=mag + rng.normal(0, network.scatter, len(m)))
