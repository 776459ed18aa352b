"""``photometry='exposure'``: find sources once, measure them in each exposure."""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import ArrayLike

from jwst_modfix.errors import ExposureError, PhotometryError
from jwst_modfix.exposure import open_fits
from jwst_modfix.files import written_whole
from jwst_modfix.jobs import THIS_PROCESS, Workers
from jwst_modfix.photometry.apertures import Aperture, default_aperture, measure_fluxes
from jwst_modfix.photometry.background import measure_sky
from jwst_modfix.photometry.columns import make_measurements, number_groups, to_flux, to_magnitudes
from jwst_modfix.photometry.epochs import Epochs
from jwst_modfix.photometry.frames import ExposureHeader, Frame, file_state, read_frame, shift_on_sky
from jwst_modfix.photometry.source_list import (
    Detections,
    SourceList,
    choose_exposures,
    detect,
    find_connected,
    find_shift,
    merge_detections,
    refine_centroids,
    subtract,
)
from jwst_modfix.text import count_nouns, log

FAINTEST = 23.0  # AB: a magnitude below the selection's limit
_BRIGHT = 10.0  # standard deviations of a pixel
_MARGIN = 0.5  # pixels: half a pixel of the array beyond the centres of its outermost ones
_HEADER_COLUMNS = ("array", "module", "filter", "pupil")
_LIBRARIES = ("astropy", "gwcs", "numpy", "photutils", "scipy")
_DIGEST = "digest"
_BUFFER = 2**18  # bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Photometry:
    """Everything that is measured."""

    measurements: Table  # one row per measurement, with the columns of columns.COLUMNS
    exposures: Table  # one row per exposure: its header, sky level and shift


class _Known(dict[str, np.ndarray]):
    """A result that was in the cache."""


@dataclass(frozen=True)
class Cache:
    """A folder of results, identified by the pixels, parameters and code behind each."""

    folder: Path  # made with the first entry

    def fetch(
        self, kind: str, path: Path, parameters: Iterable[str | bytes], make: Callable[[], Mapping]
    ) -> dict[str, np.ndarray]:
        """Return the result from the cache, if intact, else compute and store it."""
        if (state := file_state(path)) is None:
            return _as_arrays(make())  # the reader's message says what is wrong with the file
        key = _digest([kind, _code(), _digest_file(path, state), *parameters])
        entry = self.folder / f"{kind}-{key}.npz"
        if (known := _read(entry, key)) is not None:
            return _Known(known)
        made = _as_arrays(make())
        if file_state(path) == state:  # otherwise the content is not the one of the key
            _write(entry, key, made)
        return made


def find_sources(
    headers: Sequence[ExposureHeader],
    *,
    faintest: float = FAINTEST,
    progress: Callable = iter,
    workers: Workers = THIS_PROCESS,
    cache: Cache | None = None,
) -> SourceList:
    """Find the sources in as few exposures as cover the sky in each band."""
    jobs = [(header, faintest, cache) for header in choose_exposures(headers)]
    sources = merge_detections(_run(_detect_exposure, jobs, workers, progress, cache))
    bright = sources.flux >= to_flux(faintest)
    if not bright.any():
        raise PhotometryError(
            f"no source is brighter than {faintest} AB in any of {count_nouns(len(headers), 'exposure')}; "
            "raise faintest"
        )
    return sources[bright]


def measure_sources(
    headers: Sequence[ExposureHeader],
    epochs: Epochs,
    sources: SourceList,
    *,
    progress: Callable = iter,
    workers: Workers = THIS_PROCESS,
    cache: Cache | None = None,
) -> Photometry:
    """Measure a list of sources in every exposure that covers them."""
    near = [sources.rows_near(header) for header in headers]
    jobs = [(header, sources[rows], default_aperture(header.channel), cache)
            for header, rows in zip(headers, near, strict=True)]  # fmt: skip
    measured = _run(_measure_exposure, jobs, workers, progress, cache)
    skies, shifts = ([one.pop(name) for one in measured] for name in ("level", "shift"))
    for number, (rows, one) in enumerate(zip(near, measured, strict=True)):
        one["source"] = rows[one["source"]]
        mine = sources[one["source"]]
        one |= {"RA": mine.ra, "Dec": mine.dec, "isolation": mine.isolation, "exposure": np.full(len(mine), number)}
        one["source_mag"] = to_magnitudes(mine.flux, mine.flux)[0]
    return combine_parts(measured, headers, epochs, skies, shifts)


