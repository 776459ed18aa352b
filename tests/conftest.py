"""Simulated exposures with the real SIAF geometry, and the command `modfix`, for all tests."""

import functools
import gc
import pickle
import shutil

import asdf
import numpy as np
import pytest
from click.testing import CliRunner
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.member import Member
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base

from jwst_modfix import simulate
from jwst_modfix.cli import main
from jwst_modfix.photometry import forced
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE

# Each file runs in one process: those that take minutes begin first, or a core would wait for them at the end.
LONGEST = (
    "test_steps_derive",
    "test_solution_pulls",
    "test_steps_associations",
    "test_image3",
    "test_detectors_fields",
    "test_steps_module_offset",
    "test_fuzz_reference",
    "test_fuzz_exposures",
    "test_parallel",
    "test_end_to_end",
    "test_kills",
    "test_photometry_exposures",
    "test_exposure",
    "test_rebase",
    "test_calibration_files",
)

PAIR = ("NRCA2", "NRCB2")


def pytest_collection_modifyitems(items):
    """Sort the longest files before all others, the longest of them first."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def pytest_collection_finish():
    """Spare each step what it costs in a process of many tests: a third of the time of the tests of steps."""
    if make_loader := getattr(asdf.schema, "_make_schema_loader", None):  # of which each parses every schema again
        asdf.schema._make_schema_loader = functools.cache(lambda *resolver: functools.cache(make_loader(*resolver)))
    gc.get_freeze_count = lambda: 1  # our steps ask for it, and to count a million objects takes 0.02 s
    gc.freeze()


def pytest_runtest_logfinish():
    """Keep what was imported or simulated out of the garbage collector, which stpipe runs at each step."""
    gc.collect()
    gc.freeze()


@functools.cache
def _simulated(detector, band, roll, subarray):
    """One exposure of a few sources with the calibration of Table 2, and its WCS, which is faster to load than to copy.

    Both are shared, so tests use copies.
    """
    epochs = [simulate.Epoch(name="ep1", date="2022-07-08", roll=roll)]
    exposures = simulate.plan_exposures(epochs, filters=[band], detectors=[detector], dithers=1)
    rng = np.random.default_rng(2311)
    scene = simulate.scene_around(rng, exposures, simulate.Population(density=1.0, faintest=22.0))
    part = subarray and simulate.Subarray(**dict(zip(("xstart", "ystart", "xsize", "ysize"), subarray, strict=True)))
    model = simulate.simulate_exposure(exposures[0], scene, rng, subarray=part)
    return model, pickle.dumps(model.meta.instance.pop("wcs"))


@pytest.fixture(scope="session")
def make_exposure():
    """Function that makes a new exposure of the full frame, or of subarray=(xstart, ystart, xsize, ysize)."""

    def make(detector="NRCALONG", band="F444W", subarray=None, roll=161.0):
        model, wcs = _simulated(detector, band, roll, subarray)
        model = model.copy()
        model.meta.instance["wcs"] = pickle.loads(wcs)
        return model

    return make


@pytest.fixture(scope="session")
def small_exposure(make_exposure):
    """Function that makes a new exposure of 64 x 48 pixels."""
    return functools.partial(make_exposure, subarray=(701, 401, 64, 48))


@pytest.fixture
def pair(small_exposure):
    """Two new models: NRCA2, which is scaled, and NRCB2, which is the baseline."""
    return [small_exposure(detector, "F200W") for detector in PAIR]


@pytest.fixture(scope="session")
def pair_files(small_exposure, tmp_path_factory):
    """Folder with the files of a pair and an association with a third, non-science member."""
    data = tmp_path_factory.mktemp("pair")
    models = [small_exposure(detector, "F200W") for detector in PAIR]
    for model in models:
        model.save(str(data / model.meta.filename))
    (data / "sources.ecsv").write_text("# not opened by us\n")
    asn = asn_from_list([model.meta.filename for model in models], rule=DMS_Level3_Base, product_name="mosaic")
    asn["products"][0]["members"].append(Member({"expname": "sources.ecsv", "exptype": "sourcecat"}))
    (data / "set_asn.json").write_text(asn.dump()[1])
    return data


@pytest.fixture
def pair_folder(pair_files, tmp_path, monkeypatch):
    """A working directory with a copy of them in data/."""
    shutil.copytree(pair_files, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pixels_read(monkeypatch):
    """The names of exposures whose pixels are read."""
    read, read_frame = [], forced.read_frame
    monkeypatch.setattr(forced, "read_frame", lambda header: read.append(header.name) or read_frame(header))
    return read


@pytest.fixture
def modfix(tmp_path, monkeypatch):
    """Run the command in an empty folder: ``modfix(*words, status=0)`` returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)

    def run(*words, status=0):
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result.output

    return run
