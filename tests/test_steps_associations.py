"""Associations in and out: every path is right in its new place, and none names outputs of two tables."""

import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from astropy.io import fits
from disturbed_runs import correct, visible
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.association import Association as PipelineAssociation
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base
from jwst.datamodels import ModelContainer, ModelLibrary
from pair_of_exposures import assert_corrected, models_of, names
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.errors import AssociationError, ModuleOffsetError, OutputError
from jwst_modfix.photometry.frames import read_header
from jwst_modfix.steps.associations import read_association
from jwst_modfix.table.file import PACKAGED_TABLE


@pytest.fixture
def asn(pair_folder):
    """Edit data/set_asn.json: ``asn(function of the content)``; gives its path."""

    def edit(function=lambda content: None, name="set_asn.json"):
        content = json.loads(Path("data/set_asn.json").read_text())
        function(content)
        Path("data", name).write_text(json.dumps(content))
        return f"data/{name}"

    return edit


def members(content):
    return content["products"][0]["members"]


def written(folder="out", name="set_modfix_asn.json"):
    return json.loads(Path(folder, name).read_text())


@pytest.fixture
def other_table():
    model = ModuleOffsetModel(PACKAGED_TABLE)
    model.instance["offsets"][0]["offset"] += 1e-3
    return {"override_moduleoffset": model}


def test_every_path_of_a_member_is_right_in_the_new_place(asn, pair):
    def name_catalogues(content):
        Path("data/sub").mkdir()
        Path("data/sub/mask.reg").write_text("")
        members(content)[0] |= {"tweakreg_catalog": "sub/cat.ecsv", "mask": "sub/mask.reg", "remark": "n/a"}
        members(content)[0] |= {"masks": ["sub/mask.reg", {"own": "sub/mask.reg"}], "epoch": "sources.ecsv"}
        members(content)[0] |= {"group_id": "sources.ecsv", "asn_candidate": "sources.ecsv"}
        members(content)[1] |= {"tweakreg_catalog": ""}

    path = asn(name_catalogues)
    for library in (correct("out/deep", path), ModuleOffsetStep.call(path)):
        first, second = library.asn["products"][0]["members"]
        assert first["tweakreg_catalog"] == str(Path("data/sub/cat.ecsv").absolute())
        assert (first["mask"], first["remark"]) == (str(Path("data/sub/mask.reg").absolute()), "n/a")
        assert second["tweakreg_catalog"] == ""
        assert models_of(library)[0].meta.tweakreg_catalog == first["tweakreg_catalog"]
    first, second, sources = members(written("out/deep"))
    assert first["expname"] == names(pair)[0].replace("_cal", "_modfix")
    assert (first["tweakreg_catalog"], first["mask"]) == ("../../data/sub/cat.ecsv", "../../data/sub/mask.reg")
    assert first["masks"] == ["../../data/sub/mask.reg", {"own": "../../data/sub/mask.reg"}]
    assert [first["remark"], second["tweakreg_catalog"]] == ["n/a", ""]
    assert [first[name] for name in ("epoch", "group_id", "asn_candidate")] == ["sources.ecsv"] * 3, "texts"
    assert sources == {"expname": "../../data/sources.ecsv", "exptype": "sourcecat"}


def test_paths_are_right_where_folders_are_links(asn, pair):
    """Of a folder that is a link, ``..`` is the parent of its target, for the pipeline as for the system."""
    for name in ("in", "out"):
        Path("disk", name).mkdir(parents=True)
        Path(name).symlink_to(Path("disk", name))

    def move(content):
        for member in members(content):
            member["expname"] = f"../../data/{member['expname']}"

    shutil.copy(asn(move, "moved_asn.json"), "in/set_asn.json")
    assert_corrected(models_of(correct("out", "in/set_asn.json")), pair)
    assert members(written())[2]["expname"] == "../../data/sources.ecsv"
    assert Path("out/../../data/sources.ecsv").is_file()


