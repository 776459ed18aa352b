"""Zero points of detectors, against truths that were put in; real geometry, no pixels."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_detectors import SW, draw
from simulated_network import TABLE_2_SW, Survey, simulate

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError, NoSolutionError
from jwst_modfix.fitting.solution import fit, fit_quietly
from jwst_modfix.fitting.verdict import judge


def pulls(zero_points, truth, baseline):
    true = truth.relative(baseline, zero_points)
    return np.array([(value - true[d]) / error for d, (value, error) in zero_points.items() if error > 0])


@pytest.mark.parametrize("baseline", ["B", "A", "mean", "NRCA3"])
def test_zero_points_are_recovered_in_each_gauge(baseline):
    """Truth: zero points that scatter by 25 mmag; within 5 sigma and 1 mmag, and the baseline's mean is 0."""
    m, truth = draw("gauges")
    found = fit(m, scale="detectors").zero_points(baseline)
    true = truth.relative(baseline)
    assert list(found) == sorted(SW, key=SW.index)
    assert [value for value, _ in found.values()] == pytest.approx([true[d] for d in found], abs=0.001)
    assert np.abs(pulls(found, truth, baseline)).max() < 5
    kept = [value for d, (value, _) in found.items() if baseline in ("mean", d[3], d)]
    assert np.mean(kept) == pytest.approx(0, abs=1e-12)
    assert baseline != "NRCA3" or found["NRCA3"] == (0.0, 0.0)


def test_modules_and_detectors_are_one_model():
    """Truth: levels and offsets span the same space as zero points: z_A, z_B = level +- offset / 2."""
    m, _ = draw("one model")
    modules, detectors = fit(m, fit_slope="none"), fit(m, scale="detectors")
    for (one, error), (other, other_error) in zip(
        modules.zero_points("mean").values(), detectors.zero_points("mean").values(), strict=True
    ):
        assert one == pytest.approx(other, abs=2e-6)
        assert error == pytest.approx(other_error, rel=0.1)
    for array in "1234":
        offset, level = modules.value(f"offset[{array}]")[0], modules.value(f"level[{array}]")
        z = modules.zero_points("mean")
        assert z[f"NRCA{array}"][0] - z[f"NRCB{array}"][0] == pytest.approx(offset, abs=1e-12)
        assert (z[f"NRCA{array}"][0] + z[f"NRCB{array}"][0]) / 2 == pytest.approx(level[0], abs=1e-12)
        assert 0 < level[1] < 0.001
    assert "level of array 1" in modules.summary()


def test_rows_have_the_values_as_measured_whatever_the_verdict():
    """Truth: no detector is off, so that none is needed; the rows have values and errors all the same."""
    m, _ = draw("flat", spread=0.0)
    solution = fit(m, scale="detectors")
    results, table = judge(solution), solution.to_table(name="made")
    assert {result.verdict for result in results} == {"not needed"}
    assert [row.detector for row in table.zero_points] == [result.detector for result in results]
    assert not table.offsets
    for row, result in zip(table.zero_points, results, strict=True):
        assert (row.zero_point, row.zero_point_error) == (result.zero_point, result.zero_point_error)
        assert row.zero_point != 0
        assert row.group is None


def test_a_detector_that_is_off_is_needed():
    m, _ = draw("off", spread=0.0)
    m = replace(m, mag=m.mag + 0.01 * (m.detector == SW.index("NRCA2")))
    found = {r.detector: r for r in judge(fit(m, scale="detectors"), baseline="B")}
    assert found["NRCA2"].verdict == "needed"
    assert found["NRCA2"].zero_point == pytest.approx(0.01, abs=0.0015)
    assert {r.verdict for d, r in found.items() if d != "NRCA2"} == {"not needed"}


def test_one_module_alone_has_zero_points_of_its_detectors():
    """Truth: NRCB1 to NRCB4 are linked by dithers across their gaps; an offset between modules needs both."""
    m, truth = draw("one module", rolls=(0.0, 90.0))
    m = m.select(m.module == "B")
    assert np.abs(pulls(fit(m, scale="detectors").zero_points("mean"), truth, "mean")).max() < 5
    with pytest.raises(NoSolutionError, match="all are of module B; an offset needs both modules"):
        fit(m)


