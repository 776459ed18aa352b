"""The factor and the coordinate along a gradient: interpolated as if evaluated at every pixel, in each frame."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from jwst_modfix.apply.factor import (
    FactorMap,
    along_detector,
    along_sky,
    gradient_coordinate,
    node_pixels,
)
from jwst_modfix.exposure import open_exposure
from jwst_modfix.simulate import detector_geometry
from jwst_modfix.table.table import along_focal_plane

GRADIENTS = {
    "focal_plane": ((-1.74, -492.4), 75.0),
    "detector": ((0.0, 0.0), 180.0),
    "sky": ((265.035, 68.974), 72.0),
}
SLOPE = 0.02  # mag/arcmin: five times the largest published


def curved(x, y):
    """A zero-point error of 0.05 mag with terms of fifth order, steeper than any distortion."""
    x, y = x / 2048, y / 2048
    return 0.03 + 0.01 * x - 0.006 * y + 0.004 * x**2 * y - 0.002 * x**5 + 0.001 * x**2 * y**3


def interpolated(m_sys, shape):
    return FactorMap.interpolate(m_sys(*node_pixels(shape)), shape)


def pixels(shape):
    return np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))


@pytest.mark.parametrize("shape", [(2048, 2048), (64, 2048), (37, 1), (1, 1), (640, 639)])
def test_interpolation_equals_evaluation_at_every_pixel(shape):
    factor_map = interpolated(curved, shape)
    rendered = factor_map.evaluate()
    truth = 10 ** (0.4 * curved(*pixels(shape)))
    np.testing.assert_allclose(rendered, truth, rtol=2e-7)  # float32
    assert np.abs(2.5 * np.log10(rendered.astype(float) / truth)).max() < 1e-6  # mag


@pytest.mark.parametrize(
    ("direction", "arcmin"),
    [(90, 1.0), (0, 0.5), (180, -0.5), (-90, -1.0), (np.degrees(np.arctan2(1.0, 0.5)), np.hypot(1.0, 0.5))],
)
def test_focal_plane_directions_count_from_v3_toward_v2(direction, arcmin):
    # 60 arcsec along +V2 and 30 arcsec along +V3 of the origin
    assert along_focal_plane(58.26, -462.4, (-1.74, -492.4), direction) == pytest.approx(arcmin)


@pytest.mark.parametrize(("direction", "arcmin"), [(0, 1.05), (180, -1.05), (90, 0.42), (-90, -0.42)])
def test_detector_directions_count_from_x_toward_y(direction, arcmin):
    # 1000 pixels along x of 0.063 arcsec, 400 along y of 0.063
    assert along_detector(1500.0, 900.0, (500.0, 500.0), direction, (0.063, 0.063)) == pytest.approx(arcmin)


@pytest.mark.parametrize("direction", [0.0, 72.0, 90.0, 215.0])
@pytest.mark.parametrize("origin", [(265.0, 69.0), (0.01, -2.0), (83.0, -66.0)])
def test_sky_directions_are_position_angles_east_of_north(direction, origin):
    # Truth: astropy's own offset along a great circle, which the tangent plane stretches by 2e-6 at 6 arcmin.
    start = SkyCoord(*origin, unit="deg")
    there = start.directional_offset_by(direction * u.deg, 6 * u.arcmin)
    across = start.directional_offset_by((direction + 90) * u.deg, 6 * u.arcmin)
    assert along_sky(there.ra.deg, there.dec.deg, origin, direction) == pytest.approx(6, rel=1e-5)
    assert along_sky(across.ra.deg, across.dec.deg, origin, direction) == pytest.approx(0, abs=1e-6)


def coordinate(model, frame, gradient=None):
    with open_exposure(model) as opened:
        corner = opened.exposure.xstart - 1, opened.exposure.ystart - 1
        description = (opened.wcs, frame, *(gradient or GRADIENTS[frame]), corner)
    return lambda x, y: gradient_coordinate(*description, x, y)


@pytest.mark.parametrize("frame", GRADIENTS)
@pytest.mark.parametrize(
    ("detector", "band", "subarray", "roll"),
    [
        ("NRCALONG", "F444W", None, 161.0),
        ("NRCBLONG", "F356W", None, 20.0),
        ("NRCB4", "F200W", None, 254.0),
        ("NRCA1", "F150W", (1409, 1, 640, 320), 161.0),
    ],
)
def test_the_map_is_right_at_every_pixel(make_exposure, frame, detector, band, subarray, roll):
    model = make_exposure(detector, band, subarray, roll)
    u = coordinate(model, frame)
    factor_map = interpolated(lambda x, y: SLOPE * u(x, y), model.shape)
    rendered = factor_map.evaluate().astype(float)
    step = 37  # every 37th pixel and the last, which is at every phase of the nodes
    y, x = np.meshgrid(*(np.append(np.arange(0, n, step), n - 1) for n in model.shape), indexing="ij")
    error = 2.5 * np.log10(rendered[y, x]) - SLOPE * u(x.astype(float), y.astype(float))
    assert np.abs(error).max() < 2e-7  # mag; the issue asks for 1e-5


@pytest.mark.parametrize("frame", GRADIENTS)
def test_a_subarray_has_the_coordinate_of_its_place_in_the_full_frame(make_exposure, frame):
    full, part = make_exposure(), make_exposure(subarray=(701, 401, 64, 48))
    x, y = np.array([0.0, 63.0, 20.0]), np.array([0.0, 47.0, 31.0])
    np.testing.assert_allclose(coordinate(part, frame)(x, y), coordinate(full, frame)(x + 700, y + 400), atol=1e-9)


def test_the_detectors_coordinate_is_pixels_times_the_scale_of_their_axis(make_exposure):
    # NRCA5_FULL of the SIAF: 0.0628 arcsec along x, 0.5% more along y; the published gradients count from column 0
    # toward -x.
    along_x, along_y = detector_geometry("NRCALONG").pixel_scales
    assert (along_x, along_y / along_x) == pytest.approx((0.0628, 1.005), rel=2e-3)
    u, v = (coordinate(make_exposure(), "detector", ((0.0, 0.0), direction)) for direction in (180.0, 90.0))
    assert u(0.0, 55.0) == pytest.approx(0, abs=1e-12)
    assert u(1000.0, 55.0) == pytest.approx(-1000 * along_x / 60, rel=1e-4)
    assert v(55.0, 1000.0) == pytest.approx(1000 * along_y / 60, rel=1e-4)
