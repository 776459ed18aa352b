"""
Runs that are killed, and what they leave behind.

Truth: an undisturbed run over the same inputs, whose outputs are the same except for dates, or absent.
"""

import itertools
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from disturbed_runs import MEMBERS, PRODUCT, assert_whole, correct, ending, forked, hidden, marks, visible

from jwst_modfix.steps import runs


def correct_until(instant, output_dir, **parameters):
    """Correct in a child that is killed before its file operation of this number; give its ending and their number."""
    numbers, total = itertools.count(), Path("operations")

    def count(event, _):
        if event.startswith(("open", "os.", "write")) and next(numbers) == instant:
            os.kill(os.getpid(), signal.SIGKILL)

    def announced(write):
        return lambda *args: sys.audit("write") or write(*args)

    def run():
        sys.addaudithook(count)
        for name in ("write", "writearray"):  # of the standard library's operations, only writing is not announced
            setattr(fits.file._File, name, announced(getattr(fits.file._File, name)))
        correct(output_dir, **parameters)
        total.write_text(str(next(numbers)))

    return ending(forked(run)), int(total.read_text()) if total.exists() else None


def test_fifty_kills_at_random_instants_leave_only_whole_files_and_resuming_completes_them(folder, truth):
    """An instant is between two file operations, of which all times are alike; other work does not change them."""
    rng = np.random.default_rng(5)
    status, operations = correct_until(None, "undisturbed")
    assert status == 0
    killed = partly = completed = 0
    while killed < 50:
        before = marks("out")
        status, _ = correct_until(rng.integers(operations), "out", on_existing="skip")
        assert status in {0, -signal.SIGKILL}
        killed += status != 0
        after = marks("out")
        assert before.items() <= after.items(), "a finished output was touched"
        assert_whole("out", truth)
        assert len(hidden("out")) <= 4, "folders of dead runs pile up"
        partly += 0 < len(after) <= MEMBERS
        if len(after) > MEMBERS:
            completed += 1
            shutil.rmtree("out")
    correct("out", on_existing="skip")
    assert_whole("out", truth)
    assert len(visible("out")) == MEMBERS + 1
    assert hidden("out") == []
    assert completed > 5, "the kills left no run time to finish"
    assert partly > 5, "the kills missed the time of writing"


INSTANTS = {
    "the hidden folder is made": (tempfile, "mkdtemp"),
    "an output is written": (fits.HDUList, "writeto"),
    "an array is written": (fits.file._File, "writearray"),
    "an output or the association is put in place": (Path, "replace"),
    "the former association is withdrawn": (Path, "unlink"),
    "the association is written": (Path, "write_text"),
    "the hidden folder is removed": (shutil, "rmtree"),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("instant", INSTANTS)
def test_a_kill_at_each_step_of_writing_leaves_only_whole_files(folder, truth, monkeypatch, instant, moment):
    owner, name = INSTANTS[instant]
    original, calls = getattr(owner, name), iter(range(100))

    def deadly(*args, **kwargs):
        last = next(calls) == (0 if name == "write_text" else 3)
        if last and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, deadly)
        assert ending(forked(lambda: correct("out"))) == -signal.SIGKILL
    assert_whole("out", truth)
    assert not Path("out", PRODUCT).exists()
    before = marks("out")
    correct("out", on_existing="skip")
    assert_whole("out", truth)
    assert before.items() <= marks("out").items()
    assert len(visible("out")) == MEMBERS + 1
    assert hidden("out") == []


def test_an_association_of_a_former_run_goes_with_the_first_output_that_is_replaced(folder, monkeypatch):
    correct("out")
    monkeypatch.setattr(runs, "write_association", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert ending(forked(lambda: correct("out", apply_offset=False))) == -signal.SIGKILL
    assert len(visible("out")) == MEMBERS, "it would name outputs of two sets of parameters"
