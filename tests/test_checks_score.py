"""Score tests: each fault that a fit cannot see is named with its size, and clean data give no warning."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import linregress, ttest_1samp
from score_tests import FAULTS, draw_clean, run
from simulated_network import LW, SW, Survey, Truth, simulate
from test_solution_exact import joined, pairs_of

from jwst_modfix.errors import ModelMismatchWarning
from jwst_modfix.fitting.checks import (
    Assumption,
    ScoreTest,
    list_assumptions,
    run_score_tests,
    validate,
    warn_of_mismatch,
)
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.simulate.scene import random_stream

# mmag; a dome of 1% has 0.8 mmag rms, and its strongest term one of many sizes; jitter of 3 mmag has a largest of 48.
SIZES = {
    "10 mmag drift of a detector in an epoch": (7, 13),
    "5 mmag in one exposure": (3, 7),
    "1% per dex in module A": (8, 13),
    "1% per mag of colour in module A": (8, 13),
}


@pytest.mark.parametrize("arrays", [SW, LW], ids=["SW", "LW"])
@pytest.mark.parametrize("name", list(FAULTS))
def test_a_fault_is_named_with_its_size(name, arrays):
    """Truth: the fault of benchmarks/score_tests.py, which measures the power of the tests."""
    tests = {test.name: test for test in run(name, arrays, trial=1)}
    test = tests[FAULTS[name][1]]
    assert test.is_mismatch
    low, high = SIZES.get(name, (0, np.inf))
    assert low < 1e3 * abs(test.effect) < high
    with pytest.warns(ModelMismatchWarning, match=f"F200W: residuals depend on {test.name} .*{test.advice[:10]}"):
        warn_of_mismatch([test], "F200W")


@pytest.mark.parametrize("arrays", [SW, LW], ids=["SW", "LW"])
def test_clean_data_give_no_warning(arrays):
    """Truth: nothing but noise, variable sources and outliers; terms of exposures are fitted, and not tested."""
    tests = [test for trial in range(12) for test in run("clean", arrays, trial)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelMismatchWarning)
        warn_of_mismatch(tests, "F200W")
    assert len({test.name for test in tests}) == 7
    assert max(test.probability for test in tests) == 1


@pytest.mark.parametrize("scale", ["modules", "detectors"])
def test_the_place_of_a_drift_is_named(scale):
    """Truth: array 2 of module A is 10 mmag fainter in epoch 1, and the four rolls tell detectors apart."""
    m = simulate(random_stream(2, "detectors"), Truth(offset={}), Survey(rolls=(0.0, 90.0, 180.0, 270.0), density=40))
    fault = (m.array == "2") & (m.module == "A") & (m.epoch == 1)
    clean, tests = (
        {test.name: test for test in run_score_tests(solve(replace(m, mag=m.mag + drift * fault), scale=scale))}
        for drift in (0.0, 0.010)
    )
    assert not any(test.is_mismatch for test in clean.values())
    found = tests["detector x epoch"]
    assert found.is_mismatch
    assert found.where == "array 2 module A in epoch 1"
    assert abs(found.effect - 0.010) < 4 * found.effect_error < 0.005


@pytest.mark.parametrize("drift", [0.02, -0.02])
def test_what_the_data_cannot_tell_apart_is_named_together(drift):
    """Truth: in three epochs of one array, turned by half a turn, four changes have one effect, but for its sign."""
    m = simulate(
        random_stream(2, "alias"), Truth(offset={}), Survey(rolls=(0.0, 180.0, 0.0), arrays=("2",), density=40)
    )
    m = replace(m, mag=m.mag + drift * ((m.module == "A") & (m.epoch == 2)))
    tests = {test.name: test for test in run_score_tests(solve(m, time_term="fit", exposure_terms="zero"))}
    names = [
        f"array 2 module {place}" for place in ("A in epoch 0", "A in epoch 2", "B in epoch 0")
    ]  # of at most three
    assert tests["detector x epoch"].where == " or ".join(names)


def test_a_tilt_has_the_size_at_the_edge_of_the_detector():
    """Truth: array 2 of module A, V2 from 88.5" to 151", is 10 mmag too faint at its far edge, and too bright here."""
    m = simulate(random_stream(7, "tilt"), Truth(offset={}), Survey(rolls=(0.0, 90.0, 180.0, 270.0), density=40))
    tilt = 0.010 * ((m.array == "2") & (m.module == "A")) * (m.V2 - 119.75) / 31.25
    tests = {test.name: test for test in run_score_tests(solve(replace(m, mag=m.mag + tilt), fit_slope="none"))}
    found = tests["position on detector"]
    assert found.where == "array 2 module A along V2"
    assert abs(found.effect - 0.010) < 4 * found.effect_error < 0.0035


def test_what_the_fit_has_is_not_tested():
    """Truth: epochs of one exposure each, with fitted terms: nothing is left of a term for each exposure."""
    m = simulate(random_stream(1, "one dither"), Truth(offset={}), Survey(dithers=((0.0, 0.0),)))
    names = [test.name for test in run_score_tests(solve(m, time_term="fit", exposure_terms="zero"))]
    assert "exposure" not in names
    assert "exposure x detector" not in names  # it is detector x epoch here
    without = solve(m, time_term="zero", exposure_terms="zero")
    assert "exposure" in [test.name for test in run_score_tests(without)]
    assert "colour x module" not in names  # no colours
    assert "pixel phase" not in names  # no pixels


def test_probabilities_are_corrected_for_the_number_of_tests():
    """Truth: Bonferroni's inequality, for the tests of all bands."""
    m, colour = draw_clean(random_stream(3, "corrected"), LW)
    m = replace(m, mag=m.mag + 0.5 * FAULTS["5 mmag in one exposure"][0](m, colour, None))
    solution = solve(m, exposure_terms="zero")
    one, three = (run_score_tests(solution, n_bands=n) for n in (1, 3))
    assert any(0 < test.probability < 1 / 3 for test in one)
    for test, other in zip(one, three, strict=True):
        assert other.probability == pytest.approx(min(1.0, 3 * test.probability), rel=1e-9, abs=0)
    without = {test.name: test for test in run_score_tests(solution)}
    with_colour = {test.name: test for test in run_score_tests(solution, colour=colour)}
    ratio = with_colour["exposure"].probability / without["exposure"].probability
    assert ratio == pytest.approx(len(with_colour) / len(without))


