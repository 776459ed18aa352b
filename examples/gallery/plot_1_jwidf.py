"""
Three epochs, four filters
==========================

A field like the JWST North Ecliptic Pole Time-Domain Field of Ma et al. (2023): three epochs, the second turned by 180
degrees, six dithers, F150W, F200W, F356W and F444W. The simulated offsets are Table 2 of the paper.
"""

# %%
# Measurements of all filters
# ---------------------------
import matplotlib.pyplot as plt
import numpy as np

from jwst_modfix import Measurements, OffsetTable, fit, plot_module_differences, simulate

filters = ["F150W", "F200W", "F356W", "F444W"]
exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS, filters=filters, dithers=6)
rng = np.random.default_rng(1)
scene = simulate.scene_around(rng, exposures, simulate.Population(density=20.0, faintest=22.0))
table = simulate.simulate_measurements(scene, exposures, rng, faintest=22.0, outlier_fraction=0.01)
print(f"{len(table)} measurements of {len(set(table['source']))} sources in {len(exposures)} exposures")

# %%
# Fit
# ---
#
# Each filter is fitted alone. Long-wavelength arrays get a gradient across the field.
solutions = {name: fit(Measurements.from_table(table, filter=name)) for name in filters}
print(solutions["F444W"].summary())

# %%
# Against the truth
# -----------------
truth, labels, pulls = OffsetTable.read("packaged"), [], []
figure, (offsets, difference) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, solution in solutions.items():
    for row in solution.to_table(description=name).rows:
        known = truth.row(row.array, name)
        place = len(labels)
        offsets.errorbar(place, 1e3 * row.offset, 1e3 * row.offset_error, fmt="o", color="#D55E00", capsize=3)
        offsets.hlines(1e3 * known.offset, place - 0.4, place + 0.4, color="k", linestyle=":")
        pulls.append((row.offset - known.offset) / row.offset_error)
        labels.append(f"{name}\n{row.array}")
        print(f"{name} {row.array:4}  {1e3 * row.offset:+6.2f} ± {1e3 * row.offset_error:.2f} mmag, "
              f"simulated {1e3 * known.offset:+6.2f}")  # fmt: skip
offsets.set_xticks(range(len(labels)), labels, fontsize=7)
offsets.set(ylabel="A \N{MINUS SIGN} B [mmag]", title="simulated (dotted) and derived")
plot_module_differences(solutions["F444W"], ax=difference)
difference.set_title("F444W, before the correction")
plt.show()
print(f"largest deviation from the truth: {np.abs(pulls).max():.1f} standard errors")
