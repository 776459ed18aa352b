"""Headers of exposures. Truth: the keywords that are written, and footprints that a person would compare."""

import numpy as np
import pytest
from astropy.io import fits
from one_header import make_header

from jwst_modfix.errors import AssociationError, ExposureError
from jwst_modfix.photometry.frames import (
    find_apart,
    find_copies,
    find_mixed,
    offsets_on_sky,
    read_frame,
    read_header,
    read_headers,
    shift_on_sky,
)


@pytest.fixture
def saved(small_exposure, tmp_path):
    """Give a function that saves an exposure with something changed in its model, then in its file."""

    def save(change=lambda model: None, spoil=None):
        path = tmp_path / "jw_cal.fits"
        model = small_exposure("NRCA1", "F200W")
        change(model)
        model.save(str(path))
        if spoil:
            with fits.open(path, memmap=False) as hdulist:
                spoil(hdulist)
                hdulist.writeto(path, overwrite=True)
        return path

    return save


def test_headers_give_the_middle_of_the_exposure_and_the_roll_of_the_telescope(saved):
    # The truth: EXPMID of EXPSTART and EXPMID; PA_V3, the roll at the boresight, of PA_V3 and ROLL_REF.
    def change(model):
        model.meta.exposure.start_time, model.meta.exposure.mid_time = 60001.0, 60001.5
        model.meta.pointing.pa_v3, model.meta.wcsinfo.roll_ref = 12.0, 13.0

    header = read_header(saved(change))
    assert (header.mjd, header.roll) == (60001.5, 12.0)
    assert (header.array, header.module, header.channel, header.band) == ("1", "A", "SHORT", ("F200W", "CLEAR"))
    assert (header.shape, header.corner) == ((48, 64), (700, 400))
    assert header.jansky == header.pixar_sr * 1e6


def test_files_that_cannot_be_used_are_reported_together(saved, tmp_path):
    """Truth: one of three files has no WCS, which counts where that is asked for, and one is not there."""
    good = saved().rename(tmp_path / "good_cal.fits")
    no_wcs = saved(lambda model: setattr(model.meta, "wcs", None))
    gone = tmp_path / "gone_cal.fits"
    assert [header.path for header in read_headers([good, no_wcs], "file")] == [good, no_wcs]
    with pytest.raises(AssociationError, match=r"^1 of 3 files cannot be used.*gone_cal.fits: no such file"):
        read_headers([good, no_wcs, gone], "file")
    words = r"(?s)^a_asn.json: 2 of 3 members cannot be used.*jw_cal.fits: has no gWCS with a v2v3 frame.*gone_cal.fits"
    with pytest.raises(AssociationError, match=words):
        read_headers([good, no_wcs, gone], "member", where="a_asn.json: ", with_geometry=True)


