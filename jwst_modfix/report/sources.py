"""What the figures show of each source: differences between modules and between epochs, before and after."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.solution.robust_fit import OUTLIER

__all__ = ["Differences", "epoch_differences", "module_differences"]


@dataclass(frozen=True, eq=False)
class Differences:
    """
    Differences between two groups of measurements of each source.

    Parameters
    ----------
    array_code : numpy.ndarray of int, shape (n,)
        Place of the array ID in ``ARRAYS``; -1 where measurements of several are averaged.
    mag, RA, Dec : numpy.ndarray, shape (n,)
        Mean magnitude and place [deg] of the source.
    before, after : numpy.ndarray, shape (n,)
        Difference of mean magnitudes as measured and corrected [mag].
    """

    array_code: np.ndarray
    mag: np.ndarray
    RA: np.ndarray
    Dec: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def __len__(self):
        return len(self.mag)


def module_differences(band):
    """
    Find A - B of the sources that both modules of one array ID measured.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.

    Returns
    -------
    Differences
        One for each source and array ID, the epoch terms taken out of both.
    """
    m, before, after = _magnitudes(band)
    return _differences(m, before, after, m.source * 8 + m.array_code, m.module_code == 0, m.module_code == 1)


def epoch_differences(band, first, second):
    """
    Find second - first of the sources that were measured in two epochs.

    Parameters
    ----------
    band : BandResult
        A filter with a solution.
    first, second : int
        Epochs.

    Returns
    -------
    Differences
        One for each source.
    """
    m, before, after = _magnitudes(band)
    found = _differences(m, before, after, m.source, m.epoch == second, m.epoch == first)
    return Differences(np.full(len(found), -1), found.mag, found.RA, found.Dec, found.before, found.after)


def _magnitudes(band):
    """Measurements that are no outliers, as measured but for the epoch terms, and corrected."""
    solution, m = band.solution, band.measurements
    rejected = np.zeros(len(m), int)
    rejected[~m.reserved] = solution.rejected
    known = np.isin(m.epoch, solution.model.epochs) & np.isin(m.detector, solution.measurements.detector)
    m = m.select(known & (rejected < OUTLIER))
    terms = solution.epoch_terms()
    t = np.array([terms[epoch][0] for epoch in m.epoch.tolist()])
    return m, m.mag - t, m.mag - solution.predict(m)


def _differences(m, before, after, key, one, other):
    key = np.unique(key, return_inverse=True)[1]
    number = int(key.max()) + 1 if len(key) else 0
    weight = 1 / m.mag_error**2
    sums = [np.bincount(key, weight * side, number) for side in (one, other)]
    both = (sums[0] > 0) & (sums[1] > 0)
    first = np.zeros(number, int)
    first[key[::-1]] = np.arange(len(key))[::-1]
    first = first[both]

    def difference(values):
        means = [np.bincount(key, weight * values * side, number)[both] for side in (one, other)]
        return means[0] / sums[0][both] - means[1] / sums[1][both]

    places = (column[first] for column in (m.mag, m.RA, m.Dec))
    return Differences(m.array_code[first], *places, difference(before), difference(after))
