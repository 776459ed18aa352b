"""
Draw the figures of the pages "Deriving" and "Reading the report", from simulated measurements.

The build of the documentation calls `draw`; ``python docs/figures/pages.py FOLDER`` writes them into a folder.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jwst_modfix import (
    Measurements,
    fit,
    plot_module_differences,
    plot_residual_map,
    plot_sky_map,
    simulate,
)

COLOURS = {"A": "#D55E00", "B": "#0072B2"}
CORNERS = np.array([(0, 0), (2047, 0), (2047, 2047), (0, 2047), (0, 0)], float)
SMALL, LARGE = [(0.0, 0.0), (9.0, -6.0)], [(0.0, 0.0), (90.0, 8.0)]
DESIGNS = {
    "one epoch, small dithers:\nno source is in both modules": ((161.0,), SMALL),
    "one epoch, dithers larger than the gap:\na band of sources is in both": ((161.0,), LARGE),
    "two epochs, turned by 180 degrees:\nall sources are in both": ((161.0, 341.0), 1),
}


def draw(folder):
    """Write both figures."""
    folder.mkdir(exist_ok=True)
    draw_designs(folder / "deriving.svg")
    draw_report(folder / "report.png")


def draw_designs(picture):
    """Draw where the long-wavelength arrays of both modules are on the sky, for three sets of exposures."""
    figure = Figure(figsize=(10, 3.1), layout="constrained")
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    for axes, (title, (rolls, dithers)) in zip(panels, DESIGNS.items(), strict=True):
        epochs = [simulate.Epoch(name=f"ep{i}", date=f"202{i}-01-01", roll=roll) for i, roll in enumerate(rolls, 1)]
        for number, exposure in enumerate(simulate.plan_exposures(epochs, filters=["F444W"], dithers=dithers)):
            ra, dec = exposure.attitude.v2v3_to_sky(*exposure.geometry.pixel_to_v2v3(*CORNERS.T))
            east, north = (ra - epochs[0].ra) * np.cos(np.deg2rad(dec)) * 60, (dec - epochs[0].dec) * 60
            module, again = exposure.geometry.module, number > 1
            axes.fill(east, north, facecolor=COLOURS[module], alpha=0.25)
            axes.plot(east, north, color=COLOURS[module], lw=1.2, ls="--" if again else "-",
                      label=f"module {module}{', moved or turned' if again else ''}")  # fmt: skip
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="east [arcmin]", aspect="equal")
    panels[0].xaxis.set_inverted(True)
    panels[0].set_ylabel("north [arcmin]")
    figure.legend(*panels[-1].get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=4)
    figure.savefig(picture)


def draw_report(picture):
    """Draw three epochs in F444W as the report does, before and after the correction."""
    exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS, filters=["F444W"], dithers=4)
    rng = np.random.default_rng(1)
    scene = simulate.scene_around(rng, exposures, simulate.Population(density=30.0, faintest=22.0))
    table = simulate.simulate_measurements(scene, exposures, rng, faintest=22.0, outlier_fraction=0.01)
    solution = fit(Measurements.from_table(table))
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    panels = figure.subplot_mosaic([["a", "b"], ["c", "d"]])
    plot_module_differences(solution, ax=panels["a"])
    plot_module_differences(solution, corrected=True, ax=panels["b"])
    plot_sky_map(solution, (0, 1), ax=panels["c"])
    plot_residual_map(solution, corrected=False, gridsize=16, ax=panels["d"])
    for letter, title in zip("abcd", ("before", "after", "epoch 1 \N{MINUS SIGN} epoch 0, before",
                                      "residuals before the correction"), strict=True):  # fmt: skip
        panels[letter].set_title(f"({letter}) {title}", fontsize=10)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
