"""Truth: a fault that was planted; the report names its cause, and names none where none was planted."""

import pytest
from planted_faults import FAULTS, find_faults

HARMLESS = {"variable sources", "outliers"}  # the simulated sky has variable sources


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_planted_fault_is_named(fault):
    assert FAULTS[fault] in find_faults(fault, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_named_without_a_fault(seed):
    assert find_faults(None, seed=seed) <= HARMLESS
