"""A file is corrected like its model, and what is not ours to change is kept."""

import shutil

import numpy as np
from astropy.io import fits
from astropy.modeling.models import Shift
from gwcs import WCS
from gwcs.wcs import Step
from one_correction import correct, correct_file
from stdatamodels.jwst import datamodels

from jwst_modfix.steps.asdf_text import AsdfText
from jwst_modfix.steps.fits_exposure import open_fits


def test_a_file_is_corrected_like_its_model(small_exposure, tmp_path):
    small_exposure().save(str(tmp_path / "jw_cal.fits"))
    correct_file(tmp_path / "jw_cal.fits", tmp_path / "file.fits")
    with datamodels.open(tmp_path / "jw_cal.fits") as model:
        correct(model)
        model.save(str(tmp_path / "model.fits"))
    ours = ["DATE", "FILENAME", "MODFDATE", "NAXIS1", "TFORM1"]
    difference = fits.FITSDiff(
        tmp_path / "file.fits", tmp_path / "model.fits", ignore_keywords=ours, ignore_hdus=["ASDF"]
    )
    assert difference.identical, difference.report()
    with datamodels.open(tmp_path / "file.fits") as one, datamodels.open(tmp_path / "model.fits") as other:
        assert one.meta.cal_step.instance == other.meta.cal_step.instance
        assert one.meta.module_offset.instance == other.meta.module_offset.instance
        assert one.meta.photometry.instance == other.meta.photometry.instance
        assert one.meta.wcs(3, 4) == other.meta.wcs(3, 4)


def test_a_file_is_never_changed_in_place(small_exposure, tmp_path):
    path = tmp_path / "jw_cal.fits"
    small_exposure().save(str(path))
    shutil.copy(path, tmp_path / "before.fits")
    correct_file(path, tmp_path / "out.fits")
    assert path.read_bytes() == (tmp_path / "before.fits").read_bytes()


def test_every_other_card_hdu_and_asdf_entry_of_a_file_is_kept(small_exposure, tmp_path):
    model = small_exposure()
    model.instance["extra_fits"] = {
        "PRIMARY": {"header": [["MYCARD", 42, "mine"]]},
        "NOTES": {"header": [["A", 1, ""]]},
    }
    model.meta.my_node = {"list": [1, 2.5, "three"], "nested": {"flag": True}}
    model.save(str(tmp_path / "jw_cal.fits"))
    correct_file(tmp_path / "jw_cal.fits", tmp_path / "out.fits")
    with fits.open(tmp_path / "jw_cal.fits") as before, fits.open(tmp_path / "out.fits") as after:
        assert [hdu.name for hdu in before] == [hdu.name for hdu in after]
        changed = {"SCI", "ERR", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "ASDF"}
        for one, other in zip(before, after, strict=True):
            assert kept_cards(one) == kept_cards(other)
            assert one.name in changed or np.array_equal(one.data, other.data), one.name
    with datamodels.open(tmp_path / "out.fits") as model:
        assert model.meta.my_node.instance == {"list": [1, 2.5, "three"], "nested": {"flag": True}}
        correct(model, inverse=True)
        assert ["MYCARD", 42, "mine"] in [list(card) for card in model.extra_fits.PRIMARY.header]


CHANGED_CARDS = [
    "DATE", "FILENAME", "PHOTMJSR", "PHOTUJA2", "NAXIS1", "TFORM1", "S_MODOFF", "R_MODOFF", "MODFHASH", "MODFDATE",
    "MODFVER", "MODFOFF", "MODFSLP", "MODFFRAM", "MODFDIR", "MODFORG1", "MODFORG2",
]  # fmt: skip


def kept_cards(hdu):
    return [tuple(card) for card in hdu.header.cards if card.keyword not in CHANGED_CARDS]


def test_checksums_of_a_file_stay_true(small_exposure, tmp_path):
    small_exposure().save(str(tmp_path / "plain_cal.fits"))
    with fits.open(tmp_path / "plain_cal.fits") as hdulist:
        hdulist.writeto(tmp_path / "jw_cal.fits", checksum=True)
    correct_file(tmp_path / "jw_cal.fits", tmp_path / "out.fits")
    with fits.open(tmp_path / "out.fits", checksum=True) as hdulist:  # a wrong sum warns, and a warning is an error
        assert "CHECKSUM" in hdulist["SCI"].header
        for hdu in hdulist:
            assert hdu.verify_checksum() == 1, hdu.name


