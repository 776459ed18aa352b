"""A page of HTML as its reader sees it: tables, paragraphs and lists in words."""

import contextlib
from pathlib import Path

import pytest
from lxml import html
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf


@contextlib.contextmanager
def undrawn():
    """Make the figures of reports, but do not draw them, which takes most of the time: the files are empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "print_png", lambda *_: None)
        patch.setattr(FigureCanvasPdf, "print_pdf", lambda _, path: Path(path).touch())
        yield


def write_report(derivation, folder, name="made.html"):
    """Write a report without drawing the figures, and give the path of its page."""
    with undrawn():
        return derivation.report(folder / name)[0]


class Page:
    """The text of a report."""

    def __init__(self, text):
        self._root = html.fromstring(text)

    @property
    def text(self):
        """All visible words."""
        return _words(self._root.find("body"))

    @property
    def warnings(self):
        """Text of each warning."""
        return [_words(found) for found in self._root.find_class("warning")]

    def texts(self, tag):
        """Text of all elements of a kind."""
        return [_words(found) for found in self._root.iter(tag)]

    def table(self, first):
        """Rows, as dicts by the names of columns, of the table whose first column has this name."""
        for found in self._root.iter("table"):
            rows = [[_words(cell) for cell in row if cell.tag in ("th", "td")] for row in found.iter("tr")]
            if rows and rows[0][0] == first and len(rows[0]) > 1:
                return [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
        raise LookupError(f"no table begins with {first}")

    def pairs(self):
        """Names and values of the tables of two columns."""
        rows = [[_words(cell) for cell in row] for row in self._root.iter("tr")]
        return dict(row for row in rows if len(row) == 2)


def _words(element):
    return " ".join(element.text_content().split())


def measured(text):
    """Value and error of ``-52.3 ± 0.6``, in the unit after them or in the head of the column."""
    value, sign, error = text.split()[:3]
    assert sign == "±", text
    return float(value), float(error)
