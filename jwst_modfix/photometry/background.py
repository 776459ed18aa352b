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


@dataclass(frozen=True, kw_only=True, eq=False)
class Clipped:
    """Rows of sorted values, each with the range that is kept."""

    values: np.ndarray  # (n, m)
    first: np.ndarray  # (n,)
    last: np.ndarray  # (n,), the place after the last one

    @property
    def size(self) -> np.ndarray:
        """Number of values that are kept, (n,)."""
        return self.last - self.first

    @property
    def median(self) -> np.ndarray:
        """Median of each row, (n,); NaN where nothing is kept."""
        middle = (self._at((self.first + self.last - 1) // 2) + self._at((self.first + self.last) // 2)) / 2
        return np.where(self.size > 0, middle, middle.dtype.type(np.nan))

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of each row by the median distance from the median, (n,)."""
        middle, far = self.median, []
        for count in (self.size - self.size // 2, self.size // 2 + 1):
            # The nearest values are consecutive: they start where the next one above is not nearer than the first.
            count = np.minimum(count, self.size)
            start = _bisect(
                self.first,
                self.last - count,
                lambda at, count=count: self._at(at + count) - middle < middle - self._at(at),
            )
            far.append(np.maximum(middle - self._at(start), self._at(start + count - 1) - middle))
        return MAD_TO_SIGMA * ((far[0] + far[1]) / 2)

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each row, (n,); NaN where nothing is kept."""
        place = np.arange(self.values.shape[1])
        kept = (place >= self.first[:, None]) & (place < self.last[:, None])
        off = np.where(kept, self.values - self.median[:, None], 0)
        mean, square = (off.sum(axis=1) / np.maximum(self.size, 1) for off in (off, off**2))
        return np.sqrt(square - mean**2)

    def within(self, limit: np.ndarray) -> "Clipped":
        """Keep the values within a distance of the median."""
        low, high = self.median - limit, self.median + limit
        first = _bisect(self.first, self.last, lambda at: self._at(at) < low)
        last = _bisect(first, self.last, lambda at: self._at(at) <= high)
        return Clipped(values=self.values, first=first, last=last)

    def _at(self, place):
        # Places outside belong to rows that are done or have no values.
        n, m = self.values.shape
        return self.values.take(np.arange(n) * m + place, mode="clip")


def _bisect(low, high, is_before):
    """Find the first place from low to high of each row where a condition ends."""
    while (low < high).any():
        middle = (low + high) // 2
        before = is_before(middle) & (low < high)
        low, high = np.where(before, middle + 1, low), np.where(before, high, middle)
    return low


def clip(values: np.ndarray, sigma: float = 3.0, rounds: int = 5) -> Clipped:
    """Sort finite values of rows; keep those within some deviations of the median."""
    # On sorted rows each round is a few searches in all rows at once: `astropy.stats.sigma_clip` with
    # `stdfunc="mad_std"` takes three times longer.
    values = np.where(np.isfinite(values), values, values.dtype.type(np.nan))
    values.sort(axis=1)
    last = values.shape[1] - np.isnan(values).sum(axis=1)
    kept = Clipped(values=values, first=np.zeros_like(last), last=last)
    for _ in range(rounds):
        before, kept = kept, kept.within(sigma * kept.deviation)
        if (kept.size == before.size).all():
            break
    return kept


def map_background(frame) -> Background:
    """Map the background: filtered medians of 64-pixel boxes, linear interpolation."""
    kept, good, shape, box = _clip_boxes(frame)
    if not good.any():
        raise PhotometryError(
            f"{frame.header.path}: no background can be measured: no box of {box} x {box} pixels is half good; "
            "leave the exposure out"
        )
    noise = np.median(kept.deviation[good])
    nearest = distance_transform_edt(~good.reshape(shape), return_distances=False, return_indices=True)
    mesh = median_filter(kept.median.reshape(shape)[tuple(nearest)], 3, mode="nearest")
    down, across = (_weights(size, box, n) for size, n in zip(frame.data.shape, shape, strict=True))
    return Background(level=down @ mesh @ across.T, noise=float(noise))


def _clip_boxes(frame, step=1):
    """Clip boxes: their values, which of them are half good, grid shape, box size."""
    data, bad = (array[::step, ::step] for array in (frame.data, frame.bad))
    box = min(_BOX, *frame.data.shape) // step
    ny, nx = (-(-size // box) for size in data.shape)
    values = np.full((ny, box, nx, box), np.nan, data.dtype)
    values.reshape(ny * box, nx * box)[: data.shape[0], : data.shape[1]] = np.where(bad, np.nan, data)
    kept = clip(values.swapaxes(1, 2).reshape(ny * nx, -1))
    return kept, kept.size > _MIN_GOOD * box**2, (ny, nx), box


def _weights(size, box, n):
    """Weight n boxes in each pixel, (size, n): linear between centres, then constant."""
    centres = box * (np.arange(n) + 0.5) - 0.5
    return np.stack([np.interp(np.arange(size), centres, one) for one in np.eye(n)], axis=1).astype(np.float32)


def measure_sky(frame, step: int = 2) -> tuple[float, float]:
    """Measure the sky level, a clipped median of box medians, and its error [MJy/sr]."""
    # The error is the scatter of the boxes over the root of their number, which contains the structure of the sky.
    kept, good, *_ = _clip_boxes(frame, step)
    medians = clip(np.where(good, kept.median, np.nan)[None])
    level, scatter = float(medians.median[0]), float(medians.deviation[0])
    return level, scatter * float(np.sqrt(MEDIAN_LOSS / max(medians.size[0], 1)))
