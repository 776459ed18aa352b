"""Scatter of detectors from exposure to exposure: its size, and that the errors hold it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from simulated_detectors import draw
from simulated_network import TABLE_2_SW, Survey, simulate
from test_solution_exact import joined, pairs_of

from jwst_modfix.fitting.solution import fit, fit_quietly
from jwst_modfix.fitting.stability import DetectorScatter, estimate_detector_scatter


@pytest.fixture(scope="module", params=[0.001, 0.003], ids=["1 mmag", "3 mmag"])
def sets(request):
    """25 independent sets of three epochs and two dithers, with offsets solved."""
    found = [draw("jitter", number, dithers=2, jitter=request.param, shared=True) for number in range(25)]
    return request.param, [(fit(m), truth) for m, truth in found]


def test_errors_of_offsets_hold_the_scatter(sets):
    """Truth: each detector has a jitter of its own in each exposure; plain errors are up to 3 times too small."""
    _, solved = sets
    pulls = np.array([
        (solution.value(f"offset[{array}]")[0] - truth.zero_points[f"NRCA{array}"] + truth.zero_points[f"NRCB{array}"])
        / solution.value(f"offset[{array}]")[1]
        for solution, truth in solved for array in "1234"
    ])  # fmt: skip
    assert len(pulls) == 100
    assert 0.85 < np.sqrt(np.mean(pulls**2)) < 1.2


def test_size_of_the_scatter(sets):
    """Truth: the jitter put in; one set has 35 contrasts, so that the mean of 25 is known to 3%."""
    jitter, solved = sets
    assert np.sqrt(np.mean([s.detector_scatter**2 for s, _ in solved])) == pytest.approx(jitter, rel=0.15)
    assert {s.scatter_freedom for s, _ in solved} <= set(range(25, 41))


def test_no_scatter_where_there_is_none():
    """Truth: no jitter; the estimate is 0 in half of all sets, and small in the others."""
    found = [fit(draw("clean", number, dithers=2, shared=True)[0]).detector_scatter for number in range(8)]
    assert np.median(found) < 0.0003
    assert max(found) < 0.0008


def test_zero_points_of_detectors_hold_the_scatter():
    pulls = []
    for number in range(36):
        m, truth = draw("detectors", number, dithers=4, jitter=0.003, shared=True)
        found, true = fit(m, scale="detectors").zero_points("B"), truth.relative("B")
        pulls += [(value - true[d]) / error for d, (value, error) in found.items()]
    assert len(pulls) == 288
    assert 0.82 < np.sqrt(np.mean(np.square(pulls))) < 1.15


@pytest.mark.parametrize("jitter", [0.0, 0.003])
def test_moments_of_many_effects_agree_with_the_likelihood(monkeypatch, jitter):
    """Truth: the jitter put in, by both estimates; the noise of the means, 0.4 mmag, is not a part of it."""
    m, _ = draw("moments", 0, jitter=jitter)
    solution = fit(m, scale="detectors")
    monkeypatch.setattr("jwst_modfix.fitting.stability._MANY", 0)
    found = estimate_detector_scatter(solution, solution, m)
    assert found.sigma == pytest.approx(solution.detector_scatter, rel=0.1, abs=0.0002)
    assert solution.detector_scatter == pytest.approx(jitter, rel=0.2, abs=0.0002)
    assert found.freedom == pytest.approx(solution.scatter_freedom, abs=3)


@pytest.mark.parametrize("seed", [55, 102])
def test_few_variable_sources_of_a_link_are_no_scatter_of_detectors(seed):
    """Truth: no jitter, and 20% of variable sources; taken for effects, those of one link would be 30 to 100 mmag."""
    twice, share = ((0.0, 0.0), (0.0, 0.0)), {"variable_share": 0.2, "outlier_share": 0.03}
    survey = Survey(rolls=(180.0, 180.0, 94.0), dithers=twice, density=6.0, **share)
    m = simulate(np.random.default_rng([9, seed]), TABLE_2_SW, survey)
    assert fit_quietly(m, fit_slope="none", min_sources=4).detector_scatter < 0.001


def test_plain_least_squares_have_no_scatter():
    m, _ = draw("plain", 0, dithers=2, jitter=0.003)
    solution = fit(m, robust=False, scatter=False)
    assert solution.detector_scatter == 0
    assert solution.value("offset[1]")[1] < 0.0006


@pytest.mark.parametrize(
    ("design", "scale", "words"),
    [
        (
            {"rolls": (0.0, 180.0), "dithers": 1, "density": 40.0},
            "detectors",
            r"is \d\.\d mmag from 3 contrasts, uncertain by 41%",
        ),
        (
            {"rolls": (0.0, 180.0), "dithers": 1, "filter": "F444W"},
            "modules",
            r"is not determined \(0 contrasts, minimum 3\)",
        ),
        ({"dithers": 2, "shared": True}, "modules", None),
    ],
    ids=["four groups", "one pair", "many"],
)
def test_a_scatter_of_few_contrasts_is_named(design, scale, words):
    """Truth: the differences of two exposures by group of detectors, minus zero points and one epoch term."""
    remarks = [
        one for one in fit(draw("few", 1, jitter=0.003, **design)[0], scale=scale).remarks if "scatter of a" in one
    ]
    assert len(remarks) == (words is not None)
    assert words is None or re.search(words, remarks[0])


def test_scatter_and_its_part_of_the_error_in_numbers():
    """Truth: where A - B of six exposures has the variance v, REML gives v / 2, and the error v / 6 times 5 / 3."""
    n, shift = 1000, np.array([4.0, -2.0, 1.0, 3.0, -5.0, -1.0]) / 1000
    noise = 1e-4 * np.resize([1.0, -1.0], n)  # of no part in the means
    parts = [replace(pairs_of(0.02 + d + noise, (1e-4, 1e-4), first=n * i), exposure=np.full(2 * n, i), time=None)
             for i, d in enumerate(shift)]  # fmt: skip
    solution = fit(joined(*parts), robust=False, exposure_terms="zero")
    m, variance = solution.measurements, shift.var(ddof=1)
    found = estimate_detector_scatter(solution, solution, m)
    assert found.freedom == solution.scatter_freedom == 5
    assert found.sigma == solution.detector_scatter == pytest.approx(np.sqrt(variance / 2), rel=2e-3)
    assert found.covariance[0, 0] == pytest.approx(variance / 6 * 5 / 3, rel=4e-3)
    # The sandwich of 6000 sources is added.
    alone = np.mean((shift - shift.mean()) ** 2) / 5999
    error = np.sqrt((found.covariance[0, 0] + alone) * 5999 / 5997)
    assert solution.value("offset[1]")[1] == pytest.approx(error, rel=2e-3)


@pytest.mark.parametrize(
    ("freedom", "words"),
    [
        (2, "is not determined (2 contrasts, minimum 3); errors do not include it"),
        (3, "is 1.5 mmag from 3 contrasts, uncertain by 41%; the errors depend on it"),
        (9, "is 1.5 mmag from 9 contrasts, uncertain by 24%; the errors depend on it"),
        (10, ""),
    ],
)
def test_how_well_a_scatter_is_known(freedom, words):
    """Truth: the standard deviation of n degrees of freedom is known to 1 / sqrt(2 n)."""
    found = DetectorScatter(0.0015, freedom, np.zeros((1, 1))).words
    assert found == (f"the scatter of a detector from exposure to exposure {words}" if words else "")
