"""Checks before pixels are read: epochs, copies, mixed calibrations, overlap."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from astropy.time import Time
from numpy.typing import ArrayLike

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.frames import ExposureHeader
from jwst_modfix.table.validity import base_name, photmjsr_agrees
from jwst_modfix.text import count_nouns, describe_band

GAP_DAYS, ROLL_TOLERANCE = 30.0, 5.0  # day, deg: of the exposures of one epoch, unless others are given
_CALIBRATION = (("context", "CRDS_CTX"), ("photom", "R_PHOTOM"), ("flat", "R_FLAT"))


@dataclass(frozen=True, eq=False)
class Epochs:
    """Exposures by epoch."""

    number: np.ndarray  # int, of each exposure: 0 for the first epoch in time, and so on
    names: tuple[str, ...]  # of each epoch

    def in_words(self) -> str:
        """List numbers and names: messages of the fit have the numbers."""
        return ", ".join(f"{number} {name}" for number, name in enumerate(self.names))


def group_epochs(
    mjd: ArrayLike,
    roll: ArrayLike,
    names: Sequence[str | None] | None = None,
    *,
    gap_days: float = GAP_DAYS,
    roll_tolerance: float = ROLL_TOLERANCE,
) -> Epochs:
    """Group exposures into epochs, numbered in the order of time."""
    # By their names where they are given; else an epoch ends where the next exposure comes later than the gap, or
    # where its roll differs by more than the tolerance from that of the epoch's first.
    mjd, roll = np.asarray(mjd, float), np.asarray(roll, float)
    for name, value in (("gap_days", gap_days), ("roll_tolerance", roll_tolerance)):
        if not value > 0:
            raise PhotometryError(f"{name}: must be more than 0; got {value}")
    for name, values in (("mjd", mjd), ("roll", roll)):
        if not np.isfinite(values).all():
            raise PhotometryError(f"{name}: must be finite; that of exposure {np.argmin(np.isfinite(values))} is not")
    names = [None] * len(mjd) if names is None else [name if name is None else str(name) for name in names]
    if all(name is None for name in names):
        names = _name_by_time(mjd, roll, gap_days, roll_tolerance)
    elif None in names:
        raise PhotometryError(
            f"epoch: {names.count(None)} of {len(names)} members have no epoch, the first is member "
            f"{names.index(None) + 1}; give it for every member or for none"
        )
    start = {name: mjd[[other == name for other in names]].min() for name in set(names)}
    ordered = sorted(start, key=lambda name: (start[name], name))
    return Epochs(np.array([ordered.index(name) for name in names], int), tuple(ordered))


def find_wide_epochs(
    epochs: Epochs,
    mjd: ArrayLike,
    roll: ArrayLike,
    *,
    gap_days: float = GAP_DAYS,
    roll_tolerance: float = ROLL_TOLERANCE,
) -> list[str]:
    """Describe named epochs that times and rolls would split, as in two programs."""
    mjd, roll = np.asarray(mjd, float), np.asarray(roll, float)
    lines = []
    for number, name in enumerate(epochs.names):
        mine = np.flatnonzero(epochs.number == number)
        parts = group_epochs(mjd[mine], roll[mine], gap_days=gap_days, roll_tolerance=roll_tolerance).names
        if len(parts) > 1:
            lines.append(
                f"epoch {name} of the association: its exposures are up to {np.ptp(mjd[mine]):.1f} days apart, "
                f"{len(parts)} epochs by time and roll; but only one term is fitted"
            )
    return lines


def _name_by_time(mjd, roll, gap_days, roll_tolerance):
    """Name each epoch by the time of its first exposure."""
    first = last = None
    starts = np.empty(len(mjd), int)
    for i in np.argsort(mjd, kind="stable"):
        turned = first is not None and abs((roll[i] - roll[first] + 180) % 360 - 180) > roll_tolerance
        if first is None or turned or mjd[i] - mjd[last] > gap_days:
            first = i
        starts[i] = first
        last = i
    return [Time(mjd[i], format="mjd").isot[:16] for i in starts]


def find_mixed(headers: Sequence[ExposureHeader]) -> list[str]:
    """Describe different calibrations of a detector, or corrections of an array."""
    detectors: dict[str, list[ExposureHeader]] = {}
    arrays: dict[str, list[ExposureHeader]] = {}
    for header in headers:
        detectors.setdefault(" ".join((header.detector, *header.band)), []).append(header)
        arrays.setdefault(" ".join((f"array {header.array}", *header.band)), []).append(header)
    lines = []
    for which, members in detectors.items():
        for field, keyword in _CALIBRATION:
            lines += _differing(which, keyword, [_base(getattr(header, field)) for header in members])
        # One photom file can give each time another PHOTMJSR; without its name, only the value is known.
        for photom in dict.fromkeys(_base(header.photom) for header in members):
            values = [header.photmjsr for header in members if _base(header.photom) == photom]
            known = [value for value in values if value is not None]
            if photom is None or (known and not photmjsr_agrees(max(known), min(known), same_file=True)):
                lines += _differing(which, "PHOTMJSR", values)
        areas = [header.pixar_sr for header in members]
        if not photmjsr_agrees(max(areas), min(areas)):
            lines += _differing(which, "PIXAR_SR", areas)
    for which, members in arrays.items():
        corrected = [header for header in members if header.status == "COMPLETE"]
        lines += _differing(which, "S_MODOFF=COMPLETE", [str(header.status == "COMPLETE") for header in members])
        lines += _differing(which, "MODFHASH", [header.digest for header in corrected])
    return lines


def _differing(which, keyword, values) -> Iterator[str]:
    counts = {value: values.count(value) for value in dict.fromkeys(values)}
    if len(counts) > 1:
        parts = (f"{value} ({count_nouns(count, 'exposure')})" for value, count in counts.items())
        yield f"{which}: {keyword} is {', '.join(parts)}"


def _base(value: str | None) -> str | None:
    return None if value is None else base_name(value)


def group_copies(headers: Sequence[ExposureHeader]) -> list[list[ExposureHeader]]:
    """Group the files of one exposure: of one detector, filter, time and observation."""
    groups: dict[tuple, list[ExposureHeader]] = {}
    for header in headers:
        groups.setdefault((header.detector, header.band, header.mjd, header.identity), []).append(header)
    return list(groups.values())


def find_copies(headers: Sequence[ExposureHeader]) -> list[str]:
    """Name files of one exposure: a copy under another name is no new measurement."""
    groups = [group for group in group_copies(headers) if len(group) > 1]
    return [f"{' and '.join(str(file.path) for file in group)} are one exposure of {group[0].detector}"
            for group in groups]  # fmt: skip


def find_apart(headers: Sequence[ExposureHeader]) -> list[str]:
    """Name the filters in which exposures of the two modules do not overlap."""
    lines = []
    for band in dict.fromkeys(header.band for header in headers):
        covered: dict[str, list] = {}
        for header in headers:
            if header.band == band:
                covered.setdefault(header.module, []).append(header.cells)
        if len(covered) < 2 or any(cells is None for parts in covered.values() for cells in parts):
            continue
        if set.intersection(*(set().union(*parts) for parts in covered.values())):
            continue
        counts = ", ".join(f"{len(parts)} of module {module}" for module, parts in sorted(covered.items()))
        lines.append(f"{describe_band(*band)}: no exposure of module A overlaps one of module B on the sky ({counts})")
    return lines
