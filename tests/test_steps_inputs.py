"""What can be given to the steps: files, folders, odd names; what is wrong is one error, before anything is written.

Truth of what is corrected: Table 2, array 2 in F200W, Delta_AB = -52.67 mmag with module B kept.
"""

import bz2
import gc
import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from disturbed_runs import correct, visible
from jwst.datamodels import ModelContainer, ModelLibrary
from pair_of_exposures import FACTOR, assert_corrected, models_of, names, run_strun_here, write_association
from stdatamodels.jwst import datamodels
from stpipe.library import AbstractModelLibrary

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError, ModuleOffsetError
from jwst_modfix.photometry.catalogues import read_catalogues
from jwst_modfix.photometry.frames import read_header
from jwst_modfix.steps.module_offset_derive import find_members
from jwst_modfix.steps.runs import AssociationLibrary, LibraryCopy
from jwst_modfix.table.file import PACKAGED_TABLE


def outputs(folder="out"):
    return [path.name for path in visible(folder)]


# Several files, and folders.


@pytest.fixture
def modfix_names(pair_folder, pair):
    return [name.replace("_cal", "_modfix") for name in names(pair)]


def test_strun_takes_several_files_each_from_its_own_folder(pair_folder, pair, modfix_names):
    """A file of the second's name in the folder of the first is another one, and is damaged."""
    first, second = names(pair)
    shutil.move(f"data/{second}", second)
    Path("data", second).write_text("damaged")
    run_strun_here(f"data/{first}", second, "--output_dir=out")
    assert outputs() == modfix_names
    assert_corrected([datamodels.open(f"out/{name}") for name in modfix_names], pair)


@pytest.mark.parametrize("given", ["data", "deep", ["data"], ["deep"]])
def test_a_folder_is_searched_at_any_depth(pair_folder, pair, modfix_names, given):
    """Hidden files and those that are not named as exposures are not looked at; links in circles do no harm."""
    Path("deep/JWST/a folder").mkdir(parents=True)
    Path("deep/JWST/.hidden").mkdir()
    for name in names(pair):
        shutil.copy(f"data/{name}", "deep/JWST/a folder")
        Path("deep/JWST/.hidden", name).write_text("damaged")
        Path("deep", name.replace("_cal", "_i2d")).write_text("damaged")
    Path("deep/JWST/again").symlink_to(Path("deep").absolute())
    results = correct("out", given)
    assert outputs() == modfix_names
    assert_corrected(results, pair)
    assert [path.name for path in find_members(given).paths] == names(pair), "as the derivation reads it"


def test_what_is_left_out_of_a_folder_is_named(pair_folder, pair, modfix_names, caplog):
    first, _ = names(pair)
    for suffix in ("crf", "modfix"):
        shutil.copy(f"data/{first}", Path("data", first.replace("_cal", f"_{suffix}")))
    fits.setval(shutil.copy(f"data/{first}", "data/miri_cal.fits"), "INSTRUME", value="MIRI")
    correct("out", "data")
    assert outputs() == modfix_names
    crf = first.replace("_cal", "_crf")
    line = f"data: 2 exposures named *_cal; left out: miri_cal.fits (MIRI), {crf}"
    assert line in caplog.messages, "outputs of this package are not worth a word"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "no file in this folder or below has a name such as *_cal.fits"),
        (lambda: os.mkfifo("given/f_cal.fits"), "f_cal.fits: is not a regular file"),
        (lambda: Path("given/gone_cal.fits").symlink_to("nowhere"), "gone_cal.fits: no such file"),
        (lambda: fits.PrimaryHDU().writeto("given/x_cal.fits"), "no file in it is a NIRCam image; left out: x_cal"),
    ],
)  # fmt: skip
def test_a_folder_without_exposures_is_refused(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)
    Path("given").mkdir()
    make()
    for step in (ModuleOffsetStep, ModuleOffsetDeriveStep):
        with pytest.raises(ModuleOffsetError) as caught:
            step.call("given")
        assert message in str(caught.value)


# Names, and files that are packed.


