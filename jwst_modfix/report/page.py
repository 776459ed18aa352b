"""The files of the report: a page that works offline, JSON, outliers, figures."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from astropy.table import Table, vstack
from bokeh import models
from bokeh.embed import components
from bokeh.palettes import PuOr11
from bokeh.plotting import figure
from bokeh.resources import Resources
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf

from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.photometry.columns import Flag
from jwst_modfix.photometry.frames import offsets_on_sky
from jwst_modfix.report.content import collect_points, describe_report, list_outliers
from jwst_modfix.report.figures import Picture, draw_band, draw_overview
from jwst_modfix.text import count_nouns, format_measured

MOST_POINTS = 20_000  # of all filters: more make the page slow and larger than 6 MB
_STATES = ("used", "reserved", "outlier", "variable", "single", "no solution")
_OUTLINES = ("#888888", "#0072b2", "#d55e00", "#d55e00", "#d55e00", "#888888")
_TOOLTIPS = [
    ("source", "@source"), ("exposure", "@exposure{custom}"), ("magnitude", "@mag{0.000}"),
    ("residual", "@after{+0.0} mmag"), ("before correction", "@before{+0.0} mmag"), ("state", "@state{custom}"),
    ("flags", "@flags{custom}"),
]  # fmt: skip
# Names of the flags, by their sum.
_FLAGS = [", ".join(str(flag.name).lower() for flag in Flag if value & flag) for value in range(2 * max(Flag))]
# A click selects every measurement of the source, and lists them below the plots.
_SELECT = """
const chosen = source.selected.indices, d = source.data;
const rows = document.getElementById(target).tBodies[0];
if (!chosen.length) { rows.replaceChildren(); return; }
const id = d.source[chosen[chosen.length - 1]], all = [];
for (let i = 0; i < d.source.length; i++) if (d.source[i] === id) all.push(i);
if (all.length !== chosen.length || all.some((v, i) => v !== chosen[i])) { source.selected.indices = all; return; }
rows.replaceChildren(...all.map(i => {
  const row = document.createElement("tr");
  for (const text of [id, names[d.exposure[i]], d.mag[i].toFixed(3), d.before[i].toFixed(1), d.after[i].toFixed(1),
                      states[d.state[i]], flags[d.flags[i]] || "none"])
    row.insertCell().textContent = text;
  return row;
}));
"""
_PIXELS = 96  # of the page, per inch
_REGION = 'circle({RA:.7f},{Dec:.7f},1.0") # color={color} text={{source {source} {filter} {mag:.2f} mag {reason}}}'


def write_report(derivation: Derivation, page: Path) -> list[Path]:
    """Write the page, the JSON file, the list of outliers, and figures (PNG, PDF)."""
    points = {band.name: collect_points(derivation, band) for band in derivation.bands if band.solution is not None}
    names = [str(name) for name in derivation.photometry.exposures["file"]]
    content = describe_report(derivation, points)
    drawn = {"": list(draw_overview(derivation))}
    drawn |= {band.name: list(draw_band(band, derivation.epochs.names)) for band in derivation.bands}
    files = [page, page.with_suffix(".json")]
    figures = {group: [_save(picture, group, files) for picture in pictures] for group, pictures in drawn.items()}
    outliers = [list_outliers(mine, names) for mine in points.values()]
    files += _write_outliers(vstack(outliers), page) if outliers else []
    files[1].write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    chosen = choose_points(points)
    source = (resources.files("jwst_modfix.report") / "template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"measured": format_measured, "count": count_nouns, "milli": _format_milli}
    text = environment.from_string(source).render(
        c=content, bands=content["bands"], figures=figures, linked=draw_linked(points, chosen, names),
        shown={band: (len(chosen[band]), len(mine)) for band, mine in points.items()}, files=[f.name for f in files],
    )  # fmt: skip
    page.write_text(text, encoding="utf-8")
    return files


def _save(picture: Picture, group: str, files: list[Path]) -> dict[str, Any]:
    """Save a figure as PNG and PDF, and return what the page needs of it."""
    stem = "_".join(part for part in (files[0].stem, group.replace("+", "_"), picture.name) if part)
    png, pdf = (files[0].with_name(stem + suffix) for suffix in (".png", ".pdf"))
    buffer = io.BytesIO()
    # By the canvases: Figure.savefig would draw once more to make the layout.
    FigureCanvasAgg(picture.figure).print_png(buffer)
    png.write_bytes(buffer.getvalue())
    picture.figure.set_layout_engine("none")  # the layout is made: to make it again takes as long as drawing
    FigureCanvasPdf(picture.figure).print_pdf(pdf)
    files += [png, pdf]
    return {
        "png": base64.b64encode(buffer.getvalue()).decode("ascii"), "name": picture.name, "words": picture.words,
        "file": png.name, "width": round(_PIXELS * picture.figure.get_figwidth()),
    }  # fmt: skip


def _write_outliers(table: Table, page: Path) -> list[Path]:
    """Write the list as a table, and as regions for DS9."""
    paths = [page.with_name(f"{page.stem}_outliers{suffix}") for suffix in (".ecsv", ".reg")]
    with paths[0].open("w", encoding="utf-8") as stream:  # which astropy leaves open if the disk is full
        table.write(stream, format="ascii.ecsv")
    colors = {"variable": "magenta", "outlier": "yellow", "reserved": "cyan"}
    regions = [_REGION.format(**dict(row), color=colors[row["reason"]]) for row in table]
    paths[1].write_text("\n".join(["# Region file format: DS9", "icrs", *regions]) + "\n", encoding="utf-8")
    return paths


def _format_milli(value: float | None, sign: str = "+") -> str:
    """Write a value in thousandths, with no negative zero."""
    return "-" if value is None else f"{1e3 * value:{sign}z.1f}"


def choose_points(points: Mapping[str, Table], most: int = MOST_POINTS) -> dict[str, np.ndarray]:
    """Choose measurements to show: all, or outliers and sources drawn at random."""
    chosen = {}
    for name, mine in points.items():
        source = np.unique(mine["source"], return_inverse=True)[1]
        deviates = np.bincount(source, mine["deviates"]) > 0
        order = np.random.default_rng(1).permutation(len(deviates))
        order = order[np.argsort(~deviates[order], kind="stable")]
        keep = np.zeros(len(deviates), bool)
        keep[order[np.cumsum(np.bincount(source)[order]) <= most // len(points)]] = True
        chosen[name] = np.flatnonzero(keep[source])
    return chosen


def draw_linked(points: Mapping[str, Table], chosen: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, Any]:
    """Draw each filter's plots: scripts, and the places of each filter's."""
    drawn = {band: _draw_band(band, mine[chosen[band]], names) for band, mine in points.items()}
    if not drawn:
        return {"library": "", "script": "", "places": {}}
    script, found = components(tuple(itertools.chain(*drawn.values())))
    places = iter(found)
    library = Resources(mode="inline", components=["bokeh"]).render_js()
    by_band = {band: list(itertools.islice(places, len(plots))) for band, plots in drawn.items()}
    return {"library": library, "script": script, "places": by_band}


def _draw_band(band: str, points: Table, names: Sequence[str]) -> list[Any]:
    source, limit = _fill_source(points)
    texts = {"names": list(names), "states": list(_STATES), "flags": _FLAGS}
    picked = {"source": source, "target": f"picked-{band}", **texts}
    source.selected.js_on_change("indices", models.CustomJS(args=picked, code=_SELECT))
    formatters = {
        f"@{column}": models.CustomJSHover(args={"names": texts[words]}, code="return names[value] || 'none'")
        for column, words in (("exposure", "names"), ("state", "states"), ("flags", "flags"))
    }
    colour = {name: _shade(name, PuOr11[::-1], -most, most) for name, most in limit.items()}
    draw = partial(_draw, source, formatters)
    plane = {"labels": ("V2 [arcsec]", "V3 [arcsec]"), "match_aspect": True, "x_range": _reversed(source.data["V2"])}
    sky = {"labels": ("east [arcmin]", "north [arcmin]"), "x_range": _reversed(source.data["east"])}
    drawn = [
        draw("Before the correction [mmag]", "V2", "V3", colour["before"], **plane),
        draw("Residual after the correction [mmag]", "V2", "V3", colour["after"], **plane),
        draw("Residual on the sky [mmag]", "east", "north", colour["after"], **sky),
    ]
    along = {"mag": "magnitude [AB]", "colour": "colour [mag]", "order": "exposure, in order of time",
             "time": "time since the first exposure [day]"}  # fmt: skip
    shown = models.Range1d(-1.05 * limit["after"], 1.05 * limit["after"])
    for name, label in along.items():
        if np.isfinite(source.data[name]).any():
            title, labels = f"Residual against {label.partition(' [')[0]}", (label, "residual [mmag]")
            drawn.append(draw(title, name, "shown", colour["after"], labels, y_range=shown))
    return drawn


def _draw(
    source: models.ColumnDataSource, formatters: dict[str, Any], title: str, x: str, y: str, colour: dict[str, Any],
    labels: tuple[str, str], **kwargs: Any,
) -> Any:  # fmt: skip
    """Draw points of a band over two columns, coloured where no axis is the residual."""
    plot = figure(
        title=title, height=300, sizing_mode="stretch_width", toolbar_location="above", background_fill_color=None,
        border_fill_color=None, x_axis_label=labels[0], y_axis_label=labels[1],
        tools="pan,box_zoom,wheel_zoom,reset", active_scroll=None, **kwargs,
    )  # fmt: skip
    outline = _shade("state", _OUTLINES, 0, len(_OUTLINES) - 1)
    plot.scatter(x, y, source=source, size=6, fill_color=colour, line_color=outline, line_width=0.8,
                 nonselection_alpha=0.15)  # fmt: skip
    plot.toolbar.logo = None
    plot.add_tools(models.HoverTool(tooltips=_TOOLTIPS, formatters=formatters), models.TapTool())
    if y != "shown":
        plot.add_layout(models.ColorBar(color_mapper=colour["transform"], width=8, background_fill_color=None), "right")
    return plot


def _shade(column: str, palette: Sequence[str], low: float, high: float) -> dict[str, Any]:
    """Choose colours of a column of the points."""
    return {"field": column, "transform": models.LinearColorMapper(palette=palette, low=low, high=high)}


def _fill_source(points: Table) -> tuple[models.ColumnDataSource, dict[str, float]]:
    """Make columns of the points in mmag, and the colour range, which clips points."""
    values = {"after": 1e3 * points["residual"], "before": 1e3 * points["before"]}
    limit = {name: max(5.0, float(np.quantile(np.abs(part[points["used"]]), 0.98))) for name, part in values.items()}
    ra, dec = np.asarray(points["RA"]), np.asarray(points["Dec"])
    east, north = (v / 60 for v in offsets_on_sky(float(ra[0]), float(np.median(dec)), ra, dec))
    exposures = points["exposure"][np.argsort(points["mjd"], kind="stable")]
    order = {number: place for place, number in enumerate(dict.fromkeys(exposures.tolist()))}
    floats = {name: points[name] for name in ("V2", "V3", "mag", "colour")} | values | {
        "east": east, "north": north, "shown": np.clip(values["after"], -limit["after"], limit["after"]),
        "time": points["mjd"] - points.meta["first_mjd"], "order": [order[n] for n in points["exposure"].tolist()],
    }  # fmt: skip
    integers = {name: points[name] for name in ("source", "exposure", "flags")}
    integers["state"] = [_STATES.index(reason or "used") for reason in points["reason"].tolist()]
    data = {name: np.asarray(values, np.float32) for name, values in floats.items()}
    data |= {name: np.asarray(values, np.int32) for name, values in integers.items()}
    return models.ColumnDataSource(data), limit


def _reversed(values: np.ndarray) -> models.Range1d:
    pad = 0.03 * float(np.ptp(values))
    return models.Range1d(float(values.max()) + pad, float(values.min()) - pad)
