"""Which exposures a table is meant for, and the words for the others."""

import dataclasses

import pysiaf
import pytest

from jwst_modfix.exposure import Exposure
from jwst_modfix.table.table import OffsetRow, OffsetTable, Validity, ZeroPointRow
from jwst_modfix.table.validity import find_invalid, find_missing, find_warnings

GOOD = Exposure(
    name="jw.fits",
    instrument="NIRCAM",
    detector="NRCALONG",
    module="A",
    exp_type="NRC_IMAGE",
    filter="F444W",
    pupil="CLEAR",
    unit="MJy/sr",
    context="jwst_1130.pmap",
    photom="crds://jwst_nircam_photom_0157.fits",
    flat="crds://jwst_nircam_flat_0574.fits",
    is_tso=False,
    shape=(2048, 2048),
    xstart=1,
    ystart=1,
    xsize=2048,
    ysize=2048,
    frames=("detector", "v2v3", "world"),
    wcs_box=((-0.5, 2047.5), (-0.5, 2047.5)),
)


def invalid(exposure=GOOD, valid_for=None, needs_place=True, **changes):
    table = OffsetTable.read()
    table = dataclasses.replace(table, valid_for=valid_for) if valid_for else table
    return "; ".join(find_invalid(table, dataclasses.replace(exposure, **changes), needs_place=needs_place))


def test_a_good_exposure_has_no_reason():
    assert invalid() == ""
    assert find_missing(OffsetTable.read(), GOOD) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp_type": "NRC_WFSS"}, "EXP_TYPE is NRC_WFSS, and only NRC_IMAGE is imaging"),
        ({"exp_type": "NRC_CORON"}, "EXP_TYPE is NRC_CORON"),
        ({"exp_type": "NRC_TSIMAGE"}, "EXP_TYPE is NRC_TSIMAGE"),
        ({"exp_type": None}, "EXP_TYPE is None"),
        ({"is_tso": True}, "time-series observation"),
        ({"shape": (5, 64, 2048)}, "the data have shape"),
        ({"module": "MULTIPLE", "detector": "MULTIPLE"}, "DETECTOR is MULTIPLE, not one of NRCA1-4"),
        ({"module": "MULTIPLE"}, "MODULE is MULTIPLE, and NRCALONG is of module A"),
        ({"module": "B"}, "MODULE is B, and NRCALONG is of module A"),
        ({"channel": "SHORT"}, "CHANNEL is SHORT, and NRCALONG is of channel LONG"),
        ({"detector": "nrcalong"}, "DETECTOR is nrcalong, not one of NRCA1-4"),
        ({"resample": "COMPLETE"}, "it is a mosaic (S_RESAMP is COMPLETE): correct the exposures before resample"),
        ({"photom": None}, "R_PHOTOM is None, so its calibration is not known"),
        ({"photom": "N/A"}, "R_PHOTOM is N/A, so its calibration is not known"),
        ({"unit": "DN/s"}, "BUNIT is DN/s, not MJy/sr: the photom step has not been run"),
        (
            {"context": "jwst_0995.pmap"},
            "CRDS_CTX is jwst_0995.pmap, and ma2023_table2.asdf is valid for jwst_1130.pmap",
        ),
        ({"context": None}, "CRDS_CTX is None"),
        ({"frames": ()}, "it has no WCS, which the slope needs"),
        ({"frames": ("detector", "world")}, "its WCS has no v2v3 frame, which the slope needs"),
        ({"wcs_box": None}, "the bounding box of the WCS is None"),
        ({"wcs_box": ((-0.5, 99.5), (-0.5, 2047.5))}, "the bounding box of the WCS is ((-0.5, 99.5), (-0.5, 2047.5))"),
        ({"wcs_box": ((-0.5, 2045.5), (-0.5, 2047.5))}, "the bounding box of the WCS is ((-0.5, 2045.5)"),
        ({"wcs_box": ((float("nan"), 2047.5), (-0.5, 2047.5))}, "the bounding box of the WCS is ((nan, 2047.5)"),
        ({"wcs_centre": (-89.4, -491.4)}, "V2, V3 = (-89.4, -491.4) arcsec, and that of NRCALONG is (85.9, -493.6)"),
        ({"xsize": None}, "SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2 are (1, 1, None, 2048)"),
        ({"shape": (100, 100)}, r"shape (100, 100) and the subarray keywords SUBSIZE2, SUBSIZE1 say (2048, 2048)"),
        ({"xstart": None}, "SUBSTRT1, SUBSTRT2, SUBSIZE1, SUBSIZE2 are (None, 1, 2048, 2048)"),
    ],
)
def test_the_reason_is_in_words(changes, words):
    assert words in invalid(**changes)


