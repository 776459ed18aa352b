"""Tables: every field, side and form of a rule, and not only its first. Truth: values written by hand."""

import dataclasses
import logging

import pytest
from test_reference_validity import GOOD, invalid

from jwst_modfix import Field, Gradient, OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.combine import compare_tables, merge_tables
from jwst_modfix.table.describe import describe_table, describe_validity
from jwst_modfix.table.file import PACKAGED_TABLE, check_name, choose_table, refuse_packaged
from jwst_modfix.table.formats import read_columns
from jwst_modfix.table.table import DETECTORS, Validity
from jwst_modfix.table.validity import explain_failed, find_mismatch, find_missing, is_kept

FIRST, LAST = "jwst_990.pmap", "jwst_1130.pmap"
CALIBRATIONS = {
    "context_first": FIRST, "context_last": LAST, "photom": ("a.fits", "b.fits"), "flat": ("c.fits", "d.fits"),
}  # fmt: skip
FOCAL = Gradient(frame="focal_plane", direction=90.0, origin=(0.0, 0.0), exposure_share=0.5)


def row(array="1", filter="F200W", **changes):
    return OffsetRow(**{"array": array, "filter": filter, "offset": 0.01, "offset_error": 0.001} | changes)


def point(detector="NRCB1", **changes):
    return ZeroPointRow(**{"detector": detector, "filter": "F200W", "zero_point": 0.01} | changes)


# ---- what a table is valid for ----


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_table_that_names_one_calibration_is_not_said_to_name_none(name, caplog):
    table = OffsetTable(rows=(row(),), valid_for=Validity(**{name: CALIBRATIONS[name]}))
    assert not table.valid_for.is_empty
    assert describe_validity(table.valid_for) != describe_validity(Validity())
    with caplog.at_level(logging.WARNING):
        choose_table(table)
        assert not caplog.records
        choose_table(dataclasses.replace(table, valid_for=Validity()))
        assert "names no calibration in valid_for" in caplog.text


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [(None, None, ""), (FIRST, FIRST, FIRST), (FIRST, LAST, f"{FIRST} to {LAST}"), (FIRST, None, f"{FIRST} to any"),
     (None, LAST, f"any to {LAST}")],
)  # fmt: skip
def test_both_ends_of_the_contexts_are_named(first, last, words):
    described = describe_validity(Validity(context_first=first, context_last=last))
    assert described == (f"CRDS context {words}" if words else "any calibration (it names none)")


def test_all_names_of_files_are_described():
    described = describe_validity(Validity(photom=CALIBRATIONS["photom"], flat=CALIBRATIONS["flat"]))
    assert described == "photom a.fits, b.fits; flat c.fits, d.fits"


@pytest.mark.parametrize("kind", ["photom", "flat"])
def test_a_copy_with_offsets_is_known_by_the_end_of_its_name(kind):
    words = "a copy that contains module offsets"
    assert words in invalid(valid_for=Validity(), **{kind: "c_modfix.fits"})
    for name in ("c_modfix.fits.gz", "cmodfix.fits", "c_modfix_2.fits"):
        assert words not in invalid(valid_for=Validity(), **{kind: name})


ESSENTIAL = ("S_PHOTOM", "S_FLAT", "S_WCS", "photom", "flat_field", "assign_wcs")  # in a file, in a model


@pytest.mark.parametrize("names", [*((name,) for name in ESSENTIAL), ("S_DARK", "S_WCS")])
def test_a_failed_step_that_the_flux_scale_needs_makes_an_exposure_invalid(names):
    found = dataclasses.replace(GOOD, failed=(*names, "S_TWKREG"))
    needed = [name for name in names if name != "S_DARK"]
    words = f"an earlier step FAILED ({', '.join(needed)}): calibrate the exposure again"
    assert explain_failed(found, is_essential=True) == words
    assert ", ".join([*names, "S_TWKREG"]) in explain_failed(found)
    assert explain_failed(dataclasses.replace(GOOD, failed=("S_TWKREG", "S_DARK")), is_essential=True) is None


