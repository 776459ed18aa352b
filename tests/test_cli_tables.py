"""Tables compared, merged and converted."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from reference_files import write_photom

from jwst_modfix.cli.commands import main
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.combine import compare_tables, merge_tables
from jwst_modfix.table.file import PACKAGED_TABLE, read_table
from jwst_modfix.table.table import Field, Gradient, OffsetRow, OffsetTable, Validity, ZeroPointRow

GRADIENT = Gradient(frame="focal_plane", direction=90.0, origin=(-1.74, -492.4), exposure_share=0.5)
RECIPE = """\
# %ECSV 1.0
# ---
# datatype:
# - {name: det, datatype: string}
# - {name: filt, datatype: string}
# - {name: dmag_ab, datatype: float64}
# - {name: dmag_ab_err, datatype: float64}
# - {name: dmag_a, datatype: float64}
# - {name: dmag_b, datatype: float64}
# - {name: slope, datatype: float64}
# - {name: slope_err, datatype: float64}
# schema: astropy-2.0
det filt dmag_ab dmag_ab_err dmag_a dmag_b slope slope_err
1 f150w 0.01296 0.00155 0.01296 0.0 0.0 0.0
long f444w -0.01654 0.00128 -0.01654 0.0 0.00433 0.0009
"""


def row(array="long", filter="F444W", offset=0.010, offset_error=0.003, **more):
    return OffsetRow(array=array, filter=filter, offset=offset, offset_error=offset_error, **more)


def sloped(slope, slope_error=0.001, **more):
    return row(slope=slope, slope_error=slope_error, **more)


def test_differences_are_second_minus_first_with_errors_in_quadrature():
    other = OffsetTable(rows=(row(offset=0.020, offset_error=0.004), row("1")), baseline="A", name="b")
    comparison = compare_tables(OffsetTable(rows=(row(), row("2")), name="a"), other)
    (pair,) = comparison.pairs
    assert (pair.value.value, pair.value.error) == pytest.approx((0.010, 0.005))
    assert pair.value.sigmas == pytest.approx(2.0)
    assert [r.array for r in comparison.only_first + comparison.only_second] == ["2", "1"]
    assert "an offset is z_A - z_B in both" in comparison.notes[0]


@pytest.mark.parametrize(
    ("coefficients", "rms"),
    [
        (((0.0, 0.006), (0.0,)), 0.0),
        (((0.0, -0.003), (0.0,)), 0.009 / np.sqrt(3)),
        (((0.0, 0.006, 0.0), (0.0, 0.009), (0.0,)), 0.009 / 3),
        (None, 0.006 / np.sqrt(3)),
    ],
)
def test_fields_differ_by_the_rms_of_their_difference(coefficients, rms):
    """Truth: the rms over the detector is 1/sqrt(3) of P1 and 1/3 of P1 P1; no field is one of 0."""
    tables = [
        OffsetTable(rows=(ZeroPointRow(detector="NRCA1", filter="F200W", zero_point=0.01, zero_point_error=0.001,
                                       field=found and Field(len(found) - 1, found)),))
        for found in (((0.0, 0.006), (0.0,)), coefficients)
    ]  # fmt: skip
    for order in (tables, tables[::-1]):
        assert compare_tables(*order).pairs[0].field == pytest.approx(rms, abs=1e-12)


@pytest.mark.parametrize(
    ("gradient", "slope"),
    [
        (GRADIENT, 0.004),
        (Gradient(frame="focal_plane", direction=90.0, origin=GRADIENT.origin, exposure_share=1.0), 0.002),
        (Gradient(frame="focal_plane", direction=-90.0, origin=GRADIENT.origin, exposure_share=0.5), -0.004),
        (Gradient(frame="focal_plane", direction=270.0, origin=GRADIENT.origin, exposure_share=0.25), -0.008),
    ],
)
def test_the_same_gradient_in_other_conventions_is_no_difference(gradient, slope):
    first = OffsetTable(rows=(sloped(0.004),), gradient=GRADIENT, name="a")
    second = OffsetTable(rows=(sloped(slope),), gradient=gradient, name="b")
    assert compare_tables(first, second).pairs[0].slope.value == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("frame", "direction", "words"),
    [("detector", 90.0, "cannot be converted"), ("focal_plane", 80.0, "different directions cannot be compared")],
)
def test_slopes_that_cannot_be_compared_are_refused(frame, direction, words):
    gradient = Gradient(frame=frame, direction=direction, origin=(0.0, 0.0), exposure_share=0.5)
    first = OffsetTable(rows=(sloped(0.004),), gradient=GRADIENT, name="a")
    with pytest.raises(ReferenceTableError, match=words):
        compare_tables(first, OffsetTable(rows=(sloped(0.004),), gradient=gradient, name="b"))


def tables(**more):
    first = OffsetTable(rows=(row("1", "F200W"),), valid_for=Validity(context_first="jwst_1100.pmap"), name="a")
    return first, OffsetTable(rows=(sloped(0.004),), gradient=GRADIENT, name="b", **more)


def test_merged_rows_keep_their_values():
    assert merge_tables(tables()).rows == (row("1", "F200W"), sloped(0.004))


def test_a_merged_slope_is_the_same_gradient():
    other = Gradient(frame="focal_plane", direction=0.0, origin=GRADIENT.origin, exposure_share=1.0)
    two = OffsetTable(rows=(sloped(0.002, filter="F356W"),), gradient=other, name="b")
    merged = merge_tables([OffsetTable(rows=(sloped(0.004),), gradient=GRADIENT, name="a"), two])
    converted = merged.row("long", "F356W")
    assert merged.exposure_gradient(converted) == pytest.approx(two.exposure_gradient(two.rows[0]))
    assert converted.slope_error == pytest.approx(0.002)  # as the slope, for half of the exposure_share
    assert (merged.direction(converted), merged.direction(merged.rows[0])) == (0.0, 90.0)


def test_tables_that_contradict_one_another_are_refused():
    first, second = tables(baseline="A")
    with pytest.raises(ReferenceTableError, match="a has baseline B, b has baseline A|b has baseline A, a has"):
        merge_tables([first, second])
    assert merge_tables([first, second], baseline="mean").baseline == "mean"
    with pytest.raises(ReferenceTableError, match="is in a and in a; choose with prefer first or last"):
        merge_tables([first, first])
    second = tables()[1]
    moved = Gradient(frame="focal_plane", direction=90.0, origin=(0.0, 0.0), exposure_share=0.5)
    for slope in (0.004, -0.004):
        third = OffsetTable(rows=(sloped(slope, filter="F356W"),), gradient=moved, name="c")
        with pytest.raises(ReferenceTableError, match="one table has one origin"):
            merge_tables([second, third])


def test_the_metadata_of_merged_tables_are_joined():
    """Usable from the later date on, by both authors, with the history and the derivation of each table."""
    metas = (
        {"author": "A", "pedigree": "GROUND", "useafter": "2024-01-01", "history": ["made"], "derivation": {"x": 1}},
        {"author": "B", "pedigree": "GROUND", "useafter": "2022-01-01"},
    )
    first, second = (dataclasses.replace(table, meta=meta) for table, meta in zip(tables(), metas, strict=True))
    meta = merge_tables([first, second]).meta
    assert (meta["author"], meta["pedigree"], meta["useafter"]) == ("A; B", "GROUND", "2024-01-01")
    assert meta["history"][0] == "a: made"
    assert f"merged of a (hash {first.digest}), b (hash {second.digest})" in meta["history"][1]
    assert meta["derivation"] == {"tables": {"a": {"x": 1}}}


def test_of_two_rows_the_preferred_is_taken(modfix, tmp_path):
    (tmp_path / "mine.asdf").write_text(PACKAGED_TABLE.read_text().replace("offset: -0.01654,", "offset: -0.02,"))
    for prefer, offset in (("first", -0.01654), ("last", -0.02)):
        modfix("merge", "packaged", "mine.asdf", "-o", f"{prefer}.asdf", "--prefer", prefer)
        file = read_table(tmp_path / f"{prefer}.asdf")
        assert file.row("long", "F444W").offset == offset
        assert "merged of ma2023_table2.asdf (hash 07d650b6cb5d), mine.asdf" in file.meta["history"][-1]
    assert "exists already" in modfix("merge", "packaged", "mine.asdf", "-o", "last.asdf", "--prefer", "last", status=1)


@pytest.mark.parametrize(
    "words",
    [
        ("show", "mine.asdf"), ("diff", "packaged", "mine.asdf"), ("check", "mine.asdf"), ("init", "a"),
        ("merge", "packaged", "mine.asdf", "-o", "merged.asdf", "--prefer", "last"),
    ],
)  # fmt: skip
def test_output_fits_into_78_columns(modfix, tmp_path, words):
    """The widest row that there is: two filters' names, a negative slope, an own direction; and many flats."""
    widest = sloped(-0.12345, 0.012345, filter="F322W2", pupil="F323N", direction=-179.125, offset=-0.99999)
    rows = (widest, row("1", "F150W2", offset=-0.5, pupil="F162M"), sloped(-0.1, 0.1, offset=-0.2))
    valid = Validity(context_first="jwst_1130.pmap", flat=[f"jwst_nircam_flat_0{n}.fits" for n in range(500, 520)])
    table = OffsetTable(rows=rows, gradient=GRADIENT, valid_for=valid, meta={"description": "d " * 100})
    table.write(tmp_path / "mine.asdf")
    if words[0] == "merge":
        table = dataclasses.replace(table, valid_for=Validity(context_first="jwst_1130.pmap"))
        table.write(tmp_path / "mine.asdf", overwrite=True)
    lines = modfix(*words).splitlines()
    assert max(map(len, lines)) <= 78, max(lines, key=len)