def test_an_exposure_is_known_by_its_start_and_each_of_its_numbers(saved):
    path = saved()
    known = [read_header(path).identity]
    for keyword in ("EXPSTART", "PROGRAM", "OBSERVTN", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE"):
        fits.setval(path, keyword, value=59000.5 if keyword == "EXPSTART" else "7")
        known.append(read_header(path).identity)
    assert len(set(known)) == 9


def test_a_failed_step_is_refused_or_where_it_leaves_the_flux_scale_named_in_a_warning(saved, caplog):
    with pytest.raises(ExposureError, match=r"FAILED \(S_PHOTOM\): calibrate the exposure again"):
        read_header(saved(spoil=lambda hdulist: hdulist[0].header.set("S_PHOTOM", "FAILED")))
    caplog.clear()
    read_header(saved(spoil=lambda hdulist: hdulist[0].header.set("S_JUMP", "FAILED")))
    assert "jw_cal.fits: an earlier step FAILED (S_JUMP): look at its log" in caplog.text
    with pytest.raises(ExposureError, match=r"FAILED \(S_FLAT\): calibrate the exposure again"):
        read_header(saved(spoil=lambda hdulist: hdulist[0].header.extend([("S_FLAT", "FAILED")], unique=False)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: setattr(m.meta.instrument, "name", "MIRI"), "must be of NIRCam .* got INSTRUME MIRI"),
        (lambda m: setattr(m.meta.instrument, "detector", "NRS1"), "must be of NIRCam .* DETECTOR NRS1"),
        (lambda m: setattr(m.meta.cal_step, "resample", "COMPLETE"), "is a mosaic .S_RESAMP is COMPLETE.; give the"),
        (lambda m: setattr(m.meta.exposure, "type", "NRC_WFSS"), "EXP_TYPE must be NRC_IMAGE; got NRC_WFSS"),
        (
            lambda m: setattr(m.meta, "bunit_data", "DN/s"),
            "BUNIT must be MJy/sr, as photom makes it; got DN/s",
        ),
        (lambda m: setattr(m.meta.photometry, "pixelarea_steradians", None), "has no PIXAR_SR in its headers; give a"),
        (lambda m: setattr(m.meta.photometry, "pixelarea_steradians", -1.0), "PIXAR_SR must be positive, got -1.0"),
        (lambda m: setattr(m.meta.photometry, "pixelarea_steradians", 0.0), "PIXAR_SR must be positive, got 0.0"),
    ],
)
def test_wrong_headers_are_refused(saved, change, message):
    path = saved(change)
    with pytest.raises(ExposureError, match=message) as caught:
        read_header(path)
    assert "jw_cal.fits" in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda h: h.pop("SCI"), "is not a science image"),
        (lambda h: h.pop("ASDF"), "has no ASDF extension"),
        (lambda h: h.pop("AREA"), "AREA"),
    ],
)
def test_files_without_an_extension_are_refused(saved, spoil, message):
    with pytest.raises(ExposureError, match=message) as caught:
        read_frame(read_header(saved(spoil=spoil)))
    assert "jw_cal.fits" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, None),
        ({"context": "jwst_1489.pmap"}, "CRDS_CTX is jwst_1130.pmap (2 exposures), jwst_1489.pmap (1 exposure)"),
        ({"photom": "crds://b.fits"}, "R_PHOTOM is a.fits (2 exposures), b.fits (1 exposure)"),
        ({"photom": "elsewhere/a.fits"}, None),
        ({"flat": "crds://b.fits"}, "R_FLAT is a.fits (2 exposures), b.fits (1 exposure)"),
        ({"photmjsr": 2.2}, None),  # one photom file: it is corrected for the time of the exposure
        ({"photmjsr": 2.4}, "PHOTMJSR is 2.1 (2 exposures), 2.4 (1 exposure)"),  # more than time can do
        ({"pixar_sr": 1.03e-13}, "PIXAR_SR is 1e-13 (2 exposures), 1.03e-13 (1 exposure)"),  # of another area file
        ({"pixar_sr": 1.0000001e-13}, None),
        *(
            ({name: other, "context": "jwst_1489.pmap"}, None)
            for name, other in (("detector", "NRCA2"), ("filter", "F150W2"), ("pupil", "F162M"))
        ),
    ],
)
def test_mixed_calibrations_are_listed(change, line):
    known = {"context": "jwst_1130.pmap", "photom": "crds://a.fits", "flat": "crds://a.fits", "photmjsr": 2.1}
    known["pixar_sr"] = 1e-13
    headers = [make_header(**known), make_header(**known), make_header(**known | change)]
    assert find_mixed(headers) == ([f"NRCA1 F200W CLEAR: {line}"] if line else [])


def test_photmjsr_is_compared_where_no_photom_file_is_named():
    headers = [make_header(photmjsr=value) for value in (2.1, 2.1, 2.2)]
    assert find_mixed(headers) == ["NRCA1 F200W CLEAR: PHOTMJSR is 2.1 (2 exposures), 2.2 (1 exposure)"]


