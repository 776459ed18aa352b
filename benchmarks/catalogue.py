"""
Cost of the derivation step on a catalogue of 1.1 million measurements in 144 exposures: processor time and peak memory.

Run ``python benchmarks/catalogue.py FOLDER`` with the project installed. Exposures have the geometry and headers of
simulated ones, and pixels of 0, which the step does not read: their magnitudes are those of a catalogue (FITS).
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from astropy.table import Table
from scale import watch

from jwst_modfix import simulate
from jwst_modfix.simulate.dataset import DEFAULT_CONTEXT
from jwst_modfix.simulate.detector import WHOLE
from jwst_modfix.simulate.header import exposure_metadata
from jwst_modfix.simulate.optics import assign_wcs

ROOT = Path(__file__).parents[1]
DETECTORS = [f"NRC{module}{number}" for module in "AB" for number in range(1, 5)]


def main():
    """Make the exposures and the catalogue, unless they are there; run the step, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for the exposures (2.5 GB); made where it does not exist")
    parser.add_argument("--density", type=float, default=7100.0, help="sources per square arcmin [7100]")
    parser.add_argument("options", nargs="*", help="parameters of the step, such as scale=detectors")
    given = parser.parse_args()
    if not (given.folder / "all_asn.json").exists():
        print(f"{make_set(given.folder, given.density)} measurements")
    out = given.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    command = [Path(sys.executable).with_name("strun"), ROOT / "jwst_modfix/config/modfix_derive.cfg"]
    command += [given.folder / "all_asn.json", "--photometry=catalog", f"--catalogs={given.folder / 'all.fits'},"]
    command += [f"--output_dir={out}", *(f"--{option}" for option in given.options)]
    start = time.perf_counter()
    with (given.folder / "log").open("w") as log:
        process = psutil.Popen([*map(str, command)], stdout=log, stderr=log)
        peak, cpu = watch(process)
    if process.returncode:
        sys.exit((given.folder / "log").read_text()[-3000:])
    print(f"wall {time.perf_counter() - start:.1f} s, processor {cpu:.1f} s, peak {peak:.2f} GiB")


def make_set(folder, density):
    """Write exposures, their association and the catalogue; return the number of measurements."""
    from stdatamodels.jwst.datamodels import ImageModel

    folder.mkdir(parents=True, exist_ok=True)
    exposures = simulate.plan_exposures(simulate.JWIDF_EPOCHS, filters=["F200W"], detectors=DETECTORS, dithers=6)
    rng = np.random.default_rng(1)
    population = simulate.Population(density=density, faintest=22.0)
    scene = simulate.scene_around(rng, exposures, population)
    drawn = simulate.simulate_measurements(scene, exposures, rng, faintest=22.0, scatter=0.003, outlier_fraction=0.01)
    names = np.array([exposure.filename for exposure in exposures])
    table = Table({name: drawn[name] for name in ("source", "x", "y", "mag")})
    table["mag_error"], table["exposure"] = drawn["mag_err"], names[np.asarray(drawn["exposure"])]
    table.write(folder / "all.fits", overwrite=True)
    for exposure in exposures:
        model = ImageModel(data=np.zeros((2048, 2048), np.float32))
        model.update({"meta": exposure_metadata(exposure, DEFAULT_CONTEXT, WHOLE)})
        assign_wcs(model, exposure.geometry)
        model.save(folder / exposure.filename)
    members = [{"expname": name, "exptype": "science"} for name in names.tolist()]
    content = {"asn_type": "image3", "asn_rule": "candidate", "program": "1"}
    content["products"] = [{"name": "all", "members": members}]
    (folder / "all_asn.json").write_text(json.dumps(content))
    return len(table)


if __name__ == "__main__":
    main()
