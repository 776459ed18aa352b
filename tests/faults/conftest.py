"""Exposures for runs that are disturbed, and the outputs of an undisturbed one."""

import shutil

import pytest
from disturbed_runs import MEMBERS, content, correct, inputs
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base


@pytest.fixture(scope="session")
def undisturbed(small_exposure, tmp_path_factory):
    """data/: four exposures of two detectors and their association; truth/: the outputs of an undisturbed run."""
    base = tmp_path_factory.mktemp("undisturbed")
    data = base / "data"
    data.mkdir()
    models = [small_exposure(detector, "F200W") for detector in ("NRCA2", "NRCB2")]
    for number in range(MEMBERS):
        models[number % 2].save(str(data / f"jw{number}_cal.fits"))
    asn = asn_from_list([path.name for path in inputs(base)], rule=DMS_Level3_Base, product_name="mosaic")
    (data / "set_asn.json").write_text(asn.dump()[1])
    correct(base / "truth", data / "set_asn.json")
    return base


@pytest.fixture
def folder(undisturbed, tmp_path, monkeypatch):
    """A working directory with a copy of data/."""
    shutil.copytree(undisturbed / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def truth(undisturbed):
    """Content of each output of an undisturbed run."""
    return {path.name: content(path) for path in (undisturbed / "truth").glob("*.fits")}
