"""From pixels of a detector to the sky and back: SIAF, attitude, distortion, gWCS."""

import logging
from dataclasses import dataclass
from functools import cache
from unittest import mock

import numpy as np
from astropy import coordinates
from astropy import units as u
from astropy.modeling.models import AffineTransformation2D, Identity, Mapping, Polynomial2D, Shift
from gwcs import coordinate_frames
from gwcs.wcs import WCS
from jwst.assign_wcs.pointing import v23tosky
from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging
from numpy.polynomial import polynomial

from jwst_modfix.errors import ModuleOffsetError

__all__ = [
    "DETECTORS",
    "FULL_FRAME",
    "MODULE_MIDPOINT",
    "SQUARE_ARCSEC",
    "Attitude",
    "DetectorGeometry",
    "assign_wcs",
    "build_distortion",
    "build_wcs",
    "detector_geometry",
    "offset_on_sky",
    "read_aperture",
    "read_subarray",
]


# Detector name, as in the DETECTOR keyword, to the aperture that covers it whole.
_APERTURES = {f"NRC{module}{array}": f"NRC{module}{array}_FULL" for module in "AB" for array in "1234"}
_APERTURES |= {f"NRC{module}LONG": f"NRC{module}5_FULL" for module in "AB"}

DETECTORS = tuple(_APERTURES)
"""Names of the ten NIRCam detectors, as in the ``DETECTOR`` keyword."""


def _refuse_network(*args, **kwargs):
    raise ConnectionError("the SIAF is read from the installed package")


def _import_pysiaf():
    """Import `pysiaf`; its import asks the network for a newer SIAF, and warns where there is none."""
    logger = logging.getLogger("pysiaf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mock.patch("requests.get", _refuse_network):
            import pysiaf
    except ModuleNotFoundError as error:
        if error.name != "pysiaf":
            raise
        raise ModuleOffsetError("the simulation needs pysiaf: install jwst_modfix with its extra 'sim'") from None
    finally:
        logger.setLevel(level)
    return pysiaf


@cache
def _read_instrument():
    return _import_pysiaf().Siaf("NIRCam")


def read_aperture(detector):
    """Read the full-frame aperture of a detector."""
    return _read_instrument()[_APERTURES[detector]]


def read_subarray(detector, name):
    """Read the aperture of a subarray of a detector."""
    return _read_instrument().apertures.get(_APERTURES[detector].replace("FULL", name))


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
        """Sky position of telescope coordinates."""
        vector = _to_vector(np.asarray(v2) / 3600, np.asarray(v3) / 3600)
        ra, dec = _to_angles(np.tensordot(self.matrix, vector, 1))
        return ra % 360, dec

    def sky_to_v2v3(self, ra, dec):
        """Telescope coordinates of sky positions."""
        v2, v3 = _to_angles(np.tensordot(self.matrix.T, _to_vector(ra, dec), 1))
        return v2 * 3600, v3 * 3600

    def roll_at(self, v2, v3):
        """Position angle of the V3 axis at a point."""
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
    """Move a sky position by small offsets in its tangent plane."""
    here = _rotation(1, -dec) @ _rotation(2, ra)
    east, north = np.deg2rad(np.asarray(east) / 3600), np.deg2rad(np.asarray(north) / 3600)
    vector = np.stack(np.broadcast_arrays(np.ones_like(east), east, north))
    new_ra, new_dec = _to_angles(np.tensordot(here.T, vector / np.linalg.norm(vector, axis=0), 1))
    return new_ra % 360, new_dec


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
        """Telescope coordinates of pixels."""
        ideal = _evaluate(self.sci_to_idl, x - self.x_ref, y - self.y_ref)
        return self._ideal_to_v2v3(ideal)

    def grid_to_v2v3(self, x, y):
        """Telescope coordinates of every pixel of a grid, much faster than pixel by pixel."""
        return self._ideal_to_v2v3(_evaluate_grid(self.sci_to_idl, x - self.x_ref, y - self.y_ref))

    def v2v3_to_pixel(self, v2, v3):
        """Find the pixels at telescope coordinates, exact to 1e-8 pixel, by Newton's method.

        The inverse polynomials of the SIAF, good to 5e-4 pixel, are the first guess.
        """
        offset = np.stack([np.asarray(v2, float) - self.v2_ref, np.asarray(v3, float) - self.v3_ref])
        ideal = np.tensordot(self.idl_to_v2v3.T, offset, 1)
        pixel = _evaluate(self.idl_to_sci, *ideal)
        for _ in range(2):
            pixel = pixel - self._newton_step(pixel, ideal)
        return pixel + np.reshape([self.x_ref, self.y_ref], (2,) + (1,) * (pixel.ndim - 1))

    def pixel_area(self, x, y):
        """Solid angle of pixels: the Jacobian of the distortion."""
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
    """Read the geometry of a detector from the SIAF."""
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


def assign_wcs(model, geometry):
    """Give a model its WCS, its footprint and the approximation for FITS, as the assign_wcs step does."""
    model.meta.wcs = build_wcs(model, geometry)
    update_s_region_imaging(model)
    update_fits_wcsinfo(model)


def build_wcs(model, geometry):
    """Make the WCS of a model."""
    subarray = model.meta.subarray
    distortion = build_distortion(geometry)
    if (subarray.xstart, subarray.ystart) != (1, 1):
        distortion = Shift(subarray.xstart - 1) & Shift(subarray.ystart - 1) | distortion
    pipeline = zip(_frames(), [distortion, Identity(2), v23tosky(model), None], strict=True)
    wcs = WCS(list(pipeline))
    wcs.bounding_box = ((-0.5, subarray.xsize - 0.5), (-0.5, subarray.ysize - 0.5))
    return wcs


def build_distortion(geometry):
    """Make the transform from full-frame pixels to V2, V3, with the inverse of the SIAF."""
    to_v2v3 = AffineTransformation2D(geometry.idl_to_v2v3, [geometry.v2_ref, geometry.v3_ref])
    to_reference = Shift(-geometry.x_ref) & Shift(-geometry.y_ref)
    forward = to_reference | Mapping((0, 1, 0, 1)) | _polynomials(geometry.sci_to_idl) | to_v2v3
    inverse = to_v2v3.inverse | Mapping((0, 1, 0, 1)) | _polynomials(geometry.idl_to_sci)
    forward.inverse = inverse | Shift(geometry.x_ref) & Shift(geometry.y_ref)
    return forward


def _polynomials(coefficients):
    along_x, along_y = (_polynomial(matrix) for matrix in coefficients)
    return along_x & along_y


def _polynomial(matrix):
    degree = len(matrix) - 1
    terms = {f"c{i}_{j}": matrix[i, j] for i in range(degree + 1) for j in range(degree + 1 - i)}
    return Polynomial2D(degree, **terms)


def _frames():
    pixels, arcsec = (u.pix, u.pix), (u.arcsec, u.arcsec)
    names = ("v2", "v3")
    return [
        coordinate_frames.Frame2D(name="detector", axes_order=(0, 1), unit=pixels),
        coordinate_frames.Frame2D(name="v2v3", axes_order=(0, 1), axes_names=names, unit=arcsec),
        coordinate_frames.Frame2D(name="v2v3vacorr", axes_order=(0, 1), axes_names=names, unit=arcsec),
        coordinate_frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="world"),
    ]
