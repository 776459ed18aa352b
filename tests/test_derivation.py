"""Truth: offsets, slopes, epoch terms and sky levels put into simulated magnitudes; counts of what is planted."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.time import Time
from derivation_of_magnitudes import CONTEXTS, DRIFT, PHOTMJSR, ROWS, SKY, derive, simulate_photometry

from jwst_modfix.derivation.derive import Options
from jwst_modfix.derivation.provenance import make_model
from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.fitting.checks import run_score_tests
from jwst_modfix.photometry.columns import Flag, Photometry
from jwst_modfix.simulate import detector_geometry
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.table.table import OffsetTable

SATURATED, CROWDED = 3, 5  # sources that are planted with these faults in F444W
LONG, SHORT = ROWS["F444W"], ROWS["F200W"]


@pytest.fixture(scope="module")
def photometry():
    """Three epochs of F200W and F444W, the first file the last of its epoch; some sources are saturated or crowded."""
    photometry, headers, epochs = simulate_photometry()
    table = photometry.measurements
    several, counts = np.unique(table["source"][table["filter"] == "F444W"], return_counts=True)
    several = several[counts > 4]
    for chosen, column, value in (
        (several[:SATURATED], "flags", int(Flag.SATURATED)),
        (several[SATURATED : SATURATED + CROWDED], "isolation", 0.3),
    ):
        table[column][np.isin(table["source"], chosen) & (table["filter"] == "F444W")] = value
    return photometry, [replace(headers[0], mjd=headers[0].mjd + 0.5), *headers[1:]], epochs


@pytest.fixture(scope="module")
def derivation(photometry):
    return derive(*photometry, bootstrap=50)


@pytest.fixture(scope="module")
def described(derivation):
    """``meta`` of the reference file."""
    return make_model(derivation).meta.instance


def test_table_and_reference_file_can_be_saved(derivation, tmp_path):
    derivation.table.write(tmp_path / "table.asdf")
    derivation.model.save(tmp_path / "model.asdf")
    table, model = OffsetTable.read(tmp_path / "table.asdf"), ModuleOffsetModel(tmp_path / "model.asdf")
    assert table == model.table == derivation.table
    assert "offsets in F200W, F444W, derived from 24 exposures" in model.meta.description
    assert model.meta.derivation.instance["bands"]


def band_of(derivation, name):
    return next(band for band in derivation.bands if band.name == name)


def test_offsets_slope_and_epoch_terms_are_those_put_in(derivation):
    for truth in ROWS.values():
        row, terms = derivation.table.row(*truth.key), band_of(derivation, truth.filter).solution.epoch_terms()
        assert row.offset == pytest.approx(truth.offset, abs=3 * row.offset_error)
        assert row.offset_error < 1e-3
        for epoch, known in enumerate((0.0, DRIFT, 0.0)):
            assert terms[epoch][0] == pytest.approx(known, abs=3 * terms[epoch][1] + 1e-12)
    row = derivation.table.row(*LONG.key)
    assert row.slope_error < 1e-3
    assert row.slope == pytest.approx(LONG.slope, abs=3 * row.slope_error)
    assert band_of(derivation, "F200W").module_slopes == {}
    slopes = band_of(derivation, "F444W").module_slopes
    assert set(slopes) == {"slope[long A]", "slope[long B]"}
    for value, error in slopes.values():
        assert abs(value - LONG.slope) < 4 * error < 0.012
    assert derivation.table.row(*SHORT.key).slope is None, "fit_slope='long'"


def test_the_table_names_the_calibration_of_all_exposures(derivation, photometry):
    """Contexts are in the order of their numbers, not of time or text: first jwst_989, last jwst_1126."""
    valid = derivation.table.valid_for
    assert (valid.context_first, valid.context_last) == ("jwst_989.pmap", "jwst_1126.pmap")
    assert set(valid.photom) == {header.photom for header in photometry[1]}
    assert valid.flat == ("jwst_nircam_flat_0001.fits",)
    for row in derivation.table.rows:
        detectors = {module: f"nrc{module}{row.array}".lower() for module in "AB"}
        assert row.photom == {m: f"jwst_nircam_photom_{name}.fits" for m, name in detectors.items()}
        assert row.photmjsr == PHOTMJSR
    assert derivation.table.name == "made_moduleoffset.asdf"


@pytest.mark.parametrize("context", [None, "N/A", "my_calibration.pmap", "jwst.pmap"])
def test_a_calibration_that_one_exposure_does_not_name_is_not_checked(photometry, context):
    """A context without a number is of no order."""
    made, headers, epochs = photometry
    spoilt = [replace(headers[0], context=context, flat="N/A" if context else None), *headers[1:]]
    valid = derive(made, spoilt, epochs).table.valid_for
    assert (valid.context_first, valid.context_last, valid.flat) == (None, None, ())
    assert valid.photom, "which all exposures name"


@pytest.mark.parametrize("detector", ["NRCALONG", "NRCBLONG"])
def test_photmjsr_that_differs_between_exposures_is_not_written(photometry, detector):
    made, headers, epochs = photometry
    number = next(i for i, header in enumerate(headers) if header.detector == detector)
    headers = [*headers[:number], replace(headers[number], photmjsr=2.2), *headers[number + 1 :]]
    table = derive(made, headers, epochs).table
    assert table.row(*LONG.key).photmjsr is None
    assert table.row(*SHORT.key).photmjsr == PHOTMJSR
    at_once = [replace(header, mjd=headers[0].mjd) for header in headers]
    assert derive(made, at_once, epochs).table.row(*LONG.key).photmjsr is None, "no line in time goes through them"


@pytest.mark.parametrize(("bend", "is_written"), [(0.0005, True), (0.002, False)])
@pytest.mark.parametrize("unit", [0.01, 100.0])
def test_photmjsr_that_changes_along_a_line_is_written_for_the_mean_date(photometry, bend, is_written, unit):
    """Truth: PHOTMJSR of a photom file falls by 2% a year, and that of the second epoch is off by the bend."""
    made, headers, epochs = photometry
    days = np.array([header.mjd for header in headers]) - headers[0].mjd
    change = unit * (1 - 0.02 * days / 365) * (1 + bend * (epochs.number == 1))
    headers = [replace(header, photmjsr=header.photmjsr * c) for header, c in zip(headers, change, strict=True)]
    found = derive(made, headers, epochs).table.row(*LONG.key).photmjsr
    middle = np.mean([day for day, header in zip(days, headers, strict=True) if header.filter == "F444W"])
    expected = {
        name: pytest.approx(unit * value * (1 - 0.02 * middle / 365), rel=1e-3) for name, value in PHOTMJSR.items()
    }
    assert found == (expected if is_written else None)


def test_the_reference_file_says_when_and_of_what_it_was_made(described, photometry):
    """Truth: the start of the first exposure and the last exposure's day; the simulated epochs."""
    times = Time([header.mjd for header in photometry[1]], format="mjd")
    assert described["useafter"] == times.min().isot[:19]
    assert described["pedigree"] == f"INFLIGHT {times.min().isot[:10]} {times.max().isot[:10]}"
    assert f"F200W, F444W, derived from {len(photometry[1])} exposures" in described["description"]
    days = f"{times.min().isot[:10]} to {times.max().isot[:10]}"
    assert f"from {len(photometry[1])} exposures of 3 epochs, {days}; " in described["history"][0]


