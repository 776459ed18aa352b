"""One exposure in memory: pixels, and the transforms between them and the sky."""

from dataclasses import dataclass

import numpy as np
from gwcs import WCS
from numpy.typing import ArrayLike

from jwst_modfix.errors import ExposureError, PhotometryError
from jwst_modfix.exposure import OpenExposure, open_exposure
from jwst_modfix.photometry.headers import ExposureHeader

_DO_NOT_USE, _SATURATED = 1, 2  # bits of the DQ array
_STEP = 0.5  # pixel, for derivatives of the WCS
_NEWTON_STEPS = 2
_MARGIN = 100.0  # pixels around the array within which the inverse is improved


@dataclass(frozen=True, eq=False)
class SkyGeometry:
    """The WCS of an exposure."""

    wcs: WCS  # from 0-indexed pixels of the exposure's arrays to RA, Dec [deg], by way of v2v3
    shape: tuple[int, int]  # of the arrays, (ny, nx)

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """RA, Dec of pixels."""
        return self.wcs(np.asarray(x, float), np.asarray(y, float), with_bounding_box=False)

    def to_v2v3(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Focal-plane coordinates of pixels."""
        return self.wcs.get_transform("detector", "v2v3")(np.asarray(x, float), np.asarray(y, float))

    def to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Pixels of sky positions; the WCS's own inverse, improved until the forward transform agrees."""
        x, y = (np.asarray(value, float) for value in self.wcs.backward_transform(ra, dec))
        inside = np.flatnonzero(self._is_near(x, y))
        for _ in range(_NEWTON_STEPS if inside.size else 0):
            at = x[inside], y[inside]
            missed = np.stack(offsets(*self.to_sky(*at), np.asarray(ra)[inside], np.asarray(dec)[inside]), axis=-1)
            step = np.linalg.solve(self.scale(*at), missed[..., None])[..., 0]
            x[inside], y[inside] = at[0] + step[:, 0], at[1] + step[:, 1]
        return x, y

    def scale(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Matrices from pixels to arcsec on the sky, east and north, shape (n, 2, 2)."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        along_x = offsets(*self.to_sky(x - _STEP, y), *self.to_sky(x + _STEP, y))
        along_y = offsets(*self.to_sky(x, y - _STEP), *self.to_sky(x, y + _STEP))
        return np.stack([np.stack(along_x, -1), np.stack(along_y, -1)], axis=-1) / (2 * _STEP)

    def _is_near(self, x, y):
        ny, nx = self.shape
        return (x > -_MARGIN) & (x < nx + _MARGIN) & (y > -_MARGIN) & (y < ny + _MARGIN)


def offsets(ra_0: ArrayLike, dec_0: ArrayLike, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Small offsets on the sky, east and north [arcsec]."""
    delta = (np.asarray(ra) - ra_0 + 180) % 360 - 180
    return delta * np.cos(np.radians(dec_0)) * 3600, (np.asarray(dec) - dec_0) * 3600


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Convert sky positions to unit vectors, which have no singularity at the pole or at RA = 0."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def shift_on_sky(ra: np.ndarray, dec: np.ndarray, east: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    """Shift sky positions by a small offset [arcsec]."""
    return (ra + east / 3600 / np.cos(np.radians(dec))) % 360, dec + north / 3600


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """The pixels of an exposure."""

    header: ExposureHeader
    data: np.ndarray
    err: np.ndarray
    bad: np.ndarray
    saturated: np.ndarray
    area: np.ndarray
    geometry: SkyGeometry

    @property
    def jansky(self):
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.header.jansky


def read_frame(header: ExposureHeader) -> Frame:
    """Read the pixels and the WCS of an exposure."""
    with open_exposure(header.path) as opened:
        arrays = {name: _read_array(header, opened, name) for name in ("data", "err", "dq", "area")}
        geometry = _read_geometry(header, opened)
    flags = arrays.pop("dq")
    bad = ~(np.isfinite(arrays["data"]) & (arrays["err"] > 0)) | ((flags & _DO_NOT_USE) != 0)
    if bad.all():
        raise PhotometryError(
            f"{header.path}: has no good pixel: all are not finite or flagged DO_NOT_USE; leave it out"
        )
    return Frame(header=header, bad=bad, saturated=(flags & _SATURATED) != 0, geometry=geometry, **arrays)


def read_geometry(header: ExposureHeader) -> SkyGeometry:
    """Read the WCS of an exposure, and no pixels."""
    with open_exposure(header.path) as opened:
        return _read_geometry(header, opened)


def _read_array(header, opened: OpenExposure, name):
    array = opened.array(name)
    if array is None:
        raise ExposureError(f"{header.path}: must have the extensions SCI, ERR, DQ and AREA; it has no {name.upper()}")
    if array.shape != header.shape:
        raise ExposureError(f"{header.path}: {name.upper()} must have the shape of SCI, {header.shape}")
    return array.astype(np.uint32 if name == "dq" else np.float32, copy=False)


def _read_geometry(header, opened):
    wcs = opened.wcs
    if wcs is None or "v2v3" not in getattr(wcs, "available_frames", ()):
        raise ExposureError(f"{header.path}: has no gWCS with a v2v3 frame, which assign_wcs writes")
    return SkyGeometry(wcs, header.shape)
