"""
Cost of a derivation: the default route on 60 exposures, its growth with their number, and the published way beside it.

Run ``python benchmarks/derive.py FOLDER`` with the project installed; FOLDER takes 7 GB of simulated exposures, which
are used again where they stand there. Times are those of whole processes: on the wall, and of the processor, which
tells the cost on a machine that does other work too.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
COUNTS = (15, 30, 60)
ROUTES = {"exposure": [], "mosaic": ["--photometry=mosaic", "--method=pairs"]}


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall and of the processor, and GiB at the peak, of one process."""

    wall: float
    cpu: float
    peak: float


def main():
    """Run what was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the exposures; made where it does not exist")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of the default route [3]")
    parser.add_argument("--only", choices=list(ROUTES), help="one of the two routes only")
    given = parser.parse_args()
    paths = simulate_exposures(given.folder)
    costs = {}
    if given.only != "mosaic":
        for count in COUNTS:
            costs[count] = [measure(given.folder, paths, count, "exposure") for _ in range(given.repeats)]
            report(f"default route, {count} exposures", costs[count])
        report_growth(costs)
    if given.only != "exposure":
        mosaic = measure(given.folder, paths, COUNTS[-1], "mosaic")
        report(f"mosaic route, {COUNTS[-1]} exposures", [mosaic])
        if costs:
            report_ratio(mosaic, costs[COUNTS[-1]])


def simulate_exposures(folder):
    """
    Make 60 exposures, or find them: three epochs of two dithers, ten detectors in F200W and F444W, sources to 24.5 mag.

    In a process of its own, for a process that is measured inherits the peak of memory of the one that starts it.
    """
    options = "--filter F200W --filter F444W --epochs 3 --dithers 2 --faintest 24.5 --seed 1 --field derive --quiet"
    if not (folder / "derive_image3_asn.json").exists():
        subprocess.run([sys.executable, "-m", "jwst_modfix.cli", "simulate", folder, *options.split()], check=True)
    return sorted(folder.glob("*_cal.fits"))


def measure(folder, paths, count, route):
    """Derive from so many exposures, spread over the epochs and with both modules of each array, in a new process."""
    association = write_association(folder, choose(paths, count))
    output = folder / f"out_{route}_{count}"
    output.mkdir(exist_ok=True)
    for cache in folder.glob("*_modfix_cache"):
        shutil.rmtree(cache)  # or the second run would measure nothing
    strun = str(Path(sys.executable).with_name("strun"))
    command = [
        strun,
        str(ROOT / "jwst_modfix/config/modfix_derive.cfg"),
        str(association),
        f"--output_dir={output}",
        *ROUTES[route],
    ]
    start = time.perf_counter()
    with (output / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit((output / "log.txt").read_text(encoding="utf-8"))
    wall = time.perf_counter() - start
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024**2)


def choose(paths, count):
    """60: all; 30: the first dither; 15: of that the first two epochs, the long wavelengths and most of the short."""
    if count == 60:
        return paths
    first = [path for path in paths if "_00001_" in path.name]
    pairs = sorted(first[:20], key=lambda path: path.name.split("_")[3][4:], reverse=True)
    return first if count == 30 else pairs[:15]


def write_association(folder, paths):
    """Write the association of these exposures."""
    members = [{"expname": path.name, "exptype": "science"} for path in paths]
    content = {"asn_type": "image3", "asn_rule": "candidate", "program": "1"}
    content["products"] = [{"name": f"derive{len(paths)}", "members": members}]
    target = folder / f"derive{len(paths)}_asn.json"
    target.write_text(json.dumps(content), encoding="utf-8")
    return target


def report(title, costs):
    """Print minimum, median and maximum of each cost."""
    print(f"\n{title}\n{'':20s}{'min':>9s}{'median':>9s}{'max':>9s}")
    for name, unit in (("wall", "s"), ("cpu", "s"), ("peak", "GiB")):
        values = [getattr(cost, name) for cost in costs]
        print(f"{name + ' [' + unit + ']':20s}{min(values):9.2f}{statistics.median(values):9.2f}{max(values):9.2f}")


def report_growth(costs):
    """Print a straight line through the medians, and how far they are from it."""
    print(f"\n{'':20s}{'at 0':>9s}{'each':>9s}{'largest residual':>18s}")
    for name in ("wall", "cpu"):
        values = np.array([statistics.median(getattr(cost, name) for cost in costs[count]) for count in costs])
        slope, start = np.polyfit(list(costs), values, 1)
        largest = np.abs(values - start - slope * np.array(list(costs))).max()
        print(f"{name + ' [s]':20s}{start:9.2f}{slope:9.3f}{largest:18.2f}")


def report_ratio(mosaic, costs):
    """Print how many times the cost of the default route that of mosaics is."""
    for name in ("wall", "cpu"):
        ratio = getattr(mosaic, name) / statistics.median(getattr(cost, name) for cost in costs)
        print(f"mosaic over default route, {name}: {ratio:.1f}")


if __name__ == "__main__":
    main()
