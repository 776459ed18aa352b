"""Terms of exposures, fields and drifts, and the gauge of the reported terms."""

from dataclasses import replace
from typing import Any

import numpy as np

from jwst_modfix.fitting.design import Model
from jwst_modfix.fitting.linear import Information

# 'auto' takes terms of exposures where they multiply the variance of no zero point and no slope by more.
MAX_COST = 10.0
# A term that inflates the variance of a term of another kind a hundredfold (correlation 0.995) makes its error
# ten times larger: what is then called its value is the model's assumption, not the data's.
MAX_INFLATION = 100.0
# An exposure whose term has a larger error [mag] is not linked to the others of its epoch.
MAX_EXPOSURE_ERROR = 0.05
# A field, or a zero point beside a field, with a larger error [mag] is of no use: fields are a few mmag.
MAX_FIELD_ERROR = 0.003
# A drift with a larger error [mag] is of no use.
MAX_DRIFT_ERROR = 0.010


def find_references(model: Model, links: Any) -> np.ndarray:
    """Find zero points to fix to 0: that of the best linked detector of each group."""
    found = np.zeros(len(model.terms), bool)
    for group in np.unique(links.detector_group) if model.scale == "detectors" else ():
        members = np.flatnonzero(links.detector_group == group)
        shared = links.shared[np.ix_(members, members)]
        best = members[np.argmax(shared.sum(axis=1) - np.diag(shared))]
        found |= [term.kind == "zero_point" and model.detectors.index(term.codes[0]) == best for term in model.terms]
    return found


def find_companions(model: Model, links: Any, fitted: np.ndarray) -> np.ndarray:
    """Find implied terms: levels of determined offsets, zero points within a group."""
    groups = {links.group_of(t) for t, f in zip(model.terms, fitted, strict=True) if f and t.kind == "zero_point"}
    offsets = {t.array for t, f in zip(model.terms, fitted, strict=True) if f and t.kind == "offset"}
    holds = [t.kind == "level" and (t.array in offsets or t.module is not None) for t in model.terms]
    levels = [links.group_of(t) for t, held in zip(model.terms, holds, strict=True) if held]
    return np.array([
        (term.kind == "zero_point" and links.group_of(term) in groups)
        or (held and levels.count(links.group_of(term)) > 1)
        for term, held in zip(model.terms, holds, strict=True)
    ], bool)  # fmt: skip


def report_terms(model, links, free, fitted):
    """Make the matrix from the terms as solved to the terms as reported: the gauge."""
    # In each group of linked detectors the sum of the levels, or of the determined zero points, is 0. The term of an
    # epoch is the mean of those of its exposures, minus that of the first epoch. The term of an exposure is its
    # difference from that of its epoch. A drift is its difference from the mean of all detectors in the epoch.
    report = np.eye(len(model.terms))
    of = {"level": {}, "zero_point": {}}
    for number, term in enumerate(model.terms):
        if term.kind in of:
            of[term.kind].setdefault(links.group_of(term), []).append(number)
    for groups in of.values():
        for members in groups.values():
            # The reference, which is not free, always belongs to them.
            base = [i for i in members if fitted[i] or not free[i]] or members
            report[np.ix_(members, base)] -= 1 / len(base)
    return _report_drifts(model, fitted) @ _report_times(model, free) @ report


def _report_drifts(model, fitted):
    report = np.eye(len(model.terms))
    for number, term in enumerate(model.terms):
        if term.kind == "epoch":
            mine = [i for i, t in enumerate(model.terms) if t.kind == "drift" and t.epoch == term.epoch and fitted[i]]
            if mine:
                report[np.ix_(mine, mine)] -= 1 / len(mine)
                report[number, mine] += 1 / len(mine)
    return report


