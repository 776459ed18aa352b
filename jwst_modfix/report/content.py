"""The content of the report: its numbers, and faults of the data that they show."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.derivation.bands import BandResult, difference_of_centres
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.derivation.provenance import describe_derivation, plain
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.fitting.checks import CAUSES
from jwst_modfix.fitting.linear import LinearSystem, number_labels
from jwst_modfix.fitting.measurements import ORIGIN, PARTS, Measurements
from jwst_modfix.fitting.robust import OUTLIER_SIGMA, error_of_median, robust_width
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.photometry.columns import group_medians
from jwst_modfix.photometry.frames import offsets_on_sky
from jwst_modfix.table.combine import compare_tables
from jwst_modfix.table.table import MODULES, OffsetRow, OffsetTable
from jwst_modfix.text import count_nouns, format_measured

_TIMES = ("epoch", "exposure", "drift")  # kinds of terms that are no part of the correction
_COLUMNS = ("source", "exposure", "epoch", "array", "module", "mag", "mag_error", "V2", "V3", "RA", "Dec", "reserved")
_SIGMAS = 5.0  # of an exposure's median residual, or of a difference from another table
_AGREES = 3.0  # sigmas
_LEAST_SIZE = 0.003  # mag: smaller deviations of an exposure are left to the other checks
_LEAST_PIXAR = 0.005  # mag: the sky is not flat to better than that
_TURN = 1.0, 0.2  # deg, and for each unit of tan Dec: PA_V3 is that at the boresight, 8' from NIRCam
_SAME = 0.5  # share of equal magnitudes from which two exposures are one
_BRIGHTEST = 0.05  # share of the sources that both modules measured twice
SCHEMA_VERSION = "1.0.0"
_CALIBRATION = (("CRDS_CTX", "context"), ("R_PHOTOM", "photom"), ("R_FLAT", "flat"), ("S_MODOFF", "status"))
# Reasons for which the fit does not use a selected measurement; a source is counted under the first that applies.
_REJECTED = ("no solution", "variable", "outlier", "single", "no colour")
_BINS = 6  # of equal numbers, of a trend
_BRIGHT = 0.25  # share of the used sources, the brightest, whose repeatability is quoted
_Found = Iterator[tuple[str, str, str]]  # name, words, advice


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


def split_prediction(solution: Solution, m: Measurements) -> tuple[np.ndarray, np.ndarray]:
    """Predict systematic errors [mag]: the correction, and the terms of time."""
    design, time = solution.model.design(m), solution.model.mask(*_TIMES)
    return design @ np.where(time, 0.0, solution.values), design @ np.where(time, solution.values, 0.0)


def collect_points(derivation: Derivation, band: BandResult) -> Table:
    """Collect selected measurements of a filter with a solution, and reserved ones."""
    # ``residual`` [mag] is the magnitude less z + g u + t and the mean of its source, ``before`` the same with z + g u
    # left in, ``pull`` the residual over its error (NaN where it was not fitted). ``reason`` says why a measurement is
    # not used; it ``deviates`` as an outlier, of a variable source, or reserved and as far from the mean of its source.
    m, solution = band.measurements, band.solution
    table = derivation.measurements["residual", "reason", "flags"][band.rows]
    known = solution.model.knows(m)
    system, time = np.full((2, len(m)), np.nan)
    system[known], time[known] = split_prediction(solution, m.select(known))
    residual, pull = np.asarray(table["residual"], float).copy(), np.full(len(m), np.nan)
    own = m.reserved & known
    mine, weight = m.select(own), 1 / (m.mag_error[own] ** 2 + solution.sigma_int**2)
    alone = LinearSystem(solution.model.design(mine), number_labels(mine.source)[1])
    residual[own], error = alone.residual(weight, mine.mag, solution.values), alone.kept_share(weight) / np.sqrt(weight)
    reason = np.asarray(table["reason"], str)
    deviates = np.isin(reason, ("outlier", "variable"))
    deviates[own] = np.abs(residual[own]) > OUTLIER_SIGMA * error
    standard = solution.residual * np.sqrt(solution.base) / solution.kept
    pull[~m.reserved] = np.where(solution.rejected == 0, standard, np.nan)
    columns = {name: getattr(m, name) for name in _COLUMNS}
    columns |= {"residual": residual, "before": residual + system, "pull": pull, "reason": reason, "used": reason == ""}
    columns |= {"detector": np.array([" ".join(part) for part in PARTS])[m.detector], "deviates": deviates}
    mjd = np.asarray(derivation.photometry.exposures["mjd"])[m.exposure]
    columns |= {"mjd": mjd, "flags": np.asarray(table["flags"])}
    columns["colour"] = np.full(len(m), np.nan) if band.colour is None else band.colour.values
    return Table(columns, copy=False, meta={"filter": m.filter, "pupil": m.pupil, "first_mjd": mjd.min(initial=np.inf)})


def split_exposures(points: Table) -> dict[int, np.ndarray]:
    """Find the rows of each exposure."""
    order = np.argsort(points["exposure"], kind="stable")
    numbers, first = np.unique(points["exposure"][order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


def list_outliers(points: Table, files: Sequence[str]) -> Table:
    """List sources with deviating measurements: their places and worst measurement."""
    deviates = np.asarray(points["deviates"])
    source, number = np.unique(points["source"], return_inverse=True)
    magnitude, size = group_medians(points["mag"], number, len(source)), np.where(deviates, abs(points["residual"]), -1)
    # The worst measurement of each source first; of two that are as far off, rounding does not decide.
    order = np.lexsort([-size.round(9), number])
    worst = order[np.flatnonzero(np.diff(number[order], prepend=-1))]
    worst = worst[deviates[worst]]
    m, which = points["source", "RA", "Dec", "reason", "residual", "exposure"][worst], number[worst]
    table = Table({"source": m["source"], "RA": m["RA"] * u.deg, "Dec": m["Dec"] * u.deg})
    table["filter"], table["pupil"] = (np.full(len(m), points.meta[name]) for name in ("filter", "pupil"))
    table["reason"] = m["reason"]
    table["mag"], table["residual"] = magnitude[which] * u.mag, m["residual"] * u.mag
    table["measurements"] = np.bincount(number)[which]
    table["rejected"] = np.bincount(number[deviates], minlength=len(source))[which]
    table["exposure"] = np.array([files[i] for i in m["exposure"]], str)
    return table


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
    totals = [counts.sum(axis=0), counts[: len(_REJECTED) + 2].sum(axis=0)]
    rows = [{"sources": n, "measurements": m} for n, m in np.append(counts, totals, axis=0).tolist()]
    used, reserved, *lost, everything, selected = rows
    ended = [(kept, {"rule": rule} | own) for (kept, rule), own in zip(steps[2:], lost, strict=True)]
    not_selected, rejected = (
        [own for kept, own in ended if kept == is_selected and own["measurements"]] for is_selected in (False, True)
    )
    return {
        "found": everything, "not_selected": not_selected, "selected": selected, "reserved": reserved,
        "rejected": rejected, "used": used,
    }  # fmt: skip


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
    # Repeatability of one measurement of a bright source, and share of outliers: LSST Science Requirements (LPM-17),
    # PA1 and PF1. Uniformity: the least error that a measurement is given.
    for name, value, limit, unit, words in (
        ("repeatability", np.median(np.sqrt(square[bright] / (n[bright] - 1))), 0.005, "mag",
         "Repeatability: median rms of the brightest quarter of the sources"),
        ("outlier_fraction", np.mean(points["deviates"][~points["reserved"]]), 0.10, "",
         "Share of the fitted measurements that are outliers or of variable sources"),
        ("uniformity", np.sqrt(max(excess, 0.0)), 0.002, "mag",
         "Uniformity: rms of the exposures' median residuals, less their noise"),
        ("pull_width", robust_width(pulls), 1.15, "", "Width of residuals over their errors (1 is right)"),
    ):  # fmt: skip
        is_met = bool(value <= limit)
        yield {"name": name, "value": value, "unit": unit, "threshold": limit, "passes": is_met, "words": words}


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


def find_everything(
    derivation: Derivation, points: Mapping[str, Table], content: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """List probable faults, the worst first: name, place, evidence, what to do."""
    files = [str(name) for name in derivation.photometry.exposures["file"]]
    mixed = [("mixed calibration", line, "calibrate all exposures with one context") for line in derivation.mixed]
    checks: list[tuple[str, Iterable[tuple[str, str, str]]]] = [("headers", mixed)]
    for band, mine in points.items():
        checks += [(band, _find_copies(mine, files)), (band, _find_misplaced(derivation, mine, files))]
    checks += [(known["name"], _find_in_numbers(derivation, known)) for known in content["bands"]]
    checks += [("comparison", _find_opposite(comparison)) for comparison in content["comparisons"]]
    for band, mine in points.items():
        checks += [(band, _find_variable(mine)), (band, _find_saturated(mine))]
    for where, check in checks:
        for name, words, advice in check:
            yield {"name": name, "where": where, "words": words, "advice": advice}


def _find_copies(points: Table, files: list[str]) -> _Found:
    """Find exposures with equal magnitudes, which are one exposure."""
    order = np.lexsort([points[name] for name in ("exposure", "mag", "source")])
    source, mag, exposure = (np.asarray(points[name])[order] for name in ("source", "mag", "exposure"))
    same = (np.diff(source) == 0) & (np.diff(mag) == 0)
    pairs = np.stack([exposure[:-1][same], exposure[1:][same]], axis=1)
    for pair, count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        share = count / min(np.count_nonzero(points["exposure"] == number) for number in pair)
        if share > _SAME:
            words = f"{' and '.join(files[number] for number in pair)} have {share:.0%} of their magnitudes in common"
            yield "double exposure", words, "leave one of them out: its errors count twice"


def _find_misplaced(derivation: Derivation, points: Table, files: list[str]) -> _Found:
    """Find exposures whose place contradicts their module (A is at +V2) or roll."""
    places = points["module", "V2", "V3", "RA", "Dec"]
    for number, rows in split_exposures(points).items():
        m = places[rows]
        V2, V3, ra, dec = (np.asarray(m[name]) for name in ("V2", "V3", "RA", "Dec"))
        module, middle = str(m["module"][0]), float(np.median(V2))
        if (middle > ORIGIN[0]) != (module == "A"):
            words = f"{files[number]} is of module {module}, but its sources are at V2 = {middle:+z.0f} arcsec"
            yield "module names", words, "correct the DETECTOR keyword, or the WCS"
        if len(m) < 3:
            continue
        east, north = offsets_on_sky(ra[0], dec[0], ra, dec)
        sky, plane = (z - z.mean() for z in (east + 1j * north, V2 + 1j * V3))
        roll = float(-np.degrees(np.angle(np.sum(sky * plane.conj()))) % 360)
        given = float(derivation.photometry.exposures["roll"][number])
        if abs((roll - given + 180) % 360 - 180) > _TURN[0] + _TURN[1] * abs(np.tan(np.radians(dec[0]))):
            words = f"{files[number]}: PA_V3 is {given:.1f} deg, but its sources are turned by {roll:.1f} deg"
            yield "wrong roll", words, "correct PA_V3, or the focal-plane coordinates V2 and V3"


def _find_in_numbers(derivation: Derivation, band: Mapping[str, Any]) -> _Found:
    """Find score tests that fail, a solid angle left out, and exposures that are off."""
    for test in band.get("score_tests", ()):
        if test["is_mismatch"]:
            size = format_measured(test["effect"], test["effect_error"])
            words = f"residuals depend on {test['name']} (p = {test['probability']:.1g}): {test['where']} {size}"
            yield CAUSES[test["name"]], words, test["advice"]
    for sky in band.get("sky", ()):  # a solid angle left out shifts the sources alone
        key = sky["array"], band["filter"], band["pupil"]
        areas = {h.module: h.pixar_sr for h in derivation.headers if (h.array, *h.band) == key}
        expected = 2.5 * np.log10(areas["A"] / areas["B"]) if len(areas) == 2 else 0.0
        found, error = sky["sources"] - sky["sky"], np.hypot(sky["sources_error"], sky["sky_error"])
        limit = max(_AGREES * error, abs(expected) / 4)
        if abs(expected) > _LEAST_PIXAR and abs(found) > limit and abs(found - expected) < limit:
            size = format_measured(found, error)
            words = f"array {sky['array']}: offset from sources minus that from the sky: {size}; "
            words += f"2.5 log10 of the ratio of PIXAR_SR is {1e3 * expected:+z.1f} mmag"
            yield "PIXAR_SR left out", words, "multiply fluxes by PIXAR_SR"
    for e in band.get("exposures", ()):
        if abs(e["median_mag"]) > max(_SIGMAS * e["error_mag"], _LEAST_SIZE):
            words = f"{e['exposure']} ({e['detector']}) is off by {format_measured(e['median_mag'], e['error_mag'])}"
            yield "deviating exposure", words, "look at this exposure; fit without it"


def _find_opposite(comparison: Mapping[str, Any]) -> _Found:
    """Find offsets of opposite sign: module names or a table's sign are swapped."""
    known = [row for row in comparison["rows"] if row["difference_error"]]
    rows = [row for row in known if abs(row["value"]) > _SIGMAS * row["difference_error"]]
    away = [row for row in rows if abs(row["difference"] + 2 * row["value"]) < _SIGMAS * row["difference_error"]]
    if away and len(away) == len(rows):
        words = ", ".join(f"{row['filter']} {row['part']}" for row in away)
        words += f": equal to {comparison['table']} with the opposite sign"
        yield "module names", words, "look whether modules A and B, or signs, are swapped"


