"""
What the score tests see, and how often they see something in clean data. Measurements with a known truth, fitted.

Run ``python benchmarks/score_tests.py --number 400`` with the project installed; it takes about 5 minutes on one core.
Three epochs of two dithers, 20 sources per square arcmin, with 5% of variable sources, 1% of outliers and 2 mmag of
scatter; each set has its own seed, by number and name of the fault. A fault counts as found where the test that is
meant for it fails.
"""

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np
from simulated_network import FOOTPRINTS, HARD, LW, SW, Survey, Truth, simulate

from jwst_modfix.fitting.checks import run_score_tests
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.simulate.scene import random_stream

PERCENT = 2.5 * np.log10(1.01)


def draw_clean(rng, arrays, **survey):
    """Draw measurements with pixels, and a colour for each source [mag]."""
    m = simulate(rng, Truth(offset={}), Survey(arrays=arrays, **{**HARD, **survey}))
    x, y = np.zeros((2, len(m)))
    for (array, module), (left, right, low, high) in FOOTPRINTS.items():
        mine = (m.array == array) & (m.module == module)
        x[mine] = 2047 * (m.V2[mine] - left) / (right - left)
        y[mine] = 2047 * (m.V3[mine] - low) / (high - low)
    colour = rng.normal(0.5, 0.5, m.source.max() + 1)[m.source]
    return replace(m, x=x, y=y), colour


def _magnitude(m):
    """Mean magnitude of each measurement's source."""
    source = np.unique(m.source, return_inverse=True)[1]
    return (np.bincount(source, m.mag) / np.bincount(source))[source]


def _drift(m, colour, rng):
    # One pair of detectors and rolls 180 deg apart cannot tell a drift in the turned epoch from their offset.
    epoch = 1 if np.ptp(m.detector) > 1 else 2
    return 0.010 * ((m.detector == m.detector.max()) & (m.epoch == epoch))


def _nonlinear(m, colour, rng):
    return PERCENT * (m.module_code == 0) * (_magnitude(m) - 20) / 2.5


def _contaminated(m, colour, rng):
    return -PERCENT * (m.module_code == 0) * 10 ** (0.4 * (_magnitude(m) - 22))


def _jitter(m, colour, rng):
    code = np.unique(np.stack([m.exposure, m.detector]), axis=1, return_inverse=True)[1].ravel()
    return rng.normal(0, 0.003, code.max() + 1)[code]


def _domes(m, colour, rng):
    xi, eta = 2 * m.x / 2047 - 1, 2 * m.y / 2047 - 1
    return PERCENT * np.where(m.module_code == 0, 0.5, -0.5) * (xi**2 + eta**2) / 2


def _coloured(m, colour, rng):
    return PERCENT * (m.module_code == 0) * colour


def _exposure(m, colour, rng):
    return 0.005 * (m.exposure == m.exposure.max())


FAULTS = {
    "10 mmag drift of a detector in an epoch": (_drift, "detector x epoch"),
    "5 mmag in one exposure": (_exposure, "exposure"),
    "3 mmag jitter by exposure and detector": (_jitter, "exposure x detector"),
    "1% per dex in module A": (_nonlinear, "magnitude x module"),
    "1% of contamination at 22 mag in module A": (_contaminated, "magnitude x module"),
    "1% per mag of colour in module A": (_coloured, "colour x module"),
    "1% dome in module A against module B": (_domes, "position x module"),
}


def run(name, arrays, trial, **survey):
    """Score tests of one set with one fault, or with none."""
    rng = random_stream(trial, "score tests", name, *arrays)
    m, colour = draw_clean(rng, arrays, **survey)
    if name in FAULTS:
        m = replace(m, mag=m.mag + FAULTS[name][0](m, colour, rng))
    # The default fits a term for each exposure, which leaves nothing to test of them.
    options = {"exposure_terms": "zero"} if name in FAULTS and FAULTS[name][1] == "exposure" else {}
    return run_score_tests(solve(m, **options), colour=colour)


def main():
    """Print false alarms by test, and the power against each fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=400, help="clean sets of each channel [400]")
    parser.add_argument("--power", type=int, default=100, help="sets of each channel with each fault [100]")
    given = parser.parse_args()
    for channel, arrays in (("SW", SW), ("LW", LW)):
        found, least = Counter(), {}
        for trial in range(given.number):
            tests = run("clean", arrays, trial)
            found["any"] += any(test.is_mismatch for test in tests)
            for test in tests:
                found[test.name] += test.is_mismatch
                least[test.name] = min(least.get(test.name, 1), test.probability)
        print(f"{channel}: {found['any']} false alarms in {given.number} clean sets", flush=True)
        for name, value in least.items():
            print(f"    {name:24} {found[name]} (least p {value:.2g})", flush=True)
        for name, (_, meant) in FAULTS.items():
            trials = [run(name, arrays, trial) for trial in range(given.power)]
            hits = [test for tests in trials for test in tests if test.name == meant and test.is_mismatch]
            effect = 1e3 * np.median([abs(test.effect) for test in hits]) if hits else np.nan
            where = Counter(test.where for test in hits).most_common(1)
            print(
                f"{channel}: {name:44} power {len(hits) / given.power:.2f}, effect {effect:.1f} mmag, {where}",
                flush=True,
            )


if __name__ == "__main__":
    main()
