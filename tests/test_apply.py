"""One exposure: what is decided, what is scaled and what is not, and its undo."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.models import Identity, Shift
from one_correction import TABLE, correct, correct_file
from stdatamodels.jwst import datamodels

from jwst_modfix import applied
from jwst_modfix.errors import ExposureError

SCALED = ("data", "err", "var_poisson", "var_rnoise", "var_flat")


def truth(model, z, g):
    """Factor of each pixel, from the exposure's WCS at every pixel; V2 toward +V2 of -1.74 arcsec."""
    y, x = np.indices(model.shape, dtype=float)
    v2, _ = model.meta.wcs.get_transform("detector", "v2v3")(x, y)
    return 10 ** (0.4 * (z + g * (v2 + 1.74) / 60))


@pytest.mark.parametrize(
    ("detector", "band", "z", "g"),
    [
        ("NRCALONG", "F444W", -0.01654, 0.00433 / 2),
        ("NRCBLONG", "F444W", 0.0, 0.00433 / 2),
        ("NRCA2", "F200W", -0.05267, 0.0),
        ("NRCB2", "F200W", 0.0, 0.0),
    ],
)
def test_data_and_err_take_the_factor_and_variances_its_square(small_exposure, detector, band, z, g):
    before = small_exposure(detector, band)
    after, _ = correct(before.copy())
    factor = truth(before, z, g)
    for name in SCALED:
        power = 2 if name.startswith("var") else 1
        np.testing.assert_allclose(getattr(after, name), getattr(before, name) * factor**power, rtol=4e-7)
        assert getattr(after, name).dtype == np.float32
    np.testing.assert_array_equal(after.dq, before.dq)
    np.testing.assert_array_equal(after.area, before.area)


def test_absent_arrays_stay_absent(small_exposure):
    model = small_exposure()
    for name in ("var_flat", "var_rnoise"):
        del model.instance[name]
    after, _ = correct(model)
    assert not {"var_flat", "var_rnoise", "zeropoint", "pathloss_point"} & set(after.instance)


def test_photmjsr_keeps_counts_per_second_for_an_offset(small_exposure):
    before = small_exposure("NRCA2", "F200W")
    after, _ = correct(before.copy())
    old, new = before.meta.photometry, after.meta.photometry
    np.testing.assert_allclose(
        after.data / new.conversion_megajanskys, before.data / old.conversion_megajanskys, rtol=3e-7
    )
    assert new.conversion_megajanskys / old.conversion_megajanskys == pytest.approx(10 ** (0.4 * -0.05267))
    assert new.conversion_microjanskys / old.conversion_microjanskys == pytest.approx(10 ** (0.4 * -0.05267))
    assert new.pixelarea_steradians == old.pixelarea_steradians


def test_photmjsr_has_the_factor_at_the_centre_where_there_is_a_gradient(small_exposure):
    before = small_exposure()
    after, _ = correct(before.copy())
    ny, nx = before.shape
    v2, _ = before.meta.wcs.get_transform("detector", "v2v3")((nx - 1) / 2, (ny - 1) / 2)
    centre = 10 ** (0.4 * (-0.01654 + 0.00433 / 2 * (v2 + 1.74) / 60))
    ratio = after.meta.photometry.conversion_megajanskys / before.meta.photometry.conversion_megajanskys
    assert ratio == pytest.approx(centre, rel=1e-9)


@pytest.mark.parametrize(
    ("options", "z", "g"), [({"apply_slope": False}, -0.01654, 0.0), ({"apply_offset": False}, 0.0, 0.002165)]
)
def test_offset_and_slope_can_be_applied_alone(small_exposure, options, z, g):
    before = small_exposure()
    after, _ = correct(before.copy(), **options)
    np.testing.assert_allclose(after.data, before.data * truth(before, z, g), rtol=3e-7)


@pytest.mark.parametrize(("baseline", "z_a", "z_b"), [("A", 0.0, 0.05267), ("mean", -0.026335, 0.026335)])
def test_the_baseline_says_which_module_is_scaled(small_exposure, baseline, z_a, z_b):
    table = dataclasses.replace(TABLE, baseline=baseline)
    for detector, z in (("NRCA2", z_a), ("NRCB2", z_b)):
        before = small_exposure(detector, "F200W")
        after, _ = correct(before.copy(), table=table)
        np.testing.assert_allclose(after.data, before.data * 10 ** (0.4 * z), rtol=3e-7)


