"""The sky of an exposure: a level of the whole array, and a smooth map."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, median_filter
from scipy.special import ndtri

from jwst_modfix.errors import PhotometryError

_BOX = 64  # pixels
_MIN_GOOD = 0.5  # share of the pixels of a box
MEDIAN_LOSS = np.pi / 2  # variance of a median over that of a mean
MAD_TO_SIGMA = float(1 / ndtri(0.75))  # 1.4826


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """The background of an exposure."""

    level: np.ndarray  # MJy/sr, shape (ny, nx)
    noise: float  # MJy/sr, typical standard deviation of a pixel


def clip(values: np.ndarray, sigma: float = 3.0, rounds: int = 5) -> np.ndarray:
    """Sort finite values; keep those within some MAD deviations of the median."""
    # It is called for every source and every box. On sorted values each round is a few searches, a fifth of the time
    # of `astropy.stats.sigma_clip` with `stdfunc="mad_std"`.
    kept = np.sort(values[np.isfinite(values)])
    for _ in range(rounds):
        if not kept.size:
            break
        middle = _median_sorted(kept)
        limit = sigma * MAD_TO_SIGMA * _median_distance(kept, middle)
        first, last = kept.searchsorted(middle - limit), kept.searchsorted(middle + limit, "right")
        if last - first == kept.size:
            break
        kept = kept[first:last]
    return kept


def _median_sorted(values):
    return (values[(values.size - 1) // 2] + values[values.size // 2]) / 2


def _median_distance(values, middle):
    """Find the median distance of sorted values from a place among them."""
    # `numpy.partition` takes three times longer.
    far = []
    for count in {values.size - values.size // 2, values.size // 2 + 1}:
        # The nearest values are consecutive: they start where the next one above is not nearer than the first.
        below, above = middle - values[: values.size - count], values[count:] - middle
        first = np.count_nonzero(above < below)
        far.append(max(middle - values[first], values[first + count - 1] - middle))
    return sum(far) / len(far)


def map_background(frame) -> Background:
    """Map the background: filtered medians of 64-pixel boxes, linear interpolation."""
    kept, good, shape, box = _clip_boxes(frame)
    if not good.any():
        raise PhotometryError(
            f"{frame.header.path}: no background can be measured: no box of {box} x {box} pixels is half good; "
            "leave the exposure out"
        )
    medians = np.array([_median_sorted(values) if values.size else np.nan for values in kept], frame.data.dtype)
    noise = np.median([_median_distance(kept[i], medians[i]) for i in np.flatnonzero(good)]) * MAD_TO_SIGMA
    nearest = distance_transform_edt(~good.reshape(shape), return_distances=False, return_indices=True)
    mesh = median_filter(medians.reshape(shape)[tuple(nearest)], 3, mode="nearest")
    down, across = (_weights(size, box, n) for size, n in zip(frame.data.shape, shape, strict=True))
    return Background(level=down @ mesh @ across.T, noise=float(noise))


def _clip_boxes(frame, step=1):
    """Clip boxes: their values, which of them are half good, grid shape, box size."""
    values = np.where(frame.bad[::step, ::step], np.nan, frame.data[::step, ::step])
    box = min(_BOX, *frame.data.shape) // step
    values = np.pad(values, [(0, -size % box) for size in values.shape], constant_values=np.nan)
    ny, nx = (size // box for size in values.shape)
    kept = [clip(one) for one in values.reshape(ny, box, nx, box).swapaxes(1, 2).reshape(ny * nx, -1)]
    return kept, np.array([one.size for one in kept]) > _MIN_GOOD * box**2, (ny, nx), box


def _weights(size, box, n):
    """Weight n boxes in each pixel, (size, n): linear between centres, then constant."""
    centres = box * (np.arange(n) + 0.5) - 0.5
    return np.stack([np.interp(np.arange(size), centres, one) for one in np.eye(n)], axis=1).astype(np.float32)


def measure_sky(frame, step: int = 2) -> tuple[float, float]:
    """Measure the sky level, a clipped median of box medians, and its error [MJy/sr]."""
    # The error is the scatter of the boxes over the root of their number, which contains the structure of the sky.
    kept, good, *_ = _clip_boxes(frame, step)
    medians = clip(np.array([_median_sorted(kept[i]) for i in np.flatnonzero(good)]))
    if not medians.size:
        return np.nan, np.nan
    level = _median_sorted(medians)
    scatter = MAD_TO_SIGMA * _median_distance(medians, level)
    return float(level), float(scatter * np.sqrt(MEDIAN_LOSS / medians.size))
