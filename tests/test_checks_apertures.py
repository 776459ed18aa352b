"""Larger apertures: their fluxes, the choice of the aperture, and what two of them say of an offset."""

import dataclasses
import functools

import numpy as np
import pytest
from apertures import draw_offsets
from derivation_of_magnitudes import derive, simulate_photometry
from report_page import write_report
from simulated_network import chain
from test_photometry_apertures import APERTURE, SCALE, draw, make_frame, measure_draws, measure_source

from jwst_modfix.derivation.provenance import describe_derivation
from jwst_modfix.fitting.checks import ApertureDifference, compare_apertures
from jwst_modfix.fitting.solution import fit_quietly
from jwst_modfix.photometry.forced import growth_shares, systematic_error
from jwst_modfix.simulate import BANDS


def enclosed(radius, sigma):
    """Share of the light of a round Gaussian within a radius."""
    return 1 - np.exp(-((radius / sigma) ** 2) / 2)


@pytest.mark.parametrize("sigma", [0.1, 0.2])
def test_growth_is_the_light_between_the_apertures(sigma):
    # The truth: a round Gaussian, of which the annulus holds a part, taken for sky. Pixels spread their light evenly,
    # which adds a sixth of their square to the variance.
    image = draw(60.3, 58.8, 2e-5, sigma=sigma)
    one = measure_source(make_frame(image, err=1e-9), 60.3, 58.8, SCALE, APERTURE)
    sky = (one.sky - 0.2) * 2.37e-14 * 1e6 / (0.031 * 0.0308)  # Jy per square arcsec
    wider = np.sqrt(sigma**2 + 0.031 * 0.0308 / 6)
    light = [2e-5 * enclosed(0.3 * f, wider) - sky * np.pi * (0.3 * f) ** 2 for f in (1, 1.5, 2)]
    expected = -2.5 * np.log10(light[1] / light[0]), -2.5 * np.log10(light[2] / light[1])
    assert (one.growth, one.far_growth) == pytest.approx(expected, abs=3e-4)
    core = 2e-5 * enclosed(0.15, wider) - sky * np.pi * 0.15**2
    assert one.compactness == pytest.approx(core / light[0], abs=2e-3)


@pytest.mark.parametrize(
    ("sigma", "detector", "channel"),  # sigma [arcsec]: of the wider source, the larger apertures hold much more
    [(0.05, "NRCALONG", "LONG"), (0.25, "NRCA1", "SHORT")],
)
def test_errors_of_larger_apertures_are_their_scatter(sigma, detector, channel):
    """The truth: the scatter of 1500 draws of noise, known to 1.8%. All apertures share pixels and the sky."""
    image, rng = draw(60.0, 60.0, 2e-6, sigma=sigma), np.random.default_rng(8)
    found = measure_draws(image, APERTURE, rng, 1500, detector=detector)
    mag, growth, far = -2.5 * np.log10(found.flux), found.growth, found.far_growth
    near_share, far_share = growth_shares("extrapolated", channel)
    values = {"growth": growth, "large": mag + growth, "extrapolated": mag + near_share * growth + far_share * far}
    for name, value in values.items():
        error = np.median(getattr(found, f"{name}_error"))
        assert np.std(value) / error == pytest.approx(1.0, abs=0.07), name


def test_growth_over_the_edge_is_not_measured():
    # The truth: 0.3" are 10 pixels; 0.45" are 15, and 0.6" are 20.
    at = {x: measure_source(make_frame(draw(x, 60.0, 2e-6)), x, 60.0, SCALE, APERTURE) for x in (12.0, 17.0, 25.0)}
    known = [(np.isfinite(one.flux), np.isfinite(one.growth), np.isfinite(one.far_growth)) for one in at.values()]
    assert known == [(True, False, False), (True, True, False), (True, True, True)]


@pytest.mark.parametrize(
    ("difference", "error", "is_significant"),
    [(0.002, 5e-4, True), (-0.002, 5e-4, True), (0.002, 8e-4, False), (6e-4, 1e-4, True), (4e-4, 1e-4, False)],
)
def test_a_term_depends_on_the_aperture_beyond_three_sigma_and_half_a_mmag(difference, error, is_significant):
    found = ApertureDifference(name="offset[2]", array="2", difference=difference, error=error, far_difference=0.0)
    assert found.is_significant == is_significant