def test_the_record_says_what_was_done(small_exposure):
    model, decision = correct(small_exposure())
    record = applied(model)
    assert (record.table, record.digest) == ("ma2023_table2.asdf", TABLE.digest)
    assert (record.zero_point, record.gradient) == (-0.01654, 0.002165)
    assert (record.frame, record.direction, record.origin) == ("focal_plane", 90.0, (-1.74, -492.4))
    assert model.meta.cal_step.module_offset == "COMPLETE"
    assert model.meta.ref_file.crds.context_used == "jwst_1130.pmap"
    assert decision.reason == "took out zero-point error -16.54 mmag, gradient +2.165 mmag/arcmin"


def test_never_twice_and_the_refusal_says_by_which_table_and_how_to_undo(small_exposure):
    model, _ = correct(small_exposure())
    before = model.copy()
    with pytest.raises(ExposureError, match=r"_cal.fits: was corrected before, by ma2023_table2.asdf on 20"):
        correct(model)
    np.testing.assert_array_equal(model.data, before.data)


def test_undo_needs_only_the_cards(small_exposure):
    before = small_exposure()
    after, _ = correct(before.copy())
    del after.meta.cal_step.instance["module_offset"]  # as after a tool that drops unknown entries of the ASDF tree
    undone, _ = correct(after, inverse=True)
    np.testing.assert_allclose(undone.data, before.data, rtol=3e-7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: setattr(m.meta.exposure, "type", "NRC_WFSS"), "EXP_TYPE is NRC_WFSS"),
        (lambda m: setattr(m.meta.instrument, "name", "NIRISS"), "instrument is NIRISS, but the table is for NIRCAM"),
        (lambda m: setattr(m.meta.instrument, "module", "MULTIPLE"), "MODULE is MULTIPLE"),
        (lambda m: setattr(m.meta.instrument, "filter", "F277W"), "has no row for array=long, filter=F277W"),
        (lambda m: setattr(m.meta.ref_file.crds, "context_used", "jwst_0995.pmap"), "CRDS_CTX is jwst_0995.pmap"),
        (lambda m: setattr(m, "bunit", None) or setattr(m.meta, "bunit_data", "DN/s"), "BUNIT is DN/s"),
        (lambda m: m.meta.instance.pop("wcs"), "it has no WCS, which the slope needs; run assign_wcs"),
        (lambda m: setattr(m.meta.subarray, "xsize", 2048), r"shape \(48, 64\) and the subarray keywords"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*bunit.*:stdatamodels.exceptions.ValidationWarning")
def test_an_exposure_that_the_table_is_not_meant_for_is_skipped_or_refused(small_exposure, tmp_path, change, words):
    model = small_exposure()
    change(model)
    before = model.copy()
    model.save(str(tmp_path / "in_cal.fits"))
    strict = {"on_invalid": "error", "on_missing": "error"}
    with pytest.raises(ExposureError, match=words):
        correct(model.copy(), **strict)
    with pytest.raises(ExposureError, match=words):
        correct_file(tmp_path / "in_cal.fits", tmp_path / "refused.fits", **strict)
    skipped, decision = correct(model)
    assert (decision.action, skipped.meta.cal_step.module_offset) == ("skip", "SKIPPED")
    for name in SCALED:
        np.testing.assert_array_equal(getattr(skipped, name), getattr(before, name))
    decision = correct_file(tmp_path / "in_cal.fits", tmp_path / "out.fits")
    assert decision.action == "skip"
    with fits.open(tmp_path / "out.fits") as hdulist:
        assert hdulist[0].header["S_MODOFF"] == "SKIPPED"
        np.testing.assert_array_equal(hdulist["SCI"].data, before.data)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m.meta.subarray, "xsize", 2048),
        lambda m: setattr(m.meta.wcs, "bounding_box", ((-0.5, 2047.5),) * 2),
    ],
)
def test_the_undo_of_a_cutout_is_refused(small_exposure, change):
    model, _ = correct(small_exposure())
    change(model)
    with pytest.raises(ExposureError, match="cannot be undone: the data have shape .* a cutout"):
        correct(model, inverse=True)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gradient_from_a_wrong_place_is_refused(small_exposure, sign):
    gradient = dataclasses.replace(TABLE.gradient, frame="sky", origin=(26.5, 69.0))  # for RA = 265 deg
    rows = [dataclasses.replace(row, slope=row.slope and sign * row.slope) for row in TABLE.rows]
    before = small_exposure()
    with pytest.raises(
        ExposureError, match=r"the zero-point error reaches .* mag, more than 1.0: check gradient.frame .sky."
    ):
        correct(before, table=dataclasses.replace(TABLE, rows=rows, gradient=gradient))
    np.testing.assert_array_equal(before.data, small_exposure().data)


