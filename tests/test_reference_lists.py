"""Zero points of detectors: lists that others publish, and show, set, diff and merge of the table made of them."""

import itertools
import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import Table

from jwst_modfix import Field, OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.table.rules import schema_of
from jwst_modfix.table.table import Gradient, Validity

SHORT = [f"NRC{module}{number}" for module in "AB" for number in (1, 2, 3, 4)]
LONG = ["NRCALONG", "NRCBLONG"]
SHORT_BANDS = ["F070W-CLEAR", "F090W-CLEAR", "F115W-CLEAR", "F140M-CLEAR", "F150W-CLEAR", "F150W2-F162M",
               "F150W2-F164N", "F182M-CLEAR", "F187N-CLEAR", "F200W-CLEAR", "F210M-CLEAR", "F212N-CLEAR"]  # fmt: skip
LONG_BANDS = ["F250M-CLEAR", "F277W-CLEAR", "F300M-CLEAR", "F322W2-F323N", "F335M-CLEAR", "F356W-CLEAR", "F360M-CLEAR",
              "F410M-CLEAR", "F430M-CLEAR", "F444W-CLEAR", "F444W-F405N", "F444W-F466N", "F444W-F470N", "F460M-CLEAR",
              "F480M-CLEAR"]  # fmt: skip
KEYS = [f"{d}-{b}" for d, b in (*itertools.product(SHORT, SHORT_BANDS), *itertools.product(LONG, LONG_BANDS))]


@pytest.fixture
def published(tmp_path):
    """The YAML layout with all 126 combinations; the factors are those of a random list."""
    rng = np.random.default_rng(1293)
    entries = {key: (round(rng.uniform(0.3, 5), 4), round(rng.uniform(0.9, 1.1), 4)) for key in KEYS}
    text = "# DETECTOR-FILTER-PUPIL: [mjsr, scale, pixar_sr]\n\n"
    text += "".join(f"{key}: [ {m:.4f}, {s:.4f}, 2.24e-14]  #  jwst_1293.pmap\n" for key, (m, s) in entries.items())
    (tmp_path / "list.yaml").write_text(text)
    return entries


def test_every_entry_of_the_yaml_layout_survives_the_round_trip(modfix, published, tmp_path):
    assert len(published) == 126
    output = modfix("convert", "list.yaml", "list.asdf", "--context", "jwst_1293.pmap")
    assert "126 rows" in output
    table = OffsetTable.read(tmp_path / "list.asdf")
    assert (table.baseline, table.valid_for.context_first, table.valid_for.context_last) == (
        None, "jwst_1293.pmap", "jwst_1293.pmap",
    )  # fmt: skip
    for key, (mjsr, scale) in published.items():
        row = table.row(*key.split("-"))
        assert row.zero_point == pytest.approx(2.5 * math.log10(scale), abs=1e-15)
        assert (row.photmjsr, row.zero_point_error) == (mjsr, None)
    for name, back in (("list.ecsv", "again.asdf"), ("back.yaml", "again2.asdf")):
        modfix("convert", "list.asdf", name)
        modfix("convert", name, back, *["--context", "jwst_1293.pmap"] * name.endswith("yaml"))
        again = OffsetTable.read(tmp_path / back)
        assert [row.key for row in again.zero_points] == [row.key for row in table.zero_points]
        assert [row.zero_point for row in again.zero_points] == pytest.approx(
            [row.zero_point for row in table.zero_points], abs=1e-12
        )
    assert OffsetTable.read(tmp_path / "again.asdf") == table
    lines = [(tmp_path / name).read_text().split("\n") for name in ("list.yaml", "back.yaml")]
    for one, other in zip(*([line for line in text if line.startswith("NRC")] for text in lines), strict=True):
        values = [json.loads(line.partition(": ")[2].partition("#")[0]) for line in (one, other)]
        assert values[0] == values[1]


def test_a_factor_of_1_05_is_a_zero_point_of_plus_53_mmag_that_brightens(modfix, tmp_path):
    (tmp_path / "list.yaml").write_text("NRCA1-F115W-CLEAR: [2.0, 1.05, 2.2e-14]\n")
    output = modfix("convert", "list.yaml", "list.asdf")
    assert "+52.97 mmag, its pixels are brightened by a factor of 1.05" in output.replace("\n", " ")


