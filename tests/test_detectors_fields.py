"""Fields over detectors, the choice of their order, and drifts of single detectors, against truths put in."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_detectors import draw

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError
from jwst_modfix.fitting.design import Choice, legendre, list_powers
from jwst_modfix.fitting.fields import Structure
from jwst_modfix.fitting.measurements import DETECTORS_BY_CODE
from jwst_modfix.fitting.separability import forecast_terms
from jwst_modfix.fitting.solution import fit, fit_quietly
from jwst_modfix.fitting.stability import Drift, describe_drifts, forecast_drifts, list_drifts
from jwst_modfix.fitting.verdict import forecast_detectors, judge
from jwst_modfix.text import format_measured

SMALL = ((0.0, 0.0), (15.0, -14.0), (-16.0, 20.0))  # dithers below the gap between the modules
WIDE = ((0, 0), (50, 10), (-50, -10), (90, 0), (0, 60), (130, 60))


def missed(result, truth):
    """Difference between a field and the truth, rms over the array."""
    found, total = result.field.coefficients, 0.0
    for (i, j), value in truth.fields[result.detector].items():
        total += (found[i][j] - value) ** 2 / (2 * i + 1) / (2 * j + 1)
    return np.sqrt(total)


@pytest.mark.parametrize(
    ("rolls", "dithers", "limit"), [((0.0, 180.0, 0.0), 6, 0.0012), ((0.0, 150.0), 4, 0.0015)], ids=["JWIDF", "0/150"]
)
def test_fields_and_zero_points_are_recovered(rolls, dithers, limit):
    """Truth: fields of 5 mmag rms of order 2 in each detector; the targets are those of the design."""
    m, truth = draw("fields", rolls=rolls, dithers=dithers, field_rms=0.005)
    solution, true = fit(m, scale="detectors", field_order="2"), truth.relative("B")
    results = judge(solution)
    assert solution.field_order == 2
    misses = np.array([missed(result, truth) for result in results])
    errors = np.array([result.field_error for result in results])
    assert np.sqrt(np.mean(misses**2)) < limit
    assert misses.max() < 0.0035
    assert 0.6 < np.sqrt(np.mean((misses / errors) ** 2)) < 1.5
    for result in results:
        assert abs(result.zero_point - true[result.detector]) < 5 * result.zero_point_error < 0.005
        assert result.field.rms == pytest.approx(0.005, abs=0.003)


def test_a_field_is_judged_with_its_zero_point():
    """Truth: a mean of 0 and a field of 8 mmag rms in one detector: its correction is needed."""
    m, _ = draw("judged", spread=0.0)
    mine = m.detector == 2
    m = replace(m, mag=m.mag + 0.0138 * np.where(mine, 2 * m.x / 2047 - 1, 0.0))
    found = {r.detector: r for r in judge(fit(m, scale="detectors", field_order="1"))}
    assert found["NRCA2"].verdict == "needed"
    assert abs(found["NRCA2"].zero_point) < 0.003
    assert found["NRCA2"].field.coefficients[1][0] == pytest.approx(0.0138, abs=0.003)
    row = next(r for r in fit(m, scale="detectors", field_order="1").to_table().zero_points if r.detector == "NRCA2")
    assert row.field == found["NRCA2"].field


def test_one_roll_gives_no_field():
    """Truth: shifts of one roll: a gradient of the zero points is one of the sources' magnitudes."""
    m, _ = draw("one roll", rolls=(0.0,), dithers=WIDE, density=30.0)
    with pytest.warns(
        DegenerateTermWarning, match=r"field of order 2: the common linear gradient over the focal plane"
    ):
        solution = fit(m, scale="detectors", field_order="2")
    assert solution.field_order == 0
    assert all(result.field is None for result in judge(solution))
    assert "is fixed to 0" in solution.summary().replace("\n  ", " ")


def test_few_sources_of_one_roll_determine_no_field_though_the_gradient_were_known():
    """Truth: two sources per arcmin^2; more of them, as above, leave the gradient as the only obstacle."""
    m, _ = draw("few of one roll", rolls=(0.0,), dithers=WIDE, density=2.0)
    (words,) = forecast_terms(m, Choice(scale="detectors", field_order=1, fit_slope="none")).refusals
    assert words.startswith("field of order 1: the zero points' expected error ")
    assert words.endswith(" mmag exceeds the limit of 3 mmag; no field is fitted")


