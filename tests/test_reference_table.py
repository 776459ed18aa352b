"""The table: its gauge, its lookups, what it refuses, how it is read, written, shown and chosen; its data model."""

import copy
import dataclasses
import json
import logging
import pickle
import re

import asdf
import numpy as np
import pytest
from astropy import units as u

from jwst_modfix import ModuleOffsetModel
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.describe import describe_table
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, choose_table, read_tree, write_tree
from jwst_modfix.table.formats import read_columns, write_ecsv
from jwst_modfix.table.table import Field, Gradient, OffsetRow, OffsetTable, Validity, ZeroPointRow

LONG = OffsetRow(array="long", filter="F444W", offset=-0.016, offset_error=0.001, slope=0.004, slope_error=0.001)
SHORT = OffsetRow(array="1", filter="F162M", pupil="F150W2", offset=0.012, offset_error=0.001)
GRADIENT = Gradient(frame="focal_plane", direction=90.0, origin=(-1.74, -492.4), exposure_share=0.5)


def make_table(**changes):
    return OffsetTable(**{"rows": (LONG, SHORT), "gradient": GRADIENT, **changes})


def test_one_exposure_carries_its_share_of_the_slope():
    assert make_table().exposure_gradient(LONG) == pytest.approx(0.002)
    assert make_table().exposure_gradient(SHORT) == 0.0


def zero_point(detector="NRCA1", z=0.05, **more):
    return ZeroPointRow(detector=detector, filter="F115W", zero_point=z, zero_point_error=0.001, **more)


def test_a_row_of_the_subarray_comes_before_the_row_of_every_subarray():
    of_all, own = zero_point(), zero_point(z=0.06, subarray="SUB160")
    table = make_table(rows=(LONG, dataclasses.replace(LONG, subarray="SUB64P"), own, of_all))
    assert table.row("NRCA1", "F115W", "CLEAR", "SUB160") is own
    assert table.row("NRCA1", "F115W", "CLEAR", "FULL") is table.row("NRCA1", "F115W") is of_all
    assert table.row("NRCB1", "F115W") is None
    assert table.row("long", "F444W", "CLEAR", "SUB64P") is table.rows[1]
    assert table.row("long", "F444W", "CLEAR", "SUB160") is table.row("long", "F444W") is LONG
    assert OffsetTable(rows=(own,)).row("NRCA1", "F115W", "CLEAR", "FULL") is None
    assert table.row("NRCBLONG", "F444W", "CLEAR", "SUB64P") is table.rows[1], "a detector has the offset of its array"


def test_a_field_is_a_sum_of_legendre_polynomials_over_the_full_frame():
    """Truth by hand: P_1 = t, P_2 = (3 t^2 - 1) / 2 at the corners, the middle and a quarter of the way."""
    field = Field(order=2, coefficients=[[0, 0.01, 0.02], [0.03, 0.04], [0.05]])
    x, y = np.array([0, 2047, 1023.5, 1535.25]), np.array([0, 2047, 1023.5, 2047])
    by_hand = [
        -0.01 + 0.02 - 0.03 + 0.04 + 0.05,
        0.01 + 0.02 + 0.03 + 0.04 + 0.05,
        -0.02 / 2 - 0.05 / 2,
        0.01 + 0.02 + 0.03 / 2 + 0.04 / 2 + 0.05 * (3 / 4 - 1) / 2,
    ]
    np.testing.assert_allclose(field.evaluate(x, y), by_hand, atol=1e-15)


