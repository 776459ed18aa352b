"""Aperture photometry of calibrated exposures: one source, one aperture on the sky, whichever array sees it."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table
from photutils.aperture import CircularAnnulus, CircularAperture
from photutils.segmentation import SourceCatalog, detect_sources
from scipy.ndimage import gaussian_filter
from stdatamodels.jwst.datamodels.dqflags import pixel as flags

__all__ = ["find_sources", "measure_fluxes", "observed_surface"]

# Arcsec: the same patch of sky in every array, whatever the size of its pixels.
_RADIUS = {"SHORT": 0.16, "LONG": 0.32}
_CORE = {"SHORT": 0.065, "LONG": 0.13}
_ANNULUS = {"SHORT": (0.6, 1.0), "LONG": (0.9, 1.5)}
_DETECTION = 20.0  # sigma, per pixel of the smoothed image
_UNUSABLE = flags["DO_NOT_USE"] | flags["SATURATED"]


def find_sources(model):
    """
    Find bright sources in an exposure.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.ImageModel
        The exposure.

    Returns
    -------
    ra, dec : numpy.ndarray
        Their positions [deg].
    """
    data = observed_surface(model)
    data -= np.median(data)
    smooth = gaussian_filter(data, 1.0)
    noise = 1.4826 * np.median(np.abs(smooth))
    catalog = SourceCatalog(smooth, detect_sources(smooth, _DETECTION * noise, 5))
    return model.meta.wcs(*catalog.centroid.T)


def measure_fluxes(model, ra, dec):
    """
    Measure the flux of sources in an exposure.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.ImageModel
        The exposure.
    ra, dec : numpy.ndarray, shape (n,)
        Positions [deg].

    Returns
    -------
    astropy.table.Table
        ``flux`` and ``error`` [MJy], not-a-number where the source is off the array or its core is lost, and the
        position ``v2`` [arcsec] in the focal plane.
    """
    x, y = model.meta.wcs.get_transform("world", "detector")(ra, dec)
    v2, _ = model.meta.wcs.get_transform("detector", "v2v3")(x, y)
    frame = _Frame(
        data=observed_surface(model),
        variance=np.where(np.isfinite(model.err), model.err, 0) ** 2,
        area=model.area,
        lost=(model.dq & _UNUSABLE) != 0,
        channel=model.meta.instrument.channel,
        nominal_scale=np.sqrt(model.meta.photometry.pixelarea_arcsecsq),
    )
    results = [frame.measure(*position) for position in zip(x, y, strict=True)]
    flux, error = np.transpose(results) * model.meta.photometry.pixelarea_steradians
    return Table({"flux": flux, "error": error, "v2": v2})


def observed_surface(model):
    """
    Give the data of an exposure, with lost pixels filled from their neighbours.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.ImageModel
        The exposure.

    Returns
    -------
    numpy.ndarray, shape (ny, nx)
        Surface brightness [MJy/sr].
    """
    good = np.isfinite(model.data)
    data = np.where(good, model.data, 0)
    weight = gaussian_filter(np.float32(good), 1.0)
    filled = gaussian_filter(data, 1.0) / np.maximum(weight, 1e-6)
    return np.where(good, data, filled)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """What photometry needs of an exposure."""

    data: np.ndarray
    variance: np.ndarray
    area: np.ndarray
    lost: np.ndarray
    channel: str
    nominal_scale: float

    def measure(self, x, y):
        """Sum (data - sky) * AREA over the aperture, the sky being the median of the annulus."""
        scale = self._scale(x, y)
        inner, outer = (radius / scale for radius in _ANNULUS[self.channel])
        if not (outer < x < self.data.shape[1] - 1 - outer and outer < y < self.data.shape[0] - 1 - outer):
            return np.nan, np.nan
        core = CircularAperture((x, y), _CORE[self.channel] / scale).to_mask(method="center")
        if core.get_values(self.lost).any():
            return np.nan, np.nan
        sky = np.median(CircularAnnulus((x, y), inner, outer).to_mask(method="center").get_values(self.data))
        aperture = CircularAperture((x, y), _RADIUS[self.channel] / scale).to_mask(method="exact")
        area = aperture.data * aperture.cutout(self.area)
        flux = np.sum((aperture.cutout(self.data) - sky) * area)
        return flux, np.sqrt(np.sum(aperture.cutout(self.variance) * area**2))

    def _scale(self, x, y):
        """Size of a pixel at a place of the array [arcsec]."""
        row, column = (int(np.clip(value, 0, size - 1)) for value, size in zip((y, x), self.area.shape, strict=True))
        return self.nominal_scale * np.sqrt(self.area[row, column])