LOSS = {"r": 0.004, "large": 0.0012}  # mag of module A in F200W, and what is left of it in 1.5 r
FARTHEST = 0.0007  # mag, what is left in 2 r
LEFT = (
    LOSS["r"] + 1.33 * (LOSS["large"] - LOSS["r"]) + 2.31 * (FARTHEST - LOSS["large"])
)  # in the extrapolation: -0.9 mmag


@pytest.fixture(scope="module")
def measured():
    """Photometry in which the aperture of module A loses light in F200W: truth of the offset -50 mmag."""
    photometry, headers, epochs = simulate_photometry()
    table, rng = photometry.measurements.copy(), np.random.default_rng(1)
    wide = (table["module"] == "A") & (table["filter"] == "F200W")
    table["mag"] = np.asarray(table["mag"]) + LOSS["r"] * wide
    for name, change in (("growth", LOSS["large"] - LOSS["r"]), ("far_growth", FARTHEST - LOSS["large"])):
        table[name] = -0.03 + change * wide + rng.normal(0, 0.001, len(table))
    table["growth_error"] = 0.001
    for name, share in (("large", (1, 0)), ("extrapolated", growth_shares("extrapolated", "SHORT"))):
        table[f"{name}_error"] = np.sqrt(np.asarray(table["mag_error"]) ** 2 + (0.001 * np.hypot(*share)) ** 2)
    return dataclasses.replace(photometry, measurements=table), headers, epochs


@pytest.fixture(scope="module")
def solve(measured):
    """Function that derives a table from it; the same options give the same derivation."""
    return functools.cache(lambda **options: derive(*measured, **options))


def test_an_offset_that_depends_on_the_aperture_is_a_warning(solve):
    short, long = solve().bands
    (one,) = short.apertures
    assert one.array == "2"
    assert one.difference == pytest.approx(LOSS["large"] - LOSS["r"], abs=4 * one.error)
    assert one.error < 0.0003
    (warning,) = [w for w in short.warnings if "aperture" in w]
    assert warning.startswith("ModelMismatchWarning: offset of array 2: -2.")
    assert "use aperture='extrapolated'" in warning
    assert not [w for w in long.warnings if "aperture" in w]
    assert one.far_difference == pytest.approx(FARTHEST - LOSS["large"], abs=4 * one.error)
    (other,) = long.apertures
    assert abs(other.difference) < 4 * other.error, "truth: 0"
    assert abs(other.far_difference) < 4 * other.error, "truth: 0"
    assert long.systematic_floors("r")["long"] == pytest.approx(0.0008, abs=0.0009)


@pytest.mark.parametrize("aperture", ["r", "large", "extrapolated"])
def test_the_floor_holds_what_an_aperture_loses(solve, aperture):
    """Truth: the light that module A loses in the aperture, and the filter's floor, with the noise of the growths."""
    lost = LOSS.get(aperture, LEFT) - LEFT
    floors = solve().bands[0].systematic_floors(aperture)
    assert floors == {"2": pytest.approx(abs(lost) + 0.0015, abs=6e-4)}
    assert floors["2"] > abs(LOSS.get(aperture, LEFT)), "the truth is within"


@pytest.mark.parametrize("aperture", ["r", "large", "extrapolated"])
def test_the_aperture_can_be_chosen(solve, aperture):
    """Truth: what each aperture loses; an extrapolation by 1.33 and 2.31 times the growths loses -0.9 mmag."""
    left = LOSS.get(aperture, LEFT)
    found = solve(aperture=aperture)
    row = found.table.row("2", "F200W", "CLEAR")
    assert row.offset == pytest.approx(-0.05 + left, abs=3 * row.offset_error)
    band, column = found.bands[0], "mag_error" if aperture == "r" else f"{aperture}_error"
    errors = np.asarray(found.photometry.measurements[column])[band.rows]
    np.testing.assert_allclose(band.measurements.mag_error, np.hypot(errors, 0.0007))
    described = describe_derivation(found)
    assert described["aperture"]["choice"] == aperture
    assert described["aperture"]["radius_arcsec"] == {"LONG": 0.45, "SHORT": 0.30}
    assert described["systematic_floor_mag"] == pytest.approx(abs(left - LEFT) + 0.0015, abs=9e-4)
    assert described["bands"][0]["apertures"][0]["is_significant"]


