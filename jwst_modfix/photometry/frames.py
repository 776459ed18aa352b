"""One exposure: headers, pixels, their sky, and transforms to the sky and back."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.units import Unit
from gwcs import WCS
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, median_filter
from scipy.special import ndtri

from jwst_modfix.errors import ExposureError, PhotometryError
from jwst_modfix.exposure import DetectorNames, OpenExposure, open_exposure
from jwst_modfix.files import file_state
from jwst_modfix.table.validity import explain_failed, find_failed
from jwst_modfix.text import log

_DO_NOT_USE, _SATURATED = 1, 2  # bits of the DQ array
_STEP = 0.5  # pixel, for derivatives of the WCS
_NEWTON_STEPS = 2
_MARGIN = 100.0  # pixels around the array within which the inverse is improved
_REQUIRED = (("filter", "FILTER"), ("pupil", "PUPIL"), ("pixar_sr", "PIXAR_SR"), ("roll", "PA_V3"), ("mjd", "EXPMID"))
_JANSKY_PER_MJY = 1e6
_CELL = 4.0  # arcsec
_SAMPLES = 64  # along each side of a footprint
_BOX = 64  # pixels
_MIN_GOOD = 0.5  # share of the pixels of a box
MEDIAN_LOSS = np.pi / 2  # variance of a median over that of a mean
MAD_TO_SIGMA = float(1 / ndtri(0.75))  # 1.4826
_MOST_GEOMETRIES = 256  # in memory, 0.7 MB each


@dataclass(frozen=True, kw_only=True)
class ExposureHeader(DetectorNames):
    """The headers of an exposure of NIRCam, as far as the derivation uses them."""

    path: Path
    detector: str
    filter: str
    pupil: str
    mjd: float  # middle of the exposure
    roll: float  # deg, PA_V3: position angle of the V3 axis at the boresight
    pixar_sr: float  # sr, nominal solid angle of a pixel
    shape: tuple[int, int]  # of the data, (ny, nx)
    corner: tuple[int, int]  # full-frame pixel (0-indexed) of the first pixel, (x, y)
    context: str | None = None
    photom: str | None = None
    flat: str | None = None
    photmjsr: float | None = None  # (MJy/sr) / (DN/s)
    status: str | None = None  # COMPLETE where a module offset has been removed
    digest: str | None = None  # content hash of the table that was applied
    s_region: str | None = None  # footprint on the sky
    identity: tuple = ()  # start time and numbers of the observation: one exposure of a detector has them

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def band(self) -> tuple[str, str]:
        """Filter and pupil."""
        return self.filter, self.pupil

    @property
    def jansky(self) -> float:
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.pixar_sr * _JANSKY_PER_MJY

    @property
    def corners(self) -> np.ndarray | None:
        """Corners of the footprint, RA and Dec [deg], (4, 2); None without S_REGION."""
        try:
            words = [float(word) for word in (self.s_region or "").upper().split() if not word.isalpha()]
            return np.array(words).reshape(4, 2)
        except ValueError:
            return None

    @property
    def cells(self) -> set[tuple[int, int]] | None:
        """Cells of the sky, 4 arcsec wide, in the footprint; None if it is not known."""
        corners = self.corners
        if corners is None:
            return None
        side = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        along, across = (grid.ravel()[:, None] for grid in np.meshgrid(side, side))
        corners[:, 0] = corners[0, 0] + (corners[:, 0] - corners[0, 0] + 180) % 360 - 180
        near = (1 - along) * corners[0] + along * corners[1]
        far = (1 - along) * corners[3] + along * corners[2]
        ra, dec = ((1 - across) * near + across * far).T
        row = np.floor(dec * 3600 / _CELL).astype(int)
        width = _CELL / 3600 / np.cos(np.radians(row * _CELL / 3600)).clip(1e-6)
        return set(zip(row.tolist(), np.floor(ra % 360 / width).astype(int).tolist(), strict=True))


def read_header(path: str | Path, *, with_geometry: bool = False) -> ExposureHeader:
    """Read an exposure's headers without its pixels; check its WCS if asked for."""
    path = Path(path)
    state = file_state(path)
    with open_exposure(path) as opened:
        header = _make_header(path, opened.exposure)
        if with_geometry:
            _keep_geometry(header, state, opened)
    return header


