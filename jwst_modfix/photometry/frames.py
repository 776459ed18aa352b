"""Exposures: headers, epochs and checks that need no pixels, the WCS, the pixels."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.time import Time
from astropy.units import Unit
from gwcs import WCS
from numpy.typing import ArrayLike

from jwst_modfix.errors import AssociationError, ExposureError, ModuleOffsetError, PhotometryError
from jwst_modfix.exposure import DetectorNames, open_exposure
from jwst_modfix.files import file_state
from jwst_modfix.jobs import THIS_PROCESS, Workers
from jwst_modfix.table.validity import base_name, explain_failed, photmjsr_agrees
from jwst_modfix.text import count_nouns, describe_band, log

_DO_NOT_USE, _SATURATED = 1, 2  # bits of the DQ array
_STEP = 0.5  # pixel, for derivatives of the WCS
_NEWTON_STEPS = 2
_MARGIN = 100.0  # pixels around the array within which the inverse is improved
_REQUIRED = (("filter", "FILTER"), ("pupil", "PUPIL"), ("pixar_sr", "PIXAR_SR"), ("roll", "PA_V3"), ("mjd", "EXPMID"))
GAP_DAYS, ROLL_TOLERANCE = 30.0, 5.0  # day, deg: of the exposures of one epoch, unless others are given
_IDENTITY = ("start", "program_number", "observation_number", "visit_number", "visit_group", "sequence_id",
             "activity_id", "exposure_number")  # fmt: skip
_CALIBRATION = (("context", "CRDS_CTX"), ("photom", "R_PHOTOM"), ("flat", "R_FLAT"))
_JANSKY_PER_MJY = 1e6
_CELL = 4.0  # arcsec
_SAMPLES = 64  # along each side of a footprint
_MOST_GEOMETRIES = 256  # in memory, 0.7 MB each


@dataclass(frozen=True, kw_only=True)
class ExposureHeader(DetectorNames):
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
    def jansky(self) -> float:
        """Flux of a nominal pixel of 1 MJy/sr [Jy]."""
        return self.pixar_sr * _JANSKY_PER_MJY

    @property
    def corners(self) -> np.ndarray | None:
        """Corners of the footprint, RA and Dec [deg], (4, 2); None without S_REGION."""
        try:
            words = [float(word) for word in (self.s_region or "").upper().split() if not word.isalpha()]
            return np.array(words).reshape(4, 2)
        except ValueError:
            return None

    @property
    def cells(self) -> set[tuple[int, int]] | None:
        """Cells of the sky, 4 arcsec wide, in the footprint; None if it is not known."""
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


def read_header(path: str | Path, *, with_geometry: bool = False) -> ExposureHeader:
    """Read an exposure's headers without its pixels; check its WCS if asked for."""
    path = Path(path)
    state = file_state(path)
    with open_exposure(path) as opened:
        exposure = opened.exposure
        names = ("filter", "pupil", "pixar_sr", "context", "photom", "flat", "photmjsr", "status", "digest", "s_region")
        values = {name: getattr(exposure, name) for name in ("detector", "shape", *names)}
        values["roll"] = exposure.roll_ref if exposure.pa_v3 is None else exposure.pa_v3
        values["mjd"] = exposure.start if exposure.middle is None else exposure.middle
        if fault := next(_find_faults(exposure, values), None):
            raise ExposureError(f"{path}: {fault}")
        if failed := explain_failed(exposure):
            log.warning("%s: %s", path.name, failed)
        values["corner"] = (exposure.xstart or 1) - 1, (exposure.ystart or 1) - 1
        identity = () if exposure.start is None else tuple(getattr(exposure, name) for name in _IDENTITY)
        header = ExposureHeader(path=path, identity=identity, **values)
        if with_geometry:
            _keep_geometry(header, state, opened)
    return header


