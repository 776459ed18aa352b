"""
Draw the difference images of three epochs, before and after the correction (Fig. 7 of Ma et al. 2023).

Run as ``python docs/figures/difference_images.py FOLDER``; it takes some minutes and 6 GB in FOLDER, and writes
``docs/images/difference_images.png``. The mosaics are those of the stock calwebb_image3.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from PIL import Image
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "two_epochs"))
from commands import FIELD_GRID, combine, correct, simulate

PICTURE = Path(__file__).resolve().parents[1] / "images" / "difference_images.png"
SKIPPED = [f"--steps.{name}.skip=true" for name in ("tweakreg", "skymatch", "outlier_detection", "source_catalog")]
PIXEL = 0.06  # arcsec
BLOCK = 4  # pixels of the mosaic to one of the picture
PANELS = (("before", 2, 1), ("before", 3, 1), ("after", 2, 1))


def make_mosaics(folder):
    """Simulate three epochs of two dithers, correct the first two, and combine each epoch on one grid."""
    mosaics = {}
    simulate(folder, "--epochs", "3", "--dithers", "2", "--filter", "F444W", "--seed", "7", "--variable-fraction", "0")
    for epoch in (1, 2, 3):
        raw = f"demo_ep{epoch}_F444W_image3_asn.json"
        for state, association in (("before", raw), ("after", correct(folder, raw))):
            if (state, epoch) != ("after", 3):
                options = [*SKIPPED, "--steps.resample.report_var=false"]
                mosaics[state, epoch] = combine(folder, association, f"{state}{epoch}", *options, grid=FIELD_GRID)
    return mosaics


def smoothed(path):
    """Mosaic smoothed over 3 pixels, a block of pixels at a time."""
    data = fits.getdata(path, "SCI").astype(np.float32)
    seen = np.isfinite(data)
    weight = gaussian_filter(np.float32(seen), 3.0)
    smooth = gaussian_filter(np.where(seen, data, 0), 3.0) / np.maximum(weight, 1e-3)
    smooth[weight < 0.5] = np.nan
    rows, columns = (size // BLOCK for size in smooth.shape)
    return smooth[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).mean(axis=(1, 3))


def draw(mosaics):
    """Draw the panels of Fig. 7 on one scale."""
    figure, panels = plt.subplots(1, 3, figsize=(10, 2.75), sharex=True, sharey=True, layout="constrained")
    for axes, (state, later, first) in zip(panels, PANELS, strict=True):
        difference = 1e3 * (smoothed(mosaics[state, later]) - smoothed(mosaics[state, first]))
        half = np.array(difference.shape[::-1]) * BLOCK * PIXEL / 120
        extent = (-half[0], half[0], -half[1], half[1])
        image = axes.imshow(difference, origin="lower", cmap="RdBu_r", vmin=-8, vmax=8, extent=extent)
        axes.set_facecolor("0.85")
        axes.set_title(f"epoch {later} \N{MINUS SIGN} epoch {first}, {state} correction", fontsize=10)
        axes.set_xlabel("along the field [arcmin]")
    panels[0].set_ylabel("across [arcmin]")
    figure.colorbar(image, ax=panels, orientation="horizontal", shrink=0.35, aspect=40, label="F444W [kJy/sr]")
    figure.savefig(PICTURE, dpi=110)
    with Image.open(PICTURE) as picture:
        palette = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
    palette.save(PICTURE, optimize=True)


if __name__ == "__main__":
    output = Path(sys.argv[1]).absolute()
    plt.switch_backend("Agg")
    draw(make_mosaics(output))