COLUMNS = "detector,filter,pupil,{}\nNRCA1,F115W,CLEAR,{}\nNRCBLONG,F444W,F405N,{}\n"


@pytest.mark.parametrize(
    ("columns", "first", "second", "zero_points", "others"),
    [
        ("zero_point", "0.05", "-0.02", (0.05, -0.02), {}),
        ("zero_point,zero_point_error", "0.05,0.001", "-0.02,0.002", (0.05, -0.02), {"zero_point_error": 0.001}),
        ("factor", "1.05", "1", (0.0529732, 0.0), {"zero_point_error": None, "photmjsr": None}),
        ("factor,factor_error", "1.05,0.01", "1.0,0.02", (0.0529732, 0.0), {"zero_point_error": 0.0103404}),
        ("photmjsr,photmjsr_ref", "2.1,2.0", "0.38,0.40", (0.0529732, -0.0556910), {"photmjsr": 2.0}),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "ecsv"])
def test_columns_of_a_list_become_zero_points(modfix, tmp_path, suffix, columns, first, second, zero_points, others):
    """Truth: z = 2.5 log10(factor), the factor is photmjsr / photmjsr_ref, and errors are those of a logarithm."""
    (tmp_path / "list.csv").write_text("\ufeff# a comment\n" + COLUMNS.format(columns, first, second))
    if suffix == "ecsv":
        Table.read(COLUMNS.format(columns, first, second), format="csv").write(tmp_path / "list.ecsv")
    modfix("convert", f"list.{suffix}", "list.asdf")
    table = OffsetTable.read(tmp_path / "list.asdf")
    rows = [table.row("NRCA1", "F115W"), table.row("NRCBLONG", "F444W", "F405N")]
    assert [row.zero_point for row in rows] == pytest.approx(zero_points, abs=1e-7)
    for name, value in others.items():
        assert getattr(rows[0], name) == (value if value is None else pytest.approx(value, abs=1e-7))
    assert table.meta["history"][0].startswith(f"Converted from list.{suffix}")


GOOD = "NRCA1,F115W,CLEAR,0.05"


