"""The factor that takes out a zero-point error: one smooth surface over the pixels of an array."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

__all__ = ["FactorMap", "apply_factor", "fit_factor"]


# Distortion is a polynomial of fifth order, and the factor its exponential at a few per cent: twelve nodes an axis
# leave less than the rounding of 32 bits (tests/test_steps_geometry.py).
_NODES = 12
_ROWS = 8  # rows of one product: so few stay on this thread
_PRODUCTS = 4  # products of a block, which stays in the cache


@dataclass(frozen=True, eq=False)
class FactorMap:
    """
    Factor 10**(0.4 m_sys) over an array, as a product of Chebyshev series in y and x.

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
    def constant(cls, m_sys: float, shape: tuple[int, int]) -> FactorMap:
        """Make the factor of a zero-point error that is the same at every pixel."""
        return cls(np.array([[10 ** (0.4 * m_sys)]]), (shape[0], shape[1]))

    @property
    def is_constant(self) -> bool:
        """Whether the factor is the same at every pixel."""
        return self.coefficients.size == 1

    @property
    def centre(self) -> float:
        """Factor at the centre of the array, halfway between its first and last pixel."""
        return float(chebyshev.chebval2d(0.0, 0.0, self.coefficients))

    def on_grid(self, count: int = 9) -> np.ndarray:
        """Factor at a grid of pixels from edge to edge, shape (count, count)."""
        places = np.linspace(-1, 1, count)
        return np.asarray(chebyshev.chebgrid2d(places, places, self.coefficients))

    def evaluate(self) -> np.ndarray:
        """Factor at every pixel, float32, shape (ny, nx)."""
        factor = np.empty(self.shape, np.float32)
        for rows, block in self.blocks():
            factor[rows] = block
        return factor

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Go through the array a few rows at a time."""
        ny, nx = self.shape
        along_x = _basis(np.arange(nx), nx, self.coefficients.shape[1]) @ self.coefficients.T
        along_y = _basis(np.arange(ny), ny, self.coefficients.shape[0])
        for start in range(0, ny, _ROWS * _PRODUCTS):
            rows = slice(start, min(start + _ROWS * _PRODUCTS, ny))
            yield (
                rows,
                self.coefficients[0].astype(np.float32) if self.is_constant else _product(along_y[rows], along_x),
            )


def fit_factor(m_sys: Callable[[np.ndarray, np.ndarray], np.ndarray], shape: tuple[int, int]) -> FactorMap:
    """Interpolate the factor of a smooth zero-point error from a few pixels."""
    nodes = chebyshev.chebpts1(_NODES)
    to_coefficients = np.linalg.inv(chebyshev.chebvander(nodes, _NODES - 1))
    ny, nx = shape
    x, y = np.meshgrid((nodes + 1) * (nx - 1) / 2, (nodes + 1) * (ny - 1) / 2)
    factor = 10 ** (0.4 * m_sys(x, y))
    return FactorMap(to_coefficients @ factor @ to_coefficients.T, (shape[0], shape[1]))


def apply_factor(
    factor_map: FactorMap, data: Iterable[np.ndarray], variances: Iterable[np.ndarray] = (), *, undo: bool = False
) -> None:
    """Multiply data and errors by the factor and variances by its square, in place."""
    scale = np.divide if undo else np.multiply
    for rows, factor in factor_map.blocks():
        for arrays, power in ((data, factor), (variances, factor * factor)):
            for array in arrays:
                scale(array[rows], power, out=array[rows])


def _product(along_y: np.ndarray, along_x: np.ndarray) -> np.ndarray:
    """Factor of a block, in products so small that each stays on this thread."""
    factor = np.empty((len(along_y), len(along_x)), np.float32)
    for start in range(0, len(factor), _ROWS):
        rows = slice(start, start + _ROWS)
        factor[rows] = along_y[rows] @ along_x.T
    return factor


def _basis(pixel: np.ndarray, size: int, count: int) -> np.ndarray:
    """Chebyshev polynomials at pixels scaled to [-1, 1]; shape (len(pixel), count)."""
    scaled = 2 * pixel / (size - 1) - 1 if size > 1 else np.zeros(len(pixel))
    return np.asarray(chebyshev.chebvander(scaled, count - 1))