def test_measurements_without_the_larger_aperture_are_not_selected(measured):
    photometry, headers, epochs = measured
    table = photometry.measurements.copy()
    table["far_growth"][::10] = np.nan
    given = dataclasses.replace(photometry, measurements=table), headers, epochs
    found = derive(*given, aperture="extrapolated")
    assert set(np.asarray(found.measurements["reason"])[::10]) == {"large aperture"}
    assert "large aperture" not in np.asarray(derive(*given).measurements["reason"])


def test_floors_by_filter():
    """Truth: 1.5 to 2 mmag at short and 0.8 mmag at long wavelengths."""
    short = {"F070W": 0.002, "F115W": 0.002, "F140M": 0.002, "F150W": 0.0015, "F150W2": 0.0015, "F200W": 0.0015}
    assert {name: systematic_error("r", "SHORT", name) for name in short} == short
    assert [systematic_error("r", "LONG", name) for name in ("F250M", "F444W", "F480M")] == [0.0008] * 3
    assert systematic_error("r", "LONG", "F444W", -0.003, 0.001) == pytest.approx(1.26 * 0.002 + 0.0015)
    assert systematic_error("large", "LONG", "F444W", -0.003, 0.001) == pytest.approx(
        1.26 * 0.001 - 0.26 * 0.003 + 0.0015
    )
    assert systematic_error("extrapolated", "LONG", "F444W", -0.003, 0.001) == 0.0015
    assert growth_shares("r", "LONG") == (0.0, 0.0)


@pytest.mark.parametrize(("filter_", "trials"), [("F444W", (1001, 1007, 1010, 1017, 1027, 1031)), ("F200W", (1032,))])
def test_floors_hold_where_the_change_to_the_larger_aperture_is_small(filter_, trials):
    """Truth: 0 for PSFs of wavefronts of 100 and 130 nm, of pairs in which 1.5 r still loses most of what r loses."""
    band = BANDS[filter_]
    for trial in trials:
        offset = 1e-3 * draw_offsets(band, (100.0, 130.0), trial)
        near, far = np.diff(offset)
        assert 3 * abs(near) < abs(offset[0]), "a multiple of the change would not do"
        for aperture, value in zip(("r", "large"), offset[:2], strict=True):
            assert abs(value) < systematic_error(aperture, band.channel, filter_, near, far)


def test_a_term_that_the_farthest_aperture_does_not_determine_is_not_compared():
    """Truth: the growths from 1.5 r to 2 r of the 7 sources of one link scatter by 0.3 mag, the others by 3 mmag."""
    m, spoilt = (chain(7, jump) for jump in (np.zeros(7), 0.3 * np.random.default_rng(0).choice([-1.0, 1.0], 7)))
    found = compare_apertures(fit_quietly(m), m.mag - 20.0, spoilt.mag - 20.0, m.mag_error)
    assert [one.name for one in found] == ["offset[1]"]


def test_zero_points_of_detectors_are_compared_too(solve):
    """Truth: zero points of NRCA2 and NRCB2 change by half of the difference each, about their mean."""
    found = {one.array: one.difference for one in solve(scale="detectors").bands[0].apertures}
    assert set(found) == {"NRCA2", "NRCB2"}
    assert found["NRCA2"] - found["NRCB2"] == pytest.approx(LOSS["large"] - LOSS["r"], abs=6e-4)


def test_the_report_has_apertures_floors_and_assumptions(solve, tmp_path):
    """Truth: the numbers of the derivation, in mmag."""
    found = solve()
    (one,) = found.bands[0].apertures
    page = write_report(found, tmp_path).read_text()
    assert f">{1e3 * one.difference:+.2f} ± {1e3 * one.error:.2f}</td>" in page
    assert "mmag more in 1.5 times the aperture" in page
    assert f"The offset of array 2 {found.bands[0].assumptions[0].words}." in page
