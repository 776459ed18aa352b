"""Exposures: the truth is the injected table, the catalogue's magnitudes and the noise model."""

import dataclasses
import functools

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from jwst.assign_wcs.pointing import compute_roll_ref
from one_exposure import one_exposure, sources_at
from stdatamodels.jwst.datamodels import ImageModel
from stdatamodels.jwst.datamodels.dqflags import pixel as flags

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate import (
    JWIDF_EPOCHS,
    CalibrationTruth,
    Effects,
    Population,
    Subarray,
    calibration_factor,
    named_subarray,
    plan_exposures,
    scene_around,
    simulate_exposure,
)
from jwst_modfix.simulate.detector import WHOLE
from jwst_modfix.simulate.header import exposure_metadata
from jwst_modfix.simulate.optics import read_aperture
from jwst_modfix.steps.module_offset import ModuleOffsetStep
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.table.table import Field, Gradient, OffsetRow, OffsetTable, ZeroPointRow

PERFECT = CalibrationTruth(table=OffsetTable(rows=()))
SKY_ONLY = Effects(noise=False, bad_pixels=False, saturation=False)


def nothing(exposure):
    return sources_at(exposure, [], [])


def measure(model, x, y):
    """Magnitude in a wide box: flux is sum(data AREA) PIXAR_SR (science.md)."""
    box = np.s_[round(float(y)) - 60 : round(float(y)) + 61, round(float(x)) - 60 : round(float(x)) + 61]
    flux = (model.data[box].astype(float) * model.area[box]).sum() * model.meta.photometry.pixelarea_steradians
    return -2.5 * np.log10(flux / 3631e-6)


@pytest.fixture(scope="module")
def model():
    """A whole exposure, with every effect."""
    exposure = one_exposure("NRCB2", "F200W")
    rng = np.random.default_rng(4)
    return simulate_exposure(exposure, scene_around(rng, [exposure], Population(density=5)), rng)


@pytest.fixture(scope="module")
def sky():
    """Noise and sky alone, perfectly calibrated."""
    exposure = one_exposure("NRCA4", "F150W")
    effects = Effects(bad_pixels=False)
    return simulate_exposure(exposure, nothing(exposure), np.random.default_rng(6), truth=PERFECT, effects=effects)


@pytest.mark.parametrize(("detector", "filter"), [("NRCA2", "F115W"), ("NRCBLONG", "F405N")])
def test_flux_in_the_file_is_that_of_the_catalogue(detector, filter):
    exposure = one_exposure(detector, filter)
    x, y = [90.2, 1000.5, 1950.8], [1950.4, 1000.1, 90.9]
    model = simulate_exposure(exposure, sources_at(exposure, x, y), None, truth=PERFECT, effects=Effects.none())
    found = [measure(model, *position) for position in zip(x, y, strict=True)]
    np.testing.assert_allclose(found, 20, atol=1e-5)


@pytest.mark.parametrize(
    ("frame", "direction", "origin", "own"),
    [
        ("focal_plane", 70.0, (10.0, -480.0), None),
        ("focal_plane", 70.0, (10.0, -480.0), -20.0),
        ("detector", 200.0, (300.0, 1500.0), None),
        ("sky", 72.0, (JWIDF_EPOCHS[0].ra, JWIDF_EPOCHS[0].dec), None),
    ],
)
def test_step_takes_out_what_was_put_in(frame, direction, origin, own):
    """Truth: the correction, which shares no code for the coordinate u; also for a row with a direction of its own."""
    row = OffsetRow(array="long", filter="F444W", offset=0.05, offset_error=0.001, slope=0.03, slope_error=0.001,
                    direction=own)  # fmt: skip
    gradient = Gradient(frame=frame, direction=direction, origin=origin, exposure_share=0.5)
    table = OffsetTable(rows=(row,), gradient=gradient)
    exposure = one_exposure("NRCALONG", "F444W", epoch=1)
    strip = Subarray(xstart=1, ystart=1900, xsize=2048, ysize=64)  # along x, and far from the origin along y
    right, wrong = (
        simulate_exposure(exposure, nothing(exposure), None, truth=truth, effects=SKY_ONLY, subarray=strip)
        for truth in (PERFECT, CalibrationTruth(table=table))
    )
    reference = ModuleOffsetModel(dataclasses.replace(table, meta={"description": "A test"}))
    corrected = ModuleOffsetStep.call(wrong, override_moduleoffset=reference)
    for names, tolerance in ((("data", "err"), 2e-6), (("var_poisson", "var_rnoise", "var_flat"), 5e-6)):
        for name in names:
            np.testing.assert_allclose(getattr(corrected, name), getattr(right, name), rtol=tolerance)


