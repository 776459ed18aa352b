"""The reference file as a data model: what it accepts, what it refuses and in which words, how it is chosen."""

import copy
import re
from importlib import resources

import asdf
import jsonschema
import numpy as np
import pytest
import yaml

from jwst_modfix import ModuleOffsetModel
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.file import read_tree, write_tree
from jwst_modfix.table.model import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, choose_reference

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


@pytest.fixture
def tree():
    return read_tree(PACKAGED_TABLE)


def test_the_packaged_table_is_the_published_one():
    table = choose_reference()
    rows = {(r.array, r.filter): (r.offset, r.offset_error, r.slope, r.slope_error) for r in table.rows}
    assert rows == PUBLISHED
    assert {row.pupil for row in table.rows} == {"CLEAR"}
    assert table.baseline == "B"
    assert (table.valid_for.context_first, table.valid_for.context_last) == ("jwst_1130.pmap", "jwst_1130.pmap")
    gradient = table.gradient
    assert (gradient.frame, gradient.direction, gradient.exposure_share) == ("focal_plane", 90.0, 0.5)
    assert gradient.origin == (-1.74, -492.4)


def test_the_recipes_table_has_the_published_rows_and_the_recipes_choices():
    table = ModuleOffsetModel(PACKAGED_TABLE.parent / "released_recipe.asdf").table
    assert table.rows == choose_reference().rows
    gradient = table.gradient
    assert (gradient.frame, gradient.origin[0], gradient.exposure_share) == ("detector", 0.0, 1.0)
    assert gradient.direction == 180.0


def test_the_file_has_no_binary_blocks_and_plain_asdf_reads_it(tmp_path):
    ModuleOffsetModel(PACKAGED_TABLE).save(tmp_path / "mine.asdf")
    content = (tmp_path / "mine.asdf").read_bytes()
    assert content.endswith(b"\n...\n")
    assert content.isascii()
    with asdf.open(tmp_path / "mine.asdf") as file:
        assert file["offsets"][9]["offset"] == -0.01654
        assert file["meta"]["reftype"] == "moduleoffset"


def test_saving_keeps_every_coefficient_and_the_order_of_keys(tmp_path):
    model = ModuleOffsetModel(PACKAGED_TABLE)
    model.save(tmp_path / "mine.asdf")
    assert list(read_tree(tmp_path / "mine.asdf")) == ["meta", "baseline", "gradient", "valid_for", "offsets"]
    again = ModuleOffsetModel(tmp_path / "mine.asdf")
    assert again.table.digest == model.table.digest
    assert again.meta.filename == again.table.name == again.override_handle == "mine.asdf"


def test_a_table_becomes_a_file_and_a_file_a_table(tmp_path):
    table = choose_reference()
    meta = {"description": "d", "author": "a", "pedigree": "GROUND", "useafter": "2022-07-08", "history": ["made"]}
    ModuleOffsetModel.from_table(table, derivation={"covariance": [[1.0, 0.0]]}, **meta).save(tmp_path / "t.asdf")
    again = ModuleOffsetModel(tmp_path / "t.asdf")
    assert again.table.digest == table.digest
    assert again.meta.history == ["made"]


def test_numbers_of_numpy_are_written_as_plain_numbers(tmp_path, tree):
    tree["offsets"][0]["offset"] = np.float64(0.0123456789012345)
    tree["offsets"][0]["slope"] = None
    ModuleOffsetModel(tree).save(tmp_path / "t.asdf")
    assert ModuleOffsetModel(tmp_path / "t.asdf").table.rows[0].offset == 0.0123456789012345


def edit(path, value):
    """Make a function that sets one place of a tree; with ``...`` it takes the place away."""

    def change(tree):
        *parents, last = path
        for name in parents:
            tree = tree[name]
        if value is ...:
            del tree[last]
        else:
            tree[last] = value

    return change