def _find_faults(exposure, values):
    """Find why an exposure cannot be used; the words follow its name."""
    if exposure.instrument != "NIRCAM" or exposure.array is None:
        about = f"got INSTRUME {exposure.instrument}, DETECTOR {exposure.detector}"
        yield f"must be of NIRCam and one of its ten detectors; {about}"
    if exposure.exp_type not in (None, "NRC_IMAGE"):
        yield f"EXP_TYPE must be NRC_IMAGE; got {exposure.exp_type}"
    if exposure.resample == "COMPLETE":
        yield "is a mosaic (S_RESAMP is COMPLETE); give the exposures that it is made of"
    if failed := explain_failed(exposure, is_essential=True):
        yield failed
    if len(exposure.shape) != 2:
        yield f"SCI must have two axes; got shape {exposure.shape}"
    if Unit(exposure.unit or "", parse_strict="silent") != Unit("MJy/sr"):
        yield f"BUNIT must be MJy/sr, as photom makes it; got {exposure.unit}"
    if missing := [keyword for name, keyword in _REQUIRED if values[name] is None]:
        yield f"has no {', '.join(missing)} in its headers; give a _cal file of the pipeline"
    for name in ("filter", "pupil"):  # which name figures and files
        if not re.fullmatch(r"[A-Z0-9]+", values[name]):
            yield f"{name} must be capital letters and digits, got {values[name]!r}"
    if values["pixar_sr"] <= 0:
        yield f"PIXAR_SR must be positive, got {values['pixar_sr']}"


def read_headers(
    paths: Sequence[Path], noun: str, *, where: str = "", with_geometry: bool = False, workers: Workers = THIS_PROCESS
) -> list[ExposureHeader]:
    """Read the headers of exposures, and refuse together those that cannot be used."""
    jobs = [(path, with_geometry) for path in paths]
    found = list(workers.map(_inspect, jobs, [path.name for path in paths]))
    if problems := [problem for problem in found if isinstance(problem, str)]:
        raise AssociationError(f"{where}{len(problems)} of {count_nouns(len(paths), noun)} cannot be used", problems)
    return found


def _inspect(path, with_geometry):
    """Read an exposure's headers; return them, or what is wrong with it."""
    try:
        return read_header(path, with_geometry=with_geometry)
    except ModuleOffsetError as error:
        return str(error)


@dataclass(frozen=True, eq=False)
class Epochs:
    """Exposures by epoch."""

    number: np.ndarray  # int, of each exposure: 0 for the first epoch in time, and so on
    names: tuple[str, ...]  # of each epoch

    def in_words(self) -> str:
        """List numbers and names: messages of the fit have the numbers."""
        return ", ".join(f"{number} {name}" for number, name in enumerate(self.names))

    def split(self, headers: Sequence[ExposureHeader]) -> list[list[ExposureHeader]]:
        """List the exposures of each epoch."""
        return [[headers[i] for i in np.flatnonzero(self.number == number)] for number in range(len(self.names))]


def group_epochs(
    headers: Sequence[ExposureHeader],
    names: Sequence[str | None] | None = None,
    *,
    gap_days: float = GAP_DAYS,
    roll_tolerance: float = ROLL_TOLERANCE,
) -> Epochs:
    """Group exposures into epochs, numbered in the order of time."""
    # By their names where they are given; else an epoch ends where the next exposure comes later than the gap, or
    # where its roll differs by more than the tolerance from that of the epoch's first.
    for name, value in (("gap_days", gap_days), ("roll_tolerance", roll_tolerance)):
        if not value > 0:
            raise PhotometryError(f"{name}: must be more than 0; got {value}")
    names = [name if name is None else str(name) for name in names or [None] * len(headers)]
    if all(name is None for name in names):
        first, last = None, None
        for i in np.argsort([header.mjd for header in headers], kind="stable"):
            header = headers[i]
            turned = first is not None and abs((header.roll - first.roll + 180) % 360 - 180) > roll_tolerance
            if first is None or turned or header.mjd - last.mjd > gap_days:
                first = header
            names[i], last = Time(first.mjd, format="mjd").isot[:16], header
    elif None in names:
        raise PhotometryError(
            f"epoch: {names.count(None)} of {len(names)} members have no epoch, the first is member "
            f"{names.index(None) + 1}; give it for every member or for none"
        )
    start = {name: min(h.mjd for h, other in zip(headers, names, strict=True) if other == name) for name in set(names)}
    ordered = sorted(start, key=lambda name: (start[name], name))
    return Epochs(np.array([ordered.index(name) for name in names], int), tuple(ordered))