def test_a_wcs_that_gives_no_positions_is_refused(small_exposure):
    """Its V2 is not-a-number."""
    model = small_exposure()
    wcs = model.meta.wcs
    box = wcs.bounding_box
    wcs.set_transform("detector", "v2v3", wcs.get_transform("detector", "v2v3") | Shift(np.nan) & Identity(1))
    wcs.bounding_box = box
    before = model.data.copy()
    with pytest.raises(ExposureError, match="_cal.fits: the WCS gives no position at some pixels .* run assign_wcs"):
        correct(model)
    np.testing.assert_array_equal(model.data, before)


def test_nothing_to_apply_is_skipped_so_that_the_offset_can_follow(small_exposure):
    model, decision = correct(small_exposure("NRCA2", "F200W"), apply_offset=False)
    assert (decision.action, decision.reason[:21]) == ("skip", "apply_offset is False")
    assert correct(model)[1].action == "apply"


def test_whole_numbers_are_refused(small_exposure, tmp_path):
    path = tmp_path / "jw_cal.fits"
    small_exposure().save(str(path))
    with fits.open(path, mode="update") as hdulist:
        hdulist["ERR"].data = np.ones((48, 64), np.int16)
    with pytest.raises(ExposureError, match="jw_cal.fits: err must hold floating-point numbers, got >?i"):
        correct_file(path, tmp_path / "out.fits")


def shift_wcs(model, pixels):
    """Shift the WCS along x, and keep its bounding box."""
    wcs, (ny, nx) = model.meta.wcs, model.shape
    wcs.insert_transform("detector", Shift(pixels) & Identity(1), after=True)
    wcs.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))


def rename_detector(model, name):
    model.meta.instrument.detector, model.meta.instrument.module = name, name[3]


@pytest.mark.parametrize("slope", [0.00433, -0.00433])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.meta.instance.pop("wcs"), "it has no WCS, which the slope needs"),
        (lambda m: setattr(m.meta.subarray, "xsize", 2048), "a cutout, whose WCS cannot be trusted"),
        (lambda m: setattr(m.meta.subarray, "ysize", None), "SUBSIZE1, SUBSIZE2 are .*None"),
        (
            lambda m: setattr(m.meta.wcs, "bounding_box", ((-0.5, 2047.5), (-0.5, 2047.5))),
            "the bounding box of the WCS",
        ),
        (lambda m: setattr(m.meta.wcs, "bounding_box", None), "the bounding box of the WCS is None"),
        # As of a cutout whose keywords and bounding box were put right, but one of WCS and SUBSTRT1 was not.
        (
            lambda m: setattr(m.meta.subarray, "xstart", 1),
            "its WCS puts the centre of the detector at V2, V3 = .41.9, ",
        ),
        (lambda m: shift_wcs(m, 700), "its WCS puts the centre of the detector at V2, V3 = .41.9, "),
        (lambda m: rename_detector(m, "NRCBLONG"), "V2, V3 = .85.9, .* and that of NRCBLONG is .-89.4, "),
    ],
)
def test_a_slope_of_either_sign_needs_a_place_that_can_be_trusted(small_exposure, slope, change, words):
    model = small_exposure()
    change(model)
    row = dataclasses.replace(TABLE.row("long", "F444W"), slope=slope)
    options = {"table": dataclasses.replace(TABLE, rows=(row,)), "on_invalid": "error"}
    with pytest.raises(ExposureError, match=words):
        correct(model.copy(), **options)
    assert correct(model, apply_slope=False, **options)[1].action == "apply"


