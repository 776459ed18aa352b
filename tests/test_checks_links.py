"""Rank loss: no value where rejections break a chain of links, and no link of which all sources are rejected."""

import numpy as np
import pytest
from simulated_network import TABLE_2_SW, Survey, Truth, chain, simulate
from test_solution_links import status
from thin_links import DESIGNS, try_design

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError
from jwst_modfix.fitting.robust import USED
from jwst_modfix.fitting.separability import forecast_terms, readmit_terms
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.fitting.verdict import NOT_DETERMINED, judge

LINK = 160_000  # number of the first source of the weak link of `chain`


@pytest.mark.parametrize("name", list(DESIGNS))
def test_no_quoted_value_of_a_thin_design_is_beyond_five_sigma(name):
    """Truth: all terms are 0; benchmarks/thin_links.py tries 500 sets of each design."""
    found = try_design(name, range(25))
    assert len(found) > 12
    assert max(abs(pull) for pull, *_ in found) < 5


@pytest.mark.parametrize("trial", [32, 44, 46])
def test_a_variable_source_of_a_weak_link_gives_no_wrong_value(trial):
    """Truth: all terms are 0; terms that only the rejected link separates were quoted as 80 to 160 +- 2 mmag."""
    name = "rolls 0 and 94 deg, one link of 3 or 4 sources"
    assert all(abs(pull) < 4 for pull, *_ in try_design(name, [trial]))


@pytest.mark.parametrize("seed", [0, 1, 3, 6])
def test_the_sources_of_a_link_are_not_all_rejected(seed):
    """Truth: the 7 sources of the link B1 - B2 vary by 0.3 mag, as 100 sigma; by the rules of sources all would go.

    The generalised inverse would give offset 2 some value.
    """
    m = chain(7, 0.3 * np.random.default_rng(seed).choice([-1.0, 1.0], 7), seed)
    with pytest.warns(DegenerateTermWarning, match=r"offset of array 2: .* not fitted \(without the rejected measure"):
        solution = fit(m)
    assert (solution.rejected[m.source >= LINK] == USED).any()
    assert np.isnan(solution.value("offset[2]")).all()
    assert judge(solution)[1].verdict == NOT_DETERMINED
    assert abs(solution.value("offset[1]")[0]) < 4 * solution.value("offset[1]")[1] < 0.01


def test_one_variable_source_of_a_link_is_rejected_alone():
    """Truth: one of 8 sources of the link varies by 0.3 mag; all offsets are 0."""
    solution = solve(chain(8, np.array([0.3] + [0.0] * 7)), min_sources=5)
    rejected = np.unique(solution.measurements.source[solution.rejected != USED])
    assert rejected.tolist() == [LINK]
    value, error = solution.value("offset[2]")
    assert abs(value) < 4 * error < 0.01


def test_terms_are_found_again_on_the_measurements_used():
    """Truth: without the second epoch nothing links the modules of one pointing; without array 4, three are left."""
    m = simulate(np.random.default_rng(1), TABLE_2_SW, Survey(rolls=(0.0, 180.0), dithers=((0.0, 0.0),)))
    forecast = forecast_terms(m)
    weight = 1 / m.mag_error**2
    again = readmit_terms(forecast, weight * (m.array != "4"))
    refused = [{s.term.name for s in found.status if not s.is_fitted} for found in (forecast, again)]
    assert refused[1] - refused[0] == {"offset[4]"}
    assert [again.model.terms[i].name for i in np.flatnonzero(forecast.fitted & ~again.fitted)] == ["offset[4]"]
    with pytest.raises(NoSolutionError, match="no chain of common sources links an array"):
        readmit_terms(forecast, weight * (m.epoch == 0))


def test_a_term_that_only_rejected_measurements_separate_is_fixed():
    """Truth: of sources that A then B saw alone, Delta = -Delta_AB + t: Eq. 7 and 8 need both patches."""
    survey = Survey(rolls=(0.0, 180.0), dithers=((0.0, 0.0),), arrays=("2",), density=60)
    m = simulate(np.random.default_rng(2), Truth(offset={"2": 0.02}), survey)
    forecast = forecast_terms(m)
    first = np.isin(m.source, m.source[(m.epoch == 0) & (m.module == "B")])
    again = readmit_terms(forecast, np.where(first, 0.0, 1 / m.mag_error**2))
    (epoch,) = (s for s in again.status if s.term.kind == "epoch")
    assert epoch.status == "not separable"
    assert not again.free[again.model.terms.index(epoch.term)]


def test_a_link_of_which_few_sources_agree_is_too_thin_whatever_the_effective_number():
    """Truth: 40 + 4 + 40 sources of a chain count more than 4 by Kish, but one of the 4 is an outlier by 0.3 mag."""
    found = status(solve(chain(4, np.array([0.3, 0.0, 0.0, 0.0])), min_sources=4), "offset[2]")
    assert "the weakest link between its modules has 3 sources that agree (minimum 4); not fitted" in found.words