@pytest.mark.parametrize("exptype", ["Science", " SCIENCE\t"])
def test_exptype_is_compared_without_case_and_spaces(asn, pair, exptype):
    path = asn(lambda content: [member.update(exptype=exptype) for member in members(content)[:2]])
    assert_corrected(models_of(ModuleOffsetStep.call(path)), pair)
    correct("out", path)
    assert [member["exptype"] for member in members(written())] == ["science", "science", "sourcecat"]
    path = asn(lambda content: members(content).pop())
    assert_corrected(models_of(ModuleOffsetStep.call(ModelLibrary(path))), pair)
    for model in pair:
        model.meta.asn.exptype = exptype
    assert_corrected(ModuleOffsetStep.call(ModelContainer(pair)), pair)


def test_a_missing_member_that_is_not_science_is_a_warning(asn, pair, caplog):
    path = asn(lambda content: members(content).append({"expname": "gone_cal.fits", "exptype": "background"}))
    assert_corrected(models_of(correct("out", path)), pair)
    assert "data/gone_cal.fits: no such file; it is not a science member" in caplog.text
    assert members(written())[-1] == {"expname": "../data/gone_cal.fits", "exptype": "background"}
    path = asn(lambda content: members(content)[0].update(expname="gone_cal.fits"))
    caplog.clear()
    with pytest.raises(AssociationError, match="1 bad members: .*data/gone_cal.fits: no such file"):
        correct("new", path)
    assert caplog.text.count("the correction does not need it") == 1, "the background of before"


def test_science_members_may_be_in_any_product(asn, pair):
    """The first product has none."""

    def split(content):
        content["products"] += [{"name": str(number), "members": [members(content).pop(0)]} for number in (2, 3)]

    path = asn(split)
    assert_corrected(models_of(ModuleOffsetStep.call(path)), pair)
    assert_corrected(models_of(correct("out", path)), pair)
    assert [len(product["members"]) for product in written()["products"]] == [1, 1, 1]
    asn(lambda content: content["products"].__delitem__(slice(1, 3)))
    with pytest.raises(AssociationError, match="has no member of exptype science"):
        correct("none", path)


def test_a_bad_member_of_two_products_is_named_once(asn):
    def share(content):
        members(content)[0].update(expname="gone_cal.fits")
        content["products"].append({"name": "second", "members": members(content)[:2]})

    with pytest.raises(AssociationError, match="1 bad members: ") as caught:
        correct("out", asn(share))
    assert str(caught.value).count("gone_cal.fits") == 1


def test_products_are_named_anew(asn, pair):
    """A corrected mosaic does not replace an uncorrected one, nor an undone one either of them."""
    asn(lambda content: content["products"].append({"name": "second", "members": members(content)[:1]}))
    assert ModuleOffsetStep.call("data/set_asn.json").asn["products"][0]["name"] == "mosaic_modfix"
    assert correct("out", "data/set_asn.json").asn["products"][0]["name"] == "mosaic_modfix"
    assert [product["name"] for product in written()["products"]] == ["mosaic_modfix", "second_modfix"]
    correct("undone", "out/set_modfix_asn.json", inverse=True)
    assert [p["name"] for p in written("undone", "set_unmodfix_asn.json")["products"]] == [
        "mosaic_unmodfix",
        "second_unmodfix",
    ]
    assert correct("again", "undone/set_unmodfix_asn.json").asn["products"][0]["name"] == "mosaic_modfix"
    for source, inverse in (("data/set_asn.json", False), ("out/set_modfix_asn.json", True)):
        correct("mine", source, suffix="fixed", inverse=inverse, on_existing="overwrite")
        assert written("mine", "set_fixed_asn.json")["products"][0]["name"] == "mosaic_fixed"
        assert {path.name.rpartition("_")[2] for path in visible("mine")} == {"fixed.fits", "asn.json"}
        shutil.rmtree("mine")