def test_arrays_that_share_their_memory_are_scaled_once_each(small_exposure):
    model = small_exposure("NRCA2", "F200W")
    variance = model.var_poisson.copy()
    model.var_poisson = model.var_rnoise = model.var_flat = variance
    model.err = model.data
    truth, data = variance.copy(), model.data.copy()
    correct(model)
    factor = 10 ** (0.4 * -0.05267)
    for name in ("var_poisson", "var_rnoise", "var_flat"):
        np.testing.assert_allclose(getattr(model, name), truth * factor**2, rtol=4e-7)
    for name in ("data", "err"):
        np.testing.assert_allclose(getattr(model, name), data * factor, rtol=4e-7)
    np.testing.assert_array_equal(variance, truth)


@pytest.mark.parametrize(("ratio", "warns"), [(0.9, True), (1.1, True), (0.9995, False), (1.0005, False), (1.0, False)])
def test_photmjsr_that_is_not_that_of_the_derivation_is_warned_of(small_exposure, caplog, ratio, warns):
    """What is compared is PHOTMJSR as it was calibrated, not as the correction leaves it: 5% lower here."""
    model = small_exposure("NRCA2", "F200W")
    derived = model.meta.photometry.conversion_megajanskys / ratio
    row = dataclasses.replace(TABLE.row("2", "F200W"), photmjsr={"A": derived, "B": 9.0})
    assert applied(dataclasses.replace(TABLE, rows=(row,)).apply(model)).zero_point == -0.05267
    assert ("check that the table fits this calibration" in caplog.text) == warns


SKY = dataclasses.replace(TABLE.gradient, frame="sky", direction=30.0, origin=(265.0, 69.0))


def aligned(model, shift=(2.0, -1.0), rotation=0.001):
    """Align the WCS as tweakreg does, with its own corrector: shift [arcsec] and rotation [rad]."""
    from tweakwcs.correctors import JWSTWCSCorrector

    info = model.meta.wcsinfo.instance
    corrector = JWSTWCSCorrector(model.meta.wcs, {name: info[name] for name in ("v2_ref", "v3_ref", "roll_ref")})
    turn = np.array([[np.cos(rotation), np.sin(rotation)], [-np.sin(rotation), np.cos(rotation)]])
    corrector.set_correction(matrix=turn, shift=shift)
    model.meta.wcs = corrector.wcs
    return model


@pytest.mark.parametrize("frame", ["focal_plane", "detector", "sky"])
@pytest.mark.parametrize(("is_aligned", "slope"), [(False, 0.004), (True, 0.004), (True, -0.004)])  # by tweakreg
def test_the_undo_is_exact_whatever_table_is_in_use(small_exposure, frame, is_aligned, slope):
    gradient = dataclasses.replace(SKY, frame=frame)
    rows = [dataclasses.replace(row, slope=slope, slope_error=0.001) for row in TABLE.rows]
    before = small_exposure()
    after, _ = correct(before.copy(), table=dataclasses.replace(TABLE, rows=rows, gradient=gradient))
    if is_aligned:
        ra = after.meta.wcs(10.0, 10.0)[0]
        aligned(after)
        assert abs(after.meta.wcs(10.0, 10.0)[0] - ra) * 3600 > 1
    undone, decision = correct(after, inverse=True)  # by the packaged table, which has no effect
    for name in SCALED:
        np.testing.assert_allclose(getattr(undone, name), getattr(before, name), rtol=3e-7)
    photometry = undone.meta.photometry
    assert photometry.conversion_megajanskys == pytest.approx(before.meta.photometry.conversion_megajanskys, rel=1e-14)
    assert "module_offset" not in undone.meta.cal_step.instance
    assert not [card for card in undone.instance["extra_fits"]["PRIMARY"]["header"] if "MOD" in card[0]]
    assert decision.reason.startswith("undid ma2023_table2.asdf of 20")


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("MODFOFF", float("inf"), "the card MODFOFF of the correction is inf"),
        ("MODFOFF", "much", "the card MODFOFF of the correction is 'much'"),
        ("MODFOFF", 3.0, "the card MODFOFF of the correction is 3.0"),
        ("MODFOFF", -3.0, "the card MODFOFF of the correction is -3.0"),
        ("MODFOFF", None, "the card MODFOFF of the correction is missing"),
        ("MODFGRAD", float("nan"), "the card MODFGRAD of the correction is nan"),
        ("MODFGRAD", True, "the card MODFGRAD of the correction is True"),
        ("MODFGRAD", None, "the card MODFGRAD of the correction is missing"),
        ("MODFFRAM", "moon", "the card MODFFRAM of the correction is 'moon'"),
        ("MODFDIR", None, "the card MODFDIR of the correction is missing"),
        ("MODFORG1", float("-inf"), "the card MODFORG1 of the correction is -inf"),
        ("MODFORG1", 10**400, "the card MODFORG1 of the correction is 10{400}"),
        ("MODFORG1", np.float32(np.inf), r"the card MODFORG1 of the correction is np.float32\(inf\)"),
    ],
)
def test_the_undo_believes_no_damaged_record(small_exposure, keyword, value, words):
    model, _ = correct(small_exposure())
    header = model.extra_fits.PRIMARY.header
    cards = [[key, value if key == keyword else old, comment] for key, old, comment in header]
    model.instance["extra_fits"]["PRIMARY"]["header"] = [card for card in cards if card[1] is not None]
    with pytest.raises(ExposureError, match=f"{words}, so it cannot be undone; use the file before the correction"):
        correct(model, inverse=True)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("MODFOFF", -0.0166),
        ("MODFOFF", 0.01654),
        ("MODFGRAD", 0.00216),
        ("MODFORG1", 0.0),
        ("MODFFRAM", "detector"),
        ("R_MODOFF", "other.asdf"),
        ("MODFVER", "0.1"),
        ("MODFSEAL", None),
    ],
)
def test_the_undo_notices_a_record_that_was_edited_plausibly(small_exposure, tmp_path, keyword, value):
    """In a file that another tool has saved, and in its model."""
    model, _ = correct(small_exposure())
    model.save(str(tmp_path / "jw_modfix.fits"))
    correct_file(tmp_path / "jw_modfix.fits", tmp_path / "out.fits", inverse=True)
    with fits.open(tmp_path / "jw_modfix.fits", mode="update") as hdulist:
        hdulist[0].header.pop(keyword) if value is None else hdulist[0].header.set(keyword, value)
    words = "MODFSEAL = .* is not the digest of .*they were changed since"
    with pytest.raises(ExposureError, match=words):
        correct_file(tmp_path / "jw_modfix.fits", tmp_path / "out.fits", inverse=True)
    with datamodels.open(tmp_path / "jw_modfix.fits") as model, pytest.raises(ExposureError, match=words):
        correct(model, inverse=True)