@pytest.mark.parametrize(
    ("columns", "row", "words"),
    [
        ("zero_point", GOOD + "\n" + GOOD, "duplicate zero point (detector=NRCA1, filter=F115W, pupil=CLEAR)"),
        ("factor", "NRCA1,F115W,CLEAR,0", "(detector=NRCA1, filter=F115W, pupil=CLEAR): factor must be a number"),
        ("factor", "NRCA1,F115W,CLEAR,-1.05", "factor must be a number greater than 0, got -1.05"),
        ("factor", "NRCA1,F115W,CLEAR,nan", "factor must be a number greater than 0, got nan"),
        ("factor", "NRCA1,F115W,CLEAR,", "needs one of zero_point, factor, and photmjsr with photmjsr_ref; it has n"),
        ("photmjsr,photmjsr_ref", "NRCA1,F115W,CLEAR,2.0,0", "photmjsr_ref must be greater than 0, got 2.0 and 0"),
        ("photmjsr_ref", "NRCA1,F115W,CLEAR,2.0", "must be greater than 0, got None and 2.0"),
        ("photmjsr", "NRCA1,F115W,CLEAR,2.0", "needs one of zero_point, factor, and photmjsr with photmjsr_ref"),
        ("zero_point,factor", "NRCA1,F115W,CLEAR,0.05,1.05", "it has zero_point and factor"),
        ("factor,photmjsr,photmjsr_ref", "NRCA1,F115W,CLEAR,1,2,2", "it has factor and photmjsr_ref"),
        ("zero_point", "NRCA5,F444W,CLEAR,0.05", "got 'NRCA5'; write NRCALONG"),
        ("zero_point", "nrca1,F115W,CLEAR,0.05", "field detector: must be one of NRCA1, "),
        ("zero_point", "NRCA1,F444W,CLEAR,0.05", "F444W is a filter of the long-wavelength arrays: detector: NRCALONG"),
        ("zero_point", "NRCBLONG,F200W,CLEAR,0.05", "short-wavelength arrays: detector: NRCB1, NRCB2, NRCB3, NRCB4"),
        ("zero_point", "NRCA1,F162M,F150W2,0.05", "F162M is in the pupil wheel: filter: F150W2, pupil: F162M"),
        ("zero_point", "NRCA1,F999W,CLEAR,0.05", "NIRCam has no filter F999W; filters of NRCA1 are F070W"),
        ("zero_point", "NRCA1,F115W,CLEAR,53", "field zero_point: must not be more than 1, got 53"),
        ("zeropoint", GOOD, "unknown columns or entries of its header: zeropoint; known are array, detector"),
        ("zero_point,zero_point_error", "NRCA1,F115W,CLEAR,0.05,-1", "field zero_point_error: must not be less than 0"),
        ("zero_point,zero_point_error", "NRCA1,F115W,CLEAR,0,05", "field zero_point_error: must not be more than 1, g"),
        ("factor,factor_error", "NRCA1,F115W,CLEAR,1.05,1%", "field factor_error: must be a number, got '1%'"),
        ("factor,factor_error", "NRCA1,F115W,CLEAR,1.05,-0.01", "field factor_error: must not be less than 0, got"),
        ("zero_point,factor_error", "NRCA1,F115W,CLEAR,0.05,0.01", "has factor_error and a zero_point or its error"),
        ("factor,factor_error,zero_point_error", "NRCA1,F115W,CLEAR,1.05,0.01,0.5", "give values and errors of one"),
        ("zero_point,subarray", "NRCA1,F115W,CLEAR,0.05,SUB16O", "NIRCam has no subarray SUB16O: subarray: SUB160"),
    ],
)
def test_mistakes_in_a_list_are_named_and_nothing_is_written(modfix, tmp_path, columns, row, words):
    (tmp_path / "list.csv").write_text(f"detector,filter,pupil,{columns}\n{row}\n")
    output = modfix("convert", "list.csv", "list.asdf", status=1)
    assert words in output
    assert "list.csv: " in output
    assert not (tmp_path / "list.asdf").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("NRCA1-F115W-CLEAR: [2, 1, 1]\nNRCA1-F115W-CLEAR: [2, 1, 1]\n", "duplicate key 'NRCA1-F115W-CLEAR' (line 2)"),
        ("NRCA1-F115W: [2, 1.05, 1.0]\n", "NRCA1-F115W: must be DETECTOR-FILTER-PUPIL"),
        ("NRCA1-F115W-CLEAR: 1.05\n", "must be a list [mjsr, scale, pixar_sr], got 1.05"),
        ("NRCA1-F115W-CLEAR: [2, 1.05]\n", "must be a list [mjsr, scale, pixar_sr], got [2, 1.05]"),
        ("NRCA1-F115W-CLEAR: [2, 0, 1.0]\n", "factor must be a number greater than 0, got 0"),
        ("NRCA1-F115W-CLEAR: [2, yes, 1.0]\n", "factor must be a number greater than 0, got True"),
        ("NRCA1-F115W-CLEAR: [0, 1.05, 1.0]\n", "field photmjsr: must be greater than 0, got 0"),
        ("NRCA1-F115W-CLEAR: [2, 1.05, x]\n", "NRCA1-F115W-CLEAR pixar_sr: must be a number, got 'x'"),
        ("NRCA5-F444W-CLEAR: [2, 1.05, 1.0]\nNRCA1-F444W-CLEAR: [2, 0, 1.0]\n", "got 'NRCA5'; write NRCALONG"),
        ("- a\n", "must hold a mapping"),
    ],
)  # fmt: skip
def test_mistakes_in_the_yaml_layout_are_named(modfix, tmp_path, text, words):
    (tmp_path / "list.yaml").write_text(text)
    assert words in modfix("convert", "list.yaml", "list.asdf", status=1)
    assert not (tmp_path / "list.asdf").exists()


def test_all_mistakes_of_a_list_are_reported_at_once_and_of_very_many_each_has_a_line(modfix, tmp_path):
    kinds = {"NRCA1,F115W,CLEAR,0": "factor must be a number", "NRCA2,F444W,CLEAR,1.0": "detector: NRCALONG"}
    kinds |= {f"NRCA1,F{number}W,CLEAR,1.01": f"NIRCam has no filter F{number}W" for number in range(600, 680)}
    kinds |= {"NRCB1,F115W,CLEAR,1.05\nNRCB1,F115W,CLEAR,1.05": "duplicate zero point"}
    (tmp_path / "list.csv").write_text("\n".join(["detector,filter,pupil,factor", *kinds]) + "\n")
    lines = modfix("convert", "list.csv", "list.asdf", status=1).splitlines()
    assert lines[0] == "Error: list.csv: 83 problems:"
    for line, words in zip(lines[1:], kinds.values(), strict=True):
        assert words in line