@pytest.mark.parametrize("channel", [None, "LONG"])
def test_a_channel_may_be_absent_but_a_module_may_not(channel):
    assert invalid(channel=channel) == ""
    assert "MODULE is None, and NRCALONG is of module A" in invalid(module=None)


# ---- the baseline ----


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("baseline", ["A", "B", "mean", None, *DETECTORS])
def test_a_detector_is_of_the_baseline_of_its_module_or_its_own(detector, baseline):
    expected = baseline == "mean" or baseline == detector or baseline == ("A" if "NRCA" in detector else "B")
    assert is_kept(point(detector), baseline) == expected
    assert not is_kept(point(detector, subarray="SUB160"), baseline)


# ---- merging ----


@pytest.mark.parametrize(
    ("name", "one", "other", "both", "either"),
    [
        ("context_first", FIRST, LAST, LAST, FIRST),
        ("context_last", FIRST, LAST, FIRST, LAST),
        ("photom", ("a", "b"), ("b", "c"), ("b",), ("a", "b", "c")),
        ("flat", ("a", "b"), ("b", "c"), ("b",), ("a", "b", "c")),
    ],
)
def test_each_part_of_the_validity_is_merged(name, one, other, both, either):
    tables = [OffsetTable(rows=(row(array),), valid_for=Validity(**{name: value}), name=array)
              for array, value in (("1", one), ("2", other))]  # fmt: skip
    for order in (tables, tables[::-1]):
        for validity, expected in (("intersection", both), ("union", either)):
            found = getattr(merge_tables(order, validity=validity).valid_for, name)
            assert (found if isinstance(found, str) else tuple(sorted(found))) == expected
    open_end = [tables[0], OffsetTable(rows=(row("3"),))]
    assert getattr(merge_tables(open_end).valid_for, name) == one
    assert not getattr(merge_tables(open_end, validity="union").valid_for, name)


@pytest.mark.parametrize(("name", "kind"), [("photom", "photom"), ("flat", "flat")])
def test_validities_with_nothing_in_common_are_refused(name, kind):
    tables = [OffsetTable(rows=(row(array),), valid_for=Validity(**{name: (f"{array}.fits",)})) for array in "12"]
    with pytest.raises(ReferenceTableError, match=rf"valid_for\.{kind}: none in common \(table is valid for 1.fits; "):
        merge_tables(tables)


def test_contexts_with_one_in_common_are_merged_and_with_none_refused():
    def between(*contexts):
        parts = [Validity(context_last=contexts[0]), Validity(context_first=contexts[1])]
        return merge_tables([OffsetTable(rows=(row(a),), valid_for=v) for a, v in zip("12", parts, strict=True)])

    assert between(LAST, LAST).valid_for == Validity(context_first=LAST, context_last=LAST)
    assert between(LAST, FIRST).valid_for == Validity(context_first=FIRST, context_last=LAST)
    with pytest.raises(ReferenceTableError, match=r"valid_for\.context: none in common"):
        between(FIRST, LAST)


@pytest.mark.parametrize("which", [0, 1])
def test_a_merged_table_has_the_gradient_of_the_table_that_has_one(which):
    tables = [
        OffsetTable(rows=(row("1"),)),
        OffsetTable(rows=(row("2", slope=0.01, slope_error=0.001),), gradient=FOCAL),
    ]
    assert merge_tables(tables[:: 1 - 2 * which]).gradient == FOCAL


# ---- comparing ----


@pytest.mark.parametrize(
    ("one", "other", "sigmas"),
    [(0.0, 0.0, 0.0), (0.0, 0.01, float("inf")), (0.01, 0.0, float("-inf"))],
)
def test_a_difference_without_error_has_the_sigmas_of_its_sign(one, other, sigmas):
    tables = [OffsetTable(rows=(row(offset=value, offset_error=0.0),)) for value in (one, other)]
    assert compare_tables(*tables).pairs[0].value.sigmas == sigmas