def test_zero_points_and_fields_of_detectors_are_put_in():
    """Truth by hand: z = 0.03, and -0.02 P_1 along y, which is the same at every x and 0 in the middle."""
    field = Field(order=1, coefficients=[[0, -0.02], [0]])
    row = ZeroPointRow(detector="NRCA4", filter="F150W", zero_point=0.03, field=field)
    strip = Subarray(xstart=1, ystart=1, xsize=3, ysize=2048)
    truth = CalibrationTruth(table=OffsetTable(rows=(row,)))
    found = -2.5 * np.log10(calibration_factor(one_exposure("NRCA4", "F150W"), truth, strip))
    np.testing.assert_allclose(found, np.tile(0.03 - 0.02 * np.linspace(-1, 1, 2048)[:, None], 3), atol=1e-12)
    np.testing.assert_allclose(calibration_factor(one_exposure("NRCB4", "F150W"), truth, strip), 1)


def test_noise_has_the_size_that_err_says(sky):
    band_sky = 0.21
    deviations = (sky.data.astype(float) - band_sky) / sky.err
    assert deviations.mean() == pytest.approx(0, abs=0.003)
    assert deviations.std() == pytest.approx(1, abs=0.003)


def test_variances_add_up_and_follow_the_electrons(sky):
    """F150W on A4: a sky of 0.21 MJy/sr, 2.05 electrons per DN, 526.1 s, 9 electrons of read noise."""
    parts = sky.var_poisson.astype(float) + sky.var_rnoise + sky.var_flat
    np.testing.assert_allclose(sky.err**2, parts, rtol=1e-5)
    per_electron = sky.meta.photometry.conversion_megajanskys / (2.05 * 526.1)
    np.testing.assert_allclose(sky.var_poisson, 0.21 * per_electron, rtol=1e-3)
    np.testing.assert_allclose(sky.var_rnoise, (9 * per_electron) ** 2, rtol=1e-5)
    np.testing.assert_allclose(sky.var_flat, (0.002 * 0.21) ** 2, rtol=1e-3)


def test_photometry_keywords_are_those_of_detector_and_siaf(model, sky):
    """PHOTMJSR falls as the throughput rises: B2 has 0.99, A4 1.01 of its band's. Pixels by the scales of the SIAF."""
    for each, band in ((model, 0.49 * 1.990 / 0.461 / 0.99), (sky, 0.49 * 1.501 / 0.318 / 1.01)):
        aperture, found = read_aperture(each.meta.instrument.detector), each.meta.photometry
        area = aperture.XSciScale * aperture.YSciScale
        assert found.conversion_megajanskys == pytest.approx(band, rel=1e-6)
        assert found.pixelarea_arcsecsq == pytest.approx(area, rel=1e-5)
        assert found.pixelarea_steradians == pytest.approx(area * np.deg2rad(1 / 3600) ** 2, rel=1e-5)
        assert found.conversion_microjanskys == pytest.approx(band * 1e12 * np.deg2rad(1 / 3600) ** 2, rel=1e-6)


def test_area_is_the_share_of_the_sky_that_a_pixel_covers(model):
    """From the corners of pixels on the sky, by the WCS in the file."""
    for x, y in ((10.0, 20.0), (2030.0, 1000.0)):
        ra, dec = model.meta.wcs(x + np.array([-0.5, 0.5, 0.5, -0.5]), y + np.array([-0.5, -0.5, 0.5, 0.5]))
        east, north = (ra - ra[0]) * np.cos(np.deg2rad(dec.mean())) * 3600, (dec - dec[0]) * 3600
        area = abs(np.dot(east, np.roll(north, 1)) - np.dot(north, np.roll(east, 1))) / 2
        assert model.area[int(y), int(x)] * model.meta.photometry.pixelarea_arcsecsq == pytest.approx(area, rel=1e-4)


