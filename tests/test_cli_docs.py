"""The page on the command: what it shows is what the command prints."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from jwst_modfix.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "command_line.rst"
_NEED_EXPOSURES = ("strun", "data", "_modfix.fits", "jwst_nircam_photom", "idf_zpcor")


def read_examples():
    """Every command of the page that needs no exposure, with the output that the page shows."""
    found = []
    for block in re.findall(r"\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE.read_text() + "\n"):
        for part in re.split(r"(?m)^   \$ ", block)[1:]:
            command, _, output = part.partition("\n")
            if not any(word in command for word in _NEED_EXPOSURES):
                found.append((command, re.sub(r"(?m)^   ", "", output)))
    return found


def normalized(text, command):
    """Leave out what differs from day to day and from place to place, and the numbers of a forecast."""
    if command.startswith("modfix plan"):
        text = re.sub(r"[ \d]*\d", "#", text)
    text = re.sub(r"\d{4}-\d\d-\d\d, by hand", "DATE, by hand", text)
    return [line for line in text.strip().splitlines() if not line.startswith("  file  ")]


def test_the_page_shows_what_is_printed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = read_examples()
    assert {shlex.split(command)[1] for command, _ in examples} == {
        "show", "init", "set", "diff", "merge", "convert", "plan",
    }  # fmt: skip
    for command, output in examples:
        result = CliRunner().invoke(main, shlex.split(command)[1:])
        assert normalized(result.output, command) == normalized(output, command)


@pytest.mark.parametrize("name", ["show", "check", "set", "diff", "merge", "convert", "init", "group", "plan"])
def test_each_command_has_a_section(name):
    assert f"\nmodfix {name}\n-----" in PAGE.read_text()
