"""The page of parameters says what the steps take. Truth: the steps that stpipe makes."""

import sys
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import directives

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetStep

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def entries():
    """Terms and meanings of the page, by the name of the class."""
    sys.path.insert(0, str(DOCS))
    from step_parameters import StepParameters

    sys.path.remove(str(DOCS))
    directives.register_directive("step-parameters", StepParameters)
    text = (DOCS / "parameters.rst").read_text()
    found = {}
    for step in (ModuleOffsetStep, ModuleOffsetDeriveStep):
        assert f".. step-parameters:: {step.__name__}\n" in text
        tree = publish_doctree(f".. step-parameters:: {step.__name__}\n")
        found[step] = [(item[0].astext(), item[1].astext()) for item in tree.findall(nodes.definition_list_item)]
    return found


@pytest.mark.parametrize("step", [ModuleOffsetStep, ModuleOffsetDeriveStep])
def test_every_parameter_of_a_step_has_an_entry_with_its_default(entries, step):
    made = step()
    stated = {term.partition("  ")[0]: term.rpartition("; default ")[2] for term, _ in entries[step]}
    own = [line.split(" = ")[0].strip() for line in step.spec.strip().splitlines()]
    assert list(stated) == own
    for name, default in stated.items():
        value = getattr(made, name)
        assert default == (str(value).lower() if isinstance(value, bool | None) else str(value)), name


def test_an_entry_has_type_or_choices_and_meaning(entries):
    terms = dict(entries[ModuleOffsetStep])
    assert terms["on_nothing  warn, error; default warn"].startswith("Not one exposure is corrected: ")
    assert terms["apply_slope  true or false; default true"] == "Take out the gradient across the field?"
    assert any(term.startswith("workers  whole number; default 1") for term in terms)
    assert any(term.startswith("faintest  number; default 22.0") for term, _ in entries[ModuleOffsetDeriveStep])
