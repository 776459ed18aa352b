"""Bootstrap, reserved sources, sky levels and verdicts, each against a truth of its own."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from simulated_network import LW, TABLE_2_LW, TABLE_2_SW, Survey, Truth, simulate

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError
from jwst_modfix.fitting.checks import reserve_sources, validate
from jwst_modfix.fitting.design import Term
from jwst_modfix.fitting.separability import too_few_sources
from jwst_modfix.fitting.sky import sky_offsets
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.verdict import NEEDED, NOT_DETERMINED, NOT_NEEDED, judge


def test_reserves_whole_sources():
    m = reserve_sources(simulate(np.random.default_rng(6), TABLE_2_SW, Survey()), np.random.default_rng(7))
    reserved = set(m.source[m.reserved].tolist())
    assert not reserved & set(m.source[~m.reserved].tolist())
    assert len(reserved) == round(0.2 * len(np.unique(m.source)))
    with pytest.raises(MeasurementsError, match="share of reserved sources must be from 0 to below 1; got 1"):
        reserve_sources(m, np.random.default_rng(7), share=1)


def test_errors_of_the_correction_enter_as_the_reserved_sources_feel_them():
    """Truth: a change of each term moves the residual by its part in these sources; found by changing them."""
    m = simulate(np.random.default_rng(16), TABLE_2_LW, Survey(arrays=LW, density=30))
    m = reserve_sources(m, np.random.default_rng(1), share=0.4)
    solution, step = fit(m), 2e-4
    (left,) = validate(solution, m)
    numbers = np.flatnonzero(solution.fitted)  # offset, slope and two epoch terms
    part = []
    for number in numbers:
        values = solution.values.copy()
        values[number] += step
        (moved,) = validate(replace(solution, values=values), m)
        part.append((moved.residual - left.residual) / step)
    assert part[0] == pytest.approx(-1, rel=1e-3)
    variance = part @ solution.covariance[np.ix_(numbers, numbers)] @ part
    assert left.sigmas == pytest.approx(left.residual / np.sqrt(left.residual_error**2 + variance), rel=0.01)


@pytest.mark.parametrize(("relative", "scatter"), [(0.01, 0.002), (0.001, 0.004)])
def test_sky_offset_and_error_are_a_mean(relative, scatter):
    """Truth: A is 20 mmag fainter, +-scatter in 6 exposures; the larger of error and scatter counts."""
    ratio = 0.02 + np.resize([scatter, -scatter], 6)
    time, module = np.append(np.arange(6), np.arange(6)[::-1]), np.repeat(["A", "B"], 6)
    level = np.concatenate([0.2 * 10 ** (-0.4 * ratio), np.full(6, 0.2)]) * (1 + time)  # a sky that changes
    found = sky_offsets(time, np.full(12, "long"), module, level, relative * level)["long"]
    sigma = max(2.5 / np.log(10) * np.sqrt(2) * relative, scatter / norm.isf(0.25))
    assert found[0] == pytest.approx(0.02, abs=1e-9)
    assert found[1] == pytest.approx(sigma / np.sqrt(6) * np.sqrt(5 / 3), rel=1e-9)


@pytest.mark.parametrize("unknown", [-1.0, 0.0, np.nan, np.inf])
def test_sky_levels_that_are_not_known_are_left_out(unknown):
    """Truth: A is 20 mmag fainter in the 11 exposures that are known; without two at one time there is no offset."""
    time, array, module = np.tile(np.arange(12), 2), np.full(24, "long"), np.repeat(["A", "B"], 12)
    level, error = np.where(module == "A", 0.3 * 10**-0.008, 0.3), np.full(24, 0.001)
    for column in (level, error):
        first, column[0] = column[0], unknown
        assert sky_offsets(time, array, module, level, error)["long"][0] == pytest.approx(0.02, abs=1e-9)
        column[0] = first
    assert sky_offsets(time, array, module, np.full(24, unknown), error) == {}
    assert sky_offsets(np.arange(24), array, module, level, error) == {}


def test_a_slope_along_v2_is_not_lost_where_that_along_v3_is_not_determined():
    """Truth: dithers along V2 alone; 20 mmag/arcmin, which an offset alone would leave in the data."""
    truth = Truth(offset={"long": 0.0}, slope={"long": 0.02})
    survey = Survey(rolls=(0.0,), arrays=LW, dithers=((0.0, 0.0), (60.0, 0.0), (-60.0, 0.0), (90.0, 0.0)))
    with pytest.warns(DegenerateTermWarning, match="slope of array long along V3: no source moves"):
        solution = fit(simulate(np.random.default_rng(7), truth, survey), fit_direction=True)
    (row,) = solution.to_table().rows
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
    (result,) = judge(replace(solution, status=status, fitted=fitted))
    assert result.verdict == NOT_DETERMINED
    assert "slope of array long: constrained by only 5.0 effective sources (minimum 10); not fitted" in result.words


@pytest.mark.parametrize(("count", "shown"), [(3.96, "3.96"), (3.999, "3.99"), (3.9, "3.9")])
def test_too_few_sources_are_shown_below_the_minimum(count, shown):
    """Truth: the number that is put in; 3.96 is not 4.0, which would be enough."""
    words = too_few_sources(Term("offset", "1"), count, 4).words
    assert words == f"offset of array 1: constrained by only {shown} effective sources (minimum 4); not fitted"


def put_in(offset, error, slope=0.0, slope_error=1e-6, correlation=0.0):
    """Result and table of a solution with one offset and slope and their errors put in."""
    arrays = ("1",) if slope_error == 1e-6 and not slope else LW
    solution = fit(simulate(np.random.default_rng(20), Truth(offset={"1": 0.0, "long": 0.0}), Survey(arrays=arrays)))
    values, covariance = 0 * solution.values, 0 * solution.covariance
    known = [i for i, term in enumerate(solution.model.terms) if term.kind in ("offset", "slope")]
    shared = correlation * error * slope_error
    values[known] = [offset, slope][: len(known)]
    covariance[np.ix_(known, known)] = np.array([[error**2, shared], [shared, slope_error**2]])[
        : len(known), : len(known)
    ]
    changed = replace(solution, values=values, covariance=covariance)
    return judge(changed)[0], changed.to_table()


@pytest.mark.parametrize(
    ("offset", "error", "verdict"),
    [
        (0.0005, 0.00005, NOT_NEEDED),  # 10 sigma of what does not matter
        (0.0015, 0.0003, NEEDED),
        (-0.0015, 0.0003, NEEDED),
        (0.0015, 0.00051, NOT_NEEDED),  # 2.9 sigma, below 2.34 mmag at 95% confidence
        (-0.0013, 0.00103, NOT_NEEDED),  # 1.3 + 1.645 * 1.03 = 2.99
        (-0.0013, 0.00104, NOT_DETERMINED),  # 3.01
        (0.008, 0.0029, NOT_DETERMINED),  # no proof of absence
        (0.0, 0.0018, NOT_NEEDED),
        (0.0, 0.0019, NOT_DETERMINED),
        (0.010, 0.00299, NEEDED),
        (0.010, 0.00301, NEEDED),
    ],
)
def test_verdicts_of_offsets_and_errors(offset, error, verdict):
    """Truth: the rules of the documentation, one by one; a table has values with errors of up to 3 mmag."""
    result, table = put_in(offset, error)
    assert result.verdict == verdict
    assert len(table.rows) == result.is_usable == (error <= 0.003)
    assert ("exceeds 3 mmag, so it is in no table" in result.words) == (error > 0.003)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("offset", "slope", "slope_error", "verdict", "words"),
    [
        # -10 + 4 d mmag are -8.8 at d = 0.3 arcmin and 0.4 at 2.6
        (-0.010, 0.004, 0.0005, NEEDED, "the modules differ by up to 8.8 mmag"),
        # 10 mmag/arcmin are 26 mmag at d = 2.6 arcmin; chi-square is 400, p = exp(-200)
        (0.0, 0.010, 0.0005, NEEDED, "the modules differ by up to 26.0 mmag (19.8 sigma)"),
        # 1 mmag and 2.6 times 1.2 mmag in quadrature are 3.28 mmag, above the limit of 3.0; times 1.645 5.4
        (0.0, 0.0, 0.0012, NOT_DETERMINED, "with errors of at most 3.3 mmag: not significant, and not below 3 mmag at"
         " 95% confidence (up to 5.4 mmag)"),
    ],
)  # fmt: skip
def test_a_verdict_is_of_the_largest_difference_at_the_edges(sign, offset, slope, slope_error, verdict, words):
    result, table = put_in(sign * offset, 0.001, slope=sign * slope, slope_error=slope_error)
    assert result.verdict == verdict
    assert words in result.words
    known = [(sign * offset, sign * slope)] if verdict == NEEDED else []
    assert [(row.offset, row.slope) for row in table.rows] == known


def test_offset_and_slope_are_tested_together():
    """Truth: 2 sigma each, uncorrelated: chi-square 8 of 2 degrees of freedom, p = exp(-4), 2.36 sigma."""
    result, _ = put_in(0.0002, 0.0001, slope=0.0002, slope_error=0.0001)
    assert result.significance == pytest.approx(norm.isf(np.exp(-4) / 2), abs=1e-6)
    assert result.correlation == 0.0
    result, _ = put_in(0.0002, 0.0001, slope=0.0004, slope_error=0.0002, correlation=0.5)
    assert result.significance == pytest.approx(norm.isf(np.exp(-8 / 3) / 2), abs=1e-6)
    assert result.correlation == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("verdict", "values"),
    [
        (NEEDED, (-0.010, 0.0004, 0.004, 0.0005)),
        (NOT_NEEDED, (0.0003, 0.0004, 0.0001, 0.0005)),
        (NOT_DETERMINED, (0.002, 0.0016, 0.0, 0.0005)),
    ],
)
def test_rows_have_the_values_as_measured(verdict, values):
    """Truth: the numbers that are put in; a value of 0 with the error of the measured one has pulls of 1.4 to 2.1."""
    result, table = put_in(values[0], values[1], slope=values[2], slope_error=values[3])
    (row,) = table.rows
    assert result.verdict == verdict
    assert (row.offset, row.offset_error, row.slope, row.slope_error) == values


def test_errors_of_length_and_direction_of_a_gradient():
    """Truth: components 8 and 6 mmag/arcmin with errors of 0.1 and 0.3: length 10, direction atan2(8, 6)."""
    survey = Survey(rolls=(0.0, 90.0, 180.0), arrays=LW)
    solution = fit(simulate(np.random.default_rng(21), TABLE_2_LW, survey), fit_direction=True)
    numbers = [solution.names.index(f"slope_{axis}[long]") for axis in ("V2", "V3")]
    values, covariance = solution.values.copy(), solution.covariance.copy()
    covariance[numbers], covariance[:, numbers] = 0.0, 0.0
    values[numbers], covariance[numbers, numbers] = [0.008, 0.006], [0.0001**2, 0.0003**2]
    changed = replace(solution, values=values, covariance=covariance)
    (result,) = judge(changed)
    assert result.slope == pytest.approx(0.010)
    assert result.slope_error == pytest.approx(np.hypot(0.8 * 0.0001, 0.6 * 0.0003))
    assert result.direction == pytest.approx(np.degrees(np.arctan2(8, 6)))
    assert result.direction_error == pytest.approx(np.degrees(np.hypot(0.6 * 0.0001, 0.8 * 0.0003) / 0.010))
    (row,) = changed.to_table().rows
    assert (row.slope, row.direction) == pytest.approx((result.slope, result.direction), abs=1e-6)
    # Three sigma of two components are a chi-square of 11.83: the direction is known at 12, and not at 11.5.
    for chi_square, is_known in ((12.0, True), (11.5, False)):
        values[numbers] = np.sqrt(chi_square / 2) * np.array([0.0001, 0.0003])
        (result,) = judge(replace(changed, values=values))
        assert (result.direction is not None) == is_known
    # Then the slope is the component along +V2.
    assert (result.slope, result.slope_error) == pytest.approx((values[numbers[0]], 0.0001))
    for one, other, direction in ((8, -6, 126.87), (-8, -6, 233.13), (-8, 6, 306.87)):
        values[numbers] = 0.001 * one, 0.001 * other
        (result,) = judge(replace(changed, values=values))
        assert (result.slope, result.direction) == pytest.approx((0.010, direction), abs=0.01)


def test_reserved_measurements_of_a_detector_that_no_other_source_has_are_left_out():
    """Truth: of array 4 of module A, all measurements are reserved."""
    m = simulate(np.random.default_rng(31), TABLE_2_SW, Survey())
    m = replace(m, reserved=(m.source % 4 == 0) | ((m.array == "4") & (m.module == "A")))
    solution = fit(m)
    assert [residual.array for residual in validate(solution, m)] == ["1", "2", "3"]
