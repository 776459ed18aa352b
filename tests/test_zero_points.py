"""Zero points of detectors with a field: applied by full-frame pixels, recorded, undone, and refused in words."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from numpy.polynomial import legendre
from one_correction import correct, correct_file

from jwst_modfix import applied
from jwst_modfix.errors import AlreadyCorrectedError, ExposureError
from jwst_modfix.table.table import DETECTORS, Field, OffsetTable, ZeroPointRow

SCALED = ("data", "err", "var_poisson", "var_rnoise", "var_flat")
FIELDS = {
    0: ((0.0,),),
    1: ((0.0, -0.004), (0.006,)),
    2: ((0.0, 0.003, -0.002), (0.006, 0.0015), (-0.0045,)),
    9: tuple(
        tuple(0.0 if i + j == 0 else 0.01 * np.cos(3 * i + 7 * j) / (1 + i + j) for j in range(10 - i))
        for i in range(10)
    ),
    "steep": ((0.0, 0.2, -0.1), (0.3, 0.1), (-0.2,)),  # 0.9 mag at most
}


def table_of(detectors=None, band="F200W", zero_point=0.031, field=None, **options):
    if detectors is None:
        detectors = [name for name in DETECTORS if name.endswith("LONG") == (band == "F444W")]
    field = field and Field(len(field) - 1, field)
    rows = [ZeroPointRow(detector=d, filter=band, zero_point=zero_point, field=field, **options) for d in detectors]
    return OffsetTable(rows=rows, name="zp.asdf")


def truth(shape, zero_point, coefficients, corner=(0, 0)):
    """z + sum c[i][j] P_i(xi) P_j(eta) at every pixel, by numpy's polynomials of one axis: rows are y."""
    ny, nx = shape
    xi, eta = (2 * (start + np.arange(n)) / 2047 - 1 for start, n in zip(corner, (nx, ny), strict=True))
    m_sys = np.full(shape, zero_point)
    for i, row in enumerate(coefficients):
        for j, value in enumerate(row):
            m_sys += value * np.outer(legendre.Legendre.basis(j)(eta), legendre.Legendre.basis(i)(xi))
    return m_sys


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("subarray", [None, (701, 401, 64, 48), (1409, 1, 640, 320)])
def test_a_field_is_that_of_numpy_at_every_pixel(make_exposure, name, subarray):
    """The issue asks for 2e-7 mag, a rounding of the factor in 32 bits."""
    model = make_exposure("NRCA1", "F200W", subarray)
    factor = table_of(field=FIELDS[name]).factor(model).evaluate()
    corner = subarray[0] - 1 if subarray else 0, subarray[1] - 1 if subarray else 0
    error = 2.5 * np.log10(factor.astype(float)) - truth(model.shape, 0.031, FIELDS[name], corner)
    assert np.abs(error).max() < 2e-7


def test_a_subarray_is_the_cut_of_the_full_frame_and_needs_no_wcs(make_exposure):
    full, part = make_exposure("NRCB2", "F200W"), make_exposure("NRCB2", "F200W", (701, 401, 64, 48))
    part.meta.instance.pop("wcs")
    table = table_of(field=FIELDS[2])
    cut = table.factor(full).evaluate()[400:448, 700:764]
    np.testing.assert_allclose(table.factor(part).evaluate(), cut, rtol=1.3e-7, atol=0)
    np.testing.assert_allclose(table.apply(part).data, part.data * cut.astype(float), rtol=3e-7)


@pytest.mark.parametrize("detector", ["NRCA1", "NRCB4", "NRCALONG"])
@pytest.mark.parametrize("field", [None, FIELDS[2]])
def test_what_measures_faint_is_brightened_and_the_undo_is_exact(small_exposure, detector, field, tmp_path):
    """Data and errors take 10**(0.4 m_sys), variances its square, in a model and in a file; the cards undo it."""
    band = "F444W" if detector.endswith("LONG") else "F200W"
    table = table_of(band=band, field=field, photom="jwst_nircam_photom_0157.fits")
    before = small_exposure(detector, band)
    factor = 10 ** (0.4 * truth(before.shape, 0.031, field or ((0.0,),), (700, 400)))
    before.save(str(tmp_path / "jw_cal.fits"))
    correct_file(tmp_path / "jw_cal.fits", tmp_path / "out_modfix.fits", table=table)
    after, decision = correct(before.copy(), table=table)
    with fits.open(tmp_path / "out_modfix.fits") as hdulist:
        for name in SCALED:
            expected = getattr(before, name) * factor ** (2 if name.startswith("var") else 1)
            np.testing.assert_allclose(getattr(after, name), expected, rtol=4e-7)
            np.testing.assert_allclose(hdulist["SCI" if name == "data" else name].data, expected, rtol=4e-7)
    what = ", field of order 2, 4.48 mmag rms" if field else ""
    assert decision.reason == f"took out zero-point error +31.00 mmag{what}"
    undone, _ = correct(after, inverse=True)
    for name in SCALED:
        np.testing.assert_allclose(getattr(undone, name), getattr(before, name), rtol=3e-7)
    assert not [card for card in undone.instance["extra_fits"]["PRIMARY"]["header"] if "MOD" in card[0]]
    assert undone.meta.photometry.conversion_megajanskys == pytest.approx(
        before.meta.photometry.conversion_megajanskys, rel=1e-14
    )
    correct_file(tmp_path / "out_modfix.fits", tmp_path / "undone.fits", table=None, inverse=True)
    with fits.open(tmp_path / "undone.fits") as hdulist:
        np.testing.assert_allclose(hdulist["SCI"].data, before.data, rtol=3e-7)
        assert not [key for key in hdulist[0].header if key.startswith("MODF")]


