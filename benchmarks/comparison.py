"""
Correct one simulated set by several methods, and measure what each leaves of A - B and of the errors.

Run ``python benchmarks/comparison.py FOLDER`` with the extra ``sim``; it takes about four minutes of processor time and
5 GB. The set has the offsets of Table 2 and 60 sources per square arcmin: five epochs, array 2 in F200W and the
long-wavelength arrays in F444W. What is left is measured in the first two epochs by the photometry of
``examples/two_epochs``, which knows no table.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "two_epochs"))
os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"

from commands import simulate
from comparison import compare_modules, fit_comparison
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetStep, OffsetTable, derive

SETS = {"F200W": "2", "F444W": "long"}
TABLE_2 = OffsetTable.read("packaged")


def main():
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.absolute()
    for band, array in SETS.items():
        if not (folder / band).exists():
            options = ["--epochs", "5", "--dithers", "1", "--filter", band, "--array", array, "--density", "60"]
            simulate(folder / band, *options)
    print("| method | F200W array 2 [mmag] | F444W: offset [mmag] | slope [mmag/arcmin] | ERR / SCI changes by |")
    print("|---|---|---|---|---|")
    for name, correct in METHODS.items():
        cells, change = [], []
        for band, array in SETS.items():
            raw, done = folder / band, folder / f"{band}_{correct.__name__}"
            shutil.rmtree(done, ignore_errors=True)
            done.mkdir()
            correct(sorted(raw.glob("*_cal.fits")), done)
            files = {(epoch, m): next(done.glob(f"*{epoch:03d}001_*_00001_nrc{m.lower()}{array}_*.fits"))
                     for epoch in (1, 2) for m in "AB"}  # fmt: skip
            found = fit_comparison(compare_modules(files), with_slope=array == "long")
            cells += [f"{1e3 * one.value:+z.1f} ± {1e3 * one.error:.1f}" for one in (found.offset, found.slope) if one]
            change += [change_of_errors(next(raw.glob(f"*002001_*_00001_nrca{array}_cal.fits")), files[2, "A"])]
            shutil.rmtree(done)
        print(f"| {name} | {' | '.join(cells)} | {max(change):.1%} |", flush=True)


def change_of_errors(before, after):
    """Largest relative change of ERR / SCI where the source counts, which a change of the flux scale leaves alone."""
    shares = []
    for path in (before, after):
        with fits.open(path) as hdus:
            shares.append(hdus["ERR"].data.astype(float) / hdus["SCI"].data)
    with np.errstate(invalid="ignore"):
        bright = shares[0] < 0.02
    return float(np.max(np.abs(shares[1][bright] / shares[0][bright] - 1)))


def nothing(paths, folder):
    for path in paths:
        shutil.copy(path, folder)


def recipe(paths, folder):
    """Scale SCI of module A as the released recipe does, and in its second epoch apply the slope from column 0."""
    for path in paths:
        with fits.open(path) as hdus:
            header = hdus[0].header
            array = "long" if header["DETECTOR"].endswith("LONG") else header["DETECTOR"][-1]
            row = TABLE_2.row(array, header["FILTER"])
            data = hdus["SCI"].data.astype(float)
            if header["MODULE"] == "A":
                data *= 10 ** (0.4 * row.offset)
            if row.slope and "738002" in path.name:
                size = WCS(hdus["SCI"].header).proj_plane_pixel_scales()[0].to_value("arcmin")
                data *= 10 ** (-0.4 * row.slope * np.arange(data.shape[1]) * size)
            hdus["SCI"].data = data.astype(np.float32)
            hdus.writeto(folder / path.name)


def script(paths, folder):
    """Multiply the arrays of a data model by one number, as many users do."""
    for path in paths:
        with datamodels.open(path) as model:
            detector = model.meta.instrument.detector
            row = TABLE_2.row("long" if detector.endswith("LONG") else detector[-1], model.meta.instrument.filter)
            factor = 10 ** (0.4 * row.offset) if detector[3] == "A" else 1.0
            model.data *= factor
            model.err *= factor
            for name in ("var_poisson", "var_rnoise", "var_flat"):
                setattr(model, name, getattr(model, name) * factor**2)
            model.save(folder / path.name)


def skymatch(paths, folder):
    """The step of calwebb_image3, which adds constants."""
    from jwst.skymatch import SkyMatchStep

    models = SkyMatchStep.call([str(path) for path in paths], subtract=True, configure_log=False)
    with models:
        for number, path in enumerate(paths):
            model = models.borrow(number)
            model.save(folder / path.name)
            models.shelve(model, number, modify=False)


def sky(paths, folder):
    apply(derive(paths, scale="detectors", method="sky").model, paths, folder)


def packaged(paths, folder):
    apply("packaged", paths, folder)


def derived(paths, folder):
    apply(derive(paths).model, paths, folder)


def apply(table, paths, folder):
    for path in paths:
        ModuleOffsetStep.call(
            str(path), override_moduleoffset=table, output_dir=str(folder), save_results=True, configure_log=False
        )


METHODS = {
    "none": nothing,
    "released recipe": recipe,
    "data-model script, one number a file": script,
    "skymatch (subtract)": skymatch,
    "sky levels": sky,
    "jwst_modfix, packaged table": packaged,
    "jwst_modfix, table derived from this set": derived,
}

if __name__ == "__main__":
    main()
