"""Which terms the pointings determine, and how well: before any magnitude enters."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting import blocks
from jwst_modfix.fitting.design import Choice, Model, Term, list_terms
from jwst_modfix.fitting.linear import NULL_SHARE, Design, Information, LinearSystem, number_labels
from jwst_modfix.fitting.measurements import PARTS, Measurements
from jwst_modfix.table.table import MODULES

# The largest offsets known are 0.05 mag and the largest slopes 0.005 mag/arcmin (Ma et al. 2023, Table 2):
# a result with an expected error of that size (four times it for slopes) has no use.
MAX_OFFSET_ERROR = 0.05
MAX_SLOPE_ERROR = 0.02
# Beyond this many epochs, count the sources behind each term by the links alone: the exact count costs a pass each.
_COUNTED_EPOCHS = 30


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkReport:
    """Which detectors and epochs share sources."""

    codes: tuple[int, ...]  # numbers of the detectors that have measurements
    shared: np.ndarray  # (n_detectors, n_detectors), sources of both detectors; on the diagonal, of the detector
    epochs: tuple[int, ...]  # in order of time
    shared_epochs: np.ndarray  # (n_epochs, n_epochs), sources of both epochs
    detector_group: np.ndarray  # (n_detectors,), number of the connected component
    epoch_group: np.ndarray  # (n_epochs,), number of the connected component
    repeated: int  # sources measured more than once
    n_sources: int

    @property
    def detectors(self) -> tuple[str, ...]:
        """Labels "<array> <module>" of the detectors."""
        return tuple(" ".join(PARTS[code]) for code in self.codes)

    def group(self, codes: np.ndarray) -> np.ndarray:
        """Find the groups of detectors; -1 for those without measurements."""
        groups = dict(zip(self.codes, self.detector_group.tolist(), strict=True))
        return np.array([groups.get(code, -1) for code in codes.tolist()], dtype=int)

    def sentences(self):
        """List in words what is not linked."""
        alone = np.flatnonzero(self.shared.sum(axis=1) == np.diag(self.shared))
        words = "array {} module {} has no common source with any other"
        found = [words.format(*PARTS[self.codes[i]]) for i in alone]
        for group in np.unique(self.epoch_group)[1:]:
            members = np.array(self.epochs)[self.epoch_group == group].astype(str)
            noun, verb = ("epoch", "has") if len(members) == 1 else ("epochs", "have")
            found.append(f"{noun} {', '.join(members)} {verb} no common source with epoch {self.epochs[0]}")
        return found


def count_links(measurements: Measurements) -> LinkReport:
    """Count the sources that detectors and epochs share."""
    sources, source = number_labels(measurements.source)
    found = []
    for values in (measurements.detector, measurements.epoch):
        labels, number = number_labels(values)
        shape = len(sources), len(labels)
        seen = sparse.coo_array((np.ones(len(source), dtype=np.int64), (source, number)), shape=shape).tocsr()
        seen.data[:] = 1
        shared = (seen.T @ seen).toarray()
        found.append((tuple(labels.tolist()), shared, connected_components(shared, directed=False)[1]))
    (codes, shared, detector_group), (epochs, shared_epochs, epoch_group) = found
    return LinkReport(
        codes=codes, shared=shared, detector_group=detector_group, epochs=epochs, shared_epochs=shared_epochs,
        epoch_group=epoch_group, repeated=int(np.count_nonzero(np.bincount(source) > 1)), n_sources=len(sources),
    )  # fmt: skip


def count_weakest_links(
    measurements: Measurements, used: np.ndarray, pairs: Mapping[str, tuple[int, int]]
) -> dict[str, int]:
    """Count the used sources in the weakest link of two detectors: the minimum cut."""
    # Two sets of detectors, with one of the pair in each, are linked by the sources that were measured on both sides.
    # Of all such sets, those with the fewest sources limit the accuracy of the difference. There are at most 512.
    source, detector = number_labels(measurements.source)[1], measurements.detector
    codes = np.unique(detector).tolist()
    seen = sum((np.bincount(source, used & (detector == d)) > 0).astype(int) << d for d in codes)
    patterns, counts = np.unique(seen, return_counts=True)
    sides = np.unique(np.arange(1 << len(PARTS)) & sum(1 << d for d in codes))
    crossing = ((sides[:, None] & patterns) > 0) & ((~sides[:, None] & patterns) > 0)
    linked, found = crossing @ counts, {}
    for name, (one, other) in pairs.items():
        apart = ((sides >> one) & 1) & ~((sides >> other) & 1)
        found[name] = int(linked[apart.astype(bool)].min(initial=len(seen)))
    return found


def check_linked(measurements: Measurements, links: LinkReport, scale: str) -> None:
    """Refuse measurements that determine no offset between modules or detectors."""
    place = measurements.place
    if links.n_sources == 0:
        raise NoSolutionError(f"{place}: no source that was selected is measured twice")
    groups = [set(links.detector_group[np.array(links.codes) % 2 == side].tolist()) for side in (0, 1)]
    if not all(groups) and scale == "modules":
        only = MODULES[int(not groups[0])]
        raise NoSolutionError(f"{place}: all are of module {only}; an offset needs both modules")
    if links.repeated == 0:
        why = "no overlap"
        if len(links.epochs) == 1:
            why = f"one epoch (epoch {links.epochs[0]}) and no dithers"
        raise NoSolutionError(f"{place}: {why}: none of {links.n_sources} sources is measured twice")
    if scale == "detectors":
        if len(groups[0] | groups[1]) == len(links.codes):
            raise NoSolutionError(f"{place}: no overlap: no detector shares sources with another")
    elif not groups[0] & groups[1]:
        raise NoSolutionError(f"{place}: no overlap: no array of module A shares sources with one of module B")


@dataclass(frozen=True)
class TermStatus:
    """Whether one term is determined, and why not."""

    term: Term
    # 'free'; 'indirect', linked through other arrays only; 'not significant'; or not determined: 'not separable',
    # 'no information'
    status: str
    words: str = ""  # the reason; empty where the term is free
    correlation: float = 0.0  # the largest with another term; 1 where they cannot be separated
    expected_error: float = np.inf  # from the errors of the measurements, mag or mag/arcmin
    effective_sources: float = 0.0
    partners: tuple[str, ...] = ()  # terms that it is not separable from: they hold only if this one is 0

    @classmethod
    def refuse(cls, term: Term, why: str, **numbers: float) -> "TermStatus":
        """Make the status of a term without information."""
        return cls(term, "no information", f"{term.words}: {why}", **numbers)

    @property
    def is_fitted(self) -> bool:
        """Whether the term was solved for and determined."""
        return self.status not in ("not separable", "no information")


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a fit of one filter and pupil will determine."""

    model: Model  #: all terms that were asked for
    system: LinearSystem  #: design of the measurements
    links: LinkReport  #: sources that detectors and epochs share
    status: tuple[TermStatus, ...]  #: of each term but levels and exposures: its expected error, or why there is none
    free: np.ndarray  #: (n_terms,), terms to solve for: also levels, and terms that are not determined but matter
    fitted: np.ndarray  #: (n_terms,), terms that are determined
    choice: Choice  #: what was asked of the fit
    remarks: tuple[str, ...] = ()  #: what was chosen, and why
    refusals: tuple[str, ...] = ()  #: what was asked for and is not determined

    @property
    def has_exposures(self) -> bool:
        """Whether exposures have terms of their own."""
        return bool((self.free & self.model.mask("exposure")).any())

    @property
    def field_order(self) -> int:
        """Order of the fields that are fitted."""
        return int(self.model.order[self.fitted].max(initial=0))

    def invert(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Invert the information; find which reported terms it determines."""
        information = self.system.inform(weight)
        return information.invert(self.free)[0], ~information.lacks(self.free, self.report())

    def expect(self, weight: np.ndarray) -> np.ndarray:
        """Predict the covariance of reported terms from inverse variances of the data."""
        report = self.report()
        return report @ self.invert(weight)[0] @ report.T

    def influence(self, weight: np.ndarray, contrasts: np.ndarray, columns: Design) -> np.ndarray:
        """Compute the change of combinations of terms with each column of magnitudes."""
        changes: np.ndarray = contrasts @ self.invert(weight)[0] @ self.system.cross(weight, columns)
        return changes

    def correlate(self, covariance: np.ndarray) -> tuple[TermStatus, ...]:
        """State the largest correlation of each fitted term in a covariance."""
        known = np.flatnonzero(self.fitted)
        error = np.sqrt(np.maximum(np.diag(covariance)[known], 0))
        product = np.outer(error, error)
        size = np.abs(covariance[np.ix_(known, known)] / np.where(product > 0, product, np.inf))
        np.fill_diagonal(size, 0.0)  # a term with error 0 correlates with none
        largest = dict(zip((self.model.terms[i] for i in known), size.max(axis=1, initial=0.0).tolist(), strict=True))
        return tuple(replace(s, correlation=largest[s.term]) if s.term in largest else s for s in self.status)

    def report(self) -> np.ndarray:
        """Make the matrix from solved to reported terms, (n_terms, n_terms): the gauge."""
        # In each group of linked detectors the sum of the levels, or of the determined zero points, is 0. The term of
        # an epoch is the mean of those of its exposures, minus that of the first epoch. The term of an exposure is its
        # difference from that of its epoch. A drift is its difference from the mean of all detectors in the epoch.
        model, free, fitted = self.model, self.free, self.fitted
        report, times, drifts = np.stack([np.eye(len(model.terms))] * 3)
        group, exposures, epochs = self.links.group(model.code), model.mask("exposure"), model.mask("epoch")
        for kind, number in itertools.product(("level", "zero_point"), np.unique(self.links.detector_group)):
            members = model.mask(kind) & (group == number)
            # The reference, which is not free, always belongs to them.
            base = members & (fitted | ~free)
            report[members] -= _average(base if base.any() else members)
        for epoch in range(len(model.epochs)):
            here = model.epoch == epoch
            own, mine, term = exposures & here, model.mask("drift") & fitted & here, epochs & here
            if self.has_exposures:
                times[own] -= _average(own)
                times[term] += _average(own) - _average(exposures & (model.epoch == 0))
            drifts[mine] -= _average(mine)
            drifts[term] += _average(mine)
        return drifts @ times @ report


def _average(mask):
    """Weight the terms for their mean; 0 where there is none."""
    return mask / max(np.count_nonzero(mask), 1)


def forecast_terms(measurements: Measurements, choice: Choice | None = None) -> Forecast:
    """Find what can be determined, from design and errors of measurements only."""
    choice = choice or Choice()
    choice = replace(choice, field_order=max(choice.field_order, choice.least_order(measurements)))
    links = count_links(measurements)
    check_linked(measurements, links, choice.scale)
    model = list_terms(measurements, choice)
    system = LinearSystem(model.design(measurements), number_labels(measurements.source)[1])
    return _admit_terms(model, system, links, 1 / measurements.mag_error**2, choice)


def count_effective_sources(forecast: Forecast, weight: np.ndarray) -> dict[int, float]:
    """Count effective sources of fitted terms; 0 if the weights do not determine one."""
    model, links = forecast.model, forecast.links
    inverse, determined = forecast.invert(weight)
    counted = forecast.fitted & ~model.mask("level", "exposure", "field", "drift")
    counts = dict.fromkeys(np.flatnonzero(counted).tolist(), 0.0)
    epochs = model.mask("epoch") if len(model.epochs) > _COUNTED_EPOCHS else np.zeros_like(counted)
    for number in np.flatnonzero(counted & epochs & determined):
        counts[int(number)] = float(links.shared_epochs[links.epochs.index(model.terms[number].epoch)].max())
    exact = np.flatnonzero(counted & ~epochs & determined)
    found = forecast.system.effective_sources(weight, forecast.report()[exact] @ inverse)
    return counts | dict(zip(exact.tolist(), found.tolist(), strict=True))


def readmit_terms(forecast: Forecast, weight: np.ndarray) -> Forecast:
    """Find again what is determined: rejected measurements can break links."""
    # No new term is admitted, except terms of epochs whose exposures lose theirs. NoSolutionError where these
    # measurements determine no zero point.
    model, had_exposures = forecast.model, forecast.has_exposures
    choice = replace(forecast.choice, exposure_terms="fit" if had_exposures else "zero")
    again = _admit_terms(model, forecast.system, forecast.links, weight, choice)
    found, status = {s.term: s for s in again.status}, []
    for before in forecast.status:
        now = found.get(before.term)
        if before.is_fitted and now is not None:
            # Correlations and expected errors are those of all measurements, as in a forecast without magnitudes.
            kept = replace(before, effective_sources=now.effective_sources, partners=now.partners)
            before = kept if now.is_fitted else replace(now, words=f"{now.words} (without the rejected measurements)")
        status.append(before)
    before = forecast.free
    if had_exposures and not again.has_exposures:
        before = (before & ~model.mask("exposure")) | model.mask("epoch")
    free = before & (again.free | model.mask("level"))
    fitted = (forecast.fitted & again.fitted) & (~model.mask("exposure") | again.has_exposures)
    # What the rejected measurements take away; terms of exposures were a choice.
    known = {"remarks": forecast.remarks, "refusals": forecast.refusals}
    for words in dict.fromkeys(again.refusals):
        if words not in forecast.refusals:
            known["remarks" if words.startswith("terms of exposures") else "refusals"] += (words,)
    return replace(forecast, status=tuple(status), free=free, fitted=fitted, **known)


def too_few_sources(term: Term, count: float, needed: int) -> TermStatus:
    """Make the status of a term that is constrained by too few sources."""
    # Rounded down where the nearest number is the minimum.
    shown = f"{count:.1f}" if round(count, 1) < needed else f"{np.floor(100 * count) / 100:.2f}"
    why = f"constrained by only {shown} effective sources (minimum {needed}); not fitted"
    return TermStatus.refuse(term, why, effective_sources=count)


def _admit_terms(model, system, links, weight, choice):
    """Admit zero points, epoch terms and slopes one by one, then exposures together."""
    # A term is fixed to 0 where it would take the information of a term of another kind (``MAX_INFLATION``). A term
    # that is constrained by too few sources (``Choice.min_sources``), or whose error would be too large, is solved for
    # but left out of the result, so that the others' errors hold. Levels of arrays are always free.
    information = system.inform(weight)
    references = blocks.find_references(model, links)
    main = model.mask("offset", "zero_point") & ~references
    # Zero points with a part in the null space when only levels are free with them.
    reduced = _eliminate(information, model.mask("level"))
    error = np.sqrt(np.diag(reduced.invert(main)[0]))
    unknown = main & (reduced.lacks(main, np.eye(len(main))) | (error > MAX_OFFSET_ERROR))
    if (unknown == main).all():
        what = "an array of module A to its namesake in B" if model.scale == "modules" else "any two detectors"
        raise NoSolutionError(f"no chain of common sources links {what} to better than {MAX_OFFSET_ERROR} mag")
    nuisance, refused = model.mask("level") | unknown, {}
    # Each round leaves out the term with the least support. What was refused before is tried again: the terms that
    # stood in its way may be gone.
    while True:
        reduced = _eliminate(information, nuisance)
        admitted = _admit_all(model, reduced, nuisance | references, refused, choice.time_term != "zero")
        fitted = np.isin(np.arange(len(model.terms)), admitted)
        found = Forecast(model, system, links, (), fitted | nuisance, fitted, choice)
        counts = count_effective_sources(found, weight)
        covariance = np.linalg.inv(reduced.matrix[np.ix_(admitted, admitted)])
        weakest = _find_unsupported(model.terms, covariance, admitted, counts, choice.min_sources)
        if weakest is None:
            break
        number = model.terms.index(weakest.term)
        nuisance[number] = True
        refused = {number: weakest} | {i: r for i, r in refused.items() if nuisance[i]}
    companions = (references | model.mask("level")) & blocks.find_companions(model, links, fitted)
    found = replace(found, fitted=fitted | companions)
    for admit in (blocks.admit_exposures, blocks.admit_field, blocks.admit_drifts):
        found = admit(found, information)
    covariance, counts = found.expect(weight), count_effective_sources(found, weight)
    found = replace(found, status=_statuses(found, np.sqrt(np.maximum(np.diag(covariance), 0)), refused, counts))
    return replace(found, status=found.correlate(covariance))


def _eliminate(information, nuisance):
    """Eliminate nuisance terms: the Schur complement is the others' information."""
    reduced = np.zeros_like(information.matrix)
    reduced[np.ix_(~nuisance, ~nuisance)] = information.project(nuisance, ~nuisance)[1]
    return Information(reduced, information.gram)


def _admit_all(model, information, nuisance, refused, fit_epochs):
    """Admit what can be admitted; put the reasons against the others in ``refused``."""
    admitted = [int(i) for i in np.flatnonzero(model.mask("offset", "zero_point") & ~nuisance)]
    if not admitted:
        return []
    reduced, inverse = information.matrix, np.linalg.inv(information.matrix[np.ix_(admitted, admitted)])
    # Epoch terms before slopes: where the two cannot be separated, a slope must not take an epoch's term.
    epochs = np.flatnonzero(model.mask("epoch")) if fit_epochs else []
    for number in (*epochs, *np.flatnonzero([term.is_slope or term.kind == "colour" for term in model.terms])):
        if number in refused:
            continue
        # What the admitted terms take over of the candidate, and the information that is left to it alone.
        fraction = inverse @ reduced[admitted, number]
        left = max(reduced[number, number] - reduced[number, admitted] @ fraction, 0.0)
        status = _find_obstacle(model.terms, information, admitted, number, fraction, left, np.diag(inverse))
        if status is None:
            admitted.append(int(number))
            # The inverse of the bordered matrix: a thousand inversions would take minutes.
            column = np.append(fraction, -1.0)
            inverse = np.pad(inverse, (0, 1)) + np.outer(column, column / left)
        else:
            refused[int(number)] = status
    return admitted


def _find_obstacle(terms, information, admitted, number, fraction, left, variance):
    """Find the reason against a term; None where it can be admitted."""
    term, own = terms[number], information.matrix[number, number]
    if own <= NULL_SHARE * information.gram[number, number]:
        why = "moves along the gradient's direction" if term.is_slope else "links it to another epoch"
        why = "of another colour is in both modules" if term.kind == "colour" else why
        return TermStatus.refuse(term, f"no source {why}; fixed to 0")
    # Admitting it multiplies the variances of the admitted terms by these factors. Correlations within a kind (an
    # epoch with few sources, say) do no harm, unless the term is a combination of the others altogether.
    inflation = 1 + fraction**2 / (max(left, NULL_SHARE * own) * variance)
    if left > NULL_SHARE * own:
        inflation[[terms[j].kind == term.kind or (terms[j].is_slope and term.is_slope) for j in admitted]] = 1.0
    worst = int(np.argmax(inflation))
    if inflation[worst] < blocks.MAX_INFLATION:
        return None
    correlation = float(np.sqrt(1 - 1 / inflation[worst]))
    words = (
        f"{term.words} and {terms[admitted[worst]].words} are not separable: correlation {correlation:.3f} at"
        f" these pointings; the {term.words} is fixed to 0"
    )
    partners = tuple(terms[j].name for j, i in zip(admitted, inflation, strict=True) if i >= blocks.MAX_INFLATION)
    return TermStatus(term, "not separable", words, correlation, partners=partners)


def _find_unsupported(terms, covariance, admitted, counts, min_sources):
    """Find the next term to leave out: too few sources, or too large an error."""
    error = np.sqrt(np.diag(covariance))
    for number, expected in sorted(zip(admitted, error, strict=True), key=lambda pair: counts[pair[0]]):
        term, count = terms[number], counts[number]
        if count < min_sources:
            return too_few_sources(term, count, min_sources)
        limit = MAX_SLOPE_ERROR if term.is_slope else MAX_OFFSET_ERROR
        if expected > limit:
            why = f"expected error {expected:.3f} exceeds the limit of {limit} {term.unit}; not fitted"
            return TermStatus.refuse(term, why, expected_error=float(expected), effective_sources=count)
    return None


def _statuses(found, error, refused, counts):
    """List the status of terms except levels and exposures, with their errors."""
    model, links, status = found.model, found.links, []
    fitted = found.fitted & ~model.mask("level", "exposure")
    for number, term in enumerate(model.terms):
        if fitted[number]:
            words, kind = "", "free"
            if term.kind == "offset" and links.shared[tuple(map(links.codes.index, term.codes))] == 0:
                kind, words = "indirect", f"{term.words}: linked through other arrays; its modules share no source"
            numbers = {"expected_error": float(error[number]), "effective_sources": counts.get(number, 0.0)}
            status.append(TermStatus(term, kind, words, **numbers))
        elif number in refused:
            status.append(refused[number])
        elif term.kind in ("offset", "zero_point"):
            what = "its modules" if term.kind == "offset" else "it to others"
            why = f"no chain of common sources links {what} to better than {MAX_OFFSET_ERROR} mag; not fitted"
            status.append(TermStatus.refuse(term, why))
    return tuple(status)
