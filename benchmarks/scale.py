"""
Cost of a derivation against the number of exposures: time, memory of each process, and what a resumed run takes.

Run ``python benchmarks/scale.py FOLDER`` with the project installed. A few exposures are simulated, of three epochs,
both modules and two bands, and replayed under other names by links: every exposure of a run is read, searched and
measured in full, but the disk's cache helps more than it would on as many different files. Links share their content,
and so would share entries of the measurement cache: the runs that are timed have none, and one that has fills it for
the resumed runs.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
BANDS = ("F200W", "F444W")
DETECTORS = ("NRCA1", "NRCB1", "NRCALONG", "NRCBLONG")


def main():
    """Run what was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the exposures; made where it does not exist")
    parser.add_argument("--counts", type=int, nargs="+", default=[60, 120, 240, 360], help="exposures [60 120 240 360]")
    parser.add_argument("--workers", type=int, default=2, help="processes [2]")
    given = parser.parse_args()
    originals = simulate(given.folder / "original")
    row("", "exposures", "wall [s]", "CPU [s]", "wall each", "CPU each", "peak [GiB]")
    for count in given.counts:
        derive(given.folder, replay(originals, given.folder, count), count, given.workers, "--cache=false")
    first = replay(originals, given.folder, len(originals))
    derive(given.folder, first, len(originals), given.workers, "--cache=true", "fills the cache")
    derive(given.folder, first, len(originals), given.workers, "--cache=true", "resumed")
    for count in given.counts:
        association = replay(originals, given.folder, count)
        derive(given.folder, association, count, given.workers, "--cache=true", "resumed")


def simulate(folder):
    """Simulate exposures of three epochs, unless they are there."""
    from jwst_modfix import simulate

    if not list(folder.glob("*_asn.json")):
        planned = simulate.plan_exposures(simulate.JWIDF_EPOCHS, filters=BANDS, detectors=DETECTORS, dithers=2)
        simulate.simulate_dataset(folder, planned, 1)
    return sorted(folder.glob("*_cal.fits"))


def replay(originals, folder, count):
    """Link exposures under other names, and write their association."""
    place = folder / "replayed"
    place.mkdir(exist_ok=True)
    members = []
    for number in range(count):
        turn, which = divmod(number, len(originals))
        path = place / f"r{turn:03d}_{originals[which].name}"
        if not path.exists():
            path.hardlink_to(originals[which])
        members.append({"expname": path.name, "exptype": "science"})
    products = [{"name": "scale", "members": members}]
    content = {"asn_type": "image3", "asn_rule": "candidate", "program": "1", "products": products}
    (place / f"set{count}_asn.json").write_text(json.dumps(content))
    return place / f"set{count}_asn.json"


def derive(folder, association, count, workers, cache, note=""):
    """Run a derivation as a whole process, and print what it took."""
    out = folder / "out"
    if "true" not in cache:
        shutil.rmtree(out, ignore_errors=True)
    command = [Path(sys.executable).with_name("strun"), ROOT / "jwst_modfix/config/modfix_derive.cfg", association]
    options = [f"--output_dir={out}", f"--workers={workers}", cache, "--report=false"]
    start = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = psutil.Popen([*map(str, command), *options], stdout=log, stderr=log)
        peak, cpu = watch(process)
    if process.returncode:
        sys.exit((folder / "log").read_text()[-3000:])
    wall = time.perf_counter() - start
    row(note, count, f"{wall:.1f}", f"{cpu:.1f}", f"{wall / count:.2f}", f"{cpu / count:.2f}", f"{peak:.2f}")


def watch(process):
    """Largest resident memory of any process of a run [GiB], and the CPU time of all [s], until it ends."""
    peak, cpu = 0, {}
    while process.poll() is None:
        for one in [process, *process.children(recursive=True)]:
            try:
                peak = max(peak, one.memory_info().rss)
                cpu[one.pid] = sum(one.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.1)
    return peak / 1024**3, sum(cpu.values())


def row(*values):
    """Print a line of the table."""
    print(f"{values[0]:18s}" + "".join(f"{value!s:>12s}" for value in values[1:]), flush=True)


if __name__ == "__main__":
    main()
