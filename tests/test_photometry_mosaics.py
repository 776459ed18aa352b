"""Truth: sources of known flux drawn on grids that share their pixels, and a difference between the modules put in."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.stats import mad_std
from one_header import make_header
from stdatamodels.jwst.datamodels import dqflags

from jwst_modfix import simulate
from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry import mosaics as module
from jwst_modfix.photometry.columns import select_measurements
from jwst_modfix.photometry.frames import Epochs, group_epochs, offsets_on_sky, read_geometry, read_header
from jwst_modfix.photometry.mosaics import Mosaic, measure_mosaics
from jwst_modfix.steps.resample import make_mosaics

SHAPE = (200, 220)
PLACES = np.array([[40.0, 50.0], [150.0, 60.0], [80.0, 140.0], [160.0, 150.0]])
FLUXES = np.array([2e-5, 1e-5, 4e-5, 8e-5])  # Jy
PIXAR_SR = 2.3e-14


def to_sky(x, y, **_):
    """A sky where one pixel of the common grid is 0.03 arcsec."""
    return 10 + x * 0.03 / 3600, y * 0.03 / 3600


@pytest.fixture(autouse=True)
def _places(monkeypatch):
    """Mosaics of no exposures: places in the focal plane are not what is tested here."""

    def places(members, ra, dec):
        return {name: np.zeros(len(ra)) for name in ("V2", "V3", "x", "y")}

    monkeypatch.setattr(module, "_mean_places", places)


def make_mosaic(rng, detector, epoch, corner=(0, 0), scale=1.0):
    x, y = np.meshgrid(np.arange(SHAPE[1]) + corner[0], np.arange(SHAPE[0]) + corner[1])
    data = rng.normal(0.2, 0.003, SHAPE)
    for (x0, y0), flux in zip(PLACES, FLUXES, strict=True):
        light = np.exp(-0.5 * ((x - x0) ** 2 + (y - y0) ** 2) / 2.5**2) / (2 * np.pi * 2.5**2)
        data += scale * flux / (PIXAR_SR * 1e6) * light
    header = make_header(detector, f"{detector}_{epoch}_cal.fits", pixar_sr=PIXAR_SR, shape=SHAPE)
    return Mosaic(
        header=header, members=(header,), epoch=epoch, data=data, err=np.full(SHAPE, 0.003), bad=np.zeros(SHAPE, bool),
        corner=corner, wcs=lambda x, y, **_: to_sky(x + corner[0], y + corner[1]),
    )  # fmt: skip


EPOCHS = Epochs(np.array([0, 1]), ("1", "2"))


def test_the_same_pixels_are_summed_on_every_mosaic():
    # The truth: B is 5% brighter in every source, though its mosaic starts at another pixel of the grid.
    rng = np.random.default_rng(1)
    first, second = make_mosaic(rng, "NRCA1", 0), make_mosaic(rng, "NRCB1", 1, corner=(-7, 5), scale=1.05)
    table = measure_mosaics(iter([first, second]), EPOCHS).measurements
    assert len(table) == 8
    a, b = (table[table["module"] == name] for name in "AB")
    np.testing.assert_array_equal(a["source"], b["source"])
    np.testing.assert_array_equal(a["masked"], 0)
    assert np.asarray(table["sky"]) == pytest.approx(0.2, abs=0.005)  # MJy/sr, under each source
    assert np.asarray(b["flux"] / a["flux"]) == pytest.approx(1.05, abs=0.005)
    assert np.sort(a["flux"]) == pytest.approx(np.sort(FLUXES), rel=0.06)  # isophotal: the wings are missing


def test_errors_are_those_of_the_pixels():
    # The truth: n pixels of error 0.003 MJy/sr each have a sum of error 0.003 sqrt(n), and B has twice that error.
    rng = np.random.default_rng(6)
    first, second = make_mosaic(rng, "NRCA1", 0), make_mosaic(rng, "NRCB1", 1)
    table = measure_mosaics([first, replace(second, err=2 * second.err)], EPOCHS).measurements
    a, b = (np.asarray(table[table["module"] == name]["flux_error"]) for name in "AB")
    assert b / a == pytest.approx(2.0)
    pixels = (a / (0.003 * PIXAR_SR * 1e6)) ** 2
    assert pixels == pytest.approx(np.rint(pixels), rel=1e-6)
    assert pixels.min() > 50


def test_isolation_is_the_distance_to_the_nearest_comparable_source():
    # The truth: PLACES, in pixels of 0.03"; only 1e-5 Jy is fainter than a tenth of another source (8e-5 Jy).
    rng = np.random.default_rng(7)
    table = measure_mosaics([make_mosaic(rng, "NRCA1", 0), make_mosaic(rng, "NRCB1", 1)], EPOCHS).measurements
    table = table[table["module"] == "A"]
    apart = 0.03 * np.hypot(*(PLACES[:, None] - PLACES).T)
    nearest = np.where(apart > 0, apart, np.inf).min(axis=1)
    order = np.argsort(table["flux"])
    assert np.asarray(table["isolation"])[order] == pytest.approx(nearest[np.argsort(FLUXES)], rel=0.01)


def test_a_filter_is_measured_from_its_own_first_epoch():
    # The truth: F444W was taken in the second and third epoch only.
    rng = np.random.default_rng(8)
    mosaics = [make_mosaic(rng, "NRCA1", number) for number in range(3)]
    mosaics[1:] = [replace(one, header=replace(one.header, filter="F444W")) for one in mosaics[1:]]
    table = measure_mosaics(mosaics, Epochs(np.arange(3), ("1", "2", "3"))).measurements
    counts = {
        (row["filter"], row["epoch"]): sum((table["filter"] == row["filter"]) & (table["epoch"] == row["epoch"]))
        for row in table
    }
    assert counts == {("F200W", 0): 4, ("F444W", 1): 4, ("F444W", 2): 4}
    assert not set(table["source"][table["filter"] == "F200W"]) & set(table["source"][table["filter"] == "F444W"])


def test_places_are_the_mean_over_the_exposures(small_exposure, tmp_path, monkeypatch):
    # The truth: two exposures at the same place have the place of each, and one elsewhere does not count; SIAF.
    monkeypatch.undo()
    small_exposure("NRCA1", "F200W").save(str(tmp_path / "here.fits"))
    small_exposure("NRCB1", "F200W").save(str(tmp_path / "elsewhere.fits"))
    here, elsewhere = (read_header(tmp_path / f"{name}.fits") for name in ("here", "elsewhere"))
    rng = np.random.default_rng(9)
    wcs = read_geometry(here).wcs
    mosaics = [
        replace(
            mosaic, wcs=lambda x, y, **_: wcs(x / 4, y / 4, with_bounding_box=False), members=(here, elsewhere, here)
        )
        for mosaic in (make_mosaic(rng, "NRCA1", 0), make_mosaic(rng, "NRCA1", 1))
    ]
    table = measure_mosaics(mosaics, EPOCHS).measurements
    inside = PLACES[PLACES[:, 1] / 4 < 47.5]
    assert len(table) == 2 * len(inside)
    assert np.sort(table["x"][::2]) == pytest.approx(np.sort(inside[:, 0] / 4 + 700), abs=0.1)
    assert np.sort(table["y"][::2]) == pytest.approx(np.sort(inside[:, 1] / 4 + 400), abs=0.1)
    v2, v3 = simulate.detector_geometry("NRCA1").pixel_to_v2v3(np.asarray(table["x"]), np.asarray(table["y"]))
    np.testing.assert_allclose([table["V2"], table["V3"]], [v2, v3], atol=1e-5)


@pytest.mark.parametrize(
    ("epoch", "corner", "counts"), [(0, (3, 3), {0: 8}), (1, (50, 0), {0: 4, 1: 3})], ids=["overlap", "one outside"]
)
def test_a_source_is_taken_once_and_measured_where_all_of_it_is_on_the_mosaic(epoch, corner, counts):
    """The truth: four sources; that at x = 40 is outside of a mosaic from x = 50."""
    rng = np.random.default_rng(2)
    mosaics = [make_mosaic(rng, "NRCA1", 0), make_mosaic(rng, "NRCB1", epoch, corner=corner)]
    table = measure_mosaics(mosaics, EPOCHS).measurements
    assert len(set(table["source"])) == 4
    assert {number: np.count_nonzero(table["epoch"] == number) for number in set(table["epoch"])} == counts


def test_sources_of_a_second_mosaic_of_the_first_epoch_get_numbers_of_their_own():
    """Truth: the first mosaic, from x = 100, has the two brighter sources on it, and the second one has all four."""
    rng = np.random.default_rng(3)
    mosaics = [
        make_mosaic(rng, "NRCA1", 0, corner=(100, 0)),
        make_mosaic(rng, "NRCB1", 0),
        make_mosaic(rng, "NRCA1", 1),
    ]
    table = measure_mosaics(mosaics, EPOCHS).measurements
    assert np.bincount(table["source"]).tolist() == [3, 3, 2, 2]
    assert np.asarray(table["flux"][table["exposure"] == 2]) == pytest.approx(FLUXES[[1, 3, 0, 2]], rel=0.1)


@pytest.mark.parametrize(("half", "rejected", "count"), [(0, 0, 8), (1, 1, 8), (6, 0, 7)])
def test_holes_are_flagged_beyond_two_percent_and_not_measured_beyond_half(half, rejected, count):
    """Truth: a source of 310 pixels, with holes of 1, 9 and 169 of them."""
    rng = np.random.default_rng(4)
    mosaic = make_mosaic(rng, "NRCB1", 1)
    bad = mosaic.bad.copy()
    bad[50 - half : 51 + half, 40 - half : 41 + half] = True
    table = measure_mosaics([make_mosaic(rng, "NRCA1", 0), replace(mosaic, bad=bad)], EPOCHS).measurements
    assert len(table) == count
    assert select_measurements(table, snr=10).rejected["masked"] == rejected


def test_no_source_is_an_error():
    rng = np.random.default_rng(5)
    mosaics = [make_mosaic(rng, "NRCA1", 0, scale=0.0), make_mosaic(rng, "NRCB1", 1, scale=0.0)]
    with pytest.raises(PhotometryError, match="no source was found in the first epoch of 2 mosaics"):
        measure_mosaics(mosaics, EPOCHS)


def test_errors_hold_for_sums_over_correlated_pixels(tmp_path):
    """
    The truth: the scatter of sums over boxes of an empty, drizzled sky, which has the noise of the simulator alone.

    Single pixels scatter by 2/3 of their error, as drizzling to pixels of the same size correlates them.
    """
    planned = simulate.plan_exposures(simulate.JWIDF_EPOCHS[:1], filters=["F200W"], detectors=["NRCA1"], dithers=1)
    empty = simulate.Population(density=0.5, faintest=27.5, brightest=27.0, variable_fraction=0.0)
    simulate.simulate_dataset(
        tmp_path, planned, 3, population=empty, effects=simulate.Effects(bad_pixels=False),
        subarray=simulate.Subarray(name="SUB320", xstart=525, ystart=525, xsize=320, ysize=320),
    )  # fmt: skip
    headers = [read_header(path) for path in tmp_path.glob("*_cal.fits")]
    (mosaic,) = make_mosaics(headers, group_epochs(headers))
    ratios = {side: _scatter_over_error(mosaic, side) for side in (1, 8)}
    assert ratios[1] == pytest.approx(2 / 3, abs=0.05)
    assert ratios[8] == pytest.approx(1, abs=0.1)


def _scatter_over_error(mosaic, side):
    """Robust scatter of sums over boxes of so many pixels squared, over their errors."""
    ny, nx = (size // side for size in mosaic.data.shape)
    values = np.where(mosaic.bad, np.nan, mosaic.data - np.nanmedian(mosaic.data[~mosaic.bad]))
    sums, variances = (
        array[: ny * side, : nx * side].reshape(ny, side, nx, side).sum(axis=(1, 3)).ravel()
        for array in (values, np.where(mosaic.bad, np.nan, mosaic.err.astype(float) ** 2))
    )
    standard = (sums / np.sqrt(variances))[np.isfinite(sums)]
    return mad_std(standard)


@pytest.mark.parametrize("flags", ["SATURATED", "DO_NOT_USE", "JUMP_DET"])
def test_saturated_pixels_are_left_out(small_exposure, tmp_path, flags):
    """Truth: a block of 4 x 4 flagged pixels of one exposure; the middle ones have no good neighbour."""
    model = small_exposure("NRCA1", "F200W")
    y, x = (size // 2 for size in model.data.shape)
    model.dq[y : y + 4, x : x + 4] = dqflags.pixel[flags]
    model.save(str(tmp_path / "jw_cal.fits"))
    header = read_header(tmp_path / "jw_cal.fits")
    (mosaic,) = make_mosaics([header], group_epochs([header]))
    place = mosaic.wcs.invert(*read_geometry(header).to_sky(x + 1.5, y + 1.5), with_bounding_box=False)
    column, row = np.rint(place).astype(int)
    assert mosaic.bad[row, column] == (flags != "JUMP_DET")


@pytest.mark.parametrize(("detector", "band", "scale"), [("NRCA1", "F200W", 0.031), ("NRCALONG", "F444W", 0.063)])
def test_the_grid_has_pixels_of_the_channel(small_exposure, tmp_path, detector, band, scale):
    """Truth: 0.031 and 0.063 arcsec, of which one step along a row and the solid angle are made."""
    small_exposure(detector, band).save(str(tmp_path / "jw_cal.fits"))
    header = read_header(tmp_path / "jw_cal.fits")
    (mosaic,) = make_mosaics([header], group_epochs([header]))
    ra, dec = mosaic.wcs(np.array([10.0, 11.0]), np.array([10.0, 10.0]))
    assert np.hypot(*np.diff(offsets_on_sky(ra[0], dec[0], ra, dec)).ravel()) == pytest.approx(scale, rel=1e-4)
    assert mosaic.header.pixar_sr == pytest.approx(np.deg2rad(scale / 3600) ** 2)
