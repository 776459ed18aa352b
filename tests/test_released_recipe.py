"""The released recipe's numbers, on its own choices: what it does, written again here, against the step."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS

from jwst_modfix import ModuleOffsetStep, OffsetTable
from jwst_modfix.table.formats import RECIPE_GRADIENT

RECIPE_TABLE = dataclasses.replace(OffsetTable.read("packaged"), gradient=RECIPE_GRADIENT)
PUBLISHED = {  # by detector, filter
    ("NRCA2", "F200W"): (-0.05267, 0.0),
    ("NRCB4", "F200W"): (0.0, 0.0),
    ("NRCALONG", "F356W"): (0.00874, 0.00300),
    ("NRCALONG", "F444W"): (-0.01654, 0.00433),
    ("NRCBLONG", "F444W"): (0.0, 0.00433),
}


def recipe(path, dmag, slope, epoch):
    """Scale SCI as the recipe does: 64-bit, the slope along columns from column 0, in its second epoch only."""
    with fits.open(path) as hdulist:
        data = hdulist["SCI"].data * 10 ** (dmag / 2.5)
        if slope and epoch == 2:
            scale = WCS(hdulist["SCI"].header).proj_plane_pixel_scales()[0].to_value(u.arcmin)
            data = data * 10 ** (-slope * np.arange(data.shape[1]) * scale / 2.5)
    return data


@pytest.mark.parametrize(
    ("detector", "band", "epoch"),
    [
        ("NRCA2", "F200W", 1),
        ("NRCB4", "F200W", 1),
        ("NRCALONG", "F356W", 2),
        ("NRCALONG", "F444W", 1),
        ("NRCALONG", "F444W", 2),
        ("NRCBLONG", "F444W", 2),
    ],
)
@pytest.mark.filterwarnings("ignore::astropy.wcs.FITSFixedWarning")  # MJD keywords that repeat the dates
def test_the_recipe_is_reproduced(make_exposure, tmp_path, detector, band, epoch):
    path = tmp_path / "jw_cal.fits"
    part = (1, 401, 2048, 48) if epoch == 1 else None  # an offset is the same everywhere
    make_exposure(detector, band, part).save(str(path))
    dmag, slope = PUBLISHED[detector, band]
    RECIPE_TABLE.write(tmp_path / "recipe.asdf")
    result = ModuleOffsetStep.call(
        str(path), override_moduleoffset=str(tmp_path / "recipe.asdf"), apply_slope=epoch == 2
    )
    np.testing.assert_allclose(result.data, recipe(path, dmag, slope, epoch), rtol=1e-6)