def test_zero_points_are_written_and_read_back_in_schema_2(tmp_path):
    """Tables without zero points and the new fields of rows are written as schema 1.0.0, which older versions read."""
    points = (zero_point(field=Field(order=1, coefficients=((0, 0.01), (0.02,))), field_error=0.001, group=2),
              zero_point("NRCB1", -0.05, subarray="SUB160", photmjsr=2.0, photmjsr_date="2026-03-01"))  # fmt: skip
    table = OffsetTable(rows=points, baseline="NRCB1", meta={"description": "d"})
    for name, item, version in (
        ("points", table, "2.0.0"),
        ("both", make_table(rows=(LONG, *points), meta={"description": "d"}), "2.0.0"),
        ("subarray", make_table(rows=(dataclasses.replace(SHORT, subarray="FULL"),), meta=table.meta), "2.0.0"),
        ("offsets", make_table(meta={"description": "d", "schema_version": "2.0.0"}), "1.0.0"),
        ("published", dataclasses.replace(table, baseline=None), "2.0.0"),
    ):
        item.write(tmp_path / f"{name}.asdf")
        again = OffsetTable.read(tmp_path / f"{name}.asdf")
        assert again == item
        assert again.meta["schema_version"] == version
    assert OffsetTable.read(tmp_path / "points.asdf").zero_points == points
    assert repr(table).startswith("<OffsetTable 'table': 2 zero points, baseline NRCB1, hash ")


def test_a_row_can_have_its_own_direction():
    own = dataclasses.replace(LONG, direction=45.0)
    assert make_table().direction(LONG) == 90.0
    assert make_table().direction(own) == 45.0
    assert make_table().direction(dataclasses.replace(LONG, direction=0.0)) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": (LONG,)},
        {"rows": (dataclasses.replace(LONG, offset=-0.0161), SHORT)},
        {"rows": (dataclasses.replace(LONG, offset_error=0.002), SHORT)},
        {"rows": (dataclasses.replace(LONG, direction=90.0), SHORT)},
        {"rows": (dataclasses.replace(LONG, photmjsr={"A": 1.0, "B": 1.0}), SHORT)},
        {"baseline": "mean"},
        {"gradient": dataclasses.replace(GRADIENT, direction=91.0)},
        {"valid_for": Validity(photom="a.fits")},
        {"valid_for": Validity(flat="a.fits")},
        {"valid_for": Validity(context_first="jwst_990.pmap")},
        {"valid_for": Validity(context_last="jwst_990.pmap")},
        {"rows": (dataclasses.replace(LONG, direction=0.0), SHORT)},
        {"rows": (LONG, dataclasses.replace(SHORT, slope=0.0, slope_error=0.0))},
        {"rows": (dataclasses.replace(LONG, subarray="FULL"), SHORT)},
        {"rows": (LONG, SHORT, ZeroPointRow(detector="NRCA1", filter="F115W", zero_point=0))},
    ],
)
def test_tables_are_equal_by_value(changes):
    table, other = make_table(), make_table(**changes)
    assert table != other
    assert table.digest != other.digest
    assert table == make_table(rows=(SHORT, LONG), name="other", meta={"description": "other"})
    assert hash(table) == hash(make_table(name="other"))
    assert table != "table"


def test_whole_numbers_are_the_same_values():
    table = make_table(gradient=dataclasses.replace(GRADIENT, direction=90))
    assert table.digest == make_table().digest
    zeros = [make_table(rows=(dataclasses.replace(SHORT, offset=zero),)).digest for zero in (0, 0.0, -0.0)]
    assert len(set(zeros)) == 1


def test_a_written_table_is_read_back_and_asdf_alone_reads_it(tmp_path):
    path = tmp_path / "mine.asdf"
    table = make_table(baseline="mean", valid_for=Validity(context_first="jwst_1130.pmap", photom="a.fits"))
    with pytest.raises(ReferenceTableError, match="meta: missing field description"):
        table.write(path)
    dataclasses.replace(table, meta={"description": "by hand: a, b"}).write(path)
    again = OffsetTable.read(path)
    assert again == table
    assert (again.name, again.meta["description"], again.meta["author"]) == ("mine.asdf", "by hand: a, b", "unknown")
    with asdf.open(path) as file:
        assert file["offsets"][0]["slope"] == 0.004
        assert file["valid_for"] == {"context": {"first": "jwst_1130.pmap"}, "photom": ["a.fits"]}