@pytest.mark.parametrize(("rolls", "share"), [((0.0, 180.0), 0.5), ((0.0, 180.0, 0.0), 0.5), (25 * (0.0, 180.0), 0.02)])
def test_the_assumption_of_an_offset_is_the_change_that_moves_it_most(rolls, share):
    """Truth: a fit of magnitudes in which that detector changes by 2 mmag in that epoch, against the fit without."""
    truth = Truth(offset={}, epoch=(0.0,) * len(rolls))
    m = simulate(random_stream(5, "assumption"), truth, Survey(rolls=rolls, arrays=("2",), density=40))
    before = solve(m, time_term="fit")
    (assumption,) = list_assumptions(before)
    array, module = assumption.detector.split()
    moved = 0.002 * ((m.array == array) & (m.module == module) & (m.epoch == assumption.epoch))
    after = solve(replace(m, mag=m.mag + moved), time_term="fit")
    change = after.value("offset[2]")[0] - before.value("offset[2]")[0]
    assert change == pytest.approx(0.002 * assumption.share, rel=0.1)
    # A change d moves it by d / 2 (Eq. 7), and by d over the number of many epochs.
    assert abs(assumption.share) == pytest.approx(share, rel=0.1)
    assert assumption.words == (
        f"assumes that no detector changes alone; a change d of array 2 module {module} in epoch {assumption.epoch}"
        f" moves it by {assumption.share:+.2f} d"
    )


def test_a_detector_that_was_seen_in_one_epoch_cannot_change():
    """Truth: module A of array 2 has measurements in the first epoch only."""
    m = simulate(random_stream(6, "seen once"), Truth(offset={}), Survey(arrays=("2",), density=40))
    found = list_assumptions(solve(m.select((m.module == "B") | (m.epoch == 0)), time_term="fit"))
    assert [assumption.detector for assumption in found] == ["2 B"]


