"""Messages: lists of problems, and the page of messages quotes what the package says."""

import ast
import functools
import itertools
import pickle
import re
from pathlib import Path

import pytest

from jwst_modfix.errors import ReferenceTableError

ROOT = Path(__file__).parents[1]
NAMES = r"\b[A-Z]+\b(?:=[A-Z]+)?"  # placeholders for names and numbers; keywords of headers are quoted by the code


@functools.cache
def texts():
    """All string literals of the package, f-strings with a gap for each value, as one text."""
    return "\n".join(_literals())


def _literals():
    for path in sorted((ROOT / "jwst_modfix").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)


def quotes():
    lines = (ROOT / "docs" / "messages.rst").read_text().splitlines()
    terms = [line for line, below in itertools.pairwise(lines) if below.startswith("    ")]
    return [quote for line in terms for quote in re.findall(r"``([^`]+)``", line)]


@pytest.mark.parametrize("quote", quotes())
def test_each_message_that_is_explained_exists(quote):
    parts = [part.strip(" =,") for part in re.split(NAMES, quote)]
    assert [part for part in parts if part not in texts()] == []


@pytest.mark.parametrize(
    ("count", "lines"),
    [
        (1, ["list.csv: row 1 is bad"]),
        (5, ["list.csv: row 1 is bad; row 2 is bad; row 3 is bad; row 4 is bad; row 5 is bad"]),
        (6, ["list.csv: 6 problems:", *(f"  row {n} is bad" for n in range(1, 7))]),
        (80, ["list.csv: 80 problems:", *(f"  row {n} is bad" for n in range(1, 81))]),
    ],
)
def test_many_problems_are_listed_one_a_line(count, lines):
    error = ReferenceTableError("list.csv", [f"row {n} is bad" for n in range(1, count + 1)] + ["row 1 is bad"])
    assert error.lines == lines
    assert str(error).count("row ") == count
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # as workers do


def test_a_problem_has_one_line_whatever_it_holds():
    assert str(ReferenceTableError("a\nb", ["c\x1b[2K\nd"] * 2)) == "a\\nb: c\\x1b[2K\\nd"