def _make_header(path, exposure):
    _check(path, exposure)
    if failed := explain_failed(exposure):
        log.warning("%s: %s", path.name, failed)
    roll = exposure.roll_ref if exposure.pa_v3 is None else exposure.pa_v3
    values = {"roll": roll, "mjd": exposure.start if exposure.middle is None else exposure.middle}
    names = ("filter", "pupil", "pixar_sr", "context", "photom", "flat", "photmjsr", "status", "digest", "s_region")
    values |= {name: getattr(exposure, name) for name in ("detector", "shape", *names)}
    missing = [keyword for name, keyword in _REQUIRED if values[name] is None]
    if missing:
        raise ExposureError(f"{path}: has no {', '.join(missing)} in its headers; give a _cal file of the pipeline")
    for name in ("filter", "pupil"):  # which name figures and files
        if not re.fullmatch(r"[A-Z0-9]+", values[name]):
            raise ExposureError(f"{path}: {name} must be capital letters and digits, got {values[name]!r}")
    if values["pixar_sr"] <= 0:
        raise ExposureError(f"{path}: PIXAR_SR must be positive, got {values['pixar_sr']}")
    values["corner"] = (exposure.xstart or 1) - 1, (exposure.ystart or 1) - 1
    numbers = (exposure.program_number, exposure.observation_number, exposure.visit_number, exposure.visit_group)
    numbers += (exposure.sequence_id, exposure.activity_id, exposure.exposure_number)
    identity = () if exposure.start is None else (exposure.start, *numbers)
    return ExposureHeader(path=path, identity=identity, **values)


def _check(path, exposure):
    if exposure.instrument != "NIRCAM" or exposure.array is None:
        raise ExposureError(
            f"{path}: must be of NIRCam and one of its ten detectors; "
            f"got INSTRUME {exposure.instrument}, DETECTOR {exposure.detector}"
        )
    if exposure.exp_type not in (None, "NRC_IMAGE"):
        raise ExposureError(f"{path}: EXP_TYPE must be NRC_IMAGE; got {exposure.exp_type}")
    if exposure.resample == "COMPLETE":
        raise ExposureError(f"{path}: is a mosaic (S_RESAMP is COMPLETE); give the exposures that it is made of")
    if failed := find_failed(exposure):
        raise ExposureError(f"{path}: {failed}")
    if len(exposure.shape) != 2:
        raise ExposureError(f"{path}: SCI must have two axes; got shape {exposure.shape}")
    if Unit(exposure.unit or "", parse_strict="silent") != Unit("MJy/sr"):
        raise ExposureError(f"{path}: BUNIT must be MJy/sr, as photom makes it; got {exposure.unit}")


