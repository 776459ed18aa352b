"""The table in memory: its gauge, its lookups, and what it refuses."""

import dataclasses

import pytest

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable

LONG = OffsetRow(array="long", filter="F444W", offset=-0.016, offset_error=0.001, slope=0.004, slope_error=0.001)
SHORT = OffsetRow(array="1", filter="F162M", pupil="F150W2", offset=0.012, offset_error=0.001)
GRADIENT = Gradient(frame="focal_plane", direction=90.0, origin=(-1.74, -492.4), exposure_share=0.5)


def make_table(**changes):
    return OffsetTable(**{"rows": (LONG, SHORT), "gradient": GRADIENT, **changes})


@pytest.mark.parametrize(("baseline", "z_a", "z_b"), [("B", -0.016, 0.0), ("A", 0.0, 0.016), ("mean", -0.008, 0.008)])
def test_zero_points_differ_by_the_offset_and_the_baseline_keeps_its_scale(baseline, z_a, z_b):
    table = make_table(baseline=baseline)
    assert table.zero_point(LONG, "A") == pytest.approx(z_a, abs=1e-15)
    assert table.zero_point(LONG, "B") == pytest.approx(z_b, abs=1e-15)


def test_one_exposure_carries_its_share_of_the_slope():
    assert make_table().exposure_slope(LONG) == pytest.approx(0.002)
    assert make_table().exposure_slope(SHORT) == 0.0


def test_the_key_is_array_filter_and_pupil():
    table = make_table()
    assert table.row("1", "F162M", "F150W2") is SHORT
    assert table.row("1", "F162M", "CLEAR") is None
    assert table.row("long", "F444W") is LONG


def test_a_row_can_have_its_own_direction():
    own = dataclasses.replace(LONG, direction=45.0)
    assert make_table().direction(LONG) == 90.0
    assert make_table().direction(own) == 45.0


def test_duplicate_rows_are_refused_by_name():
    with pytest.raises(ReferenceTableError, match=r"mine: row \(array=long, filter=F444W, .*\) stands 2 times"):
        make_table(rows=(LONG, SHORT, LONG), name="mine")


def test_a_slope_needs_a_gradient():
    with pytest.raises(ReferenceTableError, match=r"row \(array=long.*has a slope \(0.004\).*no gradient block"):
        make_table(gradient=None)
    assert OffsetTable(rows=(SHORT,)).gradient is None


def test_the_digest_follows_the_coefficients_only():
    digest = make_table(name="a").digest
    assert digest == make_table(name="b", rows=(SHORT, LONG)).digest
    assert len(digest) == 12
    changed = dataclasses.replace(LONG, offset=-0.0161)
    assert digest != make_table(rows=(changed, SHORT)).digest
    assert digest != make_table(baseline="A").digest
