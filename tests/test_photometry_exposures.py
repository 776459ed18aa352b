"""Truth: the simulator's fluxes, and a calibration with no error or with one that is put in."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.modeling.models import Identity, Shift
from astropy.table import Table
from crowded_field import CROWD, SUBARRAY
from stdatamodels.jwst.datamodels import ImageModel, dqflags

from jwst_modfix import simulate
from jwst_modfix.errors import PhotometryError
from jwst_modfix.jobs import Cache, Workers
from jwst_modfix.photometry import forced
from jwst_modfix.photometry.columns import select_measurements
from jwst_modfix.photometry.forced import Aperture, default_aperture, find_sources, measure_frame, measure_sources
from jwst_modfix.photometry.frames import group_epochs, read_frame, read_header
from jwst_modfix.photometry.source_list import detect, merge_detections
from jwst_modfix.table.table import OffsetRow, OffsetTable

OFFSET = 0.04  # mag: Delta_AB put in


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """Array 1 of both modules in two epochs turned by 180 deg: each sees what the other saw; 1000 x 1000 pixels."""
    folder = tmp_path_factory.mktemp("exposures")
    row = OffsetRow(array="1", filter="F200W", offset=OFFSET, offset_error=0.0)
    planned = simulate.plan_exposures(
        simulate.JWIDF_EPOCHS[:2], filters=["F200W"], detectors=["NRCA1", "NRCB1"], dithers=[(0.0, 0.0)], duration=800.0
    )
    simulate.simulate_dataset(
        folder, planned, 42, subarray=SUBARRAY, scene=simulate.scene_around(np.random.default_rng(42), planned, CROWD),
        truth=simulate.CalibrationTruth(table=OffsetTable(rows=(row,), name="test")),
    )  # fmt: skip
    return [read_header(path) for path in sorted(folder.glob("*_cal.fits"))], folder


@pytest.fixture(scope="module")
def epochs(exposures):
    headers = exposures[0]
    return group_epochs(headers)


@pytest.fixture(scope="module")
def photometry(exposures, epochs):
    return measure_exposures(exposures[0], epochs)


def measure_exposures(headers, epochs, **options):
    """Find the sources of all exposures, and measure them in each."""
    return measure_sources(headers, epochs, find_sources(headers, **options), **options)


def alter(header, folder, change):
    """A copy of an exposure's file with something wrong."""
    path = folder / "wrong_cal.fits"
    with fits.open(header.path) as hdulist:
        change(hdulist)
        hdulist.writeto(path, overwrite=True)
    return path


def test_places_are_those_of_the_geometry(photometry, exposures):
    # The truth: SIAF, by way of the simulator.
    table = photometry.measurements
    for detector in ("NRCA1", "NRCB1"):
        rows = table[table["module"] == detector[3]]
        v2, v3 = simulate.detector_geometry(detector).pixel_to_v2v3(np.asarray(rows["x"]), np.asarray(rows["y"]))
        assert np.abs(v2 - rows["V2"]).max() < 1e-6
        assert np.abs(v3 - rows["V3"]).max() < 1e-6
        assert rows["x"].min() > 523  # full frame, not the subarray


def test_sky_level_is_that_of_the_band_times_the_error_of_the_calibration(photometry):
    # The truth: the band's sky, and in A, that is put wrong by the whole offset, less; sources add a little.
    sky = simulate.Band.named("F200W").sky
    for row in photometry.exposures:
        expected = sky * 10 ** (-0.4 * OFFSET * (row["module"] == "A"))
        assert row["sky"] == pytest.approx(expected, rel=0.005)
        assert 0 < row["sky_error"] < 0.005 * sky


def test_pointing_error_is_taken_out(exposures, epochs, photometry, tmp_path):
    # The truth: the same magnitudes, though one exposure's WCS is wrong by 0.4" along V2: east where V3 is north.
    header = exposures[0][3]
    with ImageModel(str(header.path)) as model:
        model.meta.wcs.insert_transform("v2v3", Shift(0.4) & Identity(1), after=True)
        model.save(tmp_path / header.name)
    moved = [*exposures[0][:3], read_header(tmp_path / header.name)]
    again = measure_exposures(moved, epochs)
    shift, roll = [again.exposures[f"shift_{axis}"][3] for axis in ("east", "north")], np.radians(header.roll)
    assert shift == pytest.approx([0.4 * np.cos(roll), -0.4 * np.sin(roll)], abs=0.01)
    fluxes = [one.measurements["flux"][one.measurements["exposure"] == 3] for one in (photometry, again)]
    assert len(fluxes[0]) == len(fluxes[1])
    ratios = np.asarray(fluxes[1] / fluxes[0])
    assert np.nanmedian(np.abs(ratios - 1)) < 0.001


