"""``photometry='mosaic'``: isophotal fluxes in mosaics, as in Ma et al. (2023)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from gwcs import WCS

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.columns import Flag, Photometry, combine_parts, to_flux
from jwst_modfix.photometry.forced import FAINTEST
from jwst_modfix.photometry.frames import Epochs, ExposureHeader, read_geometry
from jwst_modfix.photometry.source_list import (
    Connected,
    find_connected,
    map_background,
    measure_isolation,
    measure_sky,
    subtract,
)
from jwst_modfix.text import count_nouns

_THRESHOLD = 3.0  # standard deviations of a pixel
_CONNECTED = 8  # pixels
_MAX_MASKED = 0.02  # share of a segment
_MAX_MISSING = 0.5  # share of a segment: above it, the source is not measured at all


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic:
    """Exposures of an epoch, array, module and filter, on the filter's common grid."""

    header: ExposureHeader  # of the first of its exposures, with the mosaic's pixar_sr and shape
    members: tuple[ExposureHeader, ...]
    epoch: int
    data: np.ndarray  # MJy/sr
    err: np.ndarray  # MJy/sr
    bad: np.ndarray  # bool: no good pixel of an exposure contributes
    corner: tuple[int, int]  # column and row of the common grid of the first pixel
    wcs: WCS  # from 0-indexed pixels of these arrays to RA, Dec [deg]


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments(Connected):
    """Connected pixels of the common grid, and the places of their sources."""

    ra: np.ndarray  # deg, of each source
    dec: np.ndarray
    isolation: np.ndarray  # arcsec


def measure_mosaics(mosaics: Iterable[Mosaic], epochs: Epochs, *, faintest: float = FAINTEST) -> Photometry:
    """Detect in the first epoch; measure the same pixels in all mosaics of a filter."""
    # Mosaics come in the order of epochs.
    found: dict[tuple[str, str], list[tuple[int, Segments]]] = {}  # by band: number of the first source, the sources
    start: dict[tuple[str, str], int] = {}  # by band: its first epoch
    total, parts, headers, numbers, skies = 0, [], [], [], []
    for number, mosaic in enumerate(mosaics):
        known = found.setdefault(mosaic.header.band, [])
        level, noise = map_background(mosaic)
        image = subtract(mosaic, level)
        if mosaic.epoch == start.setdefault(mosaic.header.band, mosaic.epoch):
            segments = _find_segments(mosaic, image, noise, [segments for _, segments in known], faintest)
            known.append((total, segments))
            total += len(segments.ra)
        for first, segments in known:
            part = _measure_segments(mosaic, image, level, segments)
            parts.append(part | {"source": first + part["source"], "exposure": np.full(len(part["source"]), number)})
        headers.append(mosaic.header)
        numbers.append(mosaic.epoch)
        skies.append(measure_sky(mosaic))
    if not sum(len(part["source"]) for part in parts):
        raise PhotometryError(
            f"no source was found in the first epoch of {count_nouns(len(headers), 'mosaic')}; raise faintest"
        )
    return combine_parts(parts, headers, Epochs(np.array(numbers), epochs.names), skies, np.zeros((len(headers), 2)))


def _find_segments(mosaic, image, noise, known, faintest):
    """Detect and deblend sources of a mosaic; drop those that overlap a known one."""
    least = to_flux(faintest) / mosaic.header.jansky
    found = find_connected(image, _THRESHOLD * noise, _CONNECTED, least)
    total, x, y = found.measure(image)
    ra, dec = mosaic.wcs(x, y, with_bounding_box=False)
    placed = np.isfinite(ra) & np.isfinite(dec) & (total > 0)
    isolation = np.full(len(total), np.inf)
    if placed.any():
        isolation[placed] = measure_isolation(ra[placed], dec[placed], total[placed])
    columns, rows = found.columns + mosaic.corner[0], found.rows + mosaic.corner[1]
    codes = [_number_pixels(one.columns, one.rows) for one in known]
    taken = np.isin(_number_pixels(columns, rows), np.concatenate([np.empty(0, np.int64), *codes]))
    keep = placed & (total >= least) & (np.bincount(found.source, taken) == 0)
    inside, number = keep[found.source], np.cumsum(keep) - 1
    return Segments(
        columns=columns[inside], rows=rows[inside], source=number[found.source[inside]],
        ra=ra[keep], dec=dec[keep], isolation=isolation[keep],
    )  # fmt: skip


def _number_pixels(columns, rows):
    """Make one number for each pixel of the common grid."""
    return columns.astype(np.int64) * 2**31 + rows


def _measure_segments(mosaic, image, level, segments):
    """Sum the pixels of each segment: SExtractor's FLUX_ISO in dual-image mode."""
    ny, nx = mosaic.data.shape
    x, y = segments.columns - mosaic.corner[0], segments.rows - mosaic.corner[1]
    outside = (x < 0) | (x >= nx) | (y < 0) | (y >= ny)
    at = y.clip(0, ny - 1), x.clip(0, nx - 1)
    lost = mosaic.bad[at] | outside

    def total(values):
        return np.bincount(segments.source, values, len(segments.ra))

    size, jansky = total(np.ones(len(x))), mosaic.header.jansky  # each has pixels
    flux, masked = total(np.where(outside, 0.0, image[at])) * jansky, total(lost) / size
    flags = np.where(masked > 0, int(Flag.FILLED), 0) | np.where(masked > _MAX_MASKED, int(Flag.MASKED), 0)
    values = {
        "flux": flux,
        "flux_error": np.sqrt(total(np.where(lost, 0.0, mosaic.err[at].astype(float) ** 2))) * jansky,
        "sky": total(level[at]) / size,
        "masked": masked,
        "flags": flags | np.where(flux <= 0, int(Flag.NEGATIVE), 0),
        "RA": segments.ra,
        "Dec": segments.dec,
        "isolation": segments.isolation,
        "compactness": np.full(len(size), np.nan),
        "source": np.arange(len(size)),
        **_mean_places(mosaic.members, segments.ra, segments.dec),
    }
    keep = np.isfinite(values["V2"]) & (total(outside) == 0) & (masked < _MAX_MISSING)
    return {name: column[keep] for name, column in values.items()}


def _mean_places(members, ra, dec):
    """Average focal-plane and pixel coordinates of sources over exposures, or NaN."""
    sums, counts = np.zeros((4, len(ra))), np.zeros(len(ra))
    for header in members if len(ra) else ():
        geometry = read_geometry(header)
        x, y = geometry.to_pixel(ra, dec)
        ny, nx = header.shape
        inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
        x, y = x[inside], y[inside]
        sums[:, inside] += [*geometry.to_v2v3(x, y), x + header.corner[0], y + header.corner[1]]
        counts += inside
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return dict(zip(("V2", "V3", "x", "y"), means, strict=True))
