"""What a release consists of: bounds that are tested, files that are shipped, a changelog that renders."""

import re
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def bounds(specifiers, operator):
    return [specifier.version for specifier in specifiers if specifier.operator == operator]


def numbers(version):
    """Numbers of a version without trailing zeros: 4.2 is 4.2.0."""
    return re.sub(r"(\.0)+$", "", version)


def test_the_oldest_versions_tested_are_the_lower_bounds():
    """Truth: the dependencies in pyproject.toml, all of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lower = {r.name: numbers(*bounds(r.specifier, ">=")) for r in map(Requirement, project["dependencies"])}
    lines = [line for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if "==" in line]
    assert {r.name: numbers(*bounds(r.specifier, "==")) for r in map(Requirement, lines)} == lower


@pytest.mark.parametrize(
    "name",
    [
        "table/schemas/moduleoffset-1.0.0.yaml",
        "table/tables/ma2023_table2.asdf",
        "report/template.html",
        "config/modfix.cfg",
        "config/modfix_derive.cfg",
        "config/calwebb_image3_modfix.cfg",
    ],
)
def test_the_package_brings_its_data(name):
    """Nox's session ``package`` looks at the wheel itself."""
    assert files("jwst_modfix").joinpath(name).read_text()


def test_fragments_of_the_changelog_are_named_after_issue_and_kind():
    """Towncrier takes any other name for a part of the issue's number, or leaves the file out."""
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    rule = rf"(\d+|\+\w+)\.({'|'.join(kind['directory'] for kind in kinds)})(\.\d+)?\.rst"
    fragments = [path.name for path in (ROOT / "changes").glob("[!.]*")]
    assert fragments
    assert [name for name in fragments if not re.fullmatch(rule, name)] == []
