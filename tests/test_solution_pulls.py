"""Errors that hold: pulls over realisations of every documented case, each realisation with a truth of its own."""

from collections import defaultdict

import numpy as np
import pytest
from pull_cases import CASES, collect
from simulated_network import LW


@pytest.mark.parametrize(("number", "name"), list(enumerate(CASES)))
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
