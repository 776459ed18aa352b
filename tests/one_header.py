"""The header of one exposure, as the photometry reads it."""

from pathlib import Path

from jwst_modfix.photometry.frames import ExposureHeader


def make_header(detector="NRCA1", name=None, east=None, ra=0.0, size=60, **change):
    """A square exposure [arcsec], some arcsec east of an RA [deg]; of an unknown footprint without them."""
    region = None
    if east is not None:
        corners = [((ra + (east + x) / 3600) % 360, y / 3600) for x, y in ((0, 0), (size, 0), (size, size), (0, size))]
        region = "POLYGON ICRS  " + " ".join(f"{ra} {dec}" for ra, dec in corners)
    values = {"path": Path("data", name or f"{detector}_cal.fits"), "detector": detector, "filter": "F200W"}
    values |= {"pupil": "CLEAR", "mjd": 6e4, "roll": 0.0, "pixar_sr": 2e-14, "shape": (2048, 2048), "corner": (0, 0)}
    return ExposureHeader(**values | {"s_region": region} | change)