@pytest.mark.parametrize("slopes", [(-0.01, -0.01), (-0.01, 0.01), (0.01, -0.01), (0.01, 0.01)])
def test_slopes_differ_second_minus_first_with_errors_in_quadrature(slopes):
    """Truth: 3 and 4 are 5 in quadrature; errors of offsets are others."""
    tables = [OffsetTable(rows=(row("long", "F444W", slope=slope, slope_error=error),), gradient=FOCAL)
              for slope, error in zip(slopes, (0.003, 0.004), strict=True)]  # fmt: skip
    found = compare_tables(*tables).pairs[0].slope
    assert (found.value, found.error) == pytest.approx((slopes[1] - slopes[0], 0.005))


@pytest.mark.parametrize("errors", [(None, 0.001), (0.001, None), (None, None)])
def test_an_unknown_error_gives_an_unknown_error_of_the_difference(errors):
    tables = [OffsetTable(rows=(point(zero_point_error=error),), baseline=None) for error in errors]
    assert compare_tables(*tables).pairs[0].value.error is None


def test_rows_and_kinds_of_only_one_table_are_told_apart():
    tables = OffsetTable(rows=(row("1"), row("2", "F150W"))), OffsetTable(rows=(row("1"), point(filter="F150W")))
    for first, second in (tables, tables[::-1]):
        found = compare_tables(first, second)
        assert [one.identity for one in found.only_first] == [first.rows[1].identity]
        assert [one.identity for one in found.only_second] == [second.rows[1].identity]
        assert "filter F150W, pupil CLEAR: one table has offsets and the other zero points" in " ".join(found.notes)


# ---- description ----


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ("focal_plane", ("(from +V3 toward +V2)", "zero at V2, V3 = 1, 2 arcsec; one exposure has 0.25 of slope")),
        ("detector", ("(from +x toward +y of the detector)", "zero at x, y = 1, 2 pixel;")),
        ("sky", ("(east of north)", "zero at RA, Dec = 1, 2 deg;")),
    ],
)
def test_the_gradient_is_described_in_the_words_and_units_of_its_frame(frame, words):
    gradient = Gradient(frame=frame, direction=30.0, origin=(1.0, 2.0), exposure_share=0.25)
    own = row("long", "F444W", slope=-0.004, slope_error=0.001, direction=0.0)
    lines = describe_table(OffsetTable(rows=(own,), gradient=gradient), "t.asdf")
    text = " ".join(" ".join(lines).split())
    for part in (f"fixed to the {frame}; grows toward 30 deg", *words, "-4.00 ± 1.00 0 deg"):
        assert part in text


def test_columns_of_rows_are_shown_where_a_row_fills_them():
    rows = (
        point(),
        point("NRCB2", subarray="SUB160", field=Field(1, ((0.0, 0.03), (0.0,))), field_error=0.002, group=0),
    )
    lines = describe_table(OffsetTable(rows=rows, baseline=None), "t.asdf")
    head, plain, full = (line.split() for line in lines if "NRCB" in line or line.startswith("detector"))
    assert " ".join(head) == "detector filter pupil subarray zero point [mmag] field [mmag rms] group"
    assert plain == ["NRCB1", "F200W", "CLEAR", "+10.00"]
    assert full == ["NRCB2", "F200W", "CLEAR", "SUB160", "+10.00", "order", "1,", "17.3", "±", "2.0", "0"]


@pytest.mark.parametrize(("baseline", "words"), [("mean", "all detectors"), ("A", "module A's detectors"),
                                                 ("B", "module B's detectors"), ("NRCB1", "NRCB1")])  # fmt: skip
def test_the_baseline_of_zero_points_is_in_words(baseline, words):
    rows = [point(detector, zero_point=0.0) for detector in ("NRCA1", "NRCB1")]
    text = " ".join(" ".join(describe_table(OffsetTable(rows=rows, baseline=baseline), "t.asdf")).split())
    assert f"baseline {baseline}: the mean flux scale of {words} is kept" in text


def test_a_description_has_author_pedigree_date_and_the_whole_history():
    meta = {"author": "Me", "pedigree": "GROUND", "useafter": "2024-05-06", "history": ["made", "mended"]}
    lines = [line.strip() for line in describe_table(OffsetTable(rows=(row(),), meta=meta), "t.asdf")]
    for line in ("author     Me", "pedigree   GROUND", "useafter   2024-05-06", "made", "mended"):
        assert line in lines


