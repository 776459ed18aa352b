"""What became of the terms of a model, and how many sources each hangs on."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.solution.normal import generalised_inverse
from jwst_modfix.solution.terms import Term

__all__ = ["Separability", "TermStatus", "count_effective_sources", "too_few_sources"]

# Beyond this many epochs, count the sources behind each term by the links alone: the exact count costs a pass each.
_COUNTED_EPOCHS = 30


@dataclass(frozen=True)
class TermStatus:
    """
    What became of one term, and why.

    Parameters
    ----------
    term : Term
        The term.
    status : {'free', 'tied', 'idle', 'not separable', 'no information'}
        Free, known only through a chain of other arrays, fitted but not demanded by the data, or left out for one of
        two reasons.
    words : str
        The reason in words; empty where the term is free.
    correlation : float
        Largest correlation with a term of another kind; 1 where they cannot be told apart.
    expected_error : float
        Standard error to expect from the errors of the measurements [mag or mag/arcmin]; infinite where fixed for lack
        of information.
    effective_sources : float
        Number of sources that share the information evenly and would give as much.
    partners : tuple of str
        Names of the terms that it is not separable from: they hold only if this one is 0.
    """

    term: Term
    status: str
    words: str = ""
    correlation: float = 0.0
    expected_error: float = np.inf
    effective_sources: float = 0.0
    partners: tuple = ()

    @property
    def is_fitted(self):
        """Whether the term enters the fit as determined."""
        return self.status in ("free", "tied", "idle")

    @property
    def is_degenerate(self):
        """Whether these pointings do not determine the term."""
        return self.status in ("not separable", "no information")


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
        Terms that are left free without being determined: levels, offsets with no link, terms that are vague.
    """

    status: tuple
    fitted: np.ndarray
    nuisance: np.ndarray


def count_effective_sources(model, links, weight, free, wanted):
    """
    Count the sources that terms hang on.

    Parameters
    ----------
    model : Model
        All terms.
    links : LinkReport
        Links of the same measurements.
    weight : numpy.ndarray, shape (n,)
        Weight of each measurement [1/mag^2].
    free : numpy.ndarray of bool, shape (n_terms,)
        Terms that are solved for.
    wanted : sequence of int
        Terms to count for.

    Returns
    -------
    dict
        Number of the term to its effective number of sources.
    """
    T = model.transform[:, free]
    matrix, gram = (T.T @ part @ T for part in model.system.normal_matrix(weight))
    inverse, _ = generalised_inverse(matrix, gram)
    place = np.cumsum(free) - 1
    counts = {}
    for number in wanted:
        term = model.terms[number]
        if term.kind == "epoch" and len(model.epochs) > _COUNTED_EPOCHS:
            counts[number] = float(links.shared_epochs[links.epochs.index(term.epoch)].max())
        else:
            counts[number] = model.system.effective_sources(weight, T @ inverse[:, place[number]])
    return counts


def too_few_sources(term, count, needed):
    """
    Say that a term hangs on too few sources.

    Parameters
    ----------
    term : Term
        The term.
    count : float
        Its effective number of sources.
    needed : int
        The number that it should hang on.

    Returns
    -------
    TermStatus
        Its status.
    """
    words = f"{term.words}: hangs on {count:.1f} sources in effect, {needed} are needed; it is left out"
    return TermStatus(term, "no information", words, effective_sources=count)
