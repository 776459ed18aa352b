"""From pixels of a NIRCam detector to V2, V3 and back: the distortion polynomials of the SIAF."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import polynomial

from jwst_modfix.simulate.siaf import read_aperture

__all__ = ["FULL_FRAME", "SQUARE_ARCSEC", "DetectorGeometry", "detector_geometry"]

FULL_FRAME = 2048
"""Pixels along each side of a detector."""

SQUARE_ARCSEC = np.deg2rad(1 / 3600) ** 2  # sr


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorGeometry:
    """
    The geometry of one detector in the full-frame SCI frame, with 0-indexed pixels.

    Parameters
    ----------
    detector : str
        Name of the detector, such as ``"NRCA1"`` or ``"NRCBLONG"``.
    aperture : str
        Name of the SIAF aperture that it was read from.
    x_ref, y_ref : float
        Reference pixel, 0-indexed.
    v2_ref, v3_ref : float
        The reference pixel in the telescope frame [arcsec].
    v3_idl_yangle : float
        Angle from V3 to the y axis of the Ideal frame [deg].
    parity : int
        Parity of the Ideal frame relative to V2, V3.
    sci_to_idl, idl_to_sci : ndarray, shape (2, 6, 6)
        Coefficients of x and y, [axis, power of x, power of y], in pixels and arcsec.
    """

    detector: str
    aperture: str
    x_ref: float
    y_ref: float
    v2_ref: float
    v3_ref: float
    v3_idl_yangle: float
    parity: int
    sci_to_idl: np.ndarray
    idl_to_sci: np.ndarray

    @property
    def module(self):
        """The module, ``"A"`` or ``"B"``."""
        return self.detector[3]

    @property
    def array(self):
        """The array ID that both modules share: ``"1"`` to ``"4"`` or ``"long"``."""
        return self.detector[4:].lower()

    @property
    def channel(self):
        """``"LONG"`` or ``"SHORT"``, as in the ``CHANNEL`` keyword."""
        return "LONG" if self.array == "long" else "SHORT"

    @property
    def idl_to_v2v3(self):
        """Matrix from the Ideal frame to V2, V3 about the reference point, shape (2, 2)."""
        sin, cos = np.sin(np.deg2rad(self.v3_idl_yangle)), np.cos(np.deg2rad(self.v3_idl_yangle))
        return np.array([[self.parity * cos, sin], [-self.parity * sin, cos]])

    def pixel_to_v2v3(self, x, y):
        """
        Telescope coordinates of pixels.

        Parameters
        ----------
        x, y : array_like
            Full-frame pixel coordinates, 0-indexed; they broadcast.

        Returns
        -------
        ndarray, shape (2, ...)
            V2 and V3 [arcsec].
        """
        ideal = _evaluate(self.sci_to_idl, x - self.x_ref, y - self.y_ref)
        return self._ideal_to_v2v3(ideal)

    def grid_to_v2v3(self, x, y):
        """
        Telescope coordinates of every pixel of a grid, much faster than pixel by pixel.

        Parameters
        ----------
        x : array_like, shape (nx,)
            Full-frame columns, 0-indexed.
        y : array_like, shape (ny,)
            Full-frame rows, 0-indexed.

        Returns
        -------
        ndarray, shape (2, ny, nx)
            V2 and V3 [arcsec].
        """
        return self._ideal_to_v2v3(_evaluate_grid(self.sci_to_idl, x - self.x_ref, y - self.y_ref))

    def v2v3_to_pixel(self, v2, v3):
        """
        Find the pixels at telescope coordinates, exact to 1e-8 pixel, by Newton's method.

        The inverse polynomials of the SIAF, good to 5e-4 pixel, are the first guess.

        Parameters
        ----------
        v2, v3 : array_like
            Telescope coordinates [arcsec].

        Returns
        -------
        ndarray, shape (2, ...)
            Full-frame x and y, 0-indexed; meaningful on the detector and near its edges only.
        """
        offset = np.stack([np.asarray(v2, float) - self.v2_ref, np.asarray(v3, float) - self.v3_ref])
        ideal = np.tensordot(self.idl_to_v2v3.T, offset, 1)
        pixel = _evaluate(self.idl_to_sci, *ideal)
        for _ in range(2):
            pixel = pixel - self._newton_step(pixel, ideal)
        return pixel + np.reshape([self.x_ref, self.y_ref], (2,) + (1,) * (pixel.ndim - 1))

    def pixel_area(self, x, y):
        """
        Solid angle of pixels: the Jacobian of the distortion.

        Parameters
        ----------
        x : array_like, shape (nx,)
            Full-frame columns, 0-indexed.
        y : array_like, shape (ny,)
            Full-frame rows, 0-indexed.

        Returns
        -------
        ndarray, shape (ny, nx)
            Area [arcsec2].
        """
        (xx, xy), (yx, yy) = _derivatives(self.sci_to_idl, x - self.x_ref, y - self.y_ref, _evaluate_grid)
        return np.abs(xx * yy - xy * yx)

    @property
    def pixel_scales(self):
        """Local pixel scales along x and y at the central pixel, (1023.5, 1023.5) [arcsec/pixel]."""
        center = np.array((FULL_FRAME - 1) / 2)
        slopes = _derivatives(self.sci_to_idl, center - self.x_ref, center - self.y_ref, _evaluate)
        return tuple(float(scale) for scale in np.hypot(slopes[0], slopes[1]))

    @property
    def nominal_area(self):
        """Area of a pixel at the reference point, ``PIXAR_A2`` [arcsec2]."""
        return float(self.pixel_area(np.array([self.x_ref]), np.array([self.y_ref]))[0, 0])

    @property
    def nominal_solid_angle(self):
        """Area of a pixel at the reference point, ``PIXAR_SR`` [sr]."""
        return self.nominal_area * SQUARE_ARCSEC

    def _ideal_to_v2v3(self, ideal):
        v2v3 = np.tensordot(self.idl_to_v2v3, ideal, 1)
        v2v3[0] += self.v2_ref
        v2v3[1] += self.v3_ref
        return v2v3

    def _newton_step(self, pixel, ideal):
        missed = _evaluate(self.sci_to_idl, *pixel) - ideal
        (xx, xy), (yx, yy) = _derivatives(self.sci_to_idl, *pixel, _evaluate)
        determinant = xx * yy - xy * yx
        return np.stack([yy * missed[0] - xy * missed[1], xx * missed[1] - yx * missed[0]]) / determinant


def _evaluate(coefficients, x, y):
    return np.stack([polynomial.polyval2d(*np.broadcast_arrays(x, y), axis) for axis in coefficients])


def _evaluate_grid(coefficients, x, y):
    """Evaluate on a grid as a product of matrices, which is ten times as fast as Horner's rule."""
    return np.stack(
        [
            polynomial.polyvander(y, axis.shape[1] - 1) @ axis.T @ polynomial.polyvander(x, axis.shape[0] - 1).T
            for axis in coefficients
        ]
    )