def collapsed(text):
    return " ".join(text.split())


def point(detector="NRCA1", z=0.05, error=0.001, filter="F115W", **more):
    return ZeroPointRow(detector=detector, filter=filter, zero_point=z, zero_point_error=error, **more)


def write(name, points=(), rows=(), baseline="B", **more):
    OffsetTable(rows=[*rows, *points], baseline=baseline, meta={"description": name}, **more).write(f"{name}.asdf")


FIELD = Field(order=1, coefficients=((0.0, 0.003), (0.004,)))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_show_prints_zero_points_fields_and_groups(modfix, folder):
    """The rms of a field with coefficients c of P_1(xi) and P_1(eta) is sqrt(sum c^2 / 3): 2.9 mmag."""
    points = (point(field=FIELD, field_error=0.0004, group=1), point("NRCB1", -0.05, None, subarray="SUB160"))
    write("mine", points, [OffsetRow(array="1", filter="F200W", offset=0.1, offset_error=0.001)], "mean")
    output = collapsed(modfix("show", "mine.asdf"))
    assert "mean: the mean flux scale of all detectors is kept" in output
    assert "NRCA1 F115W CLEAR +50.00 ± 1.00 order 1, 2.9 ± 0.4 1" in output
    assert "NRCB1 F115W CLEAR SUB160 -50.00" in output
    assert "1 F200W CLEAR +100.00 ± 1.00" in output
    write("published", points, baseline=None)
    assert "none: zero points as they were published" in modfix("show", "published.asdf")
    assert "published.asdf is valid: 2 rows" in modfix("check", "published.asdf")


def test_set_changes_or_adds_a_zero_point_and_keeps_the_rest(modfix, folder):
    modfix("init")
    before = (folder / "my_moduleoffset.asdf").read_text()
    key = ["set", "my_moduleoffset.asdf", "--detector", "nrca1", "--filter", "f115w"]
    modfix(*key, "--zero-point", 0.03, "--subarray", "sub160")
    modfix(*key, "--zero-point", 0.02, "--zero-point-error", 0.002)
    output = modfix(*key, "--zero-point", -0.01)
    assert "zero_point 0.02 -> -0.01 mag" in output
    table = OffsetTable.read(folder / "my_moduleoffset.asdf")
    assert table.offsets == OffsetTable.read().rows
    assert [(row.zero_point, row.zero_point_error, row.subarray) for row in table.zero_points] == [
        (0.03, None, "SUB160"), (-0.01, 0.002, None),
    ]  # fmt: skip
    assert table.meta["schema_version"] == "2.0.0"
    comments = [line for line in before.splitlines() if "#" in line]
    assert set(comments) <= set((folder / "my_moduleoffset.asdf").read_text().splitlines())


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--detector", "NRCA5", "--filter", "F444W", "--zero-point", 0.1], 1, "got 'NRCA5'; write NRCALONG"),
        (["--detector", "NRCA1", "--filter", "F444W", "--zero-point", 0.1], 1, "--detector NRCALONG"),
        (["--detector", "NRCA1", "--filter", "F162M", "--zero-point", 0.1], 1, "--filter F150W2 --pupil F162M"),
        (["--detector", "NRCA1", "--filter", "F200W", "--zero-point", 0.1], 1, "has offsets, too"),
        (["--detector", "NRCA1", "--filter", "F115W", "--zero-point-error", 0.1], 1, "missing field zero_point"),
        (["--detector", "NRCA1", "--filter", "F115W", "--offset", 0.1], 2, "with --detector, give at least one of"),
        (["--array", "1", "--filter", "F115W", "--zero-point", 0.1], 2, "with --array, give at least one of --offset"),
        (["--filter", "F115W", "--zero-point", 0.1], 2, "give either --array, for an offset, or --detector"),
        (["--array", "1", "--filter", "F200W", "--offset", 0.1, "-o", "my_moduleoffset.asdf"], 1, "exists already"),
    ],
)
def test_set_refuses_zero_points_that_cannot_be(modfix, folder, options, status, words):
    modfix("init")
    before = (folder / "my_moduleoffset.asdf").read_bytes()
    assert words in modfix("set", "my_moduleoffset.asdf", *options, status=status)
    assert (folder / "my_moduleoffset.asdf").read_bytes() == before


