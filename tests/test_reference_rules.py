"""The rules of a table: the dataclasses, the reader, the data model and the schema agree on each case."""

import copy
import dataclasses
import re
from importlib import resources

import jsonschema
import numpy as np
import pytest
import yaml

from jwst_modfix import Field, Gradient, ModuleOffsetModel, OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.file import PACKAGED_TABLE, read_tree, table_from_tree, write_tree

SCHEMA = yaml.safe_load((resources.files("jwst_modfix.table") / "schemas" / "moduleoffset-2.0.0.yaml").read_text())
FIRST = r"row 1 \(array=1, filter=F150W, pupil=CLEAR\)"
ROW = ["offsets", 0]
SLOPED = ["offsets", 8]
POINT = ["zero_points", 0]
COEFFICIENTS = [*POINT, "field", "coefficients"]
CONTEXT = ["valid_for", "context"]


@pytest.fixture
def tree():
    zero_points = [{"detector": "NRCA1", "filter": "F115W", "zero_point": 0.05, "zero_point_error": 0.001,
                    "field": {"order": 1, "coefficients": [[0, 0.01], [-0.02]]}, "field_error": 0.002,
                    "photmjsr": 2.0, "photmjsr_date": "2026-03-01", "photom": "p.fits", "group": 1},
                   {"detector": "NRCB1", "filter": "F115W", "zero_point": -0.05}]  # fmt: skip
    return read_tree(PACKAGED_TABLE) | {"zero_points": zero_points}


def edit(tree, path, value):
    """Set one place of a tree; ``...`` removes it."""
    *parents, last = path
    for name in parents:
        tree = tree[name]
    if value is ...:
        del tree[last]
    else:
        tree[last] = value


