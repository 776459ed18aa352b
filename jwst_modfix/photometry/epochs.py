"""Which exposures belong to one epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.time import Time
from numpy.typing import ArrayLike

from jwst_modfix.errors import PhotometryError


@dataclass(frozen=True, eq=False)
class Epochs:
    """Exposures by epoch."""

    number: np.ndarray  # int, of each exposure: 0 for the first epoch in time, and so on
    names: tuple[str, ...]  # of each epoch


def group_epochs(
    mjd: ArrayLike,
    roll: ArrayLike,
    names: Sequence[str | None] | None = None,
    *,
    gap_days: float = 30.0,
    roll_tolerance: float = 5.0,
) -> Epochs:
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
            f"epoch: {names.count(None)} of {len(names)} members have no epoch, the first is member "
            f"{names.index(None) + 1}; give it for every member or for none"
        )
    start = {name: mjd[[other == name for other in names]].min() for name in set(names)}
    ordered = sorted(start, key=lambda name: (start[name], name))
    return Epochs(np.array([ordered.index(name) for name in names], int), tuple(ordered))


def find_wide_epochs(
    epochs: Epochs, mjd: ArrayLike, roll: ArrayLike, *, gap_days: float = 30.0, roll_tolerance: float = 5.0
) -> list[str]:
    """Describe named epochs that times and rolls would split, such as one name in two programs."""
    mjd, roll = np.asarray(mjd, float), np.asarray(roll, float)
    lines = []
    for number, name in enumerate(epochs.names):
        mine = np.flatnonzero(epochs.number == number)
        parts = group_epochs(mjd[mine], roll[mine], gap_days=gap_days, roll_tolerance=roll_tolerance).names
        if len(parts) > 1:
            lines.append(
                f"epoch {name} of the association: its exposures are up to {np.ptp(mjd[mine]):.1f} days apart, "
                f"{len(parts)} epochs by time and roll; one term is fitted for all of it"
            )
    return lines


def _check(mjd, roll, gap_days, roll_tolerance):
    for name, value in (("gap_days", gap_days), ("roll_tolerance", roll_tolerance)):
        if not value > 0:
            raise PhotometryError(f"{name}: must be more than 0; got {value}")
    for name, values in (("mjd", mjd), ("roll", roll)):
        if not np.isfinite(values).all():
            raise PhotometryError(f"{name}: must be finite; that of exposure {np.argmin(np.isfinite(values))} is not")


def _name_by_time(mjd, roll, gap_days, roll_tolerance):
    """Name each epoch by the time of its first exposure."""
    first = last = None
    starts = np.empty(len(mjd), int)
    for i in np.argsort(mjd, kind="stable"):
        turned = first is not None and abs((roll[i] - roll[first] + 180) % 360 - 180) > roll_tolerance
        if first is None or turned or mjd[i] - mjd[last] > gap_days:
            first = i
        starts[i] = first
        last = i
    return [Time(mjd[i], format="mjd").isot[:16] for i in starts]
