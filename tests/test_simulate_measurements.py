"""Measurements without pixels: the truth is the injected table and the noise that is asked for."""

import numpy as np
import pytest

from jwst_modfix.simulate import (
    JWIDF_EPOCHS,
    CalibrationTruth,
    Population,
    dither_pattern,
    draw_measurements,
    observe_sources,
    plan_exposures,
    scene_around,
)
from jwst_modfix.simulate.magnitudes import plan_pointings
from jwst_modfix.simulate.optics import read_aperture


@pytest.fixture(scope="module")
def exposures():
    return plan_exposures(JWIDF_EPOCHS, filters=["F200W", "F444W"], dithers=dither_pattern(2))


@pytest.fixture(scope="module")
def scene(exposures):
    return scene_around(np.random.default_rng(1), exposures, Population(variable_fraction=0.1))


@pytest.fixture(scope="module")
def observed(scene, exposures):
    return observe_sources(scene, exposures, faintest=24)


def test_places_are_those_of_the_geometry(observed, scene, exposures):
    for row in observed[:: len(observed) // 40]:
        exposure = exposures[row["exposure"]]
        assert (row["detector"], row["module"]) == (exposure.geometry.detector, exposure.geometry.module)
        v2v3 = exposure.geometry.pixel_to_v2v3(row["x"], row["y"])
        np.testing.assert_allclose([row["v2"], row["v3"]], v2v3, atol=1e-6)
        np.testing.assert_allclose(exposure.attitude.v2v3_to_sky(*v2v3), [row["ra"], row["dec"]], atol=1e-9)
        assert row["ra"] == scene["ra"][row["source"]]


def test_every_source_on_a_detector_is_there(observed, scene, exposures):
    """Counted by brute force in one exposure."""
    exposure = exposures[-1]
    v2v3 = exposure.attitude.sky_to_v2v3(np.asarray(scene["ra"]), np.asarray(scene["dec"]))
    x, y = exposure.geometry.v2v3_to_pixel(*v2v3)
    inside = (x > 7.5) & (x < 2039.5) & (y > 7.5) & (y < 2039.5)
    bright = scene["mag_F444W"] + scene["variation_ep3"] <= 24
    assert np.count_nonzero(observed["exposure"] == len(exposures) - 1) == np.count_nonzero(inside & bright)


def test_magnitude_error_is_that_of_the_table(observed):
    """Ma et al. (2023), Table 2: array 2 in F200W, and the long array in F444W along +V2 with half of k."""
    array = observed[(observed["array"] == "2") & (observed["module"] == "A")]
    np.testing.assert_allclose(array["magnitude_error"], -0.05267)
    long = observed[observed["array"] == "long"]
    expected = -0.01654 * (long["module"] == "A") + 0.00433 / 2 * (long["v2"] + 1.74) / 60
    np.testing.assert_allclose(long["magnitude_error"], expected, atol=1e-12)


def test_epoch_term_and_variation_are_those_of_the_epoch(scene, exposures, observed):
    truth = CalibrationTruth(epoch_terms={("ep3", "F200W"): 0.02})
    shifted = observe_sources(scene, exposures, truth=truth, faintest=24)
    shift = shifted["magnitude_error"] - observed["magnitude_error"]
    chosen = (observed["epoch"] == "ep3") & (observed["filter"] == "F200W")
    np.testing.assert_allclose(shift, np.where(chosen, 0.02, 0), atol=1e-12)
    source = scene[observed["source"][chosen]]
    np.testing.assert_allclose(observed["true_mag"][chosen], source["mag_F200W"] + source["variation_ep3"], atol=1e-9)


@pytest.mark.parametrize(
    ("detector", "gain", "read_noise", "wavelength", "photmjsr", "sky"),
    [
        ("NRCALONG", 1.82, 8.0, 4.421, 0.092 * 4.421 / 1.024, np.interp(4.421, [4.4, 4.9], [0.32, 0.55])),
        ("NRCB2", 2.05, 9.0, 1.990, 0.49 * 1.990 / 0.461 / 0.99, np.interp(1.990, [1.5, 2.0], [0.21, 0.18])),
    ],
)
def test_noise_is_that_of_an_aperture(observed, detector, gain, read_noise, wavelength, photmjsr, sky):
    """
    Truth: electrons of the source, and of sky and read noise in an aperture of 2.5 FWHM, in 526.1 s.

    Gains are in electrons per DN; the throughput of NRCB2 is 0.99 of that of its band; pixels are those of the SIAF.
    """
    rows = observed[(observed["detector"] == detector) & (observed["epoch"] == "ep1")]
    per_electron = photmjsr / (gain * 526.1)  # MJy/sr
    aperture = read_aperture(detector)
    pixel = aperture.XSciScale * aperture.YSciScale  # arcsec2
    source = 3631e-6 * 10 ** (-0.4 * rows["true_mag"]) / (per_electron * pixel * np.deg2rad(1 / 3600) ** 2)
    background = np.pi * (2.5 * 0.0327 * wavelength) ** 2 / pixel * (sky / per_electron + read_noise**2)
    np.testing.assert_allclose(rows["noise"], 1.0857 * np.sqrt(source + background) / source, rtol=5e-3)


def test_noise_and_scatter_add_in_quadrature(observed):
    measured = draw_measurements(observed, np.random.default_rng(3), scatter=0.01)
    np.testing.assert_allclose(measured["mag_err"] ** 2, observed["noise"] ** 2 + 0.01**2)
    pull = (measured["mag"] - measured["true_mag"] - measured["magnitude_error"]) / measured["mag_err"]
    assert pull.mean() == pytest.approx(0, abs=4 / np.sqrt(len(pull)))
    assert pull.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(pull)))
    again, other = (draw_measurements(observed, np.random.default_rng(seed), scatter=0.01) for seed in (3, 4))
    np.testing.assert_array_equal(measured["mag"], again["mag"])
    assert np.any(measured["mag"] != other["mag"])
    wild = draw_measurements(observed, np.random.default_rng(3), outlier_fraction=0.05, outlier_amplitude=1.0)
    deviation = np.abs(wild["mag"] - wild["true_mag"] - wild["magnitude_error"])
    assert wild["outlier"].mean() == pytest.approx(0.05, abs=0.01)
    assert np.median(deviation[wild["outlier"]]) > 0.3


