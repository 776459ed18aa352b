"""Numbers that are known: the solution of small sets of measurements, by formulas and by dense algebra."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import fractional_matrix_power
from scipy.stats import chi2, norm
from simulated_network import HARD, LW, TABLE_2_LW, TABLE_2_SW, Survey, Truth, simulate
from statsmodels.api import RLM
from statsmodels.robust.norms import HuberT

from jwst_modfix.errors import DegenerateTermWarning, MeasurementsError
from jwst_modfix.fitting.checks import bootstrap_sources, validate
from jwst_modfix.fitting.measurements import ORIGIN, Measurements
from jwst_modfix.fitting.pairs import solve_pairs
from jwst_modfix.fitting.robust import OUTLIER, VARIABLE
from jwst_modfix.fitting.separability import count_links
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.fitting.verdict import NOT_DETERMINED, judge

RNG = np.random.default_rng(3)
DIFFERENCES = 0.02 + 0.003 * RNG.standard_normal(40)  # m_A - m_B
ERRORS = RNG.uniform(0.002, 0.006, (2, 40))  # of A and of B


def student(n):
    """Standard deviation of Student's t with n - 1 degrees of freedom."""
    return np.sqrt((n - 1) / (n - 3))


def pairs_of(difference, error, *, epochs=(0, 0), modules="AB", array="1", first=0, u=(1.0, 1.0), filter="F200W"):
    """Sources measured twice: by the first module with 20 + difference, by the second with 20 mag; u in arcmin."""
    n, mag = len(difference), np.append(20.0 + difference, np.full(len(difference), 20.0))
    error, u = np.broadcast_to(np.reshape(error, (-1, np.size(error) // 2)), (2, n)), np.repeat(u, n)
    side = np.where(np.repeat(list(modules), n) == "A", 60.0, -60.0)
    return Measurements(
        source=first + np.tile(np.arange(n), 2), exposure=np.repeat([0, 1], n), epoch=np.repeat(epochs, n),
        array=np.full(2 * n, array), module=np.repeat(list(modules), n), mag=mag,
        mag_error=error.ravel(), V2=ORIGIN[0] + side * u, V3=np.full(2 * n, ORIGIN[1]), filter=filter,
    )  # fmt: skip


def joined(*parts):
    names = ("source", "exposure", "epoch", "array", "module", "mag", "mag_error", "V2", "V3", "reserved")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Measurements(**columns, filter=parts[0].filter)


def patches(p, q, error):
    """Patch p, seen by B then A, and patch q, seen by A then B: differences m_1 - m_0."""
    error = (error, error)
    return joined(
        pairs_of(p, error, epochs=(1, 0), modules="AB"),
        pairs_of(q, error, epochs=(1, 0), modules="BA", first=1000),
    )


def test_offset_error_chi2_and_dof_of_two_detectors():
    """Truth: the weighted mean of m_A - m_B, whose variance is 1 / sum of 1 / (var_A + var_B)."""
    solution = fit(pairs_of(DIFFERENCES, ERRORS), robust=False, scatter=False)
    weight = 1 / np.sum(ERRORS**2, axis=0)
    mean = np.average(DIFFERENCES, weights=weight)
    effective = weight.sum() ** 2 / np.sum(weight**2)
    assert solution.value("offset[1]")[0] == pytest.approx(mean, abs=1e-10)
    assert solution.value("offset[1]")[1] == pytest.approx(student(effective) / np.sqrt(weight.sum()), rel=1e-9)
    assert solution.status[0].effective_sources == pytest.approx(effective, rel=1e-9)
    assert solution.status[0].expected_error == pytest.approx(1 / np.sqrt(weight.sum()), rel=1e-9)
    assert solution.chi2 == pytest.approx(np.sum(weight * (DIFFERENCES - mean) ** 2), rel=1e-9)
    assert (solution.n_measurements, solution.n_sources, solution.dof) == (80, 40, 39)


def test_scatter_and_chi2_of_residuals_of_one_size():
    """Truth: differences +-4 mmag about the offset; Huber's Proposal 2 sets their mean square to E[psi^2]."""
    n, size, error = 40, 0.004, 0.001
    solution = fit(pairs_of(0.02 + np.resize([size, -size], n), (error, error)))
    expected = 2 * quad(lambda e: min(e, 1.345) ** 2 * norm.pdf(e), 0, np.inf)[0]
    share = 1 - 2 / n  # offset and level
    total = size**2 / (2 * expected * share)
    assert solution.sigma_int == pytest.approx(np.sqrt(total - error**2), rel=1e-3)
    assert solution.chi2 == pytest.approx(n * expected * share, rel=2e-3)
    # Each source's score is +-size over the variance: the sandwich is size^2 / n, each over 1 - leverage = 1 - 1/n.
    variance = size**2 / n / (1 - 1 / n) * (n - 1) / (n - 3)
    assert solution.value("offset[1]") == pytest.approx((0.02, np.sqrt(variance)), rel=1e-3)


@pytest.mark.parametrize(("n_p", "n_q"), [(30, 30), (20, 60)])
def test_equations_7_and_8_with_their_covariance(n_p, n_q):
    """Truth: Delta_AB = (p - q) / 2 and t = (p + q) / 2 of the patches' means, and their correlation."""
    p, q, error = 0.03 + 0.002 * RNG.standard_normal(n_p), -0.01 + 0.002 * RNG.standard_normal(n_q), 0.003
    solution = fit(patches(p, q, error), robust=False, scatter=False)
    offset, epoch = (solution.names.index(name) for name in ("offset[1]", "epoch[1]"))
    assert solution.values[offset] == pytest.approx((p.mean() - q.mean()) / 2, abs=1e-10)
    assert solution.values[epoch] == pytest.approx((p.mean() + q.mean()) / 2, abs=1e-10)
    variance, shared = 2 * error**2 / n_p / 4 + 2 * error**2 / n_q / 4, 2 * error**2 / n_p / 4 - 2 * error**2 / n_q / 4
    correlation = shared / variance
    error = np.sqrt(np.diag(solution.covariance))[[offset, epoch]]
    assert solution.covariance[offset, epoch] / error.prod() == pytest.approx(correlation, abs=1e-9)
    assert [s.correlation for s in solution.status] == pytest.approx([abs(correlation)] * 2, abs=1e-9)
    assert [s.expected_error for s in solution.status] == pytest.approx([np.sqrt(variance)] * 2, rel=1e-9)
    assert solution.dof == n_p + n_q - 2
    assert solution.epoch_terms()[0] == (0.0, 0.0)
    assert solution.epoch_terms()[1] == solution.value("epoch[1]")


@pytest.mark.parametrize(("n_q", "separable"), [(2, True), (1, False)])
def test_terms_are_separable_up_to_a_correlation_of_0_995(n_q, separable):
    """Truth: with 400 sources in patch p and 2 or 1 in q, the correlation is 0.990 or 0.99501: variance x 50 or 100."""
    m = patches(np.zeros(400), np.zeros(n_q), 0.003)
    solution = solve(m, robust=False, scatter=False, min_sources=1)
    (epoch,) = (s for s in solution.status if s.term.kind == "epoch")
    assert epoch.is_fitted == separable
    assert epoch.correlation == pytest.approx((400 - n_q) / (400 + n_q), abs=1e-3)
    assert epoch.partners == (() if separable else ("offset[1]",))


def test_noise_free_measurements_give_every_term():
    """Truth: offsets, levels, slopes and epoch terms without noise."""
    truth = Truth(
        offset={"1": 0.02, "2": -0.03, "long": -0.01654}, slope={"long": 0.00433, "2": -0.002},
        epoch=(0.0, 0.008, -0.006), level={"1": 0.01},
    )  # fmt: skip
    wide = ((0.0, 0.0), (40.0, 30.0), (-40.0, -30.0), (0.0, 60.0))
    m = simulate(
        np.random.default_rng(4),
        truth,
        Survey(arrays=("1", "2", "long"), dithers=wide, density=10, error=(1e-12, 1e-12)),
    )
    plain = {"fit_slope": "all", "exposure_terms": "zero", "robust": False, "scatter": False}
    solution = fit(replace(m, mag_error=np.full(len(m), 0.003)), **plain)
    # Levels are relative: their sum over the linked arrays is 0.
    known = {"slope[1]": 0.0, "level[1]": 0.02 / 3, "level[2]": -0.01 / 3, "level[long]": -0.01 / 3}
    known |= {f"offset[{array}]": value for array, value in truth.offset.items()}
    known |= {f"slope[{array}]": value for array, value in truth.slope.items()}
    known |= {"epoch[1]": 0.008, "epoch[2]": -0.006}
    assert set(solution.names) == set(known)
    assert [solution.values[solution.names.index(name)] for name in known] == pytest.approx([*known.values()], abs=1e-9)
    corrected = m.mag - solution.predict(m)
    one = m.source == np.argmax(np.bincount(m.source))
    assert np.ptp(corrected[one]) < 1e-9 < 1e-3 < np.ptp(m.mag[one])
    assert solution.chi2 == pytest.approx(0, abs=1e-9)


def dense(solution):
    """Columns of the terms, and of the sources: every measurement fitted, written out."""
    m = solution.measurements
    columns = []
    for name in solution.names:
        kind, inside = name[:-1].split("[")
        here = m.array == inside
        sign = np.where(m.module == "A", 0.5, -0.5)
        columns.append({
            "offset": here * sign, "level": here * 1.0, "slope": here * 0.5 * (m.V2 - ORIGIN[0]) / 60,
            "epoch": (m.epoch == (int(inside) if kind == "epoch" else -1)) * 1.0,
        }[kind])  # fmt: skip
    return np.column_stack(columns), (m.source[:, None] == np.unique(m.source)).astype(float)


def test_plain_least_squares_are_those_of_dense_algebra():
    """Truth: numpy's lstsq on all terms and sources, and the pseudo-inverse of the normal matrix."""
    truth = Truth(offset=TABLE_2_SW.offset, slope={"1": 0.004, "3": -0.003}, epoch=(0.0, 0.008, -0.006))
    plain = {"fit_slope": "all", "time_term": "fit", "exposure_terms": "zero", "robust": False, "scatter": False}
    solution = fit(simulate(RNG, truth, Survey()), **plain)
    error = solution.measurements.mag_error[:, None]
    X = np.hstack(dense(solution)) / error
    theta = np.linalg.lstsq(X, solution.measurements.mag / error[:, 0], rcond=None)[0]
    covariance = np.linalg.pinv(X.T @ X, rcond=1e-12)
    for found in solution.status:
        i = solution.names.index(found.term.name)
        expected = theta[i], np.sqrt(covariance[i, i]) * student(found.effective_sources)
        assert solution.value(found.term.name) == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert found.expected_error == pytest.approx(np.sqrt(covariance[i, i]), rel=1e-5)


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")  # levels have no zero point
def test_robust_values_are_those_of_statsmodels():
    """Truth: RLM with a column for each source; its other scale moves values by less than their errors."""
    truth = Truth(offset=TABLE_2_SW.offset, slope={"1": 0.004, "3": -0.003}, epoch=(0.0, 0.008, -0.006))
    m = simulate(np.random.default_rng(6), truth, Survey(density=15, outlier_share=0.02))
    solution = fit(m, fit_slope="all", time_term="fit", exposure_terms="zero")
    used = solution.rejected == 0
    error = np.hypot(m.mag_error, solution.sigma_int)[used]
    X, S = (columns[used] for columns in dense(solution))
    X = np.hstack([X, S[:, S.any(axis=0)]]) / error[:, None]
    found = RLM(m.mag[used] / error, X, M=HuberT(1.345)).fit(maxiter=200).params
    for status in solution.status:
        i, (value, own) = solution.names.index(status.term.name), solution.value(status.term.name)
        assert abs(found[i] - value) < 0.5 * own, status.term.name


def test_covariance_is_the_sandwich_over_sources():
    """Truth: H^-1 (sum U U^T) H^-1 by dense algebra, of weights and residuals that are Huber's, freed of leverage."""
    truth = replace(TABLE_2_LW, epoch=(0.0, 0.008, -0.006))
    m = simulate(np.random.default_rng(8), truth, Survey(arrays=LW, density=6, **HARD))
    solution = fit(m, exposure_terms="zero")
    assert solution.detector_scatter == 0, "whose part of the covariance is tested apart"
    X, S = dense(solution)
    residual, used = solution.residual, solution.rejected == 0
    base = used / (solution.measurements.mag_error**2 + solution.sigma_int**2)
    total = S @ (S.T @ base)
    kept = np.sqrt(1 - np.divide(base, total, out=np.zeros_like(base), where=total > 0))
    e = residual * np.sqrt(base) / np.where(used, kept, 1)
    weight, derivative = base * 1.345 / np.maximum(np.abs(e), 1.345), base * (np.abs(e) <= 1.345)
    np.testing.assert_allclose(weight, solution.weight, rtol=1e-3)
    full = np.hstack([X, S])
    H = full.T @ (derivative[:, None] * full)
    inverse = np.linalg.pinv(H, rcond=1e-12)[: X.shape[1], : X.shape[1]]
    meat = np.zeros_like(inverse)
    for source in S.T.astype(bool):
        v, score = derivative[source], (weight * residual)[source]
        free = X[source] - v @ X[source] / max(v.sum(), 1e-300)
        # (I - H)^-1/2, H = V^1/2 free H^-1 free^T V^1/2, for the measurements that are within Huber's limit.
        root = np.sqrt(v)
        leverage = root[:, None] * free @ inverse @ free.T * root
        grown = fractional_matrix_power(np.eye(len(v)) - leverage, -0.5).real @ (score / np.where(v > 0, root, np.inf))
        U = X[source].T @ np.where(v > 0, root * grown, score)
        meat += np.outer(U, U)
    covariance = inverse @ meat @ inverse
    for status in solution.status:
        number = solution.names.index(status.term.name)
        expected = np.sqrt(covariance[number, number]) * student(status.effective_sources)
        assert solution.value(status.term.name)[1] == pytest.approx(expected, rel=1e-3)


def test_an_outlier_is_the_measurement_beyond_five_sigma():
    """Truth: of 4 measurements, residuals scatter by sqrt(3/4) of 3 mmag; Huber's mean moves by 1.345 / 3."""
    base = joined(pairs_of(np.resize([1e-5, -1e-5], 60), (0.003, 0.003)), pairs_of(np.zeros(60), (0.003, 0.003)))
    for sigmas, rejected in ((4.8, 0), (5.2, 1)):
        mag = base.mag.copy()
        mag[0] += 0.003 * np.sqrt(0.75) * (sigmas + 1.345 / 3)
        assert np.count_nonzero(fit(replace(base, mag=mag), scatter=False).rejected == OUTLIER) == rejected


@pytest.mark.parametrize(("side", "expected"), [(60, 0.014), (-60, 0.006)])
def test_the_difference_between_two_places(side, expected):
    """Truth: A minus B is 0.01 + k d, with k = 0.004 and places at u = +1 and -1 arcmin, or exchanged."""
    parts = [
        pairs_of(np.full(30, 0.01 + 0.002 * (a + b)), (0.001, 0.001), array="long", u=(a, b), first=100 * i)
        for i, (a, b) in enumerate([(1.0, 0.6), (1.4, 1.2)])
    ]
    solution = fit(joined(*parts), robust=False, scatter=False)
    assert solution.value("slope[long]")[0] == pytest.approx(0.004, abs=1e-9)
    places = (ORIGIN[0] + side, -492.4), (ORIGIN[0] - side, -492.4)
    assert solution.difference("long", *places)[0] == pytest.approx(expected, abs=1e-9)


def test_reserved_sources_add_the_errors_of_both():
    """Truth: mean of the reserved differences minus the offset; the errors of both in quadrature."""
    fitted, reserved = (
        pairs_of(DIFFERENCES, (0.003, 0.003)),
        pairs_of(DIFFERENCES[:20] + 0.01, (0.003, 0.003), first=100),
    )
    m = joined(fitted, replace(reserved, reserved=np.ones(40, bool)))
    solution = fit(m)
    assert len(solution.measurements) == 80
    (left,) = validate(solution, m)
    value, error = fit(reserved).value("offset[1]")
    assert left.residual == pytest.approx(value - solution.value("offset[1]")[0], abs=1e-6)
    assert left.residual_error == pytest.approx(error, rel=1e-3)
    assert left.sigmas == pytest.approx(left.residual / np.hypot(error, solution.value("offset[1]")[1]), rel=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("offset", "error", "significant"), [(0.0195, 0.01, False), (0.0197, 0.01, True)])
def test_epoch_terms_are_significant_at_95_percent(offset, error, significant, sign):
    """Truth: chi-square of one degree of freedom exceeds 3.84, so 1.96 sigma, in 1 of 20 cases."""
    n = 200
    scale = error / (0.001 / np.sqrt(n)) / student(2 * n)
    moved = np.full(n, sign * offset)
    solution = fit(patches(moved, moved, 0.001 * scale), robust=False, scatter=False)
    assert solution.value("epoch[1]") == pytest.approx((sign * offset, error), rel=1e-6)
    assert chi2.sf((offset / error) ** 2, 1) == pytest.approx(0.05, abs=0.002)
    (epoch,) = (s for s in solution.status if s.term.kind == "epoch")
    assert epoch.status == ("free" if significant else "not significant")


def test_sources_are_counted_again_without_those_rejected():
    """Truth: 10 equal sources are enough; one of them varies by 0.5 mag, and 9 are not."""
    difference = np.resize([0.002, -0.002], 10)
    assert fit(pairs_of(difference, (0.003, 0.003))).fitted.sum() == 1
    difference[3] += 0.5
    with pytest.warns(DegenerateTermWarning, match=r"constrained by only [89]\.\d effective sources"):
        assert fit(pairs_of(difference, (0.003, 0.003))).fitted.sum() == 0


def test_levels_have_a_sum_of_zero_in_each_group_of_linked_arrays():
    """Truth: arrays 1 and 2 share no source with 3 and 4; each of the groups has its own zero."""
    parts = []
    for one, other, level, first in (("1", "2", 0.02, 0), ("3", "4", 0.06, 1000)):
        parts.append(pairs_of(np.zeros(20), (0.003, 0.003), array=one, first=first + 100))
        parts.append(pairs_of(np.zeros(60), (0.003, 0.003), array=other, first=first + 200))
        link = pairs_of(np.full(20, level), (0.003, 0.003), first=first + 300)
        parts.append(replace(link, array=np.repeat([one, other], 20), module=np.full(40, "A")))
    solution = fit(joined(*parts), robust=False, scatter=False)
    level = [solution.values[solution.names.index(f"level[{array}]")] for array in "1234"]
    assert level == pytest.approx([0.01, -0.01, 0.03, -0.03], abs=1e-9)
    groups = solution.links.group(np.array([0, 2, 4, 6]))  # of the arrays' detectors in module A
    assert groups[0] == groups[1] != groups[2] == groups[3]


@pytest.mark.parametrize("blunder", [False, True])
@pytest.mark.parametrize(("change", "varies"), [(3.7, False), (4.1, True)])
def test_a_source_varies_where_its_epochs_scatter_too_much(change, varies, blunder):
    """Truth: means of 2 epochs of 2 measurements: chi-square is (change / sigma)^2, and 15.1 has p = 1e-4.

    A third epoch, whose one measurement is rejected, changes nothing.
    """
    difference = np.resize([1e-5, -1e-5], 60)
    parts = [pairs_of(difference, (0.003, 0.003), epochs=(epoch, epoch)) for epoch in range(2 + blunder)]
    m = joined(*parts)
    m = m.select((m.epoch < 2) | ((m.source == 7) & (m.module == "A")))
    mag = m.mag + 0.003 * change * ((m.source == 7) & (m.epoch == 1)) + (m.epoch == 2)
    rejected = fit(replace(m, mag=mag), scatter=False, time_term="zero").rejected
    assert (rejected[(m.source == 7) & (m.epoch < 2)] == (VARIABLE if varies else 0)).all()
    assert (rejected[m.epoch == 2] == (VARIABLE if varies else OUTLIER)).all()
    assert not rejected[m.source != 7].any()


@pytest.mark.parametrize(("visits", "codes"), [(5, {VARIABLE}), (10, {0, OUTLIER})])
def test_a_source_varies_where_more_than_a_tenth_of_its_measurements_are_outliers(visits, codes):
    """Truth: 2 outliers of 10 measurements are more than a tenth, and 2 of 20 are not."""
    m = joined(*(pairs_of(np.resize([1e-5, -1e-5], 60), (0.003, 0.003)) for _ in range(visits)))
    mine, mag = np.flatnonzero(m.source == 7), m.mag.copy()
    mag[mine[:2]] += [0.1, -0.1]
    rejected = fit(replace(m, mag=mag), scatter=False).rejected
    assert set(rejected[mine]) == codes
    assert not rejected[m.source != 7].any()


@pytest.mark.parametrize(
    ("parts", "term", "words"),
    [
        ([(9, 0.003, {})], "offset[1]", r"array 1: constrained by only 9.0 effective sources \(minimum 10\)"),
        # 0.3 sqrt(2 / n), over d = 2 arcmin for k
        (
            [(60, 0.003, {"u": (0, 0)}), (60, 0.3, {"u": (2, 2), "first": 100})], "slope[long]",
            "slope of array long: expected error 0.027 exceeds the limit of 0.02 mag/arcmin; not fitted",
        ),
        (
            [(40, 0.003, {}), (60, 0.3, {"epochs": (1, 0), "modules": "AA", "first": 100})], "epoch[1]",
            "term of epoch 1: expected error 0.055 exceeds the limit of 0.05 mag; not fitted",
        ),
        # t and k (u_1 - u_0) / 2 are one number; a slope must not take an epoch's term
        (
            [(40, 0.003, {"u": (0, 0)}), (40, 0.003, {"epochs": (1, 0), "modules": "AA", "u": (1, -1), "first": 99})],
            "slope[long]", "slope of array long and term of epoch 1 are not separable: correlation 1.000",
        ),
    ],
)  # fmt: skip
def test_a_term_that_is_not_determined_is_left_out_with_the_reason(parts, term, words):
    parts = [
        pairs_of(np.zeros(n), (error, error), array="long" if "slope" in term else "1", **where)
        for n, error, where in parts
    ]
    with pytest.warns(DegenerateTermWarning, match=words):
        solution = fit(joined(*parts), robust=False, scatter=False)
    assert np.isnan(solution.value(term)).all()
    assert {s.term.name for s in solution.status if not s.is_fitted} == {term}


def test_correlated_epoch_terms_are_both_fitted():
    """Truth: epoch 2 is linked to 1 by 4000 sources, and 1 to 0 by 12: their correlation of 0.9985 does no harm."""
    same = {"error": (0.003, 0.003), "modules": "AA"}
    m = joined(
        pairs_of(np.zeros(40), (0.003, 0.003)),
        pairs_of(np.zeros(12), epochs=(1, 0), first=1000, **same),
        pairs_of(np.zeros(4000), epochs=(2, 1), first=2000, **same),
    )
    solution = fit(m, robust=False, scatter=False)
    assert {status.term.name for status in solution.status if status.is_fitted} == {"offset[1]", "epoch[1]", "epoch[2]"}


def test_bootstrap_draws_are_of_sources():
    """Truth: half the sum and half the difference of the patches' means, with the copies of the generator.

    The ratio is the scatter of the draws over the error.
    """
    n, draws = 30, 40
    p, q = 0.03 + 0.002 * RNG.standard_normal(n), -0.01 + 0.003 * RNG.standard_normal(n)
    solution = fit(patches(p, q, 0.003), robust=False, scatter=False)
    found = bootstrap_sources(solution, np.random.default_rng(11), draws)
    copies = np.random.default_rng(11).poisson(1.0, (draws, 2, n))
    means = np.einsum("dpn,pn->pd", copies, np.stack([p, q])) / copies.sum(axis=2).T
    assert found.names == ("offset[1]", "epoch[1]")
    expected = np.stack([means[0] - means[1], means[0] + means[1]], axis=1) / 2
    np.testing.assert_allclose(found.draws, expected, rtol=1e-7)
    errors = [solution.value(name)[1] for name in found.names]
    np.testing.assert_allclose(found.ratio, expected.std(axis=0, ddof=1) / errors, rtol=1e-6)


@pytest.fixture(scope="module")
def solution():
    """Long-wavelength arrays only."""
    rng = np.random.default_rng(2026)
    return fit(simulate(rng, Truth(offset={"long": 0.01}), Survey(arrays=LW)), fit_slope="none")


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda s: s.zero_points("C"), "baseline must be one of B, A, mean, or a detector such as NRCB1; got 'C'"),
        (lambda s: s.zero_points("NRCA5"), "baseline must be one of .*; got 'NRCA5'"),
        (lambda s: s.zero_points(None), "baseline must be one of .*; got None"),
        (lambda s: s.difference("1", ORIGIN, ORIGIN), "array '1' is not part of the solution; long is"),
        (lambda s: s.difference("5", ORIGIN, ORIGIN), "array '5' is not part of the solution; long is"),
        (lambda s: s.difference("long", (1.0,), (2.0, 3.0)), "place_A and place_B must be V2, V3 in arcsec; got"),
        (
            lambda s: s.predict(replace(s.measurements, filter="F150W")),
            r"measurements in F150W: the solution is of F200W",
        ),
        (
            lambda s: s.predict(replace(s.measurements, array=np.full(len(s.measurements), "2"))),
            "measurements in F200W: zero point of NRCA2 is not part of the solution",
        ),
        (
            lambda s: s.predict(replace(s.measurements, epoch=s.measurements.epoch + 1)),
            "measurements in F200W: term of epoch 3 is not part of the solution",
        ),
    ],
)
def test_what_a_solution_does_not_hold_is_refused(solution, ask, words):
    """An unknown baseline was the mean of all, and an array that is not there had a difference of 0."""
    with pytest.raises(MeasurementsError, match=words):
        ask(solution)


