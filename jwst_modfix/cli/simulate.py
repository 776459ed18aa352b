"""``modfix simulate``: exposures with a known error of the calibration."""

import contextlib
import logging
import math
from datetime import date, timedelta

import click

from jwst_modfix.cli.options import Command, Finite, Text, chosen
from jwst_modfix.table.table import ARRAYS, FRAMES, Gradient, OffsetRow, OffsetTable
from jwst_modfix.text import count_nouns, log


def _read_band(text):
    from jwst_modfix.simulate import BANDS

    if text.upper() not in BANDS:
        raise ValueError(f"must be one of {', '.join(BANDS)}")
    return text.upper()


def _read_date(text):
    from astropy.time import Time

    try:
        return Time(text).isot
    except ValueError:
        raise ValueError("must be a date such as 2023-01-06 or 2023-01-06T12:00:00") from None


def _read_offset(text):
    from jwst_modfix.simulate import Band

    rule = f"must be ARRAY:FILTER:MAG[:SLOPE], such as long:F444W:-0.0165:0.0043, with an array of {', '.join(ARRAYS)}"
    (array, name), (offset, *slope) = _split(text, rule, 2, (3, 4), ARRAYS)
    band = Band.named(_read_band(name))
    known = {"slope": slope[0], "slope_error": 0.0} if slope else {}
    return OffsetRow(array=array, filter=band.filter, pupil=band.pupil, offset=offset, offset_error=0.0, **known)


def _read_gradient(text):
    rule = f"must be FRAME:DIRECTION:X:Y:SHARE, with a frame of {', '.join(FRAMES)}"
    (frame,), (direction, x, y, share) = _split(text, rule, 1, (5,), FRAMES)
    return Gradient(frame=frame, direction=direction, origin=(x, y), exposure_share=share)


def _read_epoch_term(text):
    rule = "must be EPOCH[:FILTER]:MAG, such as ep2:F444W:0.01"
    (epoch, *name), (term,) = _split(text, rule, -1, (2, 3))
    if not math.isfinite(term):
        raise ValueError(rule)
    return (epoch, _read_band(name[0])) if name else epoch, term


def _read_finite(text):
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)):
            return number
    raise ValueError("must be a finite number")


def _split(text, rule, names, sizes, choices=None):
    """Split text into a number of names, the first of which has choices, and numbers."""
    parts = text.split(":")
    with contextlib.suppress(ValueError):
        if len(parts) in sizes and (not choices or parts[0] in choices):
            return parts[:names], [float(part) for part in parts[names:]]
    raise ValueError(rule)


def _read_subarray(text):
    from jwst_modfix.simulate import Subarray

    if "," not in text:
        return text
    parts = text.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError("must be the name of a subarray, or XSTART,YSTART,XSIZE,YSIZE in whole pixels")
    return Subarray(**dict(zip(("xstart", "ystart", "xsize", "ysize"), map(int, parts), strict=True)))


_FRACTION = Finite(0, 1)
_POSITIVE = Finite(0, min_open=True)


@click.command("simulate", cls=Command)
@click.argument("output", metavar="OUT")
@click.option("--field", default="field", help="Name of the field, for names of files.")
@click.option("--seed", type=click.IntRange(0), default=1, help="With the field: sources and noise.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--epochs", type=click.IntRange(1, 1000), help="Number of epochs, half a year apart.  [default: 3]")
@click.option("--date", "dates", type=Text(_read_date), multiple=True, metavar="DATE ...", help="Start of each epoch.")
@click.option("--roll", "rolls", type=Text(_read_finite), multiple=True, metavar="DEG ...",
              help="Position angle of V3 in each epoch.  [default: 161, 341, 161, ...]")  # fmt: skip
@click.option("--ra", type=Finite(0, 360), default=265.035, help="Centre of the field.")
@click.option("--dec", type=Finite(-90, 90), default=68.974, help="Centre of the field.")
@click.option("--filter", "filters", type=Text(_read_band), multiple=True, metavar="FILTER ...",
              default=["F150W", "F200W", "F356W", "F444W"], help="F405N and its like by their own names.")  # fmt: skip
@click.option("--array", "arrays", multiple=True, metavar="ARRAY ...",
              help="1 to 4 or long, of both modules, or a detector such as nrca1.  [default: all]")  # fmt: skip
