"""Measurements with a known truth: sources on the sky, arrays as rectangles in the focal plane."""

from dataclasses import dataclass, field

import numpy as np

from jwst_modfix.fitting.measurements import ORIGIN, Measurements

# Corners (V2 from, V2 to, V3 from, V3 to) [arcsec], from the SIAF (PRDOPSSOC-075), to 1".
FOOTPRINTS = {
    ("1", "A"): (89, 152, -559.5, -495.5),
    ("2", "A"): (88.5, 151, -491.4, -428.2),
    ("3", "A"): (20, 84, -560.2, -495.8),
    ("4", "A"): (20.7, 84, -491.6, -428.2),
    ("long", "A"): (21.5, 150.5, -558.4, -429),
    ("1", "B"): (-154, -91, -489.2, -426.2),
    ("2", "B"): (-154.5, -91, -557.5, -493.5),
    ("3", "B"): (-86, -23, -489.3, -426),
    ("4", "B"): (-86.3, -22.3, -558, -493.5),
    ("long", "B"): (-153.9, -24.7, -556.4, -426.7),
}
SW = ("1", "2", "3", "4")
LW = ("long",)

# What a field has beside photon noise.
HARD = {"variable_share": 0.05, "outlier_share": 0.01, "scatter": 0.002}


@dataclass(frozen=True, kw_only=True)
class Truth:
    offset: dict
    slope: dict = field(default_factory=dict)
    direction: float = 90.0
    epoch: tuple = (0.0, 0.0, 0.0, 0.0, 0.0)
    level: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Survey:
    rolls: tuple = (0.0, 180.0, 0.0)
    dithers: tuple = ((0.0, 0.0), (7.0, -5.0))
    arrays: tuple = SW
    modules: tuple = ("A", "B")
    density: float = 20.0
    error: tuple = (0.002, 0.004)
    scatter: float = 0.0
    variable_share: float = 0.0
    outlier_share: float = 0.0
    shifts: tuple = ()  # of each epoch's centre on the sky [arcsec]
    margin: float = 230.0


def simulate(rng, truth, survey):
    side = 2 * survey.margin
    n = rng.poisson(survey.density * (side / 60) ** 2)
    sky = rng.uniform(-side / 2, side / 2, (2, n))
    magnitude = rng.uniform(18, 22, n)
    varies = rng.random(n) < survey.variable_share
    quality = rng.uniform(*survey.error, n)
    rows = []
    for epoch, roll in enumerate(survey.rolls):
        now = magnitude + np.where(varies, 0.3 * rng.standard_normal(n), 0.0)
        centre = survey.shifts[epoch] if survey.shifts else (0.0, 0.0)
        for number, dither in enumerate(survey.dithers):
            V2, V3 = _focal_plane(sky, roll, centre, dither)
            for (array, module), box in FOOTPRINTS.items():
                if array not in survey.arrays or module not in survey.modules:
                    continue
                inside = (box[0] < V2) & (box[1] > V2) & (box[2] < V3) & (box[3] > V3)
                found = np.flatnonzero(inside)
                z = truth.offset.get(array, 0.0) * (0.5 if module == "A" else -0.5) + truth.level.get(array, 0.0)
                angle = np.deg2rad(truth.direction)
                u = ((V2 - ORIGIN[0]) * np.sin(angle) + (V3 - ORIGIN[1]) * np.cos(angle))[found] / 60
                noise = rng.standard_normal(len(found)) * np.hypot(quality[found], survey.scatter)
                mag = now[found] + z + 0.5 * truth.slope.get(array, 0.0) * u + truth.epoch[epoch] + noise
                bad = rng.random(len(found)) < survey.outlier_share
                mag[bad] += rng.uniform(-2, 2, bad.sum())
                rows.append((found, epoch, 10 * epoch + number, array, module, mag, quality[found], V2, V3))
    return _table(rows)


def _focal_plane(sky, roll, centre, dither):
    angle = np.deg2rad(roll)
    x, y = sky[0] - centre[0], sky[1] - centre[1]
    V2 = np.cos(angle) * x + np.sin(angle) * y + dither[0] + ORIGIN[0]
    V3 = -np.sin(angle) * x + np.cos(angle) * y + dither[1] + ORIGIN[1]
    return V2, V3


def _table(rows):
    def stack(column, kind):
        filled = [np.broadcast_to(np.asarray(r[column]), len(r[0])) for r in rows]
        return np.concatenate([*filled, np.zeros(0)]).astype(kind) if kind is not str else np.concatenate(filled)

    return Measurements(
        source=stack(0, int),
        epoch=stack(1, int),
        exposure=stack(2, int),
        array=stack(3, str),
        module=stack(4, str),
        mag=stack(5, float),
        mag_error=stack(6, float),
        V2=np.concatenate([r[7][r[0]] for r in rows]),
        V3=np.concatenate([r[8][r[0]] for r in rows]),
        filter="F200W",
    )


def chain(n_weak, jump, seed=1):
    """40 sources link A1 and B1, 40 link A2 and A1, few link B2 and B1: all offsets are 0."""
    rng, rows = np.random.default_rng(seed), []
    for one, other, n in (("1A", "1B", 40), ("2A", "1A", 40), ("2B", "1B", n_weak)):
        first = 1000 * len(rows)
        difference = 0.003 * rng.standard_normal(n)
        if other == "1B" and one == "2B":
            difference += jump[:n]
        rows += [(first + i, one, 20 + d) for i, d in enumerate(difference)]
        rows += [(first + i, other, 20 + 0.003 * rng.standard_normal()) for i in range(n)]
    source, detector, mag = zip(*rows, strict=True)
    zeros = np.zeros(len(rows))
    return Measurements(
        source=source, exposure=zeros.astype(int), epoch=zeros.astype(int), array=[d[0] for d in detector],
        module=[d[1] for d in detector], mag=mag, mag_error=zeros + 0.003, V2=zeros, V3=zeros, filter="F200W",
    )  # fmt: skip


TABLE_2_SW = Truth(offset={"1": 0.01534, "2": -0.05267, "3": 0.01397, "4": -0.03045})
TABLE_2_LW = Truth(offset={"long": -0.01654}, slope={"long": 0.00433})