def test_a_term_without_an_error_has_no_correlation(solution):
    """Truth: measurements without any noise have no errors; 0 / 0 is no correlation."""
    m = solution.measurements
    exact = fit(replace(m, mag=m.source % 4 + 20.0), fit_slope="none", scatter=False)
    assert all(0 <= status.correlation <= 1 for status in exact.status)


def test_counts_residuals_and_chi_square_of_what_is_used():
    """Truth: 40 pairs of +-4 mmag, whose errors are 1 mmag; one source more is measured once, and one is 1 mag off."""
    m = joined(
        pairs_of(0.02 + np.resize([0.004, -0.004], 40), (0.001, 0.001)),
        pairs_of(np.array([1.0]), (0.001, 0.001), first=100),
        pairs_of(np.array([0.0]), (0.001, 0.001), first=200).select(np.array([0])),
    )
    solution = fit(m)
    found = solution.residuals()
    assert (solution.n_measurements, solution.n_sources, solution.dof) == (80, 40, 39)
    assert found["reason"][-3:].tolist() == ["variable", "variable", "single"]
    np.testing.assert_array_equal(found["used"], found["reason"] == "used")
    assert solution.chi2_as_given == pytest.approx(40 * 2 * (0.002 / 0.001) ** 2, rel=1e-3)
    text = solution.summary()
    assert f"intrinsic scatter {1e3 * solution.sigma_int:.2f} mmag, error scale 1.00" in text
    assert f"exposure to exposure {1e3 * solution.detector_scatter:.2f} mmag" in text
    assert f"chi2 {solution.chi2:.0f} for 39 degrees of freedom; 320 with the errors as given" in text