def test_a_file_is_overwritten_on_request_only(tmp_path):
    table = make_table(meta={"description": "d"})
    table.write(tmp_path / "mine.asdf")
    with pytest.raises(ReferenceTableError, match=r"mine.asdf: exists already and is not overwritten"):
        make_table(meta={"description": "other"}).write(tmp_path / "mine.asdf")
    assert OffsetTable.read(tmp_path / "mine.asdf").meta["description"] == "d"
    make_table(meta={"description": "other"}).write(tmp_path / "mine.asdf", overwrite=True)
    assert OffsetTable.read(tmp_path / "mine.asdf").meta["description"] == "other"
    for path, words in ((tmp_path / "mine.fits", "must end in '.asdf'"), (PACKAGED_TABLE, "belongs to the package")):
        with pytest.raises(ReferenceTableError, match=words):
            table.write(path, overwrite=True)


def test_home_and_variables_are_expanded_and_packaged_is_a_word(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TABLES", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_table(meta={"description": "d"}).write("~/mine.asdf")
    assert OffsetTable.read("~/mine.asdf") == OffsetTable.read("$TABLES/mine.asdf") == make_table()
    assert OffsetTable.read("packaged") == OffsetTable.read() == OffsetTable.read(PACKAGED_TABLE)
    assert choose_table("~/mine.asdf")[0] == choose_table("$TABLES/mine.asdf")[0] == make_table()
    (tmp_path / "$TABLES").mkdir()
    (tmp_path / "mine.asdf").rename(tmp_path / "$TABLES" / "mine.asdf")
    assert OffsetTable.read(tmp_path / "$TABLES" / "mine.asdf") == make_table(), "a folder of that name comes first"
    (tmp_path / "$TABLES" / "mine.asdf").rename(tmp_path / "packaged")
    assert OffsetTable.read("packaged") == make_table()  # a file of that name comes first


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: OffsetTable.read(None), "a table must be a path or the word packaged, got None"),
        (lambda: OffsetTable.read(b"mine.asdf"), "a table must be a path or the word packaged, got b'mine.asdf'"),
        (
            lambda: OffsetTable.read("s3://bucket/mine.asdf"),
            "s3://bucket/mine.asdf: is a URL; download the file and give",
        ),
        (
            lambda: OffsetTable.read("~nobody_at_all/mine.asdf"),
            "~nobody_at_all/mine.asdf: cannot be read: No such file",
        ),
        (lambda: OffsetTable.read(" "), "the name of the table is empty: give a path, or the word packaged"),
        (lambda: choose_table(""), "the name of the table is empty"),  # as of a variable of the shell that is not set
        (lambda: OffsetTable.read("a\0b"), "a path cannot have a null character"),
        (lambda: OffsetTable.read("x" * 300), "cannot be read: File name too long"),
        (lambda: make_table(meta={"description": "d"}).write(5), "a table must be a path or the word packaged, got 5"),
        (lambda: ModuleOffsetModel(5), "a table must be a path, a tree or a model, got int"),
        (lambda: ModuleOffsetModel({}), "top level: must have at least 1 entry, got 0"),
        (lambda: dataclasses.replace(LONG, array="5"), "row (array=5, filter=F444W, pupil=CLEAR), field array: must"),
        (lambda: dataclasses.replace(LONG, offset=None), "field offset: must be a number, got None"),
        (lambda: dataclasses.replace(LONG, slope_error=None), "has slope, but no slope_error"),
        (lambda: dataclasses.replace(GRADIENT, frame="x"), "gradient.frame: must be"),
        (lambda: Validity(context_first="1130"), "valid_for.context.first: must match"),
        (lambda: Validity(photom=3), "valid_for.photom: must be text or a list, got 3"),
        (lambda: OffsetTable(rows=LONG), "rows must be a list of OffsetRow or ZeroPointRow, got OffsetRow"),
        (lambda: OffsetTable(rows=[{"array": "1"}]), "rows must be a list of OffsetRow or ZeroPointRow, got "),
        (lambda: make_table(gradient={}), "gradient must be a Gradient or None, got {}"),
        (lambda: make_table(valid_for=None), "valid_for must be a Validity, got None"),
        (lambda: make_table(name=None), "name must be text, got None"),
        (lambda: make_table(baseline=5), "baseline: must be text, got 5"),
        (lambda: make_table().zero_point(LONG, "C"), "no module C in baseline B"),
        (
            lambda: zero_point(photmjsr=1, photmjsr_date="2026-02-30"),
            "photmjsr_date: must be a date such as 2026-03-01",
        ),
    ],
)
def test_what_is_no_table_is_named(make, words):
    with pytest.raises(ReferenceTableError, match=re.escape(words)):
        make()