@pytest.mark.filterwarnings("ignore::jwst_modfix.errors.DegenerateTermWarning")
@pytest.mark.parametrize("number", range(8))
def test_thin_links_of_one_roll_give_no_field(number):
    """Truth: some detectors have no result; they must not be taken for flat, and so hold the gradient of the others."""
    m, _ = draw("thin", number, rolls=(0.0,), field_rms=0.005)
    solution = fit(m, scale="detectors", field_order="2")
    assert solution.field_order == 0
    assert solution.refusals
    # Fields of 5 mmag rms move zero points that are linked at the edges by more than their errors.
    known = [r for r in judge(solution) if r.zero_point is not None]
    assert all(r.verdict == "not determined" and not r.is_usable for r in known)
    assert all("holds only if no detector has a field" in r.words for r in known)
    assert not solution.to_table().zero_points


def add_gradient(m, truth, gradient):
    """Add a gradient toward +V2 over the whole focal plane [mag/arcmin]; the truth holds at the detectors' centres."""
    centres = {"NRCALONG": 85.93, "NRCBLONG": -89.40}  # V2 [arcsec]
    zero_points = {d: z + gradient * centres[d] / 60 for d, z in truth.zero_points.items()}
    return replace(m, mag=m.mag + gradient * m.V2 / 60), replace(truth, zero_points=zero_points)


@pytest.mark.parametrize("rolls", [(0.0, 180.0, 0.0), (0.0, 90.0)])
@pytest.mark.parametrize("order", ["0", "auto"])
def test_long_wavelengths_have_the_gradient_of_the_field(rolls, order):
    """Truth: 3 mmag/arcmin toward +V2, as in Table 2, which moves zero points that are linked at their edges."""
    m, truth = draw("gradient", rolls=rolls, filter="F444W")
    m, truth = add_gradient(replace(m, reserved=m.source % 5 == 0), truth, 0.003)
    solution, expected = fit(m, scale="detectors", field_order=order), truth.relative("B")
    a, b = judge(solution)
    assert solution.field_order == 1
    assert abs(a.zero_point - expected["NRCALONG"]) < 4 * a.zero_point_error < 0.006
    for result, module in ((a, "A"), (b, "B")):
        mine = m.module == module
        expected = 0.003 * np.polyfit(2 * m.x[mine] / 2047 - 1, m.V2[mine] / 60, 1)[0]  # of P_1(xi)
        assert result.field.coefficients[1][0] == pytest.approx(expected, abs=4 * result.field_error)
    solution = fit(m, scale="detectors", field_order="0", fit_slope="none")
    assert solution.field_order == 0


@pytest.mark.parametrize("order", ["0", "auto"])
def test_one_roll_gives_no_zero_point_of_a_long_wavelength(order):
    """Truth: 3 mmag/arcmin, which moves A - B by 7 mmag where edges link the modules, and shows in no residual."""
    m, truth = draw("one long roll", rolls=(0.0,), dithers=WIDE, filter="F444W", density=60.0)
    m, truth = add_gradient(replace(m, reserved=m.source % 5 == 0), truth, 0.003)
    with pytest.warns(DegenerateTermWarning, match="field of order 1: the common linear gradient over the focal plane"):
        solution = fit(m, scale="detectors", field_order=order)
    (result,) = (r for r in judge(solution) if r.detector == "NRCALONG")
    assert result.verdict == "not determined"
    assert [row.detector for row in solution.to_table().zero_points] == ["NRCBLONG"]  # which is kept
    forecast = forecast_detectors(forecast_terms(m, Choice(scale="detectors")), m)[0]
    assert forecast.error is None
    assert "holds only if no detector has a field, and that of order 1 is not determined" in forecast.words
    flat = fit(m, scale="detectors", fit_slope="none").zero_points()["NRCALONG"]
    assert abs(flat[0] - truth.relative("B")["NRCALONG"]) > 4 * flat[1]  # what the refusal prevents


