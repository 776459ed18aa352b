"""Geometry: the truth is pysiaf's own transforms, jwst's own pointing code and Ma et al. (2023), Sec. 2."""

import numpy as np
import pytest
from jwst.assign_wcs.pointing import _v23tosky, compute_roll_ref

from jwst_modfix.simulate import (
    DETECTORS,
    JWIDF_EPOCHS,
    MODULE_MIDPOINT,
    Attitude,
    Epoch,
    detector_geometry,
    dither_pattern,
    plan_exposures,
)
from jwst_modfix.simulate.optics import read_aperture

CORNERS = np.array([0.0, 0.0, 2047.0, 2047.0]), np.array([0.0, 2047.0, 0.0, 2047.0])


@pytest.fixture(params=DETECTORS)
def geometry(request):
    return detector_geometry(request.param)


@pytest.fixture
def pixels():
    return np.random.default_rng(5).uniform(-0.5, 2047.5, (2, 500))


def test_ten_detectors_of_two_modules_and_five_array_ids():
    found = {(detector_geometry(name).module, detector_geometry(name).array) for name in DETECTORS}
    assert found == {(module, array) for module in "AB" for array in ("1", "2", "3", "4", "long")}


def test_pixel_to_v2v3_is_that_of_pysiaf(geometry, pixels):
    x, y = pixels
    expected = read_aperture(geometry.detector).sci_to_tel(x + 1, y + 1)
    np.testing.assert_allclose(geometry.pixel_to_v2v3(x, y), expected, atol=1e-9)


def test_v2v3_to_pixel_inverts_better_than_the_siaf(geometry, pixels):
    """The polynomials of the SIAF alone come back within 5e-4 pixel."""
    np.testing.assert_allclose(geometry.v2v3_to_pixel(*geometry.pixel_to_v2v3(*pixels)), pixels, rtol=0, atol=1e-6)


def test_grid_is_the_same_as_pixel_by_pixel(geometry):
    x, y = np.array([0.0, 700.5, 2047.0]), np.array([3.0, 1999.0])
    expected = geometry.pixel_to_v2v3(*np.meshgrid(x, y))
    np.testing.assert_allclose(geometry.grid_to_v2v3(x, y), expected, atol=1e-9)


def test_v2_decreases_with_x_everywhere(geometry):
    v2, _ = geometry.grid_to_v2v3(np.arange(0.0, 2048, 50), np.arange(0.0, 2048, 50))
    assert np.all(np.diff(v2, axis=1) < 0)


def test_pixel_area_is_the_area_of_its_quadrilateral(geometry):
    x, y = 1500.0, 200.0
    v2, v3 = geometry.pixel_to_v2v3(x + np.array([-0.5, 0.5, 0.5, -0.5]), y + np.array([-0.5, -0.5, 0.5, 0.5]))
    shoelace = abs(np.dot(v2, np.roll(v3, 1)) - np.dot(v3, np.roll(v2, 1))) / 2
    area = geometry.pixel_area(np.array([x]), np.array([y]))
    np.testing.assert_allclose(area, shoelace, rtol=1e-6)


def test_pixel_areas_differ_between_short_wavelength_arrays_by_three_percent():
    areas = [detector_geometry(name).nominal_area for name in DETECTORS if "LONG" not in name]
    assert 1.03 < max(areas) / min(areas) < 1.05


def test_module_midpoint_is_midway_between_the_long_wavelength_arrays():
    a, b = detector_geometry("NRCALONG"), detector_geometry("NRCBLONG")
    expected = np.mean([a.reference, b.reference], axis=0)
    np.testing.assert_allclose(MODULE_MIDPOINT, expected, atol=1e-6)


@pytest.mark.parametrize("roll", [0.0, 161.0, 341.0])
@pytest.mark.parametrize("dec", [-80.0, 0.0, 69.0])
def test_attitude_is_that_of_the_pipeline(roll, dec):
    attitude = Attitude(ra=359.99, dec=dec, roll=roll)
    model = _v23tosky(attitude.v2 / 3600, attitude.v3 / 3600, roll, attitude.ra, dec)
    v2, v3 = np.array([-150.0, 0.0, 152.0]), np.array([-420.0, 0.0, -560.0])
    np.testing.assert_allclose(attitude.v2v3_to_sky(v2, v3), model(v2, v3), atol=1e-10)
    expected = compute_roll_ref(attitude.v2, attitude.v3, roll, attitude.ra, dec, 85.0, -493.0)
    assert attitude.roll_at(85.0, -493.0) == pytest.approx(expected, abs=1e-8)


def test_attitude_inverts():
    attitude = Attitude(ra=10.0, dec=-45.0, roll=77.0)
    np.testing.assert_allclose(attitude.sky_to_v2v3(*attitude.v2v3_to_sky(-88.0, -470.0)), [-88, -470], atol=1e-8)


