"""Bootstrap, reserved sources, sky levels and verdicts, each against a truth of its own."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_network import HARD, LW, SW, TABLE_2_LW, TABLE_2_SW, Survey, Truth, simulate

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError, SkyDisagreementWarning
from jwst_modfix.fitting.checks import bootstrap_sources, reserve_sources, validate
from jwst_modfix.fitting.separability import too_few_sources
from jwst_modfix.fitting.sky import SkyOffset, compare_sky, sky_offsets
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.verdict import NEEDED, NOT_DETERMINED, NOT_NEEDED, judge_arrays, offset_table


def test_bootstrap_agrees_with_the_covariance():
    """Truth: at 1000 sources both are good to 10 %."""
    truth = replace(TABLE_2_LW, epoch=(0.0, 0.008, -0.006))
    solution = fit(simulate(np.random.default_rng(1), truth, Survey(arrays=LW, density=100, **HARD)))
    found = bootstrap_sources(solution, np.random.default_rng(2), 400)
    assert found.names == ("offset[long]", "slope[long]", "epoch[1]", "epoch[2]")
    assert (np.abs(found.ratio - 1) < 0.15).all()
    mine = solution.covariance[np.ix_(solution.fitted, solution.fitted)]
    ours = mine[0, 1] / np.sqrt(mine[0, 0] * mine[1, 1])
    assert np.corrcoef(found.draws.T)[0, 1] == pytest.approx(ours, abs=0.1)


def test_bootstrap_is_seeded():
    solution = fit(simulate(np.random.default_rng(3), TABLE_2_LW, Survey(arrays=LW)))
    one, again, other = (bootstrap_sources(solution, np.random.default_rng(s), 10).draws for s in (4, 4, 5))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_reserves_whole_sources():
    m = reserve_sources(simulate(np.random.default_rng(6), TABLE_2_SW, Survey()), np.random.default_rng(7))
    reserved = set(m.source[m.reserved].tolist())
    assert not reserved & set(m.source[~m.reserved].tolist())
    assert len(reserved) == round(0.2 * len(np.unique(m.source)))
    with pytest.raises(MeasurementsError, match="share of reserved sources must be from 0 to below 1; got 1"):
        reserve_sources(m, np.random.default_rng(7), share=1)


def test_reserved_sources_are_corrected():
    """Truth: the residual is 0 within its errors, with pulls of unit width, epoch terms included."""
    truth = Truth(offset=TABLE_2_SW.offset, epoch=(0.0, 0.008, -0.006), level={"1": 0.02})
    sigmas = []
    for seed in range(40):
        m = simulate(np.random.default_rng([8, seed]), truth, Survey(density=40, **HARD))
        m = reserve_sources(m, np.random.default_rng(seed))
        sigmas += [found.sigmas for found in validate(fit(m), m)]
    assert len(sigmas) > 130
    assert abs(np.mean(sigmas)) < 0.25
    assert 0.85 < np.std(sigmas) < 1.15


def test_reserved_sources_of_a_gradient():
    """Truth: 0 with unit width where the correction's error at the sources is that of offset and slope together."""
    sigmas = []
    for seed in range(120):
        m = simulate(np.random.default_rng([16, seed]), TABLE_2_LW, Survey(arrays=LW, density=30))
        m = reserve_sources(m, np.random.default_rng(seed), share=0.4)
        sigmas += [found.sigmas for found in validate(fit(m), m)]
    assert len(sigmas) == 120
    assert abs(np.mean(sigmas)) < 0.25
    assert 0.85 < np.std(sigmas) < 1.15


def test_difference_between_places_holds_offset_and_slope():
    """Truth: at mirrored places, d = 1.5 arcmin from the origin, A - B is Delta_AB + k d (Eq. 9)."""
    solution = fit(simulate(np.random.default_rng(19), TABLE_2_LW, Survey(arrays=LW)))
    value, error = solution.difference("long", (-1.74 + 90.0, -492.4), (-1.74 - 90.0, -492.4))
    (offset, offset_error), (slope, slope_error) = (solution.value(f"{kind}[long]") for kind in ("offset", "slope"))
    assert value == pytest.approx(offset + 1.5 * slope, abs=1e-12)
    shared = solution.covariance[solution.names.index("offset[long]"), solution.names.index("slope[long]")]
    assert error**2 == pytest.approx(offset_error**2 + 3.0 * shared + (1.5 * slope_error) ** 2, rel=1e-9)


