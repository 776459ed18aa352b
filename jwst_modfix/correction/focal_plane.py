"""Coordinate u along a gradient [arcmin], in each of the frames that a gradient can be fixed to."""

import numpy as np

__all__ = ["along_detector", "along_focal_plane", "along_sky", "project"]


def along_focal_plane(v2, v3, origin, direction):
    """
    Coordinate along a direction of the telescope's focal plane.

    Parameters
    ----------
    v2, v3 : array_like
        Position [arcsec], of one shape.
    origin : tuple of float
        V2, V3 where u = 0 [arcsec].
    direction : float
        From +V3 toward +V2 [deg].

    Returns
    -------
    numpy.ndarray
        u [arcmin], of the same shape.
    """
    sine, cosine = _sine_cosine(direction)
    return ((np.asarray(v2) - origin[0]) * sine + (np.asarray(v3) - origin[1]) * cosine) / 60


def along_detector(x, y, origin, direction, scale):
    """
    Coordinate along a direction of one detector.

    Parameters
    ----------
    x, y : array_like
        Position in the full-frame SCI frame [0-indexed pixel], of one shape.
    origin : tuple of float
        x, y where u = 0 [0-indexed pixel].
    direction : float
        From +x toward +y [deg].
    scale : tuple of float
        Size of a pixel along x and y [arcsec].

    Returns
    -------
    numpy.ndarray
        u [arcmin], of the same shape.
    """
    sine, cosine = _sine_cosine(direction)
    along_x = (np.asarray(x) - origin[0]) * scale[0]
    along_y = (np.asarray(y) - origin[1]) * scale[1]
    return (along_x * cosine + along_y * sine) / 60


def along_sky(ra, dec, origin, direction):
    """
    Coordinate along a position angle of the sky, in the tangent plane of the origin.

    Parameters
    ----------
    ra, dec : array_like
        Position [deg], of one shape.
    origin : tuple of float
        RA, Dec where u = 0 [deg].
    direction : float
        Position angle, east of north [deg].

    Returns
    -------
    numpy.ndarray
        u [arcmin], of the same shape.
    """
    sine, cosine = _sine_cosine(direction)
    east, north = project(ra, dec, origin)
    return (east * sine + north * cosine) * 60


def project(ra, dec, origin):
    """
    Project the sky onto the tangent plane of a place.

    Parameters
    ----------
    ra, dec : array_like
        Position [deg], of one shape.
    origin : tuple of float
        RA, Dec of the place [deg].

    Returns
    -------
    east, north : numpy.ndarray
        In the plane [deg], of the same shape.
    """
    delta_ra, dec, dec0 = np.radians(np.asarray(ra) - origin[0]), np.radians(dec), np.radians(origin[1])
    depth = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(delta_ra)
    east = np.cos(dec) * np.sin(delta_ra) / depth
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(delta_ra)) / depth
    return np.degrees(east), np.degrees(north)


def _sine_cosine(direction):
    return np.sin(np.radians(direction)), np.cos(np.radians(direction))
