"""
Two epochs from simulation to difference image, through strun and the stock calwebb_image3 (Figs. 2 and 7).

The modules swap places between the epochs. The expected numbers come from Table 2, its Eqs. 9 and 10 and the
attitude of each exposure; nothing of the correction's own code takes part in them.
"""

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from commands import FIELD_GRID
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture, aperture_photometry
from stdatamodels.jwst.datamodels import ImageModel
from strun import combine, correct, simulated

from jwst_modfix.simulate import MODULE_MIDPOINT, Attitude, detector_geometry

# Warnings of the stock steps are not ours.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

OFFSET = -0.01654  # Table 2, long, F444W: Delta_AB [mag]
SLOPE = 0.00433  # and k [mag/arcmin]
EXPOSURE_SLOPE = SLOPE / 2  # g: one exposure carries half of k
# skymatch adds constants to exposures, which takes part of the sky's step out and leaves that of the sources.
SKIPPED = [f"--steps.{name}.skip=true" for name in ("tweakreg", "skymatch", "outlier_detection", "source_catalog")]
UNREAD = [f"--steps.resample.{name}=false" for name in ("report_var", "enable_err", "enable_ctx")]
RADIUS, ANNULUS = 8, (15, 25)  # pixels of 0.06 arcsec


@pytest.fixture(scope="module")
def data_set(tmp_path_factory):
    """Both long-wavelength arrays at each of two epochs, sources constant."""
    options = ["--epochs=2", "--dithers=1", "--filter=F444W", "--variable-fraction=0", "--seed=7"]
    with simulated(tmp_path_factory.mktemp("two_epochs"), *options) as folder:
        yield folder


@pytest.fixture(scope="module")
def mosaics(data_set):
    """Mosaics of each epoch on one grid, before and after the correction."""
    options = [*SKIPPED, *UNREAD, *(f"--steps.resample.{name}={value}" for name, value in FIELD_GRID.items())]
    paths = {}
    for epoch in (1, 2):
        raw = f"demo_ep{epoch}_F444W_image3_asn.json"
        for state, association in (("before", raw), ("after", correct(raw))):
            paths[state, epoch] = combine(association, f"{state}{epoch}", *options)
    return paths


@pytest.fixture(scope="module")
def pointings(data_set):
    """Exposures as the truth file describes them."""
    return yaml.safe_load((data_set / "demo_truth.yaml").read_text())["exposures"]


