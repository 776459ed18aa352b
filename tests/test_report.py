"""Truth: offsets, slopes, epoch terms, counts and positions put in, read from the page and from the figures."""

from dataclasses import replace

import numpy as np
import pytest
from derivation_of_magnitudes import DRIFT, ROWS, derive, simulate_photometry
from matplotlib.figure import Figure
from report_page import Page, measured, write_report

from jwst_modfix.derivation.derive import Options
from jwst_modfix.errors import MeasurementsError
from jwst_modfix.photometry.columns import Photometry
from jwst_modfix.photometry.frames import Epochs
from jwst_modfix.report.figures import (
    draw_band,
    draw_overview,
    plot_module_differences,
    plot_offsets,
    plot_patches,
    plot_residual_map,
    plot_sky_map,
)

LONG, SHORT = ROWS["F444W"], ROWS["F200W"]
SHIFT = 0.002  # arcsec: centroids of the second epoch are that far to the east


@pytest.fixture(scope="module")
def derivation():
    """Three epochs of F200W and F444W; centroids scatter by 1 mas, and are off to the east in the second epoch."""
    photometry, headers, epochs = simulate_photometry()
    table = photometry.measurements
    table["off_east"] = np.where(table["epoch"] == 1, SHIFT, 0.0)
    table["off_north"] = np.random.default_rng(1).normal(0, 1e-3, len(table))
    table["flags"][table["source"] == table["source"][0]] = 2
    return derive(photometry, headers, epochs, bootstrap=50)


@pytest.fixture(scope="module")
def page(derivation, tmp_path_factory):
    return write(derivation, tmp_path_factory.mktemp("report"))


def write(derivation, folder):
    return Page(write_report(derivation, folder).read_text())


@pytest.fixture(scope="module")
def figures(derivation):
    """Figures by filter (none for those of all filters) and name."""
    drawn = {"": draw_overview(derivation)}
    drawn |= {band.name: draw_band(band, derivation.epochs.names) for band in derivation.bands}
    return {(band, picture.name): picture for band, pictures in drawn.items() for picture in pictures}


def row_of(page, band):
    return next(row for row in page.table("Filter") if row["Filter"] == band)


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_table_of_results_has_offsets_and_errors_in_mmag(page, derivation):
    for truth in ROWS.values():
        row, known = row_of(page, truth.filter), derivation.table.row(*truth.key)
        value, error = measured(row["Offset"])
        assert value == pytest.approx(1e3 * truth.offset, abs=3 * error)
        assert error == pytest.approx(1e3 * known.offset_error, abs=0.05)
        assert (row["Array"], row["Correction"]) == (truth.array, "needed")
    value, error = measured(row_of(page, "F444W")["Slope k"])
    assert value == pytest.approx(1e3 * LONG.slope, abs=3 * error)
    assert error == pytest.approx(1e3 * derivation.table.row(*LONG.key).slope_error, abs=0.05)
    assert row_of(page, "F200W")["Slope k"] == "-"
    assert "Offsets and residuals in mmag, slopes in mmag/arcmin." in page.text


def test_the_table_of_results_has_the_checks_of_each_row(page, derivation):
    for band in derivation.bands:
        row, (left,), (sky,) = row_of(page, band.name), band.residuals, band.sky
        value, error = measured(row["Residual of the reserved sources"])
        assert (value, error) == pytest.approx((1e3 * left.residual, 1e3 * left.residual_error), abs=0.051)
        assert abs(value) < 3 * error
        assert row["Sky minus sources"].endswith(" sigma")
        assert float(row["Sky minus sources"].split()[0]) == pytest.approx(sky.sigmas, abs=0.051)
        assert float(row["Effective number of sources"]) == pytest.approx(band.results[0].n_sources, abs=0.5)


def test_the_page_counts_exposures_sources_and_measurements(page, derivation):
    table = derivation.measurements
    names = ", ".join(f"{number} {name}" for number, name in enumerate(derivation.epochs.names))
    assert f"derived from 24 exposures of 3 epochs. Epochs are numbered from 0: {names}." in " ".join(page.text.split())
    for band in derivation.bands:
        mine = table[(table["filter"] == band.filter) & table["selected"] & ~table["reserved"]]
        used, reasons = mine[mine["used"]], mine["reason"].tolist()
        single, outliers, variable = (reasons.count(rule) for rule in ("single", "outlier", "variable"))
        noun = "outlier" if outliers == 1 else "outliers"
        for words in (
            f"{len(np.unique(used['source']))} sources with {len(used)} measurements; rejected by the fit",
            f"{single} single, {outliers} {noun}, {variable} of variable sources",
            f"for {band.solution.dof} degrees of freedom", f"chi-square {band.solution.chi2:.1f} ",
        ):  # fmt: skip
            assert words in page.text
    saturated = np.count_nonzero(table["flags"] == 2)
    assert f"{table['selected'].sum()} of {len(table)} measurements selected. Not" in page.text
    assert f"Not selected, by rule: {saturated} saturated" in page.text


