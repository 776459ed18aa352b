"""Text for people: plain lines, aligned columns, loggers and progress."""

import contextlib
import contextvars
import itertools
import logging
import math
import sys
import unicodedata

__all__ = [
    "HIDDEN_CATEGORIES",
    "align",
    "format_measured",
    "get_logger",
    "has_hidden",
    "held_records",
    "plain_text",
    "say",
    "show_progress",
]


HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's control and format characters, halves of surrogates, separators of lines and paragraphs."""


def has_hidden(text, allowed=""):
    """Tell whether a text holds characters that a terminal obeys rather than shows."""
    return any(unicodedata.category(c) in HIDDEN_CATEGORIES and c not in allowed for c in text)


def plain_text(text):
    """Write out the characters that a terminal obeys, such as line breaks and the escapes of colours."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if has_hidden(c) else c for c in text)


def align(rows, *, right=()):
    """Pad cells so that columns are aligned."""
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    formats = [f"{{:{'>' if column in right else '<'}{width}}}" for column, width in enumerate(widths)]
    return ["  ".join(map(str.format, formats, row)).rstrip() for row in rows]


def format_measured(value, error, unit="mmag"):
    """Write a value and its error in thousandths: ``-52.3 ± 0.6 mmag``; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "-"
    decimals = 1 if error >= 5e-4 else 2
    return f"{round(1e3 * value, decimals) + 0.0:+.{decimals}f} ± {1e3 * error:.{decimals}f} {unit}".rstrip()


_held = contextvars.ContextVar("held", default=None)


def get_logger(name):
    """Get a logger whose records are of one line each, whatever file names and headers hold."""
    logger = logging.getLogger(name)
    logger.addFilter(_make_plain)
    return logger


@contextlib.contextmanager
def held_records():
    """Keep what our loggers are told in this thread from being said, until its turn comes."""
    token = _held.set([])
    try:
        yield _held.get()
    finally:
        _held.reset(token)


def say(records):
    """Say what was held."""
    for record in records:
        get_logger(record.name).handle(record)


def _make_plain(record):
    record.msg, record.args = plain_text(record.getMessage()), None
    held = _held.get()
    if held is not None:
        held.append(record)
    return held is None


log = get_logger(__name__)

_LINES = 10


def show_progress(items, stage, what="exposures"):
    """Go through a sequence, and show how far it is."""
    items = list(items)
    if sys.stderr.isatty():
        log.info("%s: %d %s", stage, len(items), what)
        from astropy.utils.console import ProgressBar

        yield from ProgressBar(items, file=sys.stderr)
        return
    every = max(1, -(-len(items) // _LINES))
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0 or number == len(items):
            log.info("%s: %d of %d %s", stage, number, len(items), what)