def test_bad_pixels_are_flagged_and_not_a_number(model):
    lost = (model.dq & flags["DO_NOT_USE"]) > 0
    for name in ("data", "err", "var_poisson", "var_rnoise", "var_flat"):
        np.testing.assert_array_equal(np.isnan(getattr(model, name)), lost)
    border = np.ones(lost.shape, bool)
    border[4:-4, 4:-4] = False
    assert np.all(model.dq[border] & flags["REFERENCE_PIXEL"])
    assert np.mean((model.dq & flags["DEAD"]) > 0) == pytest.approx(0.003, rel=0.1)
    assert np.mean((model.dq & flags["HOT"]) > 0) == pytest.approx(0.001, rel=0.1)
    exposure = one_exposure("NRCB2", "F150W", epoch=1)
    other = simulate_exposure(exposure, nothing(exposure), np.random.default_rng(9))
    np.testing.assert_array_equal(other.dq & flags["DEAD"], model.dq & flags["DEAD"])  # they are the detector's


@pytest.mark.parametrize(("electrons", "flagged", "lost"), [(55e3, 0, 0), (61e3, 1, 0), (55e4, 1, 0), (61e4, 1, 1)])
def test_bright_cores_are_saturated(electrons, flagged, lost):
    """Lost when the first of ten groups holds more than 58000 electrons, flagged when the last one does."""
    exposure = one_exposure("NRCALONG")
    options = {"truth": PERFECT, "subarray": Subarray(xstart=941, ystart=941, xsize=120, ysize=120)}
    scene = sources_at(exposure, [1000.0], [1000.0])
    faint = simulate_exposure(exposure, scene, None, effects=Effects.none(), **options)
    per_brightness = 1.82 * 526.1 / faint.meta.photometry.conversion_megajanskys  # electrons
    peak, sky = faint.data[60, 60] * per_brightness, exposure.band.sky * per_brightness
    magnitude = 20 - 2.5 * np.log10((electrons - sky) / peak)
    effects = Effects(noise=False, bad_pixels=False)
    bright = sources_at(exposure, [1000.0], [1000.0], magnitude=magnitude)
    model = simulate_exposure(exposure, bright, None, effects=effects, **options)
    assert bool(model.dq[60, 60] & flags["SATURATED"]) == flagged
    assert np.isnan(model.data[60, 60]) == lost
    assert model.dq[60, 110] == 0


def test_cosmic_rays_are_many_sigma_and_not_flagged():
    exposure = one_exposure("NRCB1", "F200W")
    effects = Effects(bad_pixels=False, cosmic_rays=200)
    model = simulate_exposure(exposure, nothing(exposure), np.random.default_rng(3), truth=PERFECT, effects=effects)
    hits = (model.data - exposure.band.sky) / model.err
    assert np.count_nonzero(hits > 7) == pytest.approx(200, abs=3)
    assert np.mean(hits[hits > 7]) == pytest.approx(10 + 30, abs=4 * 30 / np.sqrt(200))
    assert not model.dq.any()


def test_file_validates_and_reads_back(model, tmp_path):
    """With warnings as errors, a value that breaks the schema raises."""
    path = tmp_path / model.meta.filename
    model.save(path)
    with ImageModel(path) as read:
        read.validate()
        assert path.name == "jw02738001001_02101_00001_nrcb2_cal.fits"
        assert read.meta.instrument.detector == "NRCB2"
        assert read.meta.ref_file.crds.context_used == "jwst_1130.pmap"
        assert read.meta.cal_step.photom == "COMPLETE"
        assert read.meta.exposure.start_time < read.meta.exposure.mid_time < read.meta.exposure.end_time
        info = read.meta.wcsinfo
        boresight = compute_roll_ref(info.v2_ref, info.v3_ref, info.roll_ref, info.ra_ref, info.dec_ref, 0.0, 0.0)
        assert read.meta.pointing.pa_v3 == pytest.approx(boresight, abs=1e-6)
        v1 = read.meta.wcs.get_transform("v2v3", "world")(0.0, 0.0)
        assert (read.meta.pointing.ra_v1, read.meta.pointing.dec_v1) == pytest.approx(v1, abs=1e-9)
        photometry = read.meta.photometry
        in_mjy = photometry.conversion_microjanskys * u.uJy / u.arcsec**2
        assert in_mjy.to_value("MJy/sr") == pytest.approx(photometry.conversion_megajanskys, rel=1e-9)
        area = photometry.pixelarea_arcsecsq * u.arcsec**2
        assert area.to_value("sr") == pytest.approx(photometry.pixelarea_steradians, rel=1e-9)
        np.testing.assert_allclose(read.meta.wcs(5.0, 6.0), model.meta.wcs(5.0, 6.0), rtol=1e-14)
    header = fits.getheader(path)
    wanted = {"FILTER": "F200W", "PUPIL": "CLEAR", "MODULE": "B", "CHANNEL": "SHORT", "SUBARRAY": "FULL"}
    assert {key: header[key] for key in wanted} == wanted
    assert (header["EXP_TYPE"], header["DATE-OBS"]) == ("NRC_IMAGE", "2022-07-08")
    # The SIP approximation of the pipeline agrees with the gWCS.
    x, y = np.random.default_rng(1).uniform(0, 2047, (2, 50))
    approximate = WCS(fits.getheader(path, "SCI")).all_pix2world(x, y, 0)
    np.testing.assert_allclose(model.meta.wcs.invert(*approximate), [x, y], atol=0.02)