def test_a_copy_that_contains_offsets_is_not_a_case_for_another_table():
    words = invalid(photom="jwst_nircam_photom_0157_modfix.fits", context="jwst_0995.pmap")
    assert "a copy that contains module offsets: a second correction would be wrong" in words
    assert "derive a table" not in words
    assert "derive a table from these exposures" in invalid(context="jwst_0995.pmap")


@pytest.mark.parametrize("detector", ["NRCA1", "NRCA2", "NRCA3", "NRCA4", "NRCALONG",
                                      "NRCB1", "NRCB2", "NRCB3", "NRCB4", "NRCBLONG"])  # fmt: skip
def test_the_place_of_each_detector_is_that_of_the_siaf(detector):
    """Truth: pysiaf. 4 arcsec are within the versions of distortion files, 6 arcsec are another place."""
    aperture = pysiaf.Siaf("NIRCam")[f"{detector.replace('LONG', '5')}_FULL"]
    optics = {"detector": detector, "module": detector[3]}
    for shift, is_other in ((0, False), (4, False), (6, True)):
        found = invalid(wcs_centre=(aperture.V2Ref + shift, aperture.V3Ref), **optics)
        assert ("puts the centre of the detector at" in found) == is_other


@pytest.mark.parametrize("changes", [{"frames": ()}, {"shape": (100, 100)}, {"xstart": None}, {"wcs_centre": (0, 0)}])
def test_geometry_matters_only_to_a_slope(changes):
    assert invalid(needs_place=False, **changes) == ""


WITHIN = (
    "jwst_995.pmap", "jwst_0990.pmap", "jwst_1130.pmap", "/crds/mappings/jwst_1130.pmap", " jwst_1130.pmap ",
    "jwst_01130.pmap",
)  # fmt: skip
OUTSIDE = (
    "jwst_0989.pmap", "jwst_1131.pmap", "jwst_10000.pmap", "jwst_edit.pmap", "", "ajwst_1130.pmap",
    "jwst_1130.pmap.x", "jwst_1130", "jwst_11300.pmap", "jwst_113.pmap",
)  # fmt: skip


@pytest.mark.parametrize("context", [*WITHIN, *OUTSIDE])
def test_contexts_are_compared_by_number(context):
    """Truth: 995 is after 990, though not as text."""
    between = Validity(context_first="jwst_990.pmap", context_last="jwst_1130.pmap")
    assert (invalid(valid_for=between, context=context) == "") == (context in WITHIN)


def test_one_end_of_the_contexts_may_be_open():
    assert invalid(valid_for=Validity(context_first="jwst_1000.pmap"), context="jwst_1500.pmap") == ""
    assert invalid(valid_for=Validity(context_last="jwst_1000.pmap"), context="jwst_0900.pmap") == ""
    assert "valid for any to jwst_1000.pmap" in invalid(valid_for=Validity(context_last="jwst_1000.pmap"))