def test_a_test_of_one_term_is_the_t_test_of_the_scores_of_the_sources():
    """Truth: scipy's t-test of colour less its mean times the difference less its mean, for the number of tests."""
    rng, n = np.random.default_rng(4), 40
    shift, difference = rng.normal(0, 0.5, n), rng.normal(0, 0.003, n)
    solution = solve(pairs_of(difference + 0.002 * shift, (0.003, 0.003)), robust=False, scatter=False)
    tests = run_score_tests(solution, colour=np.tile(shift, 2))
    (found,) = (test for test in tests if test.name == "colour x module")
    own, left = shift - np.median(shift), difference + 0.002 * shift
    score = (own - own.mean()) * (left - left.mean())
    assert found.probability == pytest.approx(min(1, len(tests) * ttest_1samp(score, 0).pvalue), rel=1e-6)
    slope, around = linregress(own, left), np.sum(score**2)
    assert (found.n_terms, found.where) == (1, "A - B per mag of colour")
    assert found.effect == pytest.approx(slope.slope)
    assert found.effect_error == pytest.approx(np.sqrt(around) / np.sum((own - own.mean()) ** 2))


@pytest.mark.parametrize(("number", "is_tested"), [(9, False), (10, True)])
def test_a_term_of_fewer_than_ten_sources_is_not_tested(number, is_tested):
    """Truth: so many of 60 sources were measured by module A in another exposure, 50 mmag too faint."""
    m = pairs_of(0.001 * np.random.default_rng(1).standard_normal(60), (0.003, 0.003))
    again = m.select(np.arange(120) < number)
    again = replace(again, mag=again.mag + 0.05, exposure=np.full(number, 2), time=np.full(number, 2))
    names = {name: np.append(getattr(m, name), getattr(again, name)) for name in ("exposure", "time")}
    both = replace(m.select(np.append(np.arange(120), np.arange(number))), mag=np.append(m.mag, again.mag), **names)
    solution = solve(both, robust=False, scatter=False, exposure_terms="zero")
    where = " ".join(test.where for test in run_score_tests(solution))
    assert ("exposure 2" in where) == is_tested


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("wave", ["cosine", "sine"])
def test_each_wave_of_the_place_within_a_pixel_is_tested(pixels, axis, wave):
    """Truth: a residual that is one of these waves, of 5 mmag."""
    m = pixels.measurements
    moved = 0.005 * {"cosine": np.cos, "sine": np.sin}[wave](2 * np.pi * getattr(m, axis))
    tests = {test.name: test for test in run_score_tests(replace(pixels, residual=pixels.residual + moved))}
    assert (tests["pixel phase"].where, tests["pixel phase"].is_mismatch) == (f"{wave} of {axis}", True)


@pytest.fixture(scope="module")
def pixels():
    """Solution of measurements with pixels."""
    return solve(draw_clean(random_stream(8, "pixels"), LW, density=10)[0], exposure_terms="zero")


@pytest.mark.parametrize(("probability", "is_mismatch"), [(0.00099, True), (0.001, False), (0.0011, False)])
def test_a_test_fails_below_one_in_a_thousand(probability, is_mismatch):
    test = ScoreTest(name="exposure", n_terms=1, probability=probability, effect=-0.005, effect_error=0.001,
                     where="exposure 3", advice="look at it")  # fmt: skip
    assert test.is_mismatch == is_mismatch
    shown = "p = 0.00099" if is_mismatch else "p = 0.00"
    assert test.words == f"residuals depend on exposure ({shown}): exposure 3 -5.0 ± 1.0 mmag; look at it"


@pytest.mark.parametrize(("share", "shown"), [(0.5, "+0.50 d"), (-0.25, "-0.25 d")])
def test_an_assumption_has_the_sign_of_its_share(share, shown):
    assert Assumption(array="2", detector="2 A", epoch=1, share=share).words.endswith(f"moves it by {shown}")


@pytest.mark.parametrize(("number", "count"), [(3, 0), (4, 1)])
def test_four_reserved_sources_are_enough_for_a_check(number, count):
    """Truth: sources of the fit and of the check in one epoch; a detector and epoch of no fitted source is left out."""
    m = pairs_of(np.full(40, 0.02), (0.003, 0.003))
    few = replace(pairs_of(np.full(number, 0.025), (0.003, 0.003), first=100), reserved=np.ones(2 * number, bool))
    late = replace(few, source=few.source + 100, epoch=few.epoch + 1, exposure=few.exposure + 2, time=None)
    reserved = joined(m, few, replace(late, mag=late.mag + 0.3))
    found = validate(fit_plain(m), reserved)
    assert [one.residual for one in found] == pytest.approx([0.005] * count)


def fit_plain(m):
    return solve(m, robust=False, scatter=False)
