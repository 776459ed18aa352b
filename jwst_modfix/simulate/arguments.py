"""The command line's arguments, read and checked."""

import argparse
from dataclasses import dataclass

from astropy.time import Time, TimeDelta

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.simulate.detector import Effects, Subarray, named_subarray
from jwst_modfix.simulate.filters import BANDS, Band
from jwst_modfix.simulate.observation import Epoch, Exposure, plan_exposures
from jwst_modfix.simulate.optics import DETECTORS
from jwst_modfix.simulate.scene import Population
from jwst_modfix.simulate.truth import MA2023_TABLE, CalibrationTruth
from jwst_modfix.table.file import locate_table
from jwst_modfix.table.table import ARRAYS, FRAMES, Gradient, OffsetRow, OffsetTable

__all__ = ["ArgumentError", "Request", "band", "epoch_term", "gradient", "number", "offset", "read_request", "whole"]


def number(least, most=float("inf")):
    """Make a reader of numbers in a range."""

    def read(text):
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            rule = f"at least {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
            raise argparse.ArgumentTypeError(f"a number, {rule}; got {text!r}")
        return value

    return read


def whole(least):
    """Make a reader of whole numbers."""

    def read(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number, at least {least}; got {text!r}")
        return int(text)

    return read


def band(text):
    """Read the name of a band."""
    if text.upper() not in BANDS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(BANDS)}; got {text!r}")
    return text.upper()


def offset(text):
    """Read the offset of an array ID through a band."""
    rule = "ARRAY:FILTER:MAG[:SLOPE], such as long:F444W:-0.0165:0.0043"
    array, name, *values = _split(text, rule, 3, 4)
    if array not in ARRAYS:
        raise argparse.ArgumentTypeError(f"{rule}, with an array of {', '.join(ARRAYS)}; got {text!r}")
    where, values = Band.named(band(name)), _floats(values, text, rule)
    slope = {"slope": values[1], "slope_error": 0.0} if len(values) == 2 else {}
    return OffsetRow(array=array, filter=where.filter, pupil=where.pupil, offset=values[0], offset_error=0.0, **slope)


def gradient(text):
    """Read the frame, direction, origin and share of a gradient."""
    rule = f"FRAME:DIRECTION:X:Y:SHARE, with a frame of {', '.join(FRAMES)}"
    frame, *rest = _split(text, rule, 5, 5)
    direction, x, y, share = _floats(rest, text, rule)
    if frame not in FRAMES:
        raise argparse.ArgumentTypeError(f"{rule}; got {text!r}")
    return Gradient(frame=frame, direction=direction, origin=(x, y), exposure_share=share)


def epoch_term(text):
    """Read the term of an epoch."""
    rule = "EPOCH[:FILTER]:MAG, such as ep2:F444W:0.01"
    epoch, *name, term = _split(text, rule, 2, 3)
    return (epoch, band(name[0])) if name else epoch, _floats([term], text, rule)[0]


def _split(text, rule, least, most):
    parts = text.split(":")
    if not least <= len(parts) <= most:
        raise argparse.ArgumentTypeError(f"{rule}; got {text!r}")
    return parts


def _floats(parts, text, rule):
    try:
        return [float(part) for part in parts]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{rule}; got {text!r}") from None


_FIRST_EPOCH = "2022-07-08"
_HALF_YEAR = TimeDelta(182.0, format="jd")
_ROLLS = (161.0, 341.0)