@pytest.mark.parametrize("kind", [dict, lambda content: asn_from_list(
    [member["expname"] for member in members(content)], rule=DMS_Level3_Base, product_name="mosaic")])  # fmt: skip
def test_mappings_and_association_objects_are_relative_to_the_working_directory(asn, pair, kind, monkeypatch):
    content = json.loads(Path(asn()).read_text())
    content["products"][0]["members"].pop()
    monkeypatch.chdir("data")
    assert_corrected(models_of(ModuleOffsetStep.call(kind(content))), pair)


def test_urls_are_refused_by_what_they_are(asn):
    with pytest.raises(AssociationError, match="s3://bucket/x_cal.fits is a URL; download the file"):
        correct("out", asn(lambda content: members(content)[0].update(expname="s3://bucket/x_cal.fits")))
    assert not visible("out")


@pytest.mark.parametrize(("group", "expected"), [("one", "one"), (0, "0"), (None, None), ("", None)])
def test_a_group_of_exposures_is_text_or_a_number(asn, group, expected):
    """Where the association names no group, it is that of the observation, which both members share."""
    path = asn(lambda content: members(content)[0].update(group_id=group))
    for library in (ModuleOffsetStep.call(path), correct("out", path)):
        first, second = (member["group_id"] for member in library.asn["products"][0]["members"])
        assert first == expected or (first == second and expected is None)


# An association of the output folder names outputs of one table, by whatever route they came.


def digests(folder="out"):
    """Table of each output, by association."""
    found = {}
    for path in Path(folder).glob("*_asn.json"):
        files = [path.parent / member["expname"] for member in members(json.loads(path.read_text()))[:2]]
        found[path.name] = {fits.getval(file, "MODFHASH") for file in files}
    return found


@pytest.mark.parametrize(("route", "on_existing"), [
    ("file", "overwrite"), ("file", "skip"), ("list", "overwrite"), ("model", "overwrite"), ("container", "overwrite"),
    ("library", "overwrite"), ("association", "overwrite"), ("association", "skip"), ("whole list", "overwrite"),
])  # fmt: skip
def test_no_association_of_the_folder_names_outputs_of_two_tables(asn, pair, other_table, route, on_existing):
    correct("out", asn())
    before = {path.name: path.read_bytes() for path in visible("out")}
    one, other = (f"data/{name}" for name in names(pair))

    def leave_one(content):
        del members(content)[1]

    with datamodels.open(one) as model:
        source = {"file": one, "list": [one], "model": model, "container": ModelContainer([model]),
                  "library": ModelLibrary([model]), "association": asn(leave_one, "one_asn.json"),
                  "whole list": [one, other]}[route]  # fmt: skip
        with pytest.raises(OutputError) as caught:
            correct("out", source, on_existing=on_existing, **other_table)
    output, stays = (name.replace("_cal", "_modfix") for name in names(pair))
    assert f"out/set_modfix_asn.json: names {output}" in str(caught.value)
    if route != "whole list":
        assert f"to be written now, and {stays} of another table" in str(caught.value)
    assert "of another table, parameters or version: set output_dir, or remove set_modfix_asn.json" in str(caught.value)
    assert {path.name: path.read_bytes() for path in visible("out")} == before
    Path("out/set_modfix_asn.json").unlink()
    correct("out", one, **other_table)


def test_the_same_table_may_replace_a_member_and_the_same_association_all(asn, pair, other_table):
    correct("out", asn())
    correct("out", f"data/{names(pair)[0]}")
    shutil.copy("data/set_asn.json", "data/again_asn.json")
    correct("out", "data/again_asn.json")
    assert set(digests()) == {"set_modfix_asn.json", "again_modfix_asn.json"}
    with pytest.raises(OutputError, match="again_modfix_asn.json: names "):
        correct("out", "data/set_asn.json", **other_table)
    Path("out/again_modfix_asn.json").unlink()
    (old,) = digests().values()
    correct("out", "data/set_asn.json", **other_table)
    (new,) = digests().values()
    assert len(old) == len(new) == 1
    assert old != new


