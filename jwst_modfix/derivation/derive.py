"""The parameters and the result of a derivation."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from jwst_modfix.derivation.bands import BandResult
from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.photometry import SYSTEMATIC_FLOOR, Criteria, Epochs, ExposureHeader, Photometry, Selection
from jwst_modfix.table.table import BASELINES, OffsetTable

__all__ = ["Derivation", "Options"]


_CHOICES = {
    "photometry": ("exposure", "mosaic", "catalog"),
    "method": ("network", "pairs"),
    "fit_slope": ("long", "all", "none"),
    "time_term": ("auto", "fit", "zero"),
    "baseline": BASELINES,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    Parameters of a derivation.

    Parameters
    ----------
    photometry : {'exposure', 'mosaic', 'catalog'}
        Source of the measurements.
    catalogs : tuple of str
        Tables of your own photometry, with ``photometry='catalog'``.
    method : {'network', 'pairs'}
        How the offsets are solved for.
    fit_slope : {'long', 'all', 'none'}
        Array IDs with a gradient.
    fit_direction : bool
        Fit the direction of each gradient too.
    time_term : {'auto', 'fit', 'zero'}
        Whether epochs have a term; ``'auto'`` also reports which terms the data do not require.
    baseline : {'B', 'A', 'mean'}
        The module whose flux scale is kept.
    significance : float
        Significance from which a row is non-zero [Gaussian sigma].
    epoch_gap_days : float
        Longest time between exposures of one epoch [day].
    epoch_roll_tolerance : float
        Largest difference of roll within one epoch [deg].
    min_snr : float
        Smallest ratio of flux to error.
    faintest : float
        Faintest magnitude [AB].
    isolation : float, optional
        Smallest distance to the nearest comparable source [arcsec]. The default is 1.0, and 0 for your own photometry.
    compactness : float, optional
        Smallest compactness; no limit by default.
    reserve_share : float
        Share of the sources that is reserved for validation.
    seed : int
        Seed of the reserved sources and of the bootstrap.
    bootstrap : int
        Draws of the bootstrap over sources; 0 for none.
    allow_mixed : bool
        Accept exposures with different calibrations.

    Raises
    ------
    MeasurementsError
        A value is out of range, or two choices exclude each other.
    """

    photometry: str = "exposure"
    catalogs: tuple[str, ...] = ()
    method: str = "network"
    fit_slope: str = "long"
    fit_direction: bool = False
    time_term: str = "auto"
    baseline: str = "B"
    significance: float = 3.0
    epoch_gap_days: float = 30.0
    epoch_roll_tolerance: float = 5.0
    min_snr: float = 100.0
    faintest: float = 22.0
    isolation: float | None = None
    compactness: float | None = None
    reserve_share: float = 0.2
    seed: int = 1
    bootstrap: int = 0
    allow_mixed: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise MeasurementsError(f"{name}: must be one of {', '.join(choices)}; got {getattr(self, name)!r}")
        if (self.photometry == "catalog") != bool(self.catalogs):
            raise MeasurementsError(
                "catalogs: required with photometry='catalog', and not allowed otherwise; "
                f"got photometry={self.photometry!r} and {len(self.catalogs)} catalogs"
            )
        if self.fit_direction and self.method == "pairs":
            raise MeasurementsError("fit_direction: needs method='network'; got method='pairs'")
        for name in ("significance", "bootstrap", "seed", "min_snr", "isolation"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise MeasurementsError(f"{name}: must be at least 0; got {value}")
        if not 0 <= self.reserve_share <= 0.9:
            raise MeasurementsError(f"reserve_share: must be from 0 to 0.9; got {self.reserve_share}")
        if self.bootstrap == 1:
            raise MeasurementsError("bootstrap: must be 0 (none) or at least 2 draws; got 1")

    @property
    def criteria(self) -> Criteria:
        """Rules for measurements that enter the fit."""
        isolation = self.isolation
        if isolation is None:
            isolation = 0.0 if self.photometry == "catalog" else Criteria.isolation
        return Criteria(snr=self.min_snr, faintest=self.faintest, isolation=isolation, compactness=self.compactness)


@dataclass(frozen=True, kw_only=True, eq=False)
class Derivation:
    """
    A derivation, from its inputs to its table.

    Parameters
    ----------
    product : str
        Name of the product.
    headers : tuple of ExposureHeader
        The exposures.
    epochs : Epochs
        The epoch of each.
    mixed : tuple of str
        Differences in the calibration of the exposures, where ``allow_mixed`` is set.
    photometry : Photometry
        Measurements and exposures.
    selection : Selection
        Which measurements were selected, and counts of those that break each rule.
    bands : tuple of BandResult
        The result of each filter and pupil.
    table : OffsetTable
        The rows of all filters.
    options : Options
        The parameters.
    """

    product: str
    headers: tuple[ExposureHeader, ...]
    epochs: Epochs
    mixed: tuple[str, ...]
    photometry: Photometry
    selection: Selection
    bands: tuple[BandResult, ...]
    table: OffsetTable
    options: Options

    def __repr__(self) -> str:
        bands = ", ".join(band.name for band in self.bands)
        return f"<Derivation of {self.product}: {len(self.table.rows)} rows from {bands}>"

    @property
    def solution(self) -> dict[str, Solution]:
        """Solutions by the name of the filter, such as ``F444W`` or ``F444W+F405N``; a dict even if there is one."""
        return {band.name: band.solution for band in self.bands if band.solution is not None}

    @cached_property
    def measurements(self) -> Table:
        """The measurements, with the columns ``selected``, ``reserved``, ``used``, ``reason`` and ``residual``."""
        table = Table(self.photometry.measurements, copy=True)
        table["selected"] = self.selection.mask.copy()
        table["reserved"] = np.zeros(len(table), bool)
        table["used"] = np.zeros(len(table), bool)
        table["residual"] = np.full(len(table), np.nan)
        reason = self.selection.reason.astype("U16")
        for band in self.bands:
            reserved = band.measurements.reserved
            table["reserved"][band.rows] = reserved
            reason[band.rows] = np.where(reserved, "reserved", "no solution")
            if band.solution is not None:
                fitted, found = band.rows[~reserved], band.solution.residuals()
                table["used"][fitted], table["residual"][fitted] = found["used"], found["residual"]
                reason[fitted] = np.where(found["used"], "", found["reason"])
        table["reason"] = reason
        table["residual"].unit = table["mag"].unit
        table["selected"].description = "Selected for the fit"
        table["reserved"].description = "Not used in the fit, for validation"
        table["used"].description = "Used in the fit of the network, for method='pairs' too"
        table["reason"].description = "Rule by which the measurement is not used in the fit"
        table["residual"].description = "Magnitude minus systematic error (of the network) minus the source's mean"
        return table

    @property
    def corrected(self) -> str:
        """Exposures that had been corrected before, so that the result is what was left; empty if there are none."""
        everything = {(header.filter, header.pupil, header.array) for header in self.headers}
        done = {(header.filter, header.pupil, header.array) for header in self.headers if header.status == "COMPLETE"}
        if done == everything:
            return "the exposures"
        return ", ".join(f"{band} {pupil} array {array}" for band, pupil, array in sorted(done))

    @property
    def systematic_floor(self) -> float | None:
        """Systematic error of each offset [mag], which no standard error includes; None where it is not known."""
        return SYSTEMATIC_FLOOR if self.options.photometry == "exposure" else None

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
