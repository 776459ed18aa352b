"""Centroids in a Gaussian window, as SExtractor's XWIN_IMAGE, for many sources at once."""

import numpy as np

__all__ = ["refine_centroids", "window_of"]

_WINDOW = {"SHORT": 0.05, "LONG": 0.10}  # arcsec
_ROUNDS = 8
_REACH = 4.0  # standard deviations of the window
_FARTHEST = 3.0  # standard deviations of the window that a centroid may move


def window_of(header):
    """
    Find the window for the sources of an exposure: 0.05" in the short, 0.10" in the long wavelengths.

    Parameters
    ----------
    header : ExposureHeader
        Its headers.

    Returns
    -------
    float
        Standard deviation [pixel].
    """
    return _WINDOW[header.channel] / np.sqrt(header.pixar_sr) * np.deg2rad(1 / 3600)


def refine_centroids(image, x, y, sigma):
    """
    Move positions to the centroid in a Gaussian window around them, again and again.

    x' = x + 2 sum(w I dx) / sum(w I) (Bertin & Arnouts 1996; SExtractor's manual, "windowed positional parameters").

    Parameters
    ----------
    image : numpy.ndarray, shape (ny, nx)
        Background-subtracted image, finite everywhere.
    x, y : array_like, shape (n,)
        Where to start [0-indexed pixel].
    sigma : float
        Standard deviation of the window [pixel].

    Returns
    -------
    x, y : numpy.ndarray, shape (n,)
        Centroids; a source where it strays, or where the window holds no light, stays where it was.
    """
    start = np.stack([x, y], axis=-1).astype(float).reshape(-1, 2)
    place = start.copy()
    for _ in range(_ROUNDS):
        place += 2 * _moments(image, place, sigma)
    strayed = ~(np.hypot(*(place - start).T) < _FARTHEST * sigma)
    place[strayed] = start[strayed]
    return place[:, 0], place[:, 1]


def _moments(image, place, sigma):
    """First moments in the window around each place, shape (n, 2)."""
    half = int(np.ceil(_REACH * sigma))
    shifts = np.arange(-half, half + 1)
    nearest = np.nan_to_num(np.rint(place), nan=-1.0).clip(-1e6, 1e6).astype(int)
    columns, rows = nearest[:, :1] + shifts, nearest[:, 1:] + shifts
    inside_x, inside_y = ((at >= 0) & (at < size) for at, size in ((columns, image.shape[1]), (rows, image.shape[0])))
    stamps = image[rows.clip(0, image.shape[0] - 1)[:, :, None], columns.clip(0, image.shape[1] - 1)[:, None, :]]
    dx, dy = columns - place[:, :1], rows - place[:, 1:]
    stamps = stamps * (np.exp(-0.5 * (dx / sigma) ** 2) * inside_x)[:, None, :]
    stamps *= (np.exp(-0.5 * (dy / sigma) ** 2) * inside_y)[:, :, None]
    total = stamps.sum(axis=(1, 2))
    first = np.stack([(stamps.sum(axis=1) * dx).sum(axis=1), (stamps.sum(axis=2) * dy).sum(axis=1)], axis=-1)
    return np.where(total[:, None] > 0, first / np.where(total > 0, total, 1.0)[:, None], np.nan)