def test_the_page_lists_epochs_terms_calibrations_and_parameters(page):
    epochs = page.table("Epoch")
    assert [(row["Epoch"], row["Exposures"], row["Roll [deg]"]) for row in epochs] == [
        ("ep1", "8", "161.0"), ("ep2", "8", "341.0"), ("ep3", "8", "161.0"),
    ]  # fmt: skip
    assert [float(row["First [MJD]"]) for row in epochs] == [59768.0, 59950.0, 60131.0], "dates of the epochs"
    assert "Systematic floor: 1.5 mmag for each offset" in page.text
    terms = {row["Term"]: row for row in page.table("Term")}
    assert terms["offset of array 2"]["State"] == "free"
    assert "term of epoch 1 (ep2)" in terms
    pairs = page.pairs()
    assert pairs["CRDS_CTX"] == "jwst_1084.pmap, jwst_1126.pmap, jwst_989.pmap"
    assert pairs["S_MODOFF"] == "not given"
    assert (pairs["bootstrap"], pairs["reserve_share"]) == ("50", "0.2")
    assert pairs["numpy"] == np.__version__


def test_the_page_compares_with_other_methods(page, derivation):
    """Truth: what was put in; each value has its error and its unit."""
    lines = page.texts("li")
    drifts = [line for line in lines if line.startswith("Epoch terms: ep1 0 (fixed), ep2 ")]
    assert len(drifts) == 2
    for line in drifts:
        value, error = measured(line.partition("ep2 ")[2])
        assert value == pytest.approx(1e3 * DRIFT, abs=3.5 * error)
        assert " mmag, ep3" in line
    (pairs,) = [line for line in lines if line.startswith("Pairs of epochs (the published method), array long")]
    for name, truth, unit in (("offset", LONG.offset, "mmag"), ("slope", LONG.slope, "mmag/arcmin")):
        value, error = measured(pairs.partition(f"{name} ")[2])
        assert value == pytest.approx(1e3 * truth, abs=4 * error)
        assert pairs.partition(f"{name} ")[2].split(", ")[0].split()[-1] == unit
    (slopes,) = [line for line in lines if line.startswith("A gradient for each module")]
    for module in "AB":
        value, error = measured(slopes.partition(f"slope[long {module}] ")[2])
        assert value == pytest.approx(1e3 * LONG.slope, abs=4 * error)
    (sky,) = [line for line in lines if line.startswith("Sky, array 2")]
    assert measured(sky.partition(": ")[2])[0] == pytest.approx(1e3 * SHORT.offset, abs=0.1)
    value, error = measured(sky.rpartition(": ")[2])
    assert value == pytest.approx(1e3 * SHORT.offset, abs=3 * error)
    ratios = [line for line in lines if line.startswith("Errors of the bootstrap")]
    assert f"slope[long] {derivation.bands[1].bootstrap.ratio[1]:.2f}" in ratios[1]


def test_warnings_failures_and_counts_of_one(derivation, tmp_path):
    """The singular for one exposure and one epoch; each warning has the name of its filter."""
    failed = replace(
        derivation.bands[0], solution=None, results=(), sky=(), failure="no overlap", warnings=("Some: x",)
    )
    header = replace(derivation.headers[0], status="COMPLETE")
    odd = replace(
        derivation, headers=(header,), epochs=Epochs(np.zeros(1, int), ("ep1",)),
        mixed=("PHOTMJSR is 1",), bands=(failed,), options=Options(photometry="catalog", catalogs=("<own>.ecsv",)),
    )  # fmt: skip
    page = write(odd, tmp_path)
    assert "derived from 1 exposure of 1 epoch." in page.text
    assert page.warnings == [
        "Corrected for module offsets before: the exposures. Their offsets below are what remained.",
        "Mixed calibrations were allowed: PHOTMJSR is 1",
        "F200W: Some: x",
    ]
    assert row_of(page, "F200W")["Correction"] == "not determined"
    assert "no overlap" in page.text
    assert "Systematic floor: not known for this photometry." in page.text
    assert page.pairs()["catalogs"] == "<own>.ecsv", "escaped"


