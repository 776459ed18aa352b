"""
Seams between the eight short-wavelength detectors in a mosaic of the stock calwebb_image3, before and after.

Run ``python benchmarks/seams.py FOLDER`` with the project installed; it takes 5 minutes of processor time and 7 GB in
FOLDER, goes on where it was stopped, prints the numbers, and writes ``docs/images/seams.png``. Exposures of two rolls
are simulated, and zero points that scatter by 30 mmag are put into their detectors. A table is derived from all of
them, and the first exposure is combined without skymatch, which would level the sky and leave the sources.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from matplotlib.path import Path as Outline
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "two_epochs"))
from commands import CONFIG, FIELD_GRID, _run, _strun, combine, simulate

from jwst_modfix.photometry.frames import read_header
from jwst_modfix.table.table import OffsetTable

DETECTORS = [f"NRC{module}{number}" for module in "AB" for number in range(1, 5)]
SPREAD, SEED = 0.030, 12  # mag
ROOT = Path(__file__).resolve().parents[1]
BLOCK, PIXEL = 8, 0.06  # pixels of the mosaic to one of the picture, arcsec
PICTURE = ROOT / "docs" / "images" / "seams.png"
OPTIONS = [f"--steps.{name}.skip=true" for name in ("tweakreg", "skymatch", "outlier_detection", "source_catalog")]
OPTIONS += ["--steps.resample.report_var=false"]


def main():
    """Make what is not there yet, measure the seams, and draw both mosaics."""
    folder = Path(sys.argv[1]).absolute()
    if not (folder / "injected").exists():
        rolls = ["--epochs", "2", "--roll", "161", "--roll", "311", "--dithers", "2"]
        arrays = [word for number in "1234" for word in ("--array", number)]
        simulate(folder, *rolls, *arrays, "--filter", "F200W", "--no-offsets", "--seed", "5")
        inject(folder)
    everything = "demo_F200W_image3_asn.json"
    first = choose_first(folder)
    if not list(folder.glob("*_moduleoffset.asdf")):
        derive = [_strun(), str(CONFIG / "modfix_derive.cfg"), everything, "--scale=detectors", "--baseline=mean"]
        _run(derive, folder, "derive.log")
    (table,) = folder.glob("*_moduleoffset.asdf")
    mosaics = {}
    for state in ("before", "after"):
        mosaics[state] = folder / f"{state}_i2d.fits"
        if not mosaics[state].exists():
            association = first
            if state == "after":
                options = [str(CONFIG / "modfix.cfg"), first, f"--override_moduleoffset={table}"]
                _run([_strun(), *options], folder, "modfix.log")
                association = first.replace("_asn.json", "_modfix_asn.json")
            combine(folder, association, state, *OPTIONS, grid=FIELD_GRID)
    values = truth()
    found = OffsetTable.read(table)
    off = [found.row(name, "F200W").zero_point - values[name] for name in DETECTORS]
    print(f"zero points: {1e3 * np.std(list(values.values())):.1f} mmag rms put in; {1e3 * np.std(off):.2f} rms off")
    members = json.loads((folder / first).read_text())["products"][0]["members"]
    headers = [read_header(folder / member["expname"]) for member in members]
    pictures = {}
    for state, path in mosaics.items():
        data, wcs = fits.getdata(path, "SCI"), WCS(fits.getheader(path, "SCI"))
        levels = measure_levels(data, wcs, headers)
        mmag = -2500 * np.log10(np.array([*levels.values()]) / np.mean([*levels.values()]))
        pictures[state] = data, np.std(mmag)
        print(f"{state}: seams {np.std(mmag):.1f} mmag rms, {np.ptp(mmag):.1f} peak to peak; " + ", ".join(
            f"{name} {value:+.1f}" for name, value in zip(levels, mmag, strict=True)
        ))  # fmt: skip
    draw(pictures)


def choose_first(folder):
    """Write the association of the first exposure of all detectors; return its name."""
    content = json.loads((folder / "demo_ep1_F200W_image3_asn.json").read_text())
    product = content["products"][0]
    start = min(fits.getheader(folder / member["expname"])["EXPSTART"] for member in product["members"])
    product["members"] = [
        member for member in product["members"] if fits.getheader(folder / member["expname"])["EXPSTART"] == start
    ]
    (folder / "first_asn.json").write_text(json.dumps(content))
    return "first_asn.json"


def truth():
    """Zero points that are put in [mag]; positive where a detector measures faint."""
    drawn = np.random.default_rng(SEED).normal(0, SPREAD, len(DETECTORS))
    return dict(zip(DETECTORS, (drawn - drawn.mean()).tolist(), strict=True))


def inject(folder):
    """Multiply the pixels of each detector by its factor."""
    for path in sorted(folder.glob("*_cal.fits")):
        with fits.open(path, mode="update") as hdus:
            factor = np.float32(10 ** (-0.4 * truth()[hdus[0].header["DETECTOR"]]))
            for name, power in (("SCI", 1), ("ERR", 1), ("VAR_POISSON", 2), ("VAR_RNOISE", 2), ("VAR_FLAT", 2)):
                hdus[name].data *= factor**power
    (folder / "injected").touch()


def measure_levels(data, wcs, headers):
    """Median surface brightness where the mosaic holds one detector alone, by detector."""
    y, x = np.mgrid[: data.shape[0] : 4, : data.shape[1] : 4]
    values = data[::4, ::4].ravel()
    places = np.stack(wcs.wcs_pix2world(x.ravel(), y.ravel(), 0), axis=1)
    seen = {name: np.zeros(len(values), bool) for name in DETECTORS}
    for header in headers:
        seen[header.detector] |= Outline(header.corners).contains_points(places)
    alone = sum(mask.astype(int) for mask in seen.values()) == 1
    return {name: float(np.nanmedian(values[mask & alone & np.isfinite(values)])) for name, mask in seen.items()}


def draw(pictures):
    """Draw both mosaics on one scale, in per cent of the sky."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 2.9), sharex=True, sharey=True, layout="constrained")
    for axes, (state, (data, rms)) in zip(panels, pictures.items(), strict=True):
        rows, columns = (size // BLOCK for size in data.shape)
        blocks = data[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
        blocks = np.where(blocks == 0, np.nan, blocks).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
        empty = np.isnan(blocks).all(axis=2)
        level = np.full((rows, columns), np.nan)
        level[~empty] = np.nanmedian(blocks[~empty], axis=1)
        half = np.array([columns, rows]) * BLOCK * PIXEL / 120
        extent = (-half[0], half[0], -half[1], half[1])
        change = 100 * (level / np.nanmedian(level) - 1)
        image = axes.imshow(change, origin="lower", cmap="RdBu_r", vmin=-8, vmax=8, extent=extent)
        axes.set_facecolor("0.85")
        axes.set_title(f"{state} correction: seams {rms:.1f} mmag rms", fontsize=10)
        axes.set_xlabel("along the field [arcmin]")
    panels[0].set_ylabel("across [arcmin]")
    figure.colorbar(image, ax=panels, orientation="horizontal", shrink=0.35, aspect=40, label="F200W, sky [%]")
    figure.savefig(PICTURE, dpi=110)
    with Image.open(PICTURE) as picture:
        palette = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
    palette.save(PICTURE, optimize=True)


if __name__ == "__main__":
    plt.switch_backend("Agg")
    main()
