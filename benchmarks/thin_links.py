"""
Is any value quoted that is wrong, where few sources link the detectors? Measurements with a known truth, fitted.

Run ``python benchmarks/thin_links.py --number 500`` with the project installed; it takes about 15 minutes on one core.
Each set has its own seed, by number and name of the design. Values whose term is refused are not quoted.
"""

import argparse
import itertools
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulated_network import HARD, LW, Survey, Truth, simulate

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.verdict import LARGEST_ERROR
from jwst_modfix.simulate.scene import random_stream

ONE_DITHER = ((0.0, 0.0),)
THIN = Survey(dithers=ONE_DITHER, rolls=(0.0, 180.0), **HARD)


def _observed(survey):
    def draw(rng):
        shares = {"variable_share": rng.uniform(0.05, 0.10)}
        return simulate(rng, Truth(offset={}), replace(survey, **shares))

    return draw


def draw_chain(rng, weak=(3, 7), variable_share=0.08):
    """Draw a chain of detectors in which one link in two has 3 to 6 sources, the others 40; all truths are 0."""
    names = ["1A", "1B", "2A", "2B", "3A", "3B", "4A", "4B"]
    rows, first = [], 0
    for one, other in itertools.pairwise(names):
        n = int(rng.integers(*weak)) if rng.random() < 0.5 else 40
        for source in range(first, first + n):
            mag, varies = rng.uniform(18, 22), 0.3 * (rng.random() < variable_share)
            for epoch, detector in enumerate(rng.permutation([one, other])):
                rows.append((source, epoch, detector, mag + np.hypot(0.003, varies) * rng.standard_normal()))
        first += n
    source, epoch, detector, mag = zip(*rows, strict=True)
    zeros = np.zeros(len(rows))
    return Measurements(
        source=source, exposure=epoch, epoch=epoch, array=[d[0] for d in detector], module=[d[1] for d in detector],
        mag=mag, mag_error=zeros + 0.003, V2=zeros, V3=zeros, filter="F200W",
    )  # fmt: skip


def draw_ring(rng):
    """Draw rolls 0 and 94: four links, which all terms need. One has 3 or 4 sources, of which one varies by 0.3 mag."""
    m = simulate(rng, Truth(offset={}), replace(THIN, rolls=(0.0, 94.0), variable_share=0.0))
    m = m.select(np.lexsort([m.epoch, m.source]))
    first = np.flatnonzero(m.source[1:] == m.source[:-1])  # the link of a source: its detectors in the two epochs
    link = m.detector[first] * 16 + m.detector[first + 1]
    mine = rng.permutation(first[link == rng.choice(np.unique(link))])
    kept = mine[: rng.integers(3, 5)]
    mag = m.mag.copy()
    mag[kept[0]] += rng.choice([-0.3, 0.3])
    return replace(m, mag=mag).select(~np.isin(m.source, m.source[np.setdiff1d(mine, kept)]))


DESIGNS = {
    "rolls 0 and 94 deg, one dither": _observed(replace(THIN, rolls=(0.0, 94.0))),
    "chain with links of 3 to 6 sources": draw_chain,
    "rolls 0 and 94 deg, one link of 3 or 4 sources": draw_ring,
    "5 to 10% variable, 6 sources per square arcmin": _observed(replace(THIN, density=6.0)),
    "three epochs, one dither, one array": _observed(replace(THIN, rolls=(0.0, 90.0, 184.0), arrays=LW, density=5.0)),
    "rolls 0 and 180 deg, one dither": _observed(THIN),
    "two detectors only": _observed(replace(THIN, arrays=("2",), density=12.0)),
}


def quote(measurements):
    """Names, values, errors of the terms that a fit quotes, all with truth 0; nothing where it refuses the set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateTermWarning)
        try:
            solution = fit(measurements)
        except NoSolutionError:
            return []
    terms = [(t.name, *solution.value(t.name)) for t in solution.model.terms if t.kind != "level"]
    return [(name, value, error) for name, value, error in terms if np.isfinite(value)]


def try_design(name, trials):
    """Values over errors of some sets of one design, with the set and the error of each."""
    found = []
    for trial in trials:
        terms = quote(DESIGNS[name](random_stream(trial, "thin links", name)))
        found += [(value / error, error, trial, term) for term, value, error in terms]
    return found


def main():
    """Print a row for each design, and each value beyond 5 sigma."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=500, help="sets of each design [500]")
    parser.add_argument("--only", default="", help="only the designs whose name holds this text")
    given = parser.parse_args()
    columns = ("design", "sets", "values", "width", "beyond 5 sigma", "of these in a table", "largest")
    print(f"| {' | '.join(columns)} |\n{len(columns) * '|---'}|")
    for name in [name for name in DESIGNS if given.only in name]:
        found = try_design(name, range(given.number))
        pulls = np.array([pull for pull, *_ in found])
        far = [one for one in found if abs(one[0]) > 5]
        usable = sum(term.startswith("offset") and error <= LARGEST_ERROR for _, error, _, term in far)
        shown = f"{pulls.std():.2f} | {len(far)} | {usable} | {np.abs(pulls).max(initial=0):.1f}"
        print(f"| {name} | {given.number} | {len(found)} | {shown} |", flush=True)
        for pull, error, trial, term in far:
            print(f"    set {trial}: {term} {1e3 * pull * error:+.1f} +- {1e3 * error:.1f} mmag", flush=True)


if __name__ == "__main__":
    main()
