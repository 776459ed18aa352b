"""
Zero points of detectors and their fields against the truth, over independent realisations of several designs.

Run ``python benchmarks/detectors.py --number 54`` with the project installed; it takes about 10 minutes. Zero points
scatter by 25 mmag and fields by 5 mmag rms (order 2); sources are 20 per arcmin^2, measured to 3 mmag. The forecast is
that of ``modfix plan``, from sources of its own.
"""

import argparse
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulated_detectors import Network, lay_out, simulate

from jwst_modfix.derivation.forecast import plan_bands
from jwst_modfix.errors import DegenerateTermWarning
from jwst_modfix.fitting.design import Choice
from jwst_modfix.fitting.solution import fit
from jwst_modfix.fitting.verdict import judge

DESIGNS = {
    "3 epochs 0/180/0, 6 dithers": {},
    "2 rolls 0/150, 4 dithers": {"rolls": (0.0, 150.0), "dithers": 4},
    "1 epoch, 6 dithers": {"rolls": (0.0,)},
    "2 rolls 0/180, 1 dither, 40 per arcmin2": {"rolls": (0.0, 180.0), "dithers": 1, "density": 40.0},
}
MAKE = {
    "no field": ({}, "0"),
    "field of order 2": ({"field_rms": 0.005}, "2"),
    "exposures of 3 mmag": ({"exposure_scatter": 0.003}, "0"),
    "jitter of 1 mmag": ({"jitter": 0.001}, "0"),
    "jitter of 3 mmag": ({"jitter": 0.003}, "0"),
}


def main():
    """Print a table of what is recovered, and how often ``auto`` takes order 0 of a flat truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=30, help="realisations of each case [30]")
    parser.add_argument("--first", type=int, default=0, help="seed of the first realisation [0]")
    parser.add_argument("--only", default="", help="words of the cases to measure, such as '0/180/0, 6 dithers, field'")
    parser.add_argument("--flat", type=int, default=100, help="flat sets for field_order=auto [100]")
    given = parser.parse_args()
    warnings.simplefilter("ignore", DegenerateTermWarning)
    head = ("design", "truth", "zero points", "error", "rms off", "width of pulls", "error / forecast")
    head += ("scatter / forecast", "field error", "rms off", "at worst", "said")
    print(f"| {' | '.join(head)} |\n" + len(head) * "|---" + "|")
    for design, layout in DESIGNS.items():
        for made, (truth, order) in MAKE.items():
            name = f"{design}, {made}"
            if given.only in name:
                print(
                    measure(name, Network(**layout, **truth), order, range(given.first, given.first + given.number)),
                    flush=True,
                )
    if given.flat:
        orders = [choose_flat(number) for number in range(given.flat)]
        print(f"\nauto, flat truth: order 0 in {orders.count(0)} of {len(orders)} sets")


def measure(name, network, order, trials):
    """One row of the table."""
    off, errors, expected, missed, field_errors, said = [], [], [], [], [], set()
    choice = Choice(scale="detectors", field_order=int(order))
    options = {"density": network.density, "scatter": network.scatter, "choice": choice, "reserve_share": 0.0}
    (plan,) = plan_bands(lay_out(network.rolls, network.dithers, network.filter), np.random.default_rng(1), **options)
    planned = {one.detector: one.error for one in plan.detectors}
    for trial in trials:
        m, truth = simulate(network, network.seeds(name, trial))
        solution = fit(m, scale="detectors", field_order=order)
        results = [r for r in judge(solution) if r.zero_point is not None]
        said |= {"field not offered" for refusal in solution.refusals if "no field" in refusal}
        said |= {f"{8 - len(results)} not determined"} if len(results) < 8 else set()
        groups = [[r.detector for r in results if r.group == group] for group in {r.group for r in results}]
        said |= {f"{len(groups)} groups"} if len(groups) > 1 else set()
        true = {}
        for names in groups:
            true |= truth.relative("B" if any(name[3] == "B" for name in names) else "mean", names)
        results = [r for r in results if r.zero_point_error > 0]  # without what keeps its flux scale
        off += [r.zero_point - true[r.detector] for r in results]
        errors += [r.zero_point_error for r in results]
        expected += [planned[r.detector] or np.nan for r in results]
        for r in (r for r in results if r.field is not None):
            terms = truth.fields[r.detector].items()
            difference = {power: r.field.coefficients[power[0]][power[1]] - value for power, value in terms}
            squares = (d**2 / (2 * i + 1) / (2 * j + 1) for (i, j), d in difference.items())
            missed.append(np.sqrt(sum(squares)))
            field_errors.append(r.field_error)
    off, errors, missed = np.array(off), np.array(errors), np.array(missed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = np.array(expected)
        cells = [1e3 * np.median(errors), 1e3 * rms(off), rms(off / errors), np.nanmedian(errors / expected)]
        cells.append(np.sqrt(np.nanmean((off / expected) ** 2)))
        cells += [1e3 * rms(field_errors), 1e3 * rms(missed), 1e3 * missed.max(initial=0)]
    return f"| {name.replace(', ' + name.rsplit(', ', 1)[1], '')} | {name.rsplit(', ', 1)[1]} | {len(off)} | " + (
        " | ".join(f"{cell:.2f}" for cell in cells) + f" | {'; '.join(sorted(said))} |"
    )


def choose_flat(number):
    """Order that ``auto`` takes for detectors without fields."""
    network = Network(dithers=4)
    rng = network.seeds("flat", number)
    m, _ = simulate(network, rng)
    reserved = (rng.random(m.source.max() + 1) < 0.2)[m.source]
    return fit(replace(m, reserved=reserved), scale="detectors", field_order="auto").field_order


def rms(values):
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) else np.nan


if __name__ == "__main__":
    main()