def find_wide_epochs(headers: Sequence[ExposureHeader], epochs: Epochs, **limits: float) -> list[str]:
    """Describe named epochs that times and rolls would split, as in two programs."""
    lines = []
    for name, mine in zip(epochs.names, epochs.split(headers), strict=True):
        parts = len(group_epochs(mine, **limits).names)
        if parts > 1:
            days = np.ptp([header.mjd for header in mine])
            lines.append(
                f"epoch {name} of the association: its exposures are up to {days:.1f} days apart, {parts} epochs by "
                "time and roll; but only one term is fitted"
            )
    return lines


def find_mixed(headers: Sequence[ExposureHeader]) -> list[str]:
    """Describe different calibrations of a detector, or corrections of an array."""
    lines = []
    for which, members in _group(headers, lambda header: " ".join((header.detector, *header.band))).items():
        for field, keyword in _CALIBRATION:
            names = [getattr(header, field) for header in members]
            lines += _differing(which, keyword, [name and base_name(name) for name in names])
        # One photom file can give each time another PHOTMJSR; without its name, only the value is known.
        photoms = [header.photom and base_name(header.photom) for header in members]
        for photom in dict.fromkeys(photoms):
            values = [header.photmjsr for header, name in zip(members, photoms, strict=True) if name == photom]
            known = [value for value in values if value is not None]
            if photom is None or (known and not photmjsr_agrees(max(known), min(known), same_file=True)):
                lines += _differing(which, "PHOTMJSR", values)
        areas = [header.pixar_sr for header in members]
        if not photmjsr_agrees(max(areas), min(areas)):
            lines += _differing(which, "PIXAR_SR", areas)
    for which, members in _group(headers, lambda header: " ".join(("array", header.array, *header.band))).items():
        lines += _differing(which, "S_MODOFF=COMPLETE", [str(header.status == "COMPLETE") for header in members])
        lines += _differing(which, "MODFHASH", [header.digest for header in members if header.status == "COMPLETE"])
    return lines


def _differing(which, keyword, values) -> Iterator[str]:
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) > 1:
        parts = (f"{value} ({count_nouns(count, 'exposure')})" for value, count in counts.items())
        yield f"{which}: {keyword} is {', '.join(parts)}"


def group_copies(headers: Sequence[ExposureHeader]) -> list[list[ExposureHeader]]:
    """Group the files of one exposure: of one detector, filter, time and observation."""
    return list(_group(headers, lambda header: (header.detector, header.band, header.mjd, header.identity)).values())


def find_copies(headers: Sequence[ExposureHeader]) -> list[str]:
    """Name files of one exposure: a copy under another name is no new measurement."""
    groups = [group for group in group_copies(headers) if len(group) > 1]
    return [f"{' and '.join(str(file.path) for file in group)} are one exposure of {group[0].detector}"
            for group in groups]  # fmt: skip


def find_apart(headers: Sequence[ExposureHeader]) -> list[str]:
    """Name the filters in which exposures of the two modules do not overlap."""
    lines = []
    for band, members in _group(headers, lambda header: header.band).items():
        modules = _group(members, lambda header: header.module)
        covered = [[header.cells for header in mine] for mine in modules.values()]
        if len(covered) < 2 or any(cells is None for parts in covered for cells in parts):
            continue
        if set.intersection(*(set().union(*parts) for parts in covered)):
            continue
        counts = ", ".join(f"{len(mine)} of module {module}" for module, mine in sorted(modules.items()))
        lines.append(f"{describe_band(*band)}: no exposure of module A overlaps one of module B on the sky ({counts})")
    return lines


def _group(headers: Sequence[ExposureHeader], key: Callable) -> dict[Any, list[ExposureHeader]]:
    groups: dict[Any, list[ExposureHeader]] = {}
    for header in headers:
        groups.setdefault(key(header), []).append(header)
    return groups


