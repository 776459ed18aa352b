"""Truth: magnitudes and places put in, read from the tables and the linked plots of the page, and in a browser."""

import base64
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest
from derivation_of_magnitudes import ROWS, derive, simulate_photometry
from lxml import html
from matplotlib.figure import Figure
from report_page import Page, write_report

from jwst_modfix.report.figures import draw_band, plot_residual_map

SHORT = ROWS["F200W"]
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def derivation():
    return derive(*simulate_photometry([SHORT], seed=7))


@pytest.fixture(scope="module")
def path(derivation, tmp_path_factory):
    return write_report(derivation, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text())


def find(value, name):
    """All models of a kind in the description of the plots."""
    if isinstance(value, dict):
        if value.get("name") == name:
            yield value["attributes"]
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        yield from find(part, name)


@pytest.fixture(scope="module")
def plotted(path):
    """Columns of the points that are in the page."""
    (text,) = re.findall(r"const docs_json = '(.*?)';\n", path.read_text())
    (source,) = find(json.loads(text.replace("\\'", "'").replace("\\\\", "\\")), "ColumnDataSource")
    columns = {}
    for name, column in source["data"]["entries"]:
        content = base64.b64decode(column["array"]["data"])
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        columns[name] = np.frombuffer(content, column["dtype"])
    return columns


def test_points_are_the_measurements_in_mmag(derivation, plotted):
    """Truth: A is half of the offset off before the correction, B minus half of it, and neither is after it."""
    table = derivation.measurements[derivation.selection.mask]
    assert len(plotted["mag"]) == len(table)
    order = [np.lexsort([part["exposure"], part["source"]]) for part in (plotted, table)]
    for name in ("V2", "V3", "mag"):
        assert plotted[name][order[0]] == pytest.approx(np.asarray(table[name])[order[1]], rel=1e-6)
    for sign in (1, -1):
        side = sign * plotted["V2"] > 0
        assert np.median(plotted["before"][side]) == pytest.approx(sign * 500 * SHORT.offset, abs=1.0)
        assert np.median(plotted["after"][side]) == pytest.approx(0.0, abs=0.5)
    east = plotted["east"][order[0]] - plotted["east"][order[0]][0]
    turn = np.cos(np.radians(table["Dec"].mean()))
    ra = np.asarray(table["RA"])[order[1]]
    assert east == pytest.approx(60 * turn * (ra - ra[0]), rel=2e-3, abs=2e-3)
    assert np.abs(plotted["shown"]).max() < np.abs(plotted["after"]).max(), "outliers are drawn at the border"


def test_points_have_their_state_and_exposure(derivation, plotted, path):
    states = ("used", "reserved", "outlier", "variable", "single", "no solution")
    table = derivation.measurements[derivation.selection.mask]
    reasons = [reason or "used" for reason in table["reason"]]
    assert sorted(states[i] for i in plotted["state"]) == sorted(reasons)
    assert all(derivation.headers[number].name in path.read_text() for number in np.unique(plotted["exposure"]))
    first = np.asarray(derivation.photometry.exposures["mjd"])[plotted["exposure"]]
    assert (np.diff(plotted["order"][np.argsort(first, kind="stable")]) >= 0).all(), "exposures are in order of time"
    assert plotted["time"] == pytest.approx(first - first.min(), abs=1e-4)


def test_correlations_and_errors_are_those_of_the_covariance(page, derivation):
    solution = derivation.solution["F200W"]
    rows = {row["Correlation"]: row for row in page.table("Correlation")}
    for name, row in rows.items():
        assert float(row["Error"]) == pytest.approx(1e3 * solution.value(name)[1], abs=0.051)
        assert row[name] == "+1.00"
    i, j = (solution.names.index(name) for name in ("epoch[1]", "epoch[2]"))
    C = solution.covariance
    assert float(rows["epoch[1]"]["epoch[2]"]) == pytest.approx(C[i, j] / np.sqrt(C[i, i] * C[j, j]), abs=0.0051)


def test_links_count_common_sources(page, derivation):
    m = derivation.solution["F200W"].measurements
    seen = {f"2 {module}": set(m.source[m.module == module]) for module in "AB"}
    for row in page.table("Detector"):
        if "Group" in row:
            own = seen[row["Detector"]]
            assert {name: int(row[name]) for name in seen} == {name: len(own & other) for name, other in seen.items()}