@pytest.mark.filterwarnings("ignore::jwst_modfix.errors.DegenerateTermWarning")
@pytest.mark.parametrize(("rolls", "dithers"), [((0.0,), 6), ((0.0, 2.0), 6), ((0.0, 90.0), 4), ((0.0, 180.0, 0.0), 6)])
def test_fields_that_are_not_fitted_are_in_the_errors_of_zero_points(rolls, dithers):
    """Truth: fields of 5 mmag rms, which move zero points by 1.5 to 12 mmag, by the pointings; 16 to 64 values each.

    The structure is measured where the sources let it, so that errors may be a third too small, or too large.
    """
    pulls, stated = [], []
    for number in range(8):
        m, truth = draw("not fitted", number, rolls=rolls, dithers=dithers, field_rms=0.005)
        solution = fit(m, scale="detectors")
        stated += [words.split("not fitted: structure of ")[1].split()[0] for words in solution.remarks]
        results = [r for r in judge(solution, baseline="mean") if r.zero_point is not None]
        for group in {r.group for r in results}:
            mine = [r for r in results if r.group == group]
            off = np.array([r.zero_point - truth.zero_points[r.detector] for r in mine])
            pulls += ((off - off.mean()) / [r.zero_point_error for r in mine]).tolist()
    assert len(stated) == 8
    assert np.mean(np.array(stated, float)) == pytest.approx(5.0, abs=1.0)
    assert 0.6 < np.std(pulls) < 1.5


def test_no_structure_is_carried_where_there_is_none():
    """Truth: flat detectors; chance alone gives structure of 2 sigma in 1 of 40 sets."""
    remarks = [
        words for number in range(20) for words in fit(draw("flat", number, shared=True)[0], scale="detectors").remarks
    ]
    assert len([words for words in remarks if "are not fitted: structure" in words]) <= 3


def test_the_scatter_of_exposures_is_not_carried_as_structure():
    """Truth: flat detectors whose exposures are off by 6 mmag rms, which is in the errors already."""
    found = [fit(draw("jitter", n, jitter=0.006, dithers=3)[0], scale="detectors").remarks for n in range(6)]
    assert "are not fitted: structure" not in str(found)


def with_reserved(m, rng):
    return replace(m, reserved=(rng.random(m.source.max() + 1) < 0.2)[m.source])


@pytest.mark.parametrize(
    ("rms", "order", "expected", "blunders"), [(0.0, 2, 0, 0), (0.005, 1, 1, 0), (0.005, 2, 2, 0), (0.005, 2, 2, 0.05)]
)
def test_auto_takes_the_order_that_was_put_in(rms, order, expected, blunders):
    """Truth: fields of that order; a blunder is off by 0.15 mag."""
    m, _ = draw("auto", field_rms=rms, field_order=order, dithers=4)
    m = replace(m, mag=m.mag + 0.15 * (np.random.default_rng(6).random(len(m)) < blunders))
    solution = fit(with_reserved(m, np.random.default_rng(5)), scale="detectors", field_order="auto")
    assert solution.field_order == expected


def test_auto_finds_a_bowl_without_a_gradient():
    """Truth: a pure polynomial of second degree, which order 1 does not see."""
    m, _ = draw("bowl", dithers=4)
    m = replace(m, mag=m.mag + 0.008 * (1.5 * (2 * m.x / 2047 - 1) ** 2 - 0.5))
    solution = fit(with_reserved(m, np.random.default_rng(5)), scale="detectors", field_order="auto")
    assert solution.field_order == 2


def test_a_field_needs_pixels():
    m, _ = draw("refused", dithers=2)
    with pytest.raises(MeasurementsError, match="a field needs the columns x and y"):
        fit(replace(m, x=None), scale="detectors", field_order="1")


DRIFT = 0.010


@pytest.mark.parametrize(
    ("rolls", "dithers", "epoch", "low", "high"),
    [((0.0, 150.0), 4, 1, 0.0005, 0.0025), ((0.0, 180.0, 0.0), SMALL, 2, 0.0002, 0.0008)],
    ids=["0/150", "equal rolls"],
)
def test_a_drift_is_told_from_a_zero_point(rolls, dithers, epoch, low, high):
    """Truth: NRCA1 is 10 mmag fainter in one epoch; its drift less the mean of eight detectors is 8.75 mmag."""
    m, _ = draw("drift", rolls=rolls, dithers=dithers, drifts={("NRCA1", epoch): DRIFT})
    found = {(d.detector, d.epoch): d for d in list_drifts(fit(m, scale="detectors"))}
    mine = found["NRCA1", epoch]
    assert mine.value == pytest.approx(DRIFT * 7 / 8, abs=5 * mine.error)
    assert all(low < d.error < high for (_, e), d in found.items() if e == epoch)
    others = [d for (name, e), d in found.items() if name != "NRCA1" and e == epoch]
    assert all(abs(d.value + DRIFT / 8) < 5 * d.error for d in others)