def expected_ratio(pointings, ra, dec):
    """
    Flux in epoch 2 over flux in epoch 1, of places that each epoch sees with one module only.

    Returns the ratio, and +1 where module A looks in epoch 2 (patch p), -1 where it looks in epoch 1 (patch q), and
    0 elsewhere.
    """
    mean, seen_by = {}, {}
    for epoch in ("ep1", "ep2"):
        factors, covers = [], {"A": np.zeros(ra.shape, bool), "B": np.zeros(ra.shape, bool)}
        for pointing in (item for item in pointings if item["epoch"] == epoch):
            v2, v3 = Attitude(**pointing["attitude"]).sky_to_v2v3(ra, dec)
            x, y = detector_geometry(pointing["detector"]).v2v3_to_pixel(v2, v3)
            inside = (x > 40) & (x < 2007) & (y > 40) & (y < 2007)
            error = OFFSET * (pointing["module"] == "A") + EXPOSURE_SLOPE * (v2 - MODULE_MIDPOINT[0]) / 60
            factors.append(np.where(inside, 10 ** (-0.4 * error), np.nan))
            covers[pointing["module"]] |= inside
        seen = np.isfinite(factors)
        mean[epoch] = np.where(seen, factors, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        seen_by[epoch] = covers
    p = seen_by["ep1"]["B"] & ~seen_by["ep1"]["A"] & seen_by["ep2"]["A"] & ~seen_by["ep2"]["B"]
    q = seen_by["ep1"]["A"] & ~seen_by["ep1"]["B"] & seen_by["ep2"]["B"] & ~seen_by["ep2"]["A"]
    return np.divide(mean["ep2"], mean["ep1"], where=p | q, out=np.ones(ra.shape)), p * 1 - q * 1


def bright_sources(data_set):
    """Isolated sources bright enough for 1 per cent each, and not saturated."""
    sources = Table.read(data_set / "demo_sources.ecsv")
    sources = sources[(sources["mag_F444W"] > 19.0)]
    sky = SkyCoord(sources["ra"], sources["dec"])
    _, separation, _ = sky.match_to_catalog_sky(sky, nthneighbor=2)
    return sources[(sources["mag_F444W"] < 23.0) & (separation > 0.8 * u.arcsec)]


def source_fluxes(path, ra, dec):
    """Flux of sources in a mosaic, above their surroundings [MJy]; not-a-number where pixels are lost."""
    with ImageModel(path) as mosaic:
        x, y = mosaic.meta.wcs.invert(ra, dec, with_bounding_box=False)
        positions = np.transpose([x, y])
        sky = ApertureStats(mosaic.data, CircularAnnulus(positions, *ANNULUS)).median
        aperture = CircularAperture(positions, RADIUS)
        total = np.asarray(aperture_photometry(mosaic.data, aperture)["aperture_sum"])
        return (total - sky * aperture.area) * mosaic.meta.photometry.pixelarea_steradians


def half_field_residuals(mosaics, state, data_set, pointings):
    """Measured and expected mean of (F2 - F1) / F1 over the sources of each half, and its error."""
    sources = bright_sources(data_set)
    ra, dec = np.asarray(sources["ra"]), np.asarray(sources["dec"])
    ratio, patch = expected_ratio(pointings, ra, dec)
    first, second = (source_fluxes(mosaics[state, epoch], ra, dec) for epoch in (1, 2))
    results = {}
    for name, sign in (("p", 1), ("q", -1)):
        chosen = (patch == sign) & np.isfinite(first) & np.isfinite(second)
        residual, expected = (second / first - 1)[chosen], (ratio - 1)[chosen]
        excess = residual - (expected if state == "before" else 0)
        kept = np.abs(excess - np.median(excess)) < 4 * 1.4826 * np.median(np.abs(excess - np.median(excess)))
        error = residual[kept].std() / np.sqrt(np.count_nonzero(kept))
        results[name] = residual[kept].mean(), expected[kept].mean(), error
    return results


def test_sources_are_over_and_under_subtracted_before_and_not_after(mosaics, data_set, pointings):
    """Before, a half-field is off by 10^(-0.4 Delta) - 1 with Delta_p = k d + Delta_AB, Delta_q = k d - Delta_AB."""
    before = half_field_residuals(mosaics, "before", data_set, pointings)
    after = half_field_residuals(mosaics, "after", data_set, pointings)
    print("sources, (measured, expected, error):", before, after)
    assert 0.005 < before["p"][1] < 0.015, "module A, which measures too bright, looks at p in epoch 2"
    assert -0.015 < before["q"][1] < -0.005
    for measured, expected, error in before.values():
        assert error < 0.0015
        assert measured == pytest.approx(expected, abs=4 * error)
    for measured, _, error in after.values():
        assert error < 0.0015
        assert measured == pytest.approx(0, abs=4 * error)


def test_the_sky_is_over_and_under_subtracted_before_and_not_after(mosaics, pointings):
    """The sky carries the same factor; a half-field's million pixels say so to 1e-4."""
    with ImageModel(mosaics["before", 1]) as mosaic:
        rows, columns = np.mgrid[0 : mosaic.shape[0] : 10, 0 : mosaic.shape[1] : 10]
        ratio, patch = expected_ratio(pointings, *mosaic.meta.wcs(columns, rows, with_bounding_box=False))
    for state in ("before", "after"):
        first, second = (block_medians(mosaics[state, epoch], ratio.shape) for epoch in (1, 2))
        for name, sign in (("p", 1), ("q", -1)):
            chosen = (patch == sign) & np.isfinite(first) & np.isfinite(second)
            measured = np.median((second / first)[chosen]) - 1
            expected = np.median(ratio[chosen]) - 1 if state == "before" else 0
            print("sky", state, name, measured, expected)
            assert measured == pytest.approx(expected, abs=3e-4)


def block_medians(path, shape):
    """Median of blocks of 10 x 10 pixels, each about the pixel in its middle."""
    data = fits.getdata(path, "SCI")[: shape[0] * 10, : shape[1] * 10]
    return np.median(data.reshape(shape[0], 10, shape[1], 10), axis=(1, 3))
