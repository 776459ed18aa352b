"""Sources on pixels: the truth is the magnitude in the catalogue, and the asked number counts."""

import numpy as np
import pytest
from one_exposure import one_exposure, sources_at

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate import (
    BANDS,
    DETECTORS,
    Band,
    Population,
    make_scene,
    plan_exposures,
    scene_around,
)
from jwst_modfix.simulate.optics import read_aperture
from jwst_modfix.simulate.render import draw_sources

FLUX_20 = 3631e-6 * 10**-8  # MJy of 20 mag AB


@pytest.mark.parametrize("detector", DETECTORS)
def test_flux_of_stars_is_right_at_every_subpixel_position(detector):
    """The shortest band of each channel, whose PSF is the least well sampled."""
    exposure = one_exposure(detector, "F250M" if "LONG" in detector else "F070W")
    corners = np.array([120.0, 1900.0])
    x, y = (axis.ravel() for axis in np.meshgrid([*corners, 1000.25], [*corners, 1000.75]))
    image = draw_sources(sources_at(exposure, x + 0.37, y - 0.21), exposure)
    for column, row in zip(x.astype(int), y.astype(int), strict=True):
        flux = image[row - 100 : row + 101, column - 100 : column + 101].sum()
        assert flux == pytest.approx(FLUX_20, rel=1e-6)


@pytest.mark.parametrize("type", ["star", "exponential", "devaucouleurs"])
@pytest.mark.parametrize("detector", ["NRCA3", "NRCBLONG"])
def test_flux_and_center_of_every_type(detector, type):
    exposure = one_exposure(detector, "F444W" if "LONG" in detector else "F150W")
    image = draw_sources(sources_at(exposure, [900.3], [1100.8], type), exposure)
    y, x = np.arange(2048)[:, None], np.arange(2048)
    assert image.sum() == pytest.approx(FLUX_20, rel=1e-6)
    on_the_edge = draw_sources(sources_at(exposure, [-0.5], [1000.0], type), exposure)
    assert on_the_edge.sum() == pytest.approx(FLUX_20 / 2, rel=2e-3)
    assert (image * x).sum() / image.sum() == pytest.approx(900.3, abs=1e-3)
    assert (image * y).sum() / image.sum() == pytest.approx(1100.8, abs=1e-3)


@pytest.mark.parametrize(("detector", "x", "y"), [("NRCA1", 1000, 1000), ("NRCA2", 90, 90), ("NRCBLONG", 1950, 100)])
def test_psf_has_its_width_on_the_sky_and_not_in_pixels(detector, x, y):
    """Second moments: of the PSF [arcsec2] over the area of a pixel by the SIAF, plus 1/12 for the pixel."""
    band, fwhm = ("F444W", 0.1446) if "LONG" in detector else ("F200W", 0.0651)
    exposure = one_exposure(detector, band)
    image = draw_sources(sources_at(exposure, [x], [y]), exposure) / FLUX_20
    v2, v3 = read_aperture(detector).sci_to_tel(x + np.array([1, 2, 1]), y + np.array([1, 1, 2]))
    area = abs((v2[1] - v2[0]) * (v3[2] - v3[0]) - (v2[2] - v2[0]) * (v3[1] - v3[0]))
    expected = (0.75 + 0.17 * 2.6**2 + 0.08 * 7.0**2) * (fwhm / 2.3548) ** 2 / area + 1 / 12
    offsets = np.arange(2048.0)
    found = [(image.sum(axis=axis) * (offsets - place) ** 2).sum() for axis, place in ((0, x), (1, y))]
    np.testing.assert_allclose(found, expected, rtol=0.01)


def test_number_counts_and_colours():
    """20 per arcmin^2 brighter than 22 AB, 0.3 dex a magnitude; stars are blue, so fainter at longer wavelengths."""
    rng = np.random.default_rng(2)
    scene = make_scene(rng, ra=10, dec=20, radius=600, filters=["F200W", "F444W"], epochs=["ep1"])
    for limit in (20, 22, 24):
        expected = 20 * np.pi * 10**2 * (10 ** (0.3 * (limit - 22)) - 10 ** (0.3 * (16 - 22)))
        brighter = np.count_nonzero(scene["mag_F200W"] < limit)
        assert brighter == pytest.approx(expected, abs=4 * np.sqrt(expected))
    east, north = 3600 * np.cos(np.deg2rad(20)) * (scene["ra"] - 10), 3600 * (scene["dec"] - 20)
    for share, part in ((0.25, np.hypot(east, north) < 300), (0.25, (east > 0) & (north > 0)), (0.5, east > 0)):
        assert np.mean(part) == pytest.approx(share, abs=2 / np.sqrt(len(scene))), "spread evenly over the circle"
    colour = scene["mag_F444W"] - scene["mag_F200W"]
    assert np.mean(colour[scene["type"] == "star"]) == pytest.approx(1.5 * np.log10(4.421 / 1.990), abs=0.01)


def test_variable_sources_vary_and_others_do_not():
    population = Population(variable_fraction=0.2, variable_amplitude=0.1)
    rng = np.random.default_rng(3)
    scene = make_scene(rng, ra=1, dec=2, radius=400, filters=["F200W"], epochs=["a", "b"], population=population)
    assert scene["variable"].mean() == pytest.approx(0.2, abs=0.02)
    assert np.std(scene["variation_a"][scene["variable"]]) == pytest.approx(0.1, rel=0.05)
    assert not np.any(scene["variation_b"][~scene["variable"]])