# Place, value, and the words of the refusal; rules that a JSON schema states.
REFUSED = [
    ([*ROW, "colour"], 1, FIRST + ": unknown key colour; known are array, filter, pupil, subarray, offset"),
    (["remark"], 1, "top level: unknown key remark"),
    ([*ROW, "array"], "5", "field array: must be one of 1, 2, 3, 4, long, got '5'"),
    ([*ROW, "array"], 1, "field array: must be text, got 1; put it in quotes: '1'"),
    ([*ROW, "array"], 5, r"row 1 \(array=5, filter=F150W, pupil=CLEAR\), field array: must be text, got 5"),
    (["offsets", 3, "offset"], ..., r"row 4 \(array=2, filter=F200W, pupil=CLEAR\): missing field offset"),
    ([*ROW, "offset"], "a bit", FIRST + ", field offset: must be a number, got 'a bit'"),
    ([*ROW, "offset"], "1e-3", "YAML reads this as text, write 0.001 without quotes"),
    ([*ROW, "offset"], True, "field offset: must be a number, got True"),
    ([*ROW, "offset"], 1.5, "field offset: must not be more than 1, got 1.5"),
    ([*ROW, "offset"], -1.5, "field offset: must not be less than -1, got -1.5"),
    ([*ROW, "offset_error"], -0.001, "field offset_error: must not be less than 0, got -0.001"),
    ([*ROW, "offset_error"], 5, "field offset_error: must not be more than 1, got 5"),
    ([*SLOPED, "slope"], 1.5, "field slope: must not be more than 1, got 1.5"),
    ([*SLOPED, "slope"], -1.5, "field slope: must not be less than -1, got -1.5"),
    ([*SLOPED, "slope_error"], -1, "field slope_error: must not be less than 0, got -1"),
    ([*SLOPED, "direction"], 361, "field direction: must not be more than 360, got 361"),
    ([*SLOPED, "direction"], -361, "field direction: must not be less than -360, got -361"),
    ([*ROW, "filter"], "f150w", "field filter: must match .*, got 'f150w'"),
    ([*ROW, "filter"], "F-150W", "field filter: must match .*, got 'F-150W'"),
    ([*ROW, "filter"], "F150W/x", "field filter: must match .*, got 'F150W/x'"),
    ([*CONTEXT, "last"], "jwst_1130.pmap.bak", "valid_for.context.last: must match .*, got 'jwst_1130.pmap.bak'"),
    ([*ROW, "pupil"], "", "field pupil: must not be empty"),
    ([*ROW, "photmjsr"], {"A": 1.0}, "field photmjsr: missing field B"),
    ([*ROW, "photmjsr"], {"A": 1.0, "B": -1.0}, "field photmjsr.B: must not be less than 0, got -1"),
    ([*ROW, "photmjsr"], {"A": 1.0, "B": 0}, "field photmjsr.B: must be greater than 0, got 0"),
    ([*ROW, "photmjsr"], {"A": 1.0, "B": 1.0, "C": 1.0}, "field photmjsr: unknown key C; known are A, B"),
    (["offsets"], [], "offsets: must have at least 1 entry, got 0"),
    (["offsets"], {"a": 1}, "offsets: must be a list, got {'a': 1}"),
    (ROW, "1 F150W 0.01", r"row 1 \(no mapping\): must be a mapping, got '1 F150W 0.01'"),
    (["meta"], "mine", "meta: must be a mapping, got 'mine'"),
    (["meta", "colour"], "red", "meta: unknown key colour"),
    (["meta", "reftype"], "flat", "meta.reftype: must be one of moduleoffset, got 'flat'"),
    (["meta", "instrument"], {"name": "MIRI"}, "meta.instrument.name: must be one of NIRCAM, got 'MIRI'"),
    (["meta", "author"], ..., "meta: missing field author"),
    (["meta", "description"], "", "meta.description: must not be empty"),
    (["meta", "history"], "made", "meta.history: must be a list, got 'made'"),
    (["meta", "derivation"], "made", "meta.derivation: must be a mapping, got 'made'"),
    (["meta", "schema_version"], "one", "meta.schema_version: must match .*, got 'one'"),
    (["baseline"], "C", "baseline: must be one of B, A, mean, got 'C'"),
    (["baseline"], ..., "top level: has offsets, but no baseline"),
    ([*POINT, "detector"], "NRCA5", r"zero point 1 \(detector=NRCA5, filter=F115W, pupil=CLEAR\), field detector: "),
    ([*POINT, "zero_point"], ..., "missing field zero_point"),
    ([*POINT, "zero_point"], 1.5, "field zero_point: must not be more than 1, got 1.5"),
    ([*POINT, "zero_point"], -1.5, "field zero_point: must not be less than -1, got -1.5"),
    ([*POINT, "zero_point_error"], -1, "field zero_point_error: must not be less than 0, got -1"),
    ([*POINT, "field_error"], 1.5, "field field_error: must not be more than 1, got 1.5"),
    ([*POINT, "photmjsr"], 0.0, "field photmjsr: must be greater than 0, got 0.0"),
    ([*POINT, "subarray"], "full", "field subarray: must match .*, got 'full'"),
    ([*POINT, "photmjsr"], {"A": 1.0, "B": 1.0}, "field photmjsr: must be a number"),
    ([*POINT, "photmjsr_date"], "1 March 2026", "field photmjsr_date: must match .*, got '1 March 2026'"),
    ([*POINT, "photmjsr"], ..., "has photmjsr_date, but no photmjsr"),
    ([*POINT, "photom"], "", "field photom: must not be empty"),
    ([*POINT, "group"], 1.5, "field group: must be a whole number, got 1.5"),
    ([*POINT, "group"], -1, "field group: must not be less than 0, got -1"),
    ([*POINT, "field"], ..., "has field_error, but no field"),
    ([*POINT, "field"], 0.01, "field field: must be a mapping, got 0.01"),
    ([*POINT, "field", "order"], 10, "field field.order: must not be more than 9, got 10"),
    ([*POINT, "field", "order"], 1.5, "field field.order: must be a whole number, got 1.5"),
    ([*COEFFICIENTS, 0, 1], 2, "field field.coefficients entry 1 entry 2: must not be more than 1, got 2"),
    (["zero_points"], [], "zero_points: must have at least 1 entry, got 0"),
    (["gradient"], [90], r"gradient: must be a mapping, got \[90\]"),
    (["gradient", "frame"], "v2v3", "gradient.frame: must be one of focal_plane, detector, sky, got 'v2v3'"),
    (["gradient", "direction"], 400, "gradient.direction: must not be more than 360, got 400"),
    (["gradient", "origin"], [0.0], "gradient.origin: must have 2 entries, got 1"),
    (["gradient", "origin"], [0.0, "0"], "gradient.origin entry 2: must be a number, got '0'"),
    (["gradient", "exposure_share"], 2, "gradient.exposure_share: must not be more than 1, got 2"),
    (["gradient", "exposure_share"], -0.5, "gradient.exposure_share: must not be less than 0, got -0.5"),
    (["gradient", "exposure_share"], ..., "gradient: missing field exposure_share"),
    (["valid_for"], ..., "top level: missing field valid_for"),
    (["valid_for", "contexts"], {}, "valid_for: unknown key contexts; known are context, photom, flat"),
    (CONTEXT, {}, "valid_for.context: must have at least 1 entry, got 0"),
    ([*CONTEXT, "first"], 1130, "valid_for.context.first: must be text, got 1130; such as jwst_1130.pmap"),
    ([*CONTEXT, "first"], "1130", "valid_for.context.first: must match .*, got '1130'"),
    (["valid_for", "photom"], [], "valid_for.photom: must have at least 1 entry, got 0"),
    (["valid_for", "flat"], ["a.fits", 7], "valid_for.flat entry 2: must be text, got 7"),
    (["valid_for", "photom"], "a.fits, b.fits", "valid_for.photom entry 1: must match .*, got 'a.fits, b.fits'"),
    (["valid_for", "photom"], ["jwst_nircam_photom_*.fits"], "valid_for.photom entry 1: must match .*, got 'jwst_n"),
    ([*ROW, "offset"], "\u22120.05", "field offset: must be a number, got '\u22120.05'; write -0.05 without quotes"),
    ([*ROW, "offset"], "0,05", "field offset: must be a number, got '0,05'; write 0.05 without quotes"),
    ([*ROW, "offset"], "nan", "field offset: must be a number, got 'nan'$"),
]  # fmt: skip
# Rules that it cannot state: numbers that are not finite, hidden characters, fields that contradict each other.
REFUSED_BEYOND = [
    ([*ROW, "offset"], float("nan"), FIRST + ", field offset: must be finite, got nan"),
    ([*ROW, "offset_error"], float("inf"), "field offset_error: must be finite, got inf"),
    (["gradient", "origin"], [10**400, 0], "gradient.origin entry 1: must be finite, got a whole number larger"),
    ([*ROW, "filter"], "F150W\n", "field filter: must hold no control characters"),
    (["meta", "author"], "a\x1b[2Kb", "meta.author: must hold no control characters"),
    (["meta", "derivation"], {"a": [{"b": float("nan")}]}, "meta.derivation.a entry 1.b: must be finite, got nan"),
    (["meta", "derivation"], {"a\x07": 1}, "meta.derivation: must hold no control characters"),
    ([*POINT, "field", "order"], 2, r"coefficients: of order 2 must be lists of \[3, 2, 1\] numbers, got \[2, 1\]"),
    ([*COEFFICIENTS, 0, 0], 0.01, r"coefficients: \[0\]\[0\] must be 0, got 0.01; add it to zero_point"),
    ([*POINT, "filter"], "F150W", "this filter and pupil has offsets, too; give rows of one kind only"),
    (
        ["zero_points", 1, "detector"],
        "NRCA1",
        r"duplicate zero point \(detector=NRCA1, filter=F115W, pupil=CLEAR\); give one",
    ),
    (["baseline"], "NRCB1", "baseline: must be one of B, A, mean, got 'NRCB1'"),
    (["gradient"], ..., r"row \(array=long, filter=F356W, pupil=CLEAR\) has a slope \(0.003\).*no gradient"),
    ([*SLOPED, "slope_error"], ..., "has slope, but no slope_error"),
    ([*SLOPED, "slope"], ..., "has slope_error, but no slope"),
    ([*ROW, "direction"], 10, "has direction, but no slope"),
    ([*ROW, "filter"], "F200W", r"duplicate row \(array=1, filter=F200W, pupil=CLEAR\); give one row"),
    (["gradient", "frame"], "sky", r"gradient.origin: must be RA, Dec \[deg\] in frame sky, got \[-1.74, -492.4\]"),
    ([*CONTEXT, "first"], "jwst_1200.pmap", r"valid_for.context: first \(jwst_1200.pmap\) is later than last"),
    (["meta", "schema_version"], "2.0.1", "meta.schema_version is 2.0.1, newer than 2.0.0, the newest"),
]
ACCEPTED = [
    ([*ROW, "offset"], 0),
    ([*ROW, "offset"], -1),
    ([*ROW, "offset"], 1.0),
    ([*ROW, "offset_error"], 0.0),
    ([*ROW, "pupil"], ...),
    ([*SLOPED, "direction"], -360),
    ([*ROW, "photmjsr"], {"A": 0.3, "B": 0.29}),
    (["gradient", "exposure_share"], 0),
    (["gradient", "exposure_share"], 1),
    (["valid_for"], {}),
    (["valid_for", "photom"], "jwst_nircam_photom_0157.fits"),
    (["valid_for", "flat"], ["a.fits", "b.fits"]),
    (CONTEXT, {"last": "jwst_0995.pmap"}),
    (CONTEXT, {"first": "jwst_9999.pmap", "last": "jwst_10000.pmap"}),
    (["meta", "schema_version"], ...),
    (["zero_points"], ...),
    ([*POINT, "zero_point_error"], ...),
    ([*POINT, "field"], {"order": 0, "coefficients": [[0]]}),
    ([*POINT, "subarray"], "SUB160"),
    ([*POINT, "subarray"], "FULL_SUPSTP008"),
    (["zero_points", 1], {"detector": "NRCA1", "filter": "F115W", "subarray": "SUB64P", "zero_point": 0}),
    ([*ROW, "subarray"], "FULL"),
    ([*ROW, "photom"], {"A": "a.fits", "B": "b.fits"}),
    (["meta", "history"], ["two\nlines", ""]),
    (["meta", "derivation"], {"a": [1, 2.5, "x", True, {"b": []}]}),
    (["meta", "origin"], "STSCI"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED + REFUSED_BEYOND)
def test_a_broken_rule_is_named_with_its_file_place_and_value(tmp_path, tree, path, value, message):
    good = ModuleOffsetModel(copy.deepcopy(tree))
    edit(tree, path, value)
    with pytest.raises(ReferenceTableError, match=r"mine.asdf: .*" + message):
        table_from_tree(tree, "mine.asdf")
    edit(good.instance, path, value)
    with pytest.raises(ReferenceTableError, match=r"out.asdf: .*" + message):
        good.save(tmp_path / "out.asdf")
    assert not (tmp_path / "out.asdf").exists()


@pytest.mark.parametrize(("path", "value"), ACCEPTED)
def test_what_no_rule_forbids_is_accepted_and_written_again(tmp_path, tree, path, value):
    edit(tree, path, value)
    table = table_from_tree(tree, "mine.asdf")
    table.write(tmp_path / "mine.asdf")
    assert OffsetTable.read(tmp_path / "mine.asdf") == table


@pytest.mark.parametrize(
    ("path", "value", "is_valid"),
    [(path, value, False) for path, value, _ in REFUSED] + [(*case, True) for case in ACCEPTED],
)
def test_the_schema_states_the_same_rules(tree, path, value, is_valid):
    edit(tree, path, value)
    assert jsonschema.Draft4Validator(SCHEMA).is_valid(tree) == is_valid


@pytest.mark.parametrize(
    ("cls", "block"),
    [
        (OffsetRow, SCHEMA["properties"]["offsets"]["items"]),
        (ZeroPointRow, SCHEMA["properties"]["zero_points"]["items"]),
        (Field, SCHEMA["properties"]["zero_points"]["items"]["properties"]["field"]),
        (Gradient, SCHEMA["properties"]["gradient"]),
    ],
)
def test_the_schema_has_the_fields_of_the_dataclasses(cls, block):
    fields = dataclasses.fields(cls)
    assert set(block["properties"]) == {field.name for field in fields}
    assert set(block["required"]) == {field.name for field in fields if field.default is dataclasses.MISSING}


def _every_field(schema, path=()):
    if path:
        yield ".".join(path), schema
    for name, part in schema.get("properties", {}).items():
        yield from _every_field(part, (*path, name))
    if isinstance(schema.get("items"), dict):
        yield from _every_field(schema["items"], (*path, "item"))


def test_every_field_of_the_schema_has_a_title_and_a_description_with_its_unit():
    jsonschema.Draft4Validator.check_schema({key: value for key, value in SCHEMA.items() if key != "$schema"})
    for place, field in _every_field(SCHEMA):
        assert field.get("title"), place
        assert field.get("description"), place
        if "properties" not in field and "items" not in field and place not in ("asdf_library", "history"):
            assert re.search(r"Unit|Written by asdf|in arcsec", field["description"]), place


def test_all_that_is_wrong_is_reported_at_once(tree):
    edit(tree, [*ROW, "offset"], "x")
    edit(tree, ["offsets", 5, "offset_error"], -1)
    edit(tree, ["offsets", 5, "filter"], "x")
    edit(tree, ["baseline"], "C")
    edit(tree, ["gradient", "direction"], 999)
    edit(tree, ["meta", "author"], 3)
    edit(tree, [*CONTEXT, "last"], "x")
    with pytest.raises(ReferenceTableError) as caught:
        table_from_tree(tree, "mine.asdf")
    places = (
        "row 1 ",
        "field offset_error",
        "field filter",
        "baseline",
        "gradient.direction",
        "meta.author",
        "context",
    )
    for place in places:
        assert place in str(caught.value)


def test_zero_points_are_checked_where_the_gradient_is_refused_and_slopes_are_not(tree):
    edit(tree, ["gradient", "direction"], 999)
    edit(tree, ["zero_points"], [tree["zero_points"][0]] * 2)
    with pytest.raises(ReferenceTableError) as caught:
        table_from_tree(tree, "mine.asdf")
    assert "duplicate zero point (detector=" in str(caught.value)
    assert "has a slope" not in str(caught.value)


def test_numbers_of_numpy_are_written_as_plain_numbers(tmp_path, tree):
    tree["offsets"][0]["offset"] = np.float64(0.0123456789012345)
    tree["offsets"][0]["slope"] = None
    ModuleOffsetModel(tree).save(tmp_path / "t.asdf")
    assert OffsetTable.read(tmp_path / "t.asdf").rows[0].offset == 0.0123456789012345
    write_tree(tree | {"offsets": [{"array": "1"}]}, tmp_path / "bad.asdf")
    with pytest.raises(ReferenceTableError, match="bad.asdf: row 1"):
        ModuleOffsetModel(tmp_path / "bad.asdf")