@pytest.mark.parametrize(("robust", "scatter"), [(True, True), (True, False), (False, True), (False, False)])
def test_errors_are_those_of_the_residuals_unless_nothing_is_asked_of_these(robust, scatter):
    """Truth: +-4 mmag, whose scores give the sandwich; errors as stated, 20 mmag, only for plain least squares."""
    n, size = 40, 0.004
    solution = fit(pairs_of(np.resize([size, -size], n), (0.02, 0.02)), robust=robust, scatter=scatter)
    variance = size**2 / n / (1 - 1 / n) if robust or scatter else 2 * 0.02**2 / n
    assert solution.value("offset[1]")[1] == pytest.approx(np.sqrt(variance) * student(n), rel=2e-3)


def test_a_difference_and_a_prediction_are_of_fitted_terms_and_of_one_filter():
    """Truth: sources that do not move along V2 determine no slope; a difference then is the offset alone."""
    m = pairs_of(np.full(40, 0.01), (0.003, 0.003), array="long", u=(0, 0))
    solution = solve(m, robust=False, scatter=False)
    values = np.where(solution.fitted, solution.values, 5.0)
    places = (ORIGIN[0] + 60, ORIGIN[1]), (ORIGIN[0] - 60, ORIGIN[1])
    assert replace(solution, values=values).difference("long", *places)[0] == pytest.approx(0.01)
    with pytest.raises(MeasurementsError, match=r"measurements in F200W\+F405N: the solution is of F200W$"):
        solution.predict(replace(m, pupil="F405N"))


