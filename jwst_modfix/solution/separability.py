"""Which terms these pointings separate from each other, told before the fit from the design alone."""

import numpy as np

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.solution.normal import NULL_SHARE, generalised_inverse
from jwst_modfix.solution.term_status import (
    Separability,
    TermStatus,
    count_effective_sources,
    too_few_sources,
)

__all__ = [
    "MAX_INFLATION",
    "MAX_OFFSET_ERROR",
    "MAX_SLOPE_ERROR",
    "MIN_SOURCES",
    "find_separable",
]

# A term that inflates the variance of a term of another kind a hundredfold (correlation 0.995) makes its error
# ten times larger: what is then called its value is the model's assumption, not the data's.
MAX_INFLATION = 100.0
# The largest offsets known are 0.05 mag and the largest slopes 0.005 mag/arcmin (Ma et al. 2023, Table 2):
# an expected error of that size (four times it for slopes) tells nothing.
MAX_OFFSET_ERROR = 0.05
MAX_SLOPE_ERROR = 0.02
# The scatter of fewer sources gives no error to trust (of ten, it is known to a quarter), and one variable
# source among them passes for an offset.
MIN_SOURCES = 10


def find_separable(model, links, mag_error, fit_epochs=True, min_sources=MIN_SOURCES):
    """
    Admit the terms one by one: offsets, then epoch terms, then slopes.

    A term is fixed to 0 where it would take the information of a term of another kind (``MAX_INFLATION``). A term that
    hangs on too few sources (``MIN_SOURCES``), or whose error would tell nothing, is solved for but left out of the
    result, so that the others' errors hold. Levels of arrays are always left free.

    Parameters
    ----------
    model : Model
        All terms that were asked for.
    links : LinkReport
        Links of the same measurements.
    mag_error : numpy.ndarray, shape (n,)
        Errors of the measurements [mag].
    fit_epochs : bool, optional
        False: epoch terms are 0 by decree, and stand in no report.
    min_sources : int, optional
        Effective number of sources that a term must hang on.

    Returns
    -------
    Separability
        What is fitted, what is not, and why.

    Raises
    ------
    NoSolutionError
        Not one offset is determined.
    """
    T, weight = model.transform, 1 / mag_error**2
    matrix, gram = (T.T @ part @ T for part in model.system.normal_matrix(weight))
    unknown = _undetermined_offsets(model, matrix, gram)
    if (unknown == model.mask("offset")).all():
        raise NoSolutionError(
            "no chain of common sources ties an array of module A to its namesake in B to better than"
            f" {MAX_OFFSET_ERROR} mag"
        )
    nuisance, refused = model.mask("level") | unknown, {}
    while True:
        reduced = _eliminate(matrix, gram, nuisance)
        admitted = _admit_all(model, reduced, gram, nuisance, refused, fit_epochs)
        free = np.isin(np.arange(len(model.terms)), admitted) | nuisance
        counts = count_effective_sources(model, links, weight, free, admitted)
        vague = _vaguest(model.terms, reduced, admitted, counts, min_sources)
        if vague is None:
            break
        number = model.terms.index(vague.term)
        nuisance[number] = True
        refused = {number: vague} | {i: r for i, r in refused.items() if nuisance[i]}
    fitted = np.isin(np.arange(len(model.terms)), admitted)
    return Separability(_statuses(model, links, reduced, admitted, refused, counts), fitted, nuisance)


def _admit_all(model, reduced, gram, nuisance, refused, fit_epochs):
    """Admit what can be admitted; write the reasons against the others into ``refused``."""
    admitted = [int(i) for i in np.flatnonzero(model.mask("offset") & ~nuisance)]
    if not admitted:
        return []
    inverse = np.linalg.inv(reduced[np.ix_(admitted, admitted)])
    for number in _candidates(model, fit_epochs):
        if number in refused:
            continue
        fraction = inverse @ reduced[admitted, number]
        left = max(reduced[number, number] - reduced[number, admitted] @ fraction, 0.0)
        status = _admit(model.terms, reduced, gram, admitted, number, fraction, left, np.diag(inverse))
        if status is None:
            admitted.append(number)
            inverse = _border(inverse, fraction, left)
        else:
            refused[number] = status
    return admitted