def test_the_reference_file_counts_epochs_and_measurements(described, photometry):
    made, headers, _ = photometry
    derivation, table = described["derivation"], made.measurements
    for number, (epoch, roll) in enumerate(zip(derivation["epochs"], (161.0, 341.0, 161.0), strict=True)):
        times = [header.mjd for header in headers if header.context == CONTEXTS[number]]
        found = [epoch[name] for name in ("name", "exposures", "roll_deg", "first_mjd", "last_mjd")]
        assert found == [f"ep{number + 1}", len(headers) // 3, [roll], min(times), max(times)]
    failed = derivation["measurements"]["failed"]
    assert list(failed) == ["edge", "masked", "sky", "negative", "saturated", "snr", "faint", "crowded", "single"]
    assert failed["single"] > 0
    assert failed["saturated"] == np.count_nonzero(table["flags"] == Flag.SATURATED) > SATURATED
    assert failed["crowded"] == np.count_nonzero(table["isolation"] < 1) > CROWDED
    assert derivation["measurements"]["measured"] == len(table)
    assert len(table) - sum(failed.values()) <= derivation["measurements"]["selected"] < len(table)
    assert len(derivation["exposures"]) == len(headers)


def test_the_reference_file_holds_the_solution_of_each_filter(described, derivation):
    bands = {band["filter"]: band for band in described["derivation"]["bands"]}
    for truth in ROWS.values():
        band, row = bands[truth.filter], derivation.table.row(*truth.key)
        values = dict(zip(band["terms"], band["values"], strict=True))
        errors = np.sqrt(np.diag(band["covariance"]))
        assert values[f"offset[{truth.array}]"] == pytest.approx(row.offset, abs=1e-6)
        assert errors[band["terms"].index(f"offset[{truth.array}]")] == pytest.approx(row.offset_error, abs=1e-6)
        assert dict(zip(band["terms"], band["units"], strict=True))["epoch[1]"] == "mag"
    long = bands["F444W"]
    slope = long["terms"].index("slope[long]")
    assert long["units"][slope] == "mag/arcmin"
    assert long["values"][slope] == pytest.approx(derivation.table.row(*LONG.key).slope, abs=1e-6)
    assert long["intrinsic_scatter_mag"] < 0.001, "the errors as given hold the scatter"
    assert 0.6 < long["bootstrap_ratio"]["offset[long]"] < 1.6


def test_the_reference_file_has_each_number_under_its_name(described, derivation):
    """Truth: the numbers of the solutions, which differ from each other."""
    for band, known in zip(described["derivation"]["bands"], derivation.bands, strict=True):
        s = known.solution
        expected = {
            "chi2": s.chi2, "chi2_as_given": s.chi2_as_given, "degrees_of_freedom": s.dof, "sources": s.n_sources,
            "measurements": s.n_measurements, "error_scale": s.error_scale, "intrinsic_scatter_mag": s.sigma_int,
            "detector_scatter_mag": s.detector_scatter,
        }  # fmt: skip
        assert len(set(expected.values())) >= 7
        assert {name: band[name] for name in expected} == pytest.approx(expected)
        assert band["remarks"] == [*s.remarks, *s.refusals]
        points = {name: (point["value"], point["error"]) for name, point in band["zero_points"].items()}
        assert points == s.zero_points("mean")
        errors = dict(zip(s.names, np.sqrt(np.diag(s.covariance)), strict=True))
        for name, ratio in band["bootstrap_ratio"].items():
            draws = known.bootstrap.draws[:, known.bootstrap.names.index(name)]
            assert ratio == pytest.approx(np.std(draws, ddof=1) / errors[name])
    aperture = described["derivation"]["aperture"]
    assert (aperture["larger_by"], aperture["radius_arcsec"]) == (1.5, {"LONG": 0.45, "SHORT": 0.30})
    assert described["derivation"]["least_error_mag"] == 0.0007


def test_rows_have_seven_decimals_and_the_mean_date_of_their_exposures(derivation, photometry):
    """Truth: the solution's numbers, rounded; the day of the mean of the times of that filter."""
    for truth in ROWS.values():
        row, solution = derivation.table.row(*truth.key), band_of(derivation, truth.filter).solution
        for kind in ("offset", "slope") if truth.slope else ("offset",):
            value, error = solution.value(f"{kind}[{truth.array}]")
            assert (getattr(row, kind), getattr(row, f"{kind}_error")) == (round(value, 7), round(error, 7))
        times = [header.mjd for header in photometry[1] if header.filter == truth.filter]
        assert row.photmjsr_date == Time(np.mean(times), format="mjd").isot[:10]


def test_solutions_have_the_names_of_filter_and_pupil(derivation):
    """Truth: a narrow band in the pupil wheel is not the filter in front of it."""
    long = replace(derivation.bands[1], pupil="F405N")
    assert list(replace(derivation, bands=(*derivation.bands, long)).solution) == ["F200W", "F444W", "F444W+F405N"]


def test_counts_of_a_filter_add_up(described, derivation):
    """Used, rejected and reserved measurements are together those that were selected."""
    table = derivation.measurements
    for band in described["derivation"]["bands"]:
        mine = table[table["filter"] == band["filter"]]
        kept = mine["selected"] & ~mine["reserved"]
        assert band["measurements"] + sum(band["rejected"]) == np.count_nonzero(kept)
        assert band["measurements"] == np.count_nonzero(mine["used"]) == np.count_nonzero(mine["reason"] == "")
        assert band["sources"] == len(np.unique(mine["source"][mine["used"]]))
        for rule, count in zip(("single", "outlier", "variable"), band["rejected"], strict=True):
            assert np.count_nonzero(kept & (mine["reason"] == rule)) == count
        # Each of the six exposures has a term but the first; those of epochs are their means.
        terms = len([name for name in band["terms"] if not name.startswith("epoch")]) + 5
        assert band["degrees_of_freedom"] == band["measurements"] - band["sources"] - terms


def test_the_sky_is_compared_with_what_the_sources_predict_for_it(derivation):
    """Truth: the sky levels put in, and offset and slope at the middles of the two detectors."""
    for truth in ROWS.values():
        (sky,) = band_of(derivation, truth.filter).sky
        places = [
            detector_geometry(f"NRC{module}{truth.array.upper()}").pixel_to_v2v3(1023.5, 1023.5)[0] for module in "AB"
        ]
        expected = truth.offset + 0.5 * (truth.slope or 0.0) * (places[0] - places[1]) / 60
        assert sky.sky == pytest.approx(expected, abs=1e-4)
        assert sky.sources == pytest.approx(expected, abs=3 * sky.sources_error)
        assert sky.sources_error < 1e-3
        assert sky.sigmas == pytest.approx((sky.sky - sky.sources) / np.hypot(sky.sky_error, sky.sources_error))
        assert abs(sky.sigmas) < 3


def test_a_sky_that_disagrees_is_a_warning(photometry):
    made, headers, epochs = photometry
    exposures = made.exposures.copy()
    exposures["sky"] = SKY**2 / exposures["sky"]
    band = band_of(derive(Photometry(measurements=made.measurements, exposures=exposures), headers, epochs), "F200W")
    assert band.sky[0].sky == pytest.approx(-SHORT.offset, abs=1e-4)
    (warning,) = band.warnings
    assert warning.startswith("SkyDisagreementWarning: ")
    assert "array 2" in warning


def test_sky_levels_of_different_times_are_not_compared(photometry):
    """Module A is there in the first dither of each epoch only, and module B in the second, ten minutes later."""
    made, headers, epochs = photometry
    first = made.exposures["mjd"] == made.exposures["mjd"].round()
    exposures = made.exposures[(made.exposures["module"] == "A") == first]
    derivation = derive(Photometry(measurements=made.measurements, exposures=exposures), headers, epochs)
    assert [band.sky for band in derivation.bands] == [(), ()]


def test_reserved_sources_are_whole_and_nothing_is_left_in_them(derivation):
    table = derivation.measurements
    for band in derivation.bands:
        mine = table[(table["filter"] == band.filter) & table["selected"]]
        reserved = np.unique(mine["source"][mine["reserved"]])
        assert len(reserved) / len(np.unique(mine["source"])) == pytest.approx(0.2, abs=0.01)
        assert not np.isin(mine["source"][~mine["reserved"]], reserved).any()
        (left,) = band.residuals
        assert abs(left.residual) < 3 * left.residual_error < 5e-3
        assert left.sigmas * left.residual > 0


def test_score_tests_are_corrected_for_the_number_of_filters_and_have_the_colours(photometry):
    """Truth: the tests of each solution alone, of two filters, with the colours of what was fitted."""
    made, headers, epochs = photometry
    table = made.measurements.copy()
    table["mag"] += 0.002 * (np.asarray(table["exposure"]) % 6 == 0)
    for band in derive(replace(made, measurements=table), headers, epochs, exposure_terms="zero").bands:
        colour = band.colour.values[~band.measurements.reserved]
        assert band.score_tests == run_score_tests(band.solution, colour=colour, n_bands=2)
        assert band.score_tests != run_score_tests(band.solution, colour=colour)
        assert "colour x module" in [test.name for test in band.score_tests]


def test_method_pairs_writes_the_values_of_the_pairs(photometry):
    derivation = derive(*photometry, method="pairs", bootstrap=20)
    for truth in ROWS.values():
        row = derivation.table.row(*truth.key)
        band = band_of(derivation, truth.filter)
        pairs, solution = band.pairs[truth.array], band.solution
        assert band.bootstrap is None, "that of the network is not theirs"
        assert (row.offset, row.offset_error) == pytest.approx(pairs.value("offset"), abs=1e-6)
        number, others = solution.names.index(f"offset[{truth.array}]"), 2 if truth.slope else 1
        assert (
            np.count_nonzero(solution.covariance[number]) == np.count_nonzero(solution.covariance[:, number]) == others
        )
        assert {s.effective_sources for s in solution.status if s.term.kind in ("offset", "slope")} == {pairs.n_sources}
        assert row.offset == pytest.approx(truth.offset, abs=4 * row.offset_error)
    assert derivation.table.row(*LONG.key).slope == pytest.approx(LONG.slope, abs=2e-3)


def test_method_pairs_with_one_epoch_says_what_it_lacks():
    made = simulate_photometry([LONG], epochs=1)
    with pytest.raises(NoSolutionError, match="no offset can be derived"):
        derive(*made, method="pairs")


def test_each_measurement_has_its_residual_and_the_rule_that_excludes_it(derivation, photometry):
    """Truth: the noise put in, 2 to 5 mmag; a source that is rejected whole varies by less than 1 mag."""
    table = derivation.measurements
    assert np.std(table["residual"][table["used"]]) < 0.006
    assert np.abs(table["residual"][table["reason"] == "outlier"]).min() > np.std(table["residual"][table["used"]])
    assert 0.01 < np.abs(table["residual"][table["reason"] == "variable"]).max() < 1
    assert np.isnan(table["residual"][table["reserved"] | ~table["selected"]]).all()
    assert (table["reason"][table["reserved"]] == "reserved").all()
    assert np.count_nonzero(table["reason"] == "saturated") == np.count_nonzero(table["flags"])
    assert np.count_nonzero(table["reason"] == "crowded") == np.count_nonzero(table["isolation"] < 1)
    assert not table["used"][~table["selected"] | table["reserved"]].any()
    assert len(table) == len(photometry[0].measurements)
    assert "residual" not in photometry[0].measurements.colnames, "the input is not changed"


def test_an_error_of_a_small_size_is_added_to_each_measurement(photometry):
    """Truth: 0.7 mmag in quadrature; by photons alone, a source of 0.1 mmag would outweigh nine hundred of 3 mmag."""
    made, headers, epochs = photometry
    table = made.measurements.copy()
    table["mag_error"] = np.where(table["source"] % 2, 0.0001, 0.003)
    derivation = derive(Photometry(measurements=table, exposures=made.exposures), headers, epochs)
    error = band_of(derivation, "F444W").measurements.mag_error
    assert np.unique(error.round(9)) == pytest.approx(np.hypot([0.0001, 0.003], 0.0007))
    assert set(derivation.photometry.measurements["mag_error"]) == {0.0001, 0.003}, "the table keeps what was measured"


@pytest.mark.parametrize(("baseline", "scale"), [("A", (0.0, 1.0)), ("mean", (0.5, -0.5)), ("B", (1.0, 0.0))])
def test_the_baseline_is_that_of_the_options(photometry, baseline, scale):
    table = derive(*photometry, baseline=baseline).table
    row = table.row(*SHORT.key)
    expected = (0.0, -row.offset) if baseline == "A" else tuple(share * row.offset for share in scale)
    assert tuple(table.zero_point(row, module) for module in "AB") == pytest.approx(expected)


def test_options_reach_the_fit(photometry):
    """Each option changes what it names, and nothing else is fitted."""
    flat = derive(*photometry, fit_slope="none", time_term="zero", reserve_share=0.0, significance=1000.0)
    assert not any(band.measurements.reserved.any() or band.residuals for band in flat.bands)
    assert all(result.slope is None for band in flat.bands for result in band.results)
    assert all(value == (0.0, 0.0) for band in flat.bands for value in band.solution.epoch_terms().values())
    assert all(result.verdict != "needed" for band in flat.bands for result in band.results)
    turned = band_of(derive(*photometry, fit_direction=True), "F444W").results[0]
    assert turned.direction == pytest.approx(90, abs=3 * turned.direction_error)
    others = {"fit_slope": "all", "time_term": "fit", "exposure_terms": "zero"}
    for found in (derive(*photometry, **others).bands, derive(*photometry, scale="detectors", **others).bands):
        assert [{name: getattr(band.solution.choice, name) for name in others} for band in found] == [others] * 2


def test_options_reach_the_fit_of_detectors(photometry):
    options = {"field_order": "2", "drift": "fit", "baseline": "A", "significance": 1000.0}
    derivation = derive(*photometry, scale="detectors", **options)
    for band in derivation.bands:
        assert (band.solution.choice.field_order, band.solution.choice.drift, band.drifts) == (2, True, ())
        assert "needed" not in [result.verdict for result in band.detectors]
        assert [result.zero_point for result in band.detectors if result.detector[3] == "A"] == [0.0]
    assert derivation.table.baseline == "A"


@pytest.mark.parametrize("option", ["significance", "bootstrap", "seed", "min_snr", "isolation"])
def test_numbers_of_options_are_zero_or_more(option):
    assert getattr(Options(**{option: 0}), option) == 0
    with pytest.raises(MeasurementsError, match=f"{option}: must be at least 0; got -1"):
        Options(**{option: -1})
    with pytest.raises(MeasurementsError, match=f"{option}: must be at least 0; got nan"):
        Options(**{option: np.nan})


@pytest.mark.parametrize(("share", "is_accepted"), [(0, True), (0.9, True), (0.91, False), (-0.01, False)])
def test_a_share_of_the_sources_is_reserved(share, is_accepted):
    if is_accepted:
        assert Options(reserve_share=share, bootstrap=2).reserve_share == share
    else:
        with pytest.raises(MeasurementsError, match=f"reserve_share: must be from 0 to 0.9; got {share}"):
            Options(reserve_share=share)


def test_a_detector_with_two_photom_files_has_no_name_of_one(photometry):
    """Truth: one exposure of module A in F200W names another file, with the same PHOTMJSR."""
    made, headers, epochs = photometry
    number = next(i for i, header in enumerate(headers) if (header.filter, header.module) == ("F200W", "A"))
    other = replace(headers[number], photom="other.fits")
    table = derive(made, [*headers[:number], other, *headers[number + 1 :]], epochs).table
    assert (table.row(*SHORT.key).photom, table.row(*SHORT.key).photmjsr) == (None, PHOTMJSR)
    assert set(table.row(*LONG.key).photom) == {"A", "B"}
    assert "other.fits" in table.valid_for.photom


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scale": "arrays"}, "scale: must be one of modules, detectors; got 'arrays'"),
        ({"exposure_terms": "yes"}, "exposure_terms: must be one of auto, fit, zero; got 'yes'"),
        ({"aperture": "small"}, "aperture: must be one of r, large, extrapolated; got 'small'"),
        ({"baseline": "NRCB1"}, "baseline: must be one of B, A, mean; got 'NRCB1'"),
        ({"field_order": "2"}, "field_order and drift: need scale='detectors'; got scale='modules'"),
        ({"scale": "detectors", "method": "pairs"}, "scale: 'detectors' needs method='network'"),
        ({"method": "sky"}, "method: 'sky' needs scale='detectors' and photometry='exposure'"),
        ({"photometry": "catalog"}, "catalogs: required with photometry='catalog'"),
        (
            {"aperture": "large", "photometry": "mosaic"},
            "aperture: 'large' needs photometry='exposure'; got photo",
        ),
        ({"method": "pairs", "fit_direction": True}, "fit_direction: needs method='network'; got method='pairs'"),
        ({"method": "pairs", "colour_term": True}, "colour_term: needs method='network'; got method='pairs'"),
        ({"method": "sky", "scale": "detectors", "colour_term": True}, "colour_term: needs method='network'; got"),
        ({"bootstrap": 1}, "bootstrap: must be 0"),
    ],
)
def test_options_that_contradict_are_refused(options, words):
    with pytest.raises(MeasurementsError, match=words):
        Options(**options)


