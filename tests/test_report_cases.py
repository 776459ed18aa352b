"""Findings and lists of the report, from numbers written by hand: both signs, each limit, every row."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from jwst_modfix.fitting.checks import CAUSES
from jwst_modfix.report.content import find_everything, list_outliers
from jwst_modfix.report.page import choose_points


def find(bands=(), comparisons=(), headers=(), mixed=(), points=None):
    """Names and words of what is found."""
    photometry = SimpleNamespace(exposures={"file": ["a.fits", "b.fits", "c.fits"], "roll": [0.0, 0.0, 0.0]})
    derivation = SimpleNamespace(photometry=photometry, mixed=mixed, headers=headers)
    bands = [{"name": "F200W", "filter": "F200W", "pupil": "CLEAR"} | band for band in bands]
    found = find_everything(derivation, points or {}, {"bands": bands, "comparisons": comparisons})
    return [(one["name"], one["words"]) for one in found]


@pytest.mark.parametrize(
    ("median", "error", "is_off"),
    [(0.0031, 0.0005, True), (-0.0031, 0.0005, True), (0.0029, 0.0001, False), (-0.0029, 0.0001, False),
     (0.02, 0.0039, True), (-0.02, 0.0039, True), (0.02, 0.0041, False), (float("nan"), 0.001, False)],
)  # fmt: skip
def test_an_exposure_deviates_by_5_sigma_and_3_mmag(median, error, is_off):
    exposures = [{"exposure": name, "detector": "2 A", "median_mag": value, "error_mag": error}
                 for name, value in (("fine.fits", 0.0), ("a.fits", median))]  # fmt: skip
    found = find([{"exposures": exposures}])
    assert [name for name, _ in found] == ["deviating exposure"] * is_off
    assert not is_off or found[0][1].startswith(f"a.fits (2 A) is off by {1e3 * median:+.1f} ± ")


def compared(value, difference, error=0.001, part="array 2"):
    return {"part": part, "filter": "F200W", "value": value, "difference": difference, "difference_error": error}


@pytest.mark.parametrize(
    ("rows", "is_opposite"),
    [
        ([compared(0.05, -0.1)], True), ([compared(-0.05, 0.1)], True), ([compared(0.05, -0.0951)], True),
        ([compared(0.05, -0.0949)], False), ([compared(0.05, -0.05)], False), ([compared(0.05, 0.1)], False),
        ([compared(0.05, -0.1), compared(0.05, 0.0, part="array 1")], False),
        ([compared(0.05, -0.1), compared(0.0049, 0.0, part="array 1")], True), ([compared(0.0049, -0.0098)], False),
        ([compared(0.05, -0.1), compared(0.05, 0.0, error=None)], True), ([], False),
    ],
)  # fmt: skip
def test_signs_are_opposite_where_all_clear_offsets_are(rows, is_opposite):
    found = find(comparisons=[{"table": "other.asdf", "rows": rows}])
    assert found == [("module names", "F200W array 2: equal to other.asdf with the opposite sign")] * is_opposite


@pytest.mark.parametrize(
    ("ratio", "found", "error", "is_named"),
    [(1.03, 0.0321, 0.001, True), (1 / 1.03, -0.0321, 0.001, True), (1.03, -0.0321, 0.001, False),
     (1.03, 0.0, 0.001, False), (1.03, 0.0321, 0.02, False), (1.004, 0.00434, 0.0005, False),
     (1.03, 0.0251, 0.001, True), (1.03, 0.0239, 0.001, False)],
)  # fmt: skip
def test_pixar_sr_was_left_out_where_sources_and_sky_differ_by_its_ratio(ratio, found, error, is_named):
    """Truth: 2.5 log10(1.03) is 32.1 mmag; a quarter of it, 8.0 mmag, or 3 sigmas may be missing."""
    headers = [SimpleNamespace(array="2", band=("F200W", "CLEAR"), module=module, pixar_sr=area)
               for module, area in (("A", ratio * 1e-14), ("B", 1e-14))]  # fmt: skip
    headers += [SimpleNamespace(array="1", band=("F200W", "CLEAR"), module="A", pixar_sr=9e-14)]
    sky = {"array": "2", "sources": 0.01 + found, "sources_error": 0.6 * error, "sky": 0.01, "sky_error": 0.8 * error}
    names = find([{"sky": [sky]}], headers=headers)
    assert [name for name, _ in names] == ["PIXAR_SR left out"] * is_named
    words = f"{1e3 * found:+.1f} ± {1e3 * error:.1f} mmag; 2.5 log10 of the ratio of PIXAR_SR is "
    assert not is_named or words in names[0][1]


def test_every_failed_score_test_and_mixed_calibration_is_named():
    name, cause = next(iter(CAUSES.items()))
    about = {"name": name, "effect": -0.002, "effect_error": 0.0006, "probability": 1e-5, "advice": "x"}
    tests = [about | {"is_mismatch": is_bad, "where": at} for at, is_bad in (("A", True), ("B", False), ("C", True))]
    found = find([{"score_tests": tests}], mixed=("one", "two"))
    assert [words for name, words in found if name == "mixed calibration"] == ["one", "two"]
    assert [name for name, _ in found[2:]] == [cause, cause]
    words = [words for _, words in found[2:]]
    assert words == [f"residuals depend on {name} (p = 1e-05): {at} -2.0 ± 0.6 mmag" for at in "AC"]


def points(rows):
    """Measurements: source, exposure, residual, reason and whether they deviate."""
    columns = dict(
        zip(("source", "exposure", "residual", "reason", "deviates"), map(list, zip(*rows, strict=True)), strict=True)
    )
    number = np.arange(len(rows))
    return Table(
        columns | {"RA": 10.0 + number, "Dec": -number, "mag": 20.0 + number},
        meta={"filter": "F444W", "pupil": "F405N"},
    )


def test_the_worst_measurement_of_each_source_is_listed():
    """Of either sign; measurements that do not deviate may be farther off."""
    rows = [(7, 0, 0.01, "", False), (7, 2, -0.3, "outlier", True), (7, 1, 0.2, "outlier", True),
            (5, 0, 0.9, "", False), (5, 1, 0.1, "variable", True), (6, 1, 0.5, "", False)]  # fmt: skip
    found = list_outliers(points(rows), ["a", "b", "c"])
    expected = {"source": [5, 7], "exposure": ["b", "c"], "residual": [0.1, -0.3], "reason": ["variable", "outlier"],
                "measurements": [2, 3], "rejected": [1, 2], "mag": [23.5, 21.0], "RA": [14.0, 11.0],
                "filter": ["F444W"] * 2, "pupil": ["F405N"] * 2}  # fmt: skip
    assert {name: found[name].tolist() for name in expected} == expected


@pytest.mark.parametrize(("most", "shown"), [(100, 6), (6, 6), (5, 3), (3, 3), (2, 0)])
def test_as_many_whole_sources_are_shown_as_there_is_room_for(most, shown):
    """Two sources of three measurements each; the one that deviates comes first."""
    rows = [(source, number, 0.0, "", source == 2 and number == 1) for source in (1, 2) for number in range(3)]
    chosen = choose_points({"F200W": points(rows)}, most)["F200W"]
    assert len(chosen) == shown
    assert shown != 3 or chosen.tolist() == [3, 4, 5]
    both = choose_points({"F200W": points(rows), "F444W": points(rows)}, 2 * most)
    assert [len(part) for part in both.values()] == [shown, shown], "filters have equal shares"
