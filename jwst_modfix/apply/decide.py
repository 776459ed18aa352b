"""Decide on one exposure, and correct it or undo its correction."""

import datetime
import functools
import importlib.metadata
import logging
from dataclasses import dataclass, replace

import numpy as np

from jwst_modfix.apply.coordinate import gradient_coordinate
from jwst_modfix.apply.factor import FactorMap, fit_factor
from jwst_modfix.apply.record import AppliedOffset
from jwst_modfix.errors import ExposureError
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.table.validity import find_invalid, find_missing, find_untrusted
from jwst_modfix.text import get_logger, plain_text

__all__ = ["Correction", "Decision"]


log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline, of which we are a hook, shows

_LARGEST_ERROR = 1.0  # mag, as of an offset; a gradient that gives more counts from a wrong place
_PHOTMJSR_TOLERANCE = 1e-3  # relative; PHOTMJSR that differs by more was not the one of the derivation


@dataclass(frozen=True)
class Decision:
    """
    What to do with one exposure.

    Parameters
    ----------
    action : {'apply', 'undo', 'skip', 'refuse', 'resume'}
        Correct it, undo its correction, pass it on as it is, end with an error, or take what a former run made.
    reason : str
        Why it is not applied, or what was done, in words.
    level : int
        Level of the log line.
    array, filter : str, optional
        Array ID and filter of the exposure, for the summary.
    """

    action: str
    reason: str = ""
    level: int = logging.INFO
    array: str | None = None
    filter: str | None = None

    def line(self, name):
        """Say in one line what was done with an exposure."""
        return f"{name}: {'SKIPPED: ' if self.action == 'skip' else ''}{self.reason}"


