"""
A table of your own
===================

The packaged table is valid for one calibration. From exposures that overlap on the sky you can derive a table for
yours, with errors, and learn whether a correction is needed. This tutorial simulates exposures with a known offset and
gradient, and derives them again.
"""

# %%
# Exposures
# ---------
#
# Two epochs with two dithers in F444W. The simulated offset is -20 mmag, the slope +6 mmag/arcmin. All detectors change
# by +7 mmag in the second epoch, which must not be interpreted as an offset. For your own exposures, make the
# association with ``modfix group``.
import tempfile
from pathlib import Path

from jwst_modfix.cli import main as modfix

folder = Path(tempfile.mkdtemp())
data, derived = folder / "data", folder / "derived"
options = "--field demo --filter F444W --epochs 2 --dithers 2 --seed 8 --quiet"
truth = "--offset long:F444W:-0.020:0.006 --epoch-term ep2:0.007"
modfix(["simulate", str(data), *options.split(), *truth.split()], standalone_mode=False)

# %%
# The derivation
# --------------
#
# On the command line: ``strun module_offset_derive data/demo_image3_asn.json --output_dir=derived``. Sources are
# detected once and measured in every exposure that covers them. Offsets, gradient and epoch terms are fitted together
# by a robust method.
from jwst_modfix import ModuleOffsetDeriveStep

model = ModuleOffsetDeriveStep.call(
    str(data / "demo_image3_asn.json"), save_results=True, output_dir=str(derived), configure_log=False
)
row = model.table.row("long", "F444W")
print(f"offset {1e3 * row.offset:+.2f} ± {1e3 * row.offset_error:.2f} mmag, simulated -20")
print(f"slope  {1e3 * row.slope:+.2f} ± {1e3 * row.slope_error:.2f} mmag/arcmin, simulated +6")
print(*sorted(path.name for path in derived.iterdir() if path.suffix not in (".png", ".pdf")), sep="\n")

# %%
# The report
# ----------
#
# ``demo_modfix_report.html`` contains all results in one page. These are two of its figures: before and after, with
# bands of 0.05 and 0.02 mag shaded (Fig. 8 of Ma et al. 2023), and the gradient along the field.
import matplotlib.pyplot as plt

for name in ("before_after", "gradient_long"):
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    axes.imshow(plt.imread(next(derived.glob(f"*{name}*.png"))))
    axes.set_axis_off()
plt.show()

# %%
# The measurements
# ----------------
#
# The table of measurements has one row for each measurement, with units and quality flags.
from astropy.table import Table

measured = Table.read(next(derived.glob("*_measurements.ecsv")))
print(measured["source", "exposure", "module", "mag", "mag_error", "used", "reason", "residual"][:5])
print(f"{measured['selected'].sum()} of {len(measured)} measurements were fitted or reserved for validation")

# %%
# Edit a coefficient
# ------------------
#
# The reference file is text. A mistake in it is an error that names the file, the row and the field.
path = derived / "demo_moduleoffset.asdf"
text = path.read_text()
print(text[text.index("\noffsets:") :][:400])

# %%
# For example a decimal comma, which a YAML parser reads as text:
from jwst_modfix import ModuleOffsetError, ModuleOffsetModel

spoilt = folder / "spoilt.asdf"
spoilt.write_text(text.replace("offset: -0.0", "offset: -0,0", 1))
try:
    ModuleOffsetModel(spoilt)
except ModuleOffsetError as error:
    print(error)

# %%
# Use it, and derive again
# ------------------------
#
# After the correction by this table, a derivation must find that no correction is needed.
from jwst_modfix import ModuleOffsetStep

corrected = folder / "corrected"
ModuleOffsetStep.call(
    str(data / "demo_image3_asn.json"), override_moduleoffset=str(path), save_results=True,
    output_dir=str(corrected), configure_log=False,
)  # fmt: skip
association = str(next(corrected.glob("*_modfix_asn.json")))
again = ModuleOffsetDeriveStep.call(association, time_term="fit", configure_log=False)
for result in again.meta.derivation.instance["bands"][0]["results"]:
    print(f"array {result['array']}: correction {result['verdict']}: {result['words']}")
