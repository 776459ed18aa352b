"""
One epoch with dithers
======================

Without a second epoch, only dithers move a source from one module to the other. The gap between the modules is about 44
arcsec: dithers must be larger. This example compares small and large dithers with the same number of exposures.
"""

# %%
# Two sets of dithers
# -------------------
import warnings

import matplotlib.pyplot as plt
import numpy as np

from jwst_modfix import Measurements, ModuleOffsetError, fit, plot_sky_map, simulate

warnings.filterwarnings("ignore")  # each degenerate term is a DegenerateTermWarning; they are printed below
epoch = simulate.Epoch(name="ep1", date="2024-05-01", roll=100.0)
patterns = {
    "small": [(0.0, 0.0), (6.0, 2.0), (-4.0, 6.0), (2.0, -6.0), (-6.0, -2.0)],
    "large": [(0.0, 0.0), (70.0, 5.0), (-70.0, -5.0), (140.0, 10.0), (-140.0, -10.0)],
}


def measure(dithers):
    """Simulate one epoch in F444W; the offset is -16.5 mmag, the slope +4.3 mmag/arcmin (Ma et al. 2023, Table 2)."""
    exposures = simulate.plan_exposures([epoch], filters=["F444W"], dithers=dithers)
    rng = np.random.default_rng(4)
    scene = simulate.scene_around(rng, exposures, simulate.Population(density=20.0, faintest=22.0))
    return Measurements.from_table(simulate.simulate_measurements(scene, exposures, rng, faintest=22.0))


# %%
# Fit both
# --------
#
# Where no source links the modules, the fit says so and gives no number.
solutions = {}
for name, dithers in patterns.items():
    print(f"--- {name} dithers")
    try:
        solutions[name] = fit(measure(dithers))
        print(solutions[name].summary())
    except ModuleOffsetError as error:
        print(error)

# %%
# What the large dithers cover
# ----------------------------
#
# The difference A - B of each source that both modules measured. Only a band in the middle of the field links them.
plot_sky_map(solutions["large"])
plt.show()
