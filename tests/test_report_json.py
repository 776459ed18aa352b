"""Truth: values and counts put in, read from the JSON file; the page shows the same numbers."""

import json
from collections import Counter
from dataclasses import replace
from importlib import resources

import jsonschema
import numpy as np
import pytest
from astropy.table import Table
from derivation_of_magnitudes import DRIFT, ROWS, derive, simulate_photometry
from report_page import Page, measured, write_report

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.report.content import collect_points, describe_report, list_outliers
from jwst_modfix.table.table import OffsetRow, OffsetTable

SHORT, LONG = ROWS["F200W"], ROWS["F444W"]
SCHEMA = json.loads((resources.files("jwst_modfix.report") / "report.schema.json").read_text())
VARIABLE, BLINKING, SATURATED = 0.3, 0.5, 3  # mag, mag, sources
SEED = 3  # of the reserved sources, which are none of those that are planted
OTHER = OffsetRow(array="2", filter="F200W", offset=-0.04, offset_error=0.001)


@pytest.fixture(scope="module")
def planted():
    """Photometry with a variable source, a source with one outlier and three saturated sources in F200W."""
    photometry, headers, epochs = simulate_photometry(seed=5, outliers=0.0)
    table = photometry.measurements
    band = np.asarray(table["filter"] == "F200W")
    sources, counts = np.unique(table["source"][band], return_counts=True)
    often = [int(source) for source in sources[counts == 6]]
    variable, blinking, saturated = often[0], often[1], often[2 : 2 + SATURATED]
    mine = band & (table["source"] == variable)
    table["mag"][mine & (table["epoch"] == 1)] += VARIABLE
    table["mag"][np.flatnonzero(band & (table["source"] == blinking))[0]] += BLINKING
    table["flags"][band & np.isin(table["source"], saturated)] = 2
    return photometry, headers, epochs, {"variable": variable, "outlier": blinking, "saturated": saturated}


@pytest.fixture(scope="module")
def report(planted, tmp_path_factory):
    """Folder of a report."""
    photometry, headers, epochs, _ = planted
    folder = tmp_path_factory.mktemp("report")
    OffsetTable(rows=(OTHER,), meta={"description": "other"}).write(folder / "other.asdf")
    derivation = derive(photometry, headers, epochs, reserve_share=0.1, seed=SEED, compare=str(folder / "other.asdf"))
    return write_report(derivation, folder, "made_modfix_report.html").parent


@pytest.fixture(scope="module")
def content(report):
    return json.loads((report / "made_modfix_report.json").read_text())


@pytest.fixture(scope="module")
def band(content):
    return next(band for band in content["bands"] if band["name"] == "F200W")


def test_the_file_follows_the_schema(content):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(content, SCHEMA, cls=jsonschema.Draft202012Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "table": {**content["table"], "hash": "none"}}, SCHEMA)


def test_values_are_in_mag_with_the_sign_that_was_put_in(content):
    for band in content["bands"]:
        (result,), truth = band["results"], ROWS[band["name"]]
        assert result["offset"] == pytest.approx(truth.offset, abs=4 * result["offset_error"])
        ep2 = next(term for term in band["epoch_terms"] if term["name"] == "ep2")
        assert ep2["term_mag"] == pytest.approx(DRIFT, abs=4 * ep2["error_mag"])
    centres = content["bands"][1]["centres"]["long"]
    # The middles of the long-wavelength arrays are 172 arcsec apart along V2; one exposure has half of k.
    truth = LONG.offset + 0.5 * LONG.slope * 172 / 60
    assert centres["offset_mag"] == pytest.approx(truth, abs=4 * centres["error_mag"])


def test_the_funnel_adds_up_and_names_the_rules(planted, band):
    table, funnel = planted[0].measurements, band["funnel"]
    mine = table[table["filter"] == "F200W"]
    assert funnel["found"] == {"sources": len(np.unique(mine["source"])), "measurements": len(mine)}
    for kind in ("sources", "measurements"):
        lost = {step: sum(part[kind] for part in funnel[step]) for step in ("not_selected", "rejected")}
        assert funnel["found"][kind] - lost["not_selected"] == funnel["selected"][kind]
        assert funnel["selected"][kind] - funnel["reserved"][kind] - lost["rejected"] == funnel["used"][kind]
        assert funnel["used"][kind] == band[kind]
    rules = {part["rule"]: part for part in (*funnel["not_selected"], *funnel["rejected"])}
    assert rules["saturated"]["sources"] == SATURATED
    assert rules["variable"] == {
        "rule": "variable", "sources": 1, "measurements": int(np.sum(mine["source"] == planted[3]["variable"])),
    }  # fmt: skip
    assert rules["outlier"] == {"rule": "outlier", "sources": 0, "measurements": 1}, "its other measurements are used"


