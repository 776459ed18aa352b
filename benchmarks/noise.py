"""
Noise and sky apart: exposures of one sky whose noise is drawn again and again, measured and fitted; all truths are 0.

Run ``python benchmarks/noise.py FOLDER --design 3x1 --first 9500 --skies 14`` with the project installed. Each sky
takes 15 to 20 s of processor time, and each draw 4 to 6 s. FOLDER holds one exposure at a time.
"""

import argparse
import logging
import warnings
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from jwst_modfix import simulate
from jwst_modfix.derivation.bands import LEAST_ERROR, find_times
from jwst_modfix.fitting.checks import reserve_sources
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.solution import fit_quietly
from jwst_modfix.photometry.columns import combine_parts, select_measurements, to_flux, to_magnitudes
from jwst_modfix.photometry.forced import FAINTEST, default_aperture, measure_frame
from jwst_modfix.photometry.frames import Epochs, read_frame, read_header
from jwst_modfix.photometry.source_list import choose_exposures, detect, merge_detections
from jwst_modfix.simulate import CalibrationTruth, Effects, detector
from jwst_modfix.table.table import OffsetTable

NOTHING = CalibrationTruth(table=OffsetTable(rows=(), name="nothing"))
EPOCHS = simulate.JWIDF_EPOCHS
DESIGNS = {
    "2x2": (EPOCHS[:2], {"filters": ["F444W"], "dithers": 2}),  # epochs x dithers
    "3x1": (EPOCHS, {"filters": ["F444W"], "dithers": 1}),
    "sw": (EPOCHS[:2], {"filters": ["F200W"], "detectors": ["NRCA1", "NRCB1"], "dithers": 2}),
}


def main():
    """Print pulls of each kind of term."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for an exposure; made where it does not exist")
    parser.add_argument("--design", choices=DESIGNS, default="3x1", help="epochs x dithers in F444W; sw: F200W [3x1]")
    parser.add_argument("--first", type=int, default=0, help="seed of the first sky [0]")
    parser.add_argument("--skies", type=int, default=4, help="number of skies [4]")
    parser.add_argument("--draws", type=int, default=3, help="draws of the noise of each sky [3]")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    given.folder.mkdir(parents=True, exist_ok=True)
    epochs, options = DESIGNS[given.design]
    exposures, pulls = simulate.plan_exposures(epochs, **options), defaultdict(list)
    for sky in range(given.first, given.first + given.skies):
        frames = draw_frames(exposures, sky, given.folder)
        for draw in range(given.draws):
            rng = simulate.random_stream(sky, "noise", given.design, str(draw))
            solution = fit_quietly(measure([add_noise(*one, rng) for one in frames], exposures, rng), time_term="fit")
            for name in (name for name in solution.names if not name.startswith(("level", "exposure"))):
                value, error = solution.value(name)
                print(f"{sky} {draw} {name} {1e3 * value:+.2f} +- {1e3 * error:.2f}", flush=True)
                pulls[name.partition("[")[0]] += [value / error] if np.isfinite(value) else []
    for kind, values in pulls.items():
        width = np.sqrt(np.mean(np.square(values)))
        print(f"{kind}: {len(values)} values, mean {np.mean(values):+.2f}, width {width:.2f}")


def draw_frames(exposures, sky, folder):
    """Draw exposures without noise: each with its frame."""
    scene, found = simulate.scene_around(simulate.random_stream(sky, "noise", "sky"), exposures), []
    for exposure in exposures:
        path = folder / exposure.filename
        with simulate.simulate_exposure(exposure, scene, None, truth=NOTHING, effects=Effects(noise=False)) as model:
            model.save(path)
        found.append((exposure, read_frame(read_header(path))))
        path.unlink()
    return found


def add_noise(exposure, frame, rng):
    """Draw the pixels of a frame again, as the detector does."""
    pixels = detector.detect(np.where(frame.bad, 0.0, frame.data), exposure, rng, Effects(), detector.WHOLE)
    return replace(frame, data=np.where(frame.bad, np.nan, pixels["data"]).astype(np.float32))


def measure(frames, exposures, rng):
    """Find, measure and select sources, as a derivation does, and reserve a fifth."""
    chosen = {header.name for header in choose_exposures([frame.header for frame in frames])}
    detections = [detect(frame, faintest=FAINTEST) for frame in frames if frame.header.name in chosen]
    sources = merge_detections(detections)
    sources, parts = sources[sources.flux >= to_flux(FAINTEST)], []
    for number, frame in enumerate(frames):
        part = measure_frame(frame, sources, default_aperture(frame.header.channel))
        mine = sources[part["source"]]
        part |= {"RA": mine.ra, "Dec": mine.dec, "isolation": mine.isolation}
        part |= {"exposure": np.full(len(mine), number), "source_mag": to_magnitudes(mine.flux, mine.flux)[0]}
        parts.append(part)
    skies, shifts = ([part.pop(name) for part in parts] for name in ("level", "shift"))
    names = list(dict.fromkeys(exposure.epoch.name for exposure in exposures))
    epochs = Epochs(np.array([names.index(exposure.epoch.name) for exposure in exposures]), tuple(names))
    photometry = combine_parts(parts, [frame.header for frame in frames], epochs, skies, shifts)
    table = photometry.measurements[select_measurements(photometry.measurements).mask]
    band = {name: str(table[name][0]) for name in ("filter", "pupil")}
    m = Measurements.from_table(table, **band, least_error=LEAST_ERROR)
    return reserve_sources(replace(m, time=find_times(photometry.exposures, m.exposure)), rng)


if __name__ == "__main__":
    main()