def test_mistakes_in_ecsv_are_named(modfix, tmp_path):
    modfix("convert", "packaged", "mine.ecsv")
    text = (tmp_path / "mine.ecsv").read_text()
    (tmp_path / "mine.ecsv").write_text(text.replace("0.01296", "7.0"))
    assert "row 1 (array=1, filter=F150W, pupil=CLEAR), field offset" in modfix(
        "convert", "mine.ecsv", "x.asdf", status=1
    )
    (tmp_path / "bad.ecsv").write_text("nothing")
    assert "bad.ecsv: cannot be read as ECSV" in modfix("convert", "bad.ecsv", "x.asdf", status=1)
    assert "IN and OUT must be" in modfix("convert", "mine.ecsv", "x.ecsv", status=2)


@pytest.mark.parametrize(
    ("option", "gradient"),
    [
        ([], GRADIENT),
        (["--recipe-gradient"], Gradient(frame="detector", direction=180, origin=(0, 0), exposure_share=1)),
    ],
)
def test_the_recipes_table_becomes_ours(modfix, tmp_path, option, gradient):
    (tmp_path / "idf_zpcor_1130_pmap.ecsv").write_text(RECIPE)
    modfix("convert", "idf_zpcor_1130_pmap.ecsv", "recipe.asdf", *option)
    table = read_table(tmp_path / "recipe.asdf")
    expected = read_table("packaged")  # transcribed from the paper
    assert table.rows == tuple(
        r for r in expected.rows if r.key in (("1", "F150W", "CLEAR"), ("long", "F444W", "CLEAR"))
    )
    assert (table.gradient, table.baseline, table.valid_for) == (gradient, "B", expected.valid_for)