def test_diff_compares_zero_points_and_fields_in_one_baseline(modfix, folder):
    """T2 is T1 plus 30 mmag in each detector, which is another baseline, and 5 mmag in NRCA1: only these are left."""
    write("one", (point("NRCA1", 0.010), point("NRCB1", 0.0), point("NRCB2", 0.02, None)), baseline="NRCB1")
    moved = (point("NRCA1", 0.045, field=FIELD), point("NRCB1", 0.030), point("NRCB2", 0.050), point("NRCB3", 0.04))
    write("two", moved, baseline=None)
    output = collapsed(modfix("diff", "one.asdf", "two.asdf"))
    assert "NRCA1 F115W +10.00 ± 1.00 +15.00 ± 1.00 +5.00 ± 1.41 +3.5" in output
    assert "NRCB2 F115W +20.00 +20.00 ± 1.00 +0.00" in output
    assert "only in T2, zero point [mmag] NRCB3 F115W +10.00 ± 1.00" in output
    assert "field, T2 - T1 [mmag rms over the detector] NRCA1 F115W 2.89" in output
    assert "baselines NRCB1 and None: zero points are converted to the first" in output
    write("offsets", rows=[OffsetRow(array="1", filter="F115W", offset=0.1, offset_error=0.001)])
    output = collapsed(modfix("diff", "two.asdf", "offsets.asdf"))
    assert "filter F115W, pupil CLEAR: one table has offsets and the other zero points; not compared" in output


def test_merge_joins_zero_points_on_one_scale(modfix, folder):
    """A mean of module B of 0 stays 0; a list relative to NRCB1 is shifted by its own mean of module B, 10 mmag."""
    write("one", (point("NRCA1", 0.03), point("NRCB1", 0.0)))
    write("two", tuple(point(d, z, filter="F150W") for d, z in (("NRCA1", 0.05), ("NRCB1", 0.0), ("NRCB2", 0.02))),
          baseline="NRCB1")  # fmt: skip
    output = modfix("merge", "one.asdf", "two.asdf", "-o", "x.asdf", status=1)
    assert "two.asdf has baseline NRCB1, one.asdf has baseline B; choose one baseline" in collapsed(output)
    modfix("merge", "one.asdf", "two.asdf", "-o", "merged.asdf", "--baseline", "B")
    merged = OffsetTable.read("merged.asdf")
    assert merged.baseline == "B"
    found = {(row.detector, row.filter): row.zero_point for row in merged.zero_points}
    assert found == pytest.approx({("NRCA1", "F115W"): 0.03, ("NRCB1", "F115W"): 0.0, ("NRCA1", "F150W"): 0.04,
                                   ("NRCB1", "F150W"): -0.01, ("NRCB2", "F150W"): 0.01}, abs=1e-15)  # fmt: skip
    modfix("merge", "packaged", "one.asdf", "-o", "both.asdf")
    both = OffsetTable.read("both.asdf")
    assert (both.offsets, len(both.zero_points)) == (OffsetTable.read().rows, 2)


