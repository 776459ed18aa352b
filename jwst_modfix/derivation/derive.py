"""A derivation from an association: its parameters, its course and its result."""

from __future__ import annotations

import html
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from jwst_modfix.derivation.bands import BandResult, find_times, list_bands, solve_band
from jwst_modfix.derivation.provenance import describe_calibration, make_model, make_table
from jwst_modfix.errors import AssociationError, MeasurementsError, NoSolutionError
from jwst_modfix.fitting.design import CHOICES
from jwst_modfix.fitting.sky import SKY_FLOOR
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.fitting.verdict import ArrayResult, DetectorResult
from jwst_modfix.jobs import THIS_PROCESS, Cache, Workers
from jwst_modfix.photometry import frames
from jwst_modfix.photometry.catalogues import read_catalogues
from jwst_modfix.photometry.columns import Photometry, Selection, select_measurements
from jwst_modfix.photometry.forced import APERTURES, FAINTEST, find_sources, measure_sources
from jwst_modfix.photometry.mosaics import measure_mosaics
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.table.table import BASELINES, DETECTORS, MODULES, OffsetTable
from jwst_modfix.text import count_nouns, describe_band, html_table, log, show_progress

__all__ = ["Derivation", "Options"]

# Sources this much fainter than the limit of the selection are measured too, so that the limit is applied to all
# measurements of a source alike.
_MARGIN = 1.0  # mag

_CHOICES = CHOICES | {
    "photometry": ("exposure", "mosaic", "catalog"),
    "method": ("network", "pairs", "sky"),
    "aperture": APERTURES,
}