def test_rows_become_an_astropy_table_with_units():
    row = dataclasses.replace(SHORT, photmjsr={"A": 0.3, "B": 0.31})
    table = make_table(rows=(LONG, row), meta={"description": "d"}).to_table()
    assert list(table["array"]) == ["long", "1"]
    assert list(table["pupil"]) == ["CLEAR", "F150W2"]
    assert table["offset"].unit == u.mag
    assert table["slope"].unit == u.mag / u.arcmin
    assert table["photmjsr_B"].unit == u.MJy / u.sr / (u.DN / u.s)
    assert (table["offset"][1], table["slope"][0], table["photmjsr_B"][1]) == (0.012, 0.004, 0.31)
    assert table["slope"].mask.tolist() == [False, True]
    assert "direction" not in table.colnames
    assert table.meta["baseline"] == "B"
    assert len(OffsetTable(rows=()).to_table()) == 0


def test_a_table_shows_itself_in_a_line_and_in_a_notebook():
    table = make_table(name="<b>.asdf", meta={"description": "a < b"})
    assert repr(table) == f"<OffsetTable '<b>.asdf': 2 rows, baseline B, hash {table.digest}>"
    page = table._repr_html_()
    assert "&lt;b&gt;.asdf" in page
    assert "a &lt; b" in page
    assert all(words in page for words in ("F162M", "-0.016", "mag / arcmin"))


def test_a_table_goes_to_other_processes():
    table = make_table(rows=(dataclasses.replace(LONG, photmjsr={"A": 1.0, "B": 2.0}), SHORT))
    assert pickle.loads(pickle.dumps(table)) == table


IMPOSSIBLE = [
    ("1", "F162M", "CLEAR", "F162M is in the pupil wheel: --filter F150W2 --pupil F162M"),
    ("long", "F405N", "CLEAR", "F405N is in the pupil wheel: --filter F444W --pupil F405N"),
    ("long", "F405N", "F444W", "F405N is in the pupil wheel: --filter F444W --pupil F405N"),
    ("long", "F323N", "CLEAR", "F323N is in the pupil wheel: --filter F322W2 --pupil F323N"),
    ("1", "F444W", "CLEAR", "F444W is a filter of the long-wavelength arrays: --array long"),
    ("long", "F200W", "CLEAR", "F200W is a filter of the short-wavelength arrays: --array 1, 2, 3 or 4"),
    ("1", "F999W", "CLEAR", "NIRCam has no filter F999W; filters of array 1 are F070W, F090W, F115W"),
    ("long", "F444W", "F323N", "F323N in the pupil wheel is used with another filter: --filter F322W2 --pupil F323N"),
    ("long", "F444W", "F999N", "pupil F999N is not used in imaging; pupils of array long are CLEAR, F323N, F405N"),
    ("1", "CLEAR", "F162M", "F162M in the pupil wheel is used with another filter: --filter F150W2 --pupil F162M"),
    ("1", "CLEAR", "CLEAR", "NIRCam has no filter CLEAR"),
    ("long", "F162M", "CLEAR", "F162M is in the pupil wheel: --array 1, 2, 3 or 4 --filter F150W2 --pupil F162M"),
    (
        "2",
        "F150W",
        "F405N",
        "F405N in the pupil wheel is used with another filter: --array long --filter F444W --pupil F405N",
    ),
]


