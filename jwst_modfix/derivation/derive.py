"""From the measurements of all filters to one table."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from jwst_modfix.derivation.bands import list_bands, solve_band
from jwst_modfix.derivation.provenance import make_table
from jwst_modfix.errors import AssociationError, MeasurementsError, ModuleOffsetError, NoSolutionError
from jwst_modfix.jobs import THIS_PROCESS
from jwst_modfix.photometry import (
    SYSTEMATIC_FLOOR,
    Criteria,
    Epochs,
    Photometry,
    Selection,
    find_mixed,
    read_header,
    select_measurements,
)
from jwst_modfix.photometry.frames import read_geometry
from jwst_modfix.table.table import MODULES, OffsetTable

__all__ = ["Derivation", "Options", "annotate_measurements", "derive", "read_members"]


def read_members(paths, *, where, allow_mixed=False, workers=THIS_PROCESS):
    """
    Read the headers of all members, and refuse those that cannot be used, together.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files.
    where : str
        What they are members of, for the message.
    allow_mixed : bool
        Accept members that were not calibrated alike.
    workers : Workers
        Who reads them.

    Returns
    -------
    headers : list of ExposureHeader
        One for each file.
    mixed : list of str
        How they differ in calibration; empty where they do not.

    Raises
    ------
    AssociationError
        Members are missing, cut short, not of NIRCam, without WCS or calibrated differently; names each.
    NoSolutionError
        No filter has exposures of both modules.
    """
    found = list(workers.map(_inspect, [(path,) for path in paths], [path.name for path in paths]))
    headers = [header for header, _ in found if header]
    problems = [problem for _, problem in found if problem]
    if problems:
        raise AssociationError(
            f"{where}: {len(problems)} of {len(paths)} members cannot be used: {'; '.join(problems)}"
        )
    mixed = find_mixed(headers)
    if mixed and not allow_mixed:
        raise AssociationError(
            f"{where}: members must be calibrated alike: {'; '.join(mixed)}; allow_mixed takes them as they are"
        )
    _check_modules(headers, where)
    return headers, mixed


def _inspect(path):
    """Read one member's headers and WCS; give the headers, or what is wrong with it."""
    try:
        header = read_header(path)
        read_geometry(header)
    except ModuleOffsetError as error:
        return None, str(error)
    return header, None


