"""Runs of the step over four exposures that may be disturbed, and what they leave behind."""

import contextlib
import os
import re
import warnings
from pathlib import Path

from astropy.io import fits

from jwst_modfix import ModuleOffsetStep

MEMBERS = 4
DATES = {"DATE", "MODFDATE", "MODFJOB"}  # the last is a hash of DATE too
PRODUCT = "set_modfix_asn.json"


def inputs(folder):
    return sorted((folder / "data").glob("*_cal.fits"))


def correct(output_dir, source="data/set_asn.json", **parameters):
    """Run the step as strun does, without setting up the log."""
    step = ModuleOffsetStep(save_results=True, output_dir=str(output_dir), **parameters)
    return step.run(source)


def content(path):
    """All that a file holds, without dates."""
    with fits.open(path) as hdulist:
        cards = [
            card for card in hdulist[0].header.tostring(sep="\n").split("\n") if card.split("=")[0].strip() not in DATES
        ]
        arrays = [(hdu.name, b"" if hdu.data is None else hdu.data.tobytes()) for hdu in hdulist]
    return cards, [(name, re.sub(rb"20\d\d-\d\d-\d\dT[\d:.]+", b"DATE", data)) for name, data in arrays]


def visible(folder):
    return sorted(path for path in Path(folder).glob("*") if not path.name.startswith("."))


def hidden(folder):
    return list(Path(folder).glob(".*"))


def marks(folder):
    """What changes when a file is touched or replaced."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in visible(folder)}


def forked(function):
    """Run a function in a child, which has imported jwst as this process has; give the child's process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            function()
            status = 0
        os._exit(status)
    return child


def ending(child):
    """Exit status of a child, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def assert_whole(folder, truth):
    """Every output under its final name is that of the undisturbed run; the association names no other."""
    found = {path.name: content(path) for path in visible(folder) if path.suffix == ".fits"}
    for name, value in found.items():
        assert value == truth[name], name
    if Path(folder, PRODUCT).exists():
        assert len(found) == MEMBERS


def one_line(error):
    assert "\n" not in str(error)
    return str(error)