@dataclass(frozen=True, kw_only=True)
class Correction:
    """
    The correction that a user has asked for, to be applied to one exposure after the other.

    Parameters
    ----------
    table : OffsetTable or None
        Offsets and slopes; None for the inverse, which needs none.
    apply_offset, apply_slope : bool
        Whether to take out the zero point z and the gradient g.
    inverse : bool
        Undo what the exposure says was applied to it, instead.
    on_invalid : {'skip', 'warn', 'error'}
        What to do with an exposure that the table is not meant for.
    on_missing : {'skip', 'error'}
        What to do with an exposure that the table has no row for.
    """

    table: OffsetTable | None
    apply_offset: bool = True
    apply_slope: bool = True
    inverse: bool = False
    on_invalid: str = "skip"
    on_missing: str = "skip"

    @functools.cached_property
    def identity(self):
        """What an output depends on beside its input: table, parameters and our version, as a list for JSON."""
        table = self.table and [self.table.name, self.table.digest]
        version = importlib.metadata.version("jwst-modfix")
        return [table, self.apply_offset, self.apply_slope, self.inverse, version]

    def decide(self, opened, *, headers_only=False):
        """Decide what to do with an exposure."""
        return self._decide_undo(opened) if self.inverse else self._decide_apply(opened, headers_only)

    def run(self, opened):
        """Correct an exposure in place, or mark it as skipped."""
        exposure = opened.describe(headers_only=True)
        decision = self.decide(opened)
        if decision.action == "refuse":
            raise ExposureError(f"{exposure.name}: {decision.reason}")
        if decision.action == "skip":
            opened.clear_mark() if self.inverse else opened.mark_skipped()
        else:
            decision = self._undo(opened) if self.inverse else self._apply(opened)
        return replace(decision, array=exposure.array, filter=exposure.filter)

    def preview(self, opened):
        """Say what `run` would do with an exposure, without its pixels."""
        opened.check()
        decision = self.decide(opened)
        if decision.action != "apply" or self.inverse:
            return decision
        record, _ = self._prepare(opened)
        return Decision("apply", _describe(record))

    def _decide_undo(self, opened):
        if opened.status == "COMPLETE":
            return Decision("undo")
        if opened.status == "SKIPPED":
            return Decision("skip", "the correction had skipped it, there is nothing to undo")
        return Decision("refuse", "was not corrected (S_MODOFF is not COMPLETE), so there is nothing to undo")

    def _decide_apply(self, opened, headers_only):
        if opened.status == "COMPLETE":
            return Decision("refuse", f"was corrected before, {opened.history}")
        exposure = opened.describe(headers_only=True)
        if missing := find_missing(self.table, exposure):
            return Decision("refuse" if self.on_missing == "error" else "skip", missing)
        needs_slope = self._slope(exposure) != 0
        if not (self.apply_offset or needs_slope):
            return Decision("skip", "apply_offset is False, and the row has no slope: there is nothing to apply")
        if needs_slope and not headers_only:
            exposure = opened.describe()
        if invalid := find_invalid(self.table, exposure, needs_slope=needs_slope):
            level = logging.WARNING if self.on_invalid == "warn" else logging.INFO
            return Decision("refuse" if self.on_invalid == "error" else "skip", "; ".join(invalid), level)
        return Decision("apply")

    def _apply(self, opened):
        record, factor_map = self._prepare(opened)
        exposure = opened.describe(headers_only=True)  # before its PHOTMJSR is scaled
        _warn_of_photmjsr(self.table.row(exposure.array, exposure.filter, exposure.pupil), exposure)
        opened.scale_pixels(factor_map)
        opened.scale_photometry(factor_map.centre)
        opened.mark_complete(record, factor_map)
        return Decision("apply", f"took out {_describe(record)}")

    def _prepare(self, opened):
        """Make the record of a correction, and its factor."""
        exposure = opened.describe(headers_only=True)
        record = self._record(self.table.row(exposure.array, exposure.filter, exposure.pupil), exposure)
        return record, _factor_map(opened, record)

    def _undo(self, opened):
        try:
            record = opened.record()
        except KeyError as error:
            name = opened.describe(headers_only=True).name
            raise ExposureError(
                f"{name}: cannot be undone: the card {error} of the correction is missing; use the file before it"
            ) from None
        factor_map = opened.factor()
        if factor_map is None:
            factor_map = self._evaluated_again(opened, record)
        opened.scale_pixels(factor_map, undo=True)
        opened.scale_photometry(1 / factor_map.centre)
        opened.clear_mark()
        return Decision("undo", f"undid {record.table} of {record.date}")

    def _evaluated_again(self, opened, record):
        """Evaluate the factor where the exposure does not carry it, if its geometry can be trusted."""
        exposure = opened.describe()
        if record.slope and (reasons := find_untrusted(exposure)):
            raise ExposureError(f"{exposure.name}: cannot be undone: {'; '.join(reasons)}")
        return _factor_map(opened, record)

    def _slope(self, exposure):
        """Gradient g to take out of an exposure [mag/arcmin]."""
        row = self.table.row(exposure.array, exposure.filter, exposure.pupil)
        return self.table.exposure_gradient(row) if self.apply_slope and row is not None else 0.0

    def _record(self, row, exposure):
        table, slope = self.table, self._slope(exposure)
        gradient = {}
        if slope:
            first, second = table.gradient.origin
            gradient = {
                "slope": slope,
                "frame": table.gradient.frame,
                "direction": table.direction(row),
                "origin_1": first,
                "origin_2": second,
            }
        return AppliedOffset(
            table=plain_text(table.name).encode("ascii", "backslashreplace").decode(),
            digest=table.digest,
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            version=importlib.metadata.version("jwst-modfix"),
            zero_point=table.zero_point(row, exposure.module) if self.apply_offset else 0.0,
            **gradient,
        )


def _factor_map(opened, record):
    """Factor 10**(0.4 m_sys) with m_sys = z + g u over the pixels of an exposure."""
    exposure = opened.describe(headers_only=True)
    if record.slope == 0:
        return FactorMap.constant(record.zero_point, exposure.shape)
    u = gradient_coordinate(opened.read_wcs, exposure, record.frame, record.origin, record.direction)

    def m_sys(x, y):
        error = record.zero_point + record.slope * u(x, y)
        largest = np.abs(error).max()
        if largest > _LARGEST_ERROR:
            raise ExposureError(
                f"{exposure.name}: the zero-point error reaches {largest:.3g} mag, more than {_LARGEST_ERROR}: check "
                f"gradient.frame ({record.frame}) and gradient.origin {record.origin} of {record.table}"
            )
        return error

    return fit_factor(m_sys, exposure.shape)


def _describe(record):
    """Say what is taken out."""
    gradient = f", gradient {1e3 * record.slope:+.3f} mmag/arcmin" if record.slope else ""
    return f"zero-point error {1e3 * record.zero_point:+.2f} mmag{gradient}"


def _warn_of_photmjsr(row, exposure):
    derived = (row.photmjsr or {}).get(exposure.module)
    if derived and exposure.photmjsr and abs(exposure.photmjsr / derived - 1) > _PHOTMJSR_TOLERANCE:
        log.warning(
            "%s: PHOTMJSR is %g, and %s was derived at %g: check that the table fits this calibration",
            exposure.name,
            exposure.photmjsr,
            row.label,
            derived,
        )
