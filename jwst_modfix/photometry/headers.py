"""The headers of exposures, and what can be said of a set of them before any pixel is read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, compress
from pathlib import Path, PurePosixPath

import numpy as np
from astropy.units import Unit

from jwst_modfix.errors import ExposureError
from jwst_modfix.exposure import Exposure, open_exposure

_CALIBRATION = (("context", "CRDS_CTX"), ("photom", "R_PHOTOM"), ("flat", "R_FLAT"))
_REQUIRED = (("filter", "FILTER"), ("pupil", "PUPIL"), ("pixar_sr", "PIXAR_SR"), ("roll", "PA_V3"), ("mjd", "EXPMID"))
_JANSKY_PER_MJY = 1e6
_CELL = 4.0  # arcsec
_SAMPLES = 64  # along each side of a footprint


@dataclass(frozen=True, kw_only=True)
class ExposureHeader:
    """The headers of an exposure of NIRCam, as far as the derivation uses them."""

    path: Path
    detector: str
    filter: str
    pupil: str
    mjd: float  # middle of the exposure
    roll: float  # deg, PA_V3: position angle of the V3 axis at the boresight
    pixar_sr: float  # sr, nominal solid angle of a pixel
    shape: tuple[int, int]  # of the data, (ny, nx)
    corner: tuple[int, int]  # full-frame pixel (0-indexed) of the first pixel, (x, y)
    context: str | None = None
    photom: str | None = None
    flat: str | None = None
    photmjsr: float | None = None  # (MJy/sr) / (DN/s)
    status: str | None = None  # COMPLETE where a module offset has been removed
    digest: str | None = None  # content hash of the table that was applied
    s_region: str | None = None  # footprint on the sky
    identity: tuple = ()  # start time and numbers of the observation: one exposure of a detector has them

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name

    @property
    def band(self) -> tuple[str, str]:
        """Filter and pupil."""
        return self.filter, self.pupil

    @property
    def module(self) -> str:
        """``"A"`` or ``"B"``."""
        return self.detector[3]

    @property
    def array(self) -> str:
        """Array ID: ``"1"`` to ``"4"`` or ``"long"``."""
        return self.detector[4:].lower()

    @property
    def channel(self) -> str:
        """``"SHORT"`` or ``"LONG"``."""
        return "LONG" if self.array == "long" else "SHORT"

    @property
    def jansky(self) -> float:
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.pixar_sr * _JANSKY_PER_MJY

    @property
    def corners(self) -> np.ndarray | None:
        """Corners of the footprint, RA and Dec of each [deg], shape (4, 2); None where S_REGION has none."""
        try:
            words = [float(word) for word in (self.s_region or "").upper().split() if not word.isalpha()]
            return np.array(words).reshape(4, 2)
        except ValueError:
            return None

    @property
    def cells(self) -> set[tuple[int, int]] | None:
        """Cells of the sky, 4 arcsec wide, that the footprint covers; None where it is not known."""
        corners = self.corners
        if corners is None:
            return None
        side = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        along, across = (grid.ravel()[:, None] for grid in np.meshgrid(side, side))
        corners[:, 0] = corners[0, 0] + (corners[:, 0] - corners[0, 0] + 180) % 360 - 180
        near = (1 - along) * corners[0] + along * corners[1]
        far = (1 - along) * corners[3] + along * corners[2]
        ra, dec = ((1 - across) * near + across * far).T
        row = np.floor(dec * 3600 / _CELL).astype(int)
        width = _CELL / 3600 / np.cos(np.radians(row * _CELL / 3600)).clip(1e-6)
        return set(zip(row.tolist(), np.floor(ra % 360 / width).astype(int).tolist(), strict=True))


def read_header(path: str | Path) -> ExposureHeader:
    """Read the headers of an exposure, without loading pixels."""
    with open_exposure(Path(path)) as opened:
        return _describe(Path(path), opened.exposure)


def _describe(path: Path, exposure: Exposure) -> ExposureHeader:
    _check(path, exposure)
    roll = exposure.roll_ref if exposure.pa_v3 is None else exposure.pa_v3
    values = {"roll": roll, "mjd": exposure.start if exposure.middle is None else exposure.middle}
    names = ("filter", "pupil", "pixar_sr", "context", "photom", "flat", "photmjsr", "status", "digest", "s_region")
    values |= {name: getattr(exposure, name) for name in ("detector", "shape", *names)}
    missing = [keyword for name, keyword in _REQUIRED if values[name] is None]
    if missing:
        raise ExposureError(f"{path}: has no {', '.join(missing)} in its headers; give a _cal file of the pipeline")
    for name in ("filter", "pupil"):  # which name figures and files
        if not re.fullmatch(r"[A-Z0-9]+", values[name]):
            raise ExposureError(f"{path}: {name} must be capital letters and digits, got {values[name]!r}")
    if values["pixar_sr"] <= 0:
        raise ExposureError(f"{path}: PIXAR_SR must be positive, got {values['pixar_sr']}")
    values["corner"] = (exposure.xstart or 1) - 1, (exposure.ystart or 1) - 1
    numbers = (exposure.program_number, exposure.observation_number, exposure.visit_number, exposure.visit_group)
    numbers += (exposure.sequence_id, exposure.activity_id, exposure.exposure_number)
    identity = () if exposure.start is None else (exposure.start, *numbers)
    return ExposureHeader(path=path, identity=identity, **values)


def _check(path, exposure):
    if exposure.instrument != "NIRCAM" or exposure.array is None:
        raise ExposureError(
            f"{path}: must be of NIRCam and one of its ten detectors; "
            f"got INSTRUME {exposure.instrument}, DETECTOR {exposure.detector}"
        )
    if exposure.exp_type not in (None, "NRC_IMAGE"):
        raise ExposureError(f"{path}: EXP_TYPE must be NRC_IMAGE; got {exposure.exp_type}")
    if len(exposure.shape) != 2:
        raise ExposureError(f"{path}: SCI must have two axes; got shape {exposure.shape}")
    if Unit(exposure.unit or "", parse_strict="silent") != Unit("MJy/sr"):
        raise ExposureError(f"{path}: BUNIT must be MJy/sr, as photom makes it; got {exposure.unit}")


def find_mixed(headers: Sequence[ExposureHeader]) -> list[str]:
    """Describe how exposures of a detector, or corrections of an array, differ in calibration."""
    detectors, arrays = {}, {}
    for header in headers:
        detectors.setdefault(" ".join((header.detector, *header.band)), []).append(header)
        arrays.setdefault(" ".join((f"array {header.array}", *header.band)), []).append(header)
    lines = []
    for which, members in detectors.items():
        for field, keyword in _CALIBRATION:
            lines += _differing(which, keyword, [_base(getattr(header, field)) for header in members])
        # One photom file gives a PHOTMJSR of its own to each time; without its name, the value is all that is known.
        unnamed = [header.photmjsr for header in members if header.photom is None]
        lines += _differing(which, "PHOTMJSR", unnamed)
    for which, members in arrays.items():
        corrected = [header.status == "COMPLETE" for header in members]
        lines += _differing(which, "S_MODOFF=COMPLETE", [str(value) for value in corrected])
        lines += _differing(which, "MODFHASH", [header.digest for header in compress(members, corrected)])
    return lines


def _differing(which, keyword, values) -> Iterator[str]:
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) > 1:
        parts = (f"{value} ({count} exposure{'s' * (count > 1)})" for value, count in counts.items())
        yield f"{which}: {keyword} is {', '.join(parts)}"


def _base(value):
    return PurePosixPath(value).name if isinstance(value, str) else value


def find_copies(headers: Sequence[ExposureHeader]) -> list[str]:
    """Name files of one exposure: a copy under another name is no new measurement."""
    groups = {}
    for header in headers:
        if header.identity:
            groups.setdefault((header.detector, header.band, header.mjd, *header.identity), []).append(str(header.path))
    return [f"{' and '.join(paths)} are one exposure of {key[0]}" for key, paths in groups.items() if len(paths) > 1]


def find_apart(headers: Sequence[ExposureHeader]) -> list[str]:
    """Name the filters in which no exposure of one module overlaps one of the other, by their footprints."""
    lines = []
    for band in dict.fromkeys(header.band for header in headers):
        mine = [header for header in headers if header.band == band]
        covered = {}
        for header in mine:
            covered.setdefault(header.module, []).append(header.cells)
        if len(covered) < 2 or any(cells is None for parts in covered.values() for cells in parts):
            continue
        if any(first & second for first, second in combinations((set().union(*part) for part in covered.values()), 2)):
            continue
        counts = ", ".join(f"{len(parts)} of module {module}" for module, parts in sorted(covered.items()))
        lines.append(f"{'+'.join(band)}: no exposure of module A overlaps one of module B on the sky ({counts})")
    return lines
