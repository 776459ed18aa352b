"""Associations of several epochs, and forecasts from them and from pointings."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from jwst.associations import load_asn

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.steps.module_offset_derive import find_members


@pytest.fixture
def folder(small_exposure, tmp_path):
    """data/ with two detectors in two filters and two epochs."""
    (tmp_path / "data").mkdir()
    for detector, band in (("NRCALONG", "F444W"), ("NRCB2", "F200W")):
        for epoch, roll, mjd in (("ep2", 341.0, 59950.0), ("ep1", 161.0, 59768.0)):
            model = small_exposure(detector, band, roll=roll)
            model.meta.exposure.mid_time = mjd
            model.save(str(tmp_path / "data" / f"{detector.lower()}_{epoch}_cal.fits"))
    return tmp_path


def members_of(path):
    return json.loads(path.read_text())["products"][0]["members"]


def test_a_folder_becomes_one_association_with_epochs_by_time_and_roll(modfix, folder):
    output = modfix("group", "data", "-o", "asn/field_asn.json")
    assert "161." in output
    assert "341." in output or "340.9" in output
    members = members_of(folder / "asn" / "field_asn.json")
    assert [m["expname"] for m in members][:2] == ["../data/nrcalong_ep1_cal.fits", "../data/nrcb2_ep1_cal.fits"]
    assert [m["epoch"][:10] for m in members] == ["2022-07-08"] * 2 + ["2023-01-06"] * 2  # MJD 59768 and 59950
    found = find_members(str(folder / "asn" / "field_asn.json"))  # as the derivation reads it
    assert found.product == "field"
    assert len(set(found.epochs)) == 2
    assert all(path.is_file() for path in found.paths)


def test_the_association_is_one_for_the_jwst_package(modfix, folder):
    modfix("group", "data", "-o", "field_asn.json")
    with (folder / "field_asn.json").open() as file, pytest.warns(UserWarning, match="path information"):
        assert load_asn(file)["asn_rule"] == "DMS_Level3_Base"


def test_damaged_files_are_refused_all_at_once(modfix, folder):
    (folder / "data" / "broken_cal.fits").write_text("nothing")
    (folder / "data" / "empty_cal.fits").write_text("")
    output = modfix("group", "data", status=1)
    assert "2 of 6 files cannot be used" in output
    assert "broken_cal.fits: " in output
    assert "empty_cal.fits: " in output
    assert not (folder / "modfix_asn.json").exists()


def test_files_that_are_not_nircam_imaging_are_left_out_and_named_in_one_line(modfix, folder):
    source = folder / "data" / "nrcb2_ep1_cal.fits"
    for name, keyword, value in (("miri", "INSTRUME", "MIRI"), ("grism", "EXP_TYPE", "NRC_WFSS")):
        shutil.copy(source, folder / "data" / f"{name}_cal.fits")
        fits.setval(folder / "data" / f"{name}_cal.fits", keyword, value=value)
    fits.PrimaryHDU().writeto(folder / "data" / "other_cal.fits")
    fits.setval(source, "CRDS_CTX", value="jwst_1200.pmap")
    output = modfix("group", "data")
    assert "note: calibrated differently: NRCB2 F200W CLEAR: CRDS_CTX is jwst_1200.pmap (1 exposure), jwst" in output
    line = (
        "note: not NIRCam imaging, left out: grism_cal.fits (NRC_WFSS), miri_cal.fits (MIRI), other_cal.fits (no JWST"
    )
    assert line in output
    assert len(members_of(folder / "modfix_asn.json")) == 4
    output = modfix("group", "data/miri_cal.fits", "-o", "none_asn.json", status=1)
    assert "no file is a NIRCam image; not NIRCam imaging, left out: miri_cal.fits (MIRI)" in output


def test_a_tree_of_one_folder_for_each_file_is_searched(modfix, folder):
    """As MAST delivers: with previews, lists of sources and files of other stages beside the exposures."""
    names = {"nrcalong_ep1_cal.fits": "nrcalong_ep1_a3001_crf.fits", "nrcalong_ep2_cal.fits": "nrcalong_ep2_JHAT.fits",
             "nrcb2_ep1_cal.fits": "nrcb2_ep1_match.fits", "nrcb2_ep2_cal.fits": "nrcb2_ep2_tweakreg.fits"}  # fmt: skip
    for old, new in names.items():
        place = folder / "mast" / "JWST" / new.split(".")[0] / new
        place.parent.mkdir(parents=True)
        (folder / "data" / old).rename(place)
        for ignored in ("_cal.jpg", "_i2d.fits", "_rate.fits", "_cat.ecsv"):
            (place.parent / (place.name + ignored)).write_text("not read")
        (place.parent / f".{new}").write_text("hidden")
    packed = folder / "mast" / "nrcalong_ep1_cal.fits.gz"
    packed.write_bytes(
        gzip.compress((folder / "mast/JWST/nrcalong_ep1_a3001_crf/nrcalong_ep1_a3001_crf.fits").read_bytes())
    )
    output = modfix("group", "mast")
    found = [Path(member["expname"]).name for member in members_of(folder / "modfix_asn.json")]
    assert found == [packed.name, *[names[f"{name}_cal.fits"] for name in ("nrcb2_ep1", "nrcalong_ep2", "nrcb2_ep2")]]
    assert "note: other files of the same exposures, left out: nrcalong_ep1_a3001_crf.fits" in output
    assert all(path.is_file() for path in find_members(str(folder / "modfix_asn.json")).paths)


def test_an_exposure_that_is_there_twice_is_refused(modfix, folder):
    shutil.copy(folder / "data" / "nrcb2_ep1_cal.fits", folder / "data" / "copy_cal.fits")
    words = "copy_cal.fits, data/nrcb2_ep1_cal.fits: are one exposure (same detector and time); give it once"
    assert words in modfix("group", "data", status=1)
    shutil.move(folder / "data" / "copy_cal.fits", folder / "data" / "copy_crf.fits")
    files = ["data/copy_crf.fits", "data/nrcb2_ep1_cal.fits"]
    assert "are one exposure" in modfix("group", *files, status=1), "who names both files must choose"
    shutil.move(folder / "data" / "copy_crf.fits", folder / "copy_crf.fits")
    assert "are one exposure" in modfix("group", "copy_crf.fits", "data", status=1), "or names one of them"
    assert not list(folder.glob("*.json"))


def test_a_name_that_no_association_has_and_an_empty_folder_are_named(modfix, folder):
    assert "must end in '.json'" in modfix("group", "data", "-o", "field.txt", status=1)
    assert "the name of an input is empty" in modfix("group", "", status=1), "and not the working directory"
    (folder / "empty").mkdir()
    assert "empty: no file in this folder or below has a name such as *_cal.fits" in modfix("group", "empty", status=1)


def test_one_epoch_without_dithers_has_no_solution(modfix):
    output = modfix("plan", "--roll", "161", "--dithers", "1", "--filter", "F444W", status=1)
    assert "no solution" in output
    assert "none of" in output
    assert "is measured twice" in output
    assert "Error: these exposures determine no offset" in output


def test_a_plan_says_which_error_is_of_what(modfix):
    output = modfix("plan", "--roll", "161", "--roll", "341", "--dithers", "2", "--filter", "F444W")
    assert output.startswith("F444W: 8 exposures")  # two epochs, dithers and detectors
    assert "offset of array long" in output
    assert "mmag/arcmin" in output


def test_a_plan_needs_the_simulation_for_roll_angles(modfix, monkeypatch):
    from jwst_modfix.simulate import optics

    def fail():
        raise ModuleOffsetError("the simulation needs pysiaf: install jwst_modfix with its extra 'sim'")

    monkeypatch.setattr(optics, "_import_pysiaf", fail)
    for value in vars(optics).values():
        getattr(value, "cache_clear", lambda: None)()
    assert "install jwst_modfix with its extra 'sim'" in modfix("plan", "--roll", "1", "--roll", "2", status=1)


def test_wrong_usage_of_plan_is_named(modfix):
    assert "give either exposures" in modfix("plan", status=2)
    assert "known are F" in modfix("plan", "--roll", "1", "--filter", "F999W", status=2)


def test_a_plan_of_exposures_agrees_with_one_of_their_pointings(modfix, make_exposure, tmp_path):
    """The WCS in the files and the roll angles that they were made with; sources differ."""
    for detector in ("NRCALONG", "NRCBLONG"):
        for roll, mjd in ((161.0, 59768.0), (341.0, 59950.0)):
            model = make_exposure(detector, "F444W", roll=roll)
            model.meta.exposure.mid_time = mjd
            model.save(str(tmp_path / f"{detector.lower()}_{roll:.0f}_cal.fits"))
    modfix("group", ".", "-o", "f_asn.json")
    words = ["--density", "100"]
    of_files = modfix("plan", "f_asn.json", *words)
    of_rolls = modfix("plan", "--roll", "161", "--roll", "341", "--dithers", "1", "--filter", "F444W", *words)
    assert of_files.startswith("F444W: 4 exposures")
    errors = [[float(line.split("±")[1].split()[0]) for line in text.splitlines() if "±" in line]
              for text in (of_files, of_rolls)]  # fmt: skip
    np.testing.assert_allclose(*errors, rtol=0.15)
    assert "epoch 1" in of_files
    files = sorted(path.name for path in tmp_path.glob("*_cal.fits"))
    of_one_epoch = modfix("plan", *files, "--gap-days", "400", "--roll-tolerance", "181", *words)
    assert "epoch 1" not in of_one_epoch
