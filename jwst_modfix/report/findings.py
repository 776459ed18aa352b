"""The selected measurements, and faults of the data that they show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix.derivation.bands import BandResult
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.fitting.linear import LinearSystem, number_labels
from jwst_modfix.fitting.measurements import ORIGIN, PARTS, Measurements
from jwst_modfix.fitting.robust import OUTLIER_SIGMA
from jwst_modfix.fitting.score_tests import CAUSES
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.photometry.columns import group_medians
from jwst_modfix.photometry.frames import offsets
from jwst_modfix.table.table import MODULES
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
_Found = Iterator[tuple[str, str, str]]  # name, words, advice


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
    if solution is None:
        raise ValueError(f"{band.name} has no solution")
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
    columns["colour"] = np.full(len(m), np.nan) if band.colour is None else band.colour.values
    columns |= {"mjd": mjd, "flags": np.asarray(table["flags"])}
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


def find_everything(
    derivation: Derivation, points: Mapping[str, Table], content: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """List probable faults, the worst first: name, place, evidence, what to do."""
    files = [str(name) for name in derivation.photometry.exposures["file"]]
    mixed = [("mixed calibration", line, "calibrate all exposures with one context") for line in derivation.mixed]
    checks: list[tuple[str, Iterable[tuple[str, str, str]]]] = [("headers", mixed)]
    for band, mine in points.items():
        checks += [(band, _find_copies(mine, files)), (band, _find_misplaced(derivation, mine, files))]
    for known in content["bands"]:
        found = (_find_mismatches(known), _find_unscaled(derivation, known), _find_deviating(known))
        checks += [(known["name"], check) for check in found]
    checks += [("comparison", _find_opposite(comparison)) for comparison in content["comparisons"]]
    for band, mine in points.items():
        checks += [(band, _find_variable(mine)), (band, _find_saturated(mine))]
    for where, check in checks:
        for name, words, advice in check:
            yield {"name": name, "where": where, "words": words, "advice": advice}


def _find_copies(points: Table, files: list[str]) -> _Found:
    """Find exposures with equal magnitudes, which are one exposure."""
    source, mag, exposure = (np.asarray(points[name]) for name in ("source", "mag", "exposure"))
    order = np.lexsort([exposure, mag, source])
    same = (np.diff(source[order]) == 0) & (np.diff(mag[order]) == 0)
    pairs = np.stack([exposure[order][:-1][same], exposure[order][1:][same]], axis=1)
    for pair, count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        share = count / min(np.count_nonzero(exposure == number) for number in pair)
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
        east, north = offsets(ra[0], dec[0], ra, dec)
        sky, plane = (z - z.mean() for z in (east + 1j * north, V2 + 1j * V3))
        roll = float(-np.degrees(np.angle(np.sum(sky * plane.conj()))) % 360)
        given = float(derivation.photometry.exposures["roll"][number])
        if abs((roll - given + 180) % 360 - 180) > _TURN[0] + _TURN[1] * abs(np.tan(np.radians(dec[0]))):
            words = f"{files[number]}: PA_V3 is {given:.1f} deg, but its sources are turned by {roll:.1f} deg"
            yield "wrong roll", words, "correct PA_V3, or the focal-plane coordinates V2 and V3"


def _find_mismatches(band: Mapping[str, Any]) -> _Found:
    """Find score tests that fail."""
    for test in band.get("score_tests", ()):
        if test["is_mismatch"]:
            size = format_measured(test["effect"], test["effect_error"])
            words = f"residuals depend on {test['name']} (p = {test['probability']:.1g}): {test['where']} {size}"
            yield CAUSES[test["name"]], words, test["advice"]


def _find_unscaled(derivation: Derivation, band: Mapping[str, Any]) -> _Found:
    """Compare sources with sky: a solid angle left out shifts the sources alone."""
    for sky in band.get("sky", ()):
        key = sky["array"], band["filter"], band["pupil"]
        areas = {h.module: h.pixar_sr for h in derivation.headers if (h.array, *h.band) == key}
        expected = 2.5 * np.log10(areas["A"] / areas["B"]) if len(areas) == 2 else 0.0
        found, error = sky["sources"] - sky["sky"], np.hypot(sky["sources_error"], sky["sky_error"])
        limit = max(_AGREES * error, abs(expected) / 4)
        if abs(expected) > _LEAST_PIXAR and abs(found) > limit and abs(found - expected) < limit:
            words = (
                f"array {sky['array']}: offset from sources minus that from the sky: {format_measured(found, error)}"
            )
            words += f"; 2.5 log10 of the ratio of PIXAR_SR is {1e3 * expected:+z.1f} mmag"
            yield "PIXAR_SR left out", words, "multiply fluxes by PIXAR_SR"


def _find_deviating(band: Mapping[str, Any]) -> _Found:
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
        """Take the mean in each source and module."""
        return np.bincount(side, values, count.size).reshape(-1, 2) / np.maximum(count, 1)

    twice = (count >= 2).all(axis=1)
    if not twice.any():
        return
    residual, error = mean(points["residual"]), mean(points["mag_error"])
    scatter = np.sqrt(mean((points["residual"] - residual.ravel()[side]) ** 2))
    # A variable star changes between epochs. One module must have seen the star in two epochs, and the results of each
    # module must agree within the errors.
    n_epochs = int(points["epoch"].max(initial=0)) + 1
    seen = np.bincount(side * n_epochs + points["epoch"], minlength=count.size * n_epochs) > 0
    epochs = seen.reshape(-1, 2, n_epochs).sum(axis=2)
    steady = (scatter < _AGREES * error).all(axis=1) & (epochs >= 2).any(axis=1)
    magnitude = np.bincount(number, points["mag"]) / count.sum(axis=1)
    bright = twice & (magnitude <= np.quantile(magnitude[twice], _BRIGHTEST))
    step, limit = residual[:, 0] - residual[:, 1], _SIGMAS * np.sqrt(np.sum(error**2 / np.maximum(count, 1), axis=1))
    for i in np.flatnonzero(bright & steady & (np.abs(step) > limit)):
        words = (
            f"source {sources[i]}, {magnitude[i]:.2f} mag, one of the brightest: A - B is {1e3 * step[i]:+z.0f} mmag"
        )
        yield "saturated star", words, "look for saturation that is not flagged"