@pytest.mark.parametrize(
    ("name", "in_memory"),
    [("a%20%s b_cal.fits", True), ("-$HOME{x}_cal.fits", True), ("X_CAL.FITS", False), ("y_cal.fits.gz", False)],
)
def test_odd_names_are_corrected_as_others(pair_folder, pair, name, in_memory):
    content = Path("data", names(pair)[0]).read_bytes()
    Path("data", name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    write_association("data/odd_asn.json", name)
    stem = name.partition(".")[0].removesuffix("_cal")
    for source in (f"data/{name}", "data/odd_asn.json"):
        correct("out", source, in_memory=in_memory)
        assert f"{stem}_modfix.fits" in outputs()
        assert fits.getval(f"out/{stem}_modfix.fits", "FILENAME") == f"{stem}_modfix.fits"
    library = ModuleOffsetStep.call("data/odd_asn.json", in_memory=in_memory)
    assert_corrected(models_of(library), pair[:1])


def packed(path, content):
    if path.suffix == ".fz":
        with fits.open(Path("data/plain_cal.fits")) as hdulist:
            science = fits.CompImageHDU(hdulist["SCI"].data, hdulist["SCI"].header)
            fits.HDUList([hdulist[0], science, *hdulist[2:]]).writeto(path)
    else:
        path.write_bytes(bz2.compress(content) if path.suffix == ".bz2" else b"PK\x03\x04")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x_cal.fits.fz", "SCI is tile-compressed; unpack it with funpack"),
        ("x_cal.fits.bz2", "it is bzip2"),
        ("x_cal.fits.zip", "it is a ZIP archive"),
    ],
)
def test_packed_files_are_refused_by_what_they_are_everywhere(pair_folder, pair, modfix, name, message):
    os.chdir(pair_folder)
    content = Path("data", names(pair)[0]).read_bytes()
    Path("data/plain_cal.fits").write_bytes(content)
    packed(Path("data", name), content)
    for step in (ModuleOffsetStep, ModuleOffsetDeriveStep):
        for source in (f"data/{name}", [f"data/{name}"], write_association("data/x_asn.json", name)):
            with pytest.raises(ModuleOffsetError, match=message):
                step.call(source)
    for words in (["show"], ["check", "packaged"], ["group"], ["plan"]):
        assert message in modfix(*words, f"data/{name}", status=1)


@pytest.mark.parametrize("name", ["a\0_cal.fits", "x" * 300 + "_cal.fits", "x" * 300 + "_asn.json", "x" * 300])
def test_names_that_no_file_can_have_are_one_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for step in (ModuleOffsetStep, ModuleOffsetDeriveStep):
        for source in (name, [name]):
            with pytest.raises(ModuleOffsetError):
                step.call(source)


