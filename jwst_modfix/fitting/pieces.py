"""More measurements than memory holds: solve some sources, take a step with all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.linear import LinearSystem, number_labels
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.robust import USED, correct_leverage, settle
from jwst_modfix.text import count_nouns

if TYPE_CHECKING:
    from jwst_modfix.fitting.solution import Solution

# A step [typical errors of a measurement] up to which the weights of the residuals stay what they are.
_LARGEST_STEP = 0.2


def add_pieces(solution: Solution, pieces: Iterable[Measurements]) -> Solution:
    """Take one step of the robust equations with all sources, those of pieces too.

    From a consistent start one step of Newton's is as good as the solution of all (Bickel 1975, JASA 70, 428). Which
    terms are determined, the scatter and the links are those of the solution; a piece has whole sources.
    """
    model, free, system = solution.model, solution.free, solution.system
    information = system.inform(solution.derivative)
    inverse = information.invert(free)[0]
    # Of the sandwich, which the covariance is.
    scatter = information.matrix @ solution.covariance @ information.matrix
    score, n_used, n_sources, n_unknown = np.zeros(len(free)), solution.n_measurements, solution.n_sources, 0
    for piece in pieces:
        known = model.knows(piece) & np.isin(piece.time, model.times) & ~piece.reserved
        m = piece.select(known)
        n_unknown += np.count_nonzero(~(known | piece.reserved))
        if not len(m):
            continue
        own, weight, pull, used = _settle_piece(solution, m)
        information, score = information + own.inform(weight), score + own.design.pull(pull)
        # The leverage of a source is less than with the sample alone.
        scatter += own.source_products(correct_leverage(own, weight, inverse, pull), np.ones(own.n_sources))
        n_used, n_sources = n_used + used, n_sources + own.n_sources
    inverse = information.invert(free)[0]
    step = inverse @ score
    _refuse_large(solution, step)
    words = (
        f"values and errors are from {count_nouns(n_used, 'measurement')} of {count_nouns(n_sources, 'source')} in"
        " pieces; counts, links, scatter, structure and what is determined are of the sample above"
    )
    if n_unknown:
        words += f"; {count_nouns(n_unknown, 'measurement')} of detectors or exposures without it are left out"
    return replace(
        solution, values=solution.values + step, covariance=inverse @ scatter @ inverse,
        remarks=(*solution.remarks, words),
    )  # fmt: skip


def _settle_piece(solution: Solution, m: Measurements) -> tuple[LinearSystem, np.ndarray, np.ndarray, int]:
    """Weigh a piece: its system, weights, weighted residuals and count of used rows."""
    own = LinearSystem(solution.model.design(m), number_labels(m.source)[1])
    left = replace(m, mag=m.mag - own.design @ solution.values)
    held, fixed = np.zeros(len(solution.free), bool), (solution.sigma_int, solution.error_scale)
    _, fit, rejected = settle(own, held, left, scale=fixed)
    # With the means of the last weights, so that the scores of a source add up to 0.
    residual = fit.residual - own.source_mean(fit.weight, fit.residual)[own.source]
    return own, fit.derivative, fit.weight * residual, np.count_nonzero(rejected == USED)


def _refuse_large(solution: Solution, step: np.ndarray) -> None:
    """Refuse a step after which the weights would be others."""
    error = np.sqrt(np.maximum(np.diag(solution.covariance), 0))
    excess = np.abs(step) - (_LARGEST_STEP * solution.scale + 10 * error)
    if (excess > 0).any():
        worst = int(np.argmax(excess))
        raise MeasurementsError(
            f"{solution.measurements.place}: the sources outside of the "
            f"sample move the {solution.model.terms[worst].words} by {1e3 * step[worst]:+.1f} mmag, with an error of "
            f"{1e3 * error[worst]:.1f} mmag; look at the rows of these sources, or solve fewer in memory"
        )