def test_the_funnel_adds_up_with_a_colour_term():
    """Truth: sources that are in one filter only are selected, and rejected as they have no colour."""
    found = derive(*simulate_photometry(), colour_term=True)
    content = describe_report(found, {band.name: collect_points(found, band) for band in found.bands})
    for funnel in (band["funnel"] for band in content["bands"]):
        assert "no colour" in [part["rule"] for part in funnel["rejected"]]
        for kind in ("sources", "measurements"):
            lost = {step: sum(part[kind] for part in funnel[step]) for step in ("not_selected", "rejected")}
            assert funnel["found"][kind] - lost["not_selected"] == funnel["selected"][kind]
            assert funnel["selected"][kind] - funnel["reserved"][kind] - lost["rejected"] == funnel["used"][kind]


def test_residuals_are_before_and_after_the_correction(band):
    """Truth: half of the offset in A, minus half in B before, and nothing after; noise of 2 to 4 mmag."""
    for row, sign in zip(band["detector_residuals"], (0.5, -0.5), strict=True):
        assert row["detector"] == ("2 A" if sign > 0 else "2 B")
        assert row["before_median_mag"] == pytest.approx(sign * SHORT.offset, abs=0.001)
        assert row["after_median_mag"] == pytest.approx(0.0, abs=0.0005)
        assert row["before_rms_mag"] == pytest.approx(np.hypot(SHORT.offset / 2, row["after_rms_mag"]), rel=0.05)
        assert 0.001 < row["after_rms_mag"] < 0.005
    assert sum(row["n"] for row in band["detector_residuals"]) == band["measurements"]
    assert sum(row["n"] for row in band["exposures"]) == band["measurements"]
    assert [row["mjd"] for row in band["exposures"]] == sorted(row["mjd"] for row in band["exposures"])
    for name, trend in band["trends"].items():
        assert name == "colour" or sum(row["n"] for row in trend) == band["measurements"]
        assert all(abs(row["median_mag"]) < 5 * row["error_mag"] for row in trend if row["n"] > 5)


def test_metrics_are_those_of_the_noise(band):
    """Truth: magnitudes scatter by 2 mmag and more, equally in all exposures; two faults were planted."""
    metrics = {metric["name"]: metric for metric in band["metrics"]}
    assert metrics["repeatability"]["value"] == pytest.approx(0.002, abs=0.0005)
    assert metrics["uniformity"]["value"] < 0.001
    medians, errors = np.array([[e["median_mag"], e["error_mag"]] for e in band["exposures"]]).T
    assert metrics["uniformity"]["value"] == pytest.approx(np.sqrt(max(np.mean(medians**2 - errors**2), 0)), abs=1e-7)
    fitted = band["funnel"]["selected"]["measurements"] - band["funnel"]["reserved"]["measurements"]
    assert metrics["outlier_fraction"]["value"] == pytest.approx(1 - band["measurements"] / fitted)
    assert all(metric["passes"] == (metric["value"] <= metric["threshold"]) for metric in metrics.values())
    assert band["pulls"]["width"] == pytest.approx(1.0, abs=0.15)


def test_repeatability_is_the_scatter_of_single_measurements_of_bright_sources(planted, band):
    """Truth: by hand, from the table of measurements: n residuals of a source have n - 1 degrees of freedom."""
    derivation = derive(*planted[:3], reserve_share=0.1, seed=SEED)
    used = derivation.measurements[derivation.measurements["used"] & (derivation.measurements["filter"] == "F200W")]
    mine = [used[used["source"] == source] for source in np.unique(used["source"])]
    mags = np.array([np.mean(rows["mag"]) for rows in mine])
    bright = [rows for rows, mag in zip(mine, mags, strict=True) if mag <= np.quantile(mags, 0.25) and len(rows) > 1]
    expected = np.median([np.sqrt(np.sum(rows["residual"] ** 2) / (len(rows) - 1)) for rows in bright])
    metrics = {metric["name"]: metric["value"] for metric in band["metrics"]}
    assert metrics["repeatability"] == pytest.approx(expected, rel=1e-5)


