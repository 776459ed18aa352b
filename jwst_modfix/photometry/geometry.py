"""The ways between the pixels of an exposure, the focal plane and the sky, and small ones on the sky."""

from dataclasses import dataclass

import numpy as np

__all__ = ["SkyGeometry", "offsets", "shift_on_sky", "unit_vectors"]

_STEP = 0.5  # pixel, for derivatives of the WCS
_NEWTON_STEPS = 2
_MARGIN = 100.0  # pixels around the array within which the inverse is improved


@dataclass(frozen=True, eq=False)
class SkyGeometry:
    """
    The WCS of an exposure.

    Parameters
    ----------
    wcs : gwcs.WCS
        From 0-indexed pixels of the exposure's arrays to RA, Dec [deg], by way of ``v2v3``.
    shape : tuple of int
        Shape of the arrays, (ny, nx).
    """

    wcs: object
    shape: tuple[int, int]

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

    def _is_near(self, x, y):
        ny, nx = self.shape
        return (x > -_MARGIN) & (x < nx + _MARGIN) & (y > -_MARGIN) & (y < ny + _MARGIN)


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


def unit_vectors(ra, dec):
    """
    Turn sky positions into unit vectors, which know no pole and no RA = 0.

    Parameters
    ----------
    ra, dec : array_like, shape (n,)
        On the sky [deg].

    Returns
    -------
    numpy.ndarray, shape (n, 3)
        Unit vectors.
    """
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def shift_on_sky(ra, dec, east, north):
    """
    Shift sky positions by a small offset.

    Parameters
    ----------
    ra, dec : numpy.ndarray, shape (n,)
        On the sky [deg].
    east, north : float
        Offset [arcsec].

    Returns
    -------
    ra, dec : numpy.ndarray, shape (n,)
        On the sky [deg].
    """
    return (ra + east / 3600 / np.cos(np.radians(dec))) % 360, dec + north / 3600