def test_the_rms_of_a_field_is_that_of_its_pixels():
    pixels = truth((2048, 2048), 0.0, FIELDS[2])
    assert np.sqrt((pixels**2).mean()) == pytest.approx(0.00448, abs=1e-5)


@pytest.mark.parametrize("order", [2, 9])
def test_the_record_has_the_field_and_a_second_correction_is_refused(small_exposure, tmp_path, order):
    table = table_of(field=FIELDS[order])
    model, _ = correct(small_exposure("NRCA3", "F200W"), table=table)
    model.save(str(tmp_path / "jw_modfix.fits"))
    for source in (model, tmp_path / "jw_modfix.fits"):
        record = applied(source)
        assert (record.table, record.digest, record.zero_point, record.gradient) == ("zp.asdf", table.digest, 0.031, 0)
        assert record.field.order == order
        for row, expected in zip(record.field.coefficients, FIELDS[order], strict=True):
            assert row == pytest.approx(expected, rel=1e-12)
        with pytest.raises(ExposureError, match="was corrected before, by zp.asdf on 20"):
            correct(source, table=table)
    with pytest.raises(AlreadyCorrectedError, match="run the step with --inverse=true"):
        correct(model, table=OffsetTable.read())


@pytest.mark.parametrize(
    ("options", "z", "field"), [({"apply_slope": False}, 0.031, ((0.0,),)), ({"apply_offset": False}, 0.0, FIELDS[2])]
)
def test_zero_point_and_field_can_be_applied_alone(small_exposure, options, z, field):
    before = small_exposure("NRCA1", "F200W")
    after, _ = correct(before.copy(), table=table_of(field=FIELDS[2]), **options)
    factor = 10 ** (0.4 * truth(before.shape, z, field, (700, 400)))
    np.testing.assert_allclose(after.data, before.data * factor, rtol=3e-7)


def test_a_detector_without_a_row_is_skipped_with_words(small_exposure):
    """Nine detectors have rows in their bands; a member of the tenth is passed on as it is."""
    nine = [row for band in ("F200W", "F444W") for row in table_of(band=band).zero_points if row.detector != "NRCB3"]
    nine = OffsetTable(rows=nine, name="zp.asdf")
    before = small_exposure("NRCB3", "F200W")
    model, decision = correct(before.copy(), table=nine)
    assert decision.line.endswith("SKIPPED: zp.asdf has no row for detector=NRCB3, filter=F200W, pupil=CLEAR")
    np.testing.assert_array_equal(model.data, before.data)
    with pytest.raises(ExposureError, match="zp.asdf has no row for detector=NRCB3"):
        correct(before, table=nine, on_missing="error")
    assert correct(small_exposure("NRCB4", "F200W"), table=nine)[1].action == "apply"


def test_a_row_of_a_subarray_is_for_it_alone(small_exposure):
    """SUBARRAY of the small exposure has a row of its own, and a row of another subarray is not used."""
    model = small_exposure("NRCA1", "F200W")
    name = model.meta.subarray.name
    rows = [ZeroPointRow(detector="NRCA1", filter="F200W", zero_point=z, subarray=s)
            for s, z in (("SUB999", 0.2), (None, 0.1), (name, 0.05))]  # fmt: skip
    assert applied(correct(model.copy(), table=OffsetTable(rows=rows))[0]).zero_point == 0.05
    assert applied(correct(model.copy(), table=OffsetTable(rows=rows[:2]))[0]).zero_point == 0.1
    _, decision = correct(model, table=OffsetTable(rows=rows[:1]))
    assert (decision.action, f"subarray={name}" in decision.reason) == ("skip", True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: setattr(m.meta.subarray, "xsize", 2048), r"shape \(48, 64\) and the subarray keywords"),
        (lambda m: setattr(m.meta.subarray, "xstart", None), "a slope or field needs to know the subarray's place"),
        (
            lambda m: setattr(m.meta.subarray, "ystart", 2040),
            r"are \(701, 2040, 64, 48\), which is not within the detector's 2048 pixels",
        ),
        (lambda m: setattr(m.meta.subarray, "xstart", 0), r"are \(0, 401, 64, 48\), which is not within"),
    ],
)
def test_a_field_needs_the_place_of_the_pixels_and_a_zero_point_does_not(small_exposure, change, words):
    before = small_exposure("NRCA1", "F200W")
    model = before.copy()
    change(model)
    for function in (table_of(field=FIELDS[2]).factor, table_of(field=FIELDS[2]).apply):
        with pytest.raises(ExposureError, match=words):
            function(model)
    assert correct(model.copy(), table=table_of(field=FIELDS[2]), apply_slope=False)[1].action == "apply"
    assert correct(model, table=table_of())[1].action == "apply"
    corrected, _ = correct(before, table=table_of(field=FIELDS[2]))
    change(corrected)
    with pytest.raises(ExposureError, match=f"cannot be undone: .*{words}"):
        correct(corrected, inverse=True)


