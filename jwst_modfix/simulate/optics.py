"""From detector pixels to the sky and back, by pysiaf: SIAF, attitude, gWCS."""

import logging
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from astropy import coordinates
from astropy import units as u
from astropy.modeling.models import Identity, Mapping, Shift
from gwcs import coordinate_frames
from gwcs.wcs import WCS
from jwst.assign_wcs.pointing import v23tosky
from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging
from numpy.polynomial import polynomial

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.exposure import DetectorNames
from jwst_modfix.table.table import FULL_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.modeling import Model
    from numpy.typing import ArrayLike
    from stdatamodels.jwst.datamodels import ImageModel

Array = np.ndarray[Any, np.dtype[Any]]

# Detector name, as in the DETECTOR keyword, to the aperture that covers it whole.
_APERTURES = {f"NRC{module}{array}": f"NRC{module}{array}_FULL" for module in "AB" for array in "1234"}
_APERTURES |= {f"NRC{module}LONG": f"NRC{module}5_FULL" for module in "AB"}

DETECTORS = tuple(_APERTURES)
"""Names of the ten NIRCam detectors, as in the ``DETECTOR`` keyword."""

MODULE_MIDPOINT = (-1.738131, -492.431332)
"""V2, V3 of the point midway between the long-wavelength arrays [arcsec], from NRCA5_FULL and NRCB5_FULL."""

SQUARE_ARCSEC = np.deg2rad(1 / 3600) ** 2  # sr

_DEGREE = 5  # of the SIAF's polynomials, in each coordinate
_HALF = (FULL_FRAME - 1) / 2  # pixels


