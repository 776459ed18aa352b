"""The reference file as a data model: what it accepts, what it refuses and in which words, how it is chosen."""

import copy

import asdf
import pytest

from jwst_modfix import ModuleOffsetModel, OffsetTable
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, choose_table, read_tree, write_tree

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
    table = choose_table()[0]
    rows = {(r.array, r.filter): (r.offset, r.offset_error, r.slope, r.slope_error) for r in table.rows}
    assert rows == PUBLISHED
    assert {row.pupil for row in table.rows} == {"CLEAR"}
    assert table.baseline == "B"
    assert (table.valid_for.context_first, table.valid_for.context_last) == ("jwst_1130.pmap", "jwst_1130.pmap")
    gradient = table.gradient
    assert (gradient.frame, gradient.direction, gradient.exposure_share) == ("focal_plane", 90.0, 0.5)
    assert gradient.origin == (-1.74, -492.4)


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
    table = choose_table()[0]
    meta = {"description": "d", "author": "a", "pedigree": "GROUND", "useafter": "2022-07-08", "history": ["made"]}
    ModuleOffsetModel.from_table(table, derivation={"covariance": [[1.0, 0.0]]}, **meta).save(tmp_path / "t.asdf")
    again = ModuleOffsetModel(tmp_path / "t.asdf")
    assert again.table.digest == table.digest
    assert again.meta.history == ["made"]


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


def test_a_table_made_in_python_needs_a_description_only(tmp_path):
    table = OffsetTable(rows=OffsetTable.read().rows[:8], name="mine")
    with pytest.raises(ReferenceTableError, match="meta: missing field description"):
        ModuleOffsetModel(table)
    model = ModuleOffsetModel.from_table(table, description="by hand")
    model.save(tmp_path / "mine.asdf")
    assert ModuleOffsetModel(tmp_path / "mine.asdf").table == table
    assert (model.meta.reftype, model.meta.telescope, model.meta.instrument.name) == ("moduleoffset", "JWST", "NIRCAM")


def test_a_model_is_made_of_a_table_and_a_table_of_a_model():
    table = OffsetTable.read("packaged")
    model = ModuleOffsetModel(table)
    assert model.table == table
    assert model.table.meta.items() >= table.meta.items()
    assert ModuleOffsetModel("packaged").table == table