@pytest.mark.parametrize("array", ["1", "2", "3", "4", "LONG"])
def test_modules_swap_places_when_the_telescope_turns_by_180_deg(array):
    """Ma et al. (2023), Sec. 2: A covers B's footprint; the SIAF's asymmetries are below 3 arcsec."""
    first, second = (
        plan_exposures([epoch], filters=[band], detectors=[f"NRC{module}{array}"], dithers=[(0, 0)])[0]
        for epoch, module in zip(JWIDF_EPOCHS, "AB", strict=False)
        for band in ["F444W" if array == "LONG" else "F200W"]
    )
    a = first.attitude.v2v3_to_sky(*first.geometry.pixel_to_v2v3(*CORNERS))
    b = second.attitude.v2v3_to_sky(*second.geometry.pixel_to_v2v3(*CORNERS))
    for ra, dec in np.transpose(a):
        separation = np.hypot((b[0] - ra) * np.cos(np.deg2rad(dec)), b[1] - dec) * 3600
        assert separation.min() < 3.0


def test_plus_v2_points_along_the_field_in_the_second_epoch():
    """science.md: V3PA 341 puts +V2 at PA 71 deg, with module A on the north-east half."""
    exposure = plan_exposures([JWIDF_EPOCHS[1]], filters=["F444W"], detectors=["NRCALONG"], dithers=[(0, 0)])[0]
    ra, dec = exposure.attitude.v2v3_to_sky(*exposure.geometry.reference)
    east = (ra - exposure.epoch.ra) * np.cos(np.deg2rad(dec))
    north = dec - exposure.epoch.dec
    assert np.rad2deg(np.arctan2(east, north)) == pytest.approx(71, abs=1)


def test_six_dithers_cover_the_field_of_the_paper():
    """Ma et al. (2023), Sec. 2: 5.9 x 2.4 arcmin, with no gap."""
    exposures = plan_exposures([JWIDF_EPOCHS[0]], filters=["F200W"])
    center = Attitude(ra=JWIDF_EPOCHS[0].ra, dec=JWIDF_EPOCHS[0].dec, roll=JWIDF_EPOCHS[0].roll)
    v2, v3 = np.meshgrid(np.linspace(-170, 167, 80), np.linspace(-552, -434, 40))
    sky = center.v2v3_to_sky(v2, v3)
    seen = np.zeros(v2.shape, int)
    corners = []
    for exposure in exposures:
        x, y = exposure.geometry.v2v3_to_pixel(*exposure.attitude.sky_to_v2v3(*sky))
        seen += (x > -0.5) & (x < 2047.5) & (y > -0.5) & (y < 2047.5)
        corner = exposure.attitude.v2v3_to_sky(*exposure.geometry.pixel_to_v2v3(*CORNERS))
        corners.append(center.sky_to_v2v3(*corner))
    extent = np.ptp(np.concatenate(corners, axis=1), axis=1) / 60
    np.testing.assert_allclose(extent, [5.9, 2.4], atol=0.1)
    assert seen.min() >= 1


def test_one_dither_does_not_move():
    assert dither_pattern(1) == [(0.0, 0.0)]


@pytest.mark.parametrize("points", [2, 4, 6, 9])
def test_dithers_are_all_different(points):
    assert len(set(dither_pattern(points))) == points


def test_exposures_follow_one_another():
    """One detector: each exposure of 500 s begins after the end of the one before, bands in turn, in its epoch."""
    options = {"filters": ["F356W", "F444W"], "detectors": ["NRCALONG"], "dithers": 3, "duration": 500}
    exposures = plan_exposures(JWIDF_EPOCHS[:2], **options)
    starts = np.array([exposure.start for exposure in exposures]).reshape(2, 6)
    np.testing.assert_allclose(starts[:, 0], [59768, 59950])  # 2022-07-08 and 2023-01-06
    np.testing.assert_allclose(np.diff(starts, axis=1) * 86400, 620, atol=1e-3)
    assert [(e.band.name, e.number) for e in exposures[2:4]] == [("F356W", 3), ("F444W", 1)]


def test_pointing_offset_moves_the_field():
    epoch = Epoch(name="ep1", date="2023-01-06", roll=0.0, ra=100.0, dec=0.0, offset=(0.0, 36.0))
    exposure = plan_exposures([epoch], filters=["F444W"], detectors=["NRCALONG"], dithers=[(0, 0)])[0]
    assert exposure.attitude.dec == pytest.approx(0.01, abs=1e-6)
    assert exposure.attitude.ra == pytest.approx(100, abs=1e-6)


def test_each_band_takes_the_detectors_of_its_channel():
    exposures = plan_exposures(JWIDF_EPOCHS, filters=["F200W", "F444W"], dithers=[(0, 0)])
    assert len(exposures) == 3 * (8 + 2)
    assert {e.geometry.channel for e in exposures if e.band.name == "F444W"} == {"LONG"}
    assert len({exposure.filename for exposure in exposures}) == len(exposures)