def test_groups_that_nothing_links_are_not_bridged():
    """Truth: one dither and a turn by 180 deg link each detector to its namesake only: four groups of two."""
    m, truth = draw("groups", rolls=(0.0, 180.0), dithers=1, density=40.0)
    solution = fit(m, scale="detectors")
    results = judge(solution)
    assert sorted({result.group for result in results}) == [0, 1, 2, 3]
    inside = [result.detector for result in results if result.group == 0]
    assert len({name[4:] for name in inside}) == 1
    outside = [result for result in results if result.group]
    assert {result.verdict for result in outside} == {"not determined"}
    assert all("no source links them to the detectors of the baseline's group" in result.words for result in outside)
    assert all("dither by (" in result.words for result in outside)
    assert any("or an epoch turned by" in result.words for result in outside)
    # The difference between the two of a group is known, and nothing else.
    found = solution.zero_points("B")
    for array in "1234":
        expected = truth.zero_points[f"NRCA{array}"] - truth.zero_points[f"NRCB{array}"]
        assert found[f"NRCA{array}"][0] == pytest.approx(expected, abs=0.003)
        assert found[f"NRCB{array}"] == (0.0, 0.0)
    table = solution.to_table()
    assert [row.detector for row in table.zero_points] == inside
    assert {row.group for row in table.zero_points} == {0}


def test_words_name_a_dither_that_links():
    """Truth: a dither by the shift that the words give links the groups."""
    m, _ = draw("groups", rolls=(0.0, 180.0), dithers=1, density=40.0)
    words = next(r.words for r in judge(fit(m, scale="detectors")) if r.group == 1)
    V2, V3 = (float(part) for part in words.split("dither by (")[1].split(")")[0].split(","))
    m, _ = draw("linked", rolls=(0.0, 180.0), dithers=((0.0, 0.0), (V2, V3)), density=40.0)
    groups = [result.group for result in judge(fit(m, scale="detectors"))]
    assert groups.count(0) > 2


def test_lone_detector_is_not_determined():
    m, _ = draw("lone", rolls=(0.0, 180.0))
    lone = m.detector == SW.index("NRCA4")
    m = replace(m, source=np.where(lone, m.source + 10**6, m.source))
    with pytest.warns(DegenerateTermWarning, match="zero point of NRCA4: no chain of common sources links it"):
        found = {r.detector: r for r in judge(fit(m, scale="detectors"))}
    assert found["NRCA4"].verdict == "not determined"
    assert found["NRCA4"].zero_point is None
    assert "no source links it to the detectors of the baseline's group" in found["NRCA4"].words
    assert all(found[d].verdict != "not determined" for d in SW if d != "NRCA4")


def test_the_reference_of_a_group_without_a_zero_point_has_none_in_words():
    """Truth: dithers of one roll link all detectors, by so few sources that none of them is determined."""
    m, _ = draw("snapf", rolls=(0.0,), dithers=2)
    solution = fit_quietly(m, scale="detectors")
    words = {status.term.part: status.words for status in solution.status}
    assert words["NRCA4"] == "zero point of NRCA4: no detector that it is linked to has a zero point; not fitted"
    assert len(set(solution.links.detector_group.tolist())) == 1
    assert {status.status for status in solution.status} == {"no information"}
    assert not any("no source links it" in result.words for result in judge(solution))


def test_a_detector_with_too_few_links_is_no_part_of_the_mean():
    """Truth: NRCA4 has 5 sources in common with others; zero points are reported less the mean of the other seven."""
    m, _ = draw("few links", rolls=(0.0, 180.0))
    mine = m.detector == SW.index("NRCA4")
    shared = np.intersect1d(m.source[mine], m.source[~mine])[5:]
    m = replace(m, source=np.where(mine & np.isin(m.source, shared), m.source + 10**6, m.source))
    with pytest.warns(DegenerateTermWarning, match="zero point of NRCA4: constrained by only"):
        solution = fit(m, scale="detectors")
    values, errors = np.transpose([solution.value(f"zero_point[{d}]") for d in SW if d != "NRCA4"])
    assert np.sum(values) == pytest.approx(0.0, abs=1e-12)
    assert max(errors) < 0.001


def test_baseline_must_be_a_detector_with_a_zero_point():
    m, _ = draw("gauges")
    solution = fit(m, scale="detectors")
    with pytest.raises(
        NoSolutionError, match="baseline: NRCALONG has no zero point here; name a detector that is linked to others"
    ):
        solution.zero_points("NRCALONG")


