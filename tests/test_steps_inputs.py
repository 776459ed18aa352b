"""Inputs that are refused, all in one error and before anything is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from pair_of_exposures import names, run_strun

from jwst_modfix import ModuleOffsetStep
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ModuleOffsetError


def test_all_bad_members_are_reported_at_once_and_nothing_is_written(pair_folder, pair):
    content = json.loads(Path("data/set_asn.json").read_text())
    science, other = ({"expname": n, "exptype": t} for n, t in (("x", "science"), ("gone.ecsv", "sourcecat")))
    bad = ["missing_cal.fits", "text_cal.fits", "plain_cal.fits", "short_cal.fits"]
    content["products"][0]["members"] += [{**science, "expname": name} for name in bad] + [other]
    Path("data/bad_asn.json").write_text(json.dumps(content))
    Path("data/text_cal.fits").write_text("this is no FITS file")
    fits.PrimaryHDU(np.ones((3, 3))).writeto("data/plain_cal.fits")
    whole = Path("data", names(pair)[0]).read_bytes()
    Path("data/short_cal.fits").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AssociationError) as caught:
        ModuleOffsetStep.call("data/bad_asn.json", save_results=True)
    message = str(caught.value)
    assert "bad: 4 bad members" in message
    for words in (
        "missing_cal.fits: no such file",
        "text_cal.fits: cannot be read as FITS",
        "plain_cal.fits: is not a JWST data model: it has no DATAMODL keyword",
        "short_cal.fits: cannot be read as FITS: ",
    ):
        assert words in message
    assert [p.name for p in pair_folder.iterdir()] == ["data"]


@pytest.mark.filterwarnings("ignore:File may have been truncated")  # astropy's own words, before our refusal
def test_a_file_that_is_cut_short_is_refused(pair_folder, pair):
    path = Path("data", names(pair)[0])
    path.write_bytes(path.read_bytes()[:-2880])
    size = path.stat().st_size
    with pytest.raises(
        ModuleOffsetError, match=f"cannot be read as FITS: it is cut short: {size} of {size + 2880} bytes"
    ):
        ModuleOffsetStep.call(str(path))


def test_every_member_that_was_corrected_before_is_named_and_nothing_is_written(pair_folder, pair):
    run_strun("data/set_asn.json", "--output_dir=out")
    with pytest.raises(AlreadyCorrectedError) as caught:
        ModuleOffsetStep.call("out/set_modfix_asn.json", save_results=True, output_dir="again")
    assert "2 of 2 exposures refused" in str(caught.value)
    assert str(caught.value).count("to undo the first, run the step with --inverse=true") == 1
    for name in names(pair):
        assert f"{name.replace('_cal', '_modfix')}: was corrected before, by ma2023_table2.asdf on 20" in str(
            caught.value
        )
    assert not list(Path("again").glob("*"))


def damage_shape(hdulist):
    hdulist["ERR"].data = np.ones((3, 3), "f4")


def damage_asdf(hdulist):
    column = fits.Column("ASDF_METADATA", "4B", array=np.zeros((1, 4), np.uint8))
    hdulist["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(damage_shape, r"ERR has shape \(3, 3\)"), (damage_asdf, "its ASDF extension cannot be read")],
)
def test_what_would_fail_in_the_middle_is_found_before_anything_is_written(pair_folder, pair, damage, words):
    path = Path("data", names(pair)[1])
    with fits.open(path, mode="update") as hdulist:
        damage(hdulist)
    with pytest.raises(AssociationError, match=f"{path.name}: {words}"):
        ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="out")
    assert not list(Path("out").glob("*"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is not an association"),
        ("[1, 2]", "is not an association"),
        ('{"products": []}', "is not an association|must have a list of products"),
        ('{"products": [{"name": "x", "members": []}]}', "has no member of exptype science|is not an association"),
        ('{"products": [{"name": "x", "members": [{"exptype": "science"}]}]}', "must have an expname|is not an assoc"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_a_broken_association_is_one_clear_error(tmp_path, content, words):
    (tmp_path / "x_asn.json").write_text(content)
    with pytest.raises(AssociationError, match=f"x_asn.json: .*({words})"):
        ModuleOffsetStep.call(str(tmp_path / "x_asn.json"))


def test_a_missing_input_is_named(tmp_path):
    for name in ("gone_asn.json", "gone_cal.fits"):
        with pytest.raises(ModuleOffsetError, match=f"{name}: no such file"):
            ModuleOffsetStep.call(str(tmp_path / name))


def test_other_inputs_are_refused_by_their_type():
    with pytest.raises(ModuleOffsetError, match="input must be a file, a JWST data model, .* got int"):
        ModuleOffsetStep.call(3)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModuleOffsetError, match="notes.txt: is neither an exposure .* nor an association"):
        ModuleOffsetStep.call(str(tmp_path / "notes.txt"))
