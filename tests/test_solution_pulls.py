"""Errors that hold: pulls over realisations of every documented case, each realisation with a truth of its own."""

import numpy as np
import pytest
from pull_cases import CASES, collect

N = 160  # the mean of a pull is then known to 0.08 and its width to 0.06


@pytest.mark.parametrize("name", CASES)
def test_pulls(name):
    case = CASES[name]
    pulls = collect(case, N, seed=31)
    assert {f"offset[{array}]" for array in case.arrays} - set(case.partly) <= set(pulls)
    for term, found in pulls.items():
        assert len(found) >= 0.95 * N or term in case.partly, term
        if len(found) >= N / 2:
            assert abs(np.mean(found)) < 0.2, term
            assert 0.85 < np.std(found, ddof=1) < 1.15, term
