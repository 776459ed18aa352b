"""Which terms these pointings separate from each other, told before the fit from the design alone."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.solution.normal import NULL_SHARE, generalised_inverse
from jwst_modfix.solution.terms import Term

__all__ = [
    "MAX_INFLATION",
    "MAX_OFFSET_ERROR",
    "MAX_SLOPE_ERROR",
    "MIN_SOURCES",
    "Separability",
    "TermStatus",
    "find_separable",
]

# A term that inflates the variance of a term of another kind a hundredfold (correlation 0.995) makes its error
# ten times larger: what is then called its value is the model's assumption, not the data's.
MAX_INFLATION = 100.0
# The largest offsets known are 0.05 mag and the largest slopes 0.005 mag/arcmin (Ma et al. 2023, Table 2):
# an expected error of that size (four times it for slopes) tells nothing.
MAX_OFFSET_ERROR = 0.05
# The scatter of fewer sources gives no error to trust: of ten, it is known to a quarter.
MIN_SOURCES = 10
MAX_SLOPE_ERROR = 0.02


@dataclass(frozen=True)
class TermStatus:
    """
    What became of one term, and why.

    Parameters
    ----------
    term : Term
        The term.
    status : {'free', 'tied', 'not separable', 'no information'}
        Free, known only through a chain of other arrays, or fixed for one of two reasons.
    words : str
        The reason in words; empty where the term is free.
    correlation : float
        Largest correlation with a term of another kind; 1 where they cannot be told apart.
    expected_error : float
        Standard error to expect from the errors of the measurements [mag or mag/arcmin]; infinite where fixed
        for lack of information.
    effective_sources : float
        Number of sources that share the information evenly and would give as much.
    """

    term: Term
    status: str
    words: str = ""
    correlation: float = 0.0
    expected_error: float = np.inf
    effective_sources: float = 0.0

    @property
    def is_fitted(self):
        """Whether the term enters the fit as determined."""
        return self.status in ("free", "tied")


@dataclass(frozen=True, eq=False)
class Separability:
    """
    Roles of all terms.

    Parameters
    ----------
    status : tuple of TermStatus
        One for each offset, slope and epoch term.
    fitted : numpy.ndarray of bool, shape (n_terms,)
        Terms that are determined.
    nuisance : numpy.ndarray of bool, shape (n_terms,)
        Terms that are left free without being determined: levels, and offsets with no link.
    """

    status: tuple
    fitted: np.ndarray
    nuisance: np.ndarray


def find_separable(model, links, mag_error, fit_epochs=True):
    """
    Admit the terms one by one: offsets, then epoch terms, then slopes.

    A term is admitted where the measurements hold information on it and it does not take that of terms of
    another kind. Information is that of the reduced normal matrix; levels of arrays are always left free.

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
    nuisance = model.mask("level") | _undetermined_offsets(model, matrix, gram)
    refused = {}
    while True:
        reduced = _eliminate(matrix, gram, nuisance)
        admitted = _admit_all(model, reduced, gram, nuisance, refused, fit_epochs)
        counts = _effective_sources(model, matrix, gram, weight, admitted, nuisance)
        weak = [i for i in admitted if counts[i] < MIN_SOURCES]
        if not weak:
            break
        for number in weak[-1:]:
            nuisance[number] |= model.terms[number].kind == "offset"
            refused[number] = _too_few(model.terms[number], counts[number])
    fitted = np.isin(np.arange(len(model.terms)), admitted)
    return Separability(_statuses(model, links, reduced, admitted, refused, counts), fitted, nuisance)


def _admit_all(model, reduced, gram, nuisance, refused, fit_epochs):
    """Admit what can be admitted; write the reasons against the others into ``refused``."""
    admitted = [int(i) for i in np.flatnonzero(model.mask("offset") & ~nuisance)]
    if not admitted:
        raise NoSolutionError(
            f"no chain of {MIN_SOURCES} common sources or more ties an array of module A to its namesake in B to"
            f" better than {MAX_OFFSET_ERROR} mag"
        )
    for number in _candidates(model, fit_epochs):
        if number not in refused:
            status = _admit(model.terms, reduced, gram, admitted, number)
            if status is None:
                admitted.append(number)
            else:
                refused[number] = status
    return admitted


def _effective_sources(model, matrix, gram, weight, admitted, nuisance):
    """Effective number of sources behind each admitted term."""
    free = np.isin(np.arange(len(matrix)), admitted) | nuisance
    here, T = np.ix_(free, free), model.transform[:, free]
    inverse, _ = generalised_inverse(matrix[here], gram[here])
    place = np.cumsum(free) - 1
    return {
        number: model.system.effective_sources(weight, T @ inverse[:, place[number]]) for number in admitted
    }


def _too_few(term, count):
    words = f"{term.words}: hangs on {count:.1f} sources in effect; {MIN_SOURCES} are needed"
    return TermStatus(term, "no information", words, effective_sources=count)


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


def _admit(terms, reduced, gram, admitted, number):
    """None where the term is admitted, else the reason against it."""
    term, own = terms[number], reduced[number, number]
    if own <= NULL_SHARE * gram[number, number]:
        return TermStatus(term, "no information", f"{term.words}: {_no_information(term)}; it is fixed to 0")
    inverse = np.linalg.inv(reduced[np.ix_(admitted, admitted)])
    fraction = inverse @ reduced[admitted, number]
    left = own - reduced[number, admitted] @ fraction
    left = max(left, NULL_SHARE * own)
    inflation = 1 + fraction**2 / (left * np.diag(inverse))
    if left > NULL_SHARE * own:
        inflation[[_same_kind(terms[j], term) for j in admitted]] = 1.0
    worst = int(np.argmax(inflation))
    correlation = float(np.sqrt(1 - 1 / inflation[worst]))
    if inflation[worst] >= MAX_INFLATION:
        words = (
            f"{term.words} and {terms[admitted[worst]].words} are not separable: correlation {correlation:.3f} at"
            f" these pointings; the {term.words} is fixed to 0"
        )
        return TermStatus(term, "not separable", words, correlation)
    error = 1 / np.sqrt(left)
    if term.is_slope and error > MAX_SLOPE_ERROR:
        words = f"{term.words}: expected error {error:.3f} mag/arcmin tells nothing; it is fixed to 0"
        return TermStatus(term, "no information", words, correlation, float(error))
    return None


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
            found.append(_fitted_status(term, links, largest, float(error[place]), counts[number]))
        elif term.kind == "offset":
            words = f"{term.words}: no chain of common sources ties its two modules to better than {MAX_OFFSET_ERROR} mag"
            found.append(TermStatus(term, "no information", words))
    return tuple(found)


def _fitted_status(term, links, correlation, error, count):
    if term.kind == "offset" and links.between_modules(term.array) == 0:
        words = f"{term.words}: its modules share no source and are tied through other arrays"
        return TermStatus(term, "tied", words, correlation, error, count)
    return TermStatus(term, "free", "", correlation, error, count)
