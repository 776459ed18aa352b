"""The report: a page that works offline, its numbers as JSON, outliers, figures."""

from __future__ import annotations

import base64
import datetime
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from astropy.table import Table, vstack
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf

from jwst_modfix.derivation.bands import BandResult, difference_of_centres
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.derivation.provenance import describe_derivation, plain
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.fitting.robust import error_of_median, robust_width
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.report.figures import Picture, draw_band, draw_overview
from jwst_modfix.report.findings import collect_points, find_everything, list_outliers, split_exposures
from jwst_modfix.report.linked_plots import choose_points, draw_linked
from jwst_modfix.table.combine import compare_tables
from jwst_modfix.table.table import MODULES, OffsetRow, OffsetTable
from jwst_modfix.text import count_nouns, format_measured

SCHEMA_VERSION = "1.0.0"
_CALIBRATION = (("CRDS_CTX", "context"), ("R_PHOTOM", "photom"), ("R_FLAT", "flat"), ("S_MODOFF", "status"))
# Reasons for which the fit does not use a selected measurement; a source is counted under the first that applies.
_REJECTED = ("no solution", "variable", "outlier", "single", "no colour")
_BINS = 6  # of equal numbers, of a trend
_BRIGHT = 0.25  # share of the used sources, the brightest, whose repeatability is quoted
# Repeatability of one measurement of a bright source, and share of outliers: LSST Science Requirements (LPM-17), PA1
# and PF1. Uniformity: the least error that a measurement is given.
_METRICS = {
    "repeatability": (0.005, "mag", "Repeatability: median rms of the brightest quarter of the sources"),
    "outlier_fraction": (0.10, "", "Share of the fitted measurements that are outliers or of variable sources"),
    "uniformity": (0.002, "mag", "Uniformity: rms of the exposures' median residuals, less their noise"),
    "pull_width": (1.15, "", "Width of residuals over their errors (1 is right)"),
}
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


def describe_report(derivation: Derivation, points: Mapping[str, Table]) -> dict[str, Any]:
    """Describe a derivation with its checks as plain values; ``points`` by filter."""
    content, table = describe_derivation(derivation), derivation.table
    for known, band in zip(content["bands"], derivation.bands, strict=True):
        known |= {"name": band.name, "funnel": _count_funnel(derivation, band)}
        known |= {name: known.get(name, []) for name in ("results", "detectors")}
        if band.solution is not None:
            known |= _describe_solution(derivation, band, band.solution, points[band.name])
    content |= {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "table": {
            "name": table.name, "hash": table.digest, "rows": len(table.rows), "baseline": table.baseline,
            "command": f"strun module_offset ASSOCIATION.json --override_moduleoffset={table.name}",
        },
        "corrected": derivation.corrected,
        "mixed": derivation.mixed,
        "catalogs": derivation.options.catalogs,
        "calibrations": {
            keyword: sorted({str(getattr(header, field) or "not given") for header in derivation.headers})
            for keyword, field in _CALIBRATION
        },
        "comparisons": [_compare(table, other) for other in derivation.options.others],
    }  # fmt: skip
    content["findings"] = list(find_everything(derivation, points, content))
    return dict(plain(content))


def _count_funnel(derivation: Derivation, band: BandResult) -> dict[str, Any]:
    """Count sources and measurements at each step of the selection."""
    table = derivation.measurements
    table = table["source", "selected", "reason"][(table["filter"] == band.filter) & (table["pupil"] == band.pupil)]
    steps = [(True, rule) for rule in ("", "reserved", *_REJECTED)]
    steps += [(False, rule) for rule in derivation.selection.rejected]
    rules = [(table["selected"] == selected) & (table["reason"] == rule) for selected, rule in steps]
    found = np.select(rules, np.arange(len(steps)))
    source = np.unique(table["source"], return_inverse=True)[1]
    first = np.full(int(source.max(initial=-1)) + 1, len(steps))
    np.minimum.at(first, source, found)
    counts = np.stack([np.bincount(part, minlength=len(steps)) for part in (first, found)], axis=1)

    def count(numbers: np.ndarray) -> dict[str, int]:
        return dict(zip(("sources", "measurements"), numbers.tolist(), strict=True))

    used, reserved = counts[:2]
    lost = [
        (kept, {"rule": rule} | count(own)) for (kept, rule), own in zip(steps[2:], counts[2:], strict=True) if own[1]
    ]
    return {
        "found": count(counts.sum(axis=0)),
        "not_selected": [part for kept, part in lost if not kept],
        "selected": count(counts[: len(_REJECTED) + 2].sum(axis=0)),
        "reserved": count(reserved),
        "rejected": [part for kept, part in lost if kept],
        "used": count(used),
    }