@click.option("--dithers", type=click.IntRange(1), default=6, help="Exposures per epoch and filter.")
@click.option("--exposure-time", type=Finite(1), default=526.1, help="Of each [s].")
@click.option(
    "--subarray", type=Text(_read_subarray), help="Such as SUB640, or XSTART,YSTART,XSIZE,YSIZE.  [default: FULL]"
)
@click.option("--context", default="jwst_1130.pmap", help="CRDS context to write in the files.")
@click.option("--density", type=_POSITIVE, default=20.0, help="Sources to 22 AB per arcmin^2.")
@click.option("--faintest", type=Text(_read_finite), metavar="FLOAT", default=25.5, help="Faintest sources [AB].")
@click.option("--star-fraction", type=_FRACTION, default=0.25, help="Of the sources.")
@click.option("--variable-fraction", type=_FRACTION, default=0.03, help="Of the sources.")
@click.option("--variable-amplitude", type=Finite(0), default=0.2, help="Rms [mag].")
@click.option("--table", metavar="TABLE", help="Table of offsets.  [default: packaged]")
@click.option("--offset", "offsets", type=Text(_read_offset), multiple=True, metavar="ARRAY:FILTER:MAG[:SLOPE] ...",
              help="Delta_AB [mag] and k [mag/arcmin] of an array, instead of a table.")  # fmt: skip
@click.option("--gradient", type=Text(_read_gradient), metavar="FRAME:DIRECTION:X:Y:SHARE",
              help="For --offset: frame (focal_plane, detector or sky), direction [deg], origin, share of an exposure. "
              " [default: that of the packaged table]")  # fmt: skip
@click.option("--no-offsets", is_flag=True, help="A perfect calibration, except for --epoch-term.")
@click.option("--epoch-term", "terms", type=Text(_read_epoch_term), multiple=True, metavar="EPOCH[:FILTER]:MAG ...",
              help="Term t of an epoch, ep1, ep2, ..., in one filter or in all.")  # fmt: skip
@chosen("--psf", "gaussian diffraction", "Round Gaussians, or the pupil of the telescope with wavefront errors.")
@click.option("--wavefront", type=Finite(0), nargs=2, metavar="A B",
              help="With --psf diffraction: wavefront errors of the modules [nm rms].  [default: 60 80]")  # fmt: skip
@click.option("--noise/--no-noise", default=True, help="Poisson, read and flat-field noise.")
@click.option("--sky/--no-sky", default=True, help="Surface brightness of the sky.")
@click.option("--bad-pixels/--no-bad-pixels", default=True, help="Dead, hot and reference pixels.")
@click.option("--saturation/--no-saturation", default=True, help="Of bright cores.")
@click.option("--cosmic-rays", type=click.IntRange(0), default=0, help="Unflagged, per exposure.")
def simulate_command(output, quiet, field, seed, context, subarray, psf, wavefront, **given):  # numpydoc ignore=PR01
    """Simulate multi-epoch NIRCam exposures with a known error of the calibration.

    Writes calibrated exposures (_cal.fits), level-3 associations for calwebb_image3, the catalogue of true sources
    (FIELD_sources.ecsv) and the injected error with the epochs and pointings (FIELD_truth.yaml). Options with
    "..." may be repeated. Needs the extra 'sim' (pysiaf).

    For example:
      modfix simulate data --filter F444W                 the JWIDF's three epochs, Table 2; 36 exposures, 4 GB
      modfix simulate data --filter F444W --table my_moduleoffset.asdf
      modfix simulate data --filter F150W --array 2 --offset 2:F150W:0.05 --no-noise --no-bad-pixels
      modfix simulate data --filter F200W --dithers 1 --epoch-term ep2:0.01
          --date 2023-01-06 --roll 30 --date 2023-04-10 --roll 95
    """
    from jwst_modfix import simulate  # late: imports jwst

    def options(*names):
        return {name: given[name] for name in names}

    epochs = _plan_epochs(**options("epochs", "dates", "rolls", "ra", "dec"))
    exposures = _plan_exposures(epochs, **options("filters", "arrays", "dithers"), duration=given["exposure_time"])
    for exposure in exposures if isinstance(subarray, str) else ():
        simulate.named_subarray(subarray, exposure.geometry.detector)
    if wavefront and psf != "diffraction":
        raise click.UsageError("--wavefront: only together with --psf diffraction")
    rms = dict(zip("AB", wavefront or (60.0, 80.0), strict=True))
    rng = simulate.random_stream(seed, field, "wavefronts")
    table = _choose_table(given["table"], given["offsets"], given["gradient"], given["no_offsets"])
    _check_terms(given["terms"], epochs, given["filters"])
    kinds = options("density", "faintest", "star_fraction", "variable_fraction", "variable_amplitude")
    effects = options("noise", "sky", "bad_pixels", "saturation", "cosmic_rays")
    with contextlib.nullcontext() if quiet else _progress():
        data = simulate.simulate_dataset(
            output,
            exposures,
            seed,
            field=field,
            population=simulate.Population(**kinds),
            truth=simulate.CalibrationTruth(table=table, epoch_terms=dict(given["terms"])),
            effects=simulate.Effects(**effects),
            context=context,
            subarray=subarray,
            wavefronts=simulate.Wavefronts.draw(rng, rms) if psf == "diffraction" else None,
        )
    if not quiet:
        counts = count_nouns(len(data.exposures), "exposure"), count_nouns(len(data.associations), "association")
        names = f"{data.truth.name} and {data.sources.name}"
        click.echo(f"wrote {' and '.join(counts)} in {output}; the truth is in {names}")


