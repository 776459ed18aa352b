"""``modfix simulate``: the truth is what the options ask for, read back from the files."""

import subprocess
import sys

import numpy as np
import pytest
import yaml
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable

FEW = ["--density", "0.001", "--dithers", "1"]


def test_the_options_decide_what_is_written(modfix, tmp_path):
    """An offset of 0.05 mag and a term of 0.02 mag dim a sky of 0.1806 MJy/sr in A3 by 0.07 mag in epoch 2."""
    words = ["--date", "2023-01-01", "--date", "2023-05-05T12:00:00", "--roll", 10, "--roll", 75, "--field", "wide"]
    words += ["--filter", "f200w", "--array", "nrca3", "--offset", "3:F200W:0.05", "--epoch-term", "ep2:F200W:0.02"]
    words += ["--no-noise", "--no-bad-pixels", "--subarray", "SUB160", "--context", "jwst_1200.pmap"]
    output = modfix("simulate", ".", *words, *FEW)
    medians = []
    for path in sorted(tmp_path.glob("*_cal.fits")):
        with ImageModel(path) as model:
            medians.append(np.median(model.data))
            assert model.meta.ref_file.crds.context_used == "jwst_1200.pmap"
            assert model.meta.subarray.name == "SUB160"
    np.testing.assert_allclose(-2.5 * np.log10(np.array(medians) / 0.1806), [0.05, 0.07], atol=1e-4)
    truth = yaml.safe_load((tmp_path / "wide_truth.yaml").read_text())
    assert [epoch["roll"] for epoch in truth["epochs"]] == [10, 75]
    assert [epoch["date"] for epoch in truth["epochs"]] == ["2023-01-01T00:00:00.000", "2023-05-05T12:00:00.000"]
    assert "Wrote jw02738001001_02101_00001_nrca3_cal.fits: ep1, F200W" in output
    assert "wrote 2 exposures and 4 associations in .; the truth is in wide_truth.yaml and wide_sources.ecsv" in output


def test_epochs_are_half_a_year_and_half_a_turn_apart(modfix, tmp_path):
    words = ["--filter", "F444W", "--filter", "F356W", "--array", "long", "--subarray", "1,1,16,16"]
    assert modfix("simulate", "out", "--epochs", 2, *words, "--no-offsets", "--quiet", *FEW) == ""
    truth = yaml.safe_load((tmp_path / "out" / "field_truth.yaml").read_text())
    assert [(epoch["date"], epoch["roll"]) for epoch in truth["epochs"]] == [("2022-07-08", 161), ("2023-01-06", 341)]
    assert {exposure["filter"] for exposure in truth["exposures"]} == {"F444W", "F356W"}
    assert len(truth["exposures"]) == 2 * 2 * 2  # epochs, filters, modules
    assert truth["table"]["rows"] == []


def test_a_table_is_the_truth(modfix, tmp_path):
    """One row and a gradient, through the table's file into the truth file."""
    row = OffsetRow(array="long", filter="F444W", pupil="F405N", offset=0.03, offset_error=0.001, slope=0.004,
                    slope_error=0.001)  # fmt: skip
    gradient = Gradient(frame="detector", direction=90.0, origin=(1023.5, 1023.5), exposure_share=1.0)
    meta = {"description": "A test"}
    OffsetTable(rows=(row,), gradient=gradient, baseline="mean", meta=meta).write(tmp_path / "mine.asdf")
    words = ["--filter", "F405N", "--epochs", 1, "--table", "mine.asdf", "--subarray", "1,1,16,16", "--quiet"]
    modfix("simulate", ".", *words, *FEW)
    truth = yaml.safe_load((tmp_path / "field_truth.yaml").read_text())["table"]
    assert (truth["baseline"], truth["gradient"]["frame"]) == ("mean", "detector")
    (found,) = truth["rows"]
    assert (found["pupil"], found["offset"], found["slope"]) == ("F405N", 0.03, 0.004)


