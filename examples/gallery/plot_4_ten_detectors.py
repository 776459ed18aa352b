"""
All ten detectors
=================

With ``scale="detectors"`` every detector that sources link to the others gets a zero point, instead of the offset
between the modules.
"""

# %%
# Measurements
# ------------
#
# Two epochs, turned by 150 degrees, with four dithers, in F200W (eight detectors) and F444W (two). The zero points are
# drawn with a standard deviation of 25 mmag.
import matplotlib.pyplot as plt
import numpy as np

from jwst_modfix import Measurements, OffsetTable, fit, simulate

filters = ["F200W", "F444W"]
epochs = [
    simulate.Epoch(name="ep1", date="2024-01-05", roll=10.0),
    simulate.Epoch(name="ep2", date="2024-06-10", roll=160.0),
]
exposures = simulate.plan_exposures(epochs, filters=filters, dithers=4)
rng = np.random.default_rng(6)
scene = simulate.scene_around(rng, exposures, simulate.Population(density=20.0, faintest=22.0))
perfect = simulate.CalibrationTruth(table=OffsetTable(rows=(), meta={"description": "no offsets"}))
table = simulate.simulate_measurements(scene, exposures, rng, truth=perfect, faintest=22.0)
detectors = sorted(set(table["detector"]))
truth = dict(zip(detectors, rng.normal(0, 0.025, len(detectors)), strict=True))
table["mag"] += [truth[name] for name in table["detector"]]

# %%
# Fit
# ---
#
# The baseline is the mean of module B: zero points are relative to it.
solutions = {name: fit(Measurements.from_table(table, filter=name), scale="detectors") for name in filters}
print(solutions["F200W"].summary())

# %%
# Against the truth
# -----------------
figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
place = 0
for name, solution in solutions.items():
    found = solution.zero_points("B")
    zero = np.mean([truth[detector] for detector in found if detector[3] == "B"])
    for detector, (value, error) in found.items():
        known = truth[detector] - zero
        axes.errorbar(place, 1e3 * value, 1e3 * error, fmt="o", color="#D55E00", capsize=3)
        axes.hlines(1e3 * known, place - 0.4, place + 0.4, color="k", linestyle=":")
        axes.annotate(f"{name}\n{detector[3:]}", (place, -58), ha="center", fontsize=8)
        print(f"{name} {detector:8}  {1e3 * value:+6.2f} ± {1e3 * error:.2f} mmag, simulated {1e3 * known:+6.2f}")
        place += 1
axes.set(ylabel="zero point [mmag]", xticks=[], ylim=(-60, 60), title="simulated (dotted) and derived")
axes.axhline(0, color="0.5", lw=0.8)
plt.show()