@pytest.mark.parametrize(("array", "filter", "pupil", "words"), IMPOSSIBLE)
def test_a_row_that_can_never_match_is_refused_by_set_and_named_on_reading(
    modfix, tmp_path, caplog, array, filter, pupil, words
):
    key = ["--array", array, "--filter", filter, "--pupil", pupil]
    modfix("init")
    output = modfix("set", "my_moduleoffset.asdf", *key, "--offset", 0.01, "--offset-error", 0.001, status=1)
    assert f"no exposure can match this row: {words}" in output
    row = OffsetRow(array=array, filter=filter, pupil=pupil, offset=0.01, offset_error=0.001)
    OffsetTable(rows=(row, LONG), gradient=GRADIENT, meta={"description": "d"}).write(tmp_path / "mine.asdf")
    write_ecsv(OffsetTable.read(tmp_path / "mine.asdf"), tmp_path / "mine.ecsv")
    for read, name in ((OffsetTable.read, "mine.asdf"), (ModuleOffsetModel, "mine.asdf"), (read_columns, "mine.ecsv")):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "jwst_modfix"):
            read(tmp_path / name)
        (record,) = (record for record in caplog.records if "can never match" in record.getMessage())
        assert f"{name}: {row.label} can never match an exposure: {words.partition(':')[0]}" in record.getMessage()


# Table 2 of Ma et al. (2023): offset, its error, slope, its error.
PUBLISHED = {
    ("1", "F150W"): (0.01296, 0.00155, None, None),
    ("1", "F200W"): (0.01534, 0.00111, None, None),
    ("2", "F150W"): (-0.04342, 0.00148, None, None),
    ("2", "F200W"): (-0.05267, 0.00117, None, None),
    ("3", "F150W"): (0.02193, 0.00228, None, None),
    ("3", "F200W"): (0.01397, 0.00113, None, None),
    ("4", "F150W"): (-0.05013, 0.00231, None, None),
    ("4", "F200W"): (-0.03045, 0.00158, None, None),
    ("long", "F356W"): (0.00874, 0.00110, 0.00300, 0.00075),
    ("long", "F444W"): (-0.01654, 0.00128, 0.00433, 0.00090),
}


def test_the_packaged_table_is_the_published_one():
    table = choose_table()[0]
    rows = {(r.array, r.filter): (r.offset, r.offset_error, r.slope, r.slope_error) for r in table.rows}
    assert rows == PUBLISHED
    assert {row.pupil for row in table.rows} == {"CLEAR"}
    assert table.digest == "07d650b6cb5d", "as in exposures that were corrected before"
    assert table.baseline == "B"
    assert (table.valid_for.context_first, table.valid_for.context_last) == ("jwst_1130.pmap", "jwst_1130.pmap")
    gradient = table.gradient
    assert (gradient.frame, gradient.direction, gradient.exposure_share) == ("focal_plane", 90.0, 0.5)
    assert gradient.origin == (-1.74, -492.4)


def test_opening_does_not_change_the_callers_tree():
    tree = read_tree(PACKAGED_TABLE)
    before = copy.deepcopy(tree)
    model = ModuleOffsetModel(tree)
    model.instance["offsets"][0]["offset"] = 0.5
    assert tree == before


def test_a_table_is_saved_as_asdf_only(tmp_path):
    with pytest.raises(ReferenceTableError, match=r"t.fits: .* must end in '.asdf'"):
        ModuleOffsetModel(PACKAGED_TABLE).save(tmp_path / "t.fits")
    assert not list(tmp_path.iterdir())


def test_the_users_table_comes_before_the_environments_and_that_before_the_packaged_one(tmp_path, monkeypatch):
    for name in ("users", "environments"):
        write_tree(read_tree(PACKAGED_TABLE), tmp_path / f"{name}.asdf")
    assert choose_table()[0].name == "ma2023_table2.asdf"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "environments.asdf"))
    assert choose_table()[0].name == "environments.asdf"
    assert choose_table(tmp_path / "users.asdf")[0].name == "users.asdf"
    assert choose_table(ModuleOffsetModel(tmp_path / "users.asdf"))[0].name == "users.asdf"
    assert choose_table("packaged")[0].name == "ma2023_table2.asdf"
    table = OffsetTable.read(tmp_path / "users.asdf")
    assert choose_table(table)[0] is table


def test_a_chosen_file_that_is_not_there_is_an_error_and_not_the_packaged_table(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "nowhere.asdf")
    with pytest.raises(ReferenceTableError, match="nowhere.asdf: cannot be read"):
        choose_table()[0]


def test_a_model_is_made_of_a_table_and_a_table_of_a_model():
    table = OffsetTable.read("packaged")
    model = ModuleOffsetModel(table)
    assert model.table == table
    assert model.table.meta.items() >= table.meta.items()
    assert ModuleOffsetModel("packaged").table == table


