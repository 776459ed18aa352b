"""Terms of exposures, fields and drifts, and those that the gauge implies."""

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
    for group in np.unique(links.detector_group):
        members = np.flatnonzero(links.detector_group == group)
        shared = links.shared[np.ix_(members, members)]
        found |= model.code == links.codes[members[np.argmax(shared.sum(axis=1) - np.diag(shared))]]
    return found & model.mask("zero_point")


def find_companions(model: Model, links: Any, fitted: np.ndarray) -> np.ndarray:
    """Find implied terms: levels of determined offsets, zero points within a group."""
    code, group, points = model.code, links.group(model.code), model.mask("zero_point")
    held = model.mask("level") & ~np.isin(code, code[model.mask("offset") & ~fitted])
    several = np.bincount(group[held], minlength=group.max() + 1)[group] > 1
    return (points & np.isin(group, group[points & fitted])) | (held & several)


def admit_exposures(found, information):
    """Replace terms of epochs by those of their exposures, where these are separable."""
    model, wanted = found.model, found.choice.exposure_terms
    exposures = model.mask("exposure")
    if not exposures.any() or wanted == "zero":
        return found
    contrasts = found.report()[found.fitted & ~model.mask("level", "epoch", "exposure")]
    trial = replace(found, free=with_exposures(found), fitted=found.fitted | exposures)
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


def with_exposures(found):
    """Free terms with exposures in place of their epochs; one exposure is fixed to 0."""
    model, exposures = found.model, found.model.mask("exposure")
    shared = np.bincount(model.epoch_of_time, minlength=len(model.epochs)) > 1
    free = (found.free & ~(model.mask("epoch") & shared[model.epoch])) | exposures
    free[np.flatnonzero(exposures)[:1]] &= not shared[0]
    return free


def field_error(model, errors, code):
    """Compute the error of a detector's field, rms over the array [mag]."""
    # P_i P_j has a mean square of 1 / (2 i + 1) / (2 j + 1).
    mine = np.flatnonzero(model.mask("field") & (model.code == code))
    share = [1 / np.prod([2 * degree + 1 for degree in model.terms[i].power]) for i in mine]
    return float(np.sqrt(errors[mine] ** 2 @ share))


def admit_field(found, information):
    """Free the fields of all detectors, to the highest order that is determined."""
    model, choice = found.model, found.choice
    asked = choice.field_order
    if not asked or not model.mask("field").any():
        return found
    there = np.isin(model.code, model.code[found.fitted & model.mask("zero_point")])
    why = "" if there.any() else f"field of order {asked}: no zero point is determined"
    trial = found
    for order in range(asked if there.any() else 0, 0, -1):
        # Detectors without a result have fields too: if these were 0, they would fix those of the others.
        every = model.mask("field") & (model.order <= order)
        trial = replace(found, free=found.free | every, fitted=found.fitted | (every & there))
        # A field must not depend on the assumption that exposures have no terms of their own, unless the user asks for
        # it.
        held = trial
        if choice.exposure_terms != "zero" and model.mask("exposure").any() and not trial.has_exposures:
            held = replace(trial, free=with_exposures(trial), fitted=trial.fitted | model.mask("exposure"))
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
        worst = max(field_error(model, errors, code) for code in np.unique(model.code[fields]))
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
    model, drifts = found.model, np.flatnonzero(every)
    free = found.free | every
    free[drifts[np.unique(model.epoch[drifts], return_index=True)[1]]] = False
    mine = every & np.isin(model.code, np.array(model.detectors)[find_determined(found)])
    return replace(found, free=free, fitted=(found.fitted & ~model.mask("drift")) | mine)


def find_determined(found: Any) -> np.ndarray:
    """Test whether each detector's zero point is determined within its group."""
    model = found.model
    alone = model.mask("level") & ~np.isin(model.code, model.code[model.mask("offset")])  # arrays of one module
    known = found.fitted & (model.mask("offset", "zero_point") | alone)
    return np.isin(model.detectors, [code for number in np.flatnonzero(known) for code in model.terms[number].codes])
