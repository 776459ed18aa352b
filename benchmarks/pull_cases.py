"""The cases in which the errors of the solvers must hold, and the pulls of realisations of them."""

import warnings
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from simulated_network import HARD, LW, SW, Survey, Truth, simulate

from jwst_modfix.errors import DegenerateTermWarning, NoSolutionError
from jwst_modfix.fitting.pairs import solve_pairs
from jwst_modfix.fitting.solution import fit

WIDE = ((0.0, 0.0), (60.0, 10.0), (-60.0, -10.0), (90.0, 0.0))  # dithers that reach across the gap [arcsec]
LINKING = ((0.0, 0.0), (70.0, 70.0), (-70.0, 0.0), (110.0, 0.0), (180.0, 35.0))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One kind of data: the terms that it must determine, and how it is observed and solved."""

    arrays: tuple = SW
    rolls: tuple = (0.0, 180.0, 0.0)
    dithers: tuple = ((0.0, 0.0), (7.0, -5.0))
    epoch_terms: bool = True
    missing: int | None = None
    hard: bool = True
    density: float = 20.0
    method: str = "network"
    options: dict = field(default_factory=dict)
    partly: tuple = ()  # terms that only some realisations can determine


CASES = {
    "SW, Table 2": Case(hard=False, epoch_terms=False),
    "LW, Table 2": Case(arrays=LW, hard=False, epoch_terms=False),
    "SW, no epoch terms, 5% variables, 1% outliers": Case(epoch_terms=False),
    "LW, no epoch terms, 5% variables, 1% outliers": Case(arrays=LW, epoch_terms=False),
    "SW, epoch terms": Case(),
    "LW, epoch terms": Case(arrays=LW),
    "SW, 94 deg": Case(rolls=(0.0, 94.0), partly=("offset[1]", "offset[2]")),
    "SW, 94, 174 and 184 deg": Case(rolls=(0.0, 94.0, 174.0, 184.0)),
    "LW, 94 deg": Case(arrays=LW, rolls=(0.0, 94.0)),
    "LW, 174 and 184 deg": Case(arrays=LW, rolls=(0.0, 174.0, 184.0)),
    "SW, one epoch with linking dithers": Case(rolls=(0.0,), dithers=LINKING),
    "LW, one epoch with linking dithers": Case(arrays=LW, rolls=(0.0,), dithers=WIDE),
    "SW, first epoch missing": Case(missing=0, rolls=(0.0, 180.0, 0.0, 180.0)),
    "LW, second epoch missing": Case(arrays=LW, missing=1, rolls=(0.0, 94.0, 184.0)),
    "LW, direction fitted": Case(arrays=LW, rolls=(0.0, 90.0, 180.0), density=40.0, options={"fit_direction": True}),
    "SW, pairs": Case(method="pairs", rolls=(0.0, 180.0)),
    "LW, pairs": Case(method="pairs", arrays=LW, rolls=(0.0, 180.0)),
    "LW, pairs, 8 to 20 sources a patch": Case(
        method="pairs",
        arrays=LW,
        rolls=(0.0, 180.0),
        density=3.5,
        partly=("offset[long]", "slope[long]", "time[0-1][long]"),
    ),
}


def collect(case, n, seed):
    """Pulls of every term over realisations, each with a truth of its own."""
    pulls = defaultdict(list)
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        truth = draw_truth(rng, case)
        m = simulate(rng, truth, _survey(case))
        if case.missing is not None:
            m = m.select(m.epoch != case.missing)
        for name, value, error in _solve(m, case):
            if np.isfinite(value):
                pulls[name].append((value - true_value(truth, name, int(m.epoch.min()))) / error)
    return pulls


def draw_truth(rng, case):
    """Offsets and slopes twice as large as those of Table 2 at most, epoch terms of 5 to 10 mmag."""
    n = len(case.rolls)
    t = rng.uniform(0.005, 0.010, n) * rng.choice([-1, 1], n) * case.epoch_terms
    return Truth(
        offset={array: rng.uniform(-0.06, 0.06) for array in case.arrays},
        slope={"long": rng.uniform(-0.008, 0.008)},
        epoch=tuple(t),
        direction=rng.uniform(0, 360) if case.options.get("fit_direction") else 90.0,
    )


def true_value(truth, name, first_epoch):
    """Truth of a term by its name; epoch terms are counted from the first epoch that was seen."""
    kind, inside = name[:-1].split("[", 1)
    if kind == "epoch":
        return truth.epoch[int(inside)] - truth.epoch[first_epoch]
    if kind == "time":
        first, second = map(int, inside.split("]")[0].split("-"))
        return truth.epoch[second] - truth.epoch[first]
    angle = np.deg2rad(truth.direction)
    along = {"slope_V2": np.sin(angle), "slope_V3": np.cos(angle)}.get(kind, 1.0)
    return truth.offset[inside] if kind == "offset" else along * truth.slope[inside]


def _survey(case):
    hard = HARD if case.hard else {}
    return Survey(rolls=case.rolls, dithers=case.dithers, arrays=case.arrays, density=case.density, **hard)


def _solve(m, case):
    """Names, values and errors; nothing where the solver says that there is no solution."""
    try:
        return {"network": _by_network, "pairs": _by_pairs}[case.method](m, case)
    except NoSolutionError:
        return []


def _by_network(m, case):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateTermWarning)
        solution = fit(m, **case.options)
    names = [name for name in solution.names if not name.startswith(("level", "exposure"))]
    return [(name, *solution.value(name)) for name in names]


def _by_pairs(m, case):
    found = []
    for array, pair in solve_pairs(m, **case.options).items():
        found += [(f"{name}[{array}]", *pair.value(name)) for name in pair.names]
    return found
