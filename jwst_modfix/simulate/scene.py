"""The sky of all exposures: stars and galaxies, and their light profiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate.observation import Band, Exposure
from jwst_modfix.simulate.optics import Array

_FWHM_TO_SIGMA = 1 / 2.354820045


def random_stream(seed: int, *names: str) -> np.random.Generator:
    """Make the random generator of a seed and names, independent of all others."""
    # Children of one sequence, taken by index, are the same in two trials of one seed; streams by name are not.
    return np.random.default_rng(np.random.SeedSequence([seed, *"/".join(names).encode()]))


@dataclass(frozen=True, eq=False)
class Mixture:
    """A sum of concentric round Gaussians that holds unit flux; arrays of shape (n,)."""

    weights: Array  # they sum to 1
    sigmas: Array  # along an axis, in arcsec for a PSF and in half-light radii for a galaxy


def _mixture(amplitudes: Sequence[float], variances: Sequence[float]) -> Mixture:
    weights = np.array(amplitudes)
    return Mixture(weights / weights.sum(), np.sqrt(variances))


# Hogg & Lang (2013, PASP 125, 719), "lux" and "luv": the SDSS's exponential and de Vaucouleurs profiles,
# cut smoothly at 4 and 8 half-light radii.
PROFILES = {
    "exponential": _mixture(
        (2.34853813e-03, 3.07995260e-02, 2.23364214e-01, 1.17949102e00, 4.33873750e00, 5.99820770e00),
        (1.20078965e-03, 8.84526493e-03, 3.91463084e-02, 1.39976817e-01, 4.60962500e-01, 1.50159566e00),
    ),
    "devaucouleurs": _mixture(
        (4.26347652e-02, 2.40127183e-01, 6.85907632e-01, 1.51937350e00, 2.83627243e00, 4.46467501e00, 5.72440830e00,
         5.60989349e00),
        (2.23759216e-04, 1.00220099e-03, 4.18731126e-03, 1.69432589e-02, 6.84850479e-02, 2.87207080e-01, 1.33320254e00,
         8.40215071e00),
    ),
}  # fmt: skip
"""Mixtures of the galaxy profiles, by the ``type`` of a source; radii in half-light radii."""


def point_spread_function(fwhm: float) -> Mixture:
    """Make a round stand-in for the NIRCam PSF: a core, a first ring and a halo."""
    core = fwhm * _FWHM_TO_SIGMA
    return Mixture(np.array([0.75, 0.17, 0.08]), core * np.array([1.0, 2.6, 7.0]))


_REFERENCE_WAVELENGTH = 2.0  # micron: magnitudes are drawn there
_COUNT_MAGNITUDE = 22.0  # AB: the density counts sources brighter than this

_FIELD_MARGIN = 10.0  # arcsec beyond the outermost corner


@dataclass(frozen=True, kw_only=True)
class Population:
    """What kind of sources there are, and how many."""

    density: float = 20.0  #: sources brighter than 22 AB per arcmin^2
    brightest: float = 16.0  #: AB at 2 micron
    faintest: float = 25.5  #: AB at 2 micron
    count_slope: float = 0.3  #: dex/mag
    star_fraction: float = 0.25
    variable_fraction: float = 0.03  #: of the sources, between epochs
    variable_amplitude: float = 0.2  #: mag, standard deviation

    def __post_init__(self) -> None:
        if self.density <= 0:
            raise SimulationError(f"density: more than 0 per square arcmin; got {self.density:g}")
        if self.brightest >= self.faintest:
            raise SimulationError(
                f"brightest: brighter than faintest ({self.faintest:g} AB); got {self.brightest:g} AB"
            )
        for name in ("star_fraction", "variable_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise SimulationError(f"{name}: from 0 to 1; got {getattr(self, name):g}")

    @property
    def surface_density(self) -> float:
        """Number of sources of every magnitude per square arcmin."""
        return self.density * (self._counts(self.faintest) - self._counts(self.brightest))

    def _counts(self, magnitude: float) -> float:
        """Count sources brighter than a magnitude, in units of those brighter than 22 AB."""
        return float(10 ** (self.count_slope * (magnitude - _COUNT_MAGNITUDE)))

    def draw_magnitudes(self, rng: np.random.Generator, number: int) -> Array:
        """Draw magnitudes from the number counts [AB]."""
        counts = rng.uniform(self._counts(self.brightest), self._counts(self.faintest), number)
        return np.asarray(_COUNT_MAGNITUDE + np.log10(counts) / self.count_slope)


def make_scene(
    rng: np.random.Generator,
    *,
    ra: float,
    dec: float,
    radius: float,
    filters: Sequence[str],
    epochs: Sequence[str],
    population: Population | None = None,
) -> Table:
    """
    Draw a catalogue of sources in a circle on the sky.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    ra, dec, radius : float
        Centre [deg] and radius [arcsec] of the circle.
    filters, epochs : sequence of str
        Names of the bands and epochs that the sources get magnitudes and variations for.
    population : Population, optional
        The sources to draw.

    Returns
    -------
    astropy.table.Table
        One row a source: positions, shapes, ``mag_<filter>`` [AB] and ``variation_<epoch>`` [mag].
    """
    population = population or Population()
    number = rng.poisson(population.surface_density * np.pi * (radius / 60) ** 2)
    magnitude = population.draw_magnitudes(rng, number)
    scene = Table({"id": np.arange(1, number + 1)}, meta={"ra": ra, "dec": dec, "radius": radius})
    distance = radius * np.sqrt(rng.uniform(size=number)) * u.arcsec
    angle = (np.pi / 2 - rng.uniform(0, 2 * np.pi, number)) * u.rad
    places = SkyCoord(ra, dec, unit="deg").directional_offset_by(angle, distance)
    scene["ra"], scene["dec"] = places.ra.deg, places.dec.deg
    _add_shapes(rng, scene, magnitude, population.star_fraction)
    # Power-law spectra: stars are blue, galaxies of every colour.
    is_star = scene["type"] == "star"
    blue = np.where(is_star, rng.normal(1.5, 0.4, number), rng.normal(-0.3, 0.7, number))
    for name in filters:
        scene[f"mag_{name}"] = magnitude + blue * np.log10(Band.named(name).wavelength / _REFERENCE_WAVELENGTH)
    scene["variable"] = rng.uniform(size=number) < population.variable_fraction
    for epoch in epochs:
        variation = rng.normal(0, population.variable_amplitude, number)
        scene[f"variation_{epoch}"] = np.where(scene["variable"], variation, 0.0)
    units = {"ra": "deg", "dec": "deg", "half_light_radius": "arcsec", "position_angle": "deg"}
    units |= {name: "mag" for name in scene.colnames if name.startswith(("mag_", "variation_"))}
    for name, unit in units.items():
        scene[name].unit = unit
    return scene


def scene_around(
    rng: np.random.Generator, exposures: Sequence[Exposure], population: Population | None = None
) -> Table:
    """Draw the catalogue, as from `make_scene`, that covers a set of exposures."""
    ra, dec = exposures[0].epoch.ra, exposures[0].epoch.dec
    reaches = []  # distance of each exposure's farthest corner from the centre [arcsec]
    for exposure in exposures:
        v2, v3 = exposure.geometry.pixel_to_v2v3(np.array([0, 0, 2047, 2047]), np.array([0, 2047, 0, 2047]))
        centre_v2, centre_v3 = exposure.attitude.sky_to_v2v3(ra, dec)
        reaches.append(float(np.hypot(v2 - centre_v2, v3 - centre_v3).max()))
    return make_scene(
        rng,
        ra=ra,
        dec=dec,
        radius=max(reaches) + _FIELD_MARGIN,
        filters=list(dict.fromkeys(exposure.band.name for exposure in exposures)),
        epochs=list(dict.fromkeys(exposure.epoch.name for exposure in exposures)),
        population=population,
    )


def _add_shapes(rng: np.random.Generator, scene: Table, magnitude: Array, star_fraction: float) -> None:
    """Add types and shapes; galaxy sizes follow magnitudes with a scatter of 0.2 dex."""
    number = len(scene)
    is_star = rng.uniform(size=number) < star_fraction
    is_disk = rng.uniform(size=number) < 0.8
    size = 0.25 * 10 ** (-0.1 * (magnitude - 23) + rng.normal(0, 0.2, number))
    axis_ratio, angle = rng.uniform(0.25, 1, number), rng.uniform(0, 180, number)
    scene["type"] = np.where(is_star, "star", np.where(is_disk, "exponential", "devaucouleurs"))
    scene["half_light_radius"] = np.where(is_star, 0, np.clip(size, 0.08, 1.5))
    scene["axis_ratio"] = np.where(is_star, 1, axis_ratio)
    scene["position_angle"] = np.where(is_star, 0, angle)
