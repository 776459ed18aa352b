"""Bands, epochs, dithers and the exposures that they make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.time import Time

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate.optics import DETECTORS, MODULE_MIDPOINT, Attitude, DetectorGeometry, detector_geometry
from jwst_modfix.table.validity import IN_PUPIL_WHEEL, LONG_FILTERS

# Pivot wavelength and bandwidth [micron].
_WAVELENGTHS = {
    "F070W": (0.704, 0.128), "F090W": (0.901, 0.194), "F115W": (1.154, 0.225), "F140M": (1.404, 0.142),
    "F150W": (1.501, 0.318), "F150W2": (1.671, 1.227), "F162M": (1.626, 0.168), "F164N": (1.644, 0.020),
    "F182M": (1.845, 0.238), "F187N": (1.874, 0.024), "F200W": (1.990, 0.461), "F210M": (2.093, 0.205),
    "F212N": (2.120, 0.027), "F250M": (2.503, 0.181), "F277W": (2.786, 0.672), "F300M": (2.996, 0.318),
    "F322W2": (3.247, 1.339), "F323N": (3.237, 0.038), "F335M": (3.365, 0.347), "F356W": (3.563, 0.787),
    "F360M": (3.621, 0.372), "F405N": (4.055, 0.046), "F410M": (4.092, 0.436), "F430M": (4.280, 0.228),
    "F444W": (4.421, 1.024), "F460M": (4.624, 0.228), "F466N": (4.654, 0.054), "F470N": (4.707, 0.051),
    "F480M": (4.834, 0.303),
}  # fmt: skip

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
    name: Band(name=name, filter=IN_PUPIL_WHEEL.get(name, name), pupil=name if name in IN_PUPIL_WHEEL else "CLEAR",
               wavelength=wavelength, bandwidth=bandwidth)
    for name, (wavelength, bandwidth) in _WAVELENGTHS.items()
}  # fmt: skip
"""Every imaging band by its name."""

SECONDS_PER_DAY = 86400.0
_OVERHEAD = 120.0  # seconds between exposures

# FULLBOX 6TIGHT moves by about ±24.5" along V2 and ±6.3" along V3: with six exposures both modules
# fill the 5.9' x 2.4' of the JWIDF (Ma et al. 2023, Sec. 2). The offsets have that extent; they are not
# the observatory's table.
_FULLBOX_6TIGHT = ((-24.53, -6.31), (-18.27, -0.12), (-24.34, 6.08), (24.47, -6.14), (18.16, 0.15), (24.29, 6.27))


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One visit of the field."""

    name: str  #: used in file names: letters and digits
    date: str  #: start, in ISO format
    #: Position angle of the V3 axis at the centre of the field [deg]. The observatory's V3PA is that at the boresight,
    #: which differs by up to 0.3 deg at the declination of the JWIDF.
    roll: float
    ra: float = 265.035  #: where the midpoint of the two modules looks before dithers [deg]
    dec: float = 68.974  #: [deg]
    offset: tuple[float, float] = (0.0, 0.0)  #: error of the pointing, along V2 and V3 [arcsec]: the WCS knows of it


JWIDF_EPOCHS = (
    Epoch(name="ep1", date="2022-07-08", roll=161.0),
    Epoch(name="ep2", date="2023-01-06", roll=341.0),
    Epoch(name="ep3", date="2023-07-06", roll=161.0),
)
"""The three epochs of the JWIDF (Ma et al. 2023, Sec. 2), whose modules swap places."""


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """One exposure of one detector."""

    epoch: Epoch  #: the epoch
    band: Band  #: the band
    geometry: DetectorGeometry  #: the detector
    attitude: Attitude  #: the pointing, with its dither
    start: float  #: MJD, UTC
    duration: float  #: effective exposure time [s]
    program: int  #: number of the program
    observation: int  #: number of the observation
    activity: int  #: number of the activity
    number: int  #: which one of the dithers it is
    dithers: int  #: number of dithers

    @property
    def name(self) -> str:
        """The name without suffix, such as ``jw02738001001_02101_00001_nrca1``."""
        visit = f"jw{self.program:05d}{self.observation:03d}001"
        return f"{visit}_021{self.activity:02d}_{self.number:05d}_{self.geometry.detector.lower()}"

    @property
    def facts(self) -> dict[str, str]:
        """Epoch, detector and band, as in the columns of simulated measurements."""
        geometry, band = self.geometry, self.band
        return {
            "epoch": self.epoch.name, "detector": geometry.detector, "array": geometry.array, "module": geometry.module,
            "filter": band.filter, "pupil": band.pupil,
        }  # fmt: skip

    @property
    def filename(self) -> str:
        """Name of the ``_cal`` file."""
        return f"{self.name}_cal.fits"


def dither_pattern(points: int) -> list[tuple[float, float]]:
    """List the offsets of a dither pattern like FULLBOX 6TIGHT, V2 and V3 [arcsec]."""
    if points == 1:
        return [(0.0, 0.0)]
    order = (0, 5, 2, 3, 1, 4) if points < 6 else range(6)
    turns = [(_FULLBOX_6TIGHT[order[i % 6]], i // 6) for i in range(points)]
    return [(v2 + 0.257 * turn, v3 + 0.331 * turn) for (v2, v3), turn in turns]


def plan_exposures(
    epochs: Sequence[Epoch] = JWIDF_EPOCHS,
    *,
    filters: Sequence[str] = ("F150W", "F200W", "F356W", "F444W"),
    detectors: Sequence[str] | None = None,
    dithers: int | Sequence[tuple[float, float]] = 6,
    duration: float = 526.1,
    program: int = 2738,
) -> tuple[Exposure, ...]:
    """
    Lay out every exposure of a set of observations.

    Parameters
    ----------
    epochs : sequence of Epoch
        The epochs.
    filters : sequence of str
        Names of bands; each is seen by the detectors of its channel.
    detectors : sequence of str, optional
        Names of detectors; all ten unless given.
    dithers : int or sequence of tuple of float
        Number of dithers, or their offsets along V2 and V3 [arcsec].
    duration : float
        Effective time of each exposure [s].
    program : int
        Program, for names of files.

    Returns
    -------
    tuple of Exposure
        By epoch, filter, dither and detector.
    """
    offsets = dither_pattern(dithers) if isinstance(dithers, int) else dithers
    geometries = [detector_geometry(detector) for detector in detectors or DETECTORS]
    exposures = []
    for observation, epoch in enumerate(epochs, 1):
        for activity, band in enumerate((Band.named(name) for name in filters), 1):
            for number, offset in enumerate(offsets, 1):
                moves = zip(MODULE_MIDPOINT, offset, epoch.offset, strict=True)
                v2, v3 = (midpoint + (dither + error) for midpoint, dither, error in moves)
                undithered = Attitude(ra=epoch.ra, dec=epoch.dec, roll=epoch.roll)
                ra, dec = undithered.v2v3_to_sky(v2, v3)
                attitude = Attitude(ra=float(ra), dec=float(dec), roll=undithered.roll_at(v2, v3))
                before = (activity - 1) * len(offsets) + number - 1  # one after another, bands in turn
                start = float(Time(epoch.date, scale="utc").mjd) + before * (duration + _OVERHEAD) / SECONDS_PER_DAY
                exposures += [
                    Exposure(epoch=epoch, band=band, geometry=geometry, attitude=attitude,
                             start=start, duration=duration, program=program, observation=observation,
                             activity=activity, number=number, dithers=len(offsets))
                    for geometry in geometries
                    if geometry.channel == band.channel
                ]  # fmt: skip
    return tuple(exposures)
