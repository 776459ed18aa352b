"""The directive ``step-parameters``: type, default and meaning of each parameter of a step, from its spec."""

import ast

from docutils import nodes
from docutils.parsers.rst import Directive

import jwst_modfix


class StepParameters(Directive):
    """List the parameters that a class of this package adds to those of every step."""

    required_arguments = 1

    def run(self):
        """Build the definition list."""
        step = getattr(jwst_modfix, self.arguments[0])
        spec, own = step.load_spec_file(), [line.partition(" = ")[0].strip() for line in step.spec.strip().splitlines()]
        parameters = nodes.definition_list()
        for name in own:
            kind, default = read_check(spec[name])
            item = nodes.definition_list_item()
            item += nodes.term("", "", nodes.literal("", name), nodes.Text(f"  {kind}; default {default}"))
            meaning = spec.inline_comments[name].lstrip("# ")
            item += nodes.definition("", nodes.paragraph("", meaning if meaning.endswith("?") else f"{meaning}."))
            parameters += item
        return [parameters]


_KINDS = {
    "boolean": "true or false", "integer": "whole number", "float": "number", "string": "text", "force_list": "list",
    "is_string_or_datamodel": "text or data model",
}  # fmt: skip


def read_check(check):
    """Type, or choices, and default of a parameter, as words, of text such as ``option('a', 'b', default='a')``."""
    call = ast.parse(check, mode="eval").body
    (default,) = (keyword.value.value for keyword in call.keywords if keyword.arg == "default")
    kind = ", ".join(arg.value for arg in call.args) if call.func.id == "option" else _KINDS[call.func.id]
    return kind, str(default).lower() if default is None or isinstance(default, bool) else str(default)


def setup(app):
    """Register the directive."""
    app.add_directive("step-parameters", StepParameters)
    return {"parallel_read_safe": True}