def test_pulls_are_counted_on_both_sides(planted, band):
    """Truth: by hand, where there are pulls below -3."""
    derivation = derive(*planted[:3], reserve_share=0.1, seed=SEED)
    pulls = np.asarray(collect_points(derivation, derivation.bands[0])["pull"])
    pulls = pulls[np.isfinite(pulls)]
    assert np.sum(pulls < -3) > 0
    assert band["pulls"]["n"] == len(pulls)
    assert band["pulls"]["beyond_3_sigma"] == pytest.approx((np.sum(pulls < -3) + np.sum(pulls > 3)) / len(pulls))


def test_comparisons_are_this_table_minus_the_other(content):
    packaged, other = content["comparisons"]
    assert (packaged["table"], other["table"]) == ("ma2023_table2.asdf", "other.asdf")
    (row,) = other["rows"]
    assert row["value"] == OTHER.offset
    assert row["difference"] == pytest.approx(SHORT.offset - OTHER.offset, abs=4 * row["difference_error"])
    assert row["sigmas"] == pytest.approx(row["difference"] / row["difference_error"])


def test_a_table_that_cannot_be_read_is_refused(planted, tmp_path):
    photometry, headers, epochs, _ = planted
    derivation = derive(photometry, headers, epochs, compare=str(tmp_path / "none.asdf"))
    with pytest.raises((ReferenceTableError, OSError), match=r"none\.asdf"):
        derivation.report(tmp_path / "made.html")


def test_outliers_are_listed_with_coordinates(report, planted, band):
    found = Table.read(report / "made_modfix_report_outliers.ecsv")
    found, truth = found[found["filter"] == "F200W"], planted[0].measurements
    rows = {row["reason"]: row for row in found}
    assert len(found) == 2
    for reason, size in (("variable", VARIABLE), ("outlier", BLINKING)):
        row = rows[reason]
        first = truth[truth["source"] == row["source"]][0]
        assert row["source"] == planted[3][reason]
        assert (row["RA"], row["Dec"]) == pytest.approx((first["RA"], first["Dec"]), abs=1e-7)
        assert (found["RA"].unit, found["residual"].unit) == ("deg", "mag")
        assert 0.4 * size < row["residual"] < 1.1 * size, "fainter: positive"
    assert rows["outlier"]["rejected"] == 1
    assert rows["variable"]["rejected"] == rows["variable"]["measurements"]
    regions = (report / "made_modfix_report_outliers.reg").read_text().splitlines()
    assert regions[:2] == ["# Region file format: DS9", "icrs"]
    (line,) = [line for line in regions if f"source {rows['variable']['source']} F200W" in line]
    assert line.startswith(f'circle({rows["variable"]["RA"]:.7f},{rows["variable"]["Dec"]:.7f},1.0") # color=magenta')


def find_words(name, *photometry, **options):
    """Words of the findings of a name in the report of a derivation."""
    found = derive(*photometry, **options)
    content = describe_report(found, {band.name: collect_points(found, band) for band in found.bands})
    return [finding["words"] for finding in content["findings"] if finding["name"] == name]


@pytest.mark.parametrize(("shift", "is_listed"), [(0.1, True), (7.5, True), (6.0, False)])
def test_a_reserved_source_that_varies_is_listed(shift, is_listed):
    """Truth: a reserved source is fainter in the second epoch, by 0.1 mag or as many of its errors, without noise.

    Two of its six measurements are then off their mean by 2/3 of it, and the limit is 5 sqrt(5/6) errors.
    """
    photometry, headers, epochs = simulate_photometry([SHORT], seed=3, outliers=0.0)
    found, measured = derive(photometry, headers, epochs), photometry.measurements
    table = found.measurements
    reserved = table[np.asarray(table["reserved"])]
    star = Counter(reserved["source"].tolist()).most_common(1)[0][0]
    mine = np.asarray(measured["source"] == star)
    assert np.bincount(measured["epoch"][mine]).tolist() == [2, 2, 2]
    points = collect_points(found, found.bands[0])
    measured["mag"][mine] -= points["residual"][points["source"] == star]
    error = np.median(np.hypot(measured["mag_error"][mine], found.bands[0].solution.sigma_int))
    measured["mag"][mine & np.asarray(measured["epoch"] == 1)] += shift if shift < 1 else shift * error
    found = derive(photometry, headers, epochs)
    listed = list_outliers(collect_points(found, found.bands[0]), found.photometry.exposures["file"])
    assert listed["reason"][listed["source"] == star].tolist() == ["reserved"] * is_listed
    assert len(listed) < 0.1 * len(np.unique(table["source"])), "others are not listed"


