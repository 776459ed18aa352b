"""Damaged associations: one that is read, or an AssociationError, nothing else, in bounded time."""

import json

import numpy as np
import pytest
from fuzzing import damage_bytes, damage_tree, time_limit
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base

from jwst_modfix.errors import AssociationError, ModuleOffsetError
from jwst_modfix.steps.associations import is_science, read_association, write_association
from jwst_modfix.steps.module_offset_derive import find_members
from jwst_modfix.text import has_hidden

LIMIT = 10  # s; a case takes 5 ms


@pytest.fixture(scope="module")
def content():
    association = asn_from_list(["a_cal.fits", "b_cal.fits"], rule=DMS_Level3_Base, product_name="mosaic")
    return json.loads(association.dump()[1])


def outcome(source):
    """Read an association as both steps do; None where it is refused."""
    with time_limit(LIMIT):
        try:
            find_members(source)
            return read_association(source)
        except AssociationError as error:
            message = str(error)
    assert not has_hidden(message)
    return None


def assert_nothing_is_lost(association, content, folder):
    """The members are those of the file, and those of the association that is written."""
    members = [m for product in content["products"] for m in product["members"]]
    assert association.members == members
    named = [association.path(m["expname"]) for m in members if is_science(m)]
    assert association.science == list(dict.fromkeys(named))
    target = folder / "again_asn.json"
    write_association(association.corrected("modfix", target, {path: path for path in named}))
    again = json.loads(target.read_text(encoding="utf-8"))
    assert [m["exptype"] for p in again["products"] for m in p["members"]] == [m["exptype"] for m in members]
    target.unlink()


@pytest.mark.parametrize("seed", range(4))
def test_damaged_text_is_an_association_or_refused(seed, content, tmp_path):
    """300 cases a seed."""
    rng, accepted = np.random.default_rng([23, seed]), 0
    folder = tmp_path / "in"
    folder.mkdir()
    path, text = folder / "set_asn.json", json.dumps(content).encode()
    for _ in range(300):
        path.write_bytes(damage_bytes(rng, text))
        association = outcome(path)
        if association:
            accepted += 1
            assert_nothing_is_lost(association, json.loads(path.read_bytes()), tmp_path)
    assert 0 < accepted < 200
    assert list(folder.iterdir()) == [path]


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_structure_is_an_association_or_refused(seed, in_memory, content, tmp_path):
    """250 cases a seed and way: values of every kind in every place, keys misspelt, dropped, added."""
    rng, accepted = np.random.default_rng([29, seed]), 0
    path = tmp_path / "set_asn.json"
    for _ in range(250):
        damaged, _ = damage_tree(rng, content)
        path.write_text(json.dumps(damaged), encoding="utf-8")
        association = outcome(damaged if in_memory else path)
        if association:
            accepted += 1
            assert_nothing_is_lost(association, damaged, tmp_path)
    assert 0 < accepted < 200


DEEP = '{"products": ' + "[" * 100_000 + "]" * 100_000 + "}"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DEEP.encode(), "is not an association"),
        (BOMB.encode(), "is not an association: Expecting value"),  # and is not tried as YAML
        (b"\xff\xfe{}", "is not UTF-8 text"),
        (b'{"products": 1, "products": []}', "duplicate key 'products'"),
        (b'{"products": [NaN]}', "NaN is not a number of JSON"),
        (b'{"products": 1e999}', "is not an association"),
        (b"[]", "is not an association"),
        (b"", "is not an association: Expecting value"),
        (b'"' + b"x" * (64 * 1024**2) + b'"', "is larger than 67108864 bytes"),
    ],
    ids=["deep", "bomb", "utf-8", "twice", "nan", "infinite", "list", "empty", "large"],
)
def test_hostile_files_are_refused(text, message, tmp_path):
    path = tmp_path / "set_asn.json"
    path.write_bytes(text)
    with time_limit(LIMIT), pytest.raises(AssociationError, match=message):
        read_association(path)


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "\x00", "a\nb", "x" * 300, 5])
def test_a_name_that_names_no_file_is_refused_before_any_work(name, content):
    damaged = json.loads(json.dumps(content))
    damaged["products"][0]["name"] = name
    with pytest.raises(AssociationError, match=r"name"):
        read_association(damaged)
    with pytest.raises(ModuleOffsetError, match=r"name"):
        read_association({**content, "table_name": name or "."})


def test_nesting_is_limited_where_the_rules_do_not_look(content):
    deep = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(AssociationError, match="is nested more than 32 levels deep"):
        read_association({**content, "remark": deep})


def test_a_member_without_an_exposure_type_is_not_silently_left_out(content):
    damaged = json.loads(json.dumps(content))
    member = damaged["products"][0]["members"][0]
    member["exptpye"] = member.pop("exptype")
    with pytest.raises(AssociationError, match="each member must have an expname and an exptype"):
        read_association(damaged)


def test_yaml_is_no_association(tmp_path):
    (tmp_path / "set_asn.yaml").write_text("products: []")
    with pytest.raises(AssociationError, match=r"nor an association \(.json\)"):
        read_association(tmp_path / "set_asn.yaml")