def _find_variable(points: Table) -> _Found:
    for rule, name in (("variable", "variable sources"), ("reserved", "variable sources"), ("outlier", "outliers")):
        count = len(np.unique(points["source"][points["deviates"] & (points["reason"] == rule)]))
        if count:
            words = f"{count_nouns(count, 'source')} with deviating measurements ({rule})"
            yield name, words, "see the list of outliers, with coordinates"


def _find_saturated(points: Table) -> _Found:
    """Find bright stars that one module measures fainter by a constant amount."""
    sources, number = np.unique(points["source"], return_inverse=True)
    side = 2 * number + (points["module"] == MODULES[1])
    count = np.bincount(side, minlength=2 * len(sources)).reshape(-1, 2)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(side, values, count.size).reshape(-1, 2) / np.maximum(count, 1)

    twice = (count >= 2).all(axis=1)
    if not twice.any():
        return
    residual, error = mean(points["residual"]), mean(points["mag_error"])
    scatter = np.sqrt(mean((points["residual"] - residual.ravel()[side]) ** 2))
    # A variable star changes between epochs. One module must have seen the star in two epochs, and the results of each
    # module must agree within the errors.
    n_epochs = int(points["epoch"].max(initial=0)) + 1
    seen = np.unique(side * n_epochs + points["epoch"]) // n_epochs
    epochs = np.bincount(seen, minlength=count.size).reshape(-1, 2)
    steady = (scatter < _AGREES * error).all(axis=1) & (epochs >= 2).any(axis=1)
    magnitude = np.bincount(number, points["mag"]) / count.sum(axis=1)
    bright = twice & (magnitude <= np.quantile(magnitude[twice], _BRIGHTEST))
    step, limit = residual[:, 0] - residual[:, 1], _SIGMAS * np.sqrt(np.sum(error**2 / np.maximum(count, 1), axis=1))
    for i in np.flatnonzero(bright & steady & (np.abs(step) > limit)):
        words = f"source {sources[i]}, {magnitude[i]:.2f} mag, one of the brightest: "
        words += f"A - B is {1e3 * step[i]:+z.0f} mmag"
        yield "saturated star", words, "look for saturation that is not flagged"
