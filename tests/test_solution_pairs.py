"""The paper's method: its equations on exact numbers, its agreement with the network, its errors."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from simulated_network import LW, TABLE_2_LW, Survey, Truth, simulate

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError
from jwst_modfix.fitting.measurements import focal_plane_coordinate
from jwst_modfix.fitting.pairs import solve_pairs

MAD_TO_SIGMA = 1 / norm.isf(0.25)  # half of a normal distribution is within its MAD


def test_equations_9_and_10_on_exact_numbers():
    """Truth: Delta_p = k d + Delta_AB, so that the median is not Delta_AB, and the joint fit is."""
    truth = Truth(offset={"long": -0.01654}, slope={"long": 0.00433})
    survey = Survey(rolls=(0.0, 180.0), arrays=LW, error=(1e-6, 1e-6))
    solution = solve_pairs(simulate(np.random.default_rng(2), truth, survey), time_term="zero")["long"]
    assert solution.value("offset")[0] == pytest.approx(-0.01654, abs=1e-5)
    assert solution.value("slope")[0] == pytest.approx(0.00433, abs=1e-5)
    (pair,) = solution.pairs
    assert pair.offset == pytest.approx(-0.01654 + 0.00433 * np.mean(np.abs(pair.d)), abs=3e-4)
    assert (pair.d[pair.sign > 0] > 0).all()


def test_an_offset_is_never_quoted_without_the_slope_that_was_asked_for():
    """Truth: where all sources have the same |d|, k d is one with Delta_AB; the offset alone would be -0.010."""
    survey = Survey(rolls=(0.0, 180.0), arrays=LW, density=100.0)
    m = simulate(np.random.default_rng(5), TABLE_2_LW, survey)
    narrow = m.select(np.abs(np.abs(focal_plane_coordinate(m.V2, m.V3)) - 1.45) < 0.1)
    words = "array long: offset and slope are not separable .*; the array is left out"
    with pytest.warns(DegenerateTermWarning, match=words), pytest.raises(NoSolutionError, match="no array has a patch"):
        solve_pairs(narrow)
    assert solve_pairs(narrow, fit_slope="none")["long"].value("offset")[0] == pytest.approx(-0.010, abs=2e-3)


def test_few_sources_are_refused():
    """Truth: 7 sources in patch q are too few for an error, 8 are enough."""
    m = simulate(np.random.default_rng(7), TABLE_2_LW, Survey(arrays=LW, rolls=(0.0, 180.0)))
    (pair,) = solve_pairs(m)["long"].pairs
    q = pair.source[pair.sign < 0]
    names = np.unique(m.source)  # the pair numbers sources in their order
    for kept in (7, 8):
        fewer = m.select(~np.isin(m.source, names[q[kept:]]))
        if kept == 7:
            with pytest.raises(NoSolutionError, match="each with 8 sources"):
                solve_pairs(fewer)
        else:
            (pair,) = solve_pairs(fewer)["long"].pairs
            assert np.count_nonzero(pair.sign < 0) == 8


def test_errors_of_medians_and_of_the_fit():
    """Truth: MAD of each patch; the sandwich over sources of the joint fit by dense algebra."""
    m = simulate(np.random.default_rng(9), TABLE_2_LW, Survey(arrays=LW, rolls=(0.0, 180.0), density=6))
    linked = np.intersect1d(m.source[m.module == "A"], m.source[m.module == "B"])
    m = replace(m, mag=m.mag + 0.1 * ((m.source == linked[0]) & (m.epoch == 1)))  # beyond 5 sigma: no weight
    solution = solve_pairs(m)["long"]
    (pair,) = solution.pairs
    for sign, error in ((1, pair.error_p), (-1, pair.error_q)):
        mine = pair.difference[pair.sign == sign]
        n, mad = len(mine), np.median(np.abs(mine - np.median(mine)))
        student = np.sqrt((n - 1) / (n - 3))
        assert error == pytest.approx(MAD_TO_SIGMA * mad * np.sqrt(np.pi / 2 / n) * student, rel=1e-9)
    X = np.column_stack([pair.sign, pair.d, np.ones(len(pair.d))])  # Eq. 9-10
    residual = pair.difference - X @ solution.values
    e = residual / (MAD_TO_SIGMA * np.median(np.abs(residual)) * np.sqrt(len(e0 := residual) / (len(e0) - 3)))
    inside = np.abs(e) <= 1.345
    inverse = np.linalg.inv(X[inside].T @ X[inside])
    leverage = np.einsum("ij,jk,ik->i", X, inverse, X) * inside
    score = X * (residual * 1.345 / np.maximum(np.abs(e), 1.345) * (np.abs(e) < 5) / np.sqrt(1 - leverage))[:, None]
    share = (X @ inverse) ** 2 * inside[:, None]
    effective = share.sum(axis=0) ** 2 / (share**2).sum(axis=0) - 3
    expected = np.sqrt(np.diag(inverse @ score.T @ score @ inverse) * effective / (effective - 2))
    assert [solution.value(name)[1] for name in solution.names] == pytest.approx(expected, rel=2e-3)
