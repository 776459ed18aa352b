"""The package as a whole: what importing it costs, and its entry points."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import jwst_modfix


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

    from jwst_modfix.reference.rules import SCHEMA_URI

    assert b"Module A/B flux offsets" in get_config().resource_manager[SCHEMA_URI]
