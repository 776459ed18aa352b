"""Pointings for a plan, from roll angles and dithers that no telescope has made yet."""

import numpy as np

from jwst_modfix.derivation.plan import EDGE, Pointing
from jwst_modfix.simulate.geometry import FULL_FRAME
from jwst_modfix.simulate.observation import Epoch, plan_exposures
from jwst_modfix.simulate.render import locate_sources

__all__ = ["plan_pointings"]


def plan_pointings(rolls, *, dithers=6, filters=("F200W", "F444W"), ra=265.035, dec=68.974):
    """
    Lay out exposures, one epoch for each roll angle.

    Parameters
    ----------
    rolls : sequence of float
        Position angle of V3 in each epoch [deg].
    dithers : int
        Exposures of each epoch and filter.
    filters : sequence of str
        Names of the bands.
    ra, dec : float
        Centre of the field [deg].

    Returns
    -------
    list of Pointing
        One for each exposure of each detector.
    """
    epochs = [
        Epoch(name=f"ep{number}", date=f"{2022 + number // 12}-{number % 12 + 1:02d}-01", roll=roll, ra=ra, dec=dec)
        for number, roll in enumerate(rolls)
    ]
    return [
        _pointing(exposure, epochs.index(exposure.epoch))
        for exposure in plan_exposures(epochs, filters=filters, dithers=dithers)
    ]


def _pointing(exposure, epoch):
    geometry, attitude = exposure.geometry, exposure.attitude
    centre = tuple(float(value) for value in attitude.v2v3_to_sky(geometry.v2_ref, geometry.v3_ref))
    radius = FULL_FRAME / 2 * np.sqrt(2) * max(geometry.pixel_scales) * 1.05

    def locate(ra, dec):
        found = locate_sources({"ra": ra, "dec": dec}, exposure, margin=-EDGE)
        inside = np.zeros(len(ra), dtype=bool)
        inside[found.rows] = True
        return inside, found.v2, found.v3

    band = exposure.band
    return Pointing(band.filter, band.pupil, geometry.array, geometry.module, epoch, centre, radius, locate)
