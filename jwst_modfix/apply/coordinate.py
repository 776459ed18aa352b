"""The coordinate u along the gradient [arcmin] at the pixels of an exposure."""

import numpy as np

from jwst_modfix.errors import ExposureError


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
    transform = wcs.get_transform("detector", wcs.output_frame.name if frame == "sky" else "v2v3")

    def coordinate(x, y):
        if frame == "detector":
            x0, y0 = (start - 1 for start in exposure.subarray_start)
            scale = _pixel_scale(transform, _FULL_FRAME_CENTRE - x0, _FULL_FRAME_CENTRE - y0)
            u = along_detector(x + x0, y + y0, origin, direction, scale)
        else:
            along = along_sky if frame == "sky" else along_focal_plane
            u = along(*transform(x, y), origin, direction)
        if not np.all(np.isfinite(u)):
            raise ExposureError(
                f"{exposure.name}: the WCS gives no position at some pixels of the array; "
                "run assign_wcs again, or set --apply_slope=false"
            )
        return u

    return coordinate


def _pixel_scale(to_v2v3, x, y):
    """Size of a pixel along x and y [arcsec], in the focal plane, at one place."""
    step = np.array([-0.5, 0.5])
    along_x = np.diff(to_v2v3(x + step, np.full(2, y)))
    along_y = np.diff(to_v2v3(np.full(2, x), y + step))
    return float(np.hypot(*along_x).item()), float(np.hypot(*along_y).item())