class ArgumentError(ModuleOffsetError, ValueError):
    """An argument of the command line that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """
    What the command line asks for.

    Parameters
    ----------
    exposures : tuple of Exposure
        The exposures.
    population : Population
        The sources.
    truth : CalibrationTruth
        The error of the calibration.
    effects : Effects
        The effects.
    subarray : Subarray or str or None
        The part of each detector.
    """

    exposures: tuple[Exposure, ...]
    population: Population
    truth: CalibrationTruth
    effects: Effects
    subarray: Subarray | str | None


def read_request(given):
    """Read the arguments as a whole."""
    epochs = _read_epochs(given)
    exposures = plan_exposures(
        epochs,
        filters=given.filters,
        detectors=_read_detectors(given.arrays),
        dithers=given.dithers,
        duration=given.exposure_time,
    )
    if not exposures:
        raise ArgumentError(
            f"--arrays: at least one that sees {' '.join(given.filters)} (1 to 4 are short-wavelength, long "
            f"is long-wavelength); got {' '.join(given.arrays)}"
        )
    return Request(
        exposures=exposures,
        population=_read_population(given),
        truth=CalibrationTruth(table=_read_table(given), epoch_terms=_read_epoch_terms(given, epochs)),
        effects=_read_effects(given),
        subarray=_read_subarray(given.subarray, exposures),
    )


def _read_epochs(given):
    dates = _read_dates(given.epochs)
    rolls = given.roll or [_ROLLS[i % 2] for i in range(len(dates))]
    if len(rolls) != len(dates):
        raise ArgumentError(f"--roll: one angle for each of the {len(dates)} epochs; got {len(rolls)}")
    return tuple(
        Epoch(name=f"ep{i}", date=date, roll=roll, ra=given.ra, dec=given.dec)
        for i, (date, roll) in enumerate(zip(dates, rolls, strict=True), 1)
    )


def _read_dates(words):
    if len(words) == 1 and words[0].isdecimal() and len(words[0]) < 4:
        start = Time(_FIRST_EPOCH)
        return [(start + i * _HALF_YEAR).isot[:10] for i in range(int(words[0]))] or _refuse_epochs(words)
    try:
        return [Time(word).isot for word in words]
    except ValueError:
        return _refuse_epochs(words)


def _refuse_epochs(words):
    raise ArgumentError(f"--epochs: a number of at least 1, or dates such as 2023-01-06; got {' '.join(words)}")


def _read_detectors(words):
    if words is None:
        return None
    chosen = [name for word in words for name in DETECTORS if word.lower() in _names_of(name)]
    unknown = [word for word in words if not any(word.lower() in _names_of(name) for name in DETECTORS)]
    if unknown:
        raise ArgumentError(
            f"--arrays: of 1, 2, 3, 4, long and {', '.join(DETECTORS).lower()}; got {' '.join(unknown)}"
        )
    return tuple(dict.fromkeys(chosen))


def _names_of(detector):
    """List what a detector may be called: its name, or the array ID that both modules share."""
    return {detector.lower(), detector[4:].lower()}


def _read_population(given):
    return Population(
        density=given.density,
        faintest=given.faintest,
        star_fraction=given.star_fraction,
        variable_fraction=given.variable_fraction,
        variable_amplitude=given.variable_amplitude,
    )


def _read_table(given):
    chosen = [name for name, value in _sources_of_offsets(given).items() if value not in (None, False)]
    if len(chosen) > 1:
        raise ArgumentError(f"{chosen[1]}: not together with {chosen[0]}")
    if given.gradient and not given.offset:
        raise ArgumentError("--gradient: only together with --offset")
    if given.table:
        return _open_table(given.table)
    if given.offset:
        gradient = given.gradient or MA2023_TABLE.gradient
        return OffsetTable(rows=tuple(given.offset), gradient=gradient, name="--offset")
    return OffsetTable(rows=(), name="--no-offsets") if given.no_offsets else MA2023_TABLE


def _sources_of_offsets(given):
    return {"--table": given.table, "--offset": given.offset, "--no-offsets": given.no_offsets}


def _open_table(path):
    if not locate_table(path).is_file():
        raise ArgumentError(f"--table: a module-offset reference file (ASDF); there is no file {path}")
    return OffsetTable.read(path)


def _read_epoch_terms(given, epochs):
    names = {epoch.name for epoch in epochs}
    for key, _ in given.epoch_term:
        epoch, *name = key if isinstance(key, tuple) else (key,)
        if epoch not in names:
            raise ArgumentError(f"--epoch-term: an epoch of {', '.join(sorted(names))}; got {epoch}")
        if not set(name) <= set(given.filters):
            raise ArgumentError(f"--epoch-term: a filter of {', '.join(given.filters)}; got {name[0]}")
    return dict(given.epoch_term)


def _read_effects(given):
    return Effects(
        noise=not given.no_noise,
        sky=not given.no_sky,
        bad_pixels=not given.no_bad_pixels,
        saturation=not given.no_saturation,
        cosmic_rays=given.cosmic_rays,
    )


def _read_subarray(text, exposures):
    if text is None:
        return None
    if "," not in text:
        for exposure in exposures:
            named_subarray(text, exposure.geometry.detector)
        return text
    try:
        xstart, ystart, xsize, ysize = (int(part) for part in text.split(","))
    except ValueError:
        raise ArgumentError(f"--subarray: XSTART,YSTART,XSIZE,YSIZE in whole pixels; got {text}") from None
    return Subarray(xstart=xstart, ystart=ystart, xsize=xsize, ysize=ysize)
