"""Which exposures belong to one epoch."""

from dataclasses import dataclass

import numpy as np
from astropy.time import Time

from jwst_modfix.errors import PhotometryError

__all__ = ["Epochs", "find_wide_epochs", "group_epochs"]


@dataclass(frozen=True, eq=False)
class Epochs:
    """
    Exposures by epoch.

    Parameters
    ----------
    number : numpy.ndarray of int, shape (n,)
        Epoch of each exposure: 0 for the first in time, and so on.
    names : tuple of str
        Name of each epoch.
    """

    number: np.ndarray
    names: tuple[str, ...]


def group_epochs(mjd, roll, names=None, *, gap_days=30.0, roll_tolerance=5.0):
    """Group exposures into epochs, numbered in the order of time.

    By their names where they are given; else an epoch ends where the next exposure comes later than the gap, or where
    its roll differs by more than the tolerance from that of the epoch's first.
    """
    mjd, roll = np.asarray(mjd, float), np.asarray(roll, float)
    _check(mjd, roll, gap_days, roll_tolerance)
    names = [None] * len(mjd) if names is None else [name if name is None else str(name) for name in names]
    if all(name is None for name in names):
        names = _name_by_time(mjd, roll, gap_days, roll_tolerance)
    elif None in names:
        raise PhotometryError(
            f"epoch: must be given for every member or for none; {names.count(None)} of {len(names)} have none, "
            f"the first is member {names.index(None) + 1}"
        )
    return _number(mjd, names)


def find_wide_epochs(epochs, mjd, roll, *, gap_days=30.0, roll_tolerance=5.0):
    """Find epochs that times and rolls would have split: the same name in two programs, say."""
    mjd, roll = np.asarray(mjd, float), np.asarray(roll, float)
    said = []
    for number, name in enumerate(epochs.names):
        mine = np.flatnonzero(epochs.number == number)
        parts = group_epochs(mjd[mine], roll[mine], gap_days=gap_days, roll_tolerance=roll_tolerance).names
        if len(parts) > 1:
            said.append(
                f"epoch {name} of the association, whose exposures are up to {np.ptp(mjd[mine]):.1f} days apart, "
                f"would be {len(parts)} by time and roll: one term is fitted for all of it"
            )
    return said


def _check(mjd, roll, gap_days, roll_tolerance):
    for name, value in (("gap_days", gap_days), ("roll_tolerance", roll_tolerance)):
        if not value > 0:
            raise PhotometryError(f"{name}: must be more than 0; got {value}")
    for name, values in (("mjd", mjd), ("roll", roll)):
        if not np.isfinite(values).all():
            raise PhotometryError(f"{name}: must be finite; that of exposure {np.argmin(np.isfinite(values))} is not")


def _name_by_time(mjd, roll, gap_days, roll_tolerance):
    names, first, last = [None] * len(mjd), None, None
    for i in np.argsort(mjd, kind="stable"):
        turned = first is not None and abs((roll[i] - roll[first] + 180) % 360 - 180) > roll_tolerance
        if first is None or turned or mjd[i] - mjd[last] > gap_days:
            first = i
        last = i
        names[i] = first
    return [Time(mjd[first], format="mjd").isot[:16] for first in names]


def _number(mjd, names):
    unique = sorted(set(names), key=lambda name: min(t for t, other in zip(mjd, names, strict=True) if other == name))
    place = {name: i for i, name in enumerate(unique)}
    return Epochs(np.array([place[name] for name in names], int), tuple(unique))