def test_the_page_has_no_negative_zero_and_counts_agree_with_nouns(page):
    assert not re.search(r"-0\.0+(?![0-9])", page.text)
    assert not re.search(r"\b1 (epoch|exposure|source|measurement|outlier|row)s\b", page.text)


def test_the_page_is_one_accessible_file(path):
    root = html.fromstring(path.read_text())
    assert root.get("lang") == "en"
    assert all(image.get("alt") for image in root.iter("img"))
    sources = [e.get("src") or e.get("href") for e in root.iter("script", "link", "img")]
    assert all(source is None or source.startswith("data:") for source in sources)
    assert [table for table in root.iter("table") if table.getparent().get("class") != "wide"] == []
    assert path.stat().st_size < 6e6


def test_the_map_before_the_correction_has_half_of_the_offset(derivation):
    solution = derivation.solution["F200W"]
    for corrected, expected in ((False, 500 * SHORT.offset), (True, 0.0)):
        ax = plot_residual_map(solution, corrected=corrected, ax=Figure().subplots())
        (bins,) = ax.collections
        values, at = np.asarray(bins.get_array()), np.asarray(bins.get_offsets())
        for sign in (1, -1):
            assert np.median(values[sign * at[:, 0] > 0]) == pytest.approx(sign * expected, abs=1.0)
        assert ax.xaxis_inverted(), "as on the sky with north up at V3PA = 0"
        rms = float(re.search(r"rms ([0-9.]+) mmag", ax.get_title())[1])
        assert rms == pytest.approx(np.hypot(expected, 2.3), abs=0.8)


def test_the_two_maps_of_the_report_have_module_a_on_the_left(derivation):
    (maps,) = [p for p in draw_band(derivation.bands[0], derivation.epochs.names) if p.name == "residuals"]
    before, after = maps.figure.axes[:2]
    assert (before.get_title()[:6], after.get_title()[:5]) == ("before", "after")
    assert before.xaxis_inverted()
    assert after.get_xlim() == before.get_xlim()


# Where a point of a plot is in the window.
PLACE = """([title, x, y]) => {
  const views = Symbol.iterator in Bokeh.index ? [...Bokeh.index] : Object.values(Bokeh.index);
  const plot = views.find(view => view.model.title.text === title);
  plot.el.scrollIntoView();
  const box = plot.el.getBoundingClientRect();
  return [box.left + plot.frame.x_scale.compute(x), box.top + plot.frame.y_scale.compute(y)];
}"""


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM.exists():
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_mouse_shows_a_point_and_its_source(browser, path, plotted, width, theme):
    """Truth: the columns of the points. The mouse goes to the point that is the farthest from all others."""
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
    problems = []
    view.on("pageerror", lambda error: problems.append(str(error)))
    view.on("request", lambda request: problems.append(request.url) if request.url[:4] == "http" else None)
    view.goto(path.resolve().as_uri())
    view.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
    places = np.stack([plotted[name] / np.ptp(plotted[name]) for name in ("mag", "shown")])
    distance = np.hypot(*(places[:, :, None] - places[:, None, :]))
    np.fill_diagonal(distance, np.inf)
    point = int(np.argmax(distance.min(axis=0)))
    at = [float(plotted[name][point]) for name in ("mag", "shown")]
    place = view.evaluate(PLACE, ["Residual against magnitude", *at])
    view.mouse.move(*place)
    words = view.locator(".bk-Tooltip").first.evaluate("tip => tip.shadowRoot.textContent")
    assert f"source: {plotted['source'][point]} exposure: " in words
    assert f"{plotted['mag'][point]:.3f}" in words
    assert f"{plotted['after'][point]:+.1f} mmag" in words
    view.mouse.click(*place)
    rows = view.locator("#picked-F200W tbody tr")
    rows.first.wait_for()
    mine = np.flatnonzero(plotted["source"] == plotted["source"][point])
    cells = [rows.nth(i).locator("td").all_inner_texts() for i in range(rows.count())]
    assert {row[0] for row in cells} == {str(plotted["source"][point])}
    assert [float(row[2]) for row in cells] == pytest.approx(plotted["mag"][mine], abs=6e-4)
    assert [float(row[4]) for row in cells] == pytest.approx(plotted["after"][mine], abs=0.06)
    selected = "Bokeh.documents[0]._all_models.values().find(m => m.type == 'ColumnDataSource').selected.indices"
    assert view.evaluate(selected) == mine.tolist()
    assert view.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 1
    view.close()
    assert not problems