def test_groups_without_a_detector_of_the_baseline_keep_their_scale(modfix, folder):
    """NRCB1 and NRCB2 have the mean 20 mmag in group 1; group 2 has no detector of module B, and subarrays follow.

    Another pupil with the same filter has a mean of its own.
    """
    mine = [("NRCA1", 0.05, 1, None), ("NRCB1", 0.01, 1, None), ("NRCB2", 0.03, 1, None), ("NRCA2", 0.07, 2, None),
            ("NRCB1", 0.2, 1, "SUB160")]  # fmt: skip
    long = [point("NRCBLONG", z, filter="F444W", pupil=pupil) for z, pupil in ((0.04, "CLEAR"), (0.06, "F405N"))]
    write("one", [*(point(d, z, group=g, subarray=s) for d, z, g, s in mine), *long], baseline=None)
    write("two", [point(filter="F150W", z=0.0)], baseline="A")
    modfix("merge", "one.asdf", "two.asdf", "-o", "bad.asdf", "--baseline", "B", status=1)
    write("three", [point("NRCB1", 0.0, filter="F150W")], baseline="B")
    modfix("merge", "one.asdf", "three.asdf", "-o", "merged.asdf", "--baseline", "B")
    found = [row.zero_point for row in OffsetTable.read("merged.asdf").zero_points]
    assert found == pytest.approx([0.03, -0.01, 0.01, 0.07, 0.18, 0.0, 0.0, 0.0], abs=1e-15)


@pytest.mark.parametrize(
    ("points", "rows", "words"),
    [
        ((point("NRCA2", 0.1),), (), "zero points of one.asdf and two.asdf have no common scale: two.asdf has none of"),
        ((point("NRCA1", 0.1), point("NRCB1")), (), "is in one.asdf and in two.asdf; choose with prefer first or last"),
        ((), (OffsetRow(array="1", filter="F115W", offset=0.1, offset_error=0.1),), "offsets and zero points, in one"),
    ],
)
def test_zero_points_that_cannot_be_joined_are_refused(modfix, folder, points, rows, words):
    write("one", (point("NRCA1", 0.03), point("NRCB1", 0.0)))
    write("two", points, rows)
    assert words in modfix("merge", "one.asdf", "two.asdf", "-o", "merged.asdf", status=1)
    assert not (folder / "merged.asdf").exists()


def test_ecsv_keeps_all_that_both_kinds_of_rows_have(modfix, folder):
    points = (point(field=FIELD, field_error=0.001, group=1, photmjsr=2.0, photmjsr_date="2026-03-01", photom="p.fits"),
              point("NRCB1", 0.0, None, subarray="SUB160"))  # fmt: skip
    row = OffsetRow(array="long", filter="F444W", offset=0.1, offset_error=0.1, photmjsr={"A": 1.0, "B": 2.0},
                    photom={"A": "a.fits", "B": "b.fits"}, subarray="FULL", slope=0.004, slope_error=0.001,
                    direction=80.0)  # fmt: skip
    gradient = Gradient(frame="focal_plane", direction=90.0, origin=(-1.74, -492.4), exposure_share=0.5)
    write(
        "mine", points, (row,), gradient=gradient, valid_for=Validity(context_first="jwst_1130.pmap", photom="p.fits")
    )
    modfix("convert", "mine.asdf", "mine.ecsv")
    modfix("convert", "mine.ecsv", "again.asdf")
    one, other = OffsetTable.read("mine.asdf"), OffsetTable.read("again.asdf")
    assert (other, other.meta) == (one, one.meta)
    content = Table.read("mine.ecsv")
    content["zero_point"].unit, content["zero_point"][1:] = "mag", [0.05, 0.0]
    content["zero_point"].convert_unit_to("mmag")
    content["zero_point_error"].convert_unit_to("mmag")
    content.write("milli.ecsv")
    modfix("convert", "milli.ecsv", "milli.asdf")
    assert OffsetTable.read("milli.asdf").zero_points[0].zero_point == pytest.approx(0.05)


def test_the_example_of_the_documentation_is_a_table():
    table = OffsetTable.read(Path(__file__).parents[1] / "docs" / "zero_points.asdf")
    assert [row.zero_point for row in table.zero_points] == [0.0, 0.0212, 0.0235]
    assert table.zero_points[1].field.evaluate([0, 2047], [1023.5, 1023.5]).tolist() == [-0.003, 0.003]


# ---- units, separators and scales ----


