"""Readers of single arguments of the command line, for argparse: what is wrong is said with the rule."""

import argparse

from jwst_modfix.reference.table import ARRAYS, FRAMES, Gradient, OffsetRow
from jwst_modfix.simulate.bands import BANDS, Band

__all__ = ["band", "epoch_term", "gradient", "number", "offset", "whole"]


def number(least, most=float("inf")):
    """
    Make a reader of numbers in a range.

    Parameters
    ----------
    least, most : float
        The range, both ends inclusive.

    Returns
    -------
    callable
        From text to float, for argparse.
    """

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
    """
    Make a reader of whole numbers.

    Parameters
    ----------
    least : int
        The least allowed.

    Returns
    -------
    callable
        From text to int, for argparse.
    """

    def read(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number, at least {least}; got {text!r}")
        return int(text)

    return read


def band(text):
    """
    Read the name of a band.

    Parameters
    ----------
    text : str
        Such as ``f444w``.

    Returns
    -------
    str
        Its name.
    """
    if text.upper() not in BANDS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(BANDS)}; got {text!r}")
    return text.upper()


def offset(text):
    """
    Read the offset of an array ID through a band.

    Parameters
    ----------
    text : str
        ``ARRAY:FILTER:MAG[:SLOPE]``.

    Returns
    -------
    OffsetRow
        The row.
    """
    rule = "ARRAY:FILTER:MAG[:SLOPE], such as long:F444W:-0.0165:0.0043"
    array, name, *values = _split(text, rule, 3, 4)
    if array not in ARRAYS:
        raise argparse.ArgumentTypeError(f"{rule}, with an array of {', '.join(ARRAYS)}; got {text!r}")
    where, values = Band.named(band(name)), _floats(values, text, rule)
    slope = {"slope": values[1], "slope_error": 0.0} if len(values) == 2 else {}
    return OffsetRow(array=array, filter=where.filter, pupil=where.pupil, offset=values[0], offset_error=0.0, **slope)


def gradient(text):
    """
    Read the frame, direction, origin and share of a gradient.

    Parameters
    ----------
    text : str
        ``FRAME:DIRECTION:X:Y:SHARE``.

    Returns
    -------
    Gradient
        The gradient.
    """
    rule = f"FRAME:DIRECTION:X:Y:SHARE, with a frame of {', '.join(FRAMES)}"
    frame, *rest = _split(text, rule, 5, 5)
    direction, x, y, share = _floats(rest, text, rule)
    if frame not in FRAMES:
        raise argparse.ArgumentTypeError(f"{rule}; got {text!r}")
    return Gradient(frame=frame, direction=direction, origin=(x, y), exposure_share=share)


def epoch_term(text):
    """
    Read the term of an epoch.

    Parameters
    ----------
    text : str
        ``EPOCH[:FILTER]:MAG``.

    Returns
    -------
    tuple
        The key of `CalibrationTruth.epoch_terms`, and the term [mag].
    """
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
