"""
Cost of a fit of ten detectors with fields of order 2 and terms of exposures, against the number of measurements.

Run ``python benchmarks/detectors_scale.py --sizes 1e5 1e6`` with the project installed. Each size runs in a process of
its own, for the peak of its memory. Sources are measured ten times, in exposures and by detectors drawn at random.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np

from jwst_modfix.fitting.design import legendre, list_powers
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.solution import fit
from jwst_modfix.table.table import ARRAYS, MODULES

VISITS, EPOCHS = 10, 10


def main():
    """Run the sizes, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e5, 1e6, 1e7], help="measurements")
    parser.add_argument("--exposures", type=int, default=1000, help="exposures of all detectors [1000]")
    given = parser.parse_args()
    print("measurements  terms  wall [s]  processor [s]  peak [GiB]  rms pull of zero points")
    for size in map(int, given.sizes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(measure, (size, given.exposures)), flush=True)


def measure(size, exposures):
    """Solve one size, and write its row."""
    m, truth = simulate(np.random.default_rng([size, exposures]), size // VISITS, exposures)
    start, processor = time.perf_counter(), time.process_time()
    solution = fit(m, scale="detectors", field_order="2", exposure_terms="fit")
    wall, processor = time.perf_counter() - start, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    found = np.array([*solution.zero_points("mean").values()])
    pull = np.sqrt(np.mean(((found[:, 0] - truth + truth.mean()) / found[:, 1]) ** 2))
    return f"{size:12.0e}{int(solution.free.sum()):7d}{wall:10.1f}{processor:15.1f}{peak:12.2f}{pull:12.2f}"


def simulate(rng, n_sources, exposures):
    """Measurements to 3 mmag, with 1% of outliers of 0.3 mag."""
    source = np.repeat(np.arange(n_sources, dtype=np.int32), VISITS)
    n = len(source)
    time_, detector = rng.integers(0, exposures, n), rng.integers(0, 10, n)
    x, y = rng.uniform(0, 2047, (2, n))
    truth, terms = rng.normal(0, 0.02, 10), rng.normal(0, 0.003, exposures)
    mag = rng.uniform(18, 22, n_sources)[source] + truth[detector] + terms[time_] + rng.normal(0, 0.003, n)
    powers = list_powers(2)
    mag += np.sum(rng.normal(0, 0.003, (10, len(powers)))[detector] * legendre(x, y, powers).T, axis=1)
    mag[rng.random(n) < 0.01] += 0.3
    array = np.array(ARRAYS)[detector // 2]
    return Measurements(
        source=source, exposure=time_, epoch=time_ * EPOCHS // exposures, array=array,
        module=np.array(MODULES)[detector % 2], mag=mag, mag_error=np.full(n, 0.003),
        V2=(detector - 5) * 30 + x * 0.03, V3=-490 + y * 0.03, x=x, y=y, filter="F200W",
    ), truth  # fmt: skip


if __name__ == "__main__":
    main()
