"""The coordinate u along the gradient, and the factor 10**(0.4 m_sys)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.polynomial import chebyshev

from jwst_modfix.table.table import FULL_FRAME, along_focal_plane

if TYPE_CHECKING:
    from jwst_modfix.table.table import Field

__all__ = [
    "FactorMap",
    "along_detector",
    "along_sky",
    "apply_factor",
    "count_nodes",
    "gradient_coordinate",
    "node_pixels",
    "project",
]

Pair = tuple[float, float]

# Distortion is a polynomial of fifth order, and the factor its exponential at a few per cent: twelve nodes an axis
# leave less than the rounding of 32 bits (tests/test_factor.py).
_NODES = 12
_ROWS = 8  # rows of a block: its product is so small that it stays on this thread


def count_nodes(field: Field) -> int:
    """Find the number of nodes along an axis that the factor of a field needs."""
    # exp(a) is its Taylor series to 1e-8, with as many terms as its largest value asks for; each of them is a
    # polynomial, so that Chebyshev interpolation in as many nodes as the highest degree has coefficients is exact.
    largest = 0.4 * np.log(10) * sum(abs(c) for row in field.coefficients for c in row)
    terms, size = 0, 1.0
    while size > 1e-8:
        terms += 1
        size *= largest / terms
    return terms * field.order + 1


def node_pixels(shape: tuple[int, ...], count: int = _NODES) -> tuple[np.ndarray, np.ndarray]:
    """Lay out pixels x, y to evaluate a smooth zero-point error: (count, count) each."""
    nodes = (chebyshev.chebpts1(count) + 1) / 2
    x, y = np.meshgrid(nodes * (shape[1] - 1), nodes * (shape[0] - 1))
    return x, y


def along_detector(x: Any, y: Any, origin: Pair, direction: float, scale: Pair) -> np.ndarray:
    """Compute the coordinate along a direction of one detector."""
    angle = np.radians(direction)
    along_x = (np.asarray(x) - origin[0]) * scale[0]
    along_y = (np.asarray(y) - origin[1]) * scale[1]
    return np.asarray((along_x * np.cos(angle) + along_y * np.sin(angle)) / 60)


def along_sky(ra: Any, dec: Any, origin: Pair, direction: float) -> np.ndarray:
    """Compute the coordinate along a position angle, in the origin's tangent plane."""
    angle = np.radians(direction)
    east, north = project(ra, dec, origin)
    return np.asarray((east * np.sin(angle) + north * np.cos(angle)) * 60)


def project(ra: Any, dec: Any, origin: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Project the sky onto the tangent plane of a place."""
    delta_ra, dec, dec0 = np.radians(np.asarray(ra) - origin[0]), np.radians(dec), np.radians(origin[1])
    depth = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(delta_ra)
    east = np.cos(dec) * np.sin(delta_ra) / depth
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(delta_ra)) / depth
    return np.degrees(east), np.degrees(north)


def gradient_coordinate(
    wcs: Any, frame: str, origin: Pair, direction: float, corner: tuple[int, int], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Evaluate u [arcmin] at pixels; ``corner`` is the array's in the full frame."""
    transform = wcs.get_transform("detector", wcs.output_frame.name if frame == "sky" else "v2v3")
    if frame == "detector":
        # The size of a pixel along x and y [arcsec] in the focal plane is that at the centre of the full frame.
        (x0, y0), step = corner, np.array([-0.5, 0.5])
        x_centre, y_centre = (FULL_FRAME - 1) / 2 - x0, (FULL_FRAME - 1) / 2 - y0
        along_x = np.diff(transform(x_centre + step, np.full(2, y_centre)))
        along_y = np.diff(transform(np.full(2, x_centre), y_centre + step))
        scale = float(np.hypot(*along_x).item()), float(np.hypot(*along_y).item())
        return along_detector(x + x0, y + y0, origin, direction, scale)
    along = along_sky if frame == "sky" else along_focal_plane
    first, second = transform(x, y)
    return along(first, second, origin, direction)


@dataclass(frozen=True, eq=False)
class FactorMap:
    """
    Factor 10**(0.4 m_sys) over an array, as a Chebyshev series in y and x.

    Parameters
    ----------
    coefficients : numpy.ndarray, shape (n, m)
        Chebyshev coefficients in y (first axis) and x, each over the array's pixels scaled to [-1, 1]; shape (1, 1)
        for a constant factor.
    shape : tuple of int
        Shape of the array, (ny, nx).
    """

    coefficients: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def constant(cls, m_sys: float, shape: tuple[int, ...]) -> FactorMap:
        """Make the factor of a zero-point error that is the same at every pixel."""
        return cls(np.array([[10 ** (0.4 * m_sys)]]), (shape[0], shape[1]))

    @classmethod
    def interpolate(cls, m_sys: np.ndarray, shape: tuple[int, ...]) -> FactorMap:
        """Interpolate the factor from the zero-point error at `node_pixels`."""
        nodes = chebyshev.chebpts1(len(m_sys))
        to_coefficients = np.linalg.inv(chebyshev.chebvander(nodes, len(m_sys) - 1))
        return cls(to_coefficients @ 10 ** (0.4 * m_sys) @ to_coefficients.T, (shape[0], shape[1]))

    @property
    def centre(self) -> float:
        """Factor at the centre of the array, halfway between its first and last pixel."""
        return float(chebyshev.chebval2d(0.0, 0.0, self.coefficients))

    def on_grid(self, count: int = 9) -> np.ndarray:
        """Evaluate the factor on a grid of pixels from edge to edge, (count, count)."""
        places = np.linspace(-1, 1, count)
        return np.asarray(chebyshev.chebgrid2d(places, places, self.coefficients))

    def evaluate(self) -> np.ndarray:
        """Evaluate the factor at every pixel, float32, shape (ny, nx)."""
        factor = np.ones(self.shape, np.float32)
        apply_factor(self, {"factor": factor})
        return factor


def apply_factor(factor_map: FactorMap, arrays: Mapping[str, np.ndarray], *, undo: bool = False) -> None:
    """Multiply arrays by the factor, in place, and ``var_`` arrays by its square."""
    scale = np.divide if undo else np.multiply
    bases = []  # polynomials at the pixels of each axis
    for size, count in zip(factor_map.shape, factor_map.coefficients.shape, strict=True):
        scaled = 2 * np.arange(size) / (size - 1) - 1 if size > 1 else np.zeros(1)
        bases.append(chebyshev.chebvander(scaled, count - 1))
    along_y, along_x = bases[0], bases[1] @ factor_map.coefficients.T
    for start in range(0, len(along_y), _ROWS):
        rows = slice(start, start + _ROWS)
        factor = (along_y[rows] @ along_x.T).astype(np.float32)
        for name, array in arrays.items():
            scale(array[rows], factor * factor if name.startswith("var_") else factor, out=array[rows])