@pytest.mark.parametrize("detector", ["NRCA2", "NRCA4"])
def test_cards_that_were_copied_from_another_exposure_are_not_undone(small_exposure, detector):
    """A record belongs to one detector and PHOTMJSR: another exposure of the same detector is not corrected yet."""
    corrected, _ = correct(small_exposure("NRCA2", "F200W"))
    model = small_exposure(detector, "F200W")
    model.instance["extra_fits"] = corrected.instance["extra_fits"]
    with pytest.raises(ExposureError, match="or are those of another exposure, so it cannot be undone"):
        correct(model, inverse=True)


@pytest.mark.parametrize(("name", "value"), [("detector", "NRCA4"), ("filter", "F150W"), ("pupil", "F162M")])
def test_a_record_belongs_to_a_detector_filter_and_pupil(small_exposure, name, value):
    model, _ = correct(small_exposure("NRCA2", "F200W"))
    setattr(model.meta.instrument, name, value)
    with pytest.raises(ExposureError, match="is not the digest of the correction's cards, DETECTOR, FILTER, PUPIL"):
        correct(model, inverse=True)


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ([("MODFGRAD", 0.0)], "the correction has the card MODFFRAM, and MODFGRAD is 0, so it cannot be undone"),
        ([("MODFORD", 0), ("MODF00", 0.0)], "a correction has only one of them, so it cannot be undone"),
        ([("MODFOFF", 0.1), ("MODFOFF", 0.2)], "the cards MODFOFF of the correction occur twice and differ"),
    ],
)
def test_the_undo_believes_no_record_that_contradicts_itself(small_exposure, cards, words):
    model, _ = correct(small_exposure())
    kept = [card for card in model.instance["extra_fits"]["PRIMARY"]["header"] if card[0] not in dict(cards)]
    model.instance["extra_fits"]["PRIMARY"]["header"] = kept + [[key, value, ""] for key, value in cards]
    with pytest.raises(ExposureError, match=words):
        correct(model, inverse=True)


