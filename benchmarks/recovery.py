"""
Does the derivation find what was put in? From simulated pixels, through the step, beside the truth.

Run ``python benchmarks/recovery.py FOLDER`` with the project installed; FOLDER holds one set of exposures at a time
(117 MB each), which is deleted when it has been measured. Seeds and truths vary from set to set.
"""

import argparse
import logging
import re
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetStep, simulate
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.simulate import CalibrationTruth, Effects, Population
from jwst_modfix.table.table import OffsetRow, OffsetTable

EPOCHS = simulate.JWIDF_EPOCHS
OFFSETS, SLOPES, EPOCH_TERMS = 0.06, 0.008, 0.010  # truths are drawn between minus and plus this [mag, mag/arcmin]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One set of exposures, what is wrong with them, and how they are derived."""

    name: str
    exposures: tuple
    truth: CalibrationTruth
    population: Population = field(default_factory=Population)
    effects: Effects = field(default_factory=Effects)
    options: dict = field(default_factory=dict)
    spoil: object = None  # changes the files before they are derived


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One parameter beside its truth; without an error it was not determined."""

    trial: str
    seed: int
    parameter: str
    truth: float
    value: float
    error: float
    verdict: str

    @property
    def pull(self):
        """The error made, over the error claimed."""
        return (self.value - self.truth) / self.error


def main():
    """Run the cases that were asked for, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the exposures; made where it does not exist")
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES), help="cases to run [all]")
    parser.add_argument("--seeds", type=int, nargs="+", help="seeds, in place of those of each case")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    for name in given.case:
        case, seeds = CASES[name]
        print(f"\n{name}", flush=True)
        findings = [found for seed in given.seeds or seeds for found in case(given.folder / name, seed)]
        summarise(findings)


# --- the cases -----------------------------------------------------------------------------------------------------


def table2(folder, seed):
    """Three epochs of two dithers, as dense as the JWIDF, with Table 2 of Ma et al. (2023): F444W, arrays of F200W."""
    for array in ("LONG", "1", "2", "3", "4"):
        band, names = "F444W" if array == "LONG" else "F200W", [f"NRC{module}{array}" for module in "AB"]
        exposures = simulate.plan_exposures(EPOCHS, filters=[band], detectors=names, dithers=2)
        yield from recover(Trial(name=band, exposures=exposures, truth=CalibrationTruth()), folder, seed)


def pulls(folder, seed):
    """
    Two epochs of two dithers, with truths that are drawn.

    F444W, with the direction of the gradient drawn and fitted in every second set; array 1 of F200W in every fifth.
    """
    rng = simulate.random_stream(seed, "pulls", "truth")
    short, turned = seed % 5 == 0, seed % 2 == 0
    detectors = ("NRCA1", "NRCB1") if short else ("NRCALONG", "NRCBLONG")
    band = "F200W" if short else "F444W"
    exposures = simulate.plan_exposures(EPOCHS[:2], filters=[band], detectors=detectors, dithers=2)
    truth = draw_truth(rng, exposures, direction=rng.uniform(0, 360) if turned else None)
    options = {"time_term": "fit", "fit_direction": turned}
    yield from recover(Trial(name=band, exposures=exposures, truth=truth, options=options), folder, seed)


def closed_loop(folder, seed):
    """Derive, apply, derive: what is left is nothing."""
    exposures = simulate.plan_exposures(
        EPOCHS, filters=["F200W", "F444W"], detectors=["NRCA1", "NRCB1", "NRCALONG", "NRCBLONG"], dithers=2
    )
    data = make(Trial(name="", exposures=exposures, truth=CalibrationTruth()), folder, seed)
    table = ModuleOffsetDeriveStep.call(
        str(data.associations[-1]), save_results=True, output_dir=str(folder), report=False
    )
    ModuleOffsetStep.call(
        str(data.associations[-1]),
        override_moduleoffset=str(next(folder.glob("*_moduleoffset.asdf"))),
        save_results=True,
        output_dir=str(folder / "applied"),
    )
    remove(data)
    again = ModuleOffsetDeriveStep.call(str(next((folder / "applied").glob("*_asn.json"))))
    nothing = CalibrationTruth(table=OffsetTable(rows=(), name="nothing"))
    for when, model, truth in (("before", table, CalibrationTruth()), ("after", again, nothing)):
        yield from compare(Trial(name=when, exposures=exposures, truth=truth), seed, model)
    shutil.rmtree(folder)


def scenarios(folder, seed):
    """Whatever else happens to real programs, one thing at a time."""
    for trial in list_scenarios(seed):
        yield from recover(trial, folder, seed)