def test_a_term_that_is_not_separable_blocks_each_offset_that_it_is_part_of():
    """Truth: arrays 1 and 2, each seen by A in epoch 0 and by B in epoch 1 only."""
    arrays = [pairs_of(np.zeros(40), (0.003, 0.003), epochs=(0, 1), array=a, first=100 * int(a)) for a in "12"]
    link = replace(arrays[0].select(arrays[0].module == "A"), array=np.full(40, "2"), exposure=np.full(40, 2))
    solution = solve(joined(*arrays, link), robust=False, scatter=False)
    (epoch,) = (s for s in solution.status if s.term.kind == "epoch")
    assert epoch.partners == ("offset[1]", "offset[2]")
    results = judge(solution)
    assert [(result.verdict, result.is_usable) for result in results] == [(NOT_DETERMINED, False)] * 2
    assert not solution.to_table().rows


def test_epochs_that_are_not_linked_are_named_together():
    """Truth: epochs 1 and 2 share sources with each other, and none with epoch 0; epoch 3 shares none with any."""
    parts = [pairs_of(np.zeros(20), (0.003, 0.003), epochs=epochs, first=first)
             for epochs, first in (((0, 0), 0), ((1, 2), 100), ((3, 3), 200))]  # fmt: skip
    assert count_links(joined(*parts)).sentences() == [
        "epochs 1, 2 have no common source with epoch 0", "epoch 3 has no common source with epoch 0",
    ]  # fmt: skip


