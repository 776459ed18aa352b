"""One exposure in memory: its pixels, and the ways from them to the sky."""

import functools
import io
from dataclasses import dataclass

import asdf
import numpy as np

from jwst_modfix.embedded import refuse_hostile
from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.geometry import SkyGeometry
from jwst_modfix.photometry.headers import ExposureHeader, open_hdus

__all__ = ["Frame", "read_frame", "read_geometry"]

_DO_NOT_USE, _SATURATED = 1, 2  # bits of the DQ array
_KEPT = 256  # WCSs kept in memory, of about 0.4 MB each


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
    geometry : SkyGeometry
        Its WCS.
    """

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
    with open_hdus(header.path, memmap=False) as hdulist:
        arrays = {name: _native(header, hdulist, name) for name in ("SCI", "ERR", "AREA", "DQ")}
        geometry = _parse_geometry(header, hdulist["ASDF"].data.tobytes())
    bad = ~(np.isfinite(arrays["SCI"]) & (arrays["ERR"] > 0)) | ((arrays["DQ"] & _DO_NOT_USE) != 0)
    if bad.all():
        raise PhotometryError(
            f"{header.path}: has no good pixel: all are not finite or flagged DO_NOT_USE; leave it out"
        )
    saturated = (arrays["DQ"] & _SATURATED) != 0
    data, err, area = arrays["SCI"], arrays["ERR"], arrays["AREA"]
    return Frame(header=header, data=data, err=err, bad=bad, saturated=saturated, area=area, geometry=geometry)


def read_geometry(header):
    """
    Read the WCS of an exposure, and no pixels.

    Parameters
    ----------
    header : ExposureHeader
        As from `~jwst_modfix.photometry.headers.read_header`.

    Returns
    -------
    SkyGeometry
        The WCS.

    Raises
    ------
    PhotometryError
        It cannot be read, or has no v2v3 frame; names the file.
    """
    with open_hdus(header.path, memmap=False) as hdulist:
        return _parse_geometry(header, hdulist["ASDF"].data.tobytes())


def _native(header, hdulist, name):
    """Array of an extension, in this machine's byte order."""
    if name not in hdulist:
        raise PhotometryError(f"{header.path}: must have the extensions SCI, ERR, DQ and AREA; it has no {name}")
    data = hdulist[name].data
    if data is None or data.shape != header.shape:
        raise PhotometryError(f"{header.path}: {name} must have the shape of SCI, {header.shape}")
    return data.astype(np.uint32 if name == "DQ" else np.float32)


def _parse_geometry(header, content):
    try:
        wcs = _parse_wcs(content)
    except Exception as error:  # whatever the converters of a damaged tree raise
        raise PhotometryError(f"{header.path}: its ASDF extension, with the gWCS, cannot be read: {error}") from error
    if wcs is None or "v2v3" not in getattr(wcs, "available_frames", ()):
        raise PhotometryError(f"{header.path}: has no gWCS with a v2v3 frame, which assign_wcs writes")
    return SkyGeometry(wcs, header.shape)


@functools.lru_cache(maxsize=_KEPT)
def _parse_wcs(content):
    """Find the gWCS in the bytes of an ASDF file; an exposure is read two or three times."""
    refuse_hostile(content)
    loaded = asdf.get_config()
    loaded.extensions, loaded.resource_manager  # noqa: B018  # once for all: a context begins with what is loaded
    with asdf.config_context() as config:
        config.validate_on_read = False  # schemas take longer than the WCS, and what is no WCS is refused anyway
        with asdf.open(io.BytesIO(content)) as file:
            return file["meta"].get("wcs")