def test_a_photmjsr_whose_card_is_lost_is_scaled_by_each_route(small_exposure, tmp_path):
    """The tree still has it: a file and the data model of it end with the same PHOTMJSR."""
    path = tmp_path / "jw_cal.fits"
    small_exposure("NRCA2", "F200W").save(str(path))
    before = fits.getval(path, "PHOTMJSR", "SCI")
    fits.delval(path, "PHOTMJSR", "SCI")
    correct_file(path, tmp_path / "out.fits")
    with datamodels.open(path) as model:
        correct(model)
        found = [fits.getval(tmp_path / "out.fits", "PHOTMJSR", "SCI"), model.meta.photometry.conversion_megajanskys]
    assert found == pytest.approx([before * 10 ** (0.4 * -0.05267)] * 2, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda factor: {**factor, "shape": [64, 48]}, "is not in the ASDF tree, or has another shape"),
        (lambda factor: {**factor, "factor": factor["factor"][:-1]}, "is not in the ASDF tree, or has another shape"),
        (lambda factor: {**factor, "factor": "much"}, "is not in the ASDF tree, or has another shape"),
        (lambda factor: None, "is not in the ASDF tree, or has another shape"),
        (lambda factor: scaled(factor, np.inf), "is not that of MODFOFF, MODFGRAD and the WCS"),
        (lambda factor: scaled(factor, -1.0), "is not that of MODFOFF, MODFGRAD and the WCS"),
        (lambda factor: scaled(factor, 3.0), "is not that of MODFOFF, MODFGRAD and the WCS"),
        (lambda factor: scaled(factor, 0.99), "is not that of MODFOFF, MODFGRAD and the WCS"),
    ],
)
def test_the_undo_believes_no_damaged_factor(small_exposure, change, words):
    model, _ = correct(small_exposure(), table=dataclasses.replace(TABLE, gradient=SKY))
    model.meta.instance["module_offset"] = change(model.meta.instance["module_offset"])
    before = model.data.copy()
    with pytest.raises(ExposureError, match=f"cannot be undone: the factor .* {words}"):
        correct(model, inverse=True)
    np.testing.assert_array_equal(model.data, before)


def scaled(factor, by):
    return {**factor, "factor": (np.array(factor["factor"]) * by).tolist()}


def test_only_a_gradient_on_the_sky_is_stored_in_the_tree(small_exposure):
    assert "module_offset" not in correct(small_exposure())[0].meta.instance
    assert "module_offset" in correct(small_exposure(), table=dataclasses.replace(TABLE, gradient=SKY))[0].meta.instance


def test_a_table_gives_the_factor_of_an_exposure_and_a_corrected_copy(small_exposure, tmp_path):
    before = small_exposure()
    before.save(str(tmp_path / "jw_cal.fits"))
    expected = truth(before, -0.01654, 0.00433 / 2)
    for source in (before, tmp_path / "jw_cal.fits", str(tmp_path / "jw_cal.fits")):
        factor = TABLE.factor(source)
        assert factor.shape == before.shape
        np.testing.assert_allclose(factor.evaluate(), expected, rtol=2e-7)
        corrected = TABLE.apply(source)
        np.testing.assert_allclose(corrected.data, before.data * expected, rtol=4e-7)
        assert applied(corrected).zero_point == -0.01654
    assert applied(before) is None
    np.testing.assert_array_equal(before.data, small_exposure().data)
    other, older = before.copy(), before.copy()
    other.meta.instrument.filter, older.meta.ref_file.crds.context_used = "F277W", "jwst_0995.pmap"
    refused = ((other, "has no row for array=long, filter=F277W"), (older, "CRDS_CTX is"), (corrected, "before, by"))
    for function in (TABLE.factor, TABLE.apply):
        for model, words in refused:
            with pytest.raises(ExposureError, match=words):
                function(model)


@pytest.mark.parametrize("status", ["SKIPPED", None])
def test_an_undo_of_what_was_not_corrected_changes_nothing(small_exposure, status):
    model = small_exposure()
    before = model.data.copy()
    if status:
        assert correct(model, table=dataclasses.replace(TABLE, rows=TABLE.rows[:1]))[1].action == "skip"
        assert correct(model, inverse=True)[1].action == "skip"
        assert "module_offset" not in model.meta.cal_step.instance
    else:
        with pytest.raises(ExposureError, match="S_MODOFF is not COMPLETE., so there is nothing to undo"):
            correct(model, inverse=True)
    np.testing.assert_array_equal(model.data, before)


# Unusual exposures: no WCS, 64 bits, a part of a detector that is not square, an undone file.


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