def test_an_output_that_was_removed_is_not_made_by_another_table(asn, pair, other_table):
    correct("out", asn())
    Path("out", names(pair)[0].replace("_cal", "_modfix")).unlink()
    with pytest.raises(OutputError, match="set_modfix_asn.json: names "):
        correct("out", f"data/{names(pair)[0]}", **other_table)
    correct("out", f"data/{names(pair)[0]}")
    assert len(digests()["set_modfix_asn.json"]) == 1


def test_a_member_that_has_become_a_pipe_is_named_and_not_waited_for(asn, pair):
    """Truth: nothing says that the pipe holds an output of the same table."""
    correct("out", asn())
    output, pipe = (name.replace("_cal", "_modfix") for name in names(pair))
    Path("out", pipe).unlink()
    os.mkfifo(f"out/{pipe}")
    with pytest.raises(OutputError, match=f"set_modfix_asn.json: names {output}, to be written now, and {pipe} of an"):
        correct("out", f"data/{names(pair)[0]}")


@pytest.mark.parametrize("name", ["own.JSON", "own_asn.json"])
def test_an_association_is_known_by_its_name_in_any_case(asn, pair, other_table, name):
    correct("out", asn())
    Path("out/set_modfix_asn.json").rename(f"out/{name}")
    with pytest.raises(OutputError, match=f"out/{name}: names "):
        correct("out", f"data/{names(pair)[0]}", **other_table)


def test_an_association_of_outputs_in_another_folder_does_not_matter(asn, pair, other_table):
    """Its members have the names of the outputs, but are other files."""
    correct("elsewhere", asn())
    content = json.loads(Path("elsewhere/set_modfix_asn.json").read_text())
    for member in members(content):
        member["expname"] = f"../elsewhere/{member['expname']}"
    Path("out").mkdir()
    Path("out/set_asn.json").write_text(json.dumps(content))
    correct("out", f"data/{names(pair)[0]}", **other_table)
    assert len(visible("out")) == 2


def test_other_associations_and_other_json_files_do_not_matter(asn, pair, other_table):
    Path("out").mkdir()
    shutil.copy(asn(), "out/raw_asn.json")
    os.mkfifo("out/pipe_asn.json")
    Path("out/report.json").write_text('{"products": 1}')
    Path("out/broken.json").write_text("{")
    correct("out", f"data/{names(pair)[0]}")
    correct("out", f"data/{names(pair)[0]}", **other_table)
    assert Path("out/raw_asn.json").exists()


def test_an_output_that_no_association_names_may_be_of_another_table(asn, pair, other_table):
    correct("out", asn())
    shutil.copy(f"data/{names(pair)[0]}", "data/jw9_cal.fits")
    correct("out", "data/jw9_cal.fits", **other_table).close()
    (old,) = digests()["set_modfix_asn.json"]
    assert fits.getval("out/jw9_modfix.fits", "MODFHASH") != old


# Nothing is written over an input, by whatever name.


def refuse_input(source, **parameters):
    with pytest.raises(ModuleOffsetError, match="is an input, which is never overwritten"):
        correct("out", source, **parameters)


def test_inputs_are_never_overwritten(asn, pair):
    path = asn()
    before = {path.name: path.read_bytes() for path in visible("data")}
    for source in (path, f"data/{names(pair)[0]}"):
        with pytest.raises(ModuleOffsetError, match="is an input, which is never overwritten: set output_dir or suf"):
            correct("data", source, suffix="cal")
    with datamodels.open(f"data/{names(pair)[0]}") as model:
        for item in (model, [model], ModelContainer([model]), ModelLibrary([model])):
            with pytest.raises(AssociationError, match="is an input, which is never overwritten"):
                correct("data", item, suffix="cal")
    assert {path.name: path.read_bytes() for path in visible("data")} == before


