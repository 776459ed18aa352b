"""Decide on one exposure, and correct it or undo its correction."""

import datetime
import importlib.metadata
import logging
from dataclasses import dataclass

from jwst_modfix.correction.factor import FactorMap, apply_factor, fit_factor, undo_factor
from jwst_modfix.correction.record import AppliedOffset
from jwst_modfix.errors import ExposureError
from jwst_modfix.reference.table import OffsetTable
from jwst_modfix.reference.validity import find_invalid, find_missing
from jwst_modfix.steps.exposures import describe_model
from jwst_modfix.steps.geometry import gradient_coordinate
from jwst_modfix.steps.provenance import clear_record, mark_skipped, read_factor, read_record, write_record

__all__ = ["Correction", "Decision"]

log = logging.getLogger(__name__)

_PHOTMJSR_TOLERANCE = 1e-3  # relative; PHOTMJSR that differs by more was not the one of the derivation


@dataclass(frozen=True)
class Decision:
    """
    What to do with one exposure.

    Parameters
    ----------
    action : {'apply', 'skip', 'refuse'}
        Correct it (or undo its correction), pass it on as it is, or end with an error.
    reason : str
        Why it is not applied, in words.
    level : int
        Level of the log line.
    """

    action: str
    reason: str = ""
    level: int = logging.INFO


@dataclass(frozen=True, kw_only=True)
class Correction:
    """
    The correction that a user has asked for, to be applied to one exposure after the other.

    Parameters
    ----------
    table : OffsetTable
        Offsets and slopes.
    apply_offset, apply_slope : bool
        Whether to take out the zero point z and the gradient g.
    inverse : bool
        Undo what the exposure says was applied to it, instead.
    on_invalid : {'skip', 'warn', 'error'}
        What to do with an exposure that the table is not meant for.
    on_missing : {'skip', 'error'}
        What to do with an exposure that the table has no row for.
    """

    table: OffsetTable
    apply_offset: bool = True
    apply_slope: bool = True
    inverse: bool = False
    on_invalid: str = "skip"
    on_missing: str = "skip"

    def decide(self, state):
        """
        Decide what to do with an exposure.

        Parameters
        ----------
        state : MemberState
            The exposure, and what we did to it before.

        Returns
        -------
        Decision
            The action and its reason.
        """
        return self._decide_undo(state) if self.inverse else self._decide_apply(state)

    def _decide_undo(self, state):
        if state.status == "COMPLETE":
            return Decision("apply")
        if state.status == "SKIPPED":
            return Decision("skip", "the correction had skipped it, there is nothing to undo")
        return Decision("refuse", "was not corrected (S_MODOFF is not COMPLETE), so there is nothing to undo")

    def _decide_apply(self, state):
        if state.status == "COMPLETE":
            return Decision(
                "refuse",
                f"was corrected before, {state.history}; a second correction would be wrong. To undo the first, run "
                "the step with inverse = True",
            )
        exposure = state.exposure
        if missing := find_missing(self.table, exposure):
            return Decision("refuse" if self.on_missing == "error" else "skip", missing)
        if invalid := find_invalid(self.table, exposure, needs_slope=self._slope(exposure) != 0):
            level = logging.WARNING if self.on_invalid == "warn" else logging.INFO
            return Decision("refuse" if self.on_invalid == "error" else "skip", "; ".join(invalid), level)
        return Decision("apply")

    def run(self, model):
        """
        Correct an exposure in place, or mark it as skipped, and say so in one log line.

        Parameters
        ----------
        model : stdatamodels.jwst.datamodels.JwstDataModel
            The exposure.

        Returns
        -------
        Decision
            What was done.

        Raises
        ------
        ExposureError
            The exposure is refused; it is unchanged.
        """
        state = describe_model(model)
        decision = self.decide(state)
        name = state.exposure.name
        if decision.action == "refuse":
            raise ExposureError(f"{name}: {decision.reason}")
        if decision.action == "skip":
            self._skip(model)
            log.log(decision.level, "%s: SKIPPED: %s", name, decision.reason)
        else:
            done = self._undo(model) if self.inverse else self._apply(model, state.exposure)
            log.info("%s: %s", name, done)
        return decision

    def _skip(self, model):
        clear_record(model) if self.inverse else mark_skipped(model)

    def _apply(self, model, exposure):
        row = self.table.row(exposure.array, exposure.filter, exposure.pupil)
        record = self._record(row, exposure)
        factor_map = _factor_map(model, record)
        apply_factor(factor_map, *_arrays(model))
        _scale_photometry(model, factor_map.centre)
        write_record(model, record, factor_map)
        _warn_of_photmjsr(row, exposure)
        return f"took out offset {record.zero_point:+.5f} mag, gradient {record.slope:+.5f} mag/arcmin"

    def _undo(self, model):
        try:
            record = read_record(model)
        except KeyError as error:
            raise ExposureError(
                f"{model.meta.filename}: cannot be undone: the header card {error} of the correction is missing"
            ) from None
        factor_map = read_factor(model) or _factor_map(model, record)
        undo_factor(factor_map, *_arrays(model))
        _scale_photometry(model, 1 / factor_map.centre)
        clear_record(model)
        return f"undid {record.table} of {record.date}"

    def _slope(self, exposure):
        """Gradient g to take out of an exposure [mag/arcmin]."""
        row = self.table.row(exposure.array, exposure.filter, exposure.pupil)
        return self.table.exposure_slope(row) if self.apply_slope and row is not None else 0.0

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
            table=table.name,
            digest=table.digest,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            version=importlib.metadata.version("jwst-modfix"),
            zero_point=table.zero_point(row, exposure.module) if self.apply_offset else 0.0,
            **gradient,
        )


def _factor_map(model, record):
    """Factor 10**(0.4 m_sys) with m_sys = z + g u over the pixels of an exposure."""
    if record.slope == 0:
        return FactorMap.constant(record.zero_point, model.shape)
    u = gradient_coordinate(model, record.frame, record.origin, record.direction)
    return fit_factor(lambda x, y: record.zero_point + record.slope * u(x, y), model.shape)


def _arrays(model):
    """Arrays that take the factor, and arrays that take its square; absent ones stay absent."""
    return tuple(
        [_array(model, name) for name in names if model.instance.get(name) is not None]
        for names in (("data", "err"), ("var_poisson", "var_rnoise", "var_flat"))
    )


def _array(model, name):
    array = getattr(model, name)
    if array.shape != model.shape:
        raise ExposureError(f"{model.meta.filename}: {name} has shape {array.shape}, and data has {model.shape}")
    return array


def _scale_photometry(model, factor):
    """Keep data / PHOTMJSR in DN/s."""
    photometry = model.meta.photometry
    for name in ("conversion_megajanskys", "conversion_microjanskys"):
        value = getattr(photometry, name, None)
        if value is not None:
            setattr(photometry, name, value * factor)


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
