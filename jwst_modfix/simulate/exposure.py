"""One simulated ``_cal`` exposure: sky, sources, noise, flags, metadata and the error of the calibration."""

import numpy as np
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.simulate.electronics import Effects, detect
from jwst_modfix.simulate.geometry import FULL_FRAME
from jwst_modfix.simulate.metadata import exposure_metadata
from jwst_modfix.simulate.render import draw_sources
from jwst_modfix.simulate.truth import CalibrationTruth
from jwst_modfix.simulate.wcs import assign_wcs

__all__ = ["DEFAULT_CONTEXT", "calibration_factor", "simulate_exposure"]

DEFAULT_CONTEXT = "jwst_1130.pmap"
"""The CRDS context that Table 2 of Ma et al. (2023) was derived on."""

_PIXELS = np.arange(FULL_FRAME, dtype=float)


def simulate_exposure(exposure, scene, rng, *, truth=None, effects=None, context=DEFAULT_CONTEXT):
    """
    Simulate one exposure of one detector.

    Parameters
    ----------
    exposure : Exposure
        The exposure, as from `plan_exposures`.
    scene : astropy.table.Table
        The sky, as from `make_scene`.
    rng : numpy.random.Generator or None
        Source of the noise and cosmic rays; None will do where `effects` has neither.
    truth : CalibrationTruth, optional
        The error of the calibration; that of Ma et al. (2023) unless given.
    effects : Effects, optional
        Which effects to simulate; noise, sky, bad pixels and saturation unless given.
    context : str
        The CRDS context to write in the file.

    Returns
    -------
    stdatamodels.jwst.datamodels.ImageModel
        The exposure, full frame [MJy/sr].
    """
    effects = effects or Effects()
    geometry = exposure.geometry
    area = geometry.pixel_area(_PIXELS, _PIXELS) / geometry.nominal_area
    brightness = draw_sources(scene, exposure) / (area * geometry.nominal_solid_angle)
    if effects.sky:
        brightness += exposure.band.sky
    pixels = detect(brightness, exposure, rng, effects)
    factor = calibration_factor(exposure, truth or CalibrationTruth())
    return _assemble(exposure, pixels, area, factor, context)


def calibration_factor(exposure, truth):
    """
    Factor that the wrong calibration puts on the pixels of an exposure.

    Parameters
    ----------
    exposure : Exposure
        The exposure.
    truth : CalibrationTruth
        The error of the calibration.

    Returns
    -------
    ndarray, shape (2048, 2048), or float
        10^(-0.4 (z + g u + t)); one number where the array has no gradient.
    """
    v2, v3 = exposure.geometry.grid_to_v2v3(_PIXELS, _PIXELS)
    error = truth.magnitude_error(exposure, x=_PIXELS[None, :], y=_PIXELS[:, None], v2=v2, v3=v3)
    return 10 ** (-0.4 * error)


def _assemble(exposure, pixels, area, factor, context):
    """Scale the pixels by the error, once for values and twice for variances, and describe them."""
    model = ImageModel(
        data=np.float32(pixels.data * factor),
        err=np.float32(pixels.err * factor),
        dq=pixels.dq,
        var_poisson=np.float32(pixels.var_poisson * factor**2),
        var_rnoise=np.float32(pixels.var_rnoise * factor**2),
        var_flat=np.float32(pixels.var_flat * factor**2),
        area=np.float32(area),
    )
    model.update({"meta": exposure_metadata(exposure, context)})
    assign_wcs(model, exposure.geometry)
    return model