def test_names_of_hdus_count_as_fits_compares_them(small_exposure, tmp_path):
    small_exposure().save(str(tmp_path / "std_cal.fits"))
    content = (tmp_path / "std_cal.fits").read_bytes()
    for name, odd in ((b"SCI", b" sci"), (b"ERR", b"err"), (b"ASDF", b"asdf")):
        content = content.replace(b"EXTNAME = '%-8b'" % name, b"EXTNAME = '%-8b'" % odd)
    (tmp_path / "odd_cal.fits").write_bytes(content)
    for name in ("std", "odd"):
        correct_file(tmp_path / f"{name}_cal.fits", tmp_path / f"{name}.fits")
    with fits.open(tmp_path / "std.fits") as std, fits.open(tmp_path / "odd.fits") as odd:
        assert [hdu.name for hdu in odd][1:3] == [" sci", "err"]
        for one, other in zip(std, odd, strict=True):
            if one.name not in ("PRIMARY", "ASDF"):
                np.testing.assert_array_equal(one.data, other.data)
        assert len(std["ASDF"].data["ASDF_METADATA"][0]) == len(odd[-1].data["ASDF_METADATA"][0])


def test_dithers_share_what_is_read_of_their_wcs_and_detectors_do_not(small_exposure, tmp_path):
    read = {}
    for name, detector, shift in (("one", "NRCALONG", 0.0), ("dither", "NRCALONG", 0.01), ("other", "NRCBLONG", 0.0)):
        model = small_exposure(detector)
        model.meta.wcs = moved(model.meta.wcs, shift)
        model.save(str(tmp_path / f"{name}_cal.fits"))
        with open_fits(tmp_path / f"{name}_cal.fits") as opened:
            read[name] = opened.read_wcs("v2v3"), opened.read_wcs()
    assert read["one"][0] is read["dither"][0]
    assert read["one"][0] is not read["other"][0]
    assert read["one"][1](10, 20) != read["dither"][1](10, 20)


def moved(wcs, shift):
    """A WCS that looks elsewhere on the sky [deg]."""
    steps = list(wcs.pipeline)
    steps[-2] = Step(steps[-2].frame, steps[-2].transform | (Shift(shift) & Shift(shift)))
    return WCS(steps)


def test_the_part_of_a_wcs_gives_what_the_whole_does(small_exposure, tmp_path):
    model = small_exposure()
    model.save(str(tmp_path / "jw_cal.fits"))
    x, y = np.meshgrid([-0.5, 17.3, 63.5], [-0.5, 17.3, 63.5])
    with open_fits(tmp_path / "jw_cal.fits") as opened:
        part, whole = opened.read_wcs("v2v3"), opened.read_wcs()
    assert part.available_frames == ["detector", "v2v3"]
    assert whole.available_frames == model.meta.wcs.available_frames
    expected = model.meta.wcs.get_transform("detector", "v2v3")(x, y)
    for read in (part, whole):
        np.testing.assert_array_equal(read.get_transform("detector", "v2v3")(x, y), expected)


def test_a_frame_that_is_not_there_leaves_the_wcs_whole(small_exposure, tmp_path):
    small_exposure().save(str(tmp_path / "jw_cal.fits"))
    with open_fits(tmp_path / "jw_cal.fits") as opened:
        assert opened.read_wcs("v9v9").available_frames == opened.read_wcs().available_frames


def test_a_frame_that_stands_first_or_twice_leaves_the_wcs_whole(small_exposure, tmp_path):
    small_exposure().save(str(tmp_path / "jw_cal.fits"))
    content = fits.getdata(tmp_path / "jw_cal.fits", "ASDF")["ASDF_METADATA"].tobytes()
    for name in ("detector", "v2v3"):
        text = AsdfText(content.replace(b"name: v2v3vacorr", b"name: v2v3      "))
        assert text.extract_wcs("meta.wcs", name) == text.extract_wcs("meta.wcs"), name
    text = AsdfText(content)
    assert text.extract_wcs("meta.wcs", "v2v3") != text.extract_wcs("meta.wcs")