def test_terms_of_exposures_take_out_what_exposures_scatter_by():
    """Truth: exposures scatter by 5 mmag; with a term each the zero points are as good as without scatter."""
    m, truth = draw("exposures", exposure_scatter=0.005)
    own, epochs = fit(m, scale="detectors"), fit(m, scale="detectors", exposure_terms="zero")
    assert own.has_exposures
    assert not epochs.has_exposures
    assert own.sigma_int < 0.0005 < 0.003 < epochs.sigma_int
    assert np.abs(pulls(own.zero_points("B"), truth, "B")).max() < 5
    assert own.epoch_terms()[1][1] > 0


def test_terms_of_exposures_need_exposures_that_are_separable():
    """Truth: one exposure of each detector alone at a time: its term is the detector's zero point."""
    m, _ = draw("separable", rolls=(0.0, 180.0), dithers=2)
    m = replace(m, time=m.time * 16 + m.detector)
    solution = fit(m, scale="detectors")
    assert not solution.has_exposures
    assert any("terms of exposures are not fitted" in remark for remark in solution.remarks)
    assert solution.epoch_terms()[1][1] > 0, "epochs keep their terms"
    with pytest.warns(DegenerateTermWarning, match="terms of exposures are not fitted: they"):
        fit(m, scale="detectors", exposure_terms="fit")


def test_terms_of_exposures_cost_nothing_in_the_modules():
    """Truth: errors of offsets with and without terms of exposures, on three epochs of two dithers."""
    m = simulate(np.random.default_rng(12), TABLE_2_SW, Survey(density=20))
    own, epochs = fit(m), fit(m, exposure_terms="zero")
    assert own.has_exposures
    for array in "1234":
        assert own.value(f"offset[{array}]")[1] < 1.1 * epochs.value(f"offset[{array}]")[1]


def test_zero_points_that_depend_on_an_epoch_term_are_not_determined():
    """Truth: module A is seen in epoch 0 alone and B in epoch 1 alone: A - B and the epoch's term are one number."""
    m, truth = draw("one module an epoch", rolls=(0.0, 180.0))
    m = m.select((m.module_code == 0) == (m.epoch == 0))
    with pytest.warns(DegenerateTermWarning, match="term of epoch 1 and zero point of .* are not separable"):
        solution = fit(m, scale="detectors")
    results = {result.detector: result for result in judge(solution)}
    assert {results[f"NRCA{array}"].verdict for array in "1234"} == {"not determined"}
    assert not any(row.detector[3] == "A" for row in solution.to_table().zero_points)
    # Those of B are known against each other.
    true = truth.relative("B")
    for row in solution.to_table().zero_points:
        assert row.zero_point == pytest.approx(true[row.detector], abs=5 * row.zero_point_error)


def test_exposures_with_one_number_in_two_epochs_are_two_exposures():
    """Truth: the same measurements with exposures numbered through all epochs."""
    m, _ = draw("numbers", dithers=2, exposure_scatter=0.003)
    again = replace(m, exposure=m.time % 1000, time=None)
    assert len(np.unique(again.time)) == len(np.unique(m.time)) > len(np.unique(again.exposure))
    one, other = fit(m, scale="detectors"), fit(again, scale="detectors")
    for detector, value in one.zero_points().items():
        assert other.zero_points()[detector] == pytest.approx(value)
    with pytest.raises(MeasurementsError, match="time 1 is in epochs 0 and 1; each exposure has a time of its own"):
        replace(m, time=m.time % 1000)


def test_the_term_of_an_epoch_is_the_mean_of_its_exposures():
    """Truth: terms of exposures that were put in; an epoch's is their mean less that of the first epoch."""
    m, _ = draw("means", dithers=3)
    times, number = np.unique(m.time, return_inverse=True)
    terms = np.random.default_rng(4).normal(0, 0.01, len(times))
    solution = fit(replace(m, mag=m.mag + terms[number]), scale="detectors")
    assert solution.has_exposures
    means = [terms[np.unique(number[m.epoch == epoch])].mean() for epoch in range(3)]
    for epoch, (value, error) in solution.epoch_terms().items():
        assert value == pytest.approx(means[epoch] - means[0], abs=max(5 * error, 1e-12))
        assert error < 0.0005
    own = solution.value(f"exposure[{times[1]}]")
    assert own[0] == pytest.approx(terms[1] - means[0], abs=5 * own[1])
    seen = m.select(m.time == times[1])
    unseen = replace(seen, time=np.full(len(seen), times[1] + 500))  # an exposure that was not fitted: its epoch's mean
    assert solution.predict(seen) - solution.predict(unseen) == pytest.approx(own[0])
