"""Coordinate along a gradient: directions and units of each frame."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from jwst_modfix.apply.factor import along_detector, along_focal_plane, along_sky


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
