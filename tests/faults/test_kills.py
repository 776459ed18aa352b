"""
Runs that are killed, and what they leave behind.

Truth: an undisturbed run over the same inputs, whose outputs are the same except for dates, or absent.
"""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from disturbed_runs import MEMBERS, PRODUCT, assert_whole, correct, ending, forked, hidden, marks, visible

from jwst_modfix.steps import module_offset

# Children are forked from this process, which has imported jwst: starting another Python takes seconds.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def test_fifty_kills_at_random_instants_leave_only_whole_files_and_resuming_completes_them(folder, truth):
    rng = np.random.default_rng(5)
    start = time.monotonic()
    assert ending(forked(lambda: correct("clock"))) == 0
    duration = time.monotonic() - start
    killed = partly = completed = 0
    while killed < 50:
        before = marks("out")
        child = forked(lambda: correct("out", on_existing="skip"))
        time.sleep(rng.uniform(0, duration))  # the random instant itself, not a wait for something
        os.kill(child, signal.SIGKILL)
        killed += ending(child) == -signal.SIGKILL
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
    assert completed > 0
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
    monkeypatch.setattr(module_offset, "write_association", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    assert ending(forked(lambda: correct("out", apply_offset=False))) == -signal.SIGKILL
    assert len(visible("out")) == MEMBERS, "it would name outputs of two sets of parameters"
