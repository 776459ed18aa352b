"""Which of twelve planted faults does the report name?

Run as ``python benchmarks/planted_faults.py [TRIALS] [SEED]``. Each fault is planted into measurements of arrays 1 and
2 in F200W, in three epochs of two dithers, with sizes at which it matters. It is named if a finding of the report has
the name of its cause; a variable star, if it is in the list of outliers too. Trials without a fault count false alarms.
Each trial has its own seed: SEED (0) plus 1000 for each fault plus its number.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from astropy.table import vstack
from derivation_of_magnitudes import derive, simulate_photometry

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.checks import CAUSES
from jwst_modfix.photometry.frames import Epochs, find_mixed
from jwst_modfix.report.content import collect_points, describe_report, list_outliers
from jwst_modfix.table.table import OffsetRow

ROWS = [
    OffsetRow(array="1", filter="F200W", offset=0.01534, offset_error=0.0),
    OffsetRow(array="2", filter="F200W", offset=-0.05267, offset_error=0.0),
]
DENSITY = 60.0  # sources per arcmin^2


class Data:
    """Measurements, headers and epochs of one trial."""

    def __init__(self, seed):
        self.photometry, self.headers, self.epochs = simulate_photometry(ROWS, seed=seed, outliers=0.0, density=DENSITY)
        self.rng = np.random.default_rng([seed, 99])
        self.mixed = ()
        self.star = None  # a source that must be in the list of outliers

    @property
    def table(self):
        return self.photometry.measurements

    @property
    def exposures(self):
        return self.photometry.exposures

    def of(self, array=None, module=None, epoch=None):
        chosen = {"array": array, "module": module, "epoch": epoch}
        return np.all([self.table[name] == value for name, value in chosen.items() if value is not None], axis=0)

    def find(self):
        """Names of the findings of the report."""
        # The seed of the reserved sources is that of the trial too: a planted source may be reserved.
        try:
            derivation = derive(self.photometry, self.headers, self.epochs, mixed=self.mixed)
        except NoSolutionError as refusal:  # there is no report; the message has the score tests that fail
            return {name for test, name in CAUSES.items() if f"residuals depend on {test} (" in str(refusal)}
        points = {band.name: collect_points(derivation, band) for band in derivation.bands}
        names = {finding["name"] for finding in describe_report(derivation, points)["findings"]}
        files = derivation.photometry.exposures["file"]
        listed = {source for mine in points.values() for source in list_outliers(mine, files)["source"]}
        return names - {"variable sources"} if self.star is not None and self.star not in listed else names

    def often(self):
        """Sources that were measured six times and more, the brightest first."""
        sources, counts = np.unique(self.table["source"], return_counts=True)
        magnitude = [np.median(self.table["mag"][self.table["source"] == source]) for source in sources]
        return sources[np.argsort(np.where(counts >= 6, magnitude, np.inf))]


def variable_star(data):
    """A star of medium brightness is fainter by 0.1 mag in the second epoch."""
    star = data.star = data.often()[10]
    data.table["mag"][(data.table["source"] == star) & data.of(epoch=1)] += 0.1


def wrong_roll(data):
    """PA_V3 of the second epoch is off by 10 deg."""
    data.exposures["roll"][data.exposures["epoch"] == 1] -= 10.0
    data.headers = [replace(h, roll=float(r)) for h, r in zip(data.headers, data.exposures["roll"], strict=True)]


def mixed_calibration(data):
    """The third epoch of one detector has another PHOTMJSR, by 2%."""
    which = [h.detector == "NRCA1" and n == 2 for h, n in zip(data.headers, data.epochs.number, strict=True)]
    data.headers = [replace(h, photmjsr=1.02 * h.photmjsr, photom="other.fits") if w else h
                    for h, w in zip(data.headers, which, strict=True)]  # fmt: skip
    data.table["mag"][data.of("1", "A", 2)] -= 2.5 * np.log10(1.02)
    data.mixed = tuple(find_mixed(data.headers))


def drift(data):
    """One detector is fainter by 10 mmag in the second epoch."""
    data.table["mag"][data.of("2", "A", 1)] += 0.010


def jitter(data):
    """Each exposure of each detector is off by 3 mmag."""
    data.table["mag"][:] += data.rng.normal(0, 0.003, len(data.exposures))[data.table["exposure"]]


def contamination(data):
    """Module A has 1% of the flux of a 22 mag source too much."""
    mine = data.of(module="A")
    data.table["mag"][mine] -= 1.0857 * 0.01 * 10 ** (0.4 * (np.asarray(data.table["mag"][mine]) - 22))


def bad_flat(data):
    """The flat of one detector tilts by 5 mmag from the middle to the edge."""
    mine = data.of("1", "A")
    data.table["mag"][mine] += 0.005 * (np.asarray(data.table["x"][mine]) / 1023.5 - 1)


def swapped_modules(data):
    """The names of the modules are swapped in one exposure of array 1."""
    one, other = (data.exposures["exposure"][(data.exposures["array"] == "1") & (data.exposures["module"] == m)][0]
                  for m in "AB")  # fmt: skip
    for number, module in ((one, "B"), (other, "A")):
        data.table["module"][data.table["exposure"] == number] = module
        data.exposures["module"][number] = module


def double_exposure(data):
    """One exposure is there twice."""
    number, first = len(data.exposures), data.table[data.table["exposure"] == 0]
    first["exposure"] = number
    extra = data.exposures[:1]
    extra["exposure"] = number
    data.photometry = replace(
        data.photometry, measurements=vstack([data.table, first]), exposures=vstack([data.exposures, extra])
    )
    data.headers = [*data.headers, data.headers[0]]
    data.epochs = Epochs(np.append(data.epochs.number, 0), data.epochs.names)


def saturated_star(data):
    """The brightest star that both modules measured twice is fainter by 60 mmag in module A, and is not flagged."""
    counts = [np.bincount(data.table["source"][data.of(module=module)], minlength=10_000) for module in "AB"]
    mine = np.minimum(*counts)[data.table["source"]] >= 2
    star = data.table["source"][mine][np.argmin(data.table["mag"][mine])]
    data.table["mag"][(data.table["source"] == star) & data.of(module="A")] += 0.06


def pixar_left_out(data):
    """Pixels of module A are larger by 2%, and fluxes have not been multiplied by PIXAR_SR."""
    data.headers = [replace(h, pixar_sr=1.02 * h.pixar_sr) if h.module == "A" else h for h in data.headers]
    data.table["mag"][data.of(module="A")] += 2.5 * np.log10(1.02)


def sky_bias(data):
    """The sky of module B is subtracted too much, by 1% of the flux of a 22 mag source in the aperture."""
    mine = data.of(module="B")
    data.table["mag"][mine] += 1.0857 * 0.01 * 10 ** (0.4 * (np.asarray(data.table["mag"][mine]) - 22))


# Each fault, and the name of the finding that tells of it.
FAULTS = {
    variable_star: "variable sources",
    wrong_roll: "wrong roll",
    mixed_calibration: "mixed calibration",
    drift: "drift of a detector",
    jitter: "jitter of exposures",
    contamination: "contamination, sky bias or linearity",
    bad_flat: "flat field",
    swapped_modules: "module names",
    double_exposure: "double exposure",
    saturated_star: "saturated star",
    pixar_left_out: "PIXAR_SR left out",
    sky_bias: "contamination, sky bias or linearity",
}


def find_faults(fault, seed):
    """Plant a fault, or none, and read the report."""
    data = Data(seed)
    if fault is not None:
        fault(data)
    return data.find()


def main(trials=3, first=0):
    """Print how often each fault is named, and how often a report without a fault names one."""
    named = 0
    for number, (fault, name) in enumerate(FAULTS.items()):
        found = [find_faults(fault, first + 1000 * number + trial) for trial in range(trials)]
        hits = sum(name in names for names in found)
        named += hits > trials / 2
        others = sorted({other for names in found for other in names} - {name, "outliers", "variable sources"})
        print(f"{fault.__name__:18} named in {hits} of {trials}  also: {', '.join(others) or 'nothing'}", flush=True)
    clean = [find_faults(None, first + 100_000 + trial) for trial in range(trials)]
    alarms = sum(bool(names - {"outliers", "variable sources"}) for names in clean)
    print(f"{named} of {len(FAULTS)} faults are named; without a fault, {alarms} of {trials} reports name one")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