@pytest.mark.parametrize(("kind", "keyword"), [("photom", "R_PHOTOM"), ("flat", "R_FLAT")])
@pytest.mark.parametrize("allowed", ["c.fits", "crds://c.fits", "/a/c.fits"])
def test_reference_files_are_compared_by_their_whole_names_in_any_folder(kind, keyword, allowed):
    valid_for = Validity(**{kind: ("b.fits", allowed)})
    for name in ("b.fits", "c.fits", "crds://c.fits"):
        assert invalid(valid_for=valid_for, context=None, **{kind: name}) == ""
    for name in ("a_c.fits", "c.fits.gz", "C.fits", "x/d.fits", "c.fit"):
        words = f"{keyword} is {name.rpartition('/')[2]}, and ma2023_table2.asdf is valid for b.fits, c.fits"
        assert words in invalid(valid_for=valid_for, **{kind: name})
    assert f"{keyword} is None" in invalid(valid_for=valid_for, **{kind: None})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"filter": "F277W"}, "ma2023_table2.asdf has no row for array=long, filter=F277W, pupil=CLEAR"),
        ({"pupil": "F405N"}, "no row for array=long, filter=F444W, pupil=F405N"),
        ({"detector": "NRCA1"}, "no row for array=1, filter=F444W"),
    ],
)
def test_a_missing_row_is_named(changes, words):
    assert words in find_missing(OffsetTable.read(), dataclasses.replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("unit", "is_valid"), [("MJy / sr", True), ("MJy sr-1", True), ("Jy/sr", False), ("x", False), (None, False)]
)
def test_units_are_compared_as_units(unit, is_valid):
    assert (invalid(unit=unit) == "") == is_valid
    assert is_valid or f"BUNIT is {unit}, not MJy/sr" in invalid(unit=unit)


def test_a_missing_zero_point_is_named_by_its_detector():
    points = [ZeroPointRow(detector="NRCBLONG", filter="F444W", zero_point=0.1, subarray="SUB160")]
    table = OffsetTable(rows=points, name="mine.asdf")
    exposure = dataclasses.replace(GOOD, detector="NRCBLONG", module="B", subarray="SUB160")
    assert find_missing(table, exposure) is None
    for changes, words in (({"subarray": "FULL"}, "detector=NRCBLONG, filter=F444W, pupil=CLEAR, subarray=FULL"),
                           ({"detector": "NRCALONG"}, "detector=NRCALONG, filter=F444W, pupil=CLEAR, subarray=SUB160"),
                           ({"filter": "F277W"}, "detector=NRCBLONG, filter=F277W, pupil=CLEAR")):  # fmt: skip
        assert find_missing(table, dataclasses.replace(exposure, **changes)) == f"mine.asdf has no row for {words}"


@pytest.mark.parametrize("kind", ["offset", "zero point"])
@pytest.mark.parametrize(
    ("photmjsr", "photom", "is_warned"),
    [(0.4, "a.fits", False), (0.41, "a.fits", False), (0.41, "b.fits", True), (0.41, None, True),
     (0.4003, "b.fits", False), (0.4005, "b.fits", True), (0.39, "b.fits", True), (0.3997, "b.fits", False)],
)  # fmt: skip
def test_another_photmjsr_of_the_same_photom_file_is_its_time_dependence(kind, photmjsr, photom, is_warned):
    if kind == "offset":
        row = OffsetRow(array="long", filter="F444W", offset=0.1, offset_error=0, photmjsr={"A": 0.4, "B": 9},
                        photom={"A": "a.fits", "B": "b.fits"})  # fmt: skip
    else:
        row = ZeroPointRow(detector="NRCALONG", filter="F444W", zero_point=0.1, photmjsr=0.4, photom="a.fits")
    exposure = dataclasses.replace(GOOD, photmjsr=photmjsr, photom=photom and f"crds://{photom}")
    warnings = list(find_warnings(OffsetTable(rows=[row]), row, exposure))
    assert len(warnings) == is_warned
    assert not is_warned or f"PHOTMJSR is {photmjsr}, but {row.label} was derived at 0.4" in warnings[0]


def test_a_row_that_can_never_match_is_named_where_its_band_is_skipped():
    impossible = OffsetRow(array="long", filter="F405N", offset=0.01, offset_error=0.001)
    other = OffsetRow(array="long", filter="F277W", offset=0.01, offset_error=0.001)
    table = OffsetTable(rows=(impossible, other), name="mine.asdf")
    assert find_missing(table, dataclasses.replace(GOOD, pupil="F405N")) == (
        "mine.asdf has no row for array=long, filter=F444W, pupil=F405N; its row (array=long, filter=F405N, "
        "pupil=CLEAR) can never match: F405N is in the pupil wheel: filter: F444W, pupil: F405N"
    )
    assert "never" not in find_missing(table, dataclasses.replace(GOOD, filter="F356W"))
