"""Text for terminals and logs: plain lines, columns, the logger, progress."""

import contextlib
import html
import itertools
import logging
import math
import re
import sys
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

WIDTH = 78

Item = TypeVar("Item")


def has_hidden(text: str, allowed: str = "") -> bool:
    """Test whether a text has characters that a terminal interprets."""
    # Unicode's control and format characters, halves of surrogates, separators of lines and paragraphs.
    return any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in allowed for c in text)


def is_url(name: object) -> bool:
    """Test whether a name is a URL; a ``Path`` of one has a single slash."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(name)) is not None  # and not C:/, a drive


def plain_text(text: str) -> str:
    """Escape characters that a terminal interprets, such as line breaks."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if has_hidden(c) else c for c in text)


def align(rows: Iterable[Sequence[str]], *, right: Collection[int] = ()) -> list[str]:
    """Align columns; those whose numbers are in `right` to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    formats = [f"{{:{'>' if column in right else '<'}{width}}}" for column, width in enumerate(widths)]
    return ["  ".join(map(str.format, formats, row)).rstrip() for row in rows]


def annotate(rows: Iterable[Sequence[str]], *, right: Collection[int] = (), indent: str = "") -> list[str]:
    """Align a table whose last cells, which are long, are numbered notes below it."""
    rows = list(rows)
    lines = [indent + line for line in align([cells for *cells, _ in rows], right=right)]
    width = max(map(len, lines))
    numbers: dict[str, int] = {}
    for place, (*_, note) in enumerate(rows[1:], 1):
        if note:
            lines[place] = f"{lines[place]:{width}} ({numbers.setdefault(note, len(numbers) + 1)})"
    return lines + [line for note, number in numbers.items() for line in wrap(note, f"{indent}({number}) ")]


def wrap(text: str, first: str = "", other: str | None = None) -> list[str]:
    """Break a text into lines of at most 78 characters; names of files stay whole."""
    indent = " " * len(first) if other is None else other
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False) or [first.rstrip()]  # fmt: skip


def count_nouns(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 epoch``, ``2 epochs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe_band(filter: str, pupil: str) -> str:
    """Name a filter and pupil: ``F444W``, or ``F444W+F405N``."""
    return filter if pupil == "CLEAR" else f"{filter}+{pupil}"


def format_measured(value: float | None, error: float | None, unit: str = "mmag") -> str:
    """Write a value and its error in thousandths, ``-52.3 ± 0.6 mmag``, or a dash."""
    if value is None or error is None or not math.isfinite(value):
        return "-"
    decimals = 1 if error >= 5e-4 else 2
    return f"{1e3 * value:+z.{decimals}f} ± {1e3 * error:.{decimals}f} {unit}".rstrip()


def html_table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """Make a table for a notebook; the first row has the names of the columns."""
    lines = ["".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
             for tag, row in zip(itertools.chain(["th"], itertools.repeat("td")), rows, strict=False)]  # fmt: skip
    return f"<table><caption>{html.escape(caption)}</caption><tr>{'</tr><tr>'.join(lines)}</tr></table>"


# The logger of this package, below that of stpipe: stock pipelines, in which we are a hook, show its lines.
log = logging.getLogger("stpipe.jwst_modfix")


def _make_plain(record: logging.LogRecord) -> bool:
    """Keep a record to one line, whatever characters file names and headers contain."""
    record.msg, record.args = plain_text(record.getMessage()), None
    return True


log.addFilter(_make_plain)


def log_result(text: str, level: int = logging.INFO, *, is_whole: bool = False) -> None:
    """Log a line of a result, without prefix; a whole one is not broken."""
    log.log(level, "%s", text, extra={"is_result": True, "is_whole": is_whole})


@dataclass(eq=False)
class _ResultFormatter(logging.Formatter):
    """Format results for people, and all other lines as another formatter does."""

    other: logging.Formatter
    is_terminal: bool
    is_bar_shown: ClassVar[bool] = False  # a line of the log is written over it

    def format(self, record: logging.LogRecord) -> str:
        erased = "\r\x1b[K" * _ResultFormatter.is_bar_shown
        if not getattr(record, "is_result", False):
            return erased + self.other.format(record)
        text = record.getMessage()
        if record.levelno >= logging.WARNING and not text.startswith(" "):
            text = f"{record.levelname.capitalize()}: {text}"
        if self.is_terminal and len(text) > WIDTH and not getattr(record, "is_whole", False):
            text = "\n".join(wrap(text, other="  "))
        return erased + text


@contextlib.contextmanager
def results_shown_plain() -> Iterator[None]:
    """Show lines of results without prefix where stpipe shows its log.

    A terminal gets long lines broken; in a pipe a record is one line.
    """
    with contextlib.ExitStack() as stack:
        for handler in logging.getLogger("stpipe").handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                stack.callback(handler.setFormatter, handler.formatter)
                formatter = handler.formatter or logging.Formatter()
                handler.setFormatter(_ResultFormatter(formatter, handler.stream.isatty()))
        yield


def show_progress(
    items: Iterable[Item], stage: str, what: str = "exposure", *, total: int | None = None, has_lines: bool = True
) -> Iterator[Item]:
    """Show progress over items: a bar on a terminal, at most ten lines elsewhere."""
    if total is None:
        items = list(items)
        total = len(items)
    if sys.stderr.isatty() and total > 1:
        from astropy.utils.console import ProgressBar

        log_result(f"{stage}: {count_nouns(total, what)}")
        _ResultFormatter.is_bar_shown = True
        try:
            with ProgressBar(total, file=sys.stderr) as bar:
                for item in items:
                    yield item
                    bar.update()
        finally:
            _ResultFormatter.is_bar_shown = False
        return
    every = max(1, -(-total // 10))
    for number, item in enumerate(items, 1):
        yield item
        if has_lines and (number % every == 0 or number == total):
            log.info("%s: %d of %s", stage, number, count_nouns(total, what))