def test_times_are_numbered_through_all_epochs(observed, exposures):
    """Truth: exposures by their start; detectors that are exposed together share one, bands and epochs do not."""
    starts = np.array([exposure.start for exposure in exposures])
    np.testing.assert_array_equal(observed["time"], np.unique(starts, return_inverse=True)[1][observed["exposure"]])


def test_pointings_of_a_plan_have_times_and_epochs_of_their_own():
    """Truth: two epochs of three dithers, each of two detectors at once."""
    planned = plan_pointings((0.0, 90.0), dithers=3, filters=["F444W"])
    assert [pointing.epoch for pointing in planned] == [0] * 6 + [1] * 6
    times = [pointing.time for pointing in planned]
    assert len(set(times)) == 6
    assert times[::2] == times[1::2]
    assert {(pointing.module, pointing.filter, pointing.pupil) for pointing in planned} == {
        ("A", "F444W", "CLEAR"), ("B", "F444W", "CLEAR"),
    }  # fmt: skip


def test_an_outlier_is_off_beside_its_noise(observed):
    """Truth: with an amplitude of 0, an outlier deviates as any other measurement."""
    rows = observed[:5000]
    plain, wild = (draw_measurements(rows, np.random.default_rng(3), outlier_fraction=f, outlier_amplitude=0.0)
                   for f in (0.0, 0.5))  # fmt: skip
    np.testing.assert_array_equal(plain["mag"], wild["mag"])
    assert wild["outlier"].any()
