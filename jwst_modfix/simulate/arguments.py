"""From the words of the command line to epochs, exposures, sources and the error of the calibration."""

from dataclasses import dataclass
from pathlib import Path

from astropy.time import Time, TimeDelta

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.reference.table import OffsetTable
from jwst_modfix.simulate.electronics import Effects
from jwst_modfix.simulate.observation import Epoch, Exposure, plan_exposures
from jwst_modfix.simulate.scene import Population
from jwst_modfix.simulate.siaf import DETECTORS
from jwst_modfix.simulate.subarray import Subarray, named_subarray
from jwst_modfix.simulate.truth import MA2023_TABLE, CalibrationTruth

__all__ = ["ArgumentError", "Request", "read_request"]

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
    """
    Read the arguments as a whole.

    Parameters
    ----------
    given : argparse.Namespace
        Arguments, as parsed.

    Returns
    -------
    Request
        What they ask for.

    Raises
    ------
    ArgumentError
        Arguments that do not go together.
    """
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
    # Imported late: the file format needs the jwst data models.
    from jwst_modfix.reference.datamodel import ModuleOffsetModel

    if not Path(path).is_file():
        raise ArgumentError(f"--table: a module-offset reference file (ASDF); there is no file {path}")
    with ModuleOffsetModel(path) as model:
        return model.table


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