def test_reserved_sources_show_a_wrong_correction():
    """Truth: a solution 10 mmag off leaves those 10 mmag, with its sign."""
    m = reserve_sources(
        simulate(np.random.default_rng(9), TABLE_2_LW, Survey(arrays=LW, density=60)),
        np.random.default_rng(1),
    )
    solution = fit(m)
    values = solution.values.copy()
    values[solution.names.index("offset[long]")] -= 0.010
    (left,) = validate(replace(solution, fit=replace(solution.fit, values=values)), m)
    assert left.residual == pytest.approx(0.010, abs=4 * left.residual_error)
    assert left.sigmas > 5


def sky(offset, seed=1, n=12):
    """Levels in n exposures: A reads fainter by the offset; one exposure has a bad sky."""
    rng = np.random.default_rng(seed)
    background = rng.uniform(0.2, 0.3, n)
    A = background * 10 ** (-0.4 * offset) * (1 + 0.002 * rng.standard_normal(n))
    A[3] *= 1.5
    level = np.concatenate([A, background])
    return (
        np.tile(np.arange(n), 2),
        np.repeat(["long"], 2 * n),
        np.repeat(["A", "B"], n),
        level,
        0.002 * level,
    )


def test_sky_recovers_the_offset_and_its_sign():
    found = sky_offsets(*sky(0.03))["long"]
    assert found.n_exposures == 12
    assert abs(found.offset - 0.03) < 3.5 * found.offset_error < 0.006


def test_sky_disagreement_is_said():
    results = judge_arrays(fit(simulate(np.random.default_rng(10), TABLE_2_LW, Survey(arrays=LW))))
    with pytest.warns(SkyDisagreementWarning, match=r"long: offset from the sky (29|3\d)\.\d ± .* from sources -1"):
        (found,) = compare_sky(sky_offsets(*sky(0.03)), results)
    assert found.sigmas > 3
    (found,) = compare_sky(sky_offsets(*sky(results[0].offset)), results)
    assert abs(found.sigmas) < 3
    assert compare_sky({"1": SkyOffset(array="1", offset=0, offset_error=1, n_exposures=2)}, results) == ()


def test_sky_refuses():
    time, array, module, level, error = sky(0.0)
    with pytest.raises(MeasurementsError, match="level must be positive and finite; row 0 has -1"):
        sky_offsets(time, array, module, np.full(24, -1.0), error)
    with pytest.raises(MeasurementsError, match="columns must have one length"):
        sky_offsets(time, array, module, level, error[:3])
    with pytest.raises(NoSolutionError, match="no array has levels of both modules at one time"):
        sky_offsets(np.arange(24), array, module, level, error)


def test_verdict_needed_with_table():
    """Truth: Table 2 is needed, and enters with its signs; the other arrays' truth is nothing."""
    truth = Truth(offset={"1": 0.015, "2": -0.05, "3": 0.0, "4": 0.0})
    solution = fit(simulate(np.random.default_rng(11), truth, Survey(density=60)))
    verdicts = {r.array: r.verdict for r in judge_arrays(solution)}
    assert verdicts == {"1": NEEDED, "2": NEEDED, "3": NOT_NEEDED, "4": NOT_NEEDED}
    table = offset_table(solution, name="test")
    assert table.row("2", "F200W").offset == pytest.approx(-0.05, abs=0.002)
    assert table.row("3", "F200W").offset == 0.0
    assert 0 < table.row("3", "F200W").offset_error < 0.001


def test_table_carries_the_gradient():
    """Truth: z_A at u is offset + share * slope * u, in the table's own words."""
    solution = fit(simulate(np.random.default_rng(12), TABLE_2_LW, Survey(arrays=LW)))
    table = offset_table(solution)
    (row,) = table.rows
    assert table.exposure_gradient(row) == pytest.approx(0.00433 / 2, abs=4 * row.slope_error)
    assert (table.gradient.frame, table.gradient.direction) == ("focal_plane", 90.0)
    assert table.direction(row) == 90.0


