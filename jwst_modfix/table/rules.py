"""What a table's tree must obey, and the words that say where it does not."""

import functools
import math
import re
import sys
from importlib import resources

import jsonschema
import yaml

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.text import has_hidden

__all__ = ["SCHEMA_URI", "SCHEMA_VERSION", "check_tree"]


SCHEMA_VERSION = "1.0.0"
SCHEMA_URI = f"asdf://jwst-modfix.org/schemas/moduleoffset-{SCHEMA_VERSION}"

_TYPE_NAMES = {"string": "text", "number": "a number", "object": "a mapping", "array": "a list"}


@functools.cache
def _validator():
    schema = resources.files("jwst_modfix.table") / "schemas" / f"moduleoffset-{SCHEMA_VERSION}.yaml"
    return _StrictValidator(yaml.safe_load(schema.read_text(encoding="utf-8")))


def _match_whole(_validator, pattern, text, _schema):
    """Hold the whole text against a pattern: to Python, ``$`` also matches before a last line break."""
    if isinstance(text, str) and not re.fullmatch(pattern, text):
        yield jsonschema.ValidationError(f"{text!r} does not match {pattern}")


_StrictValidator = jsonschema.validators.extend(jsonschema.Draft4Validator, {"pattern": _match_whole})


def check_tree(tree, name):
    """Check the tree of a table against the schema, and report all that is wrong at once."""
    _check_version(tree, name)
    problems = [_describe(error, tree) for error in _validator().iter_errors(tree) if not _follows_from_type(error)]
    problems += [f"{_place(path, tree)}: must {rule}" for path, value in _leaves(tree) for rule in _broken(path, value)]
    problems += _contradictions(tree) if not problems else []
    if problems:
        raise ReferenceTableError(f"{name}: " + "; ".join(dict.fromkeys(problems)))


def _follows_from_type(error):
    """Tell an error that only repeats that a value is no text."""
    return error.validator in ("enum", "pattern") and not isinstance(error.instance, str)


def _check_version(tree, name):
    """Refuse a table of a later schema before judging its keys by today's."""
    meta = tree.get("meta")
    version = meta.get("schema_version") if isinstance(meta, dict) else None
    numbers = str(version).split(".")
    if not all(number.isdecimal() and len(number) < 10 for number in numbers):
        return
    if [int(number) for number in numbers] > [int(number) for number in SCHEMA_VERSION.split(".")]:
        raise ReferenceTableError(
            f"{name}: meta.schema_version is {version}, newer than {SCHEMA_VERSION}, the newest that this version of "
            "jwst_modfix reads; update jwst_modfix"
        )


def _contradictions(tree):
    """Name what the schema cannot say: fields that need one another."""
    context = tree["valid_for"].get("context", {})
    numbers = {end: int(context[end][5:-5]) for end in ("first", "last") if end in context}
    if len(numbers) == 2 and numbers["first"] > numbers["last"]:
        yield f"valid_for.context: first ({context['first']}) is later than last ({context['last']})"
    gradient = tree.get("gradient", {})
    if gradient.get("frame") == "sky" and (abs(gradient["origin"][0]) > 360 or abs(gradient["origin"][1]) > 90):
        yield f"gradient.origin: must be RA, Dec [deg] in frame sky, got {gradient['origin']}"
    for index, row in enumerate(tree["offsets"]):
        for one, other in (("slope", "slope_error"), ("slope_error", "slope"), ("direction", "slope")):
            if one in row and other not in row:
                yield f"{_place(('offsets', index), tree)}: has a {one} and no {other}"


def _leaves(value, path=()):
    """Go through the keys, numbers and texts of a tree."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield path, key
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))
    else:
        yield path, value


def _broken(path, value):
    """Say which rule that JSON schema does not know a number or a text breaks."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"be finite, got {value}"
    elif isinstance(value, int) and abs(value) > sys.float_info.max:
        yield "be finite, got a whole number larger than any float"
    elif isinstance(value, str):
        allowed = "\n\t" if path[:1] == ("meta",) else ""
        if has_hidden(value, allowed):
            yield f"hold no control characters, got {value!a}"


def _describe(error, tree):
    """Put an error of the schema validator into a user's words."""
    place = _place(error.absolute_path, tree)
    return f"{place}: " + _RULES.get(error.validator, lambda error: error.message)(error)


def _place(path, tree):
    """Name a place in the tree: by array, filter and pupil inside a row."""
    path = list(path)
    if path[:1] == ["offsets"] and len(path) > 1 and isinstance(path[1], int):
        row = tree["offsets"][path[1]]
        key = ", ".join(f"{k}={row.get(k, d)}" for k, d in _ROW_KEY.items()) if isinstance(row, dict) else "no mapping"
        place = f"row {path[1] + 1} ({key})"
        return place + (f", field {'.'.join(map(str, path[2:]))}" if path[2:] else "")
    return ".".join(map(str, path)) or "top level"


_ROW_KEY = {"array": "missing", "filter": "missing", "pupil": "CLEAR"}


def _unknown_key(error):
    unknown = sorted(map(str, set(error.instance) - set(error.schema["properties"])))
    return f"unknown key {', '.join(unknown)}; known are {', '.join(error.schema['properties'])}"


def _missing_key(error):
    missing = [key for key in error.validator_value if key not in error.instance]
    return f"missing field {', '.join(missing)}"


def _wrong_type(error):
    wanted = error.validator_value
    wanted = [wanted] if isinstance(wanted, str) else wanted
    words = f"must be {' or '.join(_TYPE_NAMES[t] for t in wanted)}, got {error.instance!r}"
    return words + _hint(error.instance, wanted, error.schema)


def _hint(value, wanted, schema):
    """Say how YAML took what the user most likely meant."""
    if wanted == ["string"] and isinstance(value, int | float):
        would_pass = jsonschema.Draft4Validator(schema).is_valid(str(value))
        return f"; put it in quotes: '{value}'" if would_pass else f"; {schema['description'].split(' Unit')[0]}"
    if wanted == ["number"] and isinstance(value, str):
        try:
            return f"; YAML reads this as text, write {float(value)!r} without quotes"
        except ValueError:
            return ""
    return ""


_RULES = {
    "additionalProperties": _unknown_key,
    "required": _missing_key,
    "type": _wrong_type,
    "enum": lambda e: f"must be one of {', '.join(e.validator_value)}, got {e.instance!r}",
    "minimum": lambda e: f"must not be less than {e.validator_value}, got {e.instance!r}",
    "maximum": lambda e: f"must not be more than {e.validator_value}, got {e.instance!r}",
    "pattern": lambda e: f"must match {e.validator_value}, got {e.instance!r}",
    "minItems": lambda e: f"must have at least {e.validator_value} entries, got {len(e.instance)}",
    "maxItems": lambda e: f"must have at most {e.validator_value} entries, got {len(e.instance)}",
    "minLength": lambda e: "must not be empty",
    "minProperties": lambda e: "must not be empty",
}
