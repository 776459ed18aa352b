"""
Cost of the correction: one exposure in memory, a set of files beside other ways to do it, and its memory.

Run ``python benchmarks/apply.py FOLDER`` with the project installed; FOLDER takes a few GB of simulated exposures.
Every time is given beside that of a peer in the same run, as machines differ and drift.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
_SETTLE = 4  # seconds for a virtual machine to give freed memory back, or only cp, which starts at once, finds it


def main():
    """Run what was asked for, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the exposures; made where it does not exist")
    parser.add_argument("--exposures", type=int, default=24, help="exposures of the comparison of files [24]")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of each measurement, in turn [5]")
    parser.add_argument("--only", choices=["memory", "files", "rss"], help="one of the three measurements only")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.only in (None, "memory"):
        in_memory(given.repeats)
    if given.only in (None, "files"):
        files(given.folder, given.exposures, given.repeats)
    if given.only in (None, "rss"):
        peak_memory(given.folder, 60)


def simulated(detector="NRCALONG", band="F444W"):
    """Simulate one full-frame exposure."""
    from jwst_modfix import simulate

    rng = np.random.default_rng(1)
    exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS[:1], filters=[band], detectors=[detector], dithers=1)
    model = simulate.simulate_exposure(exposures[0], simulate.scene_around(rng, exposures), rng)
    model.meta.filename = exposures[0].filename
    return model


def in_memory(repeats):
    """Correct a model with a gradient, beside evaluating its WCS at every pixel."""
    from jwst_modfix import OffsetTable
    from jwst_modfix.apply.decide import Correction
    from jwst_modfix.exposure import open_exposure

    model, table, times = simulated(), OffsetTable.read(), {"correction": [], "every pixel": []}
    names = ("data", "err", "var_poisson", "var_rnoise", "var_flat")
    for _ in range(repeats + 1):
        copy = model.copy()
        with open_exposure(copy) as opened:
            times["correction"].append(timed(lambda opened=opened: Correction(table=table).run(opened)))
        copy = model.copy()

        def every_pixel(copy=copy):
            y, x = np.indices(copy.shape, dtype=float)
            v2, _ = copy.meta.wcs.get_transform("detector", "v2v3")(x, y)
            factor = (10 ** (0.4 * (-0.01654 + 0.00433 / 2 * (v2 + 1.74) / 60))).astype(np.float32)
            for name in names:
                getattr(copy, name)[:] *= factor if name in ("data", "err") else factor**2

        times["every pixel"].append(timed(every_pixel))
    report("one 2048 x 2048 model in memory, with gradient, five arrays [s]", {k: v[1:] for k, v in times.items()})


ASTROPY = """
import sys
import numpy as np
from astropy.io import fits
table = {"NRCALONG": -0.01654, "NRCBLONG": 0.0}
for name in sys.argv[2:]:
    with fits.open(name, memmap=False) as hdulist:
        factor = np.float32(10 ** (0.4 * table[hdulist[0].header["DETECTOR"]]))
        for hdu, power in (("SCI", 1), ("ERR", 1), ("VAR_POISSON", 2), ("VAR_RNOISE", 2), ("VAR_FLAT", 2)):
            hdulist[hdu].data *= factor**power
        hdulist.writeto(sys.argv[1] + "/" + name.rsplit("/", 1)[-1].replace("_cal", "_scaled"), overwrite=True)
"""
"""The same five arrays scaled by one number each, with nothing else that the correction does."""

MODELS = """
import sys
import numpy as np
from stdatamodels.jwst import datamodels
table = {"NRCALONG": -0.01654, "NRCBLONG": 0.0}
for name in sys.argv[2:]:
    with datamodels.open(name) as model:
        factor = np.float32(10 ** (0.4 * table[model.meta.instrument.detector]))
        for array, power in (("data", 1), ("err", 1), ("var_poisson", 2), ("var_rnoise", 2), ("var_flat", 2)):
            setattr(model, array, getattr(model, array) * factor**power)
        model.save(sys.argv[1] + "/" + name.rsplit("/", 1)[-1].replace("_cal", "_scaled"))
"""