# --- the figures -----------------------------------------------------------------------------------------------------


def points_of(container):
    """Places and errors along y of an errorbar."""
    line, _, (*_, bars) = container.lines
    errors = [(high - low) / 2 for (_, low), (_, high) in bars.get_segments()]
    return *line.get_data(), np.array(errors)


def test_a_report_without_reserved_sources(tmp_path):
    derivation = derive(*simulate_photometry([ROWS["F200W"]], epochs=2, seed=5), reserve_share=0)
    assert "F200W" in Page(write_report(derivation, tmp_path).read_text()).text


def test_offsets_are_drawn_in_mmag(derivation, figures):
    ax = plot_offsets(derivation.solution, ax=Figure().subplots())
    names = [label.get_text() for label in ax.get_xticklabels()]
    _, y, error = points_of(ax.containers[0])
    assert names == ["F200W\n2", "F444W\nlong"]
    for place, truth in enumerate(ROWS.values()):
        assert y[place] == pytest.approx(1e3 * truth.offset, abs=3 * error[place])
        assert error[place] == pytest.approx(1e3 * derivation.table.row(*truth.key).offset_error, abs=1e-3)
    assert ax.get_ylabel() == "A - B [mmag]"
    assert ax.get_ylim()[0] < y.min() < y.max() < ax.get_ylim()[1]
    one = plot_offsets(derivation.solution["F444W"], ax=Figure().subplots())
    assert points_of(one.containers[0])[1] == pytest.approx(y[1:])
    assert ("", "offsets") in figures


def test_before_and_after_are_the_offset_and_zero(derivation, figures):
    """Truth: A - B is the offset before, and after the correction nothing."""
    before, after = figures["F200W", "before_after"].figure.axes
    for ax, title, truth in ((before, "before", 1e3 * SHORT.offset), (after, "after", 0)):
        (line,) = [line for line in ax.lines if line.get_label().startswith("array 2")]
        x, y = line.get_data()
        assert ax.get_title() == title
        assert len(x) > 50
        assert np.median(y) == pytest.approx(truth, abs=1.5)
        assert f"median {np.median(y):+.1f} mmag" in line.get_label()
        assert 15 < x.min() < x.max() < 22
        alone = plot_module_differences(derivation.solution["F200W"], corrected=truth == 0, ax=Figure().subplots())
        assert len(alone.lines[1].get_ydata()) < len(y), "reserved sources are in the report only"
        assert np.median(alone.lines[1].get_ydata()) == pytest.approx(truth, abs=1.5)
    assert before.get_ylabel() == "A - B [mmag]"
    assert after.get_ylim() == before.get_ylim()


def test_the_map_on_the_sky_shows_what_the_turn_does(derivation, figures):
    """Truth: second minus first epoch is minus and plus the offset in the two halves, without the epoch's term."""
    first, second, bar = figures["F200W", "sky"].figure.axes
    assert (first.get_title(), second.get_title()) == ("ep2 - ep1", "ep3 - ep1")
    east, north = np.asarray(first.collections[0].get_offsets()).T
    values = np.asarray(first.collections[0].get_array())
    at_a_first = values > 0
    assert np.median(values[at_a_first]) == pytest.approx(-1e3 * SHORT.offset, abs=1.5)
    assert np.median(values[~at_a_first]) == pytest.approx(1e3 * SHORT.offset, abs=1.5)
    assert np.median(np.asarray(second.collections[0].get_array())) == pytest.approx(0.0, abs=1.5)
    assert first.xaxis_inverted(), "east is left"
    m = derivation.solution["F200W"].measurements
    assert np.ptp(north) <= 60 * np.ptp(m.Dec) + 1e-9
    assert np.ptp(east) == pytest.approx(60 * np.ptp(m.RA) * np.cos(np.radians(m.Dec.mean())), rel=0.05)
    # V2 grows toward the position angle roll + 90 deg: in the first epoch, module A was there, and B was opposite.
    along = east * np.sin(np.radians(161 + 90)) + north * np.cos(np.radians(161 + 90))
    assert np.median(along[~at_a_first]) < 1 < 2 < np.median(along[at_a_first])
    assert bar.get_ylabel() == "difference before correction [mmag]"
    alone = plot_sky_map(derivation.solution["F200W"], (0, 1), ax=Figure().subplots())
    assert np.isin(np.asarray(alone.collections[0].get_array()).round(6), values.round(6)).all()
    by_module = plot_sky_map(derivation.solution["F200W"], ax=Figure().subplots())
    assert np.median(np.asarray(by_module.collections[0].get_array())) == pytest.approx(1e3 * SHORT.offset, abs=1.5)
    without = replace(m, RA=None, Dec=None)
    with pytest.raises(MeasurementsError, match="F200W: a map on the sky needs RA and Dec; there are none"):
        plot_sky_map(replace(derivation.solution["F200W"], measurements=without), ax=Figure().subplots())


