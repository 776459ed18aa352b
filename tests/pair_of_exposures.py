"""What the tests of the step share: names and checks of a pair of exposures, and strun in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from jwst.stpipe import Step

CONFIG = Path(__file__).parents[1] / "jwst_modfix" / "config"
FACTOR = 10 ** (0.4 * -0.05267)  # array 2, F200W


def names(pair):
    return [model.meta.filename for model in pair]


def assert_corrected(results, originals):
    for result, original, factor in zip(results, originals, (FACTOR, 1.0)[: len(originals)], strict=True):
        np.testing.assert_allclose(result.data, original.data * factor, rtol=3e-7)
        assert result.meta.cal_step.module_offset == "COMPLETE"


def write_association(path, *members, product="x", **keys):
    """Write an association of science members with these keys, too; give its name."""
    members = [{"expname": str(name), "exptype": "science"} | keys for name in members]
    Path(path).write_text(json.dumps({"products": [{"name": product, "members": members}]}))
    return str(path)


def models_of(library):
    with library:
        models = list(library)
        for index, model in enumerate(models):
            library.shelve(model, index, modify=False)
    return models


def run_strun_here(*arguments):
    """Run strun in this process, where the process is not the point."""
    return Step.from_cmdline([str(CONFIG / "modfix.cfg"), *arguments])


def run_strun(*arguments):
    """Run strun as a user does, in the working directory."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("CRDS", "STPIPE", "JWST"))}
    done = subprocess.run(
        [Path(sys.executable).with_name("strun"), CONFIG / "modfix.cfg", *arguments],
        capture_output=True, text=True, check=False, env=clean,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr
