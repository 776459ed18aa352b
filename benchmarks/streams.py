"""
Cost of a solution of a measurement file that is read in pieces: a sample in memory, and one step with all sources.

Run ``python benchmarks/streams.py FILE --size 1e7`` with the project and pyarrow installed. Ten detectors, fields of
order 2, 1000 exposures, sources that are measured ten times. FILE (parquet) is written in pieces and then removed;
10^8 measurements need 3.1 GB on disk. With ``--keep`` it stays, and another run reads it.
"""

import argparse
import itertools
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from detectors_scale import EPOCHS, VISITS

from jwst_modfix.derivation import joined
from jwst_modfix.derivation.joined import derive_from
from jwst_modfix.fitting.design import legendre, list_powers
from jwst_modfix.table.table import ARRAYS, MODULES

EXPOSURES, PIECE = 1000, 1_000_000


def main():
    """Make the file, solve it, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", type=float, default=1e7, help="measurements [1e7]")
    parser.add_argument("--sample", type=float, default=joined.MOST, help="measurements in memory [5e6]")
    parser.add_argument("--keep", action="store_true", help="do not remove FILE")
    given = parser.parse_args()
    joined.MOST = int(given.sample)
    rng = np.random.default_rng(5)
    terms = rng.normal(0, 0.02, 10), rng.normal(0, 0.003, EXPOSURES), rng.normal(0, 0.003, (10, 5))
    made = 0.0
    if not given.file.exists():
        pieces = (draw(rng, terms, first) for first in range(0, int(given.size) // VISITS, PIECE // VISITS))
        first = next(pieces)
        with pq.ParquetWriter(given.file, first.schema) as writer:
            for table in itertools.chain([first], pieces):
                writer.write_table(table)
        made = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    start, wall = time.process_time(), time.perf_counter()
    options = {"scale": "detectors", "field_order": "2", "exposure_terms": "fit"}
    try:
        (solution,) = derive_from([given.file], allow_mixed=True, **options).solutions.values()
    finally:
        if not given.keep:
            given.file.unlink()
    processor, wall = time.process_time() - start, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    found = np.array([*solution.zero_points("mean").values()])
    pull = np.sqrt(np.mean(((found[:, 0] - terms[0] + terms[0].mean()) / found[:, 1]) ** 2))
    print(f"processor {processor:.0f} s, wall {wall:.0f} s, peak {peak:.2f} GiB (of writing the file {made:.2f} GiB)")
    print(f"rms pull of zero points {pull:.2f}")
    print(*solution.remarks, sep="\n")


def draw(rng, terms, first):
    """Draw the measurements of some sources, to 3 mmag with 1% of outliers of 0.3 mag."""
    source = first + np.repeat(np.arange(PIECE // VISITS), VISITS)
    zero_points, times, fields = terms
    time_, detector = rng.integers(0, EXPOSURES, PIECE), rng.integers(0, 10, PIECE)
    x, y = rng.uniform(0, 2047, (2, PIECE)).astype(np.float32)
    mag = rng.uniform(18, 22, PIECE // VISITS)[source - first] + zero_points[detector] + times[time_]
    mag += rng.normal(0, 0.003, PIECE) + np.sum(fields[detector] * legendre(x, y, list_powers(2)).T, axis=1)
    mag[rng.random(PIECE) < 0.01] += 0.3
    columns = {"source": source, "exposure": time_ * 10 + detector, "epoch": time_ * EPOCHS // EXPOSURES, "time": time_}
    columns |= {"V2": (detector - 5) * 30 + x * 0.03, "V3": -490 + y * 0.03, "x": x, "y": y, "mag": mag}
    columns |= {"mag_error": np.full(PIECE, 0.003), "selected": np.ones(PIECE, bool)}
    columns |= {"array": np.array(ARRAYS)[detector // 2], "module": np.array(MODULES)[detector % 2]}
    return pa.table(columns | {"filter": np.full(PIECE, "F200W"), "pupil": np.full(PIECE, "CLEAR")})


if __name__ == "__main__":
    main()
