"""Terms that are admitted together: of exposures, fields and drifts; and the gauge in which terms are reported."""

from dataclasses import dataclass, replace

import numpy as np

from jwst_modfix.fitting.design import NULL_SHARE, Model, generalised_inverse
from jwst_modfix.table.table import ARRAYS, MODULES

# 'auto' takes terms of exposures where they multiply the variance of no zero point and no slope by more.
MAX_COST = 2.0
# A term that inflates the variance of a term of another kind a hundredfold (correlation 0.995) makes its error
# ten times larger: what is then called its value is the model's assumption, not the data's.
MAX_INFLATION = 100.0
# An exposure whose term has a larger error [mag] is not linked to the others of its epoch.
MAX_EXPOSURE_ERROR = 0.05


@dataclass(frozen=True, eq=False)
class Information:
    """The normal matrix of all terms of a model, and what sets of free terms make of it."""

    model: Model
    links: object  # LinkReport
    matrix: np.ndarray  # (n_terms, n_terms), sources eliminated
    gram: np.ndarray  # (n_terms, n_terms), before that

    def invert(self, free):
        """Generalised inverse of the information of the free terms, 0 for the others, and its null vectors."""
        n, here = len(free), np.ix_(free, free)
        inverse, null = np.zeros((n, n)), np.zeros((n, 0))
        inverse[here], vectors = generalised_inverse(self.matrix[here], self.gram[here])
        null = np.zeros((n, vectors.shape[1]))
        null[free] = vectors
        return inverse, null

    def touches(self, contrasts, null):
        """Whether each combination of terms has a part in the null space: it is then not determined."""
        root = np.sqrt(np.where(np.diag(self.gram) > 0, np.diag(self.gram), 1.0))
        scaled = contrasts / root
        size = np.linalg.norm(scaled, axis=1)
        part = np.linalg.norm(scaled @ null, axis=1)
        return part > np.sqrt(NULL_SHARE) * np.where(size > 0, size, 1.0)


def find_references(model, links):
    """Find the zero points that are fixed to 0 in the solution: of the best linked detector of each group."""
    found = np.zeros(len(model.terms), bool)
    for group in np.unique(links.detector_group) if model.scale == "detectors" else ():
        members = np.flatnonzero(links.detector_group == group)
        shared = links.shared[np.ix_(members, members)]
        best = links.detectors[members[np.argmax(shared.sum(axis=1) - np.diag(shared))]]
        found |= [term.kind == "zero_point" and f"{term.array} {term.module}" == best for term in model.terms]
    return found


def report_terms(model, links, free, fitted):
    """Matrix from the terms as solved to the terms as reported: the gauge.

    In each group of linked detectors the sum of the levels is 0, or of the zero points that are determined. An epoch's
    term is the mean of those of its exposures, less that of the first epoch, and each exposure's is what it has beside.
    A drift is what a detector's has beside the mean of all detectors in the epoch.
    """
    report, group = np.eye(len(model.terms)), dict(zip(links.detectors, links.detector_group, strict=True))
    of = {"level": {}, "zero_point": {}}
    for number, term in enumerate(model.terms):
        if term.kind in of:
            modules = MODULES if term.module is None else (term.module,)
            mine = next(group[f"{term.array} {m}"] for m in modules if f"{term.array} {m}" in group)
            of[term.kind].setdefault(mine, []).append(number)
    for kind, groups in of.items():
        for members in groups.values():
            base = members if kind == "level" else [i for i in members if fitted[i]]
            if base:
                report[np.ix_(members, base)] -= 1 / len(base)
    return _report_times(model, free) @ report


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


def admit_exposures(found, information, choice):
    """Replace terms of epochs by those of their exposures, where these are separable."""
    model = found.model
    exposures, remark = model.mask("exposure"), ()
    if not exposures.any():
        return found
    free = _with_exposures(found)
    results = found.fitted & ~model.mask("level", "epoch", "exposure")
    contrasts = found.report()[results]
    before = np.einsum("ij,jk,ik->i", contrasts, information.invert(found.free)[0], contrasts)
    inverse, null = information.invert(free)
    after = np.einsum("ij,jk,ik->i", contrasts, inverse, contrasts)
    trial = replace(found, free=free, fitted=found.fitted | exposures | _epochs_of(model))
    own = trial.report()[exposures]
    error = np.sqrt(np.einsum("ij,jk,ik->i", own, inverse, own))
    separable = not information.touches(np.concatenate([contrasts, own]), null).any()
    cost = float((after / before).max(initial=1.0))
    limit = MAX_COST if choice.exposure_terms == "auto" else MAX_INFLATION
    if separable and cost <= limit and error.max() <= MAX_EXPOSURE_ERROR:
        return trial
    why = f"they multiply an error by {np.sqrt(cost):.1f}" if separable else "they cannot be separated from other terms"
    words = f"terms of exposures are not fitted: {why} at these pointings; epochs have one term each"
    if choice.exposure_terms == "fit":
        return replace(found, refusals=(*found.refusals, words))
    return replace(found, remarks=(*found.remarks, words))


def _epochs_of(model):
    """Epochs whose exposures have terms of their own, the first epoch left out."""
    shared = np.bincount(model.epoch_of_time, minlength=len(model.epochs)) > 1
    labels = set(model.epochs[shared].tolist())
    return np.array([term.kind == "epoch" and term.epoch in labels for term in model.terms], bool)


def _with_exposures(found):
    """Free terms with exposures in the place of their epochs; one exposure is fixed to 0."""
    model = found.model
    free = (found.free & ~_epochs_of(model)) | model.mask("exposure")
    if (model.epoch_of_time == 0).sum() > 1:
        free[np.flatnonzero(model.mask("exposure"))[0]] = False
    return free