def _derivatives(coefficients, x, y, evaluate):
    """Jacobian [[dX/dx, dX/dy], [dY/dx, dY/dy]] of a pair of polynomials."""
    along_x = evaluate([polynomial.polyder(axis, axis=0) for axis in coefficients], x, y)
    along_y = evaluate([polynomial.polyder(axis, axis=1) for axis in coefficients], x, y)
    return (along_x[0], along_y[0]), (along_x[1], along_y[1])


def _as_matrix(coefficients, degree):
    """Order SIAF coefficients, which run x^i, x^(i-1) y, ..., y^i for i = 0, 1, ..., by powers of x and y."""
    matrix = np.zeros((degree + 1, degree + 1))
    powers = [(i - j, j) for i in range(degree + 1) for j in range(i + 1)]
    for power, coefficient in zip(powers, coefficients, strict=True):
        matrix[power] = coefficient
    return matrix


@cache
def detector_geometry(detector):
    """
    Read the geometry of a detector from the SIAF.

    Parameters
    ----------
    detector : str
        Name of the detector, such as ``"NRCA1"`` or ``"NRCBLONG"``.

    Returns
    -------
    DetectorGeometry
        Its geometry.
    """
    aperture = read_aperture(detector)
    degree = aperture.Sci2IdlDeg
    matrices = {name: _as_matrix(values, degree) for name, values in aperture.get_polynomial_coefficients().items()}
    return DetectorGeometry(
        detector=detector,
        aperture=aperture.AperName,
        x_ref=aperture.XSciRef - 1,
        y_ref=aperture.YSciRef - 1,
        v2_ref=aperture.V2Ref,
        v3_ref=aperture.V3Ref,
        v3_idl_yangle=aperture.V3IdlYAngle,
        parity=int(aperture.VIdlParity),
        sci_to_idl=np.stack([matrices["Sci2IdlX"], matrices["Sci2IdlY"]]),
        idl_to_sci=np.stack([matrices["Idl2SciX"], matrices["Idl2SciY"]]),
    )
