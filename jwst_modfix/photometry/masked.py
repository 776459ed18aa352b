"""Values for masked pixels inside an aperture."""

import numpy as np

__all__ = ["fill_masked"]

_RING = 0.75  # pixels: half the width of the ring for those without a counterpart
_LEAST_WEIGHT = 0.5


def fill_masked(image, bad, lost, dx, dy, radius):
    """
    Fill pixels with the value at their counterpart, point-symmetric about the source.

    Stars and galaxies look the same turned by 180 deg, far more nearly than they look flat, which an interpolation
    between neighbours would assume. Where the counterpart is masked too, the median of the ring of that radius is
    taken.

    Parameters
    ----------
    image : numpy.ndarray, shape (ny, nx)
        Image above the local sky.
    bad, lost : numpy.ndarray of bool, shape (ny, nx)
        Masked pixels, and those of them to be filled.
    dx, dy : numpy.ndarray, shape (nx,) and (ny,)
        Offsets of columns and rows from the source [pixel].
    radius : numpy.ndarray, shape (ny, nx)
        Distance from the source, in any unit.

    Returns
    -------
    numpy.ndarray, shape (ny, nx)
        A copy, with a number in each pixel of `lost`, and 0 in the other masked ones.
    """
    filled = np.where(bad, 0, image)
    if not lost.any():
        return filled
    good = ~bad
    rows, columns = np.nonzero(lost)
    values, weights = _interpolate(filled, good, -dx[columns] - dx[0], -dy[rows] - dy[0])
    width = _RING * radius.max() / np.hypot(np.abs(dx).max(), np.abs(dy).max())
    for i in np.flatnonzero(weights < _LEAST_WEIGHT):
        ring = good & (np.abs(radius - radius[rows[i], columns[i]]) < width)
        values[i] = np.median(image[ring]) if ring.any() else 0.0
    filled[rows, columns] = values
    return filled


def _interpolate(image, good, x, y):
    """Bilinear values between good pixels, and the weight of the good ones, 0 outside; shape (n,)."""
    left, low = np.floor(x).astype(int), np.floor(y).astype(int)
    total, weights = np.zeros(x.size), np.zeros(x.size)
    for column, row in ((left, low), (left + 1, low), (left, low + 1), (left + 1, low + 1)):
        inside = (column >= 0) & (column < image.shape[1]) & (row >= 0) & (row < image.shape[0])
        at = row.clip(0, image.shape[0] - 1), column.clip(0, image.shape[1] - 1)
        share = (1 - np.abs(x - column)) * (1 - np.abs(y - row)) * (good[at] & inside)
        total += share * image[at]
        weights += share
    return total / np.where(weights > 0, weights, 1), weights