def files(folder, count, repeats):
    """Whole processes on many files: strun, scripts that scale the same arrays in two ways, and cp."""
    times, processor = {}, {}
    for number in (2, count):
        for _ in range(repeats):
            for name, command in peers(folder, number).items():
                shutil.rmtree(folder / "out", ignore_errors=True)
                (folder / "out").mkdir()
                os.sync()
                time.sleep(_SETTLE)
                before = used()
                times.setdefault((number, name), []).append(timed(lambda command=command: run(command)))
                processor.setdefault((number, name), []).append(used() - before)
    names = list(peers(folder, count))
    report(f"{count} files of 117 MB, whole process [s]", {name: times[count, name] for name in names})
    report("processor time of the same [s]", {name: processor[count, name] for name in names})
    each = {
        name: [(many - few) / (count - 2) for few, many in zip(times[2, name], times[count, name], strict=True)]
        for name in names
    }
    report(f"each file after start-up, from runs on {count} and on 2 files [s]", each)


def peers(folder, count):
    """Ways to make so many new files, by name."""
    association = make_files(folder, count)
    inputs = [str(path) for path in sorted((folder / "in").glob("*_cal.fits"))[:count]]
    ours = [strun(), str(ROOT / "jwst_modfix/config/modfix.cfg"), str(association), f"--output_dir={folder}/out"]
    return {
        "strun": ours,  # two files at a time
        "strun, 2 workers": [*ours, "--workers=2"],
        "astropy script": [sys.executable, "-W", "ignore", "-c", ASTROPY, f"{folder}/out", *inputs],
        "data-model script": [sys.executable, "-W", "ignore", "-c", MODELS, f"{folder}/out", *inputs],
        "cp": ["cp", *inputs, f"{folder}/out"],
    }


def peak_memory(folder, count):
    """Peak resident memory of strun on an association of many exposures."""
    association = make_files(folder, count)
    run([strun(), str(ROOT / "jwst_modfix/config/modfix.cfg"), str(association), f"--output_dir={folder}/out"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"\npeak resident memory of any process so far, strun on {count} exposures among them: {peak:.2f} GiB")
    shutil.rmtree(folder / "out", ignore_errors=True)


def make_files(folder, count):
    """Write so many exposures, half of each module, as copies of two, and their association."""
    place = folder / "in"
    place.mkdir(exist_ok=True)
    originals = []
    for detector in ("NRCALONG", "NRCBLONG"):
        path = folder / f"{detector}.fits"
        if not path.exists():
            simulated(detector).save(str(path))
        originals.append(path)
    members = []
    for index in range(count):
        original = originals[index % 2]
        path = place / f"jw00001001001_02101_{index:05d}_{original.stem.lower()}_cal.fits"
        if not path.exists():
            shutil.copyfile(original, path)
        members.append({"expname": path.name, "exptype": "science"})
    content = {
        "asn_type": "image3",
        "asn_rule": "candidate",
        "program": "1",
        "products": [{"name": "p", "members": members}],
    }
    (place / f"set{count}_asn.json").write_text(json.dumps(content))
    return place / f"set{count}_asn.json"


def strun():
    """Find the pipeline's command beside this Python."""
    return str(Path(sys.executable).with_name("strun"))


def run(command):
    """Run a command, and show what it says where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)


def used():
    """Processor time of all commands so far [s]."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(function):
    """Wall time of a call [s]."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def report(title, times):
    """Print minimum, median and maximum of each, and the ratio of the first to it, pair by pair."""
    print(f"\n{title}\n{'':20s}{'min':>9s}{'median':>9s}{'max':>9s}   ratio of the first to it (min, median, max)")
    first = next(iter(times.values()))
    for name, values in times.items():
        ratios = sorted(a / b for a, b in zip(first, values, strict=True))
        middle = statistics.median(ratios)
        spread = f"{min(values):9.3f}{statistics.median(values):9.3f}{max(values):9.3f}"
        print(f"{name:20s}{spread}   {ratios[0]:.2f} {middle:.2f} {ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