def test_terms_of_exposures_belong_to_terms_of_time():
    """Truth: three exposures in each of two epochs; no term of time has neither, and each of them can be asked for."""
    m = simulate(np.random.default_rng(5), TABLE_2_SW, Survey(rolls=(0.0, 180.0), dithers=((0, 0), (9, 5), (-8, 6))))
    found = {
        (time, own): solve(m, time_term=time, exposure_terms=own)
        for time, own in (("auto", "auto"), ("zero", "auto"), ("fit", "zero"), ("zero", "fit"))
    }
    assert [solution.has_exposures for solution in found.values()] == [True, False, False, True]
    kinds = [{term.kind for term, free in zip(s.model.terms, s.free, strict=True) if free} for s in found.values()]
    assert [kind & {"epoch", "exposure"} for kind in kinds] == [{"exposure"}, set(), {"epoch"}, {"exposure"}]


def test_the_term_of_an_epoch_is_the_mean_of_its_exposures_less_that_of_the_first_epoch():
    """Truth: shifts of three exposures in each of two epochs, of 10 and -20 mmag in the mean."""
    m = simulate(np.random.default_rng(5), TABLE_2_SW, Survey(rolls=(0.0, 180.0), dithers=((0, 0), (9, 5), (-8, 6))))
    shifts = np.array([0.04, 0.03, -0.04, -0.05, -0.03, 0.02])
    moved = replace(m, mag=m.mag + shifts[np.unique(m.time, return_inverse=True)[1]])
    before, after = (solve(one, exposure_terms="fit").value("epoch[1]") for one in (m, moved))
    assert after[0] - before[0] == pytest.approx(-0.03, abs=1e-4)


