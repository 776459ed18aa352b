"""Simulated exposures go through the stock calwebb_image3; the truth is the flux in the catalogue."""

import json

import numpy as np
import pytest
from astropy.table import Table
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.simulate import (
    JWIDF_EPOCHS,
    CalibrationTruth,
    Population,
    Subarray,
    dither_pattern,
    plan_exposures,
    scene_around,
    simulate_dataset,
)
from jwst_modfix.table.table import OffsetTable

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def image3(monkeypatch, tmp_path):
    """Run calwebb_image3 with no network."""
    monkeypatch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
    from jwst.pipeline import Image3Pipeline

    def run(association, **steps):
        steps = {"source_catalog": {"skip": True}, **steps}
        Image3Pipeline.call(str(association), steps=steps, output_dir=str(tmp_path), save_results=True)
        product = json.loads(association.read_text())["products"][0]["name"]
        return tmp_path / f"{product}_i2d.fits"

    return run


def aperture_flux(mosaic, ra, dec, half=20):
    """Flux in a box, less the median of the mosaic [MJy]."""
    x, y = mosaic.meta.wcs.invert(ra, dec)
    box = np.s_[
        round(float(y)) - half : round(float(y)) + half + 1,
        round(float(x)) - half : round(float(x)) + half + 1,
    ]
    brightness = mosaic.data[box].astype(float) - np.nanmedian(mosaic.data)
    return brightness.sum() * mosaic.meta.photometry.pixelarea_steradians


def test_two_exposures_make_a_mosaic_with_the_right_fluxes(image3, tmp_path):
    """Stars of 20 to 21 mag, in a box of 2.6 arcsec, perfectly calibrated."""
    exposures = plan_exposures(
        JWIDF_EPOCHS[:1], filters=["F444W"], detectors=["NRCALONG"], dithers=[(0.0, 0.0), (3.1, 2.3)]
    )
    population = Population(star_fraction=1, variable_fraction=0, brightest=20, faintest=21, density=30)
    dataset = simulate_dataset(
        tmp_path,
        exposures,
        2,
        population=population,
        truth=CalibrationTruth(table=OffsetTable(rows=())),
    )
    path = image3(dataset.associations[0], tweakreg={"skip": True})
    sources = Table.read(dataset.sources)
    with ImageModel(path) as mosaic:
        assert mosaic.meta.cal_step.resample == "COMPLETE"
        x, y = mosaic.meta.wcs.invert(np.asarray(sources["ra"]), np.asarray(sources["dec"]), with_bounding_box=False)
        inside = (x > 200) & (x < mosaic.data.shape[1] - 200) & (y > 200) & (y < mosaic.data.shape[0] - 200)
        found = np.array([aperture_flux(mosaic, row["ra"], row["dec"]) for row in sources[inside]])
    expected = 3631e-6 * 10 ** (-0.4 * np.asarray(sources["mag_F444W"][inside]))
    assert np.count_nonzero(inside) >= 10
    assert np.nanmedian(found / expected) == pytest.approx(1, abs=0.005)


def test_subarrays_of_two_epochs_and_modules_go_through(image3, tmp_path):
    """A1 in the first epoch and B1 in the second look at the same patch: 640 pixels wide, or 20 arcsec."""
    exposures = [
        plan_exposures([epoch], filters=["F200W"], detectors=[f"NRC{module}1"], dithers=[(0, 0)], program=n)[0]
        for n, (epoch, module) in enumerate(zip(JWIDF_EPOCHS, "AB", strict=False), 1)
    ]
    dataset = simulate_dataset(
        tmp_path,
        exposures,
        1,
        subarray=Subarray(xstart=700, ystart=700, xsize=640, ysize=640),
    )
    path = image3(dataset.associations[-1], tweakreg={"skip": True})
    with ImageModel(path) as mosaic:
        assert 600**2 < np.isfinite(mosaic.data).sum() < 800**2


def test_tweakreg_aligns_with_no_network(image3, tmp_path):
    """The simulated WCS are right, so that the two epochs agree within 5 milliarcsec."""
    exposures = plan_exposures(
        JWIDF_EPOCHS[:2], filters=["F444W"], detectors=["NRCALONG", "NRCBLONG"], dithers=dither_pattern(1)
    )
    scene = scene_around(np.random.default_rng(1), exposures, Population(faintest=24))
    dataset = simulate_dataset(tmp_path, exposures, 1, scene=scene)
    image3(dataset.associations[-1], outlier_detection={"skip": True}, resample={"skip": True})
    for exposure in exposures:
        path = next(tmp_path.glob(f"{exposure.name}*_tweakreg.fits"), None)
        if path is None:
            continue
        with ImageModel(path) as model:
            assert model.meta.cal_step.tweakreg == "COMPLETE"
            separation = np.subtract(
                model.meta.wcs(1024.0, 1024.0),
                exposure.attitude.v2v3_to_sky(*exposure.geometry.pixel_to_v2v3(1024.0, 1024.0)),
            )
            assert np.abs(separation).max() * 3600 < 0.015
