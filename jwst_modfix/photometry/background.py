"""The sky of an exposure: one level for the whole, and a smooth map under the sources."""

from dataclasses import dataclass

import numpy as np
from photutils.background import Background2D, MedianBackground

from jwst_modfix.errors import PhotometryError

__all__ = ["Background", "SkyLevel", "clip", "clipped_medians", "map_background", "measure_sky"]

_BOX = 64  # pixels
_LEAST_GOOD = 0.5  # share of a box
_MEDIAN_LOSS = np.pi / 2  # variance of a median over that of a mean
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """
    The background of an exposure.

    Parameters
    ----------
    level : numpy.ndarray, shape (ny, nx)
        The background under each pixel [MJy/sr].
    noise : float
        Typical standard deviation of a pixel [MJy/sr].
    """

    level: np.ndarray
    noise: float


@dataclass(frozen=True, kw_only=True)
class SkyLevel:
    """
    The sky level of a whole exposure.

    Parameters
    ----------
    level, error : float
        Surface brightness of the sky and its standard error [MJy/sr].
    """

    level: float
    error: float


def map_background(frame):
    """
    Map the background in boxes of 64 pixels, sigma-clipped.

    Parameters
    ----------
    frame : Frame
        The exposure.

    Returns
    -------
    Background
        Its background.

    Raises
    ------
    PhotometryError
        No box has enough good pixels; names the file.
    """
    try:
        found = Background2D(
            frame.data,
            tuple(min(_BOX, size) for size in frame.data.shape),
            mask=frame.bad,
            exclude_percentile=100 * (1 - _LEAST_GOOD),
            filter_size=3,
            bkg_estimator=MedianBackground(),
        )
    except ValueError as error:
        raise PhotometryError(f"{frame.header.path}: no background can be measured: {error}") from error
    return Background(level=found.background, noise=float(found.background_rms_median))


def measure_sky(frame, step=2):
    """
    Measure the sky level: the median over boxes of their clipped medians.

    The error is the scatter of the boxes over the root of their number, so that structure of the sky counts, not the
    noise of pixels alone.

    Parameters
    ----------
    frame : Frame
        The exposure.
    step : int
        Look at every so many pixels along each axis.

    Returns
    -------
    SkyLevel
        The level; not-a-number where no box has enough good pixels.
    """
    values = np.where(frame.bad[::step, ::step], np.nan, frame.data[::step, ::step])
    box = min(_BOX, *frame.data.shape) // step
    ny, nx = (size // box for size in values.shape)
    boxes = values[: ny * box, : nx * box].reshape(ny, box, nx, box).swapaxes(1, 2).reshape(ny * nx, -1)
    medians, kept = clipped_medians(boxes)
    medians = medians[kept > _LEAST_GOOD * boxes.shape[1]]
    if not medians.size:
        return SkyLevel(level=np.nan, error=np.nan)
    kept = clip(medians)
    scatter = _MAD_TO_SIGMA * np.median(np.abs(kept - np.median(kept)))
    return SkyLevel(level=float(np.median(kept)), error=float(scatter * np.sqrt(_MEDIAN_LOSS / kept.size)))


def clipped_medians(rows, sigma=3.0, rounds=5):
    """
    Find the median of what `clip` would keep of each row, for all rows at once.

    Parameters
    ----------
    rows : numpy.ndarray, shape (m, n)
        Values; those that are not finite go.
    sigma : float
        How many standard deviations.
    rounds : int
        How often at most.

    Returns
    -------
    medians : numpy.ndarray, shape (m,)
        The medians; not-a-number for rows without a finite value.
    kept : numpy.ndarray of int, shape (m,)
        Number of values kept.
    """
    values = np.where(np.isfinite(rows), rows, np.nan)
    for _ in range(rounds):
        distance = np.abs(values - _row_medians(values)[:, None])
        limit = sigma * _MAD_TO_SIGMA * _row_medians(distance)
        far = distance > limit[:, None]
        if not far.any():
            break
        values[far] = np.nan
    return _row_medians(values), np.isfinite(values).sum(axis=1)


def _row_medians(values):
    """Medians of rows, not-a-number left out: it sorts to the end."""
    ordered, count = np.sort(values, axis=1), np.isfinite(values).sum(axis=1)
    row = np.arange(len(values))
    return (ordered[row, np.maximum(count - 1, 0) // 2] + ordered[row, count // 2]) / 2


def clip(values, sigma=3.0, rounds=5):
    """
    Keep what is within so many standard deviations of the median, the deviations from the median's own.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        Values; those that are not finite go.
    sigma : float
        How many.
    rounds : int
        How often at most.

    Returns
    -------
    numpy.ndarray, shape (m,)
        Those kept.
    """
    kept = values[np.isfinite(values)]
    for _ in range(rounds):
        if not kept.size:
            break
        middle = np.median(kept)
        near = np.abs(kept - middle) <= sigma * _MAD_TO_SIGMA * np.median(np.abs(kept - middle))
        if near.all():
            break
        kept = kept[near]
    return kept
