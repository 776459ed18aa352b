"""Which terms the pointings determine, and how well: before any magnitude enters."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.design import SLOPE_ARRAYS, Model, Term, list_terms
from jwst_modfix.fitting.least_squares import NULL_SHARE, LinearSystem, generalised_inverse, number_labels
from jwst_modfix.fitting.links import LinkReport, check_linked, count_links
from jwst_modfix.fitting.measurements import DIRECTION, ORIGIN, Measurements

__all__ = [
    "MAX_INFLATION",
    "MAX_OFFSET_ERROR",
    "MAX_SLOPE_ERROR",
    "MIN_SOURCES",
    "Forecast",
    "Separability",
    "TermStatus",
    "count_effective_sources",
    "find_separable",
    "forecast_terms",
    "too_few_sources",
]


# A term that inflates the variance of a term of another kind a hundredfold (correlation 0.995) makes its error
# ten times larger: what is then called its value is the model's assumption, not the data's.
MAX_INFLATION = 100.0
# The largest offsets known are 0.05 mag and the largest slopes 0.005 mag/arcmin (Ma et al. 2023, Table 2):
# a result with an expected error of that size (four times it for slopes) has no use.
MAX_OFFSET_ERROR = 0.05
MAX_SLOPE_ERROR = 0.02
# The scatter of fewer sources gives no reliable error (of ten, it is known to a quarter), and one variable
# source among them looks like an offset.
MIN_SOURCES = 10
# Beyond this many epochs, count the sources behind each term by the links alone: the exact count costs a pass each.
_COUNTED_EPOCHS = 30


@dataclass(frozen=True)
class TermStatus:
    """Whether one term is determined, and why not."""

    term: Term
    # 'free'; 'indirect', linked through other arrays only; 'not significant'; or not determined: 'not separable',
    # 'no information'
    status: str
    words: str = ""  # the reason; empty where the term is free
    correlation: float = 0.0  # the largest with a term of another kind; 1 where they cannot be separated
    expected_error: float = np.inf  # from the errors of the measurements, mag or mag/arcmin
    effective_sources: float = 0.0
    partners: tuple[str, ...] = ()  # terms that it is not separable from: they hold only if this one is 0

    @property
    def is_degenerate(self) -> bool:
        """Whether these pointings do not determine the term."""
        return self.status in ("not separable", "no information")

    @property
    def is_fitted(self) -> bool:
        """Whether the term was solved for and determined."""
        return not self.is_degenerate


@dataclass(frozen=True, eq=False)
class Separability:
    """Roles of all terms."""

    status: tuple[TermStatus, ...]  # one for each offset, slope and epoch term
    fitted: np.ndarray  # (n_terms,), terms that are determined
    nuisance: np.ndarray  # (n_terms,), terms that are free without being determined: levels, offsets with no link


def count_effective_sources(
    model: Model, system: LinearSystem, links: LinkReport, weight: np.ndarray, free: np.ndarray, wanted: Iterable[int]
) -> dict[int, float]:
    """Count the effective sources of terms; 0 where these weights do not determine the term."""
    here = np.ix_(free, free)
    inverse, null = generalised_inverse(*(part[here] for part in system.normal_matrix(weight)))
    influence, undetermined = np.zeros((len(free), len(free))), np.zeros(len(free), dtype=bool)
    influence[here], undetermined[free] = inverse, np.linalg.norm(null, axis=1) > np.sqrt(NULL_SHARE)
    counts = {}
    for number in wanted:
        term = model.terms[number]
        if undetermined[number]:
            counts[number] = 0.0
        elif term.kind == "epoch" and len(model.epochs) > _COUNTED_EPOCHS:
            counts[number] = float(links.shared_epochs[links.epochs.index(term.epoch)].max())
        else:
            counts[number] = system.effective_sources(weight, influence[number])
    return counts


def too_few_sources(term: Term, count: float, needed: int) -> TermStatus:
    """Status of a term that is constrained by too few sources."""
    words = f"{term.words}: constrained by only {count:.1f} effective sources (minimum {needed}); not fitted"
    return TermStatus(term, "no information", words, effective_sources=count)


def find_separable(
    model: Model,
    system: LinearSystem,
    links: LinkReport,
    weight: np.ndarray,
    fit_epochs: bool = True,
    min_sources: int = MIN_SOURCES,
) -> Separability:
    """Admit the terms one by one: offsets, then epoch terms, then slopes.

    A term is fixed to 0 where it would take the information of a term of another kind (``MAX_INFLATION``). A term that
    is constrained by too few sources (``MIN_SOURCES``), or whose error would be too large, is solved for but left out
    of the result, so that the others' errors hold. Levels of arrays are always free.
    """
    matrix, gram = system.normal_matrix(weight)
    unknown = _undetermined_offsets(model, matrix, gram)
    if (unknown == model.mask("offset")).all():
        raise NoSolutionError(
            "no chain of common sources links an array of module A to its namesake in B to better than"
            f" {MAX_OFFSET_ERROR} mag"
        )
    nuisance, refused = model.mask("level") | unknown, {}
    # Each round leaves out the term with the least support. What was refused before is tried again: the terms that
    # stood in its way may be gone.
    while True:
        reduced = _eliminate(matrix, gram, nuisance)
        admitted = _admit_all(model, reduced, gram, nuisance, refused, fit_epochs)
        free = np.isin(np.arange(len(model.terms)), admitted) | nuisance
        counts = count_effective_sources(model, system, links, weight, free, admitted)
        weakest = _find_unsupported(model.terms, reduced, admitted, counts, min_sources)
        if weakest is None:
            break
        number = model.terms.index(weakest.term)
        nuisance[number] = True
        refused = {number: weakest} | {i: r for i, r in refused.items() if nuisance[i]}
    fitted = np.isin(np.arange(len(model.terms)), admitted)
    return Separability(_statuses(model, links, reduced, admitted, refused, counts), fitted, nuisance)


def _undetermined_offsets(model, matrix, gram):
    """Offsets that have a part in the null space that is left when only levels are free beside them."""
    found = model.mask("offset")
    here = np.ix_(found, found)
    inverse, null = generalised_inverse(_eliminate(matrix, gram, model.mask("level"))[here], gram[here])
    unlinked = np.linalg.norm(null, axis=1) > np.sqrt(NULL_SHARE)
    found[found] = unlinked | (np.sqrt(np.diag(inverse)) > MAX_OFFSET_ERROR)
    return found


def _eliminate(matrix, gram, nuisance):
    """Schur complement: the information on all other terms when the nuisance terms are free."""
    here = np.ix_(nuisance, nuisance)
    inverse, _ = generalised_inverse(matrix[here], gram[here])
    reduced = matrix - matrix[:, nuisance] @ inverse @ matrix[nuisance, :]
    reduced[nuisance, :] = reduced[:, nuisance] = 0.0
    return reduced


def _admit_all(model, reduced, gram, nuisance, refused, fit_epochs):
    """Admit what can be admitted; write the reasons against the others into ``refused``."""
    admitted = [int(i) for i in np.flatnonzero(model.mask("offset") & ~nuisance)]
    if not admitted:
        return []
    inverse = np.linalg.inv(reduced[np.ix_(admitted, admitted)])
    # Epoch terms before slopes: where the two cannot be separated, a slope must not take an epoch's term.
    epochs = np.flatnonzero(model.mask("epoch")) if fit_epochs else []
    for number in (*epochs, *np.flatnonzero([term.is_slope for term in model.terms])):
        if number in refused:
            continue
        # What the admitted terms take over of the candidate, and the information that is left to it alone.
        fraction = inverse @ reduced[admitted, number]
        left = max(reduced[number, number] - reduced[number, admitted] @ fraction, 0.0)
        status = _find_obstacle(model.terms, reduced, gram, admitted, number, fraction, left, np.diag(inverse))
        if status is None:
            admitted.append(int(number))
            inverse = _border(inverse, fraction, left)
        else:
            refused[int(number)] = status
    return admitted


def _border(inverse, fraction, left):
    """Inverse of a matrix that has grown by one row and column (a thousand inversions would take minutes)."""
    column = np.append(fraction, -1.0)
    return np.pad(inverse, (0, 1)) + np.outer(column, column / left)


def _find_obstacle(terms, reduced, gram, admitted, number, fraction, left, variance):
    """None where the term can be admitted, else the reason against it."""
    term, own = terms[number], reduced[number, number]
    if own <= NULL_SHARE * gram[number, number]:
        why = "no source links it to another epoch"
        if term.is_slope:
            why = "no source moves along the gradient's direction"
        return TermStatus(term, "no information", f"{term.words}: {why}; fixed to 0")
    # Admitting it multiplies the variances of the admitted terms by these factors. Correlations within a kind (an
    # epoch with few sources, say) do no harm, unless the term is a combination of the others altogether.
    inflation = 1 + fraction**2 / (max(left, NULL_SHARE * own) * variance)
    if left > NULL_SHARE * own:
        inflation[[_is_same_kind(terms[j], term) for j in admitted]] = 1.0
    worst = int(np.argmax(inflation))
    if inflation[worst] < MAX_INFLATION:
        return None
    correlation = float(np.sqrt(1 - 1 / inflation[worst]))
    words = (
        f"{term.words} and {terms[admitted[worst]].words} are not separable: correlation {correlation:.3f} at"
        f" these pointings; the {term.words} is fixed to 0"
    )
    partners = tuple(terms[j].name for j, i in zip(admitted, inflation, strict=True) if i >= MAX_INFLATION)
    return TermStatus(term, "not separable", words, correlation, partners=partners)


def _is_same_kind(one, other):
    return one.kind == other.kind or (one.is_slope and other.is_slope)


def _find_unsupported(terms, reduced, admitted, counts, min_sources):
    """Find the next term to leave out: it has too few sources, or its error is too large."""
    if not admitted:
        return None
    error = np.sqrt(np.diag(np.linalg.inv(reduced[np.ix_(admitted, admitted)])))
    for number, expected in sorted(zip(admitted, error, strict=True), key=lambda pair: counts[pair[0]]):
        term, count = terms[number], counts[number]
        if count < min_sources:
            return too_few_sources(term, count, min_sources)
        limit, unit = (MAX_SLOPE_ERROR, "mag/arcmin") if term.is_slope else (MAX_OFFSET_ERROR, "mag")
        if expected > limit:
            words = f"{term.words}: expected error {expected:.3f} exceeds the limit of {limit} {unit}; not fitted"
            return TermStatus(term, "no information", words, 0.0, float(expected), count)
    return None


def _statuses(model, links, reduced, admitted, refused, counts):
    """Status of every term but the levels, with errors and correlations of the whole fit."""
    covariance = np.linalg.inv(reduced[np.ix_(admitted, admitted)])
    error = np.sqrt(np.diag(covariance))
    correlation = np.abs(covariance / np.outer(error, error))
    found = []
    for number, term in enumerate(model.terms):
        if number in refused:
            found.append(refused[number])
        elif number in admitted:
            place = admitted.index(number)
            others = [j for j, k in enumerate(admitted) if not _is_same_kind(model.terms[k], term)]
            status, words = "free", ""
            if term.kind == "offset" and links.between_modules(term.array) == 0:
                status, words = "indirect", f"{term.words}: linked through other arrays; its modules share no source"
            largest = float(correlation[place, others].max(initial=0.0))
            found.append(TermStatus(term, status, words, largest, float(error[place]), counts[number]))
        elif term.kind == "offset":
            words = f"{term.words}: no chain of common sources links its modules to better than {MAX_OFFSET_ERROR} mag"
            found.append(TermStatus(term, "no information", words))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a fit of one filter and pupil will determine."""

    status: tuple[TermStatus, ...]  # of each offset, slope and epoch term: its expected error, or why there is none
    links: LinkReport


def forecast_terms(measurements: Measurements, *, fit_slope: str = "long") -> Forecast:
    """Forecast the errors of offsets, slopes and epoch terms from the design and the errors of measurements alone."""
    links = count_links(measurements)
    check_linked(measurements, links)
    model = list_terms(measurements, slope_arrays=SLOPE_ARRAYS[fit_slope], direction=DIRECTION, origin=ORIGIN)
    system = LinearSystem(model.design(measurements), number_labels(measurements.source)[1])
    return Forecast(find_separable(model, system, links, 1 / measurements.mag_error**2).status, links)
