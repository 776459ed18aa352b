"""What nearly all tests import, imported once: tests run in processes that fork from this one."""

# ruff: noqa: F401
import os
import sys
from pathlib import Path

import jwst.associations.asn_from_list
import jwst.photom
import jwst.resample
import jwst.stpipe
import matplotlib.pyplot
import photutils.aperture
import photutils.segmentation
import pytest
import scipy.optimize
import scipy.sparse.linalg
import scipy.stats
import stdatamodels.jwst.datamodels

assert "jwst_modfix" not in sys.modules, "the package must be that of the copy"


def run_tests(root, tests, output):
    """Run test files of a copy of the tree up to the first failure; end with the status of pytest."""
    os.setsid()
    with Path(output).open("w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.chdir(root)
    os.environ |= {"PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"}
    sys.dont_write_bytecode = True
    sys.path.insert(0, root)
    names = [str(Path("tests", name)) for name in tests]
    status = pytest.main(["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *names])
    sys.stdout.flush()
    os._exit(status)
