"""The sky's check: of a change between epochs, and of the level beyond 1%; correlations are those of the covariance."""

import warnings

import numpy as np
import pytest
from derivation_of_magnitudes import derive, simulate_photometry
from simulated_network import SW, TABLE_2_SW, Survey, simulate

from jwst_modfix.errors import DegenerateTermWarning, SkyDisagreementWarning
from jwst_modfix.fitting.sky import compare_sky, judge_sky, sky_offsets, solve_sky
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.fitting.verdict import NEEDED, NOT_DETERMINED, ArrayResult
from jwst_modfix.simulate.scene import random_stream

OFFSET = 0.015


def compare(values, error=0.0005, sources=OFFSET):
    """Compare the sky's offsets of array 1 in epochs with that of sources; array 2 has none. What is warned of too."""
    results = [
        ArrayResult(array="1", verdict=NEEDED, words="", offset=sources, offset_error=0.001),
        ArrayResult(array="2", verdict=NOT_DETERMINED, words=""),
    ]
    made = [dict.fromkeys("12", (value, error)) for value in (np.mean(values), *values)]
    elsewhere = {"2": (0.0, error)}  # an epoch without array 1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SkyDisagreementWarning)
        (found,) = compare_sky(made[0], results, dict(enumerate([*made[1:], elsewhere])))
    return found, [str(one.message) for one in caught]


@pytest.mark.parametrize("level", [0.003, 0.009])
def test_stray_light_below_one_percent_is_no_warning(level):
    """Truth: stray light of this share in module A, the same in each epoch, seen with 6 sigma and more."""
    found, said = compare([OFFSET + level] * 3)
    assert not said
    assert not found.disagrees
    assert found.sigmas == pytest.approx(level / np.hypot(0.0005, 0.001))


@pytest.mark.parametrize(("level", "shown"), [(0.03, 45.0), (-0.03, -15.0), (0.011, 26.0)])
def test_a_level_beyond_one_percent_is_a_warning(level, shown):
    """Truth: 3% as when PIXAR_SR is left out, and a little more than 1%."""
    found, said = compare([OFFSET + level] * 3)
    assert found.disagrees
    assert [line.split(":")[0] for line in said] == ["array 1"]
    assert f"offset from the sky {shown} ± 0.5 mmag, from sources 15.0 ± 1.0 mmag" in said[0]