@pytest.mark.parametrize(("error", "has_exposures"), [(1.05, True), (1.2, False)])
def test_an_exposure_whose_term_has_an_error_of_more_than_50_mmag_is_not_linked(error, has_exposures):
    """Truth: 220 sources of one exposure give 1.05 / sqrt(220) = 0.071, two thirds of it about the mean of all."""
    rows = [(0, "AB", 0.003), (1, "AB", 0.003), (2, "AA", error)]
    parts = [
        replace(pairs_of(np.zeros(220), (0.003, e), modules=modules), exposure=np.repeat([0, number], 220))
        for number, modules, e in rows
    ]
    solution = solve(joined(*parts), exposure_terms="fit", robust=False, scatter=False, time_term="fit")
    own = [s for s in solution.model.terms if s.kind == "exposure"]
    assert len(own) == 3
    assert solution.has_exposures == has_exposures


def test_one_array_of_one_module_has_a_level():
    """Truth: array 2 has module B alone, which array 1 of module B links; its zero point is -10 mmag."""
    link = pairs_of(np.full(30, -0.01), (0.003, 0.003), modules="BB", first=100)
    link = replace(link, array=np.repeat(["2", "1"], 30))
    solution = fit(joined(pairs_of(np.full(30, 0.02), (0.003, 0.003)), link), robust=False, scatter=False)
    assert "level[2 B]" in solution.names
    with pytest.raises(MeasurementsError, match="array '2' is not part of the solution; 1 is"):
        solution.difference("2", ORIGIN, ORIGIN)
    found = {name: value for name, (value, _) in solution.zero_points("NRCB1").items()}
    assert found == pytest.approx({"NRCA1": 0.02, "NRCB1": 0.0, "NRCB2": -0.01}, abs=1e-9)