def test_gwcs_is_the_geometry_and_makes_the_round_trip(model):
    exposure = one_exposure("NRCB2", "F200W")
    x, y = np.random.default_rng(2).uniform(-0.5, 2047.5, (2, 300))
    assert model.meta.wcs.available_frames == ["detector", "v2v3", "v2v3vacorr", "world"]
    v2v3 = model.meta.wcs.get_transform("detector", "v2v3")(x, y)
    np.testing.assert_allclose(v2v3, exposure.geometry.pixel_to_v2v3(x, y), atol=1e-9)
    sky = model.meta.wcs(x, y)
    np.testing.assert_allclose(sky, exposure.attitude.v2v3_to_sky(*v2v3), atol=1e-10)
    np.testing.assert_allclose(model.meta.wcs.invert(*sky), [x, y], atol=1e-3)


def test_named_subarrays_are_those_of_the_siaf():
    """SUB640 lies in the corner of a short-wavelength array that is nearest to the middle of its module."""
    corner = Subarray(name="SUB640", xstart=1409, ystart=1409, xsize=640, ysize=640)
    assert named_subarray("SUB640", "NRCA1") == corner
    assert named_subarray("SUB640", "NRCALONG").xstart == 705
    strip = named_subarray("GRISM256_F322W2", "NRCALONG")
    assert (strip.xsize, strip.ysize) == (2048, 256)
    assert 1 <= strip.ystart <= 2048 - 255


@pytest.fixture(scope="module")
def noiseless():
    """Function that simulates the full frame, or a subarray of it: bad pixels and the calibration, but no noise."""
    exposure, effects = one_exposure("NRCALONG", "F444W"), Effects(noise=False)
    scene = scene_around(np.random.default_rng(5), [exposure], Population(density=20))
    return functools.cache(
        lambda subarray=None: simulate_exposure(exposure, scene, None, effects=effects, subarray=subarray)
    )


@pytest.mark.parametrize("corner", [(1, 1), (101, 301), (1849, 1999)])
def test_a_subarray_has_the_pixels_and_the_sky_of_the_full_frame(noiseless, corner):
    x, y = (start - 1 for start in corner)
    model, part = noiseless(), noiseless(Subarray(xstart=x + 1, ystart=y + 1, xsize=200, ysize=50))
    part.validate()
    for name in ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat", "area"):
        whole = getattr(model, name)[y : y + 50, x : x + 200]
        np.testing.assert_allclose(getattr(part, name), whole, rtol=2e-6, err_msg=name)
    np.testing.assert_allclose(part.meta.wcs(7.0, 9.0), model.meta.wcs(x + 7.0, y + 9.0), rtol=1e-13)
    np.testing.assert_allclose(part.meta.wcs.bounding_box.bounding_box(order="F"), [(-0.5, 199.5), (-0.5, 49.5)])
    np.testing.assert_allclose(model.meta.wcs.bounding_box.bounding_box(order="F"), [(-0.5, 2047.5)] * 2)
    keywords = part.meta.subarray
    assert (keywords.name, keywords.xstart, keywords.ysize) == ("GENERIC", x + 1, 50)
    assert part.meta.wcsinfo.s_region != model.meta.wcsinfo.s_region