FIRST = r"row 1 \(array=1, filter=F150W, pupil=CLEAR\)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit(["offsets", 0, "colour"], 1), FIRST + ": unknown key colour; known are array, filter, pupil, offset"),
        (edit(["remark"], 1), "top level: unknown key remark"),
        (edit(["offsets", 0, "array"], "5"), "field array: must be one of 1, 2, 3, 4, long, got '5'"),
        (edit(["offsets", 0, "array"], 1), "field array: must be text, got 1; put it in quotes: '1'"),
        (edit(["offsets", 0, "array"], 5), "field array: must be text, got 5; Text, in quotes"),
        (edit(["valid_for", "context", "first"], 1130), "must be text, got 1130; Such as jwst_1130.pmap"),
        (edit(["offsets", 3, "offset"], ...), r"row 4 \(array=2, filter=F200W, pupil=CLEAR\): missing field offset"),
        (edit(["offsets", 0, "offset"], "a bit"), FIRST + ", field offset: must be a number, got 'a bit'"),
        (edit(["offsets", 0, "offset"], "1e-3"), "YAML reads this as text, write 0.001 without quotes"),
        (edit(["offsets", 0, "offset"], True), "field offset: must be a number, got True"),
        (edit(["offsets", 0, "offset"], float("nan")), FIRST + ", field offset: must be finite, got nan"),
        (edit(["offsets", 0, "offset_error"], float("inf")), "field offset_error: must be finite, got inf"),
        (edit(["offsets", 0, "offset_error"], -0.001), "field offset_error: must not be less than 0, got -0.001"),
        (edit(["offsets", 0, "offset"], 1.5), "field offset: must not be more than 1, got 1.5"),
        (edit(["offsets", 0, "offset"], -1.5), "field offset: must not be less than -1, got -1.5"),
        (edit(["gradient"], ...), r"row \(array=long, filter=F356W, pupil=CLEAR\) has a slope \(0.003\).*no gradient"),
        (edit(["offsets", 8, "slope_error"], ...), "has a slope and no slope_error"),
        (edit(["offsets", 0, "direction"], 10), "has a direction and no slope"),
        (edit(["offsets", 0, "filter"], "F200W"), r"row \(array=1, filter=F200W, pupil=CLEAR\) stands 2 times"),
        (edit(["offsets", 0, "filter"], "f150w"), "field filter: must match .*, got 'f150w'"),
        (edit(["offsets", 0, "photmjsr"], {"A": 1.0}), "field photmjsr: missing field B"),
        (edit(["offsets"], []), "offsets: must have at least 1 entries, got 0"),
        (edit(["offsets", 0], "1 F150W 0.01"), r"row 1 \(no mapping\): must be a mapping, got '1 F150W 0.01'"),
        (edit(["meta", "reftype"], "flat"), "meta.reftype: must be one of moduleoffset, got 'flat'"),
        (edit(["meta", "author"], ...), "meta: missing field author"),
        (edit(["meta", "schema_version"], "1.10.0"), "meta.schema_version is 1.10.0, newer than 1.0.0"),
        (edit(["baseline"], "C"), "baseline: must be one of B, A, mean, got 'C'"),
        (edit(["gradient", "frame"], "v2v3"), "gradient.frame: must be one of focal_plane, detector, sky"),
        (edit(["gradient", "origin"], [0.0]), "gradient.origin: must have at least 2 entries, got 1"),
        (
            edit(["gradient", "frame"], "sky"),
            r"gradient.origin: must be RA, Dec \[deg\] in frame sky, got \[-1.74, -492.4\]",
        ),
        (edit(["gradient", "exposure_share"], 2), "gradient.exposure_share: must not be more than 1, got 2"),
        (edit(["valid_for"], ...), "top level: missing field valid_for"),
        (edit(["valid_for", "context", "first"], "1130"), "valid_for.context.first: must match .*, got '1130'"),
        (edit(["valid_for", "context", "first"], "jwst_1200.pmap"), r"first \(jwst_1200.pmap\) is later than last"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_is_named_on_opening_and_on_saving(tmp_path, tree, change, message):
    good = ModuleOffsetModel(copy.deepcopy(tree))
    change(tree)
    write_tree(tree, tmp_path / "mine.asdf")
    with pytest.raises(ReferenceTableError, match=r"mine.asdf: .*" + message):
        ModuleOffsetModel(tmp_path / "mine.asdf")
    change(good.instance)
    with pytest.raises(ReferenceTableError, match=r"out.asdf: .*" + message):
        good.save(tmp_path / "out.asdf")
    assert not (tmp_path / "out.asdf").exists()


def test_all_that_is_wrong_is_said_at_once(tree):
    edit(["offsets", 0, "offset"], "x")(tree)
    edit(["offsets", 5, "offset_error"], -1)(tree)
    edit(["baseline"], "C")(tree)
    with pytest.raises(ReferenceTableError) as caught:
        ModuleOffsetModel(tree)
    for place in ("row 1 ", "row 6 ", "baseline"):
        assert place in str(caught.value)


def test_opening_does_not_change_the_callers_tree(tree):
    before = copy.deepcopy(tree)
    model = ModuleOffsetModel(tree)
    model.instance["offsets"][0]["offset"] = 0.5
    assert tree == before


def test_a_table_is_saved_as_asdf_only(tmp_path):
    with pytest.raises(ReferenceTableError, match=r"t.fits: .* must end in '.asdf'"):
        ModuleOffsetModel(PACKAGED_TABLE).save(tmp_path / "t.fits")
    assert not list(tmp_path.iterdir())


def test_the_users_table_comes_before_the_environments_and_that_before_the_packaged_one(tmp_path, tree, monkeypatch):
    for name in ("users", "environments"):
        write_tree(tree, tmp_path / f"{name}.asdf")
    assert choose_reference().name == "ma2023_table2.asdf"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "environments.asdf"))
    assert choose_reference().name == "environments.asdf"
    assert choose_reference(tmp_path / "users.asdf").name == "users.asdf"
    assert choose_reference(ModuleOffsetModel(tmp_path / "users.asdf")).name == "users.asdf"


def test_a_chosen_file_that_is_not_there_is_an_error_and_not_the_packaged_table(monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "nowhere.asdf")
    with pytest.raises(ReferenceTableError, match="nowhere.asdf: cannot be read"):
        choose_reference()


def _every_field(schema, path=()):
    if path:
        yield ".".join(path), schema
    for name, part in schema.get("properties", {}).items():
        yield from _every_field(part, (*path, name))
    if isinstance(schema.get("items"), dict):
        yield from _every_field(schema["items"], (*path, "item"))


def test_every_field_of_the_schema_has_a_title_and_a_description_with_its_unit():
    text = (resources.files("jwst_modfix.table") / "schemas" / "moduleoffset-1.0.0.yaml").read_text()
    schema = yaml.safe_load(text)
    jsonschema.Draft4Validator.check_schema({key: value for key, value in schema.items() if key != "$schema"})
    for place, field in _every_field(schema):
        assert field.get("title"), place
        assert field.get("description"), place
        if "properties" not in field and "items" not in field and place not in ("asdf_library", "history"):
            assert re.search(r"Unit|Written by asdf|in arcsec", field["description"]), place