@pytest.mark.parametrize(
    ("name", "values", "unit", "found"),
    [
        ("zero_point", [50], "mmag", 0.05),  # integers: 50 mmag is no 0
        ("zero_point", [50.0], "mmag", 0.05),
        ("zero_point", [0.02], "dex", "its unit must be mag, got dex"),  # which grows with the flux
        ("zero_point", [5.0], "%", "its unit must be mag"),
        ("factor", [105.0], "%", 0.0529732),
        ("factor", [0.05], "mag", "its unit must be none"),
        ("factor", [True], None, "factor must be a number greater than 0, got True"),
    ],
)
def test_units_of_columns_are_converted_or_refused(modfix, tmp_path, name, values, unit, found):
    """Truth: 50 mmag is 0.05 mag, and 105 % a factor of 1.05."""
    content = Table({"detector": ["NRCA1"], "filter": ["F115W"], "pupil": ["CLEAR"], name: values})
    content[name].unit = unit
    content.write(tmp_path / "list.ecsv")
    output = modfix("convert", "list.ecsv", "list.asdf", status=int(isinstance(found, str)))
    if isinstance(found, str):
        assert found in output
    else:
        assert OffsetTable.read(tmp_path / "list.asdf").zero_points[0].zero_point == pytest.approx(found, abs=1e-7)


