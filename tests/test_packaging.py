"""What a release consists of: bounds that are tested, files that are shipped, a changelog that renders."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDRESS = PROJECT["urls"]["Repository"]


def bounds(specifiers, operator):
    return [specifier.version for specifier in specifiers if specifier.operator == operator]


def numbers(version):
    """Numbers of a version without trailing zeros: 4.2 is 4.2.0."""
    return re.sub(r"(\.0)+$", "", version)


def test_the_oldest_versions_tested_are_the_lower_bounds():
    """Truth: the dependencies in pyproject.toml, all of them."""
    lower = {r.name: numbers(*bounds(r.specifier, ">=")) for r in map(Requirement, PROJECT["dependencies"])}
    lines = [line for line in (ROOT / "constraints-oldest.txt").read_text().splitlines() if "==" in line]
    assert {r.name: numbers(*bounds(r.specifier, "==")) for r in map(Requirement, lines)} == lower


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy without version control, so that only files that pyproject.toml names get in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("jwst_modfix", "tests", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "_build", "generated"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    can_build = Version(metadata.version("setuptools")) >= Version("77") and find_spec("setuptools_scm")
    options = ["--no-deps", "--quiet", *(["--no-build-isolation"] if can_build else [])]
    command = [sys.executable, "-m", "pip", "wheel", *options, f"--wheel-dir={target}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and not can_build:
        pytest.skip("needs setuptools>=77 and setuptools-scm, or an index to install them from")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(target.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel):
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "jwst_modfix").rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == files
    assert {"jwst_modfix/py.typed", "jwst_modfix/table/tables/ma2023_table2.asdf"} <= files
    (page,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    assert "# jwst_modfix\n" in wheel.read(page).decode()
    assert page.replace("METADATA", "licenses/LICENSE") in wheel.namelist()


def test_the_wheel_registers_the_command_the_steps_and_the_schemas(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    parser = configparser.ConfigParser()
    parser.read_string(wheel.read(name).decode())
    assert {section: dict(parser[section]) for section in parser.sections()} == {
        "console_scripts": {"modfix": "jwst_modfix.cli:main"},
        "stpipe.steps": {"jwst_modfix": "jwst_modfix.integration:get_steps"},
        "asdf.resource_mappings": {"jwst_modfix": "jwst_modfix.integration:get_resource_mappings"},
    }


def test_fragments_of_the_changelog_are_named_after_issue_and_kind():
    """Towncrier takes any other name for a part of the issue's number, or leaves the file out."""
    kinds = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    rule = rf"(\d+|\+\w+)\.({'|'.join(kind['directory'] for kind in kinds)})(\.\d+)?\.rst"
    fragments = [path.name for path in (ROOT / "changes").glob("[!.]*")]
    assert (ROOT / "changes" / ".gitkeep").exists(), "after a release the folder is empty, and towncrier needs it"
    assert [name for name in fragments if not re.fullmatch(rule, name)] == []


def test_links_of_the_readme_are_absolute_and_name_files_that_exist():
    """The README is the page of the package index too, which has no other files. Truth: the files of the repository."""
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    raw = ADDRESS.replace("github.com", "raw.githubusercontent.com")
    ours = [re.sub(rf"^({raw}|{ADDRESS}/(blob|tree))/main/", "", link) for link in links]
    files = [path for path in ours if not path.startswith("https://")]
    assert [link for link in links if not link.startswith("https://")] == []
    assert len(files) > 5
    assert [path for path in files if not (ROOT / path).exists()] == []
    assert [path for path in ours if path.startswith((ADDRESS, raw))] == []


def test_the_address_of_the_project_is_the_same_everywhere():
    assert f'repository-code: "{ADDRESS}"' in (ROOT / "CITATION.cff").read_text()
    assert {url.startswith(ADDRESS) for name, url in PROJECT["urls"].items() if not name.startswith("Ma")} == {True}


def test_the_readme_is_short_and_begins_with_the_question_of_the_calibration():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert next(line for line in lines if line.startswith("## ")) == "## Which calibration are your files on?"
    assert sum(line.startswith("![") for line in lines) == 1


def test_the_notebook_is_stored_without_results_and_in_demo_mode():
    """The build of the documentation runs it."""
    cells = json.loads((ROOT / "docs" / "own_data.ipynb").read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    assert any("demo_mode = True" in line for line in code[0]["source"])
    text = "".join(cells[0]["source"])
    heads = ["".join(cell["source"]).partition("\n")[0] for cell in cells[1:] if cell["cell_type"] == "markdown"]
    for head in (head.removeprefix("## ") for head in heads if head.startswith("## ")):
        anchor = re.sub(r"[^a-z -]", "", head.lower()).replace(" ", "-")
        assert f"[{head}](#{anchor})" in text
