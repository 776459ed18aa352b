"""
Inputs that vanish, and other runs at once.

Truth: an undisturbed run over the same inputs, whose outputs are the same except for dates, or absent.
"""

import re
import shutil
from pathlib import Path

import pytest
from disturbed_runs import MEMBERS, PRODUCT, assert_whole, correct, ending, forked, hidden, marks, one_line, visible

from jwst_modfix.apply import decide
from jwst_modfix.errors import ExposureError, ModuleOffsetError, OutputError
from jwst_modfix.steps import runs


def test_an_input_that_vanishes_in_mid_run_is_named_and_what_is_done_stays(folder, truth, monkeypatch):
    gone, opened, seen = Path("data/jw2_cal.fits").absolute(), decide.open_exposure, []

    def vanishing(path):
        seen.append(path)
        if path == gone and seen.count(path) == 2:  # looked at first, together with all others
            path.rename("kept")
        return opened(path)

    with monkeypatch.context() as patch:
        patch.setattr(decide, "open_exposure", vanishing)
        with pytest.raises(ExposureError) as caught:
            correct("out")
    assert one_line(caught.value) == (
        f"{gone}: no such file; at least 2 of 4 outputs are complete and kept; run again with on_existing='skip'"
    )
    assert_whole("out", truth)
    assert {"jw0_modfix.fits", "jw1_modfix.fits"} <= set(marks("out"))
    assert not Path("out", PRODUCT).exists()
    before = marks("out")
    with pytest.raises(ModuleOffsetError, match="jw2_cal.fits: no such file"):
        correct("out", on_existing="skip")
    Path("kept").rename(gone)
    correct("out", on_existing="skip")
    assert before.items() <= marks("out").items()
    assert_whole("out", truth)


@pytest.mark.parametrize("on_existing", ["overwrite", "skip"])
def test_two_runs_at_once_into_one_folder_both_finish(folder, truth, on_existing):
    for _ in range(2):
        children = [forked(lambda: correct("out", on_existing=on_existing)) for _ in range(3)]
        assert [ending(child) for child in children] == [0, 0, 0]
        assert_whole("out", truth)
        assert len(visible("out")) == MEMBERS + 1
        assert hidden("out") == []
        shutil.rmtree("out")


def test_two_runs_of_other_parameters_at_once_write_no_association_of_a_mixture(folder, monkeypatch):
    write = runs.refuse_replaced

    def overtaken(outputs):
        correct("out", "data/jw3_cal.fits", apply_offset=False)
        write(outputs)

    monkeypatch.setattr(runs, "refuse_replaced", overtaken)
    with pytest.raises(OutputError) as caught:
        correct("out")
    assert re.fullmatch(
        ".*out/jw3_modfix.fits: replaced or removed by another run meanwhile, so no association is written: "
        "give each run its own output_dir", one_line(caught.value)
    )  # fmt: skip
    assert not Path("out", PRODUCT).exists()
