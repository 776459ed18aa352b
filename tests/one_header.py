"""The header of one exposure, as the photometry reads it."""

from pathlib import Path

import numpy as np

from jwst_modfix.photometry.frames import ExposureHeader


def make_header(detector="NRCA1", name=None, east=None, ra=0.0, size=60, dec=0.0, **change):
    """A square exposure [arcsec], east of an RA, from a declination on [deg]; of an unknown footprint without them."""
    region = None
    if east is not None:
        square = ((0, 0), (size, 0), (size, size), (0, size))
        per_arcsec = 1 / 3600 / np.cos(np.radians(dec))
        corners = [((ra + (east + x) * per_arcsec) % 360, dec + y / 3600) for x, y in square]
        region = "POLYGON ICRS  " + " ".join(f"{ra} {dec}" for ra, dec in corners)
    values = {"path": Path("data", name or f"{detector}_cal.fits"), "detector": detector, "filter": "F200W"}
    values |= {"pupil": "CLEAR", "mjd": 6e4, "roll": 0.0, "pixar_sr": 2e-14, "shape": (2048, 2048), "corner": (0, 0)}
    return ExposureHeader(**values | {"s_region": region} | change)