def test_pairs_average_visits_by_their_variances_and_leave_out_reserved_sources():
    """Truth: of two visits with errors of 1 and 2 mmag, 10 mmag apart, the mean is 2 mmag from the first."""
    p, q = (pairs_of(np.full(10, 0.02 * s), (0.001, 0.001), epochs=(1, 0), modules=modules, first=first)
            for s, modules, first in ((1, "AB", 0), (-1, "BA", 100)))  # fmt: skip
    again = replace(p, mag=p.mag + 0.010, mag_error=2 * p.mag_error).select(p.module == "A")
    wrong = replace(p, source=p.source + 500, mag=p.mag + 0.5 * (p.module == "A"), reserved=np.ones(20, bool))
    (pair,) = solve_pairs(joined(p, q, again, wrong), fit_slope="none")["1"].pairs
    assert (pair.median_p, pair.median_q) == pytest.approx((0.022, -0.02))
    assert (pair.offset, pair.time) == pytest.approx((0.021, 0.001))


@pytest.mark.parametrize("baseline", ["B", "mean"])
def test_a_table_of_detectors_has_its_baseline(baseline):
    """Truth: a difference of 20 mmag between two detectors."""
    table = fit(pairs_of(np.full(40, 0.02), (0.003, 0.003)), scale="detectors").to_table(baseline=baseline)
    expected = {"B": [0.02, 0.0], "mean": [0.01, -0.01]}[baseline]
    assert [row.zero_point for row in table.zero_points] == pytest.approx(expected, abs=1e-9)
    assert table.baseline == baseline


