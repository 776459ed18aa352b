"""
Tables and fits in Python
=========================

This tutorial uses the Python interface without pixels: it simulates measurements of sources with a known offset, fits
them, inspects the solution, and writes and applies a table of offsets. It runs in a few seconds.
"""

# %%
# Measurements
# ------------
#
# The input of a fit is a table with one row for each source and exposure. Here it comes from the simulator, for two
# epochs 180 degrees apart with two dithers in F444W. The simulated offset is -20 mmag, the slope +6 mmag/arcmin, and
# the second epoch is fainter by 7 mmag. A table of measurements that a derivation wrote
# (``Table.read("..._measurements.ecsv")``) can be used in the same way.
import numpy as np

from jwst_modfix import Gradient, Measurements, OffsetRow, OffsetTable, fit, simulate

row = OffsetRow(array="long", filter="F444W", offset=-0.020, offset_error=0.001, slope=0.006, slope_error=0.001)
gradient = Gradient(frame="focal_plane", direction=90.0, origin=(-1.74, -492.4), exposure_share=0.5)
truth = simulate.CalibrationTruth(
    table=OffsetTable(rows=(row,), gradient=gradient, meta={"description": "Simulated offsets"}),
    epoch_terms={"ep2": 0.007},
)
epochs = [
    simulate.Epoch(name="ep1", date="2022-07-08", roll=161.0),
    simulate.Epoch(name="ep2", date="2023-01-06", roll=341.0),
]
exposures = simulate.plan_exposures(epochs, filters=["F444W"], dithers=2)
rng = np.random.default_rng(5)
scene = simulate.scene_around(rng, exposures, simulate.Population(density=20.0, faintest=22.0))
table = simulate.simulate_measurements(scene, exposures, rng, truth=truth, faintest=22.0)
print(table["source", "exposure", "epoch", "array", "module", "mag", "mag_err"][:4])

measurements = Measurements.from_table(table)
print(measurements)

# %%
# Fit
# ---
#
# `fit` solves for offsets, slopes and epoch terms together, and returns a `Solution`. In a notebook a solution is shown
# as a table.
solution = fit(measurements)
print(solution.summary())

# %%
# Single terms, the covariance and the residuals are arrays for your own checks.
print("offset, error [mag]:", solution.value("offset[long]"))
residuals = solution.residuals()
used = residuals["used"]
for module in "AB":
    values = residuals["residual"][used & (residuals["module"] == module)]
    print(f"module {module}: {len(values)} residuals, standard deviation {1e3 * values.std():.2f} mmag")

# %%
# Figures
# -------
#
# The figures of the report are functions that draw into matplotlib axes.
import matplotlib.pyplot as plt

from jwst_modfix import plot_module_differences, plot_residual_map

figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plot_module_differences(solution, ax=panels[0])
plot_residual_map(solution, gridsize=16, ax=panels[1])
plt.show()

# %%
# Write and read a table
# ----------------------
#
# A solution gives a table of offsets. A description is all the metadata that it needs; ``valid_for`` names the
# calibration that it can be applied to.
import tempfile
from pathlib import Path

path = Path(tempfile.mkdtemp()) / "my_moduleoffset.asdf"
mine = solution.to_table(description="Offsets of simulated measurements")
mine.write(path)
print(OffsetTable.read(path) == mine)
print(mine.to_table())

# %%
# Apply it
# --------
#
# `OffsetTable.factor` gives the factor of one exposure, a file or a data model, and `OffsetTable.apply` a corrected
# copy. `applied` reads what was taken out of an exposure. Here the exposure is a simulated subarray of 64 x 64 pixels.
from jwst_modfix import applied

subarray = simulate.Subarray(xstart=900, ystart=900, xsize=64, ysize=64)
model = simulate.simulate_exposure(exposures[0], scene, rng, truth=truth, subarray=subarray)
factor = mine.factor(model)
print("factor from", factor.evaluate().min(), "to", factor.evaluate().max())
corrected = mine.apply(model)
print(np.allclose(corrected.data, model.data * factor.evaluate(), rtol=1e-6, equal_nan=True))
print(applied(model))
print(applied(corrected))
