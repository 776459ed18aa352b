"""The sky of exposures; the sources above it, merged into one list on the sky."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from astropy.utils import minversion
from scipy import ndimage
from scipy.spatial import cKDTree

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.columns import group_medians, to_flux
from jwst_modfix.photometry.frames import ExposureHeader, offsets_on_sky, shift_on_sky, unit_vectors
from jwst_modfix.table.table import MAD_TO_SIGMA
from jwst_modfix.text import count_nouns

_BOX = 64  # pixels
_MIN_GOOD = 0.5  # share of the pixels of a box
MEDIAN_LOSS = np.pi / 2  # variance of a median over that of a mean
_THRESHOLD = 3.0  # standard deviations of a pixel
_CONNECTED = 6  # pixels
_WINDOW = {"SHORT": 0.05, "LONG": 0.10}  # arcsec, standard deviation
_ROUNDS = 8
_REACH = 4.0  # standard deviations of the window
_FARTHEST = 3.0  # standard deviations of the window that a centroid may move
_MIN_NEW = 0.03  # share of new sky for which an exposure is searched for sources
_ARCSEC = np.deg2rad(1 / 3600)  # radians: chord of the unit sphere per arcsec
_MATCH_RADIUS = 0.15  # arcsec
_SEARCH_RADIUS = 1.5  # arcsec: pointing errors of the observatory, before tweakreg, are smaller
_MIN_MATCHES = 5
_NEIGHBOURS = (4, 32)  # searched for isolation
_MIN_NEIGHBOUR = 0.1  # of the flux of a source, for a neighbour that counts
_BEYOND = 30.0  # arcsec around a footprint: far more than pointing errors and the neighbours of a source


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

    def within(self, low: np.ndarray, high: np.ndarray) -> "Clipped":
        """Keep the values from a low to a high limit."""
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
        middle, limit = kept.median, sigma * kept.deviation
        before, kept = kept, kept.within(middle - limit, middle + limit)
        if (kept.size == before.size).all():
            break
    return kept


def map_background(frame) -> tuple[np.ndarray, float]:
    """Map the background; find the typical standard deviation of a pixel [MJy/sr]."""
    # Medians of boxes of 64 pixels, filtered, and interpolated linearly.
    kept, good, shape, box = _clip_boxes(frame)
    if not good.any():
        raise PhotometryError(
            f"{frame.header.path}: no background can be measured: no box of {box} x {box} pixels is half good; "
            "leave the exposure out"
        )
    noise = np.median(kept.deviation[good])
    nearest = ndimage.distance_transform_edt(~good.reshape(shape), return_distances=False, return_indices=True)
    mesh = ndimage.median_filter(kept.median.reshape(shape)[tuple(nearest)], 3, mode="nearest")
    weights = []  # of boxes in each pixel along each axis, (size, n): linear between centres, then constant
    for size, n in zip(frame.data.shape, shape, strict=True):
        centres = box * (np.arange(n) + 0.5) - 0.5
        rows = [np.interp(np.arange(size), centres, one) for one in np.eye(n)]
        weights.append(np.stack(rows, axis=1).astype(np.float32))
    return weights[0] @ mesh @ weights[1].T, float(noise)


def _clip_boxes(frame, step=1):
    """Clip boxes: their values, which of them are half good, grid shape, box size."""
    data, bad = (array[::step, ::step] for array in (frame.data, frame.bad))
    box = min(_BOX, *frame.data.shape) // step
    ny, nx = (-(-size // box) for size in data.shape)
    values = np.full((ny, box, nx, box), np.nan, data.dtype)
    values.reshape(ny * box, nx * box)[: data.shape[0], : data.shape[1]] = np.where(bad, np.nan, data)
    kept = clip(values.swapaxes(1, 2).reshape(ny * nx, -1))
    return kept, kept.size > _MIN_GOOD * box**2, (ny, nx), box


def measure_sky(frame) -> tuple[float, float]:
    """Measure the sky level, a clipped median of box medians, and its error [MJy/sr]."""
    # The error is the scatter of the boxes over the root of their number, which contains the structure of the sky.
    kept, good, *_ = _clip_boxes(frame, step=2)
    medians = clip(np.where(good, kept.median, np.nan)[None])
    level, scatter = float(medians.median[0]), float(medians.deviation[0])
    return level, scatter * float(np.sqrt(MEDIAN_LOSS / max(medians.size[0], 1)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Sources detected in one exposure."""

    exposure: str  # name of the file
    band: tuple[str, str]  # filter and pupil
    ra: np.ndarray  # deg, by the exposure's own WCS
    dec: np.ndarray  # deg
    flux: np.ndarray  # Jy, isophotal


