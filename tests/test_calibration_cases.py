"""Reference files: every column, bit, axis and sign, and not only the first. Truth: formulas and places by hand."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from reference_files import write_flat, write_photom

from jwst_modfix import Field, Gradient, OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.apply.factor import gradient_coordinate
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.calibration import (
    Image,
    Photom,
    PhotomLine,
    explain_difference,
    export_flat,
    export_photom,
    read_reference,
)
from jwst_modfix.table.formats import read_yaml_list, write_yaml_list
from jwst_modfix.table.rebase import Change, _along, _Blocks, _Move, read_calibration, read_values, rebase_table
from jwst_modfix.table.table import Validity

T0 = 60000.0  # MJD
LINEAR, EXPONENTIAL, POWER = "TIMECOEFF_LINEAR", "TIMECOEFF_EXPONENTIAL", "TIMECOEFF_POWERLAW"


def offset(**changes):
    return OffsetRow(**{"array": "2", "filter": "F200W", "offset": 0.01, "offset_error": 0.001} | changes)


def point(**changes):
    return ZeroPointRow(**{"detector": "NRCA2", "filter": "F200W", "zero_point": 0.01} | changes)


def table_of(*rows, **options):
    baseline = None if rows[0].kind == "zero_point" else "B"
    return OffsetTable(rows=rows, **{"baseline": baseline, "name": "t.asdf"} | options)


# ---- photom files ----


@pytest.mark.parametrize(
    ("losses", "days", "throughput"),
    [
        ({LINEAR: (0.02,)}, 365.0, 0.98),
        ({LINEAR: (0.02,)}, -365.0, 1.02),
        ({LINEAR: (-0.02,)}, 730.0, 1.04),
        ({EXPONENTIAL: (0.1, 100.0, 0.9)}, 0.0, 1.0),
        ({EXPONENTIAL: (0.1, 100.0, 0.9)}, 100.0, 0.9 + 0.1 / np.e),
        ({POWER: (0.95, 10.0, -0.1)}, 365.0, 0.95),
        ({POWER: (0.95, 10.0, -0.1)}, 0.0, 0.95 * (10 / 375) ** -0.1),
        ({LINEAR: (0.02,), EXPONENTIAL: (0.1, 100.0, 0.9), POWER: (0.95, 10.0, -0.1)}, 365.0,
         0.98 * (0.9 + 0.1 * np.exp(-3.65)) * 0.95),
    ],
)  # fmt: skip
def test_photmjsr_on_a_date_is_over_the_throughput_of_every_table(losses, days, throughput):
    """Truth: the formulas of jwst.photom.time_dependence; a year has 365 days."""
    line = PhotomLine(0, "F200W", "CLEAR", None, 2.0, tuple((name, (T0, *c)) for name, c in losses.items()))
    assert line.at(T0 + days) == pytest.approx(2.0 / throughput, rel=1e-12)
    assert line.at(None) == 2.0


@pytest.mark.parametrize(
    ("subarrays", "asked", "found"),
    [((None,), None, 0), ((None,), "SUB160", 0), (("FULL", "SUB160"), None, 0), (("SUB160", "FULL"), "SUB160", 0),
     (("SUB160", "FULL"), None, 1), (("SUB160",), None, None), (("FULL",), "SUB160", None),
     (("SUB1600", "SUB160"), "SUB160", 1)],
)  # fmt: skip
def test_a_row_of_a_photom_file_is_of_a_subarray_or_of_all(subarrays, asked, found):
    lines = [PhotomLine(place, "F200W", "CLEAR", name, 1.0) for place, name in enumerate(subarrays)]
    others = [PhotomLine(9, "F200W", "F212N", None, 1.0), PhotomLine(9, "F200", "CLEAR", None, 1.0)]
    line = Photom(path=None, detector="NRCA2", lines=(*lines, *others)).find("F200W", "CLEAR", asked)
    assert (line and line.place) == found


def test_coefficients_are_those_of_the_row(tmp_path):
    path = write_photom(tmp_path / "p.fits", "NRCA2", {"F150W": 1.0, "F200W": 2.0}, times={"timecoeff_linear": (0.01,)})
    with fits.open(path, mode="update") as hdulist:
        hdulist["TIMECOEFF_LINEAR"].data["lossperyear"][1] = 0.03
    first, second = read_reference(path, "photom").lines
    assert [line.losses[0][1][1] for line in (first, second)] == pytest.approx([0.01, 0.03])


@pytest.mark.parametrize("allowed", [("a.fits", "crds://p.fits"), ("p.fits",), ()])
def test_a_photom_file_is_one_of_all_that_the_table_names(tmp_path, allowed):
    write_photom(tmp_path / "p.fits", "NRCA2", {"F200W": 2.0})
    export_photom(table_of(point(), valid_for=Validity(photom=allowed)), tmp_path / "p.fits", tmp_path / "q.fits")
    other = table_of(point(), valid_for=Validity(photom=("xp.fits", "p.fits.gz")))
    with pytest.raises(ReferenceTableError, match="t.asdf is valid for xp.fits, p.fits.gz"):
        export_photom(other, tmp_path / "p.fits", tmp_path / "r.fits")


@pytest.mark.parametrize(
    ("ratio", "words"), [(1.01, "(+10.8 mmag)"), (0.99, "(-10.9 mmag)"), (1.0005, None), (0.9995, None)]
)
def test_a_change_of_photmjsr_has_the_sign_of_the_part_that_is_in_the_file(ratio, words):
    """Truth: 2.5 log10 of derived over found."""
    line = PhotomLine(0, "F200W", "CLEAR", None, 2.0)
    photom = Photom(path=type("P", (), {"name": "p.fits"}), detector="NRCA2", lines=(line,))
    found = explain_difference(photom, line, point(photmjsr=2.0 * ratio))
    assert (found is None) if words is None else found.endswith(words)


# ---- flats ----


@pytest.mark.parametrize(
    ("changes", "is_right"),
    [({}, True), ({"detector": "NRCB2"}, False), ({"filters": ("F150W",)}, False), ({"pupils": ("F212N",)}, False),
     ({"filters": (), "pupils": ()}, True), ({"filters": ("F150W", "F200W")}, True)],
)  # fmt: skip
def test_an_image_is_for_its_detector_filters_and_pupils(changes, is_right):
    about = {"path": None, "kind": "flat", "corner": (0, 0), "shape": (2048, 2048)}
    image = Image(**about | {"detector": "NRCA2", "filters": ("F200W",), "pupils": ("CLEAR",)} | changes)
    assert image.fits(point(), "NRCA2") == is_right


@pytest.mark.parametrize("patterns", [True, False])
def test_a_flat_of_a_part_is_read_at_its_place_without_bad_pixels(tmp_path, patterns):
    """Truth: x is the second axis; 0, negative, infinite and flagged values are no sensitivity."""
    data = 1 + np.arange(24.0).reshape(4, 6)
    data[0, :4] = 0.0, -1.0, np.nan, np.inf
    dq = np.zeros((4, 6), np.uint32)
    dq[1, :4] = 1 << 0, 1 << 18, 1 << 25, 1 << 2  # the last one is of no matter
    write_flat(tmp_path / "f.fits", "NRCA2", data, dq=dq, corner=(101, 301))
    if patterns:
        fits.setval(tmp_path / "f.fits", "P_FILTE", value="F150W|F200W|")
        fits.setval(tmp_path / "f.fits", "P_PUPIL", value="CLEAR|F212N|ANY|N/A|")
    image = read_reference(tmp_path / "f.fits", "flat")
    assert (image.corner, image.shape) == ((100, 300), (4, 6))
    assert image.filters == (("F150W", "F200W") if patterns else ("F200W",))
    assert image.pupils == (("CLEAR", "F212N") if patterns else ("CLEAR",))
    full = image.read()
    expected = data.copy()
    expected[0, :4] = expected[1, :3] = np.nan
    np.testing.assert_array_equal(full[300:304, 100:106], expected)
    assert np.isfinite(full).sum() == np.isfinite(expected).sum()


@pytest.mark.parametrize(
    ("corner", "is_right"),
    [((1, 1), True), ((2043, 1), True), ((2044, 1), False), ((1, 2045), True), ((1, 2046), False), ((0, 1), False),
     ((1, 0), False)],
)  # fmt: skip
def test_a_flat_is_within_the_detector_along_both_axes(tmp_path, corner, is_right):
    write_flat(tmp_path / "f.fits", "NRCA2", np.ones((4, 6)))
    for name, value in zip(("SUBSTRT1", "SUBSTRT2"), corner, strict=True):
        fits.setval(tmp_path / "f.fits", name, value=value)
    if is_right:
        assert read_reference(tmp_path / "f.fits", "flat").corner == (corner[0] - 1, corner[1] - 1)
    else:
        with pytest.raises(ReferenceTableError, match="are not within the 2048 x 2048 pixels of the detector"):
            read_reference(tmp_path / "f.fits", "flat")


@pytest.mark.parametrize(
    ("other", "is_right"),
    [({"filter": "F150W"}, True), ({"detector": "NRCB2"}, True), ({"pupil": "F212N"}, True), ({}, False)],
)
def test_one_flat_is_for_all_subarrays_of_its_band(tmp_path, other, is_right):
    """Truth: SCI and ERR over 10**(0.4 z)."""
    write_flat(tmp_path / "f.fits", "NRCA2", np.full((4, 6), 2.0), err=np.full((4, 6), 0.5), corner=(101, 301))
    table = table_of(point(zero_point=-0.05), point(**{"subarray": "SUB160"} | other))
    if not is_right:
        with pytest.raises(ReferenceTableError, match="one flat is for all subarrays and cannot carry zero point"):
            export_flat(table, tmp_path / "f.fits", tmp_path / "g.fits")
        return
    export_flat(table, tmp_path / "f.fits", tmp_path / "g.fits")
    for name, value in (("SCI", 2.0), ("ERR", 0.5)):
        np.testing.assert_allclose(fits.getdata(tmp_path / "g.fits", name), value * 10**0.02, rtol=1e-6)


# ---- lists ----


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (offset(), "is an offset"),
        (point(photmjsr=2.0, field=Field(1, ((0.0, 0.01), (0.0,)))), "has a field or is of a subarray"),
        (point(photmjsr=2.0, subarray="SUB160"), "has a field or is of a subarray"),
        (point(), "has no PHOTMJSR, or meta.derivation.pixar_sr has no NRCA2-F200W-CLEAR"),
        (point(photmjsr=2.0, pupil="F212N"), "meta.derivation.pixar_sr has no NRCA2-F200W-F212N"),
    ],
)
def test_what_a_yaml_list_cannot_hold_is_refused(tmp_path, row, words):
    meta = {"derivation": {"pixar_sr": {"NRCA2-F200W-CLEAR": 2.2e-14}}}
    with pytest.raises(ReferenceTableError, match=words):
        write_yaml_list(table_of(row, meta=meta), tmp_path / "a.yaml")
    assert not (tmp_path / "a.yaml").exists()
    write_yaml_list(table_of(point(photmjsr=2.0, zero_point=-0.0565), meta=meta), tmp_path / "a.yaml")
    (found,) = read_yaml_list(tmp_path / "a.yaml").rows
    assert (found.photmjsr, round(found.zero_point, 9)) == (2.0, -0.0565)


def test_values_of_a_list_are_known_by_their_names_in_any_case(tmp_path):
    head = "detector,filter,pupil,from,to"
    rows = "nrca2, f200w,clear,2.0,1.9,\nNRCA2,F200W,CLEAR,3,4,sub160\n"
    (tmp_path / "v.csv").write_text(f"{head},subarray\n{rows}")
    for side, values in zip(read_values(tmp_path / "v.csv"), ((2.0, 3.0), (1.9, 4.0)), strict=True):
        found = [side.line(point(subarray=name), "NRCA2").photmjsr for name in (None, "SUB160")]
        assert tuple(found) == values
        assert side.line(point(subarray="SUB320"), "NRCA2").photmjsr == values[0]
    for value in ("0", "-1", "nan", "inf", "x"):
        (tmp_path / "w.csv").write_text(f"{head}\nNRCA2,F200W,CLEAR,2.0,{value}\n")
        with pytest.raises(ReferenceTableError, match="row 1: to must be a positive number"):
            read_values(tmp_path / "w.csv")


@pytest.mark.parametrize(
    ("row", "is_needed"),
    [
        (offset(offset=0.002), True), (offset(offset=-0.002), True), (offset(offset=0.001), False),
        (offset(offset=-0.001), False), (offset(offset=0.0, slope=0.002, slope_error=0.001), True),
        (offset(offset=0.0, slope=-0.002, slope_error=0.001), True),
        (offset(offset=0.0, slope=-0.001, slope_error=0.001), False), (point(zero_point=0.0), True),
        (point(zero_point=-0.002, zero_point_error=0.001), True),
        (point(zero_point=0.001, zero_point_error=0.001), False),
        (point(zero_point=0.0, zero_point_error=0.001, field=Field(1, ((0.0, 0.01), (0.0,)))), True),
    ],
)  # fmt: skip
def test_a_row_is_needed_where_a_value_differs_from_0_by_more_than_its_error(row, is_needed):
    assert Change(dataclasses.replace(row), row).is_needed == is_needed


@pytest.mark.parametrize("detector", ["NRCALONG", "NRCBLONG"])
@pytest.mark.parametrize(("frame", "origin"), [("focal_plane", (-1.74, -492.4)), ("detector", (500.0, 1500.0))])
@pytest.mark.parametrize("direction", [0.0, 90.0, 210.0])
def test_a_pixel_of_a_flat_has_the_coordinate_of_the_correction(small_exposure, detector, frame, origin, direction):
    """Truth: u by the WCS of an exposure, whose distortion the linear fit of a detector leaves out: 0.9 arcsec."""
    exposure = small_exposure(detector, "F444W")
    x, y = np.array([100.0, 1000.0, 1900.0]), np.array([1900.0, 300.0, 1000.0])
    corner = exposure.meta.subarray.xstart - 1, exposure.meta.subarray.ystart - 1
    truth = gradient_coordinate(exposure.meta.wcs, frame, origin, direction, corner, x - corner[0], y - corner[1])
    gradient = Gradient(frame=frame, direction=direction, origin=origin, exposure_share=0.5)
    found = _along(_Blocks(detector, x, y, np.zeros(3)), gradient, direction)
    np.testing.assert_allclose(found, truth, atol=0.03)


@pytest.mark.parametrize(("remainder", "is_right"), [(None, True), (0.00299, True), (0.00301, False)])
def test_flats_may_leave_3_mmag(tmp_path, monkeypatch, remainder, is_right):
    sides = [read_calibration(side, photom=[write_photom(tmp_path / f"{side}.fits", "NRCA2", {"F200W": 2.0})])
             for side in ("from", "to")]  # fmt: skip
    monkeypatch.setattr(_Move, "change", lambda _, before, row: Change(before, row, remainder))
    if is_right:
        assert rebase_table(table_of(point()), *sides).changes[0].remainder == remainder
    else:
        with pytest.raises(ReferenceTableError, match=r"CLEAR\): 3.0 mmag rms; derive a table on the new calibration"):
            rebase_table(table_of(point()), *sides)


def test_a_row_carried_by_a_list_names_no_file(tmp_path):
    """Truth: z of a detector moves by -2.5 log10 of new over old; a list says nothing of files."""
    (tmp_path / "v.csv").write_text("detector,filter,pupil,from,to\nNRCA2,F200W,CLEAR,2.0,2.1\n")
    options = {"valid_for": Validity(flat=("f.fits",)), "meta": {"history": ["made"]}}
    table = table_of(point(photmjsr=2.0, photom="old.fits"), **options)
    done = rebase_table(table, *read_values(tmp_path / "v.csv"))
    (row,) = done.table.rows
    assert (row.photom, row.photmjsr) == (None, 2.1)
    assert row.zero_point == pytest.approx(0.01 - 2.5 * np.log10(1.05), abs=1e-7)
    assert done.table.valid_for == Validity(flat=("f.fits",)), "flats are taken to be the same"
    made, moved = done.table.meta["history"]
    assert made == "made"
    assert "by PHOTMJSR of v.csv" in moved


def test_a_change_of_the_whole_baseline_moves_no_row_of_its_band(tmp_path):
    """Truth: all detectors of module B by 1.05, A by 1.05 and 1.1; rows of subarrays and of A move with the scale."""
    ratios = {"NRCB1": 1.05, "NRCB2": 1.05, "NRCA1": 1.05, "NRCA2": 1.1}
    lines = [f"{name},F200W,CLEAR,2.0,{2 * ratio:.9g}" for name, ratio in ratios.items()]
    (tmp_path / "v.csv").write_text("\n".join(["detector,filter,pupil,from,to", *lines]) + "\n")
    z = {("NRCB1", None): 0.01, ("NRCB2", None): -0.01, ("NRCB1", "SUB160"): 0.02, ("NRCA1", None): 0.1,
         ("NRCA2", None): 0.2}  # fmt: skip
    rows = [point(detector=name, subarray=subarray, zero_point=value) for (name, subarray), value in z.items()]
    done = rebase_table(table_of(*rows, baseline="B"), *read_values(tmp_path / "v.csv"))
    expected = z | {("NRCA2", None): 0.2 - 2.5 * np.log10(1.1 / 1.05)}
    assert {(one.name, one.subarray): one.zero_point for one in done.table.rows} == pytest.approx(expected, abs=1e-6)
    words = "F200W: the new calibration changes the flux scale of the baseline B by +52.97 mmag"
    assert any(note.startswith(words) for note in done.notes)
