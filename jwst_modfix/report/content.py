"""Everything that the report says, as plain values: the page and the JSON file are made of the same."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from jwst_modfix.derivation.bands import BandResult, difference_of_centres
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.derivation.provenance import describe_derivation, plain
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.report.findings import find_everything
from jwst_modfix.report.points import (
    Points,
    describe_detectors,
    describe_exposures,
    describe_trend,
    robust_width,
)
from jwst_modfix.table.combine import compare_tables
from jwst_modfix.table.table import OffsetRow, OffsetTable

SCHEMA_VERSION = "1.0.0"
_CALIBRATION = (("CRDS_CTX", "context"), ("R_PHOTOM", "photom"), ("R_FLAT", "flat"), ("S_MODOFF", "status"))
# From used to the first rule of the selection: a source is counted by the best of its measurements.
_REJECTED = ("no solution", "variable", "outlier", "single", "no colour")
_BRIGHT = 0.25  # share of the used sources, the brightest, whose repeatability is quoted
# Repeatability of one measurement of a bright source, and share of outliers: LSST Science Requirements (LPM-17), PA1
# and PF1. Uniformity: the least error that a measurement is given.
_METRICS = {
    "repeatability": (0.005, "mag", "Repeatability: median rms of the brightest quarter of the sources"),
    "outlier_fraction": (0.10, "", "Share of the fitted measurements that are outliers or of variable sources"),
    "uniformity": (0.002, "mag", "Uniformity: rms of the exposures' median residuals, less their noise"),
    "pull_width": (1.15, "", "Width of residuals over their errors (1 is right)"),
}


def describe_report(derivation: Derivation, points: Mapping[str, Points]) -> dict[str, Any]:
    """Describe a derivation with its checks by plain numbers, text, lists and dicts; ``points`` by filter."""
    described, table = describe_derivation(derivation), derivation.table
    for known, band in zip(described["bands"], derivation.bands, strict=True):
        known |= {"name": band.name, "funnel": _count_funnel(derivation, band)}
        known |= {name: known.get(name, []) for name in ("results", "detectors")}
        if band.solution is not None:
            known |= _describe_solution(derivation, band, band.solution, points[band.name])
    content = described | {
        "schema_version": SCHEMA_VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "table": {
            "name": table.name, "hash": table.digest, "rows": len(table.rows), "baseline": table.baseline,
            "command": f"strun module_offset ASSOCIATION.json --override_moduleoffset={table.name}",
        },
        "corrected": derivation.corrected,
        "mixed": derivation.mixed,
        "catalogs": derivation.options.catalogs,
        "calibrations": dict(_list_calibrations(derivation)),
        "comparisons": [_compare(table, other) for other in derivation.options.others],
    }  # fmt: skip
    content["findings"] = [asdict(finding) for finding in find_everything(derivation, points, content)]
    return dict(plain(content))


def _list_calibrations(derivation: Derivation) -> Iterator[tuple[str, list[str]]]:
    for keyword, field in _CALIBRATION:
        yield keyword, sorted({str(getattr(header, field) or "not given") for header in derivation.headers})


def _count_funnel(derivation: Derivation, band: BandResult) -> dict[str, Any]:
    """Count sources and measurements from found to used; the parts add up."""
    table = derivation.measurements
    mine = (table["filter"] == band.filter) & (table["pupil"] == band.pupil)
    table = table["source", "reason", "selected"][mine]
    source, reason = np.unique(np.asarray(table["source"]), return_inverse=True)[1], np.asarray(table["reason"], str)
    order, rank = (
        list(dict.fromkeys(["", "reserved", *_REJECTED, *derivation.selection.rejected])),
        np.zeros(len(table), int),
    )
    for place, rule in enumerate(order):
        rank[reason == rule] = place
    best = np.full(int(source.max(initial=-1)) + 1, len(order))
    np.minimum.at(best, source, rank)
    selected = np.asarray(table["selected"])

    def count(rows: np.ndarray, stages: np.ndarray) -> dict[str, int]:
        return {"sources": int(np.count_nonzero(stages)), "measurements": int(np.count_nonzero(rows))}

    def count_rules(of: np.ndarray) -> list[dict[str, Any]]:
        mine = np.isin(np.arange(len(best)), source[selected]) == (of is selected)
        return [
            {"rule": rule, **count(rows, mine & (best == rank))}
            for rank, rule in enumerate(order)
            if rank > 1 and (rows := of & (reason == rule)).any()
        ]

    everything = np.ones(len(table), bool)
    return {
        "found": count(everything, best >= 0),
        "not_selected": count_rules(~selected),
        "selected": count(selected, np.unique(source[selected]) >= 0),
        "reserved": count(reason == "reserved", best == 1),
        "rejected": count_rules(selected),
        "used": count(reason == "", best == 0),
    }


def _describe_solution(derivation: Derivation, band: BandResult, solution: Solution, points: Points) -> dict[str, Any]:
    """Describe what the reference file has no place for."""
    exposures = list(describe_exposures(points, derivation.photometry.exposures))
    pulls = points.pull[np.isfinite(points.pull)]
    centres = {r.array: difference_of_centres(derivation.photometry.measurements, solution, r) for r in band.results}
    links = solution.links
    trends = {"magnitude": points.m.mag, "colour": points.colour}
    return {
        "centres": {array: {"offset_mag": r.offset, "error_mag": r.offset_error} for array, r in centres.items()},
        "error_scale": solution.error_scale,
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
        "detector_residuals": list(describe_detectors(points)),
        "exposures": exposures,
        "trends": {name: list(describe_trend(points, values)) for name, values in trends.items()},
        "pulls": {
            "n": len(pulls), "mean": pulls.mean(), "width": robust_width(pulls),
            "beyond_3_sigma": np.mean(np.abs(pulls) > 3),
        },
        "metrics": list(_measure_quality(points, exposures, pulls)),
    }  # fmt: skip


def _measure_quality(
    points: Points, exposures: Sequence[Mapping[str, Any]], pulls: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Measure the repeatability, the outliers and the uniformity, each with its threshold."""
    source, n, square = (part[points.used] for part in (points.m.source, np.ones(len(points.m)), points.residual**2))
    number = np.unique(source, return_inverse=True)[1]
    n, square = np.bincount(number, n), np.bincount(number, square)
    mag = np.bincount(number, points.m.mag[points.used]) / n
    bright = (n > 1) & (mag <= np.quantile(mag, _BRIGHT))
    rms = np.sqrt(square[bright] / (n[bright] - 1))
    fitted = ~points.m.reserved
    medians = np.array([[e["median_mag"], e["error_mag"]] for e in exposures if e["n"] > 1]).reshape(-1, 2)
    excess = float(np.mean(medians[:, 0] ** 2 - medians[:, 1] ** 2)) if len(medians) else np.nan
    values = {
        "repeatability": np.median(rms),
        "outlier_fraction": np.isin(points.reason[fitted], ("outlier", "variable")).mean(),
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