def test_limits_reach_the_selection(photometry):
    table = photometry[0].measurements
    strict = derive(*photometry, faintest=20.5, min_snr=0.0, isolation=0.0)
    assert strict.selection.rejected["faint"] == np.count_nonzero(table["source_mag"] > 20.5) > 0
    assert strict.selection.rejected["crowded"] == 0
    unusable = np.count_nonzero(table["flags"])
    assert derive(*photometry, compactness=0.4).selection.rejected["extended"] == unusable
    with pytest.raises(NoSolutionError, match=f"{len(table)} extended"):
        derive(*photometry, compactness=0.6)


def test_a_seed_gives_the_same_numbers_and_another_seed_others(photometry, derivation):
    """The seed chooses the reserved sources."""
    again, other = derive(*photometry, bootstrap=50), derive(*photometry, seed=2)
    assert again.table == derivation.table
    assert other.table != derivation.table
    for one, two in zip(again.bands, derivation.bands, strict=True):
        np.testing.assert_array_equal(one.bootstrap.draws, two.bootstrap.draws)


def test_what_is_reserved_in_a_filter_does_not_depend_on_other_filters(photometry, derivation):
    alone = derive(*without_module_b(*photometry, "F200W"))
    reserved = [band_of(found, "F444W").measurements.reserved for found in (alone, derivation)]
    np.testing.assert_array_equal(*reserved)


