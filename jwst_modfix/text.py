"""Text for terminals and logs: plain lines, aligned columns, loggers and progress."""

import itertools
import logging
import math
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = [
    "HIDDEN_CATEGORIES",
    "align",
    "count_nouns",
    "format_measured",
    "get_logger",
    "has_hidden",
    "join_problems",
    "plain_text",
    "show_progress",
]

Item = TypeVar("Item")

HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's control and format characters, halves of surrogates, separators of lines and paragraphs."""

_MOST_PROBLEMS = 20


def has_hidden(text: str, allowed: str = "") -> bool:
    """Test whether a text holds characters that a terminal interprets instead of showing."""
    return any(unicodedata.category(c) in HIDDEN_CATEGORIES and c not in allowed for c in text)


def plain_text(text: str) -> str:
    """Escape the characters that a terminal interprets, such as line breaks and colour codes."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if has_hidden(c) else c for c in text)


def join_problems(problems: Sequence[str]) -> str:
    """Join what is wrong to one line; of more than 20 problems, the first ones and the number of the others."""
    others = len(problems) - _MOST_PROBLEMS
    return "; ".join(problems[:_MOST_PROBLEMS]) + (f"; and {others} more" if others > 0 else "")


def align(rows: Iterable[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Pad cells so that columns are aligned; the columns whose numbers are in `right` are right-aligned."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    formats = [f"{{:{'>' if column in right else '<'}{width}}}" for column, width in enumerate(widths)]
    return ["  ".join(map(str.format, formats, row)).rstrip() for row in rows]


def count_nouns(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 epoch``, ``2 epochs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_measured(value: float | None, error: float | None, unit: str = "mmag") -> str:
    """Write a value and its error in thousandths: ``-52.3 ± 0.6 mmag``; a dash where there is none."""
    if value is None or error is None or not math.isfinite(value):
        return "-"
    decimals = 1 if error >= 5e-4 else 2
    return f"{round(1e3 * value, decimals) + 0.0:+.{decimals}f} ± {1e3 * error:.{decimals}f} {unit}".rstrip()


def get_logger(name: str) -> logging.Logger:
    """Get a logger whose records have one line each, whatever characters file names and headers contain."""
    logger = logging.getLogger(name)
    logger.addFilter(_make_plain)
    return logger


def _make_plain(record: logging.LogRecord) -> bool:
    record.msg, record.args = plain_text(record.getMessage()), None
    return True


log = get_logger(__name__)

_LINES = 10


def show_progress(items: Iterable[Item], stage: str, what: str = "exposures") -> Iterator[Item]:
    """Iterate over items and show the progress: a bar on a terminal, at most ten log lines elsewhere."""
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