def test_table_carries_a_fitted_direction():
    """Truth: 60 degrees from +V3 toward +V2; where there is no gradient, no direction is quoted."""
    for slope, known in ((0.01, True), (0.0, False)):
        truth = replace(TABLE_2_LW, slope={"long": slope}, direction=60.0)
        survey = Survey(rolls=(0.0, 90.0, 180.0), arrays=LW, density=60)
        (result,) = judge_arrays(fit(simulate(np.random.default_rng(13), truth, survey), fit_direction=True))
        assert (result.direction is not None) == known
        assert abs(result.slope - slope) < 4 * result.slope_error
        if known:
            assert abs(result.direction - 60) < 4 * result.direction_error < 40


def test_a_slope_along_v2_is_not_lost_where_that_along_v3_cannot_be_judge():
    """Truth: dithers along V2 alone; 20 mmag/arcmin, which an offset alone would leave in the data."""
    truth = Truth(offset={"long": 0.0}, slope={"long": 0.02})
    survey = Survey(rolls=(0.0,), arrays=LW, dithers=((0.0, 0.0), (60.0, 0.0), (-60.0, 0.0), (90.0, 0.0)))
    with pytest.warns(DegenerateTermWarning, match="slope of array long along V3: no source moves"):
        solution = fit(simulate(np.random.default_rng(7), truth, survey), fit_direction=True)
    (row,) = offset_table(solution).rows
    assert abs(row.slope - 0.02) < 4 * row.slope_error < 0.004
    assert row.direction == 90.0


def test_no_verdict_on_an_offset_whose_slope_is_not_determined():
    """Truth: 20 mmag/arcmin: an offset alone would be wrong by 29 mmag in the middle of the arrays."""
    truth = Truth(offset={"long": 0.0}, slope={"long": 0.02})
    solution = fit(simulate(np.random.default_rng(8), truth, Survey(rolls=(0.0, 180.0), arrays=LW)))
    slope = solution.names.index("slope[long]")
    few = too_few_sources(solution.model.terms[slope], 5.0, 10)
    status = tuple(few if found.term == few.term else found for found in solution.status)
    fitted = solution.fitted & (np.arange(len(solution.fitted)) != slope)
    (result,) = judge_arrays(replace(solution, status=status, fitted=fitted))
    assert result.verdict == NOT_DETERMINED
    assert "slope of array long: constrained by only 5.0 effective sources (minimum 10); not fitted" in result.words


def test_closed_loop_needs_nothing():
    """Truth: measurements corrected by the solution have nothing left."""
    for truth, arrays in ((TABLE_2_SW, SW), (TABLE_2_LW, LW)):
        m = simulate(np.random.default_rng(14), truth, Survey(arrays=arrays, **HARD))
        left = fit(replace(m, mag=m.mag - fit(m).predict(m)))
        for result in judge_arrays(left):
            assert abs(result.offset) < 1e-4
            assert result.verdict == NOT_NEEDED


def judge(offset, error):
    """Verdict of a solution with one offset and its error put in."""
    solution = fit(simulate(np.random.default_rng(20), Truth(offset={"1": 0.0}), Survey(arrays=("1",))))
    values, covariance = 0 * solution.values, 0 * solution.covariance
    number = solution.names.index("offset[1]")
    values[number], covariance[number, number] = offset, error**2
    changed = replace(solution.fit, values=values, covariance=covariance)
    return judge_arrays(replace(solution, fit=changed))[0]


def test_verdicts_of_offsets_and_errors():
    """Truth: the rules of the documentation, one by one."""
    assert judge(0.0005, 0.00005).verdict == NOT_NEEDED  # 10 sigma of what does not matter
    assert judge(0.0015, 0.0003).verdict == NEEDED
    assert judge(0.008, 0.0029).verdict == NOT_DETERMINED  # no proof of absence
    assert "not significant, and not below 10 mmag at 95% confidence" in judge(0.008, 0.0029).words
    assert judge(0.004, 0.0029).verdict == NOT_NEEDED
    assert judge(0.0, 0.0031).verdict == NOT_DETERMINED


def test_verdict_not_determined_where_errors_are_large():
    m = simulate(np.random.default_rng(15), Truth(offset={"1": 0.0}), Survey(arrays=("1",), scatter=0.05))
    (result,) = judge_arrays(fit(m))
    assert result.verdict == NOT_DETERMINED
    assert "exceeds the limit of 3.0 mmag" in result.words
    assert offset_table(fit(m)).rows == ()