def _import_pysiaf() -> Any:
    """Import `pysiaf`, without a warning where its check for a newer SIAF fails."""
    logger = logging.getLogger("pysiaf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mock.patch("requests.get", side_effect=ConnectionError("the SIAF is read from the installed package")):
            import pysiaf.utils.rotations
    except ModuleNotFoundError as error:
        if error.name != "pysiaf":
            raise
        raise ModuleOffsetError("the simulation needs pysiaf: install jwst_modfix with its extra 'sim'") from None
    finally:
        logger.setLevel(level)
    return pysiaf


@cache
def _read_instrument() -> Any:
    return _import_pysiaf().Siaf("NIRCam")


def read_aperture(detector: str, name: str = "FULL") -> Any:
    """Read the aperture of a detector or a subarray; None where there is none."""
    return _read_instrument().apertures.get(_APERTURES[detector].replace("FULL", name))


@dataclass(frozen=True, kw_only=True)
class Attitude:
    """A pointing of the telescope."""

    ra: float  #: right ascension that the point (`v2`, `v3`) looks at [deg]
    dec: float  #: declination [deg]
    roll: float  #: position angle of the V3 axis at that point, east of north [deg]
    v2: float = MODULE_MIDPOINT[0]  #: point of the telescope frame [arcsec]; the module midpoint unless given
    v3: float = MODULE_MIDPOINT[1]  #: [arcsec]

    @property
    def matrix(self) -> Array:
        """Rotation from telescope to celestial unit vectors, shape (3, 3)."""
        return np.asarray(_rotations().attitude_matrix(self.v2, self.v3, self.ra, self.dec, self.roll))

    def v2v3_to_sky(self, v2: "ArrayLike", v3: "ArrayLike") -> tuple[Array, Array]:
        """Find the sky position [deg] of telescope coordinates [arcsec]."""
        # pysiaf wraps RA right for arrays of one axis only.
        ra, dec = _on_one_axis(_rotations().tel_to_sky, self.matrix, v2, v3, positive_ra=False)
        return ra.to_value("deg") % 360, dec.to_value("deg")

    def sky_to_v2v3(self, ra: "ArrayLike", dec: "ArrayLike") -> tuple[Array, Array]:
        """Find the telescope coordinates [arcsec] of sky positions [deg]."""
        v2, v3 = _on_one_axis(_rotations().sky_to_tel, self.matrix, ra, dec)
        return v2.to_value("arcsec"), v3.to_value("arcsec")

    def roll_at(self, v2: float, v3: float) -> float:
        """Find the position angle of the V3 axis at a point [deg]."""
        return float(_rotations().posangle(self.matrix, v2, v3) % 360)


@cache
def _rotations() -> Any:
    return _import_pysiaf().utils.rotations


def _on_one_axis(transform: Any, matrix: Array, first: Any, second: Any, **options: bool) -> Any:
    """Call a transform that takes arrays of one axis, with arrays of any shape."""
    first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
    return (angle.reshape(first.shape) for angle in transform(matrix, first.ravel(), second.ravel(), **options))


class Polynomials:
    """Two polynomials of two coordinates, found from their values."""

    # A tree of astropy's models needs 0.6 ms a call, whatever the number of points.
    def __init__(self, transform: "Callable[..., tuple[Array, Array]]", middle: tuple[float, float], reach: float):
        self.middle, self.reach = middle, reach  # scaled to -1 to 1: powers of pixels lose digits
        nodes = np.linspace(-1, 1, _DEGREE + 1)
        first, second = np.meshgrid(nodes, nodes, indexing="ij")
        values = np.stack(transform(middle[0] + reach * first, middle[1] + reach * second))
        inverse = np.linalg.inv(polynomial.polyvander(nodes, _DEGREE))
        self.coefficients = np.moveaxis(inverse @ values @ inverse.T, 0, -1)

    def _scale(self, first: Array, second: Array) -> tuple[Array, Array]:
        return (first - self.middle[0]) / self.reach, (second - self.middle[1]) / self.reach

    def __call__(self, first: "ArrayLike", second: "ArrayLike") -> Array:
        """Evaluate both at points."""
        at = self._scale(*np.broadcast_arrays(first, second))
        return np.asarray(polynomial.polyval2d(*at, self.coefficients))

    def on_grid(self, first: Array, second: Array, along: int | None = None) -> Array:
        """Evaluate both, or derivatives along a coordinate, on a grid, (2, ny, nx)."""
        coefficients = self.coefficients
        if along is not None:
            coefficients = polynomial.polyder(coefficients, scl=1 / self.reach, axis=along)
        degrees = (size - 1 for size in coefficients.shape[:2])
        along_x, along_y = map(polynomial.polyvander, self._scale(first, second), degrees)
        return np.asarray(along_y @ coefficients.T @ along_x.T)


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorGeometry(DetectorNames):
    """Geometry of one detector in the full-frame SCI frame, with 0-indexed pixels."""

    detector: str  #: such as ``"NRCA1"`` or ``"NRCBLONG"``
    aperture: Any  #: the SIAF's aperture that covers the detector
    distortion: "Model"  #: from pixels to V2, V3 [arcsec], with its inverse

    @property
    def reference(self) -> tuple[float, float]:
        """V2, V3 of the reference pixel [arcsec]."""
        return self.aperture.V2Ref, self.aperture.V3Ref

    @cached_property
    def _to_v2v3(self) -> Polynomials:
        return Polynomials(self.distortion, (_HALF, _HALF), _HALF)

    @cached_property
    def _to_pixel(self) -> Polynomials:
        return Polynomials(self.distortion.inverse, self.reference, _HALF * max(self.pixel_scales))

    def pixel_to_v2v3(self, x: "ArrayLike", y: "ArrayLike") -> tuple[Array, Array]:
        """Find the telescope coordinates [arcsec] of pixels."""
        v2, v3 = self._to_v2v3(x, y)
        return v2, v3

    def v2v3_to_pixel(self, v2: "ArrayLike", v3: "ArrayLike") -> tuple[Array, Array]:
        """Find the pixels at telescope coordinates [arcsec]."""
        # The inverse polynomials of the SIAF are good to 5e-4 pixel; what they miss at the place that they give is
        # taken off, which leaves less than 1e-6 pixel.
        pixels = self._to_pixel(v2, v3)
        x, y = 2 * pixels - self._to_pixel(*self._to_v2v3(*pixels))
        return x, y

    def grid_to_v2v3(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Find the telescope coordinates [arcsec] of a grid, faster than pixel by pixel."""
        v2, v3 = self._to_v2v3.on_grid(x, y)
        return v2, v3

    def pixel_area(self, x: Array, y: Array) -> Array:
        """Compute the area of each pixel of a grid [arcsec2], by the Jacobian."""
        (v2_x, v3_x), (v2_y, v3_y) = (self._to_v2v3.on_grid(x, y, along=axis) for axis in (0, 1))
        return np.asarray(np.abs(v2_x * v3_y - v2_y * v3_x))

    @property
    def pixel_scales(self) -> tuple[float, float]:
        """Pixel scales along x and y at the centre, (1023.5, 1023.5) [arcsec/pixel]."""
        middle = (FULL_FRAME + 1) / 2  # the SIAF counts from 1
        slope = self.aperture.get_polynomial_derivatives({"x": middle, "y": middle})
        return float(np.hypot(slope["b"], slope["e"])), float(np.hypot(slope["c"], slope["f"]))

    @property
    def nominal_area(self) -> float:
        """Area of a pixel at the reference point, ``PIXAR_A2`` [arcsec2]."""
        slope = self.aperture.get_polynomial_derivatives()
        return float(abs(slope["b"] * slope["f"] - slope["c"] * slope["e"]))

    @property
    def nominal_solid_angle(self) -> float:
        """Area of a pixel at the reference point, ``PIXAR_SR`` [sr]."""
        return self.nominal_area * float(SQUARE_ARCSEC)


@cache
def detector_geometry(detector: str) -> DetectorGeometry:
    """Read the geometry of a detector from the SIAF."""
    # Its transforms are joined to one from 0-indexed pixels to V2, V3, and back.
    aperture, twice = read_aperture(detector), Mapping((0, 1, 0, 1))
    to_ideal, to_pixel = aperture.distortion_transform("sci", "idl"), aperture.distortion_transform("idl", "sci")
    to_v2v3, from_v2v3 = aperture.telescope_transform("idl", "tel"), aperture.telescope_transform("tel", "idl")
    from_reference = Shift(-aperture.V2Ref) & Shift(-aperture.V3Ref)
    from_corner = Shift(1 - aperture.XSciRef) & Shift(1 - aperture.YSciRef)
    distortion = from_corner | twice | to_ideal[0] & to_ideal[1] | twice | to_v2v3[0] & to_v2v3[1]
    inverse = from_reference | twice | from_v2v3[0] & from_v2v3[1] | twice | to_pixel[0] & to_pixel[1]
    distortion.inverse = inverse | Shift(-1) & Shift(-1)
    return DetectorGeometry(detector=detector, aperture=aperture, distortion=distortion)


def assign_wcs(model: "ImageModel", geometry: DetectorGeometry) -> None:
    """Give a model its WCS, footprint and FITS approximation, as assign_wcs does."""
    # A copy: gwcs keeps the bounding box of an exposure in its first transform.
    subarray, distortion = model.meta.subarray, geometry.distortion.copy()
    if (subarray.xstart, subarray.ystart) != (1, 1):
        distortion = Shift(subarray.xstart - 1) & Shift(subarray.ystart - 1) | distortion
    pixels, arcsec, v2v3 = (u.pix, u.pix), (u.arcsec, u.arcsec), ("v2", "v3")
    frames = [
        coordinate_frames.Frame2D(name="detector", axes_order=(0, 1), unit=pixels),
        coordinate_frames.Frame2D(name="v2v3", axes_order=(0, 1), axes_names=v2v3, unit=arcsec),
        coordinate_frames.Frame2D(name="v2v3vacorr", axes_order=(0, 1), axes_names=v2v3, unit=arcsec),
        coordinate_frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="world"),
    ]
    pipeline = zip(frames, [distortion, Identity(2), v23tosky(model), None], strict=True)
    model.meta.wcs = WCS(list(pipeline))
    model.meta.wcs.bounding_box = ((-0.5, subarray.xsize - 0.5), (-0.5, subarray.ysize - 0.5))
    update_s_region_imaging(model)
    update_fits_wcsinfo(model)
