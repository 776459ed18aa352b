"""
Cost of the network's solution against the number of measurements, beside LSMR on the same sparse system.

Run ``python benchmarks/solver.py`` with the project installed. Each size runs in a process of its own, for the peak
of its memory. The peer solves the same weighted least squares once, with every source's magnitude as an unknown:
no scatter, no rejection, no covariance.
"""

import argparse
import multiprocessing
import resource
import time

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import lsmr

from jwst_modfix.fitting.measurements import ORIGIN, Measurements, focal_plane_coordinate
from jwst_modfix.fitting.solution import fit

VISITS = 10  # measurements of each source


def main():
    """Run the sizes, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e4, 1e5, 1e6, 1e7], help="measurements")
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 1000], help="epochs, a zero point each")
    given = parser.parse_args()
    print("measurements  sources  zero points  network, LSMR [s]   their CPU [s]  ratio  peak [GiB]  steps  rms pull")
    for epochs in given.epochs:
        for size in map(int, given.sizes):
            if size >= 20 * VISITS * epochs:  # otherwise too few sources constrain an epoch
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(pool.apply(measure, (size, epochs)), flush=True)


def measure(size, epochs):
    """Solve one size both ways, and write its row."""
    rng = np.random.default_rng([size, epochs])
    m, truth = simulate(rng, size // VISITS, epochs)
    solution, ours = timed(lambda: fit(m, fit_slope="all", time_term="fit"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    theirs = timed(lambda: peer(m, epochs))[1]
    pulls = whitened(solution, truth)
    row = f"{size:12.0e}{size // VISITS:9.0e}{8 + epochs - 1:13d}{ours[0]:13.2f}{theirs[0]:10.2f}"
    row += f"{ours[1]:9.2f}{theirs[1]:9.2f}{ours[1] / theirs[1]:7.2f}"
    return row + f"{peak:12.2f}{solution.iterations:7d}{np.sqrt(np.mean(pulls**2)):10.3f}"


def timed(function):
    """Result of a call, and its wall and processor time [s]: machines are shared, and the ratio is of the latter."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = function()
    return result, (time.perf_counter() - start, time.process_time() - start_cpu)


def simulate(rng, n_sources, epochs):
    """Sources seen twice in each of five epochs, by arrays drawn at random; 1 % of outliers of 1 mag."""
    source = np.repeat(np.arange(n_sources, dtype=np.int32), VISITS)
    n = len(source)
    visit = np.tile(np.arange(VISITS) // 2, n_sources)  # five epochs of two dithers
    epoch = (rng.integers(0, epochs, n_sources)[source] + visit * (epochs // 7 + 1)) % epochs
    detector = rng.integers(0, 8, n).astype(np.int8)
    u, v = rng.uniform(20, 150, n) * np.where(detector % 2, -1, 1), rng.uniform(-60, 60, n)
    truth = {"z": rng.uniform(-0.03, 0.03, 8), "t": rng.normal(0, 0.005, epochs), "k": rng.normal(0, 0.003, 4)}
    truth["t"][0] = 0.0
    mag = rng.uniform(18, 22, n_sources)[source] + truth["z"][detector] + truth["t"][epoch]
    mag += 0.5 * truth["k"][detector // 2] * u / 60 + rng.normal(0, 0.004, n)
    mag[rng.random(n) < 0.01] += 1.0
    m = Measurements(
        source=source, exposure=epoch * 2, epoch=epoch, array=np.array(["1", "2", "3", "4"])[detector // 2],
        module=np.array(["A", "B"])[detector % 2], mag=mag, mag_error=np.full(n, 0.003),
        V2=u + ORIGIN[0], V3=v + ORIGIN[1], filter="F200W",
    )  # fmt: skip
    return m, truth


def peer(m, epochs):
    """Solve the same weighted least squares once, by LSMR to six digits."""
    n, n_sources = len(m), int(m.source.max()) + 1
    u = focal_plane_coordinate(m.V2, m.V3) / 2
    columns = [m.detector, 8 + m.epoch, 8 + epochs + m.array_code.astype(int), 12 + epochs + m.source]
    values = [np.ones(n), np.ones(n), u, np.ones(n)]
    rows = np.tile(np.arange(n), len(columns))
    entries = np.concatenate([value / m.mag_error for value in values])
    shape = (n, 12 + epochs + n_sources)
    design = sparse.csr_array((entries, (rows, np.concatenate(columns))), shape=shape)
    return lsmr(design, m.mag / m.mag_error, atol=1e-6, btol=1e-6)[0]


def whitened(solution, truth):
    """Differences from the truth in units of the whole covariance: uncorrelated, of unit size."""
    true = {f"offset[{x}]": truth["z"][2 * i] - truth["z"][2 * i + 1] for i, x in enumerate("1234")}
    true |= {f"slope[{x}]": truth["k"][i] for i, x in enumerate("1234")}
    true |= {f"epoch[{e}]": t for e, t in enumerate(truth["t"])}
    # Levels, whose sum is 0, are left out.
    mine = [i for i in np.flatnonzero(solution.fitted) if solution.names[i] in true]
    difference = solution.values[mine] - np.array([true[solution.names[i]] for i in mine])
    lower = np.linalg.cholesky(solution.covariance[np.ix_(mine, mine)])
    return np.linalg.solve(lower, difference)


if __name__ == "__main__":
    main()