def _check_modules(headers, where):
    """Refuse, before any pixel is read, exposures that compare no modules."""
    seen = {}
    for header in headers:
        seen.setdefault(f"{header.filter}+{header.pupil}", set()).add(header.module)
    if not any(len(modules) == len(MODULES) for modules in seen.values()):
        words = ", ".join(f"{band}: {', '.join(sorted(modules))}" for band, modules in seen.items())
        raise NoSolutionError(f"{where}: an offset needs exposures of both modules through one filter; got {words}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    Parameters of a derivation.

    Parameters
    ----------
    photometry : {'exposure', 'mosaic', 'catalog'}
        Where measurements come from.
    catalogs : tuple of str
        Tables of a user's own photometry.
    method : {'network', 'pairs'}
        How the offsets are solved for.
    fit_slope : {'long', 'all', 'none'}
        Array IDs with a gradient.
    fit_direction : bool
        Fit the direction of each gradient too.
    time_term : {'auto', 'fit', 'zero'}
        Whether epochs have a term; ``'auto'`` says too which terms the data do not demand.
    baseline : {'B', 'A', 'mean'}
        The module whose flux scale is kept.
    significance : float
        Gaussian sigmas from which a row is non-zero.
    epoch_gap_days : float
        The longest time between exposures of one epoch [day].
    epoch_roll_tolerance : float
        The largest difference of roll within one epoch [deg].
    min_snr : float
        Least ratio of flux to error.
    faintest : float
        Faintest magnitude [AB].
    isolation : float, optional
        Least distance to the nearest comparable source [arcsec]; that of `Criteria` unless given, and 0 for a user's
        own photometry, which is for fields where no source is isolated.
    compactness : float, optional
        Least compactness; any unless given.
    reserve_share : float
        Share of the sources kept for validation.
    seed : int
        Seed of all that is random.
    bootstrap : int
        Draws of the bootstrap over sources; 0 for none.
    allow_mixed : bool
        Accept exposures that were not calibrated alike.

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

    def __post_init__(self):
        if (self.photometry == "catalog") != bool(self.catalogs):
            raise MeasurementsError(
                "catalogs: needed with photometry='catalog', and used by no other; "
                f"got photometry={self.photometry!r} and {len(self.catalogs)} catalogs"
            )
        if self.fit_direction and self.method == "pairs":
            raise MeasurementsError("fit_direction: only method='network' fits the direction of a gradient")
        for name, least in (("significance", 0), ("bootstrap", 0), ("seed", 0), ("min_snr", 0), ("isolation", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise MeasurementsError(f"{name}: must be at least {least}; got {value}")
        if not 0 <= self.reserve_share <= 0.9:
            raise MeasurementsError(f"reserve_share: must be from 0 to 0.9; got {self.reserve_share}")
        if self.bootstrap == 1:
            raise MeasurementsError("bootstrap: must be 0 (none) or at least 2 draws; got 1")

    @property
    def criteria(self):
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
        How the exposures differ in calibration, where that was allowed.
    photometry : Photometry
        Measurements and exposures.
    selection : Selection
        Which measurements entered, and why others did not.
    bands : tuple of BandResult
        The result of each filter and pupil.
    table : OffsetTable
        The rows of all filters.
    options : Options
        The user's choices.
    """

    product: str
    headers: tuple
    epochs: Epochs
    mixed: tuple
    photometry: Photometry
    selection: Selection
    bands: tuple
    table: OffsetTable
    options: Options

    @property
    def corrected(self):
        """Filter and array ID of what had been corrected before, so that the result is what was left; in words."""
        done = {(header.filter, header.pupil, header.array) for header in self.headers if header.status == "COMPLETE"}
        if len(done) == len({(header.filter, header.pupil, header.array) for header in self.headers}):
            return "the exposures"
        return ", ".join(f"{band} {pupil} array {array}" for band, pupil, array in sorted(done))

    @property
    def systematic_floor(self):
        """What offsets may be off by that no error tells of [mag]; None where it is not known of the photometry."""
        return SYSTEMATIC_FLOOR if self.options.photometry == "exposure" else None


def derive(photometry, headers, epochs, options, *, product, mixed=()):
    """
    Solve every filter and pupil of a set of measurements.

    Parameters
    ----------
    photometry : Photometry
        Measurements and exposures.
    headers : sequence of ExposureHeader
        The exposures that they were made from.
    epochs : Epochs
        The epoch of each.
    options : Options
        The user's choices.
    product : str
        Name of the product.
    mixed : sequence of str
        How the exposures differ in calibration.

    Returns
    -------
    Derivation
        The derivation.

    Raises
    ------
    NoSolutionError
        No filter determines an offset; says why of each.
    """
    selection = select_measurements(photometry.measurements, options.criteria)
    bands = list_bands(photometry.exposures)
    randoms = np.random.default_rng(options.seed).spawn(len(bands))
    solved = tuple(
        solve_band(photometry, selection.mask, band, options, rng) for band, rng in zip(bands, randoms, strict=True)
    )
    _refuse_nothing(solved, selection)
    table = make_table(solved, headers, options.baseline, f"{product}_moduleoffset.asdf")
    return Derivation(
        product=product, headers=tuple(headers), epochs=epochs, mixed=tuple(mixed), photometry=photometry,
        selection=selection, bands=solved, table=table, options=options,
    )  # fmt: skip


def _refuse_nothing(bands, selection):
    """Refuse a derivation in which not one row is determined."""
    if any(band.offsets is not None and band.offsets.rows for band in bands):
        return
    reasons = [band.failure for band in bands if band.failure]
    reasons += [f"{band.name}, array {r.array}: {r.words}" for band in bands for r in band.results]
    failed = ", ".join(f"{count} {rule}" for rule, count in selection.rejected.items() if count)
    raise NoSolutionError(
        f"no offset can be derived: {'; '.join(reasons)}"
        f" ({int(selection.mask.sum())} of {len(selection.mask)} measurements selected; left out: {failed or 'none'})"
    )


def annotate_measurements(derivation):
    """
    Tell of each measurement what became of it.

    Parameters
    ----------
    derivation : Derivation
        The derivation.

    Returns
    -------
    astropy.table.Table
        The measurements with the columns ``selected``, ``reserved``, ``rejected`` and ``residual``.
    """
    table = Table(derivation.photometry.measurements, copy=True)
    columns = {
        "selected": derivation.selection.mask.copy(),
        "reserved": np.zeros(len(table), bool),
        "rejected": np.zeros(len(table), int),
        "residual": np.full(len(table), np.nan),
    }
    for band in derivation.bands:
        columns["reserved"][band.rows] = band.measurements.reserved
        if band.solution is not None:
            fitted = band.rows[~band.measurements.reserved]
            columns["rejected"][fitted] = band.solution.rejected
            columns["residual"][fitted] = band.solution.fit.residual
    for name, values in columns.items():
        table[name] = values
    table["residual"].unit = table["mag"].unit
    table["selected"].description = "Good enough for the fit"
    table["reserved"].description = "Kept out of the fit, for validation"
    table["rejected"].description = "By the network's fit, for 'pairs' too: 0 used, 1 single, 2 outlier, 3 varies"
    table["residual"].description = "Measured magnitude minus that of the network's fit, also for method='pairs'"
    return table
