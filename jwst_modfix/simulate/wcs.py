"""The gWCS of an exposure: detector, v2v3, v2v3vacorr, world, as the assign_wcs step makes it."""

from astropy import coordinates
from astropy import units as u
from astropy.modeling.models import AffineTransformation2D, Identity, Mapping, Polynomial2D, Shift
from gwcs import coordinate_frames
from gwcs.wcs import WCS
from jwst.assign_wcs.pointing import v23tosky
from jwst.assign_wcs.util import update_fits_wcsinfo, update_s_region_imaging

__all__ = ["assign_wcs", "build_distortion", "build_wcs"]


def assign_wcs(model, geometry):
    """
    Give a model its WCS, its footprint and the approximation for FITS, as the assign_wcs step does.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.ImageModel
        The model, with ``meta.wcsinfo`` and ``meta.subarray`` filled in; changed in place.
    geometry : DetectorGeometry
        The detector.
    """
    model.meta.wcs = build_wcs(model, geometry)
    update_s_region_imaging(model)
    update_fits_wcsinfo(model)


def build_wcs(model, geometry):
    """
    Make the WCS of a model.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.ImageModel
        The model, with ``meta.wcsinfo`` and ``meta.subarray`` filled in.
    geometry : DetectorGeometry
        The detector.

    Returns
    -------
    gwcs.WCS
        From 0-indexed pixels of the model's own subarray to RA, Dec [deg].
    """
    subarray = model.meta.subarray
    distortion = build_distortion(geometry)
    if (subarray.xstart, subarray.ystart) != (1, 1):
        distortion = Shift(subarray.xstart - 1) & Shift(subarray.ystart - 1) | distortion
    pipeline = zip(_frames(), [distortion, Identity(2), v23tosky(model), None], strict=True)
    wcs = WCS(list(pipeline))
    wcs.bounding_box = ((-0.5, subarray.xsize - 0.5), (-0.5, subarray.ysize - 0.5))
    return wcs


def build_distortion(geometry):
    """
    Make the transform from full-frame pixels to V2, V3, with the inverse of the SIAF.

    Parameters
    ----------
    geometry : DetectorGeometry
        The detector.

    Returns
    -------
    astropy.modeling.Model
        From 0-indexed x, y [pixel] to V2, V3 [arcsec].
    """
    to_v2v3 = AffineTransformation2D(geometry.idl_to_v2v3, [geometry.v2_ref, geometry.v3_ref])
    to_reference = Shift(-geometry.x_ref) & Shift(-geometry.y_ref)
    forward = to_reference | Mapping((0, 1, 0, 1)) | _polynomials(geometry.sci_to_idl) | to_v2v3
    inverse = to_v2v3.inverse | Mapping((0, 1, 0, 1)) | _polynomials(geometry.idl_to_sci)
    forward.inverse = inverse | Shift(geometry.x_ref) & Shift(geometry.y_ref)
    return forward


def _polynomials(coefficients):
    along_x, along_y = (_polynomial(matrix) for matrix in coefficients)
    return along_x & along_y


def _polynomial(matrix):
    degree = len(matrix) - 1
    terms = {f"c{i}_{j}": matrix[i, j] for i in range(degree + 1) for j in range(degree + 1 - i)}
    return Polynomial2D(degree, **terms)


def _frames():
    pixels, arcsec = (u.pix, u.pix), (u.arcsec, u.arcsec)
    names = ("v2", "v3")
    return [
        coordinate_frames.Frame2D(name="detector", axes_order=(0, 1), unit=pixels),
        coordinate_frames.Frame2D(name="v2v3", axes_order=(0, 1), axes_names=names, unit=arcsec),
        coordinate_frames.Frame2D(name="v2v3vacorr", axes_order=(0, 1), axes_names=names, unit=arcsec),
        coordinate_frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="world"),
    ]
