"""
Carry a table to another calibration
====================================

A table is valid for one calibration. When the photom files change, ``modfix rebase`` changes the table with them. This
example derives a table, rebases it, and compares with a table that is derived on the new calibration.
"""

# %%
# A table on the old calibration
# ------------------------------
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from astropy.table import Table

from jwst_modfix import Measurements, OffsetTable, fit, simulate
from jwst_modfix.cli import main as modfix

folder = Path(tempfile.mkdtemp())
exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS, filters=["F200W"], dithers=4)
rng = np.random.default_rng(2)
scene = simulate.scene_around(rng, exposures, simulate.Population(density=20.0, faintest=22.0))
measured = simulate.simulate_measurements(scene, exposures, rng, faintest=22.0)
old = fit(Measurements.from_table(measured)).to_table(description="Derived on the old calibration")
old.write(folder / "old_moduleoffset.asdf")

# %%
# The photom files change
# -----------------------
#
# PHOTMJSR of each detector, before and after. The new value of NRCA2 takes out most of its offset.
detectors = [f"NRC{module}{array}" for module in "AB" for array in "1234"]
change = dict(zip(detectors, [1.010, 0.955, 1.004, 0.978, 1.000, 1.002, 0.997, 1.000], strict=True))
rows = [(name, "F200W", "CLEAR", 2.0, 2.0 * change[name]) for name in detectors]
Table(rows=rows, names=("detector", "filter", "pupil", "from", "to")).write(folder / "photmjsr.csv")
command = [
    "rebase", str(folder / "old_moduleoffset.asdf"), "--photmjsr", str(folder / "photmjsr.csv"),
    "-o", str(folder / "new_moduleoffset.asdf"),
]  # fmt: skip
modfix(command, standalone_mode=False)

# %%
# Derive it again
# ---------------
#
# On the new calibration the same sources have other magnitudes: a larger PHOTMJSR makes them brighter.
again = measured.copy()
again["mag"] -= [2.5 * np.log10(change[name]) for name in again["detector"]]
derived = fit(Measurements.from_table(again)).to_table(description="Derived on the new calibration")
rebased = OffsetTable.read(folder / "new_moduleoffset.asdf")
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
tables = {"old": ("o", old), "rebased": ("s", rebased), "derived again": ("D", derived)}
for shift, (label, (marker, table)) in enumerate(tables.items()):
    found = [table.row(array, "F200W") for array in "1234"]
    values, errors = 1e3 * np.array([(row.offset, row.offset_error) for row in found]).T
    axes.errorbar(np.arange(4) + 0.12 * (shift - 1), values, errors, fmt=marker, label=label, capsize=3)
    numbers = [f"{value:+6.1f} ± {error:.1f}" for value, error in zip(values, errors, strict=True)]
    print(f"{label:13}", *numbers, "mmag")
axes.axhline(0, color="0.5", lw=0.8)
axes.set(xticks=range(4), xticklabels="1234", xlabel="array", ylabel="A \N{MINUS SIGN} B in F200W [mmag]")
axes.legend(frameon=False)
plt.show()
