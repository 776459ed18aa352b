"""The commands of a user, run as processes: simulate, correct, combine."""

import json
import os
import subprocess
import sys
from pathlib import Path

__all__ = ["FIELD_GRID", "CommandError", "combine", "correct", "simulate"]

CONFIG = Path(__file__).resolve().parents[2] / "jwst_modfix" / "config"

FIELD_GRID = {
    "crval": "265.035,68.974",
    "crpix": "2949.5,1299.5",
    "output_shape": "5900,2600",
    "rotation": "-19",
    "pixel_scale": "0.06",
}
"""Parameters of the resample step: the JWIDF along its long side, the same grid for every epoch."""


class CommandError(Exception):
    """A command that failed, with the end of what it said."""


def simulate(folder, *options):
    """
    Simulate exposures.

    Parameters
    ----------
    folder : pathlib.Path
        Where to write.
    *options : str
        Options of ``modfix simulate``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _run(
        [sys.executable, "-m", "jwst_modfix.cli", "simulate", ".", "--field", "demo", *options], folder, "simulate.log"
    )


def correct(folder, association):
    """
    Correct the exposures of an association: ``strun modfix.cfg association``.

    Parameters
    ----------
    folder : pathlib.Path
        Where the association is, and where the corrected exposures go.
    association : str
        Name of its file.

    Returns
    -------
    str
        Name of the file of the corrected association.
    """
    _run([_strun(), str(CONFIG / "modfix.cfg"), association], folder, "modfix.log")
    return association.replace("_asn.json", "_modfix_asn.json")


def combine(folder, association, product, *options, pipeline="calwebb_image3", grid=None):
    """
    Combine exposures with the stock calwebb_image3, or another pipeline, with no network.

    Parameters
    ----------
    folder : pathlib.Path
        Where the association is, and where the mosaic goes.
    association : str
        Name of its file.
    product : str
        Name of the mosaic.
    *options : str
        Options of ``strun``.
    pipeline : str
        Alias or configuration of the pipeline.
    grid : dict, optional
        Parameters of the resample step.

    Returns
    -------
    pathlib.Path
        The mosaic.
    """
    content = json.loads((folder / association).read_text())
    content["products"][0]["name"] = product
    (folder / f"{product}_asn.json").write_text(json.dumps(content))
    options = [*options, *(f"--steps.resample.{name}={value}" for name, value in (grid or {}).items())]
    _run([_strun(), pipeline, f"{product}_asn.json", *options], folder, f"{product}.log")
    corrected = folder / f"{product}_modfix_i2d.fits"  # as calwebb_image3_modfix names it
    return corrected if corrected.exists() else folder / f"{product}_i2d.fits"


def _strun():
    """Find the strun of this environment, whether or not it is active."""
    return str(Path(sys.executable).with_name("strun"))


def _run(command, folder, log_name):
    log = folder / log_name
    environment = {**os.environ, "STPIPE_DISABLE_CRDS_STEPPARS": "true"}
    with log.open("w") as file:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise CommandError(f"{' '.join(command)} ended with {done.returncode}:\n{log.read_text()[-3000:]}")