@pytest.mark.parametrize(
    "ask",
    [
        lambda table: table.row(["1"], "F200W"),
        lambda table: table.row(1, "F200W"),  # array 1 is '1', and no row was found
        lambda table: table.row("1", {"filter": "F200W"}),
        lambda table: table.row("NRCA1", "F200W", "CLEAR", ["SUB160"]),
        lambda table: table.row(["NRCA1"], "F200W", "CLEAR"),
    ],
)
def test_a_row_is_asked_for_by_text(ask):
    with pytest.raises(ReferenceTableError, match=r"rows are found by text such as '1' or 'NRCA1', got (\[|1|\{)"):
        ask(OffsetTable.read())


def test_whole_numbers_of_a_derivation_stay_whole(tmp_path):
    made = {"sources": 5, "scatter": 2.0, "used": True, "lists": [1, 2.5]}
    table = OffsetTable(rows=(SHORT,), meta={"description": "d", "derivation": made})
    table.write(tmp_path / "t.asdf")
    found = OffsetTable.read(tmp_path / "t.asdf").meta["derivation"]
    assert json.dumps(dict(found)) == json.dumps(made)


def test_a_table_that_was_derived_is_described_by_its_counts():
    """Truth: chi-square 30 of 20 degrees of freedom, and a scatter of 1.2 mmag."""
    solved = {"filter": "F444W", "pupil": "F405N", "sources": 10, "measurements": 31, "intrinsic_scatter_mag": 0.0012}
    solved |= {"chi2": 30.0, "degrees_of_freedom": 20}
    bands = [solved, {"filter": "F200W", "pupil": "CLEAR", "failure": "no overlap"}]
    made = {"exposures": ["a", "b", "c"], "epochs": [1], "bands": bands}
    for derivation, name in ((made, ""), ({"tables": {"one.asdf": made}}, "one.asdf: ")):
        table = OffsetTable(rows=(SHORT,), meta={"description": "d", "derivation": derivation})
        lines = " ".join(" ".join(describe_table(table, "t.asdf")).split()).partition(" derivation ")[2]
        words = "F444W+F405N: 10 sources, 31 measurements; intrinsic scatter 1.20 mmag; chi2 / degrees of freedom 1.50"
        parts = ("3 exposures of 1 epoch", words, "F200W: left out: no overlap")
        assert lines == " ".join(name + part for part in parts)


@pytest.mark.parametrize(
    ("baseline", "words"),
    [
        ("B", "B: the flux scale of module B is kept"),
        ("A", "A: the flux scale of module A is kept"),
        ("mean", "mean: both modules are brought to the mean of their flux scales"),
    ],
)
def test_a_table_is_described_by_its_conventions_and_rows(baseline, words):
    """Truth: Table 2 of the paper, and the gradient that docs/science states."""
    table = dataclasses.replace(OffsetTable.read(), baseline=baseline)
    text = " ".join(" ".join(describe_table(table, "t.asdf")).split())
    assert f" baseline {words} gradient fixed to the focal_plane; grows toward 90 deg (from +V3 toward +V2)" in text
    assert " zero at V2, V3 = -1.74, -492.4 arcsec; one exposure has 0.5 of slope " in text
    assert " valid for CRDS context jwst_1130.pmap " in text
    assert " 2 F200W CLEAR -52.67 ± 1.17 3 F150W" in text
    assert " long F444W CLEAR -16.54 ± 1.28 +4.33 ± 0.90 90 deg " in text


@pytest.mark.parametrize(("error", "words"), [(0.0, "+20.00 ± 0.00"), (0.0012, "+20.00 ± 1.20"), (None, "+20.00")])
def test_an_error_of_0_is_shown_and_one_that_is_not_known_is_not(error, words):
    row = ZeroPointRow(detector="NRCB1", filter="F200W", zero_point=0.02, zero_point_error=error)
    lines = describe_table(OffsetTable(rows=(row,), baseline=None), "t.asdf")
    assert " ".join(lines[-1].split()) == f"NRCB1 F200W CLEAR {words}"
