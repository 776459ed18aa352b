"""
Simulate two epochs of NIRCam images whose modules disagree, correct them, and measure A - B in the images.

Run as ``python examples/two_epochs FOLDER``; ``make demo`` does. The modules swap places between the epochs. The
table that corrects is never looked at by the measurement.
"""

import argparse
import shutil
import time
from pathlib import Path

import matplotlib as mpl
import yaml
from commands import correct, simulate
from comparison import compare_modules, fit_comparison
from pictures import draw_comparison

_ARRAYS = {"F200W": ("1", "2", "3", "4"), "F444W": ("long",)}
_SUFFIXES = {"before": "cal", "after": "modfix"}
_SIGNIFICANT = 3.0  # sigma


def main():
    """
    Run the demonstration.

    Returns
    -------
    int
        0 where A - B is zero within its errors after the correction, for every array; else 1.
    """
    start = time.monotonic()
    mpl.use("Agg")
    arguments = _read_arguments()
    folder = Path(arguments.folder).absolute()
    results, truths = {}, {}
    for band in _ARRAYS:
        _prepare(folder / band, band, arguments.seed)
        results |= _measure(folder / band, band)
        truths |= _read_truth(folder / band)
        if band != "F444W" and not arguments.keep:
            shutil.rmtree(folder / band)  # 4 GB; the long-wavelength exposures stay, to look at
    picture = folder / "modfix_demo.png"
    exposures = {state: _exposures(folder / "F444W", "long", suffix) for state, suffix in _SUFFIXES.items()}
    draw_comparison(picture, results, exposures, truths)
    passed = _report(results, truths)
    took = f"{time.monotonic() - start:.0f} s"
    _say(f"Wrote {picture.name} and the exposures in F444W, after {took}, to {arguments.folder}")
    return 0 if passed else 1


def _read_arguments():
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("folder", help="where to write; made where it does not exist")
    parser.add_argument("--seed", default="2023", help="seed of sources and noise [%(default)s]")
    parser.add_argument("--keep", action="store_true", help="keep the short-wavelength exposures, 4 GB, as well")
    return parser.parse_args()


def _prepare(folder, band, seed):
    """Simulate a band, and correct it as a user would."""
    _say(f"Simulating two epochs in {band}, arrays {', '.join(_ARRAYS[band])} of both modules ...")
    simulate(folder, "--epochs", "2", "--dithers", "1", "--filter", band, "--seed", seed)
    association = f"demo_{band}_image3_asn.json"
    _say(f"Correcting: strun modfix.cfg {association}")
    correct(folder, association)


def _measure(folder, band):
    _say(f"Measuring A - B in {band}, before and after ...")
    return {
        (state, array, band): fit_comparison(
            compare_modules(_exposures(folder, array, suffix)), with_slope=array == "long"
        )
        for array in _ARRAYS[band]
        for state, suffix in _SUFFIXES.items()
    }


def _exposures(folder, array, suffix):
    """Files of an array ID by epoch and module."""
    return {
        (epoch, module): folder / f"jw02738{epoch:03d}001_02101_00001_nrc{module.lower()}{array}_{suffix}.fits"
        for epoch in (1, 2)
        for module in "AB"
    }


def _read_truth(folder):
    """Delta_AB and k that the simulation put in, by array and filter."""
    rows = yaml.safe_load((folder / "demo_truth.yaml").read_text())["table"]["rows"]
    return {(row["array"], row["filter"]): (row["offset"], row.get("slope")) for row in rows}


def _report(results, truths):
    """Print the table; tell whether every number is zero within its error after the correction."""
    _say("\nA - B from aperture photometry of the same sources in both modules:")
    _say("offsets [mmag], slopes [mmag/arcmin], sigmas of what the correction leaves\n")
    _say(f"{'array':6}{'filter':7}{'':7}{'injected':>8}{'before':>15}{'after':>15}{'sources':>8}{'sigmas':>7}  left")
    passed = []
    for array, band in dict.fromkeys(key[1:] for key in results):
        before, after = (results[state, array, band] for state in _SUFFIXES)
        quantities = {"offset": (before.offset, after.offset)}
        if after.slope:
            quantities["slope"] = (before.slope, after.slope)
        for (name, pair), truth in zip(quantities.items(), truths[array, band], strict=False):
            ok = abs(pair[1].sigmas) < _SIGNIFICANT
            passed.append(ok)
            numbers = "".join(f"{1e3 * x.value:+z8.2f} ±{1e3 * x.error:5.2f}" for x in pair)
            used, sigmas = after.sources["used"].sum(), pair[1].sigmas
            verdict = "zero" if ok else "NOT ZERO"
            _say(f"{array:6}{band:7}{name:7}{1e3 * truth:+z8.2f}{numbers}{used:8d}{sigmas:+z7.1f}  {verdict}")
    _say(f"\n{sum(passed)} of {len(passed)} are zero after the correction, within {_SIGNIFICANT:g} sigma.")
    return all(passed)


def _say(text):
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
