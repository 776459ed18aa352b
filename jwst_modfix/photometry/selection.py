"""Measurements that are good enough for the fit, and the reasons why the others are not."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.photometry.flags import UNUSABLE, Flag

__all__ = ["Criteria", "Selection", "select_measurements"]


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """
    What a measurement must be.

    Parameters
    ----------
    snr : float
        Least ratio of flux to its error.
    faintest : float
        Faintest magnitude of a source [AB]: as it was detected, for an aperture holds but a part of a galaxy; where
        that is not known, as it was measured.
    isolation : float
        Least distance to the nearest source of a tenth of the flux or more [arcsec].
    compactness : float, optional
        Least compactness; any unless given.
    """

    snr: float = 100.0
    faintest: float = 22.0
    isolation: float = 1.0
    compactness: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """
    The measurements selected.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (n,)
        Whether each is selected.
    rejected : dict of int
        How many fail each rule; one that fails several counts for each.
    """

    mask: np.ndarray
    rejected: dict[str, int]


def select_measurements(table, criteria=None):
    """
    Select measurements for the fit.

    Signal to noise, magnitude, compactness and saturation are judged for a source through a filter as a whole, by the
    median of its usable measurements: judged one by one, the detector that measures fainter would lose its faint half
    of a source's measurements, which shifts the mean of what is left.

    Parameters
    ----------
    table : astropy.table.Table
        As from `~jwst_modfix.photometry.measurements.make_measurements`.
    criteria : Criteria, optional
        The rules.

    Returns
    -------
    Selection
        The measurements, and how many fail which rule: ``edge``, ``saturated``, ``masked``, ``sky``, ``negative``,
        ``snr``, ``faint``, ``crowded``, ``extended`` and ``single`` (the source has no second good measurement).
    """
    criteria = criteria or Criteria()
    flags = np.asarray(table["flags"], int)
    usable = (flags & int(UNUSABLE)) == 0
    key = np.char.add(np.char.add(np.char.add(table["filter"], "+"), table["pupil"]), table["source"].astype(str))
    group = np.unique(key, return_inverse=True)[1] if len(table) else np.zeros(0, int)
    fails = {flag.name.lower(): (flags & flag) != 0 for flag in UNUSABLE if flag != Flag.SATURATED}
    fails["saturated"] = np.bincount(group, (flags & Flag.SATURATED) != 0)[group] > 0
    fails["snr"] = ~(_median(table["flux"] / table["flux_error"], usable, group) >= criteria.snr)
    known = np.asarray(table["source_mag"], float)
    magnitude = np.where(np.isfinite(known), known, _median(table["mag"], usable, group))
    fails["faint"] = ~(magnitude <= criteria.faintest)
    fails["crowded"] = ~(np.asarray(table["isolation"]) >= criteria.isolation)
    if criteria.compactness is not None:
        fails["extended"] = ~(_median(table["compactness"], usable, group) >= criteria.compactness)
    good = ~np.any(list(fails.values()), axis=0)
    fails["single"] = good & (np.bincount(group, good)[group] < 2)
    return Selection(mask=good & ~fails["single"], rejected={name: int(failed.sum()) for name, failed in fails.items()})


def _median(values, usable, group):
    """Median over the usable measurements of each group, for each measurement; not-a-number where there is none."""
    medians = np.full(group.max() + 1 if group.size else 0, np.nan)
    values = np.asarray(values, float)
    keep = np.flatnonzero(usable & np.isfinite(values))
    keep = keep[np.lexsort([values[keep], group[keep]])]
    found, first, count = np.unique(group[keep], return_index=True, return_counts=True)
    medians[found] = (values[keep][first + (count - 1) // 2] + values[keep][first + count // 2]) / 2
    return medians[group]
