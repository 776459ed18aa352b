"""The error of the calibration that is put in: its gradient in each frame against its definition."""

import numpy as np
import pytest
from one_exposure import one_exposure

from jwst_modfix.simulate import (
    JWIDF_EPOCHS,
    MODULE_MIDPOINT,
    CalibrationTruth,
    calibration_factor,
)
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable


def gradient_truth(**gradient):
    row = OffsetRow(array="long", filter="F444W", offset=0, offset_error=0, slope=0.02, slope_error=0)
    return CalibrationTruth(table=OffsetTable(rows=(row,), gradient=Gradient(**gradient, exposure_share=0.5)))


def error(exposure, truth):
    return -2.5 * np.log10(calibration_factor(exposure, truth))


def test_focal_plane_gradient_is_zero_at_its_origin_and_grows_with_v2():
    truth = gradient_truth(frame="focal_plane", direction=90.0, origin=MODULE_MIDPOINT)
    for detector in ("NRCALONG", "NRCBLONG"):
        exposure = one_exposure(detector)
        v2, _ = exposure.geometry.grid_to_v2v3(np.arange(2048.0), np.arange(2048.0))
        np.testing.assert_allclose(error(exposure, truth), 0.01 * (v2 - MODULE_MIDPOINT[0]) / 60, atol=1e-12)


def test_detector_gradient_counts_from_its_pixel_in_arcmin():
    """A pixel of NRCALONG is 0.06276 by 0.06306 arcsec in the middle (SIAF)."""
    exposure = one_exposure("NRCALONG")
    along_x = error(exposure, gradient_truth(frame="detector", direction=0.0, origin=(100.0, 0.0)))
    assert along_x[500, 100] == pytest.approx(0, abs=1e-12)
    assert along_x[500, 1100] == pytest.approx(0.01 * 1000 * 0.062755 / 60, rel=1e-4)
    along_y = error(exposure, gradient_truth(frame="detector", direction=90.0, origin=(0.0, 0.0)))
    assert along_y[1000, 500] == pytest.approx(0.01 * 1000 * 0.063059 / 60, rel=1e-4)


@pytest.mark.parametrize("epoch", [0, 1])
def test_sky_gradient_is_fixed_to_the_sky(epoch):
    """Toward PA 90 it grows eastward, whatever the roll."""
    center = JWIDF_EPOCHS[0].ra, JWIDF_EPOCHS[0].dec
    exposure = one_exposure("NRCALONG", epoch=epoch)
    found = error(exposure, gradient_truth(frame="sky", direction=90.0, origin=center))
    ra, dec = exposure.attitude.v2v3_to_sky(*exposure.geometry.pixel_to_v2v3(300.0, 1200.0))
    east = (ra - center[0]) * np.cos(np.deg2rad(dec)) * 60
    assert found[1200, 300] == pytest.approx(0.01 * east, rel=1e-4)


def test_row_has_its_own_direction():
    row = OffsetRow(array="long", filter="F444W", offset=0, offset_error=0, slope=0.02, slope_error=0, direction=0.0)
    gradient = Gradient(frame="focal_plane", direction=90.0, origin=MODULE_MIDPOINT, exposure_share=1.0)
    truth = CalibrationTruth(table=OffsetTable(rows=(row,), gradient=gradient))
    exposure = one_exposure("NRCALONG")
    _, v3 = exposure.geometry.pixel_to_v2v3(30.0, 60.0)
    assert error(exposure, truth)[60, 30] == pytest.approx(0.02 * (v3 - MODULE_MIDPOINT[1]) / 60)
