"""Each limit at its last accepted value, just before it and just beyond it, on both sides. Truth: the numbers here."""

import dataclasses
from pathlib import Path

import pytest
from test_reference_validity import GOOD, invalid

from jwst_modfix import Field, Gradient, OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.apply.decide import evaluate
from jwst_modfix.apply.record import AppliedOffset
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import check_targets
from jwst_modfix.steps.associations import read_association
from jwst_modfix.table.combine import compare_tables, merge_tables
from jwst_modfix.table.file import read_bytes, read_tree
from jwst_modfix.table.table import Validity
from jwst_modfix.table.validity import find_doubts, find_warnings
from jwst_modfix.text import format_measured, wrap


def row(**changes):
    return OffsetRow(**{"array": "long", "filter": "F444W", "offset": 0.0, "offset_error": 0.001} | changes)


def point(**changes):
    return ZeroPointRow(**{"detector": "NRCB1", "filter": "F200W", "zero_point": 0.0} | changes)


def gradient(frame="focal_plane", direction=0.0, origin=(0.0, 0.0), exposure_share=0.5):
    return Gradient(frame=frame, direction=direction, origin=origin, exposure_share=exposure_share)


def has_no_warning_of_photmjsr(ratio, photom):
    found = dataclasses.replace(GOOD, photmjsr=0.4 * ratio)
    derived = row(photmjsr={"A": 0.4, "B": 9.0}, photom={"A": photom, "B": "b.fits"})
    return not list(find_warnings(OffsetTable(rows=[derived]), derived, found))


def has_no_doubt(*rows, baseline="B"):
    return not list(find_doubts(OffsetTable(rows=rows, baseline=baseline)))


def fits(first, size):
    shape = (64, size)
    box = ((-0.5, size - 0.5), (-0.5, 63.5))
    changes = {"xstart": first, "xsize": size, "ysize": 64, "shape": shape, "wcs_box": box}
    turned = {"ystart": first, "ysize": size, "xsize": 64, "shape": shape[::-1], "wcs_box": box[::-1]}
    found = {invalid(**changes) == "", invalid(**turned) == ""}
    assert len(found) == 1, "x and y have one rule"
    return found == {True}


def evaluates(z):
    record = AppliedOffset(table="t", digest="d", date="2026", version="1", zero_point=z, gradient=0.0,
                           field=Field(1, ((0.0, 0.0), (0.0,))))  # fmt: skip
    opened = type("Opened", (), {"exposure": GOOD, "name": "x", "wcs": None})
    return evaluate(opened, record).shape == (2048, 2048)


def same_origin(size):
    """Whether tables whose origins differ by ``size`` [arcsec] are merged, with g = 0.06 mag/arcmin = 1 mmag/arcsec."""
    rows = [row(slope=0.12, slope_error=0.01)], [row(filter="F356W", slope=0.12, slope_error=0.01)]
    tables = [
        OffsetTable(rows=own, gradient=gradient(origin=(0.0, at))) for own, at in zip(rows, (0.0, size), strict=True)
    ]
    assert not compare_tables(*tables).pairs, "they share no row"
    merge_tables(tables)
    return True


def accepts(make):
    """Whether no error of ours is raised, and the result is true."""
    try:
        return bool(make())
    except ModuleOffsetError:
        return False


def association(product="mosaic", nested=0):
    content = {"products": [{"name": product, "members": [{"expname": "a_cal.fits", "exptype": "science"}]}]}
    value = 1
    for _ in range(nested):
        value = [value]
    return read_association(content | {"deep": value})