@pytest.mark.parametrize(("error", "is_warning"), [(0.0034, True), (0.0037, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_level_is_compared_with_the_errors_of_both(error, is_warning, sign):
    """Truth: 11 mmag over the errors in quadrature are 3.1 and 2.9 sigma."""
    found, said = compare([OFFSET + sign * 0.011] * 3, error)
    assert found.disagrees == bool(said) == is_warning


@pytest.mark.parametrize(
    ("epochs", "sigmas", "is_warning"), [(2, 2.95, False), (2, 3.05, True), (3, 3.25, False), (3, 3.4, True)]
)
def test_a_change_is_judged_among_all_pairs_of_epochs(epochs, sigmas, is_warning):
    """Truth: one pair needs 3 sigma, and one of three 3.32 sigma: p = 0.00135 / 3."""
    values = [OFFSET] * (epochs - 1) + [OFFSET + 0.008]
    assert bool(compare(values, 0.008 / sigmas / np.sqrt(2))[1]) == is_warning


@pytest.mark.parametrize("sign", [1, -1])
def test_the_change_is_that_of_most_significance(sign):
    """Truth: 8 mmag with a small error before 10 mmag the other way with a large one."""
    result = ArrayResult(array="1", verdict=NEEDED, words="", offset=OFFSET, offset_error=0.001)
    offsets = {0: (OFFSET, 0.0005), 1: (OFFSET + sign * 0.008, 0.0005), 2: (OFFSET - sign * 0.010, 0.010)}
    with pytest.warns(SkyDisagreementWarning, match="from epoch 0 to epoch 1"):
        (found,) = compare_sky({"1": (OFFSET, 0.01)}, [result], {e: {"1": known} for e, known in offsets.items()})
    assert (found.epochs, found.change) == ((0, 1), pytest.approx(sign * 0.008))
    assert found.change_error == pytest.approx(np.hypot(0.0005, 0.0005))


@pytest.mark.parametrize(("times", "brighter", "determined"), [(3, 1.0, False), (4, 1.0, True), (4, 1.3, True)])
def test_zero_points_of_the_sky_need_four_exposures(times, brighter, determined):
    """Truth: NRCA1 is 30 mmag fainter, +-5 mmag; a level without light or without an error is none.

    The sky of the last exposure may be brighter, with the same error.
    """
    ratio = 0.03 + np.resize([0.005, -0.005], times)
    level = np.concatenate([0.2 * 10 ** (-0.4 * ratio), [-0.1, 0.0, 0.2, np.nan], np.full(times + 4, 0.2)])
    error = np.where(np.arange(len(level)) == times + 2, 0.0, 0.001 * level)
    time, module = np.tile(np.arange(times + 4), 2), np.repeat(["A", "B"], times + 4)
    level[time == times - 1] *= brighter
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateTermWarning)
        solution = solve_sky(time, np.full(len(time), "1"), module, level, error, ("F200W", "CLEAR"))
    a, b = judge_sky(solution, 3.0, "B")
    assert (a.zero_point is not None) == a.is_usable == determined
    if not determined:
        assert a.words == "fewer than 4 exposures link its sky level to those of the baseline's detectors"
    else:
        own = solution.zero_points("B")["NRCA1"]
        assert solution.n_sources == times
        assert a.zero_point == own[0] == pytest.approx(0.03, abs=1e-3)
        assert a.zero_point_error == pytest.approx(np.hypot(own[1], 0.015))
        assert own[1] > 0.002
        assert (b.detector, b.zero_point, b.zero_point_error) == ("NRCB1", 0.0, 0.015)


def test_the_sky_of_other_times_has_no_common_scale():
    """Truth: array 1 was exposed eight times, and array 2 at six others: nothing links it to the baseline."""
    time, array = np.repeat(np.arange(14), 2), np.repeat(["1", "2"], [16, 12])
    level = 0.2 * 10 ** (0.002 * np.random.default_rng(1).standard_normal(28))
    solution = solve_sky(time, array, np.tile(["A", "B"], 14), level, 0.001 * level, ("F200W", "CLEAR"))
    found = {result.detector: result.is_usable for result in judge_sky(solution, 3.0, "B")}
    assert found == {"NRCA1": True, "NRCB1": True, "NRCA2": False, "NRCB2": False}


@pytest.mark.parametrize("change", [0.008, -0.008])
def test_a_change_between_epochs_is_a_warning(change):
    """Truth: module A becomes fainter or brighter by 8 mmag in the last of three epochs."""
    found, (said,) = compare([OFFSET, OFFSET, OFFSET + change])
    assert (found.epochs, found.change) == ((0, 2), pytest.approx(change))
    words = f"changes by {1e3 * change:+.1f} ± 0.7 mmag from epoch 0 to epoch 2"
    assert said.startswith(f"array 1: sky of module A over that of B {words}")


@pytest.mark.parametrize(("change", "error"), [(0.004, 0.0005), (0.008, 0.002)])
def test_a_small_or_insignificant_change_is_no_warning(change, error):
    """Truth: 4 mmag are below 0.5%; 8 mmag are 2.8 sigma."""
    assert not compare([OFFSET, OFFSET + change], error)[1]


def test_correct_arrays_with_stray_light_are_not_warned_of():
    """Truth: 200 correct arrays with 0.3% rms of stray light in module A, and 0.1% rms that differs between epochs."""
    rng, warned = random_stream(1, "stray light"), 0
    for _ in range(200):
        stray = np.zeros((2, 12))
        stray[0] = rng.normal(0, 0.003) + rng.normal(0, 0.001, 3).repeat(4)
        level = 0.3 * (1 + stray + rng.normal(0, 0.0005, stray.shape))
        epoch, time = np.tile(np.repeat([0, 1, 2], 4), 2), np.tile(np.arange(12), 2)
        columns = time, np.full(24, "1"), np.repeat(["A", "B"], 12), level.ravel(), np.full(24, 0.0001)
        by_epoch = {e: sky_offsets(*(c[epoch == e] for c in columns)) for e in range(3)}
        result = ArrayResult(array="1", verdict=NEEDED, words="", offset=0.0, offset_error=0.001)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SkyDisagreementWarning)
            compare_sky(sky_offsets(*columns), [result], by_epoch)
        warned += bool(caught)
    assert warned <= 10


def test_a_derivation_compares_the_sky_of_its_epochs():
    """Truth: the sky of NRCALONG is 1% fainter in the last epoch."""
    photometry, headers, epochs = simulate_photometry()
    table = photometry.exposures
    mine = (table["array"] == "long") & (table["module"] == "A") & (table["epoch"] == 2)
    table["sky"] = np.where(mine, 0.99, 1.0) * np.asarray(table["sky"])
    (sky,) = derive(photometry, headers, epochs).bands[1].sky
    assert sky.epochs[1] == 2
    assert sky.change == pytest.approx(-2.5 * np.log10(0.99), abs=2e-4)


def test_correlations_in_words_are_those_of_the_covariance():
    """Truth: the matrix that the report draws."""
    solution = solve(simulate(random_stream(1, "correlations"), TABLE_2_SW, Survey(arrays=SW)))
    known = np.flatnonzero(solution.fitted)
    covariance = solution.covariance[np.ix_(known, known)]
    matrix = np.abs(covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))) - np.eye(len(known))
    expected = dict(zip((solution.names[i] for i in known), matrix.max(axis=1), strict=True))
    for status in solution.status:
        if status.is_fitted:
            assert status.correlation == pytest.approx(expected[status.term.name])