def detect(frame, *, faintest: float = np.inf) -> Detections:
    """Detect sources of an exposure: background, threshold, deblending, centroids."""
    level, noise = map_background(frame)
    image = subtract(frame, level)
    least = to_flux(faintest) / frame.header.jansky
    found = find_connected(image, _THRESHOLD * noise, _CONNECTED, least)
    light, *start = found.measure(image, frame.area)
    good = (light > 0) & np.isfinite(start).all(axis=0)
    x, y = refine_centroids(image, *np.array(start)[:, good], frame.header)
    ra, dec = frame.geometry.to_sky(x, y) if good.any() else (x, y)
    return Detections(exposure=frame.header.name, band=frame.header.band, ra=ra, dec=dec,
                      flux=light[good] * frame.header.jansky)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Connected:
    """Sets of connected pixels, one for each source; arrays have one value a pixel."""

    source: np.ndarray  # from 0
    rows: np.ndarray
    columns: np.ndarray

    def measure(self, *images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sum the product of images over each source, and find its centroid (x, y)."""
        light = np.prod([image[self.rows, self.columns] for image in images], axis=0, dtype=float)
        total = np.bincount(self.source, light)
        return total, *(np.bincount(self.source, light * place) / total for place in (self.columns, self.rows))


def find_connected(
    image: np.ndarray, threshold: float, connected: int = _CONNECTED, least: float = np.inf
) -> Connected:
    """Find connected pixels above a threshold; deblend sources of at least a sum."""
    above = image > threshold
    label, pixel = ndimage.label(above, np.ones((3, 3)))[0].ravel(), np.flatnonzero(above)
    pixel = pixel[np.bincount(label[pixel], minlength=1)[label[pixel]] >= connected]
    pixel = pixel[np.argsort(label[pixel], kind="stable")]  # source by source
    source = np.unique(label[pixel], return_inverse=True)[1]
    rows, columns = np.divmod(pixel, image.shape[1])
    ends = np.cumsum(np.bincount(source))
    count = len(ends)
    for number in np.flatnonzero(np.bincount(source, image.ravel()[pixel]) >= least):
        mine = slice(ends[number - 1] if number else 0, ends[number])
        parts = _deblend(image, rows[mine], columns[mine], connected)
        source[mine] = np.where(parts > 1, count + parts - 2, number)
        count += parts.max() - 1
    return Connected(source, rows, columns)


def _deblend(image, rows, columns, connected):
    """Separate blended sources; return the number of each pixel's source, from 1."""
    import photutils  # late, as it takes 1 s
    from photutils.segmentation import SegmentationImage, deblend_sources

    # photutils 3.1 has no progress bar, and deprecates the keyword.
    no_bar = {} if minversion(photutils, "3.1") else {"progress_bar": False}
    at = rows - rows.min(), columns - columns.min()
    cutout, mask = np.zeros((2, at[0].max() + 1, at[1].max() + 1), image.dtype)
    cutout[at], mask[at] = image[rows, columns], 1
    return deblend_sources(cutout, SegmentationImage(mask.astype(int)), connected, **no_bar).data[at]


def subtract(frame, level: np.ndarray | float) -> np.ndarray:
    """Subtract the sky; fill bad pixels with the mean of good neighbours, else 0."""
    # It keeps a bad pixel from breaking a source in two. It is not good enough for the flux.
    image = frame.data - level
    good, light = np.pad(~frame.bad, 1), np.pad(np.where(frame.bad, 0, image), 1)
    rows, columns = np.nonzero(frame.bad)
    places = [(rows + dy, columns + dx) for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2))]  # of the padded arrays
    total, count = (sum(array[at].astype(float) for at in places) for array in (light, good))
    image[rows, columns] = total / np.maximum(count, 1)
    return image


def refine_centroids(image: np.ndarray, x, y, header) -> tuple[np.ndarray, np.ndarray]:
    """Iterate positions to the centroid in a Gaussian window around them."""
    # x' = x + 2 sum(w I dx) / sum(w I) (Bertin & Arnouts 1996; SExtractor's manual, "windowed positional
    # parameters"). The window is 0.05" in the short and 0.10" in the long wavelengths.
    sigma = np.deg2rad(_WINDOW[header.channel] / 3600) / np.sqrt(header.pixar_sr)
    start = np.stack([x, y], axis=-1).astype(float).reshape(-1, 2)
    place = start.copy()
    for _ in range(_ROUNDS):
        place += 2 * _moments(image, place, sigma)
    strayed = ~(np.hypot(*(place - start).T) < _FARTHEST * sigma)
    place[strayed] = start[strayed]
    return place[:, 0], place[:, 1]


