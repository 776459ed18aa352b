"""The page of messages quotes what the package says."""

import ast
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = r"\b[A-Z]+\b(?:=[A-Z]+)?"  # placeholders for names and numbers; keywords of headers are quoted by the code


def texts():
    """All string literals of the package, f-strings with a gap for each value, as one text."""
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
    text = "\n".join(texts())
    parts = [part.strip(" =,") for part in re.split(NAMES, quote)]
    assert [part for part in parts if part not in text] == []
