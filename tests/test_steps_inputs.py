"""Inputs that are refused, all in one error and before anything is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from pair_of_exposures import FACTOR, names

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ModuleOffsetError
from jwst_modfix.table.file import PACKAGED_TABLE


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
        "text_cal.fits: is not a FITS file, which begins with 'SIMPLE  ='",
        "plain_cal.fits: is not a JWST data model: it has no DATAMODL keyword",
        f"short_cal.fits: has {len(whole) // 2} bytes, but its headers describe ",
    ):
        assert words in message
    assert [p.name for p in pair_folder.iterdir()] == ["data"]


def test_every_member_that_was_corrected_before_is_named_and_nothing_is_written(pair_folder, pair):
    ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="out")
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
    [(damage_shape, r"err has shape \(3, 3\)"), (damage_asdf, "its ASDF extension cannot be read")],
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
    with pytest.raises(ModuleOffsetError, match="input must be files, folders, data models, .* got int"):
        ModuleOffsetStep.call(3)


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModuleOffsetError, match="notes.txt: is neither an exposure .* nor an association"):
        ModuleOffsetStep.call(str(tmp_path / "notes.txt"))


def test_an_invalid_member_is_found_before_anything_is_written(pair_folder, small_exposure):
    """The second member has a slope to apply and no WCS; with on_invalid=error nothing of the first is written."""
    for number, detector in enumerate(("NRCALONG", "NRCBLONG")):
        model = small_exposure(detector, "F444W")
        if number:
            del model.meta.instance["wcs"]
        model.save(f"data/{number}_cal.fits")
    members = [{"expname": f"{number}_cal.fits", "exptype": "science"} for number in (0, 1)]
    Path("data/x_asn.json").write_text(json.dumps({"products": [{"name": "x", "members": members}]}))
    inputs = ("data/x_asn.json", ["data/0_cal.fits", "data/1_cal.fits"])
    for source in inputs:
        with pytest.raises(ModuleOffsetError, match="1_cal.fits: it has no WCS, which the slope needs; run assign_wcs"):
            ModuleOffsetStep.call(source, on_invalid="error", save_results=True, output_dir="out")
        assert not list(Path("out").glob("*"))


def pixels(path):
    with fits.open(path) as hdulist:
        return {hdu.name: hdu.data for hdu in hdulist[1:] if hdu.is_image}, dict(hdulist[0].header)


def test_a_file_a_list_an_association_and_a_model_give_the_same_file(pair_folder, pair):
    """The four ways in differ in dates only."""
    name = names(pair)[0]
    sources = {"file": f"data/{name}", "list": [f"data/{name}"], "asn": "data/set_asn.json", "model": pair[0]}
    for way, source in sources.items():
        ModuleOffsetStep.call(source, save_results=True, output_dir=way)
    arrays, header = pixels(Path("file", name.replace("_cal", "_modfix")))
    np.testing.assert_allclose(arrays["SCI"], pair[0].data * FACTOR, rtol=3e-7)
    for way in ("list", "asn", "model"):
        others, other = pixels(Path(way, name.replace("_cal", "_modfix")))
        assert arrays.keys() == others.keys()
        for hdu, array in arrays.items():
            np.testing.assert_array_equal(array, others[hdu])
        dated = {"DATE", "MODFDATE", "MODFJOB", "CAL_VER", "CAL_VCS", "HISTORY", "COMMENT", "", "NEXTEND", "OBSLABEL"}
        assert {k: v for k, v in header.items() if k not in dated} == {k: v for k, v in other.items() if k not in dated}


def test_a_table_that_is_a_model_is_named_in_one_line_of_the_log(pair, caplog):
    ModuleOffsetStep.call(pair[0], override_moduleoffset=ModuleOffsetModel(PACKAGED_TABLE), configure_log=False)
    (parameters,) = [record.getMessage() for record in caplog.records if "parameters are" in record.getMessage()]
    assert "override_moduleoffset: ma2023_table2.asdf" in parameters
    assert len(parameters.splitlines()) < 40