def psf(folder, seed):
    """The PSF of module A is 2% wider, which apertures do not know: the error is the systematic floor of such PSFs."""
    for band, array in (("F200W", "1"), ("F444W", "LONG")):
        names = [f"NRC{module}{array}" for module in "AB"]
        exposures = simulate.plan_exposures(EPOCHS[:2], filters=[band], detectors=names, dithers=1)
        wider = replace(exposures[0].band, wavelength=1.02 * exposures[0].band.wavelength)
        exposures = tuple(replace(e, band=wider) if e.geometry.module == "A" else e for e in exposures)
        trial = Trial(name=f"{band}, PSF of A 2% wider", exposures=exposures, truth=CalibrationTruth())
        yield from recover(replace(trial, effects=Effects.none()), folder, seed)


def list_scenarios(seed):
    """Lay out the scenarios."""
    long = {"filters": ["F444W"], "dithers": 1}
    two = simulate.plan_exposures(EPOCHS[:2], **long)

    def trial(name, exposures=two, terms=0.0, **more):
        truth = draw_truth(simulate.random_stream(seed, name, "truth"), exposures, terms=terms)
        return Trial(name=name, exposures=exposures, truth=truth, **more)

    yield trial("epoch terms of up to 10 mmag", simulate.plan_exposures(EPOCHS, **long), EPOCH_TERMS)
    yield trial("5% variable by 0.3 mag", population=Population(variable_fraction=0.05, variable_amplitude=0.3))
    for angle in (94.0, 174.0, 184.0):
        turned = replace(EPOCHS[1], roll=EPOCHS[0].roll + angle)
        yield trial(f"rolls {angle:.0f} deg apart", simulate.plan_exposures([EPOCHS[0], turned], **long))
    for step in (70.0, 15.0):
        dithers = [(-step, 0.0), (0.0, 0.0), (step, 0.0)]
        one = simulate.plan_exposures(EPOCHS[:1], filters=["F444W"], dithers=dithers)
        yield trial(f"one epoch, dithers of {step:.0f} arcsec", one)
    plan = {"F444W": EPOCHS, "F356W": EPOCHS[1:], "F277W": EPOCHS[2:]}
    some = [simulate.plan_exposures(when, filters=[band], dithers=1) for band, when in plan.items()]
    yield trial("epochs missing for F356W, F277W", renumbered(some))
    detectors = ("NRCA3", "NRCB3")
    short = simulate.plan_exposures(EPOCHS[:2], filters=["F150W"], detectors=detectors, dithers=2)
    yield trial("PIXAR_SR as it is", short)
    yield trial("PIXAR_SR left out", short, spoil=leave_out_pixel_area)
    yield trial("1% of measurements spoilt", effects=Effects(cosmic_rays=2000), spoil=strike_sources)


CASES = {
    "table2": (table2, (1,)),
    "pulls": (pulls, tuple(range(1, 13))),
    "psf": (psf, (1,)),
    "closed-loop": (closed_loop, (1,)),
    "scenarios": (scenarios, (1,)),
}


# --- one trial -----------------------------------------------------------------------------------------------------


def draw_truth(rng, exposures, terms=EPOCH_TERMS, direction=None):
    """Draw offsets, slopes of long-wavelength arrays, and epoch terms."""
    keys = dict.fromkeys((e.geometry.array, e.band.filter, e.band.pupil) for e in exposures)
    rows = []
    for array, band, pupil in keys:
        slope = rng.uniform(-SLOPES, SLOPES) if array == "long" else None
        offset = rng.uniform(-OFFSETS, OFFSETS)
        rows.append(
            OffsetRow(array=array, filter=band, pupil=pupil, offset=offset, offset_error=0.0, slope=slope,
                      slope_error=None if slope is None else 0.0,
                      direction=None if slope is None else direction)
        )  # fmt: skip
    table = OffsetTable(rows=tuple(rows), gradient=simulate.MA2023_TABLE.gradient, name="drawn")
    names = dict.fromkeys(exposure.epoch.name for exposure in exposures)
    return CalibrationTruth(table=table, epoch_terms={name: rng.uniform(-terms, terms) for name in names})


def make(trial, folder, seed):
    """Simulate the exposures of a trial."""
    options = {"population": trial.population, "truth": trial.truth, "effects": trial.effects}
    return simulate.simulate_dataset(folder, trial.exposures, seed, field=field_of(trial), **options)


def field_of(trial):
    """Name a field by its trial and arrays: sky and noise belong to a seed and a field, so no two trials share them."""
    arrays = dict.fromkeys(exposure.geometry.array for exposure in trial.exposures)
    return "-".join(re.findall(r"[a-z0-9]+", " ".join([trial.name, *arrays]).lower()))


def remove(data):
    """Delete the exposures, which are large."""
    for path in data.exposures:
        path.unlink()


def recover(trial, folder, seed):
    """Simulate, derive, and put what comes out beside the truth."""
    data = make(trial, folder, seed)
    if trial.spoil:
        trial.spoil(data, simulate.random_stream(seed, field_of(trial), "spoil"))
    try:
        model = ModuleOffsetDeriveStep.call(str(data.associations[-1]), **trial.options)
    except ModuleOffsetError as error:
        print(f"{trial.name}: {type(error).__name__}: {error}", flush=True)
        return []
    finally:
        remove(data)
    return list(compare(trial, seed, model))