def test_each_detector_has_its_throughput_and_readout():
    """Truth: PHOTMJSR is that of the band over the throughput; every other array is mounted upside down."""
    throughput = {"NRCA1": 1.00, "NRCA2": 0.97, "NRCA3": 0.98, "NRCA4": 1.01, "NRCALONG": 1.00, "NRCB1": 1.02,
                  "NRCB2": 0.99, "NRCB3": 1.00, "NRCB4": 1.03, "NRCBLONG": 0.98}  # fmt: skip
    upside_down = ("NRCA1", "NRCA3", "NRCALONG", "NRCB2", "NRCB4")
    for detector, factor in throughput.items():
        exposure = one_exposure(detector, "F444W" if "LONG" in detector else "F200W")
        meta = exposure_metadata(exposure, "jwst_1130.pmap", WHOLE)
        band = 0.092 * 4.421 / 1.024 if "LONG" in detector else 0.49 * 1.990 / 0.461
        assert meta["photometry"]["conversion_megajanskys"] == pytest.approx(band / factor)
        axes = meta["subarray"]["fastaxis"], meta["subarray"]["slowaxis"]
        assert axes == ((-1, 2) if detector in upside_down else (1, -2))


def test_times_and_numbers_of_an_exposure():
    """Truth: the second of three dithers of 500 s, 120 s after the first; a frame takes 10.73677 s."""
    options = {"filters": ["F356W", "F444W"], "detectors": ["NRCALONG"], "dithers": 3, "duration": 500.0}
    exposure = plan_exposures(JWIDF_EPOCHS[:1], **options)[4]
    meta = exposure_metadata(exposure, "jwst_1130.pmap", WHOLE)
    times = meta["exposure"]
    start = 59768 + 4 * 620 / 86400
    found = [times[name] for name in ("start_time", "mid_time", "end_time")]
    assert found == pytest.approx([start, start + 250 / 86400, start + 500 / 86400], abs=1e-9)
    assert [times[name] for name in ("exposure_time", "effective_exposure_time", "measurement_time")] == [500.0] * 3
    assert (times["duration"], times["elapsed_exposure_time"]) == pytest.approx((510.73677, 510.73677))
    assert (times["frame_time"], times["group_time"]) == pytest.approx((10.73677, 53.68385))
    numbers = {"program_number": "02738", "observation_number": "001", "activity_id": "02", "exposure_number": "2"}
    assert {name: meta["observation"][name] for name in numbers} == numbers
    assert [meta["dither"][name] for name in ("position_number", "total_points", "primary_type")] == [2, 3, "FULLBOX"]
    assert meta["wcsinfo"]["roll_ref"] == pytest.approx(exposure.attitude.roll_at(*exposure.geometry.reference))
    assert meta["wcsinfo"]["roll_ref"] != exposure.attitude.roll


@pytest.mark.parametrize("axis", "xy")
def test_a_subarray_lies_on_the_detector(axis):
    """Truth: pixels 1 to 2048."""
    whole = {"xstart": 1, "xsize": 2048, "ystart": 1, "ysize": 2048}
    for start, size, is_inside in ((2048, 1, True), (2048, 2, False), (0, 5, False), (1, 0, False), (1, 2049, False)):
        given = whole | {f"{axis}start": start, f"{axis}size": size}
        if is_inside:
            assert len(getattr(Subarray(**given), {"x": "columns", "y": "rows"}[axis])) == size
        else:
            with pytest.raises(SimulationError, match=f"{axis}start, {axis}size: pixels 1 to 2048, at least one; got"):
                Subarray(**given)


def test_terms_of_epochs_by_filter_come_before_those_of_all_and_need_no_row():
    """Truth: 10 mmag in ep2 in F200W, 20 mmag in ep2 in any other filter, and rows of CLEAR or of F162M only."""
    terms = {("ep2", "F200W"): 0.01, "ep2": 0.02}
    truth = CalibrationTruth(table=OffsetTable(rows=()), epoch_terms=terms)
    expected = {("F200W", 1): 0.01, ("F150W", 1): 0.02, ("F200W", 0): 0.0}
    at = {"x": np.zeros(1), "y": np.zeros(1), "v2": np.zeros(1), "v3": np.zeros(1)}
    for (name, epoch), value in expected.items():
        assert truth.magnitude_error(one_exposure("NRCA1", name, epoch=epoch), **at) == value
    row = OffsetRow(array="1", filter="F150W2", pupil="F162M", offset=0.03, offset_error=0.0)
    truth = CalibrationTruth(table=OffsetTable(rows=(row,)), epoch_terms=terms)
    for name, value in (("F162M", 0.05), ("F150W2", 0.02)):
        assert truth.magnitude_error(one_exposure("NRCA1", name, epoch=1), **at) == pytest.approx(value)
