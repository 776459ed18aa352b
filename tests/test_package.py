"""The package as a whole: what importing it costs, and its entry points."""

import ast
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import jwst_modfix

PACKAGE = Path(jwst_modfix.__file__).parent
# As in docs/development/architecture.rst: a part imports what is below it, and nothing beside or above.
LAYERS = (
    {"__init__", "integration"},
    {"cli"},
    {"steps"},
    {"report", "simulate"},
    {"derivation"},
    {"photometry", "fitting", "apply"},
    {"table"},
    {"jobs"},
    {"files"},
    {"exposure"},
    {"errors"},
    {"text"},
)


def imports():
    """Part that each module of the package belongs to, and each name that it imports, at once or on first use."""
    for path in PACKAGE.rglob("*.py"):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                yield part, node.module
            elif isinstance(node, ast.Import):
                yield from ((part, alias.name) for alias in node.names)


def test_parts_import_what_is_below_them():
    layer = {part: number for number, parts in enumerate(LAYERS) for part in parts}
    assert layer.keys() == {part for part, _ in imports()}
    for part, name in imports():
        package, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if package == "jwst_modfix" and other and other != part:
            is_method = (part, other) == ("table", "apply")  # OffsetTable.factor and .apply, imported on first use
            assert layer[part] < layer[other] or is_method, f"{part} imports {other}"


@pytest.mark.parametrize(("part", "libraries"), [("fitting", {"numpy", "scipy", "astropy"}), ("apply", {"numpy"})])
def test_algorithms_import_numerical_libraries_only(part, libraries):
    """Only `Measurements.to_table` uses astropy in fitting, when it is called."""
    foreign = {name.partition(".")[0] for importer, name in imports() if importer == part} - sys.stdlib_module_names
    assert foreign - {"jwst_modfix"} == libraries


PIPELINE = {"jwst", "stdatamodels", "stpipe", "photutils", "pysiaf"}
COMMANDS = (["--help"], ["show", "packaged"], ["merge", "--help"])


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        ("import jwst_modfix", PIPELINE),
        ("import jwst_modfix.integration", PIPELINE),
        ("from jwst_modfix import OffsetTable; OffsetTable.read()", PIPELINE | {"astropy", "asdf"}),
        *((f"from jwst_modfix.cli import main; main({w}, standalone_mode=False)", PIPELINE | {"astropy"})
          for w in COMMANDS),
    ],
)  # fmt: skip
def test_importing_reading_a_table_and_starting_a_command_do_not_import_the_pipeline(code, packages):
    code = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {name.partition(".")[0] for name in done.stdout.split()}
    assert "jwst_modfix" in found
    assert not packages & found


def test_type_checkers_see_the_names_that_load_on_first_use():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imported = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == {name: getattr(jwst_modfix, name).__module__ for name in jwst_modfix.__all__ if name[0] != "_"}


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


def test_docstrings_begin_with_one_short_line():
    """Tools show this line alone, in columns of 80 characters."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
    nodes = ((path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, documented))
    first = ((path.relative_to(PACKAGE), (ast.get_docstring(node) or "").partition("\n")[0]) for path, node in nodes)
    assert [f"{path}: {line}" for path, line in first if len(line) > 79] == []
