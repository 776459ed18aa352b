"""Where the telescope points: from V2, V3 to the sky and back, exactly, on the sphere."""

from dataclasses import dataclass

import numpy as np

__all__ = ["MODULE_MIDPOINT", "Attitude", "offset_on_sky"]

MODULE_MIDPOINT = (-1.738131, -492.431332)
"""V2, V3 of the point midway between the long-wavelength arrays [arcsec], from NRCA5_FULL and NRCB5_FULL."""


def _rotation(axis, angle):
    """Rotate the frame about axis 0, 1 or 2 by an angle [deg]."""
    sin, cos = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    matrix = np.eye(3)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix[first, first] = matrix[second, second] = cos
    matrix[first, second], matrix[second, first] = sin, -sin
    return matrix


def _to_vector(longitude, latitude):
    longitude, latitude = np.deg2rad(longitude), np.deg2rad(latitude)
    cos = np.cos(latitude)
    return np.stack(np.broadcast_arrays(cos * np.cos(longitude), cos * np.sin(longitude), np.sin(latitude)))


def _to_angles(vector):
    return np.rad2deg(np.arctan2(vector[1], vector[0])), np.rad2deg(np.arcsin(np.clip(vector[2], -1, 1)))


@dataclass(frozen=True, kw_only=True)
class Attitude:
    """
    A pointing of the telescope.

    Parameters
    ----------
    ra, dec : float
        The sky position that the point (`v2`, `v3`) looks at [deg].
    roll : float
        Position angle of the V3 axis at that point, east of north [deg].
    v2, v3 : float
        The point of the telescope frame [arcsec]; the module midpoint unless given.
    """

    ra: float
    dec: float
    roll: float
    v2: float = MODULE_MIDPOINT[0]
    v3: float = MODULE_MIDPOINT[1]

    @property
    def matrix(self):
        """Rotation from telescope to celestial unit vectors, shape (3, 3)."""
        telescope = _rotation(1, -self.v3 / 3600) @ _rotation(2, self.v2 / 3600)
        sky = _rotation(1, -self.dec) @ _rotation(2, self.ra)
        return sky.T @ _rotation(0, self.roll) @ telescope

    def v2v3_to_sky(self, v2, v3):
        """
        Sky position of telescope coordinates.

        Parameters
        ----------
        v2, v3 : array_like
            Telescope coordinates [arcsec].

        Returns
        -------
        ra, dec : ndarray
            Sky position [deg], RA from 0 to 360.
        """
        vector = _to_vector(np.asarray(v2) / 3600, np.asarray(v3) / 3600)
        ra, dec = _to_angles(np.tensordot(self.matrix, vector, 1))
        return ra % 360, dec

    def sky_to_v2v3(self, ra, dec):
        """
        Telescope coordinates of sky positions.

        Parameters
        ----------
        ra, dec : array_like
            Sky position [deg].

        Returns
        -------
        v2, v3 : ndarray
            Telescope coordinates [arcsec].
        """
        v2, v3 = _to_angles(np.tensordot(self.matrix.T, _to_vector(ra, dec), 1))
        return v2 * 3600, v3 * 3600

    def roll_at(self, v2, v3):
        """
        Position angle of the V3 axis at a point.

        Parameters
        ----------
        v2, v3 : float
            The point [arcsec].

        Returns
        -------
        float
            Position angle, east of north [deg], from 0 to 360.
        """
        ra, dec = self.v2v3_to_sky(v2, v3)
        longitude, latitude = np.deg2rad(v2 / 3600), np.deg2rad(v3 / 3600)
        v3_axis = self.matrix @ np.array(
            [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)]
        )
        ra, dec = np.deg2rad(ra), np.deg2rad(dec)
        east = np.array([-np.sin(ra), np.cos(ra), 0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        return float(np.rad2deg(np.arctan2(v3_axis @ east, v3_axis @ north)) % 360)


def offset_on_sky(ra, dec, east, north):
    """
    Move a sky position by small offsets in its tangent plane.

    Parameters
    ----------
    ra, dec : float
        Sky position [deg].
    east, north : array_like
        Offsets [arcsec].

    Returns
    -------
    ra, dec : ndarray
        The new position [deg].
    """
    here = _rotation(1, -dec) @ _rotation(2, ra)
    east, north = np.deg2rad(np.asarray(east) / 3600), np.deg2rad(np.asarray(north) / 3600)
    vector = np.stack(np.broadcast_arrays(np.ones_like(east), east, north))
    new_ra, new_dec = _to_angles(np.tensordot(here.T, vector / np.linalg.norm(vector, axis=0), 1))
    return new_ra % 360, new_dec
