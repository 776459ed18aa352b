"""
Draw Table 2 of Ma et al. (2023) against the change of PHOTMJSR from 2023 to 2026, from docs/data.

Run as ``python docs/figures/photmjsr_change.py PICTURE.svg``; the build of the documentation calls `draw`. The change
is that of `modfix rebase`: new offset minus old.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from jwst_modfix.table.rebase import read_values, rebase_table
from jwst_modfix.table.table import OffsetTable

VALUES = Path(__file__).resolve().parents[1] / "data" / "photmjsr_2023_2026.csv"
COLOURS = {"F150W": "#1f77b4", "F200W": "#d95f02"}
LIMIT = 65  # mmag


def draw(picture):
    """Draw offsets before and after against the change of PHOTMJSR."""
    rows = rebase_table(OffsetTable.read("packaged"), *read_values(VALUES), drop_missing=True).changes
    figure = Figure(figsize=(9, 4), layout="constrained")
    change, left = figure.subplots(1, 2)
    for name, colour in COLOURS.items():
        mine = [row for row in rows if row.after.filter == name]
        old, new, error = (
            1e3 * np.array([(row.before.offset, row.after.offset, row.before.offset_error) for row in mine]).T
        )
        change.errorbar(old, new - old, xerr=error, fmt="o", color=colour, label=name)
        for row, x, y in zip(mine, old, new - old, strict=True):
            change.annotate(row.after.array, (x, y), (5, 4), textcoords="offset points", color=colour)
        places = np.arange(len(mine)) + (0.12 if name == "F200W" else -0.12)
        left.errorbar(places, old, error, fmt="o", mfc="white", color=colour, label=f"{name}, Table 2")
        left.errorbar(places, new, error, fmt="o", color=colour, label=f"{name}, what is left")
    change.plot([-LIMIT, LIMIT], [LIMIT, -LIMIT], color="0.6", lw=1, label="the offset, taken out")
    limits, minus = (-LIMIT, LIMIT), "\N{MINUS SIGN}"
    change.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"offset A {minus} B, Table 2 [mmag]",
               ylabel="change by the photom files of 2026 [mmag]")  # fmt: skip
    left.axhline(0, color="0.6", lw=1)
    left.set(xticks=range(4), xticklabels="1234", ylim=limits, xlabel="array", ylabel=f"offset A {minus} B [mmag]")
    for axes in (change, left):
        axes.legend(fontsize=8)
    figure.savefig(picture)


if __name__ == "__main__":
    draw(sys.argv[1])
