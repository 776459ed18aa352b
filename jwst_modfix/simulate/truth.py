"""The calibration error that is put into the data: m = M + z + g u + t, per pixel or per source."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jwst_modfix.table.table import OffsetTable

__all__ = ["MA2023_TABLE", "CalibrationTruth", "gradient_coordinate"]


MA2023_TABLE = OffsetTable.read("packaged")
"""Table 2 of Ma et al. (2023): the truth that is injected unless another is given."""


@dataclass(frozen=True, kw_only=True)
class CalibrationTruth:
    """
    What is wrong with the simulated calibration.

    Parameters
    ----------
    table : OffsetTable
        Zero-point errors z and gradients g; an array, filter and pupil without a row has none.
    epoch_terms : mapping
        t [mag] by ``(epoch, filter name)``, or by epoch for every filter; 0 where there is none.
    """

    table: OffsetTable = MA2023_TABLE
    epoch_terms: Mapping = field(default_factory=dict)

    def epoch_term(self, epoch, band):
        """Term of an epoch."""
        return self.epoch_terms.get((epoch, band.name), self.epoch_terms.get(epoch, 0.0))

    def magnitude_error(self, exposure, *, x, y, v2, v3):
        """Error of the measured magnitude, z + g u + t: positive where sources look too faint."""
        geometry, band = exposure.geometry, exposure.band
        constant = self.epoch_term(exposure.epoch.name, band)
        row = self.table.row(geometry.array, band.filter, band.pupil)
        if row is None:
            return constant
        constant += self.table.zero_point(row, geometry.module)
        slope = self.table.exposure_gradient(row)
        if slope == 0:
            return constant
        u = gradient_coordinate(self.table, row, exposure, x=x, y=y, v2=v2, v3=v3)
        return constant + slope * u


def gradient_coordinate(table, row, exposure, *, x, y, v2, v3):
    """Coordinate u along a row's gradient, from its origin, in the gradient's frame."""
    sin, cos = np.sin(np.deg2rad(table.direction(row))), np.cos(np.deg2rad(table.direction(row)))
    first, second = table.gradient.origin
    if table.gradient.frame == "focal_plane":
        return ((v2 - first) * sin + (v3 - second) * cos) / 60
    if table.gradient.frame == "detector":
        scale_x, scale_y = exposure.geometry.pixel_scales
        return ((x - first) * scale_x * cos + (y - second) * scale_y * sin) / 60
    xi, eta = tangent_plane(*exposure.attitude.v2v3_to_sky(v2, v3), first, second)
    return (xi * sin + eta * cos) / 60


def tangent_plane(ra, dec, ra_0, dec_0):
    """Gnomonic offsets of sky positions from an origin."""
    d_ra, dec, dec_0 = np.deg2rad(ra - ra_0), np.deg2rad(dec), np.deg2rad(dec_0)
    depth = np.sin(dec_0) * np.sin(dec) + np.cos(dec_0) * np.cos(dec) * np.cos(d_ra)
    xi = np.cos(dec) * np.sin(d_ra) / depth
    eta = (np.cos(dec_0) * np.sin(dec) - np.sin(dec_0) * np.cos(dec) * np.cos(d_ra)) / depth
    return np.rad2deg(xi) * 3600, np.rad2deg(eta) * 3600
