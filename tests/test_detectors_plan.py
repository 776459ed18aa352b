"""Forecasts of zero points, fields and drifts, against the scatter of realisations; `modfix plan` for detectors."""

import numpy as np
import pytest
from simulated_detectors import Network, simulate

from jwst_modfix.derivation.forecast import draw_places, plan_bands, plan_measurements
from jwst_modfix.fitting.design import Choice
from jwst_modfix.fitting.separability import forecast_terms
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.stability import forecast_drifts, list_drifts
from jwst_modfix.fitting.verdict import forecast_detectors, judge
from jwst_modfix.simulate.magnitudes import plan_pointings

NUMBER = 24


@pytest.fixture(scope="module")
def sets():
    """Independent sets of rolls 0 and 150 with four dithers, and fields of order 1."""
    network = Network(rolls=(0.0, 150.0), dithers=4, field_rms=0.004, field_order=1, shared=True)
    return [simulate(network, network.seeds("plan", number)) for number in range(NUMBER)]


def test_forecast_is_the_scatter_of_realisations(sets):
    """Truth: the scatter of what 24 realisations are off by, known to 5% over eight detectors."""
    off, expected, missed, field_expected = [], [], [], []
    for m, truth in sets:
        true = truth.relative("B")
        for result in judge(fit(m, scale="detectors", field_order="1")):
            off.append(result.zero_point - true[result.detector])
            c, t = result.field.coefficients, truth.fields[result.detector]
            missed.append([c[1][0] - t[1, 0], c[0][1] - t[0, 1]])
        forecast = forecast_terms(m, Choice(scale="detectors", field_order=1))
        found = forecast_detectors(forecast, m)
        expected += [one.error for one in found]
        field_expected += [one.field_error for one in found]
    assert np.sqrt(np.mean(np.square(off)) / np.mean(np.square(expected))) == pytest.approx(1, abs=0.12)
    rms = np.sqrt(np.mean(np.sum(np.square(missed), axis=1)) / 3)
    assert rms / np.sqrt(np.mean(np.square(field_expected))) == pytest.approx(1, abs=0.12)


def test_forecast_of_drifts_is_the_scatter_of_realisations(sets):
    off, expected = [], []
    for m, _ in sets[:10]:
        off += [drift.value for drift in list_drifts(fit(m, scale="detectors", field_order="1"))]
        forecast = forecast_terms(m, Choice(scale="detectors", field_order=1))
        expected += [drift.error for drift in forecast_drifts(forecast, m)]
    assert np.sqrt(np.mean(np.square(off)) / np.mean(np.square(expected))) == pytest.approx(1, abs=0.2)


def test_plan_lists_detectors_fields_and_drifts(modfix):
    """Truth: rolls 0 and 150 link all detectors, and tell drifts; one roll gives no field."""
    words = ("plan", "--filter", "F200W", "--scale", "detectors", "--field-order", "2", "--dithers", "4")
    out = modfix(*words, "--roll", "0", "--roll", "150")
    assert out.count("zero point of NRC") == 8
    assert out.count("mmag rms") == 8
    assert "a drift of one of 8 detectors is known to" in out
    out = modfix(*words, "--roll", "0", "--density", "60")
    assert "not determined: field of order 2" in out


def test_plan_names_what_would_link_groups(modfix):
    out = modfix(
        "plan", "--filter", "F200W", "--scale", "detectors", "--dithers", "1", "--density", "40",
        "--roll", "0", "--roll", "180",
    )  # fmt: skip
    assert "no source links them to the detectors of the baseline's group; a dither by (" in out


def test_groups_that_nothing_links_reach_no_error():
    """Truth: each detector is linked to its namesake alone, so that the largest error has no limit."""
    pointings = plan_pointings((0.0, 180.0), dithers=1, filters=["F200W"])
    (plan,) = plan_bands(pointings, np.random.default_rng(1), density=40.0, choice=Choice(scale="detectors"))
    assert max(one.error for one in plan.detectors) < 0.005
    assert plan.largest_error() == np.inf


def test_plan_reaches_an_error_with_the_cheapest_sets(modfix):
    """Truth: each set that is listed has, planned alone, the largest error that is listed; the cheapest is first."""
    words = ("plan", "--filter", "F444W", "--fit-slope", "none", "--density", "10")
    lines = modfix(*words, "--reach", "0.8").splitlines()
    assert lines[0].split() == ["exposures", "rolls", "[deg]", "dithers", "largest", "error", "[mmag]"]
    assert len(lines) == 6
    counts = [int(line.split()[0]) for line in lines[1:]]
    assert counts == sorted(counts)
    *rolls, dithers, _, error = lines[1].split()[1:]
    assert float(error) <= 0.8
    out = modfix(*words, "--dithers", dithers, *(word for roll in rolls for word in ("--roll", roll)))
    assert f"± {float(error):5.2f}" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reach", "0.01", "--roll", "0"], "no set of up to 3 rolls and 12 dithers reaches 0.01 mmag"),
        (["--roll", "0", "--field-order", "1"], "--field-order needs --scale detectors"),
        (["a.fits", "--reach", "1"], "--reach needs no exposures"),
        (["a.fits", "--roll", "1"], "give either exposures .* or --roll"),
        (["--roll", "nan"], "nan is not a finite number"),
        (["--roll", "361"], "361.0 is not in the range"),
        (["--roll", "0", "--density", "inf"], "inf is not in the range"),
        (["--roll", "0", "--density", "0"], "0.0 is not in the range"),
        (["--roll", "0", "--scatter", "nan"], "nan is not a finite number"),
        (["--roll", "0", "--scatter", "inf"], "inf is not a finite number"),
        (["--roll", "0", "--baseline", "NRCA9"], "'NRCA9' is not one of 'B', 'A', 'mean', 'NRCA1'"),
    ],
)
def test_plan_refuses(modfix, words, message):
    import re

    status = 1 if "reaches" in message else 2
    assert re.search(message, modfix("plan", "--filter", "F444W", *words, status=status))


def test_a_filter_that_is_named_twice_is_planned_once(modfix):
    words = ("plan", "--roll", "0", "--roll", "180", "--dithers", "1", "--density", "5", "--filter", "F444W")
    assert modfix(*words, "--filter", "F444W") == modfix(*words)


def test_a_forecast_has_no_luck_of_the_draw():
    """Truth: sources spread evenly, so that the seed changes nothing; and the efficiency of Huber's estimator, 95%."""
    pointings = plan_pointings((0.0, 180.0), dithers=1, filters=["F444W"])
    options = {"density": 10.0, "scatter": 0.003, "choice": Choice(fit_slope="none"), "reserve_share": 0.0}
    errors = [plan_bands(pointings, np.random.default_rng(seed), **options)[0].largest_error() for seed in range(1, 7)]
    assert np.std(errors) < 0.02 * np.mean(errors)
    fewer = plan_bands(pointings, np.random.default_rng(1), **options | {"reserve_share": 0.2})[0].largest_error()
    assert fewer == pytest.approx(errors[0] / np.sqrt(0.8), rel=0.05), "a fifth of the sources is reserved"
    # Of N sources, half tell t - Delta and half t + Delta (Eq. 7 and 8), each to sqrt(2) 3 mmag.
    m = plan_measurements(pointings, *draw_places(pointings, np.random.default_rng(1), 10.0, even=True), 0.003)
    shared = np.unique(m.source, return_counts=True)[1] == 2
    assert errors[0] == pytest.approx(0.003 * np.sqrt(2 / np.sum(shared) / 0.95), rel=0.012)