def _moments(image, place, sigma):
    """Compute first moments in the window around each place, shape (n, 2)."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceList:
    """Sources on the sky, in the order of RA."""

    ra: np.ndarray  # deg, mean over detections
    dec: np.ndarray  # deg
    flux: np.ndarray  # Jy, isophotal: median over detections in a band, in the band where it is largest
    n_detections: np.ndarray  # exposures where it was detected
    isolation: np.ndarray  # arcsec to the nearest source with more than a tenth of its flux; inf for none

    def __len__(self) -> int:
        return len(self.ra)

    def __getitem__(self, keep) -> "SourceList":
        return SourceList(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    def rows_near(self, header: ExposureHeader) -> np.ndarray:
        """Find the rows of sources that an exposure may cover; all without a footprint."""
        if header.corners is None:
            return np.arange(len(self))
        corners = unit_vectors(*header.corners.T)
        radius = np.linalg.norm(corners - corners[0], axis=1).max() + _BEYOND * _ARCSEC
        return np.flatnonzero(np.linalg.norm(unit_vectors(self.ra, self.dec) - corners[0], axis=1) < radius)


def choose_exposures(headers: Sequence[ExposureHeader]) -> list[ExposureHeader]:
    """Choose exposures that cover the sky of all, by band, in any order of input."""
    # In the order of names, an exposure is taken when it adds at least 3% of its footprint, or has no footprint.
    chosen, covered = [], {}
    for header in sorted(headers, key=lambda header: (header.name, str(header.path))):
        cells = header.cells
        known = covered.setdefault(header.band, set())
        if cells is None or len(cells - known) >= _MIN_NEW * len(cells):
            chosen.append(header)
            known |= cells or set()
    return chosen


def merge_detections(detections: Sequence[Detections]) -> SourceList:
    """Merge the detections of all exposures, in the order of their names."""
    # Each is shifted onto the list so far, then matched with it; those without a match become new sources.
    ordered = sorted((found for found in detections if len(found.ra)), key=lambda found: found.exposure)
    if not ordered:
        names = ", ".join(sorted(found.exposure for found in detections))
        raise PhotometryError(f"no source was detected in any of {count_nouns(len(detections), 'exposure')}: {names}")
    sums, counts, rows = np.empty((0, 3)), np.empty(0, int), []  # sums of unit vectors
    for found in ordered:
        ra, dec, mine = found.ra, found.dec, np.full(len(found.ra), -1)
        if rows:
            ra, dec = shift_on_sky(ra, dec, *find_shift(ra, dec, *_angles(sums)))
        vectors = unit_vectors(ra, dec)
        if rows:
            mine = _match(vectors, sums / counts[:, None])
        new = np.flatnonzero(mine < 0)
        mine[new] = len(counts) + np.arange(new.size)
        sums = np.concatenate([sums, np.zeros((new.size, 3))])
        counts = np.append(counts, np.zeros(new.size, int))
        sums[mine] += vectors  # no row comes twice: matches are mutual
        counts[mine] += 1
        rows.append(mine)
    ra, dec, flux = *_angles(sums), np.zeros(len(counts))
    for band in {found.band for found in ordered}:
        mine = [(found.flux, row) for found, row in zip(ordered, rows, strict=True) if found.band == band]
        flux = np.fmax(flux, group_medians(*map(np.concatenate, zip(*mine, strict=True)), len(counts)))
    order = np.lexsort([dec, ra])
    ra, dec, flux = ra[order], dec[order], flux[order]
    isolation = measure_isolation(ra, dec, flux)
    return SourceList(ra=ra, dec=dec, flux=flux, n_detections=counts[order], isolation=isolation)


def _match(vectors, listed):
    """Find each source's row in the list, by mutual nearest neighbours, else -1."""
    distance, row = cKDTree(listed).query(vectors)
    back = cKDTree(vectors).query(listed)[1]
    mutual = back[row] == np.arange(len(vectors))
    return np.where(mutual & (distance < _MATCH_RADIUS * _ARCSEC), row, -1)


def find_shift(ra, dec, ra_list, dec_list) -> tuple[float, float]:
    """Find the shift of sources onto a list, east, north [arcsec], by densest pairs."""
    tree, trial = cKDTree(unit_vectors(ra_list, dec_list)), cKDTree(unit_vectors(ra, dec))
    pairs = trial.query_ball_tree(tree, _SEARCH_RADIUS * _ARCSEC)
    mine = np.repeat(np.arange(len(pairs)), [len(partners) for partners in pairs])
    theirs = np.fromiter((row for partners in pairs for row in sorted(partners)), int, len(mine))
    if len(mine) < _MIN_MATCHES:
        return 0.0, 0.0
    shifts = np.stack(offsets_on_sky(ra[mine], dec[mine], ra_list[theirs], dec_list[theirs]), axis=-1)
    crowd = max(cKDTree(shifts).query_ball_point(shifts, _MATCH_RADIUS), key=len)
    if len(crowd) < _MIN_MATCHES:
        return 0.0, 0.0
    east, north = np.median(shifts[crowd], axis=0)
    return float(east), float(north)


def measure_isolation(ra, dec, flux) -> np.ndarray:
    """Find the distance to the nearest source of 0.1 of the flux [arcsec], or inf."""
    vectors = unit_vectors(ra, dec)
    tree, nearest, left = cKDTree(vectors), np.full(len(vectors), np.inf), np.arange(len(vectors))
    for count in _NEIGHBOURS:  # most sources have one among few
        distance, row = tree.query(vectors[left], k=count + 1)
        bright = np.append(flux, -np.inf)[row[:, 1:]] > _MIN_NEIGHBOUR * flux[left, None]
        nearest[left] = np.where(bright, distance[:, 1:], np.inf).min(axis=1) / _ARCSEC
        left = left[~np.isfinite(nearest[left])]
    return nearest


def _angles(vectors):
    # Of strided columns, numpy 2.0 takes its other arctan2, which differs in the last bit, wherever the memory of the
    # result happens to follow that of the column.
    x, y, z = np.ascontiguousarray(vectors.T)
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))
