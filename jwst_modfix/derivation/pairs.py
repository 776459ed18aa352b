"""``method='pairs'``: the paper's values in the place of the network's."""

from dataclasses import replace

import numpy as np

from jwst_modfix.solution.term_status import TermStatus

__all__ = ["solve_by_pairs"]


def solve_by_pairs(solution, pairs):
    """
    Put offsets and slopes of pairs of epochs into a solution of the network.

    Parameters
    ----------
    solution : NetworkSolution
        The network's solution, whose levels and epoch terms are kept.
    pairs : dict
        Array ID to PairSolution.

    Returns
    -------
    NetworkSolution
        The same with the pairs' values and covariances; arrays without both patches are not determined.
    """
    values, covariance, fitted = solution.values.copy(), solution.covariance.copy(), solution.fitted.copy()
    status = {found.term.name: found for found in solution.status}
    for number, term in enumerate(solution.model.terms):
        if term.kind != "offset" and not term.is_slope:
            continue
        covariance[number, :] = covariance[:, number] = 0.0
        if term.array not in pairs or term.kind not in pairs[term.array].names:
            fitted[number], values[number] = False, 0.0
            status[term.name] = TermStatus(term, "no information", f"{term.words}: not both of the patches p and q")
    for array, pair in pairs.items():
        names = [f"{kind}[{array}]" for kind in pair.names]
        terms = [solution.names.index(name) for name in names if name in solution.names]
        values[terms], fitted[terms] = pair.values[: len(terms)], True
        covariance[np.ix_(terms, terms)] = pair.covariance[: len(terms), : len(terms)]
        for number in terms:
            status[solution.names[number]] = _status(solution, number, pair)
    fit = replace(solution.fit, values=values, covariance=covariance)
    return replace(solution, fit=fit, fitted=fitted, status=tuple(status.values()))


def _status(solution, number, pair):
    _, error = pair.value(solution.model.terms[number].kind)
    return TermStatus(solution.model.terms[number], "free", "", 0.0, error, float(pair.n_sources))