def test_the_error_of_a_drift_has_the_scatter_of_exposures():
    """Truth: 4 mmag rms; a drift is a difference of the means of four exposures, less the mean of eight detectors."""
    m, _ = draw("drift", rolls=(0.0, 150.0), dithers=4, jitter=0.004)
    errors = [drift.error for drift in list_drifts(fit(m, scale="detectors")) if drift.error is not None]
    assert len(errors) > 4
    assert min(errors) > 0.9 * 0.004 * np.sqrt(2 / 4 * 7 / 8)


def test_a_drift_in_the_turned_epoch_is_not_told():
    """Truth: it moves the zero point, by the share that the next test measures."""
    m, _ = draw("turned", dithers=SMALL)
    drifts = list_drifts(fit(m, scale="detectors"))
    assert all((drift.value is None) == (drift.epoch == 1) for drift in drifts)
    words = describe_drifts(drifts)
    assert words[0].startswith("epoch 1: a drift of any detector is not separable from its zero point; 10 mmag of ")
    assert words[1].startswith("epoch 2: a drift of one of 8 detectors is known to 0.")
    with pytest.warns(DegenerateTermWarning, match="drifts of detectors are not fitted: at these pointings"):
        fit(m, scale="detectors", drift="fit")


def test_drifts_are_relative_to_the_mean_of_those_reported_and_the_epoch_has_the_mean():
    """Truth: two of seven linked detectors drift by 35 mmag; NRCB4, whose sources no other detector sees, by 70."""
    drifts = {("NRCA2", 1): 0.035, ("NRCB3", 1): 0.035, ("NRCB4", 1): 0.07}
    m, _ = draw("apart", rolls=(0.0, 150.0), dithers=4, drifts=drifts)
    apart = m.detector == DETECTORS_BY_CODE.index("NRCB4")
    alone = m.select(~apart | ~np.isin(m.source, m.source[~apart]))
    solution = fit_quietly(alone, scale="detectors", drift="fit")
    values = {name[6:-1]: solution.value(name) for name in solution.names if name.startswith("drift")}
    assert not np.isfinite(values.pop("NRCB4 1")[0])
    assert len(values) == 7
    assert sum(value for value, _ in values.values()) == pytest.approx(0, abs=1e-9)
    for name, (value, error) in values.items():
        assert abs(value - drifts.get((name[:5], 1), 0.0) + 0.01) < 5 * error < 0.015
    value, error = solution.value("epoch[1]")
    assert abs(value - 0.01) < 5 * error < 0.005


@pytest.mark.parametrize("code", [0, 5])
def test_the_share_of_a_drift_is_that_of_plain_least_squares(code):
    """Truth: fits of magnitudes in which one detector changes; they are linear, and the mean of all is the gauge."""
    m, _ = draw("share", dithers=SMALL)
    plain = {"scale": "detectors", "robust": False, "scatter": False}
    before = fit(m, **plain)
    after = fit(replace(m, mag=m.mag + DRIFT * ((m.detector == code) & (m.epoch == 1))), **plain)
    (mine,) = (d for d in list_drifts(before) if (d.detector, d.epoch) == (DETECTORS_BY_CODE[code], 1))
    values = [solution.zero_points("mean")[mine.detector][0] for solution in (before, after)]
    assert np.diff(values) == pytest.approx(DRIFT * mine.share, abs=1e-6)
    assert abs(mine.share) > 0.1


@pytest.mark.parametrize(("factor", "is_known"), [(1.0, True), (10.0, False)])
def test_a_drift_that_is_known_to_more_than_10_mmag_is_not_stated(factor, is_known):
    """Truth: the forecast's errors grow with those of the measurements."""
    m, _ = draw("limit", rolls=(0.0, 150.0), dithers=4)
    small, large = (forecast_drifts(forecast_terms(one, Choice(scale="detectors")), one)
                    for one in (m, replace(m, mag_error=factor * m.mag_error)))  # fmt: skip
    limited = [d for d, first in zip(large, small, strict=True) if factor * first.error > 0.010]
    assert bool(limited) != is_known
    assert [d.error for d in limited] == [None] * len(limited)
    for found, first in zip(large, small, strict=True):
        assert found in limited or found.error == pytest.approx(factor * first.error, rel=1e-6)


@pytest.mark.parametrize("number", range(3))
def test_drifts_are_asked_for_in_vain_where_there_is_one_epoch(number):
    """Truth: so few sources determine no zero point in one roll; then there is nothing that drifts either."""
    m, _ = draw("one epoch", number, rolls=(0.0,), dithers=4, density=10)
    solution = fit_quietly(m, scale="detectors", drift="fit")
    assert not np.isfinite([value for value, _ in solution.zero_points().values()]).any()
    assert not solution.model.mask("drift").any()


