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
for row in derived.rows:
    before, after = (1e3 * table.row(row.array, "F200W").offset for table in (old, rebased))
    print(f"array {row.array}: {before:+6.1f} -> {after:+6.1f} mmag, derived again "
          f"{1e3 * row.offset:+6.1f} +- {1e3 * row.offset_error:.1f} mmag")  # fmt: skip
