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


@pytest.fixture(params=DETECTORS)
def geometry(request):
    return detector_geometry(request.param)


@pytest.fixture
def pixels():
    return np.random.default_rng(5).uniform(-0.5, 2047.5, (2, 500))


def test_pixel_to_v2v3_is_that_of_pysiaf(geometry, pixels):
    x, y = pixels
    expected = read_aperture(geometry.detector).sci_to_tel(x + 1, y + 1)
    np.testing.assert_allclose(geometry.pixel_to_v2v3(x, y), expected, atol=1e-9)
    on_grid = geometry.grid_to_v2v3(x[:3], y[:2])
    np.testing.assert_allclose(on_grid, geometry.pixel_to_v2v3(*np.meshgrid(x[:3], y[:2])), atol=1e-9)


def test_v2v3_to_pixel_inverts_better_than_the_siaf(geometry, pixels):
    """The polynomials of the SIAF alone come back within 5e-4 pixel."""
    np.testing.assert_allclose(geometry.v2v3_to_pixel(*geometry.pixel_to_v2v3(*pixels)), pixels, rtol=0, atol=1e-6)


@pytest.mark.parametrize("roll", [0.0, 161.0, 341.0])
@pytest.mark.parametrize("dec", [-80.0, 0.0, 69.0])
def test_attitude_is_that_of_the_pipeline(roll, dec):
    attitude = Attitude(ra=359.99, dec=dec, roll=roll)
    model = _v23tosky(attitude.v2 / 3600, attitude.v3 / 3600, roll, attitude.ra, dec)
    v2, v3 = np.array([-150.0, 0.0, 152.0]), np.array([-420.0, 0.0, -560.0])
    np.testing.assert_allclose(attitude.v2v3_to_sky(v2, v3), model(v2, v3), atol=1e-10)
    expected = compute_roll_ref(attitude.v2, attitude.v3, roll, attitude.ra, dec, 85.0, -493.0)
    assert attitude.roll_at(85.0, -493.0) == pytest.approx(expected, abs=1e-8)


def test_exposures_follow_one_another():
    """One detector: each exposure of 500 s begins after the end of the one before, bands in turn, in its epoch."""
    options = {"filters": ["F356W", "F444W"], "detectors": ["NRCALONG"], "dithers": 3, "duration": 500}
    exposures = plan_exposures(JWIDF_EPOCHS[:2], **options)
    starts = np.array([exposure.start for exposure in exposures]).reshape(2, 6)
    np.testing.assert_allclose(starts[:, 0], [59768, 59950])  # 2022-07-08 and 2023-01-06
    np.testing.assert_allclose(np.diff(starts, axis=1) * 86400, 620, atol=1e-3)
    assert [(e.band.name, e.number) for e in exposures[2:4]] == [("F356W", 3), ("F444W", 1)]


def test_a_dither_shifts_all_sources_alike_in_the_focal_plane():
    """At a declination of 69 deg the roll at the middle changes by 0.02 deg, or the modules would turn by 0.05"."""
    pointed = plan_exposures(JWIDF_EPOCHS[:1], filters=["F444W"], detectors=["NRCALONG"], dithers=[(0, 0), (24, -6)])
    still, moved = (exposure.attitude for exposure in pointed)
    v2, v3 = np.array([-150.0, 0.0, 150.0]), np.array([-560.0, -492.0, -420.0])
    np.testing.assert_allclose(moved.sky_to_v2v3(*still.v2v3_to_sky(v2, v3)), [v2 - 24, v3 + 6], atol=1e-4)


def test_the_middle_of_the_modules_looks_at_the_field_and_its_offset():
    """Midway between the reference points of the long-wavelength arrays; 36" along V3 at a roll of 0 is +0.01 deg."""
    a, b = detector_geometry("NRCALONG"), detector_geometry("NRCBLONG")
    np.testing.assert_allclose(MODULE_MIDPOINT, np.mean([a.reference, b.reference], axis=0), atol=1e-6)
    epoch = Epoch(name="ep1", date="2023-01-06", roll=0.0, ra=100.0, dec=0.0, offset=(0.0, 36.0))
    (exposure,) = plan_exposures([epoch], filters=["F444W"], detectors=["NRCALONG"], dithers=[(0, 0)])
    assert (exposure.attitude.ra, exposure.attitude.dec) == pytest.approx((100, 0.01), abs=1e-6)


def test_each_band_takes_the_detectors_of_its_channel():
    exposures = plan_exposures(JWIDF_EPOCHS, filters=["F200W", "F444W"], dithers=[(0, 0)])
    assert len(exposures) == 3 * (8 + 2)
    assert {e.geometry.channel for e in exposures if e.band.name == "F444W"} == {"LONG"}
    assert len({exposure.filename for exposure in exposures}) == len(exposures)


@pytest.mark.parametrize(("points", "span"), [(2, 49.1), (3, 49.1), (6, 49.0), (13, 49.5)])
def test_dithers_are_all_different_and_spread_over_the_pattern(points, span):
    """Truth: FULLBOX moves by about 24.5 arcsec to either side along V2; further turns are a few tenths off."""
    offsets = np.array(dither_pattern(points))
    assert len({tuple(offset) for offset in offsets.tolist()}) == points
    assert np.ptp(offsets[:, 0]) == pytest.approx(span, abs=0.6)
    assert np.abs(offsets).max(axis=0) == pytest.approx([24.5, 6.3], abs=1.2)
    assert dither_pattern(1) == [(0.0, 0.0)]
