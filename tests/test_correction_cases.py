"""Corrections of unusual exposures: no WCS, 64 bits, a part of a detector that is not square."""

import numpy as np
import pytest
from astropy.io import fits
from one_correction import correct, correct_file

SUBARRAY = (1409, 201, 40, 96)  # first column and row, columns, rows


@pytest.mark.parametrize(
    "change", [lambda m: setattr(m.meta.subarray, "xsize", 2048), lambda m: delattr(m.meta, "wcs")]
)
def test_an_offset_alone_is_undone_whatever_became_of_the_wcs(small_exposure, change):
    """Truth: the exposure before the correction; the factor is one number."""
    before = small_exposure("NRCA2", "F200W")
    model, decision = correct(before.copy())
    assert decision.action == "apply"
    change(model)
    undone, decision = correct(model, inverse=True)
    assert decision.action == "undo"
    np.testing.assert_allclose(undone.data, before.data, rtol=3e-7)


@pytest.mark.parametrize(("detector", "band"), [("NRCALONG", "F444W"), ("NRCA2", "F200W")])
def test_a_file_of_64_bits_is_written_in_32(make_exposure, tmp_path, detector, band):
    """Truth: the correction of the same file in 32 bits; columns and rows differ in number."""
    make_exposure(detector, band, subarray=SUBARRAY).save(str(tmp_path / "a_cal.fits"))
    with fits.open(tmp_path / "a_cal.fits") as hdulist:
        hdulist["SCI"].data = hdulist["SCI"].data.astype(float)
        hdulist.writeto(tmp_path / "b_cal.fits")
    for name in "ab":
        assert correct_file(tmp_path / f"{name}_cal.fits", tmp_path / f"{name}.fits").action == "apply"
    one, other = (fits.getdata(tmp_path / f"{name}.fits", "SCI") for name in "ab")
    assert one.dtype == other.dtype == np.dtype(">f4")
    assert one.shape == (96, 40)
    np.testing.assert_array_equal(one, other)


def test_a_file_that_was_undone_can_be_corrected_again(small_exposure, tmp_path):
    """Truth: the first correction of the same file; the ASDF tree has each entry once, and no status after the undo."""
    small_exposure("NRCALONG", "F444W").save(str(tmp_path / "a_cal.fits"))
    steps = {"first": "a_cal", "undone": "first", "again": "undone"}
    for target, source in steps.items():
        options = {"table": None, "inverse": True} if target == "undone" else {}
        correct_file(tmp_path / f"{source}.fits", tmp_path / f"{target}.fits", **options)
        tree = fits.getdata(tmp_path / f"{target}.fits", "ASDF")["ASDF_METADATA"].tobytes()
        assert tree.count(b" filename:") == 1
        assert tree.count(b"module_offset: COMPLETE") == (target != "undone")
    first, again = (fits.getdata(tmp_path / f"{name}.fits", "SCI") for name in ("first", "again"))
    np.testing.assert_allclose(again, first, rtol=3e-7)