def _run(function, jobs, workers, progress, cache):
    """Run a job for each exposure, its first argument; log how many were cached."""
    headers = [header for header, *_ in jobs]
    with contextlib.closing(workers.map(function, jobs, [header.name for header in headers])) as results:
        found = [result for _, result in zip(progress(headers), results, strict=True)]
    if known := sum(is_known for is_known, _ in found):
        log.info("%d of %s from the cache %s", known, count_nouns(len(found), "exposure"), cache.folder)
    return [result for _, result in found]


def _detect_exposure(header, faintest, cache):
    def make():
        found = detect(read_frame(header), faintest=faintest)
        # numpy's sines of strided and of contiguous arrays can differ in the last bit; pickled arrays are contiguous.
        return {name: np.ascontiguousarray(getattr(found, name)) for name in ("ra", "dec", "flux")}

    arrays = cache.fetch("detections", header.path, [repr(faintest)], make) if cache else make()
    return isinstance(arrays, _Known), Detections(exposure=header.name, band=header.band, **arrays)


def _measure_exposure(header, sources, aperture, cache):
    def make():
        return measure_frame(read_frame(header), sources, aperture)

    parameters = [repr(aperture), sources.ra.tobytes(), sources.dec.tobytes()]
    columns = cache.fetch("measurements", header.path, parameters, make) if cache else make()
    return isinstance(columns, _Known), dict(columns)


def measure_frame(frame: Frame, sources: SourceList, aperture: Aperture) -> dict[str, np.ndarray]:
    """Measure the listed sources in an exposure: columns, sky level and shift."""
    # The places are those of the list, moved together by the error of the pointing. No source is centred on its own:
    # that would follow noise, and a place common to all exposures loses the same light in each. Centroids are for the
    # report only.
    level, level_error = measure_sky(frame)
    image = subtract(frame, level if np.isfinite(level) else 0.0)
    shift = _find_pointing_error(frame, image, sources)
    x, y = frame.geometry.to_pixel(*shift_on_sky(sources.ra, sources.dec, *shift))
    ny, nx = frame.data.shape
    inside = (np.abs(x - (nx - 1) / 2) < nx / 2 - _MARGIN) & (np.abs(y - (ny - 1) / 2) < ny / 2 - _MARGIN)
    rows = np.flatnonzero(inside)
    x, y = x[rows], y[rows]
    scales = frame.geometry.scale(x, y)
    centroids = np.stack(refine_centroids(image, x, y, frame.header))
    v2, v3 = frame.geometry.to_v2v3(x, y) if rows.size else (x, y)
    columns = measure_fluxes(frame, x, y, scales, aperture)
    columns |= {"source": rows, "x": x + frame.header.corner[0], "y": y + frame.header.corner[1], "V2": v2, "V3": v3}
    columns["off_east"], columns["off_north"] = np.einsum("nij,jn->in", scales, centroids - [x, y])
    columns |= {"level": (level, level_error), "shift": shift}
    return {name: np.ascontiguousarray(values) for name, values in columns.items()}


def _find_pointing_error(frame, image, sources):
    """Find the WCS shift against the list from bright sources, east, north [arcsec]."""
    noise = np.median(frame.err[::8, ::8][~frame.bad[::8, ::8]])
    if not np.isfinite(noise):
        return 0.0, 0.0
    _, x, y = find_connected(image, _BRIGHT * noise).measure(image)
    if not len(x):
        return 0.0, 0.0
    east, north = find_shift(*frame.geometry.to_sky(x, y), sources.ra, sources.dec)
    return -east, -north


