"""
A crowded field by catalogue
============================

In a crowded field every source has a neighbour within the aperture: measure it with a program of your choice, such as a
PSF fit, and give the catalogue. In a derivation from exposures this is ``--photometry=catalog --catalogs=mine.ecsv,``.
Here the catalogue itself is fitted.
"""

# %%
# A catalogue
# -----------
#
# 300 stars per square arcmin in two epochs. One in twelve measurements is disturbed by a neighbour, which makes it
# brighter by up to 0.3 mag. The columns are those of a catalogue: fluxes in Jy, and where each source was measured.
import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix import Measurements, OffsetTable, fit, plot_module_differences, simulate

exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS[:2], filters=["F444W"], dithers=2)
rng = np.random.default_rng(3)
stars = simulate.Population(density=300.0, faintest=22.0, star_fraction=1.0, variable_fraction=0.03)
scene = simulate.scene_around(rng, exposures, stars)
simulated = simulate.simulate_measurements(scene, exposures, rng, faintest=22.0, scatter=0.01)
blended = rng.random(len(simulated)) < 1 / 12
magnitude = simulated["mag"] - np.where(blended, rng.uniform(0, 0.3, len(simulated)), 0)

catalogue = Table(simulated["source", "exposure", "epoch", "array", "module", "v2", "v3", "ra", "dec"])
catalogue["flux"] = (magnitude * u.ABmag).to(u.Jy)
catalogue["flux_error"] = catalogue["flux"] * simulated["mag_err"] / 1.0857
print(catalogue["source", "exposure", "flux", "flux_error"][:3])

# %%
# Fit it
# ------
catalogue["mag"] = catalogue["flux"].to(u.ABmag).value
catalogue["mag_error"] = (1.0857 * catalogue["flux_error"] / catalogue["flux"]).value
solution = fit(Measurements.from_table(catalogue, filter="F444W"))
print(solution.summary())
row, known = solution.to_table(description="crowded field").row("long", "F444W"), OffsetTable.read("packaged")
print(f"simulated: {1e3 * known.row('long', 'F444W').offset:+.1f} mmag")

# %%
# Rejected measurements
# ---------------------
#
# The fit is robust: sources that were blended in one exposure are rejected, and the median of the others stays at the
# offset.
residuals = solution.residuals()
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plot_module_differences(solution, corrected=True, ax=left)
edges = np.linspace(-150, 50, 81)
right.hist(1e3 * residuals["residual"], edges, color="0.8", label="all")
right.hist(1e3 * residuals["residual"][residuals["used"]], edges, histtype="step", color="#0072B2", label="used")
right.set(xlabel="residual [mmag]", ylabel="measurements", yscale="log")
right.legend(frameon=False)
plt.show()