@pytest.mark.parametrize(("dmag_a", "dmag_b"), [(0.02, -0.02), (0.0, 0.02)])
def test_columns_of_the_recipe_that_contradict_are_refused(modfix, tmp_path, dmag_a, dmag_b):
    """dmag_a - dmag_b must be dmag_ab, the offset z_A - z_B, and the baseline's share 0."""
    table = [*RECIPE.splitlines(keepends=True)[:-2], f"1 f150w 0.02 0.001 {dmag_a} {dmag_b} 0.0 0.0\n"]
    (tmp_path / "idf_1130_pmap.ecsv").write_text("".join(table))
    words = "dmag_a and dmag_b are not dmag_ab in the baseline B, A or mean"
    assert words in modfix("convert", "idf_1130_pmap.ecsv", "x.asdf", status=1)


def test_the_recipes_table_needs_a_context(modfix, tmp_path):
    (tmp_path / "recipe.ecsv").write_text(RECIPE)
    assert "its name has no CRDS context" in modfix("convert", "recipe.ecsv", "x.asdf", status=1)
    modfix("convert", "recipe.ecsv", "x.asdf", "--context", "jwst_1130.pmap")


def test_what_an_export_cannot_carry_is_refused(modfix, tmp_path, capsys):
    name = write_photom(tmp_path / "photom.fits", "NRCALONG", {"F200W": 0.5, "F444W": 0.4, "F090W": 0.3})
    assert "cannot carry the slope of row (array=long, filter=F444W" in modfix(
        "convert", "packaged", "new.fits", "--photom", name, status=1
    )
    output = modfix("convert", "packaged", "new.fits", "--photom", name, "--drop-slope")
    assert "warning: row (array=long, filter=F444W, pupil=CLEAR): its slope, +4.33 mmag/arcmin, is left out" in output
    main(["convert", "packaged", "again.fits", "--photom", str(name), "--drop-slope"], standalone_mode=False)
    out, err = capsys.readouterr()
    assert "warning: row" in err
    assert "warning" not in out
    header, rows = fits.getheader(tmp_path / "new.fits"), fits.getdata(tmp_path / "new.fits")
    assert "ma2023_table2.asdf (hash 07d650b6cb5d)" in str(header["HISTORY"])
    assert header["FILENAME"] == "new.fits"
    factor = 10 ** (0.4 * -0.01654)  # Table 2, F444W; the fixture's other filters have no row for this array
    np.testing.assert_allclose(rows["photmjsr"], [0.5, 0.4 * factor, 0.3], rtol=1e-7)
    np.testing.assert_allclose(rows["uncertainty"], [0.005, 0.004 * factor, 0.003], rtol=1e-6)
    again = modfix("convert", "packaged", "twice.fits", "--photom", "new.fits", "--drop-slope", status=1)
    assert "already contains module offsets" in again
    assert "cannot be read as a photom file" in modfix("convert", "packaged", "x.fits", "--photom", "no.fits", status=1)
    text = PACKAGED_TABLE.read_text().replace("valid_for:\n", "valid_for:\n  photom: jwst_nircam_photom_0157.fits\n")
    (tmp_path / "mine.asdf").write_text(text)
    output = modfix("convert", "mine.asdf", "x.fits", "--photom", name, "--drop-slope", status=1)
    assert "is valid for jwst_nircam_photom_0157.fits" in output
    assert not (tmp_path / "x.fits").exists()
