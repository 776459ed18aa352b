"""The solution of simulated fields against their truth; what it refuses, and how it describes itself."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_network import HARD, LW, SW, TABLE_2_LW, TABLE_2_SW, Survey, Truth, simulate

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.robust import OUTLIER, VARIABLE
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.text import format_measured

EPOCHS = (0.0, 0.008, -0.006, 0.005)


def test_errors_that_are_too_large_do_not_inflate_the_result():
    """Truth: errors stated ten times too large. The sandwich takes the scatter that there is."""
    m = simulate(np.random.default_rng(17), TABLE_2_SW, Survey())
    true = fit(m, time_term="zero")
    wide = fit(replace(m, mag_error=10 * m.mag_error), time_term="zero")
    assert wide.error_scale == pytest.approx(0.1, rel=0.15)
    for name in [f"offset[{array}]" for array in SW]:
        assert wide.value(name)[1] == pytest.approx(true.value(name)[1], rel=0.05)


def test_few_sources_are_not_rejected_for_scattering_less_than_their_errors():
    """Truth: no source varies and none deviates by 5 sigma, so any rejection makes the errors too small."""
    survey = Survey(rolls=(0.0, 180.0), dithers=((0.0, 0.0),), arrays=("1",), density=6.0, error=(0.001, 0.006))
    for seed in range(100):
        m = simulate(np.random.default_rng([19, seed]), Truth(offset={"1": 0.02}), survey)
        solution = solve(m, fit_slope="none", time_term="zero", min_sources=4)
        assert not (solution.rejected >= OUTLIER).any()


def test_order_of_measurements_does_not_matter():
    m = simulate(np.random.default_rng(25), replace(TABLE_2_LW, epoch=EPOCHS), Survey(arrays=LW, **HARD))
    shuffled = m.select(np.random.default_rng(0).permutation(len(m)))
    np.testing.assert_allclose(fit(shuffled).values, fit(m).values, atol=1e-6)


@pytest.mark.parametrize(
    ("survey", "words"),
    [
        (Survey(density=0), r"F200W: no source that was selected is measured twice"),
        (Survey(modules=("A",)), "all are of module A; an offset needs both modules"),
        (
            Survey(rolls=(0.0,), dithers=((0.0, 0.0),), arrays=LW),
            "one epoch .epoch 0. and no dithers: none of",
        ),
        (
            Survey(rolls=(0.0, 0.0), dithers=((0.0, 0.0),), shifts=((0, 0), (0, 220)), arrays=LW, margin=500),
            "no overlap: none of .* sources is measured twice",
        ),
        (
            Survey(rolls=(0.0, 0.0), arrays=LW),
            "no overlap: no array of module A shares sources with one of module B",
        ),
    ],
)
def test_refuses_what_holds_no_offset(survey, words):
    m = simulate(np.random.default_rng(26), TABLE_2_LW, survey)
    with pytest.raises(NoSolutionError, match=words):
        fit(m)


def test_a_solution_describes_itself():
    """Truth: Table 2; each number as the solution has it, in mmag with its sign and error, in 78 columns."""
    m = simulate(np.random.default_rng(28), replace(TABLE_2_LW, epoch=EPOCHS), Survey(arrays=LW, **HARD))
    solution = fit(m)
    text = solution.summary()
    assert max(map(len, text.splitlines())) <= 78
    for name in ("offset[long]", "slope[long]", "epoch[1]"):
        value, error = solution.value(name)
        assert format_measured(value, error, "") in text  # mmag, from mag
    assert f"{solution.n_measurements} measurements of {solution.n_sources} sources in 3 epochs" in text
    single, outliers, variable = (np.count_nonzero(solution.rejected == code) for code in (1, OUTLIER, VARIABLE))
    assert f"rejected: {single} single, {outliers} outliers, {variable} of variable sources" in text
    assert f"scatter {1e3 * solution.sigma_int:.2f} mmag" in text
    offset, error = solution.value("offset[long]")
    shown = format_measured(offset, error, "")
    assert repr(solution) == f"<Solution F200W: long: {shown} mmag>"
    assert "<tr><th>array</th><th>offset A - B [mmag]</th>" in solution._repr_html_()
    assert f"<td>long</td><td>{shown}</td>" in solution._repr_html_()
    table = solution.to_table(name="mine", baseline="A")
    assert (table.name, table.baseline, table.row("long", "F200W").offset) == ("mine", "A", offset)


def test_counts_agree_with_their_nouns():
    """Truth: one measurement of a source with many is 1 mag off."""
    m = simulate(np.random.default_rng(30), TABLE_2_SW, Survey())
    source = np.argmax(np.bincount(m.source))
    wild = np.arange(len(m)) == np.flatnonzero(m.source == source)[0]
    assert " single, 1 outlier, 0 of variable sources" in fit(replace(m, mag=m.mag + wild)).summary()
    assert repr(m.select(wild)) == "<Measurements F200W: 1 of 1 source in 1 epoch>"


def test_residuals_are_those_of_each_source():
    """Truth: magnitude minus the prediction minus the source's mean, also of sources that were rejected whole."""
    m = simulate(np.random.default_rng(29), TABLE_2_SW, Survey(**HARD))
    solution = fit(m)
    found = solution.residuals()
    left = m.mag - solution.predict(m)
    assert set(found["reason"]) == {"used", "single", "outlier", "variable"}
    assert (found["used"] == (found["reason"] == "used")).all()
    for source in np.unique(m.source[solution.rejected == VARIABLE])[:5]:
        mine = m.source == source
        np.testing.assert_allclose(found["residual"][mine], left[mine] - left[mine].mean(), atol=5e-3)
    assert np.abs(found["residual"]).max() < 3


def test_terms_of_exposures_are_not_taken_where_an_error_would_be_more_than_three_times_as_large():
    """Truth: in one roll, only dithers by a module's width tell an exposure from an offset: its error is 3.4 times."""
    dithers = ((0.0, 0.0), (120.0, 0.0), (0.0, 60.0), (-120.0, 20.0))
    m = simulate(np.random.default_rng(3), TABLE_2_SW, Survey(rolls=(0.0,), dithers=dithers))
    few, own = solve(m), solve(m, exposure_terms="fit")
    assert not few.has_exposures
    assert own.has_exposures
    ratio = max(own.value(f"offset[{array}]")[1] / few.value(f"offset[{array}]")[1] for array in SW)
    assert 2.5 < ratio < 5
    assert [words for words in few.remarks if "an error would be 3.4 times as large" in words]
