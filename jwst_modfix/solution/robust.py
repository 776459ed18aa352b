"""Huber's M-estimator: its weights, its derivative and the scatter that goes with it."""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

__all__ = [
    "HUBER_TUNING",
    "MAD_TO_SIGMA",
    "MAX_LEVERAGE",
    "fit_scatter",
    "huber_derivative",
    "huber_weight",
    "mean_square_huber",
    "student_factor",
]

# 95 % efficiency for Gaussian errors (Huber 1981, Robust Statistics, section 4).
HUBER_TUNING = 1.345
# Standard deviation of a normal distribution over its median absolute deviation.
MAD_TO_SIGMA = 1.4826
# The leverage of a source that its residuals are corrected for, at most: beyond, a term hangs on that source.
MAX_LEVERAGE = 0.9
# The scatter of this many residuals is known to 0.1 %: more would cost time and tell nothing. A prime, so that an
# even pick does not fall in step with the dithers of a sorted table.
_SCATTER_SAMPLE = 499_979
# Student's t of fewer than 3 degrees of freedom has no standard deviation.
_LEAST_SOURCES = 4


def huber_weight(residual, tuning=HUBER_TUNING):
    """
    Weight psi(e) / e of Huber's estimator.

    Parameters
    ----------
    residual : numpy.ndarray
        Standardised residuals e.
    tuning : float, optional
        Residual from which the weight falls.

    Returns
    -------
    numpy.ndarray
        1 up to the tuning constant, then tuning / |e|.
    """
    return tuning / np.maximum(np.abs(residual), tuning)


def huber_derivative(residual, tuning=HUBER_TUNING):
    """
    Differentiate Huber's psi.

    Parameters
    ----------
    residual : numpy.ndarray
        Standardised residuals e.
    tuning : float, optional
        Residual from which psi is constant.

    Returns
    -------
    numpy.ndarray
        1 up to the tuning constant, then 0.
    """
    return (np.abs(residual) <= tuning).astype(float)


def mean_square_huber(tuning=HUBER_TUNING):
    """
    Compute the expectation of psi(e)^2 for e of a unit Gaussian.

    Parameters
    ----------
    tuning : float, optional
        The tuning constant.

    Returns
    -------
    float
        The expectation, which makes the scatter unbiased for Gaussian errors.
    """
    tail = norm.sf(tuning)
    return float(1 - 2 * tail - 2 * tuning * norm.pdf(tuning) + 2 * tuning**2 * tail)


def student_factor(effective_sources):
    """
    Find the factor by which the errors of a sandwich grow for the few sources behind a term.

    An error from few sources is too small more often than not: it gets the standard deviation of Student's t, with one
    degree of freedom less than there are sources.

    Parameters
    ----------
    effective_sources : array_like
        Effective number of sources behind each term, at least 4.

    Returns
    -------
    numpy.ndarray
        ``sqrt(f / (f - 2))`` with ``f`` degrees of freedom, 3 at least.
    """
    freedom = np.maximum(effective_sources, _LEAST_SOURCES) - 1
    return np.sqrt(freedom / (freedom - 2))


def fit_scatter(residual, error, share):
    """
    Scatter to add in quadrature so that robust reduced chi-square is 1 (Huber's Proposal 2).

    Parameters
    ----------
    residual : numpy.ndarray, shape (n,)
        Residuals divided by ``sqrt(1 - leverage)`` [mag]: their variance is that of one measurement.
    error : numpy.ndarray, shape (n,)
        Errors as measured [mag].
    share : float
        Share of the degrees of freedom that the global terms leave.

    Returns
    -------
    scatter : float
        Intrinsic scatter [mag]; 0 where the errors explain the residuals.
    error_scale : float
        1, or less where the errors are larger than the residuals: they are then too large by that factor.
    """
    if len(residual) > _SCATTER_SAMPLE:
        pick = np.linspace(0, len(residual) - 1, _SCATTER_SAMPLE).astype(int)
        residual, error = residual[pick], error[pick]
    variance = error**2
    expected = mean_square_huber() * share

    def excess(added, factor=1.0):
        standard = residual / np.sqrt(factor * variance + added)
        return np.mean(np.minimum(np.abs(standard), HUBER_TUNING) ** 2) - expected

    if excess(0.0) > 0:
        top = 10 * np.mean(residual**2) + 1e-20
        return float(np.sqrt(brentq(excess, 0.0, top, xtol=1e-12))), 1.0
    floor = 1e-12
    if excess(0.0, floor) <= 0:
        return 0.0, float(np.sqrt(floor))
    factor = np.exp(brentq(lambda x: excess(0.0, np.exp(x)), np.log(floor), 0.0, xtol=1e-4))
    return 0.0, float(np.sqrt(factor))
