"""The directive ``schema-fields``: every field of a reference-file schema, from the schema itself."""

from importlib import resources

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive


class SchemaFields(Directive):
    """List the fields of the module-offset schema: name, whether it must be given, what it is."""

    def run(self):
        """Build the definition list."""
        schema = resources.files("jwst_modfix.table") / "schemas" / "moduleoffset-2.0.0.yaml"
        fields = nodes.definition_list()
        for name, field, required in _walk(yaml.safe_load(schema.read_text())):
            fields += _describe(name, field, required)
        return [fields]


def _walk(schema, prefix=""):
    """Yield name, schema and whether it is required, of every field under a schema."""
    for name, field in schema.get("properties", {}).items():
        if "title" not in field or (not prefix and name in ("asdf_library", "history")):
            continue
        yield prefix + name, field, name in schema.get("required", [])
        items = field.get("items", {}) if field.get("type") == "array" else field
        yield from _walk(items, f"{prefix}{name}{'[].' if items is not field else '.'}")


def _describe(name, field, required):
    text = " ".join(field.get("description", "").split()).replace("Unit - none.", "").replace("Unit - ", "Unit: ")
    item = nodes.definition_list_item()
    item += nodes.term("", "", nodes.literal("", name), nodes.Text("" if required else "  (optional)"))
    item += nodes.definition("", nodes.paragraph("", f"{field['title']}. {text}"))
    return item


def setup(app):
    """Register the directive."""
    app.add_directive("schema-fields", SchemaFields)
    return {"parallel_read_safe": True}