@pytest.mark.parametrize(
    ("shift", "epochs", "steps"),
    [
        (lambda t: 0.06 * (t["module"] == "A"), 3, [60]),
        (lambda t: 0.06 * (t["module"] == "B"), 3, [-60]),
        (lambda t: np.array([0.070, -0.100, 0.027])[t["epoch"]], 3, []),  # the modules swap with the epochs
        (lambda t: 0.06 * (t["module"] == "A") * (t["epoch"] < 2), 3, []),
        (lambda t: 0.06 * (t["module"] == "A"), 2, []),  # or the star varies: each module saw it in one epoch
    ],
    ids=["saturated in module A", "in module B", "variable", "changed", "two epochs"],
)
def test_a_saturated_star_is_told_from_a_variable_one(shift, epochs, steps):
    """Truth: the brightest star that both modules measured twice is off; only saturation follows the module."""
    photometry, headers, epochs = simulate_photometry([SHORT], seed=4, outliers=0.0, epochs=epochs)
    table = photometry.measurements
    twice = [np.bincount(table["source"][table["module"] == m], minlength=10_000) >= 2 for m in "AB"]
    mine = np.all(twice, axis=0)[table["source"]]
    star = table["source"][mine][np.argmin(table["mag"][mine])]
    rows = table["source"] == star
    table["mag"][rows] = (np.asarray(table["mag"]) + shift(table))[rows]
    words = find_words("saturated star", photometry, headers, epochs)
    assert all(word.startswith(f"source {star}, ") for word in words)
    found = [float(word.split()[-2]) for word in words]
    assert found == pytest.approx(steps, abs=6), "A - B in mmag: noise of 2 to 4 mmag, of two and more"


def test_findings_name_the_sources_that_vary_and_nothing_else(content):
    """The simulated sky has variable sources in F444W too."""
    names = {(finding["name"], finding["where"]) for finding in content["findings"]}
    assert {("variable sources", "F200W"), ("outliers", "F200W")} <= names
    assert {name for name, _ in names} == {"variable sources", "outliers"}
    assert all(finding["advice"] for finding in content["findings"])


@pytest.mark.parametrize("ratio", [1.05, 0.95])
def test_a_solid_angle_that_was_left_out_is_named_with_its_size(ratio):
    """Truth: pixels of A are larger by the ratio, so that its fluxes are too small by it; the sky is what it was."""
    photometry, headers, epochs = simulate_photometry([SHORT], seed=6, outliers=0.0)
    headers = [replace(h, pixar_sr=h.pixar_sr * (ratio if h.module == "A" else 1.0)) for h in headers]
    shift, table = 2.5 * np.log10(ratio), photometry.measurements
    for left_out in (False, True):
        table["mag"] += np.where(table["module"] == "A", left_out * shift, 0.0)
        words = find_words("PIXAR_SR left out", photometry, headers, epochs)
        assert bool(words) == left_out
    assert measured(words[0].rpartition("sky: ")[2])[0] == pytest.approx(1e3 * shift, abs=2)
    assert f"ratio of PIXAR_SR is {1e3 * shift:+.1f} mmag" in words[0]


@pytest.mark.parametrize(("error", "is_named"), [(10.0, True), (-10.0, True), (0.5, False)])
def test_a_wrong_roll_is_named_with_the_right_one(error, is_named):
    """Truth: sources are turned by 341 deg in the second epoch; half a degree is within the spread over the sky."""
    photometry, headers, epochs = simulate_photometry([SHORT], seed=6, outliers=0.0)
    exposures = photometry.exposures
    exposures["roll"] = np.where(exposures["epoch"] == 1, exposures["roll"] + error, exposures["roll"])
    words = find_words("wrong roll", photometry, headers, epochs)
    assert len(words) == 4 * is_named, "two dithers of two detectors"
    assert all(f"PA_V3 is {341 + error:.1f} deg, but its sources are turned by " in word for word in words)
    assert [float(word.split()[-2]) for word in words] == pytest.approx([341.0] * len(words), abs=0.2)