# What is tried, the last value that is accepted, and a step to a value that is not.
LIMITS = {
    "photmjsr above": (lambda v: has_no_warning_of_photmjsr(1 + v, "a.fits"), 0.000999, 2e-6),
    "photmjsr below": (lambda v: has_no_warning_of_photmjsr(1 - v, "a.fits"), 0.000999, 2e-6),
    "photmjsr of one file above": (lambda v: has_no_warning_of_photmjsr(1 + v, GOOD.photom), 0.0999, 2e-4),
    "photmjsr of one file below": (lambda v: has_no_warning_of_photmjsr(1 - v, GOOD.photom), 0.0999, 2e-4),
    "place of the detector": (lambda v: not invalid(wcs_centre=(85.92 + v, -493.55)), 4.999, 0.002),
    "place of the detector, V3": (lambda v: not invalid(wcs_centre=(85.92, -493.55 - v)), 4.999, 0.002),
    "bounding box, first pixel": (lambda v: not invalid(wcs_box=((-0.5 - v, 2047.5), (-0.5, 2047.5))), 1.0, 0.001),
    "bounding box, last pixel": (lambda v: not invalid(wcs_box=((-0.5, 2047.5), (-0.5, 2047.5 + v))), 1.0, 0.001),
    "bounding box, short": (lambda v: not invalid(wcs_box=((-0.5, 2047.5), (-0.5 + v, 2047.5))), 1.0, 0.001),
    "first pixel of the detector": (lambda v: fits(v, 64), 1, -1),
    "last pixel of the detector": (lambda v: fits(v, 64), 1985, 1),
    "whole detector": (lambda v: fits(1, v), 2048, 1),
    "offset without doubt": (lambda v: has_no_doubt(row(offset=v)), 0.5, 1e-6),
    "negative offset without doubt": (lambda v: has_no_doubt(row(offset=v)), -0.5, -1e-6),
    "error without doubt": (lambda v: has_no_doubt(row(offset_error=v)), 0.5, 1e-6),
    "mean of the baseline": (lambda v: has_no_doubt(point(zero_point=v)), 0.999e-4, 2e-7),
    "negative mean of the baseline": (lambda v: has_no_doubt(point(zero_point=v)), -0.999e-4, -2e-7),
    "offset": (lambda v: row(offset=v), 1.0, 1e-9),
    "negative offset": (lambda v: row(offset=v), -1.0, -1e-9),
    "error": (lambda v: row(offset_error=v), 1.0, 1e-9),
    "no error": (lambda v: row(offset_error=v), 0.0, -1e-9),
    "slope": (lambda v: row(slope=v, slope_error=0.1), 1.0, 1e-9),
    "negative slope": (lambda v: row(slope=v, slope_error=0.1), -1.0, -1e-9),
    "direction": (lambda v: gradient(direction=v), 360.0, 1e-9),
    "negative direction": (lambda v: gradient(direction=v), -360.0, -1e-9),
    "share": (lambda v: gradient(exposure_share=v), 1.0, 1e-9),
    "no share": (lambda v: gradient(exposure_share=v), 0.0, -1e-9),
    "RA": (lambda v: gradient("sky", origin=(v, 0.0)), 360.0, 1e-9),
    "negative RA": (lambda v: gradient("sky", origin=(v, 0.0)), -360.0, -1e-9),
    "Dec": (lambda v: gradient("sky", origin=(0.0, v)), 90.0, 1e-9),
    "negative Dec": (lambda v: gradient("sky", origin=(0.0, v)), -90.0, -1e-9),
    "group": (lambda v: point(group=v), 999, 1),
    "first group": (lambda v: point(group=v), 0, -1),
    "order": (lambda v: Field(v, [[0.0] * (v + 1 - i) for i in range(v + 1)]), 9, 1),
    "length of an origin": (lambda v: gradient(origin=(0.0,) * v), 2, 1),
    "shorter origin": (lambda v: gradient(origin=(0.0,) * v), 2, -1),
    "contexts in order": (lambda v: Validity(context_first=f"jwst_{v}.pmap", context_last="jwst_1130.pmap"), 1130, 1),
    "zero-point error": (evaluates, 0.9999, 0.0002),
    "negative zero-point error": (evaluates, -0.9999, -0.0002),
    "origins of gradients": (same_origin, 0.00999, 2e-5),
    "bytes of a file's name": (lambda v: check_targets([Path(f"{'é' * v}.asdf")], []) is None, 125, 1),  # two each
    "length of a product's name": (lambda v: association("x" * v), 200, 1),
    "depth of an association": (lambda v: association(nested=v), 30, 1),
    "depth of a table": (lambda v: read_tree("t", f"a: {'[' * v}1{']' * v}\n".encode(), is_asdf=False), 30, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_value_is_accepted_up_to_the_limit(name):
    is_accepted, last, step = LIMITS[name]
    assert accepts(lambda: is_accepted(last))
    assert accepts(lambda: is_accepted(last - step)) or isinstance(step, int)
    assert not accepts(lambda: is_accepted(last + step))


def test_a_table_has_at_most_a_mebibyte(tmp_path):
    path = tmp_path / "t.asdf"
    for size, is_read in ((2**20, True), (2**20 + 1, False)):
        path.write_bytes(b"#" * size)
        assert accepts(lambda: read_bytes(path)) == is_read


def test_a_line_has_at_most_78_characters():
    assert wrap("x" * 39 + " " + "y" * 38) == ["x" * 39 + " " + "y" * 38]
    assert wrap("x" * 39 + " " + "y" * 39) == ["x" * 39, "y" * 39]


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (-0.0523, 0.0006, "-52.3 ± 0.6 mmag"),
        (0.0123, 0.0005, "+12.3 ± 0.5 mmag"),
        (0.0123, 0.000499, "+12.30 ± 0.50 mmag"),
        (0.0, 0.001, "+0.0 ± 1.0 mmag"),
        (-1e-6, 0.001, "+0.0 ± 1.0 mmag"),
        (None, 0.001, "-"),
        (0.01, None, "-"),
        (float("nan"), 0.001, "-"),
    ],
)
def test_a_measured_value_is_written_in_mmag_with_a_decimal_of_its_error(value, error, words):
    assert format_measured(value, error) == words
