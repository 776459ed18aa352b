"""Epochs, dithers and the exposures that they make."""

from collections.abc import Sequence
from dataclasses import dataclass

from astropy.time import Time

from jwst_modfix.simulate.filters import Band
from jwst_modfix.simulate.optics import DETECTORS, MODULE_MIDPOINT, Attitude, DetectorGeometry, detector_geometry

SECONDS_PER_DAY = 86400.0
_OVERHEAD = 120.0  # seconds between exposures

# FULLBOX 6TIGHT moves by about ±24.5" along V2 and ±6.3" along V3: with six exposures both modules
# fill the 5.9' x 2.4' of the JWIDF (Ma et al. 2023, Sec. 2). The offsets have that extent; they are not
# the observatory's table.
_FULLBOX_6TIGHT = (
    (-24.53, -6.31),
    (-18.27, -0.12),
    (-24.34, 6.08),
    (24.47, -6.14),
    (18.16, 0.15),
    (24.29, 6.27),
)


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
    return tuple(
        Exposure(
            epoch=epoch,
            band=band,
            geometry=geometry,
            attitude=dithered_attitude(epoch, offset),
            start=_start(epoch, activity, number, len(offsets), duration),
            duration=duration,
            program=program,
            observation=observation,
            activity=activity,
            number=number,
            dithers=len(offsets),
        )
        for observation, epoch in enumerate(epochs, 1)
        for activity, band in enumerate((Band.named(name) for name in filters), 1)
        for number, offset in enumerate(offsets, 1)
        for geometry in geometries
        if geometry.channel == band.channel
    )


def dithered_attitude(epoch: Epoch, offset: tuple[float, float]) -> Attitude:
    """Find the attitude of a dither."""
    v2 = offset[0] + epoch.offset[0]
    v3 = offset[1] + epoch.offset[1]
    undithered = Attitude(ra=epoch.ra, dec=epoch.dec, roll=epoch.roll)
    ra, dec = undithered.v2v3_to_sky(MODULE_MIDPOINT[0] + v2, MODULE_MIDPOINT[1] + v3)
    roll = undithered.roll_at(MODULE_MIDPOINT[0] + v2, MODULE_MIDPOINT[1] + v3)
    return Attitude(ra=float(ra), dec=float(dec), roll=roll)


def _start(epoch: Epoch, activity: int, number: int, dithers: int, duration: float) -> float:
    """Start of an exposure [MJD]: one after another, bands in turn."""
    before = (activity - 1) * dithers + number - 1
    return float(Time(epoch.date, scale="utc").mjd) + before * (duration + _OVERHEAD) / SECONDS_PER_DAY