def test_fitted_drifts_free_the_zero_points_of_them():
    """Truth: rolls 0 and 150; without drifts the zero point of NRCA1 is off by some of the 10 mmag."""
    m, truth = draw("fitted", rolls=(0.0, 150.0), dithers=4, drifts={("NRCA1", 1): DRIFT})
    true = truth.relative("mean")["NRCA1"]
    plain, own = fit(m, scale="detectors"), fit(m, scale="detectors", drift="fit")
    assert abs(plain.zero_points("mean")["NRCA1"][0] - true) > 0.003
    value, error = own.zero_points("mean")["NRCA1"]
    assert abs(value - true) < 4 * error < 0.008
    assert own.value("drift[NRCA1 1]")[0] == pytest.approx(DRIFT * 7 / 8, abs=0.006)
    # The term of the epoch is the mean of all detectors, of which one drifts.
    assert own.value("epoch[1]")[0] == pytest.approx(DRIFT / 8, abs=0.002)


@pytest.mark.parametrize(("errors", "words"), [((0.0004, 0.0004), "0.4 mmag"), ((0.0004, 0.0012), "0.4 to 1.2 mmag")])
def test_a_limit_is_written_once_where_all_are_the_same(errors, words):
    drifts = tuple(Drift(detector=f"NRCA{n}", epoch=1, value=0.0, error=e, share=0.1) for n, e in enumerate(errors, 1))
    assert describe_drifts(drifts) == [f"epoch 1: a drift of one of 2 detectors is known to {words}"]


