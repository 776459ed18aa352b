"""Errors that hold: pulls over realisations of every documented case, each realisation with a truth of its own."""

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from pull_cases import CASES, Case, collect, draw_truth
from simulated_network import HARD, LW, SW, Survey, simulate

from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.simulate import random_stream

# Other cases hold these kinds of data too; benchmarks/pulls.py runs all.
TWINS = (
    "LW, no epoch terms, 5% variables, 1% outliers",
    "LW, epoch terms",
    "SW, 94 deg",
    "LW, 174 and 184 deg",
    "LW, one epoch with linking dithers",
)


@pytest.mark.parametrize(("number", "name"), [item for item in enumerate(CASES) if item[1] not in TWINS])
def test_pulls(number, name):
    """Terms of one kind are taken together: their mean is then known to 0.07 and their width to 0.05."""
    case = CASES[name]
    n = 200 if case.arrays == LW or case.partly else 100
    pulls = collect(case, n, seed=31 + number)
    assert {f"offset[{array}]" for array in case.arrays} - set(case.partly) <= set(pulls)
    kinds = defaultdict(list)
    for term, found in pulls.items():
        assert len(found) >= (0.5 if term in case.partly else 0.95) * n, term
        kinds[term.split("[")[0]] += found
    for kind, found in kinds.items():
        assert abs(np.mean(found)) < 0.2, kind
        assert 0.85 < np.std(found, ddof=1) < 1.15, kind


@pytest.mark.parametrize(("arrays", "n"), [(LW, 100), (SW, 50)])
def test_pulls_of_exposures(arrays, n):
    """Exposures scatter by 5 mmag: a term is what an exposure has beside its epoch's mean, which the epoch's term has.

    Three dithers of three epochs have six independent terms: the width is known to 0.03 and 0.04.
    """
    survey = Survey(arrays=arrays, dithers=((0.0, 0.0), (7.0, -5.0), (-6.0, 4.0)), **HARD)
    pulls = {"exposure": [], "epoch": []}
    for number in range(n):
        rng = random_stream(number, "exposures", *arrays)
        truth = draw_truth(rng, Case(arrays=arrays))
        m = simulate(rng, truth, survey)
        shift = rng.normal(0, 0.005, (3, 3))
        solution = solve(replace(m, mag=m.mag + shift[m.epoch, m.exposure % 10]))
        assert solution.has_exposures
        mean = shift.mean(axis=1)
        expected = {f"exposure[{10 * e + d}]": shift[e, d] - mean[e] for e in range(3) for d in range(3)}
        expected |= {f"epoch[{e}]": truth.epoch[e] - truth.epoch[0] + mean[e] - mean[0] for e in (1, 2)}
        for name, value in expected.items():
            found, error = solution.value(name)
            pulls[name.partition("[")[0]].append((found - value) / error)
    # Errors hold the estimate of the detectors' scatter, which cannot be below its truth of 0: 0.90 in 600 sets.
    assert 0.85 < np.std(pulls["exposure"]) < 1.1
    assert 0.8 < np.std(pulls["epoch"]) < 1.2
    assert abs(np.mean(pulls["epoch"])) < 4 * np.sqrt(1.5 / (2 * n)), "two epochs are correlated by one half"