def _plan_epochs(epochs, dates, rolls, ra, dec):
    from jwst_modfix.simulate import Epoch

    if epochs and dates:
        raise click.UsageError("--epochs: not together with --date")
    if not dates:  # half a year apart
        dates = [(date(2022, 7, 8) + i * timedelta(days=182)).isoformat() for i in range(epochs or 3)]
    rolls = rolls or [(161.0, 341.0)[i % 2] for i in range(len(dates))]
    if len(rolls) != len(dates):
        _refuse("--roll", f"one angle for each of the {len(dates)} epochs", len(rolls))
    pairs = enumerate(zip(dates, rolls, strict=True), 1)
    return [Epoch(name=f"ep{number}", date=start, roll=roll, ra=ra, dec=dec) for number, (start, roll) in pairs]


def _refuse(option, rule, found):
    raise click.BadParameter(f"{rule}; got {found}", param_hint=option)


def _plan_exposures(epochs, filters, arrays, dithers, duration):
    from jwst_modfix.simulate import DETECTORS, plan_exposures

    named = [{name.lower(), name[4:].lower()} for name in DETECTORS]  # by its name, or by the array of both modules
    chosen = [name for name, names in zip(DETECTORS, named, strict=True) if names & {a.lower() for a in arrays}]
    if unknown := {array.lower() for array in arrays}.difference(*named):
        rule = f"of 1, 2, 3, 4, long and {', '.join(DETECTORS).lower()}"
        _refuse("--array", rule, " ".join(sorted(unknown)))
    planned = plan_exposures(epochs, filters=filters, detectors=chosen or None, dithers=dithers, duration=duration)
    if not planned:
        rule = f"at least one that sees {' '.join(filters)} (1 to 4 are short-wavelength, long is long-wavelength)"
        _refuse("--array", rule, " ".join(arrays))
    return planned


def _choose_table(name, offsets, gradient, no_offsets):
    from jwst_modfix.simulate import MA2023_TABLE

    sources = {"--table": name, "--offset": offsets, "--no-offsets": no_offsets}
    given = [option for option, value in sources.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"{given[1]}: not together with {given[0]}")
    if gradient and not offsets:
        raise click.UsageError("--gradient: only together with --offset")
    if offsets:
        return OffsetTable(rows=offsets, gradient=gradient or MA2023_TABLE.gradient, name="--offset")
    if no_offsets:
        return OffsetTable(rows=(), name="--no-offsets")
    return OffsetTable.read(name) if name else MA2023_TABLE


def _check_terms(terms, epochs, filters):
    names = [epoch.name for epoch in epochs]
    for key, _ in terms:
        epoch, *band = key if isinstance(key, tuple) else (key,)
        if epoch not in names:
            _refuse("--epoch-term", f"an epoch of {', '.join(names)}", epoch)
        if not set(band) <= set(filters):
            _refuse("--epoch-term", f"a filter of {', '.join(filters)}", band[0])


@contextlib.contextmanager
def _progress():
    """Print a line for each exposure that is written."""
    handler, level = logging.StreamHandler(), log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