def join_columns(parts: Sequence[dict]) -> dict[str, np.ndarray]:
    """Join columns by name; those of one part are not copied."""
    return {name: np.concatenate([part[name] for part in parts]) if len(parts) > 1 else parts[0][name]
            for name in parts[0]}  # fmt: skip


def combine_parts(
    parts: Sequence[dict],
    headers: Sequence[ExposureHeader],
    epochs: Epochs,
    skies: ArrayLike,
    shifts: ArrayLike,
) -> Photometry:
    """Combine columns of measurements; refuse exposures that share no source."""
    # The column `exposure` is the place among the headers. Values of whole exposures are added as columns.
    columns = join_columns(parts)
    known = {name: np.array([getattr(header, name) for header in headers]) for name in _HEADER_COLUMNS}
    known["epoch"] = epochs.number
    columns |= {name: values[columns["exposure"]] for name, values in known.items()}
    group = number_groups(*(columns[name] for name in ("filter", "pupil", "source")))
    names = [header.name for header in headers]
    if np.bincount(group, minlength=1).max() < 2:
        raise PhotometryError(
            f"exposures must overlap on the sky; no two in one filter share a source: {', '.join(names)}"
        )
    exposures = Table({"exposure": np.arange(len(headers)), "file": names, "epoch": epochs.number})
    for name in ("detector", *_HEADER_COLUMNS, "mjd", "roll"):
        exposures[name] = [getattr(header, name) for header in headers]
    exposures["sky"], exposures["sky_error"] = np.reshape(skies, (-1, 2)).T * (u.MJy / u.sr)
    exposures["shift_east"], exposures["shift_north"] = np.reshape(shifts, (-1, 2)).T * u.arcsec
    exposures["sources"] = np.bincount(columns["exposure"], minlength=len(headers))
    exposures["mjd"].unit, exposures["roll"].unit = u.day, u.deg
    measurements = make_measurements(columns, {"epochs": list(epochs.names), "exposures": names})
    return Photometry(measurements=measurements, exposures=exposures)


@functools.lru_cache(maxsize=4096)
def _digest_file(path, _state):
    """Digest a file without its variances, which are 40% of it and are not read."""
    spans = []
    with contextlib.suppress(ExposureError), open_fits(path) as hdulist:  # of what is no FITS file, everything
        is_packed = path.suffix.lower() == ".gz"  # whose bytes are at other places
        places = [hdu.fileinfo() for hdu in hdulist if hdu.name.startswith("VAR_") and not is_packed]
        spans = [(place["datLoc"], place["datLoc"] + place["datSpan"]) for place in places]
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER))
    with path.open("rb") as file:
        for first, after in [*spans, (math.inf, 0)]:
            while size := file.readinto(buffer[: int(min(first - file.tell(), _BUFFER))]):
                digest.update(buffer[:size])
            file.seek(after)
    return digest.hexdigest()


@functools.cache
def _code():
    """Digest the code that measures: this package, and versions of libraries."""
    sources = sorted(resources.files("jwst_modfix.photometry").iterdir(), key=lambda file: file.name)
    content = [file.read_bytes() for file in sources if file.name.endswith(".py")]
    return _digest([*content, *(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)])


def _digest(parts):
    """Digest parts with lengths, so that ("ab", "c") differs from ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else bytes(part)
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _as_arrays(result):
    return {name: np.asarray(value) for name, value in result.items()}


def _seal(key, arrays):
    """Digest of an entry: its key, and each array with its name, type and shape."""
    parts = [key]
    for name, array in sorted(arrays.items()):
        parts += [name, array.dtype.str, str(array.shape), array.tobytes()]
    return _digest(parts)


def _read(entry, key):
    try:
        with entry.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # any error that the readers of a damaged file raise
        return None
    return arrays if str(arrays.pop(_DIGEST, None)) == _seal(key, arrays) else None


def _write(entry, key, arrays):
    """Store an entry; if the folder cannot be written, the next run measures again."""
    content = io.BytesIO()
    np.savez(content, **arrays, **{_DIGEST: np.array(_seal(key, arrays))})
    with contextlib.suppress(OSError), written_whole(entry) as partial:
        partial.write_bytes(content.getvalue())
