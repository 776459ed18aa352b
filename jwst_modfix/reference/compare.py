"""The rows of two tables compared."""

import math
from dataclasses import dataclass

from jwst_modfix.reference.conventions import SMALL_SHIFT, convert_row, find_origin_shift, turn_row
from jwst_modfix.reference.table import OffsetRow

__all__ = ["Comparison", "Difference", "RowPair", "compare_tables"]


@dataclass(frozen=True)
class Difference:
    """
    A difference of two values, second minus first.

    Parameters
    ----------
    value, error : float
        The difference, and both errors in quadrature.
    """

    value: float
    error: float

    @property
    def sigmas(self):
        """The difference over its error; 0 for no difference, infinite where there is no error."""
        if self.error > 0:
            return self.value / self.error
        return math.copysign(math.inf, self.value) if self.value else 0.0


@dataclass(frozen=True)
class RowPair:
    """
    One array, filter and pupil in both tables.

    Parameters
    ----------
    first, second : OffsetRow
        The rows, the second one's slope in the conventions of the first.
    offset : Difference
        Of the offsets [mag].
    slope : Difference or None
        Of the slopes [mag/arcmin]; None where not both rows have one.
    """

    first: OffsetRow
    second: OffsetRow
    offset: Difference
    slope: Difference | None


@dataclass(frozen=True)
class Comparison:
    """
    Two tables compared.

    Parameters
    ----------
    pairs : tuple of RowPair
        Rows that both have.
    only_first, only_second : tuple of OffsetRow
        Rows that one has.
    notes : tuple of str
        What was converted, and what to mind.
    """

    pairs: tuple
    only_first: tuple
    only_second: tuple
    notes: tuple


def compare_tables(first, second):
    """
    Compare two tables row by row.

    Parameters
    ----------
    first, second : OffsetTable
        The tables.

    Returns
    -------
    Comparison
        Differences, second minus first.

    Raises
    ------
    ReferenceTableError
        Both have a slope in one row, and the slopes cannot be expressed in one convention.
    """
    shared = [(row, second.row(*row.key)) for row in first.rows if second.row(*row.key) is not None]
    return Comparison(
        pairs=tuple(_compare(first, one, second, other) for one, other in shared),
        only_first=tuple(row for row in first.rows if second.row(*row.key) is None),
        only_second=tuple(row for row in second.rows if first.row(*row.key) is None),
        notes=tuple(_notes(first, second, shared)),
    )


def _compare(first, one, second, other):
    offset = Difference(other.offset - one.offset, math.hypot(one.offset_error, other.offset_error))
    slope = None
    if one.slope is not None and other.slope is not None:
        other = turn_row(convert_row(other, second, first.gradient), first.direction(one), first.gradient)
        slope = Difference(other.slope - one.slope, math.hypot(one.slope_error, other.slope_error))
    return RowPair(one, other, offset, slope)


def _notes(first, second, shared):
    if first.baseline != second.baseline:
        yield (
            f"baselines {first.baseline} and {second.baseline}: an offset is z_A - z_B in both, and needs no conversion"
        )
    both = [(one, other) for one, other in shared if one.slope is not None and other.slope is not None]
    if both and first.gradient.exposure_share != second.gradient.exposure_share:
        yield (
            f"exposure_share {first.gradient.exposure_share:g} and {second.gradient.exposure_share:g}: slopes of "
            f"{second.name} are given as {first.name} would have them"
        )
    shift = max((find_origin_shift(other, second, first.gradient) for _, other in both), default=0.0)
    if shift > SMALL_SHIFT:
        size = f"by up to {1e3 * shift:.2f} mmag" if math.isfinite(shift) else "by an unknown amount"
        yield f"the gradients' origins differ: that shifts both modules alike, {size}, and is not in this comparison"
    if first.valid_for != second.valid_for:
        yield "the tables are valid for different calibrations: a difference may be one of the calibration"
    yield "sigmas: errors in quadrature, right for independent tables; tables from the same exposures differ by less"