@pytest.mark.parametrize(
    ("second", "line"),
    [
        ({"detector": "NRCB1", "status": "COMPLETE", "digest": "aa"}, None),
        ({"detector": "NRCB1", "status": "COMPLETE", "digest": "bb"}, "MODFHASH is aa (1 exposure), bb (1 exposure)"),
        ({"detector": "NRCB1"}, "S_MODOFF=COMPLETE is True (1 exposure), False (1 exposure)"),
        ({"detector": "NRCB2"}, None),
        ({"detector": "NRCB1", "filter": "F150W"}, None),
    ],
    ids=["same table", "other table", "not corrected", "other array", "other filter"],
)
def test_an_array_is_corrected_by_one_table_or_not_at_all(second, line):
    # The truth: array 1 is that of both modules; a correction of array 2, or of another filter, does not touch it.
    headers = [make_header(status="COMPLETE", digest="aa"), make_header(**second)]
    assert find_mixed(headers) == ([f"array 1 F200W CLEAR: {line}"] if line else [])


@pytest.mark.parametrize(
    ("change", "is_copy"),
    [
        ({}, True),
        ({"filter": "F150W"}, False),
        ({"detector": "NRCA2"}, False),
        ({"identity": (60000.5, "1", "2")}, False),
        ({"mjd": 60000.1}, False),
        ({"identity": ()}, False),
    ],
    ids=["same", "other filter", "other detector", "other exposure", "other time", "unknown"],
)
def test_a_copy_under_another_name_is_found(change, is_copy):
    known = {"identity": (60000.0, "1", "2")}
    headers = [make_header(name="a_cal.fits", **known), make_header(**{"name": "b_cal.fits"} | known | change)]
    expected = ["data/a_cal.fits and data/b_cal.fits are one exposure of NRCA1"]
    assert find_copies(headers) == (expected if is_copy else [])


@pytest.mark.parametrize("dec", [0.0, 60.0, -60.0])
@pytest.mark.parametrize("ra", [0.0, 120.003, 359.99])
def test_a_footprint_is_covered_by_cells_of_the_sky(ra, dec):
    """Truth: a square of 60 arcsec, in cells of 4 arcsec: 15 or 16 along each side, and one at RA = 0."""
    places = np.array(sorted(make_header(east=0, ra=ra, dec=dec).cells))
    rows, counts = np.unique(places[:, 0], return_counts=True)
    assert len(rows) in (15, 16)
    assert set(counts.tolist()) <= {15, 16, 17}


@pytest.mark.parametrize(
    ("second", "is_apart"),
    [
        ({"east": 30}, False),
        ({"east": -50}, False),
        ({"east": 90}, True),
        ({"east": -90}, True),
        ({"east": None}, False),
        ({"east": 90, "detector": "NRCA3"}, False),
        ({"east": 90, "filter": "F150W"}, False),
        ({"east": 90, "pupil": "F162M"}, False),
    ],
    ids=["half", "across RA = 0", "east", "west", "unknown", "one module", "other filter", "other pupil"],
)
@pytest.mark.parametrize("dec", [0.0, 75.0, -75.0])
def test_modules_that_do_not_overlap_are_found_by_their_footprints(second, is_apart, dec):
    headers = [make_header(east=0, dec=dec), make_header(**{"detector": "NRCB1", "dec": dec} | second)]
    line = "F200W: no exposure of module A overlaps one of module B on the sky (1 of module A, 1 of module B)"
    assert find_apart(headers) == ([line] if is_apart else [])


@pytest.mark.parametrize("dec", [60.0, -60.0])
def test_offsets_on_the_sky_across_the_meridian_at_both_sides_of_the_equator(dec):
    """Truth: 0.002 deg of right ascension are 3.6 arcsec at 60 deg; a shift takes an offset back."""
    east, north = offsets_on_sky(359.999, dec, 0.001, dec + 0.001)
    assert (east, north) == pytest.approx((3.6, 3.6))
    assert shift_on_sky(359.999, dec, east, north) == pytest.approx((0.001, dec + 0.001))
    assert offsets_on_sky(0.001, dec, 359.999, dec) == pytest.approx((-3.6, 0.0))
