"""The package as a whole: what importing it costs, and its entry points."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import jwst_modfix

PACKAGE = Path(jwst_modfix.__file__).parent
# As docs/development/architecture.rst has it: a room imports what stands below it, and nothing beside or above.
FLOORS = (
    {"cli"},
    {"steps"},
    {"report", "simulate"},
    {"derivation"},
    {"photometry", "fitting", "apply"},
    {"table"},
    {"jobs", "files"},
    {"fits_walk", "embedded", "errors"},
    {"text"},
    {"integration"},
)


def imports():
    """Room of each module of the package, and each name that it imports, be it at once or when it is needed."""
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                yield room, node.module
            elif isinstance(node, ast.Import):
                yield from ((room, alias.name) for alias in node.names)


def test_arrows_between_rooms_point_one_way():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert floor.keys() | {"config"} == {path.stem for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    for room, name in imports():
        package, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if package == "jwst_modfix" and other and other != room:
            assert floor[room] < floor[other], f"{room} imports {other}"


@pytest.mark.parametrize(("room", "libraries"), [("fitting", {"numpy", "scipy"}), ("apply", {"numpy"})])
def test_algorithms_know_numbers_only(room, libraries):
    foreign = {name.partition(".")[0] for mine, name in imports() if mine == room} - sys.stdlib_module_names
    assert foreign - {"jwst_modfix"} == libraries


@pytest.mark.parametrize("module", ["jwst_modfix", "jwst_modfix.integration"])
def test_importing_it_does_not_import_the_pipeline(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert module.partition(".")[0] in packages
    assert not packages & {"jwst", "stdatamodels", "stpipe", "photutils", "pysiaf"}


def test_every_public_name_is_there():
    for name in jwst_modfix.__all__:
        assert getattr(jwst_modfix, name) is not None
    assert set(dir(jwst_modfix)) == set(jwst_modfix.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        jwst_modfix.nothing  # noqa: B018


def test_stpipe_lists_our_steps_by_alias():
    (entry,) = entry_points(group="stpipe.steps", name="jwst_modfix")
    for path, alias, is_pipeline in entry.load()():
        step = getattr(jwst_modfix, path.rpartition(".")[2])
        assert step.class_alias == alias
        assert hasattr(step, "step_defs") == is_pipeline


def test_asdf_finds_the_schema():
    from asdf import get_config

    from jwst_modfix.table.file import SCHEMA_URI

    assert b"Module A/B flux offsets" in get_config().resource_manager[SCHEMA_URI]
