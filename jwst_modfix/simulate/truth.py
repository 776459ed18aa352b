"""The simulated calibration error: m = M + z + g u + t, per pixel or per source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from jwst_modfix.simulate.observation import Band, Exposure
from jwst_modfix.simulate.optics import Array
from jwst_modfix.table.table import Gradient, OffsetRow, OffsetTable

MA2023_TABLE = OffsetTable.read("packaged")
"""Table 2 of Ma et al. (2023): the truth that is injected unless another is given."""


@dataclass(frozen=True, kw_only=True)
class CalibrationTruth:
    """What is wrong with the simulated calibration."""

    #: Zero-point errors z, gradients g and fields; an array or detector, filter and pupil without a row has none.
    table: OffsetTable = MA2023_TABLE
    #: t [mag] by ``(epoch, filter name)``, or by epoch for every filter; 0 where there is none.
    epoch_terms: Mapping[Any, float] = field(default_factory=dict)

    def epoch_term(self, epoch: str, band: Band) -> float:
        """Find the term of an epoch in a band [mag]."""
        return self.epoch_terms.get((epoch, band.name), self.epoch_terms.get(epoch, 0.0))

    def magnitude_error(self, exposure: Exposure, *, x: Array, y: Array, v2: Array, v3: Array) -> Array | float:
        """Compute the magnitude error z + g u + t [mag]: positive where too faint."""
        geometry, band = exposure.geometry, exposure.band
        constant = self.epoch_term(exposure.epoch.name, band)
        row = self.table.row(geometry.detector, band.filter, band.pupil)
        if row is None:
            return constant
        constant += self.table.zero_point(row, geometry.detector)
        if row.field is not None:
            constant = constant + row.field.evaluate(*np.broadcast_arrays(x, y))
        gradient = self.table.exposure_gradient(row)
        if gradient == 0:
            return constant
        u = _coordinate(self.table, row, exposure, x=x, y=y, v2=v2, v3=v3)
        return np.asarray(constant + gradient * u)


def _coordinate(
    table: OffsetTable, row: OffsetRow, exposure: Exposure, *, x: Array, y: Array, v2: Array, v3: Array
) -> Array:
    """Compute the coordinate u along a row's gradient from its origin [arcmin]."""
    sin, cos = np.sin(np.deg2rad(table.direction(row))), np.cos(np.deg2rad(table.direction(row)))
    gradient = cast("Gradient", table.gradient)  # a table with a slope has one
    first, second = gradient.origin
    if gradient.frame == "focal_plane":
        along = (v2 - first) * sin + (v3 - second) * cos
    elif gradient.frame == "detector":
        scale_x, scale_y = exposure.geometry.pixel_scales
        along = (x - first) * scale_x * cos + (y - second) * scale_y * sin
    else:
        ra, dec = exposure.attitude.v2v3_to_sky(v2, v3)
        d_ra, dec, dec_0 = np.deg2rad(ra - first), np.deg2rad(dec), np.deg2rad(second)
        # Gnomonic offsets from the origin.
        depth = np.sin(dec_0) * np.sin(dec) + np.cos(dec_0) * np.cos(dec) * np.cos(d_ra)
        xi = np.cos(dec) * np.sin(d_ra) / depth
        eta = (np.cos(dec_0) * np.sin(dec) - np.sin(dec_0) * np.cos(dec) * np.cos(d_ra)) / depth
        along = np.rad2deg(xi) * 3600 * sin + np.rad2deg(eta) * 3600 * cos
    return np.asarray(along / 60)
