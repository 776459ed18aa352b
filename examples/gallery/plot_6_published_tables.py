"""
Compare with a published table
==============================

Before you use your own table, compare it with one that is published for the same calibration, or look at what has
changed since. This example derives a table where one array has changed by 8 mmag since Table 2 of Ma et al. (2023).
"""

# %%
# A table of your own
# -------------------
import dataclasses
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from jwst_modfix import Measurements, OffsetTable, fit, simulate
from jwst_modfix.cli import main as modfix

published = OffsetTable.read("packaged")
rows = tuple(
    dataclasses.replace(row, offset=row.offset + 0.008) if row.key == ("3", "F200W", "CLEAR") else row
    for row in published.rows
)
truth = simulate.CalibrationTruth(table=dataclasses.replace(published, rows=rows))
exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS, filters=["F200W"], dithers=4)
rng = np.random.default_rng(9)
scene = simulate.scene_around(rng, exposures, simulate.Population(density=20.0, faintest=22.0))
measured = simulate.simulate_measurements(scene, exposures, rng, truth=truth, faintest=22.0)
mine = fit(Measurements.from_table(measured)).to_table(description="Derived from simulated measurements")
path = Path(tempfile.mkdtemp()) / "my_moduleoffset.asdf"
mine.write(path)

# %%
# Row by row
# ----------
#
# On the command line. Differences have the errors of both tables.
modfix(["diff", "packaged", str(path)], standalone_mode=False)

# %%
# As a figure
# -----------
#
# A point off the line by more than its errors is a change of that detector, or a fault of one of the tables.
figure, axes = plt.subplots(figsize=(5.5, 5), layout="constrained")
for row in mine.rows:
    known = published.row(*row.key)
    axes.errorbar(1e3 * known.offset, 1e3 * row.offset, 1e3 * row.offset_error, 1e3 * known.offset_error, fmt="o",
                  color="#0072B2")  # fmt: skip
    axes.annotate(row.array, (1e3 * known.offset, 1e3 * row.offset), (6, 4), textcoords="offset points")
axes.axline((0, 0), slope=1, color="0.5", lw=0.8)
axes.set(xlabel="Table 2 of Ma et al. (2023) [mmag]", ylabel="derived [mmag]", title="A \N{MINUS SIGN} B in F200W",
         aspect="equal")  # fmt: skip
plt.show()