@pytest.mark.parametrize(
    ("flag", "bad", "saturated"),
    [
        ("DO_NOT_USE", True, False),
        ("SATURATED", False, True),
        ("JUMP_DET", False, False),
        ("REFERENCE_PIXEL", False, False),  # the highest bit
    ],
)
def test_flags_mean_what_the_pipeline_says(exposures, tmp_path, flag, bad, saturated):
    """The truth: names and bits of the pipeline's own list. The pixel's value looks like any other."""

    def mark(hdulist):
        hdulist["SCI"].data[500, 400], hdulist["ERR"].data[500, 400] = 1.0, 0.1
        hdulist["DQ"].data[500, 400] = dqflags.pixel[flag]

    frame = read_frame(read_header(alter(exposures[0][0], tmp_path, mark)))
    assert (frame.bad[500, 400], frame.saturated[500, 400]) == (bad, saturated)


@pytest.mark.parametrize(
    ("name", "value"), [("SCI", np.nan), ("SCI", np.inf), ("ERR", np.nan), ("ERR", 0.0), ("ERR", -1.0)]
)
def test_pixels_with_no_number_or_no_error_are_bad(exposures, tmp_path, name, value):
    def spoil(hdulist):
        hdulist["SCI"].data[500, 400], hdulist["ERR"].data[500, 400] = 1.0, 0.1
        hdulist["DQ"].data[500, 400] = 0
        hdulist[name].data[500, 400] = value

    assert read_frame(read_header(alter(exposures[0][0], tmp_path, spoil))).bad[500, 400]


def test_a_frame_that_is_not_square_has_the_sources_on_its_pixels(exposures):
    """Truth: the sources of 1000 x 1000 pixels, of which 700 rows are left."""
    frame = read_frame(exposures[0][0])
    sources, aperture = merge_detections([detect(frame)]), default_aperture("SHORT")
    rows = {name: getattr(frame, name)[:700] for name in ("data", "err", "bad", "saturated", "area")}
    whole, part = (measure_frame(one, sources, aperture) for one in (frame, replace(frame, **rows)))
    inside = whole["y"] - frame.header.corner[1] < 699
    assert 10 < np.count_nonzero(inside) < len(inside)
    assert part["source"].tolist() == whole["source"][inside].tolist()


def test_an_exposure_without_any_of_the_sources_has_no_measurements(exposures):
    frame, aperture = read_frame(exposures[0][0]), default_aperture("SHORT")
    sources = merge_detections([detect(frame)])
    for none in (sources[:0], replace(sources, dec=sources.dec + 1)):
        assert {name: values.size for name, values in measure_frame(frame, none, aperture).items() if values.size} == {
            "level": 2, "shift": 2,
        }  # fmt: skip


def test_exposures_that_do_not_overlap_are_refused(exposures):
    headers = exposures[0][:2]  # both modules in one epoch, side by side
    epochs = group_epochs(headers)
    with pytest.raises(PhotometryError, match=r"must overlap on the sky; no two in one filter share a source: jw"):
        measure_exposures(headers, epochs)


def test_pixels_come_back_from_the_sky(exposures):
    # The truth: the pixels that went there, over the array and 50 pixels around it; the WCS's own inverse is worse.
    geometry = read_frame(exposures[0][0]).geometry
    x, y = (grid.ravel() for grid in np.meshgrid(np.linspace(-50, 1050, 12), np.linspace(-50, 1050, 12)))
    found = geometry.to_pixel(*geometry.to_sky(x, y))
    assert np.abs(np.subtract(found, [x, y])).max() < 1e-6