def test_scene_around_covers_every_exposure():
    exposures = plan_exposures(filters=["F444W"])
    scene = scene_around(np.random.default_rng(1), exposures, Population(density=1))
    center = scene.meta["ra"], scene.meta["dec"]
    for exposure in exposures:
        v2, v3 = exposure.geometry.pixel_to_v2v3(np.array([0, 2047]), np.array([0, 2047]))
        middle = exposure.attitude.sky_to_v2v3(*center)
        assert np.hypot(v2 - middle[0], v3 - middle[1]).max() < scene.meta["radius"]
    assert {"mag_F444W", "variation_ep1", "variation_ep2", "variation_ep3"} <= set(scene.colnames)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"density": 0}, r"density: more than 0 per square arcmin; got 0"),
        ({"brightest": 27}, r"brightest: brighter than faintest \(25\.5 AB\); got 27 AB"),
        ({"density": -1}, r"density: more than 0 per square arcmin; got -1"),
        ({"brightest": 25.5}, r"brightest: brighter than faintest \(25\.5 AB\); got 25\.5 AB"),
        ({"variable_fraction": 1.5}, r"variable_fraction: from 0 to 1; got 1\.5"),
        ({"variable_fraction": -0.1}, r"variable_fraction: from 0 to 1; got -0\.1"),
        ({"star_fraction": 1.1}, r"star_fraction: from 0 to 1; got 1\.1"),
        ({"star_fraction": -0.1}, r"star_fraction: from 0 to 1; got -0\.1"),
    ],
)
def test_impossible_populations_are_refused(wrong, message):
    with pytest.raises(SimulationError, match=message):
        Population(**wrong)
    Population(star_fraction=1, variable_fraction=0)


def test_bands_have_the_fwhm_measured_in_flight():
    """F150W 0.050, F200W 0.066, F356W 0.115 and F444W 0.145 arcsec."""
    with pytest.raises(SimulationError, match=r"filter: one of F070W.*; got 'F606W'"):
        Band.named("F606W")
    found = [Band.named(name).fwhm for name in ("F150W", "F200W", "F356W", "F444W")]
    np.testing.assert_allclose(found, [0.050, 0.066, 0.115, 0.145], rtol=0.03)


def test_wavelengths_are_those_of_the_names_and_widths_those_of_the_letters():
    """Truth: F200W is near 2.00 micron; wide bands have R of 3 to 6, medium 7 to 22, narrow 60 to 100, W2 1 to 3."""
    resolving = {"W": (3, 6), "M": (7, 22), "N": (60, 100), "W2": (1, 3)}
    for name, band in BANDS.items():
        assert band.wavelength == pytest.approx(int(name[1:4]) / 100, rel=0.03 if name[4:] != "W2" else 0.12), name
        low, high = resolving[name[4:]]
        assert low < band.wavelength / band.bandwidth < high, name
        in_pupil = {"F162M": "F150W2", "F164N": "F150W2", "F323N": "F322W2"}
        in_pupil |= dict.fromkeys(("F405N", "F466N", "F470N"), "F444W")
        assert (band.filter, band.pupil) == ((in_pupil[name], name) if name in in_pupil else (name, "CLEAR"))
        assert band.channel == ("SHORT" if band.wavelength < 2.4 else "LONG")


def test_galaxies_become_smaller_with_magnitude():
    """Truth: 0.25 arcsec at 23 mag, a tenth of a dex per magnitude, within 0.08 and 1.5 arcsec; stars have no size."""
    scene = make_scene(np.random.default_rng(6), ra=1, dec=2, radius=400, filters=["F200W"], epochs=["a"])
    size, mag, star = (np.asarray(scene[name]) for name in ("half_light_radius", "mag_F200W", "type"))
    for limit in (21.0, 23.0, 25.0):
        mine = (star != "star") & (np.abs(mag - limit) < 0.5)
        assert np.median(size[mine]) == pytest.approx(0.25 * 10 ** (-0.1 * (limit - 23)), rel=0.1)
    assert (size[star == "star"] == 0).all()
    assert (size[star != "star"].min(), size.max()) == (pytest.approx(0.08, abs=0.01), pytest.approx(1.5, rel=0.6))
    assert size.max() <= 1.5


def test_a_galaxy_has_its_axes_on_the_sky():
    """Truth: second moments of the image less those of a star: axes of a ratio of 0.4, the longer one at 30 degrees."""
    exposure, (dy, dx) = one_exposure("NRCA3", "F150W"), np.mgrid[-300.0:300.0, -300.0:300.0]
    moments = []
    for type in ("exponential", "star"):
        image = draw_sources(sources_at(exposure, [900.0], [1100.0], type), exposure)[800:1400, 600:1200] / FLUX_20
        moments.append([[(image * one * other).sum() for one in (dx, dy)] for other in (dx, dy)])
    x, y = np.array([900.0, 901.0, 900.0]), np.array([1100.0, 1100.0, 1101.0])
    ra, dec = exposure.attitude.v2v3_to_sky(*exposure.geometry.pixel_to_v2v3(x, y))
    to_sky = 3600 * np.array([(ra[1:] - ra[0]) * np.cos(np.deg2rad(dec[0])), dec[1:] - dec[0]])  # east and north
    value, vector = np.linalg.eigh(to_sky @ np.subtract(*moments) @ to_sky.T)
    assert np.sqrt(value[0] / value[1]) == pytest.approx(0.4, rel=0.02)
    assert np.degrees(np.arctan2(*vector[:, 1])) % 180 == pytest.approx(30, abs=1)


def test_a_star_beyond_the_edge_shines_in():
    """Truth: half of the light of a Gaussian is on either side of its centre; here, the part beyond 2 pixels of it."""
    exposure = one_exposure("NRCALONG", "F444W")
    on, off = (draw_sources(sources_at(exposure, [x], [1000.0]), exposure) for x in (500.0, -2.5))
    assert off.sum() == pytest.approx(on[:, 503:].sum(), rel=0.05)
    assert off.sum() > 0.01 * FLUX_20
