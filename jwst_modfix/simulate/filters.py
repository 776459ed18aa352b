"""The NIRCam imaging bands: wheels, wavelengths, properties of exposures."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import SimulationError
from jwst_modfix.table.validity import IN_PUPIL_WHEEL, LONG_FILTERS

# Pivot wavelength and bandwidth [micron].
_WAVELENGTHS = {
    "F070W": (0.704, 0.128),
    "F090W": (0.901, 0.194),
    "F115W": (1.154, 0.225),
    "F140M": (1.404, 0.142),
    "F150W": (1.501, 0.318),
    "F150W2": (1.671, 1.227),
    "F162M": (1.626, 0.168),
    "F164N": (1.644, 0.020),
    "F182M": (1.845, 0.238),
    "F187N": (1.874, 0.024),
    "F200W": (1.990, 0.461),
    "F210M": (2.093, 0.205),
    "F212N": (2.120, 0.027),
    "F250M": (2.503, 0.181),
    "F277W": (2.786, 0.672),
    "F300M": (2.996, 0.318),
    "F322W2": (3.247, 1.339),
    "F323N": (3.237, 0.038),
    "F335M": (3.365, 0.347),
    "F356W": (3.563, 0.787),
    "F360M": (3.621, 0.372),
    "F405N": (4.055, 0.046),
    "F410M": (4.092, 0.436),
    "F430M": (4.280, 0.228),
    "F444W": (4.421, 1.024),
    "F460M": (4.624, 0.228),
    "F466N": (4.654, 0.054),
    "F470N": (4.707, 0.051),
    "F480M": (4.834, 0.303),
}

# Sky of a dark field, zodiacal light and stray light, read off the observatory's background model.
_SKY_WAVELENGTHS = (0.7, 1.0, 1.5, 2.0, 2.8, 3.6, 4.4, 4.9)  # micron
_SKY_BRIGHTNESS = (0.24, 0.23, 0.21, 0.18, 0.13, 0.15, 0.32, 0.55)  # MJy/sr

# One DN/s is this many MJy/sr in a band as wide as its wavelength; F150W and F444W come out right.
_MJY_SR_PER_DN_S = {"SHORT": 0.49, "LONG": 0.092}

# As measured in flight: F150W 0.050", F200W 0.066", F356W 0.115", F444W 0.145".
_FWHM_PER_MICRON = 0.0327  # arcsec


@dataclass(frozen=True, kw_only=True)
class Band:
    """A NIRCam imaging band."""

    name: str  #: the band's own name, such as ``"F200W"`` or ``"F162M"``
    filter: str  #: in the filter wheel, as in ``FILTER``
    pupil: str  #: in the pupil wheel, as in ``PUPIL``
    wavelength: float  #: pivot wavelength [micron]
    bandwidth: float  #: [micron]

    @property
    def channel(self) -> str:
        """``"SHORT"`` or ``"LONG"``, as in the ``CHANNEL`` keyword."""
        return "LONG" if self.filter in LONG_FILTERS else "SHORT"

    @property
    def fwhm(self) -> float:
        """Full width at half maximum of the core of the PSF [arcsec]."""
        return _FWHM_PER_MICRON * self.wavelength

    @property
    def sky(self) -> float:
        """Surface brightness of the sky [MJy/sr]."""
        return float(np.interp(self.wavelength, _SKY_WAVELENGTHS, _SKY_BRIGHTNESS))

    @property
    def photmjsr(self) -> float:
        """Surface brightness of one DN/s, the same for all detectors [MJy/sr]."""
        return _MJY_SR_PER_DN_S[self.channel] * self.wavelength / self.bandwidth

    @classmethod
    def named(cls, name: str) -> "Band":
        """Look a band up by its own name."""
        if name not in BANDS:
            raise SimulationError(f"filter: one of {', '.join(BANDS)}; got {name!r}")
        return BANDS[name]


BANDS = {
    name: Band(
        name=name,
        filter=IN_PUPIL_WHEEL.get(name, name),
        pupil=name if name in IN_PUPIL_WHEEL else "CLEAR",
        wavelength=wavelength,
        bandwidth=bandwidth,
    )
    for name, (wavelength, bandwidth) in _WAVELENGTHS.items()
}
"""Every imaging band by its name."""
