"""From the members of an association to a derivation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jwst_modfix.derivation.bands import list_bands, solve_band
from jwst_modfix.derivation.derive import Derivation, Options
from jwst_modfix.derivation.provenance import make_table
from jwst_modfix.errors import AssociationError, ModuleOffsetError, NoSolutionError
from jwst_modfix.jobs import THIS_PROCESS, Workers
from jwst_modfix.photometry import (
    Cache,
    Epochs,
    ExposureHeader,
    Photometry,
    find_apart,
    find_copies,
    find_mixed,
    find_sources,
    find_wide_epochs,
    group_epochs,
    measure_sources,
    read_catalogues,
    read_header,
    select_measurements,
)
from jwst_modfix.photometry.frames import read_geometry
from jwst_modfix.photometry.mosaics import measure_mosaics
from jwst_modfix.table.table import MODULES
from jwst_modfix.text import get_logger, show_progress

__all__ = ["Members", "derive_members", "read_members", "solve_photometry"]

log = get_logger(__name__)

# Sources this much fainter than the limit of the selection are measured too, so that the limit is applied to all
# measurements of a source alike.
_MARGIN = 1.0  # mag


@dataclass(frozen=True)
class Members:
    """The files to derive from."""

    paths: tuple[Path, ...]
    epochs: tuple[str | None, ...]  # names that the association gives
    product: str
    where: str  # what the files are members of, for messages


def derive_members(
    members: Members,
    options: Options,
    *,
    make_mosaics: Callable[..., Any],
    workers: Workers = THIS_PROCESS,
    cache: Cache | None = None,
) -> Derivation:
    """Derive a table from exposures."""
    headers, mixed = read_members(members, allow_mixed=options.allow_mixed, workers=workers)
    epochs = _group(headers, members, options)
    photometry = _measure(headers, epochs, options, make_mosaics, workers, cache)
    return solve_photometry(photometry, headers, epochs, options, product=members.product, mixed=mixed)


def read_members(
    members: Members, *, allow_mixed: bool = False, workers: Workers = THIS_PROCESS
) -> tuple[list[ExposureHeader], list[str]]:
    """Read the headers of all members, and refuse together those that cannot be used."""
    paths, where = members.paths, members.where
    found = list(workers.map(_inspect, [(path,) for path in paths], [path.name for path in paths]))
    headers = [header for header, _ in found if header]
    problems = [problem for _, problem in found if problem]
    if problems:
        raise AssociationError(
            f"{where}: {len(problems)} of {len(paths)} members cannot be used: {'; '.join(problems)}"
        )
    copies = find_copies(headers)
    if copies:
        raise AssociationError(
            f"{where}: each exposure must be a member once: {'; '.join(copies)}; leave the copies out"
        )
    mixed = find_mixed(headers)
    if mixed and not allow_mixed:
        raise AssociationError(
            f"{where}: members must be calibrated alike: {'; '.join(mixed)}; set allow_mixed to use them as they are"
        )
    modules: dict[str, set[str]] = {}
    for header in headers:
        modules.setdefault(f"{header.filter}+{header.pupil}", set()).add(header.module)
    if not any(len(seen) == len(MODULES) for seen in modules.values()):
        words = ", ".join(f"{band}: {', '.join(sorted(seen))}" for band, seen in modules.items())
        raise NoSolutionError(f"{where}: an offset needs exposures of both modules through one filter; got {words}")
    apart = find_apart(headers)
    if len(apart) == sum(len(seen) == len(MODULES) for seen in modules.values()):
        raise NoSolutionError(f"{where}: exposures must overlap on the sky; {'; '.join(apart)}")
    return headers, mixed


def _inspect(path: Path) -> tuple[ExposureHeader | None, str]:
    """Read one member's headers and WCS; return the headers, or what is wrong with it."""
    try:
        header = read_header(path)
        read_geometry(header)
    except ModuleOffsetError as error:
        return None, str(error)
    return header, ""


def _group(headers: Sequence[ExposureHeader], members: Members, options: Options) -> Epochs:
    times, rolls = [header.mjd for header in headers], [header.roll for header in headers]
    limits = {"gap_days": options.epoch_gap_days, "roll_tolerance": options.epoch_roll_tolerance}
    epochs = group_epochs(times, rolls, members.epochs, **limits)
    log.info("Exposures: %d, epochs: %d (%s)", len(headers), len(epochs.names), ", ".join(epochs.names))
    for sentence in find_wide_epochs(epochs, times, rolls, **limits):
        log.warning(sentence)
    return epochs


def _measure(
    headers: Sequence[ExposureHeader],
    epochs: Epochs,
    options: Options,
    make_mosaics: Callable[..., Any],
    workers: Workers,
    cache: Cache | None,
) -> Photometry:
    limit = options.faintest + _MARGIN
    if options.photometry == "catalog":
        return read_catalogues(options.catalogs, headers, epochs)
    if options.photometry == "mosaic":
        progress = partial(show_progress, stage="Resampling and measuring", what="mosaics")
        return measure_mosaics(make_mosaics(headers, epochs, progress=progress), epochs, faintest=limit)
    finding, measuring = (partial(show_progress, stage=f"{verb} sources") for verb in ("Finding", "Measuring"))
    sources = find_sources(headers, faintest=limit, progress=finding, workers=workers, cache=cache)
    log.info("Found %d sources", len(sources))
    return measure_sources(headers, epochs, sources, progress=measuring, workers=workers, cache=cache)


def solve_photometry(
    photometry: Photometry,
    headers: Sequence[ExposureHeader],
    epochs: Epochs,
    options: Options,
    *,
    product: str,
    mixed: Sequence[str] = (),
) -> Derivation:
    """Solve every filter and pupil of a set of measurements."""
    selection = select_measurements(photometry.measurements, options.criteria)
    bands = tuple(solve_band(photometry, selection.mask, band, options) for band in list_bands(photometry.exposures))
    if not any(band.offsets is not None and band.offsets.rows for band in bands):
        reasons = [f"{band.name}: {band.failure}" for band in bands if band.failure]
        reasons += [f"{band.name}, array {r.array}: {r.words}" for band in bands for r in band.results]
        failed = ", ".join(f"{count} {rule}" for rule, count in selection.rejected.items() if count)
        raise NoSolutionError(
            f"no offset can be derived: {'; '.join(reasons)} ({int(selection.mask.sum())} of {len(selection.mask)} "
            f"measurements selected; not selected: {failed or 'none'})"
        )
    table = make_table(bands, headers, options.baseline, f"{product}_moduleoffset.asdf")
    return Derivation(
        product=product, headers=tuple(headers), epochs=epochs, mixed=tuple(mixed), photometry=photometry,
        selection=selection, bands=bands, table=table, options=options,
    )  # fmt: skip
