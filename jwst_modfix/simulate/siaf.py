"""The NIRCam apertures of the SIAF that ships with `pysiaf`, read quietly and with no network."""

import logging
from functools import cache
from unittest import mock

from jwst_modfix.errors import ModuleOffsetError

__all__ = ["DETECTORS", "read_aperture", "read_subarray"]

# Detector name, as in the DETECTOR keyword, to the aperture that covers it whole.
_APERTURES = {f"NRC{module}{array}": f"NRC{module}{array}_FULL" for module in "AB" for array in "1234"}
_APERTURES |= {f"NRC{module}LONG": f"NRC{module}5_FULL" for module in "AB"}

DETECTORS = tuple(_APERTURES)
"""Names of the ten NIRCam detectors, as in the ``DETECTOR`` keyword."""


def _refuse_network(*args, **kwargs):
    raise ConnectionError("the SIAF is read from the installed package")


def _import_pysiaf():
    """Import `pysiaf`; its import asks the network for a newer SIAF, and warns where there is none."""
    logger = logging.getLogger("pysiaf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mock.patch("requests.get", _refuse_network):
            import pysiaf
    except ModuleNotFoundError as error:
        if error.name != "pysiaf":
            raise
        raise ModuleOffsetError("the simulation needs pysiaf: install jwst_modfix with its extra 'sim'") from None
    finally:
        logger.setLevel(level)
    return pysiaf


@cache
def _read_instrument():
    return _import_pysiaf().Siaf("NIRCam")


def read_aperture(detector):
    """
    Read the full-frame aperture of a detector.

    Parameters
    ----------
    detector : str
        Name of the detector, one of `DETECTORS`.

    Returns
    -------
    pysiaf.aperture.JwstAperture
        The aperture, such as ``NRCA5_FULL`` for ``NRCALONG``.
    """
    return _read_instrument()[_APERTURES[detector]]


def read_subarray(detector, name):
    """
    Read the aperture of a subarray of a detector.

    Parameters
    ----------
    detector : str
        Name of the detector, one of `DETECTORS`.
    name : str
        Name of the subarray, such as ``"SUB640"``.

    Returns
    -------
    pysiaf.aperture.JwstAperture or None
        The aperture, such as ``NRCB5_SUB640``; None where the detector has none of that name.
    """
    return _read_instrument().apertures.get(_APERTURES[detector].replace("FULL", name))