@pytest.mark.parametrize(("share", "is_named"), [(0.6, True), (0.4, False)])
def test_an_exposure_that_repeats_another_is_named(share, is_named):
    """Truth: so many magnitudes of the ninth exposure are those of the first, which has the same pointing."""
    photometry, headers, epochs = simulate_photometry([SHORT], seed=6, outliers=0.0)
    table = photometry.measurements
    first, again = (np.flatnonzero(table["exposure"] == number) for number in (0, 8))
    _, old, new = np.intersect1d(table["source"][first], table["source"][again], return_indices=True)
    count = round(share * min(len(first), len(again)))
    table["mag"][again[new[:count]]] = table["mag"][first[old[:count]]]
    words = find_words("double exposure", photometry, headers, epochs)
    files = photometry.exposures["file"]
    assert [word.partition(" have ")[0] for word in words] == [f"{files[0]} and {files[8]}"] * is_named


@pytest.mark.parametrize(("shift", "is_named"), [(0.010, True), (-0.010, True), (0.002, False)])
def test_an_exposure_that_is_off_is_named_with_its_size(shift, is_named):
    """Truth: one exposure of twelve is off; the terms that it shares with others take less than half of it."""
    photometry, headers, epochs = simulate_photometry([SHORT], seed=6, outliers=0.0)
    table = photometry.measurements
    table["mag"] += np.where(table["exposure"] == 2, shift, 0.0)
    words = find_words("deviating exposure", photometry, headers, epochs, exposure_terms="zero")
    mine = [word for word in words if word.startswith(f"{photometry.exposures['file'][2]} (2 A) is off by ")]
    assert len(mine) == is_named
    sizes = [measured(word.rpartition("off by ")[2])[0] for word in mine]
    assert sizes == pytest.approx([750 * shift] * len(mine), rel=0.33), "in mmag"


def test_modules_whose_names_are_exchanged_in_one_exposure_are_named():
    """Truth: both detectors of the first exposure have the name of the other; their middles are at +120 and -123."""
    photometry, headers, epochs = simulate_photometry([SHORT], seed=6, outliers=0.0)
    assert find_words("module names", photometry, headers, epochs) == []
    for table in (photometry.measurements, photometry.exposures):
        swapped = np.where(np.asarray(table["module"]) == "A", "B", "A")
        table["module"] = np.where(table["exposure"] < 2, swapped, table["module"])
    words, files = find_words("module names", photometry, headers, epochs), photometry.exposures["file"]
    parts = [word.partition(" arcsec")[0].rpartition(" = ") for word in words]
    start = [f"{files[n]} is of module {module}, but its sources are at V2" for n, module in ((0, "B"), (1, "A"))]
    assert [before for before, _, _ in parts] == start
    assert [float(place) for *_, place in parts] == pytest.approx([120, -123], abs=10)


def test_the_page_shows_the_numbers_of_the_file(report, content, band):
    page = Page((report / "made_modfix_report.html").read_text())
    rows = {row["Filter"]: row for row in page.table("Filter")}
    for one in content["bands"]:
        (result,), (centres,) = one["results"], one["centres"].values()
        for column, value, error in (
            ("Offset", result["offset"], result["offset_error"]),
            ("At the centres", centres["offset_mag"], centres["error_mag"]),
        ):
            assert measured(rows[one["name"]][column]) == pytest.approx((1e3 * value, 1e3 * error), abs=0.051)
    steps = {row["Step"]: row for row in page.table("Step")}
    assert int(steps["found"]["Sources"]) == band["funnel"]["found"]["sources"]
    assert int(steps["not selected: saturated"]["Sources"]) == -SATURATED
    assert int(steps["used"]["Measurements"]) == band["measurements"]
    facts = page.pairs()
    assert (facts["Hash"], facts["Date"]) == (content["table"]["hash"], content["date"])
    assert facts["Apply with"].endswith(f"--override_moduleoffset={content['table']['name']}")
    for finding in content["findings"]:
        assert finding["words"] in page.text


def test_a_notebook_shows_results_and_warnings(planted):
    photometry, headers, epochs, _ = planted
    shown = derive(photometry, headers, epochs, product="<field>")._repr_html_()
    page = Page(f"<html><body>{shown}</body></html>")
    rows = {row["filter"]: row for row in page.table("filter")}
    value, error = measured(rows["F200W"]["offset [mmag]"])
    assert value == pytest.approx(1e3 * SHORT.offset, abs=4 * error)
    assert (rows["F200W"]["slope [mmag/arcmin]"], rows["F200W"]["correction"]) == ("-", "needed")
    assert "<field>: <field>_moduleoffset.asdf, hash" in page.text, "escaped"
