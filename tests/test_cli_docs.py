"""Commands that the pages show: they run, with the status that the page shows, and do what it says."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml
from astropy.table import Table
from click.testing import CliRunner

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetStep
from jwst_modfix.cli import main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "command_line.rst"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.rst"))]
NEED_EXPOSURES = ("strun", "data", "_modfix.fits", "jwst_nircam_photom", "idf_zpcor", "zero_points.yaml")
STEPS = {
    "module_offset": ModuleOffsetStep,
    "modfix.cfg": ModuleOffsetStep,
    "modfix.asdf": ModuleOffsetStep,
    "module_offset_derive": ModuleOffsetDeriveStep,
    "modfix_derive.cfg": ModuleOffsetDeriveStep,
}
CONTEXT = click.Context(main)
OF_STPIPE = {"help", "output_dir", "suffix", "save_results", "log-level", "log-file"}


def read_examples():
    """Every command of the page that needs no exposures, with the output that the page shows."""
    for block in re.findall(r"\.\. code-block:: console\n\n((?:   .*\n|\n)+)", PAGE.read_text() + "\n"):
        for part in re.split(r"(?m)^   \$ ", block)[1:]:
            command, _, output = part.partition("\n")
            if not any(word in command for word in NEED_EXPOSURES):
                yield shlex.split(command)[1:], output


def test_commands_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = []
    for words, shown in read_examples():
        result = CliRunner().invoke(main, words)
        assert result.exit_code == int("Error: " in shown), f"{words}: {result.output}"
        commands.append(words[0])
    assert set(commands) == {"show", "init", "set", "diff", "merge", "convert", "plan"}
    rows = {(row["array"], row["filter"]): row for row in read_rows("my_moduleoffset.asdf")}
    assert len(rows) == 11
    assert rows["long", "F444W"]["offset"] == -0.018
    assert rows["long", "F410M"]["offset_error"] == 0.002
    assert read_rows("field_moduleoffset.asdf") == list(rows.values())
    assert len(Table.read("table2.ecsv")) == len(read_rows("table2_moduleoffset.asdf")) == 10


def read_rows(path):
    """Rows of a table by a plain YAML parser, without the header of ASDF."""
    text = Path(path).read_text().partition("--- ")[2].partition("\n")[2]
    return yaml.load(text, _Rows)["offsets"]


class _Rows(yaml.SafeLoader):
    """Plain YAML, with the tags of ASDF left out."""


_Rows.add_multi_constructor("", lambda loader, _tag, node: loader.construct_mapping(node, deep=True))


def commands():
    """Every command line of modfix and strun in the pages: page, program, command or step, names of options."""
    for page in PAGES:
        for line in re.findall(r"(?m)^ *(?:\$ )?((?:modfix|strun) [^`\n]*)$", page.read_text()):
            words = shlex.split(line, comments=True)
            yield page.name, words[0], words[1], [w.partition("=")[0] for w in words[2:] if w.startswith("--")]


@pytest.mark.parametrize(("page", "program", "name", "options"), list(commands()))
def test_options_that_the_pages_use_exist(page, program, name, options):
    if program == "modfix":
        known = {option for parameter in main.get_command(CONTEXT, name).params for option in parameter.opts}
        assert set(options) <= known
    elif step := STEPS.get(name):
        assert {option[2:] for option in options} <= OF_STPIPE | set(step.load_spec_file())


@pytest.mark.parametrize("name", main.list_commands(CONTEXT))
def test_each_command_has_a_section(name):
    assert f"\nmodfix {name}\n-----" in PAGE.read_text()
