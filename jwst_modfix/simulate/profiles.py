"""Light profiles as mixtures of Gaussians, so that sources of any shape are convolved and drawn fast."""

from dataclasses import dataclass

import numpy as np

__all__ = ["PROFILES", "Mixture", "point_spread_function"]

_FWHM_TO_SIGMA = 1 / 2.354820045


@dataclass(frozen=True, eq=False)
class Mixture:
    """
    A sum of concentric round Gaussians that holds unit flux.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Share of the flux; they sum to 1.
    sigmas : ndarray, shape (n,)
        Standard deviations along an axis, in arcsec for a PSF and in half-light radii for a galaxy.
    """

    weights: np.ndarray
    sigmas: np.ndarray


def _mixture(amplitudes, variances):
    weights = np.array(amplitudes)
    return Mixture(weights / weights.sum(), np.sqrt(variances))


# Hogg & Lang (2013, PASP 125, 719), "lux" and "luv": the SDSS's exponential and de Vaucouleurs profiles,
# cut smoothly at 4 and 8 half-light radii.
PROFILES = {
    "exponential": _mixture(
        (2.34853813e-03, 3.07995260e-02, 2.23364214e-01, 1.17949102e00, 4.33873750e00, 5.99820770e00),
        (1.20078965e-03, 8.84526493e-03, 3.91463084e-02, 1.39976817e-01, 4.60962500e-01, 1.50159566e00),
    ),
    "devaucouleurs": _mixture(
        (
            *(4.26347652e-02, 2.40127183e-01, 6.85907632e-01, 1.51937350e00),
            *(2.83627243e00, 4.46467501e00, 5.72440830e00, 5.60989349e00),
        ),
        (
            *(2.23759216e-04, 1.00220099e-03, 4.18731126e-03, 1.69432589e-02),
            *(6.84850479e-02, 2.87207080e-01, 1.33320254e00, 8.40215071e00),
        ),
    ),
}
"""Mixtures of the galaxy profiles, by the ``type`` of a source; radii in half-light radii."""


def point_spread_function(fwhm):
    """
    Make a round stand-in for the NIRCam PSF: a core, a first ring and a halo.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum of the core [arcsec].

    Returns
    -------
    Mixture
        The PSF; sigmas in arcsec.
    """
    core = fwhm * _FWHM_TO_SIGMA
    return Mixture(np.array([0.75, 0.17, 0.08]), core * np.array([1.0, 2.6, 7.0]))