def test_a_member_that_is_not_science_is_never_overwritten(asn, pair):
    background = names(pair)[0].replace("_cal", "_modfix")
    shutil.copy(f"data/{names(pair)[1]}", Path("data", background))
    path = asn(lambda content: members(content).append({"expname": background, "exptype": "background"}))
    with pytest.raises(AssociationError, match="is an input, which is never overwritten"):
        correct("data", path)


@pytest.mark.parametrize("change", [str, lambda name: name.replace("jw", "JW")])
def test_two_exposures_of_one_output_name_are_refused(asn, pair, change):
    """Names that differ in case only are one file where the system does not tell them apart."""
    name = change(names(pair)[0])
    Path("twin").mkdir()
    shutil.copy(f"data/{names(pair)[1]}", f"twin/{name}")
    twins = [f"data/{names(pair)[0]}", f"twin/{name}"]
    path = asn(lambda content: members(content)[1].update(expname=f"../{twins[1]}"))
    for source in (path, twins):
        with pytest.raises(AssociationError, match="_modfix.fits would be written for 2 exposures"):
            correct("out", source)
    assert not Path("out").exists() or not visible("out")


def test_an_input_is_known_through_links_and_hard_links(asn, pair):
    Path("out").mkdir()
    output = Path("out", names(pair)[0].replace("_cal", "_modfix"))
    os.link(f"data/{names(pair)[0]}", output)
    for source in (asn(), f"data/{names(pair)[0]}", [f"data/{names(pair)[0]}"]):
        refuse_input(source)
    output.unlink()
    Path("out").rmdir()
    Path("out").symlink_to("data")
    refuse_input(asn(), suffix="cal")


def test_an_input_is_known_through_a_second_mount(asn, pair):
    Path("out").mkdir()
    if subprocess.run(["mount", "--bind", "data", "out"], capture_output=True, check=False).returncode:
        pytest.skip("a second mount needs root")
    try:
        path = asn()
        before = {path.name: path.read_bytes() for path in visible("data")}
        for source in (path, f"data/{names(pair)[0]}", [f"data/{name}" for name in names(pair)]):
            refuse_input(source, suffix="cal")
        assert {path.name: path.read_bytes() for path in visible("data")} == before
    finally:
        subprocess.run(["umount", "--lazy", "out"], check=True)


def test_the_association_and_its_catalogues_are_inputs(asn, pair):
    path = asn(lambda content: members(content)[0].update(tweakreg_catalog="../out/set_modfix_asn.json"))
    Path("out").mkdir()
    Path("out/set_modfix_asn.json").write_text("a catalogue of an odd name")
    refuse_input(path)
    Path("out/set_modfix_asn.json").unlink()
    os.link(asn(), "out/set_modfix_asn.json")
    refuse_input("data/set_asn.json")


# Names that cannot be written are refused before anything is.


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("müller_cal.fits", {}, "ASCII only; rename the "),
        ("a\nb_cal.fits", {}, "names of printable ASCII only; rename the "),
        ("x" * 246 + "_cal.fits", {}, "_modfix.fits: the name has more than 255 bytes; rename the input"),
        (
            "x_cal.fits",
            {"output_ext": ".fits.gz"},
            r"x_modfix.fits.gz: outputs are .fits or .asdf files; set output_ex",
        ),
        ("x_cal.fits", {"output_ext": ".json"}, r"x_modfix.json: outputs are .fits or .asdf files; set output_ext"),
        ("x_cal.fits", {"output_ext": "fit"}, r"x_modfix.fit: outputs are .fits or .asdf files; set output_ext"),
    ],
)
@pytest.mark.parametrize("kind", ["file", "list", "association"])
def test_names_that_cannot_be_written_are_refused(asn, pair, name, parameters, message, kind):
    Path("data", names(pair)[1]).rename(Path("data", name))
    path = asn(lambda content: members(content)[1].update(expname=name))
    source = {"file": f"data/{name}", "list": [f"data/{names(pair)[0]}", f"data/{name}"], "association": path}[kind]
    with pytest.raises(ModuleOffsetError, match=message):
        correct("out", source, **parameters)
    assert not Path("out").exists() or not visible("out")


