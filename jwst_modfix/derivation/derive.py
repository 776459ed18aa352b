"""All filters, one after the other, and what they make together."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from jwst_modfix.derivation.bands import list_bands, solve_band
from jwst_modfix.derivation.options import Options
from jwst_modfix.derivation.reference import make_table
from jwst_modfix.errors import NoSolutionError
from jwst_modfix.photometry import SYSTEMATIC_FLOOR, Epochs, Photometry, Selection, select_measurements
from jwst_modfix.reference.table import OffsetTable

__all__ = ["Derivation", "annotate_measurements", "derive"]


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