def test_groups_of_detectors_and_the_dither_that_links_them():
    """Truth: boxes of 20 x 34 arcsec, 60 arcsec from the middle: 30 arcsec must overlap, and half a turn meets."""
    groups = [("A", 60, 30), ("B", -80, 40)]  # the second has more sources, and the baseline
    parts = []
    for number, (module, low, n) in enumerate(groups):
        place = np.tile(low + 20 * np.arange(n) / (n - 1), 2)
        part = pairs_of(np.zeros(n), (0.003, 0.003), modules=module * 2, first=100 * number)
        parts.append(
            replace(part, array=np.repeat(["1", "2"], n), V2=ORIGIN[0] + place, V3=ORIGIN[1] + 1.7 * (place % 20) - 17)
        )
    solution = solve(joined(*parts), scale="detectors", robust=False, scatter=False)
    found = {result.detector: result for result in judge(solution, baseline="mean")}
    assert {name: result.group for name, result in found.items()} == {"NRCA1": 1, "NRCB1": 0, "NRCA2": 1, "NRCB2": 0}
    assert found["NRCA1"].words == (
        "NRCA1, NRCA2: no source links them to the detectors of the baseline's group; a dither by (-150, +0) arcsec in"
        " (V2, V3) or an epoch turned by 180 deg would"
    )
    assert {row.group for row in solution.to_table(baseline="mean").zero_points} == {0}
    assert {r.detector: r.group for r in judge(solution, baseline="A")} == {
        "NRCA1": 0,
        "NRCB1": 1,
        "NRCA2": 0,
        "NRCB2": 1,
    }
