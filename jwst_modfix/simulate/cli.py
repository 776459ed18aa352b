"""The command line: ``python -m jwst_modfix.simulate OUT``."""

import argparse
import logging
import sys

import numpy as np

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.simulate import arguments as readers
from jwst_modfix.simulate.arguments import read_request
from jwst_modfix.simulate.dataset import simulate_dataset

__all__ = ["main", "make_parser"]

_DESCRIPTION = """\
Simulate multi-epoch NIRCam exposures whose flux calibration is wrong in a known way.

Writes calibrated exposures (_cal.fits), level-3 associations for calwebb_image3, the catalogue of true
sources (<field>_sources.ecsv) and the injected error with the epochs and pointings (<field>_truth.yaml).
"""

_EXAMPLES = """\
examples:
  The JWIDF's three epochs in F444W, with the offsets of Ma et al. (2023, Table 2); 36 exposures, 4 GB:
    python -m jwst_modfix.simulate data --filters F444W

  Two epochs, one exposure each, at roll angles that are not 180 deg apart, with a term of the second epoch:
    python -m jwst_modfix.simulate data --epochs 2023-01-06 2023-04-10 --roll 30 95 --dithers 1 \\
        --filters F200W --epoch-term ep2:0.01

  A perfect calibration but for array 2, with no noise and no bad pixels:
    python -m jwst_modfix.simulate data --filters F150W --arrays 2 --offset 2:F150W:0.05 \\
        --no-noise --no-bad-pixels

  Offsets, slopes and their gradient from a module-offset reference file:
    python -m jwst_modfix.simulate data --table my_offsets.asdf
"""


def make_parser():
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m jwst_modfix.simulate",
        usage="%(prog)s OUT [options]",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", metavar="OUT", help="directory to write to; made where it does not exist")
    parser.add_argument("--field", default="field", help="name of the field, for names of files [%(default)s]")
    parser.add_argument("--seed", type=readers.whole(0), default=1, help="seed of sources and noise [%(default)s]")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    _add_observations(parser.add_argument_group("observations"))
    _add_sources(parser.add_argument_group("sources"))
    _add_calibration(parser.add_argument_group("error of the calibration"))
    _add_effects(parser.add_argument_group("effects"))
    return parser


def _add_observations(group):
    add = group.add_argument
    add("--epochs", nargs="+", default=["3"], metavar="N|DATE", help="number of epochs, or their dates [3]")
    add("--roll", nargs="+", type=float, metavar="DEG", help="PA of V3 of each epoch [161, 341, 161, ...]")
    add("--ra", type=float, default=265.035, help="centre of the field [%(default)s deg]")
    add("--dec", type=readers.number(-90, 90), default=68.974, help="centre of the field [%(default)s deg]")
    add(
        "--filters",
        nargs="+",
        type=readers.band,
        default=["F150W", "F200W", "F356W", "F444W"],
        help="bands; F405N and its like by their own names [F150W F200W F356W F444W]",
    )
    add("--arrays", nargs="+", help="1 to 4 or long, of both modules, or detectors such as nrca1 [all]")
    add("--dithers", type=readers.whole(1), default=6, help="exposures per epoch and filter [%(default)s]")
    add("--exposure-time", type=readers.number(1), default=526.1, help="of each [%(default)s s]")
    add("--subarray", help="keep this part of each detector: SUB640, or XSTART,YSTART,XSIZE,YSIZE [FULL]")
    add("--context", default="jwst_1130.pmap", help="CRDS context to write in the files [%(default)s]")


def _add_sources(group):
    add = group.add_argument
    add("--density", type=readers.number(0), default=20.0, help="per arcmin^2, to 22 AB [%(default)s]")
    add("--faintest", type=float, default=25.5, help="faintest sources [%(default)s AB]")
    fraction = readers.number(0, 1)
    add("--star-fraction", type=fraction, default=0.25, help="of the sources [%(default)s]")
    add("--variable-fraction", type=fraction, default=0.03, help="of the sources [%(default)s]")
    add("--variable-amplitude", type=readers.number(0), default=0.2, help="rms [%(default)s mag]")


def _add_calibration(group):
    add = group.add_argument
    add("--table", metavar="FILE.asdf", help="module-offset reference file [Table 2 of Ma et al. 2023]")
    add(
        "--offset",
        action="append",
        type=readers.offset,
        metavar="ARRAY:FILTER:MAG[:SLOPE]",
        help="Delta_AB [mag] and k [mag/arcmin] of an array ID, instead of a table; may be repeated",
    )
    add(
        "--gradient",
        type=readers.gradient,
        metavar="FRAME:DIRECTION:X:Y:SHARE",
        help="frame (focal_plane, detector or sky), direction [deg], origin and share of an exposure, for "
        "--offset [focal_plane:90:-1.738131:-492.431332:0.5]",
    )
    add("--no-offsets", action="store_true", help="a perfect calibration, but for --epoch-term")
    add(
        "--epoch-term",
        action="append",
        type=readers.epoch_term,
        default=[],
        metavar="EPOCH[:FILTER]:MAG",
        help="term t of an epoch, ep1, ep2, ..., in one filter or in all; may be repeated",
    )


def _add_effects(group):
    for name in ("noise", "sky", "bad-pixels", "saturation"):
        group.add_argument(f"--no-{name}", action="store_true", help=f"leave {name.replace('-', ' ')} out")
    group.add_argument(
        "--cosmic-rays", type=readers.whole(0), default=0, help="unflagged hits per exposure [%(default)s]"
    )


def main(argv=None):
    """Run the command line."""
    parser = make_parser()
    given = parser.parse_args(argv)
    _configure_logging(given.quiet)
    try:
        request = read_request(given)
        _run(given, request)
    except ModuleOffsetError as error:
        parser.error(str(error))
    return 0


def _run(given, request):
    dataset = simulate_dataset(
        given.output,
        request.exposures,
        np.random.default_rng(given.seed),
        field=given.field,
        population=request.population,
        truth=request.truth,
        effects=request.effects,
        context=given.context,
        subarray=request.subarray,
    )
    log = logging.getLogger("jwst_modfix.simulate")
    log.info(
        "Simulated %d exposures and %d associations in %s; the truth is in %s and %s",
        len(dataset.exposures),
        len(dataset.associations),
        given.output,
        dataset.truth.name,
        dataset.sources.name,
    )


def _configure_logging(quiet):
    """Send this package's messages to standard error, and no other package's."""
    log = logging.getLogger("jwst_modfix.simulate")
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    if not log.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        log.addHandler(handler)