# ---- files ----


@pytest.mark.parametrize("name", ["t.ASDF", "t.asdf.gz", "asdf", "t.asdf ", ".asdf"])
def test_the_name_of_a_table_ends_in_asdf(name):
    with pytest.raises(ReferenceTableError, match="must end in '.asdf'"):
        check_name(name)
    check_name("t.asdf")


def test_a_table_of_the_package_is_protected_by_every_path_to_it(tmp_path):
    (tmp_path / "link").symlink_to(PACKAGED_TABLE.parent, target_is_directory=True)
    (tmp_path / "one.asdf").symlink_to(PACKAGED_TABLE)
    for path in (PACKAGED_TABLE, tmp_path / "link" / PACKAGED_TABLE.name, tmp_path / "one.asdf",
                 PACKAGED_TABLE.with_name("new.asdf")):  # fmt: skip
        with pytest.raises(ReferenceTableError, match="belongs to the package and is not changed"):
            refuse_packaged(path)
    refuse_packaged(tmp_path / PACKAGED_TABLE.name)


@pytest.mark.parametrize(("split", "baseline"), [((0.02, 0.0), "B"), ((0.0, -0.02), "A"), ((0.01, -0.01), "mean")])
@pytest.mark.parametrize("slope", [0.0, 0.004, -0.004])
def test_the_offset_of_the_recipe_is_a_minus_b_whatever_the_baseline(tmp_path, split, baseline, slope):
    path = tmp_path / "idf_zpcor_1130_pmap.csv"
    head = "det,filt,dmag_ab,dmag_ab_err,dmag_a,dmag_b,slope,slope_err"
    path.write_text(f"{head}\nLONG,f444w,0.02,0.003,{split[0]},{split[1]},{slope},{abs(slope) / 4}\n")
    table = read_columns(path)
    (found,) = table.rows
    assert (found.key, table.baseline) == (("long", "F444W", "CLEAR"), baseline)
    assert (found.offset, found.offset_error) == (0.02, 0.003)
    assert (found.slope, found.slope_error) == ((slope, 0.001) if slope else (None, None))
    assert table.valid_for == Validity(context_first="jwst_1130.pmap", context_last="jwst_1130.pmap")


@pytest.mark.parametrize("last", ["jwst_1100.pmap", "jwst_1130.pmap"])
def test_another_calibration_is_noted_where_there_is_one(last):
    known = [Validity(context_first="jwst_1100.pmap", context_last=one) for one in ("jwst_1100.pmap", last)]
    notes = compare_tables(*(OffsetTable(rows=(row(),), valid_for=one) for one in known)).notes
    assert ("valid for different calibrations" in " ".join(notes)) == (last != "jwst_1100.pmap")


def test_the_largest_shift_of_all_rows_is_noted():
    """Truth: g of the table that is converted, times the distance: 60 arcsec, half of 2, 8 and -6 mmag/arcmin."""
    rows = [row("long", band, slope=slope, slope_error=0.001)
            for band, slope in (("F277W", 0.002), ("F356W", 0.008), ("F444W", -0.006))]  # fmt: skip
    for order in (rows, rows[::-1]):
        moved = dataclasses.replace(FOCAL, origin=(60.0, 0.0))
        first = OffsetTable(rows=[dataclasses.replace(r, slope=0.001) for r in rows], gradient=FOCAL)
        notes = compare_tables(first, OffsetTable(rows=order, gradient=moved)).notes
        assert "that shifts both modules alike, by up to 4.00 mmag" in " ".join(notes)


@pytest.mark.parametrize("baseline", ["A", "B", "mean"])
@pytest.mark.parametrize("offset", [-0.05, 0.0, 0.05])
def test_zero_points_have_no_negative_zero(baseline, offset):
    """It would be printed as -0.00, and change the digest of a record."""
    table = OffsetTable(rows=(row(offset=offset),), baseline=baseline)
    z = [table.zero_point(table.rows[0], detector) for detector in ("NRCA1", "NRCB1")]
    assert z[0] - z[1] == offset
    assert "-0.0" not in [str(value) for value in z]