def test_a_field_of_more_than_one_magnitude_is_refused(make_exposure):
    with pytest.raises(ExposureError, match=r"reaches 1.\d+ mag, more than 1.0: check field of NRCA1 of zp.asdf"):
        correct(
            make_exposure("NRCA1", "F200W", (1985, 2001, 64, 48)),
            table=table_of(zero_point=0.95, field=FIELDS["steep"]),
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cards: cards.pop("MODF11"), "the cards MODF11 of the correction do not fit MODFORD = 2"),
        (lambda cards: cards.update(MODF30=0.1), "the cards MODF30 of the correction do not fit MODFORD = 2"),
        (lambda cards: cards.pop("MODFORD"), "the card MODFORD of the correction must be from 0 to 9, got None"),
        (lambda cards: cards.update(MODFORD=1), "the cards MODF02, MODF11, MODF20 of the correction do not fit"),
        (lambda cards: cards.update(MODFORD=True), "the card MODFORD of the correction must be from 0 to 9, got True"),
        (lambda cards: cards.update(MODF10=float("nan")), "of the correction: field.coefficients.* finite"),
        (lambda cards: cards.update(MODF10=3.0), "of the correction: field.coefficients.* 3.0"),
        (lambda cards: cards.update(MODF10="x"), "of the correction: field.coefficients.* 'x'"),
        (lambda cards: cards.update(MODF00=0.1), r"of the correction: field.coefficients: \[0\]\[0\] must be 0"),
    ],
)
def test_the_undo_believes_no_damaged_field(small_exposure, change, words):
    model, _ = correct(small_exposure("NRCA1", "F200W"), table=table_of(field=FIELDS[2]))
    before = model.data.copy()
    cards = {key: value for key, value, _ in model.extra_fits.PRIMARY.header}
    change(cards)
    model.instance["extra_fits"]["PRIMARY"]["header"] = [[key, value, ""] for key, value in cards.items()]
    with pytest.raises(ExposureError, match=words):
        correct(model, inverse=True)
    np.testing.assert_array_equal(model.data, before)


def test_groups_without_a_common_scale_are_warned_of(small_exposure, caplog):
    row = {"filter": "F200W", "zero_point": 0.01}
    rows = [ZeroPointRow(detector=d, group=g, **row) for d, g in (("NRCA1", 1), ("NRCA2", 1), ("NRCB1", 2))]
    other_filter = dataclasses.replace(rows[2], filter="F150W")  # whose fluxes are another scale in any case
    OffsetTable(rows=[*rows[:2], other_filter]).apply(small_exposure("NRCA1", "F200W"))
    assert "common scale" not in caplog.text
    OffsetTable(rows=rows).apply(small_exposure("NRCA1", "F200W"))
    assert "is of group 1, and other detectors are of group 2: nothing links the groups" in caplog.text


def test_another_table_of_the_same_name_is_another_job(monkeypatch):
    """What an output depends on: a change of one coefficient changes the identity of the correction."""
    from jwst_modfix.apply.decide import Correction

    table = table_of(field=FIELDS[2])
    row = table.zero_points[0]
    coefficients = ((0.0, 0.003, -0.002), (0.006, 0.0015), (-0.0044,))
    other = dataclasses.replace(row, field=Field(2, coefficients))
    changed = dataclasses.replace(table, rows=(other, *table.rows[1:]))
    assert Correction(table=table).identity == Correction(table=dataclasses.replace(table)).identity
    assert Correction(table=table).identity != Correction(table=changed).identity
    changes = ({"table": dataclasses.replace(table, name="other")}, {"table": dataclasses.replace(table, baseline="A")},
               {"table": None}, {"apply_offset": False}, {"apply_slope": False}, {"inverse": True},
               {"on_invalid": "error", "on_missing": "error", "on_nothing": "error"})  # fmt: skip
    found = [Correction(**{"table": table} | change).identity for change in changes]
    assert len(set(found)) == 7
    assert found[-1] == Correction(table=table).identity, "the outputs are the same"
    monkeypatch.setattr("jwst_modfix.apply.decide._VERSION", "0.0")
    assert Correction(table=table).identity not in found
