"""One exposure as it is planned, and sources at its pixels, for the tests of the simulator."""

import numpy as np
from astropy.table import Table

from jwst_modfix.simulate import JWIDF_EPOCHS, plan_exposures


def one_exposure(detector="NRCALONG", filter="F444W", epoch=0, **options):
    options = {"dithers": [(0, 0)], **options}
    return plan_exposures([JWIDF_EPOCHS[epoch]], filters=[filter], detectors=[detector], **options)[0]


def sources_at(exposure, x, y, type="star", magnitude=20.0):
    """Sources at pixels of an exposure, with the same magnitude in every epoch."""
    ra, dec = exposure.attitude.v2v3_to_sky(*exposure.geometry.pixel_to_v2v3(np.array(x), np.array(y)))
    scene = Table({"id": np.arange(len(ra)), "ra": ra, "dec": dec})
    same = {"type": type, "half_light_radius": 0.0 if type == "star" else 0.3, "axis_ratio": 0.4}
    same |= {"position_angle": 30.0, "variable": False, f"mag_{exposure.band.name}": magnitude}
    for name, value in (same | {f"variation_{epoch.name}": 0.0 for epoch in JWIDF_EPOCHS}).items():
        scene[name] = np.full(len(ra), value)
    return scene