@pytest.mark.parametrize("length", [80, 240])
def test_a_long_name_is_written_and_resumed(pair_folder, pair, length):
    name = "x" * (length - 9) + "_cal.fits"
    Path("data", names(pair)[0]).rename(Path("data", name))
    correct("out", f"data/{name}")
    (output,) = visible("out")
    assert output.name == name.replace("_cal", "_modfix")
    before = output.stat().st_ino
    correct("out", f"data/{name}", on_existing="skip").close()
    assert output.stat().st_ino == before


def test_output_file_names_the_output_of_one_exposure(asn, pair):
    correct("out", f"data/{names(pair)[0]}", output_file="mine.fits").close()
    assert [path.name for path in visible("out")] == ["mine_modfix.fits"]
    files = [f"data/{name}" for name in names(pair)]
    associations = [asn(), asn(lambda content: members(content).pop(1), "one_asn.json")]
    for source, words in (*((path, "an association has") for path in associations), (files, "2 exposures have"),
                          ("data", "2 exposures have")):  # fmt: skip
        with pytest.raises(ModuleOffsetError, match=f"{words} one for each member: set output_dir"):
            correct("other", source, output_file="mine.fits")


@pytest.mark.parametrize("suffix", ["", "a/b", "a b"])
def test_a_suffix_is_a_plain_word(pair, suffix):
    with pytest.raises(ModuleOffsetError, match=f"suffix must be letters, .* got '{suffix}'"):
        ModuleOffsetStep.call(pair[0], suffix=suffix)


@pytest.mark.parametrize("changed", ["record", "input"])
def test_a_changed_record_or_input_is_not_that_of_the_job(pair_folder, pair, caplog, changed):
    """Resume holds every card of the record against the job, and the time of the input, which may keep its size."""
    output = Path("out", names(pair)[0].replace("_cal", "_modfix"))
    correct("out", f"data/{names(pair)[0]}")
    truth = fits.getval(output, "MODFOFF")
    if changed == "record":
        fits.setval(output, "MODFOFF", value=0.1)
    else:
        Path("data", names(pair)[0]).touch()
    correct("out", f"data/{names(pair)[0]}", on_existing="skip").close()
    assert "was changed or saved again since" in caplog.text
    assert fits.getval(output, "MODFOFF") == truth


class Deprecated(dict):
    """An association whose use is deprecated, where warnings are errors."""

    def items(self):
        raise DeprecationWarning("fmt is deprecated")


def test_a_warning_that_is_an_error_is_not_taken_for_a_fault_of_the_association(tmp_path, monkeypatch):
    with pytest.raises(DeprecationWarning, match="fmt"):
        read_association(Deprecated(products=[]))
    monkeypatch.setattr("astropy.io.fits.open", lambda *_, **__: warnings.warn("fmt", DeprecationWarning, stacklevel=2))
    (tmp_path / "x_cal.fits").write_bytes(b"SIMPLE  =" + bytes(2880))
    with pytest.raises(DeprecationWarning, match="fmt"):
        read_header(tmp_path / "x_cal.fits")


def test_associations_are_written_without_the_formats_that_the_pipeline_deprecates(modfix, pair_folder, monkeypatch):
    monkeypatch.setattr(PipelineAssociation, "dump", lambda *_, **__: pytest.fail("its argument fmt is deprecated"))
    modfix("group", "data", "-o", "data/made_asn.json")
    assert len(read_association("data/made_asn.json").science) == 2
    ModelLibrary("data/made_asn.json")  # as the stock pipeline opens it
