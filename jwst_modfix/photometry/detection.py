"""Sources of one exposure: where they are, and about how bright."""

import warnings
from dataclasses import dataclass, field

import numpy as np
from photutils.segmentation import SegmentationImage, SourceCatalog, deblend_sources, detect_sources
from photutils.utils.exceptions import NoDetectionsWarning

from jwst_modfix.photometry.background import map_background
from jwst_modfix.photometry.columns import to_flux

_THRESHOLD = 3.0  # standard deviations of a pixel
_CONNECTED = 6  # pixels
_WINDOW = {"SHORT": 0.05, "LONG": 0.10}  # arcsec, standard deviation
_ROUNDS = 8
_REACH = 4.0  # standard deviations of the window
_FARTHEST = 3.0  # standard deviations of the window that a centroid may move


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """Sources detected in one exposure."""

    exposure: str  # name of the file
    band: tuple[str, str]  # filter and pupil
    ra: np.ndarray = field(default_factory=lambda: np.empty(0))  # deg, by the exposure's own WCS
    dec: np.ndarray = field(default_factory=lambda: np.empty(0))  # deg
    flux: np.ndarray = field(default_factory=lambda: np.empty(0))  # Jy, isophotal


def detect(frame, *, faintest: float = np.inf) -> Detections:
    """Detect the sources of an exposure: background, threshold, deblending, centroids."""
    names = {"exposure": frame.header.name, "band": frame.header.band}
    background = map_background(frame)
    image = fill_lone_pixels(np.where(frame.bad, np.nan, frame.data - background.level))
    segments = find_connected(image, _THRESHOLD * background.noise, _CONNECTED)
    if segments is None:
        return Detections(**names)
    segments = deblend_bright(image, segments, to_flux(faintest) / frame.jansky, _CONNECTED)
    catalogue = SourceCatalog(image * frame.area, segments)
    flux = np.atleast_1d(catalogue.segment_flux) * frame.jansky
    start = np.reshape(catalogue.centroid, (-1, 2))
    good = (flux > 0) & np.isfinite(start).all(axis=1)
    x, y = refine_centroids(image, *start[good].T, frame.header)
    ra, dec = frame.geometry.to_sky(x, y)
    return Detections(**names, ra=ra, dec=dec, flux=flux[good])


def find_connected(image: np.ndarray, threshold: float, connected: int = _CONNECTED) -> SegmentationImage | None:
    """Find connected pixels above a threshold; None where there are none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoDetectionsWarning)
        return detect_sources(image, threshold, connected)


def deblend_bright(image: np.ndarray, segments: SegmentationImage, least: float, connected: int) -> SegmentationImage:
    """Deblend the segments with enough light; deblending takes most of the time of a detection."""
    light = np.bincount(segments.data.ravel(), image.ravel(), segments.max_label + 1)
    bright = segments.labels[light[segments.labels] >= least]
    if not bright.size:
        return segments
    return deblend_sources(image, segments, connected, labels=bright, progress_bar=False)


def fill_lone_pixels(image: np.ndarray) -> np.ndarray:
    """Fill pixels that hold nothing with the mean of their good neighbours, and with 0 where there are none.

    It keeps a bad pixel from breaking a source in two. It is not good enough for the flux.
    """
    rows, columns = np.nonzero(~np.isfinite(image))
    padded = np.pad(image, 1, constant_values=np.nan)
    around = [padded[rows + dy, columns + dx] for dy, dx in ((0, 1), (2, 1), (1, 0), (1, 2))]
    good = np.isfinite(around)
    filled = image.copy()
    filled[rows, columns] = np.where(good, around, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    return filled


def refine_centroids(image: np.ndarray, x, y, header) -> tuple[np.ndarray, np.ndarray]:
    """Move positions to the centroid in a Gaussian window around them, again and again.

    x' = x + 2 sum(w I dx) / sum(w I) (Bertin & Arnouts 1996; SExtractor's manual, "windowed positional parameters").
    The window is 0.05" in the short and 0.10" in the long wavelengths.
    """
    sigma = np.deg2rad(_WINDOW[header.channel] / 3600) / np.sqrt(header.pixar_sr)
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
