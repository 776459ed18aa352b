"""The same slope in the conventions of another table."""

import math
from dataclasses import replace

from jwst_modfix.errors import ReferenceTableError

__all__ = ["SMALL_SHIFT", "convert_row", "find_origin_shift", "turn_row"]

SMALL_SHIFT = 1e-5
"""Shifts of m_sys that are none, far below any error of an offset [mag]."""


def convert_row(row, table, gradient):
    """
    Express a row's slope in the frame and share of another table's gradient.

    Offsets are Delta_AB = z_A - z_B in every baseline, and need no conversion.

    Parameters
    ----------
    row : OffsetRow
        The row.
    table : OffsetTable
        Its table.
    gradient : Gradient
        The conventions to express it in.

    Returns
    -------
    OffsetRow
        The row with the same gradient g, and its own direction where that of ``gradient`` is another.

    Raises
    ------
    ReferenceTableError
        Frames differ, or a share of 0 makes a slope meaningless.
    """
    if row.slope is None:
        return row
    own, direction = table.gradient, table.direction(row)
    if own.frame != gradient.frame:
        raise ReferenceTableError(
            f"{table.name}: {row.label}: its gradient is fixed to the {own.frame} and the other table's to the "
            f"{gradient.frame}: one cannot be expressed by the other"
        )
    factor = 1.0
    if own.exposure_share != gradient.exposure_share:
        if 0 in (own.exposure_share, gradient.exposure_share):
            raise ReferenceTableError(f"{table.name}: {row.label}: an exposure_share of 0 leaves no slope to express")
        factor = own.exposure_share / gradient.exposure_share
    direction = None if direction == gradient.direction else direction
    return replace(row, slope=factor * row.slope, slope_error=factor * row.slope_error, direction=direction)


def turn_row(row, direction, gradient):
    """
    Express a row's slope along another direction.

    Parameters
    ----------
    row : OffsetRow
        The row, in the frame of ``gradient``.
    direction : float
        The direction [deg].
    gradient : Gradient
        The gradient that says the row's direction where it has none of its own.

    Returns
    -------
    OffsetRow
        The row, its slope with the other sign where the directions are opposite.

    Raises
    ------
    ReferenceTableError
        The directions are neither the same nor opposite.
    """
    own = gradient.direction if row.direction is None else row.direction
    sign = {0.0: 1.0, 180.0: -1.0}.get(round(own - direction, 6) % 360)
    if sign is None:
        raise ReferenceTableError(
            f"{row.label}: one gradient points to {direction:g} deg and the other to {own:g} deg: slopes along "
            "different directions cannot be compared"
        )
    return replace(row, slope=sign * row.slope, direction=direction)


def find_origin_shift(row, table, gradient):
    """
    Find the shift of m_sys, the same in both modules, that comes of another origin of the gradient.

    Parameters
    ----------
    row : OffsetRow
        The row.
    table : OffsetTable
        Its table.
    gradient : Gradient
        The other gradient, of the same frame.

    Returns
    -------
    float
        The largest that it can be [mag]; infinite where origins differ in a frame other than the focal plane.
    """
    if row.slope is None or table.gradient.origin == gradient.origin:
        return 0.0
    if table.gradient.frame != "focal_plane":
        return math.inf
    return abs(table.exposure_slope(row)) * math.dist(table.gradient.origin, gradient.origin) / 60