@dataclass(frozen=True, eq=False)
class SkyGeometry:
    """The WCS of an exposure."""

    wcs: WCS  # from 0-indexed pixels of the exposure's arrays to RA, Dec [deg], by way of v2v3
    shape: tuple[int, int]  # of the arrays, (ny, nx)

    def to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Find RA, Dec of pixels."""
        return self.wcs(np.asarray(x, float), np.asarray(y, float), with_bounding_box=False)

    def to_v2v3(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Find focal-plane coordinates of pixels."""
        return self.wcs.get_transform("detector", "v2v3")(np.asarray(x, float), np.asarray(y, float))

    def to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Find pixels of sky positions; iterate the WCS's inverse to agree with forward."""
        x, y = (np.asarray(value, float) for value in self.wcs.backward_transform(ra, dec))
        ny, nx = self.shape
        inside = np.flatnonzero((x > -_MARGIN) & (x < nx + _MARGIN) & (y > -_MARGIN) & (y < ny + _MARGIN))
        if not inside.size:
            return x, y
        back = np.linalg.inv(self.scale(x[inside], y[inside]))  # it changes by 1e-5 from pixel to pixel
        for _ in range(_NEWTON_STEPS):
            missed = offsets_on_sky(*self.to_sky(x[inside], y[inside]), np.asarray(ra)[inside], np.asarray(dec)[inside])
            step = np.einsum("nij,jn->in", back, missed)
            x[inside], y[inside] = x[inside] + step[0], y[inside] + step[1]
        return x, y

    def scale(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Find matrices from pixels to arcsec on the sky, east and north: (n, 2, 2)."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        # One evaluation of the WCS, whose time hardly depends on the number of places.
        ra, dec = self.to_sky([x - _STEP, x + _STEP, x, x], [y, y, y - _STEP, y + _STEP])
        along = [np.stack(offsets_on_sky(ra[i], dec[i], ra[i + 1], dec[i + 1]), axis=-1) for i in (0, 2)]
        return np.stack(along, axis=-1) / (2 * _STEP)


def offsets_on_sky(ra_0: ArrayLike, dec_0: ArrayLike, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Compute small offsets on the sky, east and north [arcsec]."""
    delta = (np.asarray(ra) - ra_0 + 180) % 360 - 180
    return delta * np.cos(np.radians(dec_0)) * 3600, (np.asarray(dec) - dec_0) * 3600


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Convert sky positions to unit vectors: regular at the poles and at RA = 0."""
    ra, dec = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def shift_on_sky(ra: np.ndarray, dec: np.ndarray, east: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    """Shift sky positions by a small offset [arcsec]."""
    return (ra + east / 3600 / np.cos(np.radians(dec))) % 360, dec + north / 3600


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """The pixels of an exposure."""

    header: ExposureHeader
    data: np.ndarray  # MJy/sr
    err: np.ndarray  # MJy/sr
    bad: np.ndarray  # bool
    saturated: np.ndarray  # bool
    area: np.ndarray  # solid angle of each pixel over the nominal one
    geometry: SkyGeometry


def read_frame(header: ExposureHeader) -> Frame:
    """Read the pixels and the WCS of an exposure."""
    path, arrays = header.path, {}
    with open_exposure(path) as opened:
        for name in ("data", "err", "dq", "area"):
            array = opened.array(name)
            if array is None:
                raise ExposureError(f"{path}: must have the extensions SCI, ERR, DQ and AREA; it has no {name.upper()}")
            if array.shape != header.shape:
                raise ExposureError(f"{path}: {name.upper()} must have the shape of SCI, {header.shape}")
            arrays[name] = array.astype(np.uint32 if name == "dq" else np.float32, copy=False)
    geometry = read_geometry(header)
    flags = arrays.pop("dq")
    bad = ~(np.isfinite(arrays["data"]) & (arrays["err"] > 0)) | ((flags & _DO_NOT_USE) != 0)
    if bad.all():
        raise PhotometryError(f"{path}: has no good pixel: all are not finite or flagged DO_NOT_USE; leave it out")
    return Frame(header=header, bad=bad, saturated=(flags & _SATURATED) != 0, geometry=geometry, **arrays)


def read_geometry(header: ExposureHeader) -> SkyGeometry:
    """Read an exposure's WCS once, without pixels: it takes longer than the pixels."""
    state = file_state(header.path)
    if (header, state) not in _geometries:
        with open_exposure(header.path) as opened:
            _keep_geometry(header, state, opened)
    return _geometries[header, state]


_geometries: dict[tuple, SkyGeometry] = {}  # of the last files, by header and state


def _keep_geometry(header, state, opened):
    wcs = opened.wcs
    if wcs is None or "v2v3" not in getattr(wcs, "available_frames", ()):
        raise ExposureError(f"{header.path}: has no gWCS with a v2v3 frame, which assign_wcs writes")
    if len(_geometries) >= _MOST_GEOMETRIES:
        _geometries.pop(next(iter(_geometries)))
    _geometries[header, state] = SkyGeometry(wcs, header.shape)