def test_offsets_and_a_gradient_of_ones_own(modfix, tmp_path):
    words = ["--offset", "long:F444W:-0.02:0.006", "--gradient", "sky:30:265:69:1", "--subarray", "1,1,16,16"]
    modfix("simulate", ".", "--filter", "F444W", "--epochs", 1, "--quiet", *words, *FEW)
    truth = yaml.safe_load((tmp_path / "field_truth.yaml").read_text())["table"]
    assert truth["gradient"] == {"frame": "sky", "direction": 30, "origin": [265, 69], "exposure_share": 1}
    assert [(row["offset"], row["slope"]) for row in truth["rows"]] == [(-0.02, 0.006)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--density 0", "Invalid value for '--density': 0.0 is not in the range x>0"),
        ("--density nan", "Invalid value for '--density': nan is not a finite number"),
        ("--exposure-time inf", "Invalid value for '--exposure-time': inf is not a finite number"),
        ("--roll nan", "Invalid value for '--roll': must be a finite number; got 'nan'"),
        ("--faintest nan", "Invalid value for '--faintest': must be a finite number; got 'nan'"),
        ("--epoch-term ep1:nan", "'--epoch-term': must be EPOCH[:FILTER]:MAG, such as ep2:F444W:0.01; got 'ep1:nan'"),
        ("--filter F606W", "Invalid value for '--filter': must be one of F070W"),
        ("--date yesterday", "'--date': must be a date such as 2023-01-06 or 2023-01-06T12:00:00; got 'yesterday'"),
        ("--epochs 2 --date 2023-01-06", "--epochs: not together with --date"),
        ("--epochs 2 --roll 30", "Invalid value for --roll: one angle for each of the 2 epochs; got 1"),
        ("--array 5", "Invalid value for --array: of 1, 2, 3, 4, long and nrca1"),
        ("--array long --filter F200W", "Invalid value for --array: at least one that sees F200W"),
        ("--offset 6:F200W:0.1", "Invalid value for '--offset': must be ARRAY:FILTER:MAG[:SLOPE], such as long:F444W"),
        ("--offset 1:F200W:big", "with an array of 1, 2, 3, 4, long; got '1:F200W:big'"),
        ("--offset 1:F200W:0 --no-offsets", "--no-offsets: not together with --offset"),
        ("--gradient sky:0:265:69:1", "--gradient: only together with --offset"),
        ("--offset 1:F200W:0 --gradient moon:0:1:1:1", "with a frame of focal_plane, detector, sky; got 'moon:0"),
        ("--epoch-term ep9:0.1", "Invalid value for --epoch-term: an epoch of ep1, ep2, ep3; got ep9"),
        ("--epoch-term ep1:F115W:0.1", "--epoch-term: a filter of F150W, F200W, F356W, F444W; got F115W"),
        ("--epoch-term 0.1", "'--epoch-term': must be EPOCH[:FILTER]:MAG, such as ep2:F444W:0.01; got '0.1'"),
        ("--subarray 1,2,3", "'--subarray': must be the name of a subarray, or XSTART,YSTART,XSIZE,YSIZE in whole"),
        ("--subarray 1,1,4096,10", "xstart, xsize: pixels 1 to 2048"),
        ("--filters F200W", "--filters"),
    ],
)
def test_wrong_options_are_refused_by_name(modfix, tmp_path, words, message):
    output = " ".join(modfix("simulate", "out", *words.split(), status=2).split())
    assert message in output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--subarray SUB641", "Error: subarray: one that the SIAF has for NRCA1, such as SUB640; got 'SUB641'"),
        ("--table no.asdf", "no.asdf"),
        ("--faintest 10", "Error: brightest: brighter than faintest (10 AB); got 16 AB"),
    ],
)
def test_what_cannot_be_simulated_is_refused(modfix, tmp_path, words, message):
    assert message in modfix("simulate", "out", *words.split(), status=1)
    assert not (tmp_path / "out").exists()


def test_pysiaf_is_imported_without_warnings_or_network():
    """Importing pysiaf of itself warns and asks the network."""
    code = "from jwst_modfix.simulate import detector_geometry as d; d('NRCA1')"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout + result.stderr == ""
