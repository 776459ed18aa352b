"""strun in this process or a child of it: what a user's commands do, without another three seconds for the imports."""

import json
import os
import sys
import warnings
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from disturbed_runs import ending, forked
from jwst.stpipe import Step

from jwst_modfix.cli import main


@contextmanager
def simulated(folder, *options):
    """Simulate exposures of a field named demo, and work in their folder without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STPIPE_DISABLE_CRDS_STEPPARS", "true")
        patch.chdir(folder)
        main(["simulate", ".", "--field=demo", *options], standalone_mode=False)
        yield folder


def correct(association):
    """Correct the members of an association; give the name of that of the outputs."""
    Step.from_cmdline(["module_offset", association])
    return association.replace("_asn", "_modfix_asn")


def combine(association, product, *options, pipeline="calwebb_image3"):
    """Make a mosaic with this name."""
    content = json.loads(Path(association).read_text())
    content["products"][0]["name"] = product
    Path(f"{product}_asn.json").write_text(json.dumps(content))
    Step.from_cmdline([pipeline, f"{product}_asn.json", *options])
    return f"{product}_i2d.fits"


def strun(*words):
    """Run strun without a terminal, 80 columns wide: its status, and the lines of stderr and of stdout."""
    (script,) = entry_points(group="console_scripts", name="strun")

    def run():
        os.environ |= {"COLUMNS": "80", "STPIPE_DISABLE_CRDS_STEPPARS": "true"}
        warnings.resetwarnings()  # a user's are no errors
        sys.argv = ["strun", *map(str, words)]
        with Path("stderr.txt").open("w") as sys.stderr, Path("stdout.txt").open("w") as sys.stdout:
            try:
                script.load()()
            except SystemExit as end:
                if end.code:
                    raise  # ends the child with status 1

    status = ending(forked(run))
    log, out = (Path(name).read_text() for name in ("stderr.txt", "stdout.txt"))
    assert "Traceback" not in log + out
    return status, log.splitlines(), out.splitlines()