def test_the_units_of_an_error_and_of_both_values_of_photmjsr_count(modfix, tmp_path):
    """Truth: 0.5 % of a factor is 5.2 mmag of 1.05, and the ratio of PHOTMJSR has no unit."""
    key = {"detector": ["NRCA1"], "filter": ["F115W"], "pupil": ["CLEAR"]}
    content = Table(key | {"factor": [1.05], "factor_error": [0.5]})
    content["factor_error"].unit = "%"
    content.write(tmp_path / "errors.ecsv")
    modfix("convert", "errors.ecsv", "errors.asdf")
    assert OffsetTable.read("errors.asdf").zero_points[0].zero_point_error == pytest.approx(0.0051702, abs=1e-6)
    content = Table(key | {"photmjsr": [2.1], "photmjsr_ref": [2.0e6]})
    content["photmjsr"].unit, content["photmjsr_ref"].unit = "MJy s / (DN sr)", "Jy s / (DN sr)"
    content.write(tmp_path / "ratio.ecsv")
    output = collapsed(modfix("convert", "ratio.ecsv", "ratio.asdf"))
    table = OffsetTable.read("ratio.asdf")
    assert (table.zero_points[0].zero_point, table.zero_points[0].photmjsr) == pytest.approx((0.0529732, 2.0), abs=1e-7)
    assert "brightened by a factor of 1.05, from PHOTMJSR 2 of the data to 2.1" in output
    assert "photmjsr_ref is taken as that of the data" in table.meta["history"][0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("detector;filter;zero_point\nNRCA1;F115W;0,05\n", "must be separated by commas, got 'detector;filter;zero"),
        ("detector\tfilter\tzero_point\nNRCA1\tF115W\t0.05\n", "columns must be separated by commas"),
        ("detector,filter,zero_point\n", "list.csv: has no rows"),
        ("", "list.csv: has no rows"),
        ("detector,filter,zero_point\nNRCA1,F115W,0.05,0.06\n", "list.csv: cannot be read as CSV: Number of header"),
    ],
)
def test_tables_with_other_separators_or_no_rows_are_refused_by_what_they_are(modfix, tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    assert words in modfix("convert", "list.csv", "list.asdf", status=1)


def test_the_context_of_a_table_is_not_replaced_by_an_option_without_a_word(modfix, folder):
    write("mine", (point(),), baseline=None)
    modfix("convert", "mine.asdf", "mine.ecsv")
    words = ("convert", "mine.ecsv", "again.asdf", "--context", "jwst_1293.pmap")
    assert "--context for lists without a header" in modfix(*words, status=1)


FULL, PART = [("NRCA1", 0.03), ("NRCB1", 0.06), ("NRCB2", -0.06)], [("NRCA1", 0.06), ("NRCB2", 0.0)]


def test_zero_points_relative_to_other_detectors_have_another_scale(modfix, folder):
    """The mean of NRCB1 and NRCB2 is not NRCB2: rows differ by 60 mmag, and nothing has changed; NRCA2 is new."""
    write("one", [point(*row) for row in FULL])
    write("two", [point(*row) for row in (*PART, ("NRCA2", 0.01))])
    words = "baseline B is the mean of NRCB1, NRCB2 in one.asdf, and of NRCB2 in two.asdf"
    assert words in modfix("merge", "one.asdf", "two.asdf", "-o", "m.asdf", "--prefer", "first", status=1)
    assert words in collapsed(modfix("diff", "one.asdf", "two.asdf"))
    modfix("merge", "one.asdf", "two.asdf", "-o", "m.asdf", "--prefer", "last", "--baseline", "NRCB2")
    found = {row.detector: row.zero_point for row in OffsetTable.read("m.asdf").zero_points}
    assert found == pytest.approx({"NRCA1": 0.06, "NRCA2": 0.01, "NRCB1": 0.12, "NRCB2": 0.0}, abs=1e-15)


def test_groups_of_two_tables_are_not_joined_by_their_numbers(modfix, folder):
    """Group 1 of one table has nothing to do with group 1 of the other."""
    for name, second in (("one", "NRCA1"), ("two", "NRCA2")):
        write(name, [point("NRCB1", 0.0, group=0), point(second, 0.03, group=1)])
    output = modfix("merge", "one.asdf", "two.asdf", "-o", "m.asdf", "--prefer", "first", status=1)
    assert "one.asdf has group 0 and 1, two.asdf has group 0 and 1, and groups of linked" in output
    assert "groups of linked detectors have scales of their own" in collapsed(modfix("diff", "one.asdf", "two.asdf"))


def test_tables_of_one_name_in_two_folders_are_two_tables(modfix, folder):
    for name, detector in (("a", "NRCA1"), ("b", "NRCA2")):
        (folder / name).mkdir()
        write(f"{name}/t", [point(detector, 0.03)])
    output = modfix("merge", "a/t.asdf", "b/t.asdf", "-o", "m.asdf", status=1)
    assert "zero points of t.asdf and t.asdf have no common scale" in output


@pytest.mark.parametrize(
    ("points", "baseline", "words"),
    [
        ([("NRCB1", 0.05)], "B", "the baseline is B, but its zero points have a mean of +50.00 mmag"),
        ([("NRCA1", 0.02), ("NRCB1", 0.05)], "NRCA1", "the baseline is NRCA1, but its zero points have a mean of +20"),
        ([("NRCB1", 0.9), ("NRCB2", -0.9)], "B", "0.9 ± 0.001 mag is larger than 0.5 mag; is it in mmag, or a factor?"),
        ([("NRCB1", 0.01), ("NRCB2", -0.01)], "B", None),
        ([("NRCB1", -0.05)], "B", "the baseline is B, but its zero points have a mean of -50.00 mmag"),
        ([("NRCB1", -0.9)], None, "-0.9 ± 0.001 mag is larger than 0.5 mag; is it in mmag, or a factor?"),
        ([("NRCB1", 0.05)], None, None),
    ],
)
def test_a_table_that_is_doubtful_is_read_with_a_warning(folder, caplog, points, baseline, words):
    write("mine", [point(*row) for row in points], baseline=baseline)
    OffsetTable.read("mine.asdf")
    assert [words] * bool(words) == [words for record in caplog.records if words and words in record.getMessage()][:1]
    assert bool(caplog.records) == bool(words)


def test_a_row_of_a_subarray_that_does_not_exist_can_never_match(modfix, folder, caplog):
    write("mine", (point(subarray="SUB16O"),), baseline=None)
    OffsetTable.read("mine.asdf")
    assert "can never match an exposure: NIRCam has no subarray SUB16O: subarray: SUB160" in caplog.text
    words = ("set", "mine.asdf", "--detector", "NRCA1", "--filter", "F115W", "--zero-point", "0.1", "--subarray")
    assert "no exposure can match this row: NIRCam has no subarray SUB999" in modfix(*words, "sub999", status=1)


def test_the_subarrays_are_those_of_the_data_models():
    """Truth: the schema of stdatamodels, whose lists for NIRCam begin with FULLP and MASKA210R."""
    schema = yaml.safe_load((resources.files("stdatamodels.jwst.datamodels") / "schemas/core.schema.yaml").read_text())
    lists = schema["properties"]["meta"]["properties"]["subarray"]["properties"]["name"]["anyOf"]
    known = [names["enum"] for names in lists if {"FULLP", "MASKA210R"} & set(names["enum"])]
    known = {"FULL", *itertools.chain(*known)}
    ours = set(schema_of("zero_points", "items", "subarray")["known"])
    assert known <= ours
    assert {"SUPSTP" in name for name in ours - known} <= {True}, "older schemas lack those of striping only"
