"""``photometry='mosaic'``: isophotal fluxes in mosaics, the first epoch's segments on every epoch (Ma et al. 2023)."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.background import map_background, measure_sky
from jwst_modfix.photometry.columns import Flag, make_measurements, to_flux
from jwst_modfix.photometry.detection import deblend_bright, fill_lone_pixels, find_connected
from jwst_modfix.photometry.exposures import FAINTEST, Photometry, check_overlap, make_exposures
from jwst_modfix.photometry.frames import ExposureHeader, read_geometry
from jwst_modfix.photometry.source_list import measure_isolation

__all__ = ["Mosaic", "Segments", "find_segments", "measure_mosaics", "measure_segments"]


_THRESHOLD = 3.0  # standard deviations of a pixel
_CONNECTED = 8  # pixels
_MOST_MASKED = 0.02  # share of a segment


@dataclass(frozen=True, kw_only=True, eq=False)
class Mosaic:
    """
    The exposures of one epoch, array, module and filter, on the grid that all mosaics of the filter share.

    Parameters
    ----------
    header : ExposureHeader
        Headers of the first of its exposures, with the mosaic's ``pixar_sr`` and shape.
    members : tuple of ExposureHeader
        Its exposures.
    epoch : int
        Number of the epoch.
    data, err : numpy.ndarray, shape (ny, nx)
        Surface brightness and its standard error [MJy/sr].
    bad : numpy.ndarray of bool, shape (ny, nx)
        Pixels that no good pixel of an exposure falls on.
    corner : tuple of int
        Column and row of the common grid where its first pixel lies.
    wcs : gwcs.WCS
        From 0-indexed pixels of these arrays to RA, Dec [deg].
    """

    header: ExposureHeader
    members: tuple[ExposureHeader, ...]
    epoch: int
    data: np.ndarray
    err: np.ndarray
    bad: np.ndarray
    corner: tuple[int, int]
    wcs: object


@dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """
    Sets of pixels of the common grid, one for each source.

    Parameters
    ----------
    columns, rows : numpy.ndarray of int, shape (n,)
        Pixels of the common grid.
    source : numpy.ndarray of int, shape (n,)
        The source that each belongs to, 0 to m - 1.
    ra, dec : numpy.ndarray, shape (m,)
        Places of the sources, their centres of light [deg].
    isolation : numpy.ndarray, shape (m,)
        Distance to the nearest source on the mosaic of a tenth of the flux or more, however faint [arcsec].
    """

    columns: np.ndarray
    rows: np.ndarray
    source: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    isolation: np.ndarray


def measure_mosaics(mosaics, epochs, *, faintest=FAINTEST):
    """Detect in the first epoch, and measure the same pixels in every mosaic of the filter that holds them."""
    found, parts, headers, numbers, skies = {}, [], [], [], []
    for number, mosaic in enumerate(mosaics):
        header = mosaic.header
        known = found.setdefault((header.filter, header.pupil), [])
        background = map_background(mosaic)
        if mosaic.epoch == 0:
            known.append(find_segments(mosaic, background, known, faintest=faintest))
        for place, segments in enumerate(known):
            part = measure_segments(mosaic, background, segments)
            part["source"] = _unique_numbers(part["source"], place, (header.filter, header.pupil), found)
            part["exposure"] = np.full(len(part["source"]), number)
            parts.append(part)
        headers.append(header)
        numbers.append(mosaic.epoch)
        skies.append(measure_sky(mosaic))
    if not sum(len(part["source"]) for part in parts):
        raise PhotometryError(f"no source was found in the first epoch of {len(headers)} mosaics")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns["source"] = np.unique(columns["source"], return_inverse=True)[1]
    check_overlap(columns, headers)
    counts = np.bincount(columns["exposure"], minlength=len(headers))
    groups = type(epochs)(np.array(numbers), epochs.names)
    exposures = make_exposures(headers, groups, skies, np.zeros((len(headers), 2)), counts)
    meta = {"epochs": list(epochs.names), "exposures": [header.name for header in headers]}
    return Photometry(measurements=make_measurements(columns, meta), exposures=exposures)


def find_segments(mosaic, background, known, *, faintest=FAINTEST):
    """Detect and deblend the sources of a mosaic."""
    image = fill_lone_pixels(np.where(mosaic.bad, np.nan, mosaic.data - background.level))
    least = to_flux(faintest)
    labels = _label(image, background.noise, least / mosaic.header.jansky)
    rows, columns = np.nonzero(labels)
    label = labels[rows, columns]
    light = image[rows, columns].astype(float)
    if not rows.size:
        return Segments(columns=columns, rows=rows, source=label, **dict.fromkeys(("ra", "dec", "isolation"), light))
    flux = np.bincount(label, light) * mosaic.header.jansky
    total = np.bincount(label, light)
    total[total <= 0] = np.nan
    x, y = np.bincount(label, light * columns) / total, np.bincount(label, light * rows) / total
    ra, dec = mosaic.wcs(x, y, with_bounding_box=False)
    isolation = np.full(len(flux), np.inf)
    placed = np.flatnonzero(np.isfinite(ra) & (np.arange(len(flux)) > 0))
    if placed.size:
        isolation[placed] = measure_isolation(ra[placed], dec[placed], flux[placed], 0.1)
    columns, rows = columns + mosaic.corner[0], rows + mosaic.corner[1]
    taken = np.isin(_codes(columns, rows), _known_codes(known))
    keep = (flux >= least) & (np.bincount(label, taken, len(flux)) == 0)
    inside = keep[label]
    source = np.unique(label[inside], return_inverse=True)[1]
    places = {"ra": ra[keep], "dec": dec[keep], "isolation": isolation[keep]}
    return Segments(columns=columns[inside], rows=rows[inside], source=source, **places)


def measure_segments(mosaic, background, segments):
    """Sum the pixels of each segment: SExtractor's FLUX_ISO in dual-image mode."""
    ny, nx = mosaic.data.shape
    x, y = segments.columns - mosaic.corner[0], segments.rows - mosaic.corner[1]
    count = len(segments.ra)
    outside = (x < 0) | (x >= nx) | (y < 0) | (y >= ny)
    at = y.clip(0, ny - 1), x.clip(0, nx - 1)
    image = fill_lone_pixels(np.where(mosaic.bad, np.nan, mosaic.data - background.level))
    size, lost = (np.bincount(segments.source, w, count) for w in (None, mosaic.bad[at] | outside))
    jansky = mosaic.header.jansky
    values = {"flux": np.bincount(segments.source, image[at] * ~outside, count) * jansky}
    variance = np.where(outside | mosaic.bad[at], 0.0, mosaic.err[at].astype(float) ** 2)
    values["flux_error"] = np.sqrt(np.bincount(segments.source, variance, count)) * jansky
    values["sky"] = np.bincount(segments.source, background.level[at], count) / np.maximum(size, 1)
    values["masked"] = lost / np.maximum(size, 1)
    values["flags"] = np.where(lost > 0, int(Flag.FILLED), 0) | np.where(
        values["masked"] > _MOST_MASKED, int(Flag.MASKED), 0
    )
    values["flags"] |= np.where(values["flux"] <= 0, int(Flag.NEGATIVE), 0)
    values |= {"RA": segments.ra, "Dec": segments.dec, "isolation": segments.isolation}
    values["compactness"] = np.full(count, np.nan)
    values |= _mean_places(mosaic.members, segments.ra, segments.dec)
    keep = np.isfinite(values["V2"]) & (np.bincount(segments.source, outside, count) == 0) & (values["masked"] < 0.5)
    columns = {name: value[keep] for name, value in values.items()} | {"source": np.flatnonzero(keep)}
    constants = {name: getattr(mosaic.header, name) for name in ("array", "module", "filter", "pupil")}
    constants["epoch"] = mosaic.epoch
    return columns | {name: np.full(keep.sum(), value) for name, value in constants.items()}


def _label(image, noise, least):
    """Label of the source that each pixel belongs to, 0 for none; those with so much light or more are deblended."""
    segments = find_connected(image, _THRESHOLD * noise, _CONNECTED)
    if segments is None:
        return np.zeros(image.shape, int)
    return deblend_bright(image, segments, least, _CONNECTED).data


def _codes(columns, rows):
    """One number for each pixel of the common grid."""
    return columns.astype(np.int64) * 2**31 + rows


def _known_codes(known):
    codes = [_codes(segments.columns, segments.rows) for segments in known]
    return np.concatenate(codes) if codes else np.empty(0, np.int64)


def _mean_places(members, ra, dec):
    """Mean focal-plane and pixel coordinates over the exposures that cover each source; not-a-number for none."""
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


def _unique_numbers(source, place, band, found):
    """Make numbers of sources unique across bands and mosaics."""
    return source + 2**24 * (place + 2**10 * list(found).index(band))