def without_module_b(made, headers, epochs, band):
    """The photometry without the exposures of module B in one filter, and its measurements."""
    keep = ~((made.exposures["filter"] == band) & (made.exposures["module"] == "B"))
    table = made.measurements
    rows = ~((table["filter"] == band) & (table["module"] == "B"))
    made = Photometry(measurements=table[rows], exposures=made.exposures[keep])
    return (
        made,
        [header for header, kept in zip(headers, keep, strict=True) if kept],
        replace(epochs, number=epochs.number[keep]),
    )


def test_a_filter_of_one_module_has_no_row_and_a_reason(photometry):
    derivation = derive(*without_module_b(*photometry, "F200W"))
    assert band_of(derivation, "F200W").failure == "all exposures are of module A; an offset needs both modules"
    assert [row.key for row in derivation.table.rows] == [LONG.key]
    model = make_model(derivation).meta.instance
    assert "offsets in F444W, derived" in model["description"]
    assert any("F200W" in line and "all exposures are of module A" in line for line in model["history"])


def test_where_no_filter_determines_an_offset_the_error_names_each_and_counts(photometry):
    made, headers, epochs = without_module_b(*without_module_b(*photometry, "F200W"), "F444W")
    saturated = np.count_nonzero(made.measurements["flags"])
    with pytest.raises(
        NoSolutionError, match=rf"no offset .* both modules; F444W: all exposures .*{saturated} saturated"
    ):
        derive(made, headers, epochs)


def test_exposures_that_were_corrected_before_are_named(photometry):
    made, headers, epochs = photometry
    some = [replace(h, status="COMPLETE" if h.array == "long" else "SKIPPED") for h in headers]
    assert derive(made, some, epochs).corrected == "F444W CLEAR array long"
    everything = derive(made, [replace(h, status="COMPLETE") for h in headers], epochs)
    assert everything.corrected == "the exposures"
    history = "\n".join(make_model(everything).meta.instance["history"])
    assert "Corrected for module offsets before: the exposures" in history
    assert derive(made, headers, epochs).corrected == ""
