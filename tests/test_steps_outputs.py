"""Names of outputs: none is that of an input, of another output or outside the output pair_folder."""

import json
import os
import shutil
from pathlib import Path

import pytest
from jwst.datamodels import ModelContainer, ModelLibrary
from pair_of_exposures import names, run_strun
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetStep
from jwst_modfix.errors import AssociationError, ModuleOffsetError


def test_output_file_names_the_output_of_one_exposure(pair_folder, pair):
    ModuleOffsetStep.call(f"data/{names(pair)[0]}", save_results=True, output_file="mine.fits")
    assert Path("mine_modfix.fits").exists()
    log = run_strun("data/set_asn.json", "--output_file=mine.fits", expect=1)
    assert "an association has one output file a member: set output_dir and suffix instead" in log


def test_inputs_are_never_overwritten(pair_folder, pair):
    before = Path("data", names(pair)[0]).read_bytes()
    with pytest.raises(ModuleOffsetError, match="is an input, which is never overwritten: set output_dir or suffix"):
        ModuleOffsetStep.call("data/set_asn.json", save_results=True, suffix="cal", output_dir="data")
    with pytest.raises(ModuleOffsetError, match="is an input, which is never overwritten: set output_dir or suffix"):
        ModuleOffsetStep.call(f"data/{names(pair)[0]}", save_results=True, suffix="cal", output_dir="data")
    assert Path("data", names(pair)[0]).read_bytes() == before


def test_results_of_lists_never_overwrite_one_another_or_an_input(pair_folder, pair):
    Path("twin").mkdir()
    shutil.copy(f"data/{names(pair)[1]}", f"twin/{names(pair)[0]}")
    with pytest.raises(AssociationError, match="_modfix.fits would be written for 2 exposures"):
        ModuleOffsetStep.call([f"data/{names(pair)[0]}", f"twin/{names(pair)[0]}"], save_results=True)
    os.chdir("data")
    before = Path(names(pair)[0]).read_bytes()
    with datamodels.open(names(pair)[0]) as model:
        for item in (model, [model], ModelContainer([model]), ModelLibrary([model])):
            with pytest.raises(AssociationError, match="is an input, which is never overwritten"):
                ModuleOffsetStep.call(item, save_results=True, suffix="cal")
    assert Path(names(pair)[0]).read_bytes() == before


def test_a_member_that_is_no_science_member_is_never_overwritten(pair_folder, pair):
    background = Path("data", names(pair)[0].replace("_cal", "_modfix"))
    shutil.copy(f"data/{names(pair)[1]}", background)
    content = json.loads(Path("data/set_asn.json").read_text())
    content["products"][0]["members"].append({"expname": background.name, "exptype": "background"})
    Path("data/set_asn.json").write_text(json.dumps(content))
    with pytest.raises(AssociationError, match="is an input, which is never overwritten"):
        ModuleOffsetStep.call("data/set_asn.json", save_results=True, output_dir="data")


@pytest.mark.parametrize("suffix", ["", "a/b", "a b"])
def test_a_suffix_is_a_plain_word(pair, suffix):
    with pytest.raises(ModuleOffsetError, match=f"suffix must be letters, .* got '{suffix}'"):
        ModuleOffsetStep.call(pair[0], suffix=suffix)