def _border(inverse, fraction, left):
    """Inverse of a matrix that has grown by one row and column (a thousand inversions would take minutes)."""
    n = len(fraction)
    grown = np.empty((n + 1, n + 1))
    grown[:n, :n] = inverse + np.outer(fraction, fraction / left)
    grown[n, :n] = grown[:n, n] = -fraction / left
    grown[n, n] = 1 / left
    return grown


def _vaguest(terms, reduced, admitted, counts, min_sources):
    """Pick the next term to leave out: it hangs on too few sources, or its error is too large."""
    error = np.sqrt(np.diag(np.linalg.inv(reduced[np.ix_(admitted, admitted)])))
    for number, expected in sorted(zip(admitted, error, strict=True), key=lambda pair: counts[pair[0]]):
        term, count = terms[number], counts[number]
        if count < min_sources:
            return too_few_sources(term, count, min_sources)
        limit, unit = (MAX_SLOPE_ERROR, "mag/arcmin") if term.is_slope else (MAX_OFFSET_ERROR, "mag")
        if expected > limit:
            words = f"{term.words}: expected error {expected:.3f} {unit} tells nothing; it is left out"
            return TermStatus(term, "no information", words, 0.0, float(expected), count)
    return None


def _candidates(model, fit_epochs):
    """Epoch terms before slopes: where the two are one, a slope must not carry an epoch's term."""
    slopes = model.mask("slope", "slope_V2", "slope_V3")
    epochs = np.flatnonzero(model.mask("epoch")) if fit_epochs else []
    return [int(i) for i in (*epochs, *np.flatnonzero(slopes))]


def _undetermined_offsets(model, matrix, gram):
    """Offsets that have a part in the null space that is left when only levels go with them."""
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


def _admit(terms, reduced, gram, admitted, number, fraction, left, variance):
    """
    None where the term is admitted, else the reason against it.

    ``fraction`` is what the admitted terms take over of it, ``left`` the information left to it alone, and ``variance``
    the variances of the admitted terms without it.
    """
    term, own = terms[number], reduced[number, number]
    if own <= NULL_SHARE * gram[number, number]:
        return TermStatus(term, "no information", f"{term.words}: {_no_information(term)}; it is fixed to 0")
    left = max(left, NULL_SHARE * own)
    inflation = 1 + fraction**2 / (left * variance)
    if left > NULL_SHARE * own:
        inflation[[_same_kind(terms[j], term) for j in admitted]] = 1.0
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


def _no_information(term):
    if term.is_slope:
        return "no source moves along the gradient's direction between its measurements"
    return "no source ties it to an earlier epoch"


def _same_kind(one, other):
    """Correlations within a kind (an epoch poor in sources, say) harm nothing else."""
    return one.kind == other.kind or (one.is_slope and other.is_slope)


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
            others = [j for j, k in enumerate(admitted) if not _same_kind(model.terms[k], term)]
            largest = float(correlation[place, others].max(initial=0.0))
            values = largest, float(error[place]), counts[number]
            found.append(_fitted_status(term, links, *values))
        elif term.kind == "offset":
            found.append(TermStatus(term, "no information", _unlinked(term)))
    return tuple(found)


def _unlinked(term):
    return f"{term.words}: no chain of common sources ties its modules to better than {MAX_OFFSET_ERROR} mag"


def _fitted_status(term, links, correlation, error, count):
    if term.kind == "offset" and links.between_modules(term.array) == 0:
        words = f"{term.words}: its modules share no source and are tied through other arrays"
        return TermStatus(term, "tied", words, correlation, error, count)
    return TermStatus(term, "free", "", correlation, error, count)