# Science filters of NIRCam's wheels (JWST User Documentation), by channel; narrow bands stand in the pupil wheel.
SHORT = ["F070W", "F090W", "F115W", "F140M", "F150W", "F150W2", "F182M", "F187N", "F200W", "F210M", "F212N"]
LONG = ["F250M", "F277W", "F300M", "F322W2", "F335M", "F356W", "F360M", "F410M", "F430M", "F444W", "F460M", "F480M"]
IN_PUPIL_WHEEL = {"F162M": "F150W2", "F164N": "F150W2", "F323N": "F322W2", "F405N": "F444W", "F466N": "F444W",
                  "F470N": "F444W"}  # fmt: skip


@pytest.mark.parametrize("band", [*SHORT, *LONG, *IN_PUPIL_WHEEL])
def test_each_band_is_of_one_channel_and_one_place_in_the_wheels(band):
    filter, pupil = (IN_PUPIL_WHEEL[band], band) if band in IN_PUPIL_WHEEL else (band, "CLEAR")
    names = ("1", "4", "NRCA1", "NRCB4"), ("long", "NRCALONG", "NRCBLONG")
    mine, others = names if filter in SHORT else names[::-1]
    for name in mine:
        assert find_mismatch(name, filter, pupil) is None
    for name in others:
        assert mine[0] in find_mismatch(name, filter, pupil) or mine[-1][:4] in find_mismatch(name, filter, pupil)
    if pupil != "CLEAR":
        assert find_mismatch(mine[0], band, "CLEAR").endswith(f"filter: {filter}, pupil: {pupil}")
        assert find_mismatch(mine[0], (SHORT if filter in SHORT else LONG)[0], pupil).endswith(f"pupil: {pupil}")


@pytest.mark.parametrize("instrument", ["MIRI", "nircam", "NIRCAM2", "", None])
def test_another_instrument_has_no_row(instrument):
    words = f"instrument is {instrument}, but the table is for NIRCAM"
    assert find_missing(OffsetTable.read(), dataclasses.replace(GOOD, instrument=instrument)) == words


@pytest.mark.parametrize("slopes", [(0.0, 0.01), (0.01, 0.0), (0.0, 0.0), (None, 0.01), (0.01, None)])
def test_a_slope_of_0_is_compared_and_one_that_is_absent_is_not(slopes):
    rows = [row("long", "F444W") if k is None else row("long", "F444W", slope=k, slope_error=0.001) for k in slopes]
    first, second = (OffsetTable(rows=(own,), gradient=FOCAL) for own in rows)
    found = compare_tables(first, second).pairs[0].slope
    assert (found and found.value) == (None if None in slopes else slopes[1] - slopes[0])


@pytest.mark.parametrize("as_recipe", [False, True])
def test_a_converted_recipe_says_whose_gradient_it_has(tmp_path, as_recipe):
    path = tmp_path / "idf_1130_pmap.csv"
    path.write_text("det,filt,dmag_ab,dmag_ab_err,dmag_a,dmag_b,slope,slope_err\n1,f200w,0.02,0.003,0.02,0,0,0\n")
    first, second, *_ = read_columns(path, as_recipe=as_recipe).meta["history"]
    assert first == "Converted from idf_1130_pmap.csv of the released recipe."
    assert second.startswith("Direction, origin and share of the gradient are those of ")
    assert ("the recipe's code" in second) == as_recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [("zero_point_error", 0.0), ("field_error", 0.0), ("group", 0), ("photmjsr", 2.0), ("photom", "p.fits")],
)
def test_a_value_of_0_is_not_an_absent_one(name, value):
    field = {"field": Field(1, ((0.0, 0.01), (0.0,)))} if name == "field_error" else {}
    absent, given = (OffsetTable(rows=(point(**field, **more),), baseline=None) for more in ({}, {name: value}))
    assert absent != given
    assert absent.digest != given.digest
    assert getattr(given.rows[0], name) == value