def _describe_solution(derivation: Derivation, band: BandResult, solution: Solution, points: Table) -> dict[str, Any]:
    """Describe what the reference file has no place for."""
    used = points["module", "residual", "mag", "colour"][points["used"]]
    links = solution.links
    exposures = list(_describe_exposures(points, derivation.photometry.exposures))
    pulls = np.asarray(points["pull"][np.isfinite(points["pull"])])
    centres = {r.array: difference_of_centres(derivation.photometry.measurements, solution, r) for r in band.results}
    return {
        "centres": {array: {"offset_mag": r.offset, "error_mag": r.offset_error} for array, r in centres.items()},
        "epoch_terms": [
            {"epoch": e, "name": derivation.epochs.names[e], "term_mag": value, "error_mag": error}
            for e, (value, error) in solution.epoch_terms().items()
        ],
        "states": [
            {"term": s.term.words, "epoch": s.term.epoch, "state": s.status, "effective_sources": s.effective_sources,
             "words": s.words} for s in solution.status
        ],
        "pairs": {array: {name: pair.value(name) for name in pair.names} for array, pair in band.pairs.items()},
        "links": {
            "detectors": links.detectors, "shared_sources": links.shared, "group": links.detector_group,
            "sentences": links.sentences(),
        },
        "detector_residuals": list(_describe_detectors(points)),
        "exposures": exposures,
        "trends": {
            name: list(_describe_trend(used, column)) for name, column in (("magnitude", "mag"), ("colour", "colour"))
        },
        "pulls": {
            "n": len(pulls), "mean": pulls.mean(), "width": robust_width(pulls),
            "beyond_3_sigma": np.mean(np.abs(pulls) > 3),
        },
        "metrics": list(_measure_quality(points, exposures, pulls)),
    }  # fmt: skip


def _describe_median(points: Table) -> dict[str, Any]:
    """Describe residuals [mag] by their number, median and its standard error."""
    values = np.asarray(points["residual"])
    median = float(np.median(values)) if len(values) else np.nan
    return {"n": len(values), "median_mag": median, "error_mag": error_of_median(values)}


def _describe_detectors(points: Table) -> Iterator[dict[str, Any]]:
    """List median and rms of each detector's residuals, before and after correction."""
    for name in np.unique(points["detector"]):
        mine = points["before", "residual"][points["used"] & (points["detector"] == name)]
        found = {"detector": str(name), "n": len(mine)}
        for which, column in (("before", "before"), ("after", "residual")) if len(mine) else ():
            values = np.asarray(mine[column])
            found |= {f"{which}_median_mag": np.median(values), f"{which}_rms_mag": np.sqrt(np.mean(values**2))}
        yield found


def _describe_exposures(points: Table, exposures: Table) -> Iterator[dict[str, Any]]:
    """List the median residual of each exposure, in order of time."""
    rows, residuals = split_exposures(points), points["residual", "used"]
    for number in sorted(rows, key=lambda number: exposures["mjd"][number]):
        row, used = exposures[number], residuals[rows[number]]
        used = used[used["used"]]
        yield {
            "exposure": str(row["file"]), "number": number, "detector": f"{row['array']} {row['module']}",
            "epoch": int(row["epoch"]), "mjd": float(row["mjd"]), **_describe_median(used),
        }  # fmt: skip


def _describe_trend(used: Table, column: str) -> Iterator[dict[str, Any]]:
    """List median residuals of each module in bins of equal numbers along a column."""
    used = used[np.isfinite(used[column])]
    values = np.asarray(used[column])
    edges = np.quantile(values, np.linspace(0, 1, _BINS + 1)) if len(values) else np.zeros(0)
    for low, high in itertools.pairwise(edges.tolist()):
        inside = (values >= low) & ((values < high) | (high == edges[-1]))
        for module in MODULES:
            mine = used[inside & (used["module"] == module)]
            yield {"module": module, "from": low, "to": high, **_describe_median(mine)}


def _measure_quality(
    points: Table, exposures: Sequence[Mapping[str, Any]], pulls: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Measure repeatability, outliers and uniformity, each with its threshold."""
    used = points["source", "residual", "mag"][points["used"]]
    number = np.unique(used["source"], return_inverse=True)[1]
    n, square = np.bincount(number), np.bincount(number, used["residual"] ** 2)
    mag = np.bincount(number, used["mag"]) / n
    bright = (n > 1) & (mag <= np.quantile(mag, _BRIGHT))
    medians = np.array([[e["median_mag"], e["error_mag"]] for e in exposures if e["n"] > 1]).reshape(-1, 2)
    excess = float(np.mean(medians[:, 0] ** 2 - medians[:, 1] ** 2)) if len(medians) else np.nan
    values = {
        "repeatability": np.median(np.sqrt(square[bright] / (n[bright] - 1))),
        "outlier_fraction": np.mean(points["deviates"][~points["reserved"]]),
        "uniformity": np.sqrt(max(excess, 0.0)),
        "pull_width": robust_width(pulls),
    }
    for name, value in values.items():
        limit, unit, words = _METRICS[name]
        found = {"name": name, "value": value, "unit": unit, "threshold": limit, "passes": bool(value <= limit)}
        yield found | {"words": words}


def _compare(table: OffsetTable, other: OffsetTable) -> dict[str, Any]:
    """Compare the derived table with another one, row by row."""
    found: dict[str, Any] = {"table": other.name, "hash": other.digest, "problem": None, "rows": [], "notes": []}
    try:
        compared = compare_tables(other, table)
    except ReferenceTableError as error:
        return found | {"problem": str(error)}
    rows = [
        {
            "part": f"array {p.first.array}" if isinstance(p.first, OffsetRow) else p.first.detector,
            "filter": p.first.filter, "pupil": p.first.pupil, "value": p.first.value, "value_error": p.first.error,
            "difference": p.value.value, "difference_error": p.value.error, "sigmas": p.value.sigmas,
            "slope_difference": p.slope and p.slope.value, "slope_difference_error": p.slope and p.slope.error,
        }
        for p in compared.pairs
    ]  # fmt: skip
    return found | {"rows": rows, "notes": list(compared.notes)}
