"""What a detector makes of the light, and parts of a detector."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from stdatamodels.jwst.datamodels.dqflags import pixel as flags

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate.observation import Exposure
from jwst_modfix.simulate.optics import FULL_FRAME, Array, detector_geometry, read_aperture

_GAIN = {"SHORT": 2.05, "LONG": 1.82}  # electrons per DN
_READ_NOISE = {"SHORT": 9.0, "LONG": 8.0}  # electrons, of a fitted ramp
_FULL_WELL = 58000.0  # electrons
GROUPS = 10  # of the SHALLOW4 ramp; a pixel is lost when the first group is saturated

_FLAT_ERROR = 0.002  # fraction, the same in every exposure of a detector
_DEAD_FRACTION = 0.003
_HOT_FRACTION = 0.001
_REFERENCE_PIXELS = 4  # rows and columns along each edge

_APERTURE_RADIUS = 2.5  # FWHM, of the measurements that are made without pixels

_DO_NOT_USE = flags["DO_NOT_USE"]

# Throughputs of the detectors over those of their band.
_SENSITIVITY = {
    **{"NRCA1": 1.00, "NRCA2": 0.97, "NRCA3": 0.98, "NRCA4": 1.01, "NRCALONG": 1.00},
    **{"NRCB1": 1.02, "NRCB2": 0.99, "NRCB3": 1.00, "NRCB4": 1.03, "NRCBLONG": 0.98},
}


@dataclass(frozen=True, kw_only=True)
class Subarray:
    """A rectangle of pixels of the full frame."""

    xstart: int  #: first column, 1-indexed, as in ``SUBSTRT1``
    ystart: int  #: first row, 1-indexed, as in ``SUBSTRT2``
    xsize: int  #: number of columns
    ysize: int  #: number of rows
    name: str = "GENERIC"  #: as in the ``SUBARRAY`` keyword, which allows no others

    def __post_init__(self) -> None:
        for start, size in (("xstart", "xsize"), ("ystart", "ysize")):
            first, length = getattr(self, start), getattr(self, size)
            if first < 1 or length < 1 or first + length - 1 > FULL_FRAME:
                raise SimulationError(
                    f"{start}, {size}: pixels 1 to {FULL_FRAME}, at least one; got {length} pixels from {first}"
                )

    @property
    def columns(self) -> Array:
        """Columns of the full frame, 0-indexed."""
        return np.arange(self.xstart - 1.0, self.xstart - 1.0 + self.xsize)

    @property
    def rows(self) -> Array:
        """Rows of the full frame, 0-indexed."""
        return np.arange(self.ystart - 1.0, self.ystart - 1.0 + self.ysize)

    def cut(self, whole: Array) -> Array:
        """Cut the pixels out of an array of the full frame."""
        return whole[self.ystart - 1 :, self.xstart - 1 :][: self.ysize, : self.xsize]


WHOLE = Subarray(xstart=1, ystart=1, xsize=FULL_FRAME, ysize=FULL_FRAME, name="FULL")
"""The full frame."""


def named_subarray(name: str, detector: str) -> Subarray:
    """Look up a subarray of the SIAF by name, such as ``"SUB640"``, and detector."""
    aperture = read_aperture(detector, name)
    if aperture is None:
        raise SimulationError(f"subarray: one that the SIAF has for {detector}, such as SUB640; got {name!r}")
    x, y = detector_geometry(detector).v2v3_to_pixel(aperture.V2Ref, aperture.V3Ref)
    return Subarray(
        name=name,
        xstart=round(float(x) - (aperture.XSciRef - 1)) + 1,
        ystart=round(float(y) - (aperture.YSciRef - 1)) + 1,
        xsize=int(aperture.XSciSize),
        ysize=int(aperture.YSciSize),
    )


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Which effects to simulate."""

    noise: bool = True  #: Poisson, read and flat-field noise; the variances are filled in either way
    sky: bool = True  #: surface brightness of the sky
    bad_pixels: bool = True  #: dead, hot and reference pixels
    saturation: bool = True  #: of bright cores
    cosmic_rays: int = 0  #: hits that the ramp fit left in, unflagged, in each exposure

    @classmethod
    def none(cls) -> "Effects":
        """Turn every effect off."""
        return cls(noise=False, sky=False, bad_pixels=False, saturation=False)