def compare(trial, seed, model):
    """Put each parameter of each filter beside its truth, and print it."""
    for band in model.meta.derivation.instance["bands"]:
        for said in [*band["warnings"], *([band["failure"]] if band.get("failure") else [])]:
            print(f"{trial.name}, {band['filter']}: {said}", flush=True)
        if "terms" not in band:
            continue
        errors = np.sqrt(np.diag(band["covariance"]))
        verdicts = {result["array"]: result["verdict"] for result in band["results"]}
        for name, value, error in zip(band["terms"], band["values"], errors, strict=True):
            truth = true_value(trial, band, name)
            if truth is None:
                continue
            verdict = verdicts.get(name.partition("[")[2].rstrip("]"), "") if name.startswith("offset") else ""
            found = Finding(trial=trial.name, seed=seed, parameter=f"{band['filter']} {name}", truth=truth,
                            value=value, error=error, verdict=verdict)  # fmt: skip
            print(row_of(found), flush=True)
            yield found


def true_value(trial, band, name):
    """Truth of a term [mag or mag/arcmin]; None for levels, which have none."""
    kind, _, which = name.rstrip("]").partition("[")
    if kind == "epoch":
        names = list(dict.fromkeys(e.epoch.name for e in trial.exposures))
        mine = [n for n in names if any((e.epoch.name, e.band.filter) == (n, band["filter"]) for e in trial.exposures)]
        terms = trial.truth.epoch_terms
        return terms.get(names[int(which)], 0.0) - terms.get(mine[0], 0.0)
    row = trial.truth.table.row(which, band["filter"], band["pupil"])
    if kind == "level":
        return None
    if row is None:
        return 0.0
    angle = np.deg2rad(trial.truth.table.direction(row))
    along = {"slope": 1.0, "slope_V2": np.sin(angle), "slope_V3": np.cos(angle)}
    return row.offset if kind == "offset" else row.slope * along[kind]


# --- what goes wrong with files --------------------------------------------------------------------------------------


def leave_out_pixel_area(data, rng):
    """Give all files one PIXAR_SR, as if nobody had multiplied by it: must be found wrong."""
    values = {fits.getval(path, "DETECTOR"): fits.getval(path, "PIXAR_SR", "SCI") for path in data.exposures}
    first, second = (values[name] for name in sorted(values))
    print(f"PIXAR_SR of A over B: {first / second:.4f}, which is {-2500 * np.log10(first / second):+.1f} mmag")
    for path in data.exposures:
        fits.setval(path, "PIXAR_SR", value=first, extname="SCI")


def strike_sources(data, rng, share=0.01):
    """Add hits of 10 to 100% of a source's flux, unflagged, to this share of the measurements of sources."""
    from astropy.table import Table
    from stdatamodels.jwst.datamodels import ImageModel

    scene = Table.read(data.sources)
    scene = scene[scene["mag_F444W"] < 22]
    for path in data.exposures:
        with ImageModel(path) as model:
            x, y = model.meta.wcs.backward_transform(scene["ra"], scene["dec"])
            inside = np.flatnonzero((np.abs(x - 1024) < 1000) & (np.abs(y - 1024) < 1000))
            for i in inside[rng.random(inside.size) < share]:
                at = round(float(y[i])) + 2, round(float(x[i])) + 2
                flux = 3631e-6 * 10 ** (-0.4 * scene["mag_F444W"][i]) / model.meta.photometry.pixelarea_steradians
                model.data[at] += rng.uniform(0.1, 1.0) * flux
            model.save(path)


def renumbered(groups):
    """Give the exposures of each filter an activity of its own, so that no file has the name of another."""
    return tuple(replace(exposure, activity=n) for n, group in enumerate(groups, 1) for exposure in group)


# --- tables ----------------------------------------------------------------------------------------------------------


def row_of(found):
    """One line of the table."""
    numbers = f"{1e3 * found.truth:8.2f} {1e3 * found.value:8.2f} +- {1e3 * found.error:5.2f}  {found.pull:+5.2f}"
    return f"{found.trial:32} {found.seed:3d}  {found.parameter:22} {numbers}  {found.verdict}"


def summarise(findings):
    """Print mean and width of the pulls, with their own errors, by kind of parameter and for all together."""
    kinds = defaultdict(list)
    for found in findings:
        kinds[found.parameter.split()[1].partition("[")[0]].append(found.pull)
        kinds["all"].append(found.pull)
    print("pulls: kind, number, mean, width (root mean square about 0), within 3 sigma")
    for kind, values in sorted(kinds.items(), key=lambda item: item[0] == "all"):
        n, rms = len(values), np.sqrt(np.mean(np.square(values)))
        mean = f"{np.mean(values):+.2f} +- {1 / np.sqrt(n):.2f}"
        print(f"{kind:10} {n:4d}  {mean}  {rms:.2f} +- {1 / np.sqrt(2 * n):.2f}  {np.mean(np.abs(values) < 3):.0%}")


if __name__ == "__main__":
    sys.exit(main())