def test_centroids_are_relative_to_the_list(exposures):
    # The truth: the brightest source of the list is moved 20 mas east and 10 mas south of where it is.
    frame, sources = read_frame(exposures[0][0]), find_sources(exposures[0][:1])
    moved = np.argmax(np.where(sources.isolation > 1, sources.flux, 0))
    ra, dec = sources.ra.copy(), sources.dec.copy()
    ra[moved] += 0.020 / 3600 / np.cos(np.radians(dec[moved]))
    dec[moved] -= 0.010 / 3600
    before, after = (
        measure_frame(frame, one, default_aperture("SHORT")) for one in (sources, replace(sources, ra=ra, dec=dec))
    )
    change = [after[name] - before[name] for name in ("off_east", "off_north")]
    is_moved = before["source"] == moved
    assert np.asarray(change)[:, is_moved] == pytest.approx(np.array([[-0.020], [0.010]]), abs=1e-4)
    assert np.abs(np.asarray(change)[:, ~is_moved]).max() < 1e-3


def test_magnitudes_of_sources_are_those_of_the_stars(photometry, exposures):
    # The truth: the simulator's magnitudes; isophotal ones miss some 5% of the light, in the wings.
    scene = Table.read(next(exposures[1].glob("*_sources.ecsv")))
    table = photometry.measurements[select_measurements(photometry.measurements).mask]
    matched = SkyCoord(table["RA"], table["Dec"]).match_to_catalog_sky(SkyCoord(scene["ra"], scene["dec"], unit="deg"))
    near = (matched[1].arcsec < 0.02) & (scene["mag_F200W"][matched[0]] < 22)
    assert near.sum() > 5
    missing = table["source_mag"][near] - scene["mag_F200W"][matched[0]][near]
    assert np.median(missing) == pytest.approx(0.05, abs=0.05)


def test_sources_too_faint_to_be_measured_need_not_be_deblended(exposures):
    """The truth: every source bright enough is in the list of all that was deblended too."""
    frame = read_frame(exposures[0][0])
    every, bright = detect(frame), detect(frame, faintest=23.0)
    least = 3631 * 10 ** (-0.4 * 23.0)
    for name in ("ra", "dec", "flux"):
        left, right = (getattr(found, name)[found.flux >= least] for found in (every, bright))
        np.testing.assert_array_equal(np.sort(left), np.sort(right))
    assert len(every.ra) >= len(bright.ra) > np.sum(every.flux >= least) > 10
    larger = detect(replace(frame, area=1.05 * frame.area))
    np.testing.assert_allclose(larger.flux, 1.05 * every.flux, rtol=1e-6)  # surface brightness times the pixels' area


def assert_same(found, expected):
    for name in ("measurements", "exposures"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.colnames == theirs.colnames
        for column in ours.colnames:
            np.testing.assert_array_equal(np.asarray(ours[column]), np.asarray(theirs[column]))
    assert found.measurements.meta == expected.measurements.meta


def test_other_processes_measure_the_same_bit_for_bit(exposures, epochs, photometry):
    assert_same(measure_exposures(exposures[0], epochs, workers=Workers(count=2)), photometry)


def test_the_cache_knows_the_limit_the_places_and_the_aperture(exposures, epochs, tmp_path, monkeypatch):
    """The truth: what is measured without a cache, after the cache has seen something else."""
    headers, cache = exposures[0][::3], Cache(tmp_path / "cache")
    epochs = replace(epochs, number=epochs.number[::3])
    find_sources(headers, faintest=20.0, cache=cache)  # fewer blends are deblended
    sources, expected = find_sources(headers, cache=cache), find_sources(headers)
    for name in ("ra", "dec", "flux", "isolation"):
        np.testing.assert_array_equal(getattr(sources, name), getattr(expected, name))
    measure_sources(headers, epochs, sources, cache=cache)
    moved = replace(sources, dec=sources.dec + 0.01 / 3600)
    assert_same(*(measure_sources(headers, epochs, moved, cache=one) for one in (cache, None)))
    monkeypatch.setattr(forced, "default_aperture", lambda channel: Aperture(radius=0.2, inner=0.5, outer=1.0))
    assert_same(*(measure_sources(headers, epochs, sources, cache=one) for one in (cache, None)))


def test_what_was_measured_once_is_not_measured_again(exposures, epochs, photometry, pixels_read, tmp_path):
    headers, cache = exposures[0], Cache(tmp_path / "cache")
    assert_same(measure_exposures(headers, epochs, cache=cache), photometry)
    assert len(pixels_read) >= len(headers)
    pixels_read.clear()
    assert_same(measure_exposures(headers, epochs, cache=cache), photometry)
    assert pixels_read == []
