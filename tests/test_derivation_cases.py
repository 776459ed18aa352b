"""Cases of the derivation beside the usual one: clustered sources, other methods, a calibration of no context."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table
from derivation_of_magnitudes import PHOTMJSR, ROWS, derive, simulate_photometry
from matplotlib.figure import Figure
from one_header import make_header

from jwst_modfix.derivation import derive as derive_module
from jwst_modfix.derivation import forecast
from jwst_modfix.derivation.bands import find_times, list_bands, number_times
from jwst_modfix.derivation.derive import Options
from jwst_modfix.errors import NoSolutionError
from jwst_modfix.photometry.columns import Photometry
from jwst_modfix.report.figures import plot_module_differences
from jwst_modfix.simulate import detector_geometry

LONG = ROWS["F444W"]


@pytest.fixture(scope="module")
def photometry():
    return simulate_photometry([LONG], density=60.0)


def test_the_sky_is_predicted_at_the_middles_of_the_arrays_wherever_the_sources_are(photometry):
    """Truth: the gradient between the middles; most of the sources are in the inner halves of the arrays."""
    made, headers, epochs = photometry
    table = made.measurements
    few = ((table["x"] > 1024) == (table["module"] == "A")) | (table["source"] % 10 == 0)
    made = Photometry(measurements=table[few], exposures=made.exposures)
    (sky,) = derive(made, headers, epochs).bands[0].sky
    v2 = [detector_geometry(f"NRC{module}LONG").pixel_to_v2v3(1023.5, 1023.5)[0] for module in "AB"]
    expected = LONG.offset + 0.5 * LONG.slope * (v2[0] - v2[1]) / 60
    clustered = [np.mean(table["V2"][few & (table["module"] == module)]) for module in "AB"]
    assert 0.5 * LONG.slope * abs(np.diff(clustered)[0] - np.diff(v2)[0]) / 60 > 4 * sky.sources_error
    assert sky.sources == pytest.approx(expected, abs=3 * sky.sources_error)


@pytest.mark.parametrize(("time_term", "has_time"), [("auto", True), ("fit", True), ("zero", False)])
def test_pairs_have_a_term_of_time_unless_it_is_zero(photometry, time_term, has_time):
    (pair,) = derive(*photometry, method="pairs", time_term=time_term).bands[0].pairs.values()
    assert any(name.startswith("time") for name in pair.names) == has_time


def test_colours_are_against_the_filter_that_shares_most_sources():
    """Truth: F150W, the first by name, has a third of the sources."""
    rows = [replace(ROWS["F200W"], filter="F150W"), *ROWS.values()]
    made, headers, epochs = simulate_photometry(rows, epochs=2, density=60.0)
    table = made.measurements
    table = table[(table["filter"] != "F150W") | (table["source"] % 3 == 0)]
    bands = derive(replace(made, measurements=table), headers, epochs).bands
    assert {band.filter: band.colour.other for band in bands} == {"F150W": "F200W", "F200W": "F444W", "F444W": "F200W"}


@pytest.mark.parametrize(("number", "has_colour"), [(19, False), (20, True)])
def test_a_colour_needs_20_sources_of_both_filters(number, has_colour):
    """Truth: so many of the sources of F444W are left that are selected in F200W too."""
    made, headers, epochs = simulate_photometry(epochs=2)
    band = derive(made, headers, epochs).bands[0]
    both = np.unique(band.measurements.source[np.isfinite(band.colour.values)])[:number]
    table = made.measurements
    table = table[(table["filter"] == "F200W") | np.isin(table["source"], both)]
    band = derive(replace(made, measurements=table), headers, epochs).bands[0]
    assert (band.filter, band.colour is not None) == ("F200W", has_colour)


def test_detectors_are_simultaneous_within_an_epoch_only():
    """Truth: three exposures at one time, of which an association gives the last to another epoch."""
    exposures = Table({"exposure": [0, 1, 2], "mjd": [6e4, 6e4 + 1e-6, 6e4], "epoch": [0, 0, 1]})
    found = find_times(exposures, np.array([0, 1, 2, 2, 5])).tolist()
    assert found[0] == found[1] != found[2] == found[3]
    assert found[4] not in found[:4], "of an exposure that is not in the table"


@pytest.mark.parametrize(("seconds", "count"), [(3.0, 1), (10.0, 2), (100.0, 2)])
def test_detectors_that_are_exposed_together_start_within_five_seconds(seconds, count):
    assert len(set(number_times(60000.0 + np.array([seconds, 0.0]) / 86400))) == count


@pytest.mark.parametrize(("photometry", "isolation"), [("exposure", 1.0), ("mosaic", 1.0), ("catalog", 0.0)])
def test_crowded_sources_are_left_out_by_default_but_of_your_own_photometry(photometry, isolation):
    own = {"photometry": photometry, "catalogs": ("mine.ecsv",) * (photometry == "catalog")}
    assert Options(**own).criteria["isolation"] == isolation
    assert Options(**own, isolation=2.5).criteria["isolation"] == 2.5


def test_a_row_has_the_photmjsr_of_its_own_filter():
    """Truth: the same detectors have twice the PHOTMJSR in F150W."""
    rows = [ROWS["F200W"], replace(ROWS["F200W"], filter="F150W")]
    made, headers, epochs = simulate_photometry(rows, density=20.0)
    factor = {"F200W": 1.0, "F150W": 2.0}
    headers = [replace(header, photmjsr=factor[header.filter] * header.photmjsr) for header in headers]
    for row in derive(made, headers, epochs).table.rows:
        assert row.photmjsr == {module: factor[row.filter] * value for module, value in PHOTMJSR.items()}


def test_differences_are_of_weighted_means_without_outliers(photometry):
    """Truth: averages of each source and module by hand, over what the fit did not reject."""
    table = photometry[0].measurements.copy()
    table["mag_error"] *= np.where(np.arange(len(table)) % 3, 1.0, 3.0)
    made = Photometry(measurements=table, exposures=photometry[0].exposures)
    solution = derive(made, *photometry[1:], reserve_share=0.0, exposure_terms="zero").solution["F444W"]
    m, terms = solution.measurements, solution.epoch_terms()
    mag, expected = m.mag - np.array([terms[epoch][0] for epoch in m.epoch.tolist()]), []
    reasons = solution.residuals()["reason"]
    for source in np.unique(m.source):
        mine = (m.source == source) & np.isin(reasons, ["used", "single"])
        sides = [mine & (m.module == module) for module in "AB"]
        if all(side.any() for side in sides):
            a, b = (np.average(mag[side], weights=m.mag_error[side] ** -2.0) for side in sides)
            expected.append(1e3 * (a - b))
    assert {"outlier", "variable"} <= set(reasons)
    ax = plot_module_differences(solution, ax=Figure().subplots())
    assert np.sort(ax.lines[1].get_ydata()) == pytest.approx(np.sort(expected))


def test_bands_are_listed_in_order_and_by_filter_and_pupil():
    table = Table({"filter": ["F444W", "F200W", "F444W", "F150W2"], "pupil": ["F405N", "CLEAR", "CLEAR", "F162M"]})
    assert list_bands(table) == [("F150W2", "F162M"), ("F200W", "CLEAR"), ("F444W", "CLEAR"), ("F444W", "F405N")]


@pytest.mark.parametrize(("error", "exposures"), [(0.0058, 12), (0.0071, 8), (0.02, 1)])
def test_the_cheapest_sets_of_exposures_reach_an_error_in_each_filter(monkeypatch, error, exposures):
    """Truth: errors of 10 and 20 mmag of one exposure fall with the root of their number in one filter each."""

    def plan_bands(counts, rng, **options):
        errors = [size / np.sqrt(np.prod(counts)) for size in (0.010, 0.020)]
        return [SimpleNamespace(largest_error=lambda one=one: one) for one in errors]

    monkeypatch.setattr(forecast, "plan_bands", plan_bands)
    found = list(forecast.reach_error(lambda turns, dithers: (len(turns), dithers), 1, error))
    counts = [len(turns) * dithers for turns, dithers, _ in found]
    assert counts[0] == exposures
    assert counts == sorted(counts)
    assert len(found) == 5
    asked = list(forecast.reach_error(lambda turns, dithers: (len(turns), dithers), 1, error, rolls=(0.0, 30.0)))
    assert {turns for turns, *_ in asked} == {(0.0, 30.0)}


def test_a_forecast_without_an_error_reaches_none():
    """Truth: the largest error, without those of other groups; infinity where one is not determined."""
    status = [SimpleNamespace(term=SimpleNamespace(kind=kind), expected_error=e, is_fitted=f)
              for kind, e, f in (("offset", 0.001, True), ("offset", 0.002, True), ("slope", 0.5, True))]  # fmt: skip
    plan = forecast.BandPlan("F200W", "CLEAR", 1, 1, 1)
    assert plan.largest_error() == np.inf
    made = SimpleNamespace(model=SimpleNamespace(scale="modules"), status=status)
    assert replace(plan, forecast=made).largest_error() == 0.002
    status[0].is_fitted = False
    assert replace(plan, forecast=made).largest_error() == np.inf


@pytest.mark.parametrize("dec", [60.0, -60.0])
def test_places_are_drawn_over_the_box_of_all_exposures(dec):
    """Truth: circles of 60 arcsec, 120 arcsec apart along RA: 240 x 120 arcsec, with 25 sources per arcmin^2."""
    pointings = [SimpleNamespace(centre=(ra, dec), radius=60.0) for ra in (10.0, 10.0 + 120 / 3600 / 0.5)]
    ra, dec_found = forecast.draw_places(pointings, np.random.default_rng(1), 25.0, even=True)
    assert len(ra) == 200
    east, north = (ra - 10.0) * 1800, (dec_found - dec) * 3600
    assert [east.min(), east.max(), north.min(), north.max()] == pytest.approx([-60, 180, -60, 60], abs=3)


def test_a_forecast_sees_what_is_eight_pixels_from_the_edge():
    """Truth: an array of 200 x 100 pixels of 0.1 arcsec, from (300, 700) of the full frame on."""
    geometry = SimpleNamespace(
        shape=(100, 200),
        to_sky=lambda x, y: (np.asarray(x) / 36000, np.asarray(y) / 36000),
        to_pixel=lambda ra, dec: (ra * 36000, dec * 36000),
        to_v2v3=lambda x, y: (-x, y),
    )
    headers = [
        make_header(detector, mjd=mjd, corner=(300, 700)) for detector, mjd in (("NRCA1", 6e4), ("NRCB1", 6e4 + 1))
    ]
    one, other = forecast.pointings_of_exposures(headers, [geometry] * 2, [0, 1])
    assert [(p.array, p.module, p.epoch, p.time) for p in (one, other)] == [("1", "A", 0, 0), ("1", "B", 1, 1)]
    x, y = np.array([8.0, 8.1, 190.9, 191.0, 50.0, 50.0, 50.0, 50.0]), np.array([50.0] * 4 + [8.0, 8.1, 90.9, 91.0])
    inside, v2, v3, column, row = one.locate(x / 36000, y / 36000)
    assert inside.tolist() == [False, True, True, False, False, True, True, False]
    np.testing.assert_allclose([v2, v3], [-x[inside], y[inside]])
    np.testing.assert_allclose([column, row], [x[inside] + 300, y[inside] + 700])
    assert one.radius == pytest.approx(np.hypot(99.5, 49.5) / 10)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"F150W": 90.0}, None),
        (
            {"F150W": 90.0, "F200W": 90.0},
            "exposures must overlap on the sky; F200W: no exposure .*; F150W: no exposure",
        ),
        ({"F150W": None}, None),
        (
            {"F150W": None, "F200W": None},
            "an offset needs exposures of both modules through one filter; got F200W: A, F1",
        ),
    ],
    ids=["one apart", "both apart", "one of one module", "both of one module"],
)
def test_one_filter_in_which_modules_overlap_is_enough(monkeypatch, second, words):
    """Truth: module B of a filter is 90 arcsec east of module A, or not there."""
    headers = {}
    for number, band in enumerate(("F200W", "F150W")):
        for module, east in (("A", 0.0), ("B", second.get(band, 0.0))):
            if east is not None:
                name = f"{band}_{module}.fits"
                headers[name] = make_header(f"NRC{module}1", name, east=east, filter=band, identity=(number,))
    monkeypatch.setattr(
        derive_module.frames, "read_headers", lambda paths, *_, **__: [headers[path.name] for path in paths]
    )
    members = derive_module.Members(tuple(map(Path, headers)), (None,) * len(headers), "made", "made_asn.json")
    if words is None:
        assert derive_module.read_members(members) == (list(headers.values()), [])
    else:
        with pytest.raises(NoSolutionError, match=f"made_asn.json: {words}"):
            derive_module.read_members(members)
    assert derive_module.read_members(members, scale="detectors")[0] == list(headers.values())


def test_what_is_refused_is_listed_in_the_same_order_in_each_run():
    """Truth: in each round without newly rejected measurements, fields are tried before drifts."""
    options = {"scale": "detectors", "field_order": "1", "drift": "fit", "time_term": "fit"}
    refusals = derive(*simulate_photometry(), **options).solution["F444W"].refusals
    assert [words.split()[0] for words in refusals] == ["drifts", "field", "drifts", "field"]