PATTERNS = {
    "blob": lambda x, y: 0.020 * np.exp(-((x - 700) ** 2 + (y - 1300) ** 2) / 2 / 300**2),
    "step between amplifiers": lambda x, y: np.where((x // 512) % 2 == 1, 0.008, 0.0),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_structure_that_a_field_does_not_hold_is_stated(name):
    """Truth: a pattern in one detector, of which a field of order 2 leaves what least squares on all pixels leave."""
    pattern, (m, _) = PATTERNS[name], draw("pattern", field_rms=0.003, density=60.0)
    mine = m.detector == 2
    m = replace(m, mag=m.mag + np.where(mine, pattern(m.x, m.y), 0.0))
    grid = np.stack(np.meshgrid(*[np.arange(8, 2048, 16.0)] * 2)).reshape(2, -1)
    shapes = np.vstack([np.ones(grid.shape[1]), legendre(*grid, list_powers(2))]).T
    values = pattern(*grid)
    left = np.std(values - shapes @ np.linalg.lstsq(shapes, values, rcond=None)[0])
    found = {r.detector: r for r in judge(fit(m, scale="detectors", field_order="2"))}
    assert found["NRCA2"].missed == pytest.approx(left, rel=0.25)
    assert f"structure of {1e3 * found['NRCA2'].missed:.1f} ± " in found["NRCA2"].words
    others = [r for r in found.values() if r.detector != "NRCA2"]
    assert not [r.words for r in others if "structure" in r.words]
    assert max(r.missed for r in others) < left / 3


def test_without_structure_none_is_stated():
    """Truth: fields of order 2 and noise, in 80 detectors."""
    for number in range(10):
        m, _ = draw("no pattern", number, field_rms=0.005, shared=True)
        results = judge(fit(m, scale="detectors", field_order="2"))
        assert not [r.words for r in results if "structure" in r.words]


def test_a_drift_that_is_not_known_is_told_by_the_detector_that_it_moves_most():
    """Truth: NRCA2 moves by half of its drift, toward the other side."""
    shares = {"NRCA1": 0.2, "NRCA2": -0.5, "NRCA3": 0.3}
    hidden = [Drift(detector=d, epoch=2, value=None, error=None, share=share) for d, share in shares.items()]
    known = Drift(detector="NRCA4", epoch=2, value=0.0, error=0.0004, share=0.9)
    words = describe_drifts([*hidden, known])[1]
    assert words.startswith("epoch 2: a drift of NRCA1, NRCA2, NRCA3 is not separable")
    assert words.endswith("10 mmag of NRCA2 move it by up to 5.0 mmag")


@pytest.mark.parametrize(("sigmas", "words"), [(3.9, ""), (4.1, "structure of 2.0 ± 0.2 mmag rms over the array")])
def test_structure_is_stated_beyond_four_sigma(sigmas, words):
    """Truth: a mean square of 4 mmag^2; the error of its root is that of the square over twice the root."""
    found = Structure(square=4e-6, error=4e-6 / sigmas, seen=1.0)
    assert found.is_significant == bool(words)
    assert (words in found.words) == (bool(found.words) == bool(words))
    assert Structure(square=-4e-6, error=1e-6, seen=1.0).rms == 0.0


@pytest.fixture(scope="module")
def turned():
    """Measurements of two rolls that determine fields and drifts, and what is forecast of both [mag]."""
    m, _ = draw("limits of fields", rolls=(0.0, 150.0), dithers=4)
    choice = Choice(scale="detectors", field_order=1)
    forecast = forecast_terms(m, choice)
    found = forecast_detectors(forecast, m, "mean")
    worst = max(max(one.error, one.field_error) for one in found)
    drifts = forecast_terms(m, Choice(scale="detectors", drift=True))
    errors = np.sqrt(np.diag(drifts.expect(1 / m.mag_error**2)))[drifts.fitted & drifts.model.mask("drift")]
    return m, worst, errors.max()


@pytest.mark.parametrize(("share", "is_fitted"), [(0.95, True), (1.05, False)])
@pytest.mark.parametrize(("kind", "limit"), [("field", 3), ("drift", 10)])
def test_fields_and_drifts_are_fitted_up_to_an_error(turned, kind, limit, share, is_fitted):
    """Truth: errors, of zero points or fields the larger of both, grow with those of the measurements."""
    m, *worst = turned
    choice = Choice(scale="detectors", field_order=kind == "field", drift=kind == "drift")
    error = m.mag_error * share * 1e-3 * limit / worst[kind == "drift"]
    found = forecast_terms(replace(m, mag_error=error), choice)
    assert (found.fitted & found.model.mask(kind)).any() == is_fitted
    assert any(f"exceeds the limit of {limit} mmag" in words for words in found.refusals) != is_fitted


@pytest.fixture(scope="module")
def curved():
    """Solution with fields of order 2, all of whose values and errors are 0, and its terms of NRCA2 by their powers."""
    solution = fit(draw("curved", dithers=4, spread=0.0)[0], scale="detectors", field_order="2")
    mine = {
        t.power: i for i, t in enumerate(solution.model.terms) if t.codes == (2,) and t.kind in ("field", "zero_point")
    }
    return replace(solution, values=0 * solution.values, covariance=0 * solution.covariance, structure={}), mine


@pytest.mark.parametrize("sign", [1, -1])
def test_a_detector_is_off_by_the_largest_difference_over_its_array(curved, sign):
    """Truth: z = -10 mmag and 10 mmag times P_2 along x: 0 at both edges, -15 mmag in the middle."""
    solution, mine = curved
    values, covariance = solution.values.copy(), solution.covariance.copy()
    others = [i for i, t in enumerate(solution.model.terms) if t.kind == "zero_point" and t.codes != (2,)]
    values[[mine[None], mine[2, 0]]] = -0.010 * sign, 0.010 * sign
    covariance[[mine[2, 0], mine[None]], [mine[2, 0], mine[None]]] = 0.001**2
    result = judge(replace(solution, values=values, covariance=covariance))[2]
    assert result.detector == "NRCA2"
    assert result.zero_point == pytest.approx(-0.010 * sign)
    assert len(others) == 7
    assert "the detector is off by up to 15.0 mmag" in result.words
    assert (result.field.rms, result.field_error) == pytest.approx((0.010 / np.sqrt(5), 0.001 / np.sqrt(5)))
    assert result.cells()[:3] == ["NRCA2", format_measured(-0.010 * sign, 0.001, ""), "+4.47 ± 0.45"]


@pytest.mark.parametrize(("share", "is_usable"), [(0.99, True), (1.01, False)])
def test_a_detector_is_in_the_table_if_the_error_of_its_field_is_at_most_three_mmag(curved, share, is_usable):
    """Truth: the rms over the array of 3 mmag has an error of 3 mmag sqrt(3) of the coefficient of P_1."""
    solution, mine = curved
    values, covariance = solution.values.copy(), solution.covariance.copy()
    values[mine[1, 0]], covariance[mine[1, 0], mine[1, 0]] = 0.1, 3 * (share * 0.003) ** 2
    result = judge(replace(solution, values=values, covariance=covariance))[2]
    assert result.field_error == pytest.approx(share * 0.003)
    assert result.is_usable == is_usable
