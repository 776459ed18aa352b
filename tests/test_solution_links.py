"""What is linked, and what is not separable, is said before the fit and in words."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_network import LW, TABLE_2_LW, TABLE_2_SW, Survey, Truth, chain, simulate

from jwst_modfix.errors import DegenerateTermWarning
from jwst_modfix.fitting.separability import count_links, count_weakest_links
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.fitting.verdict import NOT_DETERMINED, judge

NO_DITHER = ((0.0, 0.0),)


def simulated(truth, seed=1, **survey):
    return simulate(np.random.default_rng(seed), truth, Survey(**survey))


def status(solution, name):
    return {found.term.name: found for found in solution.status}[name]


def one_side(m):
    """Patch q alone: sources that A saw in epoch 0 and B in epoch 1."""
    a, b = ((m.epoch == e) & (m.module == x) for e, x in ((0, "A"), (1, "B")))
    both = np.intersect1d(m.source[a], m.source[b])
    return m.select(np.isin(m.source, both) & (a | b))


def test_counts_shared_sources():
    """Truth: counted by sets."""
    m = simulated(TABLE_2_SW)
    links = count_links(m)
    by_detector = {f"{x} {M}": set(m.source[(m.array == x) & (m.module == M)].tolist()) for x in "1234" for M in "AB"}
    for i, one in enumerate(links.detectors):
        for j, other in enumerate(links.detectors):
            assert links.shared[i, j] == len(by_detector[one] & by_detector[other])
    assert links.shared[0, 1] == len(by_detector["1 A"] & by_detector["1 B"]) > 20
    assert links.n_sources == len(set(m.source.tolist()))


def test_says_which_array_has_no_link():
    """Truth: array 1 of module A saw sources of its own, by renumbering."""
    m = simulated(TABLE_2_SW, dithers=NO_DITHER)
    alone = (m.array == "1") & (m.module == "A")
    m = replace(m, source=np.where(alone, m.source + 10**6, m.source))
    assert "array 1 module A has no common source with any other" in count_links(m).sentences()
    with pytest.warns(DegenerateTermWarning, match="offset of array 1: no chain of common sources"):
        solution = fit(m)
    assert np.isnan(solution.value("offset[1]")[0])
    result = {r.array: r for r in judge(solution)}
    assert result["1"].verdict == NOT_DETERMINED
    assert result["1"].offset is None
    assert abs(result["2"].offset - TABLE_2_SW.offset["2"]) < 4 * result["2"].offset_error


def test_offset_tied_through_other_arrays():
    """Truth: A1 and B1 share nothing directly, yet dithers tie them through their neighbours."""
    wide = ((0.0, 0.0), (70.0, 0.0), (-70.0, 0.0), (0.0, 70.0), (0.0, -70.0))
    m = simulated(TABLE_2_SW, rolls=(0.0,), dithers=wide, density=60)
    solution = fit(m)
    found = status(solution, "offset[1]")
    assert found.status == "indirect"
    assert "linked through other arrays" in found.words
    value, error = solution.value("offset[1]")
    assert abs(value - TABLE_2_SW.offset["1"]) < 4 * error < 0.01


def test_one_patch_does_not_separate_epoch_and_offset():
    """Truth: seen by A then B only, Delta = -Delta_AB + t: Eq. 7 and 8 need both patches."""
    m = one_side(simulated(TABLE_2_SW, rolls=(0.0, 180.0), dithers=NO_DITHER, arrays=("2",), density=60))
    with pytest.warns(DegenerateTermWarning, match=r"term of epoch 1 and offset of array 2 are not separable: corr"):
        solution = fit(m)
    assert status(solution, "epoch[1]").status == "not separable"
    (result,) = judge(solution)
    assert result.verdict == NOT_DETERMINED
    assert "not separable" in result.words
    assert abs(result.offset - TABLE_2_SW.offset["2"]) < 4 * result.offset_error  # there is no term in truth
    (result,) = judge(fit(m, time_term="zero"))
    assert result.verdict == "needed"


def test_one_patch_of_a_narrow_strip_does_not_separate_slope_and_offset():
    """Truth: in a strip 0.1 arcmin wide the slope is an offset: d is one number there."""
    m = simulated(TABLE_2_LW, rolls=(0.0, 180.0), dithers=NO_DITHER, arrays=LW, density=200)
    m = m.select(np.abs(np.abs(m.V2) - 90) < 5)
    with pytest.warns(DegenerateTermWarning, match=r"slope of array long and offset of array long are not separable"):
        solution = fit(m)
    found = status(solution, "slope[long]")
    assert found.status == "not separable"
    assert found.correlation > 0.995
    assert judge(solution)[0].verdict == NOT_DETERMINED


def test_epoch_of_other_sky_is_harmless():
    """Truth: epoch 2 looks elsewhere; its term means nothing, and the offset is as good as without it."""
    truth = Truth(offset={"2": 0.02}, epoch=(0.0, 0.005, 0.3))
    m = simulated(truth, rolls=(0.0, 180.0, 0.0), arrays=("2",), density=60)
    m = replace(m, source=np.where(m.epoch == 2, m.source + 10**6, m.source))
    with pytest.warns(DegenerateTermWarning, match="term of epoch 2: no source links it to another epoch"):
        solution = fit(m)
    assert count_links(m).sentences() == ["epoch 2 has no common source with epoch 0"]
    value, error = solution.value("offset[2]")
    assert abs(value - 0.02) < 4 * error < 0.003
    value, error = solution.value("epoch[1]")
    assert abs(value - 0.005) < 4 * error


@pytest.mark.parametrize(("n_weak", "determined"), [(40, True), (7, True), (4, False)])
def test_the_weakest_link_of_a_chain_has_five_sources(n_weak, determined):
    """Truth: offset 2 is known by A2 - A1 - B1 - B2, whatever the number of sources in the other links."""
    m = chain(n_weak, np.zeros(40))
    assert count_weakest_links(m, np.ones(len(m), bool), {"1": (0, 1), "2": (2, 3)}) == {"1": 40, "2": n_weak}
    last = replace(m, array=np.where(m.array == "1", "4", "long"))  # the detectors of the largest numbers
    assert count_weakest_links(last, np.ones(len(m), bool), {"4": (6, 7), "long": (8, 9)}) == {"4": 40, "long": n_weak}
    solution = solve(m, min_sources=5)
    assert np.isfinite(solution.value("offset[2]")[0]) == determined
    assert abs(solution.value("offset[1]")[0]) < 4 * solution.value("offset[1]")[1]
    if not determined:
        assert "(minimum 5); not fitted" in status(solution, "offset[2]").words