@dataclass(frozen=True, eq=False)
class SkyGeometry:
    """The WCS of an exposure."""

    wcs: WCS  # from 0-indexed pixels of the exposure's arrays to RA, Dec [deg], by way of v2v3
    shape: tuple[int, int]  # of the arrays, (ny, nx)

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Find RA, Dec of pixels."""
        return self.wcs(np.asarray(x, float), np.asarray(y, float), with_bounding_box=False)

    def to_v2v3(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Find focal-plane coordinates of pixels."""
        return self.wcs.get_transform("detector", "v2v3")(np.asarray(x, float), np.asarray(y, float))

    def to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Find pixels of sky positions; iterate the WCS's inverse to agree with forward."""
        x, y = (np.asarray(value, float) for value in self.wcs.backward_transform(ra, dec))
        inside = np.flatnonzero(self._is_near(x, y))
        if not inside.size:
            return x, y
        back = np.linalg.inv(self.scale(x[inside], y[inside]))  # it changes by 1e-5 from pixel to pixel
        for _ in range(_NEWTON_STEPS):
            missed = offsets_on_sky(*self.to_sky(x[inside], y[inside]), np.asarray(ra)[inside], np.asarray(dec)[inside])
            step = np.einsum("nij,jn->in", back, missed)
            x[inside], y[inside] = x[inside] + step[0], y[inside] + step[1]
        return x, y

    def scale(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Find matrices from pixels to arcsec on the sky, east and north: (n, 2, 2)."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        # One evaluation of the WCS, whose time hardly depends on the number of places.
        ra, dec = self.to_sky([x - _STEP, x + _STEP, x, x], [y, y, y - _STEP, y + _STEP])
        along = [np.stack(offsets_on_sky(ra[i], dec[i], ra[i + 1], dec[i + 1]), axis=-1) for i in (0, 2)]
        return np.stack(along, axis=-1) / (2 * _STEP)

    def _is_near(self, x, y):
        ny, nx = self.shape
        return (x > -_MARGIN) & (x < nx + _MARGIN) & (y > -_MARGIN) & (y < ny + _MARGIN)


def offsets_on_sky(ra_0: ArrayLike, dec_0: ArrayLike, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Compute small offsets on the sky, east and north [arcsec]."""
    delta = (np.asarray(ra) - ra_0 + 180) % 360 - 180
    return delta * np.cos(np.radians(dec_0)) * 3600, (np.asarray(dec) - dec_0) * 3600


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Convert sky positions to unit vectors: regular at the poles and at RA = 0."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def shift_on_sky(ra: np.ndarray, dec: np.ndarray, east: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    """Shift sky positions by a small offset [arcsec]."""
    return (ra + east / 3600 / np.cos(np.radians(dec))) % 360, dec + north / 3600


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """The pixels of an exposure."""

    header: ExposureHeader
    data: np.ndarray  # MJy/sr
    err: np.ndarray  # MJy/sr
    bad: np.ndarray  # bool
    saturated: np.ndarray  # bool
    area: np.ndarray  # solid angle of each pixel over the nominal one
    geometry: SkyGeometry


def read_frame(header: ExposureHeader) -> Frame:
    """Read the pixels and the WCS of an exposure."""
    with open_exposure(header.path) as opened:
        arrays = {name: _read_array(header, opened, name) for name in ("data", "err", "dq", "area")}
    geometry = read_geometry(header)
    flags = arrays.pop("dq")
    bad = ~(np.isfinite(arrays["data"]) & (arrays["err"] > 0)) | ((flags & _DO_NOT_USE) != 0)
    if bad.all():
        raise PhotometryError(
            f"{header.path}: has no good pixel: all are not finite or flagged DO_NOT_USE; leave it out"
        )
    return Frame(header=header, bad=bad, saturated=(flags & _SATURATED) != 0, geometry=geometry, **arrays)


def read_geometry(header: ExposureHeader) -> SkyGeometry:
    """Read an exposure's WCS once, without pixels: it takes longer than the pixels."""
    state = file_state(header.path)
    if (header, state) not in _geometries:
        with open_exposure(header.path) as opened:
            _keep_geometry(header, state, opened)
    return _geometries[header, state]


_geometries: dict[tuple, SkyGeometry] = {}  # of the last files, by header and state


def _keep_geometry(header, state, opened):
    wcs = opened.wcs
    if wcs is None or "v2v3" not in getattr(wcs, "available_frames", ()):
        raise ExposureError(f"{header.path}: has no gWCS with a v2v3 frame, which assign_wcs writes")
    if len(_geometries) >= _MOST_GEOMETRIES:
        _geometries.pop(next(iter(_geometries)))
    _geometries[header, state] = SkyGeometry(wcs, header.shape)


def _read_array(header, opened: OpenExposure, name):
    array = opened.array(name)
    if array is None:
        raise ExposureError(f"{header.path}: must have the extensions SCI, ERR, DQ and AREA; it has no {name.upper()}")
    if array.shape != header.shape:
        raise ExposureError(f"{header.path}: {name.upper()} must have the shape of SCI, {header.shape}")
    return array.astype(np.uint32 if name == "dq" else np.float32, copy=False)


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