# What is no input.


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (3, "input must be files, folders, .* got int"),
        (None, "got NoneType"),
        ("", "the name of an input is empty"),  # as of a variable of the shell that is not set; not the folder .
        ([" "], "the name of an input is empty"),
        (b"x_cal.fits", "got bytes"),
        (np.ones((2, 2)), "got ndarray"),
        ({"x_cal.fits"}, "got set"),
        (fits.HDUList([fits.PrimaryHDU()]), "got HDUList; give its file or its data model"),
        ([fits.HDUList([fits.PrimaryHDU()])], "got HDUList"),
        ([], "input is an empty list"),
        ((), "input is an empty tuple"),
        (ModelContainer(), "input is an empty ModelContainer"),
        ({"a": 1}, "is not an association: it must have a list of products"),
        ("s3://bucket/x_cal.fits", "is a URL; download the file"),
        (["http://localhost:1/x_cal.fits"], "is a URL; download the file"),
        (Path("s3://bucket/x_asn.json"), "s3:/bucket/x_asn.json: is a URL; download the file"),
        ("file:///data/x_cal.fits", "is a URL; download the file"),
        ("gone_asn.json", "gone_asn.json: no such file"),
        ("gone_cal.fits", "gone_cal.fits: no such file"),
        ("notes.txt", "notes.txt: is neither an exposure .* nor an association"),
        ("pipe_asn.json", "pipe_asn.json: is not a regular file"),
        (["set_asn.json"], "a list with set_asn.json in it; give an association alone"),
    ],
)
def test_what_is_no_input_is_one_clear_error(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe_asn.json")
    write_association("set_asn.json", "x_cal.fits")
    for step in (ModuleOffsetStep, ModuleOffsetDeriveStep):
        with pytest.raises(ModuleOffsetError, match=message) as caught:
            step.call(source)
        assert "\n" not in str(caught.value)


def test_an_exposure_that_is_a_url_is_refused_as_that_by_the_command_too(modfix):
    for words in (("show", "s3://bucket/x_cal.fits"), ("check", "packaged", "https://host/x_cal.fits")):
        assert f"{words[-1]}: is a URL; download the file and give the copy" in modfix(*words, status=1).replace(
            ":/b", "://b"
        )


def test_catalogues_and_tables_that_are_urls_are_refused_as_that(pair_folder, pair):
    given = [f"data/{name}" for name in names(pair)]
    with pytest.raises(ModuleOffsetError, match="c.ecsv: is a URL"):
        read_catalogues(["s3://bucket/c.ecsv"], [read_header(path) for path in given], None)
    with pytest.raises(ModuleOffsetError, match="mine.asdf: is a URL; download the file and give the copy"):
        ModuleOffsetStep.call(given, override_moduleoffset="s3://bucket/mine.asdf")


def test_what_our_libraries_replace_is_what_stpipe_asks_subclasses_for():
    """No other private method of ModelLibrary is called or replaced."""
    for library in (AssociationLibrary, LibraryCopy):
        private = {name for name in vars(library) if name.startswith("_") and callable(getattr(library, name))}
        assert private - {"__init__"} == {"_datamodels_open"} <= AbstractModelLibrary.__abstractmethods__


def test_models_are_no_input_of_a_derivation(pair):
    for source in (pair[0], pair, ModelContainer(pair), ModelLibrary(pair)):
        with pytest.raises(AssociationError, match="files or folders of exposures; got data models in memory"):
            ModuleOffsetDeriveStep.call(source)


# Bad members are found before anything is written.


def test_all_bad_members_are_reported_at_once_and_nothing_is_written(pair_folder, pair):
    whole = Path("data", names(pair)[0]).read_bytes()
    Path("data/text_cal.fits").write_text("this is no FITS file")
    fits.PrimaryHDU(np.ones((3, 3))).writeto("data/plain_cal.fits")
    Path("data/short_cal.fits").write_bytes(whole[: len(whole) // 2])
    bad = ["missing_cal.fits", "text_cal.fits", "plain_cal.fits", "short_cal.fits"]
    association = write_association("data/bad_asn.json", *names(pair), *bad)
    for source, error in ((association, AssociationError), ([f"data/{name}" for name in bad], ExposureError)):
        with pytest.raises(error) as caught:
            correct("out", source)
        for words in (
            "missing_cal.fits: no such file",
            "text_cal.fits: is not a FITS file, which begins with 'SIMPLE  ='",
            "plain_cal.fits: is not a JWST data model: it has no DATAMODL keyword",
            f"short_cal.fits: has {len(whole) // 2} bytes, but its headers describe ",
        ):
            assert words in str(caught.value)
        assert outputs() == []


def test_every_member_that_was_corrected_before_is_named_and_nothing_is_written(pair_folder, modfix_names):
    correct("out", "data/set_asn.json")
    with pytest.raises(AlreadyCorrectedError) as caught:
        correct("again", "out/set_modfix_asn.json")
    assert "2 of 2 exposures refused" in str(caught.value)
    assert str(caught.value).count("to undo the first, run the step with --inverse=true") == 1
    for name in modfix_names:
        assert f"{name}: was corrected before, by ma2023_table2.asdf on 20" in str(caught.value)
    assert outputs("again") == []


def damage_shape(hdulist):
    hdulist["ERR"].data = np.ones((3, 3), "f4")


def damage_asdf(hdulist):
    column = fits.Column("ASDF_METADATA", "4B", array=np.zeros((1, 4), np.uint8))
    hdulist["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(damage_shape, r"err has shape \(3, 3\)"), (damage_asdf, "its ASDF extension cannot be read")],
)
def test_what_would_fail_in_the_middle_is_found_before_anything_is_written(pair_folder, pair, damage, words):
    path = Path("data", names(pair)[1])
    with fits.open(path, mode="update") as hdulist:
        damage(hdulist)
    with pytest.raises(AssociationError, match=f"{path.name}: {words}"):
        correct("out", "data/set_asn.json")
    assert outputs() == []


def test_an_invalid_member_is_found_before_anything_is_written(pair_folder, small_exposure):
    """The second member has a slope to apply and no WCS; with on_invalid=error nothing of the first is written."""
    for number, detector in enumerate(("NRCALONG", "NRCBLONG")):
        model = small_exposure(detector, "F444W")
        if number:
            del model.meta.instance["wcs"]
        model.save(f"data/{number}_cal.fits")
    association = write_association("data/x_asn.json", "0_cal.fits", "1_cal.fits")
    for source in (association, ["data/0_cal.fits", "data/1_cal.fits"]):
        with pytest.raises(ModuleOffsetError, match="1_cal.fits: it has no WCS, which the slope needs; run assign_wcs"):
            correct("out", source, on_invalid="error")
        assert outputs() == []


# One result, by whatever way in.


def pixels(path):
    with fits.open(path) as hdulist:
        return {hdu.name: hdu.data for hdu in hdulist[1:] if hdu.is_image}, dict(hdulist[0].header)


def test_a_file_a_list_an_association_and_a_model_give_the_same_file(pair_folder, pair, modfix_names):
    """The four ways in differ in dates only."""
    name = names(pair)[0]
    sources = {"file": f"data/{name}", "list": [f"data/{name}"], "asn": "data/set_asn.json", "model": pair[0]}
    for way, source in sources.items():
        correct(way, source)
    arrays, header = pixels(Path("file", modfix_names[0]))
    np.testing.assert_allclose(arrays["SCI"], pair[0].data * FACTOR, rtol=3e-7)
    dated = {"DATE", "MODFDATE", "MODFJOB", "CAL_VER", "CAL_VCS", "HISTORY", "COMMENT", "", "NEXTEND", "OBSLABEL"}
    for way in ("list", "asn", "model"):
        others, other = pixels(Path(way, modfix_names[0]))
        assert arrays.keys() == others.keys()
        for hdu, array in arrays.items():
            np.testing.assert_array_equal(array, others[hdu])
        assert {k: v for k, v in header.items() if k not in dated} == {k: v for k, v in other.items() if k not in dated}


def test_a_table_that_is_a_model_is_named_in_one_line_of_the_log(pair, caplog):
    ModuleOffsetStep.call(pair[0], override_moduleoffset=ModuleOffsetModel(PACKAGED_TABLE), configure_log=False)
    (parameters,) = [record.getMessage() for record in caplog.records if "parameters are" in record.getMessage()]
    assert "override_moduleoffset: ma2023_table2.asdf" in parameters
    assert len(parameters.splitlines()) < 40


@pytest.mark.parametrize(("frozen", "calls"), [(0, ["freeze", "unfreeze"]), (7, [])])
def test_a_run_that_fails_leaves_the_garbage_collector_as_it_was(monkeypatch, frozen, calls):
    """Objects that the user froze stay frozen, and others do not stay so."""
    made = []
    monkeypatch.setattr(gc, "get_freeze_count", lambda: frozen)
    monkeypatch.setattr(gc, "freeze", lambda: made.append("freeze"))
    monkeypatch.setattr(gc, "unfreeze", lambda: made.append("unfreeze"))
    with pytest.raises(ExposureError, match="absent_cal.fits"):
        ModuleOffsetStep().run("absent_cal.fits")
    assert made == calls
