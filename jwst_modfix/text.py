"""Text for people: plain lines, aligned columns, loggers and progress."""

import itertools
import logging
import sys
import unicodedata

__all__ = [
    "HIDDEN_CATEGORIES",
    "align",
    "get_logger",
    "has_hidden",
    "plain_text",
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


def get_logger(name):
    """Get a logger whose records are of one line each, whatever file names and headers hold."""
    logger = logging.getLogger(name)
    logger.addFilter(_make_plain)
    return logger


def _make_plain(record):
    record.msg, record.args = plain_text(record.getMessage()), None
    return True


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