def _report_times(model, free):
    report = np.eye(len(model.terms))
    if not (model.mask("exposure") & free).any():
        return report
    time = {term.time: i for i, term in enumerate(model.terms) if term.kind == "exposure"}
    epoch = {term.epoch: i for i, term in enumerate(model.terms) if term.kind == "epoch"}
    means = [[time[t] for t in model.times[model.epoch_of_time == e].tolist() if t in time]
             for e in range(len(model.epochs))]  # fmt: skip
    first = np.zeros(len(report))
    first[means[0]] = 1 / max(len(means[0]), 1)
    for e, label in enumerate(model.epochs.tolist()):
        mean = np.zeros(len(report))
        mean[means[e]] = 1 / max(len(means[e]), 1)
        report[means[e]] -= mean
        if label in epoch:
            report[epoch[label]] += mean - first
    return report


def admit_exposures(found, information):
    """Replace terms of epochs by those of their exposures, where these are separable."""
    model, wanted = found.model, found.choice.exposure_terms
    exposures = model.mask("exposure")
    if not exposures.any() or wanted == "zero":
        return found
    contrasts = found.report()[found.fitted & ~model.mask("level", "epoch", "exposure")]
    trial = replace(found, free=_with_exposures(found), fitted=found.fitted | exposures)
    before = information.errors(found.free, contrasts)
    after = information.errors(trial.free, np.concatenate([contrasts, trial.report()[exposures]]))
    why = "they cannot be separated from other terms"
    if before is not None and after is not None:
        after, own = np.split(after, [len(contrasts)])
        # The zero point of a detector that is alone in its group is 0 without an error.
        factor = float(np.divide(after, before, out=np.ones_like(after), where=before > 0).max(initial=1.0))
        limit = MAX_COST if wanted == "auto" else MAX_INFLATION
        if factor**2 <= limit and own.max() <= MAX_EXPOSURE_ERROR:
            return trial
        why = f"an error would be {factor:.1f} times as large"
    words = f"terms of exposures are not fitted: {why} at these pointings; epochs have one term each"
    kind = "refusals" if wanted == "fit" else "remarks"
    return replace(found, **{kind: (*getattr(found, kind), words)})


def _epochs_of(model):
    """Find epochs whose exposures have terms of their own, the first epoch left out."""
    shared = np.bincount(model.epoch_of_time, minlength=len(model.epochs)) > 1
    labels = set(model.epochs[shared].tolist())
    return np.array([term.kind == "epoch" and term.epoch in labels for term in model.terms], bool)


def _with_exposures(found):
    """Free terms with exposures in place of their epochs; one exposure is fixed to 0."""
    model = found.model
    free = (found.free & ~_epochs_of(model)) | model.mask("exposure")
    if (model.epoch_of_time == 0).sum() > 1:
        free[np.flatnonzero(model.mask("exposure"))[0]] = False
    return free


def field_error(model, errors, code):
    """Compute the error of a detector's field, rms over the array [mag]."""
    # P_i P_j has a mean square of 1 / (2 i + 1) / (2 j + 1).
    mine = [i for i, term in enumerate(model.terms) if term.kind == "field" and term.codes == (code,)]
    share = [1 / np.prod([2 * degree + 1 for degree in model.terms[i].power]) for i in mine]
    return float(np.sqrt(errors[mine] ** 2 @ share))


def admit_field(found, information):
    """Free the fields of all detectors, to the highest order that is determined."""
    model, choice = found.model, found.choice
    asked = choice.field_order
    if not asked or not model.mask("field").any():
        return found
    there = {term.codes for term, f in zip(model.terms, found.fitted, strict=True) if f and term.kind == "zero_point"}
    why = "" if there else f"field of order {asked}: no zero point is determined"
    trial = found
    for order in range(asked if there else 0, 0, -1):
        # Detectors without a result have fields too: if these were 0, they would fix those of the others.
        every = np.array([t.kind == "field" and sum(t.power) <= order for t in model.terms])
        mine = every & np.array([t.codes in there for t in model.terms])
        trial = replace(found, free=found.free | every, fitted=found.fitted | mine)
        # A field must not depend on the assumption that exposures have no terms of their own, unless the user asks for
        # it.
        held = trial
        if choice.exposure_terms != "zero" and model.mask("exposure").any() and not trial.has_exposures:
            held = replace(trial, free=_with_exposures(trial), fitted=trial.fitted | model.mask("exposure"))
        obstacle = _find_field_obstacle(held, information)
        if not obstacle:
            break
        trial, why = found, why or f"field of order {order}: {obstacle}"
    if not why:
        return trial
    order = trial.field_order
    words = f"{why}; {f'order {order} is fitted' if order else 'no field is fitted'}"
    return replace(trial, refusals=(*found.refusals, words))


