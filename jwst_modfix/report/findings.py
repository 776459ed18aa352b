"""What is probably wrong with the data, in words: each check reads numbers of the report and names a cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.fitting.measurements import ORIGIN
from jwst_modfix.photometry.frames import offsets
from jwst_modfix.report.points import Points
from jwst_modfix.table.table import MODULES
from jwst_modfix.text import count_nouns, format_measured

# What a score test that fails is mostly a sign of.
CAUSES = {
    "detector x epoch": "drift of a detector", "exposure": "deviating exposure",
    "exposure x detector": "jitter of exposures", "magnitude x module": "contamination, sky bias or linearity",
    "colour x module": "colour term", "position on detector": "flat field", "position x module": "flat field",
    "pixel phase": "pixel phase",
}  # fmt: skip
_SIGMAS = 5.0  # of an exposure's median residual, or of a difference from another table
_AGREES = 3.0  # sigmas
_LEAST_SIZE = 0.003  # mag: smaller deviations of an exposure are left to the other checks
_LEAST_PIXAR = 0.005  # mag: the sky is not flat to better than that
_TURN = 1.0, 0.2  # deg, and for each unit of tan Dec: PA_V3 is that at the boresight, 8' from NIRCam
_SAME = 0.5  # share of equal magnitudes from which two exposures are one
_BRIGHTEST = 0.05  # share of the sources that both modules measured twice


@dataclass(frozen=True)
class Finding:
    """A probable fault: its name, where it shows, what was seen, and what to do."""

    name: str
    where: str
    words: str
    advice: str


def find_everything(
    derivation: Derivation, points: Mapping[str, Points], content: Mapping[str, Any]
) -> Iterator[Finding]:
    """List the findings, those that make numbers wrong first."""
    for line in derivation.mixed:
        yield Finding("mixed calibration", "headers", line, "calibrate all exposures with one context")
    for name, mine in points.items():
        yield from _find_copies(derivation, name, mine)
        yield from _find_misplaced(derivation, name, mine)
        yield from _find_turned(derivation, name, mine)
    for band in content["bands"]:
        yield from _find_mismatches(band)
        yield from _find_unscaled(derivation, band)
        yield from _find_deviating(band)
    for comparison in content["comparisons"]:
        yield from _find_opposite(derivation, comparison)
    for name, mine in points.items():
        yield from _find_variable(name, mine)


def _file(derivation: Derivation, number: Any) -> str:
    return str(derivation.photometry.exposures["file"][int(number)])


def _find_copies(derivation: Derivation, band: str, points: Points) -> Iterator[Finding]:
    """Two exposures with the same magnitudes are one exposure."""
    m = points.m
    order = np.lexsort([m.exposure, m.mag, m.source])
    same = (np.diff(m.source[order]) == 0) & (np.diff(m.mag[order]) == 0)
    pairs = np.stack([m.exposure[order][:-1][same], m.exposure[order][1:][same]], axis=1)
    for (one, other), count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        share = count / min(len(points.by_exposure[one]), len(points.by_exposure[other]))
        if share > _SAME:
            files = " and ".join(_file(derivation, number) for number in (one, other))
            words = f"{files} have {share:.0%} of their magnitudes in common"
            yield Finding("double exposure", band, words, "leave one of them out: its errors count twice")


def _find_misplaced(derivation: Derivation, band: str, points: Points) -> Iterator[Finding]:
    """Find exposures whose place does not fit their module: A is on the side of +V2."""
    for number, mine in points.by_exposure.items():
        module, v2 = str(points.m.module[mine][0]), float(np.median(points.m.V2[mine]))
        if (v2 > ORIGIN[0]) != (module == "A"):
            words = f"{_file(derivation, number)} is of module {module}, but its sources are at V2 = {v2:+z.0f} arcsec"
            yield Finding("module names", band, words, "correct the DETECTOR keyword, or the WCS")


def _find_turned(derivation: Derivation, band: str, points: Points) -> Iterator[Finding]:
    """Compare PA_V3 with the roll that positions on the sky and in the focal plane give."""
    m = points.m
    if m.RA is None or m.Dec is None:
        return
    for number, mine in points.by_exposure.items():
        if len(mine) < 3:
            continue
        east, north = offsets(float(m.RA[mine][0]), float(m.Dec[mine][0]), m.RA[mine], m.Dec[mine])
        sky, plane = (z - z.mean() for z in (east + 1j * north, m.V2[mine] + 1j * m.V3[mine]))
        roll = float(-np.degrees(np.angle(np.sum(sky * plane.conj()))) % 360)
        given = float(derivation.photometry.exposures["roll"][int(number)])
        limit = _TURN[0] + _TURN[1] * abs(float(np.tan(np.radians(m.Dec[mine][0]))))
        if abs((roll - given + 180) % 360 - 180) > limit:
            file = _file(derivation, number)
            words = f"{file}: PA_V3 is {given:.1f} deg, but its sources are turned by {roll:.1f} deg"
            yield Finding("wrong roll", band, words, "correct PA_V3, or the focal-plane coordinates V2 and V3")


def _find_mismatches(band: Mapping[str, Any]) -> Iterator[Finding]:
    """Score tests that fail."""
    for test in band.get("score_tests", ()):
        if test["is_mismatch"]:
            size = format_measured(test["effect"], test["effect_error"])
            words = f"residuals depend on {test['name']} (p = {test['probability']:.1g}): {test['where']} {size}"
            yield Finding(CAUSES[test["name"]], band["name"], words, test["advice"])


def _find_unscaled(derivation: Derivation, band: Mapping[str, Any]) -> Iterator[Finding]:
    """Compare sources with the sky: a solid angle left out shifts the sources alone, by the ratio of the pixels."""
    for sky in band.get("sky", ()):
        areas = {
            h.module: h.pixar_sr for h in derivation.headers
            if (h.array, *h.band) == (sky["array"], band["filter"], band["pupil"])
        }  # fmt: skip
        expected = 2.5 * np.log10(areas["A"] / areas["B"]) if len(areas) == 2 else 0.0
        found, error = sky["sources"] - sky["sky"], np.hypot(sky["sources_error"], sky["sky_error"])
        limit = max(_AGREES * error, abs(expected) / 4)
        if abs(expected) > _LEAST_PIXAR and abs(found) > limit and abs(found - expected) < limit:
            words = (
                f"array {sky['array']}: offset from sources minus that from the sky: {format_measured(found, error)}; "
                f"2.5 log10 of the ratio of PIXAR_SR is {1e3 * expected:+z.1f} mmag"
            )
            yield Finding("PIXAR_SR left out", band["name"], words, "multiply fluxes by PIXAR_SR")


def _find_deviating(band: Mapping[str, Any]) -> Iterator[Finding]:
    for e in band.get("exposures", ()):
        if abs(e["median_mag"]) > max(_SIGMAS * e["error_mag"], _LEAST_SIZE):
            words = f"{e['exposure']} ({e['detector']}) is off by {format_measured(e['median_mag'], e['error_mag'])}"
            yield Finding("deviating exposure", band["name"], words, "look at this exposure; fit without it")


def _find_opposite(derivation: Derivation, comparison: Mapping[str, Any]) -> Iterator[Finding]:
    """Offsets of the other sign: the names of the modules, or the sign of a table, are swapped."""
    known = [row for row in comparison["rows"] if row["difference_error"]]
    rows = [row for row in known if abs(row["value"]) > _SIGMAS * row["difference_error"]]
    away = [row for row in rows if abs(row["difference"] + 2 * row["value"]) < _SIGMAS * row["difference_error"]]
    if away and len(away) == len(rows):
        words = ", ".join(f"{row['filter']} {row['part']}" for row in away)
        words += f": equal to {comparison['table']} with the opposite sign"
        yield Finding("module names", "comparison", words, "look whether modules A and B, or signs, are swapped")


def _find_variable(band: str, points: Points) -> Iterator[Finding]:
    m = points.m
    rules = {"variable": "variable sources", "reserved": "variable sources", "outlier": "outliers"}
    for rule, name in rules.items():
        count = len(np.unique(m.source[points.deviates & (points.reason == rule)]))
        if count:
            words = f"{count_nouns(count, 'source')} with deviating measurements ({rule})"
            yield Finding(name, band, words, "see the list of outliers, with coordinates")
    sources, number = np.unique(m.source, return_inverse=True)
    magnitude = np.bincount(number, m.mag) / np.bincount(number)
    twice = np.all([np.bincount(number, m.module == module) >= 2 for module in MODULES], axis=0)
    if not twice.any():
        return
    order = np.argsort(number, kind="stable")
    edges = np.searchsorted(number[order], np.arange(len(sources) + 1))
    for i in np.flatnonzero(twice & (magnitude <= np.quantile(magnitude[twice], _BRIGHTEST))):
        own = order[edges[i] : edges[i + 1]]
        mine = [own[m.module[own] == module] for module in MODULES]
        sides = [points.residual[rows] for rows in mine]
        step = float(sides[0].mean() - sides[1].mean())
        # A star that varies does so from epoch to epoch: one module must have seen it in two epochs, and each module
        # with the same result within the errors.
        steady = all(side.std() < _AGREES * m.mag_error[rows].mean() for side, rows in zip(sides, mine, strict=True))
        if not steady or max(len(np.unique(m.epoch[rows])) for rows in mine) < 2:
            continue
        error = float(np.hypot(*(m.mag_error[rows].mean() / np.sqrt(len(rows)) for rows in mine)))
        if abs(step) > _SIGMAS * error:
            words = (
                f"source {sources[i]}, {magnitude[i]:.2f} mag, one of the brightest: A - B is {1e3 * step:+z.0f} mmag"
            )
            yield Finding("saturated star", band, words, "look for saturation that is not flagged")
