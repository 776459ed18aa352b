"""
Two epochs on one flux scale
============================

NIRCam's modules are exchanged on the sky when the telescope has turned by 180 degrees. Module B observes in January
what module A observed in July, and their fluxes disagree by up to 5%. This tutorial simulates two such epochs, corrects
them, and shows the difference image before and after.

.. note:: If you have your own exposures, begin at `Correct them`_.
"""

# %%
# Simulate two epochs
# -------------------
#
# The command ``modfix simulate`` writes calibrated exposures (``_cal``), associations and the truth.
# This example uses the two long-wavelength arrays in F444W, with one exposure each in two epochs 180 degrees apart.
# Their calibration has the offsets of Table 2 of Ma et al. (2023): A is brighter than B by 16.5 mmag, with a gradient
# across the field.
import os
import tempfile
from pathlib import Path

from jwst_modfix.cli import main as modfix

os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"  # the stock pipeline does not ask CRDS
folder = Path(tempfile.mkdtemp())
data, corrected = folder / "data", folder / "corrected"

options = "--field demo --filter F444W --epochs 2 --dithers 1 --variable-fraction 0 --seed 3 --quiet"
modfix(["simulate", str(data), *options.split()], standalone_mode=False)
associations = sorted(data.glob("demo_ep?_F444W_image3_asn.json"))
print(*sorted(path.name for path in data.iterdir()), sep="\n")

# %%
# Correct them
# ------------
#
# On the command line this is ``strun module_offset data/demo_ep1_F444W_image3_asn.json --output_dir=corrected``. The
# table is the packaged one, unless ``override_moduleoffset`` names yours.
from jwst_modfix import ModuleOffsetStep

for association in associations:
    ModuleOffsetStep.call(str(association), save_results=True, output_dir=str(corrected), configure_log=False)
print(*sorted(path.name for path in corrected.iterdir()), sep="\n")

# %%
# The header of each file records the correction. Module B is the baseline: its zero point is unchanged, but its
# gradient is corrected as that of A:
from astropy.io import fits

for path in sorted(corrected.glob("*_modfix.fits")):
    header = fits.getheader(path)
    print(path.name, header["S_MODOFF"], f"z = {header['MODFOFF']:+.5f} mag, g = {header['MODFGRAD']:+.6f} mag/arcmin")

# %%
# Make mosaics
# ------------
#
# The stock calwebb_image3 accepts both associations. Steps that are not needed here are skipped, and all mosaics have
# the same grid, so that they can be subtracted.
from jwst.pipeline import Image3Pipeline

SKIPPED = {name: {"skip": True} for name in ("tweakreg", "skymatch", "outlier_detection", "source_catalog")}
GRID = {
    "crval": [265.035, 68.974], "crpix": [1474.5, 649.5], "output_shape": [2950, 1300], "rotation": -19.0,
    "pixel_scale": 0.12, "report_var": False,
}  # fmt: skip


def combine(association):
    """Make the mosaic of one epoch [MJy/sr]."""
    target = association.with_suffix("")
    Image3Pipeline.call(
        str(association),
        steps={**SKIPPED, "resample": GRID},
        save_results=True,
        output_dir=str(target),
        configure_log=False,
    )
    return fits.getdata(next(target.glob("*_i2d.fits")), "SCI")


before = [combine(path) for path in associations]
after = [combine(path) for path in sorted(corrected.glob("*_asn.json"))]

# %%
# The difference image
# --------------------
#
# Before the correction, the difference is positive in one half of the field and negative in the other, for sky and
# sources, and it changes along the field because of the gradient. After the correction it vanishes.
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter

figure, panels = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
for axes, state, mosaics in zip(panels, ("before", "after"), (before, after), strict=True):
    difference = np.nan_to_num(mosaics[1] - mosaics[0])
    seen = np.isfinite(mosaics[1] - mosaics[0])
    smooth = gaussian_filter(difference, 3) / np.maximum(gaussian_filter(seen.astype(float), 3), 1e-3)
    shown = axes.imshow(np.where(seen, 1e3 * smooth, np.nan), origin="lower", cmap="RdBu_r", vmin=-8, vmax=8)
    axes.set(title=f"epoch 2 - epoch 1, {state} the correction", ylabel="pixel of 0.12\N{DOUBLE PRIME}")
panels[1].set_xlabel("pixel, along the field")
figure.colorbar(shown, ax=panels, label="F444W [kJy/sr]", shrink=0.6)
plt.show()

# %%
# In numbers
# ----------
#
# The magnitude differences of sources between the epochs, from apertures in the mosaics, with standard errors. The
# expected values before the correction follow from the table: in the middle of a half, d = 1.45 arcmin from the
# midpoint, offset and gradient add up to -16.5 + 4.33 d = -10.3 mmag, and in the other half to +10.3 mmag.
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from photutils.detection import DAOStarFinder

sky = np.nanmedian(before[0])
noise = 1.48 * np.nanmedian(np.abs(before[0] - sky))
stars = DAOStarFinder(100 * noise, fwhm=2.0)(np.nan_to_num(before[0] - sky))
place = np.transpose([stars[name] for name in stars.colnames if name.endswith("centroid")][:2])


def magnitudes(mosaic):
    """Aperture magnitudes above the local sky; not-a-number if a pixel is missing."""
    local = ApertureStats(mosaic, CircularAnnulus(place, 12, 18)).median
    return -2.5 * np.log10(ApertureStats(mosaic, CircularAperture(place, 4), local_bkg=local).sum)


for state, mosaics in (("before", before), ("after", after)):
    change = magnitudes(mosaics[1]) - magnitudes(mosaics[0])
    for half, mine in (("left", place[:, 0] < 1474), ("right", place[:, 0] > 1474)):
        values = change[mine & (np.abs(change) < 0.3)]
        error = 1.2533 * 1.4826 * np.median(np.abs(values - np.median(values))) / np.sqrt(len(values))
        middle = np.median(values)
        print(f"{state:6s} {half:5s} half: {1e3 * middle:+6.1f} ± {1e3 * error:.1f} mmag, {len(values)} sources")

# %%
# Undo it
# -------
#
# A file records its own correction, so the undo does not need the table.
restored = ModuleOffsetStep.call(str(next(corrected.glob("*nrca*_modfix.fits"))), inverse=True, configure_log=False)
original = fits.getdata(next(data.glob("*nrca*_cal.fits")), "SCI")
good = np.isfinite(original)
print("largest relative difference:", np.abs(restored.data[good] / original[good] - 1).max())
