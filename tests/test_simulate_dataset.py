"""Data sets on disk and the command line: the truth is what was asked for, read back from the files."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import yaml
from astropy.table import Table
from jwst.associations import load_asn
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.simulate import (
    JWIDF_EPOCHS,
    CalibrationTruth,
    Population,
    Subarray,
    dither_pattern,
    plan_exposures,
    simulate_dataset,
)
from jwst_modfix.simulate.cli import main
from jwst_modfix.simulate.dataset import write_associations
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable

FAINT = ["--density", "2", "--faintest", "23"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    exposures = plan_exposures(
        JWIDF_EPOCHS[:2], filters=["F356W", "F444W"], detectors=["NRCALONG"], dithers=dither_pattern(1)
    )
    return simulate_dataset(
        tmp_path_factory.mktemp("data"),
        exposures,
        np.random.default_rng(1),
        field="deep",
        population=Population(density=2, faintest=23),
        truth=CalibrationTruth(epoch_terms={"ep2": 0.01}),
        subarray=Subarray(xstart=1, ystart=1, xsize=64, ysize=64),
    )


def test_files_are_named_as_the_archive_names_them(dataset):
    assert [path.name for path in dataset.exposures] == [
        "jw02738001001_02101_00001_nrcalong_cal.fits",
        "jw02738001001_02102_00001_nrcalong_cal.fits",
        "jw02738002001_02101_00001_nrcalong_cal.fits",
        "jw02738002001_02102_00001_nrcalong_cal.fits",
    ]
    assert all(path.is_file() for path in dataset.exposures)


def test_an_epoch_without_a_filter_has_no_association_of_it(tmp_path):
    """Truth: two epochs in F444W, one in F356W."""
    one, two = (plan_exposures(JWIDF_EPOCHS[:n], filters=[name], dithers=1) for n, name in ((1, "F356W"), (2, "F444W")))
    names = [path.name for path in write_associations(tmp_path, "field", one + two)]
    assert sorted(names) == [
        "field_F356W_image3_asn.json",
        "field_F444W_image3_asn.json",
        "field_ep1_F356W_image3_asn.json",
        "field_ep1_F444W_image3_asn.json",
        "field_ep2_F444W_image3_asn.json",
        "field_image3_asn.json",
    ]


def test_associations_are_per_epoch_and_filter_per_filter_and_of_everything(dataset):
    members = {}
    for path in dataset.associations:
        association = load_asn(path.read_text())
        assert association["asn_type"] == "image3"
        members[path.name] = len(association["products"][0]["members"])
    assert members == {
        "deep_ep1_F356W_image3_asn.json": 1,
        "deep_ep2_F356W_image3_asn.json": 1,
        "deep_ep1_F444W_image3_asn.json": 1,
        "deep_ep2_F444W_image3_asn.json": 1,
        "deep_F356W_image3_asn.json": 2,
        "deep_F444W_image3_asn.json": 2,
        "deep_image3_asn.json": 4,
    }


def test_members_carry_their_epoch(dataset):
    association = json.loads(dataset.associations[-1].read_text())
    for member in association["products"][0]["members"]:
        assert member["epoch"] == ("ep1" if "jw02738001" in member["expname"] else "ep2")
        assert (dataset.associations[-1].parent / member["expname"]).is_file()


def test_truth_holds_table_epoch_terms_and_pointings(dataset):
    truth = yaml.safe_load(dataset.truth.read_text())
    rows = {(row["array"], row["filter"]): row["offset"] for row in truth["table"]["rows"]}
    assert rows["long", "F444W"] == -0.01654
    assert truth["table"]["gradient"]["frame"] == "focal_plane"
    terms = {(term["epoch"], term["filter"]): term["term"] for term in truth["epoch_terms"]}
    assert terms == {("ep1", "F356W"): 0, ("ep1", "F444W"): 0, ("ep2", "F356W"): 0.01, ("ep2", "F444W"): 0.01}
    assert [exposure["filename"] for exposure in truth["exposures"]] == [p.name for p in dataset.exposures]
    assert truth["epochs"][1]["roll"] == 341.0


def test_sources_are_beside_the_data(dataset):
    sources = Table.read(dataset.sources)
    assert {"id", "ra", "dec", "type", "variable", "mag_F356W", "mag_F444W", "variation_ep2"} <= set(sources.colnames)
    assert sources["ra"].unit == "deg"
    assert len(sources) > 20


def test_subarrays_are_written(dataset):
    with ImageModel(dataset.exposures[0]) as model:
        assert model.data.shape == (64, 64)
        assert model.meta.subarray.name == "GENERIC"


def test_reference_file_is_the_truth(tmp_path):
    """A table of one row and a gradient, through its file and the command line into the truth file."""
    row = OffsetRow(
        array="long", filter="F444W", pupil="F405N", offset=0.03, offset_error=0.001, slope=0.004, slope_error=0.001
    )
    gradient = Gradient(frame="detector", direction=90.0, origin=(1023.5, 1023.5), exposure_share=1.0)
    table = OffsetTable(rows=(row,), gradient=gradient, baseline="mean")
    model = ModuleOffsetModel.from_table(
        table, description="A test", author="us", pedigree="DUMMY", useafter="2022-01-01T00:00:00"
    )
    model.save(tmp_path / "mine.asdf")
    arguments = ["--filters", "F405N", "--epochs", "1", "--dithers", "1", "--table", str(tmp_path / "mine.asdf")]
    main([str(tmp_path), *arguments, "--subarray", "1,1,16,16", *FAINT, "--quiet"])
    truth = yaml.safe_load((tmp_path / "field_truth.yaml").read_text())["table"]
    assert (truth["baseline"], truth["gradient"]["frame"]) == ("mean", "detector")
    assert truth["rows"][0]["offset"] == 0.03
    assert len(truth["rows"]) == 1


@pytest.mark.parametrize("seed", [3])
def test_same_seed_same_files(tmp_path, seed):
    found = []
    for name in ("first", "second"):
        arguments = ["--filters", "F444W", "--arrays", "nrcblong", "--epochs", "1", "--dithers", "1"]
        main([str(tmp_path / name), *arguments, *FAINT, "--seed", str(seed), "--quiet"])
        with ImageModel(next((tmp_path / name).glob("*_cal.fits"))) as model:
            found.append(np.array(model.data))
    np.testing.assert_array_equal(*found)


def test_command_line_does_as_it_is_told(tmp_path, caplog):
    """An offset of 0.05 mag and a term of 0.02 mag dim a sky of module A by 0.07 mag in the second epoch."""
    arguments = ["--epochs", "2023-01-01", "2023-05-05T12:00:00", "--roll", "10", "75", "--dithers", "1"]
    arguments += ["--filters", "f200w", "--arrays", "nrca3", "--offset", "3:F200W:0.05", *FAINT]
    arguments += ["--epoch-term", "ep2:F200W:0.02", "--no-noise", "--no-bad-pixels", "--field", "wide"]
    with caplog.at_level(logging.INFO, "jwst_modfix.simulate"):
        assert main([str(tmp_path), *arguments, "--subarray", "SUB160", "--context", "jwst_1200.pmap"]) == 0
    medians = []
    for path in sorted(tmp_path.glob("*_cal.fits")):
        with ImageModel(path) as model:
            medians.append(np.median(model.data))
            assert model.meta.ref_file.crds.context_used == "jwst_1200.pmap"
            assert model.meta.subarray.name == "SUB160"
    assert -2.5 * np.log10(medians[1] / medians[0]) == pytest.approx(0.02, abs=2e-3)
    assert -2.5 * np.log10(medians[0] / 0.18) == pytest.approx(0.05, abs=0.02)
    assert "Wrote jw02738001001_02101_00001_nrca3_cal.fits: ep1, F200W" in caplog.text
    assert "Simulated 2 exposures and 4 associations" in caplog.text
    assert (tmp_path / "wide_truth.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--density", "-3"], "argument --density: a number, at least 0; got '-3'"),
        (["--density", "0"], "density: more than 0 per square arcmin; got 0"),
        (["--dithers", "0"], "argument --dithers: a whole number, at least 1; got '0'"),
        (["--filters", "F606W"], "argument --filters: one of F070W"),
        (["--dec", "95"], "argument --dec: a number, from -90 to 90; got '95'"),
        (["--epochs", "0"], "--epochs: a number of at least 1, or dates such as 2023-01-06; got 0"),
        (
            ["--epochs", "yesterday"],
            "--epochs: a number of at least 1, or dates such as 2023-01-06; got yest",
        ),
        (["--epochs", "2", "--roll", "30"], "--roll: one angle for each of the 2 epochs; got 1"),
        (["--arrays", "5"], "--arrays: of 1, 2, 3, 4, long and nrca1"),
        (["--arrays", "long", "--filters", "F200W"], "--arrays: at least one that sees F200W"),
        (["--offset", "6:F200W:0.1"], "argument --offset: ARRAY:FILTER:MAG[:SLOPE]"),
        (["--offset", "1:F200W:big"], "got '1:F200W:big'"),
        (["--offset", "1:F200W:0", "--no-offsets"], "--no-offsets: not together with --offset"),
        (["--gradient", "sky:0:265:69:1"], "--gradient: only together with --offset"),
        (
            ["--offset", "1:F200W:0", "--gradient", "moon:0:1:1:1"],
            "with a frame of focal_plane, detector, sky",
        ),
        (["--epoch-term", "ep9:0.1"], "--epoch-term: an epoch of ep1, ep2, ep3; got ep9"),
        (
            ["--epoch-term", "ep1:F115W:0.1"],
            "--epoch-term: a filter of F150W, F200W, F356W, F444W; got F115W",
        ),
        (["--epoch-term", "0.1"], "argument --epoch-term: EPOCH[:FILTER]:MAG"),
        (["--table", "no.asdf"], "--table: a module-offset reference file (ASDF); there is no file no.asdf"),
        (["--subarray", "SUB641"], "subarray: one that the SIAF has for NRCA1"),
        (["--subarray", "1,2,3"], "--subarray: XSTART,YSTART,XSIZE,YSIZE in whole pixels; got 1,2,3"),
        (["--subarray", "1,1,4096,10"], "xstart, xsize: pixels 1 to 2048"),
    ],
)
def test_wrong_arguments_are_refused_by_name(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_module_runs_quietly_and_explains_itself():
    """Importing pysiaf warns and asks the network of itself; ours does neither."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "jwst_modfix.simulate", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    assert "examples:" in result.stdout
    code = "from jwst_modfix.simulate import detector_geometry as d; d('NRCA1')"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout + result.stderr == ""
