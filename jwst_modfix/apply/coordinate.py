"""The coordinate u along the gradient [arcmin] at the pixels of an exposure."""

import numpy as np

from jwst_modfix.errors import ExposureError

__all__ = ["along_detector", "along_focal_plane", "along_sky", "gradient_coordinate", "project"]


def along_focal_plane(v2, v3, origin, direction):
    """Coordinate along a direction of the telescope's focal plane."""
    sine, cosine = _sine_cosine(direction)
    return ((np.asarray(v2) - origin[0]) * sine + (np.asarray(v3) - origin[1]) * cosine) / 60


def along_detector(x, y, origin, direction, scale):
    """Coordinate along a direction of one detector."""
    sine, cosine = _sine_cosine(direction)
    along_x = (np.asarray(x) - origin[0]) * scale[0]
    along_y = (np.asarray(y) - origin[1]) * scale[1]
    return (along_x * cosine + along_y * sine) / 60


def along_sky(ra, dec, origin, direction):
    """Coordinate along a position angle of the sky, in the tangent plane of the origin."""
    sine, cosine = _sine_cosine(direction)
    east, north = project(ra, dec, origin)
    return (east * sine + north * cosine) * 60


def project(ra, dec, origin):
    """Project the sky onto the tangent plane of a place."""
    delta_ra, dec, dec0 = np.radians(np.asarray(ra) - origin[0]), np.radians(dec), np.radians(origin[1])
    depth = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(delta_ra)
    east = np.cos(dec) * np.sin(delta_ra) / depth
    north = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(delta_ra)) / depth
    return np.degrees(east), np.degrees(north)


def _sine_cosine(direction):
    return np.sin(np.radians(direction)), np.cos(np.radians(direction))


_FULL_FRAME_CENTRE = 1023.5  # of 2048 pixels, 0-indexed


def gradient_coordinate(wcs, exposure, frame, origin, direction):
    """Make the function that gives u at the pixels of an exposure."""
    locate = {"focal_plane": _on_focal_plane, "detector": _on_detector, "sky": _on_sky}[frame](wcs, exposure)

    def coordinate(x, y):
        u = locate(x, y, origin, direction)
        if not np.all(np.isfinite(u)):
            raise ExposureError(
                f"{exposure.name}: the WCS gives no position at some pixels of the array; "
                "run assign_wcs again, or set --apply_slope=false"
            )
        return u

    return coordinate


def _on_focal_plane(wcs, _exposure):
    to_v2v3 = wcs.get_transform("detector", "v2v3")
    return lambda x, y, origin, direction: along_focal_plane(*to_v2v3(x, y), origin, direction)


def _on_sky(wcs, _exposure):
    to_sky = wcs.get_transform("detector", wcs.output_frame.name)
    return lambda x, y, origin, direction: along_sky(*to_sky(x, y), origin, direction)


def _on_detector(wcs, exposure):
    """Pixels of the full frame, in arcmin by the size of the pixel at its centre along x and y."""
    x0, y0 = (start - 1 for start in exposure.subarray_start)
    scale = _pixel_scale(wcs, _FULL_FRAME_CENTRE - x0, _FULL_FRAME_CENTRE - y0)
    return lambda x, y, origin, direction: along_detector(x + x0, y + y0, origin, direction, scale)


def _pixel_scale(wcs, x, y):
    """Size of a pixel along x and y [arcsec], in the focal plane, at one place."""
    to_v2v3 = wcs.get_transform("detector", "v2v3")
    step = np.array([-0.5, 0.5])
    along_x = np.diff(to_v2v3(x + step, np.full(2, y)))
    along_y = np.diff(to_v2v3(np.full(2, x), y + step))
    return float(np.hypot(*along_x).item()), float(np.hypot(*along_y).item())
