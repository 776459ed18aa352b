"""The report: a page that works offline, its numbers as JSON, outliers, figures."""

from __future__ import annotations

import base64
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from astropy.table import Table, vstack
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf

from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.report.content import describe_report
from jwst_modfix.report.figures import Picture, draw_band, draw_overview
from jwst_modfix.report.linked_plots import choose_points, draw_linked
from jwst_modfix.report.points import collect_points, list_outliers
from jwst_modfix.text import count_nouns, format_measured

_PIXELS = 96  # of the page, per inch
_REGION = 'circle({RA:.7f},{Dec:.7f},1.0") # color={color} text={{source {source} {filter} {mag:.2f} mag {reason}}}'


def write_report(derivation: Derivation, page: Path) -> list[Path]:
    """Write the page, the JSON file, the list of outliers, and figures (PNG, PDF)."""
    points = {band.name: collect_points(derivation, band) for band in derivation.bands if band.solution is not None}
    names = [str(name) for name in derivation.photometry.exposures["file"]]
    content = describe_report(derivation, points)
    chosen = choose_points(points)
    shown = {band: (len(chosen[band]), len(mine)) for band, mine in points.items()}
    drawn = {"": draw_overview(derivation)}
    drawn |= {b.name: draw_band(b, derivation.epochs.names) for b in derivation.bands if b.solution is not None}
    figures: dict[str, list[dict[str, Any]]] = {}
    files = [page, page.with_suffix(".json")]
    for group, pictures in drawn.items():
        stems = ["_".join(part for part in (page.stem, group.replace("+", "_"), p.name) if part) for p in pictures]
        figures[group] = [_save(p, page.with_name(stem), files) for p, stem in zip(pictures, stems, strict=True)]
    outliers = [list_outliers(mine, names) for mine in points.values()]
    files += _write_outliers(vstack(outliers), page.with_name(f"{page.stem}_outliers")) if outliers else []
    files[1].write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    linked = draw_linked(points, chosen, names)
    page.write_text(_render(content, figures, linked, shown, [file.name for file in files]), encoding="utf-8")
    return files


def _save(picture: Picture, stem: Path, files: list[Path]) -> dict[str, Any]:
    """Save a figure as PNG and PDF, and return what the page needs of it."""
    buffer = io.BytesIO()
    # By the canvases: Figure.savefig would draw once more to make the layout.
    FigureCanvasAgg(picture.figure).print_png(buffer)
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf"))
    png.write_bytes(buffer.getvalue())
    picture.figure.set_layout_engine("none")  # the layout is made: to make it again takes as long as drawing
    FigureCanvasPdf(picture.figure).print_pdf(pdf)
    files += [png, pdf]
    return {
        "png": base64.b64encode(buffer.getvalue()).decode("ascii"), "name": picture.name, "words": picture.words,
        "file": png.name, "width": round(_PIXELS * picture.figure.get_figwidth()),
    }  # fmt: skip


def _write_outliers(table: Table, stem: Path) -> list[Path]:
    """Write the list as a table, and as regions for DS9."""
    paths = [stem.with_name(stem.name + suffix) for suffix in (".ecsv", ".reg")]
    with paths[0].open("w", encoding="utf-8") as stream:  # which astropy leaves open if the disk is full
        table.write(stream, format="ascii.ecsv")
    colors = {"variable": "magenta", "outlier": "yellow", "reserved": "cyan"}
    values = ({name: row[name] for name in table.colnames} for row in table)
    regions = [_REGION.format(**row, color=colors[row["reason"]]) for row in values]
    paths[1].write_text("\n".join(["# Region file format: DS9", "icrs", *regions]) + "\n", encoding="utf-8")
    return paths


def _render(content: dict[str, Any], figures: Any, linked: Any, shown: Any, files: list[str]) -> str:
    """Fill the template; text from headers is escaped."""
    source = (resources.files("jwst_modfix.report") / "template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"measured": format_measured, "count": count_nouns, "milli": _format_milli}
    return environment.from_string(source).render(
        c=content, figures=figures, linked=linked, shown=shown, files=files, bands=content["bands"]
    )


def _format_milli(value: float | None, sign: str = "+") -> str:
    """Write a value in thousandths, with no negative zero."""
    return "-" if value is None else f"{1e3 * value:{sign}z.1f}"