def photmjsr(exposure: Exposure) -> float:
    """Compute the surface brightness of one DN/s in an exposure [MJy/sr]."""
    return exposure.band.photmjsr / _SENSITIVITY[exposure.geometry.detector]


def detect(brightness: Array, exposure: Exposure, rng: Any, effects: Effects, subarray: Subarray) -> dict[str, Array]:
    """Measure a surface brightness by pixels: values, errors [MJy/sr], flags.

    The arrays have the names of a calibrated exposure; they are NaN where nothing was measured.
    """
    channel = exposure.geometry.channel
    per_electron = photmjsr(exposure) / (_GAIN[channel] * exposure.duration)
    electrons = brightness / per_electron
    var_poisson = electrons * per_electron**2
    var_rnoise = np.full_like(brightness, (_READ_NOISE[channel] * per_electron) ** 2)
    var_flat = (_FLAT_ERROR * brightness) ** 2
    data = brightness.copy()
    if effects.noise:  # counts and read noise, divided by a flat field that is a little wrong
        pattern = _pattern_rng(exposure).standard_normal((FULL_FRAME, FULL_FRAME), np.float32)
        flat = 1 + _FLAT_ERROR * subarray.cut(pattern)
        read = _READ_NOISE[channel] * rng.standard_normal(electrons.shape, np.float32)
        counts = rng.poisson(electrons) + read
        data = counts * (flat * photmjsr(exposure) / (_GAIN[channel] * exposure.duration))
    err = np.sqrt(var_poisson + var_rnoise + var_flat)
    if effects.cosmic_rays:
        hit = rng.integers(data.shape, size=(effects.cosmic_rays, 2)).T
        data[*hit] += err[*hit] * (10 + rng.exponential(30, effects.cosmic_rays))  # sigma
    dq = np.zeros(electrons.shape, np.uint32)
    if effects.saturation:
        dq[electrons > _FULL_WELL] |= flags["SATURATED"]
        dq[electrons > GROUPS * _FULL_WELL] |= _DO_NOT_USE
    if effects.bad_pixels:
        dq |= subarray.cut(_bad_pixels(exposure))
    lost = (dq & _DO_NOT_USE) != 0
    measured = {"data": data, "err": err, "var_poisson": var_poisson, "var_rnoise": var_rnoise, "var_flat": var_flat}
    for array in measured.values():
        array[lost] = np.nan
    return measured | {"dq": dq}


def noise_equivalent_flux(flux: Array, exposure: Exposure) -> Array:
    """Estimate the standard error of the flux in an aperture of 2.5 FWHM [MJy]."""
    geometry, band = exposure.geometry, exposure.band
    per_electron = photmjsr(exposure) / (_GAIN[geometry.channel] * exposure.duration)
    pixels = np.pi * (_APERTURE_RADIUS * band.fwhm) ** 2 / geometry.nominal_area
    background = pixels * (band.sky / per_electron + _READ_NOISE[geometry.channel] ** 2)
    flux_per_electron = per_electron * geometry.nominal_solid_angle
    return np.sqrt(np.asarray(flux) / flux_per_electron + background) * flux_per_electron


def _bad_pixels(exposure: Exposure) -> Array:
    """Draw the flags that belong to the detector: the same in each of its exposures."""
    chance = _pattern_rng(exposure, per_band=False).random((FULL_FRAME, FULL_FRAME), np.float32)
    dq = np.zeros(chance.shape, np.uint32)
    dq[chance < _DEAD_FRACTION] |= flags["DEAD"] | _DO_NOT_USE
    dq[chance > 1 - _HOT_FRACTION] |= flags["HOT"] | _DO_NOT_USE
    border = np.ones(chance.shape, bool)
    border[_REFERENCE_PIXELS:-_REFERENCE_PIXELS, _REFERENCE_PIXELS:-_REFERENCE_PIXELS] = False
    dq[border] = flags["REFERENCE_PIXEL"] | _DO_NOT_USE
    return dq


def _pattern_rng(exposure: Exposure, per_band: bool = True) -> np.random.Generator:
    """Make the generator of a detector, or detector and band, not of a realisation."""
    name = exposure.geometry.detector + (exposure.band.name if per_band else "")
    return np.random.default_rng(zlib.crc32(name.encode()))
