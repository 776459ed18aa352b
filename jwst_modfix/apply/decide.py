"""Decide on each exposure: apply, skip, refuse or undo; correct it, and log."""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import itertools
import json
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jwst_modfix.apply.factor import FactorMap, apply_factor, count_nodes, gradient_coordinate, node_pixels
from jwst_modfix.apply.record import LARGEST, AppliedOffset, job_card, read_record
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError, ModuleOffsetError
from jwst_modfix.exposure import FACTOR_PATH, ONE_THREAD, Exposure, OpenExposure, open_exposure
from jwst_modfix.files import written_whole
from jwst_modfix.jobs import Workers
from jwst_modfix.table.table import OffsetTable, Row
from jwst_modfix.table.validity import (
    HOW_TO_GET_VALID,
    find_invalid,
    find_missing,
    find_untrusted,
    find_warnings,
)
from jwst_modfix.text import annotate, count_nouns, log, log_result, plain_text, show_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_VERSION = importlib.metadata.version("jwst-modfix")
_ALIGNMENT = 1.0  # arcmin; tweakreg shifts the sky by less
_HOW_TO_UNDO = "A second correction would be wrong; to undo the first, run the step with --inverse=true"


@dataclass(frozen=True)
class Decision:
    """What to do with one exposure, or what was done."""

    action: str  # apply, undo, skip, refuse or resume
    reason: str = ""  # why it is not applied, or what was done
    level: int = logging.INFO  # of the log line
    array: str | None = None
    filter: str | None = None
    name: str = ""  # of the exposure
    record: AppliedOffset | None = None  # of what is to be applied
    warning: str = ""  # on what is to be applied
    is_changed: bool = False  # whether pixels were changed, by this run or the former one
    line: str = ""  # of the log, on what was done