@dataclass(frozen=True, kw_only=True)
class Options:  # numpydoc ignore=PR01
    """Parameters of a derivation; MeasurementsError where they contradict each other."""

    photometry: str = "exposure"  #: source of the measurements: 'exposure', 'mosaic' or 'catalog'
    catalogs: tuple[str, ...] = ()  #: tables of your own photometry, with ``photometry='catalog'``
    method: str = "network"  #: 'network', 'pairs' (the published method) or 'sky' (levels, for detectors)
    scale: str = "modules"  #: what gets a zero point: 'modules' (offset and slope of each array) or 'detectors'
    field_order: str = "0"  #: order of each detector's field with ``scale='detectors'``: '0' to '3' or 'auto'
    exposure_terms: str = "auto"  #: terms of exposures instead of those of epochs: 'auto', 'fit' or 'zero'
    drift: str = "report"  #: terms of detectors in epochs, with ``scale='detectors'``: 'report', 'fit' or 'no'
    fit_slope: str = "long"  #: arrays with a gradient, or fields: 'long', 'all' or 'none'
    fit_direction: bool = False  #: fit the direction of each gradient too
    time_term: str = "auto"  #: terms of epochs: 'auto', 'fit' or 'zero'
    baseline: str = "B"  #: whose flux scale is kept: 'B', 'A', 'mean', or a detector's with ``scale='detectors'``
    significance: float = 3.0  #: significance from which a correction is needed [sigma]
    epoch_gap_days: float = frames.GAP_DAYS  #: longest time between exposures of one epoch [day]
    epoch_roll_tolerance: float = frames.ROLL_TOLERANCE  #: largest difference of roll within one epoch [deg]
    min_snr: float = 100.0  #: smallest ratio of flux to error
    faintest: float = 22.0  #: faintest magnitude [AB]
    isolation: float | None = None  #: smallest distance to a neighbour [arcsec]; 1.0, and 0 for your own photometry
    compactness: float | None = None  #: smallest share of the flux within half the aperture's radius; no limit
    reserve_share: float = 0.2  #: share of the sources that is reserved for validation
    seed: int = 1  #: seed of the reserved sources and of the bootstrap
    bootstrap: int = 0  #: draws of the bootstrap over sources; 0 for none
    aperture: str = "r"  #: magnitudes in the aperture 'r', in the 'large' one of 1.5 r, or 'extrapolated' from both
    colour_term: bool = False  #: fit the dependence of offsets on colour, where a second filter is measured
    allow_mixed: bool = False  #: accept exposures with different calibrations
    compare: str | None = None  #: table that the report compares with, besides the packaged one

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise MeasurementsError(f"{name}: must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        baselines = BASELINES if self.scale == "modules" else (*BASELINES, *DETECTORS)
        if self.baseline not in baselines:
            raise MeasurementsError(f"baseline: must be one of {', '.join(baselines)}; got {self.baseline!r}")
        if self.scale == "modules" and (self.field_order, self.drift) != ("0", "report"):
            raise MeasurementsError("field_order and drift: need scale='detectors'; got scale='modules'")
        if self.scale == "detectors" and (self.method == "pairs" or self.fit_direction):
            raise MeasurementsError("scale: 'detectors' needs method='network' or 'sky', and no fit_direction")
        if self.method == "sky" and (self.scale == "modules" or self.photometry != "exposure"):
            raise MeasurementsError("method: 'sky' needs scale='detectors' and photometry='exposure'")
        if (self.photometry == "catalog") != bool(self.catalogs):
            raise MeasurementsError(
                "catalogs: required with photometry='catalog', and not allowed otherwise; "
                f"got photometry={self.photometry!r} and {count_nouns(len(self.catalogs), 'catalog')}"
            )
        if self.aperture != "r" and self.photometry != "exposure":
            raise MeasurementsError(
                f"aperture: {self.aperture!r} needs photometry='exposure'; got photometry={self.photometry!r}"
            )
        if self.fit_direction and self.method == "pairs":
            raise MeasurementsError("fit_direction: needs method='network'; got method='pairs'")
        if self.colour_term and self.method != "network":
            raise MeasurementsError(f"colour_term: needs method='network'; got method={self.method!r}")
        for name in ("significance", "bootstrap", "seed", "min_snr", "isolation"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise MeasurementsError(f"{name}: must be at least 0; got {value}")
        if not 0 <= self.reserve_share <= 0.9:
            raise MeasurementsError(f"reserve_share: must be from 0 to 0.9; got {self.reserve_share}")
        if self.bootstrap == 1:
            raise MeasurementsError("bootstrap: must be 0 (none) or at least 2 draws; got 1")

    @cached_property
    def others(self) -> tuple[OffsetTable, ...]:
        """Tables to compare with: the packaged one, and the one that is given."""
        return tuple(OffsetTable.read(path) for path in dict.fromkeys(("packaged", self.compare or "packaged")))

    @property
    def criteria(self) -> dict[str, Any]:
        """Rules for measurements that enter the fit, as `select_measurements` takes them."""
        isolation = 0.0 if self.photometry == "catalog" else 1.0
        return {
            "snr": self.min_snr, "faintest": self.faintest, "compactness": self.compactness,
            "isolation": isolation if self.isolation is None else self.isolation, "growth": self.aperture != "r",
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Derivation:  # numpydoc ignore=PR01
    """A derivation, from its inputs to its table."""

    product: str  #: name of the product
    headers: tuple[frames.ExposureHeader, ...]  #: the exposures
    epochs: frames.Epochs  #: the epoch of each
    mixed: tuple[str, ...]  #: differences in the calibration of the exposures, where ``allow_mixed`` is set
    photometry: Photometry  #: measurements and exposures
    selection: Selection  #: which measurements were selected, and counts of those that break each rule
    bands: tuple[BandResult, ...]  #: the result of each filter and pupil
    table: OffsetTable  #: the rows of all filters
    options: Options  #: the parameters

    def __repr__(self) -> str:
        bands = ", ".join(band.name for band in self.bands)
        return f"<Derivation of {self.product}: {count_nouns(len(self.table.rows), 'row')} from {bands}>"

    def _repr_html_(self) -> str:
        notes = [f"{band.name}: {note}" for band in self.bands for note in (*band.warnings, band.failure) if note]
        caption = f"{self.product}: {self.table.name}, hash {self.table.digest}"
        return html_table(caption, list_results(self)) + "".join(f"<p>{html.escape(note)}</p>" for note in notes)

    @property
    def solution(self) -> dict[str, Solution]:
        """Solutions by name of the filter, such as ``F444W`` or ``F444W+F405N``."""
        return {band.name: band.solution for band in self.bands if band.solution is not None}

    @property
    def model(self) -> ModuleOffsetModel:
        """Reference file as a data model: table, covariance, history and versions."""
        return make_model(self)

    @cached_property
    def measurements(self) -> Table:
        """Measurements, with columns such as ``selected``, ``used`` and ``residual``."""
        table, n = Table(self.photometry.measurements, copy=False), len(self.selection.mask)
        times = find_times(self.photometry.exposures, np.asarray(table["exposure"]))
        reserved, used, residual = np.zeros(n, bool), np.zeros(n, bool), np.full(n, np.nan)
        # A colour term leaves out selected measurements of sources without a colour.
        reason = np.where(self.selection.mask, "no colour", self.selection.reason).astype("U16")
        for band in self.bands:
            is_reserved = reserved[band.rows] = band.measurements.reserved
            reason[band.rows] = np.where(is_reserved, "reserved", "no solution")
            if band.solution is not None:
                fitted, found = band.rows[~is_reserved], band.solution.residuals()
                used[fitted], residual[fitted] = found["used"], found["residual"]
                reason[fitted] = np.where(found["used"], "", found["reason"])
        for name, values, description in (
            ("selected", self.selection.mask.copy(), "Selected for the fit"),
            ("reserved", reserved, "Not used in the fit, for validation"),
            ("used", used, "Used in the fit of the network, for method='pairs' too"),
            ("time", times, "Number of the time of the exposure, which all detectors share"),
            ("residual", residual, "Magnitude minus systematic error (of the network) minus the source's mean"),
            ("reason", reason, "Rule by which the measurement is not used in the fit"),
        ):
            table[name] = values
            table[name].description = description
        table["residual"].unit = table["mag"].unit
        table.meta["calibration"] = describe_calibration(self.headers)
        return table

    @property
    def corrected(self) -> str:
        """Exposures that were corrected before: the result is what remains in them."""
        everything = {(*header.band, header.array) for header in self.headers}
        done = {(*header.band, header.array) for header in self.headers if header.status == "COMPLETE"}
        if done == everything:
            return "the exposures"
        return ", ".join(f"{band} {pupil} array {array}" for band, pupil, array in sorted(done))

    @property
    def systematic_floor(self) -> float | None:
        """Largest systematic error of an offset [mag], not part of its standard error."""
        if self.options.method == "sky":
            return SKY_FLOOR
        if self.options.photometry != "exposure":
            return None
        return max(floor for band in self.bands for floor in band.systematic_floors(self.options.aperture).values())

    def report(self, path: str | Path) -> list[Path]:
        """
        Write the report, and its figures beside it as PNG and PDF files.

        Parameters
        ----------
        path : str or pathlib.Path
            Name of the page, ending in ``.html``.

        Returns
        -------
        list of pathlib.Path
            The page and the figures.
        """
        # By name: the report is built on the derivation, and drawing takes a second to import.
        page: Any = importlib.import_module("jwst_modfix.report.page")
        return list(page.write_report(self, Path(path)))


def list_results(derivation: Derivation) -> list[list[str]]:
    """List the results as text: a header row, then one for each array or detector."""
    heads = (DetectorResult if derivation.options.scale == "detectors" else ArrayResult).heads
    rows = [["filter", *heads, "effective sources", "correction", "reason"]]
    return rows + [[band.name, *result.cells()] for band in derivation.bands for result in band.verdicts]


@dataclass(frozen=True)
class Members:
    """The files to derive from."""

    paths: tuple[Path, ...]
    epochs: tuple[str | None, ...]  # names that the association gives
    product: str
    where: str  # what the files are members of, for messages
    folder: Path | None = None  # of the association


def derive_members(
    members: Members, options: Options, *, make_mosaics: Callable[..., Any], workers: Workers = THIS_PROCESS,
    cache: Cache | None = None,
) -> Derivation:  # fmt: skip
    """Derive a table from exposures."""
    _ = options.others  # an unreadable table is an error before the hours of measuring
    headers, mixed = read_members(members, allow_mixed=options.allow_mixed, scale=options.scale, workers=workers)
    limits = {"gap_days": options.epoch_gap_days, "roll_tolerance": options.epoch_roll_tolerance}
    epochs = frames.group_epochs(headers, members.epochs, **limits)
    log.info("Exposures: %d, epochs: %d (%s)", len(headers), len(epochs.names), epochs.in_words())
    for sentence in frames.find_wide_epochs(headers, epochs, **limits):
        log.warning(sentence)
    faintest = options.faintest + _MARGIN
    if options.photometry == "catalog":
        photometry = read_catalogues(options.catalogs, headers, epochs)
    elif options.photometry == "mosaic":
        progress = partial(show_progress, stage="Resampling and measuring", what="mosaics")
        photometry = measure_mosaics(make_mosaics(headers, epochs, progress=progress), epochs, faintest=faintest)
    else:
        faintest = max(faintest, FAINTEST)  # with a brighter limit no less is measured: the cache serves it too
        finding, measuring = (partial(show_progress, stage=f"{verb} sources") for verb in ("Finding", "Measuring"))
        sources = find_sources(headers, faintest=faintest, progress=finding, workers=workers, cache=cache)
        log.info("Found %s", count_nouns(len(sources), "source"))
        photometry = measure_sources(headers, epochs, sources, progress=measuring, workers=workers, cache=cache)
    return solve_photometry(photometry, headers, epochs, options, product=members.product, mixed=mixed)


def read_members(
    members: Members, *, allow_mixed: bool = False, scale: str = "modules", workers: Workers = THIS_PROCESS
) -> tuple[list[frames.ExposureHeader], list[str]]:
    """Read the headers of all members, and refuse together those that cannot be used."""
    where = members.where
    headers = frames.read_headers(members.paths, "member", where=f"{where}: ", with_geometry=True, workers=workers)
    if copies := frames.find_copies(headers):
        raise AssociationError(
            f"{where}: each exposure must be a member once: {'; '.join(copies)}; leave the copies out"
        )
    mixed = frames.find_mixed(headers)
    if mixed and not allow_mixed:
        raise AssociationError(
            f"{where}: members must be calibrated alike: {'; '.join(mixed)}; set allow_mixed to use them as they are"
        )
    if scale == "detectors":
        return headers, mixed
    modules: dict[str, set[str]] = {}
    for header in headers:
        modules.setdefault(describe_band(*header.band), set()).add(header.module)
    complete = sum(len(seen) == len(MODULES) for seen in modules.values())
    if not complete:
        words = ", ".join(f"{band}: {', '.join(sorted(seen))}" for band, seen in modules.items())
        raise NoSolutionError(f"{where}: an offset needs exposures of both modules through one filter; got {words}")
    apart = frames.find_apart(headers)
    if len(apart) == complete:
        raise NoSolutionError(f"{where}: exposures must overlap on the sky; {'; '.join(apart)}")
    return headers, mixed


def solve_photometry(
    photometry: Photometry, headers: Sequence[frames.ExposureHeader], epochs: frames.Epochs, options: Options, *,
    product: str, mixed: Sequence[str] = (),
) -> Derivation:  # fmt: skip
    """Solve every filter and pupil of a set of measurements."""
    selection = select_measurements(photometry.measurements, **options.criteria)
    bands = tuple(solve_band(photometry, selection.mask, band, options) for band in list_bands(photometry.exposures))
    if not any(band.table is not None and band.table.rows for band in bands):
        reasons = [f"{band.name}: {band.failure}" for band in bands if band.failure]
        reasons += [f"{band.name}, {r.title}: {r.words}" for band in bands for r in band.verdicts]
        reasons += [f"{band.name}: {test.words}" for band in bands for test in band.score_tests if test.is_mismatch]
        what = "offset" if options.scale == "modules" else "zero point"
        failed = ", ".join(f"{count} {rule}" for rule, count in selection.rejected.items() if count)
        raise NoSolutionError(
            f"no {what} can be derived: {'; '.join(reasons)} ({int(selection.mask.sum())} of {len(selection.mask)} "
            f"measurements selected; not selected: {failed or 'none'})"
        )
    table = make_table(bands, headers, options, f"{product}_moduleoffset.asdf")
    return Derivation(
        product=product, headers=tuple(headers), epochs=epochs, mixed=tuple(mixed), photometry=photometry,
        selection=selection, bands=bands, table=table, options=options,
    )  # fmt: skip
