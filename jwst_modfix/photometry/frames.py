"""One exposure in memory: its pixels, and the ways from them to the sky."""

import io
import warnings
from dataclasses import dataclass

import asdf
import numpy as np
from astropy.io import fits

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.headers import ExposureHeader

__all__ = ["Frame", "read_frame"]

_DO_NOT_USE, _SATURATED = 1, 2  # bits of the DQ array
_MICRO = 1e6  # Jy per MJy
_STEP = 0.5  # pixel, for derivatives of the WCS
_NEWTON_STEPS = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """
    The pixels of an exposure.

    Parameters
    ----------
    header : ExposureHeader
        Its headers.
    data, err : numpy.ndarray, shape (ny, nx)
        Surface brightness and its standard error [MJy/sr].
    bad, saturated : numpy.ndarray of bool, shape (ny, nx)
        Pixels that hold no measurement (DO_NOT_USE, or not finite), and those flagged SATURATED.
    area : numpy.ndarray, shape (ny, nx)
        Area of each pixel over the nominal one.
    wcs : gwcs.WCS
        From 0-indexed pixels of these arrays to RA, Dec [deg], by way of ``v2v3``.
    """

    header: ExposureHeader
    data: np.ndarray
    err: np.ndarray
    bad: np.ndarray
    saturated: np.ndarray
    area: np.ndarray
    wcs: object

    @property
    def jansky(self):
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.header.pixar_sr * _MICRO

    def to_sky(self, x, y):
        """
        RA, Dec of pixels.

        Parameters
        ----------
        x, y : array_like, shape (n,)
            Place in these arrays [0-indexed pixel].

        Returns
        -------
        ra, dec : numpy.ndarray, shape (n,)
            On the sky [deg].
        """
        return self.wcs(np.asarray(x, float), np.asarray(y, float), with_bounding_box=False)

    def to_v2v3(self, x, y):
        """
        Focal-plane coordinates of pixels.

        Parameters
        ----------
        x, y : array_like, shape (n,)
            Place in these arrays [0-indexed pixel].

        Returns
        -------
        v2, v3 : numpy.ndarray, shape (n,)
            In the telescope frame [arcsec].
        """
        return self.wcs.get_transform("detector", "v2v3")(np.asarray(x, float), np.asarray(y, float))

    def to_pixel(self, ra, dec):
        """
        Pixels of sky positions; the WCS's own inverse, improved until the forward transform agrees.

        Parameters
        ----------
        ra, dec : array_like, shape (n,)
            On the sky [deg].

        Returns
        -------
        x, y : numpy.ndarray, shape (n,)
            Place in these arrays [0-indexed pixel]; far outside, where the distortion says nothing, it is rough.
        """
        x, y = (np.asarray(value, float) for value in self.wcs.backward_transform(ra, dec))
        inside = np.flatnonzero(self._is_near(x, y))
        for _ in range(_NEWTON_STEPS if inside.size else 0):
            at = x[inside], y[inside]
            missed = np.stack(offsets(*self.to_sky(*at), np.asarray(ra)[inside], np.asarray(dec)[inside]), axis=-1)
            step = np.linalg.solve(self.scale(*at), missed[..., None])[..., 0]
            x[inside], y[inside] = at[0] + step[:, 0], at[1] + step[:, 1]
        return x, y

    def scale(self, x, y):
        """
        Local scale of the WCS.

        Parameters
        ----------
        x, y : array_like, shape (n,)
            Place in these arrays [0-indexed pixel].

        Returns
        -------
        numpy.ndarray, shape (n, 2, 2)
            Offset on the sky, east and north [arcsec], per pixel along x and along y.
        """
        x, y = np.asarray(x, float), np.asarray(y, float)
        along_x = offsets(*self.to_sky(x - _STEP, y), *self.to_sky(x + _STEP, y))
        along_y = offsets(*self.to_sky(x, y - _STEP), *self.to_sky(x, y + _STEP))
        return np.stack([np.stack(along_x, -1), np.stack(along_y, -1)], axis=-1) / (2 * _STEP)

    def _is_near(self, x, y, margin=100.0):
        ny, nx = self.data.shape
        return (x > -margin) & (x < nx + margin) & (y > -margin) & (y < ny + margin)


def offsets(ra_0, dec_0, ra, dec):
    """
    Small offsets on the sky.

    Parameters
    ----------
    ra_0, dec_0 : array_like
        From there [deg].
    ra, dec : array_like
        To there [deg].

    Returns
    -------
    east, north : numpy.ndarray
        Offset [arcsec].
    """
    delta = (np.asarray(ra) - ra_0 + 180) % 360 - 180
    return delta * np.cos(np.radians(dec_0)) * 3600, (np.asarray(dec) - dec_0) * 3600


def read_frame(header):
    """
    Read the pixels and the WCS of an exposure.

    Parameters
    ----------
    header : ExposureHeader
        As from `~jwst_modfix.photometry.headers.read_header`.

    Returns
    -------
    Frame
        The exposure.

    Raises
    ------
    PhotometryError
        It cannot be read, lacks an array or a WCS with a v2v3 frame, or has no good pixel; names the file.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="File may have been truncated")
            with fits.open(header.path, memmap=False) as hdulist:
                arrays = {name: _native(header, hdulist, name) for name in ("SCI", "ERR", "AREA", "DQ")}
                wcs = _read_wcs(header, hdulist["ASDF"].data.tobytes())
    except (OSError, UserWarning, TypeError, fits.VerifyError) as error:
        raise PhotometryError(f"{header.path}: cannot be read as FITS: {error}") from error
    bad = ~(np.isfinite(arrays["SCI"]) & (arrays["ERR"] > 0)) | ((arrays["DQ"] & _DO_NOT_USE) != 0)
    if bad.all():
        raise PhotometryError(f"{header.path}: has no good pixel: all are not finite or flagged DO_NOT_USE")
    saturated = (arrays["DQ"] & _SATURATED) != 0
    data, err, area = arrays["SCI"], arrays["ERR"], arrays["AREA"]
    return Frame(header=header, data=data, err=err, bad=bad, saturated=saturated, area=area, wcs=wcs)


def _native(header, hdulist, name):
    """Array of an extension, in this machine's byte order."""
    if name not in hdulist:
        raise PhotometryError(f"{header.path}: must have the extensions SCI, ERR, DQ and AREA; it has no {name}")
    data = hdulist[name].data
    if data is None or data.shape != header.shape:
        raise PhotometryError(f"{header.path}: {name} must have the shape of SCI, {header.shape}")
    return data.astype(np.uint32 if name == "DQ" else np.float32)


def _read_wcs(header, content):
    try:
        with asdf.open(io.BytesIO(content)) as file:
            wcs = file["meta"].get("wcs")
    except (ValueError, KeyError, OSError) as error:
        raise PhotometryError(f"{header.path}: its ASDF extension, with the gWCS, cannot be read: {error}") from error
    if wcs is None or "v2v3" not in getattr(wcs, "available_frames", ()):
        raise PhotometryError(f"{header.path}: has no gWCS with a v2v3 frame, which assign_wcs writes")
    return wcs