def test_of_many_points_some_are_drawn_and_the_caption_says_so(derivation, monkeypatch):
    """Truth: of n sources every k-th is drawn, with the smallest k that leaves at most the limit."""

    def draw():
        (sky,) = [p for p in draw_band(derivation.bands[0], derivation.epochs.names) if p.name == "sky"]
        return sky.words, len(sky.figure.axes[0].collections[0].get_offsets())

    words, n = draw()
    assert words == ""
    monkeypatch.setattr("jwst_modfix.report.figures._MOST_POINTS", n - 1)
    assert draw() == (" One of 2 points is drawn.", -(-n // 2))
    monkeypatch.setattr("jwst_modfix.report.figures._MOST_POINTS", 1)
    drawn = {p.name: p.words for p in draw_band(derivation.bands[0], derivation.epochs.names)}
    assert all(drawn[name].endswith(" points is drawn.") for name in ("sky", "before_after"))


def test_patches_are_where_eq_7_and_8_put_them(derivation, figures):
    """Truth: p = t + Delta_AB and q = t - Delta_AB, with the epochs' difference t."""
    drawn = {c.get_label(): c for c in figures["F200W", "patches"].figure.axes[0].containers}
    assert drawn.keys() == {"array 2, ep2 - ep1", "array 2, ep3 - ep2"}
    for label, t in (("array 2, ep2 - ep1", DRIFT), ("array 2, ep3 - ep2", -DRIFT)):
        (p,), (q,), _ = points_of(drawn[label])
        assert p == pytest.approx(1e3 * (t + SHORT.offset), abs=2.5)
        assert q == pytest.approx(1e3 * (t - SHORT.offset), abs=2.5)
    pair = derivation.bands[0].pairs["2"].pairs[0]
    bars = drawn["array 2, ep2 - ep1"].lines[2]
    (x0, _), (x1, _) = bars[0].get_segments()[0]
    assert (x1 - x0) / 2 == pytest.approx(1e3 * pair.error_p)
    assert points_of(drawn["array 2, ep2 - ep1"])[2][0] == pytest.approx(1e3 * pair.error_q)
    ax = plot_patches(derivation.bands[0].pairs, ax=Figure().subplots())
    assert ax.containers[0].get_label() == "array 2, 1 - 0"
    lines = {line.get_label(): line.get_xydata() for line in ax.lines}
    assert (lines["time term only"][:, 0] == lines["time term only"][:, 1]).all()
    assert (lines["module offset only"][:, 0] == -lines["module offset only"][:, 1]).all()


def test_the_gradient_is_drawn_with_half_of_k_or_k(derivation, figures):
    """Truth: the slope is k for differences between epochs along d (Eq. 9-10), and k/2 for magnitudes along u."""
    picture = figures["F444W", "gradient_long"]
    (ax,) = picture.figure.axes
    fits = [line for line in ax.lines if line.get_lw() == 1.8 and np.ptp(line.get_xdata()) > 0]
    points = [line for line in ax.lines if line.get_markersize() == 3]
    for fit, bins, line, sign in zip(fits, ax.containers, points, (1, -1), strict=True):
        slope, at_0 = np.polyfit(*fit.get_data(), 1)
        assert slope == pytest.approx(1e3 * LONG.slope, abs=1.2)
        assert at_0 == pytest.approx(sign * 1e3 * LONG.offset, abs=2.0)
        d, y, error = points_of(bins)
        assert np.abs(y - 1e3 * (LONG.slope * d + sign * LONG.offset)).max() < 5 * max(error.max(), 0.5)
        d, y = line.get_data()
        left = np.abs(y - 1e3 * (LONG.slope * d + sign * LONG.offset))
        assert np.median(left) < 3, "noise of some mmag, and no epoch terms of 6 mmag"
    words = picture.words
    assert measured(words.partition("k = ")[2])[0] == pytest.approx(1e3 * LONG.slope, abs=1.2)
    assert "mmag/arcmin, offset -1" in words

    (band,) = [replace(band, pairs={}) for band in derivation.bands if band.name == "F444W"]
    (along_u,) = [p for p in draw_band(band, derivation.epochs.names) if p.name == "gradient_long"]
    (ax,) = along_u.figure.axes
    (fit,) = [line for line in ax.lines if line.get_label() == "fit"]
    u, y = fit.get_data()
    assert (y[1] - y[0]) / (u[1] - u[0]) == pytest.approx(1e3 * LONG.slope / 2, abs=0.6)
    u, y, error = points_of(ax.containers[0])
    assert np.abs(y - 1e3 * LONG.slope / 2 * u).max() < 5 * error.max()


def test_the_map_of_residuals_is_over_the_focal_plane(derivation):
    """Truth: medians of the residuals of the measurements that were used; 0 on the whole."""
    solution = derivation.solution["F444W"]
    ax = plot_residual_map(solution, gridsize=12, ax=Figure().subplots())
    (bins,) = ax.collections
    at, used = np.asarray(bins.get_offsets()), solution.rejected == 0
    assert abs(np.median(np.asarray(bins.get_array()))) < 1.0
    assert -165 < at[:, 0].min() < at[:, 0].max() < 160, "V2 of the long-wavelength arrays"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("V2 [arcsec]", "V3 [arcsec]")
    (fine,) = plot_residual_map(solution, gridsize=2000, ax=Figure().subplots()).collections
    m, residual = solution.measurements.select(used), 1e3 * solution.residual[used]
    values, at = np.asarray(fine.get_array()), np.asarray(fine.get_offsets())
    largest = int(np.argmax(np.abs(values)))
    row = int(np.argmin(np.abs(residual - values[largest])))
    assert residual[row] == pytest.approx(values[largest]), "one measurement in a bin"
    assert at[largest] == pytest.approx([m.V2[row], m.V3[row]], abs=0.3)


def test_astrometric_residuals_are_from_the_mean_of_the_other_exposures(figures):
    """
    Truth: 2 mas between the second and the other epochs, in east only, and 1 mas of scatter in north.

    Of the five others of a measurement in the second epoch one is in that epoch too, in another epoch two are.
    """
    axes = figures["", "astrometry"].figure.axes
    numbers = {}  # median and median absolute deviation, by direction and name
    for ax in axes:
        for text in ax.get_legend().get_texts():
            name, _, values = text.get_text().partition(": ")
            numbers[ax.get_xlabel(), name] = [float(value) for value in values.split(", ")]
    assert numbers["east [mas]", "ep2"][0] == pytest.approx(1e3 * SHIFT * 4 / 5)
    assert numbers["east [mas]", "ep1"][0] == pytest.approx(-1e3 * SHIFT * 2 / 5)
    assert abs(numbers["north [mas]", "ep2"][0]) < 0.3
    assert 0.6745 < numbers["north [mas]", "module A"][1] < 0.6745 * np.sqrt(2)
    assert axes[0].get_title() == "by array"


def test_shifts_are_those_of_the_exposures(derivation, figures):
    (ax,) = figures["", "shifts"].figure.axes
    lines = {line.get_label(): line for line in ax.lines}
    table = derivation.photometry.exposures
    mine = (table["epoch"] == 1) & (table["module"] == "B")
    assert lines["ep2, module B"].get_xdata() == pytest.approx(1e3 * table["shift_east"][mine])
    assert lines["ep2, module B"].get_ydata() == pytest.approx(1e3 * table["shift_north"][mine])
    assert lines["ep2, module A"].get_fillstyle() != lines["ep2, module B"].get_fillstyle()


def test_without_centroids_sky_or_shifts_there_are_no_such_figures(derivation):
    table = derivation.photometry.measurements.copy()
    table["off_east"] = np.nan
    made = Photometry(measurements=table, exposures=derivation.photometry.exposures)
    bands = tuple(replace(band, sky=()) for band in derivation.bands)
    options = replace(derivation.options, photometry="catalog", catalogs=("own.ecsv",))
    odd = replace(derivation, photometry=made, bands=bands, options=options)
    assert [picture.name for picture in draw_overview(odd)] == ["offsets"]