def _find_field_obstacle(trial, information):
    """Say why the fields of a trial are not determined; empty where they are."""
    model = trial.model
    fields, points = (trial.fitted & model.mask(kind) for kind in ("field", "zero_point"))
    every, errors = fields | points, np.zeros(len(model.terms))
    known = information.errors(trial.free, trial.report()[every])
    if known is None:
        text = "these pointings do not determine it"
    else:
        errors[every] = known
        worst = max(
            field_error(model, errors, code) for code in {model.terms[i].codes[0] for i in np.flatnonzero(fields)}
        )
        what, worst = max(("its", worst), ("the zero points'", float(errors[points].max())), key=lambda one: one[1])
        if worst <= MAX_FIELD_ERROR:
            return ""
        text = f"{what} expected error {1e3 * worst:.1f} mmag exceeds the limit of {1e3 * MAX_FIELD_ERROR:.0f} mmag"
    # Is only a common gradient over the focal plane undetermined?
    matrix = information.matrix.copy()
    for tilt in model.tilts:
        pull = information.gram @ tilt
        matrix += np.outer(pull, pull) / (tilt @ pull)
    held = Information(matrix, information.gram).errors(trial.free, trial.report()[every])
    if held is None or held.max() > MAX_FIELD_ERROR:
        return text
    return (
        "the common linear gradient over the focal plane is not separable from the magnitudes of the sources (all"
        " exposures have one roll angle) and is fixed to 0"
    )


def admit_drifts(found, information):
    """Free the drifts of detectors in later epochs, where separable from zero points."""
    model = found.model
    if not found.choice.drift:
        return found
    trial = with_drifts(found, model.mask("drift"))
    errors = information.errors(trial.free, trial.report()[trial.fitted & model.mask("drift", "zero_point")])
    why = "at these pointings they cannot be separated from the zero points"
    if errors is not None:
        if (worst := errors.max(initial=0.0)) <= MAX_DRIFT_ERROR:
            return trial
        why = f"an expected error of {1e3 * worst:.1f} mmag exceeds the limit of {1e3 * MAX_DRIFT_ERROR:.0f} mmag"
    return replace(found, refusals=(*found.refusals, f"drifts of detectors are not fitted: {why}"))


def with_drifts(found, every):
    """Free drifts, of which the first in each epoch is 0, as the epoch has a term."""
    # Detectors without a result drift too: if they were fixed, they would fix the others.
    model, first = found.model, {}
    for number in np.flatnonzero(every):
        first.setdefault(model.terms[number].epoch, number)
    free = found.free | (every & ~np.isin(np.arange(len(every)), list(first.values())))
    there = set(np.array(model.detectors)[find_determined(found)].tolist())
    mine = every & np.array([bool(there & set(term.codes)) for term in model.terms], bool)
    return replace(found, free=free, fitted=(found.fitted & ~model.mask("drift")) | mine)


def find_determined(found: Any) -> np.ndarray:
    """Test whether each detector's zero point is determined within its group."""
    model, codes = found.model, set()
    for term, fitted in zip(model.terms, found.fitted, strict=True):
        alone = term.kind == "level" and term.module is not None
        if fitted and (term.kind in ("offset", "zero_point") or alone):
            codes |= set(term.codes)
    return np.array([code in codes for code in model.detectors])