@dataclass(frozen=True)
class Output:
    """The file that holds the corrected copy of another file, or of a model."""

    path: Path
    source: Path | None = None  # None for a model
    job: str | None = None  # identifies input, table, parameters and version
    is_finished: bool = False  # by a former run


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The correction that a user asks for, applied to each exposure."""

    table: OffsetTable | None  # None for the inverse
    apply_offset: bool = True
    apply_slope: bool = True
    inverse: bool = False  # undo what the exposure records, instead
    on_invalid: str = "skip"  # skip, warn or error: an exposure that the table is not meant for
    on_missing: str = "skip"  # skip or error: an exposure that the table has no row for
    on_nothing: str = "warn"  # warn or error: not one exposure is changed

    @functools.cached_property
    def identity(self) -> str:
        """Hash of table, parameters and version, on which an output depends."""
        table = self.table and [self.table.name, self.table.digest]
        content = [table, self.apply_offset, self.apply_slope, self.inverse, _VERSION]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]

    def decide(self, opened: OpenExposure, *, headers_only: bool = False) -> Decision:
        """Decide what to do with an exposure; a slope needs its WCS, if not headers_only."""
        status = opened.exposure.status
        if self.inverse:
            if status == "COMPLETE":
                return Decision("undo")
            if status == "SKIPPED":
                return Decision("skip", "was skipped, so there is nothing to undo")
            return Decision("refuse", "was not corrected (S_MODOFF is not COMPLETE), so there is nothing to undo")
        if status == "COMPLETE":
            cards = dict(opened.cards)
            return Decision("refuse", f"was corrected before, by {cards.get('R_MODOFF')} on {cards.get('MODFDATE')}")
        exposure, row = opened.exposure, None
        if exposure.array and exposure.instrument == "NIRCAM":
            row = self.table.row(exposure.detector, exposure.filter, exposure.pupil, exposure.subarray)
        if row is None and (missing := find_missing(self.table, exposure)):
            return Decision("refuse" if self.on_missing == "error" else "skip", missing)
        record = self._record(row, exposure)  # without a row, of an unknown detector: `find_invalid` has the reason
        needs_wcs = record.gradient != 0
        needs_place = needs_wcs or record.field is not None
        if not (self.apply_offset or needs_place):
            return Decision("skip", "apply_offset is False, and the row has no slope or field: nothing to apply")
        if needs_wcs and not headers_only:
            exposure = opened.exposure_with_wcs
        if invalid := find_invalid(self.table, exposure, needs_place=needs_place):
            level = logging.WARNING if self.on_invalid == "warn" else logging.INFO
            return Decision("refuse" if self.on_invalid == "error" else "skip", "; ".join(invalid), level)
        return Decision("apply", record=record, warning="; ".join(find_warnings(self.table, row, exposure)))

    def run(self, opened: OpenExposure) -> Decision:
        """Correct an exposure in memory, or mark it as skipped."""
        decision, exposure = self.decide(opened), opened.exposure
        if decision.action == "refuse":
            raise _refusal([f"{opened.name}: {decision.reason}"], [exposure.status == "COMPLETE"], self)
        reason = decision.reason
        # Data and errors take the factor, variances its square, and PHOTMJSR that of the centre.
        if decision.action == "skip":
            opened.mark(None if self.inverse else "SKIPPED")
        elif decision.action == "undo":
            record, factor_map = _applied_factor(opened)
            opened.change(functools.partial(apply_factor, factor_map, undo=True), 1 / factor_map.centre)
            opened.mark(None)
            reason = f"undid {record.table} of {record.date}"
        else:
            record, factor_map = decision.record, evaluate(opened, decision.record)
            opened.change(functools.partial(apply_factor, factor_map), factor_map.centre)
            # tweakreg changes the way to the sky, so the undo cannot evaluate this factor again.
            stored = {"factor": factor_map.coefficients.tolist(), "shape": list(factor_map.shape)}
            cards = record.cards(exposure, factor_map.centre)
            opened.mark("COMPLETE", cards, stored if record.frame == "sky" else None)
            reason = f"took out {record.in_words()}"
        is_changed = decision.action != "skip"
        shown = reason.replace(f": {HOW_TO_GET_VALID}", "")  # the summary says once what to do
        return replace(
            decision, reason=reason, record=None, is_changed=is_changed, array=exposure.array, filter=exposure.filter,
            name=opened.name, line=f"{opened.name}: {'' if is_changed else 'SKIPPED: '}{shown}",
        )  # fmt: skip

    def preview(self, opened: OpenExposure) -> Decision:
        """Decide what `run` would do with an exposure, without its pixels."""
        decision = self.decide(opened)
        if decision.record is None:
            return decision
        evaluate(opened, decision.record)
        return replace(decision, reason=decision.record.in_words())

    def _record(self, row: Row | None, exposure: Exposure) -> AppliedOffset:
        """Make the record of what is taken out of an exposure."""
        table, taken = self.table, {"zero_point": 0.0, "gradient": 0.0}
        if row and self.apply_offset:
            taken["zero_point"] = table.zero_point(row, exposure.detector)
        if row and self.apply_slope:
            taken["field"] = row.field
            if gradient := table.exposure_gradient(row):
                first, second = table.gradient.origin
                taken |= {"gradient": gradient, "frame": table.gradient.frame, "direction": table.direction(row)}
                taken |= {"origin_1": first, "origin_2": second}
        return AppliedOffset(
            table=plain_text(table.name).encode("ascii", "backslashreplace").decode(),
            digest=table.digest,
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            version=_VERSION,
            **taken,
        )


def evaluate(opened: OpenExposure, record: AppliedOffset) -> FactorMap:
    """Evaluate 10**(0.4 m_sys) over an exposure: m_sys = z + g u, or z + F(x, y)."""
    exposure = opened.exposure
    if record.field is None and record.gradient == 0:
        return FactorMap.constant(record.zero_point, exposure.shape)
    corner = exposure.xstart - 1, exposure.ystart - 1
    if record.field is not None:
        x, y = node_pixels(exposure.shape, count_nodes(record.field))
        m_sys = record.zero_point + record.field.evaluate(x + corner[0], y + corner[1])
        what = f"field of {exposure.detector}"
    else:
        x, y = node_pixels(exposure.shape)
        wcs = opened.wcs
        with ONE_THREAD:  # files share a part of their WCS
            u = gradient_coordinate(wcs, record.frame, record.origin, record.direction, corner, x, y)
        m_sys = record.zero_point + record.gradient * u
        what = f"gradient.frame ({record.frame}) and gradient.origin {record.origin}"
    if not np.isfinite(m_sys).all():
        raise ExposureError(
            f"{opened.name}: the WCS gives no position at some pixels of the array; run assign_wcs again, or set "
            "--apply_slope=false"
        )
    largest = LARGEST["zero_point"]
    if np.abs(m_sys).max() > largest:  # a gradient that gives more starts from a wrong origin
        raise ExposureError(
            f"{opened.name}: the zero-point error reaches {np.abs(m_sys).max():.3g} mag, more than {largest}: "
            f"check {what} of {record.table}"
        )
    return FactorMap.interpolate(m_sys, exposure.shape)


def _applied_factor(opened: OpenExposure) -> tuple[AppliedOffset, FactorMap]:
    """Read what was applied; refuse what contradicts the WCS or the ASDF tree."""
    use_before = "use the file before the correction"
    try:
        record = read_record(opened)
    except ExposureError as error:
        raise ExposureError(f"{error}, so it cannot be undone; {use_before}") from None
    exposure = opened.exposure_with_wcs if record.gradient else opened.exposure
    if (record.gradient or record.field) and (reasons := list(find_untrusted(exposure))):
        raise ExposureError(f"{opened.name}: cannot be undone: {'; '.join(reasons)}")
    evaluated = evaluate(opened, record)
    if record.frame != "sky":
        return record, evaluated
    node = opened.tree.get(FACTOR_PATH)
    try:
        coefficients, shape = np.array(node["factor"], dtype=float), tuple(node["shape"])
    except (TypeError, KeyError, ValueError, OverflowError):
        coefficients, shape = np.empty(0), None
    if coefficients.shape != evaluated.coefficients.shape or shape != opened.exposure.shape:
        raise ExposureError(
            f"{opened.name}: cannot be undone: the factor of its sky gradient is not in the ASDF tree, or has another "
            f"shape; {use_before}"
        )
    stored = FactorMap(coefficients, shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = 2.5 * np.abs(np.log10(stored.on_grid()) - np.log10(evaluated.on_grid()))
    if not np.all(difference <= abs(record.gradient) * _ALIGNMENT + 1e-6):  # not-a-number is refused, too
        raise ExposureError(
            f"{opened.name}: cannot be undone: the factor in its ASDF tree is not that of MODFOFF, MODFGRAD and the "
            f"WCS; {use_before}"
        )
    return record, stored


def refuse_together(inputs: Iterable[Any], correction: Correction, *, where: str = "") -> None:
    """Refuse in one error all inputs that cannot be read or must not be corrected."""
    inputs, unreadable, refused, done_before, decisions = list(inputs), [], [], [], []
    # The WCS is read where its lack would be an error.
    headers_only = "error" not in (correction.on_invalid, correction.on_nothing)
    for item in inputs:
        try:
            with open_exposure(item) as opened:
                decision = correction.decide(opened, headers_only=headers_only)
                decisions.append(decision)
                if decision.action == "refuse":
                    refused.append(f"{opened.name}: {decision.reason}")
                    done_before.append(opened.exposure.status == "COMPLETE")
        except ExposureError as error:
            unreadable.append(str(error))
    if unreadable:
        lines = [*unreadable, *refused]
        raise AssociationError(f"{where}: {len(lines)} bad members", lines) if where else ExposureError(problems=lines)
    if refused:
        of_all = f"{len(refused)} of {len(inputs)} exposures refused" if len(inputs) > 1 else ""
        raise _refusal(refused, done_before, correction, of_all)
    if correction.on_nothing == "error" and all(decision.action == "skip" for decision in decisions):
        reasons = "; ".join(dict.fromkeys(decision.reason for decision in decisions))
        raise ExposureError(f"on_nothing is 'error', and {nothing_changed(decisions, correction.inverse)}: {reasons}")


def nothing_changed(decisions: Sequence[Decision], inverse: bool) -> str:
    """Say that a run changes no exposure."""
    nothing = "nothing is undone" if inverse else "nothing is corrected"
    return f"{nothing}: {count_nouns(len(decisions), 'exposure')} left unchanged"


def _refusal(lines: list[str], done_before: list[bool], correction: Correction, of_all: str = "") -> ExposureError:
    """Make the error of refused exposures; say how to undo a former correction."""
    if all(done_before) and not correction.inverse:
        return AlreadyCorrectedError(of_all, [*lines[:-1], f"{lines[-1]}. {_HOW_TO_UNDO}"])
    return ExposureError(of_all, lines)


def correct_file(path: Path, target: Path, correction: Correction, job: str | None = None,
                 product: Path | None = None) -> tuple[Decision, Any]:  # fmt: skip
    """Correct a file into another; remove the association of former outputs."""
    with open_exposure(path) as opened:
        decision = correction.run(opened)
        with written_whole(target) as partial:
            opened.save(partial, decision.line, job and functools.partial(job_card, job))
            if product:
                product.unlink(missing_ok=True)
        return decision, opened.exposure


def correct_members(members: Iterable[Any], correction: Correction, *, total: int,
                    outputs: Iterable[Output] = (), product: Path | None = None, workers: int = 1,
                    scheduler: str | None = None) -> tuple[list[Decision], list[Any]]:  # fmt: skip
    """Correct files and models in their order, and log and return what was done.

    A file that has an output is corrected into it, and its result is its description. Any other member is corrected in
    memory, and its result is the model. `product` is the association of the outputs.
    """
    decisions, results = [], []
    by_source = {output.source: output for output in outputs if output.source}
    jobs = [
        (source, output.path, correction, output.job, product)
        for source, output in by_source.items()
        if not output.is_finished
    ]
    shown = show_progress(members, "Undoing" if correction.inverse else "Correcting", total=total, has_lines=False)
    with contextlib.ExitStack() as stack:
        stack.callback(shown.close)
        written = itertools.starmap(correct_file, jobs)
        if len(by_source) > 1:
            team = Workers(count=workers, scheduler=scheduler, threads=2)  # one file is written while another is read
            written = team.map(correct_file, jobs, [path.name for path, *_ in jobs])
            stack.callback(written.close)
        for member in shown:
            output = by_source.get(member) if isinstance(member, Path) else None
            try:
                if output is None or output.is_finished:
                    decision, result = _former(member, output) if output else _correct_in_memory(member, correction)
                else:
                    decision, result = next(written)
            except ModuleOffsetError as error:
                if len(by_source) < 2:
                    raise
                raise type(error)(
                    f"{error}; at least {len(decisions)} of {len(by_source)} outputs are complete and kept; "
                    "run again with on_existing='skip'"
                ) from error
            if decision.warning:
                log.warning("%s: %s", decision.name, decision.warning)
            log_result(decision.line, decision.level, is_whole=True)
            decisions.append(decision)
            results.append(result)
    if len(decisions) > 1 or "skip" in [decision.action for decision in decisions]:
        summarize(decisions)
    return decisions, results


def _correct_in_memory(member: Any, correction: Correction) -> tuple[Decision, Any]:
    with open_exposure(member) as opened:
        return correction.run(opened), opened.to_model()


def _former(path: Path, output: Output) -> tuple[Decision, Any]:
    """Describe the output of a former run."""
    with open_exposure(output.path) as opened:
        is_changed = opened.exposure.status != "SKIPPED"
        reason = f"{output.path} is finished and left alone"
        line = f"{path.name}: {reason}"
        return Decision("resume", reason, name=path.name, is_changed=is_changed, line=line), opened.exposure


_WHAT = {"apply": "applied", "undo": "undone", "skip": "skipped", "resume": "finished before"}
_SKIPPED = "Skipped exposures are unchanged (S_MODOFF = SKIPPED); on_invalid, on_missing = error end a run instead"


def summarize(decisions: Sequence[Decision]) -> None:
    """Log how many exposures were corrected and left unchanged, and why."""
    counts = Counter(decision.action for decision in decisions)
    level = logging.WARNING if counts["skip"] else logging.INFO
    verb, done = ("undone", counts["undo"]) if counts["undo"] else ("corrected", counts["apply"])
    before = f", {counts['resume']} finished before" if counts["resume"] else ""
    total = count_nouns(len(decisions), "exposure")
    log_result(f"{done} of {total} {verb}, {counts['skip']} left unchanged{before}", level)
    if len(decisions) > 1:
        groups = Counter(
            (_WHAT[item.action], item.filter or "-", item.array or "-", item.reason if item.action == "skip" else "")
            for item in decisions
        )
        rows = [[str(count), band, array, what, why] for (what, band, array, why), count in sorted(groups.items())]
        for line in annotate([["exposures", "filter", "array", "what", "why"], *rows], right=[0], indent="  "):
            log_result(line, level)
    if counts["skip"]:
        log_result(f"  {_SKIPPED}", level)


def factor_of(table: OffsetTable, source: Any) -> FactorMap:
    """Evaluate a table's factor for an exposure; refuse one that it does not fit."""
    correction = Correction(table=table, on_invalid="error", on_missing="error")
    with open_exposure(source) as opened:
        decision = correction.decide(opened)
        if decision.record is None:
            raise ExposureError(f"{opened.name}: {decision.reason}")
        return evaluate(opened, decision.record)


def corrected_copy(table: OffsetTable, model: Any) -> Any:
    """Correct a copy of a data model; refuse one that the table is not meant for."""
    correction = Correction(table=table, on_invalid="error", on_missing="error")
    is_model = hasattr(model, "instance")  # others are files, or refused
    with open_exposure(model.copy() if is_model else model) as opened:
        decision = correction.run(opened)
        if decision.warning:
            log.warning("%s: %s", decision.name, decision.warning)
        return opened.to_model()
